/* meta_index_build.c - gathers the metadata of rows to lists by key and class, and writes them as a section.
 *
 * HAPPY PATH  add: each entry goes to the list of its key and class (found by hash) as a pair of a 64-bit value and
 *             the row; a string's value is its number in the list, strings being kept once. finish: each list is
 *             sorted (a string's number is replaced by its rank first) and written; then the directory.
 * COST        12 bytes an entry and each distinct string once; while one list is sorted the same for that list again.
 * FAILURE     without memory nothing is lost but the builder.
 */
#include <stdlib.h>

#include "core/hash.h"
#include "core/mem.h"
#include "index/meta_index_internal.h"

enum { TABLE_FIRST = 64, PAIRS_FIRST = 4, DENSE_MIN = 32 };

struct list {
    struct str key;
    enum meta_class class;
    uint32_t hash;
    size_t n, cap;
    uint64_t *values; /* n: orders, or numbers of strings */
    uint32_t *rows;   /* n, ascending */
    struct str *strings;
    uint32_t n_strings, cap_strings;
    uint32_t *string_slots; /* open addressing: number + 1 */
    uint32_t n_string_slots;
    struct meta_list out; /* once written */
};

struct meta_index_builder {
    struct list **lists;
    uint32_t n_lists, cap_lists;
    uint32_t *slots; /* open addressing: index in lists + 1 */
    uint32_t n_slots;
    struct arena arena; /* lists, keys, strings */
    uint64_t seed;
};

enum err meta_index_builder_new(struct meta_index_builder **out, struct errmsg *em)
{
    struct meta_index_builder *b = mem_zalloc(sizeof *b);
    if (b == NULL) return errmsg_set(em, ERR_NOMEM, "a metadata index");
    b->seed = hash_process_seed();
    *out = b;
    return ERR_OK;
}

void meta_index_builder_free(struct meta_index_builder *b)
{
    if (b == NULL) return;
    for (uint32_t i = 0; i < b->n_lists; i++) {
        mem_free(b->lists[i]->values);
        mem_free(b->lists[i]->rows);
        mem_free(b->lists[i]->strings);
        mem_free(b->lists[i]->string_slots);
    }
    mem_free(b->lists);
    mem_free(b->slots);
    arena_free(&b->arena);
    mem_free(b);
}

/* --- gathering -------------------------------------------------------------------------------------------------- */

/* A table of `n` zeroed slots that holds the same numbers; their hashes come from `hash_of`. NULL: no memory. */
static uint32_t *rehash(const uint32_t *old, uint32_t n_old, uint32_t n, uint64_t (*hash_of)(const void *, uint32_t),
                        const void *ctx)
{
    uint32_t *slots = mem_array(n, sizeof *slots);
    if (slots == NULL) return NULL;
    for (uint32_t i = 0; i < n_old; i++) {
        if (old[i] == 0) continue;
        uint32_t to = (uint32_t)hash_of(ctx, old[i] - 1) & (n - 1);
        while (slots[to] != 0) to = (to + 1) & (n - 1);
        slots[to] = old[i];
    }
    return slots;
}

static uint64_t hash_of_list(const void *ctx, uint32_t i)
{
    const struct meta_index_builder *b = ctx;
    return b->lists[i]->hash;
}

static uint64_t hash_of_string(const void *ctx, uint32_t i)
{
    const struct list *list = ctx;
    return hash_bytes(list->strings[i].p, list->strings[i].n, hash_process_seed());
}

static bool grow_lists(struct meta_index_builder *b)
{
    if (b->n_lists == b->cap_lists) {
        uint32_t cap = b->cap_lists > 0 ? b->cap_lists * 2 : TABLE_FIRST / 2;
        struct list **lists = mem_resize(b->lists, cap * sizeof *lists);
        if (lists == NULL) return false;
        b->lists = lists;
        b->cap_lists = cap;
    }
    if (b->n_lists < b->n_slots / 2) return true;
    uint32_t n = b->n_slots > 0 ? b->n_slots * 2 : TABLE_FIRST;
    uint32_t *slots = rehash(b->slots, b->n_slots, n, hash_of_list, b);
    if (slots == NULL) return false;
    mem_free(b->slots);
    b->slots = slots;
    b->n_slots = n;
    return true;
}

