/* test_forks.c - what a fork takes over, what it says no to, how forks are counted, and a catalog of before forks. */
#include "tests/lib/suite.h"

#include <stdatomic.h>
#include <stdio.h>

#include "catalog/catalog.h"
#include "catalog/schema.h"

#define T STR("default_tenant")
#define D STR("default_database")

static char path[256];
static int n_runtimes; /* alive */

static struct catalog *open_file(void)
{
    struct catalog *c = NULL;
    struct errmsg em = {""};
    enum err e = catalog_open(&c, vfs_posix(), path, &em);
    ck_assert_msg(e == ERR_OK, "%s", em.text);
    return c;
}

static struct catalog *fresh(void)
{
    (void)snprintf(path, sizeof path, "%s/catalog.sqlite3", tmp_dir());
    n_runtimes = 0;
    return open_file();
}

static struct catalog *reopen(struct catalog *c)
{
    catalog_close(c);
    return open_file();
}

static uint64_t make_in(struct catalog *c, const char *database, const char *name)
{
    const struct catalog_new_collection in = {.tenant = T,
                                              .database = str_from_c(database),
                                              .name = str_from_c(name),
                                              .configuration = STR("{\"c\":1}"),
                                              .schema = STR("{\"s\":2}"),
                                              .metadata = {"\0m\xff", 3},
                                              .space = 2};
    const struct catalog_collection *col = NULL;
    bool is_new = false;
    ck_ok(catalog_create_collection(c, &in, &col, &is_new, NULL));
    uint64_t number = col->number;
    catalog_collection_unref(col);
    return number;
}

static uint64_t make(struct catalog *c, const char *name)
{
    return make_in(c, "default_database", name);
}

static void free_runtime(struct catalog_runtime *r)
{
    n_runtimes--;
    free(r);
}

/* With a number of its own. */
static enum err try_fork(struct catalog *c, uint64_t source, const char *name, const struct catalog_version *version,
                         const struct catalog_collection **col)
{
    struct catalog_runtime *runtime = calloc(1, sizeof *runtime);
    ck_assert_ptr_nonnull(runtime);
    runtime->free_runtime = free_runtime;
    n_runtimes++;
    struct catalog_version v;
    struct catalog_fork in = {.source = source, .name = str_from_c(name), .runtime = runtime};
    ck_ok(catalog_reserve_number(c, &in.number, NULL));
    if (version != NULL) {
        v = *version;
        v.number = in.number;
        in.version = &v;
    }
    enum err e = catalog_fork_collection(c, &in, col, NULL);
    if (e == ERR_OK) {
        ck_assert_uint_eq((*col)->number, in.number);
        ck_assert_ptr_eq(atomic_load(&(*col)->runtime), runtime);
    }
    return e;
}

static uint64_t fork_of(struct catalog *c, uint64_t source, const char *name)
{
    const struct catalog_collection *col = NULL;
    ck_ok(try_fork(c, source, name, NULL, &col));
    uint64_t number = col->number;
    catalog_collection_unref(col);
    return number;
}

static void drop(struct catalog *c, const char *name)
{
    ck_ok(catalog_delete_collection(c, T, D, str_from_c(name), NULL, NULL));
}

static void expect_count(struct catalog *c, uint64_t number, uint64_t expected)
{
    uint64_t n = 1000;
    ck_ok(catalog_count_forks(c, number, &n, NULL));
    ck_assert_uint_eq(n, expected);
}

/* Rows of the table of lineages, seen from outside. */
static int64_t n_lineages(void)
{
    struct sql s;
    int64_t n = -1;
    ck_ok(sql_open(&s, vfs_posix(), path, NULL));
    ck_ok(sql_get_int(&s, "SELECT count(*) FROM lineages", &n, NULL));
    sql_close(&s);
    return n;
}

