/* random_rows.h - random metadata, documents and filters that meet often: few keys, few values, and the awkward ones
 * among them (numbers around 2^53 and 2^63, both zeros, texts with NUL, empty strings, multi-byte characters).
 */
#ifndef TESTS_RANDOM_ROWS_H
#define TESTS_RANDOM_ROWS_H

#include <stdio.h>

#include "core/filter.h"
#include "core/mem.h"
#include "tests/unit/index/must.h"

static inline struct str random_key(struct rng *r)
{
    static const struct str keys[] = {{"a", 1}, {"ab", 2}, {"a\0b", 3}, {"num", 3}, {"tags", 4}, {"\xc3\xbc", 2}};
    return keys[rng_below(r, sizeof keys / sizeof keys[0])];
}

static inline struct value random_scalar(struct rng *r, enum value_type type)
{
    static const int64_t ints[] = {0, 1, 2, 3, -1, INT64_MIN, INT64_MAX, 9007199254740992, 9007199254740993, -5};
    static const double doubles[] = {0.0,
                                     -0.0,
                                     1.0,
                                     2.0,
                                     0.5,
                                     -0.5,
                                     -1.0,
                                     2.5,
                                     1e300,
                                     -1e300,
                                     5e-324,
                                     9007199254740992.0,
                                     9.3e18,
                                     -9.3e18,
                                     9223372036854775808.0,
                                     -9223372036854775808.0};
    static const struct str strings[] = {{"", 0},         {"a", 1},    {"b", 1},
                                         {"ab", 2},       {"a\0b", 3}, {"true", 4},
                                         {"\xc3\xbc", 2}, {"1", 1},    {"a longer text, longer than others", 33}};
    switch (type) {
    case VALUE_BOOL:
        return (struct value){.type = type, .b = rng_below(r, 2) == 1};
    case VALUE_INT:
        if (rng_below(r, 4) == 0) return (struct value){.type = type, .i = (int64_t)rng_below(r, 1000) - 500};
        return (struct value){.type = type, .i = ints[rng_below(r, sizeof ints / sizeof ints[0])]};
    case VALUE_FLOAT:
        if (rng_below(r, 4) == 0) return (struct value){.type = type, .f = (double)rng_gauss(r) * 100};
        return (struct value){.type = type, .f = doubles[rng_below(r, sizeof doubles / sizeof doubles[0])]};
    default:
        return (struct value){.type = VALUE_STR, .s = strings[rng_below(r, sizeof strings / sizeof strings[0])]};
    }
}

static inline enum value_type random_scalar_type(struct rng *r)
{
    static const enum value_type types[] = {VALUE_BOOL, VALUE_INT, VALUE_FLOAT, VALUE_STR};
    return types[rng_below(r, 4)];
}

static inline struct value random_value(struct rng *r, struct arena *a)
{
    enum value_type item = random_scalar_type(r);
    uint32_t dice = rng_below(r, 10);
    if (dice == 9) {
        static uint32_t indices[2] = {3, 70};
        static float weights[2] = {0.5F, 2.0F};
        return (struct value){.type = VALUE_SPARSE, .sparse = {2, indices, weights, NULL}};
    }
    if (dice < 6) return random_scalar(r, item);
    struct value v = {.type = item == VALUE_BOOL    ? VALUE_BOOLS
                              : item == VALUE_INT   ? VALUE_INTS
                              : item == VALUE_FLOAT ? VALUE_FLOATS
                                                    : VALUE_STRS};
    v.list.n = rng_below(r, 4);
    v.list.items = arena_array(a, v.list.n, sizeof *v.list.items);
    for (uint32_t i = 0; i < v.list.n; i++) v.list.items[i] = random_scalar(r, item);
    return v;
}

/* Packed metadata with up to three of the keys, or none; in the arena. */
static inline struct bytes random_meta(struct rng *r, struct arena *a)
{
    struct str keys[3];
    uint32_t n = 0;
    for (uint32_t tries = rng_below(r, 4); tries > 0; tries--) { /* ascending, none twice */
        struct str key = random_key(r);
        uint32_t k = 0;
        while (k < n && str_cmp(keys[k], key) < 0) k++;
        if (k < n && str_eq(keys[k], key)) continue;
        for (uint32_t i = n; i > k; i--) keys[i] = keys[i - 1];
        keys[k] = key;
        n++;
    }
    struct buf b = {0};
    for (uint32_t i = 0; i < n; i++) {
        struct value v = random_value(r, a);
        meta_put(&b, keys[i], &v);
    }
    struct str copy = arena_str(a, buf_view(&b));
    buf_free(&b);
    return (struct bytes){copy.p, copy.n};
}

/* Text of n pieces from a small alphabet; in the arena. */
static inline struct str random_text(struct rng *r, struct arena *a, uint32_t n)
{
    static const struct str pieces[] = {{"a", 1},
                                        {"b", 1},
                                        {"c", 1},
                                        {"abc", 3},
                                        {" ", 1},
                                        {"\xc3\xbc", 2},
                                        {"\xe2\x82\xac", 3},
                                        {"\xf0\x9f\x98\x80", 4},
                                        {"\0", 1},
                                        {"xyz", 3},
                                        {"A", 1},
                                        {"\xc3\xbd", 2}};
    struct buf b = {0};
    for (uint32_t i = 0; i < n; i++) buf_str(&b, pieces[rng_below(r, sizeof pieces / sizeof pieces[0])]);
    struct str copy = arena_str(a, buf_view(&b));
    buf_free(&b);
    return copy;
}

static inline struct filter *random_meta_filter(struct rng *r, struct arena *a)
{
    struct filter *f = arena_zalloc(a, sizeof *f);
    f->kind = (enum filter_kind)(FILTER_EQ + rng_below(r, FILTER_NOT_CONTAINS - FILTER_EQ + 1));
    f->key = rng_below(r, 12) == 0 ? STR("absent") : random_key(r);
    enum value_type type = random_scalar_type(r);
    f->n_values = 1;
    if (f->kind >= FILTER_GT && f->kind <= FILTER_LTE) type = rng_below(r, 2) == 0 ? VALUE_INT : VALUE_FLOAT;
    if (f->kind == FILTER_IN || f->kind == FILTER_NIN) f->n_values = 1 + rng_below(r, 4);
    f->values = arena_array(a, f->n_values, sizeof *f->values);
    for (uint32_t i = 0; i < f->n_values; i++) f->values[i] = random_scalar(r, type);
    return f;
}

#endif
