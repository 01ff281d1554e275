/* topk.c - see topk.h.
 *
 * HAPPY PATH  offers fill the heap; from the k-th on, an offer that beats the worst replaces it and sinks to its place.
 *             Sorting takes the worst off the top again and again (heapsort in place).
 * FAILURE     only topk_init allocates.
 * INVARIANTS  heap[i] is never nearer than its children heap[2i+1], heap[2i+2]. No distance is NaN: an offer of NaN
 *             (a product of infinities) counts as infinitely far, so that the order is total.
 */
#include "core/topk.h"

#include "core/mem.h"

bool topk_init(struct topk *t, struct arena *a, uint32_t k)
{
    size_t size;
    if (!ck_mul(k, sizeof(struct hit), &size)) return false;
    struct hit *heap = arena_alloc(a, size);
    if (heap == NULL) return false;
    *t = (struct topk){.heap = heap, .k = k};
    return true;
}

static bool is_farther(const struct hit *a, const struct hit *b)
{
    if (a->distance != b->distance) return a->distance > b->distance;
    return a->ordinal > b->ordinal;
}

/* Places `h` at or below i in a heap of n, where i is free. */
static void sink(struct hit *heap, uint32_t n, uint32_t i, struct hit h)
{
    for (;;) {
        size_t child = 2 * (size_t)i + 1;
        if (child >= n) break;
        if (child + 1 < n && is_farther(&heap[child + 1], &heap[child])) child++;
        if (!is_farther(&heap[child], &h)) break;
        heap[i] = heap[child];
        i = (uint32_t)child;
    }
    heap[i] = h;
}

void topk_offer(struct topk *t, float distance, uint64_t ordinal, uint32_t row)
{
    if (t->k == 0) return;
    struct hit h = {isnan(distance) ? INFINITY : distance, t->segment, row, ordinal};
    if (t->n == t->k) {
        if (is_farther(&t->heap[0], &h)) sink(t->heap, t->n, 0, h);
        return;
    }
    uint32_t i = t->n++;
    while (i > 0 && is_farther(&h, &t->heap[(i - 1) / 2])) {
        t->heap[i] = t->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    t->heap[i] = h;
}

void topk_sort(struct topk *t)
{
    for (uint32_t n = t->n; n > 1; n--) {
        struct hit last = t->heap[n - 1];
        t->heap[n - 1] = t->heap[0];
        sink(t->heap, n - 1, 0, last);
    }
}
