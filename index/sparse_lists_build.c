/* sparse_lists_build.c - gathers the entries of sparse vectors and writes them as inverted lists, in bounded memory.
 *
 * HAPPY PATH  add: each entry of each vector becomes (key's number << 32 | index, row, weight). When RUN_ENTRIES are
 *             gathered they are sorted by key and index (stable, so rows stay ascending) and appended to a spill as a
 *             run: a record for each list, with its rows and weights. finish: the runs are merged through a heap of
 *             cursors; rows of a later run are above those of an earlier one, so the pieces of a list are put one
 *             behind the other. Lists go to the section at once, their dims to a second spill, since there may be as
 *             many as entries.
 * MEMORY      32 bytes an entry of one run (64 MB at most); one list (8 bytes a row); the keys. Spills beyond 4 MiB are
 *             in temporary files.
 * FAILURE     no memory, or a temporary file: the error is carried up and the builder useless.
 */
#include <math.h>
#include <stdlib.h>

#include "core/hash.h"
#include "core/mem.h"
#include "core/value.h"
#include "index/meta_index_internal.h" /* sort_pairs */
#include "index/spill.h"
#include "index/sparse_lists_internal.h"

enum { RUN_ENTRIES = 2 << 20, ENTRIES_FIRST = 1024, KEYS_FIRST = 8 };

/* What precedes the rows, then the weights, of one list in a run. */
struct run_record {
    uint64_t list; /* key's number << 32 | index */
    uint32_t n, zero;
};

struct run {
    uint64_t from, to; /* in the spill */
};

struct key {
    struct str name;
    uint64_t n_dims; /* once its lists are written */
};

struct sparse_lists_builder {
    struct arena arena; /* names of keys */
    struct key *keys;
    uint32_t n_keys, cap_keys;
    uint32_t *slots; /* open addressing: number of the key + 1; twice cap_keys */
    uint64_t *lists; /* entries: three arrays beside each other */
    uint32_t *rows;
    float *weights;
    size_t n, cap;
    size_t run_entries; /* a run is closed when it has so many */
    struct run *runs;
    size_t n_runs, cap_runs;
    struct spill spill, dims;
};

enum err sparse_lists_builder_new(struct sparse_lists_builder **out, const struct vfs *vfs, const char *path,
                                  struct errmsg *em)
{
    struct sparse_lists_builder *b = mem_zalloc(sizeof *b);
    if (b == NULL) return errmsg_set(em, ERR_NOMEM, "sparse lists");
    enum err e = spill_init(&b->spill, vfs, path, ".sparse.tmp", em);
    if (e == ERR_OK) e = spill_init(&b->dims, vfs, path, ".dims.tmp", em);
    if (e != ERR_OK) {
        sparse_lists_builder_free(b);
        return e;
    }
    b->run_entries = RUN_ENTRIES;
    *out = b;
    return ERR_OK;
}

void sparse_lists_builder_limit(struct sparse_lists_builder *b, size_t n)
{
    b->run_entries = n;
}

static void free_entries(struct sparse_lists_builder *b)
{
    mem_free(b->lists);
    mem_free(b->rows);
    mem_free(b->weights);
    b->lists = NULL;
    b->rows = NULL;
    b->weights = NULL;
    b->n = b->cap = 0;
}

void sparse_lists_builder_free(struct sparse_lists_builder *b)
{
    if (b == NULL) return;
    free_entries(b);
    mem_free(b->keys);
    mem_free(b->slots);
    mem_free(b->runs);
    spill_deinit(&b->spill);
    spill_deinit(&b->dims);
    arena_free(&b->arena);
    mem_free(b);
}

/* --- gathering -------------------------------------------------------------------------------------------------- */

/* The slot of a key: holds it, or is empty. */
static uint32_t *slot_of(uint32_t *slots, uint32_t n_slots, const struct key *keys, struct str name)
{
    uint32_t i = (uint32_t)hash_bytes(name.p, name.n, hash_process_seed()) & (n_slots - 1);
    while (slots[i] != 0 && !str_eq(keys[slots[i] - 1].name, name)) i = (i + 1) & (n_slots - 1);
    return &slots[i];
}

static bool grow_keys(struct sparse_lists_builder *b)
{
    uint32_t cap = b->cap_keys > 0 ? b->cap_keys * 2 : KEYS_FIRST;
    uint32_t *slots = mem_array((size_t)cap * 2, sizeof *slots);
    struct key *keys = cap <= UINT32_MAX / 4 ? mem_resize(b->keys, cap * sizeof *keys) : NULL;
    if (keys != NULL) b->keys = keys;
    if (slots == NULL || keys == NULL) {
        mem_free(slots);
        return false;
    }
    for (uint32_t i = 0; i < b->n_keys; i++) *slot_of(slots, cap * 2, keys, keys[i].name) = i + 1;
    mem_free(b->slots);
    b->slots = slots;
    b->cap_keys = cap;
    return true;
}

