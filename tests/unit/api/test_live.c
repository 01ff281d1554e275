/* test_live.c - collections that are closed and opened again: against the model, beside readers and writers, with damaged
 * files, and when there is not enough room for all of them.
 */
#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include "api/store_internal.h"
#include "catalog/digest.h"
#include "tests/unit/api/store_model.h"

static void settle(struct fixture *f)
{
    (void)pthread_mutex_lock(&live_of(f->col)->flush_mu);
    ck_ok(flush_collection(f->s, f->col, NULL));
    (void)pthread_mutex_unlock(&live_of(f->col)->flush_mu);
}

START_TEST(follows_the_model_through_closings)
{
    struct fixture f;
    setup(&f, 21, tmp_dir());
    int n_closed = 0;
    for (int i = 0; i < 200; i++) {
        step(&f);
        uint32_t dice = rng_below(&f.rng, 8);
        if (dice < 4) settle(&f);
        if (dice == 0) ck_ok(store_compact(f.s, NULL));
        uint64_t n = collection_count(store_collection(f.col));
        if (live_close(live_of(f.col))) {
            n_closed++;
            ck_assert(collection_is_closed(store_collection(f.col)));
            ck_assert_uint_eq(collection_count(store_collection(f.col)), n);
        }
        if (rng_below(&f.rng, 2) == 0) compare(&f); /* or the next write opens it */
    }
    ck_assert_int_gt(n_closed, 20);
    close_store(&f);
    open_store(&f);
    ck_assert(collection_is_closed(store_collection(f.col)) || f.s->n_replayed > 0);
    compare(&f);
    close_store(&f);
}
END_TEST

START_TEST(what_is_not_published_stays_open)
{
    struct fixture f;
    setup(&f, 22, tmp_dir());
    close_store(&f);
    f.o.no_compactor = true;
    open_store(&f);
    step(&f);
    ck_assert(!live_close(live_of(f.col)));
    settle(&f);
    ck_ok(live_hold(f.s, live_of(f.col), NULL));
    ck_assert(!live_close(live_of(f.col)));
    live_release(live_of(f.col));
    ck_assert(live_close(live_of(f.col)));
    ck_assert(!live_close(live_of(f.col))); /* once */
    compare(&f);
    close_store(&f);
}
END_TEST

/* Nothing is read at start but the catalog. */
START_TEST(a_start_opens_nothing)
{
    struct fixture f;
    setup(&f, 23, tmp_dir());
    for (int i = 0; i < 20; i++) step(&f);
    ck_ok(store_compact(f.s, NULL));
    uint64_t bytes = store_file_bytes(f.col), n = collection_count(store_collection(f.col));
    uint32_t dim = collection_dim(store_collection(f.col));
    ck_assert_uint_gt(bytes, 0);
    close_store(&f);
    open_store(&f);
    ck_assert(collection_is_closed(store_collection(f.col)));
    ck_assert_uint_eq(store_file_bytes(f.col), bytes);
    ck_assert_uint_eq(collection_count(store_collection(f.col)), n);
    ck_assert_uint_eq(collection_dim(store_collection(f.col)), dim);
    compare(&f);
    ck_assert(!collection_is_closed(store_collection(f.col)));
    close_store(&f);
}
END_TEST

/* Of a version that an earlier program published the catalog does not say how much is in it. */
START_TEST(versions_without_a_measure_are_opened)
{
    struct fixture f;
    char catalog[4096];
    sqlite3 *db = NULL;
    const char *path = tmp_dir();
    setup(&f, 27, path);
    for (int i = 0; i < 20; i++) step(&f);
    ck_ok(store_compact(f.s, NULL));
    uint64_t bytes = store_file_bytes(f.col);
    close_store(&f);
    (void)snprintf(catalog, sizeof catalog, "%s/catalog.sqlite3", path);
    ck_assert_int_eq(sqlite3_open(catalog, &db), SQLITE_OK);
    ck_ok(digest_register(db, NULL));
    ck_assert_int_eq(sqlite3_exec(db, "UPDATE versions SET n_rows = NULL, file_bytes = NULL", NULL, NULL, NULL),
                     SQLITE_OK);
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
    open_store(&f);
    ck_assert(!collection_is_closed(store_collection(f.col)));
    ck_assert_uint_eq(store_file_bytes(f.col), bytes);
    compare(&f);
    settle(&f);
    ck_assert(live_close(live_of(f.col)));
    compare(&f);
    close_store(&f);
}
END_TEST

