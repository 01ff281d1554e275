/* test_usage.c - rows of what tenants have used, and the quotas of databases and collections. */
#include "tests/lib/suite.h"

#include <stdio.h>

#include "catalog/catalog.h"

#define T STR("default_tenant")
#define D STR("default_database")

struct seen {
    struct catalog_usage rows[8];
    char names[8][16];
    size_t n;
    enum err answer;
};

static enum err see(void *ctx, const struct catalog_usage *row, struct errmsg *em)
{
    struct seen *s = ctx;
    (void)em;
    ck_assert_uint_lt(s->n, 8);
    s->rows[s->n] = *row;
    (void)snprintf(s->names[s->n], sizeof s->names[0], "%.*s", STR_ARG(row->tenant));
    s->n++;
    return s->answer;
}

static struct catalog *open_at(const char *path)
{
    struct catalog *c = NULL;
    struct errmsg em = {{0}};
    ck_assert_msg(catalog_open(&c, vfs_posix(), path, &em) == ERR_OK, "%s", em.text);
    return c;
}

START_TEST(rows_are_replaced_and_outlive_everything)
{
    char path[512];
    struct seen s = {.n = 0};
    ck_assert(vfs_join(path, sizeof path, tmp_dir(), "catalog.sqlite3"));
    struct catalog *c = open_at(path);
    ck_ok(catalog_store_usage(c, NULL, 0, NULL));
    ck_ok(catalog_load_usage(c, see, &s, NULL));
    ck_assert_uint_eq(s.n, 0);
    struct catalog_usage rows[2] = {{STR("acme"), {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}, {STR(""), {UINT64_MAX}}};
    ck_ok(catalog_store_usage(c, rows, 2, NULL));
    rows[0].numbers[11] = 120;
    ck_ok(catalog_store_usage(c, rows, 1, NULL));
    ck_ok(catalog_reset(c, NULL, NULL, NULL));
    catalog_close(c);
    c = open_at(path);
    ck_ok(catalog_load_usage(c, see, &s, NULL));
    ck_assert_uint_eq(s.n, 2);
    size_t acme = strcmp(s.names[0], "acme") == 0 ? 0 : 1;
    ck_assert_str_eq(s.names[acme], "acme");
    ck_assert_str_eq(s.names[1 - acme], "");
    for (uint64_t i = 0; i < 11; i++) ck_assert_uint_eq(s.rows[acme].numbers[i], i + 1);
    ck_assert_uint_eq(s.rows[acme].numbers[11], 120);
    ck_assert_uint_eq(s.rows[1 - acme].numbers[0], INT64_MAX);
    s.n = 0;
    s.answer = ERR_NOMEM;
    ck_assert_int_eq(catalog_load_usage(c, see, &s, NULL), ERR_NOMEM);
    ck_assert_uint_eq(s.n, 1);
    catalog_close(c);
}
END_TEST

static enum err make(struct catalog *c, struct str database, const char *name, uint64_t max)
{
    const struct catalog_collection *col = NULL;
    bool is_new;
    const struct catalog_new_collection in = {
        .tenant = T, .database = database, .name = str_from_c(name), .get_or_create = true, .tenant_max = max};
    enum err e = catalog_create_collection(c, &in, &col, &is_new, NULL);
    if (e == ERR_OK) catalog_collection_unref(col);
    return e;
}

static void expect_counts(struct catalog *c, struct str tenant, uint64_t n_databases, uint64_t n_collections)
{
    struct catalog_counts n = catalog_count_tenant(c, tenant);
    ck_assert_uint_eq(n.n_databases, n_databases);
    ck_assert_uint_eq(n.n_collections, n_collections);
}

START_TEST(quotas_count_what_is_there)
{
    char path[512];
    uint64_t n_used = 0;
    ck_assert(vfs_join(path, sizeof path, tmp_dir(), "catalog.sqlite3"));
    struct catalog *c = open_at(path);
    expect_counts(c, STR("acme"), 0, 0);
    ck_assert(!catalog_knows_tenant(c, STR("acme")));
    ck_ok(catalog_create_database_within(c, STR("acme"), STR("one"), 1, &n_used, NULL));
    ck_assert(catalog_knows_tenant(c, STR("acme")) && !catalog_has_tenant(c, STR("acme")));
    ck_assert_int_eq(catalog_create_database_within(c, STR("acme"), STR("one"), 1, &n_used, NULL), ERR_EXISTS);
    ck_assert_int_eq(catalog_create_database_within(c, STR("acme"), STR("two"), 1, &n_used, NULL), ERR_QUOTA);
    ck_assert_uint_eq(n_used, 2);
    ck_ok(catalog_create_database_within(c, T, STR("two"), 2, &n_used, NULL));
    ck_ok(make(c, D, "a", 2));
    ck_ok(make(c, STR("two"), "b", 2));
    ck_assert_int_eq(make(c, D, "c", 2), ERR_QUOTA);
    ck_ok(make(c, D, "a", 2)); /* it is there */
    catalog_close(c);
    c = open_at(path);
    expect_counts(c, T, 2, 2);
    ck_assert_int_eq(make(c, D, "c", 2), ERR_QUOTA);
    ck_ok(make(c, D, "c", 3));
    ck_ok(catalog_delete_collection(c, T, D, STR("a"), NULL, NULL));
    expect_counts(c, T, 2, 2);
    ck_ok(catalog_delete_database(c, T, D, NULL, NULL, NULL));
    expect_counts(c, T, 1, 1);
    ck_ok(catalog_reset(c, NULL, NULL, NULL));
    expect_counts(c, T, 1, 0);
    ck_assert(!catalog_knows_tenant(c, STR("acme")));
    catalog_close(c);
}
END_TEST

TESTS(usage, rows_are_replaced_and_outlive_everything, quotas_count_what_is_there)
