/* fragment_check_meta.c - does the metadata index hold exactly what the rows' metadata hold? See fragment_check.h.
 *
 * Lists, values and rows must be in order, since look-ups halve; bitmaps and prefixes must agree with their counts; and
 * each (key, class, value) of a row must be there, and no other (fingerprints, fragment_check_internal.h).
 */
#include <stdlib.h>

#include "core/mem.h"
#include "core/value.h"
#include "index/fragment_check_internal.h"
#include "index/meta_index_internal.h"

struct walk {
    struct check *c;
    const struct meta_index *m;
    struct meta_list l;
    const uint8_t *base;
    struct str key;
    uint64_t key_hash;
    struct bitset below; /* rows of the values before the one at hand, where there are prefixes */
    uint32_t i_prefix;
    bool is_short; /* of memory */
};

static bool fail(struct walk *w, const char *what)
{
    return check_fail(w->c, SECTION_META_INDEX, "key '%.*s', class %u: %s", (int)(w->key.n < 60 ? w->key.n : 60),
                      w->key.p, w->l.class, what);
}

static bool is_inside(const struct walk *w, uint64_t at, uint64_t n, uint64_t size)
{
    return ck_inside(w->m->section.n, at, n, size);
}

static uint64_t seed_of(struct str key, enum meta_class class)
{
    return hash_bytes(key.p, key.n, (uint64_t) class + 1);
}

static uint64_t entry_of_order(uint64_t seed, uint64_t order)
{
    return hash_bytes(&order, sizeof order, seed);
}

static bool is_text(const struct walk *w)
{
    return meta_class_is_text((enum meta_class)w->l.class);
}

static struct str string_at(const struct walk *w, uint32_t v)
{
    const uint8_t *at = w->base + w->l.values_at + (size_t)v * 8;
    uint64_t from = le64_get(at), to = le64_get(at + 8);
    if (from > to || to > w->l.heap_n) return (struct str){NULL, 0};
    return str_of((const char *)w->base + w->l.heap_at + from, (size_t)(to - from));
}

/* The entry's hash; false when the value is not above the one before it. */
static bool take_value(struct walk *w, uint32_t v, uint64_t *entry)
{
    if (is_text(w)) {
        struct str s = string_at(w, v);
        if (s.p == NULL || (v > 0 && str_cmp(string_at(w, v - 1), s) >= 0)) return fail(w, "strings do not ascend");
        *entry = hash_bytes(s.p, s.n, w->key_hash);
        return true;
    }
    uint64_t order = le64_get(w->base + w->l.values_at + (size_t)v * 8);
    if (v > 0 && le64_get(w->base + w->l.values_at + (size_t)(v - 1) * 8) >= order)
        return fail(w, "values do not ascend");
    *entry = entry_of_order(w->key_hash, order);
    return true;
}

static bool take_numbers(struct walk *w, uint32_t from, uint32_t to, uint64_t entry)
{
    uint32_t before = 0;
    for (uint32_t i = from; i < to; i++) {
        uint32_t row = le32_get(w->base + w->l.rows_at + (size_t)i * 4);
        if (row >= w->m->n_rows || (i > from && row <= before)) return fail(w, "rows of a value do not ascend");
        w->c->sums[row] += entry;
        if (w->below.words != NULL) bitset_add(&w->below, row);
        before = row;
    }
    return true;
}

static bool take_bitmap(struct walk *w, const struct meta_dense *d, uint64_t entry)
{
    size_t n = bitset_words(w->m->n_rows);
    uint64_t n_set = 0;
    if (!is_inside(w, d->bitmap_at, n, 8)) return fail(w, "a bitmap is outside the section");
    for (size_t i = 0; i < n; i++) {
        uint64_t word = le64_get(w->base + d->bitmap_at + i * 8);
        if (w->below.words != NULL) w->below.words[i] |= word;
        for (; word != 0; word &= word - 1, n_set++) {
            uint64_t row = i * 64 + (uint64_t)__builtin_ctzll(word);
            if (row >= w->m->n_rows) return fail(w, "a bitmap has rows beyond the fragment's");
            w->c->sums[row] += entry;
        }
    }
    return n_set == d->n_rows || fail(w, "a bitmap has another number of rows than its entry says");
}

