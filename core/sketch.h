/* sketch.h - a vector in one byte a dimension, with which most rows of a scan are ruled out without reading their floats.
 *
 * FORMULA  v = scale * codes + r, codes whole numbers from -127 to 127, left >= |r|. For a query u = t * p + e likewise
 *          u.v = t * scale * (p.codes) + e.(scale * codes) + u.r, so by Cauchy-Schwarz the estimate from the codes is off by at most
 *          |e| * (|v| + left) + |u| * left. With 384 dimensions this is some 2 % of |u| * |v|.
 * PROMISE  sketch_bound is never above what distance_exact answers, roundings of both included. Vectors whose squares
 *          float32 can hardly hold have a bound of -infinity.
 * THREADS  any; no state.
 */
#ifndef CORE_SKETCH_H
#define CORE_SKETCH_H

#include "core/segment.h"

/* Followed by its codes, sketch_bytes() in all. */
struct sketch {
    float scale, left, norm; /* left: infinity if nothing can be said */
    float unused;
    int8_t codes[];
};

/* What a sketch takes, a multiple of 16. 0: vectors of so many dimensions have none. */
size_t sketch_bytes(uint32_t dim);

/* `norm2`: the squared length of v, as distance_ops()->dot has it. `s` has room for sketch_bytes(dim). */
void sketch_make(struct sketch *s, const float *v, uint32_t dim, float norm2);

struct sketch_query {
    const struct query_vector *q;
    const struct sketch *s; /* of q->v, in q's arena */
    float slack;            /* of the roundings, as a share of |u| * |v| */
    size_t n;               /* codes of a sketch, with the zeros behind them */
    int32_t (*product)(const int8_t *a, const int8_t *b, size_t n);
};

/* false: memory is short, or nothing can be said of this query; then rows are measured. `v` must outlive it. */
bool sketch_query_init(struct sketch_query *sq, const struct query_vector *q);

/* The distance of the row with this sketch is not below it. */
float sketch_bound(const struct sketch_query *sq, const struct sketch *row);

#endif
