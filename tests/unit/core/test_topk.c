/* test_topk.c - topk against sorting everything. */
#include "tests/lib/suite.h"

#include "core/topk.h"

struct pair {
    float distance;
    uint64_t ordinal;
};

static int pair_cmp(const void *x, const void *y)
{
    const struct pair *a = x, *b = y;
    if (a->distance != b->distance) return a->distance < b->distance ? -1 : 1;
    return (a->ordinal > b->ordinal) - (a->ordinal < b->ordinal);
}

START_TEST(equals_sorting)
{
    struct rng r = {1234567};
    for (int round = 0; round < 300; round++) {
        uint32_t n = rng_below(&r, 200), k = rng_below(&r, 60), n_distances = 1 + rng_below(&r, 50);
        struct pair all[200];
        struct arena a = {0};
        struct topk t;
        ck_assert(topk_init(&t, &a, k));
        for (uint32_t i = 0; i < n; i++) {
            all[i] = (struct pair){(float)rng_below(&r, n_distances) - 10, i * UINT64_C(7919) % 211};
            t.segment = i % 3;
            topk_offer(&t, all[i].distance, all[i].ordinal, i);
        }
        qsort(all, n, sizeof all[0], pair_cmp);
        topk_sort(&t);
        ck_assert_msg(t.n == (n < k ? n : k), "seed 1234567 round %d", round);
        for (uint32_t i = 0; i < t.n; i++) {
            ck_assert_msg(t.heap[i].distance == all[i].distance && t.heap[i].ordinal == all[i].ordinal,
                          "seed 1234567 round %d place %u", round, i);
            ck_assert_uint_eq(t.heap[i].segment, t.heap[i].row % 3);
        }
        arena_free(&a);
    }
}
END_TEST

START_TEST(bound_follows_the_worst_kept)
{
    struct arena a = {0};
    struct topk t;
    ck_assert(topk_init(&t, &a, 2));
    ck_assert(topk_bound(&t) == INFINITY);
    topk_offer(&t, 5, 1, 0);
    ck_assert(topk_bound(&t) == INFINITY);
    topk_offer(&t, 3, 2, 1);
    ck_assert(topk_bound(&t) == 5);
    topk_offer(&t, 5, 3, 2); /* as far, but younger */
    ck_assert_uint_eq(t.heap[0].ordinal, 1);
    topk_offer(&t, 5, 0, 3); /* as far and older */
    ck_assert_uint_eq(t.heap[0].ordinal, 0);
    topk_offer(&t, 1, 9, 4);
    ck_assert(topk_bound(&t) == 3);
    arena_free(&a);
}
END_TEST

START_TEST(not_a_number_is_farthest)
{
    struct arena a = {0};
    struct topk t;
    ck_assert(topk_init(&t, &a, 3));
    topk_offer(&t, NAN, 0, 0);
    topk_offer(&t, 1e38f, 1, 1);
    topk_offer(&t, -INFINITY, 2, 2);
    topk_offer(&t, 7, 3, 3);
    topk_offer(&t, NAN, 4, 4);
    topk_sort(&t);
    ck_assert_uint_eq(t.heap[0].row, 2);
    ck_assert_uint_eq(t.heap[1].row, 3);
    ck_assert_uint_eq(t.heap[2].row, 1);
    arena_free(&a);
}
END_TEST

START_TEST(none_and_no_memory)
{
    struct arena a = {.max_bytes = 1 << 10};
    struct topk t;
    ck_assert(topk_init(&t, &a, 0));
    ck_assert(topk_bound(&t) == -INFINITY);
    topk_offer(&t, 1, 1, 1);
    topk_sort(&t);
    ck_assert_uint_eq(t.n, 0);
    ck_assert(!topk_init(&t, &a, 1000));
    arena_free(&a);
}
END_TEST

TESTS(topk, equals_sorting, bound_follows_the_worst_kept, not_a_number_is_farthest, none_and_no_memory)
