/* text_index_internal.h - the layout of the trigram index. For index/text_index_*.c.
 *
 * SECTION  the postings, one after the other in the order of their trigrams; zeros up to a multiple of 8; the
 *          directory; the rows of short documents; zeros up to a multiple of 8; the trailer, last. All offsets count from
 *          the start of the section.
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
    uint32_t has_shorts;  /* 0: written by a former version, the rows of short documents are not told */
    uint64_t trigrams_at; /* the directory */
    uint64_t shorts_at;   /* u32 n, u32[n]: rows with a document of one or two bytes, ascending */
};
_Static_assert(sizeof(struct text_trailer) == 32, "format");

/* Postings of one trigram, their place checked. */
struct postings {
    const uint8_t *at, *end;
    uint32_t n_rows;
    enum text_postings kind;
};

/* The first entry of the directory at or above a trigram; n_trigrams: none. (text_index_narrow.c) */
uint32_t text_index_bound(const struct text_index *t, uint32_t trigram);
enum err text_index_postings(const struct text_index *t, uint32_t i, struct postings *p, struct errmsg *em);

static inline uint32_t text_index_key(const struct text_index *t, uint32_t i)
{
    return le32_get(t->trigrams + (size_t)i * sizeof(struct text_trigram));
}

/* Reads a varint of a row's distance; NULL when it is cut off or too long. */
static inline const uint8_t *postings_delta(const uint8_t *at, const uint8_t *end, uint32_t *delta)
{
    uint64_t value = *at++;
    if (value >= 0x80) {
        value &= 0x7f;
        for (unsigned shift = 7;; shift += 7) {
            if (at == end || shift > 28) return NULL;
            uint8_t byte = *at++;
            value |= (uint64_t)(byte & 0x7f) << shift;
            if (byte < 0x80) break;
        }
    }
    if (value > UINT32_MAX) return NULL;
    *delta = (uint32_t)value;
    return at;
}

/* The 24-bit number of the trigram at p. */
static inline uint32_t trigram_at(const uint8_t *p)
{
    return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}

#endif
