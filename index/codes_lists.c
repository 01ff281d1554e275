/* codes_lists.c - the lists of a section in the order in which a query looks at them.
 *
 * HAPPY PATH  the centroids are coded like rows, so one scan of their codes bounds all distances from below; a heap then
 *             gives the lists one after the other, because most of them are never asked for. Those that are get their exact
 *             distance, which the scan of their rows needs anyway: whether a list is looked at is decided by that.
 * FAILURE     none.
 * INVARIANTS  lists without rows are left out. Bounds that are no number come first, so the heap's order is total.
 */
#include "index/codes_internal.h"

/* Deviations of the bound. A list beyond it is not looked at though it should be: so few that it hardly counts. */
#define LISTS_EPSILON 1.5

static void sink(struct codes_ranked *heap, uint32_t n, uint32_t i, struct codes_ranked r)
{
    for (;;) {
        size_t child = 2 * (size_t)i + 1;
        if (child >= n) break;
        if (child + 1 < n && heap[child + 1].lower < heap[child].lower) child++;
        if (!(heap[child].lower < r.lower)) break;
        heap[i] = heap[child];
        i = (uint32_t)child;
    }
    heap[i] = r;
}

static void prefetch_centroid(const struct codes *c, uint32_t list)
{
    const float *centroid = c->centroids + (size_t)list * c->padded_dim;
    for (uint32_t d = 0; d < c->padded_dim; d += 16) __builtin_prefetch(centroid + d);
}

/* Takes the top of the heap, which is not empty, and measures it. */
static struct codes_near take(struct codes_lists_iter *it)
{
    const struct codes *c = it->codes;
    const struct codes_target *t = it->target;
    const uint32_t list = it->heap[0].list;
    const float *centroid = c->centroids + (size_t)list * c->padded_dim, *w = t->prepared->w;
    it->n--;
    if (it->n > 0) {
        sink(it->heap, it->n, 0, it->heap[it->n]);
        prefetch_centroid(c, it->heap[0].list);
    }
    float square = distance_ops()->l2(w, centroid, c->padded_dim), distance = square;
    if (c->space == SPACE_IP) { /* its factor holds |c_l|^2 and the lift */
        float add = c->list_factors[(size_t)(list / CODES_BLOCK_ROWS) * CODES_BLOCK_FACTORS + list % CODES_BLOCK_ROWS];
        distance = (float)t->square + add - 2 * distance_ops()->dot(w, centroid, c->padded_dim);
    }
    return (struct codes_near){distance, square, list};
}

void codes_lists_begin(struct codes_lists_iter *it, const struct codes *c, const struct codes_target *t,
                       struct codes_ranked *heap)
{
    const struct codes_kernels *kernels = codes_kernels_at(distance_ops()->level);
    const size_t block_bytes = (size_t)c->padded_dim * 4;
    struct codes_scan scan = t->scan;
    scan.n_first = scan.n_groups;
    scan.base = (float)t->square;
    scan.margin = (float)(2 * LISTS_EPSILON * sqrt(t->square));
    *it = (struct codes_lists_iter){.codes = c, .target = t, .heap = heap};
    for (uint32_t at = 0; at < c->n_lists; at += CODES_BLOCK_ROWS) {
        uint32_t b = at / CODES_BLOCK_ROWS, n = c->n_lists - at < CODES_BLOCK_ROWS ? c->n_lists - at : CODES_BLOCK_ROWS;
        float estimate[CODES_BLOCK_ROWS], lower[CODES_BLOCK_ROWS];
        (void)kernels->scan(c->list_blocks + b * block_bytes, NULL, c->list_factors + (size_t)b * CODES_BLOCK_FACTORS,
                            &scan, INFINITY, UINT32_MAX, estimate, lower);
        for (uint32_t i = 0; i < n; i++) {
            if (c->starts[at + i] == c->starts[at + i + 1]) continue;
            heap[it->n++] = (struct codes_ranked){isnan(lower[i]) ? -INFINITY : lower[i], at + i};
        }
    }
    for (uint32_t i = it->n / 2; i-- > 0;) sink(heap, it->n, i, heap[i]);
    while (it->n > 0 && it->n_first < CODES_LISTS_FIRST) {
        struct codes_near near = take(it);
        uint32_t i = it->n_first++;
        for (; i > 0 && near.distance < it->first[i - 1].distance; i--) it->first[i] = it->first[i - 1];
        it->first[i] = near;
    }
    it->nearest = it->n_first > 0 && it->first[0].distance > 0 ? it->first[0].distance : 0;
}

bool codes_lists_next(struct codes_lists_iter *it, float reach, struct codes_near *next)
{
    while (it->at < it->n_first) {
        struct codes_near near = it->first[it->at++];
        if (near.distance > reach) continue;
        *next = near;
        return true;
    }
    while (it->n > 0 && !(it->heap[0].lower > reach)) {
        struct codes_near near = take(it);
        if (near.distance > reach) continue;
        *next = near;
        return true;
    }
    return false;
}
