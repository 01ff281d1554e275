/* distance_neon.c - distance kernels for 64-bit ARM, which always has NEON: 4 accumulators of 4 lanes, then the last
 * n % 4 elements one by one.
 */
#include "core/distance_internal.h"

#if defined(__aarch64__)

#include <arm_neon.h>

static float dot(const float *a, const float *b, size_t n)
{
    float32x4_t s0 = vdupq_n_f32(0), s1 = s0, s2 = s0, s3 = s0;
    size_t i = 0;
    for (; n - i >= 16; i += 16) {
        s0 = vfmaq_f32(s0, vld1q_f32(a + i), vld1q_f32(b + i));
        s1 = vfmaq_f32(s1, vld1q_f32(a + i + 4), vld1q_f32(b + i + 4));
        s2 = vfmaq_f32(s2, vld1q_f32(a + i + 8), vld1q_f32(b + i + 8));
        s3 = vfmaq_f32(s3, vld1q_f32(a + i + 12), vld1q_f32(b + i + 12));
    }
    for (; n - i >= 4; i += 4) s0 = vfmaq_f32(s0, vld1q_f32(a + i), vld1q_f32(b + i));
    float sum = vaddvq_f32(vaddq_f32(vaddq_f32(s0, s1), vaddq_f32(s2, s3)));
    for (; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static inline float32x4_t square_add(float32x4_t a, float32x4_t b, float32x4_t sum)
{
    float32x4_t d = vsubq_f32(a, b);
    return vfmaq_f32(sum, d, d);
}

static float l2(const float *a, const float *b, size_t n)
{
    float32x4_t s0 = vdupq_n_f32(0), s1 = s0, s2 = s0, s3 = s0;
    size_t i = 0;
    for (; n - i >= 16; i += 16) {
        s0 = square_add(vld1q_f32(a + i), vld1q_f32(b + i), s0);
        s1 = square_add(vld1q_f32(a + i + 4), vld1q_f32(b + i + 4), s1);
        s2 = square_add(vld1q_f32(a + i + 8), vld1q_f32(b + i + 8), s2);
        s3 = square_add(vld1q_f32(a + i + 12), vld1q_f32(b + i + 12), s3);
    }
    for (; n - i >= 4; i += 4) s0 = square_add(vld1q_f32(a + i), vld1q_f32(b + i), s0);
    float sum = vaddvq_f32(vaddq_f32(vaddq_f32(s0, s1), vaddq_f32(s2, s3)));
    for (; i < n; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum;
}

const struct distance_ops distance_neon = {SIMD_NEON, l2, dot};

#endif
