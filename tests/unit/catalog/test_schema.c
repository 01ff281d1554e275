/* test_schema.c - which files are taken, which are refused and how, what is in a file, and how migrations run. */
#include "tests/lib/suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalog/catalog.h"
#include "catalog/digest.h"
#include "catalog/schema.h"

static char path[256];

static void new_path(void)
{
    (void)snprintf(path, sizeof path, "%s/catalog.sqlite3", tmp_dir());
}

/* Runs SQL on the file with a connection of the test's own, without the catalog. */
static void outside(const char *script)
{
    sqlite3 *db = NULL;
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_ok(digest_register(db, NULL)); /* the digests follow: what is tested is what else is noticed */
    char *text = NULL;
    int rc = sqlite3_exec(db, script, NULL, NULL, &text);
    ck_assert_msg(rc == SQLITE_OK, "%s: %s", script, text != NULL ? text : "");
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

static void expect_refusal(enum err expected, const char *part_of_text)
{
    struct catalog *c = NULL;
    struct errmsg em = {""};
    enum err e = catalog_open(&c, vfs_posix(), path, &em);
    ck_assert_msg(e == expected, "%s instead of %s: %s", err_text(e), err_text(expected), em.text);
    ck_assert_ptr_null(c);
    ck_assert_msg(strstr(em.text, part_of_text) != NULL, "%s", em.text);
    ck_assert_ptr_nonnull(strstr(em.text, path));
}

static char *slurp(size_t *n)
{
    FILE *f = fopen(path, "rb");
    ck_assert_ptr_nonnull(f);
    char *p = malloc(1 << 20);
    *n = fread(p, 1, 1 << 20, f);
    ck_assert_uint_lt(*n, 1 << 20);
    (void)fclose(f);
    return p;
}

static void expect_refusal_untouched(enum err expected, const char *part_of_text)
{
    size_t n, n_after;
    char *before = slurp(&n);
    expect_refusal(expected, part_of_text);
    char *after = slurp(&n_after);
    ck_assert_uint_eq(n, n_after);
    ck_assert_int_eq(memcmp(before, after, n), 0);
    free(before);
    free(after);
}

static void make_catalog(void)
{
    struct catalog *c = NULL;
    new_path();
    ck_ok(catalog_open(&c, vfs_posix(), path, NULL));
    struct catalog_new_collection in = {
        .tenant = STR("default_tenant"), .database = STR("default_database"), .name = STR("docs")};
    const struct catalog_collection *col = NULL;
    bool is_new;
    ck_ok(catalog_create_collection(c, &in, &col, &is_new, NULL));
    catalog_collection_unref(col);
    catalog_close(c);
}

START_TEST(a_new_file_says_what_it_is)
{
    make_catalog();
    struct sql s;
    char text[64];
    int64_t v = 0;
    ck_ok(sql_open(&s, vfs_posix(), path, NULL));
    ck_ok(sql_get_int(&s, "PRAGMA application_id", &v, NULL));
    ck_assert_int_eq(v, SCHEMA_APPLICATION_ID);
    ck_ok(sql_get_int(&s, "PRAGMA user_version", &v, NULL));
    ck_assert_int_eq(v, (int64_t)schema_n_migrations);
    ck_ok(sql_get_text(&s, "PRAGMA journal_mode", text, sizeof text, NULL));
    ck_assert_str_eq(text, "wal");
    ck_ok(sql_get_text(&s, "PRAGMA integrity_check", text, sizeof text, NULL));
    ck_assert_str_eq(text, "ok");
    ck_assert_int_eq(sql_get_int(&s, "PRAGMA foreign_key_check", &v, NULL), ERR_NOT_FOUND);
    ck_assert_int_eq(sql_get_text(&s, "SELECT 'too long for it'", text, 5, NULL), ERR_TOO_LARGE);
    sql_close(&s);
}
END_TEST

START_TEST(an_empty_file_is_a_new_one)
{
    new_path();
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    (void)fclose(f);
    struct catalog *c = NULL;
    ck_ok(catalog_open(&c, vfs_posix(), path, NULL));
    ck_assert(catalog_has_tenant(c, STR("default_tenant")));
    catalog_close(c);
}
END_TEST

START_TEST(a_newer_schema_is_refused)
{
    char text[64];
    (void)snprintf(text, sizeof text, "PRAGMA user_version = %d", (int)schema_n_migrations);
    make_catalog();
    outside("PRAGMA user_version = 1000");
    expect_refusal_untouched(ERR_NEWER, "schema 1000");
    outside(text);
    struct catalog *c = NULL;
    ck_ok(catalog_open(&c, vfs_posix(), path, NULL));
    catalog_close(c);
}
END_TEST

START_TEST(a_foreign_file_is_refused)
{
    new_path();
    outside("CREATE TABLE embeddings (id INTEGER); INSERT INTO embeddings VALUES (1)");
    expect_refusal_untouched(ERR_CORRUPT, "another program");
    outside("PRAGMA application_id = 77; PRAGMA user_version = 1; PRAGMA journal_mode = WAL");
    expect_refusal_untouched(ERR_CORRUPT, "another program");
    new_path();
    outside("PRAGMA user_version = 3"); /* no tables, but somebody's */
    expect_refusal_untouched(ERR_CORRUPT, "another program");
    make_catalog();
    outside("PRAGMA user_version = 0");
    expect_refusal_untouched(ERR_CORRUPT, "impossible schema number");
    new_path();
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    for (int i = 0; i < 500; i++) (void)fputs("no database at all\n", f);
    (void)fclose(f);
    expect_refusal_untouched(ERR_CORRUPT, "not a database");
}
END_TEST

START_TEST(what_cannot_be_opened)
{
    (void)snprintf(path, sizeof path, "%s", tmp_dir());
    expect_refusal(ERR_IO, "open");
    (void)snprintf(path, sizeof path, "%s/absent/catalog.sqlite3", tmp_dir());
    expect_refusal(ERR_IO, "open");
}
END_TEST

START_TEST(damage_is_found_out)
{
    /* overwrite each page in turn but the first, whose header the other tests cover: whoever reads it must say so */
    make_catalog();
    size_t n;
    char *whole = slurp(&n);
    ck_assert_uint_gt(n, 4096);
    for (size_t at = 4096; at < n; at += 4096) {
        int fd = open(path, O_WRONLY | O_TRUNC);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, whole, n), (ssize_t)n);
        char junk[4096];
        memset(junk, 0xa5, sizeof junk);
        ck_assert_int_eq(pwrite(fd, junk, sizeof junk, (off_t)at), sizeof junk);
        (void)close(fd);
        struct catalog *c = NULL;
        enum err e = catalog_open(&c, vfs_posix(), path, NULL);
        ck_assert_msg(e == ERR_CORRUPT, "page at %d: %s", (int)at, err_text(e));
    }
    free(whole);
}
END_TEST

