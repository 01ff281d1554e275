/* budget.h - a number of bytes that many may use together, and no more: what all requests may hold of the memory.
 *
 * Arenas and buffers that name a budget charge it with what they allocate beyond their first BUDGET_FREE_BYTES, so that small
 * requests cost no shared counter and are served when large ones have used the budget up.
 * THREADS    any. INVARIANT used_bytes <= max_bytes; who took gives back the same.
 */
#ifndef CORE_BUDGET_H
#define CORE_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BUDGET_FREE_BYTES = 64 << 10 };

struct budget {
    uint64_t max_bytes;          /* immutable once it is shared */
    _Atomic uint64_t used_bytes; /* relaxed: it counts, and orders nothing */
};

/* False, and nothing is taken: it would be too much. */
static inline bool budget_take(struct budget *b, uint64_t n)
{
    uint64_t used = atomic_load_explicit(&b->used_bytes, memory_order_relaxed);
    do {
        if (n > b->max_bytes || used > b->max_bytes - n) return false;
    } while (!atomic_compare_exchange_weak_explicit(&b->used_bytes, &used, used + n, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

static inline void budget_give(struct budget *b, uint64_t n)
{
    atomic_fetch_sub_explicit(&b->used_bytes, n, memory_order_relaxed);
}

static inline uint64_t budget_used(const struct budget *b)
{
    return atomic_load_explicit(&b->used_bytes, memory_order_relaxed);
}

/* What something that holds n bytes is charged with. */
static inline uint64_t budget_charge(uint64_t n)
{
    return n > BUDGET_FREE_BYTES ? n - BUDGET_FREE_BYTES : 0;
}

/* It grows from `before` bytes to `after`: the difference in charges. */
static inline bool budget_grow(struct budget *b, uint64_t before, uint64_t after)
{
    uint64_t n = budget_charge(after) - budget_charge(before);
    return b == NULL || n == 0 || budget_take(b, n);
}

static inline void budget_shrink(struct budget *b, uint64_t before, uint64_t after)
{
    uint64_t n = budget_charge(before) - budget_charge(after);
    if (b != NULL && n > 0) budget_give(b, n);
}

#endif
