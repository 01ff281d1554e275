/* test_catalog.c - every function of catalog.h once for what it does and once for each way it says no; what is there
 * after the file was closed and opened again. */
#include "tests/lib/suite.h"

#include <stdatomic.h>
#include <stdio.h>

#include "catalog/catalog.h"
#include "core/mem.h"

#define T STR("default_tenant")
#define D STR("default_database")

static char path[256];

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
    return open_file();
}

static struct catalog *reopen(struct catalog *c)
{
    catalog_close(c);
    return open_file();
}

static struct catalog_new_collection plan(const char *name)
{
    return (struct catalog_new_collection){.tenant = T,
                                           .database = D,
                                           .name = str_from_c(name),
                                           .configuration = STR("{\"hnsw\":1}"),
                                           .schema = STR("{\"keys\":2}"),
                                           .metadata = {"\0m\xff", 3},
                                           .space = 2};
}

static const struct catalog_collection *make(struct catalog *c, const char *name)
{
    struct catalog_new_collection in = plan(name);
    const struct catalog_collection *col = NULL;
    bool is_new = false;
    ck_ok(catalog_create_collection(c, &in, &col, &is_new, NULL));
    ck_assert(is_new);
    return col;
}

static uint64_t make_number(struct catalog *c, const char *name)
{
    const struct catalog_collection *col = make(c, name);
    uint64_t number = col->number;
    catalog_collection_unref(col);
    return number;
}

static bool exists(struct catalog *c, const char *name)
{
    const struct catalog_collection *col = catalog_collection_by_name(c, T, D, str_from_c(name));
    catalog_collection_unref(col);
    return col != NULL;
}

START_TEST(fresh_has_defaults)
{
    struct catalog *c = fresh();
    struct uuid id = uuid_new();
    const struct uuid zeros = {{0}};
    ck_assert(catalog_has_tenant(c, T));
    ck_assert(!catalog_has_tenant(c, STR("default_tenan")));
    ck_ok(catalog_get_database(c, T, D, &id));
    ck_assert(uuid_eq(&id, &zeros));
    ck_assert_uint_eq(catalog_count_collections(c, T, D), 0);
    catalog_close(c);
    catalog_close(NULL);
}
END_TEST

START_TEST(tenants_are_bytes)
{
    struct catalog *c = fresh();
    const struct str names[] = {STR("acme"), STR("ac\0me"), STR("ac\0mE"), STR(""), STR("\xff\xfe"), STR("ACME")};
    enum { N = sizeof names / sizeof names[0] };
    for (size_t i = 0; i < N; i++) ck_ok(catalog_create_tenant(c, names[i], NULL));
    for (int round = 0; round < 2; round++) {
        struct errmsg em = {""};
        for (size_t i = 0; i < N; i++) {
            ck_assert(catalog_has_tenant(c, names[i]));
            ck_assert_int_eq(catalog_create_tenant(c, names[i], &em), ERR_EXISTS);
        }
        ck_assert_str_ne(em.text, "");
        ck_assert(!catalog_has_tenant(c, STR("ac")));
        ck_assert(!catalog_has_tenant(c, STR("ac\0")));
        c = reopen(c);
    }
    catalog_close(c);
}
END_TEST

START_TEST(databases_need_no_tenant)
{
    struct catalog *c = fresh();
    const struct str ghost = STR("gh\0st");
    ck_ok(catalog_create_database(c, ghost, STR("db"), NULL));
    ck_assert(!catalog_has_tenant(c, ghost));
    ck_assert_int_eq(catalog_create_database(c, ghost, STR("db"), NULL), ERR_EXISTS);
    ck_ok(catalog_create_database(c, T, STR("db"), NULL)); /* the same name in another tenant */
    struct uuid a, b, again;
    ck_ok(catalog_get_database(c, ghost, STR("db"), &a));
    ck_ok(catalog_get_database(c, T, STR("db"), &b));
    ck_assert(!uuid_eq(&a, &b));
    ck_assert_int_eq(a.b[6] >> 4, 4);
    ck_assert_int_eq(catalog_get_database(c, STR("gh"), STR("db"), &again), ERR_NOT_FOUND);
    c = reopen(c);
    ck_assert(!catalog_has_tenant(c, ghost));
    ck_ok(catalog_get_database(c, ghost, STR("db"), &again));
    ck_assert(uuid_eq(&a, &again));
    ck_ok(catalog_create_tenant(c, ghost, NULL)); /* making it later is no conflict */
    ck_ok(catalog_delete_database(c, ghost, STR("db"), NULL, NULL, NULL));
    ck_assert_int_eq(catalog_delete_database(c, ghost, STR("db"), NULL, NULL, NULL), ERR_NOT_FOUND);
    ck_assert(catalog_has_tenant(c, ghost));
    ck_ok(catalog_get_database(c, T, STR("db"), NULL));
    catalog_close(c);
}
END_TEST

