/* codes_scan_neon.c - the scan kernel for 64-bit ARM: a table instruction looks up 16 entries of one group.
 *
 * Four look-ups add up in bytes (4 * 63 < 256), then widen into 16-bit sums; chunks of groups into 32 bits.
 */
#include "index/codes_internal.h"

#if defined(__aarch64__)

#include <arm_neon.h>

/* At most a chunk of groups, a multiple of 4. r: the 16-bit sums of 32 rows. */
static inline void chunk_sums(const uint8_t *block, const uint8_t *table, size_t n_bytes, uint16x8_t r[4])
{
    const uint8x16_t nibble = vdupq_n_u8(15);
    for (int i = 0; i < 4; i++) r[i] = vdupq_n_u16(0);
    for (size_t i = 0; i < n_bytes; i += 64) {
        uint8x16_t low = vdupq_n_u8(0), high = low;
        for (size_t j = i; j < i + 64; j += 16) {
            uint8x16_t codes = vld1q_u8(block + j), entries = vld1q_u8(table + j);
            low = vaddq_u8(low, vqtbl1q_u8(entries, vandq_u8(codes, nibble)));
            high = vaddq_u8(high, vqtbl1q_u8(entries, vshrq_n_u8(codes, 4)));
        }
        r[0] = vaddw_u8(r[0], vget_low_u8(low));
        r[1] = vaddw_high_u8(r[1], low);
        r[2] = vaddw_u8(r[2], vget_low_u8(high));
        r[3] = vaddw_high_u8(r[3], high);
    }
}

/* Adds the 32-bit sums of 32 rows over n bytes of block and table. */
static void add_range(const uint8_t *block, const uint8_t *table, size_t n, uint32x4_t v[8])
{
    const size_t chunk = (size_t)CODES_CHUNK_GROUPS * CODES_GROUP_BYTES;
    for (size_t i = 0; i < n; i += chunk) {
        uint16x8_t r[4];
        chunk_sums(block + i, table + i, n - i < chunk ? n - i : chunk, r);
        for (int j = 0; j < 4; j++) {
            v[2 * j] = vaddw_u16(v[2 * j], vget_low_u16(r[j]));
            v[2 * j + 1] = vaddw_high_u16(v[2 * j + 1], r[j]);
        }
    }
}

static void sums_neon(const uint8_t *block, const struct codes_scan *s, uint32_t sums[CODES_BLOCK_ROWS])
{
    uint32x4_t v[8];
    for (int i = 0; i < 8; i++) v[i] = vdupq_n_u32(0);
    add_range(block, s->table, (size_t)s->n_groups * CODES_GROUP_BYTES, v);
    for (int i = 0; i < 8; i++) vst1q_u32(sums + 4 * i, v[i]);
}

/* A bit for each of the rows whose wider bound is not above the limit. */
static uint32_t first_look(const uint32x4_t v[8], const float *factors, const struct codes_scan *s, float32x4_t limit)
{
    const float32x4_t step = vdupq_n_f32(s->step_1), shift = vdupq_n_f32(s->shift_1), base = vdupq_n_f32(s->base);
    const uint32x4_t bits = {1, 2, 4, 8};
    uint32_t above = 0;
    for (int i = 0; i < 8; i++) {
        const float *f = factors + 4 * i;
        float32x4_t product = vsubq_f32(vmulq_f32(vcvtq_f32_u32(v[i]), step), shift);
        float32x4_t err = vld1q_f32(f + 2 * CODES_BLOCK_ROWS);
        uint32x4_t delta = vshlq_n_u32(vreinterpretq_u32_f32(err), 16);
        float32x4_t e = vaddq_f32(vaddq_f32(base, vld1q_f32(f)), vreinterpretq_f32_u32(delta));
        e = vaddq_f32(e, vmulq_f32(vld1q_f32(f + CODES_BLOCK_ROWS), product));
        float32x4_t l = vsubq_f32(e, vmulq_f32(vdupq_n_f32(s->margin_1), err));
        above |= vaddvq_u32(vandq_u32(vcgtq_f32(l, limit), bits)) << (4 * i);
    }
    return ~above;
}

/* Estimates and lower bounds; a bit for each row whose lower bound is not above the limit. */
static uint32_t finish(const uint32x4_t v[8], const float *factors, const struct codes_scan *s, float limit,
                       float *estimate, float *lower)
{
    const float32x4_t step = vdupq_n_f32(s->step), shift = vdupq_n_f32(s->shift), base = vdupq_n_f32(s->base);
    const float32x4_t margin = vdupq_n_f32(s->margin), bound = vdupq_n_f32(limit);
    const uint32x4_t bits = {1, 2, 4, 8};
    uint32_t above = 0;
    for (int i = 0; i < 8; i++) {
        const float *f = factors + 4 * i;
        float32x4_t product = vsubq_f32(vmulq_f32(vcvtq_f32_u32(v[i]), step), shift);
        float32x4_t e = vaddq_f32(vaddq_f32(base, vld1q_f32(f)), vmulq_f32(vld1q_f32(f + CODES_BLOCK_ROWS), product));
        float32x4_t l = vsubq_f32(e, vmulq_f32(margin, vld1q_f32(f + 2 * CODES_BLOCK_ROWS)));
        vst1q_f32(estimate + 4 * i, e);
        vst1q_f32(lower + 4 * i, l);
        above |= vaddvq_u32(vandq_u32(vcgtq_f32(l, bound), bits)) << (4 * i);
    }
    return ~above;
}

