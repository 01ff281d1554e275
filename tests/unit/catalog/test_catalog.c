/* test_catalog.c - tenants, databases and collections: every function of catalog.h that makes, finds, lists or updates them, once
 * for what it does and once for each way it says no; what is there after the file was closed and opened again. */
#include "tests/unit/catalog/catalog_rig.h"

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

TESTS(catalog, fresh_has_defaults, tenants_are_bytes, databases_need_no_tenant,
      default_database_gets_a_random_id_when_made_again, databases_are_listed_in_byte_order,
      collections_are_found_and_kept, absent_parts_stay_absent, creating_says_no, listing_is_by_id_in_pages,
      updates_replace_the_state, deleting_frees_the_name_but_not_the_number)
