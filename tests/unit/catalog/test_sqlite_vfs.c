/* test_sqlite_vfs.c - SQLite on a table of files: what it syncs and when, what it is told when the table fails, whose memory
 * it takes. What a power cut leaves of it is api/test_power.c's, what every failing operation does catalog/test_faults.c's.
 */
#include <stdio.h>

#include "tests/lib/power_disk.h"
#include "tests/lib/suite.h"

#include "catalog/catalog.h"
#include "catalog/sql.h"
#include "catalog/sqlite_memory.h"
#include "core/mem.h"

static const char path[] = "/dir/catalog.sqlite3";

static enum err add_tenant(struct catalog *c, const char *name, struct errmsg *em)
{
    return catalog_create_tenant(c, str_from_c(name), em);
}

static enum err keep_name(void *ctx, struct str name, bool is_dir)
{
    char *text = ctx;
    size_t n = strlen(text);
    (void)is_dir;
    (void)snprintf(text + n, 256 - n, STR_FMT " ", STR_ARG(name));
    return ERR_OK;
}

/* --- files in memory ----------------------------------------------------------------------------------------------- */

START_TEST(a_catalog_lives_in_memory_files)
{
    struct vfs *files = NULL;
    struct catalog *c = NULL;
    char names[256] = "";
    ck_ok(vfs_mem_new(&files, NULL));
    ck_ok(files->make_dir(files->ctx, "/dir", NULL));
    for (int i = 0; i < 3; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "t%d", i);
        ck_ok(catalog_open(&c, files, path, NULL));
        ck_ok(add_tenant(c, name, NULL));
        for (int k = 0; k <= i; k++) {
            (void)snprintf(name, sizeof name, "t%d", k);
            ck_assert(catalog_has_tenant(c, str_from_c(name)));
        }
        catalog_close(c);
    }
    ck_ok(files->list(files->ctx, "/dir", keep_name, names, NULL));
    ck_assert_str_eq(names, "catalog.sqlite3 "); /* no log, no journal, no shared memory is left */
    vfs_mem_free(files);
}
END_TEST

START_TEST(a_second_connection_is_kept_out)
{
    struct vfs *files = NULL;
    struct sql a, b;
    struct errmsg em = {{0}};
    int64_t n = 0;
    ck_ok(vfs_mem_new(&files, NULL));
    ck_ok(sql_open(&a, files, path, NULL));
    ck_ok(sql_open(&b, files, path, NULL));
    ck_assert_int_eq(sqlite3_busy_timeout(b.db, 0), SQLITE_OK);
    ck_ok(sql_exec(&a, "CREATE TABLE t (x); INSERT INTO t VALUES (7)", NULL));
    ck_assert_int_eq(sql_get_int(&b, "SELECT x FROM t", &n, &em), ERR_LOCKED);
    ck_assert_ptr_nonnull(strstr(em.text, "in use"));
    sql_close(&a);
    ck_ok(sql_get_int(&b, "SELECT x FROM t", &n, NULL));
    ck_assert_int_eq(n, 7);
    sql_close(&b);
    vfs_mem_free(files);
}
END_TEST

/* Sorting and undoing more than fits into SQLite's buffers asks for no file. */
START_TEST(nothing_temporary_becomes_a_file)
{
    struct vfs *files = NULL;
    struct sql s;
    int64_t n = 0;
    ck_ok(vfs_mem_new(&files, NULL));
    ck_ok(sql_open(&s, files, path, NULL));
    ck_ok(
        sql_exec(&s,
                 "CREATE TABLE t (x UNIQUE); WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < "
                 "20000) INSERT INTO t SELECT hex(randomblob(50)) FROM c",
                 NULL));
    ck_ok(sql_get_int(&s, "SELECT count(*) FROM (SELECT x FROM t ORDER BY substr(x, 9))", &n, NULL));
    ck_assert_int_eq(n, 20000);
    /* a statement that fails after many rows is undone from its own journal */
    ck_assert_int_eq(sql_exec(&s, "BEGIN; UPDATE t SET x = CASE WHEN rowid < 19999 THEN x || 'y' ELSE 'z' END", NULL),
                     ERR_EXISTS);
    ck_ok(sql_exec(&s, "COMMIT", NULL));
    ck_ok(sql_get_int(&s, "SELECT count(*) FROM t WHERE x LIKE '%y'", &n, NULL));
    ck_assert_int_eq(n, 0);
    sql_close(&s);
    vfs_mem_free(files);
}
END_TEST

/* --- durability ---------------------------------------------------------------------------------------------------- */