/* UINT32_MAX: no memory. */
static uint32_t number_of(struct sparse_lists_builder *b, struct str name)
{
    if (b->n_keys == b->cap_keys && !grow_keys(b)) return UINT32_MAX;
    uint32_t *slot = slot_of(b->slots, b->cap_keys * 2, b->keys, name);
    if (*slot != 0) return *slot - 1;
    struct str copy = arena_str(&b->arena, name);
    if (copy.p == NULL) return UINT32_MAX;
    b->keys[b->n_keys++] = (struct key){.name = copy};
    *slot = b->n_keys;
    return b->n_keys - 1;
}

static bool grow_entries(struct sparse_lists_builder *b)
{
    size_t cap = b->cap > 0 ? b->cap * 2 : ENTRIES_FIRST;
    uint64_t *lists = mem_resize(b->lists, cap * sizeof *lists);
    if (lists != NULL) b->lists = lists;
    uint32_t *rows = mem_resize(b->rows, cap * sizeof *rows);
    if (rows != NULL) b->rows = rows;
    float *weights = mem_resize(b->weights, cap * sizeof *weights);
    if (weights != NULL) b->weights = weights;
    if (lists == NULL || rows == NULL || weights == NULL) return false;
    b->cap = cap;
    return true;
}

/* Appends the entries [from, to), all of one list, as one record. `places`: where they were before sorting. */
static void add_record(struct sparse_lists_builder *b, const uint32_t *places, size_t from, size_t to)
{
    struct run_record record = {.list = b->lists[from], .n = (uint32_t)(to - from)};
    spill_add(&b->spill, &record, sizeof record);
    for (size_t i = from; i < to; i++) spill_add(&b->spill, &b->rows[places[i]], sizeof *b->rows);
    for (size_t i = from; i < to; i++) spill_add(&b->spill, &b->weights[places[i]], sizeof *b->weights);
}

static enum err close_run(struct sparse_lists_builder *b, struct errmsg *em)
{
    if (b->n == 0) return ERR_OK;
    if (b->n_runs == b->cap_runs) {
        size_t cap = b->cap_runs > 0 ? b->cap_runs * 2 : 4;
        struct run *runs = mem_resize(b->runs, cap * sizeof *runs);
        if (runs == NULL) return errmsg_set(em, ERR_NOMEM, "%zu runs of sparse vectors", cap);
        b->runs = runs;
        b->cap_runs = cap;
    }
    uint64_t *scratch = mem_alloc(b->n * sizeof *scratch);
    uint32_t *places = mem_alloc(b->n * sizeof *places), *scratch_places = mem_alloc(b->n * sizeof *places);
    enum err e = ERR_NOMEM;
    if (scratch == NULL || places == NULL || scratch_places == NULL) {
        (void)errmsg_set(em, e, "sort %zu entries of sparse vectors", b->n);
        goto out;
    }
    for (size_t i = 0; i < b->n; i++) places[i] = (uint32_t)i;
    sort_pairs(b->lists, places, b->n, scratch, scratch_places);
    struct run *run = &b->runs[b->n_runs++];
    run->from = spill_size(&b->spill);
    for (size_t from = 0, to; from < b->n; from = to) {
        for (to = from; to < b->n && b->lists[to] == b->lists[from];) to++;
        add_record(b, places, from, to);
    }
    run->to = spill_size(&b->spill);
    b->n = 0;
    e = b->spill.err;
    if (e != ERR_OK && em != NULL) *em = b->spill.why;
out:
    mem_free(scratch);
    mem_free(places);
    mem_free(scratch_places);
    return e;
}

static enum err add_vector(struct sparse_lists_builder *b, uint32_t row, struct str key, const struct sparse_view *v,
                           struct errmsg *em)
{
    uint32_t number = v->n > 0 ? number_of(b, key) : 0, before = 0;
    if (number == UINT32_MAX) return errmsg_set(em, ERR_NOMEM, "sparse vectors under one more key");
    for (uint32_t i = 0; i < v->n; i++) {
        uint32_t index = le32_get(v->indices + (size_t)i * 4);
        if (i > 0 && index <= before)
            return errmsg_set(em, ERR_CORRUPT, "row %u: the indices of a sparse vector do not ascend", row);
        before = index;
        if (b->n >= b->run_entries) {
            enum err e = close_run(b, em);
            if (e != ERR_OK) return e;
        }
        if (b->n == b->cap && !grow_entries(b)) return errmsg_set(em, ERR_NOMEM, "%zu entries of vectors", b->n);
        b->lists[b->n] = (uint64_t)number << 32 | index;
        b->rows[b->n] = row;
        b->weights[b->n++] = sparse_weight(v->values, i);
    }
    return ERR_OK;
}

