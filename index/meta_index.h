/* meta_index.h - for every metadata key: its values in order, with the rows that have them.
 *
 * A section of a fragment (docs/formats.md#metadata-index): one list for each key and class of values. Classes:
 * strings, whole numbers (doubles without a fraction that fit in 64 bits are among them, so 1 and 1.0 are one value),
 * other doubles, bools, and for arrays one class an element type, where integers and doubles stay apart.
 * A list is the ascending distinct values with, for each, its rows ascending; a value that more than 1 row in 32 has
 * is kept as a bitmap, others as row numbers.
 * Sparse vectors are not indexed here (sparse_lists.h).
 * THREADS  building: one. Evaluating: any number.
 */
#ifndef INDEX_META_INDEX_H
#define INDEX_META_INDEX_H

#include "core/filter.h"
#include "index/sink.h"

struct meta_index_builder;

enum err meta_index_builder_new(struct meta_index_builder **b, struct errmsg *em);
/* Rows ascend; copies what it needs. ERR_CORRUPT: `meta` is not a packed form. */
enum err meta_index_builder_add(struct meta_index_builder *b, uint32_t row, struct bytes meta, struct errmsg *em);
/* Adds the section to `out`, which has begun a section at a multiple of 8. n_rows: of the fragment. Once only. */
enum err meta_index_builder_finish(struct meta_index_builder *b, uint32_t n_rows, struct sink *out, struct errmsg *em);
void meta_index_builder_free(struct meta_index_builder *b); /* NULL is fine */

/* A section in memory (mapped): views only. */
struct meta_index {
    struct bytes section;
    uint32_t n_rows, n_lists;
    const uint8_t *lists; /* the directory */
};
enum err meta_index_open(struct meta_index *m, struct bytes section, uint32_t n_rows, struct errmsg *em);

/* Rows that match one metadata filter (FILTER_EQ .. FILTER_NOT_CONTAINS; no AND, OR, document kinds): sets exactly
 * the matching bits of `out`, which is all zero and n_rows long. ERR_CORRUPT. */
enum err meta_index_eval(const struct meta_index *m, const struct filter *f, struct bitset *out, struct errmsg *em);

#endif
