/* records.h - what the files of the record routes share: bodies in columns, the checks of the contract, and answers.
 * Internal to api/records_*.c, api/where*.c and their tests.
 *
 * A body is read once, into columns (struct records_in, struct read_in), before anything else is looked at: what is
 * wrong with its values is noted, not said, because the contract's order of checks asks for the collection first.
 * THREADS  the one that runs the request.
 */
#ifndef API_RECORDS_H
#define API_RECORDS_H

#include "api/handler.h"
#include "core/executor.h"

/* --- reading members (records_body.c) -------------------------------------------------------------------------- */

/* The members a body may have: a bit each, so that repetitions and gaps are seen. */
enum body_field {
    FIELD_IDS = 1,
    FIELD_EMBEDDINGS = 2,
    FIELD_DOCUMENTS = 4,
    FIELD_URIS = 8,
    FIELD_METADATAS = 16,
    FIELD_WHERE = 32,
    FIELD_WHERE_DOCUMENT = 64,
    FIELD_LIMIT = 128,
    FIELD_OFFSET = 256,
    FIELD_N_RESULTS = 512,
    FIELD_INCLUDE = 1024,
    FIELD_QUERY_EMBEDDINGS = 2048,
    FIELD_SEARCHES = 4096,
    FIELD_READ_LEVEL = 8192,
};

/* What one route's body is made of. `read` reads the value of one field; false: the reader has failed. */
struct body_shape {
    const char *expected;        /* "struct GetRequestPayload" */
    unsigned fields, required;   /* of enum body_field */
    const unsigned *positions;   /* fields in order, ended by 0, where an array may stand for the object; or NULL */
    bool (*read)(void *in, struct json_reader *j, enum body_field field);
};

/* Reads a whole body: every known member once, unknown ones skipped, nothing after it. */
bool body_read(struct json_reader *j, const struct body_shape *shape, void *in);

/* An array of strings (null items as .p == NULL where allowed), appended to `out` as struct str. A null instead of the
 * array: *is_given stays false, where allowed. */
bool body_strings(struct json_reader *j, bool null_items, bool may_be_null, struct buf *out, bool *is_given);

bool body_u32_or_null(struct json_reader *j, uint32_t *v, bool *is_given);

/* Fails as a value that fits none of an untagged enum's shapes: the place is the end of the value, as upstream has it. */
void body_fail_untagged(struct json_reader *j, const char *name);

/* --- vectors (records_vectors.c) ------------------------------------------------------------------------------- */

/* Vectors of one request, row-major in one buffer; lengths may differ until vectors_check says otherwise. */
struct vectors {
    struct buf floats;      /* those of all vectors, one after the other */
    struct buf present;     /* u8 an item: 1 a vector, 0 null */
    uint32_t n_items;       /* nulls included */
    uint32_t n_vectors;
    uint32_t dim;           /* of the first vector */
    bool is_ragged;         /* another one has another length */
    bool has_empty;
    bool is_bad_text;       /* base64 that does not decode; `fault` says why */
    struct errmsg fault;
};

/* `embeddings` of add, update and upsert: arrays of numbers or strings of base64, null items where allowed. `name` is
 * upstream's for the untagged value. Numbers beyond float32 become infinities here. */
bool vectors_read(struct json_reader *j, struct vectors *v, bool null_items, const char *name);

/* `query_embeddings`: arrays of numbers only. */
bool vectors_read_numbers(struct json_reader *j, struct vectors *v);

bool vectors_are_finite(const struct vectors *v);
static inline const float *vectors_floats(const struct vectors *v) /* NULL when there is none */
{
    return (const float *)(const void *)v->floats.p;
}
void vectors_free(struct vectors *v);

/* Answers 400 and returns false when the request's vectors differ in length or the collection (dimension `dim`, 0: none
 * yet) has another one. */
bool vectors_check_dim(struct api_request *r, const struct vectors *v, uint32_t dim);

/* --- filters (where_indexes.c) --------------------------------------------------------------------------------- */

/* Looks for a part of the filter that needs an index which the collection's schema switches off. Returns the message
 * for the client (in the arena), or .p == NULL when there is none or memory is short (*e says which). */
struct str where_disabled_index(const struct filter *f, struct str schema, struct arena *a, enum err *e);

/* --- reads: selection and projection (records_select.c, records_write_out.c) ----------------------------------- */

enum { INCLUDE_MAX = 5 };

enum include { INCLUDE_DISTANCES, INCLUDE_DOCUMENTS, INCLUDE_EMBEDDINGS, INCLUDE_METADATAS, INCLUDE_URIS };

/* The part that get, query and delete have in common. All-zero is the empty start; selection_free when done. */
struct selection_in {
    struct buf ids; /* struct str */
    bool has_ids;
    struct filter *where, *where_document;
    bool is_bad_where, is_bad_where_document;
    struct filter *both; /* after selection_check */
};

/* Reads FIELD_IDS, FIELD_WHERE, FIELD_WHERE_DOCUMENT. */
bool selection_read(struct selection_in *in, struct json_reader *j, enum body_field field);

/* Checks 6 of the contract: clauses parse, regular expressions compile. False: answered. */
bool selection_check(struct api_request *r, struct selection_in *in);

/* The schema's switches; false: answered. */
bool selection_check_indexes(struct api_request *r, const struct selection_in *in,
                             const struct catalog_collection *col);

/* What the executor wants; views into `in`. */
struct selection selection_of(const struct selection_in *in);
void selection_free(struct selection_in *in);

struct include_in {
    struct buf echo;  /* u8 (enum include) each, as sent */
    unsigned mask;    /* 1 << enum include */
    bool is_given;
};

bool include_read(struct include_in *in, struct json_reader *j);

/* Answers what a failed read or write of the store comes to; `em` may be empty. */
enum api_outcome api_fail_em(struct api_request *r, enum err e, const struct errmsg *em);

#endif
