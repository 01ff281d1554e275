/* meta_index_eval.c - answers one metadata filter from the index: see meta_index.h.
 *
 * A filter names a key and an operator; the lists of that key that can hold a match are found by binary search, then
 * the matching values, which always lie side by side: their row numbers are one slice, their bitmaps one run of the
 * dense table. Negations are the complement over all rows.
 * FAILURE  every offset and count is checked before use, every row number against n_rows: damage is ERR_CORRUPT.
 */
#include "core/mem.h"
#include "index/meta_index_internal.h"

/* One list with its areas checked to lie in the section. */
struct view {
    struct meta_list l;
    const uint8_t *values, *firsts, *rows, *dense, *heap;
    const uint8_t *bounds, *prefixes; /* n_prefixes u32; bitmaps */
};

static enum err damaged(struct errmsg *em, const char *what)
{
    return errmsg_set(em, ERR_CORRUPT, "metadata index: %s out of range", what);
}

static bool is_inside(const struct meta_index *m, uint64_t at, uint64_t n, uint64_t size)
{
    return ck_inside(m->section.n, at, n, size);
}

enum err meta_index_open(struct meta_index *m, struct bytes section, uint32_t n_rows, struct errmsg *em)
{
    struct meta_trailer t;
    if (section.n < sizeof t) return damaged(em, "the trailer is");
    memcpy(&t, (const uint8_t *)section.p + section.n - sizeof t, sizeof t);
    struct meta_index found = {.section = section, .n_rows = n_rows, .n_lists = t.n_lists};
    if (t.magic != META_INDEX_MAGIC || t.n_rows != n_rows) return damaged(em, "the trailer is");
    if (!is_inside(&found, t.lists_at, t.n_lists, sizeof(struct meta_list))) return damaged(em, "the directory is");
    found.lists = (const uint8_t *)section.p + t.lists_at;
    *m = found;
    return ERR_OK;
}

static struct meta_list list_at(const struct meta_index *m, uint32_t i)
{
    struct meta_list l;
    memcpy(&l, m->lists + (size_t)i * sizeof l, sizeof l);
    return l;
}

static enum err open_list(const struct meta_index *m, uint32_t i, struct view *v, struct errmsg *em)
{
    const uint8_t *base = m->section.p;
    v->l = list_at(m, i);
    uint64_t n_offsets = (uint64_t)v->l.n_values + meta_class_is_text((enum meta_class)v->l.class);
    if (!is_inside(m, v->l.values_at, n_offsets, 8) || !is_inside(m, v->l.firsts_at, (uint64_t)v->l.n_values + 1, 4) ||
        !is_inside(m, v->l.rows_at, v->l.n_rows, 4) ||
        !is_inside(m, v->l.dense_at, v->l.n_dense, sizeof(struct meta_dense)) ||
        !is_inside(m, v->l.heap_at, v->l.heap_n, 1))
        return damaged(em, "a list is");
    uint64_t prefixes_at = meta_prefixes_at(&v->l, m->n_rows),
             bound_bytes = ((uint64_t)v->l.n_prefixes * 4 + 7) & ~7ULL;
    if (v->l.n_prefixes > 0 &&
        (!is_inside(m, prefixes_at, bound_bytes, 1) ||
         !is_inside(m, prefixes_at + bound_bytes, v->l.n_prefixes, (uint64_t)bitset_words(m->n_rows) * 8)))
        return damaged(em, "a list's prefixes are");
    v->values = base + v->l.values_at;
    v->firsts = base + v->l.firsts_at;
    v->rows = base + v->l.rows_at;
    v->dense = base + v->l.dense_at;
    v->heap = base + v->l.heap_at;
    v->bounds = v->l.n_prefixes > 0 ? base + prefixes_at : NULL;
    v->prefixes = v->l.n_prefixes > 0 ? base + prefixes_at + bound_bytes : NULL;
    return ERR_OK;
}

/* Finds the list of (key, class); *found says whether there is one. */
static enum err find_list(const struct meta_index *m, struct str key, enum meta_class class, struct view *v,
                          bool *found, struct errmsg *em)
{
    uint32_t low = 0, high = m->n_lists;
    *found = false;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        struct meta_list l = list_at(m, mid);
        if (!is_inside(m, l.key_at, l.key_n, 1)) return damaged(em, "a key is");
        int c = str_cmp(str_of((const char *)m->section.p + l.key_at, l.key_n), key);
        if (c == 0) c = l.class < (uint32_t) class ? -1 : l.class > (uint32_t) class;
        if (c == 0) {
            *found = true;
            return open_list(m, mid, v, em);
        }
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return ERR_OK;
}

/* --- rows of values --------------------------------------------------------------------------------------------- */

/* Rows come into a bitmap in one of two ways: added, or toggled (ranges: a row has one value, so that of two sets of
 * which one holds the other the difference is left). */
enum how { ADD, TOGGLE };

