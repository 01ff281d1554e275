/* compactor.c - what happens in the background: flushing tails, merging fragments, trimming the log, removing files.
 *
 * Two threads, so that a flush never waits for a merge. Both look at all collections when they are woken, and once in a
 * while by themselves. Policy:
 *   FLUSH  a tail that has flush_rows rows or flush_bytes bytes; a tail that was quiet for QUIET_NS and has enough rows
 *          to be worth a fragment, or for IDLE_NS, however small; the largest ones when they do not fit into the memory
 *          budget (room.c); whatever pins the log when it has grown beyond log_bytes; everything on request.
 *   MERGE  four fragments of similar size (within a factor of four); a fragment of which a quarter is dead; a
 *          quiet collection into one fragment, because a query searches each by itself: always, if the others together are an
 *          eighth of the largest and it has up to QUIET_MERGE_ROWS rows; beyond, if they are half of it, so that the
 *          merges of a collection that grows with pauses write at most three times what it has. So a row is rewritten about
 *          log4(rows) times, and three times more at worst, and a collection has some ten fragments at most.
 *          A fragment with a damaged index is rewritten alone, before anything else. One with damaged rows is left as it
 *          is, until none of its rows is alive.
 * An error is logged and tried again later; writers go on, since the log has everything.
 * When nothing has happened since a round that left nothing to do, rounds are skipped: thousands of idle collections
 * cost no processor time.
 */
#include <stdio.h>

#include "api/store_internal.h"
#include "core/epoch.h"
#include "core/logger.h"
#include "core/mem.h"
#include "core/slice.h"

enum {
    TICK_MS = 250,
    QUIET_MIN_ROWS = 256,
    QUIET_MERGE_ROWS = 65536,
    QUIET_MERGE_GAIN = 8, /* and only if the others together are not below an eighth of the largest */
    LARGE_MERGE_GAIN = 2,
    MERGE_ROW_BYTES =
        1024, /* of memory that a merge takes for a row, at most but for long documents; a quarter of the budget is allowed */
    MERGE_BUDGET_SHARE = 4,
    MERGE_FAN_IN = 4,
    MERGE_MAX = 16,
    MERGE_SMALLEST = 1024, /* fragments below are of one size class */
    DEAD_SHARE = 4,        /* one in so many dead: rewrite */
    MERGER_NICE = 10,
    BACKOFF_DOUBLINGS_MAX = 8, /* 64 s */
};

static const uint64_t QUIET_NS = 1000000000;
static const uint64_t IDLE_NS = 10000000000;
static const uint64_t SETTLED_NS = 3000000000; /* longer than QUIET_NS and a round of flushes that follows it */
static const uint64_t BACKOFF_NS = 250000000;  /* doubled before the first use */

/* --- policy ---------------------------------------------------------------------------------------------------- */

static uint32_t live_rows(const struct segment *s)
{
    uint32_t dead = atomic_load(&s->deaths.n_dead);
    return s->deaths.n_rows > dead ? s->deaths.n_rows - dead : 0;
}

static unsigned size_class(uint32_t n_rows)
{
    unsigned class = 0;
    for (uint32_t limit = MERGE_SMALLEST; n_rows > limit && class < 15; limit *= 4) class ++;
    return class;
}

static bool is_quiet(const struct live *live, uint64_t for_ns)
{
    return clock_monotonic_ns() - atomic_load_explicit(&live->last_write_ns, memory_order_relaxed) > for_ns;
}

struct flush_round {
    bool flush_all;
    uint64_t pinned_below;     /* collections whose oldest unflushed write is at or below are flushed */
    uint64_t flush_from_bytes; /* tails of at least so many bytes are flushed (room.c) */
    uint64_t oldest;           /* the oldest unflushed write of all */
    bool has_flushed;
};

static bool wants_flush(const struct store *s, const struct live *live, const struct flush_round *r)
{
    struct collection_pressure p;
    collection_pressure(live->collection, &p);
    if (live->sealed.tail != NULL) return true; /* one that failed before */
    if (p.first_lsn == 0 || collection_is_broken(live->collection)) return false;
    if (r->flush_all || p.first_lsn <= r->pinned_below || p.tail_bytes >= r->flush_from_bytes) return true;
    if (p.n_changes >= s->options.flush_rows || p.tail_bytes >= s->options.flush_bytes) return true;
    return is_quiet(live, p.n_changes >= QUIET_MIN_ROWS ? QUIET_NS : IDLE_NS);
}

