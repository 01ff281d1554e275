/* codes_build.c - makes the section of vector codes.
 *
 * HAPPY PATH  one pass over the rows for their mean; the mean is rotated; a second pass takes each row, subtracts the mean,
 *             rotates, and packs signs and factors into its block. Rows are copied one at a time: the input may be a
 *             mapping of any alignment and is never held twice. Many rows go into lists: codes_lists_build.c.
 * FAILURE     short memory is reported; squared lengths outside of float32's comfortable range make the section empty.
 * INVARIANTS  without lists the bytes depend on the rows and the seed only, not on the processor. Factors are finite,
 *             except that rows that fill the last block have add = +infinity.
 */
#include "index/codes_internal.h"

#include "core/mem.h"
#include "index/rotation.h"

struct builder {
    struct codes_source source;
    float *x;    /* padded_dim: the row at hand, then its residual */
    float *mean; /* padded_dim: c as it is, zero beyond dim */
    double *sum; /* padded_dim */
    uint32_t first_dims;
};

static void find_mean(struct builder *b)
{
    const struct codes_source *s = &b->source;
    for (uint32_t i = 0; i < s->n; i++) {
        codes_take_row(s, i, b->x);
        for (uint32_t d = 0; d < s->dim; d++) b->sum[d] += (double)b->x[d];
    }
    for (uint32_t d = 0; d < s->dim; d++) b->mean[d] = (float)(b->sum[d] / s->n);
}

/* Row i encoded in its place. False when a length is out of range. */
static bool encode_row(struct builder *b, uint32_t i, uint8_t *blocks, uint8_t *rests, float *factors, float *longest,
                       bool *has_residual)
{
    const struct codes_source *s = &b->source;
    uint32_t block = i / CODES_BLOCK_ROWS, j = i % CODES_BLOCK_ROWS;
    codes_take_row(s, i, b->x);
    for (uint32_t d = 0; d < s->dim; d++) b->x[d] -= b->mean[d];
    memset(b->x + s->dim, 0, (s->padded_dim - s->dim) * sizeof(float));
    double with_mean = s->space == SPACE_IP ? codes_dot(b->x, b->mean, s->dim) : 0;
    rotation_apply(b->x, s->padded_dim, s->seed);
    struct codes_factors f = codes_measure(b->x, s->padded_dim, CODES_SPREAD);
    float add = s->space == SPACE_IP ? (float)(-2 * with_mean) : f.square;
    if (!(f.square <= CODES_SQUARE_MAX) || !(fabsf(add) <= CODES_SQUARE_MAX)) return false;
    *longest = f.square > *longest ? f.square : *longest;
    *has_residual |= f.has_residual;
    uint32_t rest_dims = s->padded_dim - b->first_dims;
    codes_pack_signs(b->x, b->first_dims, blocks + (size_t)block * b->first_dims * 4, j);
    codes_pack_signs(b->x + b->first_dims, rest_dims, rests + (size_t)block * rest_dims * 4, j);
    codes_put_factors(factors + (size_t)block * CODES_BLOCK_FACTORS, j, add, -2 * f.f, f.err);
    return true;
}

/* Where the parts of a section without lists lie. Beyond some dimensions there are no looks, and version 1. */
static bool flat_layout(const struct codes_source *s, struct codes_layout *l, uint32_t *first_dims)
{
    bool has_looks = s->padded_dim <= CODES_LOOKS_MAX_DIM;
    *first_dims = has_looks ? codes_looks_first_dims(s->padded_dim) : s->padded_dim;
    return codes_layout(s->n, 1, 0, s->padded_dim, *first_dims, has_looks, l);
}

/* A section without lists. False when a length is out of range. */
static bool write_flat(struct builder *b, char *p, const struct codes_layout *l)
{
    const struct codes_source *s = &b->source;
    struct codes_header h = {CODES_MAGIC, 1, s->n, s->dim, s->padded_dim, s->space, s->seed, l->size, 0, 0, 0, 0, 0, 0};
    float longest = 0; /* squared */
    bool has_residual = false;
    if (l->looks != 0) {
        h.version = CODES_VERSION;
        h.first_dims = b->first_dims;
    }
    memset(p, 0, l->size);
    memcpy(p, &h, sizeof h);
    float *centroid = (float *)(void *)(p + l->centroid), *factors = (float *)(void *)(p + l->factors);
    memcpy(centroid, b->mean, s->padded_dim * sizeof(float));
    rotation_apply(centroid, s->padded_dim, s->seed);
    for (uint32_t i = 0; i < s->n; i++) {
        if (!encode_row(b, i, (uint8_t *)p + l->blocks, (uint8_t *)p + l->rests, factors, &longest, &has_residual))
            return false;
    }
    codes_fill_last(factors, s->n);
    if (l->looks != 0) codes_looks_write(p, l, s->n);
    return !has_residual || longest >= CODES_SQUARE_MIN;
}