START_TEST(default_database_gets_a_random_id_when_made_again)
{
    struct catalog *c = fresh();
    const struct uuid zeros = {{0}};
    struct uuid id = zeros, again;
    ck_ok(catalog_delete_database(c, T, D, NULL, NULL, NULL));
    c = reopen(c);
    ck_assert_int_eq(catalog_get_database(c, T, D, &id), ERR_NOT_FOUND);
    ck_assert(uuid_eq(&id, &zeros));
    ck_ok(catalog_create_database(c, T, D, NULL));
    ck_ok(catalog_get_database(c, T, D, &id));
    ck_assert(!uuid_eq(&id, &zeros));
    c = reopen(c);
    ck_ok(catalog_get_database(c, T, D, &again));
    ck_assert(uuid_eq(&id, &again));
    catalog_close(c);
}
END_TEST

static void expect_databases(struct catalog *c, struct str tenant, uint32_t limit, uint32_t offset, const char *names)
{
    struct arena a = {0};
    struct catalog_database *list = NULL;
    size_t n = 99;
    ck_ok(catalog_list_databases(c, tenant, limit, offset, &a, &list, &n));
    char got[256] = "";
    for (size_t i = 0; i < n; i++) {
        ck_assert(str_eq(list[i].tenant, tenant));
        struct uuid id;
        ck_ok(catalog_get_database(c, tenant, list[i].name, &id));
        ck_assert(uuid_eq(&id, &list[i].id));
        strncat(got, list[i].name.p, sizeof got - strlen(got) - 2);
        strcat(got, " ");
    }
    ck_assert_str_eq(got, names);
    arena_free(&a);
}

START_TEST(databases_are_listed_in_byte_order)
{
    struct catalog *c = fresh();
    ck_ok(catalog_create_database(c, T, STR("adb"), NULL));
    ck_ok(catalog_create_database(c, T, STR("Zdb"), NULL));
    ck_ok(catalog_create_database(c, T, STR("ad"), NULL));
    ck_ok(catalog_create_database(c, STR("other"), STR("xyz"), NULL));
    expect_databases(c, T, UINT32_MAX, 0, "Zdb ad adb default_database ");
    expect_databases(c, T, 2, 1, "ad adb ");
    expect_databases(c, T, 0, 0, "");
    expect_databases(c, T, UINT32_MAX, 4, "");
    expect_databases(c, T, UINT32_MAX, UINT32_MAX, "");
    expect_databases(c, STR("other"), UINT32_MAX, 0, "xyz ");
    expect_databases(c, STR("absent"), UINT32_MAX, 0, "");
    catalog_close(c);
}
END_TEST

static void expect_whole(const struct catalog_collection *col, uint64_t number, const struct uuid *id)
{
    ck_assert_ptr_nonnull(col);
    ck_assert_uint_eq(col->number, number);
    ck_assert(uuid_eq(&col->id, id));
    ck_assert(str_eq(col->tenant, T) && col->tenant.p[T.n] == '\0');
    ck_assert(str_eq(col->database, D) && col->database.p[D.n] == '\0');
    ck_assert(str_eq(col->name, STR("docs")) && col->name.p[4] == '\0');
    ck_assert_str_eq(col->configuration.p, "{\"hnsw\":1}");
    ck_assert_str_eq(col->schema.p, "{\"keys\":2}");
    ck_assert_uint_eq(col->metadata.n, 3);
    ck_assert_int_eq(memcmp(col->metadata.p, "\0m\xff", 3), 0);
    ck_assert_uint_eq(col->space, 2);
}