START_TEST(a_fork_has_what_its_source_has)
{
    struct catalog *c = fresh();
    struct arena a = {0};
    const struct catalog_collection *col = NULL;
    uint64_t source = make(c, "docs");
    struct catalog_update u = {.configuration = STR("{\"c\":9}")};
    ck_ok(catalog_update_collection(c, source, &u, NULL)); /* what it has now */
    const struct catalog_version v = {0, 1, 44, 7, 3, STR("0000000001.manifest")};
    ck_ok(try_fork(c, source, "copy", &v, &col));
    ck_assert_uint_gt(col->number, source);
    for (int i = 0; i < 2; i++) {
        struct catalog_version found = {0};
        ck_assert(str_eq(col->name, STR("copy")) && str_eq(col->tenant, T) && str_eq(col->database, D));
        ck_assert(str_eq(col->configuration, STR("{\"c\":9}")) && str_eq(col->schema, STR("{\"s\":2}")));
        ck_assert_uint_eq(col->metadata.n, 3);
        ck_assert_mem_eq(col->metadata.p, "\0m\xff", 3);
        ck_assert_uint_eq(col->space, 2);
        ck_ok(catalog_get_version(c, col->number, &a, &found, NULL));
        ck_assert_uint_eq(found.version, 1);
        ck_assert_uint_eq(found.log_position, 44);
        ck_assert_uint_eq(found.next_ordinal, 7);
        ck_assert_uint_eq(found.dimension, 3);
        ck_assert(str_eq(found.manifest, v.manifest));
        ck_ok(catalog_get_version(c, source, &a, &found, NULL));
        ck_assert_uint_eq(found.version, 0);
        struct uuid id = col->id;
        catalog_collection_unref(col);
        if (i == 0) c = reopen(c);
        col = catalog_collection_by_id(c, T, D, &id);
        ck_assert_ptr_nonnull(col);
    }
    u = (struct catalog_update){.name = STR("renamed"), .set_metadata = true};
    ck_ok(catalog_update_collection(c, col->number, &u, NULL)); /* the source's stay */
    catalog_collection_unref(col);
    col = catalog_collection_by_number(c, source);
    ck_assert(str_eq(col->name, STR("docs")) && col->metadata.n == 3);
    catalog_collection_unref(col);
    catalog_close(c);
    arena_free(&a);
    ck_assert_int_eq(n_runtimes, 0);
}
END_TEST

START_TEST(forks_that_cannot_be)
{
    struct catalog *c = fresh();
    const struct catalog_collection *col = NULL;
    uint64_t reserved;
    struct errmsg em = {""};
    ck_assert_int_eq(catalog_reserve_number(c, &reserved, &em), ERR_CORRUPT); /* nothing can be forked yet */
    ck_assert_ptr_nonnull(strstr(em.text, "reserve a number"));
    uint64_t source = make(c, "docs");
    ck_assert_int_eq(try_fork(c, source, "docs", NULL, &col), ERR_EXISTS);
    ck_assert_int_eq(try_fork(c, source + 100, "copy", NULL, &col), ERR_NOT_FOUND);
    const struct catalog_version too_high = {0, 1, UINT64_MAX, 0, 0, STR("m")};
    ck_assert_int_eq(try_fork(c, source, "copy", &too_high, &col), ERR_INVALID);
    ck_assert_ptr_null(col);
    ck_assert_int_eq(n_runtimes, 0); /* they were taken over all the same */
    expect_count(c, source, 0);
    ck_assert_int_eq(catalog_count_forks(c, source + 100, &reserved, NULL), ERR_NOT_FOUND);
    ck_assert_uint_eq(catalog_count_collections(c, T, D), 1);
    catalog_close(c);
    ck_assert_int_eq(n_lineages(), 0);
}
END_TEST

START_TEST(reserved_numbers_are_nobody_elses)
{
    struct catalog *c = fresh();
    uint64_t a = make(c, "a"), r1 = 0, r2 = 0;
    ck_ok(catalog_reserve_number(c, &r1, NULL));
    uint64_t b = make(c, "b");
    ck_ok(catalog_reserve_number(c, &r2, NULL));
    ck_assert(a < r1 && r1 < b && b < r2);
    c = reopen(c);
    ck_assert_uint_gt(make(c, "c"), r2);
    ck_ok(catalog_reset(c, NULL, NULL, NULL));
    uint64_t d = make(c, "d");
    ck_ok(catalog_reserve_number(c, &r1, NULL));
    ck_assert(d > r2 + 1 && r1 > d);
    catalog_close(c);
}
END_TEST