/* Would rewriting the fragment drop a quarter of it? Only rows that died up to the published position can go. */
static bool is_worn(const struct segment *s, uint64_t position)
{
    uint32_t enough = s->deaths.n_rows / DEAD_SHARE;
    return deaths_total(&s->deaths, position) >= (enough > 0 ? enough : 1);
}

static void swap(struct segment **list, uint32_t i, uint32_t k)
{
    struct segment *s = list[i];
    list[i] = list[k];
    list[k] = s;
}

/* Are fragments of so many rows, one of them by far the largest perhaps, to become one while nobody writes? A fragment's rows have
 * numbers of 32 bits, dead ones too. */
static bool gains_by_one(uint64_t total, uint64_t largest, uint64_t budget)
{
    if (total <= QUIET_MERGE_ROWS) return (total - largest) * QUIET_MERGE_GAIN >= largest;
    if (budget != 0 && total > budget / MERGE_BUDGET_SHARE / MERGE_ROW_BYTES) return false;
    return total <= UINT32_MAX / 4 && (total - largest) * LARGE_MERGE_GAIN >= largest;
}

/* Moves the fragments to merge to the front of the list; their number, or 0. */
static uint32_t choose_merge(struct segment **list, uint32_t n, bool may_merge_all, uint64_t budget, uint64_t position)
{
    uint64_t total = 0, largest = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!fragment_wants_rebuild(list[i])) continue;
        swap(list, i, 0);
        return 1;
    }
    for (uint32_t i = 0; i < n; i++) { /* what cannot be read cannot be merged, but it can go */
        if (!fragment_has_lost_rows(list[i])) continue;
        if (publish_has_live_rows(list[i], position)) {
            swap(list, i--, --n);
        } else {
            swap(list, i, 0);
            return 1;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        struct segment *s = list[i];
        total += s->deaths.n_rows;
        if (s->deaths.n_rows > largest) largest = s->deaths.n_rows;
        if (is_worn(s, position)) {
            swap(list, i, 0);
            return 1;
        }
    }
    if (may_merge_all && n > 1 && gains_by_one(total, largest, budget)) return n;
    for (unsigned class = 0; class < 16; class ++) {
        uint32_t found = 0;
        for (uint32_t i = 0; i < n; i++) found += size_class(live_rows(list[i])) == class;
        if (found < MERGE_FAN_IN) continue;
        uint32_t front = 0;
        for (uint32_t i = 0; i < n && front < MERGE_MAX; i++) {
            struct segment *s = list[i];
            if (size_class(live_rows(s)) != class) continue;
            list[i] = list[front];
            list[front++] = s;
        }
        return front;
    }
    return 0;
}

/* --- work ------------------------------------------------------------------------------------------------------ */

bool compactor_is_stopping(struct store *s)
{
    (void)pthread_mutex_lock(&s->compactor.mu);
    bool stopping = s->compactor.is_stopping;
    (void)pthread_mutex_unlock(&s->compactor.mu);
    return stopping;
}

/* Runs `work` on every collection; false: not on all, because it was told to stop or memory is short. */
static bool each_collection(struct store *s, void (*work)(struct store *, const struct catalog_collection *, void *),
                            void *ctx)
{
    struct arena a = {0};
    const struct catalog_collection **all = NULL;
    size_t n = 0;
    bool is_complete = catalog_all_collections(s->catalog, &a, &all, &n) == ERR_OK;
    for (size_t i = 0; i < n; i++) {
        is_complete = is_complete && !compactor_is_stopping(s);
        if (is_complete) work(s, all[i], ctx);
        catalog_collection_unref(all[i]);
    }
    arena_free(&a);
    return is_complete;
}

static bool is_backing_off(const struct backoff *b)
{
    return b->n_failures > 0 && clock_monotonic_ns() < b->until_ns;
}

static void note_outcome(struct backoff *b, enum err e)
{
    b->n_failures = e == ERR_OK ? 0 : b->n_failures + 1;
    unsigned doublings = b->n_failures < BACKOFF_DOUBLINGS_MAX ? b->n_failures : BACKOFF_DOUBLINGS_MAX;
    b->until_ns = clock_monotonic_ns() + (BACKOFF_NS << doublings);
}

