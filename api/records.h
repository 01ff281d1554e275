/* records.h - what the files of the record routes share: bodies in columns, the checks of the contract, and answers.
 * Internal to api/records_*.c, api/where*.c and their tests.
 *
 * A body is read once, into columns, before anything else is looked at. What is wrong with its values is noted, not
 * said, because the contract's order of checks asks for the collection first.
 * THREADS  the one that runs the request.
 */
#ifndef API_RECORDS_H
#define API_RECORDS_H

#include "core/arena.h"
#include "api/handler.h"
#include "core/executor.h"

/* --- members of bodies (records_body.c) ------------------------------------------------------------------------ */

enum body_null { BODY_NO_NULL, BODY_NULL_ITEMS = 1, BODY_NULL_LIST = 2 }; /* bits: where null is allowed */

/* An array of strings, appended to `out` as struct str (a null item has .p == NULL). *is_given stays false for a
 * null in place of the array. False: the reader has failed. */
bool body_strings(struct json_reader *j, unsigned nulls, struct buf *out, bool *is_given);

/* An unsigned 32-bit number, or null, which leaves both alone. */
bool body_u32_or_null(struct json_reader *j, uint32_t *v, bool *is_given);

/* Enters a body that must be an object: unlike those of add, update, upsert and search, upstream reads it as a map. */
bool records_enter_object(struct json_reader *j, struct json_fields *f, const char *const *names, uint32_t n,
                          const char *expected);

static inline uint32_t body_n_strings(const struct buf *strings) /* n stays below 2^32: see BODY_COLUMN_MAX */
{
    return (uint32_t)(strings->n / sizeof(struct str));
}

static inline const struct str *body_string_array(const struct buf *strings)
{
    return (const struct str *)(const void *)strings->p;
}

#define BODY_COLUMN_MAX ((size_t)UINT32_MAX - 1) /* bytes of one column: what a log record can hold */

/* --- vectors (records_vectors.c) ------------------------------------------------------------------------------- */

/* The vectors of one request, row-major in one buffer. Lengths may differ until vectors_check_dim. */
struct vectors {
    struct buf floats;  /* those of all vectors, one after the other */
    struct buf present; /* u8 an item: 1 a vector, 0 null */
    uint32_t n_items;   /* nulls included */
    uint32_t n_vectors;
    uint32_t dim;     /* of the first vector */
    bool is_ragged;   /* some vector has another length */
    bool has_empty;   /* some vector has none */
    bool is_bad_text; /* base64 that is none; `fault` says why */
    struct errmsg fault;
};

/* `embeddings` of add, update and upsert: arrays of numbers or strings of base64, not both, null items where allowed.
 * `payload` is what upstream calls the value. Numbers beyond float32 become infinities. */
bool vectors_read(struct json_reader *j, struct vectors *v, bool null_items, const char *payload);

/* `query_embeddings`: arrays of numbers. */
bool vectors_read_numbers(struct json_reader *j, struct vectors *v);

bool vectors_are_finite(const struct vectors *v);

/* Answers 400 and returns false when the vectors differ in length, or have another one than the collection
 * (`dim`; 0: it has none yet). */
bool vectors_check_dim(struct api_request *r, const struct vectors *v, uint32_t dim);

static inline const float *vectors_floats(const struct vectors *v) /* NULL when there is none */
{
    return (const float *)(const void *)v->floats.p;
}

void vectors_free(struct vectors *v);

/* --- selections and filters (records_select.c, where_indexes.c) ------------------------------------------------- */

/* Which rows a get, query or delete is about. All-zero is the empty start. */
struct selection_in {
    struct buf ids; /* struct str */
    bool has_ids;
    bool is_bad_where, is_bad_where_document;
    struct filter *where, *where_document;
    struct filter *filter; /* both joined, after selection_check; NULL: none was given */
};

/* The members of a body that make a selection, in the order in which readers name them: */
#define SELECTION_MEMBERS "ids", "where", "where_document"
enum { SELECTION_N_MEMBERS = 3 };
/* Reads the value of one of them, by its number there; the reader stands before it. */
bool selection_read_member(struct selection_in *in, int member, struct json_reader *j);

