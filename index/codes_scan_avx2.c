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
/* The parts of the inner loop: a call that passes vectors through memory costs as much as what it does. */
#define INNER TARGET __attribute__((always_inline)) static inline

/* 16 rows' 16-bit sums: even rows in `even`, odd rows in `odd`, two lanes of different groups. */
struct halves {
    __m256i even, odd;
};

INNER void add_bytes(struct halves *h, __m256i bytes)
{
    h->even = _mm256_add_epi16(h->even, bytes);
    h->odd = _mm256_add_epi16(h->odd, _mm256_srli_epi16(bytes, 8));
}

/* 16 sums in row order. */
INNER __m256i in_order(struct halves h)
{
    __m256i even = _mm256_sub_epi16(h.even, _mm256_slli_epi16(h.odd, 8));
    __m128i e = _mm_add_epi16(_mm256_castsi256_si128(even), _mm256_extracti128_si256(even, 1));
    __m128i o = _mm_add_epi16(_mm256_castsi256_si128(h.odd), _mm256_extracti128_si256(h.odd, 1));
    return _mm256_set_m128i(_mm_unpackhi_epi16(e, o), _mm_unpacklo_epi16(e, o));
}

INNER __m256i load(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

/* Table entries of two groups for 16 rows each: rows 0 to 15 to *low, rows 16 to 31 to *high. */
INNER void look_up(const uint8_t *block, const uint8_t *table, __m256i *low, __m256i *high)
{
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i codes = load(block), entries = load(table);
    *low = _mm256_add_epi8(*low, _mm256_shuffle_epi8(entries, _mm256_and_si256(codes, nibble)));
    *high = _mm256_add_epi8(*high, _mm256_shuffle_epi8(entries, _mm256_and_si256(_mm256_srli_epi16(codes, 4), nibble)));
}

/* 16-bit sums of 32 rows. */
struct sums16 {
    __m256i rows_0, rows_16;
};

/* At most a chunk of groups, a multiple of 8. The four steps are written out: the compiler does not unroll at -O2. */
INNER struct sums16 chunk_sums(const uint8_t *block, const uint8_t *table, size_t n_bytes)
{
    struct halves low = {_mm256_setzero_si256(), _mm256_setzero_si256()}, high = low;
    for (size_t i = 0; i < n_bytes; i += 128) {
        __m256i l = _mm256_setzero_si256(), h = l;
        look_up(block + i, table + i, &l, &h);
        look_up(block + i + 32, table + i + 32, &l, &h);
        look_up(block + i + 64, table + i + 64, &l, &h);
        look_up(block + i + 96, table + i + 96, &l, &h);
        add_bytes(&low, l);
        add_bytes(&high, h);
    }
    return (struct sums16){in_order(low), in_order(high)};
}

/* 32-bit sums of 32 rows, 8 a vector. */
struct sums {
    __m256i v[4];
};

INNER struct sums widen(struct sums16 s)
{
    return (struct sums){{_mm256_cvtepu16_epi32(_mm256_castsi256_si128(s.rows_0)),
                          _mm256_cvtepu16_epi32(_mm256_extracti128_si256(s.rows_0, 1)),
                          _mm256_cvtepu16_epi32(_mm256_castsi256_si128(s.rows_16)),
                          _mm256_cvtepu16_epi32(_mm256_extracti128_si256(s.rows_16, 1))}};
}

/* Adds the sums of n bytes of block and table, chunk by chunk. */
TARGET static struct sums add_range(struct sums sums, const uint8_t *block, const uint8_t *table, size_t n)
{
    const size_t chunk = (size_t)CODES_CHUNK_GROUPS * CODES_GROUP_BYTES;
    for (size_t at = 0; at < n; at += chunk) {
        struct sums part = widen(chunk_sums(block + at, table + at, n - at < chunk ? n - at : chunk));
        for (int i = 0; i < 4; i++) sums.v[i] = _mm256_add_epi32(sums.v[i], part.v[i]);
    }
    return sums;
}

static const struct sums no_sums;

TARGET static void sums_avx2(const uint8_t *block, const struct codes_scan *s, uint32_t sums[CODES_BLOCK_ROWS])
{
    struct sums all = add_range(no_sums, block, s->table, (size_t)s->n_groups * CODES_GROUP_BYTES);
    for (size_t i = 0; i < 4; i++) _mm256_storeu_si256((__m256i *)(void *)(sums + 8 * i), all.v[i]);
}

/* A bit for each of 8 rows whose wider bound is not above the limit. */
INNER uint32_t look_8(__m256i sums, const float *factors, const struct codes_scan *s, __m256 limit)
{
    __m256 product =
        _mm256_sub_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_set1_ps(s->step_1)), _mm256_set1_ps(s->shift_1));
    __m256 err = _mm256_loadu_ps(factors + 2 * CODES_BLOCK_ROWS);
    __m256i delta = _mm256_slli_epi32(_mm256_castps_si256(err), 16);
    __m256 e = _mm256_add_ps(_mm256_set1_ps(s->base), _mm256_loadu_ps(factors));
    e = _mm256_add_ps(_mm256_add_ps(e, _mm256_castsi256_ps(delta)),
                      _mm256_mul_ps(_mm256_loadu_ps(factors + CODES_BLOCK_ROWS), product));
    __m256 l = _mm256_sub_ps(e, _mm256_mul_ps(_mm256_set1_ps(s->margin_1), err));
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(l, limit, _CMP_NGT_UQ));
}

