/* tail.c - see tail.h.
 *
 * ROWS live in chunks of doubling size (32, 64, 128 ...), so that no row ever moves, a small collection is small, and a
 * row number leads to its place with one count of leading zeros.
 * HASH TABLE open addressing, linear probing, slots hold row + 1; at most half full. To grow it, a new table is
 * filled and published; the old one is freed when no reader can be in it (epoch). A slot changes from one row to a
 * newer row of the same id, never to another id, and is never emptied.
 * PUBLICATION a row's fields are written before the release store of n_rows and of its slot; readers load both with
 * acquire. `died` is stored relaxed: see struct deaths in segment.h for why a stale value is harmless.
 * SKETCHES lie beside the rows, chunk by chunk: a search walks through them and reads the vector, which may be anywhere in
 * the blocks of the writes, of the few rows that could be among the nearest. The first chunk has none: so few rows are
 * measured anyway, and every tail with a row has that chunk.
 */
#include "core/tail.h"

#include "core/distance.h"
#include "core/epoch.h"
#include "core/filter.h"
#include "core/hash.h"
#include "core/mem.h"
#include "core/sketch.h"
#include "core/topk.h"

enum { FIRST_CHUNK_BITS = 5, FIRST_CHUNK = 1 << FIRST_CHUNK_BITS, N_CHUNKS = 32 - FIRST_CHUNK_BITS, TABLE_MIN = 64 };

enum { SKETCH_FROM_ROWS = 64 }; /* below, measuring all costs less than making the query's sketch */

struct tail_row {
    struct row row;
    uint64_t born, ordinal;
    _Atomic uint64_t died;
    uint32_t prev; /* the row of this id before this one, in this tail; ROW_NONE */
    uint32_t id_hash;
    float norm2;
};

struct id_table {
    uint32_t mask; /* slots - 1 */
    _Atomic uint32_t slots[];
};

struct kept_block {
    struct kept_block *next;
    const void *p;
};

struct tail {
    struct segment segment; /* first */
    /* written by the writer, read by anyone */
    _Atomic uint32_t n_rows;
    _Atomic(struct tail_row *) chunks[N_CHUNKS];
    _Atomic(char *) sketches[N_CHUNKS]; /* sketch_size a row */
    _Atomic(struct id_table *) table;
    uint32_t dim;       /* since the first row */
    size_t sketch_size; /* likewise; 0: there are none */
    /* the writer's */
    uint32_t n_ids;
    struct arena arena;
    struct kept_block *blocks;
    _Atomic uint64_t kept_bytes;
    _Atomic uint64_t arena_bytes; /* what the arena holds, for readers */
};

static const struct segment_ops tail_ops;

static const struct tail *tail_const(const struct segment *s)
{
    return (const struct tail *)(const void *)s;
}

struct tail *tail_of(struct segment *s)
{
    CHECK(s->is_tail && "a tail");
    return (struct tail *)(void *)s;
}

struct segment *tail_segment(struct tail *t)
{
    return &t->segment;
}

static unsigned chunk_of(uint32_t row, uint32_t *offset)
{
    uint64_t shifted = (uint64_t)row + FIRST_CHUNK;
    unsigned high = 63 - (unsigned)__builtin_clzll(shifted);
    *offset = (uint32_t)(shifted - (UINT64_C(1) << high));
    return high - FIRST_CHUNK_BITS;
}

static struct tail_row *row_at(const struct tail *t, uint32_t row)
{
    uint32_t offset;
    unsigned chunk = chunk_of(row, &offset);
    return atomic_load_explicit(&t->chunks[chunk], memory_order_acquire) + offset;
}

static struct id_table *table_new(uint32_t n_slots)
{
    struct id_table *table = mem_zalloc(sizeof *table + n_slots * sizeof table->slots[0]);
    if (table != NULL) table->mask = n_slots - 1;
    return table;
}

