/* sparse_lists_open.c - finds lists in a section: the key among the keys, the index among its dims, both by binary search.
 *
 * FAILURE    every offset and count is checked before use: what lies outside the section is ERR_CORRUPT.
 * INVARIANT  a sparse_list that was handed out can be read from its first to its last row and block.
 */
#include "core/mem.h"
#include "index/sparse_lists_internal.h"

static enum err damaged(struct errmsg *em, const char *what)
{
    return errmsg_set(em, ERR_CORRUPT, "sparse lists: %s out of range", what);
}

static bool is_inside(const struct sparse_lists *l, uint64_t at, uint64_t n, uint64_t size)
{
    return ck_inside(l->section.n, at, n, size);
}

enum err sparse_lists_open(struct sparse_lists *l, struct bytes section, uint32_t n_rows, struct errmsg *em)
{
    struct sparse_trailer t;
    if (section.n < sizeof t) return damaged(em, "the trailer is");
    memcpy(&t, (const uint8_t *)section.p + section.n - sizeof t, sizeof t);
    struct sparse_lists found = {.section = section, .n_rows = n_rows, .n_keys = t.n_keys};
    if (t.magic != SPARSE_LISTS_MAGIC || t.n_rows != n_rows) return damaged(em, "the trailer is");
    if (!is_inside(&found, t.keys_at, t.n_keys, sizeof(struct sparse_key))) return damaged(em, "the directory is");
    found.keys = (const uint8_t *)section.p + t.keys_at;
    *l = found;
    return ERR_OK;
}

enum err sparse_find_key(const struct sparse_lists *l, struct str key, struct bytes *dims, struct errmsg *em)
{
    const uint8_t *base = l->section.p;
    uint32_t low = 0, high = l->n_keys;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        struct sparse_key k;
        memcpy(&k, l->keys + (size_t)mid * sizeof k, sizeof k);
        if (!is_inside(l, k.key_at, k.key_n, 1)) return damaged(em, "a key is");
        int c = str_cmp(str_of((const char *)base + k.key_at, k.key_n), key);
        if (c == 0) {
            if (!is_inside(l, k.dims_at, k.n_dims, sizeof(struct sparse_dim))) return damaged(em, "a key's dims are");
            *dims = (struct bytes){base + k.dims_at, (size_t)k.n_dims * sizeof(struct sparse_dim)};
            return ERR_OK;
        }
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *dims = (struct bytes){NULL, 0};
    return ERR_OK;
}

static enum err open_list(const struct sparse_lists *l, const struct sparse_dim *d, struct sparse_list *list,
                          struct errmsg *em)
{
    uint64_t n_blocks = d->n_rows > SPARSE_BLOCK_ROWS ? sparse_n_blocks(d->n_rows) : 0;
    uint64_t block_bytes = n_blocks * sizeof(struct sparse_block), row_bytes = (uint64_t)d->n_rows * 4;
    if (d->n_rows == 0 || d->n_rows > l->n_rows || d->at % 4 != 0 ||
        !is_inside(l, d->at, block_bytes + row_bytes * 2, 1))
        return damaged(em, "a list is");
    const uint8_t *at = (const uint8_t *)l->section.p + d->at;
    *list = (struct sparse_list){
        .n = d->n_rows,
        .min = d->min,
        .max = d->max,
        .blocks = n_blocks > 0 ? at : NULL,
        .rows = at + block_bytes,
        .weights = at + block_bytes + row_bytes,
    };
    return ERR_OK;
}

enum err sparse_find_list(const struct sparse_lists *l, struct bytes dims, uint32_t index, struct sparse_list *list,
                          struct errmsg *em)
{
    size_t low = 0, high = dims.n / sizeof(struct sparse_dim);
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        struct sparse_dim d;
        memcpy(&d, (const uint8_t *)dims.p + mid * sizeof d, sizeof d);
        if (d.index == index) return open_list(l, &d, list, em);
        if (d.index < index)
            low = mid + 1;
        else
            high = mid;
    }
    *list = (struct sparse_list){0};
    return ERR_OK;
}
