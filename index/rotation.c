/* rotation.c - see rotation.h.
 *
 * HAPPY PATH  per round: one pass multiplies every coordinate by its sign (and those that the transform will mix by its
 *             normalisation as well); then the transform, two of its levels a pass.
 * FAILURE     none; infinities and NaN spread.
 * INVARIANTS  written with 4-lane vectors for speed only: each lane does what a scalar loop would do, in the same order.
 */
#include "index/rotation.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/err.h"

enum { N_ROUNDS = 4 };

typedef float lanes4 __attribute__((vector_size(16)));

static inline lanes4 load4(const float *p)
{
    lanes4 v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void store4(float *p, lanes4 v)
{
    memcpy(p, &v, sizeof v);
}

uint32_t rotation_padded(uint32_t dim)
{
    if (dim > UINT32_MAX - (ROTATION_UNIT - 1)) return 0;
    return (dim + (ROTATION_UNIT - 1)) / ROTATION_UNIT * ROTATION_UNIT;
}

/* SplitMix64 (Steele, Lea and Flood 2014), the i-th output: the signs of 64 coordinates. */
static uint64_t sign_word(uint64_t seed, uint64_t i)
{
    uint64_t z = seed + (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* y[i] *= factor, negated where the bit of `signs` is one; 64 coordinates. */
static void flip64(float *y, uint64_t signs, const lanes4 by_nibble[16])
{
    for (unsigned i = 0; i < 64; i += 4) store4(y + i, load4(y + i) * by_nibble[signs >> i & 15]);
}

static void fill_factors(lanes4 by_nibble[16], float factor)
{
    for (unsigned v = 0; v < 16; v++) {
        for (unsigned i = 0; i < 4; i++) by_nibble[v][i] = (v >> i & 1) != 0 ? -factor : factor;
    }
}

/* Levels 1 and 2 inside each vector of four. */
static void hadamard_inner(float *y, uint32_t n)
{
    const lanes4 odd = {1, -1, 1, -1}, high = {1, 1, -1, -1};
    for (uint32_t i = 0; i < n; i += 4) {
        lanes4 v = load4(y + i);
        v = __builtin_shufflevector(v, v, 1, 0, 3, 2) + v * odd;
        v = __builtin_shufflevector(v, v, 2, 3, 0, 1) + v * high;
        store4(y + i, v);
    }
}

/* Levels h and 2h in one pass. */
static void hadamard_two_levels(float *y, uint32_t n, uint32_t h)
{
    for (uint32_t i = 0; i < n; i += 4 * h) {
        for (uint32_t j = i; j < i + h; j += 4) {
            lanes4 a = load4(y + j), b = load4(y + j + h), c = load4(y + j + 2 * h), d = load4(y + j + 3 * h);
            lanes4 ab = a + b, a_b = a - b, cd = c + d, c_d = c - d;
            store4(y + j, ab + cd);
            store4(y + j + h, a_b + c_d);
            store4(y + j + 2 * h, ab - cd);
            store4(y + j + 3 * h, a_b - c_d);
        }
    }
}

static void hadamard_level(float *y, uint32_t n, uint32_t h)
{
    for (uint32_t i = 0; i < n; i += 2 * h) {
        for (uint32_t j = i; j < i + h; j += 4) {
            lanes4 a = load4(y + j), b = load4(y + j + h);
            store4(y + j, a + b);
            store4(y + j + h, a - b);
        }
    }
}

/* Not normalised. n: a power of two, at least 64. */
static void hadamard(float *y, uint32_t n)
{
    hadamard_inner(y, n);
    uint32_t h = 4;
    for (; h <= n / 4; h *= 4) hadamard_two_levels(y, n, h);
    if (h < n) hadamard_level(y, n, h);
}

void rotation_apply(float *y, uint32_t padded_dim, uint64_t seed)
{
    CHECK(padded_dim >= ROTATION_UNIT && padded_dim % ROTATION_UNIT == 0);
    uint32_t mixed = ROTATION_UNIT, n_words = padded_dim / ROTATION_UNIT;
    while (mixed <= padded_dim / 2) mixed *= 2;
    lanes4 plain[16], scaled[16];
    fill_factors(plain, 1);
    fill_factors(scaled, 1 / sqrtf((float)mixed));
    for (uint32_t round = 0; round < N_ROUNDS; round++) {
        uint32_t from = round % 2 == 0 ? 0 : padded_dim - mixed;
        for (uint32_t w = 0; w < n_words; w++) {
            uint32_t at = w * ROTATION_UNIT;
            bool is_mixed = at - from < mixed; /* wraps below `from`; ranges are whole words */
            flip64(y + at, sign_word(seed, (uint64_t)round * n_words + w), is_mixed ? scaled : plain);
        }
        hadamard(y + from, mixed);
    }
}
