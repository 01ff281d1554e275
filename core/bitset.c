/* bitset.c - see bitset.h. */
#include "core/bitset.h"

bool bitset_init(struct bitset *s, struct arena *a, uint32_t n_bits)
{
    s->words = arena_array(a, bitset_words(n_bits), sizeof *s->words);
    s->n_bits = n_bits;
    return s->words != NULL;
}

static void clear_beyond(struct bitset *s)
{
    if (s->n_bits % 64 != 0) s->words[s->n_bits / 64] &= (UINT64_C(1) << (s->n_bits % 64)) - 1;
}

void bitset_fill(struct bitset *s)
{
    memset(s->words, 0xff, bitset_words(s->n_bits) * sizeof *s->words);
    clear_beyond(s);
}

void bitset_and(struct bitset *s, const struct bitset *o)
{
    for (size_t i = 0, n = bitset_words(s->n_bits); i < n; i++) s->words[i] &= o->words[i];
}

void bitset_or(struct bitset *s, const struct bitset *o)
{
    for (size_t i = 0, n = bitset_words(s->n_bits); i < n; i++) s->words[i] |= o->words[i];
}

void bitset_andnot(struct bitset *s, const struct bitset *o)
{
    for (size_t i = 0, n = bitset_words(s->n_bits); i < n; i++) s->words[i] &= ~o->words[i];
}

void bitset_not(struct bitset *s)
{
    for (size_t i = 0, n = bitset_words(s->n_bits); i < n; i++) s->words[i] = ~s->words[i];
    clear_beyond(s);
}

static uint32_t count_portable(const uint64_t *words, size_t n)
{
    uint32_t count = 0;
    for (size_t i = 0; i < n; i++) count += (uint32_t)__builtin_popcountll(words[i]);
    return count;
}

#if defined(__x86_64__)
/* The same with the instruction, which the baseline of the build lacks: ten times as fast. */
__attribute__((target("popcnt"))) static uint32_t count_popcnt(const uint64_t *words, size_t n)
{
    uint64_t count = 0;
    for (size_t i = 0; i < n; i++) count += (uint64_t)__builtin_popcountll(words[i]);
    return (uint32_t)count;
}
#endif

uint32_t bitset_count(const struct bitset *s)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("popcnt")) return count_popcnt(s->words, bitset_words(s->n_bits));
#endif
    return count_portable(s->words, bitset_words(s->n_bits));
}

uint32_t bitset_next(const struct bitset *s, uint32_t from)
{
    if (from >= s->n_bits) return s->n_bits;
    size_t i = from / 64, n = bitset_words(s->n_bits);
    uint64_t word = s->words[i] & (~UINT64_C(0) << (from % 64));
    while (word == 0) {
        if (++i == n) return s->n_bits;
        word = s->words[i];
    }
    return (uint32_t)(i * 64) + (uint32_t)__builtin_ctzll(word);
}

uint32_t bitset_pass(const struct bitset *s, uint32_t from, uint32_t to, uint32_t most, uint32_t *n_passed)
{
    uint32_t n = 0, at = from;
    while (at < to && n < most) { /* a word at a time, those of the ends cut */
        uint64_t word = s->words[at / 64] & (~UINT64_C(0) << (at % 64));
        uint32_t here = 64 - at % 64, end = to - at > here ? at + here : to;
        if (end % 64 != 0) word &= (UINT64_C(1) << (end % 64)) - 1;
        struct bitset one = {&word, 64};
        uint32_t count = bitset_count(&one);
        if (count >= most - n) { /* the last one is in this word */
            for (uint32_t left = most - n; left > 1; left--) word &= word - 1;
            at = at / 64 * 64 + (uint32_t)__builtin_ctzll(word) + 1;
            count = most - n;
        } else {
            at = end;
        }
        n += count;
    }
    *n_passed = n;
    return at;
}
