/* codes.h - 1-bit codes of rotated residuals, scanned 32 rows at a time, re-ranked exactly by their error bound.
 *
 * METHOD   RaBitQ (Gao and Long, arXiv 2405.12497) for code, estimate and bound; FastScan (Andre, Kermarrec, Le
 *          Scouarnec, VLDB 2015) for the scan. What differs: the rotation (rotation.h), three factors a row, and a
 *          search that re-ranks until the bound says that no better row is left.
 * CODE     of row x with the fragment's centroid c, the mean of the rows: r = P(x - c) with the rotation P, one bit a
 *          dimension s = sign(r), and three floats, where D = padded_dim, f = |r|^2/|r|_1, p = |r|_1/(|r| sqrt D):
 *            add = |r|^2 (ip: -2 <x - c, c>),  scale = -2 f,  err = |r| sqrt(max(1 - p^2, 0.1)/(p^2 (D - 1))).
 *          Cosine: codes of normalised rows and query; zero rows stay zero, whose estimate is below their distance of 1.
 * ESTIMATE base + add + scale <s, P(q - c)>, base = |q - c|^2 (ip: -2 <q, c>). It estimates the squared distance (l2),
 *          twice the distance (cosine), twice the distance minus 2 (ip: -2 <x, q>). Its error is close to normal with
 *          deviation 2 err |q - c|, so estimate - 2 epsilon err |q - c| bounds it from below; rounding of the table of
 *          <s, P(q - c)> is counted in.
 * LOOKS    without lists a search first sums up some dimensions of all rows. The rows that these show nearest are measured
 *          exactly, which makes the limit tight; then only rows whose bound, by these dimensions, is within it get the
 *          next dimensions added, and so on. So that a look costs little, the bound is compared in 16-bit integers, with three
 *          whole numbers a row (codes_looks.c), rounded so that a row is not ruled out by rounding.
 * LISTS    from CODES_LISTS_MIN_ROWS rows on the section is in lists: k-means finds centroids c_l, a row is coded against
 *          the nearest one (c = c_l above) and once more against another near one, chosen so that where the first
 *          residual points away from a query the second does not (SOAR: Sun, Simcha, Dopson, Guo, Kumar, arXiv 2404.00774),
 *          and the rows of a list lie together. A search takes the lists in order of
 *          their distance, so that its limit is tight from the start, and stops where a rule says that no list beyond
 *          holds a neighbour; what the rule allows was measured on the rows themselves when the section was built. Where it would have to
 *          look at most lists, because nothing in the rows comes in clumps, the section is written without.
 * LAYOUT   docs/formats.md#codes: blocks of 32 rows; for each 4 dimensions 16 bytes hold the 4-bit groups of 32 rows.
 * BYTES    a section without lists depends on rows and seed only; in lists, near ties may fall by processor.
 * THREADS  building: one. Searching: any number, each with its own query_vector.
 */
#ifndef INDEX_CODES_H
#define INDEX_CODES_H

#include "core/buf.h"
#include "core/distance.h"
#include "core/topk.h"

enum { CODES_MIN_DIM = 32, CODES_LISTS_MIN_ROWS = 1 << 17 };

/* EFFORT  One number, epsilon, says how sure a search has to be: the margin below estimates in deviations, and with it how
 *         soon the search of lists stops. The default is 2.2; ten times the effort are 0.5 more. At 1.7 (EFFORT_MIN)
 *         searches lose about 0.005 of the neighbours to the margin and 0.04 to lists, at 2.2 0.001 and at most 0.008, and beyond
 *         ever less. Lists lose more because they are where the time goes. */
#define CODES_EPSILON     2.2F
#define CODES_EPSILON_FEW 1.7F

/* The epsilon for `effort` (core/segment.h) and k neighbours; grows with both. Below the default a search for k has at
 * least effort k, as in a graph, whose candidates are never fewer than k. */
float codes_epsilon(uint32_t effort, uint32_t k);