enum err tail_new(struct tail **out)
{
    struct tail *t = mem_zalloc(sizeof *t);
    struct id_table *table = table_new(TABLE_MIN);
    if (t == NULL || table == NULL) {
        mem_free(t);
        mem_free(table);
        return ERR_NOMEM;
    }
    t->segment.ops = &tail_ops;
    t->segment.is_tail = true;
    atomic_init(&t->table, table);
    *out = t;
    return ERR_OK;
}

static void tail_free(struct segment *s)
{
    struct tail *t = tail_of(s);
    for (struct kept_block *b = t->blocks; b != NULL;) {
        struct kept_block *next = b->next;
        mem_free((void *)(uintptr_t)b->p);
        mem_free(b);
        b = next;
    }
    for (unsigned i = 0; i < N_CHUNKS; i++) {
        mem_free(atomic_load_explicit(&t->chunks[i], memory_order_relaxed));
        mem_free(atomic_load_explicit(&t->sketches[i], memory_order_relaxed));
    }
    mem_free(atomic_load_explicit(&t->table, memory_order_relaxed));
    arena_free(&t->arena);
    mem_free(t);
}

enum err tail_keep_block(struct tail *t, struct bytes block)
{
    struct kept_block *b = mem_alloc(sizeof *b);
    if (b == NULL) return ERR_NOMEM;
    *b = (struct kept_block){t->blocks, block.p};
    t->blocks = b;
    atomic_fetch_add_explicit(&t->kept_bytes, block.n, memory_order_relaxed);
    return ERR_OK;
}

struct arena *tail_arena(struct tail *t)
{
    return &t->arena;
}

uint64_t tail_bytes(const struct tail *t)
{
    uint64_t n_rows = atomic_load_explicit(&t->n_rows, memory_order_acquire); /* sketch_size is there with the first */
    return atomic_load_explicit(&t->kept_bytes, memory_order_relaxed) +
           atomic_load_explicit(&t->arena_bytes, memory_order_relaxed) + n_rows * (sizeof(struct tail_row) + 8) +
           (n_rows > FIRST_CHUNK ? (n_rows - FIRST_CHUNK) * t->sketch_size : 0);
}

/* --- ids ------------------------------------------------------------------------------------------------------- */

static uint32_t id_hash(struct str id)
{
    return (uint32_t)hash_bytes(id.p, id.n, hash_process_seed());
}

/* The slot of this id: holds its newest row, or is empty (0). */
static _Atomic uint32_t *slot_of(const struct tail *t, struct id_table *table, struct str id, uint32_t hash)
{
    for (uint32_t i = hash & table->mask;; i = (i + 1) & table->mask) {
        uint32_t slot = atomic_load_explicit(&table->slots[i], memory_order_acquire);
        if (slot == 0) return &table->slots[i];
        const struct tail_row *r = row_at(t, slot - 1);
        if (r->id_hash == hash && str_eq(r->row.id, id)) return &table->slots[i];
    }
}

static enum err grow_table(struct tail *t)
{
    struct id_table *old = atomic_load_explicit(&t->table, memory_order_relaxed);
    if (old->mask >= UINT32_MAX / 2) return ERR_NOMEM;
    struct id_table *table = table_new((old->mask + 1) * 2);
    if (table == NULL) return ERR_NOMEM;
    for (uint32_t i = 0; i <= old->mask; i++) {
        uint32_t slot = atomic_load_explicit(&old->slots[i], memory_order_relaxed);
        if (slot == 0) continue;
        uint32_t to = row_at(t, slot - 1)->id_hash & table->mask;
        while (atomic_load_explicit(&table->slots[to], memory_order_relaxed) != 0) to = (to + 1) & table->mask;
        atomic_store_explicit(&table->slots[to], slot, memory_order_relaxed);
    }
    atomic_store_explicit(&t->table, table, memory_order_release);
    epoch_retire(mem_free, old);
    return ERR_OK;
}

