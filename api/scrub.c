/* scrub.c - reads every index file again and again at a gentle rate, so that damage is found before it is served.
 *
 * HAPPY PATH  one thread. A pass goes over all collections, from a random one on, so that a server that is restarted often
 *             gets round all the same: the manifest that the catalog names, then each fragment that it names, piece by piece
 *             (fragment_scrub); after each piece the thread sleeps until the rate allows the next. What was read is forgotten by
 *             the page cache unless somebody has it mapped. Last the closed segments of the log (wal_scrub). The next pass begins scrub_interval_s after this one began.
 * DAMAGE      in a section: the collection is opened, if it is not, and the fragment told (fragment_note_scrub); from then
 *             on it does without, and the merger writes an index anew. In a header or manifest, or a file that is gone: the log
 *             names it; the collection cannot be opened again, but goes on while it is open.
 *             In the log: memory still has what it holds, so every tail is written to index files, and the log is cut.
 * RECALL      now and then one record of each collection in use is searched for through the index and exactly (exec_recall).
 * FAILURE     a file that cannot be read, or memory that is short: the next pass comes by again.
 * RACES       a version that is replaced meanwhile takes its files along: what is missing then is no damage.
 */
#include <stdio.h>

#include "api/settings.h"
#include "api/store_internal.h"
#include "core/executor.h"
#include "core/hash.h"
#include "core/logger.h"
#include "core/slice.h"

enum {
    SCRUBBER_NICE = 10,
    FILE_COST_BYTES = 64 << 10, /* opening a file counts as much */
    NAP_S = 60,
    RECALL_K = 10,
    RECALL_MIN_ROWS = 1024,  /* up to so many every row is compared */
    RECALL_REMEMBERED = 200, /* samples; beyond it the older ones are halved */
};

static const uint64_t SECOND_NS = 1000000000;

/* What a pass is looking at. */
struct scrubbed {
    struct store *s;
    const struct live *live;
};

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    (void)atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* --- recall ------------------------------------------------------------------------------------------------------ */

/* Of rows that are all compared anyway there is nothing to learn. */
static bool is_worth_sampling(const struct live *live, uint64_t within_ns)
{
    uint64_t used_ns = atomic_load_explicit(&live->last_used_ns, memory_order_relaxed);
    return !collection_is_closed(live->collection) && collection_count(live->collection) > RECALL_MIN_ROWS &&
           clock_monotonic_ns() - used_ns <= within_ns;
}

/* Not through store_snapshot: being measured is no use that keeps a collection open. */
static void sample_one(struct store *s, const struct catalog_collection *col)
{
    struct live *live = live_of(col);
    struct arena a = {0};
    struct snapshot snapshot;
    struct exec_recall r = {0};
    uint64_t seed;
    random_bytes(&seed, sizeof seed);
    if (snapshot_begin(live->collection, &a, &snapshot) == ERR_OK) {
        snapshot.effort = configuration_effort(col->configuration);
        if (snapshot.dim != 0) (void)exec_recall(&snapshot, 1, RECALL_K, seed, &r, NULL);
        snapshot_end(&snapshot);
    }
    arena_free(&a);
    if (r.n_queries == 0) return;
    if (atomic_load_explicit(&live->recall.n_queries, memory_order_relaxed) >= RECALL_REMEMBERED) {
        atomic_store_explicit(&live->recall.n_queries, live->recall.n_queries / 2, memory_order_relaxed);
        atomic_store_explicit(&live->recall.n_wanted, live->recall.n_wanted / 2, memory_order_relaxed);
        atomic_store_explicit(&live->recall.n_found, live->recall.n_found / 2, memory_order_relaxed);
    }
    add(&live->recall.n_queries, r.n_queries);
    add(&live->recall.n_wanted, r.n_wanted);
    add(&live->recall.n_found, r.n_found);
    add(&s->scrub.n_samples, r.n_queries);
}

void scrub_sample_recall(struct store *s, uint64_t within_ns)
{
    struct arena a = {0};
    const struct catalog_collection **all = NULL;
    size_t n = 0;
    if (catalog_all_collections(s->catalog, &a, &all, &n) != ERR_OK) return;
    for (size_t i = 0; i < n; i++) {
        if (is_worth_sampling(live_of(all[i]), within_ns)) sample_one(s, all[i]);
        catalog_collection_unref(all[i]);
    }
    arena_free(&a);
}

static void sample_if_due(struct store *s)
{
    uint64_t every_ns = s->options.recall_sample_s * SECOND_NS, now = clock_monotonic_ns();
    if (every_ns == 0 || now - s->scrub.sampled_ns < every_ns) return;
    s->scrub.sampled_ns = now;
    scrub_sample_recall(s, every_ns);
}