/* SQLite itself takes no notice of these: its pages have no checksums. */
START_TEST(rows_that_nobody_wrote_are_refused)
{
    static const char *const scripts[] = {
        "UPDATE collections SET name = 'qapers'",
        "UPDATE collections SET space = 2, metadata = x'00'",
        "INSERT INTO versions VALUES (1, 1, 1, 1, 1, 'm', 1, 1)",
        "INSERT INTO tenants VALUES (x'61')",
        "UPDATE counters SET value = value + 64",
        "UPDATE digests SET sum = sum + 1 WHERE name = 'usage'",
        "UPDATE sqlite_sequence SET seq = 0 WHERE name = 'collections'",
        "CREATE INDEX i ON collections (space)",
        "DROP TRIGGER lineage_ends",
    };
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        make_catalog();
        struct sql s;
        ck_ok(sql_open(&s, vfs_posix(), path, NULL));
        /* the tables change, the digests do not */
        ck_assert_int_eq(sqlite3_db_config(s.db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL), SQLITE_OK);
        ck_ok(sql_exec(&s, scripts[i], NULL));
        sql_close(&s);
        expect_refusal(ERR_CORRUPT, "table ");
    }
}
END_TEST

/* Each script on a catalog of its own. */
static void expect_damage(const char *const *scripts, size_t n, const char *part_of_text)
{
    for (size_t i = 0; i < n; i++) {
        make_catalog();
        outside(scripts[i]);
        expect_refusal(ERR_CORRUPT, part_of_text);
    }
}

/* SQLite reads a changed schema as it is; what does not fit it then is damage, not a fault of ours. */
START_TEST(columns_of_other_names_are_damage)
{
    static const char *const scripts[] = {
        "ALTER TABLE digests RENAME COLUMN sum TO sun",
        "ALTER TABLE collections RENAME COLUMN number TO nummer",
    };
    expect_damage(scripts, sizeof scripts / sizeof scripts[0], "no such column");
}
END_TEST

START_TEST(impossible_rows_are_refused)
{
    static const char *const scripts[] = {
        "DELETE FROM databases", /* leaves a collection without one: foreign keys are off here */
        "PRAGMA ignore_check_constraints = ON; UPDATE collections SET id = x'00'",
        "PRAGMA ignore_check_constraints = ON; UPDATE databases SET id = x''",
        "PRAGMA ignore_check_constraints = ON; UPDATE collections SET space = 256",
        "UPDATE collections SET number = -1",
    };
    expect_damage(scripts, sizeof scripts / sizeof scripts[0], "");
}
END_TEST

START_TEST(nobody_else_gets_at_an_open_catalog)
{
    make_catalog();
    struct catalog *c = NULL;
    sqlite3 *db = NULL;
    ck_ok(catalog_open(&c, vfs_posix(), path, NULL));
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "SELECT * FROM databases", NULL, NULL, NULL), SQLITE_BUSY);
    ck_assert_int_eq(sqlite3_exec(db, "DELETE FROM databases", NULL, NULL, NULL), SQLITE_BUSY);
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
    struct catalog_update u = {.name = STR("papers")};
    ck_ok(catalog_update_collection(c, 1, &u, NULL)); /* closing the other one has not taken our log away */
    catalog_close(c);
    outside("UPDATE collections SET name = 'letters'");
    ck_ok(catalog_open(&c, vfs_posix(), path, NULL));
    const struct catalog_collection *col = catalog_collection_by_number(c, 1);
    ck_assert(str_eq(col->name, STR("letters")));
    catalog_collection_unref(col);
    catalog_close(c);
}
END_TEST

