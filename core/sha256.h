/* sha256.h - SHA-256 (FIPS 180-4), for comparing secrets by their digests.
 *
 * THREADS  any. Nothing here allocates or fails.
 */
#ifndef CORE_SHA256_H
#define CORE_SHA256_H

#include "core/bytes.h"

enum { SHA256_BYTES = 32, SHA256_BLOCK = 64 };

struct sha256 {
    uint32_t h[8];
    uint64_t n;                  /* bytes so far */
    uint8_t block[SHA256_BLOCK]; /* the last n % 64 of them */
};

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *p, size_t n);
void sha256_end(struct sha256 *s, uint8_t digest[SHA256_BYTES]); /* wipes *s, which has seen the secret */

/* Takes the same time wherever the two differ. */
bool bytes_eq_constant_time(const void *a, const void *b, size_t n);

#endif