static struct list *list_of(struct meta_index_builder *b, struct str key, enum meta_class class)
{
    if (!grow_lists(b)) return NULL;
    uint32_t hash = (uint32_t)hash_bytes(key.p, key.n, b->seed + (uint64_t) class);
    uint32_t i = hash & (b->n_slots - 1);
    for (; b->slots[i] != 0; i = (i + 1) & (b->n_slots - 1)) {
        struct list *list = b->lists[b->slots[i] - 1];
        if (list->hash == hash && list->class == class && str_eq(list->key, key)) return list;
    }
    struct list *list = arena_zalloc(&b->arena, sizeof *list);
    if (list == NULL) return NULL;
    list->class = class;
    list->hash = hash;
    list->key = arena_str(&b->arena, key);
    if (list->key.p == NULL) return NULL;
    b->lists[b->n_lists++] = list;
    b->slots[i] = b->n_lists;
    return list;
}

static bool push(struct list *list, uint64_t value, uint32_t row)
{
    if (list->n == list->cap) {
        size_t cap = list->cap > 0 ? list->cap + list->cap / 2 : PAIRS_FIRST;
        uint64_t *values = mem_resize(list->values, cap * sizeof *values);
        if (values == NULL) return false;
        list->values = values;
        uint32_t *rows = mem_resize(list->rows, cap * sizeof *rows);
        if (rows == NULL) return false;
        list->rows = rows;
        list->cap = cap;
    }
    list->values[list->n] = value;
    list->rows[list->n++] = row;
    return true;
}

/* The number of a string in its list; kept once. UINT32_MAX: no memory. */
static uint32_t number_of(struct meta_index_builder *b, struct list *list, struct str s)
{
    if (list->n_strings == list->cap_strings) {
        uint32_t cap = list->cap_strings > 0 ? list->cap_strings * 2 : PAIRS_FIRST;
        struct str *strings = cap < UINT32_MAX / 4 ? mem_resize(list->strings, cap * sizeof *strings) : NULL;
        if (strings == NULL) return UINT32_MAX;
        list->strings = strings;
        uint32_t *slots = rehash(list->string_slots, list->n_string_slots, cap * 2, hash_of_string, list);
        if (slots == NULL) return UINT32_MAX;
        mem_free(list->string_slots);
        list->string_slots = slots;
        list->n_string_slots = cap * 2;
        list->cap_strings = cap;
    }
    uint32_t mask = list->n_string_slots - 1;
    uint32_t i = (uint32_t)hash_bytes(s.p, s.n, hash_process_seed()) & mask;
    for (; list->string_slots[i] != 0; i = (i + 1) & mask)
        if (str_eq(list->strings[list->string_slots[i] - 1], s)) return list->string_slots[i] - 1;
    struct str copy = arena_str(&b->arena, s);
    if (copy.p == NULL) return UINT32_MAX;
    list->strings[list->n_strings++] = copy;
    list->string_slots[i] = list->n_strings;
    return list->n_strings - 1;
}

static bool add_text(struct meta_index_builder *b, struct str key, enum meta_class class, struct str s, uint32_t row)
{
    struct list *list = list_of(b, key, class);
    uint32_t number = list != NULL ? number_of(b, list, s) : UINT32_MAX;
    return number != UINT32_MAX && push(list, number, row);
}

static bool add_order(struct meta_index_builder *b, struct str key, enum meta_class class, uint64_t order, uint32_t row)
{
    struct list *list = list_of(b, key, class);
    return list != NULL && push(list, order, row);
}

