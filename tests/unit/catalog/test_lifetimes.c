/* test_lifetimes.c - what ends and what does not: deletion, versions, reset, counters, live objects and references. */
#include "tests/unit/catalog/catalog_rig.h"

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

TESTS(lifetimes, deleting_a_database_takes_its_collections, versions_are_kept_and_only_go_forward,
      reset_leaves_the_defaults_and_the_counters, counters_only_grow, attach_makes_the_live_object_before_it_is_seen,
      references_outlive_everything, in_memory_works_the_same, thousands_of_collections, ids_from_elsewhere_are_kept)