/* Lists are not worth their bytes where a search has to look at more codes than this, of as many as there are rows: a scan in
 * row order is as fast. */
#define LISTS_SHARE_MAX 0.6f

/* Writes a section to p, where there is room for one with n_lists lists (0: none), and sets *size: less than that if
 * lists are not wanted at any price and not worth it, or if the section has to be empty. */
static enum err write_section(struct builder *b, char *p, size_t room, uint32_t n_lists, uint32_t copies,
                              bool is_any_price, size_t *size, struct errmsg *em)
{
    const struct codes_source *s = &b->source;
    struct codes_layout l = {0};
    bool is_in_range = false;
    if (s->n > 0) {
        float share = 0;
        enum err e = ERR_OK;
        find_mean(b);
        if (n_lists > 0) e = codes_lists_write(s, b->mean, n_lists, copies, p, &is_in_range, &share, em);
        if (e != ERR_OK) return e;
        if (n_lists > 0 && is_in_range && share > LISTS_SHARE_MAX && !is_any_price) n_lists = 0;
        if (n_lists > 0) {
            uint32_t first_dims = codes_lists_first_dims(s->padded_dim);
            CHECK(codes_layout(s->n, copies, n_lists, s->padded_dim, first_dims, false, &l) && "as when room was made");
        } else {
            CHECK(flat_layout(s, &l, &b->first_dims) && l.size <= room && "the caller has made room");
            is_in_range = write_flat(b, p, &l);
        }
    }
    *size = l.size;
    if (!is_in_range) {
        struct codes_header h = {CODES_MAGIC, 1, 0, s->dim, 0, s->space, s->seed, sizeof h, 0, 0, 0, 0, 0, 0};
        memcpy(p, &h, sizeof h);
        *size = sizeof h;
    }
    return ERR_OK;
}

static enum err build(const float *rows, struct codes_source s, uint32_t n_lists, uint32_t copies, bool is_any_price,
                      struct buf *out, struct errmsg *em)
{
    struct builder b = {.source = s};
    struct codes_layout l = {.size = sizeof(struct codes_header)};
    size_t n_before = out->n, size = 0;
    enum err e = ERR_OK;
    b.source.rows = (const char *)rows;
    if (s.dim < CODES_MIN_DIM) b.source.n = 0;
    if (b.source.n > 0) {
        size_t floats;
        uint32_t first_dims = codes_lists_first_dims(s.padded_dim);
        bool fits = n_lists > 0 ? codes_layout(s.n, copies, n_lists, s.padded_dim, first_dims, false, &l)
                                : flat_layout(&s, &l, &first_dims);
        if (s.padded_dim == 0 || !fits || !ck_mul(s.padded_dim, 2, &floats))
            return errmsg_set(em, ERR_TOO_LARGE, "vector codes of %u rows of %u dimensions", s.n, s.dim);
        b.x = mem_array(floats, sizeof(float));
        b.sum = mem_array(s.padded_dim, sizeof(double));
        if (b.x == NULL || b.sum == NULL) {
            e = errmsg_set(em, ERR_NOMEM, "vector codes of %u rows", s.n);
            goto done;
        }
        b.mean = b.x + s.padded_dim;
    }
    buf_align(out, 64);
    char *p = buf_room(out, l.size);
    if (p == NULL) {
        e = errmsg_set(em, out->err, "vector codes of %u rows: %s", s.n, err_text(out->err));
        goto done;
    }
    e = write_section(&b, p, l.size, n_lists, copies, is_any_price, &size, em);
    if (e == ERR_OK) out->n += size;
done:
    if (e != ERR_OK) out->n = n_before;
    mem_free(b.x);
    mem_free(b.sum);
    return e;
}

enum err codes_build_as(const float *rows, uint32_t n, uint32_t dim, enum space space, uint64_t seed, uint32_t n_lists,
                        uint32_t copies, struct buf *out, struct errmsg *em)
{
    struct codes_source s = {NULL, n, dim, rotation_padded(dim), space, seed};
    CHECK(copies == 1 || (copies == CODES_COPIES && n_lists >= copies));
    return build(rows, s, n_lists, copies, true, out, em);
}

enum err codes_build(const float *rows, uint32_t n, uint32_t dim, enum space space, uint64_t seed, struct buf *out,
                     struct errmsg *em)
{
    struct codes_source s = {NULL, n, dim, rotation_padded(dim), space, seed};
    uint32_t n_lists = codes_lists_wanted(n, s.padded_dim);
    return build(rows, s, n_lists, n_lists > 0 ? CODES_COPIES : 1, false, out, em);
}