enum err sparse_lists_builder_add(struct sparse_lists_builder *b, uint32_t row, struct bytes meta, struct errmsg *em)
{
    struct meta_entry entry;
    struct sparse_view v;
    for (struct meta_iter it = meta_iter(meta); meta_next(&it, &entry);) {
        if (!meta_sparse(&entry, &v)) continue;
        enum err e = add_vector(b, row, entry.key, &v, em);
        if (e != ERR_OK) return e;
    }
    return ERR_OK;
}

/* --- merging ---------------------------------------------------------------------------------------------------- */

/* Where a run is being read. */
struct cursor {
    const uint8_t *at, *end;
    struct run_record record; /* at `at` */
};

struct merge {
    struct sparse_lists_builder *b;
    struct cursor *cursors; /* one a run, in their order */
    uint32_t *heap;         /* numbers of runs that are not done; the one of the lowest list, then run, on top */
    uint32_t n_heap;
    struct buf rows, weights; /* of the list at hand */
    struct sink *out;
};

/* Reads the record at `at`; *is_done: there is none. */
static enum err cursor_load(struct cursor *c, bool *is_done, struct errmsg *em)
{
    size_t left = (size_t)(c->end - c->at);
    *is_done = left == 0;
    if (*is_done) return ERR_OK;
    if (left >= sizeof c->record) memcpy(&c->record, c->at, sizeof c->record);
    if (left < sizeof c->record || c->record.n > (left - sizeof c->record) / 8)
        return errmsg_set(em, ERR_CORRUPT, "the temporary file of the sparse lists is damaged");
    return ERR_OK;
}

static bool is_before(const struct merge *m, uint32_t x, uint32_t y)
{
    uint64_t a = m->cursors[x].record.list, b = m->cursors[y].record.list;
    return a != b ? a < b : x < y;
}

/* Places run `x` at or below i, where the heap is free. */
static void sink_down(struct merge *m, uint32_t i, uint32_t x)
{
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= m->n_heap) break;
        if (child + 1 < m->n_heap && is_before(m, m->heap[child + 1], m->heap[child])) child++;
        if (!is_before(m, m->heap[child], x)) break;
        m->heap[i] = m->heap[child];
        i = child;
    }
    m->heap[i] = x;
}

/* Adds the top run's record to the list at hand and moves that run on. */
static enum err take_record(struct merge *m, struct errmsg *em)
{
    struct cursor *c = &m->cursors[m->heap[0]];
    size_t bytes = (size_t)c->record.n * 4;
    bool is_done;
    c->at += sizeof c->record;
    buf_add(&m->rows, c->at, bytes);
    buf_add(&m->weights, c->at + bytes, bytes);
    c->at += bytes * 2;
    enum err e = cursor_load(c, &is_done, em);
    if (e != ERR_OK) return e;
    if (is_done) m->n_heap--;
    if (m->n_heap > 0) sink_down(m, 0, is_done ? m->heap[m->n_heap] : m->heap[0]);
    return ERR_OK;
}

static struct sparse_block block_of(const struct merge *m, uint32_t from, uint32_t to)
{
    const uint8_t *rows = (const uint8_t *)m->rows.p, *weights = (const uint8_t *)m->weights.p;
    struct sparse_block block = {le32_get(rows + (size_t)(to - 1) * 4), INFINITY, -INFINITY};
    for (uint32_t i = from; i < to; i++) {
        block.min = fminf(block.min, sparse_weight(weights, i));
        block.max = fmaxf(block.max, sparse_weight(weights, i));
    }
    return block;
}

static void write_list(struct merge *m, uint64_t list)
{
    uint32_t n = (uint32_t)(m->rows.n / 4);
    struct sparse_block all = block_of(m, 0, n);
    struct sparse_dim dim = {(uint32_t)list, n, all.min, all.max, sink_at(m->out)};
    for (uint32_t from = 0; n > SPARSE_BLOCK_ROWS && from < n; from += SPARSE_BLOCK_ROWS) {
        uint32_t to = n - from > SPARSE_BLOCK_ROWS ? from + SPARSE_BLOCK_ROWS : n;
        struct sparse_block block = block_of(m, from, to);
        sink_add(m->out, &block, sizeof block);
    }
    sink_add(m->out, m->rows.p, m->rows.n);
    sink_add(m->out, m->weights.p, m->weights.n);
    spill_add(&m->b->dims, &dim, sizeof dim);
    m->b->keys[list >> 32].n_dims++;
}

