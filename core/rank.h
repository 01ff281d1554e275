/* rank.h - ranked search: rows that pass a filter, scored by an expression over lists of nearest rows, grouped, cut to a
 * page.
 *
 * A LEAF of the expression is a list: the `limit` rows nearest to a vector among those that pass the filter, dense
 * (the record's own vector) or sparse (a vector in its metadata). In the list a row has a number: its distance or its
 * place, counted from 0.
 * RESULT   A row is a result if every leaf without a `fallback` lists it and at least one leaf lists it. Its score is the
 *          expression with each leaf replaced by the row's number there, or by the leaf's fallback. So an expression without
 *          leaves has no results, and a constant never adds a row.
 * NUMBERS  float32, operation by operation, never contracted; sums and the like start at a constant (0, 1, the lowest, the
 *          highest finite number) and fold from left to right. Nothing is an error: x/0, the log of -1 and so on are
 *          infinities and NaN.
 * ORDER    lower scores first, -0.0 before 0.0, NaN last; then the records' creation. Lists likewise.
 * COST     dense leaves: as exec_query. Sparse leaves: of fragments the inverted lists of the query's indices, at worst
 *          whole; of tails one pass over the metadata of all rows that pass the filter, for all leaves together (a second
 *          one, over all rows, when a leaf weighs by document frequency). Then n log n over the rows listed, times the
 *          size of the expression.
 * THREADS, ERRORS  as executor.h.
 */
#ifndef CORE_RANK_H
#define CORE_RANK_H

#include "core/executor.h"

enum rank_kind {
    RANK_VALUE,
    RANK_DENSE, /* leaves */
    RANK_SPARSE,
    RANK_SUM, /* any number of operands */
    RANK_MUL,
    RANK_MAX,
    RANK_MIN,
    RANK_SUB, /* two */
    RANK_DIV,
    RANK_ABS, /* one */
    RANK_EXP,
    RANK_LOG, /* natural */
};

struct rank_leaf {
    const float *dense; /* DENSE: n_dense floats; as many as the snapshot's dimension, unless that is 0 */
    uint32_t n_dense;
    struct sparse sparse; /* SPARSE: indices ascending; tokens do not matter */
    struct str key;       /* SPARSE: of the metadata */
    bool
        weighs_by_frequency; /* SPARSE: each weight times ln(1 + (n - n_t + 0.5) / (n_t + 0.5)); n rows, n_t have the index */
    bool gives_place;        /* the number is the place, not the distance */
    bool has_fallback;
    float fallback;
    uint32_t limit;
};

/* Depth is the builder's to bound: evaluation recurses. */
struct rank {
    enum rank_kind kind;
    float value; /* VALUE */
    struct rank_leaf leaf;
    struct rank **operands;
    uint32_t n_operands;
};

/* Rows with equal values under all of `keys` (a missing one is a value too; 1 is not 1.0) form a group; of each group
 * the k first by the values under `by` stay, rank breaking ties. Values of different types order as: missing, bool, int,
 * float, string, sparse vector, lists of bool, int, float, string. */
struct rank_group {
    const struct str *keys;
    uint32_t n_keys;
    const struct str *by; /* .p == NULL: the score */
    uint32_t n_by;
    bool is_descending;
    uint32_t k;
};

struct rank_search {
    struct selection selection;
    const struct rank *rank;        /* NULL: all selected rows, in the order of creation */
    const struct rank_group *group; /* NULL: none. Needs a rank. */
    uint32_t offset, limit;         /* limit UINT32_MAX: all */
};

struct rank_row {
    struct row_ref ref;
    float score; /* without a rank: the place on this page */
};

/* The page, in the arena `a`; what is needed on the way is freed before the function returns. */
enum err rank_search(const struct snapshot *s, const struct rank_search *search, struct arena *a,
                     struct rank_row **rows, uint32_t *n, struct errmsg *em);

#endif