/* Not when it was deleted meanwhile, nor when a build is given up because the store closes. */
static bool is_failure(struct store *s, const struct live *live, enum err e)
{
    return e != ERR_OK && !collection_is_dropped(live->collection) && !(e == ERR_BUSY && compactor_is_stopping(s));
}

static void flush_one(struct store *s, const struct catalog_collection *col, void *ctx)
{
    struct flush_round *r = ctx;
    struct errmsg em = {{0}};
    struct live *live = live_of(col);
    struct collection_pressure p = {0};
    enum err e = ERR_OK;
    (void)pthread_mutex_lock(&live->flush_mu); /* a fork may be flushing it */
    bool is_due = (r->flush_all || !is_backing_off(&live->flush_backoff)) && wants_flush(s, live, r);
    if (is_due) {
        collection_pressure(live->collection, &p);
        bool is_repeated = live->sealed.tail != NULL;
        e = flush_collection(s, col, &em);
        if (e == ERR_OK && is_repeated && wants_flush(s, live, r))
            e = flush_collection(s, col, &em); /* that was what failed before; this is what came since */
        note_outcome(&live->flush_backoff, e);
    }
    (void)pthread_mutex_unlock(&live->flush_mu);
    if (!is_due) return;
    if (e == ERR_OK) {
        r->has_flushed = true;
        room_note_flushed(s, p.tail_bytes + p.sealed_bytes);
    } else if (is_failure(s, live, e)) {
        (void)atomic_fetch_add_explicit(&s->compactor.flushes.n_failed, 1, memory_order_relaxed);
        log_error("flush of collection '" STR_FMT "': %s", STR_ARG(col->name), em.text);
    }
    (void)pthread_mutex_lock(&s->compactor.mu);
    (void)pthread_cond_broadcast(&s->compactor.progress);
    (void)pthread_mutex_unlock(&s->compactor.mu);
}

static void find_oldest(struct store *s, const struct catalog_collection *col, void *ctx)
{
    struct flush_round *r = ctx;
    struct collection_pressure p;
    (void)s;
    collection_pressure(live_of(col)->collection, &p);
    if (p.first_lsn != 0 && p.first_lsn < r->oldest) r->oldest = p.first_lsn;
}

/* applied_lsn is read first: a record that is durable but not applied yet is in no collection's pressure. */
enum err compactor_oldest(struct store *s, uint64_t *lsn)
{
    struct flush_round r = {.oldest = atomic_load(&s->applied_lsn) + 1};
    if (!each_collection(s, find_oldest, &r)) return compactor_is_stopping(s) ? ERR_BUSY : ERR_NOMEM;
    *lsn = r.oldest;
    return ERR_OK;
}

/* The log may forget what every collection has in a published version. */
void compactor_trim_log(struct store *s)
{
    struct errmsg em = {{0}};
    struct wal_stats stats;
    uint64_t oldest;
    if (compactor_oldest(s, &oldest) != ERR_OK) return;
    wal_stats(s->wal, &stats);
    if (oldest <= stats.first_lsn) return;
    if (wal_trim(s->wal, oldest - 1, &em) != ERR_OK) log_warn("trim the log: %s", em.text);
}

void compactor_keep_garbage(struct store *s)
{
    (void)pthread_mutex_lock(&s->compactor.mu);
    s->compactor.n_keeps++;
    (void)pthread_mutex_unlock(&s->compactor.mu);
}

void compactor_free_garbage(struct store *s)
{
    (void)pthread_mutex_lock(&s->compactor.mu);
    CHECK(s->compactor.n_keeps > 0 && "freed as often as kept");
    s->compactor.n_keeps--;
    (void)pthread_mutex_unlock(&s->compactor.mu);
    compactor_wake(s, true, false);
}

static void remove_garbage(struct store *s)
{
    for (;;) {
        (void)pthread_mutex_lock(&s->compactor.mu);
        struct garbage *g = s->compactor.n_keeps == 0 ? s->compactor.garbage : NULL;
        if (g != NULL) s->compactor.garbage = g->next;
        (void)pthread_mutex_unlock(&s->compactor.mu);
        if (g == NULL) return;
        store_remove_collection(s, g->number);
        mem_free(g);
    }
}

