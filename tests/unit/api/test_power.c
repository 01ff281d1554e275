/* test_power.c - a whole store on a disk that loses power (tests/lib/power_disk.h), against what it acknowledged.
 *
 * A run opens a store on a disk and lives: writes to several collections, several at a time; collections made, deleted,
 * renamed, forked; a reset; flushes, merges, publications, a trimmed and a shrunken log; a folded-in log of the catalog;
 * closing and opening. Then the disk is
 * rebuilt as a power cut may have left it, before and after syncs and at random operations between, and a store is opened
 * on it:
 *   - it opens, and shows the state after some event from the last acknowledged to the last begun (power_model.h)
 *   - every fragment's checksums hold, and a filter finds what is there
 *   - it takes another write, and shows it after a clean restart
 *   - cut again while it was opening, the same holds; once it had been open, it never shows another state
 * and the next run goes on where one of the cuts has left the disk, or begins with an empty one.
 *
 * That all this notices something is a test too: on a disk whose syncs do nothing, for one kind of file or directory at a
 * time, it must fail.
 *
 * POWER_CUTS in the environment: how many distinct cuts; POWER_SEED: the seed of the first run. `make power CUTS=2000`.
 */
#include "tests/unit/api/power_model.h"

#include <unistd.h>

#include "core/logger.h"

enum {
    CUTS = 600,
    NAMES_EVERY = 8,
    CUTS_A_RUN = 40,
    LIVES = 4,
    STEPS = 70,
    RECOVERY_CUTS = 2,
    SEEN_MAX = 1 << 20,
    LIE_RUNS_MAX = 40
};

static struct {
    uint64_t *seen; /* what was cut already: a table of SEEN_MAX sums */
    int n_cuts, n_distinct, n_recovery, n_runs, n_by_loss[POWER_LOSSES];
    size_t n_ops;
} tally;

struct run {
    uint64_t seed;
    struct rng rng;
    struct power_disk *disk;
    struct store *s;
    struct store_options o;
    struct writes writes;
    struct event events[EVENTS_MAX];
    uint64_t states[EVENTS_MAX + 1]; /* before and after each event */
    int n_events, n_names;
    struct model base, model; /* before and after all events */
    bool is_silent;           /* trouble is what is wanted */
    bool is_short;            /* one of each step */
};

/* Where a check is, for its messages. */
struct place {
    const struct run *r;
    size_t n; /* operations before the cut */
    enum power_loss loss;
    uint64_t seed;
    int depth;
    int from, to; /* states that may be shown */
    const struct place *outer;
};

/* Says what has gone wrong, and where; false. */
static bool trouble(const struct place *p, struct power_disk *d, const char *what, const char *why)
{
    if (p->r->is_silent) return false;
    (void)fprintf(stderr, "%s: %s\n", what, why);
    for (; p != NULL; p = p->outer)
        (void)fprintf(stderr, "seed %llu: cut at operation %zu, loss %d, cut's seed %llu, states %d to %d of %d\n",
                      (unsigned long long)p->r->seed, p->n, (int)p->loss, (unsigned long long)p->seed, p->from, p->to,
                      p->r->n_events);
    power_disk_print(d);
    return false;
}

/* --- a run --------------------------------------------------------------------------------------------------------- */

static void run_open(struct run *r)
{
    struct errmsg em = {{0}};
    r->o.no_compactor = r->is_short || rng_below(&r->rng, 3) == 0;
    r->o.wal.quiet_ms = !r->is_short && rng_below(&r->rng, 2) == 0 ? 1 : 0;
    enum err e = store_open(&r->s, &r->o, &em);
    ck_assert_msg(e == ERR_OK, "seed %llu: open: %s", (unsigned long long)r->seed, em.text);
}

static void run_close(struct run *r)
{
    writes_wait(&r->writes, 0);
    store_close(r->s);
}

static struct event *new_event(struct run *r, enum event_kind kind, int col)
{
    struct event *e = &r->events[r->n_events++];
    *e = (struct event){.kind = kind, .col = col};
    if (kind == EVENT_CREATE || kind == EVENT_RENAME || kind == EVENT_FORK)
        (void)snprintf(e->name, sizeof e->name, "name-%d", r->n_names++);
    return e;
}

static void note_state(struct run *r)
{
    model_apply(&r->model, &r->events[r->n_events - 1]);
    r->states[r->n_events] = model_state(&r->model);
}

/* A document; -1: none. Long ones are rare. */
static int some_document(struct rng *rng)
{
    if (rng_below(rng, 2) == 0) return -1;
    return (int)rng_below(rng, rng_below(rng, 10) == 0 ? DOCUMENTS : LONG_DOCUMENT);
}

