/* text_index.h - trigrams of the documents' bytes: which rows may hold a substring.
 *
 * A section of a fragment (docs/formats.md#text-index): the distinct 3-byte sequences in order, each with its rows
 * (ascending, delta-coded varints). It answers with candidates; whoever asks verifies them on the text. (Russ Cox,
 * "Regular expression matching with a trigram index", 2012.)
 * THREADS  building: one. Asking: any number.
 */
#ifndef INDEX_TEXT_INDEX_H
#define INDEX_TEXT_INDEX_H

#include "core/bitset.h"
#include "core/regex.h"

struct text_index_builder;

enum err text_index_builder_new(struct text_index_builder **b);
enum err text_index_builder_add(struct text_index_builder *b, uint32_t row, struct str document); /* rows ascend */
enum err text_index_builder_finish(struct text_index_builder *b, uint32_t n_rows, struct buf *out);
void text_index_builder_free(struct text_index_builder *b);

struct text_index {
    struct bytes section;
    uint32_t n_rows, n_trigrams;
};
enum err text_index_open(struct text_index *t, struct bytes section, uint32_t n_rows, struct errmsg *em);

/* Clears from `rows` (n_rows bits, set by the caller to the rows of interest) those that cannot hold `needle`.
 * Needles below three bytes may clear nothing. */
enum err text_index_narrow(const struct text_index *t, struct str needle, struct bitset *rows, struct arena *a,
                           struct errmsg *em);
/* The same for what a regular expression needs. */
enum err text_index_narrow_regex(const struct text_index *t, const struct regex_need *need, struct bitset *rows,
                                 struct arena *a, struct errmsg *em);

#endif
