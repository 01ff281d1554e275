/* codes_internal.h - what the files of the vector codes share: the section's header, the scan kernels, the tables of a
 * query. Included by index/codes_*.c and their tests only.
 */
#ifndef INDEX_CODES_INTERNAL_H
#define INDEX_CODES_INTERNAL_H

#include "index/codes.h"

enum {
    CODES_MAGIC = 0x31444343, /* "CCD1" */
    CODES_VERSION = 1,
    CODES_BLOCK_ROWS = 32,
    CODES_GROUP_BYTES = 16, /* of one group of 4 dimensions in a block */
    CODES_BLOCK_FACTORS = 3 * CODES_BLOCK_ROWS,
    CODES_ENTRY_MAX = 63,     /* largest entry of a query's table: four of them add up in a byte */
    CODES_CHUNK_GROUPS = 1024 /* groups whose entries add up in 16 bits */
};
_Static_assert(CODES_ENTRY_MAX *CODES_CHUNK_GROUPS <= UINT16_MAX, "sums of a chunk fit 16 bits");

struct codes_header {
    uint32_t magic;
    uint32_t version;
    uint32_t n_rows; /* 0: an empty section, which is this header alone */
    uint32_t dim;
    uint32_t padded_dim; /* 0 in an empty section */
    uint32_t space;
    uint64_t seed;
    uint64_t size_bytes; /* of the whole section */
    uint8_t zero[24];
};
_Static_assert(sizeof(struct codes_header) == 64, "format");
_Static_assert(offsetof(struct codes_header, seed) == 24 && offsetof(struct codes_header, size_bytes) == 32, "format");

static inline uint32_t codes_n_blocks(uint32_t n_rows)
{
    return n_rows / CODES_BLOCK_ROWS + (n_rows % CODES_BLOCK_ROWS != 0);
}

/* Squared lengths that the arithmetic of estimates can hold, with room for products. Zero is fine as well. */
#define CODES_SQUARE_MIN 1e-25f
#define CODES_SQUARE_MAX 1e30f

/* Bytes of a section with rows; false when they do not fit. */
bool codes_size(uint32_t n_rows, uint32_t padded_dim, size_t *size);

/* One query against one section. For a row with factors add, scale, err and the sum of its table entries:
 *   estimate = base + add + scale * (step * sum - shift)      lower = estimate - margin * err */
struct codes_scan {
    const uint8_t *table; /* n_groups x 16 entries, each at most CODES_ENTRY_MAX */
    uint32_t n_groups;    /* a multiple of 16 */
    float step, shift, base, margin;
};

/* The kernels of one level. All levels give the same bits: sums are integers, and the float arithmetic is the same
 * single operations in the same order. */
struct codes_kernels {
    /* Sums of table entries of the 32 rows of a block. */
    void (*sums)(const uint8_t *block, const struct codes_scan *s, uint32_t sums[CODES_BLOCK_ROWS]);

    /* Estimates of a block's rows. Returns a bit for each row whose lower bound is not above `limit` (NaN counts as
     * not above). */
    uint32_t (*scan)(const uint8_t *block, const float *factors, const struct codes_scan *s, float limit,
                     float estimate[CODES_BLOCK_ROWS], float lower[CODES_BLOCK_ROWS]);
};

/* NULL where distance_ops_at(level) is. */
const struct codes_kernels *codes_kernels_at(enum simd_level level);

extern const struct codes_kernels codes_kernels_portable;
#if defined(__x86_64__)
extern const struct codes_kernels codes_kernels_avx2;
extern const struct codes_kernels codes_kernels_avx512;
#elif defined(__aarch64__)
extern const struct codes_kernels codes_kernels_neon;
#endif

/* Squared lengths and inner products that must not depend on the level, nor overflow: 4 sums in double. */
static inline double codes_dot(const float *a, const float *b, uint32_t n)
{
    double s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    uint32_t i = 0;
    for (; n - i >= 4; i += 4) {
        s0 += (double)a[i] * (double)b[i];
        s1 += (double)a[i + 1] * (double)b[i + 1];
        s2 += (double)a[i + 2] * (double)b[i + 2];
        s3 += (double)a[i + 3] * (double)b[i + 3];
    }
    for (; i < n; i++) s0 += (double)a[i] * (double)b[i];
    return (s0 + s1) + (s2 + s3);
}

/* Fills the table of w = P(q - c): for each group and each pattern of 4 signs the inner product with them, shifted and
 * scaled to whole numbers from 0 to CODES_ENTRY_MAX. Sets table, n_groups, step, shift. */
void codes_table(const float *w, uint32_t padded_dim, uint8_t *table, struct codes_scan *s);

#endif
