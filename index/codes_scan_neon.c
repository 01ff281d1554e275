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

static void sums_neon(const uint8_t *block, const struct codes_scan *s, uint32_t sums[CODES_BLOCK_ROWS])
{
    uint32x4_t v[8];
    for (int i = 0; i < 8; i++) v[i] = vdupq_n_u32(0);
    size_t n_bytes = (size_t)s->n_groups * CODES_GROUP_BYTES;
    const size_t chunk = (size_t)CODES_CHUNK_GROUPS * CODES_GROUP_BYTES;
    for (size_t i = 0; i < n_bytes; i += chunk) {
        uint16x8_t r[4];
        chunk_sums(block + i, s->table + i, n_bytes - i < chunk ? n_bytes - i : chunk, r);
        for (int j = 0; j < 4; j++) {
            v[2 * j] = vaddw_u16(v[2 * j], vget_low_u16(r[j]));
            v[2 * j + 1] = vaddw_high_u16(v[2 * j + 1], r[j]);
        }
    }
    for (int i = 0; i < 8; i++) vst1q_u32(sums + 4 * i, v[i]);
}

static uint32_t scan_neon(const uint8_t *block, const float *factors, const struct codes_scan *s, float limit,
                          float estimate[CODES_BLOCK_ROWS], float lower[CODES_BLOCK_ROWS])
{
    const float32x4_t step = vdupq_n_f32(s->step), shift = vdupq_n_f32(s->shift), base = vdupq_n_f32(s->base);
    const float32x4_t margin = vdupq_n_f32(s->margin), bound = vdupq_n_f32(limit);
    const uint32x4_t bits = {1, 2, 4, 8};
    uint32_t sums[CODES_BLOCK_ROWS], above = 0;
    sums_neon(block, s, sums);
    for (int i = 0; i < CODES_BLOCK_ROWS; i += 4) {
        const float *f = factors + i;
        float32x4_t product = vsubq_f32(vmulq_f32(vcvtq_f32_u32(vld1q_u32(sums + i)), step), shift);
        float32x4_t e = vaddq_f32(vaddq_f32(base, vld1q_f32(f)), vmulq_f32(vld1q_f32(f + CODES_BLOCK_ROWS), product));
        float32x4_t l = vsubq_f32(e, vmulq_f32(margin, vld1q_f32(f + 2 * CODES_BLOCK_ROWS)));
        vst1q_f32(estimate + i, e);
        vst1q_f32(lower + i, l);
        above |= vaddvq_u32(vandq_u32(vcgtq_f32(l, bound), bits)) << i;
    }
    return ~above;
}

const struct codes_kernels codes_kernels_neon = {sums_neon, scan_neon};

#endif
