/* uuid.h - 128-bit identifiers of collections and databases (RFC 9562, version 4 when made here). */
#ifndef CORE_UUID_H
#define CORE_UUID_H

#include "core/bytes.h"

enum { UUID_TEXT = 36 }; /* characters of the canonical form, without a terminator */

struct uuid {
    uint8_t b[16];
};

struct uuid uuid_new(void); /* random, version 4 */

/* Accepts what upstream accepts: hyphenated, 32 hex digits, {...} and urn:uuid:..., any case, any version. */
bool uuid_parse(struct str text, struct uuid *out);

/* Canonical: lower case, hyphenated; writes UUID_TEXT characters and a NUL. */
void uuid_format(const struct uuid *u, char out[UUID_TEXT + 1]);

static inline bool uuid_eq(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}

#endif
