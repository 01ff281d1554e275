/* topk.h - the k best rows seen so far: a bounded max-heap over (distance, ordinal).
 * Equal distances are ordered by the rows' creation, so answers repeat. Owner: one request.
 */
#ifndef CORE_TOPK_H
#define CORE_TOPK_H

#include <math.h>

#include "core/arena.h"

struct hit {
    float distance;
    uint32_t segment, row; /* segment: the index in the snapshot, as set in topk.segment when it was offered */
    uint64_t ordinal;
};

struct topk {
    struct hit *heap; /* worst on top */
    uint32_t n, k;
    uint32_t segment;    /* set by the executor before it asks a segment */
    uint64_t n_measured; /* distances computed for it: counted by the segments */
};

bool topk_init(struct topk *t, struct arena *a, uint32_t k); /* false when memory is short */

/* Everything at or below this may still enter; +infinity until k are there, -infinity when k is 0. */
static inline float topk_bound(const struct topk *t)
{
    if (t->n < t->k) return INFINITY;
    return t->k > 0 ? t->heap[0].distance : -INFINITY;
}

void topk_offer(struct topk *t, float distance, uint64_t ordinal, uint32_t row);
void topk_sort(struct topk *t); /* best first; no offers afterwards */

#endif
