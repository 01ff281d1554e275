/* test_value.c - packed metadata: what goes in comes out, merges follow the rule, damage is refused. */
#include "core/mem.h"
#include "core/value.h"
#include "tests/lib/suite.h"

static struct value num(int64_t i)
{
    return (struct value){.type = VALUE_INT, .i = i};
}

static struct value dbl(double f)
{
    return (struct value){.type = VALUE_FLOAT, .f = f};
}

START_TEST(numbers_compare_exactly)
{
    struct value big = num(9007199254740993), near = dbl(9007199254740992.0), one = num(1), onef = dbl(1.0);
    ck_assert_int_gt(value_compare_numbers(&big, &near), 0);
    ck_assert_int_lt(value_compare_numbers(&near, &big), 0);
    ck_assert(value_equal(&one, &onef));
    struct value min = num(INT64_MIN), minf = dbl(-9223372036854775808.0), over = dbl(9.3e18), max = num(INT64_MAX);
    ck_assert(value_equal(&min, &minf));
    ck_assert_int_lt(value_compare_numbers(&max, &over), 0);
    struct value half = dbl(-0.5), zero = num(0), neg_zero = dbl(-0.0);
    ck_assert_int_gt(value_compare_numbers(&zero, &half), 0);
    ck_assert(value_equal(&zero, &neg_zero));
}
END_TEST

START_TEST(types_stay_apart)
{
    struct value t = {.type = VALUE_BOOL, .b = true}, one = num(1), s = {.type = VALUE_STR, .s = STR("1")};
    ck_assert(!value_equal(&t, &one));
    ck_assert(!value_equal(&s, &one));
    ck_assert(value_equal(&s, &s));
}
END_TEST

START_TEST(round_trip_of_every_type)
{
    struct arena a = {0};
    struct buf b = {0};
    struct value items[2] = {num(-1), num(INT64_MAX)};
    struct value words[2] = {{.type = VALUE_STR, .s = {"a\0b", 3}}, {.type = VALUE_STR, .s = STR("")}};
    uint32_t indices[2] = {3, 900};
    float values[2] = {0.5F, -2.0F};
    struct str tokens[2] = {STR("x"), STR("yy")};
    struct value v[] = {
        {.type = VALUE_BOOL, .b = true},
        num(INT64_MIN),
        dbl(0.1),
        {.type = VALUE_STR, .s = {"nul\0in", 6}},
        {.type = VALUE_INTS, .list = {2, items}},
        {.type = VALUE_STRS, .list = {2, words}},
        {.type = VALUE_SPARSE, .sparse = {2, indices, values, tokens}},
        {.type = VALUE_SPARSE, .sparse = {2, indices, values, NULL}},
    };
    for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
        char key = (char)('a' + i);
        meta_put(&b, str_of(&key, 1), &v[i]);
    }
    ck_assert_int_eq(b.err, ERR_OK);
    struct bytes m = {b.p, b.n};
    ck_assert(meta_validate(m, false));
    struct meta_entry e;
    struct value got;
    ck_assert(meta_find(m, STR("d"), &e));
    ck_assert(meta_value(&e, &a, &got));
    ck_assert(str_eq(got.s, v[3].s));
    ck_assert(meta_find(m, STR("e"), &e));
    ck_assert(meta_value(&e, &a, &got));
    ck_assert_uint_eq(got.list.n, 2);
    ck_assert_int_eq(got.list.items[1].i, INT64_MAX);
    ck_assert(meta_find(m, STR("f"), &e));
    ck_assert(meta_value(&e, &a, &got));
    ck_assert(str_eq(got.list.items[0].s, words[0].s));
    ck_assert(meta_find(m, STR("g"), &e));
    ck_assert(meta_value(&e, &a, &got));
    ck_assert_uint_eq(got.sparse.indices[1], 900);
    ck_assert(got.sparse.values[1] == -2.0F);
    ck_assert(str_eq(got.sparse.tokens[1], tokens[1]));
    ck_assert(meta_find(m, STR("h"), &e));
    ck_assert(meta_value(&e, &a, &got));
    ck_assert_ptr_null(got.sparse.tokens);
    ck_assert(!meta_find(m, STR("zz"), &e));
    for (size_t n = 0; n < m.n; n++) { /* a cut form is refused unless it ends between entries; never read beyond */
        uint8_t *cut = mem_dup(m.p, n);
        struct meta_iter it = meta_iter((struct bytes){cut, n});
        while (meta_next(&it, &e)) ck_assert_uint_eq(e.key.n, 1);
        mem_free(cut);
    }
    buf_free(&b);
    arena_free(&a);
}
END_TEST

START_TEST(merge_follows_the_patch)
{
    struct buf old = {0}, patch = {0}, out = {0};
    struct value one = num(1), two = num(2), null = {.type = VALUE_NULL};
    meta_put(&old, STR("a"), &one);
    meta_put(&old, STR("b"), &one);
    meta_put(&old, STR("d"), &one);
    meta_put(&patch, STR("b"), &null);
    meta_put(&patch, STR("c"), &two);
    meta_put(&patch, STR("d"), &two);
    meta_put(&patch, STR("e"), &null);
    ck_assert(!meta_validate((struct bytes){patch.p, patch.n}, false));
    ck_assert(meta_validate((struct bytes){patch.p, patch.n}, true));
    meta_merge((struct bytes){old.p, old.n}, (struct bytes){patch.p, patch.n}, &out);
    struct bytes m = {out.p, out.n};
    ck_assert(meta_validate(m, false));
    struct meta_iter it = meta_iter(m);
    struct meta_entry e;
    const char *keys = "acd";
    int n = 0;
    while (meta_next(&it, &e)) {
        ck_assert_int_eq(e.key.p[0], keys[n]);
        ck_assert_int_eq((int)le64_get(e.payload.p), n == 0 ? 1 : 2);
        n++;
    }
    ck_assert_int_eq(n, 3);
    buf_free(&old);
    buf_free(&patch);
    buf_free(&out);
}
END_TEST

START_TEST(damage_is_refused)
{
    struct buf b = {0};
    struct value nan = dbl((double)__builtin_nanf("")), one = num(1);
    meta_put(&b, STR("a"), &nan);
    ck_assert(!meta_validate((struct bytes){b.p, b.n}, false));
    buf_free(&b);
    meta_put(&b, STR("b"), &one);
    meta_put(&b, STR("a"), &one);
    ck_assert(!meta_validate((struct bytes){b.p, b.n}, false));
    struct rng r = {7};
    for (int round = 0; round < 20000; round++) { /* random bytes: refused or walkable, never out of bounds */
        size_t n = rng_below(&r, 24);
        uint8_t *p = mem_alloc(n);
        for (size_t i = 0; i < n; i++) p[i] = (uint8_t)rng_below(&r, rng_below(&r, 2) != 0 ? 12 : 256);
        struct arena a = {0};
        if (meta_validate((struct bytes){p, n}, true)) {
            struct meta_iter it = meta_iter((struct bytes){p, n});
            struct meta_entry e;
            struct value v;
            while (meta_next(&it, &e)) ck_assert(meta_value(&e, &a, &v));
        }
        arena_free(&a);
        mem_free(p);
    }
    buf_free(&b);
}
END_TEST

TESTS(value, numbers_compare_exactly, types_stay_apart, round_trip_of_every_type, merge_follows_the_patch,
      damage_is_refused)