START_TEST(collections_are_found_and_kept)
{
    struct catalog *c = fresh();
    const struct catalog_collection *col = make(c, "docs"), *found;
    uint64_t number = col->number;
    struct uuid id = col->id;
    ck_assert_uint_gt(number, 0);
    ck_assert_int_eq(id.b[6] >> 4, 4);
    catalog_collection_unref(col);
    for (int round = 0; round < 2; round++) {
        found = catalog_collection_by_name(c, T, D, STR("docs"));
        expect_whole(found, number, &id);
        ck_assert_ptr_null(found->runtime);
        catalog_collection_unref(found);
        found = catalog_collection_by_id(c, T, D, &id);
        expect_whole(found, number, &id);
        catalog_collection_unref(found);
        found = catalog_collection_by_number(c, number);
        expect_whole(found, number, &id);
        catalog_collection_unref(found);
        ck_assert_ptr_null(catalog_collection_by_name(c, T, D, STR("doc")));
        ck_assert_ptr_null(catalog_collection_by_name(c, T, STR("x"), STR("docs")));
        ck_assert_ptr_null(catalog_collection_by_name(c, STR("x"), D, STR("docs")));
        ck_assert_ptr_null(catalog_collection_by_id(c, STR("x"), D, &id));
        ck_assert_ptr_null(catalog_collection_by_id(c, T, STR("x"), &id));
        ck_assert_ptr_null(catalog_collection_by_number(c, number + 1));
        ck_assert_uint_eq(catalog_count_collections(c, T, D), 1);
        c = reopen(c);
    }
    catalog_close(c);
}
END_TEST

START_TEST(absent_parts_stay_absent)
{
    struct catalog *c = fresh();
    struct catalog_new_collection in = {.tenant = T, .database = D, .name = STR("bare"), .schema = STR("")};
    const struct catalog_collection *col = NULL;
    bool is_new = false;
    ck_ok(catalog_create_collection(c, &in, &col, &is_new, NULL));
    for (int round = 0; round < 2; round++) {
        ck_assert_ptr_null(col->configuration.p);
        ck_assert_ptr_nonnull(col->schema.p);
        ck_assert_uint_eq(col->schema.n, 0);
        ck_assert_uint_eq(col->metadata.n, 0);
        ck_assert_uint_eq(col->space, 0);
        catalog_collection_unref(col);
        c = reopen(c);
        col = catalog_collection_by_name(c, T, D, STR("bare"));
        ck_assert_ptr_nonnull(col);
    }
    catalog_collection_unref(col);
    catalog_close(c);
}
END_TEST

START_TEST(creating_says_no)
{
    struct catalog *c = fresh();
    uint64_t number = make_number(c, "docs");
    struct catalog_new_collection in = plan("docs");
    const struct catalog_collection *col = NULL;
    bool is_new = true;
    struct errmsg em = {""};
    ck_assert_int_eq(catalog_create_collection(c, &in, &col, &is_new, &em), ERR_EXISTS);
    in.database = STR("absent");
    ck_assert_int_eq(catalog_create_collection(c, &in, &col, &is_new, &em), ERR_NOT_FOUND);
    in.get_or_create = true;
    ck_assert_int_eq(catalog_create_collection(c, &in, &col, &is_new, &em), ERR_NOT_FOUND);
    ck_assert_ptr_null(col);
    ck_assert(is_new);
    in.database = D;
    in.space = 0; /* what is asked for is discarded when the collection is there */
    ck_ok(catalog_create_collection(c, &in, &col, &is_new, &em));
    ck_assert(!is_new);
    ck_assert_uint_eq(col->number, number);
    ck_assert_uint_eq(col->space, 2);
    catalog_collection_unref(col);
    in.name = STR("Docs"); /* names are case-sensitive */
    ck_ok(catalog_create_collection(c, &in, &col, &is_new, &em));
    ck_assert(is_new);
    catalog_collection_unref(col);
    ck_assert_uint_eq(catalog_count_collections(c, T, D), 2);
    catalog_close(c);
}
END_TEST