START_TEST(a_tree_counts_all_its_forks)
{
    struct catalog *c = fresh();
    uint64_t root = make(c, "root"), other = make(c, "other");
    expect_count(c, root, 0);
    uint64_t a = fork_of(c, root, "a");
    expect_count(c, root, 1);
    expect_count(c, a, 1);
    uint64_t b = fork_of(c, a, "b"), d = fork_of(c, root, "d");
    uint64_t x = fork_of(c, other, "x");
    const uint64_t tree[] = {root, a, b, d};
    for (int i = 0; i < 4; i++) expect_count(c, tree[i], 3);
    expect_count(c, other, 1);
    drop(c, "a"); /* deleted ones are counted still */
    expect_count(c, b, 3);
    c = reopen(c);
    drop(c, "root");
    expect_count(c, b, 3);
    expect_count(c, d, 3);
    uint64_t e = fork_of(c, b, "e"); /* the tree outlives its root */
    expect_count(c, d, 4);
    expect_count(c, e, 4);
    uint64_t again = make(c, "root"); /* the name begins a tree of its own */
    expect_count(c, again, 0);
    c = reopen(c);
    expect_count(c, e, 4);
    expect_count(c, x, 1);
    drop(c, "b");
    drop(c, "d");
    drop(c, "e");
    catalog_close(c);
    ck_assert_int_eq(n_lineages(), 1); /* nobody is left to ask for the other */
    c = open_file();
    drop(c, "other");
    expect_count(c, x, 1);
    drop(c, "x");
    catalog_close(c);
    ck_assert_int_eq(n_lineages(), 0);
    ck_assert_int_eq(n_runtimes, 0);
}
END_TEST

START_TEST(databases_take_their_trees_along)
{
    struct catalog *c = fresh();
    ck_ok(catalog_create_database(c, T, STR("second"), NULL));
    uint64_t in_second = make_in(c, "second", "docs"), here = make(c, "docs");
    for (int i = 0; i < 5; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "f%d", i);
        (void)fork_of(c, in_second, name);
        if (i < 2) (void)fork_of(c, here, name);
    }
    const struct catalog_collection *col = catalog_collection_by_name(c, T, STR("second"), STR("f4"));
    ck_assert_ptr_nonnull(col);
    expect_count(c, col->number, 5);
    catalog_collection_unref(col);
    ck_ok(catalog_delete_database(c, T, STR("second"), NULL, NULL, NULL));
    catalog_close(c);
    ck_assert_int_eq(n_lineages(), 1);
    c = open_file();
    expect_count(c, here, 2);
    ck_ok(catalog_reset(c, NULL, NULL, NULL));
    catalog_close(c);
    ck_assert_int_eq(n_lineages(), 0);
    ck_assert_int_eq(n_runtimes, 0);
}
END_TEST

/* A file as the first release left it. */
START_TEST(a_catalog_without_forks_is_brought_up)
{
    struct sql s;
    struct arena a = {0};
    struct catalog_version v = {0};
    (void)snprintf(path, sizeof path, "%s/catalog.sqlite3", tmp_dir());
    ck_ok(sql_open(&s, vfs_posix(), path, NULL));
    ck_ok(schema_migrate(&s, 0, schema_migrations, 1, NULL));
    ck_ok(sql_exec(&s,
                   "INSERT INTO collections (id, database, name, space, configuration) "
                   "SELECT randomblob(16), number, 'gone', 0, '{}' FROM databases;"
                   "DELETE FROM collections;"
                   "INSERT INTO collections (id, database, name, space, configuration) "
                   "SELECT randomblob(16), number, 'docs', 1, '{}' FROM databases;"
                   "INSERT INTO versions VALUES (2, 5, 60, 7, 8, 'm5');",
                   NULL));
    sql_close(&s);
    struct catalog *c = open_file();
    const struct catalog_collection *col = catalog_collection_by_name(c, T, D, STR("docs"));
    ck_assert_ptr_nonnull(col);
    ck_assert_uint_eq(col->number, 2);
    ck_assert_uint_eq(col->space, 1);
    catalog_collection_unref(col);
    ck_ok(catalog_get_version(c, 2, &a, &v, NULL));
    ck_assert_uint_eq(v.log_position, 60);
    expect_count(c, 2, 0);
    uint64_t fork = fork_of(c, 2, "copy");
    ck_assert_uint_eq(fork, 3);
    c = reopen(c);
    expect_count(c, fork, 1);
    catalog_close(c);
    int64_t number = 0;
    ck_ok(sql_open(&s, vfs_posix(), path, NULL));
    ck_ok(sql_get_int(&s, "PRAGMA user_version", &number, NULL));
    ck_assert_int_eq(number, (int64_t)schema_n_migrations);
    sql_close(&s);
    arena_free(&a);
}
END_TEST

TESTS(forks, a_fork_has_what_its_source_has, forks_that_cannot_be, reserved_numbers_are_nobody_elses,
      a_tree_counts_all_its_forks, databases_take_their_trees_along, a_catalog_without_forks_is_brought_up)