/* Clauses are clauses, regular expressions compile; joins the two filters. False: answered. */
bool selection_check(struct api_request *r, struct selection_in *in);

/* The filter needs no index that the collection's schema switches off. False: answered. */
bool selection_check_indexes(struct api_request *r, const struct selection_in *in,
                             const struct catalog_collection *col);

struct selection selection_of(const struct selection_in *in); /* views into `in` */
void selection_free(struct selection_in *in); /* before the request's arena goes; a second time does nothing */

/* The message for a filter that needs an index which the schema switches off, in the arena; .p == NULL when there is no
 * such thing, or (*e) memory is short. */
struct str where_disabled_index(const struct filter *f, struct str schema, struct arena *a, enum err *e);

/* --- answers of reads (records_answer.c) ------------------------------------------------------------------------ */

enum include { INCLUDE_DISTANCES, INCLUDE_DOCUMENTS, INCLUDE_EMBEDDINGS, INCLUDE_METADATAS, INCLUDE_URIS };

struct include_in {
    struct buf echo; /* u8 (enum include) each, as sent */
    unsigned mask;   /* 1 << enum include */
};

bool include_read(struct include_in *in, struct json_reader *j);
void include_default(struct include_in *in, bool with_distances);

/* The rows of an answer: one list (get), or one a query vector. */
struct answer_rows {
    const struct snapshot *snapshot;
    struct row_ref **lists;
    uint32_t *n; /* rows of each list */
    uint32_t n_lists;
    float **distances; /* beside lists, or NULL */
    bool is_nested;    /* lists in a list: query */
};

/* Appends the whole answer, column by column in the contract's order. ERR_CORRUPT, ERR_NOMEM; what the buffer met stays
 * in its `err`. */
enum err answer_put(struct buf *b, const struct answer_rows *rows, const struct include_in *include, struct errmsg *em);

/* --- writing (records_submit.c) --------------------------------------------------------------------------------- */

/* What to answer when a write is done. */
struct records_outcome {
    unsigned status;
    bool is_delete;
    bool counts_changes; /* delete by a filter: the rows that were really deleted; else `n_given` */
    uint32_t n_given;
    uint32_t n_reserved; /* rows reserved for it in the collection (store_reserve_rows): given back with it */
};

/* Hands the block to the log and answers, on the log's thread, when the write is durable and visible. Takes `col` and
 * `block` over, whatever the outcome. After API_PENDING the request must not be touched. */
enum api_outcome records_submit(struct api_request *r, const struct catalog_collection *col, struct bytes block,
                                const struct records_outcome *outcome);

/* The answer of a write that is done, or that had nothing to do. */
enum api_outcome records_answer_write(struct api_request *r, const struct records_outcome *o, uint32_t n_changed);

/* --- read levels (count, search) --------------------------------------------------------------------------------- */

#define RECORDS_READ_LEVELS "`index_and_wal`, `index_only`, `index_and_bounded_wal`"

static inline bool records_is_read_level(struct str s)
{
    return str_eq(s, STR("index_and_wal")) || str_eq(s, STR("index_only")) || str_eq(s, STR("index_and_bounded_wal"));
}

/* --- outcomes (records_body.c) ----------------------------------------------------------------------------------- */

/* Answers what a failed call of a lower module comes to; the detail may be empty. */
enum api_outcome records_fail(struct api_request *r, enum err e, const struct errmsg *em);

#define RECORDS_ANSWER_MAX ((size_t)2 << 30) /* bytes of an answer; beyond it clients fail anyway */

/* The end of a read whose answer was put into r->answer with that ceiling: 200, or a refusal in its place. `e`: what
 * putting it met, besides what the buffer itself knows. */
enum api_outcome records_finish_read(struct api_request *r, enum err e, const struct errmsg *em);

/* The reader has failed, or a column has (memory, size). */
enum api_outcome records_fail_body(struct api_request *r, const struct json_reader *j);

#endif