static enum err put_words(const struct meta_index *m, const uint8_t *words, enum how how, struct bitset *out,
                          struct errmsg *em)
{
    size_t n = bitset_words(m->n_rows);
    if (n > 0 && m->n_rows % 64 != 0 && le64_get(words + (n - 1) * 8) >> (m->n_rows % 64) != 0)
        return damaged(em, "a bitmap's row is");
    if (how == TOGGLE)
        for (size_t i = 0; i < n; i++) out->words[i] ^= le64_get(words + i * 8);
    else
        for (size_t i = 0; i < n; i++) out->words[i] |= le64_get(words + i * 8);
    return ERR_OK;
}

static enum err put_numbers(const struct meta_index *m, const uint8_t *numbers, size_t n, enum how how,
                            struct bitset *out, struct errmsg *em)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t row = le32_get(numbers + i * 4);
        if (row >= m->n_rows) return damaged(em, "a row is");
        if (how == TOGGLE)
            out->words[row / 64] ^= UINT64_C(1) << (row % 64);
        else
            bitset_add(out, row);
    }
    return ERR_OK;
}

static uint32_t first_at(const struct view *v, uint32_t value)
{
    return le32_get(v->firsts + (size_t)value * 4);
}

/* Puts the rows of the values [from, to). */
static enum err put_rows(const struct meta_index *m, const struct view *v, uint32_t from, uint32_t to, enum how how,
                         struct bitset *out, struct errmsg *em)
{
    if (from >= to) return ERR_OK;
    uint32_t first = first_at(v, from), last = first_at(v, to);
    if (first > last || last > v->l.n_rows) return damaged(em, "the rows of a value are");
    enum err e = put_numbers(m, v->rows + (size_t)first * 4, last - first, how, out, em);
    if (e != ERR_OK) return e;
    uint32_t low = 0, high = v->l.n_dense; /* the first dense value at or after `from` */
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (le32_get(v->dense + (size_t)mid * sizeof(struct meta_dense)) < from)
            low = mid + 1;
        else
            high = mid;
    }
    for (; low < v->l.n_dense; low++) {
        struct meta_dense dense;
        memcpy(&dense, v->dense + (size_t)low * sizeof dense, sizeof dense);
        if (dense.value >= to) break;
        if (!is_inside(m, dense.bitmap_at, bitset_words(m->n_rows), 8)) return damaged(em, "a bitmap is");
        e = put_words(m, (const uint8_t *)m->section.p + dense.bitmap_at, how, out, em);
        if (e != ERR_OK) return e;
    }
    return ERR_OK;
}

static uint32_t bound_at(const struct view *v, uint32_t i)
{
    return le32_get(v->bounds + (size_t)i * 4);
}

static enum err toggle_prefix(const struct meta_index *m, const struct view *v, uint32_t i, struct bitset *out,
                              struct errmsg *em)
{
    return put_words(m, v->prefixes + (size_t)i * bitset_words(m->n_rows) * 8, TOGGLE, out, em);
}

/* Toggles the rows of the first `n_values` values: from the nearer of the two prefixes around it. */
static enum err toggle_below(const struct meta_index *m, const struct view *v, uint32_t n_values, struct bitset *out,
                             struct errmsg *em)
{
    uint32_t above = 0; /* the first prefix that reaches so far */
    while (above < v->l.n_prefixes && bound_at(v, above) < n_values) above++;
    if (above == v->l.n_prefixes || bound_at(v, above) > v->l.n_values) return damaged(em, "a prefix is");
    uint32_t high = bound_at(v, above), low = above > 0 ? bound_at(v, above - 1) : 0;
    bool is_above = first_at(v, high) - first_at(v, n_values) < first_at(v, n_values) - first_at(v, low);
    enum err e = ERR_OK;
    if (is_above || above > 0) e = toggle_prefix(m, v, is_above ? above : above - 1, out, em);
    if (e != ERR_OK) return e;
    if (is_above) return put_rows(m, v, n_values, high, TOGGLE, out, em);
    return put_rows(m, v, low, n_values, TOGGLE, out, em);
}

/* --- finding values --------------------------------------------------------------------------------------------- */

/* Compares value i of a list with what is looked for: below, zero, above. */
static enum err compare_value(const struct view *v, uint32_t i, const struct value *wanted, int *c, struct errmsg *em)
{
    const uint8_t *at = v->values + (size_t)i * 8;
    switch ((enum meta_class)v->l.class) {
    case META_STR:
    case META_STRS: {
        uint64_t from = le64_get(at), to = le64_get(at + 8);
        if (from > to || to > v->l.heap_n) return damaged(em, "a string is");
        *c = str_cmp(str_of((const char *)v->heap + from, (size_t)(to - from)), wanted->s);
        return ERR_OK;
    }
    case META_BOOL:
    case META_BOOLS:
        *c = (int)(le64_get(at) != 0) - (int)wanted->b;
        return ERR_OK;
    case META_WHOLE:
    case META_INTS: {
        struct value stored = {.type = VALUE_INT, .i = int_of_order(le64_get(at))};
        *c = value_compare_numbers(&stored, wanted);
        return ERR_OK;
    }
    default: {
        struct value stored = {.type = VALUE_FLOAT, .f = double_of_order(le64_get(at))};
        if (isnan(stored.f)) return damaged(em, "a number is");
        *c = value_compare_numbers(&stored, wanted);
        return ERR_OK;
    }
    }
}