INNER uint32_t first_look(struct sums sums, const float *factors, const struct codes_scan *s, float limit)
{
    __m256 bound = _mm256_set1_ps(limit);
    uint32_t hits = look_8(sums.v[0], factors, s, bound);
    hits |= look_8(sums.v[1], factors + 8, s, bound) << 8;
    hits |= look_8(sums.v[2], factors + 16, s, bound) << 16;
    return hits | look_8(sums.v[3], factors + 24, s, bound) << 24;
}

/* Estimates and lower bounds of 8 rows; a bit for each whose lower bound is not above the limit. */
INNER uint32_t finish_8(__m256i sums, const float *factors, const struct codes_scan *s, __m256 limit, float *estimate,
                        float *lower)
{
    __m256 product =
        _mm256_sub_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_set1_ps(s->step)), _mm256_set1_ps(s->shift));
    __m256 e = _mm256_add_ps(_mm256_add_ps(_mm256_set1_ps(s->base), _mm256_loadu_ps(factors)),
                             _mm256_mul_ps(_mm256_loadu_ps(factors + CODES_BLOCK_ROWS), product));
    __m256 margin = _mm256_mul_ps(_mm256_set1_ps(s->margin), _mm256_loadu_ps(factors + 2 * CODES_BLOCK_ROWS));
    __m256 l = _mm256_sub_ps(e, margin);
    _mm256_storeu_ps(estimate, e);
    _mm256_storeu_ps(lower, l);
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(l, limit, _CMP_NGT_UQ));
}

INNER uint32_t finish(struct sums sums, const float *factors, const struct codes_scan *s, float limit, float *estimate,
                      float *lower)
{
    __m256 bound = _mm256_set1_ps(limit);
    uint32_t hits = finish_8(sums.v[0], factors, s, bound, estimate, lower);
    hits |= finish_8(sums.v[1], factors + 8, s, bound, estimate + 8, lower + 8) << 8;
    hits |= finish_8(sums.v[2], factors + 16, s, bound, estimate + 16, lower + 16) << 16;
    return hits | finish_8(sums.v[3], factors + 24, s, bound, estimate + 24, lower + 24) << 24;
}

/* Rows of more than a chunk of groups: sums in 32 bits. */
TARGET static uint32_t scan_long(const uint8_t *block, const uint8_t *rest, const float *factors,
                                 const struct codes_scan *s, float limit, uint32_t wanted, float *estimate,
                                 float *lower)
{
    size_t n_bytes = (size_t)s->n_groups * CODES_GROUP_BYTES, first = (size_t)s->n_first * CODES_GROUP_BYTES;
    struct sums sums = add_range(no_sums, block, s->table, first);
    if (first < n_bytes) {
        wanted &= first_look(sums, factors, s, limit);
        if (wanted == 0) return 0;
        sums = add_range(sums, rest, s->table + first, n_bytes - first);
    }
    return finish(sums, factors, s, limit, estimate, lower) & wanted;
}

TARGET static uint32_t scan_avx2(const uint8_t *block, const uint8_t *rest, const float *factors,
                                 const struct codes_scan *s, float limit, uint32_t wanted,
                                 float estimate[CODES_BLOCK_ROWS], float lower[CODES_BLOCK_ROWS])
{
    size_t n_bytes = (size_t)s->n_groups * CODES_GROUP_BYTES, first = (size_t)s->n_first * CODES_GROUP_BYTES;
    if (s->n_groups > CODES_CHUNK_GROUPS) return scan_long(block, rest, factors, s, limit, wanted, estimate, lower);
    struct sums16 sums = chunk_sums(block, s->table, first);
    if (first < n_bytes) {
        wanted &= first_look(widen(sums), factors, s, limit);
        if (wanted == 0) return 0;
        struct sums16 more = chunk_sums(rest, s->table + first, n_bytes - first);
        sums.rows_0 = _mm256_add_epi16(sums.rows_0, more.rows_0);
        sums.rows_16 = _mm256_add_epi16(sums.rows_16, more.rows_16);
    }
    return finish(widen(sums), factors, s, limit, estimate, lower) & wanted;
}

