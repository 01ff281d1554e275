/* test_distance.c - every kernel of every level that this processor has, against sums in double. */
#include "tests/lib/suite.h"

#include <float.h>
#include <math.h>

#include "core/distance.h"
#include "core/mem.h"

static const enum simd_level levels[] = {SIMD_PORTABLE, SIMD_AVX2, SIMD_AVX512, SIMD_NEON};
enum { N_LEVELS = sizeof levels / sizeof levels[0] };

/* The bound of distance.h, with the subtraction of l2 counted in. */
static double tolerance(size_t n, double sum_abs)
{
    return ((double)n / 16 + 10) * 0x1p-23 * sum_abs;
}

static void check_pair(const struct distance_ops *ops, const float *a, const float *b, size_t n)
{
    double dot = 0, l2 = 0, dot_abs = 0;
    for (size_t i = 0; i < n; i++) {
        double p = (double)a[i] * (double)b[i], d = (double)a[i] - (double)b[i];
        dot += p;
        dot_abs += fabs(p);
        l2 += d * d;
    }
    double got_dot = (double)ops->dot(a, b, n), got_l2 = (double)ops->l2(a, b, n);
    ck_assert_msg(fabs(got_dot - dot) <= tolerance(n, dot_abs), "level %d n %zu dot %.9g not %.9g", (int)ops->level, n,
                  got_dot, dot);
    ck_assert_msg(fabs(got_l2 - l2) <= tolerance(n, l2), "level %d n %zu l2 %.9g not %.9g", (int)ops->level, n, got_l2,
                  l2);
}

START_TEST(kernels_agree_with_double)
{
    struct rng r = {77};
    for (size_t l = 0; l < N_LEVELS; l++) {
        const struct distance_ops *ops = distance_ops_at(levels[l]);
        if (ops == NULL) continue;
        ck_assert_int_eq(ops->level, levels[l]);
        for (size_t n = 0; n <= 300; n++) {
            /* Blocks that end with the vectors: a sanitizer sees a read beyond n. */
            size_t at_a = rng_below(&r, 17), at_b = rng_below(&r, 17);
            float *a = mem_alloc((n + at_a) * sizeof *a), *b = mem_alloc((n + at_b) * sizeof *b);
            ck_assert(a != NULL && b != NULL);
            for (size_t i = 0; i < n; i++) {
                a[at_a + i] = rng_gauss(&r);
                b[at_b + i] = rng_gauss(&r);
            }
            check_pair(ops, a + at_a, b + at_b, n);
            mem_free(a);
            mem_free(b);
        }
    }
}
END_TEST

START_TEST(long_vectors)
{
    struct rng r = {78};
    static float a[8192], b[8192];
    for (size_t i = 0; i < 8192; i++) {
        a[i] = rng_gauss(&r) * 100;
        b[i] = rng_gauss(&r) + 1;
    }
    for (size_t l = 0; l < N_LEVELS; l++) {
        const struct distance_ops *ops = distance_ops_at(levels[l]);
        if (ops == NULL) continue;
        for (size_t n = 301; n <= 8192; n += 37) check_pair(ops, a, b, n);
    }
}
END_TEST

START_TEST(extreme_values)
{
    float huge[40], tiny[40], zero[40] = {0};
    for (size_t i = 0; i < 40; i++) {
        huge[i] = FLT_MAX;
        tiny[i] = FLT_MIN / 4;
    }
    for (size_t l = 0; l < N_LEVELS; l++) {
        const struct distance_ops *ops = distance_ops_at(levels[l]);
        if (ops == NULL) continue;
        ck_assert(ops->dot(huge, huge, 40) == INFINITY);
        ck_assert(ops->l2(huge, zero, 40) == INFINITY);
        ck_assert(ops->l2(huge, huge, 40) == 0);
        ck_assert(ops->dot(tiny, tiny, 40) == 0);
        ck_assert(ops->dot(huge, zero, 40) == 0);
    }
}
END_TEST

static float distance(enum space space, const float *q, const float *v, uint32_t dim)
{
    struct arena a = {0};
    struct query_vector query;
    query_vector_init(&query, q, dim, space, &a);
    ck_assert(query.rotated == NULL && query.v == q && query.dim == dim);
    return distance_exact(&query, v, distance_ops()->dot(v, v, dim));
}

START_TEST(distances_as_answered)
{
    const float q[3] = {1, 2, 2}, v[3] = {2, 4, -4}, zero[3] = {0};
    ck_assert_float_eq(distance(SPACE_L2, q, v, 3), 1 + 4 + 36);
    ck_assert_float_eq(distance(SPACE_IP, q, v, 3), 1 - 2);
    ck_assert_float_eq_tol(distance(SPACE_COSINE, q, v, 3), 1 - 2.0f / 18, 1e-6f);
    ck_assert_float_eq(distance(SPACE_COSINE, q, zero, 3), 1);
    ck_assert_float_eq(distance(SPACE_COSINE, zero, v, 3), 1);
    ck_assert_float_eq(distance(SPACE_COSINE, zero, zero, 3), 1);
    ck_assert_float_eq(distance(SPACE_IP, q, zero, 3), 1);
}
END_TEST

START_TEST(cosine_survives_overflow_and_underflow)
{
    const float scales[] = {1e-44f, 1e-30f, 1e-20f, 1, 1e18f, 1e25f, 1e38f};
    const float q[4] = {1, 2, 3, -1};
    for (size_t i = 0; i < sizeof scales / sizeof scales[0]; i++) {
        float v[4], w[4];
        for (size_t j = 0; j < 4; j++) {
            v[j] = q[j] * scales[i];
            w[j] = -v[j];
        }
        ck_assert_float_eq_tol(distance(SPACE_COSINE, q, v, 4), 0, 1e-5f);
        ck_assert_float_eq_tol(distance(SPACE_COSINE, v, v, 4), 0, 1e-5f);
        ck_assert_float_eq_tol(distance(SPACE_COSINE, v, w, 4), 2, 1e-5f);
    }
}
END_TEST

START_TEST(best_level_is_available)
{
    const struct distance_ops *ops = distance_ops();
    ck_assert_ptr_eq(ops, distance_ops_at(ops->level));
    ck_assert_ptr_eq(ops, distance_ops());
    ck_assert_ptr_nonnull(distance_ops_at(SIMD_PORTABLE));
}
END_TEST

TESTS(distance, kernels_agree_with_double, long_vectors, extreme_values, distances_as_answered,
      cosine_survives_overflow_and_underflow, best_level_is_available)