static void fill_write(struct rng *rng, struct event *e)
{
    e->batch = (enum batch_kind)(BATCH_ADD + rng_below(rng, 4));
    e->n = 1 + rng_below(rng, e->batch == BATCH_DELETE ? 4 : ROWS_MAX);
    for (uint32_t i = 0; i < e->n; i++) {
        bool is_part = e->batch == BATCH_UPDATE;
        e->changes[i] = (struct change){
            .id = rng_below(rng, N_IDS),
            .vector = is_part && rng_below(rng, 2) == 0 ? 0 : 1 + rng_below(rng, 100000),
            .document = some_document(rng),
            .value = rng_below(rng, 2) == 0 ? -1 : (int)rng_below(rng, 12),
        };
    }
}

/* A live collection of the model, or a place for a new one; -1: there is none. */
static int some_collection(struct run *r, bool is_live)
{
    int list[COLLECTIONS_MAX], n = 0;
    for (int i = 0; i < COLLECTIONS_MAX; i++)
        if (r->model.collections[i].is_live == is_live) list[n++] = i;
    return n > 0 ? list[rng_below(&r->rng, (uint32_t)n)] : -1;
}

static void step_create(struct run *r)
{
    int place = some_collection(r, false);
    if (place < 0) return;
    struct event *e = new_event(r, EVENT_CREATE, place);
    send_change(r->s, &r->writes, NULL, e);
    note_state(r);
}

static void step_change(struct run *r, int col, enum event_kind kind)
{
    int place = some_collection(r, false);
    if (kind == EVENT_FORK && place < 0) return;
    struct event *e = new_event(r, kind, col);
    e->fork = place;
    send_change(r->s, &r->writes, r->model.collections[col].name, e);
    note_state(r);
}

static void step_write(struct run *r, int col)
{
    struct event *e = new_event(r, EVENT_WRITE, col);
    fill_write(&r->rng, e);
    send_write(r->s, &r->writes, r->model.collections[col].name, e);
    note_state(r);
    writes_wait(&r->writes, (int)rng_below(&r->rng, 6));
}

/* Without a compactor its work is done here, on one collection. */
static void step_compact(struct run *r, int col)
{
    if (!r->o.no_compactor) {
        ck_ok(store_compact(r->s, NULL));
        return;
    }
    struct arena a = {0};
    struct segment **list = NULL;
    uint32_t n = 0;
    const struct catalog_collection *c = find_collection(r->s, r->model.collections[col].name);
    ck_ok(live_hold(r->s, live_of(c), NULL));
    ck_ok(flush_collection(r->s, c, NULL));
    ck_ok(collection_fragments(store_collection(c), &a, &list, &n));
    if (n > 1) ck_ok(merge_fragments(r->s, c, list, n, NULL));
    for (uint32_t i = 0; i < n; i++) segment_unref(list[i]);
    live_release(live_of(c));
    if (rng_below(&r->rng, 2) == 0) (void)live_close(live_of(c)); /* it is opened again by whoever wants it */
    catalog_collection_unref(c);
    arena_free(&a);
}

/* The catalog's own log is folded in when it has grown for long: this is what makes it grow. */
static void step_many_names(struct run *r, int col)
{
    while (r->n_events < EVENTS_MAX - STEPS) step_change(r, col, EVENT_RENAME);
}

static void step(struct run *r)
{
    int col = some_collection(r, true);
    uint32_t dice = rng_below(&r->rng, 100);
    if (col >= 0 && r->seed % NAMES_EVERY == 0 && r->n_events == 20) step_many_names(r, col);
    if (col < 0 || dice < 5)
        step_create(r);
    else if (dice < 70)
        step_write(r, col);
    else if (dice < 74)
        step_change(r, col, EVENT_DELETE);
    else if (dice < 78)
        step_change(r, col, EVENT_RENAME);
    else if (dice < 83)
        step_change(r, col, EVENT_FORK);
    else if (dice < 84)
        step_change(r, col, rng_below(&r->rng, 4) == 0 ? EVENT_RESET : EVENT_FORK);
    else if (dice < 92)
        step_compact(r, col);
    else if (dice < 96)
        (void)usleep(3000); /* the log goes quiet, if it is told to after one millisecond; nothing depends on it */
    else {
        run_close(r);
        run_open(r);
    }
}

