/* codes_scan_avx512.c - the scan kernel for AVX-512 (F, BW): as codes_scan_avx2.c with four groups a shuffle.
 *
 * INVARIANT called only where distance.c has seen F, BW, VL and DQ.
 */
#include "index/codes_internal.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))

struct halves {
    __m512i even, odd;
};

TARGET static inline void add_bytes(struct halves *h, __m512i bytes)
{
    h->even = _mm512_add_epi16(h->even, bytes);
    h->odd = _mm512_add_epi16(h->odd, _mm512_srli_epi16(bytes, 8));
}

/* The four lanes added up. */
TARGET static inline __m128i fold(__m512i v)
{
    __m256i two = _mm256_add_epi16(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
    return _mm_add_epi16(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1));
}

/* 16 sums in row order. */
TARGET static inline __m256i in_order(struct halves h)
{
    __m128i e = fold(_mm512_sub_epi16(h.even, _mm512_slli_epi16(h.odd, 8))), o = fold(h.odd);
    return _mm256_set_m128i(_mm_unpackhi_epi16(e, o), _mm_unpacklo_epi16(e, o));
}

/* At most a chunk of groups, a multiple of 16. */
TARGET static inline void chunk_sums(const uint8_t *block, const uint8_t *table, size_t n_bytes, __m256i *rows_0,
                                     __m256i *rows_16)
{
    const __m512i nibble = _mm512_set1_epi8(15);
    struct halves low = {_mm512_setzero_si512(), _mm512_setzero_si512()}, high = low;
    for (size_t i = 0; i < n_bytes; i += 256) {
        __m512i l = _mm512_setzero_si512(), h = l;
        for (size_t j = i; j < i + 256; j += 64) {
            __m512i codes = _mm512_loadu_si512(block + j), entries = _mm512_loadu_si512(table + j);
            l = _mm512_add_epi8(l, _mm512_shuffle_epi8(entries, _mm512_and_si512(codes, nibble)));
            h = _mm512_add_epi8(h, _mm512_shuffle_epi8(entries, _mm512_and_si512(_mm512_srli_epi16(codes, 4), nibble)));
        }
        add_bytes(&low, l);
        add_bytes(&high, h);
    }
    *rows_0 = in_order(low);
    *rows_16 = in_order(high);
}

/* Adds the 32-bit sums of 32 rows, 16 a vector, over n bytes of block and table. */
TARGET static inline void add_range(const uint8_t *block, const uint8_t *table, size_t n, __m512i sums[2])
{
    const size_t chunk = (size_t)CODES_CHUNK_GROUPS * CODES_GROUP_BYTES;
    for (size_t i = 0; i < n; i += chunk) {
        __m256i r[2];
        chunk_sums(block + i, table + i, n - i < chunk ? n - i : chunk, &r[0], &r[1]);
        for (int j = 0; j < 2; j++) sums[j] = _mm512_add_epi32(sums[j], _mm512_cvtepu16_epi32(r[j]));
    }
}

TARGET static void sums_avx512(const uint8_t *block, const struct codes_scan *s, uint32_t sums[CODES_BLOCK_ROWS])
{
    __m512i v[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    add_range(block, s->table, (size_t)s->n_groups * CODES_GROUP_BYTES, v);
    for (size_t i = 0; i < 2; i++) _mm512_storeu_si512(sums + 16 * i, v[i]);
}

/* A bit for each of 16 rows whose wider bound is not above the limit. */
TARGET static inline uint32_t first_look(__m512i sums, const float *factors, const struct codes_scan *s, __m512 limit)
{
    __m512 product =
        _mm512_sub_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_set1_ps(s->step_1)), _mm512_set1_ps(s->shift_1));
    __m512 err = _mm512_loadu_ps(factors + 2 * CODES_BLOCK_ROWS);
    __m512i delta = _mm512_slli_epi32(_mm512_castps_si512(err), 16);
    __m512 e = _mm512_add_ps(_mm512_set1_ps(s->base), _mm512_loadu_ps(factors));
    e = _mm512_add_ps(_mm512_add_ps(e, _mm512_castsi512_ps(delta)),
                      _mm512_mul_ps(_mm512_loadu_ps(factors + CODES_BLOCK_ROWS), product));
    __m512 l = _mm512_sub_ps(e, _mm512_mul_ps(_mm512_set1_ps(s->margin_1), err));
    return (uint32_t)_mm512_cmp_ps_mask(l, limit, _CMP_NGT_UQ);
}

/* Estimates and lower bounds of 32 rows; a bit for each whose lower bound is not above the limit. */
TARGET static inline uint32_t finish(const __m512i sums[2], const float *factors, const struct codes_scan *s,
                                     float limit, float *estimate, float *lower)
{
    const __m512 step = _mm512_set1_ps(s->step), shift = _mm512_set1_ps(s->shift), base = _mm512_set1_ps(s->base);
    const __m512 margin = _mm512_set1_ps(s->margin), bound = _mm512_set1_ps(limit);
    uint32_t hits = 0;
    for (size_t i = 0; i < 2; i++) {
        const float *f = factors + 16 * i;
        __m512 product = _mm512_sub_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sums[i]), step), shift);
        __m512 e = _mm512_add_ps(_mm512_add_ps(base, _mm512_loadu_ps(f)),
                                 _mm512_mul_ps(_mm512_loadu_ps(f + CODES_BLOCK_ROWS), product));
        __m512 l = _mm512_sub_ps(e, _mm512_mul_ps(margin, _mm512_loadu_ps(f + 2 * CODES_BLOCK_ROWS)));
        _mm512_storeu_ps(estimate + 16 * i, e);
        _mm512_storeu_ps(lower + 16 * i, l);
        hits |= (uint32_t)_mm512_cmp_ps_mask(l, bound, _CMP_NGT_UQ) << (16 * i);
    }
    return hits;
}