/* The prefix that ends behind value v, if there is one, must be what was gathered. */
static bool take_prefix(struct walk *w, uint32_t v)
{
    if (w->i_prefix == w->l.n_prefixes) return true;
    uint64_t at = meta_prefixes_at(&w->l, w->m->n_rows), bounds = ((uint64_t)w->l.n_prefixes * 4 + 7) & ~UINT64_C(7);
    if (le32_get(w->base + at + (size_t)w->i_prefix * 4) != v + 1) return true;
    size_t n = bitset_words(w->m->n_rows);
    const uint8_t *words = w->base + at + bounds + (size_t)w->i_prefix * n * 8;
    w->i_prefix++;
    return memcmp(words, w->below.words, n * 8) == 0 || fail(w, "a prefix is not the rows of its values");
}

static bool has_areas(const struct walk *w)
{
    const struct meta_list *l = &w->l;
    uint64_t words = bitset_words(w->m->n_rows), bounds = ((uint64_t)l->n_prefixes * 4 + 7) & ~UINT64_C(7);
    if (!is_inside(w, l->values_at, (uint64_t)l->n_values + is_text(w), 8) ||
        !is_inside(w, l->firsts_at, (uint64_t)l->n_values + 1, 4) || !is_inside(w, l->rows_at, l->n_rows, 4) ||
        !is_inside(w, l->dense_at, l->n_dense, sizeof(struct meta_dense)) || !is_inside(w, l->heap_at, l->heap_n, 1))
        return false;
    return l->n_prefixes == 0 || (is_inside(w, meta_prefixes_at(l, w->m->n_rows), bounds, 1) &&
                                  is_inside(w, meta_prefixes_at(l, w->m->n_rows) + bounds, l->n_prefixes, words * 8));
}

static bool take_list(struct walk *w)
{
    uint32_t i_dense = 0, first = le32_get(w->base + w->l.firsts_at);
    if (first != 0) return fail(w, "the first value's rows are not at the start");
    for (uint32_t v = 0; v < w->l.n_values; v++) {
        uint64_t entry = 0;
        uint32_t next = le32_get(w->base + w->l.firsts_at + ((size_t)v + 1) * 4);
        struct meta_dense d = {.value = UINT32_MAX};
        if (next < first || next > w->l.n_rows) return fail(w, "the rows of a value are out of range");
        if (!take_value(w, v, &entry)) return false;
        if (i_dense < w->l.n_dense) memcpy(&d, w->base + w->l.dense_at + (size_t)i_dense * sizeof d, sizeof d);
        if (d.value == v) {
            i_dense++;
            if (first != next) return fail(w, "a value has both a bitmap and row numbers");
            if (!take_bitmap(w, &d, entry)) return false;
        } else if (!take_numbers(w, first, next, entry)) {
            return false;
        }
        first = next;
        if (!take_prefix(w, v)) return false;
    }
    if (first != w->l.n_rows || i_dense != w->l.n_dense) return fail(w, "rows belong to no value");
    return w->i_prefix == w->l.n_prefixes || fail(w, "prefixes do not end with the values");
}

