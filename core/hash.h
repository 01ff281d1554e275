/* hash.h - 64-bit hashes of bytes: XXH3 (xxhash, header only use).
 *
 * Tables in memory are keyed with hash_process_seed(), drawn once at start, so that no client can prepare colliding
 * keys. Tables on disk carry their own seed in the file.
 */
#ifndef CORE_HASH_H
#define CORE_HASH_H

#include "core/bytes.h"

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed);
uint64_t hash_process_seed(void); /* any thread; the same value for the life of the process */

/* n bytes from the kernel's random source; panics if it fails (it cannot, once the system is up). */
void random_bytes(void *p, size_t n);

/* The next number of a generator, splitmix64 (Steele, Lea, Flood, OOPSLA 2014); any state will do. */
static inline uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

#endif