static void flush_round(struct store *s, bool flush_all)
{
    struct wal_stats stats;
    struct room room = {.flush_from_bytes = UINT64_MAX};
    s->compactor.flush_round_ns = clock_monotonic_ns();
    remove_garbage(s);
    s->compactor.is_flush_settled = room_measure(s, &room) == ERR_OK && room.is_settled;
    struct flush_round r = {.flush_all = flush_all, .flush_from_bytes = room.flush_from_bytes};
    wal_stats(s->wal, &stats);
    if (stats.live_bytes > s->options.log_bytes) /* free the older half of what is pinned */
        r.pinned_below = stats.first_lsn + (stats.durable_lsn - stats.first_lsn) / 2;
    (void)each_collection(s, flush_one, &r);
    compactor_trim_log(s);
    room_close_unused(s);
    remove_garbage(s);
    (void)epoch_reclaim();
    if (r.has_flushed) compactor_wake(s, false, true);
}

/* Once after each time of activity. */
static void note_quiet(struct store *s)
{
    uint64_t active = atomic_load_explicit(&s->activity_ns, memory_order_relaxed);
    if (s->options.when_quiet == NULL || active == s->compactor.quiet_ns || clock_monotonic_ns() - active < SETTLED_NS)
        return;
    s->compactor.quiet_ns = active;
    s->options.when_quiet();
}

static void merge_one(struct store *s, const struct catalog_collection *col, void *ctx)
{
    const bool *merge_all = ctx;
    struct live *live = live_of(col);
    if (is_backing_off(&live->merge_backoff)) s->compactor.has_merge_failed = true;
    if (!*merge_all && (is_backing_off(&live->merge_backoff) || collection_is_closed(live->collection))) return;
    if (pthread_mutex_trylock(&live->merge_mu) != 0) return; /* it is being merged */
    if (live_hold(s, live, NULL) != ERR_OK) {                /* live_open has told why */
        (void)pthread_mutex_unlock(&live->merge_mu);
        return;
    }
    for (bool again = true; again && !compactor_is_stopping(s);) {
        struct arena a = {0};
        struct errmsg em = {{0}};
        struct segment **list = NULL;
        uint32_t n = 0, chosen = 0;
        bool is_rebuild = false;
        enum err e = ERR_OK;
        again = false;
        if (collection_fragments(live->collection, &a, &list, &n) == ERR_OK) {
            (void)pthread_mutex_lock(&s->publish_mu);
            uint64_t position = live->state.log_position;
            (void)pthread_mutex_unlock(&s->publish_mu);
            chosen = choose_merge(list, n, *merge_all || is_quiet(live, QUIET_NS), s->options.memory_budget, position);
        }
        if (chosen > 0) {
            is_rebuild = fragment_wants_rebuild(list[0]);
            e = merge_fragments(s, col, list, chosen, &em);
            s->compactor.has_merged = true;
            again = e == ERR_OK;
            note_outcome(&live->merge_backoff, e);
            if (e == ERR_OK && is_rebuild) {
                (void)atomic_fetch_add_explicit(&s->compactor.n_rebuilt, 1, memory_order_relaxed);
                log_info("the damaged index of a file of collection '" STR_FMT "' was made again", STR_ARG(col->name));
            }
        }
        for (uint32_t i = 0; i < n; i++) segment_unref(list[i]);
        /* it may have written where everything was removed already */
        if (collection_is_dropped(live->collection)) compactor_discard(s, col->number);
        if (is_failure(s, live, e)) {
            s->compactor.has_merge_failed = true;
            (void)atomic_fetch_add_explicit(&s->compactor.merges.n_failed, 1, memory_order_relaxed);
            log_error("merge of collection '" STR_FMT "': %s", STR_ARG(col->name), em.text);
        }
        arena_free(&a);
    }
    live_release(live);
    (void)pthread_mutex_unlock(&live->merge_mu);
}

static void merge_round(struct store *s, bool merge_all)
{
    s->compactor.merge_round_ns = clock_monotonic_ns();
    s->compactor.n_damage_seen = atomic_load_explicit(&s->watch.n_derived, memory_order_relaxed);
    s->compactor.has_merge_failed = s->compactor.has_merged = false;
    (void)each_collection(s, merge_one, &merge_all);
    (void)epoch_reclaim();
    if (s->compactor.has_merged && s->options.when_quiet != NULL)
        s->options.when_quiet(); /* a build takes and frees much */
}

