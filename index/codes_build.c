/* codes_build.c - makes and opens the section of vector codes.
 *
 * HAPPY PATH  one pass over the rows for their mean; the mean is rotated; a second pass takes each row, subtracts the mean,
 *             rotates, and packs signs and factors into its block. Rows are copied one at a time: the input may be a
 *             mapping of any alignment and is never held twice.
 * FAILURE     short memory is reported; squared lengths outside of float32's comfortable range make the section empty.
 * INVARIANTS  the bytes depend on the rows and the seed only, not on the processor: sums go in double or in a fixed order.
 *             Factors are finite, except that rows that fill the last block have add = +infinity.
 */
#include "index/codes_internal.h"

#include "core/mem.h"
#include "index/rotation.h"

typedef float lanes4 __attribute__((vector_size(16)));
typedef uint32_t bits4 __attribute__((vector_size(16)));

bool codes_size(uint32_t n_rows, uint32_t padded_dim, size_t *size)
{
    size_t centroid, block, blocks, total;
    if (!ck_mul(padded_dim, sizeof(float), &centroid)) return false;
    if (!ck_add(centroid, CODES_BLOCK_FACTORS * sizeof(float), &block))
        return false; /* codes: 4 bytes a dimension too */
    if (!ck_mul(block, codes_n_blocks(n_rows), &blocks)) return false;
    if (!ck_add(blocks, centroid, &total)) return false;
    return ck_add(total, sizeof(struct codes_header), size);
}

/* --- building ---------------------------------------------------------------------------------------------------- */

struct builder {
    const char *rows; /* not as float *: alignment is not known */
    uint32_t n, dim, padded_dim;
    enum space space;
    uint64_t seed;
    float *x;    /* padded_dim: the row at hand, then its residual */
    float *mean; /* padded_dim: c as it is, zero beyond dim */
    double *sum; /* padded_dim */
};

/* Row i into b->x[0, dim); normalised for cosine unless it is zero. */
static void take_row(struct builder *b, uint32_t i)
{
    size_t size = (size_t)b->dim * sizeof(float);
    memcpy(b->x, b->rows + i * size, size);
    if (b->space != SPACE_COSINE) return;
    double norm2 = codes_dot(b->x, b->x, b->dim);
    double factor = norm2 > 0 ? 1 / sqrt(norm2) : 0;
    for (uint32_t d = 0; d < b->dim; d++) b->x[d] = (float)((double)b->x[d] * factor);
}

static void find_mean(struct builder *b)
{
    for (uint32_t i = 0; i < b->n; i++) {
        take_row(b, i);
        for (uint32_t d = 0; d < b->dim; d++) b->sum[d] += (double)b->x[d];
    }
    for (uint32_t d = 0; d < b->dim; d++) b->mean[d] = (float)(b->sum[d] / b->n);
}

static inline lanes4 absolute(lanes4 v)
{
    return (lanes4)((bits4)v & 0x7fffffff);
}

/* |r|^2 and |r|_1 of the residual in b->x. */
static void measure(const struct builder *b, float *square, float *l1)
{
    lanes4 s0 = {0}, s1 = {0}, a0 = {0}, a1 = {0};
    for (uint32_t d = 0; d < b->padded_dim; d += 8) {
        lanes4 v0, v1;
        memcpy(&v0, b->x + d, sizeof v0);
        memcpy(&v1, b->x + d + 4, sizeof v1);
        s0 += v0 * v0;
        s1 += v1 * v1;
        a0 += absolute(v0);
        a1 += absolute(v1);
    }
    s0 += s1;
    a0 += a1;
    *square = (s0[0] + s0[1]) + (s0[2] + s0[3]);
    *l1 = (a0[0] + a0[1]) + (a0[2] + a0[3]);
}

/* Puts the signs of b->x into place j of a block: a one where the sign bit is not set. */
static void pack_signs(const struct builder *b, uint8_t *block, uint32_t j)
{
    uint8_t *p = block + j % 16;
    unsigned shift = j / 16 * 4;
    for (uint32_t d = 0; d < b->padded_dim; d += 4, p += CODES_GROUP_BYTES) {
        uint32_t u[4];
        memcpy(u, b->x + d, sizeof u);
        uint32_t negative = u[0] >> 31 | u[1] >> 31 << 1 | u[2] >> 31 << 2 | u[3] >> 31 << 3;
        *p = (uint8_t)(*p | (negative ^ 15) << shift);
    }
}