TARGET static uint32_t scan_avx512(const uint8_t *block, const uint8_t *rest, const float *factors,
                                   const struct codes_scan *s, float limit, uint32_t wanted,
                                   float estimate[CODES_BLOCK_ROWS], float lower[CODES_BLOCK_ROWS])
{
    size_t n_bytes = (size_t)s->n_groups * CODES_GROUP_BYTES, first = (size_t)s->n_first * CODES_GROUP_BYTES;
    __m512i sums[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    add_range(block, s->table, first, sums);
    if (first < n_bytes) {
        const __m512 bound = _mm512_set1_ps(limit);
        wanted &= first_look(sums[0], factors, s, bound) | first_look(sums[1], factors + 16, s, bound) << 16;
        if (wanted == 0) return 0;
        add_range(rest, s->table + first, n_bytes - first, sums);
    }
    return finish(sums, factors, s, limit, estimate, lower) & wanted;
}

/* --- with looks --- */

/* 16-bit sums of 32 rows, at most a chunk of groups. */
TARGET static inline __m512i sums_32(const uint8_t *block, const uint8_t *table, size_t n_bytes)
{
    __m256i rows_0, rows_16;
    chunk_sums(block, table, n_bytes, &rows_0, &rows_16);
    return _mm512_inserti64x4(_mm512_castsi256_si512(rows_0), rows_16, 1);
}

struct look {
    __m512i u, v, e, k;
};

TARGET static inline struct look look_of(const struct codes_look *l)
{
    return (struct look){_mm512_set1_epi16(l->u), _mm512_set1_epi16(l->v), _mm512_set1_epi16(l->e),
                         _mm512_set1_epi16(l->k)};
}

/* A bit for each of 32 rows that is not ruled out. */
TARGET static inline uint32_t seen(__m512i sums, const int16_t *looks, const struct look *l, bool has_e)
{
    __m512i least = _mm512_adds_epi16(_mm512_mulhi_epi16(l->u, _mm512_loadu_si512(looks)),
                                      _mm512_mulhi_epi16(l->v, _mm512_loadu_si512(looks + CODES_BLOCK_ROWS)));
    if (has_e)
        least = _mm512_subs_epi16(least,
                                  _mm512_mulhi_epi16(l->e, _mm512_loadu_si512(looks + (size_t)2 * CODES_BLOCK_ROWS)));
    return (uint32_t)_mm512_cmple_epi16_mask(_mm512_adds_epi16(least, l->k), sums);
}

TARGET static void first_avx512(const struct codes_stretch *t, uint32_t at, uint32_t n, const struct codes_scan *s,
                                const struct codes_look *l, uint32_t *hits)
{
    const size_t n_bytes = (size_t)s->n_first * CODES_GROUP_BYTES;
    const struct look look = look_of(l);
    for (size_t i = at; i < (size_t)at + n; i++) {
        __m512i sums = sums_32(t->blocks + i * n_bytes, s->table, n_bytes);
        _mm512_storeu_si512(t->sums + i * CODES_BLOCK_ROWS, sums);
        *hits++ = seen(sums, t->looks + i * CODES_BLOCK_LOOKS, &look, false);
    }
}

TARGET static uint32_t look_avx512(const struct codes_stretch *t, const uint32_t *blocks, uint32_t n,
                                   const struct codes_look *l, uint32_t *left)
{
    const struct look look = look_of(l);
    uint32_t n_left = 0;
    for (uint32_t x = 0; x < n; x++) {
        size_t i = blocks[x];
        __m512i sums = _mm512_loadu_si512(t->sums + i * CODES_BLOCK_ROWS);
        n_left = codes_leave(t, blocks[x], seen(sums, t->looks + i * CODES_BLOCK_LOOKS, &look, true), left, n_left);
    }
    return n_left;
}

TARGET static void add_avx512(const struct codes_stretch *t, const uint32_t *blocks, uint32_t n,
                              const struct codes_part *p)
{
    for (uint32_t x = 0; x < n; x++) {
        if (x + CODES_ADD_AHEAD < n)
            codes_prefetch_bytes(p->codes + blocks[x + CODES_ADD_AHEAD] * p->stride, p->n_bytes);
        uint16_t *sums = t->sums + (size_t)blocks[x] * CODES_BLOCK_ROWS;
        __m512i more = sums_32(p->codes + blocks[x] * p->stride, p->table, p->n_bytes);
        _mm512_storeu_si512(sums, _mm512_add_epi16(_mm512_loadu_si512(sums), more));
    }
}

TARGET static uint32_t finish_avx512(const struct codes_stretch *t, uint32_t block, const struct codes_scan *s,
                                     float limit, float estimate[CODES_BLOCK_ROWS], float lower[CODES_BLOCK_ROWS])
{
    const uint16_t *sums = t->sums + (size_t)block * CODES_BLOCK_ROWS;
    const __m512i wide[2] = {_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)sums)),
                             _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)(sums + 16)))};
    const float *factors = t->factors + (size_t)block * CODES_BLOCK_FACTORS;
    return finish(wide, factors, s, limit, estimate, lower) & t->wanted[block];
}

const struct codes_kernels codes_kernels_avx512 = {sums_avx512, scan_avx512, first_avx512,
                                                   look_avx512, add_avx512,  finish_avx512};

#endif
