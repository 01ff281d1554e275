/* rotation.h - a fixed pseudo-random rotation of padded vectors, named by a seed.
 *
 * Four rounds of: flip the sign of each coordinate by one bit of the seed's stream, then a normalised Hadamard transform
 * of the first (rounds 0 and 2) or last (1 and 3) 2^m coordinates, 2^m being the largest power of two that fits. Every
 * step is orthogonal, so lengths and inner products are kept up to rounding.
 * FORMAT   the stream of signs is part of the file format (docs/formats.md#codes). All operations are single float32
 *          additions, subtractions and multiplications in a fixed order, so every machine and build gives the same bits.
 * THREADS  any; no state.
 */
#ifndef INDEX_ROTATION_H
#define INDEX_ROTATION_H

#include <stddef.h>
#include <stdint.h>

enum { ROTATION_UNIT = 64 };

/* dim rounded up to a multiple of ROTATION_UNIT; 0 if that does not fit. */
uint32_t rotation_padded(uint32_t dim);

/* Rotates y in place. padded_dim: a multiple of ROTATION_UNIT, not 0. */
void rotation_apply(float *y, uint32_t padded_dim, uint64_t seed);

#endif