START_TEST(listing_is_by_id_in_pages)
{
    enum { N = 300, PAGE = 7 };
    struct catalog *c = fresh();
    char name[32];
    for (int i = 0; i < N; i++) {
        (void)snprintf(name, sizeof name, "col%d", i);
        (void)make_number(c, name);
    }
    for (int round = 0; round < 2; round++) {
        struct arena a = {0};
        const struct catalog_collection **all = NULL, **page = NULL, **every = NULL;
        size_t n = 0, n_page = 0, n_every = 0;
        ck_ok(catalog_list_collections(c, T, D, UINT32_MAX, 0, &a, &all, &n));
        ck_assert_uint_eq(n, N);
        for (size_t i = 1; i < n; i++) ck_assert_int_lt(memcmp(all[i - 1]->id.b, all[i]->id.b, 16), 0);
        for (uint32_t from = 0; from < N + 2 * PAGE; from += PAGE) {
            ck_ok(catalog_list_collections(c, T, D, PAGE, from, &a, &page, &n_page));
            ck_assert_uint_eq(n_page, from >= N ? 0 : N - from < PAGE ? N - from : PAGE);
            for (size_t i = 0; i < n_page; i++) {
                ck_assert_ptr_eq(page[i], all[from + i]);
                catalog_collection_unref(page[i]);
            }
        }
        ck_ok(catalog_list_collections(c, T, D, 0, 0, &a, &page, &n_page));
        ck_assert_uint_eq(n_page, 0);
        ck_ok(catalog_list_collections(c, T, STR("absent"), UINT32_MAX, 0, &a, &page, &n_page));
        ck_assert_uint_eq(n_page, 0);
        ck_ok(catalog_all_collections(c, &a, &every, &n_every));
        ck_assert_uint_eq(n_every, N);
        for (size_t i = 0; i < n; i++) {
            catalog_collection_unref(all[i]);
            catalog_collection_unref(every[i]);
        }
        arena_free(&a);
        c = reopen(c);
    }
    ck_assert_uint_eq(catalog_count_collections(c, STR("absent"), D), 0);
    catalog_close(c);
}
END_TEST

/* A live object, and what happens to it. */
struct live {
    struct catalog_runtime runtime; /* first */
    struct catalog *c;
    uint64_t number;
    int n_attached, n_freed;
    enum err answer;
};

static void count_free(struct catalog_runtime *r)
{
    ((struct live *)(void *)r)->n_freed++;
}

START_TEST(updates_replace_the_state)
{
    struct catalog *c = fresh();
    const struct catalog_collection *old = make(c, "docs"), *col;
    uint64_t number = old->number;
    struct uuid id = old->id;
    (void)make_number(c, "taken");
    struct live live = {.runtime = {.free_runtime = count_free}};
    ck_assert(catalog_set_runtime(c, number, &live.runtime));
    ck_assert(!catalog_set_runtime(c, 999, &live.runtime));
    ck_assert_ptr_eq(old->runtime, &live.runtime);

    struct catalog_update u = {.name = STR("taken"), .set_metadata = true};
    ck_assert_int_eq(catalog_update_collection(c, number, &u, NULL), ERR_EXISTS);
    ck_assert_int_eq(catalog_update_collection(c, 999, &u, NULL), ERR_NOT_FOUND);
    col = catalog_collection_by_number(c, number);
    ck_assert_ptr_eq(col, old); /* a refused update leaves everything */
    catalog_collection_unref(col);

    u = (struct catalog_update){0};
    ck_ok(catalog_update_collection(c, number, &u, NULL));
    ck_assert_int_eq(catalog_update_collection(c, 999, &u, NULL), ERR_NOT_FOUND);

    u.name = STR("docs"); /* its own name */
    ck_ok(catalog_update_collection(c, number, &u, NULL));
    u = (struct catalog_update){.name = STR("papers"), .configuration = STR("{}"), .set_metadata = true};
    ck_ok(catalog_update_collection(c, number, &u, NULL));
    expect_whole(old, number, &id); /* the state somebody holds does not change */
    catalog_collection_unref(old);
    ck_assert(!exists(c, "docs"));
    for (int round = 0; round < 2; round++) {
        col = catalog_collection_by_name(c, T, D, STR("papers"));
        ck_assert_ptr_nonnull(col);
        ck_assert_uint_eq(col->number, number);
        ck_assert(uuid_eq(&col->id, &id));
        ck_assert_str_eq(col->configuration.p, "{}");
        ck_assert_str_eq(col->schema.p, "{\"keys\":2}");
        ck_assert_uint_eq(col->metadata.n, 0);
        if (round == 0) ck_assert_ptr_eq(col->runtime, &live.runtime);
        ck_assert_int_eq(live.n_freed, round);
        catalog_collection_unref(col);
        c = reopen(c);
    }
    u = (struct catalog_update){.metadata = {"meta", 4}, .set_metadata = true, .schema = STR("null")};
    ck_ok(catalog_update_collection(c, number, &u, NULL));
    c = reopen(c);
    col = catalog_collection_by_id(c, T, D, &id);
    ck_assert_uint_eq(col->metadata.n, 4);
    ck_assert_str_eq(col->schema.p, "null");
    catalog_collection_unref(col);
    catalog_close(c);
}
END_TEST