/* --- beside readers and writers ------------------------------------------------------------------------------------ */

struct closer {
    struct fixture *f;
    _Atomic bool stop;
    _Atomic int n_closed;
};

static void *close_on(void *arg)
{
    struct closer *c = arg;
    while (!atomic_load(&c->stop)) {
        settle(c->f);
        if (live_close(live_of(c->f->col))) c->n_closed++;
        (void)usleep(500);
    }
    return NULL;
}

static void *read_on(void *arg)
{
    struct closer *c = arg;
    while (!atomic_load(&c->stop)) {
        struct arena a = {0};
        struct snapshot s;
        struct row_ref *rows;
        uint32_t n;
        const struct selection all = {0};
        ck_ok(store_snapshot(c->f->s, c->f->col, &a, &s, NULL));
        ck_ok(exec_get(&s, &all, UINT32_MAX, 0, &a, &rows, &n, NULL));
        for (uint32_t i = 0; i < n; i++) {
            struct row row = {0};
            ck_ok(exec_row(&s, rows[i], ROW_ALL, &a, &row, NULL));
            ck_assert_uint_lt(id_number(row.id), N_IDS);
        }
        snapshot_end(&s);
        arena_free(&a);
    }
    return NULL;
}

START_TEST(closing_amid_readers_and_writers)
{
    struct fixture f;
    pthread_t threads[3];
    setup(&f, 24, tmp_dir());
    for (int i = 0; i < 10; i++) step(&f);
    struct closer c = {.f = &f};
    ck_assert_int_eq(pthread_create(&threads[0], NULL, close_on, &c), 0);
    for (int i = 1; i < 3; i++) ck_assert_int_eq(pthread_create(&threads[i], NULL, read_on, &c), 0);
    for (int i = 0; i < 150; i++) {
        step(&f);
        if (i % 10 != 0) continue;
        compare(&f);
        for (int before = c.n_closed; c.n_closed == before;)
            (void)usleep(200); /* sometimes there is nothing to write */
    }
    atomic_store(&c.stop, true);
    for (int i = 0; i < 3; i++) ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_int_gt(c.n_closed, 0);
    compare(&f);
    close_store(&f);
    open_store(&f);
    compare(&f);
    close_store(&f);
}
END_TEST

/* --- damage -------------------------------------------------------------------------------------------------------- */

static const struct catalog_collection *second_collection(struct fixture *f)
{
    const struct catalog_collection *col = NULL;
    const struct catalog_new_collection in = {
        .tenant = STR("default_tenant"),
        .database = STR("default_database"),
        .name = STR("other"),
        .configuration = STR("{}"),
        .schema = STR("{}"),
        .space = SPACE_L2,
    };
    ck_ok(store_create_collection(f->s, &in, &col, NULL));
    return col;
}

/* Writes over the first byte of every fragment of the collection. */
static enum err spoil(void *ctx, struct str name, bool is_dir)
{
    char path[STORE_PATH_MAX + 256];
    if (is_dir || name.n < 9 || memcmp(name.p + name.n - 9, ".fragment", 9) != 0) return ERR_OK;
    (void)snprintf(path, sizeof path, "%s/" STR_FMT, (const char *)ctx, STR_ARG(name));
    int fd = open(path, O_RDWR | O_CLOEXEC);
    char c;
    ck_assert(fd >= 0 && pread(fd, &c, 1, 0) == 1);
    c ^= 0x20;
    ck_assert_int_eq(pwrite(fd, &c, 1, 0), 1);
    (void)close(fd);
    return ERR_OK;
}

