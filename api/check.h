/* check.h - how well the collections of a store answer: the recall of their queries, and whether each index finds what the
 * records hold. For `chroma check` and tests.
 *
 * THREADS  any that may block; collections are opened one after the other, as by a request.
 */
#ifndef API_CHECK_H
#define API_CHECK_H

#include "api/store.h"

struct check_options {
    uint32_t n_samples; /* records of each collection that are searched for */
    uint32_t k;         /* so many nearest of each */
    uint32_t n_probes;  /* rows of each file whose values are looked up */
    bool is_full;       /* each index is also compared with its rows entry by entry (index/fragment_check.h) */
    uint64_t seed;
    struct str name; /* only collections of this name; .p == NULL: all */
};

/* What was found of one collection. Holds during the call. */
struct check_result {
    const struct catalog_collection *col;
    uint64_t n_records;
    uint32_t n_fragments;
    uint32_t n_queries;
    double recall; /* 1 when nothing was searched for */
    uint32_t n_probes, n_wrong;
    uint32_t n_damaged;   /* files with damage */
    struct errmsg detail; /* the first damage or disagreement; empty: there is none */
};
typedef void (*check_visit)(void *ctx, const struct check_result *r);

/* Calls `visit` for each collection, in the order of their names. A collection that cannot be read is told as damaged, and the
 * others go on. ERR_NOMEM. */
enum err store_check(struct store *s, const struct check_options *o, check_visit visit, void *ctx, struct errmsg *em);

#endif
