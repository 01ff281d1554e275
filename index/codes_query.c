/* codes_query.c - a query against a section: the rotated query, its table, and the constants of estimates and bounds.
 *
 * HAPPY PATH  the query is rotated once a request, its table made once a section; a list changes four constants.
 * FAILURE     short memory; a query so far away that its squares leave float32.
 */
#include "index/codes_internal.h"

#include "index/rotation.h"

/* Margin of the first look in deviations: it has to lose far less than the second. */
#define FIRST_EPSILON 2.4

static struct codes_prepared *prepared_new(const struct codes *c, struct query_vector *q)
{
    struct codes_prepared *p = arena_zalloc(q->arena, sizeof *p);
    float *floats = arena_array(q->arena, c->padded_dim, 2 * sizeof(float));
    uint8_t *table = arena_array(q->arena, c->padded_dim, 4);
    if (p == NULL || floats == NULL || table == NULL) return NULL;
    *p = (struct codes_prepared){.next = q->rotated,
                                 .seed = c->seed,
                                 .padded_dim = c->padded_dim,
                                 .rotated = floats,
                                 .w = floats + c->padded_dim,
                                 .table = table};
    double factor = 1;
    if (q->space == SPACE_COSINE) {
        double norm2 = codes_dot(q->v, q->v, q->dim);
        factor = norm2 > 0 ? 1 / sqrt(norm2) : 0;
    }
    for (uint32_t d = 0; d < q->dim; d++) p->rotated[d] = (float)((double)q->v[d] * factor);
    rotation_apply(p->rotated, c->padded_dim, c->seed);
    p->length = sqrt(codes_dot(p->rotated, p->rotated, c->padded_dim));
    q->rotated = p;
    return p;
}

struct codes_prepared *codes_prepare(const struct codes *c, struct query_vector *q)
{
    for (struct codes_prepared *p = q->rotated; p != NULL; p = p->next) {
        if (p->seed == c->seed && p->padded_dim == c->padded_dim) return p;
    }
    return prepared_new(c, q);
}

double codes_deviation(uint32_t all, uint32_t some)
{
    const double half_pi = 1.5707963267948966;
    return sqrt((half_pi * all / some - 1) / (half_pi - 1));
}

bool codes_target_init(struct codes_target *t, const struct codes *c, struct codes_prepared *p, float epsilon)
{
    for (uint32_t d = 0; d < c->padded_dim; d++) p->w[d] = p->rotated[d] - c->centroid[d];
    double square = codes_dot(p->w, p->w, c->padded_dim);
    double centroid = sqrt(codes_dot(c->centroid, c->centroid, c->padded_dim)), reach = (p->length + centroid);
    if (!(reach * reach <= (double)CODES_SQUARE_MAX)) return false;
    *t = (struct codes_target){.prepared = p, .square = square, .epsilon = (double)epsilon};
    codes_table(p->w, c->padded_dim, p->table, &t->scan);

    /* Rounding n table entries to whole steps adds an error of deviation sigma = step sqrt(n / 12) to <s, w>, which f
     * multiplies. err >= f sqrt(spread) by construction, so both together are within
     * 2 err sqrt(|w|^2 + sigma^2 / spread). w itself is off by the rounding of two rotations; |r| <= err sqrt(10 D)
     * carries that over. */
    double dims = c->padded_dim, step = (double)t->scan.step;
    double spread = (double)(c->n_lists > 0 ? CODES_LISTS_SPREAD : CODES_SPREAD);
    t->rounded = step * step * (t->scan.n_groups / 12.0) / spread;
    t->rounding = sqrt(10 * dims) * 0x1p-22 * reach;
    t->scan.margin = (float)(2 * (t->epsilon * sqrt(square + t->rounded) + t->rounding));
    double base = square, slack = 0x1p-18 * square;
    if (c->space == SPACE_IP) {
        t->with_centroid = codes_dot(p->rotated, c->centroid, c->padded_dim);
        base = -2 * t->with_centroid;
        slack += 0x1p-18 * (p->length * centroid);
    }
    if (c->space != SPACE_L2) slack += 0x1p-20; /* 1 - x rounds to units of 2^-24 however small it is */
    t->scan.base = (float)base;
    t->slack = (float)slack;
    if (c->looks != NULL) codes_looks_init(t, c);
    if (c->n_lists > 0) codes_first_look(p->w, c->padded_dim, c->first_dims, &t->scan);
    return true;
}

void codes_target_list(struct codes_target *t, const struct codes *c, uint32_t list, float list_square)
{
    const float *centroid = c->centroids + (size_t)list * c->padded_dim;
    const struct codes_prepared *p = t->prepared;
    double square = (double)list_square;
    double parts = (double)c->padded_dim / c->first_dims;
    t->scan.base = (float)square;
    if (c->space == SPACE_IP)
        t->scan.base =
            (float)(-2 * ((double)distance_ops()->dot(p->rotated, centroid, c->padded_dim) + t->with_centroid));
    t->scan.margin = (float)(2 * (t->epsilon * sqrt(square + t->rounded) + t->rounding));

    /* delta is rounded to 2^-9 of itself, and it is about as large as 3 err |c_l|. */
    double rough = 3 * 0x1p-8 * (sqrt(t->square) + sqrt(square));
    double deviation = codes_deviation(c->padded_dim, c->first_dims);
    t->scan.margin_1 =
        (float)(2 * (FIRST_EPSILON * sqrt(deviation * deviation * square + parts * t->rounded) + t->rounding + rough));
}
