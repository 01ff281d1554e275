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

/* The words of the bitmap that belong to chunk i. */
static size_t words_of_chunk(const struct deaths *d, size_t i)
{
    size_t rest = bitset_words(d->n_rows) - i * DEATHS_CHUNK_WORDS;
    return rest < DEATHS_CHUNK_WORDS ? rest : DEATHS_CHUNK_WORDS;
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
    uint32_t *counts = mem_array(n_chunks(n_bits), sizeof *counts), n_dead = 0;
    if (copy == NULL || counts == NULL) {
        mem_free(copy);
        mem_free(counts);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < n_chunks(n_bits); i++) {
        struct bitset view = {copy + i * DEATHS_CHUNK_WORDS, (uint32_t)(words_of_chunk(d, i) * 64)};
        n_dead += counts[i] = bitset_count(&view);
    }
    d->base = copy;
    d->n_base = counts;
    atomic_store_explicit(&d->n_dead, n_dead, memory_order_relaxed);
    return ERR_OK;
}

void deaths_deinit(struct deaths *d)
{
    if (d->chunks != NULL)
        for (size_t i = 0; i < n_chunks(d->n_rows); i++)
            mem_free(atomic_load_explicit(&d->chunks[i], memory_order_relaxed));
    mem_free((void *)(uintptr_t)d->chunks);
    mem_free((void *)(uintptr_t)d->base);
    mem_free((void *)(uintptr_t)d->n_base);
    *d = (struct deaths){0};
}

/* Chunk i, made if nothing has died in it yet. NULL: no memory. */
static struct deaths_chunk *chunk_to_mark(struct deaths *d, size_t i)
{
    struct deaths_chunk *chunk = atomic_load_explicit(&d->chunks[i], memory_order_relaxed);
    if (chunk != NULL) return chunk;
    chunk = mem_zalloc(sizeof *chunk);
    if (chunk == NULL) return NULL;
    if (d->base != NULL) {
        for (size_t k = 0; k < words_of_chunk(d, i); k++)
            atomic_init(&chunk->dead[k], d->base[i * DEATHS_CHUNK_WORDS + k]);
        atomic_init(&chunk->n_dead, d->n_base[i]);
    }
    /* release: a reader that sees the chunk sees what is in it; pairs with the acquire in deaths_at and chunk_of */
    atomic_store_explicit(&d->chunks[i], chunk, memory_order_release);
    return chunk;
}

enum err deaths_mark(struct deaths *d, uint32_t row, uint64_t lsn)
{
    CHECK(row < d->n_rows && "row of another segment");
    CHECK(lsn != 0 && "rows die by a write");
    if (deaths_at(d, row) != 0) return ERR_OK;
    struct deaths_chunk *chunk = chunk_to_mark(d, row / DEATHS_CHUNK_ROWS);
    if (chunk == NULL) return ERR_NOMEM;
    uint32_t k = row % DEATHS_CHUNK_ROWS, n = atomic_load_explicit(&chunk->n_dead, memory_order_relaxed);
    uint64_t word = atomic_load_explicit(&chunk->dead[k / 64], memory_order_relaxed) | UINT64_C(1) << (k % 64);
    if (atomic_load_explicit(&chunk->newest, memory_order_relaxed) < lsn)
        atomic_store_explicit(&chunk->newest, lsn, memory_order_relaxed);
    atomic_store_explicit(&chunk->at[k], lsn, memory_order_relaxed);
    /* release: whoever sees this death counted sees `newest` and `at` too; pairs with the acquires in deaths_count and
     * deaths_bits */
    atomic_store_explicit(&chunk->dead[k / 64], word, memory_order_release);
    atomic_store_explicit(&chunk->n_dead, n + 1, memory_order_release);
    atomic_fetch_add_explicit(&d->n_dead, 1, memory_order_relaxed);
    return ERR_OK;
}

/* --- reading a chunk at a time -------------------------------------------------------------------------------------- */

static struct deaths_chunk *chunk_of(const struct deaths *d, uint32_t i)
{
    return atomic_load_explicit(&d->chunks[i], memory_order_acquire);
}

void deaths_bits(const struct deaths *d, uint32_t i, uint64_t lsn, uint64_t out[DEATHS_CHUNK_WORDS])
{
    struct deaths_chunk *chunk = chunk_of(d, i);
    memset(out, 0, DEATHS_CHUNK_WORDS * sizeof *out);
    if (chunk == NULL) {
        if (d->base != NULL) memcpy(out, d->base + (size_t)i * DEATHS_CHUNK_WORDS, words_of_chunk(d, i) * sizeof *out);
        return;
    }
    for (size_t k = 0; k < DEATHS_CHUNK_WORDS; k++)
        out[k] = atomic_load_explicit(&chunk->dead[k], memory_order_acquire);
    if (atomic_load_explicit(&chunk->newest, memory_order_relaxed) <= lsn) return;
    for (uint32_t k = 0; k < DEATHS_CHUNK_WORDS; k++) {
        for (uint64_t left = out[k]; left != 0; left &= left - 1) {
            uint32_t row = k * 64 + (uint32_t)__builtin_ctzll(left);
            /* 0: of the base. A bit that was not seen belongs to a death after lsn. */
            if (atomic_load_explicit(&chunk->at[row], memory_order_relaxed) > lsn) out[k] &= ~(left & -left);
        }
    }
}

uint32_t deaths_count(const struct deaths *d, uint32_t i, uint64_t lsn)
{
    struct deaths_chunk *chunk = chunk_of(d, i);
    if (chunk == NULL) return d->n_base != NULL ? d->n_base[i] : 0;
    uint32_t n = atomic_load_explicit(&chunk->n_dead, memory_order_acquire);
    if (atomic_load_explicit(&chunk->newest, memory_order_relaxed) <= lsn) return n;
    uint64_t words[DEATHS_CHUNK_WORDS];
    struct bitset view = {words, DEATHS_CHUNK_ROWS};
    deaths_bits(d, i, lsn, words);
    return bitset_count(&view);
}

uint32_t deaths_total(const struct deaths *d, uint64_t lsn)
{
    uint32_t n = 0;
    if (atomic_load_explicit(&d->n_dead, memory_order_relaxed) == 0) return 0;
    for (uint32_t i = 0; i < n_chunks(d->n_rows); i++) n += deaths_count(d, i, lsn);
    return n;
}

uint32_t deaths_next_alive(const struct deaths *d, uint32_t row, uint64_t lsn)
{
    while (row < d->n_rows) {
        uint64_t words[DEATHS_CHUNK_WORDS];
        struct bitset view = {words, DEATHS_CHUNK_ROWS};
        uint32_t first = row / DEATHS_CHUNK_ROWS * DEATHS_CHUNK_ROWS;
        deaths_bits(d, row / DEATHS_CHUNK_ROWS, lsn, words);
        bitset_not(&view);
        row = first + bitset_next(&view, row - first);
        if (row < first + DEATHS_CHUNK_ROWS) break;
    }
    return row < d->n_rows ? row : d->n_rows;
}

enum err segment_unreadable(const struct segment *s, struct errmsg *em)
{
    struct arena none = {0};
    struct row row = {0};
    enum err e = s->ops->row(s, 0, ROW_ID, &none, &row, em); /* which fails, and says why */
    arena_free(&none);
    return e != ERR_OK ? e : errmsg_set(em, ERR_CORRUPT, "a segment is damaged");
}