/* `has_tail`: the log has writes for the damaged collection. */
static void damage_stops_one(bool has_tail)
{
    struct fixture f;
    char dir[STORE_PATH_MAX];
    struct arena a = {0};
    struct snapshot s;
    struct errmsg em = {{0}};
    setup(&f, 25, tmp_dir());
    logger_set_level(LOG_NONE);
    for (int i = 0; i < 20; i++) step(&f);
    ck_ok(store_compact(f.s, NULL));
    catalog_collection_unref(second_collection(&f));
    close_store(&f);
    f.o.no_compactor = true;
    open_store(&f);
    if (has_tail) step(&f);
    uint64_t n = collection_count(store_collection(f.col));
    store_collection_dir(f.s, f.col->number, dir);
    close_store(&f);
    ck_ok(vfs_posix()->list(NULL, dir, spoil, dir, NULL));

    f.o.no_compactor = false;
    open_store(&f);
    ck_assert_int_eq(store_snapshot(f.s, f.col, &a, &s, &em), ERR_CORRUPT);
    ck_assert_str_ne(em.text, "");
    struct bytes block;
    const struct str id = STR("id-1");
    const struct batch_input in = {.kind = BATCH_DELETE, .n_rows = 1, .ids = &id};
    ck_ok(batch_build(&in, &block, NULL));
    struct waiter wait = {.w = {.collection = f.col, .block = block, .done = on_done}};
    ck_assert_int_eq(store_submit(f.s, &wait.w), has_tail ? ERR_READ_ONLY : ERR_CORRUPT);
    mem_free((void *)(uintptr_t)block.p);
    /* the other one goes on, and what it does must not cost the first one its log */
    struct fixture g = f;
    static struct record records[N_IDS];
    memset(records, 0, sizeof records);
    g.model = records;
    g.next_order = 0;
    g.col =
        catalog_collection_by_name(store_catalog(f.s), STR("default_tenant"), STR("default_database"), STR("other"));
    for (int i = 0; i < 20; i++) step(&g);
    compare(&g);
    ck_ok(store_compact(f.s, NULL));
    catalog_collection_unref(g.col);
    close_store(&f);
    ck_ok(vfs_posix()->list(NULL, dir, spoil, dir, NULL)); /* the same bit again: repaired */
    open_store(&f);
    compare(&f);
    ck_assert_uint_eq(collection_count(store_collection(f.col)), n);
    step(&f);
    compare(&f);
    close_store(&f);
    arena_free(&a);
}

START_TEST(damage_stops_one_collection)
{
    damage_stops_one(false);
    damage_stops_one(true);
}
END_TEST

/* --- room ---------------------------------------------------------------------------------------------------------- */

enum { N_MANY = 12 };

START_TEST(the_budget_closes_what_is_used_least)
{
    struct fixture f;
    struct store_stats stats;
    const struct catalog_collection *cols[N_MANY];
    setup(&f, 26, tmp_dir());
    for (int i = 0; i < 20; i++) step(&f);
    ck_ok(store_compact(f.s, NULL));
    for (int i = 0; i < N_MANY; i++) {
        char name[24];
        ck_ok(store_fork_collection(f.s, f.col, str_of(name, (size_t)sprintf(name, "fork-%d", i)), &cols[i], NULL));
    }
    uint64_t each = store_file_bytes(f.col);
    for (int i = 0; i < N_MANY; i++) catalog_collection_unref(cols[i]);
    close_store(&f);
    f.o.memory_budget = each * 4; /* three quarters of it are for files: three collections */
    open_store(&f);
    ck_ok(store_stats(f.s, NULL, NULL, &stats));
    ck_assert_uint_eq(stats.sizes.n_open, 0);
    ck_assert_uint_eq(stats.sizes.file_bytes, each * (N_MANY + 1));
    const struct catalog_collection *own = f.col;
    for (int i = 0; i < N_MANY; i++) {
        char name[24];
        f.col = catalog_collection_by_name(store_catalog(f.s), STR("default_tenant"), STR("default_database"),
                                           str_of(name, (size_t)sprintf(name, "fork-%d", i)));
        compare(&f);
        catalog_collection_unref(f.col);
    }
    f.col = own;
    for (int n = 0; n < 30000; n++) { /* until those that were used within a second may go */
        ck_ok(store_stats(f.s, NULL, NULL, &stats));
        if (stats.sizes.mapped_bytes <= each * 3) break;
        (void)usleep(10000);
    }
    ck_assert_uint_le(stats.sizes.n_open, 3);
    compare(&f);
    close_store(&f);
}
END_TEST

TESTS(live, follows_the_model_through_closings, what_is_not_published_stays_open, a_start_opens_nothing,
      versions_without_a_measure_are_opened, closing_amid_readers_and_writers, damage_stops_one_collection,
      the_budget_closes_what_is_used_least)
