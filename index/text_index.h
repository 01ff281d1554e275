/* text_index.h - trigrams of the documents' bytes: which rows may hold a substring.
 *
 * A section of a fragment (docs/formats.md#text-index): the distinct 3-byte sequences in order, each with its rows
 * (ascending, delta-coded varints, or a bitmap where that is shorter). It answers with candidates; whoever asks
 * verifies them on the text. (Russ Cox, "Regular expression matching with a trigram index", 2012.)
 * THREADS  building: one. Asking: any number.
 */
#ifndef INDEX_TEXT_INDEX_H
#define INDEX_TEXT_INDEX_H

#include "core/bitset.h"
#include "core/regex.h"
#include "index/sink.h"

struct text_index_builder;

/* What does not fit in memory goes to "<path>.text.tmp"; vfs NULL: everything stays in memory. */
enum err text_index_builder_new(struct text_index_builder **b, const struct vfs *vfs, const char *path,
                                struct errmsg *em);
enum err text_index_builder_add(struct text_index_builder *b, uint32_t row, struct str document,
                                struct errmsg *em); /* rows ascend strictly */
/* Adds the section to `out`, which has begun a section at a multiple of 8. Once only. */
enum err text_index_builder_finish(struct text_index_builder *b, uint32_t n_rows, struct sink *out, struct errmsg *em);
void text_index_builder_free(struct text_index_builder *b); /* NULL is fine */

/* A section in memory (mapped): views only. */
struct text_index {
    struct bytes section;
    uint32_t n_rows, n_trigrams;
    const uint8_t *trigrams; /* the directory: n_trigrams + 1 entries */
    uint32_t n_shorts;
    const uint8_t *shorts; /* u32[n_shorts]; NULL: of a former version, which does not tell */
};
enum err text_index_open(struct text_index *t, struct bytes section, uint32_t n_rows, struct errmsg *em);

/* Clears from `rows` (n_rows bits, set by the caller to the rows of interest) those that cannot hold `needle`.
 * Needles below three bytes clear nothing; after one of exactly three bytes the rows left all hold it. */
enum err text_index_narrow(const struct text_index *t, struct str needle, struct bitset *rows, struct arena *a,
                           struct errmsg *em);
/* For a needle of one or two bytes: clears from `rows` those that cannot hold it, if no more than `most` row numbers are
 * read for it; else, and in a section of a former version, clears nothing. (text_index_short.c) */
enum text_narrowed {
    TEXT_AS_BEFORE,  /* nothing is cleared */
    TEXT_CANDIDATES, /* some of the rows left may not hold it */
    TEXT_DECIDED,    /* they all hold it */
};
enum err text_index_narrow_short(const struct text_index *t, struct str needle, uint64_t most, struct bitset *rows,
                                 struct arena *a, enum text_narrowed *how, struct errmsg *em);
/* text_index_narrow for what a regular expression needs. */
enum err text_index_narrow_regex(const struct text_index *t, const struct regex_need *need, struct bitset *rows,
                                 struct arena *a, struct errmsg *em);

#endif