/* The first value that is not below `wanted` (or_equal: that is above it). */
static enum err lower_bound(const struct view *v, const struct value *wanted, bool or_equal, uint32_t *bound,
                            struct errmsg *em)
{
    uint32_t low = 0, high = v->l.n_values;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        int c = 0;
        enum err e = compare_value(v, mid, wanted, &c, em);
        if (e != ERR_OK) return e;
        if (c < 0 || (or_equal && c == 0))
            low = mid + 1;
        else
            high = mid;
    }
    *bound = low;
    return ERR_OK;
}

static enum err add_equal(const struct meta_index *m, struct str key, enum meta_class class, const struct value *wanted,
                          struct bitset *out, struct errmsg *em)
{
    struct view v;
    bool found;
    uint32_t from, to;
    enum err e = find_list(m, key, class, &v, &found, em);
    if (e != ERR_OK || !found) return e;
    if ((e = lower_bound(&v, wanted, false, &from, em)) != ERR_OK) return e;
    if ((e = lower_bound(&v, wanted, true, &to, em)) != ERR_OK) return e;
    return put_rows(m, &v, from, to, ADD, out, em);
}

/* Adds the rows on one side of a bound. They are toggled: `out` holds at most rows of the other class. */
static enum err add_range(const struct meta_index *m, const struct filter *f, enum meta_class class, struct bitset *out,
                          struct errmsg *em)
{
    struct view v;
    bool found;
    uint32_t bound;
    enum err e = find_list(m, f->key, class, &v, &found, em);
    if (e != ERR_OK || !found) return e;
    e = lower_bound(&v, &f->values[0], f->kind == FILTER_GT || f->kind == FILTER_LTE, &bound, em);
    if (e != ERR_OK) return e;
    bool is_upper = f->kind == FILTER_GT || f->kind == FILTER_GTE;
    if (v.l.n_prefixes == 0)
        return put_rows(m, &v, is_upper ? bound : 0, is_upper ? v.l.n_values : bound, TOGGLE, out, em);
    if (is_upper) e = toggle_prefix(m, &v, v.l.n_prefixes - 1, out, em);
    return e == ERR_OK ? toggle_below(m, &v, bound, out, em) : e;
}

/* Scalars that equal `wanted`. */
static enum err add_scalar(const struct meta_index *m, struct str key, const struct value *wanted, struct bitset *out,
                           struct errmsg *em)
{
    uint64_t order;
    switch (wanted->type) {
    case VALUE_STR:
        return add_equal(m, key, META_STR, wanted, out, em);
    case VALUE_BOOL:
    case VALUE_INT:
    case VALUE_FLOAT:
        return add_equal(m, key, class_of_scalar(wanted, &order), wanted, out, em);
    default:
        return ERR_OK; /* nothing equals a list */
    }
}

/* Arrays that hold `wanted`. */
static enum err add_holding(const struct meta_index *m, struct str key, const struct value *wanted, struct bitset *out,
                            struct errmsg *em)
{
    switch (wanted->type) {
    case VALUE_STR:
        return add_equal(m, key, META_STRS, wanted, out, em);
    case VALUE_INT:
        return add_equal(m, key, META_INTS, wanted, out, em);
    case VALUE_FLOAT:
        return add_equal(m, key, META_FLOATS, wanted, out, em);
    case VALUE_BOOL:
        return add_equal(m, key, META_BOOLS, wanted, out, em);
    default:
        return ERR_OK;
    }
}

enum err meta_index_eval(const struct meta_index *m, const struct filter *f, struct bitset *out, struct errmsg *em)
{
    enum filter_kind kind = f->kind;
    bool is_negated = filter_is_negation(kind, &kind);
    enum err e = ERR_OK;
    CHECK(out->n_bits == m->n_rows && "a bitmap of this fragment");
    switch (kind) {
    case FILTER_EQ:
        e = add_scalar(m, f->key, &f->values[0], out, em);
        break;
    case FILTER_IN:
        for (uint32_t i = 0; i < f->n_values && e == ERR_OK; i++) e = add_scalar(m, f->key, &f->values[i], out, em);
        break;
    case FILTER_CONTAINS:
        e = add_holding(m, f->key, &f->values[0], out, em);
        break;
    case FILTER_GT:
    case FILTER_GTE:
    case FILTER_LT:
    case FILTER_LTE:
        e = add_range(m, f, META_WHOLE, out, em);
        if (e == ERR_OK) e = add_range(m, f, META_FRACTION, out, em);
        break;
    default:
        panic("filter kind %d is none of metadata", (int)f->kind);
    }
    if (e == ERR_OK && is_negated) bitset_not(out);
    return e;
}
