/* sketch.c - see sketch.h.
 *
 * HAPPY PATH  make: the largest component becomes 127, the others are rounded, and the length of what is lost is kept.
 *             bound: one product of bytes, then some arithmetic.
 * FAILURE     only sketch_query_init allocates.
 * INVARIANTS  codes lie in -127..127, so that two products of bytes fit into 16 bits, and SKETCH_DIM_MAX of them into 31.
 *             Behind the last one there are zeros up to a multiple of 32.
 */
#include "core/sketch.h"

#include <math.h>
#include <string.h>

#include "core/arena.h"
#include "core/distance.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define TARGET __attribute__((target("avx2,fma")))
#endif

enum { SKETCH_DIM_MAX = 32768, SKETCH_STEP = 32, SKETCH_TOP = 127 };

/* Squares of lengths between these leave room for every product below, in both directions. */
static const float NORM2_MIN = 1e-20F, NORM2_MAX = 1e20F;

size_t sketch_bytes(uint32_t dim)
{
    if (dim == 0 || dim > SKETCH_DIM_MAX) return 0;
    return sizeof(struct sketch) + ((size_t)dim + SKETCH_STEP - 1) / SKETCH_STEP * SKETCH_STEP;
}

/* --- portable ---------------------------------------------------------------------------------------------------- */

static float largest_portable(const float *v, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++) most = fabsf(v[i]) > most ? fabsf(v[i]) : most;
    return most;
}

/* Fills n codes; the squared length of what they miss. */
static float round_portable(const float *v, size_t n, float scale, float inverse, int8_t *codes)
{
    float lost = 0;
    for (size_t i = 0; i < n; i++) {
        float x = v[i] * inverse;
        int code = (int)(x + (x < 0 ? -0.5F : 0.5F));
        float r = v[i] - scale * (float)code;
        codes[i] = (int8_t)code;
        lost += r * r;
    }
    return lost;
}

static int32_t product_portable(const int8_t *a, const int8_t *b, size_t n)
{
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* --- AVX2, of which AVX-512 processors have all ------------------------------------------------------------------- */

#if defined(__x86_64__)

TARGET static float largest_avx2(const float *v, size_t n)
{
    const __m256 no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(INT32_MAX));
    __m256 most = _mm256_setzero_ps();
    size_t i = 0;
    for (; n - i >= 8; i += 8) most = _mm256_max_ps(most, _mm256_and_ps(_mm256_loadu_ps(v + i), no_sign));
    float lanes[8], found = largest_portable(v + i, n - i);
    _mm256_storeu_ps(lanes, most);
    for (size_t k = 0; k < 8; k++) found = lanes[k] > found ? lanes[k] : found;
    return found;
}

TARGET static float round_avx2(const float *v, size_t n, float scale, float inverse, int8_t *codes)
{
    const __m256 times = _mm256_set1_ps(inverse), step = _mm256_set1_ps(scale);
    __m256 lost = _mm256_setzero_ps();
    size_t i = 0;
    for (; n - i >= 8; i += 8) {
        __m256 x = _mm256_loadu_ps(v + i);
        __m256i code = _mm256_cvtps_epi32(_mm256_mul_ps(x, times));
        __m256 r = _mm256_fnmadd_ps(step, _mm256_cvtepi32_ps(code), x);
        lost = _mm256_fmadd_ps(r, r, lost);
        __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(code), _mm256_extracti128_si256(code, 1));
        _mm_storel_epi64((__m128i *)(void *)(codes + i), _mm_packs_epi16(words, words));
    }
    float lanes[8], sum = round_portable(v + i, n - i, scale, inverse, codes + i);
    _mm256_storeu_ps(lanes, lost);
    for (size_t k = 0; k < 8; k++) sum += lanes[k];
    return sum;
}

/* n: a multiple of SKETCH_STEP. maddubs multiplies unsigned by signed bytes: |a| by b with the sign of a. */
TARGET static int32_t product_avx2(const int8_t *a, const int8_t *b, size_t n)
{
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sum = _mm256_setzero_si256();
    for (size_t i = 0; i < n; i += SKETCH_STEP) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(a + i));
        __m256i y = _mm256_loadu_si256((const __m256i *)(const void *)(b + i));
        __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(y, x));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
    }
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    half = _mm_add_epi32(half, _mm_unpackhi_epi64(half, half));
    return _mm_cvtsi128_si32(half) + _mm_extract_epi32(half, 1);
}

static bool has_avx2(void)
{
    enum simd_level level = distance_ops()->level;
    return level == SIMD_AVX2 || level == SIMD_AVX512;
}

#endif

static float largest(const float *v, size_t n)
{
#if defined(__x86_64__)
    if (has_avx2()) return largest_avx2(v, n);
#endif
    return largest_portable(v, n);
}

static float round_to_codes(const float *v, size_t n, float scale, float inverse, int8_t *codes)
{
#if defined(__x86_64__)
    if (has_avx2()) return round_avx2(v, n, scale, inverse, codes);
#endif
    return round_portable(v, n, scale, inverse, codes);
}

/* --- sketches ---------------------------------------------------------------------------------------------------- */

void sketch_make(struct sketch *s, const float *v, uint32_t dim, float norm2)
{
    memset(s, 0, sketch_bytes(dim));
    s->left = INFINITY;
    if (!(norm2 >= NORM2_MIN && norm2 <= NORM2_MAX)) return; /* nor if it is NaN */
    float most = largest(v, dim), scale = most / SKETCH_TOP;
    float lost = round_to_codes(v, dim, scale, SKETCH_TOP / most, s->codes);
    s->norm = sqrtf(norm2);
    s->scale = scale;
    s->left = sqrtf(lost) * 1.01F + 1e-6F * s->norm; /* above any rounding of the sum and of its terms */
}

/* The errors of dot, of norm2 (distance.h) and of the arithmetic below, each below a quarter of this share. */
static float slack_of(uint32_t dim)
{
    return ((float)dim / 16 + 16) * 0x1p-21F;
}

bool sketch_query_init(struct sketch_query *sq, const struct query_vector *q)
{
    size_t size = sketch_bytes(q->dim);
    struct sketch *s = size > 0 ? arena_alloc(q->arena, size) : NULL;
    if (s == NULL) return false;
    sketch_make(s, q->v, q->dim, q->norm2);
    *sq = (struct sketch_query){
        .q = q, .s = s, .slack = slack_of(q->dim), .n = size - sizeof *s, .product = product_portable};
#if defined(__x86_64__)
    if (has_avx2()) sq->product = product_avx2;
#endif
    return !isinf(s->left);
}

float sketch_bound(const struct sketch_query *sq, const struct sketch *row)
{
    const struct sketch *u = sq->s;
    if (isinf(row->left)) return -INFINITY;
    float both = u->norm * row->norm;
    float most = u->scale * row->scale * (float)sq->product(u->codes, row->codes, sq->n); /* of the dot product */
    most += u->left * (row->norm + row->left) + u->norm * row->left + sq->slack * both;
    switch (sq->q->space) {
    case SPACE_L2: {
        float squares = u->norm * u->norm + row->norm * row->norm;
        return squares - 2 * most - 2 * sq->slack * squares;
    }
    case SPACE_IP:
        return 1 - most - 1e-6F;
    case SPACE_COSINE:
        break;
    }
    return 1 - most / both - 1e-6F;
}
