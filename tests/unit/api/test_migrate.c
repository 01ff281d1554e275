/* test_migrate.c - a migration whose memory is short at one place after the other: it fails with the right error, leaks
 * nothing, leaves a directory that nobody opens by mistake and the source as it was; and the next attempt succeeds.
 */
#include "api/migrate.h"

#include <pthread.h>
#include <stdatomic.h>

#include "api/store.h"
#include "core/epoch.h"
#include "core/logger.h"
#include "core/mem.h"
#include "tests/unit/api/upstream_dir.h"

enum { DIM = 3, N_ROWS = 40 };

static void make_source(const char *dir)
{
    char text[512], id[32];
    struct index_files f;
    sqlite3 *db = make_upstream(dir);
    index_begin(&f, DIM);
    run_sql(db, "INSERT INTO collection_metadata VALUES ('" UPSTREAM_ID "', 'k', 'v', NULL, NULL, NULL)");
    run_sql(db, "UPDATE collections SET dimension = 3");
    for (int i = 0; i < N_ROWS; i++) {
        const float v[DIM] = {(float)i, 1, 2};
        (void)snprintf(id, sizeof id, "r%d", i);
        if (i < N_ROWS / 2)
            index_put(&f, id, v, true);
        else
            put_log(db, i + 1, 0, id, v, DIM, "{\"chroma:document\":\"text\",\"n\":1}");
        (void)snprintf(text, sizeof text,
                       "INSERT INTO embeddings VALUES (%d, 'meta', '%s', %d);"
                       "INSERT INTO embedding_metadata VALUES (%d, 'chroma:document', 'text', NULL, NULL, NULL), "
                       "(%d, 'n', NULL, %d, NULL, NULL);"
                       "INSERT INTO embedding_metadata_array VALUES (%d, 'list', 'a', NULL, NULL, NULL), "
                       "(%d, 'list', 'b', NULL, NULL, NULL)",
                       i, id, i + 1, i, i, i, i, i);
        run_sql(db, text);
    }
    const float late[DIM] = {7, 8, 9};
    put_log(db, N_ROWS + 1, 0, "late", late, DIM, "{\"chroma:uri\":\"u\",\"x\":[1,2]}");
    put_log(db, N_ROWS + 2, 3, "r3", NULL, 0, NULL);
    put_log(db, N_ROWS + 3, 1, "r4", late, DIM, "{\"n\":null,\"chroma:document\":null}");
    put_log(db, N_ROWS + 4, 2, "r5", late, DIM, "{\"chroma:document\":\"new\"}");
    (void)snprintf(text, sizeof text, "INSERT INTO max_seq_id VALUES ('meta', %d), ('vec', %d)", N_ROWS, N_ROWS / 2);
    run_sql(db, text);
    index_write(&f, dir);
    end_upstream(db);
}

struct told {
    int n_problems;
    char last[512];
};

static void tell(void *ctx, enum migrate_line kind, const char *text)
{
    struct told *t = ctx;
    if (kind != MIGRATE_PROBLEM) return;
    t->n_problems++;
    (void)snprintf(t->last, sizeof t->last, "%s", text);
}

static enum err run(const char *from, const char *path, struct told *told, struct errmsg *em)
{
    struct migrate_counts n = {0};
    const struct migrate_options o = {.from = from, .path = path, .tell = tell, .ctx = told};
    *told = (struct told){0};
    enum err e = migrate(&o, &n, em);
    if (e == ERR_OK) ck_assert_uint_eq(n.n_problems, (unsigned)told->n_problems);
    epoch_drain();
    return e;
}

static void check_target(const char *path)
{
    struct store *s;
    const struct store_options o = {.path = path};
    ck_ok(store_open(&s, &o, NULL));
    const struct catalog_collection *col =
        catalog_collection_by_name(store_catalog(s), STR("default_tenant"), STR("default_database"), STR("docs"));
    ck_assert_ptr_nonnull(col);
    char id[UUID_TEXT + 1];
    uuid_format(&col->id, id);
    ck_assert_str_eq(id, UPSTREAM_ID);
    ck_assert_uint_eq(collection_count(store_collection(col)), N_ROWS); /* one more, one less */
    ck_assert_uint_eq(collection_dim(store_collection(col)), DIM);
    ck_assert(str_contains(col->schema, STR("\"list\":{\"string\"")) &&
              str_contains(col->schema, STR("\"x\":{\"int\"")));
    catalog_collection_unref(col);
    store_close(s);
    epoch_drain();
}

START_TEST(brings_tables_index_and_log)
{
    char from[4200], path[4200];
    struct told told;
    logger_set_level(LOG_ERROR);
    (void)snprintf(from, sizeof from, "%s/theirs", tmp_dir());
    (void)snprintf(path, sizeof path, "%s/ours", tmp_dir());
    make_source(from);
    ck_ok(run(from, path, &told, NULL));
    ck_assert_msg(told.n_problems == 0, "%s", told.last);
    check_target(path);
    ck_assert_int_eq(run(from, path, &told, NULL), ERR_EXISTS);
    check_target(path);
}
END_TEST

/* --- memory ---------------------------------------------------------------------------------------------------------- */

struct shortage {
    pthread_t thread; /* only the migration's own allocations: background work tries again by itself */
    atomic_long countdown;
};

static bool may_allocate(void *ctx, size_t size)
{
    struct shortage *s = ctx;
    (void)size;
    if (!pthread_equal(pthread_self(), s->thread)) return true;
    return atomic_fetch_sub(&s->countdown, 1) != 1;
}

static enum err see(void *ctx, struct str name, bool is_dir)
{
    (void)is_dir;
    *(bool *)ctx |= !str_eq(name, STR("LOCK"));
    return ERR_OK;
}

static bool has_anything(const char *path)
{
    bool has = false;
    (void)vfs_posix()->list(vfs_posix()->ctx, path, see, &has, NULL);
    return has;
}

/* Every n-th place where n is small, then ever fewer. A directory that a failure left is used again by the next attempt. */
START_TEST(memory_may_end_anywhere)
{
    char from[4200], path[4200];
    struct told told;
    struct shortage s = {.thread = pthread_self()};
    bool has_fired = true;
    int n_failed = 0, n_borne = 0;
    logger_set_level(LOG_NONE);
    const char *base = tmp_dir();
    (void)snprintf(from, sizeof from, "%s/theirs", base);
    make_source(from);
    for (int n = 1; has_fired; n += 1 + n / 12) {
        struct errmsg em = {{0}};
        struct store *store;
        const struct store_options plain = {.path = path};
        (void)snprintf(path, sizeof path, "%s/ours-%d", base, n_borne);
        atomic_store(&s.countdown, n);
        mem_set_hook(may_allocate, &s);
        enum err e = run(from, path, &told, &em);
        mem_set_hook(NULL, NULL);
        has_fired = atomic_load(&s.countdown) <= 0;
        ck_assert_msg(e == ERR_OK || e == ERR_NOMEM, "allocation %d: %s (%s)", n, err_text(e), em.text);
        n_borne += e == ERR_OK;
        n_failed += e != ERR_OK;
        if (e == ERR_OK || !has_anything(path)) continue;
        ck_assert_msg(store_open(&store, &plain, NULL) == ERR_FORBIDDEN, "allocation %d", n);
        epoch_drain();
    }
    ck_assert_int_gt(n_failed, 20);
    ck_assert_int_gt(n_borne, 0);
    check_target(path); /* of the last one, which nothing disturbed */
}
END_TEST

TESTS(migrate, brings_tables_index_and_log, memory_may_end_anywhere)
