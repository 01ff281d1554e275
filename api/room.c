/* room.c - the memory budget: how much the tails of all collections hold, what is mapped, and what has to go.
 *
 * A quarter of the budget is for tails, the rest for fragments that are mapped (of which the kernel keeps in memory what is
 * used). Once a round the flusher measures both. Tails beyond their share: the largest are flushed, until the rest would be
 * half of the share. Mapped files beyond theirs: the collections that were not used for longest are closed. Writers are held
 * back at twice the share of tails (store_write.c), and refused at four times.
 *
 * It is a bound for what can be given back. A collection in use stays open whatever its size, and what a request needs
 * while it runs is bounded elsewhere (body_memory_bytes).
 */
#include <stdlib.h>

#include "api/store_internal.h"
#include "core/clock.h"
#include "core/logger.h"

enum { TAIL_SHARE = 4, CLEAN_PER_ROUND = 16 };

static const uint64_t SECOND_NS = 1000000000;
static const uint64_t IN_USE_NS = 1000000000; /* used since then: the budget does not close it */

uint64_t room_tail_limit(const struct store *s)
{
    return s->options.memory_budget != 0 ? s->options.memory_budget / TAIL_SHARE : UINT64_MAX;
}

static uint64_t mapped_limit(const struct store *s)
{
    return s->options.memory_budget != 0 ? s->options.memory_budget - room_tail_limit(s) : UINT64_MAX;
}

/* In memory the files are the memory: unmapping them gives nothing back. */
static bool may_close(const struct store *s)
{
    return (s->options.close_after_s != 0 || s->options.memory_budget != 0) && s->own_vfs == NULL;
}

void room_note_active(struct store *s)
{
    atomic_store_explicit(&s->activity_ns, clock_monotonic_ns(), memory_order_relaxed);
}

void room_note_opened(struct store *s, uint64_t file_bytes)
{
    uint64_t before = atomic_fetch_add_explicit(&s->mapped_bytes, file_bytes, memory_order_relaxed);
    room_note_active(s);
    if (before + file_bytes > mapped_limit(s) && s->compactor.has_flusher) compactor_wake(s, true, false);
}

void room_note_written(struct store *s, uint64_t bytes)
{
    uint64_t before = atomic_fetch_add_explicit(&s->tail_bytes, bytes, memory_order_relaxed);
    room_note_active(s);
    if (before + bytes > room_tail_limit(s)) compactor_wake(s, true, false);
}

