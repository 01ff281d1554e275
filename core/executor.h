/* executor.h - plans and runs reads over a snapshot: get, query, and the selection of rows for delete.
 *
 * PLAN     ids are looked up; a filter becomes one bitmap a segment, whose size is known before a plan is chosen;
 *          few matching rows: exact distances; many: the segment's index with the bitmap as mask.
 * ORDER    get: by the records' creation. query: by distance, then creation.
 * THREADS  any; one request at a time each. Results lie in the request's arena and point into segments of the snapshot:
 *          use them before snapshot_end.
 * ERRORS   ERR_NOMEM, ERR_CORRUPT, ERR_INVALID (a regular expression hit its limits).
 */
#ifndef CORE_EXECUTOR_H
#define CORE_EXECUTOR_H

#include "core/collection.h"
#include "core/filter.h"
#include "core/topk.h"

struct selection {
    const struct str *ids; /* NULL: not restricted by id; n_ids == 0 with ids != NULL: nothing */
    uint32_t n_ids;
    const struct filter *filter; /* NULL: all */
};

/* How a query vector was compared with the rows that the selection leaves. */
enum exec_plan {
    EXEC_EXACT,  /* few rows: every distance was computed */
    EXEC_MASKED, /* many, but not all: the indexes were scanned under a mask */
    EXEC_FULL,   /* all rows: the indexes were scanned */
    EXEC_SPARSE, /* a sparse vector: the metadata of every row was read */
    EXEC_PLANS
};

/* What reads did, for logs and metrics; sums. A snapshot with `stats` collects them. */
struct exec_stats {
    uint64_t plans[EXEC_PLANS]; /* query vectors by plan */
    uint64_t n_candidates;      /* rows that the selections left, for each query vector */
    uint64_t n_measured;        /* exact distances computed */
    uint64_t n_documents;       /* texts read to decide a clause about documents */
};

enum { EXEC_EXPLAIN_QUERIES = 16 };

struct exec_explain_query {
    enum exec_plan plan;
    uint64_t n_selected;   /* rows that the selection left to it */
    uint64_t n_candidates; /* rows compared, if only by their codes; more than selected where it took several rounds */
    uint64_t n_measured;
};

/* The same told query by query, when it was asked for: a snapshot with `explain` collects it. All-zero at first. */
struct exec_explain {
    uint64_t n_rows; /* of all segments; with those that are dead but not yet dropped */
    uint32_t n_segments;
    uint64_t n_selected; /* rows that the selections left, dead ones included; those that are open too */
    uint64_t select_ns;  /* turning selections into bitmaps */
    uint32_t n_queries;  /* all of them; the first EXEC_EXPLAIN_QUERIES are kept */
    struct exec_explain_query queries[EXEC_EXPLAIN_QUERIES];
};

struct row_ref {
    uint32_t segment, row; /* of the snapshot */
};

/* Visible rows that match, in creation order, `offset` skipped, at most `limit` (UINT32_MAX: all). */
enum err exec_get(const struct snapshot *s, const struct selection *sel, uint32_t limit, uint32_t offset,
                  struct arena *a, struct row_ref **rows, uint32_t *n, struct errmsg *em);

/* The k nearest for each of n_queries vectors (row-major, s->dim floats each; s->dim != 0), best first:
 * hits[i] of n_hits[i]. */
enum err exec_query(const struct snapshot *s, const struct selection *sel, const float *queries, uint32_t n_queries,
                    uint32_t k, struct arena *a, struct hit ***hits, uint32_t **n_hits, struct errmsg *em);

/* How many of the true neighbours a query finds. */
struct exec_recall {
    uint32_t n_queries;         /* records that were searched for; fewer than asked for where few are visible */
    uint64_t n_wanted, n_found; /* of all of them: the k nearest, and how many of these the query found */
};

/* Searches for n records of the snapshot (drawn with replacement from `seed`; s->dim != 0) as a query for k would, and by
 * comparing all vectors; adds to *out. Records as near as the k-th count as found. ERR_NOMEM, ERR_CORRUPT. (exec_recall.c) */
enum err exec_recall(const struct snapshot *s, uint32_t n, uint32_t k, uint64_t seed, struct exec_recall *out,
                     struct errmsg *em);

/* The wanted parts (enum row_part) of one row. */
enum err exec_row(const struct snapshot *s, struct row_ref ref, unsigned parts, struct arena *a, struct row *out,
                  struct errmsg *em);

#endif