static bool take_lists(struct walk *w, struct arena *a)
{
    struct str key_before = {"", 0};
    uint32_t class_before = 0;
    w->base = w->m->section.p;
    for (uint32_t i = 0; i < w->m->n_lists; i++) {
        memcpy(&w->l, w->m->lists + (size_t)i * sizeof w->l, sizeof w->l);
        w->key = STR("");
        if (!is_inside(w, w->l.key_at, w->l.key_n, 1)) return fail(w, "a key is outside the section");
        w->key = str_of((const char *)w->base + w->l.key_at, w->l.key_n);
        int c = str_cmp(key_before, w->key);
        if (i > 0 && (c > 0 || (c == 0 && class_before >= w->l.class))) return fail(w, "lists do not ascend");
        if (w->l.class > META_BOOLS || !has_areas(w)) return fail(w, "the list is outside the section");
        w->key_hash = seed_of(w->key, (enum meta_class)w->l.class);
        w->i_prefix = 0;
        w->below = (struct bitset){0};
        if (w->l.n_prefixes > 0 && !bitset_init(&w->below, a, w->m->n_rows)) {
            w->is_short = true;
            return false;
        }
        bool is_good = take_list(w);
        arena_free(a);
        if (!is_good) return false;
        key_before = w->key;
        class_before = w->l.class;
    }
    return true;
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

static enum meta_class class_of_items(enum value_type type)
{
    switch (type) {
    case VALUE_STRS:
        return META_STRS;
    case VALUE_INTS:
        return META_INTS;
    case VALUE_FLOATS:
        return META_FLOATS;
    default:
        return META_BOOLS;
    }
}

static uint64_t entry_of_item(uint64_t seed, const struct value *v)
{
    if (v->type == VALUE_STR) return hash_bytes(v->s.p, v->s.n, seed);
    if (v->type == VALUE_INT) return entry_of_order(seed, order_of_int(v->i));
    if (v->type == VALUE_FLOAT) return entry_of_order(seed, order_of_double(v->f));
    return entry_of_order(seed, v->b ? 1 : 0);
}

static int compare_entries(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* An element that is there twice is one entry. */
static bool sum_of_array(const struct meta_entry *e, const struct value *v, struct arena *a, uint64_t *sum)
{
    uint64_t seed = seed_of(e->key, class_of_items(v->type));
    uint64_t *entries = arena_array(a, v->list.n > 0 ? v->list.n : 1, sizeof *entries);
    if (entries == NULL) return false;
    for (uint32_t i = 0; i < v->list.n; i++) entries[i] = entry_of_item(seed, &v->list.items[i]);
    if (v->list.n > 1) qsort(entries, v->list.n, sizeof *entries, compare_entries);
    for (uint32_t i = 0; i < v->list.n; i++)
        if (i == 0 || entries[i] != entries[i - 1]) *sum += entries[i];
    return true;
}

static bool sum_of_entry(const struct meta_entry *e, struct arena *a, uint64_t *sum)
{
    struct value v;
    if (e->type == VALUE_NULL || e->type == VALUE_SPARSE) return true;
    if (!meta_value(e, a, &v)) return false;
    if (e->type >= VALUE_BOOLS) return sum_of_array(e, &v, a, sum);
    if (e->type == VALUE_STR) {
        *sum += hash_bytes(v.s.p, v.s.n, seed_of(e->key, META_STR));
    } else {
        uint64_t order;
        enum meta_class class = class_of_scalar(&v, &order);
        *sum += entry_of_order(seed_of(e->key, class), order);
    }
    return true;
}

enum err check_meta_index(struct check *c, struct errmsg *em)
{
    struct arena a = {0};
    struct walk w = {.c = c, .m = &c->f->meta_index};
    bool is_good = take_lists(&w, &a), is_short = w.is_short;
    enum err e = ERR_OK;
    for (uint32_t row = 0; is_good && !is_short && e == ERR_OK && row < c->f->n_rows; row++) {
        struct bytes meta = {NULL, 0};
        struct meta_entry entry;
        e = column_get(&c->f->meta, row, &meta, em);
        uint64_t sum = 0;
        for (struct meta_iter it = meta_iter(meta); !is_short && meta_next(&it, &entry);)
            is_short = !sum_of_entry(&entry, &a, &sum);
        c->sums[row] -= sum;
        arena_free(&a);
    }
    arena_free(&a);
    if (is_short) return errmsg_set(em, ERR_NOMEM, "check the metadata index");
    if (is_good && e == ERR_OK) (void)check_sums(c, SECTION_META_INDEX);
    return e;
}
