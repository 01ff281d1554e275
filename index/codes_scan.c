/* codes_scan.c - the portable scan kernel, the choice of a level, and the table of a query.
 *
 * A block holds 32 rows. For each group of 4 dimensions 16 bytes: byte j has the 4 sign bits of row j below and those of
 * row 16 + j above. The table has 16 entries a group: what each pattern of signs adds to the inner product. Row sums are
 * whole numbers, so all levels agree on them exactly; entries of at most 63 let a kernel add four of them in a byte.
 */
#include "index/codes_internal.h"

typedef float lanes4 __attribute__((vector_size(16)));
typedef int32_t whole4 __attribute__((vector_size(16)));

/* Adds the entries of n groups. */
static void add_groups(const uint8_t *block, const uint8_t *table, uint32_t n, uint32_t *sums)
{
    for (uint32_t g = 0; g < n; g++) {
        const uint8_t *codes = block + (size_t)g * CODES_GROUP_BYTES, *entries = table + (size_t)g * 16;
        for (unsigned j = 0; j < 16; j++) {
            sums[j] += entries[codes[j] & 15];
            sums[16 + j] += entries[codes[j] >> 4];
        }
    }
}

static void sums_portable(const uint8_t *block, const struct codes_scan *s, uint32_t sums[CODES_BLOCK_ROWS])
{
    memset(sums, 0, CODES_BLOCK_ROWS * sizeof sums[0]);
    add_groups(block, s->table, s->n_groups, sums);
}

static uint32_t first_look(const uint32_t *sums, const float *factors, const struct codes_scan *s, float limit)
{
    const float *add = factors, *scale = factors + CODES_BLOCK_ROWS, *err = factors + 2 * CODES_BLOCK_ROWS;
    uint32_t hits = 0;
    for (unsigned i = 0; i < CODES_BLOCK_ROWS; i++) {
        uint32_t word;
        float delta, product = (float)sums[i] * s->step_1 - s->shift_1;
        memcpy(&word, err + i, sizeof word);
        word <<= 16;
        memcpy(&delta, &word, sizeof delta);
        float lower = (((s->base + add[i]) + delta) + scale[i] * product) - s->margin_1 * err[i];
        hits |= (uint32_t) !(lower > limit) << i;
    }
    return hits;
}

/* Estimates and lower bounds; a bit for each row whose lower bound is not above the limit. */
static uint32_t finish(const uint32_t *sums, const float *factors, const struct codes_scan *s, float limit,
                       float *estimate, float *lower)
{
    const float *add = factors, *scale = factors + CODES_BLOCK_ROWS, *err = factors + 2 * CODES_BLOCK_ROWS;
    uint32_t hits = 0;
    for (unsigned i = 0; i < CODES_BLOCK_ROWS; i++) {
        float product = (float)sums[i] * s->step - s->shift;
        estimate[i] = (s->base + add[i]) + scale[i] * product;
        lower[i] = estimate[i] - s->margin * err[i];
        hits |= (uint32_t) !(lower[i] > limit) << i;
    }
    return hits;
}

static uint32_t scan_portable(const uint8_t *block, const uint8_t *rest, const float *factors,
                              const struct codes_scan *s, float limit, uint32_t wanted,
                              float estimate[CODES_BLOCK_ROWS], float lower[CODES_BLOCK_ROWS])
{
    uint32_t sums[CODES_BLOCK_ROWS] = {0};
    add_groups(block, s->table, s->n_first, sums);
    if (s->n_first < s->n_groups) {
        wanted &= first_look(sums, factors, s, limit);
        if (wanted == 0) return 0;
        add_groups(rest, s->table + (size_t)s->n_first * 16, s->n_groups - s->n_first, sums);
    }
    return finish(sums, factors, s, limit, estimate, lower) & wanted;
}

/* --- with looks --- */

/* x * y >> 16, rounded down. */
static int32_t high(int16_t x, int16_t y)
{
    return ((int32_t)x * y) >> 16;
}

static int32_t saturated(int32_t v)
{
    return v > INT16_MAX ? INT16_MAX : v < INT16_MIN ? INT16_MIN : v;
}

/* A bit for each row of a block that the look does not rule out. */
static uint32_t seen(const uint16_t *sums, const int16_t *looks, const struct codes_look *l, int16_t e)
{
    const int16_t *us = looks, *vs = looks + CODES_BLOCK_ROWS, *es = looks + (size_t)2 * CODES_BLOCK_ROWS;
    uint32_t hits = 0;
    for (unsigned i = 0; i < CODES_BLOCK_ROWS; i++) {
        int32_t least = saturated(high(l->u, us[i]) + high(l->v, vs[i]));
        least = saturated(saturated(least - high(e, es[i])) + l->k);
        hits |= (uint32_t)((int16_t)sums[i] >= least) << i;
    }
    return hits;
}

static void add_sums(const uint8_t *block, const uint8_t *table, uint32_t n, uint16_t *sums)
{
    uint32_t more[CODES_BLOCK_ROWS] = {0};
    add_groups(block, table, n, more);
    for (unsigned i = 0; i < CODES_BLOCK_ROWS; i++) sums[i] = (uint16_t)(sums[i] + more[i]);
}