static void put_factors(float *factors, uint32_t j, float add, float scale, float err)
{
    factors[j] = add;
    factors[CODES_BLOCK_ROWS + j] = scale;
    factors[2 * CODES_BLOCK_ROWS + j] = err;
}

/* Encodes all rows into zeroed blocks. False when a length is out of range. */
static bool encode(struct builder *b, uint8_t *blocks, float *factors)
{
    const float dims = (float)b->padded_dim;
    const size_t block_bytes = (size_t)b->padded_dim * 4;
    float longest = 0; /* squared */
    bool has_residual = false;
    for (uint32_t i = 0; i < b->n; i++) {
        take_row(b, i);
        for (uint32_t d = 0; d < b->dim; d++) b->x[d] -= b->mean[d];
        memset(b->x + b->dim, 0, (b->padded_dim - b->dim) * sizeof(float));
        double with_mean = b->space == SPACE_IP ? codes_dot(b->x, b->mean, b->dim) : 0;
        rotation_apply(b->x, b->padded_dim, b->seed);
        float square, l1;
        measure(b, &square, &l1);
        float add = b->space == SPACE_IP ? (float)(-2 * with_mean) : square;
        if (!(square <= CODES_SQUARE_MAX) || !(fabsf(add) <= CODES_SQUARE_MAX)) return false;
        longest = square > longest ? square : longest;
        has_residual |= l1 > 0; /* the square may have vanished */
        float f = 0, err = 0;
        if (square >= CODES_SQUARE_MIN * 1e-10f && l1 > 0) {
            float p2 = l1 / dims * (l1 / square); /* at most 1 by Cauchy and Schwarz */
            float spread = 1 - p2 > 0.1f ? 1 - p2 : 0.1f;
            f = square / l1;
            err = sqrtf(square) * sqrtf(spread / (p2 * (dims - 1)));
        }
        uint32_t block = i / CODES_BLOCK_ROWS, j = i % CODES_BLOCK_ROWS;
        pack_signs(b, blocks + block * block_bytes, j);
        put_factors(factors + (size_t)block * CODES_BLOCK_FACTORS, j, add, -2 * f, err);
    }
    float *last = factors + (size_t)(codes_n_blocks(b->n) - 1) * CODES_BLOCK_FACTORS;
    for (uint32_t j = (b->n - 1) % CODES_BLOCK_ROWS + 1; j < CODES_BLOCK_ROWS; j++)
        put_factors(last, j, INFINITY, 0, 0);
    return !has_residual || longest >= CODES_SQUARE_MIN;
}

/* Writes a section of `size` bytes to p and returns its real size: smaller if it had to be empty. */
static size_t write_section(struct builder *b, char *p, size_t size)
{
    struct codes_header h = {CODES_MAGIC, CODES_VERSION, b->n, b->dim, b->padded_dim, b->space, b->seed, size, {0}};
    size_t centroid_bytes = (size_t)b->padded_dim * sizeof(float);
    if (b->n > 0) {
        char *blocks = p + sizeof h + centroid_bytes;
        size_t blocks_bytes = (size_t)codes_n_blocks(b->n) * b->padded_dim * 4;
        memset(blocks, 0, blocks_bytes);
        find_mean(b);
        float *centroid = (float *)(void *)(p + sizeof h);
        memcpy(centroid, b->mean, centroid_bytes);
        rotation_apply(centroid, b->padded_dim, b->seed);
        if (!encode(b, (uint8_t *)blocks, (float *)(void *)(blocks + blocks_bytes))) b->n = 0;
    }
    if (b->n == 0) {
        h.n_rows = h.padded_dim = 0;
        h.size_bytes = sizeof h;
    }
    memcpy(p, &h, sizeof h);
    return (size_t)h.size_bytes;
}

