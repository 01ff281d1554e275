/* rng.c - see rng.h. */
#include "tests/lib/rng.h"

#include <math.h>

uint64_t rng_next(struct rng *r)
{
    if (r->s == 0) r->s = 88172645463325252u;
    r->s ^= r->s >> 12;
    r->s ^= r->s << 25;
    r->s ^= r->s >> 27;
    return r->s * 2685821657736338717u;
}

uint32_t rng_below(struct rng *r, uint32_t n)
{
    return n == 0 ? 0 : (uint32_t)((rng_next(r) >> 32) * n >> 32);
}

float rng_gauss(struct rng *r)
{
    double u = ((double)(rng_next(r) >> 11) + 1) / 9007199254740993.0,
           v = (double)(rng_next(r) >> 11) / 9007199254740992.0;
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}
