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

static uint32_t scan_neon(const uint8_t *block, const uint8_t *rest, const float *factors, const struct codes_scan *s,
                          float limit, uint32_t wanted, float estimate[CODES_BLOCK_ROWS], float lower[CODES_BLOCK_ROWS])
{
    const float32x4_t step = vdupq_n_f32(s->step), shift = vdupq_n_f32(s->shift), base = vdupq_n_f32(s->base);
    const float32x4_t margin = vdupq_n_f32(s->margin), bound = vdupq_n_f32(limit);
    const uint32x4_t bits = {1, 2, 4, 8};
    size_t n_bytes = (size_t)s->n_groups * CODES_GROUP_BYTES, first = (size_t)s->n_first * CODES_GROUP_BYTES;
    uint32x4_t v[8];
    for (int i = 0; i < 8; i++) v[i] = vdupq_n_u32(0);
    add_range(block, s->table, first, v);
    if (first < n_bytes) {
        wanted &= first_look(v, factors, s, bound);
        if (wanted == 0) return 0;
        add_range(rest, s->table + first, n_bytes - first, v);
    }
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
    return ~above & wanted;
}

const struct codes_kernels codes_kernels_neon = {sums_neon, scan_neon};

#endif