/* Would a round find what the last one left? Flushes depend on writes, and on time for open collections only; merges on
 * versions and on writers falling quiet. */
static bool may_skip_flush(struct store *s)
{
    const struct compactor *c = &s->compactor;
    return c->is_flush_settled && atomic_load_explicit(&s->activity_ns, memory_order_relaxed) < c->flush_round_ns;
}

static bool may_skip_merge(struct store *s)
{
    const struct compactor *c = &s->compactor;
    uint64_t active = atomic_load_explicit(&s->activity_ns, memory_order_relaxed);
    if (atomic_load_explicit(&s->watch.n_derived, memory_order_relaxed) != c->n_damage_seen) return false;
    return !c->has_merge_failed && active + SETTLED_NS < c->merge_round_ns;
}

/* --- threads --------------------------------------------------------------------------------------------------- */

/* Waits for a wake-up or the next tick; false: stop. *wanted is taken, into *is_wanted. */
static bool wait_for_work(struct compactor *c, bool *wanted, bool *is_wanted, bool *flush_all)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += TICK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    int rc = 0;
    (void)pthread_mutex_lock(&c->mu);
    while (!c->is_stopping && !*wanted && rc == 0) rc = pthread_cond_timedwait(&c->wake, &c->mu, &until);
    bool goes_on = !c->is_stopping;
    *flush_all = c->n_flush_all > 0;
    *is_wanted = *wanted || *flush_all;
    *wanted = false;
    (void)pthread_mutex_unlock(&c->mu);
    return goes_on;
}

static void end_round(struct compactor *c, uint64_t *rounds)
{
    (void)pthread_mutex_lock(&c->mu);
    ++*rounds;
    (void)pthread_cond_broadcast(&c->progress);
    (void)pthread_mutex_unlock(&c->mu);
}

/* Tried again each tick until it succeeds; told once. */
static void erase_from_catalog(struct store *s, bool *has_told)
{
    struct errmsg em = {{0}};
    enum err e = catalog_erase(s->catalog, &em);
    if (e != ERR_OK && !*has_told) log_warn("deleted names and metadata stay on disk for now: %s", em.text);
    *has_told = e != ERR_OK;
}

static void *flusher_main(void *arg)
{
    struct store *s = arg;
    struct compactor *c = &s->compactor;
    bool is_wanted, flush_all, has_told = false;
    slice_set(0, SLICE_LONG);
    while (wait_for_work(c, &c->flush_wanted, &is_wanted, &flush_all)) {
        note_quiet(s);
        erase_from_catalog(s, &has_told);
        if (!is_wanted && may_skip_flush(s)) continue;
        (void)pthread_mutex_lock(&c->mu);
        flush_all = flush_all || c->is_log_damaged;
        c->is_log_damaged = false;
        (void)pthread_mutex_unlock(&c->mu);
        flush_round(s, flush_all);
        end_round(c, &c->flush_rounds);
    }
    return NULL;
}

static void *merger_main(void *arg)
{
    struct store *s = arg;
    struct compactor *c = &s->compactor;
    bool is_wanted, merge_all;
    slice_behind_requests(MERGER_NICE);
    while (wait_for_work(c, &c->merge_wanted, &is_wanted, &merge_all)) {
        if (!is_wanted && may_skip_merge(s)) continue;
        merge_round(s, merge_all);
        end_round(c, &c->merge_rounds);
    }
    return NULL;
}

enum err compactor_start(struct store *s, struct errmsg *em)
{
    struct compactor *c = &s->compactor;
    (void)pthread_mutex_init(&c->mu, NULL);
    (void)pthread_cond_init(&c->wake, NULL);
    (void)pthread_cond_init(&c->progress, NULL);
    if (s->options.no_compactor) return ERR_OK;
    int rc = pthread_create(&c->flusher, NULL, flusher_main, s);
    c->has_flusher = rc == 0;
    if (rc == 0) {
        (void)pthread_setname_np(c->flusher, "flusher");
        rc = pthread_create(&c->merger, NULL, merger_main, s);
        c->has_merger = rc == 0;
    }
    if (rc != 0) return errmsg_errno(em, rc, "start the compactor");
    (void)pthread_setname_np(c->merger, "merger");
    return ERR_OK;
}

