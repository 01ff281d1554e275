/* fragment_check_sparse.c - do the inverted lists hold exactly the sparse vectors of the rows' metadata? See
 * fragment_check.h.
 *
 * Keys, dims and rows must ascend; the least and greatest weights of lists and blocks must be theirs, since searches
 * leave rows out by them; and each (key, index, weight) of a row must be there, and no other.
 */
#include "core/value.h"
#include "index/fragment_check_internal.h"
#include "index/sparse_lists_internal.h"

static bool fail(struct check *c, struct str key, const char *what)
{
    return check_fail(c, SECTION_SPARSE_LISTS, "key '%.*s': %s", (int)(key.n < 60 ? key.n : 60), key.p, what);
}

static uint64_t entry_of(uint64_t seed, uint32_t index, const uint8_t *weight)
{
    uint8_t bytes[8];
    le32_put(bytes, index);
    memcpy(bytes + 4, weight, 4);
    return hash_bytes(bytes, sizeof bytes, seed);
}

/* Bits, not values: a search goes by what is written. */
static bool is_same(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || a == b;
}

static bool check_block(const struct sparse_list *list, uint32_t i)
{
    struct sparse_block block;
    uint32_t from = i * SPARSE_BLOCK_ROWS, to = from + SPARSE_BLOCK_ROWS < list->n ? from + SPARSE_BLOCK_ROWS : list->n;
    memcpy(&block, list->blocks + (size_t)i * sizeof block, sizeof block);
    float min = sparse_weight(list->weights, from), max = min;
    for (uint32_t r = from + 1; r < to; r++) {
        float w = sparse_weight(list->weights, r);
        min = w < min ? w : min;
        max = w > max ? w : max;
    }
    return block.last_row == le32_get(list->rows + (size_t)(to - 1) * 4) && is_same(block.min, min) &&
           is_same(block.max, max);
}

static bool take_list(struct check *c, struct str key, uint64_t seed, uint32_t index, const struct sparse_list *list)
{
    uint32_t before = 0;
    float min = sparse_weight(list->weights, 0), max = min;
    for (uint32_t i = 0; i < list->n; i++) {
        uint32_t row = le32_get(list->rows + (size_t)i * 4);
        float w = sparse_weight(list->weights, i);
        if (row >= c->f->n_rows || (i > 0 && row <= before)) return fail(c, key, "rows of a list do not ascend");
        min = w < min ? w : min;
        max = w > max ? w : max;
        c->sums[row] += entry_of(seed, index, list->weights + (size_t)i * 4);
        before = row;
    }
    if (!is_same(list->min, min) || !is_same(list->max, max))
        return fail(c, key, "the least or greatest weight of a list is not its own");
    for (uint32_t i = 0; list->blocks != NULL && i < sparse_n_blocks(list->n); i++)
        if (!check_block(list, i)) return fail(c, key, "a block's head is not that of its rows");
    return true;
}

static bool take_key(struct check *c, struct str key)
{
    const struct sparse_lists *l = &c->f->sparse_lists;
    struct bytes dims;
    uint64_t seed = hash_bytes(key.p, key.n, 1);
    if (sparse_find_key(l, key, &dims, NULL) != ERR_OK || dims.p == NULL)
        return fail(c, key, "it is not found among the keys");
    for (size_t i = 0; i < dims.n / sizeof(struct sparse_dim); i++) {
        struct sparse_dim d, before;
        struct sparse_list list;
        memcpy(&d, (const uint8_t *)dims.p + i * sizeof d, sizeof d);
        if (i > 0) {
            memcpy(&before, (const uint8_t *)dims.p + (i - 1) * sizeof d, sizeof d);
            if (before.index >= d.index) return fail(c, key, "indices do not ascend");
        }
        if (sparse_find_list(l, dims, d.index, &list, NULL) != ERR_OK || list.n == 0)
            return fail(c, key, "a list is outside the section");
        if (!take_list(c, key, seed, d.index, &list)) return false;
    }
    return true;
}

static bool take_keys(struct check *c)
{
    const struct sparse_lists *l = &c->f->sparse_lists;
    struct str before = {"", 0};
    for (uint32_t i = 0; i < l->n_keys; i++) {
        struct sparse_key k;
        memcpy(&k, l->keys + (size_t)i * sizeof k, sizeof k);
        if (k.key_at > l->section.n || k.key_n > l->section.n - k.key_at)
            return check_fail(c, SECTION_SPARSE_LISTS, "a key is outside the section");
        struct str key = str_of((const char *)l->section.p + k.key_at, k.key_n);
        if (i > 0 && str_cmp(before, key) >= 0) return fail(c, key, "keys do not ascend");
        if (!take_key(c, key)) return false;
        before = key;
    }
    return true;
}

enum err check_sparse_lists(struct check *c, struct errmsg *em)
{
    if (!take_keys(c)) return ERR_OK;
    for (uint32_t row = 0; row < c->f->n_rows; row++) {
        struct bytes meta = {NULL, 0};
        struct meta_entry e;
        enum err why = column_get(&c->f->meta, row, &meta, em);
        if (why != ERR_OK) return why;
        for (struct meta_iter it = meta_iter(meta); meta_next(&it, &e);) {
            struct sparse_view v;
            if (!meta_sparse(&e, &v)) continue;
            uint64_t seed = hash_bytes(e.key.p, e.key.n, 1);
            for (uint32_t i = 0; i < v.n; i++)
                c->sums[row] -= entry_of(seed, le32_get(v.indices + (size_t)i * 4), v.values + (size_t)i * 4);
        }
    }
    (void)check_sums(c, SECTION_SPARSE_LISTS);
    return ERR_OK;
}