START_TEST(a_locked_file_says_so)
{
    make_catalog();
    struct sql a, b;
    struct errmsg em = {""};
    ck_ok(sql_open(&a, vfs_posix(), path, NULL));
    ck_ok(sql_open(&b, vfs_posix(), path, NULL));
    ck_assert_int_eq(sqlite3_busy_timeout(b.db, 0), SQLITE_OK);
    ck_ok(sql_begin(&a, NULL));
    ck_assert_int_eq(sql_begin(&b, &em), ERR_LOCKED);
    ck_assert_ptr_nonnull(strstr(em.text, "BEGIN"));
    ck_assert_ptr_nonnull(strstr(em.text, "in use by another process"));
    sql_rollback(&a);
    ck_assert_int_eq(sql_begin(&b, &em), ERR_LOCKED); /* also between transactions */
    sql_close(&a);
    ck_ok(sql_begin(&b, NULL));
    ck_ok(sql_commit(&b, NULL));
    sql_rollback(&b); /* without a transaction: nothing */
    sql_close(&b);
}
END_TEST

START_TEST(a_full_database_says_so)
{
    make_catalog();
    struct sql s;
    ck_ok(sql_open(&s, vfs_posix(), path, NULL));
    ck_ok(sql_exec(&s, "PRAGMA max_page_count = 1", NULL)); /* raised by SQLite to what there is */
    char big[20000];
    memset(big, 'x', sizeof big);
    const struct sql_value v[] = {sql_blob(big, sizeof big)};
    struct errmsg em = {""};
    ck_assert_int_eq(sql_change(&s, SQL_ADD_TENANT, v, 1, NULL, &em), ERR_NO_SPACE);
    int64_t n = 0;
    ck_ok(sql_get_int(&s, "SELECT count(*) FROM tenants", &n, NULL));
    ck_assert_int_eq(n, 1);
    const struct sql_value small[] = {sql_blob("small", 5)};
    int n_changed = 0;
    ck_ok(sql_change(&s, SQL_ADD_TENANT, small, 1, &n_changed, NULL));
    ck_assert_int_eq(n_changed, 1);
    ck_assert_int_eq(sql_change(&s, SQL_ADD_TENANT, small, 1, NULL, &em), ERR_EXISTS);
    sql_close(&s);
}
END_TEST

START_TEST(migrations_run_one_by_one)
{
    static const struct migration good[] = {
        {1, "CREATE TABLE a (x INTEGER); INSERT INTO a VALUES (1)"},
        {2, "UPDATE a SET x = x + 10"},
        {3, "CREATE TABLE b (y INTEGER); INSERT INTO b SELECT x * 2 FROM a"},
    };
    static const struct migration bad[] = {
        {1, "CREATE TABLE a (x INTEGER); INSERT INTO a VALUES (1)"},
        {2, "UPDATE a SET x = x + 10; INSERT INTO absent VALUES (1)"},
    };
    struct sql s;
    struct errmsg em = {""};
    int64_t v = 0;
    ck_ok(sql_open(&s, vfs_posix(), NULL, NULL));
    ck_assert_int_ne(schema_migrate(&s, 0, bad, 2, &em), ERR_OK);
    ck_assert_ptr_nonnull(strstr(em.text, "migration 2"));
    ck_ok(sql_get_int(&s, "PRAGMA user_version", &v, NULL));
    ck_assert_int_eq(v, 1); /* the first holds, the second left nothing */
    ck_ok(sql_get_int(&s, "SELECT x FROM a", &v, NULL));
    ck_assert_int_eq(v, 1);
    ck_ok(schema_migrate(&s, 1, good, 3, NULL));
    ck_ok(sql_get_int(&s, "PRAGMA user_version", &v, NULL));
    ck_assert_int_eq(v, 3);
    ck_ok(sql_get_int(&s, "SELECT y FROM b", &v, NULL));
    ck_assert_int_eq(v, 22);
    ck_ok(schema_migrate(&s, 3, good, 3, NULL)); /* nothing left to do */
    ck_ok(sql_get_int(&s, "SELECT count(*) FROM b", &v, NULL));
    ck_assert_int_eq(v, 1);
    sql_close(&s);
}
END_TEST

TESTS(schema, a_new_file_says_what_it_is, an_empty_file_is_a_new_one, a_newer_schema_is_refused,
      a_foreign_file_is_refused, what_cannot_be_opened, damage_is_found_out, rows_that_nobody_wrote_are_refused,
      columns_of_other_names_are_damage, impossible_rows_are_refused, nobody_else_gets_at_an_open_catalog,
      a_locked_file_says_so, a_full_database_says_so, migrations_run_one_by_one)
