/* codes.h - 1-bit codes of rotated residuals, scanned 32 rows at a time, re-ranked exactly by their error bound.
 *
 * METHOD   RaBitQ (Gao and Long, arXiv 2405.12497) for code, estimate and bound; FastScan (Andre, Kermarrec, Le
 *          Scouarnec, VLDB 2015) for the scan. ../shared/vector-index.md measured it against graphs.
 * ROTATION P: four rounds of random sign flips and a normalised Hadamard transform of the first (last) 2^m coordinates.
 *          The signs come from the seed in the section, so a fragment reads the same for ever.
 * CODE     of row x with the fragment's centroid c: r = P(x - c), one bit a dimension s = sign(r), three floats:
 *          f = |r|^2/|r|_1, add = |r|^2 + 2 f <s, Pc>, scale = -2 f, err = |r| sqrt((1 - p^2)/(p^2 (D - 1))),
 *          p = |r|_1/(|r| sqrt D).
 *          Estimated squared distance: |q-c|^2 + add + scale <s, Pq>; its error is normal with deviation
 *          2 err |q - c| (calibrated), so estimate - 2 epsilon err |q-c| bounds it from below.
 *          Cosine: codes of normalised rows. ip: the same estimate gives <x, q>.
 * LAYOUT   docs/formats.md#codes: blocks of 32 rows; for each 4 dimensions 16 bytes hold the 4-bit groups of 32 rows.
 * THREADS  building: one. Searching: any number.
 */
#ifndef INDEX_CODES_H
#define INDEX_CODES_H

#include "core/distance.h"
#include "core/topk.h"

/* Appends the section for n rows (rows: n x dim f32, row-major; need not be aligned) to `out`, 64-byte aligned.
 * For n == 0 or dim < CODES_MIN_DIM it appends an empty section: such rows are scanned exactly. */
enum { CODES_MIN_DIM = 32 };
enum err codes_build(const float *rows, uint32_t n, uint32_t dim, enum space space, uint64_t seed, struct buf *out,
                     struct errmsg *em);

/* A section in memory (mapped): views only. */
struct codes {
    struct bytes section;
    uint32_t n, dim, padded_dim; /* padded_dim: multiple of 64 */
    enum space space;
    uint64_t seed;
    const float *centroid; /* P c, padded_dim floats */
    const uint8_t *blocks; /* ceil(n / 32) blocks of padded_dim * 4 bytes */
    const float *factors;  /* per block: add[32], scale[32], err[32] */
};

/* Checks bounds and sizes. An empty section gives n == 0. ERR_CORRUPT, ERR_NEWER. */
enum err codes_open(struct codes *c, struct bytes section, uint32_t n_rows, uint32_t dim, enum space space,
                    struct errmsg *em);

/* What a search over codes needs from the rows behind them. */
struct codes_rows {
    const float *vectors;                                       /* n x dim, exact */
    const float *norm2;                                         /* n squared lengths */
    bool (*is_visible)(const void *ctx, uint32_t row);          /* called for candidates only */
    uint64_t (*ordinal)(const void *ctx, uint32_t row);
    const void *ctx;
};

/* Offers the nearest visible rows to `top` (exact distances), those in `mask` only if it is not NULL. `epsilon`: margin
 * in standard deviations (2.5 finds 0.999 of the true neighbours on text). */
enum err codes_search(const struct codes *c, const struct codes_rows *rows, struct query_vector *q,
                      const struct bitset *mask, float epsilon, struct topk *top, struct arena *a, struct errmsg *em);

/* The same over all rows (or those in the mask) without codes. */
void exact_search(const struct codes_rows *rows, uint32_t n_rows, struct query_vector *q, const struct bitset *mask,
                  struct topk *top);

#endif