void store_stop_work(struct store *s)
{
    struct compactor *c = &s->compactor;
    (void)pthread_mutex_lock(&c->mu);
    c->is_stopping = true;
    (void)pthread_cond_broadcast(&c->wake);
    (void)pthread_cond_broadcast(&c->progress);
    (void)pthread_mutex_unlock(&c->mu);
}

void compactor_stop(struct store *s)
{
    struct compactor *c = &s->compactor;
    store_stop_work(s);
    if (c->has_flusher) (void)pthread_join(c->flusher, NULL);
    if (c->has_merger) (void)pthread_join(c->merger, NULL);
    while (c->garbage != NULL) { /* left for the clean-up of the next start */
        struct garbage *next = c->garbage->next;
        mem_free(c->garbage);
        c->garbage = next;
    }
}

void compactor_wake(struct store *s, bool flush, bool merge)
{
    struct compactor *c = &s->compactor;
    (void)pthread_mutex_lock(&c->mu);
    c->flush_wanted |= flush;
    c->merge_wanted |= merge;
    (void)pthread_cond_broadcast(&c->wake);
    (void)pthread_mutex_unlock(&c->mu);
}

void compactor_flush_all(struct store *s)
{
    struct compactor *c = &s->compactor;
    (void)pthread_mutex_lock(&c->mu);
    c->is_log_damaged = true;
    c->flush_wanted = true;
    (void)pthread_cond_broadcast(&c->wake);
    (void)pthread_mutex_unlock(&c->mu);
}

void compactor_discard(struct store *s, uint64_t number)
{
    struct garbage *g = mem_alloc(sizeof *g);
    if (g == NULL) return; /* the next start cleans up */
    g->number = number;
    (void)pthread_mutex_lock(&s->compactor.mu);
    g->next = s->compactor.garbage;
    s->compactor.garbage = g;
    (void)pthread_mutex_unlock(&s->compactor.mu);
    compactor_wake(s, true, false);
}

bool compactor_wait_for_room(struct store *s, struct live *live)
{
    enum { WAIT_MAX_MS = 5000, REFUSE_FACTOR = 16, TAILS_REFUSE_FACTOR = 4 };
    struct compactor *c = &s->compactor;
    struct collection_pressure p;
    if (!c->has_flusher) return true;
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_MAX_MS / 1000;
    uint64_t limit = s->options.flush_bytes * 4, tail_limit = room_tail_limit(s);
    compactor_wake(s, true, false);
    (void)pthread_mutex_lock(&c->mu);
    for (int rc = 0; rc == 0 && !c->is_stopping;) {
        collection_pressure(live->collection, &p);
        if (p.tail_bytes <= limit && atomic_load_explicit(&s->tail_bytes, memory_order_relaxed) <= tail_limit) break;
        rc = pthread_cond_timedwait(&c->progress, &c->mu, &until);
    }
    (void)pthread_mutex_unlock(&c->mu);
    collection_pressure(live->collection, &p);
    return p.tail_bytes <= s->options.flush_bytes * REFUSE_FACTOR &&
           atomic_load_explicit(&s->tail_bytes, memory_order_relaxed) / TAILS_REFUSE_FACTOR <= tail_limit;
}

/* One round of each thread that began after the call has seen everything that was acknowledged before it. */
enum err store_compact(struct store *s, struct errmsg *em)
{
    struct compactor *c = &s->compactor;
    if (!c->has_flusher) return errmsg_set(em, ERR_UNSUPPORTED, "no compactor runs");
    (void)pthread_mutex_lock(&c->mu);
    c->n_flush_all++;
    uint64_t flush_target = c->flush_rounds + 2;
    c->flush_wanted = true;
    (void)pthread_cond_broadcast(&c->wake);
    while (c->flush_rounds < flush_target && !c->is_stopping) {
        c->flush_wanted = true;
        (void)pthread_cond_broadcast(&c->wake);
        (void)pthread_cond_wait(&c->progress, &c->mu);
    }
    uint64_t merge_target = c->merge_rounds + 2;
    while (c->merge_rounds < merge_target && !c->is_stopping) {
        c->merge_wanted = true;
        (void)pthread_cond_broadcast(&c->wake);
        (void)pthread_cond_wait(&c->progress, &c->mu);
    }
    c->n_flush_all--;
    (void)pthread_mutex_unlock(&c->mu);
    return ERR_OK;
}