/* --- pace -------------------------------------------------------------------------------------------------------- */

/* Sleeps until then (monotonic); false: told to stop. */
static bool sleep_until(struct scrub *c, uint64_t until_ns)
{
    (void)pthread_mutex_lock(&c->mu);
    for (uint64_t now = clock_monotonic_ns(); !c->is_stopping && now < until_ns; now = clock_monotonic_ns()) {
        struct timespec at;
        (void)clock_gettime(CLOCK_REALTIME, &at);
        uint64_t ns = (uint64_t)at.tv_nsec + (until_ns - now);
        at.tv_sec += (time_t)(ns / SECOND_NS);
        at.tv_nsec = (long)(ns % SECOND_NS);
        (void)pthread_cond_timedwait(&c->wake, &c->mu, &at);
    }
    bool goes_on = !c->is_stopping;
    (void)pthread_mutex_unlock(&c->mu);
    return goes_on;
}

/* Pays for bytes that were read. What was not read in time is not made up for later. */
static enum err pace(void *ctx, uint64_t bytes)
{
    struct scrubbed *at = ctx;
    struct scrub *c = &at->s->scrub;
    uint64_t rate = at->s->options.scrub_bytes_per_s, now = clock_monotonic_ns();
    add(&c->bytes_read, bytes);
    if (c->due_ns < now) c->due_ns = now;
    if (rate != 0) c->due_ns += (uint64_t)((double)bytes / (double)rate * (double)SECOND_NS);
    if (!sleep_until(c, c->due_ns)) return ERR_BUSY;
    sample_if_due(at->s);
    return at->live != NULL && collection_is_dropped(at->live->collection) ? ERR_NOT_FOUND : ERR_OK;
}

/* --- one collection ---------------------------------------------------------------------------------------------- */

static uint64_t version_now(struct store *s, const struct live *live)
{
    (void)pthread_mutex_lock(&s->publish_mu);
    uint64_t version = live->version;
    (void)pthread_mutex_unlock(&s->publish_mu);
    return version;
}

/* What the scrub found of a fragment, for the one that is open; one that is not is opened if there is damage. */
static void tell(struct store *s, struct live *live, uint64_t id, uint32_t damage)
{
    struct arena a = {0};
    struct segment **list = NULL;
    uint32_t n = 0;
    if (damage == 0 && collection_is_closed(live->collection)) return;
    if (live_hold(s, live, NULL) != ERR_OK) return; /* live_open has told why */
    if (collection_fragments(live->collection, &a, &list, &n) == ERR_OK) {
        for (uint32_t i = 0; i < n; i++) {
            if (fragment_id(list[i]) == id) fragment_note_scrub(list[i], damage);
            segment_unref(list[i]);
        }
    }
    arena_free(&a);
    live_release(live);
    if (damage == 0) return;
    room_note_active(s);
    compactor_wake(s, false, true);
}

static void tell_bad_file(struct store *s, const struct errmsg *em)
{
    add(&s->scrub.n_bad_files, 1);
    log_error("the scrub found a damaged file, and nothing that could repair it: %s", em->text);
}

/* ERR_BUSY: told to stop. What is short. What was found is told though the version has moved on: who has the fragment open
 * no more does not mind. */
static enum err scrub_fragment(struct store *s, struct live *live, uint64_t id, uint64_t version)
{
    char path[STORE_PATH_MAX];
    struct scrubbed at = {s, live};
    struct errmsg em = {{0}};
    uint32_t damage = 0;
    store_fragment_path(s, live->number, id, path);
    enum err e = pace(&at, FILE_COST_BYTES);
    if (e == ERR_OK) e = fragment_scrub(s->vfs, path, pace, &at, &damage, &em);
    if (e == ERR_BUSY || err_is_shortage(e)) return e;
    if (e == ERR_OK)
        tell(s, live, id, damage);
    else if (version_now(s, live) != version || collection_is_dropped(live->collection))
        return ERR_OK; /* the file has gone with its version */
    else
        tell_bad_file(s, &em);
    add(&s->scrub.n_files, 1);
    return ERR_OK;
}

