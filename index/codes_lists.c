/* codes_lists.c - the lists of a section in the order in which a query looks at them.
 *
 * HAPPY PATH  the centroids are coded like rows, so one scan of their codes estimates all distances; a heap then gives the
 *             lists one after the other, because most of them are never asked for.
 * FAILURE     none.
 * INVARIANTS  lists without rows are left out. Estimates that are no number count as 0, so the heap's order is total.
 */
#include "index/codes_internal.h"

static void sink(struct codes_ranked *heap, uint32_t n, uint32_t i, struct codes_ranked r)
{
    for (;;) {
        size_t child = 2 * (size_t)i + 1;
        if (child >= n) break;
        if (child + 1 < n && heap[child + 1].distance < heap[child].distance) child++;
        if (!(heap[child].distance < r.distance)) break;
        heap[i] = heap[child];
        i = (uint32_t)child;
    }
    heap[i] = r;
}

void codes_lists_begin(struct codes_lists_iter *it, const struct codes *c, const struct codes_scan *table,
                       double square, struct codes_ranked *heap)
{
    const struct codes_kernels *kernels = codes_kernels_at(distance_ops()->level);
    const size_t block_bytes = (size_t)c->padded_dim * 4;
    struct codes_scan scan = *table;
    scan.n_first = scan.n_groups;
    scan.base = (float)square;
    scan.margin = 0;
    it->n = 0;
    for (uint32_t at = 0; at < c->n_lists; at += CODES_BLOCK_ROWS) {
        uint32_t b = at / CODES_BLOCK_ROWS, n = c->n_lists - at < CODES_BLOCK_ROWS ? c->n_lists - at : CODES_BLOCK_ROWS;
        float estimate[CODES_BLOCK_ROWS], lower[CODES_BLOCK_ROWS];
        (void)kernels->scan(c->list_blocks + b * block_bytes, NULL, c->list_factors + (size_t)b * CODES_BLOCK_FACTORS,
                            &scan, INFINITY, UINT32_MAX, estimate, lower);
        for (uint32_t i = 0; i < n; i++) {
            if (c->starts[at + i] == c->starts[at + i + 1]) continue;
            heap[it->n++] = (struct codes_ranked){estimate[i] > 0 ? estimate[i] : 0, at + i};
        }
    }
    for (uint32_t i = it->n / 2; i-- > 0;) sink(heap, it->n, i, heap[i]);
    it->heap = heap;
    it->nearest = it->n > 0 ? heap[0].distance : 0;
}

bool codes_lists_next(struct codes_lists_iter *it, struct codes_ranked *next)
{
    if (it->n == 0) return false;
    *next = it->heap[0];
    it->n--;
    if (it->n > 0) sink(it->heap, it->n, 0, it->heap[it->n]);
    return true;
}
