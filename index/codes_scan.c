/* codes_scan.c - the portable scan kernel, the choice of a level, and the table of a query.
 *
 * A block holds 32 rows. For each group of 4 dimensions 16 bytes: byte j has the 4 sign bits of row j below and those of
 * row 16 + j above. The table has 16 entries a group: what each pattern of signs adds to the inner product. Row sums are
 * whole numbers, so all levels agree on them exactly; entries of at most 63 let a kernel add four of them in a byte.
 */
#include "index/codes_internal.h"

typedef float lanes4 __attribute__((vector_size(16)));

static void sums_portable(const uint8_t *block, const struct codes_scan *s, uint32_t sums[CODES_BLOCK_ROWS])
{
    memset(sums, 0, CODES_BLOCK_ROWS * sizeof sums[0]);
    for (uint32_t g = 0; g < s->n_groups; g++) {
        const uint8_t *codes = block + (size_t)g * CODES_GROUP_BYTES, *entries = s->table + (size_t)g * 16;
        for (unsigned j = 0; j < 16; j++) {
            sums[j] += entries[codes[j] & 15];
            sums[16 + j] += entries[codes[j] >> 4];
        }
    }
}

static uint32_t scan_portable(const uint8_t *block, const float *factors, const struct codes_scan *s, float limit,
                              float estimate[CODES_BLOCK_ROWS], float lower[CODES_BLOCK_ROWS])
{
    const float *add = factors, *scale = factors + CODES_BLOCK_ROWS, *err = factors + 2 * CODES_BLOCK_ROWS;
    uint32_t sums[CODES_BLOCK_ROWS], hits = 0;
    sums_portable(block, s, sums);
    for (unsigned i = 0; i < CODES_BLOCK_ROWS; i++) {
        float product = (float)sums[i] * s->step - s->shift;
        estimate[i] = (s->base + add[i]) + scale[i] * product;
        lower[i] = estimate[i] - s->margin * err[i];
        hits |= (uint32_t) !(lower[i] > limit) << i;
    }
    return hits;
}

const struct codes_kernels codes_kernels_portable = {sums_portable, scan_portable};

const struct codes_kernels *codes_kernels_at(enum simd_level level)
{
    if (distance_ops_at(level) == NULL) return NULL;
    switch (level) {
#if defined(__x86_64__)
    case SIMD_AVX2:
        return &codes_kernels_avx2;
    case SIMD_AVX512:
        return &codes_kernels_avx512;
#elif defined(__aarch64__)
    case SIMD_NEON:
        return &codes_kernels_neon;
#endif
    default:
        return &codes_kernels_portable;
    }
}

/* The 16 values of a group, in order of the pattern: base + 2 * (sum of the w whose bit is one). */
static inline void group_values(const float *w, float base, lanes4 v[4])
{
    lanes4 low = {0, 2 * w[0], 2 * w[1], 2 * w[0] + 2 * w[1]};
    v[0] = low + base;
    v[1] = v[0] + 2 * w[2];
    v[2] = v[0] + 2 * w[3];
    v[3] = v[1] + 2 * w[3];
}

void codes_table(const float *w, uint32_t padded_dim, uint8_t *table, struct codes_scan *s)
{
    uint32_t n_groups = padded_dim / 4;
    float widest = 0, l1 = 0;
    for (uint32_t g = 0; g < n_groups; g++, w += 4) {
        float sum = (fabsf(w[0]) + fabsf(w[1])) + (fabsf(w[2]) + fabsf(w[3]));
        l1 += sum;
        widest = sum > widest ? sum : widest;
    }
    w -= padded_dim;
    float step = 2 * widest / CODES_ENTRY_MAX, per_step = step > 0 ? 1 / step : 0;
    if (!isfinite(per_step)) per_step = 0, step = 0; /* a query on the centroid: all products vanish */
    for (uint32_t g = 0; g < n_groups; g++, w += 4) {
        float sum = (w[0] + w[1]) + (w[2] + w[3]);
        float abs_sum = (fabsf(w[0]) + fabsf(w[1])) + (fabsf(w[2]) + fabsf(w[3]));
        lanes4 v[4];
        group_values(w, abs_sum - sum, v);
        for (unsigned i = 0; i < 16; i++) {
            /* Values are from 0 to 2 * widest up to rounding; half is added to round to nearest. */
            int entry = (int)(v[i / 4][i % 4] * per_step + 0.5f);
            table[(size_t)g * 16 + i] = (uint8_t)(entry < CODES_ENTRY_MAX ? entry : CODES_ENTRY_MAX);
        }
    }
    s->table = table;
    s->n_groups = n_groups;
    s->step = step;
    s->shift = step > 0 ? l1 : 0;
}
