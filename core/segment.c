/* segment.c - when rows died, and what a segment says that cannot be read: see segment.h.
 *
 * Marking happens on one thread (the collection's writer); reading on any. A chunk, once published, stays until the
 * segment is freed, so a reader's pointer to it holds as long as the segment does.
 */
#include "core/segment.h"

#include "core/arena.h"
#include "core/mem.h"

static size_t n_chunks(uint32_t n_rows)
{
    return ((size_t)n_rows + DEATHS_CHUNK_ROWS - 1) / DEATHS_CHUNK_ROWS;
}

enum err deaths_init(struct deaths *d, uint32_t n_rows)
{
    *d = (struct deaths){.n_rows = n_rows};
    d->chunks = mem_array(n_chunks(n_rows), sizeof *d->chunks);
    return d->chunks != NULL ? ERR_OK : ERR_NOMEM;
}

enum err deaths_set_base(struct deaths *d, const uint64_t *words, uint32_t n_bits)
{
    CHECK(n_bits == d->n_rows && "bitmap of another segment");
    uint64_t *copy = mem_dup(words, bitset_words(n_bits) * sizeof *words);
    if (copy == NULL) return ERR_NOMEM;
    struct bitset view = {copy, n_bits};
    d->base = copy;
    atomic_store_explicit(&d->n_dead, bitset_count(&view), memory_order_relaxed);
    return ERR_OK;
}

void deaths_deinit(struct deaths *d)
{
    if (d->chunks != NULL)
        for (size_t i = 0; i < n_chunks(d->n_rows); i++)
            mem_free((void *)(uintptr_t)atomic_load_explicit(&d->chunks[i], memory_order_relaxed));
    mem_free((void *)(uintptr_t)d->chunks);
    mem_free((void *)(uintptr_t)d->base);
    *d = (struct deaths){0};
}

enum err deaths_mark(struct deaths *d, uint32_t row, uint64_t lsn)
{
    CHECK(row < d->n_rows && "row of another segment");
    CHECK(lsn != 0 && "rows die by a write");
    if (deaths_at(d, row) != 0) return ERR_OK;
    _Atomic(_Atomic uint64_t *) *slot = &d->chunks[row / DEATHS_CHUNK_ROWS];
    _Atomic uint64_t *chunk = atomic_load_explicit(slot, memory_order_relaxed);
    if (chunk == NULL) {
        chunk = mem_array(DEATHS_CHUNK_ROWS, sizeof *chunk);
        if (chunk == NULL) return ERR_NOMEM;
        /* release: a reader that sees the chunk sees its zeros; pairs with the acquire in deaths_at */
        atomic_store_explicit(slot, chunk, memory_order_release);
    }
    atomic_store_explicit(&chunk[row % DEATHS_CHUNK_ROWS], lsn, memory_order_relaxed);
    atomic_fetch_add_explicit(&d->n_dead, 1, memory_order_relaxed);
    return ERR_OK;
}

enum err segment_unreadable(const struct segment *s, struct errmsg *em)
{
    struct arena none = {0};
    struct row row = {0};
    enum err e = s->ops->row(s, 0, ROW_ID, &none, &row, em); /* which fails, and says why */
    arena_free(&none);
    return e != ERR_OK ? e : errmsg_set(em, ERR_CORRUPT, "a segment is damaged");
}
