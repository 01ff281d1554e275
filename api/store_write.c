/* store_write.c - a write on its way: to the log, then, durable, into the collection. See store_submit in store.h.
 *
 * The callback runs on the log's thread in log order, so collections follow the order of the log, as a replay would.
 */
#include "api/store_internal.h"
#include "core/logger.h"
#include "core/mem.h"

enum { HOLD_BACK_FACTOR = 8 }; /* tails beyond so many times the flush size hold writers back */

static void on_durable(struct wal_record *record, enum err e, uint64_t lsn)
{
    struct store_write *w = (void *)((char *)record - offsetof(struct store_write, record));
    struct store *s = w->store;
    const struct catalog_collection *col = w->collection;
    struct live *live = live_of(col);
    if (e == ERR_OK) {
        struct errmsg em = {{0}};
        struct collection_pressure p;
        e = collection_apply(live->collection, lsn, w->block, &w->n_changed, &em);
        if (e != ERR_OK && e != ERR_NOT_FOUND) log_error("apply log record %llu: %s", (unsigned long long)lsn, em.text);
        atomic_store(&s->applied_lsn, lsn);
        atomic_store_explicit(&live->last_write_ns, clock_monotonic_ns(), memory_order_relaxed);
        collection_pressure(live->collection, &p);
        room_note_written(s, w->block.n);
        if (p.n_changes >= s->options.flush_rows || p.tail_bytes >= s->options.flush_bytes)
            compactor_wake(s, true, false);
    } else {
        mem_free((void *)(uintptr_t)w->block.p);
    }
    store_release_rows(col, w->n_reserved);
    live_release(live);
    w->block = (struct bytes){NULL, 0};
    w->collection = NULL;
    w->done(w, e); /* the write may be gone from here on */
    catalog_collection_unref(col);
}

/* INVARIANT  rows are released after they can be counted (the release order of the subtraction), and whoever asks reads the
 * reservations first (acquire) and counts then: so a row on its way is in one of the two numbers at least. */
bool store_reserve_rows(const struct catalog_collection *col, uint32_t n, uint64_t max, uint64_t *total)
{
    struct live *live = live_of(col);
    uint64_t reserved = atomic_fetch_add_explicit(&live->n_reserved, n, memory_order_acq_rel) + n;
    *total = reserved + collection_count(live->collection);
    if (*total <= max) return true;
    store_release_rows(col, n);
    return false;
}

void store_release_rows(const struct catalog_collection *col, uint32_t n)
{
    if (n > 0) (void)atomic_fetch_sub_explicit(&live_of(col)->n_reserved, n, memory_order_acq_rel);
}

enum err store_submit(struct store *s, struct store_write *w)
{
    struct live *live = live_of(w->collection);
    struct collection_pressure p;
    struct errmsg em = {{0}};
    if (collection_is_broken(live->collection)) return ERR_READ_ONLY;
    collection_pressure(live->collection, &p);
    bool is_behind = p.tail_bytes > s->options.flush_bytes * HOLD_BACK_FACTOR ||
                     atomic_load_explicit(&s->tail_bytes, memory_order_relaxed) / 2 > room_tail_limit(s);
    if (is_behind && !compactor_wait_for_room(s, live)) return ERR_BUSY;
    atomic_store_explicit(&live->last_used_ns, clock_monotonic_ns(), memory_order_relaxed);
    enum err e = live_hold(s, live, &em); /* until it is applied; a closed one does not know its ids */
    if (e != ERR_OK) {
        if (w->why != NULL) *w->why = em;
        return e;
    }
    e = collection_check_block(live->collection, w->block, &em);
    if (e != ERR_OK) {
        if (w->why != NULL) *w->why = em;
        live_release(live);
        return e;
    }
    w->why = NULL; /* it may be gone when the write is done */
    w->store = s;
    w->n_changed = 0;
    w->record = (struct wal_record){
        .collection = live->number,
        .type = STORE_RECORD_BATCH,
        .payload = w->block,
        .done = on_durable,
    };
    e = wal_submit(s->wal, &w->record);
    if (e != ERR_OK) live_release(live);
    return e;
}