static uint32_t tail_find(const struct segment *s, struct str id, uint64_t lsn)
{
    const struct tail *t = tail_const(s);
    struct id_table *table = atomic_load_explicit(&t->table, memory_order_acquire);
    uint32_t slot = atomic_load_explicit(slot_of(t, table, id, id_hash(id)), memory_order_acquire);
    for (uint32_t row = slot - 1; row != ROW_NONE;) { /* an empty slot (0) gives ROW_NONE at once */
        const struct tail_row *r = row_at(t, row);
        if (r->born <= lsn) return segment_is_visible(s, row, lsn) ? row : ROW_NONE;
        row = r->prev;
    }
    return ROW_NONE;
}

/* --- writing --------------------------------------------------------------------------------------------------- */

/* Makes what the chunk of the next row needs; ERR_NOMEM leaves nothing that matters. */
static enum err make_chunk(struct tail *t, unsigned chunk)
{
    if (atomic_load_explicit(&t->chunks[chunk], memory_order_relaxed) == NULL) {
        struct tail_row *rows = mem_array((size_t)FIRST_CHUNK << chunk, sizeof *rows);
        if (rows == NULL) return ERR_NOMEM;
        atomic_store_explicit(&t->chunks[chunk], rows, memory_order_release);
    }
    if (chunk > 0 && t->sketch_size > 0 && atomic_load_explicit(&t->sketches[chunk], memory_order_relaxed) == NULL) {
        size_t size;
        char *sketches = ck_mul((size_t)FIRST_CHUNK << chunk, t->sketch_size, &size) ? mem_alloc(size) : NULL;
        if (sketches == NULL) return ERR_NOMEM;
        atomic_store_explicit(&t->sketches[chunk], sketches, memory_order_release);
    }
    return ERR_OK;
}

/* Of a row behind the first chunk. */
static struct sketch *sketch_at(const struct tail *t, uint32_t row)
{
    uint32_t offset;
    unsigned chunk = chunk_of(row, &offset);
    char *sketches = atomic_load_explicit(&t->sketches[chunk], memory_order_acquire);
    return (struct sketch *)(void *)(sketches + offset * t->sketch_size);
}

enum err tail_append(struct tail *t, const struct tail_row_input *in)
{
    uint32_t row = atomic_load_explicit(&t->n_rows, memory_order_relaxed), offset;
    if (row >= UINT32_MAX - FIRST_CHUNK - 1) return ERR_NOMEM;
    unsigned chunk = chunk_of(row, &offset);
    if (row == 0) {
        t->dim = in->dim;
        t->sketch_size = sketch_bytes(in->dim);
    }
    CHECK(in->dim == t->dim && "the rows of a collection have one dimension");
    if (make_chunk(t, chunk) != ERR_OK) return ERR_NOMEM;
    struct id_table *table = atomic_load_explicit(&t->table, memory_order_relaxed);
    if (t->n_ids >= table->mask / 2) {
        if (grow_table(t) != ERR_OK) return ERR_NOMEM;
        table = atomic_load_explicit(&t->table, memory_order_relaxed);
    }
    struct tail_row *r = row_at(t, row);
    r->row = in->row;
    r->born = in->born;
    r->ordinal = in->ordinal;
    r->id_hash = id_hash(in->row.id);
    r->norm2 = distance_ops()->dot(in->row.vector, in->row.vector, in->dim);
    if (chunk > 0 && t->sketch_size > 0) sketch_make(sketch_at(t, row), in->row.vector, in->dim, r->norm2);
    _Atomic uint32_t *slot = slot_of(t, table, in->row.id, r->id_hash);
    uint32_t before = atomic_load_explicit(slot, memory_order_relaxed);
    r->prev = before - 1;
    if (before == 0) t->n_ids++;
    atomic_store_explicit(&t->arena_bytes, t->arena.used_bytes, memory_order_relaxed);
    atomic_store_explicit(slot, row + 1, memory_order_release);
    atomic_store_explicit(&t->n_rows, row + 1, memory_order_release);
    return ERR_OK;
}