/* One of each, with nothing in the background: short enough to be cut at every operation. */
static void one_of_each(struct run *r)
{
    step_create(r);
    for (int i = 0; i < 3; i++) {
        int col = some_collection(r, true);
        for (int k = 0; k < 4; k++) step_write(r, col);
        writes_wait(&r->writes, 0);
        step_compact(r, col); /* the second and the third time it merges too */
    }
    step_change(r, some_collection(r, true), EVENT_FORK);
    for (int k = 0; k < 4; k++) step_write(r, some_collection(r, true));
    step_change(r, some_collection(r, true), EVENT_RENAME);
    run_close(r);
    run_open(r);
    step_change(r, some_collection(r, true), EVENT_DELETE);
    step_change(r, some_collection(r, true), EVENT_RESET);
    step_create(r);
    step_write(r, some_collection(r, true));
}

/* Lives on r->disk, which shows r->base, and closes. */
static void run_live(struct run *r, uint64_t seed)
{
    r->seed = seed;
    r->rng.s = seed * 7919;
    r->o = (struct store_options){.path = "/data", .vfs = power_disk_vfs(r->disk), .flush_rows = 24};
    r->o.wal = (struct wal_options){.segment_bytes = 16 << 10, .keep_segments = 2};
    r->n_events = 0;
    r->model = r->base;
    r->states[0] = model_state(&r->model);
    writes_init(&r->writes, r->disk);
    run_open(r);
    if (r->is_short) one_of_each(r);
    for (int i = 0; i < STEPS && !r->is_short; i++) step(r);
    run_close(r);
    tally.n_ops += power_disk_ops(r->disk);
    tally.n_runs++;
}

static void model_at(const struct run *r, int n_events, struct model *m)
{
    *m = r->base;
    for (int i = 0; i < n_events; i++) model_apply(m, &r->events[i]);
}

/* --- a check ------------------------------------------------------------------------------------------------------- */

/* Opens, reads everything, and stays open. False: trouble. */
static bool open_and_read(const struct place *p, struct power_disk *d, struct store **s, uint64_t *state)
{
    struct errmsg em = {{0}};
    struct store_options o = p->r->o;
    o.vfs = power_disk_vfs(d);
    o.no_compactor = p->seed % 4 != 0;
    if (store_open(s, &o, &em) != ERR_OK) return trouble(p, d, "open", em.text);
    if (read_state(*s, state, &em) == ERR_OK) return true;
    store_close(*s);
    return trouble(p, d, "read", em.text);
}

static int find_state(const struct place *p, uint64_t state)
{
    for (int i = p->from; i <= p->to; i++)
        if (p->r->states[i] == state) return i;
    return -1;
}

static void say_difference(const struct place *p, struct store *s, uint64_t state)
{
    static struct model m;
    for (int i = 0; i <= p->r->n_events; i++)
        if (p->r->states[i] == state) (void)fprintf(stderr, "it shows the state after %d events\n", i);
    model_at(p->r, p->from, &m);
    for (int i = 0; i < COLLECTIONS_MAX; i++) {
        if (!m.collections[i].is_live) continue;
        uint64_t one = 0;
        const struct catalog_collection *col = find_collection(s, m.collections[i].name);
        bool is_read = col != NULL && read_collection(s, col, &one, NULL) == ERR_OK;
        bool is_same = is_read && one == model_collection_state(&m.collections[i]);
        (void)fprintf(stderr, "  %s: %s\n", m.collections[i].name,
                      col == NULL ? "is not there" : (is_same ? "as acknowledged" : "other rows"));
        catalog_collection_unref(col);
    }
}

/* One more write, to a collection that the state has or to a new one; the state after it. */
static uint64_t write_more(const struct place *p, struct store *s, struct power_disk *d, int shown)
{
    static struct model m;
    static struct event e;
    struct writes writes;
    struct rng rng = {p->seed + 99};
    int col = -1;
    writes_init(&writes, d);
    model_at(p->r, shown, &m);
    for (int i = 0; i < COLLECTIONS_MAX && col < 0; i++)
        if (m.collections[i].is_live) col = i;
    if (col < 0) {
        col = 0;
        e = (struct event){.kind = EVENT_CREATE, .col = col, .name = "late"};
        send_change(s, &writes, NULL, &e);
        model_apply(&m, &e);
    }
    e = (struct event){.kind = EVENT_WRITE, .col = col};
    fill_write(&rng, &e);
    send_write(s, &writes, m.collections[col].name, &e);
    writes_wait(&writes, 0);
    model_apply(&m, &e);
    return model_state(&m);
}

static bool check(const struct place *p, struct power_disk *d);