static bool add_item(struct meta_index_builder *b, struct str key, const struct value *v, uint32_t row)
{
    switch (v->type) {
    case VALUE_STR:
        return add_text(b, key, META_STRS, v->s, row);
    case VALUE_INT:
        return add_order(b, key, META_INTS, order_of_int(v->i), row);
    case VALUE_FLOAT:
        return add_order(b, key, META_FLOATS, order_of_double(v->f), row);
    default:
        return add_order(b, key, META_BOOLS, v->b ? 1 : 0, row);
    }
}

static bool add_value(struct meta_index_builder *b, struct str key, const struct value *v, uint32_t row)
{
    uint64_t order;
    switch (v->type) {
    case VALUE_BOOL:
    case VALUE_INT:
    case VALUE_FLOAT: {
        enum meta_class class = class_of_scalar(v, &order);
        return add_order(b, key, class, order, row);
    }
    case VALUE_STR:
        return add_text(b, key, META_STR, v->s, row);
    case VALUE_BOOLS:
    case VALUE_INTS:
    case VALUE_FLOATS:
    case VALUE_STRS:
        for (uint32_t i = 0; i < v->list.n; i++)
            if (!add_item(b, key, &v->list.items[i], row)) return false;
        return true;
    default:
        return true; /* sparse vectors and nulls are not looked for */
    }
}

enum err meta_index_builder_add(struct meta_index_builder *b, uint32_t row, struct bytes meta, struct errmsg *em)
{
    struct arena scratch = {0};
    struct meta_entry entry;
    bool is_added = true;
    if (!meta_validate(meta, false)) return errmsg_set(em, ERR_CORRUPT, "row %u: its metadata are damaged", row);
    for (struct meta_iter it = meta_iter(meta); is_added && meta_next(&it, &entry);) {
        struct value v;
        if (entry.type == VALUE_SPARSE) continue;
        is_added = meta_value(&entry, &scratch, &v) && add_value(b, entry.key, &v, row);
    }
    arena_free(&scratch);
    return is_added ? ERR_OK : errmsg_set(em, ERR_NOMEM, "index the metadata of row %u", row);
}

/* --- writing ---------------------------------------------------------------------------------------------------- */