/* Appends the section for n rows (rows: n x dim f32, row-major, of any alignment) to `out`, 64-byte aligned from the
 * start of `out`. The section is empty, which tells to scan exactly, for n == 0, for dim < CODES_MIN_DIM and for rows
 * whose squared distances to their mean do not fit the arithmetic of float32. On failure `out` is as before, except for
 * out->err. ERR_NOMEM, ERR_TOO_LARGE. */
enum err codes_build(const float *rows, uint32_t n, uint32_t dim, enum space space, uint64_t seed, struct buf *out,
                     struct errmsg *em);

/* A section in memory (mapped): views only. */
struct codes {
    struct bytes section;
    uint32_t n, dim, padded_dim; /* padded_dim: multiple of 64 */
    enum space space;
    uint64_t seed;
    const float *centroid; /* P c, padded_dim floats */
    uint32_t first_dims;   /* those that blocks hold */
    const uint8_t *blocks; /* ceil(n / 32) blocks of first_dims * 4 bytes */
    const uint8_t *rests;  /* the other dimensions of each block */
    const float *factors;  /* per block: add[32], scale[32], err[32] */

    /* looks; NULL where there are none: in lists, beyond CODES_LOOKS_MAX_DIM, and in sections of before 2026-11-26 */
    const int16_t *looks;      /* per block: u[32], v[32], e[32] */
    const float *look_units;   /* what u, v and e count: 3 */
    const uint32_t *unlimited; /* per block: a bit for each row that looks do not rule out */

    /* lists; n_lists is 0 when there are none, and then rows lie in their order */
    uint32_t n_lists;
    uint32_t copies;        /* of a row, each in a list of its own: 1 or 2 */
    float stop, lean;       /* the search stops at distances beyond stop * (limit + lean * that of the nearest) */
    float stop_few;         /* at CODES_EPSILON_FEW; stop: at CODES_EPSILON; between and beyond on a straight line */
    float lift;             /* ip: the largest squared length of a row; else 0 */
    const uint32_t *starts; /* n_lists + 1: the places of a list's rows; ascending, from 0 to n * copies */
    const float *centroids; /* n_lists x padded_dim: P c_l - P c */
    const uint8_t *list_blocks; /* the centroids coded as rows are without lists */
    const float *list_factors;
    const uint32_t *order; /* n * copies: the row at each place; not checked when opened */
};

/* Checks bounds and sizes; the section must start 4-byte aligned and may be followed by other bytes. An empty section
 * gives n == 0: use exact_search. ERR_CORRUPT, ERR_NEWER. */
enum err codes_open(struct codes *c, struct bytes section, uint32_t n_rows, uint32_t dim, enum space space,
                    struct errmsg *em);

/* What a search over codes needs from the rows behind them. */
struct codes_rows {
    const float *vectors;                              /* n x dim, exact */
    const float *norm2;                                /* n squared lengths; NULL: measured where they are needed */
    bool (*is_visible)(const void *ctx, uint32_t row); /* called for candidates only */
    uint64_t (*ordinal)(const void *ctx, uint32_t row);
    const void *ctx;
};

/* Offers the nearest visible rows to `top` (exact distances), those in `mask` only if it is not NULL. `epsilon`: see
 * EFFORT. c->n must not be 0, the query's dim and space are the section's, mask->n_bits is c->n. Scans exactly where that is cheaper: few rows in the mask, or many wanted.
 * The rotated query is kept in q->rotated (in q->arena) for the next section. ERR_NOMEM. */
enum err codes_search(const struct codes *c, const struct codes_rows *rows, struct query_vector *q,
                      const struct bitset *mask, float epsilon, struct topk *top, struct arena *a, struct errmsg *em);

/* The same over the first n_rows rows (or those of them in the mask) without codes. */
void exact_search(const struct codes_rows *rows, uint32_t n_rows, struct query_vector *q, const struct bitset *mask,
                  struct topk *top);

#endif
