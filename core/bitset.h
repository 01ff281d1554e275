/* bitset.h - dense bitmaps over the rows of a segment: one bit a row, 64 rows a word.
 *
 * Every filter becomes one of these. Dense words beat compressed bitmaps at the sizes of a fragment (a million rows are
 * 125 KB, a cache-resident AND is some microseconds) and keep the scan kernels simple: 32 rows of a code block are half
 * a word. Bits at and beyond n_bits are zero: an invariant that every function here keeps.
 */
#ifndef CORE_BITSET_H
#define CORE_BITSET_H

#include "core/arena.h"

struct bitset {
    uint64_t *words;
    uint32_t n_bits;
};

static inline size_t bitset_words(uint32_t n_bits)
{
    return ((size_t)n_bits + 63) / 64;
}

static inline bool bitset_get(const struct bitset *s, uint32_t i)
{
    return s->words[i / 64] >> (i % 64) & 1;
}

static inline void bitset_add(struct bitset *s, uint32_t i)
{
    s->words[i / 64] |= UINT64_C(1) << (i % 64);
}

static inline void bitset_remove(struct bitset *s, uint32_t i)
{
    s->words[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

/* All zero; false when memory is short. The words live in the arena. */
bool bitset_init(struct bitset *s, struct arena *a, uint32_t n_bits);

void bitset_fill(struct bitset *s);                           /* all ones */
void bitset_and(struct bitset *s, const struct bitset *o);    /* s &= o; same n_bits */
void bitset_or(struct bitset *s, const struct bitset *o);     /* s |= o */
void bitset_andnot(struct bitset *s, const struct bitset *o); /* s &= ~o */
void bitset_not(struct bitset *s);                            /* s = ~s */
uint32_t bitset_count(const struct bitset *s);

/* Passes over the ones from `from` on, at most `most` of them, and none at or beyond `to`. Returns the place behind the
 * last one passed (`to` when there are fewer); *n_passed: how many. from <= to <= n_bits. */
uint32_t bitset_pass(const struct bitset *s, uint32_t from, uint32_t to, uint32_t most, uint32_t *n_passed);

/* The first one at or after `from`, or n_bits when there is none. */
uint32_t bitset_next(const struct bitset *s, uint32_t from);

#endif
