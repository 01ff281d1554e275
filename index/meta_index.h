/* meta_index.h - for every metadata key: its values in order, with the rows that have them.
 *
 * A section of a fragment (docs/formats.md#metadata-index). Keys in byte order; under a key one list a class: strings,
 * numbers (integers and doubles together, in exact numeric order), bools, and for arrays one list an element type.
 * A list is the ascending distinct values with, for each, its rows ascending; a value that more than 1 row in 32 has
 * is kept as a bitmap, others as row numbers.
 * Sparse vectors are not indexed here.
 * THREADS  building: one. Evaluating: any number.
 */
#ifndef INDEX_META_INDEX_H
#define INDEX_META_INDEX_H

#include "core/filter.h"

struct meta_index_builder;

enum err meta_index_builder_new(struct meta_index_builder **b);
enum err meta_index_builder_add(struct meta_index_builder *b, uint32_t row, struct bytes meta); /* rows ascend */
/* Appends the section, 8-byte aligned. n_rows: of the fragment. */
enum err meta_index_builder_finish(struct meta_index_builder *b, uint32_t n_rows, struct buf *out);
void meta_index_builder_free(struct meta_index_builder *b);

struct meta_index {
    struct bytes section;
    uint32_t n_rows, n_keys;
};
enum err meta_index_open(struct meta_index *m, struct bytes section, uint32_t n_rows, struct errmsg *em);

/* Rows that match one metadata filter (FILTER_EQ .. FILTER_NOT_CONTAINS; no AND, OR, document kinds): sets exactly
 * the matching bits of `out`, which is all zero and n_rows long. ERR_CORRUPT. */
enum err meta_index_eval(const struct meta_index *m, const struct filter *f, struct bitset *out, struct errmsg *em);

#endif