/* After each acknowledged change nothing that is needed is unsynced: the disk with all else dropped has it. */
START_TEST(what_returns_is_durable)
{
    struct power_disk *d = power_disk_new();
    const struct vfs *files = power_disk_vfs(d);
    struct catalog *c = NULL;
    ck_ok(files->make_dir(files->ctx, "/dir", NULL));
    for (int life = 0; life < 2; life++) { /* the second one makes the log anew beside a file that is there */
        ck_ok(catalog_open(&c, files, path, NULL));
        for (int i = 0; i < 3; i++) {
            struct catalog *after = NULL;
            char name[32];
            (void)snprintf(name, sizeof name, "t%d-%d", life, i);
            ck_ok(add_tenant(c, name, NULL));
            struct power_disk *cut = power_disk_cut(d, power_disk_ops(d), POWER_DROP, 1);
            ck_ok(catalog_open(&after, power_disk_vfs(cut), path, NULL));
            ck_assert(catalog_has_tenant(after, str_from_c(name)));
            catalog_close(after);
            power_disk_free(cut);
        }
        catalog_close(c);
    }
    power_disk_free(d);
}
END_TEST

/* --- failures ------------------------------------------------------------------------------------------------------ */

static struct {
    enum err e; /* what writing and syncing answer; ERR_OK: they work */
} bad;

static enum err bad_pwrite(struct vfs_file *f, const void *p, size_t n, uint64_t at, struct errmsg *em)
{
    return bad.e != ERR_OK ? errmsg_set(em, bad.e, "the disk has fallen off") : vfs_posix()->pwrite(f, p, n, at, em);
}

static enum err bad_remove(void *ctx, const char *name, struct errmsg *em)
{
    (void)ctx;
    return bad.e != ERR_OK ? errmsg_set(em, bad.e, "the disk has fallen off") : vfs_posix()->remove(NULL, name, em);
}

START_TEST(failures_keep_their_kind_and_their_words)
{
    static const enum err kinds[] = {ERR_IO, ERR_NO_SPACE, ERR_NOMEM};
    struct vfs files = *vfs_posix();
    struct catalog *c = NULL;
    char file[256];
    files.pwrite = bad_pwrite;
    files.remove = bad_remove;
    (void)snprintf(file, sizeof file, "%s/catalog.sqlite3", tmp_dir());
    ck_ok(catalog_open(&c, &files, file, NULL));
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct errmsg em = {{0}};
        bad.e = kinds[i];
        ck_assert_int_eq(add_tenant(c, "new", &em), kinds[i]);
        if (kinds[i] != ERR_NOMEM) ck_assert_ptr_nonnull(strstr(em.text, "the disk has fallen off"));
        bad.e = ERR_OK;
        ck_assert(!catalog_has_tenant(c, STR("new")));
    }
    ck_ok(add_tenant(c, "new", NULL));
    bad.e = ERR_IO;
    catalog_close(c); /* cannot be folded in: the next start does it */
    bad.e = ERR_OK;
    ck_ok(catalog_open(&c, &files, file, NULL));
    ck_assert(catalog_has_tenant(c, STR("new")));
    catalog_close(c);
}
END_TEST

START_TEST(a_missing_directory_says_so)
{
    struct catalog *c = NULL;
    struct errmsg em = {{0}};
    ck_assert_int_eq(catalog_open(&c, vfs_posix(), "/nowhere/at/all/catalog.sqlite3", &em), ERR_IO);
    ck_assert_ptr_nonnull(strstr(em.text, "No such file"));
}
END_TEST

/* --- memory -------------------------------------------------------------------------------------------------------- */

static size_t n_counted;

static bool count(void *ctx, size_t size)
{
    (void)ctx, (void)size;
    n_counted++;
    return true;
}

START_TEST(its_memory_is_ours)
{
    struct sql s;
    sqlite_memory_use();
    ck_ok(sql_open(&s, NULL, NULL, NULL));
    mem_set_hook(count, NULL);
    n_counted = 0;
    void *p = sqlite3_malloc(100);
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_eq(n_counted, 1);
    ck_assert_uint_ge(sqlite3_msize(p), 100);
    memset(p, 1, sqlite3_msize(p));
    p = sqlite3_realloc(p, 5000);
    ck_assert_uint_eq(n_counted, 2);
    ck_assert_uint_ge(sqlite3_msize(p), 5000);
    ck_assert_int_eq(((char *)p)[99], 1);
    ck_assert_uint_eq((uintptr_t)p % 8, 0);
    sqlite3_free(p);
    mem_set_hook(NULL, NULL);
    sql_close(&s);
}
END_TEST

TESTS(sqlite_vfs, a_catalog_lives_in_memory_files, a_second_connection_is_kept_out, nothing_temporary_becomes_a_file,
      what_returns_is_durable, failures_keep_their_kind_and_their_words, a_missing_directory_says_so,
      its_memory_is_ours)