START_TEST(deleting_frees_the_name_but_not_the_number)
{
    struct catalog *c = fresh();
    uint64_t number = make_number(c, "docs");
    const struct catalog_collection *gone = NULL;
    ck_ok(catalog_delete_collection(c, T, D, STR("docs"), &gone, NULL));
    ck_assert_uint_eq(gone->number, number);
    ck_assert_str_eq(gone->name.p, "docs");
    ck_assert(!exists(c, "docs"));
    ck_assert_ptr_null(catalog_collection_by_id(c, T, D, &gone->id));
    ck_assert_ptr_null(catalog_collection_by_number(c, number));
    ck_assert_int_eq(catalog_delete_collection(c, T, D, STR("docs"), NULL, NULL), ERR_NOT_FOUND);
    ck_assert_int_eq(catalog_delete_collection(c, T, STR("x"), STR("docs"), NULL, NULL), ERR_NOT_FOUND);
    catalog_collection_unref(gone);
    for (int i = 0; i < 3; i++) {
        c = reopen(c);
        uint64_t next = make_number(c, "docs");
        ck_assert_uint_gt(next, number);
        number = next;
        ck_ok(catalog_delete_collection(c, T, D, STR("docs"), NULL, NULL));
        ck_ok(catalog_reset(c, NULL, NULL, NULL));
    }
    catalog_close(c);
}
END_TEST

struct dropped {
    struct catalog *c;
    int n;
    uint64_t sum;
};

/* The catalog is free and has forgotten the collection when this is called. */
static void on_dropped(void *ctx, const struct catalog_collection *col)
{
    struct dropped *d = ctx;
    d->n++;
    d->sum += col->number;
    ck_assert_ptr_null(catalog_collection_by_number(d->c, col->number));
    ck_ok(catalog_set_counter(d->c, "dropped", (uint64_t)d->n, NULL));
}

START_TEST(deleting_a_database_takes_its_collections)
{
    struct catalog *c = fresh();
    uint64_t a = make_number(c, "one"), b = make_number(c, "two");
    ck_ok(catalog_create_database(c, T, STR("other"), NULL));
    struct catalog_new_collection in = plan("one");
    in.database = STR("other");
    const struct catalog_collection *kept = NULL;
    bool is_new;
    ck_ok(catalog_create_collection(c, &in, &kept, &is_new, NULL));
    struct dropped d = {.c = c};
    ck_ok(catalog_delete_database(c, T, D, on_dropped, &d, NULL));
    ck_assert_int_eq(d.n, 2);
    ck_assert_uint_eq(d.sum, a + b);
    for (int round = 0; round < 2; round++) {
        ck_assert(!exists(c, "one"));
        ck_assert_uint_eq(catalog_count_collections(c, T, D), 0);
        ck_assert_uint_eq(catalog_count_collections(c, T, STR("other")), 1);
        c = reopen(c);
    }
    ck_ok(catalog_create_database(c, T, D, NULL));
    ck_assert_uint_eq(catalog_count_collections(c, T, D), 0);
    catalog_collection_unref(kept);
    catalog_close(c);
}
END_TEST