static void count_cut(const struct place *p, struct power_disk *cut)
{
    uint64_t sum = power_disk_sum(cut) + p->n * 0x9e3779b97f4a7c15u + p->r->seed;
    size_t at = (size_t)(sum % SEEN_MAX);
    while (tally.seen[at] != 0 && tally.seen[at] != sum) at = (at + 1) % SEEN_MAX;
    if (tally.seen[at] == 0) tally.n_distinct++;
    tally.seen[at] = sum;
    tally.n_cuts++;
    tally.n_by_loss[p->loss]++;
    if (p->outer != NULL) tally.n_recovery++;
}

static bool check_cut(struct power_disk *d, const struct place *p)
{
    struct power_disk *cut = power_disk_cut(d, p->n, p->loss, p->seed);
    count_cut(p, cut);
    bool is_good = check(p, cut);
    power_disk_free(cut);
    return is_good;
}

/* The opening is cut too, at random operations and after it. */
static bool check_recovery(const struct place *p, struct power_disk *d, size_t n_opened, int shown)
{
    struct rng rng = {p->seed * 31 + 7};
    for (int i = 0; i < RECOVERY_CUTS; i++) {
        size_t n = i == 0 ? n_opened : rng_below(&rng, (uint32_t)n_opened + 1);
        struct place inner = {.r = p->r,
                              .n = n,
                              .loss = (enum power_loss)rng_below(&rng, POWER_LOSSES),
                              .seed = rng_next(&rng) >> 40,
                              .depth = p->depth - 1,
                              .from = n == n_opened ? shown : p->from,
                              .to = n == n_opened ? shown : p->to,
                              .outer = p};
        if (!check_cut(d, &inner)) return false;
    }
    return true;
}

static bool check(const struct place *p, struct power_disk *d)
{
    struct store *s = NULL;
    uint64_t state = 0, again = 0;
    if (!open_and_read(p, d, &s, &state)) return false;
    size_t n_opened = power_disk_ops(d);
    int shown = find_state(p, state);
    if (shown < 0) {
        (void)trouble(p, d, "after the cut", "a state that nobody was promised");
        if (!p->r->is_silent) say_difference(p, s, state);
        store_close(s);
        return false;
    }
    state = write_more(p, s, d, shown);
    store_close(s);
    if (!open_and_read(p, d, &s, &again)) return false;
    store_close(s);
    if (again != state) return trouble(p, d, "after a clean stop", "what was written after the cut is not there");
    return p->depth == 0 || check_recovery(p, d, n_opened, shown);
}

/* --- many of them -------------------------------------------------------------------------------------------------- */

/* Events that were acknowledged, and those that had begun, when the disk had done so many operations. */
static void states_at(const struct run *r, struct place *p)
{
    p->from = p->to = 0;
    for (int i = 0; i < r->n_events; i++) {
        if (r->events[i].acked <= p->n) p->from = i + 1;
        if (r->events[i].began < p->n) p->to = i + 1;
    }
    if (p->to < p->from) p->to = p->from;
}

static struct place random_place(const struct run *r, struct rng *rng, int i)
{
    size_t n_ops = power_disk_ops(r->disk);
    struct place p = {.r = r, .n = rng_below(rng, (uint32_t)n_ops + 1), .depth = i % 4 == 0 ? 2 : 0};
    if (i % 2 == 0) /* right before or right after a sync */
        while (p.n < n_ops && !power_disk_is_sync(r->disk, p.n)) p.n++;
    if (i % 4 == 2 && p.n < n_ops) p.n++;
    p.loss = (enum power_loss)rng_below(rng, POWER_LOSSES);
    p.seed = rng_next(rng) >> 40;
    states_at(r, &p);
    return p;
}

static bool cut_run(const struct run *r, int n_cuts)
{
    struct rng rng = {r->seed * 104729};
    for (int i = 0; i < n_cuts; i++) {
        struct place p = random_place(r, &rng, i);
        if (!check_cut(r->disk, &p)) return false;
    }
    return true;
}

/* The next run begins where a cut of this one has left the disk, once it was opened. */
static void go_on_from_a_cut(struct run *r)
{
    struct rng rng = {r->seed * 7907};
    struct store *s = NULL;
    uint64_t state = 0;
    struct place p = random_place(r, &rng, 1);
    struct power_disk *cut = power_disk_cut(r->disk, p.n, p.loss, p.seed);
    ck_assert(open_and_read(&p, cut, &s, &state));
    int shown = find_state(&p, state);
    ck_assert_int_ge(shown, 0);
    store_close(s);
    model_at(r, shown, &r->model);
    r->base = r->model;
    power_disk_free(r->disk);
    r->disk = power_disk_cut(cut, power_disk_ops(cut), POWER_KEEP, 0); /* what it has done is not to be cut again */
    power_disk_free(cut);
}