static int compare_strings(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* Sorts the strings, and turns the values of the list from numbers into ranks. */
static bool rank_strings(struct list *list)
{
    uint32_t n = list->n_strings;
    struct str *sorted = mem_dup(list->strings, n * sizeof *sorted);
    uint32_t *ranks = mem_array(n, sizeof *ranks);
    bool is_done = sorted != NULL && ranks != NULL;
    if (is_done) {
        qsort(sorted, n, sizeof *sorted, compare_strings);
        uint32_t mask = list->n_string_slots - 1;
        for (uint32_t rank = 0; rank < n; rank++) { /* every string is in the table: by its bytes to its number */
            uint32_t i = (uint32_t)hash_bytes(sorted[rank].p, sorted[rank].n, hash_process_seed()) & mask;
            while (list->strings[list->string_slots[i] - 1].p != sorted[rank].p) i = (i + 1) & mask;
            ranks[list->string_slots[i] - 1] = rank;
        }
        for (size_t i = 0; i < list->n; i++) list->values[i] = ranks[list->values[i]];
        memcpy(list->strings, sorted, n * sizeof *sorted);
    }
    mem_free(sorted);
    mem_free(ranks);
    return is_done;
}

static bool sort_list(struct list *list)
{
    if (meta_class_is_text(list->class) && !rank_strings(list)) return false;
    uint64_t *values = mem_alloc(list->n * sizeof *values);
    uint32_t *rows = mem_alloc(list->n * sizeof *rows);
    bool is_done = values != NULL && rows != NULL;
    if (is_done) {
        sort_pairs(list->values, list->rows, list->n, values, rows);
        size_t kept = 0; /* an array may hold a value twice */
        for (size_t i = 0; i < list->n; i++) {
            if (kept > 0 && list->values[kept - 1] == list->values[i] && list->rows[kept - 1] == list->rows[i])
                continue;
            list->values[kept] = list->values[i];
            list->rows[kept++] = list->rows[i];
        }
        list->n = kept;
    }
    mem_free(values);
    mem_free(rows);
    return is_done;
}

/* for (g = {0}; group_next(list, &g);): the pairs [g.from, g.to) of a sorted list have one value. */
struct group {
    size_t from, to;
};

static bool group_next(const struct list *list, struct group *g)
{
    g->from = g->to;
    if (g->from == list->n) return false;
    while (g->to < list->n && list->values[g->to] == list->values[g->from]) g->to++;
    return true;
}

static bool is_dense(struct group g, uint32_t n_rows)
{
    return g.to - g.from > DENSE_MIN && g.to - g.from > n_rows / 32;
}

static void write_values(struct list *list, struct sink *out)
{
    list->out.values_at = sink_at(out);
    if (!meta_class_is_text(list->class)) {
        for (struct group g = {0}; group_next(list, &g);) sink_u64(out, list->values[g.from]);
        return;
    }
    uint64_t end = 0;
    sink_u64(out, 0);
    for (uint32_t i = 0; i < list->n_strings; i++) sink_u64(out, end += list->strings[i].n);
    list->out.heap_at = sink_at(out);
    list->out.heap_n = end;
    for (uint32_t i = 0; i < list->n_strings; i++) sink_add(out, list->strings[i].p, list->strings[i].n);
    sink_align(out, 8);
}

static void write_bitmap(const struct list *list, struct group g, uint32_t n_rows, struct sink *out)
{
    size_t i = g.from;
    for (uint64_t first = 0; first < n_rows; first += 64) {
        uint64_t word = 0;
        for (; i < g.to && list->rows[i] < first + 64; i++) word |= UINT64_C(1) << (list->rows[i] - first);
        sink_u64(out, word);
    }
}

/* Where prefixes end: after every 32nd part of the rows, at a whole value. Returns how many there are. */
static uint32_t find_bounds(const struct list *list, uint32_t bounds[META_PREFIXES_MAX])
{
    uint32_t n = 0, value = 0;
    size_t last = 0, step = list->n / (META_PREFIXES_MAX - 1) + 1;
    if (!meta_class_has_order(list->class) || list->n < 2 * META_PREFIX_ROWS) return 0;
    if (step < META_PREFIX_ROWS) step = META_PREFIX_ROWS;
    for (struct group g = {0}; group_next(list, &g);) {
        value++;
        if (g.to - last < step && g.to < list->n) continue;
        bounds[n++] = value;
        last = g.to;
    }
    CHECK(n <= META_PREFIXES_MAX && "each prefix but the last has a step of rows more");
    return n;
}

static enum err write_prefixes(const struct list *list, uint32_t n_rows, struct sink *out, struct errmsg *em)
{
    uint32_t bounds[META_PREFIXES_MAX], n = find_bounds(list, bounds), i = 0, value = 0;
    size_t words = bitset_words(n_rows);
    if (n == 0) return ERR_OK;
    CHECK(sink_at(out) == meta_prefixes_at(&list->out, n_rows) && "prefixes follow the bitmaps");
    uint64_t *rows = mem_array(words, sizeof *rows);
    if (rows == NULL) return errmsg_set(em, ERR_NOMEM, "a bitmap of %u rows", n_rows);
    for (uint32_t k = 0; k < n; k++) sink_u32(out, bounds[k]);
    sink_align(out, 8);
    for (struct group g = {0}; group_next(list, &g);) {
        for (size_t k = g.from; k < g.to; k++) rows[list->rows[k] / 64] |= UINT64_C(1) << (list->rows[k] % 64);
        if (++value == bounds[i]) {
            sink_add(out, rows, words * sizeof *rows);
            i++;
        }
    }
    mem_free(rows);
    CHECK(i == n && "the last bound is that of all values");
    return out->err;
}

static enum err write_list(struct list *list, uint32_t n_rows, struct sink *out, struct errmsg *em)
{
    struct meta_list *o = &list->out;
    if (!sort_list(list)) return errmsg_set(em, ERR_NOMEM, "sort %zu values", list->n);
    uint64_t n_values = 0, first = 0;
    for (struct group g = {0}; group_next(list, &g); n_values++) {
        if (is_dense(g, n_rows))
            o->n_dense++;
        else
            first += g.to - g.from;
    }
    if (first > UINT32_MAX || n_values >= UINT32_MAX)
        return errmsg_set(em, ERR_TOO_LARGE, "more than 2^32 values under one metadata key");
    o->n_values = (uint32_t)n_values;
    o->n_rows = (uint32_t)first;
    o->class = (uint32_t)list->class;
    uint32_t bounds[META_PREFIXES_MAX];
    o->n_prefixes = find_bounds(list, bounds);
    sink_align(out, 8);
    write_values(list, out);

    uint32_t at = 0;
    o->firsts_at = sink_at(out);
    for (struct group g = {0}; group_next(list, &g);) {
        sink_u32(out, at);
        if (!is_dense(g, n_rows)) at += (uint32_t)(g.to - g.from);
    }
    sink_u32(out, at);
    o->rows_at = sink_at(out);
    for (struct group g = {0}; group_next(list, &g);)
        if (!is_dense(g, n_rows)) sink_add(out, &list->rows[g.from], (g.to - g.from) * sizeof(uint32_t));
    sink_align(out, 8);

    uint32_t value = 0;
    o->dense_at = sink_at(out);
    uint64_t bitmap_at = o->dense_at + o->n_dense * sizeof(struct meta_dense);
    for (struct group g = {0}; group_next(list, &g); value++) {
        if (!is_dense(g, n_rows)) continue;
        struct meta_dense dense = {.value = value, .n_rows = (uint32_t)(g.to - g.from), .bitmap_at = bitmap_at};
        sink_add(out, &dense, sizeof dense);
        bitmap_at += bitset_words(n_rows) * 8;
    }
    for (struct group g = {0}; group_next(list, &g);)
        if (is_dense(g, n_rows)) write_bitmap(list, g, n_rows, out);
    if (out->err != ERR_OK) return out->err;
    return write_prefixes(list, n_rows, out, em);
}

static int compare_lists(const void *a, const void *b)
{
    const struct list *x = *(struct list *const *)a, *y = *(struct list *const *)b;
    int c = str_cmp(x->key, y->key);
    return c != 0 ? c : (int)x->class - (int)y->class;
}

enum err meta_index_builder_finish(struct meta_index_builder *b, uint32_t n_rows, struct sink *out, struct errmsg *em)
{
    if (b->n_lists > 0) qsort(b->lists, b->n_lists, sizeof(struct list *), compare_lists);
    for (uint32_t i = 0; i < b->n_lists; i++) {
        struct list *list = b->lists[i];
        enum err e = write_list(list, n_rows, out, em);
        if (e != ERR_OK) return e;
        mem_free(list->values);
        mem_free(list->rows);
        list->values = NULL;
        list->rows = NULL;
    }
    for (uint32_t i = 0; i < b->n_lists; i++) {
        struct list *list = b->lists[i];
        bool is_again = i > 0 && str_eq(list->key, b->lists[i - 1]->key); /* lists of one key share its bytes */
        list->out.key_at = is_again ? b->lists[i - 1]->out.key_at : sink_at(out);
        list->out.key_n = (uint32_t)list->key.n;
        if (!is_again) sink_add(out, list->key.p, list->key.n);
    }
    sink_align(out, 8);
    struct meta_trailer trailer = {
        .magic = META_INDEX_MAGIC,
        .n_rows = n_rows,
        .n_lists = b->n_lists,
        .lists_at = sink_at(out),
    };
    for (uint32_t i = 0; i < b->n_lists; i++) sink_add(out, &b->lists[i]->out, sizeof b->lists[i]->out);
    sink_add(out, &trailer, sizeof trailer);
    return out->err;
}
