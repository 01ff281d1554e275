/* codes_search_internal.h - a search over one section, and its candidates: what codes_search*.c and codes_candidates.c share.
 *
 * THREADS  a search belongs to one thread.
 */
#ifndef INDEX_CODES_SEARCH_INTERNAL_H
#define INDEX_CODES_SEARCH_INTERNAL_H

#include "index/codes_internal.h"

enum {
    CODES_CANDIDATES_MIN = 512,
    CODES_CANDIDATES_MAX = 1 << 15, /* beyond it candidates are measured rather than kept */
    CODES_FIRST_MEASURED = 2,       /* beyond k: a limit is wanted, and more than that may be measured in vain */
};

struct search {
    const struct codes *codes;
    const struct codes_kernels *kernels;
    const struct codes_rows *rows;
    const struct bitset *mask; /* NULL: all rows */
    struct query_vector *q;
    struct topk *top;
    struct codes_target target;
    float limit; /* lower bounds above it are of no use */
    float stop;  /* of the rule that stops a search of lists */
    struct codes_candidate *candidates;
    uint32_t n, cap;
    uint32_t n_settled; /* candidates in front that wait for the end */
    bool is_short;      /* of memory: what was found is not to be used */
    struct codes_met *met;
};

/* The k-th distance in the unit of estimates. */
float codes_limit(const struct search *s);

void codes_prefetch_row(const struct codes_rows *rows, const struct query_vector *q, uint32_t row);

/* Reorders so that the m with the smallest estimates come first. No estimate is NaN. */
void codes_select(struct codes_candidate *a, uint32_t n, uint32_t m);

/* Measures candidates a[0, n), those that can still enter, and lowers the limit. */
void codes_measure_all(struct search *s, const struct codes_candidate *a, uint32_t n);

/* Forgets which rows were measured. */
void codes_met_clear(struct codes_met *m);

/* Measures new candidates whose estimate is within the limit. */
void codes_settle(struct search *s);

/* Measures until no candidate is left (`all`), or until the buffer is at most half full, if need be after growing. False when
 * memory is short. */
bool codes_drain(struct search *s, bool all);

/* Searches a section with looks. False when memory is short. (codes_search_looks.c) */
bool codes_scan_with_looks(struct search *s, struct codes_prepared *p);

#endif