static void run_begin(struct run *r)
{
    power_disk_free(r->disk);
    *r = (struct run){.disk = power_disk_new()};
}

static void tally_begin(void)
{
    free(tally.seen);
    memset(&tally, 0, sizeof tally);
    tally.seen = calloc(SEEN_MAX, sizeof *tally.seen);
    ck_assert_ptr_nonnull(tally.seen);
}

static long from_environment(const char *name, long otherwise)
{
    const char *text = getenv(name);
    long v = text != NULL ? strtol(text, NULL, 10) : 0;
    return v > 0 ? v : otherwise;
}

START_TEST(what_was_acknowledged_survives_power_cuts)
{
    long seed = from_environment("POWER_SEED", 1), wanted = from_environment("POWER_CUTS", suite_share(CUTS));
    static struct run r;
    logger_set_level(LOG_NONE);
    tally_begin();
    ck_assert_int_lt(wanted, SEEN_MAX / 2);
    for (long i = 0; tally.n_distinct < wanted; i++) {
        if (i % LIVES == 0) {
            run_begin(&r);
            if (i / LIVES % 3 == 1) power_disk_refuse_links(r.disk); /* forks are copied */
        } else {
            go_on_from_a_cut(&r);
        }
        run_live(&r, (uint64_t)(seed + i));
        ck_assert_msg(cut_run(&r, CUTS_A_RUN), "seed %ld: see above", seed + i);
    }
    (void)printf("power: seed %ld, %d distinct cuts of %d, %d of them while recovering from another, in %d runs of %zu "
                 "operations in all\n",
                 seed, tally.n_distinct, tally.n_cuts, tally.n_recovery, tally.n_runs, tally.n_ops);
    for (int i = 0; i < POWER_LOSSES; i++) ck_assert(wanted < 100 || tally.n_by_loss[i] > 0);
    power_disk_free(r.disk);
}
END_TEST

/* A short life, its first opening and its last closing included, cut at each of its operations, in one way each; in every
 * way when more cuts are asked for. */
START_TEST(every_operation_of_a_short_life_may_be_the_last)
{
    static struct run r;
    bool is_thorough = from_environment("POWER_CUTS", 0) > 0;
    logger_set_level(LOG_NONE);
    tally_begin();
    run_begin(&r);
    r.is_short = true;
    run_live(&r, (uint64_t)from_environment("POWER_SEED", 1));
    size_t n_ops = power_disk_ops(r.disk), step = is_thorough ? 1 : (size_t)suite_stride();
    for (int pass = 0; pass < (is_thorough ? POWER_LOSSES : 1); pass++)
        for (size_t n = 0; n <= n_ops; n += step) {
            struct place p = {
                .r = &r, .n = n, .loss = (enum power_loss)((n + (size_t)pass) % POWER_LOSSES), .seed = n + 1};
            states_at(&r, &p);
            p.depth = is_thorough ? 1 : 0;
            ck_assert_msg(check_cut(r.disk, &p), "operation %zu: see above", n);
        }
    (void)printf("power: a life of %zu operations cut at each of them: %d distinct cuts of %d\n", n_ops,
                 tally.n_distinct, tally.n_cuts);
    power_disk_free(r.disk);
}
END_TEST

START_TEST(a_disk_that_does_not_sync_is_noticed)
{
    static const char *const lies[] = {
        "/data/wal/*.log",
        "/data/wal",
        "/data/catalog.sqlite3",
        "/data/catalog.sqlite3-wal",
        "/data",
        "/data/collections/*/*.fragment",
        "/data/collections/*/*.manifest",
        "/data/collections/*",
    };
    static struct run r;
    logger_set_level(LOG_NONE);
    tally_begin();
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        bool is_noticed = false;
        for (uint64_t seed = 1; seed <= LIE_RUNS_MAX && !is_noticed; seed++) {
            run_begin(&r);
            r.is_silent = true;
            power_disk_lie(r.disk, lies[i]);
            run_live(&r, seed);
            is_noticed = !cut_run(&r, CUTS_A_RUN);
        }
        ck_assert_msg(is_noticed, "nothing is noticed when %s is not synced", lies[i]);
    }
    power_disk_free(r.disk);
}
END_TEST

TESTS(power, what_was_acknowledged_survives_power_cuts, every_operation_of_a_short_life_may_be_the_last,
      a_disk_that_does_not_sync_is_noticed)
