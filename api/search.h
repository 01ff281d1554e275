/* search.h - what the files of the search route share: a request as parsed, its checks, its answer.
 * Internal to api/search*.c and their tests. THREADS the one that runs the request.
 */
#ifndef API_SEARCH_H
#define API_SEARCH_H

#include "api/handler.h"
#include "api/metadata.h"
#include "core/rank.h"

/* What is selected; the order is that of the answer's echo. */
enum search_part { SEARCH_DOCUMENT = 1, SEARCH_EMBEDDING = 2, SEARCH_METADATA = 4, SEARCH_SCORE = 8 };

struct search_select {
    unsigned parts;          /* bits of enum search_part */
    const struct str *names; /* metadata keys, ascending, none twice */
    uint32_t n_names;
};

/* One payload, in the arena but for the compiled regular expressions of its filter. */
struct search_payload {
    struct filter *filter;   /* NULL: none. Owns its regular expressions. */
    struct rank *rank;       /* NULL: none */
    struct rank_group group; /* group.k and group.by: of the aggregate */
    bool has_aggregate;
    struct str rank_fault;  /* of the first sparse vector in it that is none; .p == NULL: fine */
    uint32_t offset, limit; /* limit UINT32_MAX: none */
    struct search_select select;
};

struct search_request {
    struct search_payload *payloads;
    uint32_t n;
};

/* The whole body (search_parse.c). False: the reader has failed. search_free either way. */
bool search_parse(struct json_reader *j, struct search_request *in);
void search_free(struct search_request *in);

unsigned search_reserved_part(struct str key); /* the part that a reserved key names; 0: it is a metadata key */

/* --- checks (search_check.c). False: answered. ------------------------------------------------------------------- */

/* What can be said of the request alone. */
bool search_check_values(struct api_request *r, const struct search_request *in);

/* Filters and sparse leaves need no index that the schema does not have; marks the leaves that weigh by frequency. */
bool search_check_indexes(struct api_request *r, struct search_request *in, struct str schema);

/* Dense queries have the collection's dimension; 0: it has none yet, and any length goes. */
bool search_check_dims(struct api_request *r, const struct search_request *in, uint32_t dim);

/* --- the answer (search_answer.c) -------------------------------------------------------------------------------- */

struct search_page {
    struct rank_row *rows;
    uint32_t n;
};

/* Appends the answer, column by column; pages beside the request's payloads. ERR_CORRUPT, ERR_NOMEM; what the buffer
 * met stays in its `err`. */
enum err search_put(struct buf *b, const struct snapshot *s, const struct search_request *in,
                    const struct search_page *pages, struct errmsg *em);

#endif