enum err codes_build(const float *rows, uint32_t n, uint32_t dim, enum space space, uint64_t seed, struct buf *out,
                     struct errmsg *em)
{
    struct builder b = {
        .rows = (const char *)rows, .n = dim < CODES_MIN_DIM ? 0 : n, .dim = dim, .space = space, .seed = seed};
    size_t size = sizeof(struct codes_header), n_before = out->n;
    enum err e = ERR_OK;
    if (b.n > 0) {
        size_t floats;
        b.padded_dim = rotation_padded(dim);
        if (b.padded_dim == 0 || !codes_size(n, b.padded_dim, &size) || !ck_mul(b.padded_dim, 2, &floats))
            return errmsg_set(em, ERR_TOO_LARGE, "vector codes of %u rows of %u dimensions", n, dim);
        b.x = mem_array(floats, sizeof(float));
        b.sum = mem_array(b.padded_dim, sizeof(double));
        if (b.x == NULL || b.sum == NULL) {
            e = errmsg_set(em, ERR_NOMEM, "vector codes of %u rows", n);
            goto done;
        }
        b.mean = b.x + b.padded_dim;
    }
    buf_align(out, 64);
    char *p = buf_room(out, size);
    if (p == NULL) {
        out->n = n_before;
        e = errmsg_set(em, out->err, "vector codes of %u rows: %s", n, err_text(out->err));
        goto done;
    }
    out->n += write_section(&b, p, size);
done:
    mem_free(b.x);
    mem_free(b.sum);
    return e;
}

/* --- opening ----------------------------------------------------------------------------------------------------- */

enum err codes_open(struct codes *c, struct bytes section, uint32_t n_rows, uint32_t dim, enum space space,
                    struct errmsg *em)
{
    struct codes_header h;
    if (section.n < sizeof h) return errmsg_set(em, ERR_CORRUPT, "vector codes: cut off");
    memcpy(&h, section.p, sizeof h);
    if (h.magic != CODES_MAGIC) return errmsg_set(em, ERR_CORRUPT, "vector codes: wrong magic");
    if (h.version > CODES_VERSION) return errmsg_set(em, ERR_NEWER, "vector codes: version %u", h.version);
    if (h.version == 0) return errmsg_set(em, ERR_CORRUPT, "vector codes: version 0");
    if (h.size_bytes > section.n) return errmsg_set(em, ERR_CORRUPT, "vector codes: cut off");
    if (h.dim != dim || h.space != (uint32_t)space)
        return errmsg_set(em, ERR_CORRUPT, "vector codes: of other vectors (%u dimensions, space %u)", h.dim, h.space);
    if (h.n_rows == 0) {
        if (h.size_bytes != sizeof h || h.padded_dim != 0)
            return errmsg_set(em, ERR_CORRUPT, "vector codes: empty, but with content");
        *c = (struct codes){.section = section, .dim = dim, .space = space, .seed = h.seed};
        return ERR_OK;
    }
    size_t size;
    if (h.n_rows != n_rows || dim < CODES_MIN_DIM || h.padded_dim != rotation_padded(dim) ||
        !codes_size(h.n_rows, h.padded_dim, &size) || h.size_bytes != size)
        return errmsg_set(em, ERR_CORRUPT, "vector codes: %u rows in %llu bytes", h.n_rows,
                          (unsigned long long)h.size_bytes);
    if ((uintptr_t)section.p % _Alignof(float) != 0) return errmsg_set(em, ERR_CORRUPT, "vector codes: not aligned");
    const char *centroid = (const char *)section.p + sizeof h,
               *blocks = centroid + (size_t)h.padded_dim * sizeof(float);
    const char *factors = blocks + (size_t)codes_n_blocks(h.n_rows) * h.padded_dim * 4;
    *c = (struct codes){.section = section,
                        .n = h.n_rows,
                        .dim = dim,
                        .padded_dim = h.padded_dim,
                        .space = space,
                        .seed = h.seed,
                        .centroid = (const float *)(const void *)centroid,
                        .blocks = (const uint8_t *)blocks,
                        .factors = (const float *)(const void *)factors};
    return ERR_OK;
}