START_TEST(versions_are_kept_and_only_go_forward)
{
    struct catalog *c = fresh();
    uint64_t number = make_number(c, "docs");
    struct arena a = {0};
    struct catalog_version v = {.version = 7};
    ck_ok(catalog_get_version(c, number, &a, &v, NULL));
    ck_assert_uint_eq(v.number, number);
    ck_assert_uint_eq(v.version, 0);
    ck_assert_ptr_null(v.manifest.p);
    v = (struct catalog_version){number, 1, 100, 55, 384, STR("manifest-1")};
    ck_ok(catalog_publish_version(c, &v, NULL));
    v = (struct catalog_version){number, 3, 100, 56, UINT32_MAX, STR("manifest-3")};
    ck_ok(catalog_publish_version(c, &v, NULL));
    struct catalog_version bad = v;
    struct errmsg em = {""};
    ck_assert_int_eq(catalog_publish_version(c, &bad, &em), ERR_INVALID); /* the same again */
    bad.version = 2;
    ck_assert_int_eq(catalog_publish_version(c, &bad, &em), ERR_INVALID);
    bad.version = 4;
    bad.log_position = 99;
    ck_assert_int_eq(catalog_publish_version(c, &bad, &em), ERR_INVALID);
    bad.log_position = (uint64_t)INT64_MAX + 1;
    ck_assert_int_eq(catalog_publish_version(c, &bad, &em), ERR_INVALID);
    bad.log_position = 200;
    bad.version = 0;
    ck_assert_int_eq(catalog_publish_version(c, &bad, &em), ERR_INVALID);
    bad.version = 4;
    bad.number = number + 1;
    ck_assert_int_eq(catalog_publish_version(c, &bad, &em), ERR_NOT_FOUND);
    bad.number = UINT64_MAX;
    ck_assert_int_eq(catalog_publish_version(c, &bad, &em), ERR_NOT_FOUND);
    ck_assert_int_eq(catalog_get_version(c, number + 1, &a, &bad, &em), ERR_NOT_FOUND);
    for (int round = 0; round < 2; round++) {
        struct catalog_version got;
        ck_ok(catalog_get_version(c, number, &a, &got, NULL));
        ck_assert_uint_eq(got.number, number);
        ck_assert_uint_eq(got.version, 3);
        ck_assert_uint_eq(got.log_position, 100);
        ck_assert_uint_eq(got.next_ordinal, 56);
        ck_assert_uint_eq(got.dimension, UINT32_MAX);
        ck_assert_str_eq(got.manifest.p, "manifest-3");
        c = reopen(c);
    }
    ck_ok(catalog_delete_collection(c, T, D, STR("docs"), NULL, NULL));
    v.version = 4;
    ck_assert_int_eq(catalog_publish_version(c, &v, NULL), ERR_NOT_FOUND);
    arena_free(&a);
    catalog_close(c);
}
END_TEST

START_TEST(reset_leaves_the_defaults_and_the_counters)
{
    struct catalog *c = fresh();
    const struct uuid zeros = {{0}};
    uint64_t a = make_number(c, "one"), b = make_number(c, "two"), value = 0;
    ck_ok(catalog_create_tenant(c, STR("acme"), NULL));
    ck_ok(catalog_create_database(c, STR("acme"), STR("db"), NULL));
    ck_ok(catalog_delete_database(c, T, STR("default_database"), NULL, NULL, NULL));
    ck_ok(catalog_create_database(c, T, D, NULL));
    a = make_number(c, "one");
    b = make_number(c, "two");
    ck_ok(catalog_set_counter(c, "trimmed", 41, NULL));
    struct dropped d = {.c = c};
    ck_ok(catalog_reset(c, on_dropped, &d, NULL));
    ck_assert_int_eq(d.n, 2);
    ck_assert_uint_eq(d.sum, a + b);
    for (int round = 0; round < 2; round++) {
        struct uuid id = uuid_new();
        ck_assert(catalog_has_tenant(c, T));
        ck_assert(!catalog_has_tenant(c, STR("acme")));
        expect_databases(c, STR("acme"), UINT32_MAX, 0, "");
        expect_databases(c, T, UINT32_MAX, 0, "default_database ");
        ck_ok(catalog_get_database(c, T, D, &id));
        ck_assert(uuid_eq(&id, &zeros));
        ck_assert_uint_eq(catalog_count_collections(c, T, D), 0);
        ck_ok(catalog_get_counter(c, "trimmed", &value, NULL));
        ck_assert_uint_eq(value, 41);
        c = reopen(c);
    }
    ck_assert_uint_gt(make_number(c, "one"), b);
    ck_assert_uint_eq(catalog_count_collections(c, T, D), 1);
    catalog_close(c);
}
END_TEST

