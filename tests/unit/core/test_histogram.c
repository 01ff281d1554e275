/* test_histogram.c - buckets against a trivial model, and additions by several threads. */
#include "tests/lib/suite.h"

#include <pthread.h>

#include "core/histogram.h"

START_TEST(bounds_ascend_and_include_themselves)
{
    struct histogram_counts c;
    ck_assert_uint_eq(histogram_bound_ns(HISTOGRAM_BUCKETS - 1), UINT64_MAX);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        struct histogram h = {0};
        uint64_t bound = histogram_bound_ns(i);
        if (i > 0) ck_assert_uint_gt(bound, histogram_bound_ns(i - 1));
        histogram_add(&h, bound);
        if (i + 1 < HISTOGRAM_BUCKETS) histogram_add(&h, bound + 1);
        histogram_read(&h, &c);
        ck_assert_uint_eq(c.n[i], 1);
        if (i + 1 < HISTOGRAM_BUCKETS) ck_assert_uint_eq(c.n[i + 1], 1);
    }
}
END_TEST

START_TEST(counts_are_those_of_a_model)
{
    struct rng r = {UINT64_C(0x5eed0b5e)};
    struct histogram h = {0};
    struct histogram_counts model = {{0}}, c;
    for (int i = 0; i < 100000; i++) {
        uint64_t ns = rng_next(&r) >> (20 + rng_below(&r, 44));
        unsigned at = 0;
        for (unsigned k = 0; k < HISTOGRAM_BUCKETS - 1; k++) at += ns > histogram_bound_ns(k);
        model.n[at]++;
        model.sum_ns += ns;
        model.total++;
        histogram_add(&h, ns);
    }
    histogram_read(&h, &c);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) ck_assert_uint_eq(c.n[i], model.n[i]);
    ck_assert_uint_eq(c.sum_ns, model.sum_ns);
    ck_assert_uint_eq(c.total, model.total);
}
END_TEST

enum { THREADS = 4, ADDS = 20000 };

static void *add_many(void *histogram)
{
    for (uint64_t i = 0; i < ADDS; i++) histogram_add(histogram, i * 1000);
    return NULL;
}

START_TEST(threads_lose_nothing)
{
    struct histogram h = {0};
    struct histogram_counts c;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) ck_assert_int_eq(pthread_create(&threads[i], NULL, add_many, &h), 0);
    for (int i = 0; i < 100; i++) {
        histogram_read(&h, &c); /* beside the writers */
        ck_assert_uint_le(c.total, THREADS * ADDS);
    }
    for (int i = 0; i < THREADS; i++) ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    histogram_read(&h, &c);
    ck_assert_uint_eq(c.total, THREADS * ADDS);
    ck_assert_uint_eq(c.sum_ns, UINT64_C(1000) * THREADS * ADDS * (ADDS - 1) / 2);
}
END_TEST

TESTS(histogram, bounds_ascend_and_include_themselves, counts_are_those_of_a_model, threads_lose_nothing)
