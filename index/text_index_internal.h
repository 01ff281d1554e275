/* text_index_internal.h - the layout of the trigram index. For index/text_index_*.c.
 *
 * SECTION  the postings, one after the other in the order of their trigrams; zeros up to a multiple of 8; the
 *          directory; the trailer, last. All offsets count from the start of the section.
 */
#ifndef INDEX_TEXT_INDEX_INTERNAL_H
#define INDEX_TEXT_INDEX_INTERNAL_H

#include "index/text_index.h"

#define TEXT_INDEX_MAGIC UINT32_C(0x31585443) /* "CTX1" */

enum text_postings { TEXT_DELTAS = 0, TEXT_BITMAP = 1 };

/* Postings lie in [at, at of the next entry). The entry after the last has key UINT32_MAX and no rows. */
struct text_trigram {
    uint32_t key;    /* first byte << 24 | second << 16 | third << 8 | enum text_postings */
    uint32_t n_rows; /* that have it */
    uint64_t at;
};
_Static_assert(sizeof(struct text_trigram) == 16, "format");

struct text_trailer {
    uint32_t magic;
    uint32_t n_rows; /* of the fragment */
    uint32_t n_trigrams;
    uint32_t zero;
    uint64_t trigrams_at; /* the directory */
    uint64_t zero2;
};
_Static_assert(sizeof(struct text_trailer) == 32, "format");

/* The 24-bit number of the trigram at p. */
static inline uint32_t trigram_at(const uint8_t *p)
{
    return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}

#endif