START_TEST(counters_only_grow)
{
    struct catalog *c = fresh();
    uint64_t value = 5;
    ck_ok(catalog_get_counter(c, "x", &value, NULL));
    ck_assert_uint_eq(value, 0);
    ck_ok(catalog_set_counter(c, "x", 10, NULL));
    ck_ok(catalog_set_counter(c, "x", 9, NULL));
    ck_ok(catalog_set_counter(c, "y", INT64_MAX, NULL));
    ck_assert_int_eq(catalog_set_counter(c, "y", (uint64_t)INT64_MAX + 1, NULL), ERR_INVALID);
    c = reopen(c);
    ck_ok(catalog_get_counter(c, "x", &value, NULL));
    ck_assert_uint_eq(value, 10);
    ck_ok(catalog_get_counter(c, "y", &value, NULL));
    ck_assert_uint_eq(value, INT64_MAX);
    catalog_close(c);
}
END_TEST

static enum err on_attach(void *ctx, const struct catalog_collection *col, struct catalog_runtime **runtime,
                          struct errmsg *em)
{
    struct live *l = ctx;
    l->n_attached++;
    l->number = col->number;
    ck_assert_uint_gt(col->number, 0);
    ck_assert_ptr_null(catalog_collection_by_number(l->c, col->number)); /* nobody sees it yet */
    if (l->answer != ERR_OK) return errmsg_set(em, l->answer, "not today");
    *runtime = &l->runtime;
    return ERR_OK;
}

START_TEST(attach_makes_the_live_object_before_it_is_seen)
{
    struct catalog *c = fresh();
    struct live l = {.runtime = {.free_runtime = count_free}, .c = c, .answer = ERR_NOMEM};
    struct catalog_new_collection in = plan("docs");
    in.attach = on_attach;
    in.attach_ctx = &l;
    const struct catalog_collection *col = NULL;
    bool is_new = false;
    struct errmsg em = {""};
    ck_assert_int_eq(catalog_create_collection(c, &in, &col, &is_new, &em), ERR_NOMEM);
    ck_assert_ptr_nonnull(strstr(em.text, "not today"));
    ck_assert_int_eq(l.n_freed, 0);
    ck_assert(!exists(c, "docs"));
    c = reopen(c);
    ck_assert(!exists(c, "docs"));
    l.c = c;
    l.answer = ERR_OK;
    ck_ok(catalog_create_collection(c, &in, &col, &is_new, &em));
    ck_assert_ptr_eq(col->runtime, &l.runtime);
    ck_assert_uint_eq(col->number, l.number);
    ck_assert_int_eq(l.n_attached, 2);
    catalog_collection_unref(col);
    in.get_or_create = true;
    ck_ok(catalog_create_collection(c, &in, &col, &is_new, &em));
    ck_assert_int_eq(l.n_attached, 2);
    ck_ok(catalog_delete_collection(c, in.tenant, in.database, in.name, NULL, &em));
    ck_assert_int_eq(l.n_freed, 0); /* somebody still holds a state */
    catalog_collection_unref(col);
    ck_assert_int_eq(l.n_freed, 1);
    catalog_close(c);
}
END_TEST

START_TEST(references_outlive_everything)
{
    struct catalog *c = fresh();
    const struct catalog_collection *a = make(c, "docs");
    const struct catalog_collection *again = catalog_collection_ref(a);
    ck_assert_ptr_eq(a, again);
    ck_ok(catalog_delete_database(c, T, D, NULL, NULL, NULL));
    catalog_close(c);
    ck_assert_str_eq(a->name.p, "docs");
    catalog_collection_unref(a);
    ck_assert_str_eq(again->schema.p, "{\"keys\":2}");
    catalog_collection_unref(again);
    catalog_collection_unref(NULL);
}
END_TEST

START_TEST(in_memory_works_the_same)
{
    struct catalog *a = NULL, *b = NULL;
    ck_ok(catalog_open(&a, vfs_posix(), NULL, NULL));
    ck_ok(catalog_open(&b, vfs_posix(), NULL, NULL));
    uint64_t number = make_number(a, "docs");
    ck_assert_ptr_null(catalog_collection_by_number(b, number)); /* each its own */
    struct catalog_version v = {number, 1, 1, 1, 1, STR("m")};
    ck_ok(catalog_publish_version(a, &v, NULL));
    ck_ok(catalog_reset(a, NULL, NULL, NULL));
    ck_assert(catalog_has_tenant(a, T));
    catalog_close(a);
    catalog_close(b);
}
END_TEST

