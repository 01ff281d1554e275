/* codes_encode.c - one row as signs and factors: what the builders of sections with and without lists share.
 *
 * FAILURE     none here; lengths that are out of range are seen by the callers (struct codes_factors.square).
 * INVARIANTS  sums go in double or in a fixed order, so the same residual gives the same bytes on every processor.
 */
#include "index/codes_internal.h"

#include "index/rotation.h"

typedef float lanes4 __attribute__((vector_size(16)));
typedef uint32_t bits4 __attribute__((vector_size(16)));

void codes_take_row(const struct codes_source *s, uint32_t i, float *x)
{
    size_t size = (size_t)s->dim * sizeof(float);
    memcpy(x, s->rows + i * size, size);
    if (s->space != SPACE_COSINE) return;
    double norm2 = codes_dot(x, x, s->dim);
    double factor = norm2 > 0 ? 1 / sqrt(norm2) : 0;
    for (uint32_t d = 0; d < s->dim; d++) x[d] = (float)((double)x[d] * factor);
}

void codes_take_residual(const struct codes_source *s, uint32_t i, const float *mean, float *x)
{
    codes_take_row(s, i, x);
    for (uint32_t d = 0; d < s->dim; d++) x[d] -= mean[d];
    memset(x + s->dim, 0, (s->padded_dim - s->dim) * sizeof(float));
    rotation_apply(x, s->padded_dim, s->seed);
}

static inline lanes4 absolute(lanes4 v)
{
    return (lanes4)((bits4)v & 0x7fffffff);
}

/* |r|^2 and |r|_1. */
static void lengths(const float *r, uint32_t padded_dim, float *square, float *l1)
{
    lanes4 s0 = {0}, s1 = {0}, a0 = {0}, a1 = {0};
    for (uint32_t d = 0; d < padded_dim; d += 8) {
        lanes4 v0, v1;
        memcpy(&v0, r + d, sizeof v0);
        memcpy(&v1, r + d + 4, sizeof v1);
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

struct codes_factors codes_measure(const float *r, uint32_t padded_dim, float spread)
{
    const float dims = (float)padded_dim;
    struct codes_factors out = {0};
    float l1;
    lengths(r, padded_dim, &out.square, &l1);
    out.has_residual = l1 > 0;
    if (out.square >= CODES_SQUARE_MIN * 1e-10f && l1 > 0) {
        float p2 = l1 / dims * (l1 / out.square); /* at most 1 by Cauchy and Schwarz */
        float left = 1 - p2 > spread ? 1 - p2 : spread;
        out.f = out.square / l1;
        out.err = sqrtf(out.square) * sqrtf(left / (p2 * (dims - 1)));
    }
    return out;
}

void codes_pack_signs(const float *r, uint32_t n_dims, uint8_t *block, uint32_t j)
{
    uint8_t *p = block + j % 16;
    unsigned shift = j / 16 * 4;
    for (uint32_t d = 0; d < n_dims; d += 4, p += CODES_GROUP_BYTES) {
        uint32_t u[4];
        memcpy(u, r + d, sizeof u);
        uint32_t negative = u[0] >> 31 | u[1] >> 31 << 1 | u[2] >> 31 << 2 | u[3] >> 31 << 3;
        *p = (uint8_t)(*p | (negative ^ 15) << shift);
    }
}

void codes_put_factors(float *factors, uint32_t j, float add, float scale, float err)
{
    factors[j] = add;
    factors[CODES_BLOCK_ROWS + j] = scale;
    factors[2 * CODES_BLOCK_ROWS + j] = err;
}

void codes_fill_last(float *factors, uint32_t n_rows)
{
    float *last = factors + (size_t)(codes_n_blocks(n_rows) - 1) * CODES_BLOCK_FACTORS;
    for (uint32_t j = (n_rows - 1) % CODES_BLOCK_ROWS + 1; j < CODES_BLOCK_ROWS; j++)
        codes_put_factors(last, j, INFINITY, 0, 0);
}
