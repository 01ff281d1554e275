/* distance.h - float32 distance kernels, chosen once for the processor.
 *
 * FORMULAS l2: sum of (a-b)^2. dot: sum of a*b. Accumulated in float32 over at least 16 lanes; the error is below
 *          (n / 16 + 8) * 2^-23 of the sum of absolute terms, plus what underflows. Any alignment, any n; nothing is
 *          read at or beyond n.
 * LEVELS   portable C, AVX2+FMA, AVX-512 (F, BW, VL, DQ), NEON. The environment variable
 *          CHROMA_SIMD=portable|avx2|avx512|neon lowers the level at start. Levels differ in the last bits only.
 * THREADS  any; the table is chosen once, at the first use.
 */
#ifndef CORE_DISTANCE_H
#define CORE_DISTANCE_H

#include "core/segment.h"

enum simd_level { SIMD_PORTABLE, SIMD_AVX2, SIMD_AVX512, SIMD_NEON };

struct distance_ops {
    enum simd_level level;
    float (*l2)(const float *a, const float *b, size_t n);
    float (*dot)(const float *a, const float *b, size_t n);
};

const struct distance_ops *distance_ops(void);                     /* the best this processor has, or CHROMA_SIMD's */
const struct distance_ops *distance_ops_at(enum simd_level level); /* NULL where the processor lacks it */

/* Distance as the API answers it: l2; 1 - cos (1 when either is zero); 1 - dot.
 * `norm2` is the squared length of v (used by cosine only). */
float distance_exact(const struct query_vector *q, const float *v, float norm2);

/* Prepares a query of the default effort: computes norm2. `v` must outlive it. */
void query_vector_init(struct query_vector *q, const float *v, uint32_t dim, enum space space, struct arena *a);

#endif
