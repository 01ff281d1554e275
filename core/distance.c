/* distance.c - portable kernels, the choice of a level, and distances as the API answers them.
 *
 * HAPPY PATH  the first call chooses the best table that the processor has and CHROMA_SIMD allows; later calls return it.
 *             Whoever runs many distances keeps the pointer.
 * FAILURE     none. An unknown CHROMA_SIMD leaves the choice to the processor.
 * INVARIANTS  distance_exact never returns NaN for finite vectors under cosine: squared lengths that overflow or vanish in
 *             float32 are summed again in double. Under l2 and ip an overflow is an infinity.
 */
#include "core/distance_internal.h"

#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* --- portable: vectors of 4 as the compiler lays them out, 4 accumulators ----------------------------------------- */

typedef float lanes4 __attribute__((vector_size(16)));

static inline lanes4 load4(const float *p)
{
    lanes4 v;
    memcpy(&v, p, sizeof v);
    return v;
}

static float sum16(lanes4 s0, lanes4 s1, lanes4 s2, lanes4 s3)
{
    lanes4 s = (s0 + s1) + (s2 + s3);
    return (s[0] + s[1]) + (s[2] + s[3]);
}

static float dot_portable(const float *a, const float *b, size_t n)
{
    lanes4 s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
    size_t i = 0;
    for (; n - i >= 16; i += 16) {
        s0 += load4(a + i) * load4(b + i);
        s1 += load4(a + i + 4) * load4(b + i + 4);
        s2 += load4(a + i + 8) * load4(b + i + 8);
        s3 += load4(a + i + 12) * load4(b + i + 12);
    }
    float sum = sum16(s0, s1, s2, s3);
    for (; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static float l2_portable(const float *a, const float *b, size_t n)
{
    lanes4 s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
    size_t i = 0;
    for (; n - i >= 16; i += 16) {
        lanes4 d0 = load4(a + i) - load4(b + i), d1 = load4(a + i + 4) - load4(b + i + 4);
        lanes4 d2 = load4(a + i + 8) - load4(b + i + 8), d3 = load4(a + i + 12) - load4(b + i + 12);
        s0 += d0 * d0;
        s1 += d1 * d1;
        s2 += d2 * d2;
        s3 += d3 * d3;
    }
    float sum = sum16(s0, s1, s2, s3);
    for (; i < n; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum;
}

const struct distance_ops distance_portable = {SIMD_PORTABLE, l2_portable, dot_portable};

/* --- choice ------------------------------------------------------------------------------------------------------ */

const struct distance_ops *distance_ops_at(enum simd_level level)
{
    switch (level) {
    case SIMD_PORTABLE:
        return &distance_portable;
#if defined(__x86_64__)
    case SIMD_AVX2:
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &distance_avx2;
        return NULL;
    case SIMD_AVX512:
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma"))
            return &distance_avx512;
        return NULL;
    case SIMD_NEON:
        return NULL;
#elif defined(__aarch64__)
    case SIMD_NEON:
        return &distance_neon;
    case SIMD_AVX2:
    case SIMD_AVX512:
        return NULL;
#else
    case SIMD_AVX2:
    case SIMD_AVX512:
    case SIMD_NEON:
        return NULL;
#endif
    }
    return NULL;
}

/* Written once, under `chosen_once`. */
static pthread_once_t chosen_once = PTHREAD_ONCE_INIT;
static const struct distance_ops *chosen;

static void choose(void)
{
    static const struct {
        const char *name;
        enum simd_level level;
    } by_rank[] = {{"avx512", SIMD_AVX512}, {"avx2", SIMD_AVX2}, {"neon", SIMD_NEON}, {"portable", SIMD_PORTABLE}};
    enum { N = sizeof by_rank / sizeof by_rank[0] };
    const char *wish = getenv("CHROMA_SIMD");
    size_t first = 0;
    for (size_t i = 0; wish != NULL && i < N; i++) {
        if (strcmp(wish, by_rank[i].name) == 0) first = i;
    }
    for (size_t i = first; i < N && chosen == NULL; i++) chosen = distance_ops_at(by_rank[i].level);
    CHECK(chosen != NULL && "the portable level is always there");
}

const struct distance_ops *distance_ops(void)
{
    CHECK(pthread_once(&chosen_once, choose) == 0);
    return chosen;
}

/* --- as the API answers ------------------------------------------------------------------------------------------ */

/* 1 - cos where float32 cannot hold the squares. A double can: 3.4e38 squared times any dimension is below 1e90. */
static float cosine_in_double(const float *a, const float *b, size_t n)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    if (aa == 0 || bb == 0) return 1;
    return (float)(1 - ab / (sqrt(aa) * sqrt(bb)));
}

float distance_exact(const struct query_vector *q, const float *v, float norm2)
{
    const struct distance_ops *ops = distance_ops();
    switch (q->space) {
    case SPACE_L2:
        return ops->l2(q->v, v, q->dim);
    case SPACE_IP:
        return 1 - ops->dot(q->v, v, q->dim);
    case SPACE_COSINE:
        break;
    }
    bool is_safe = norm2 >= FLT_MIN && norm2 <= FLT_MAX && q->norm2 >= FLT_MIN && q->norm2 <= FLT_MAX;
    if (!is_safe) return cosine_in_double(q->v, v, q->dim);
    return 1 - ops->dot(q->v, v, q->dim) / (sqrtf(norm2) * sqrtf(q->norm2));
}

void query_vector_init(struct query_vector *q, const float *v, uint32_t dim, enum space space, struct arena *a)
{
    *q = (struct query_vector){.v = v,
                               .dim = dim,
                               .space = space,
                               .norm2 = distance_ops()->dot(v, v, dim),
                               .effort = EFFORT_DEFAULT,
                               .arena = a};
}