void room_note_flushed(struct store *s, uint64_t bytes)
{
    uint64_t now = atomic_load_explicit(&s->tail_bytes, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&s->tail_bytes, &now, now > bytes ? now - bytes : 0,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

/* --- measuring --------------------------------------------------------------------------------------------------- */

static int descending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x > y ? -1 : x < y;
}

/* The size from which tails are flushed, so that the others fit into half of their share. */
static uint64_t flush_from(const struct store *s, uint64_t *tails, size_t n, uint64_t sum)
{
    uint64_t limit = room_tail_limit(s);
    if (sum <= limit) return UINT64_MAX;
    qsort(tails, n, sizeof *tails, descending);
    size_t i = 0;
    while (i < n && sum > limit / 2) sum -= tails[i++];
    return i > 0 && tails[i - 1] > 0 ? tails[i - 1] : 1;
}

enum err room_measure(struct store *s, struct room *r)
{
    struct arena a = {0};
    const struct catalog_collection **all = NULL;
    size_t n = 0, n_cleaned = 0;
    uint64_t tail_bytes = 0, sealed_bytes = 0, mapped_bytes = 0;
    enum err e = catalog_all_collections(s->catalog, &a, &all, &n);
    uint64_t *tails = e == ERR_OK ? arena_array(&a, n > 0 ? n : 1, sizeof *tails) : NULL;
    r->is_settled = true;
    for (size_t i = 0; i < n; i++) {
        struct live *live = live_of(all[i]);
        struct collection_pressure p;
        collection_pressure(live->collection, &p);
        bool is_closed = collection_is_closed(live->collection);
        if (is_closed && atomic_load(&live->needs_clean) && n_cleaned++ < CLEAN_PER_ROUND) live_clean(s, live);
        if (tails != NULL) tails[i] = p.tail_bytes;
        tail_bytes += p.tail_bytes;
        sealed_bytes += p.sealed_bytes;
        if (!is_closed) mapped_bytes += atomic_load_explicit(&live->file_bytes, memory_order_relaxed);
        if (p.first_lsn != 0 || (may_close(s) && !is_closed) || atomic_load(&live->needs_clean)) r->is_settled = false;
        catalog_collection_unref(all[i]);
    }
    if (e == ERR_OK && tails == NULL) e = ERR_NOMEM;
    if (e == ERR_OK) {
        atomic_store_explicit(&s->tail_bytes, tail_bytes + sealed_bytes, memory_order_relaxed);
        atomic_store_explicit(&s->mapped_bytes, mapped_bytes, memory_order_relaxed);
        r->flush_from_bytes = flush_from(s, tails, n, tail_bytes + sealed_bytes);
    }
    arena_free(&a);
    return e;
}

/* --- closing ----------------------------------------------------------------------------------------------------- */

struct candidate {
    const struct catalog_collection *col;
    uint64_t used_ns, bytes;
};

static int by_use(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    return x->used_ns < y->used_ns ? -1 : x->used_ns > y->used_ns;
}

/* What is not published yet keeps it open, so that goes first. */
static bool settle_and_close(struct store *s, const struct catalog_collection *col)
{
    struct live *live = live_of(col);
    struct collection_pressure p;
    struct errmsg em = {{0}};
    enum err e = ERR_OK;
    collection_pressure(live->collection, &p);
    if (p.first_lsn != 0 && !collection_is_broken(live->collection)) {
        (void)pthread_mutex_lock(&live->flush_mu);
        if (live->flush_backoff.n_failures == 0)
            e = flush_collection(s, col, &em); /* a failure is the flusher's to tell */
        (void)pthread_mutex_unlock(&live->flush_mu);
    }
    return e == ERR_OK && live_close(live);
}

void room_close_unused(struct store *s)
{
    uint64_t close_after = (uint64_t)s->options.close_after_s * SECOND_NS, limit = mapped_limit(s),
             now = clock_monotonic_ns();
    if (!may_close(s)) return;
    struct arena a = {0};
    const struct catalog_collection **all = NULL;
    size_t n = 0, n_open = 0;
    uint64_t mapped = 0;
    if (catalog_all_collections(s->catalog, &a, &all, &n) != ERR_OK) return;
    struct candidate *open = arena_array(&a, n > 0 ? n : 1, sizeof *open);
    for (size_t i = 0; i < n && open != NULL; i++) {
        struct live *live = live_of(all[i]);
        if (collection_is_closed(live->collection)) continue;
        uint64_t bytes = atomic_load_explicit(&live->file_bytes, memory_order_relaxed);
        mapped += bytes;
        open[n_open++] =
            (struct candidate){all[i], atomic_load_explicit(&live->last_used_ns, memory_order_relaxed), bytes};
    }
    if (n_open > 1) qsort(open, n_open, sizeof *open, by_use);
    for (size_t i = 0; i < n_open && !compactor_is_stopping(s); i++) {
        uint64_t unused = now > open[i].used_ns ? now - open[i].used_ns : 0;
        if (mapped > limit && unused > IN_USE_NS) {
            if (settle_and_close(s, open[i].col)) mapped -= open[i].bytes;
        } else if (close_after != 0 && unused > close_after) {
            if (live_close(live_of(open[i].col))) mapped -= open[i].bytes;
        } else {
            break; /* the others were used later */
        }
    }
    for (size_t i = 0; i < n; i++) catalog_collection_unref(all[i]);
    arena_free(&a);
}