void tail_mark_dead(struct tail *t, uint32_t row, uint64_t lsn)
{
    struct tail_row *r = row_at(t, row);
    if (atomic_load_explicit(&r->died, memory_order_relaxed) == 0)
        atomic_store_explicit(&r->died, lsn, memory_order_relaxed);
}

/* --- reading --------------------------------------------------------------------------------------------------- */

uint64_t tail_died(const struct segment *s, uint32_t row)
{
    return atomic_load_explicit(&row_at(tail_const(s), row)->died, memory_order_relaxed);
}

float tail_norm2(const struct segment *s, uint32_t row)
{
    return row_at(tail_const(s), row)->norm2;
}

uint32_t tail_n_rows(const struct segment *s, uint64_t lsn)
{
    const struct tail *t = tail_const(s);
    uint32_t n = atomic_load_explicit(&t->n_rows, memory_order_acquire);
    while (n > 0 && row_at(t, n - 1)->born > lsn) n--; /* the few of writes being applied right now */
    return n;
}

static uint64_t tail_ordinal(const struct segment *s, uint32_t row)
{
    return row_at(tail_const(s), row)->ordinal;
}

static uint64_t tail_born(const struct segment *s, uint32_t row)
{
    return row_at(tail_const(s), row)->born;
}

static enum err tail_row(const struct segment *s, uint32_t row, unsigned parts, struct arena *a, struct row *out,
                         struct errmsg *em)
{
    (void)parts, (void)a, (void)em;
    *out = row_at(tail_const(s), row)->row; /* all parts are there anyway */
    return ERR_OK;
}

static enum err tail_filter(const struct segment *s, uint32_t n_rows, const struct filter *f, struct arena *a,
                            struct bitset *out, struct filter_rest *rest, struct errmsg *em)
{
    const struct tail *t = tail_const(s);
    struct arena scratch = {.max_bytes = a->max_bytes};
    enum err e = ERR_OK;
    if (!bitset_init(out, a, n_rows)) return errmsg_set(em, ERR_NOMEM, "filter %u rows", n_rows);
    if (rest != NULL && (filter_parts(f) & ROW_DOCUMENT) != 0) rest->n_documents += n_rows; /* and none stays open */
    for (uint32_t i = 0; i < n_rows && e == ERR_OK; i++) {
        bool matches = false;
        e = filter_matches(f, &row_at(t, i)->row, &scratch, &matches, em);
        if (matches && e == ERR_OK) bitset_add(out, i);
        if (scratch.used_bytes > (1U << 16)) arena_free(&scratch);
    }
    arena_free(&scratch);
    return e;
}

static enum err tail_nearest(const struct segment *s, uint32_t n_rows, struct query_vector *q,
                             const struct bitset *mask, uint32_t n_mask, uint64_t lsn, struct topk *top,
                             struct arena *a, struct errmsg *em)
{
    (void)a, (void)em;
    const struct tail *t = tail_const(s);
    struct sketch_query sketched;
    uint32_t n = mask != NULL ? n_mask : n_rows;
    bool may_skip = !q->is_exact && n >= SKETCH_FROM_ROWS && t->sketch_size > 0 && sketch_query_init(&sketched, q);
    for (uint32_t i = mask != NULL ? bitset_next(mask, 0) : 0; i < n_rows;
         i = mask != NULL ? bitset_next(mask, i + 1) : i + 1) {
        if (may_skip && i >= FIRST_CHUNK && sketch_bound(&sketched, sketch_at(t, i)) > topk_bound(top)) continue;
        if (!segment_is_visible(s, i, lsn)) continue;
        const struct tail_row *r = row_at(t, i);
        top->n_measured++;
        topk_offer(top, distance_exact(q, r->row.vector, r->norm2), r->ordinal, i);
    }
    return ERR_OK;
}

static const struct segment_ops tail_ops = {
    .free = tail_free,
    .find = tail_find,
    .row = tail_row,
    .filter = tail_filter,
    .settle = NULL, /* nothing is ever open */
    .nearest = tail_nearest,
    .ordinal = tail_ordinal,
    .born = tail_born,
};
