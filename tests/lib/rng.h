/* rng.h - deterministic pseudo-random numbers: xorshift64* from a seed that the test prints when it fails. */
#ifndef TESTS_RNG_H
#define TESTS_RNG_H

#include <stdint.h>

struct rng {
    uint64_t s;
};
uint64_t rng_next(struct rng *r);
uint32_t rng_below(struct rng *r, uint32_t n);
float rng_gauss(struct rng *r);

#endif
