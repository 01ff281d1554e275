/* explain.h - "x-chroma-explain: true": what a get, query or search did, told in a header of its answer.
 * Internal to api/. THREADS the one that runs the request.
 *
 * Off unless the request has the header. The body stays as it is, and only answers of status 200 are explained, so a
 * caller learns nothing about rows that he may not read. The value is one line of JSON of at most EXPLAIN_MAX_BYTES:
 * docs/operations.md says what its members mean.
 */
#ifndef API_EXPLAIN_H
#define API_EXPLAIN_H

#include "api/api.h"

enum { EXPLAIN_MAX_BYTES = 4096 };

/* The stages of a read, each ending where the next begins. */
enum explain_stage {
    EXPLAIN_PARSE,     /* the body, its checks, the collection */
    EXPLAIN_RUN,       /* selection and search */
    EXPLAIN_SERIALISE, /* the answer's text; documents and metadata are read from their files here */
    EXPLAIN_STAGES
};

struct explain {
    struct exec_explain did;
    uint64_t began_ns, ended_ns[EXPLAIN_STAGES];
};

/* The request is about to be parsed. Makes r->explain when the caller wants it and there is memory for it. */
void explain_begin(struct api_request *r);

/* A stage is over. Nothing, when no explanation is wanted. */
void explain_end_stage(struct api_request *r, enum explain_stage stage);

/* The answer is complete: adds the header. Short of memory it goes without. */
void explain_answer(struct api_request *r);

/* What a snapshot collects for it; NULL: nothing. */
static inline struct exec_explain *explain_of(const struct api_request *r)
{
    return r->explain != NULL ? &r->explain->did : NULL;
}

#endif