/* Thousands of collections in one database and in many: each step must stay cheap, and a name that was given back is
 * usable at once. */
START_TEST(thousands_of_collections)
{
    enum { N = 6000 };
    struct catalog *c = NULL;
    ck_ok(catalog_open(&c, vfs_posix(), NULL, NULL));
    char name[32];
    for (int i = 0; i < N; i++) {
        (void)snprintf(name, sizeof name, "col%d", i);
        (void)make_number(c, name);
    }
    struct arena a = {0};
    uint64_t seen = 0;
    for (uint32_t from = 0; from < N; from += 10) {
        const struct catalog_collection **page = NULL;
        size_t n = 0;
        ck_ok(catalog_list_collections(c, T, D, 10, from, &a, &page, &n));
        for (size_t i = 0; i < n; i++) {
            seen += page[i]->number;
            catalog_collection_unref(page[i]);
        }
        arena_free(&a);
    }
    ck_assert_uint_eq(seen, (uint64_t)N * (N + 1) / 2);
    for (int i = 0; i < N; i += 2) {
        (void)snprintf(name, sizeof name, "col%d", i);
        ck_ok(catalog_delete_collection(c, T, D, str_from_c(name), NULL, NULL));
    }
    ck_assert_uint_eq(catalog_count_collections(c, T, D), N / 2);
    ck_assert(exists(c, "col1") && !exists(c, "col0"));
    (void)make_number(c, "col0");
    struct dropped d = {.c = c};
    ck_ok(catalog_delete_database(c, T, D, on_dropped, &d, NULL));
    ck_assert_int_eq(d.n, N / 2 + 1);
    catalog_close(c);
}
END_TEST

START_TEST(ids_from_elsewhere_are_kept)
{
    struct catalog *c = fresh();
    const struct uuid db = {{1, 2, 3}}, id = {{9, 8, 7}}, other = {{5}};
    struct uuid got;
    ck_ok(catalog_restore_database(c, T, STR("old"), &db, NULL));
    ck_assert_int_eq(catalog_restore_database(c, T, STR("old"), &other, NULL), ERR_EXISTS);
    ck_assert_int_eq(catalog_restore_database(c, T, STR("another"), &db, NULL), ERR_EXISTS);
    ck_assert_int_eq(catalog_get_database(c, T, STR("another"), &got), ERR_NOT_FOUND);
    struct catalog_new_collection in = plan("from-elsewhere"), again = plan("another");
    const struct catalog_collection *col = NULL;
    bool is_new = false;
    in.id = again.id = &id;
    in.database = STR("old");
    ck_ok(catalog_create_collection(c, &in, &col, &is_new, NULL));
    ck_assert(is_new && uuid_eq(&col->id, &id));
    catalog_collection_unref(col);
    ck_assert_int_eq(catalog_create_collection(c, &again, &col, &is_new, NULL), ERR_EXISTS);
    c = reopen(c);
    ck_ok(catalog_get_database(c, T, STR("old"), &got));
    ck_assert(uuid_eq(&got, &db));
    col = catalog_collection_by_id(c, T, STR("old"), &id);
    ck_assert(col != NULL && str_eq(col->name, STR("from-elsewhere")));
    catalog_collection_unref(col);
    ck_assert(!exists(c, "another"));
    catalog_close(c);
}
END_TEST

TESTS(catalog, fresh_has_defaults, ids_from_elsewhere_are_kept, tenants_are_bytes, databases_need_no_tenant,
      default_database_gets_a_random_id_when_made_again, databases_are_listed_in_byte_order,
      collections_are_found_and_kept, absent_parts_stay_absent, creating_says_no, listing_is_by_id_in_pages,
      updates_replace_the_state, deleting_frees_the_name_but_not_the_number, deleting_a_database_takes_its_collections,
      versions_are_kept_and_only_go_forward, reset_leaves_the_defaults_and_the_counters, counters_only_grow,
      attach_makes_the_live_object_before_it_is_seen, references_outlive_everything, in_memory_works_the_same,
      thousands_of_collections)