static enum err merge_runs(struct merge *m, struct errmsg *em)
{
    struct bytes runs;
    enum err e = spill_view(&m->b->spill, &runs, em);
    if (e != ERR_OK) return e;
    for (uint32_t i = 0; i < m->b->n_runs; i++) {
        bool is_done;
        m->cursors[i].at = (const uint8_t *)runs.p + m->b->runs[i].from;
        m->cursors[i].end = (const uint8_t *)runs.p + m->b->runs[i].to;
        if ((e = cursor_load(&m->cursors[i], &is_done, em)) != ERR_OK) return e;
        CHECK(!is_done && "no run is empty");
        m->heap[m->n_heap++] = i;
    }
    for (uint32_t i = m->n_heap / 2; i-- > 0;) sink_down(m, i, m->heap[i]);
    while (m->n_heap > 0) {
        uint64_t list = m->cursors[m->heap[0]].record.list;
        m->rows.n = m->weights.n = 0;
        while (m->n_heap > 0 && m->cursors[m->heap[0]].record.list == list)
            if ((e = take_record(m, em)) != ERR_OK) return e;
        if (m->rows.err != ERR_OK || m->weights.err != ERR_OK)
            return errmsg_set(em, ERR_NOMEM, "a list of %u rows or more", (uint32_t)(m->rows.n / 4));
        if (list >> 32 >= m->b->n_keys || m->rows.n / 4 > UINT32_MAX)
            return errmsg_set(em, ERR_CORRUPT, "the temporary file of the sparse lists is damaged");
        write_list(m, list);
        if (m->out->err != ERR_OK) return m->out->err;
    }
    return ERR_OK;
}

static int compare_keys(const void *a, const void *b)
{
    const struct key *const *x = a, *const *y = b;
    return str_cmp((*x)->name, (*y)->name);
}

/* Dims, the keys' bytes, the directory, the trailer. `sorted`: room for the keys. */
static enum err write_directory(struct merge *m, uint32_t n_rows, const struct key **sorted, struct sparse_key *entries,
                                struct errmsg *em)
{
    struct sparse_lists_builder *b = m->b;
    struct bytes dims;
    enum err e = spill_view(&b->dims, &dims, em);
    if (e != ERR_OK) return e;
    sink_align(m->out, 8);
    uint64_t at = sink_at(m->out);
    sink_add(m->out, dims.p, dims.n);
    for (uint32_t i = 0; i < b->n_keys; i++) { /* dims lie in the order of the keys' numbers */
        struct key *key = &b->keys[i];
        sorted[i] = key;
        entries[i] = (struct sparse_key){.key_at = sink_at(m->out), .key_n = (uint32_t)key->name.n, .dims_at = at};
        entries[i].n_dims = key->n_dims;
        at += key->n_dims * sizeof(struct sparse_dim);
        sink_add(m->out, key->name.p, key->name.n);
    }
    sink_align(m->out, 8);
    struct sparse_trailer trailer = {
        .magic = SPARSE_LISTS_MAGIC,
        .n_rows = n_rows,
        .n_keys = b->n_keys,
        .keys_at = sink_at(m->out),
    };
    if (b->n_keys > 0) qsort(sorted, b->n_keys, sizeof(const struct key *), compare_keys);
    for (uint32_t i = 0; i < b->n_keys; i++) sink_add(m->out, &entries[sorted[i] - b->keys], sizeof *entries);
    sink_add(m->out, &trailer, sizeof trailer);
    return m->out->err;
}

enum err sparse_lists_builder_finish(struct sparse_lists_builder *b, uint32_t n_rows, struct sink *out,
                                     struct errmsg *em)
{
    struct merge m = {.b = b, .out = out};
    enum err e = close_run(b, em);
    if (e != ERR_OK) return e;
    free_entries(b);
    const struct key **sorted = mem_array(b->n_keys, sizeof(const struct key *));
    struct sparse_key *entries = mem_array(b->n_keys, sizeof *entries);
    m.cursors = mem_array(b->n_runs, sizeof *m.cursors);
    m.heap = mem_array(b->n_runs, sizeof *m.heap);
    if (m.cursors == NULL || m.heap == NULL || sorted == NULL || entries == NULL) {
        e = errmsg_set(em, ERR_NOMEM, "merge %zu runs of sparse vectors", b->n_runs);
        goto out;
    }
    e = merge_runs(&m, em);
    if (e == ERR_OK) e = write_directory(&m, n_rows, sorted, entries, em);
out:
    mem_free(m.cursors);
    mem_free(m.heap);
    mem_free(sorted);
    mem_free(entries);
    buf_free(&m.rows);
    buf_free(&m.weights);
    return e;
}
