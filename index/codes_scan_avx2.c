/* codes_scan_avx2.c - the scan kernel for AVX2: a byte shuffle looks up 32 entries, of two groups for 16 rows each.
 *
 * Four shuffles add up in bytes (4 * 63 < 256); then the bytes are added to 16-bit sums in two halves: a plain 16-bit
 * addition collects even rows + 256 * odd rows (modulo 2^16), the shifted one the odd rows alone, and at the end the even
 * rows are their difference. (Andre, Kermarrec, Le Scouarnec, VLDB 2015; the two-halves sum is common in its kin.)
 * OVERFLOW  a chunk of 1024 groups fits 16 bits; longer rows are summed chunk by chunk in 32 bits.
 * INVARIANT called only where distance.c has seen AVX2.
 */
#include "index/codes_internal.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define TARGET __attribute__((target("avx2")))

/* 16 rows' 16-bit sums: even rows in `even`, odd rows in `odd`, two lanes of different groups. */
struct halves {
    __m256i even, odd;
};

TARGET static inline void add_bytes(struct halves *h, __m256i bytes)
{
    h->even = _mm256_add_epi16(h->even, bytes);
    h->odd = _mm256_add_epi16(h->odd, _mm256_srli_epi16(bytes, 8));
}

/* 16 sums in row order. */
TARGET static inline __m256i in_order(struct halves h)
{
    __m256i even = _mm256_sub_epi16(h.even, _mm256_slli_epi16(h.odd, 8));
    __m128i e = _mm_add_epi16(_mm256_castsi256_si128(even), _mm256_extracti128_si256(even, 1));
    __m128i o = _mm_add_epi16(_mm256_castsi256_si128(h.odd), _mm256_extracti128_si256(h.odd, 1));
    return _mm256_set_m128i(_mm_unpackhi_epi16(e, o), _mm_unpacklo_epi16(e, o));
}

TARGET static inline __m256i load(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

/* At most a chunk of groups, a multiple of 8. */
TARGET static inline void chunk_sums(const uint8_t *block, const uint8_t *table, size_t n_bytes, __m256i *rows_0,
                                     __m256i *rows_16)
{
    const __m256i nibble = _mm256_set1_epi8(15);
    struct halves low = {_mm256_setzero_si256(), _mm256_setzero_si256()}, high = low;
    for (size_t i = 0; i < n_bytes; i += 128) {
        __m256i l = _mm256_setzero_si256(), h = l;
        for (size_t j = i; j < i + 128; j += 32) {
            __m256i codes = load(block + j), entries = load(table + j);
            l = _mm256_add_epi8(l, _mm256_shuffle_epi8(entries, _mm256_and_si256(codes, nibble)));
            h = _mm256_add_epi8(h, _mm256_shuffle_epi8(entries, _mm256_and_si256(_mm256_srli_epi16(codes, 4), nibble)));
        }
        add_bytes(&low, l);
        add_bytes(&high, h);
    }
    *rows_0 = in_order(low);
    *rows_16 = in_order(high);
}

/* 32-bit sums of 32 rows, 8 a vector. */
TARGET static inline void all_sums(const uint8_t *block, const struct codes_scan *s, __m256i sums[4])
{
    for (int i = 0; i < 4; i++) sums[i] = _mm256_setzero_si256();
    size_t n_bytes = (size_t)s->n_groups * CODES_GROUP_BYTES;
    const size_t chunk = (size_t)CODES_CHUNK_GROUPS * CODES_GROUP_BYTES;
    for (size_t i = 0; i < n_bytes; i += chunk) {
        __m256i r[2];
        chunk_sums(block + i, s->table + i, n_bytes - i < chunk ? n_bytes - i : chunk, &r[0], &r[1]);
        for (int j = 0; j < 4; j++) {
            __m128i half = j % 2 == 0 ? _mm256_castsi256_si128(r[j / 2]) : _mm256_extracti128_si256(r[j / 2], 1);
            sums[j] = _mm256_add_epi32(sums[j], _mm256_cvtepu16_epi32(half));
        }
    }
}

TARGET static void sums_avx2(const uint8_t *block, const struct codes_scan *s, uint32_t sums[CODES_BLOCK_ROWS])
{
    __m256i v[4];
    all_sums(block, s, v);
    for (size_t i = 0; i < 4; i++) _mm256_storeu_si256((__m256i *)(void *)(sums + 8 * i), v[i]);
}

TARGET static uint32_t scan_avx2(const uint8_t *block, const float *factors, const struct codes_scan *s, float limit,
                                 float estimate[CODES_BLOCK_ROWS], float lower[CODES_BLOCK_ROWS])
{
    const __m256 step = _mm256_set1_ps(s->step), shift = _mm256_set1_ps(s->shift), base = _mm256_set1_ps(s->base);
    const __m256 margin = _mm256_set1_ps(s->margin), bound = _mm256_set1_ps(limit);
    __m256i sums[4];
    all_sums(block, s, sums);
    uint32_t hits = 0;
    for (size_t i = 0; i < 4; i++) {
        const float *f = factors + 8 * i;
        __m256 product = _mm256_sub_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sums[i]), step), shift);
        __m256 e = _mm256_add_ps(_mm256_add_ps(base, _mm256_loadu_ps(f)),
                                 _mm256_mul_ps(_mm256_loadu_ps(f + CODES_BLOCK_ROWS), product));
        __m256 l = _mm256_sub_ps(e, _mm256_mul_ps(margin, _mm256_loadu_ps(f + 2 * CODES_BLOCK_ROWS)));
        _mm256_storeu_ps(estimate + 8 * i, e);
        _mm256_storeu_ps(lower + 8 * i, l);
        hits |= (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(l, bound, _CMP_NGT_UQ)) << (8 * i);
    }
    return hits;
}

const struct codes_kernels codes_kernels_avx2 = {sums_avx2, scan_avx2};

#endif
