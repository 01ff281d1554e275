/* codes_looks.c - bounds in 16-bit integers, by some of the dimensions: what a section keeps for them, and those of a query.
 *
 * METHOD   With R = D / d, the lower bound by the first d of D dimensions is
 *            base + add + scale R (step sum - shift) - margin err,   scale <= 0.
 *          It is above the limit where, with u = add/-scale, v = 1/-scale, e = err/-scale,
 *            sum < (u + (base - limit) v - margin e) / (R step) + shift / step.
 *          u, v and e do not depend on the query: a section keeps them in units of its own, the query multiplies by
 *          its coefficients. Its limit changes one coefficient.
 * ROUNDING u is kept rounded down, e up, coefficients are too; what is left of it is below SAFETY sums. Where a coefficient does
 *          not fit, the look rules nothing out. Rows that would make the units coarse are never ruled out by looks.
 * FAILURE  none.
 */
#include "index/codes_internal.h"

#include "index/rotation.h"

enum {
    SAFETY = 2,
    OUTLIER = 8, /* times what is usual: beyond, a row is not ruled out */
};

/* The deviation of the first look, sqrt(pi/2 / d - 1 / D) |r| |w|, is about that of 2/3 of 384, whatever D is: there looking
 * sooner, and at more rows again, costs as much as looking later. */
#define FIRST_VARIANCE 0.0045

/* Margin of looks before the last in deviations: they should lose less than it does. */
#define LOOK_EPSILON 2.4

uint32_t codes_looks_first_dims(uint32_t padded_dim)
{
    uint32_t wanted = (uint32_t)(1.57 / (FIRST_VARIANCE + 1.0 / padded_dim));
    wanted = (wanted + ROTATION_UNIT - 1) / ROTATION_UNIT * ROTATION_UNIT;
    return wanted < padded_dim ? wanted : padded_dim;
}

/* --- of a section ------------------------------------------------------------------------------------------------- */

/* u, v and e of place j. False where scale is zero. */
static bool ratios(const float *factors, uint32_t j, float r[3])
{
    float per = -factors[CODES_BLOCK_ROWS + j];
    if (!(per > 0)) return false;
    r[0] = factors[j] / per;
    r[1] = 1 / per;
    r[2] = factors[2 * CODES_BLOCK_ROWS + j] / per;
    return isfinite(r[0]) && isfinite(r[1]) && isfinite(r[2]);
}

bool codes_looks_of(const float *factors, uint32_t j, const float units[3], int16_t looks[3])
{
    float r[3];
    looks[0] = looks[1] = looks[2] = 0;
    if (!ratios(factors, j, r)) return false;
    for (int i = 0; i < 3; i++) r[i] = units[i] > 0 ? r[i] / units[i] : 0;
    /* An error is never negative, but in a damaged file. */
    if (!(fabsf(r[0]) <= INT16_MAX) || !(r[1] <= INT16_MAX) || !(r[2] >= 0 && r[2] <= INT16_MAX - 1)) return false;
    looks[0] = (int16_t)floorf(r[0]);
    looks[1] = (int16_t)rintf(r[1]);
    looks[2] = (int16_t)ceilf(r[2]);
    return true;
}

void codes_looks_write(char *p, const struct codes_layout *l, uint32_t n_rows)
{
    float *units = (float *)(void *)(p + l->look_units);
    const float *factors = (const float *)(const void *)(p + l->factors);
    uint32_t *unlimited = (uint32_t *)(void *)(p + l->unlimited), n = 0;
    int16_t *looks = (int16_t *)(void *)(p + l->looks);
    double sums[3] = {0, 0, 0};
    for (uint32_t i = 0; i < n_rows; i++) {
        float r[3];
        if (!ratios(factors + (size_t)(i / CODES_BLOCK_ROWS) * CODES_BLOCK_FACTORS, i % CODES_BLOCK_ROWS, r)) continue;
        for (int k = 0; k < 3; k++) sums[k] += sqrt(fabs((double)r[k]));
        n++;
    }
    for (int k = 0; k < 3; k++) {
        double root = n > 0 ? sums[k] / n : 0; /* a mean of roots, so that a few long rows do not make it coarse */
        units[k] = (float)(root * root * OUTLIER / INT16_MAX);
    }
    for (uint32_t i = 0; i < n_rows; i++) {
        size_t block = i / CODES_BLOCK_ROWS;
        uint32_t j = i % CODES_BLOCK_ROWS;
        int16_t of[3];
        if (!codes_looks_of(factors + block * CODES_BLOCK_FACTORS, j, units, of)) unlimited[block] |= UINT32_C(1) << j;
        for (size_t k = 0; k < 3; k++) looks[block * CODES_BLOCK_LOOKS + k * CODES_BLOCK_ROWS + j] = of[k];
    }
}

/* --- of a query --------------------------------------------------------------------------------------------------- */

void codes_looks_init(struct codes_target *t, const struct codes *c)
{
    const float *w = t->prepared->w;
    const double step = (double)t->scan.step;
    double l1 = 0;
    uint32_t d = 0;
    t->n_looks = 0;
    for (uint32_t to = c->first_dims; d < c->padded_dim; to *= 2) {
        if (to > c->padded_dim || t->n_looks == CODES_LOOKS_MAX - 1) to = c->padded_dim;
        for (; d < to; d++) l1 += (double)fabsf(w[d]);
        double part = (double)c->padded_dim / to, dev = codes_deviation(c->padded_dim, to);
        double epsilon = to < c->padded_dim ? fmax(LOOK_EPSILON, t->epsilon) : t->epsilon;
        t->prospects[t->n_looks++] = (struct codes_prospect){
            .n_groups = to / 4,
            .unit = part * step,
            .shift = l1 / step,
            .margin = 2 * (epsilon * sqrt(dev * dev * t->square + part * t->rounded) + t->rounding),
        };
    }
    t->scan.n_first = t->prospects[0].n_groups;
}

struct codes_look codes_look_at(const struct codes_target *t, const struct codes *c, uint32_t i, float limit)
{
    const struct codes_prospect *p = &t->prospects[i];
    const double to_sums = 0x1p16 / p->unit; /* a coefficient's unit is 2^-16 */
    double u = floor((double)c->look_units[0] * to_sums);
    double v = floor((double)c->look_units[1] * ((double)t->scan.base - (double)limit) * to_sums);
    if (v > INT16_MAX) v = INT16_MAX; /* rules out less: no V is negative */
    double e = ceil((double)c->look_units[2] * p->margin * to_sums), k = floor(p->shift - SAFETY);
    bool fits = u >= 0 && u <= INT16_MAX && v >= -INT16_MAX && e >= 0 && e <= INT16_MAX && k >= 0 && k <= INT16_MAX;
    if (!fits) return (struct codes_look){.n_groups = p->n_groups, .k = INT16_MIN};
    return (struct codes_look){p->n_groups, (int16_t)u, (int16_t)v, (int16_t)e, (int16_t)k};
}