/* --- with looks --- */

INNER __m256i load16(const void *p)
{
    return _mm256_loadu_si256(p);
}

INNER struct sums16 sums_of(const struct codes_stretch *t, size_t block)
{
    const uint16_t *sums = t->sums + block * CODES_BLOCK_ROWS;
    return (struct sums16){load16(sums), load16(sums + 16)};
}

INNER void put_sums(const struct codes_stretch *t, size_t block, struct sums16 s)
{
    uint16_t *sums = t->sums + block * CODES_BLOCK_ROWS;
    _mm256_storeu_si256((__m256i *)(void *)sums, s.rows_0);
    _mm256_storeu_si256((__m256i *)(void *)(sums + 16), s.rows_16);
}

struct look {
    __m256i u, v, e, k;
};

INNER struct look look_of(const struct codes_look *l)
{
    return (struct look){_mm256_set1_epi16(l->u), _mm256_set1_epi16(l->v), _mm256_set1_epi16(l->e),
                         _mm256_set1_epi16(l->k)};
}

/* All ones for each of 16 rows that is ruled out. */
INNER __m256i unseen_16(__m256i sums, const int16_t *looks, const struct look *l, bool has_e)
{
    __m256i least = _mm256_adds_epi16(_mm256_mulhi_epi16(l->u, load16(looks)),
                                      _mm256_mulhi_epi16(l->v, load16(looks + CODES_BLOCK_ROWS)));
    if (has_e) least = _mm256_subs_epi16(least, _mm256_mulhi_epi16(l->e, load16(looks + (size_t)2 * CODES_BLOCK_ROWS)));
    return _mm256_cmpgt_epi16(_mm256_adds_epi16(least, l->k), sums);
}

/* A bit for each of 32 rows that is not ruled out. */
INNER uint32_t seen(struct sums16 s, const int16_t *looks, const struct look *l, bool has_e)
{
    __m256i low = unseen_16(s.rows_0, looks, l, has_e), high = unseen_16(s.rows_16, looks + 16, l, has_e);
    __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xd8); /* packing goes by lanes */
    return ~(uint32_t)_mm256_movemask_epi8(bytes);
}

TARGET static void first_avx2(const struct codes_stretch *t, uint32_t at, uint32_t n, const struct codes_scan *s,
                              const struct codes_look *l, uint32_t *hits)
{
    const size_t n_bytes = (size_t)s->n_first * CODES_GROUP_BYTES;
    const struct look look = look_of(l);
    for (size_t i = at; i < (size_t)at + n; i++) {
        struct sums16 sums = chunk_sums(t->blocks + i * n_bytes, s->table, n_bytes);
        put_sums(t, i, sums);
        *hits++ = seen(sums, t->looks + i * CODES_BLOCK_LOOKS, &look, false);
    }
}

TARGET static uint32_t look_avx2(const struct codes_stretch *t, const uint32_t *blocks, uint32_t n,
                                 const struct codes_look *l, uint32_t *left)
{
    const struct look look = look_of(l);
    uint32_t n_left = 0;
    for (uint32_t x = 0; x < n; x++) {
        size_t i = blocks[x];
        n_left =
            codes_leave(t, blocks[x], seen(sums_of(t, i), t->looks + i * CODES_BLOCK_LOOKS, &look, true), left, n_left);
    }
    return n_left;
}

TARGET static void add_avx2(const struct codes_stretch *t, const uint32_t *blocks, uint32_t n,
                            const struct codes_part *p)
{
    for (uint32_t x = 0; x < n; x++) {
        if (x + CODES_ADD_AHEAD < n)
            codes_prefetch_bytes(p->codes + blocks[x + CODES_ADD_AHEAD] * p->stride, p->n_bytes);
        struct sums16 sums = sums_of(t, blocks[x]),
                      more = chunk_sums(p->codes + blocks[x] * p->stride, p->table, p->n_bytes);
        sums.rows_0 = _mm256_add_epi16(sums.rows_0, more.rows_0);
        sums.rows_16 = _mm256_add_epi16(sums.rows_16, more.rows_16);
        put_sums(t, blocks[x], sums);
    }
}

TARGET static uint32_t finish_avx2(const struct codes_stretch *t, uint32_t block, const struct codes_scan *s,
                                   float limit, float estimate[CODES_BLOCK_ROWS], float lower[CODES_BLOCK_ROWS])
{
    const float *factors = t->factors + (size_t)block * CODES_BLOCK_FACTORS;
    return finish(widen(sums_of(t, block)), factors, s, limit, estimate, lower) & t->wanted[block];
}

const struct codes_kernels codes_kernels_avx2 = {sums_avx2, scan_avx2, first_avx2, look_avx2, add_avx2, finish_avx2};

#endif
