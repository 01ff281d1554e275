/* rank_internal.h - what rank*.c share. See rank.h. */
#ifndef CORE_RANK_INTERNAL_H
#define CORE_RANK_INTERNAL_H

#include "core/executor_internal.h"
#include "core/rank.h"

/* A row with its score, on the way to the page. */
struct scored {
    struct row_ref ref;
    uint64_t ordinal;
    float score;
};

struct rank_leaves {
    const struct rank_leaf **at; /* in the order of the expression */
    struct topk *lists;          /* beside them, sorted, nearest first */
    bool *is_sparse;
    uint32_t n;
};

/* Total order of scores: -0.0 below 0.0, NaN above all. */
static inline uint32_t rank_score_key(float score)
{
    uint32_t bits;
    if (isnan(score)) return UINT32_MAX;
    memcpy(&bits, &score, sizeof bits);
    return (bits >> 31) != 0 ? ~bits : bits | UINT32_C(1) << 31;
}

/* Fills the lists of the sparse leaves (rank_sparse.c). `rows`: the selection. */
enum err rank_sparse_lists(const struct snapshot *s, const struct segment_rows *rows, const struct rank_leaves *leaves,
                           struct arena *a, struct errmsg *em);

/* Joins the lists and evaluates the expression: the results, in no order (rank_score.c). */
enum err rank_score(const struct rank *rank, const struct rank_leaves *leaves, struct arena *a, struct scored **rows,
                    size_t *n, struct errmsg *em);

/* Leaves the rows that the groups keep, in the order in which they were (rank_group.c). `rows` in the order of rank. */
enum err rank_keep_groups(const struct snapshot *s, const struct rank_group *g, struct scored *rows, size_t *n,
                          struct arena *a, struct errmsg *em);

#endif
