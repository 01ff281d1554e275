/* sparse_lists_internal.h - the layout of the inverted lists. For index/sparse_lists_*.c and their tests.
 *
 * SECTION  the lists' data; at a multiple of 8 the dims, those of one key side by side, ascending by index; the keys'
 *          bytes; at a multiple of 8 the directory of keys, ascending; the trailer, last. All offsets count from the
 *          start of the section.
 * LIST     of n rows: blocks[ceil(n / 128)] if n is above 128, u32 row[n] ascending, f32 weight[n].
 */
#ifndef INDEX_SPARSE_LISTS_INTERNAL_H
#define INDEX_SPARSE_LISTS_INTERNAL_H

#include "index/sparse_lists.h"

#define SPARSE_LISTS_MAGIC UINT32_C(0x31505343) /* "CSP1" */

enum { SPARSE_BLOCK_ROWS = 128 };

struct sparse_block {
    uint32_t last_row;
    float min, max; /* of its weights */
};
_Static_assert(sizeof(struct sparse_block) == 12, "format");

struct sparse_dim {
    uint32_t index;
    uint32_t n_rows; /* that have it; at least 1 */
    float min, max;  /* of all weights */
    uint64_t at;     /* its list, a multiple of 4 */
};
_Static_assert(sizeof(struct sparse_dim) == 24, "format");

struct sparse_key {
    uint64_t key_at;
    uint32_t key_n;
    uint32_t zero;
    uint64_t dims_at;
    uint64_t n_dims;
};
_Static_assert(sizeof(struct sparse_key) == 32, "format");

struct sparse_trailer {
    uint32_t magic;
    uint32_t n_rows; /* of the fragment */
    uint32_t n_keys;
    uint32_t zero;
    uint64_t keys_at;
    uint64_t zero2;
};
_Static_assert(sizeof(struct sparse_trailer) == 32, "format");

static inline uint32_t sparse_n_blocks(uint32_t n_rows)
{
    return n_rows / SPARSE_BLOCK_ROWS + (n_rows % SPARSE_BLOCK_ROWS != 0);
}

static inline float sparse_weight(const uint8_t *weights, uint32_t i)
{
    float f;
    memcpy(&f, weights + (size_t)i * sizeof f, sizeof f);
    return f;
}

/* One list with its areas checked to lie in the section; what is in them is not checked. */
struct sparse_list {
    uint32_t n; /* rows; 0: no row has the index */
    float min, max;
    const uint8_t *blocks; /* NULL: there is one block */
    const uint8_t *rows, *weights;
};

/* Closes runs at n entries: for tests of the merge. */
void sparse_lists_builder_limit(struct sparse_lists_builder *b, size_t n);

/* The dims of a key (sparse_lists_open.c). p is NULL when no row has a vector under it. ERR_CORRUPT. */
enum err sparse_find_key(const struct sparse_lists *l, struct str key, struct bytes *dims, struct errmsg *em);
enum err sparse_find_list(const struct sparse_lists *l, struct bytes dims, uint32_t index, struct sparse_list *list,
                          struct errmsg *em);

#endif