static uint32_t scan_neon(const uint8_t *block, const uint8_t *rest, const float *factors, const struct codes_scan *s,
                          float limit, uint32_t wanted, float estimate[CODES_BLOCK_ROWS], float lower[CODES_BLOCK_ROWS])
{
    size_t n_bytes = (size_t)s->n_groups * CODES_GROUP_BYTES, first = (size_t)s->n_first * CODES_GROUP_BYTES;
    uint32x4_t v[8];
    for (int i = 0; i < 8; i++) v[i] = vdupq_n_u32(0);
    add_range(block, s->table, first, v);
    if (first < n_bytes) {
        wanted &= first_look(v, factors, s, vdupq_n_f32(limit));
        if (wanted == 0) return 0;
        add_range(rest, s->table + first, n_bytes - first, v);
    }
    return finish(v, factors, s, limit, estimate, lower) & wanted;
}

/* --- with looks --- */

/* x * y >> 16, rounded down. */
static inline int16x8_t high(int16x8_t x, int16x8_t y)
{
    return vcombine_s16(vshrn_n_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), 16),
                        vshrn_n_s32(vmull_high_s16(x, y), 16));
}

/* A bit for each of 32 rows that is not ruled out; e: as in `l`, or 0. */
static uint32_t seen(const uint16_t *sums, const int16_t *looks, const struct codes_look *l, int16_t e)
{
    const uint16x8_t bits = {1, 2, 4, 8, 16, 32, 64, 128};
    uint32_t hits = 0;
    for (size_t i = 0; i < CODES_BLOCK_ROWS; i += 8) {
        int16x8_t least = vqaddq_s16(high(vdupq_n_s16(l->u), vld1q_s16(looks + i)),
                                     high(vdupq_n_s16(l->v), vld1q_s16(looks + CODES_BLOCK_ROWS + i)));
        least = vqsubq_s16(least, high(vdupq_n_s16(e), vld1q_s16(looks + (size_t)2 * CODES_BLOCK_ROWS + i)));
        least = vqaddq_s16(least, vdupq_n_s16(l->k));
        uint16x8_t is_seen = vcgeq_s16(vreinterpretq_s16_u16(vld1q_u16(sums + i)), least);
        hits |= (uint32_t)vaddvq_u16(vandq_u16(is_seen, bits)) << i;
    }
    return hits;
}

static void first_neon(const struct codes_stretch *t, uint32_t at, uint32_t n, const struct codes_scan *s,
                       const struct codes_look *l, uint32_t *hits)
{
    const size_t n_bytes = (size_t)s->n_first * CODES_GROUP_BYTES;
    for (size_t i = at; i < (size_t)at + n; i++) {
        uint16_t *sums = t->sums + i * CODES_BLOCK_ROWS;
        uint16x8_t r[4];
        chunk_sums(t->blocks + i * n_bytes, s->table, n_bytes, r);
        for (size_t j = 0; j < 4; j++) vst1q_u16(sums + 8 * j, r[j]);
        *hits++ = seen(sums, t->looks + i * CODES_BLOCK_LOOKS, l, 0);
    }
}

static uint32_t look_neon(const struct codes_stretch *t, const uint32_t *blocks, uint32_t n, const struct codes_look *l,
                          uint32_t *left)
{
    uint32_t n_left = 0;
    for (uint32_t x = 0; x < n; x++) {
        size_t i = blocks[x];
        uint32_t rows = seen(t->sums + i * CODES_BLOCK_ROWS, t->looks + i * CODES_BLOCK_LOOKS, l, l->e);
        n_left = codes_leave(t, blocks[x], rows, left, n_left);
    }
    return n_left;
}

static void add_neon(const struct codes_stretch *t, const uint32_t *blocks, uint32_t n, const struct codes_part *p)
{
    for (uint32_t x = 0; x < n; x++) {
        if (x + CODES_ADD_AHEAD < n)
            codes_prefetch_bytes(p->codes + blocks[x + CODES_ADD_AHEAD] * p->stride, p->n_bytes);
        uint16_t *sums = t->sums + (size_t)blocks[x] * CODES_BLOCK_ROWS;
        uint16x8_t r[4];
        chunk_sums(p->codes + blocks[x] * p->stride, p->table, p->n_bytes, r);
        for (size_t j = 0; j < 4; j++) vst1q_u16(sums + 8 * j, vaddq_u16(vld1q_u16(sums + 8 * j), r[j]));
    }
}

static uint32_t finish_neon(const struct codes_stretch *t, uint32_t block, const struct codes_scan *s, float limit,
                            float estimate[CODES_BLOCK_ROWS], float lower[CODES_BLOCK_ROWS])
{
    const uint16_t *sums = t->sums + (size_t)block * CODES_BLOCK_ROWS;
    uint32x4_t v[8];
    for (size_t i = 0; i < 8; i++) v[i] = vmovl_u16(vld1_u16(sums + 4 * i));
    return finish(v, t->factors + (size_t)block * CODES_BLOCK_FACTORS, s, limit, estimate, lower) & t->wanted[block];
}

const struct codes_kernels codes_kernels_neon = {sums_neon, scan_neon, first_neon, look_neon, add_neon, finish_neon};

#endif
