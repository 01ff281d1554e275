/* fragment_check_codes.c - are the vector codes those of the rows? See fragment_check.h.
 *
 * Every row must stand in as many places as it has copies (lists), each in another list, and its signs and its factor
 * `scale` must be those of its own residual.
 * They are computed again from the rotated centroid that the section has, in another order of roundings than the
 * builder's. So a sign counts only where its coordinate is clear of zero, and factors are compared with a tolerance.
 */
#include "index/fragment_check_internal.h"

#include <math.h>

#include "core/mem.h"
#include "index/codes_internal.h"
#include "index/rotation.h"

struct places {
    struct check *c;
    const struct codes *codes;
    struct codes_source source;
    float *x; /* padded_dim */
};

static bool sign_at(const struct codes *c, uint32_t place, uint32_t d)
{
    uint32_t block = place / CODES_BLOCK_ROWS, j = place % CODES_BLOCK_ROWS;
    uint32_t n_dims = c->first_dims, at = d;
    const uint8_t *p = c->blocks;
    if (d >= c->first_dims) {
        p = c->rests;
        n_dims = c->padded_dim - c->first_dims;
        at = d - c->first_dims;
    }
    p += (size_t)block * n_dims * 4 + (size_t)(at / 4) * CODES_GROUP_BYTES + j % 16;
    return (*p >> (at % 4 + j / 16 * 4) & 1) != 0;
}

/* They come from the factors by the same arithmetic as when they were written. */
static bool check_looks(struct places *s, uint32_t place, uint32_t row)
{
    const struct codes *c = s->codes;
    const size_t block = place / CODES_BLOCK_ROWS;
    const uint32_t j = place % CODES_BLOCK_ROWS;
    const int16_t *looks = c->looks + block * CODES_BLOCK_LOOKS;
    int16_t of[3];
    bool is_limited = codes_looks_of(c->factors + block * CODES_BLOCK_FACTORS, j, c->look_units, of);
    if (is_limited == ((c->unlimited[block] >> j & 1) == 0) && looks[j] == of[0] &&
        looks[CODES_BLOCK_ROWS + j] == of[1] && looks[(size_t)2 * CODES_BLOCK_ROWS + j] == of[2])
        return true;
    return check_fail(s->c, SECTION_CODES, "the looks of row %u are not those of its factors", row);
}

static bool check_place(struct places *s, uint32_t place, uint32_t row, uint32_t list)
{
    const struct codes *c = s->codes;
    double whole = 0;
    codes_take_row(&s->source, row, s->x);
    memset(s->x + c->dim, 0, (c->padded_dim - c->dim) * sizeof(float));
    rotation_apply(s->x, c->padded_dim, c->seed);
    for (uint32_t d = 0; d < c->padded_dim; d++) {
        float centre = c->centroid[d];
        if (c->n_lists > 0) centre += c->centroids[(size_t)list * c->padded_dim + d];
        whole += (double)s->x[d] * (double)s->x[d] + (double)centre * (double)centre;
        s->x[d] -= centre;
    }
    double clear = 1e-5 * sqrt(whole); /* what rounding may do to a coordinate, with room */
    for (uint32_t d = 0; d < c->padded_dim; d++) {
        if (fabs((double)s->x[d]) <= clear || sign_at(c, place, d) == (s->x[d] > 0)) continue;
        return check_fail(s->c, SECTION_CODES, "the code of row %u is not that of its vector", row);
    }
    struct codes_factors f = codes_measure(s->x, c->padded_dim, CODES_SPREAD);
    const float *factors = c->factors + (size_t)(place / CODES_BLOCK_ROWS) * CODES_BLOCK_FACTORS;
    double scale = (double)factors[CODES_BLOCK_ROWS + place % CODES_BLOCK_ROWS];
    if (!(fabs(scale + 2 * (double)f.f) <= 1e-2 * fabs(2 * (double)f.f) + clear * (double)c->padded_dim))
        return check_fail(s->c, SECTION_CODES, "the factors of row %u are not those of its vector", row);
    return c->looks == NULL || check_looks(s, place, row);
}

static bool check_lists(struct places *s, uint8_t *seen)
{
    const struct codes *c = s->codes;
    for (uint32_t list = 0; list < c->n_lists; list++) {
        for (uint32_t place = c->starts[list]; place < c->starts[list + 1]; place++) {
            uint32_t row = c->order[place];
            if (row >= c->n || seen[row] == c->copies)
                return check_fail(s->c, SECTION_CODES, "place %u has no row of its own", place);
            if (place > c->starts[list] && c->order[place - 1] >= row)
                return check_fail(s->c, SECTION_CODES, "list %u: rows do not ascend", list);
            seen[row]++;
            if (!check_place(s, place, row, list)) return false;
        }
    }
    return true; /* as many places as copies of rows, and none has more: each has all */
}

enum err check_codes(struct check *c, struct errmsg *em)
{
    const struct fragment *f = c->f;
    const struct codes *codes = &f->codes;
    struct places s = {
        .c = c,
        .codes = codes,
        .source = {(const char *)f->vectors, f->n_rows, f->dim, codes->padded_dim, f->space, codes->seed},
        .x = mem_array(codes->padded_dim, sizeof(float)),
    };
    uint8_t *seen = mem_zalloc((size_t)f->n_rows + 1);
    enum err e = ERR_OK;
    if (s.x == NULL || seen == NULL) {
        e = errmsg_set(em, ERR_NOMEM, "check the codes");
    } else if (codes->n_lists > 0) {
        (void)check_lists(&s, seen);
    } else {
        for (uint32_t row = 0; row < codes->n && check_place(&s, row, row, 0); row++) continue;
    }
    mem_free(seen);
    mem_free(s.x);
    return e;
}
