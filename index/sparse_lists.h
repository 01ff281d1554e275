/* sparse_lists.h - inverted lists of sparse vectors: for every metadata key that holds them, and every index that occurs
 * under it, the rows that have the index, with their weights.
 *
 * A section of a fragment (docs/formats.md#sparse-lists). A list is cut into blocks of 128 rows, of which the least and
 * the greatest weight are known, so a search for the k best passes over rows that cannot be among them (Turtle & Flood
 * 1995, "Query evaluation: strategies and optimizations"; Ding & Suel 2011, "Faster top-k document retrieval using
 * block-max indexes"; sparse_lists_search.c says what differs). Answers are those of core/rank_sparse.c's pass over the
 * metadata, bit by bit.
 * THREADS  building: one. Asking: any number.
 */
#ifndef INDEX_SPARSE_LISTS_H
#define INDEX_SPARSE_LISTS_H

#include "core/segment.h"
#include "core/topk.h"
#include "index/sink.h"

struct sparse_lists_builder;

/* What does not fit in memory goes to "<path>.sparse.tmp" and "<path>.dims.tmp"; vfs NULL: everything stays in memory. */
enum err sparse_lists_builder_new(struct sparse_lists_builder **b, const struct vfs *vfs, const char *path,
                                  struct errmsg *em);
/* Rows ascend strictly; `meta` is a valid packed form. ERR_CORRUPT: the indices of a vector do not ascend. */
enum err sparse_lists_builder_add(struct sparse_lists_builder *b, uint32_t row, struct bytes meta, struct errmsg *em);
/* Adds the section to `out`, which has begun a section at a multiple of 8. n_rows: of the fragment. Once only. */
enum err sparse_lists_builder_finish(struct sparse_lists_builder *b, uint32_t n_rows, struct sink *out,
                                     struct errmsg *em);
void sparse_lists_builder_free(struct sparse_lists_builder *b); /* NULL is fine */

/* A section in memory (mapped): views only. */
struct sparse_lists {
    struct bytes section;
    uint32_t n_rows, n_keys;
    const uint8_t *keys; /* the directory */
};
enum err sparse_lists_open(struct sparse_lists *l, struct bytes section, uint32_t n_rows, struct errmsg *em);

/* What a search needs from the rows behind the lists. Ordinals ascend with row numbers. */
struct sparse_rows {
    bool (*is_visible)(const void *ctx, uint32_t row); /* called for candidates only; NULL: all rows are */
    uint64_t (*ordinal)(const void *ctx, uint32_t row);
    const void *ctx;
};

/* As segment_ops.sparse_nearest. mask: NULL or n_rows long. ERR_CORRUPT, ERR_NOMEM. */
enum err sparse_lists_nearest(const struct sparse_lists *l, const struct sparse_rows *rows,
                              const struct sparse_query *q, const struct bitset *mask, struct topk *top,
                              struct arena *a, struct errmsg *em);

/* As segment_ops.sparse_count. */
enum err sparse_lists_count(const struct sparse_lists *l, const struct sparse_rows *rows, const struct sparse_query *q,
                            uint32_t *counts, struct errmsg *em);

#endif