static void first_portable(const struct codes_stretch *t, uint32_t at, uint32_t n, const struct codes_scan *s,
                           const struct codes_look *l, uint32_t *hits)
{
    for (size_t i = at; i < (size_t)at + n; i++) {
        uint16_t *sums = t->sums + i * CODES_BLOCK_ROWS;
        memset(sums, 0, CODES_BLOCK_ROWS * sizeof *sums);
        add_sums(t->blocks + i * s->n_first * CODES_GROUP_BYTES, s->table, s->n_first, sums);
        *hits++ = seen(sums, t->looks + i * CODES_BLOCK_LOOKS, l, 0);
    }
}

static uint32_t look_portable(const struct codes_stretch *t, const uint32_t *blocks, uint32_t n,
                              const struct codes_look *l, uint32_t *left)
{
    uint32_t n_left = 0;
    for (uint32_t x = 0; x < n; x++) {
        size_t i = blocks[x];
        uint32_t rows = seen(t->sums + i * CODES_BLOCK_ROWS, t->looks + i * CODES_BLOCK_LOOKS, l, l->e);
        n_left = codes_leave(t, blocks[x], rows, left, n_left);
    }
    return n_left;
}

static void add_portable(const struct codes_stretch *t, const uint32_t *blocks, uint32_t n, const struct codes_part *p)
{
    for (uint32_t x = 0; x < n; x++)
        add_sums(p->codes + blocks[x] * p->stride, p->table, (uint32_t)(p->n_bytes / CODES_GROUP_BYTES),
                 t->sums + (size_t)blocks[x] * CODES_BLOCK_ROWS);
}

static uint32_t finish_portable(const struct codes_stretch *t, uint32_t block, const struct codes_scan *s, float limit,
                                float estimate[CODES_BLOCK_ROWS], float lower[CODES_BLOCK_ROWS])
{
    uint32_t sums[CODES_BLOCK_ROWS];
    for (size_t i = 0; i < CODES_BLOCK_ROWS; i++) sums[i] = t->sums[(size_t)block * CODES_BLOCK_ROWS + i];
    return finish(sums, t->factors + (size_t)block * CODES_BLOCK_FACTORS, s, limit, estimate, lower) & t->wanted[block];
}

const struct codes_kernels codes_kernels_portable = {sums_portable, scan_portable, first_portable,
                                                     look_portable, add_portable,  finish_portable};

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

/* The 16 entries of a group: base + 2 * (sum of the w whose bit is one), as whole steps. Lane i of the m-th vector has
 * pattern 4 i + m, so that bytes m of the words come out in order. Values are from 0 to 63 steps up to rounding; half is
 * added to round to nearest. */
static inline void group_entries(const float *w, float base, float per_step, uint8_t *entries)
{
    lanes4 v0 = (lanes4){0, w[2], w[3], w[2] + w[3]} * (2 * per_step) + (base * per_step + 0.5f);
    lanes4 v1 = v0 + w[0] * (2 * per_step), v2 = v0 + w[1] * (2 * per_step), v3 = v1 + w[1] * (2 * per_step);
    whole4 words = __builtin_convertvector(v0, whole4) | __builtin_convertvector(v1, whole4) << 8 |
                   __builtin_convertvector(v2, whole4) << 16 | __builtin_convertvector(v3, whole4) << 24;
    words &= 0x3f3f3f3f; /* CODES_ENTRY_MAX in every byte, whatever the input */
    memcpy(entries, &words, sizeof words);
}

void codes_table(const float *w, uint32_t padded_dim, uint8_t *table, struct codes_scan *s)
{
    uint32_t n_groups = padded_dim / 4;
    float widest = 0, l1 = 0;
    for (uint32_t d = 0; d < padded_dim; d += 4) {
        float sum = (fabsf(w[d]) + fabsf(w[d + 1])) + (fabsf(w[d + 2]) + fabsf(w[d + 3]));
        l1 += sum;
        widest = sum > widest ? sum : widest;
    }
    float step = 2 * widest / CODES_ENTRY_MAX, per_step = step > 0 ? 1 / step : 0;
    if (!isfinite(per_step)) per_step = 0, step = 0; /* a query on the centroid: all products vanish */
    for (uint32_t d = 0; d < padded_dim; d += 4) {
        float sum = (w[d] + w[d + 1]) + (w[d + 2] + w[d + 3]);
        float abs_sum = (fabsf(w[d]) + fabsf(w[d + 1])) + (fabsf(w[d + 2]) + fabsf(w[d + 3]));
        group_entries(w + d, abs_sum - sum, per_step, table + (size_t)d * 4);
    }
    s->table = table;
    s->n_groups = n_groups;
    s->step = step;
    s->shift = step > 0 ? l1 : 0;
    s->n_first = n_groups;
}

void codes_first_look(const float *w, uint32_t padded_dim, uint32_t first_dims, struct codes_scan *s)
{
    float ratio = (float)padded_dim / (float)first_dims, l1 = 0;
    for (uint32_t d = 0; d < first_dims; d += 4)
        l1 += (fabsf(w[d]) + fabsf(w[d + 1])) + (fabsf(w[d + 2]) + fabsf(w[d + 3]));
    s->n_first = first_dims / 4;
    s->step_1 = s->step * ratio;
    s->shift_1 = s->step > 0 ? l1 * ratio : 0;
}