static enum err scrub_collection(struct store *s, struct live *live)
{
    char dir[STORE_PATH_MAX], name[64], path[STORE_PATH_MAX + 64];
    struct arena a = {0};
    struct errmsg em = {{0}};
    struct manifest_entry *entries = NULL;
    uint32_t n = 0;
    uint64_t version = version_now(s, live);
    if (version == 0) return ERR_OK;
    store_collection_dir(s, live->number, dir);
    store_manifest_name(version, name);
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    enum err e = manifest_read(s->vfs, path, &a, &entries, &n, &em);
    if (e == ERR_OK)
        add(&s->scrub.n_files, 1);
    else if (!err_is_shortage(e) && version_now(s, live) == version && !collection_is_dropped(live->collection))
        tell_bad_file(s, &em);
    for (uint32_t i = 0; i < n && e == ERR_OK; i++) e = scrub_fragment(s, live, entries[i].fragment_id, version);
    arena_free(&a);
    return e == ERR_BUSY || err_is_shortage(e) ? e : ERR_OK;
}

/* --- the log ----------------------------------------------------------------------------------------------------- */

static enum err scrub_log(struct store *s)
{
    struct scrubbed at = {s, NULL};
    struct errmsg em = {{0}};
    uint64_t n_damaged = 0;
    enum err e = wal_scrub(s->wal, pace, &at, &n_damaged, &em);
    if (e != ERR_OK || n_damaged == 0) return e;
    add(&s->scrub.n_bad_files, n_damaged);
    log_error("the scrub found the log damaged; what it holds is written to index files now: %s", em.text);
    compactor_flush_all(s);
    return ERR_OK;
}

/* --- a pass ------------------------------------------------------------------------------------------------------ */

enum err scrub_pass(struct store *s)
{
    struct scrub *c = &s->scrub;
    struct arena a = {0};
    const struct catalog_collection **all = NULL;
    size_t n = 0;
    uint64_t first = 0;
    enum err missed = ERR_OK; /* for want of something: the others are visited, but the pass does not count */
    enum err e = catalog_all_collections(s->catalog, &a, &all, &n);
    random_bytes(&first, sizeof first);
    atomic_store_explicit(&c->n_done, 0, memory_order_relaxed);
    atomic_store_explicit(&c->n_wanted, n, memory_order_relaxed);
    for (size_t i = 0; i < n; i++) {
        const struct catalog_collection *col = all[(first + i) % n];
        if (e == ERR_OK) e = scrub_collection(s, live_of(col));
        if (err_is_shortage(e)) {
            missed = e;
            e = ERR_OK;
        }
        catalog_collection_unref(col);
        add(&c->n_done, 1);
    }
    arena_free(&a);
    if (e == ERR_OK) e = scrub_log(s);
    if (e == ERR_OK) e = missed;
    if (e != ERR_OK) return e;
    add(&c->n_passes, 1);
    atomic_store_explicit(&c->passed_ns, clock_monotonic_ns(), memory_order_relaxed);
    return ERR_OK;
}

static void *scrubber_main(void *arg)
{
    struct store *s = arg;
    const struct store_options *o = &s->options;
    uint64_t next_pass = 0;
    slice_behind_requests(SCRUBBER_NICE);
    for (;;) {
        uint64_t now = clock_monotonic_ns(), wake = now + NAP_S * SECOND_NS;
        if (o->scrub_bytes_per_s != 0 && now >= next_pass) {
            next_pass = now + o->scrub_interval_s * SECOND_NS;
            if (scrub_pass(s) == ERR_BUSY) return NULL;
            wake = clock_monotonic_ns() + SECOND_NS; /* a rest, also when a pass failed at once */
        }
        sample_if_due(s);
        uint64_t next_sample = o->recall_sample_s != 0 ? s->scrub.sampled_ns + o->recall_sample_s * SECOND_NS : wake;
        if (wake > next_sample) wake = next_sample;
        if (o->scrub_bytes_per_s != 0 && wake > next_pass && next_pass > now) wake = next_pass;
        if (!sleep_until(&s->scrub, wake)) return NULL;
    }
}

enum err scrub_start(struct store *s, struct errmsg *em)
{
    struct scrub *c = &s->scrub;
    (void)pthread_mutex_init(&c->mu, NULL);
    (void)pthread_cond_init(&c->wake, NULL);
    if (s->options.no_compactor || (s->options.scrub_bytes_per_s == 0 && s->options.recall_sample_s == 0))
        return ERR_OK;
    c->sampled_ns = clock_monotonic_ns();
    int rc = pthread_create(&c->thread, NULL, scrubber_main, s);
    if (rc != 0) return errmsg_errno(em, rc, "start the scrub");
    c->has_thread = true;
    (void)pthread_setname_np(c->thread, "scrubber");
    return ERR_OK;
}

void scrub_stop(struct store *s)
{
    struct scrub *c = &s->scrub;
    (void)pthread_mutex_lock(&c->mu);
    c->is_stopping = true;
    (void)pthread_cond_broadcast(&c->wake);
    (void)pthread_mutex_unlock(&c->mu);
    if (c->has_thread) (void)pthread_join(c->thread, NULL);
}
