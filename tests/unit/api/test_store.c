/* test_store.c - the store against a model: random writes, flushes, merges, restarts with and without a clean close, at
 * random moments; after each, everything it shows is compared.
 */
#include "tests/unit/api/store_model.h"

START_TEST(follows_the_model_through_restarts)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct fixture f;
        setup(&f, seed, tmp_dir());
        for (int i = 0; i < 160; i++) {
            step(&f);
            uint32_t dice = rng_below(&f.rng, 40);
            if (dice == 0) ck_ok(store_compact(f.s, NULL));
            if (dice == 1 || dice == 2) {
                close_store(&f);
                open_store(&f);
                ck_assert_ptr_nonnull(f.col);
            }
            if (i % 4 == 0 || dice < 3) compare(&f);
        }
        ck_ok(store_compact(f.s, NULL));
        compare(&f);
        close_store(&f);
        open_store(&f);
        compare(&f);
        close_store(&f);
    }
}
END_TEST

START_TEST(ephemeral_follows_the_model)
{
    struct fixture f;
    setup(&f, 9, NULL);
    for (int i = 0; i < 120; i++) {
        step(&f);
        if (i % 30 == 29) ck_ok(store_compact(f.s, NULL));
        if (i % 10 == 0) compare(&f);
    }
    compare(&f);
    close_store(&f);
}
END_TEST

START_TEST(deleted_collections_leave_nothing)
{
    struct fixture f;
    char dir[4096];
    const char *path = tmp_dir();
    setup(&f, 4, path);
    for (int i = 0; i < 30; i++) step(&f);
    ck_ok(store_compact(f.s, NULL));
    ck_ok(store_delete_collection(f.s, STR("default_tenant"), STR("default_database"), STR("docs"), NULL));
    struct bytes block;
    const struct str id = STR("id-1");
    const struct batch_input in = {.kind = BATCH_DELETE, .n_rows = 1, .ids = &id};
    ck_ok(batch_build(&in, &block, NULL));
    ck_assert_int_eq(write_block(&f, block), ERR_NOT_FOUND);
    close_store(&f);
    open_store(&f);
    ck_assert_ptr_null(f.col);
    int n = 0;
    (void)snprintf(dir, sizeof dir, "%s/collections", path);
    ck_ok(vfs_posix()->list(NULL, dir, count_entry, &n, NULL));
    ck_assert_int_eq(n, 0);
    store_close(f.s);
}
END_TEST

START_TEST(one_process_owns_a_directory)
{
    struct fixture f;
    struct errmsg em = {{0}};
    struct store *second = NULL;
    setup(&f, 4, tmp_dir());
    ck_assert_int_eq(store_open(&second, &f.o, &em), ERR_LOCKED);
    ck_assert_ptr_nonnull(strstr(em.text, "in use"));
    close_store(&f);
}
END_TEST

START_TEST(a_lost_catalog_does_not_cost_the_rows)
{
    struct fixture f;
    struct errmsg em = {{0}};
    struct store *again = NULL;
    char catalog[4096], kept[4200];
    const char *path = tmp_dir();
    setup(&f, 12, path);
    for (int i = 0; i < 20; i++) step(&f);
    ck_ok(store_compact(f.s, NULL));
    close_store(&f);
    (void)snprintf(catalog, sizeof catalog, "%s/catalog.sqlite3", path);
    (void)snprintf(kept, sizeof kept, "%s.kept", catalog);
    ck_ok(vfs_posix()->rename(NULL, catalog, kept, NULL));
    ck_assert_int_eq(store_open(&again, &f.o, &em), ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(em.text, "catalog.sqlite3 is gone"));
    ck_ok(vfs_posix()->rename(NULL, kept, catalog, NULL));
    open_store(&f);
    compare(&f);
    close_store(&f);
}
END_TEST

/* Merged parts of updated rows are memory too: they count towards the size at which a tail is flushed. */
START_TEST(updates_of_long_documents_count)
{
    struct fixture f;
    struct collection_pressure p;
    struct bytes block;
    static char text[100000];
    static float v[DIM];
    const struct str id = STR("id-1"), document = str_of(text, sizeof text);
    struct buf packed = {0};
    struct value one = {.type = VALUE_INT, .i = 1};
    setup(&f, 13, tmp_dir());
    memset(text, 'x', sizeof text);
    struct batch_input in = {
        .kind = BATCH_ADD, .n_rows = 1, .dim = DIM, .ids = &id, .vectors = v, .documents = &document};
    ck_ok(batch_build(&in, &block, NULL));
    ck_ok(write_block(&f, block));
    ck_ok(store_compact(f.s, NULL)); /* the document is in a fragment now: an update copies it into the tail */
    meta_put(&packed, STR("k"), &one);
    const struct bytes meta = {packed.p, packed.n};
    in = (struct batch_input){.kind = BATCH_UPDATE, .n_rows = 1, .ids = &id, .metas = &meta};
    ck_ok(batch_build(&in, &block, NULL));
    ck_ok(write_block(&f, block));
    collection_pressure(store_collection(f.col), &p);
    ck_assert_uint_ge(p.tail_bytes, sizeof text);
    buf_free(&packed);
    close_store(&f);
}
END_TEST

/* Deletes alone must reach the disk too, and the space of what is deleted must come back. */
START_TEST(deleting_everything_frees_the_fragments)
{
    struct fixture f;
    char dir[4096];
    const char *path = tmp_dir();
    struct bytes block;
    setup(&f, 6, path);
    for (int i = 0; i < 60; i++) step(&f);
    ck_ok(store_compact(f.s, NULL));
    static char texts[N_IDS][16];
    static struct str ids[N_IDS];
    for (uint32_t i = 0; i < N_IDS; i++) {
        ids[i] = str_of(texts[i], (size_t)sprintf(texts[i], "id-%u", i));
        f.model[i].is_live = false;
    }
    const struct batch_input in = {.kind = BATCH_DELETE, .n_rows = N_IDS, .ids = ids};
    ck_ok(batch_build(&in, &block, NULL));
    ck_ok(write_block(&f, block));
    compare(&f);
    ck_ok(store_compact(f.s, NULL));
    compare(&f);
    int n = 0;
    (void)snprintf(dir, sizeof dir, "%s/collections/%llu", path, (unsigned long long)f.col->number);
    ck_ok(vfs_posix()->list(NULL, dir, count_entry, &n, NULL));
    ck_assert_int_eq(n, 1); /* the manifest of nothing */
    close_store(&f);
    open_store(&f);
    compare(&f);
    step(&f);
    compare(&f);
    close_store(&f);
}
END_TEST

/* Adds n records, flushes them, and lets everything be merged that is to be. */
static void add_many(struct fixture *f, uint32_t first, uint32_t n)
{
    struct bytes block;
    char(*texts)[16] = mem_array(n, sizeof *texts);
    struct str *ids = mem_array(n, sizeof *ids);
    float *v = mem_array((size_t)n * DIM, sizeof *v);
    ck_assert(texts != NULL && ids != NULL && v != NULL);
    for (uint32_t i = 0; i < n; i++) {
        ids[i] = str_of(texts[i], (size_t)sprintf(texts[i], "many-%u", first + i));
        v[(size_t)i * DIM] = (float)(first + i);
    }
    const struct batch_input in = {.kind = BATCH_ADD, .n_rows = n, .dim = DIM, .ids = ids, .vectors = v};
    ck_ok(batch_build(&in, &block, NULL));
    ck_ok(write_block(f, block));
    ck_ok(store_compact(f->s, NULL));
    mem_free(texts);
    mem_free(ids);
    mem_free(v);
}

static uint64_t fragments_of(struct fixture *f)
{
    struct store_stats stats;
    ck_ok(store_stats(f->s, NULL, NULL, &stats));
    return stats.sizes.n_fragments;
}

/* A collection of any size becomes one fragment when nobody writes, but is not written anew for a few rows. */
START_TEST(large_collections_become_one_fragment)
{
    struct fixture f;
    setup(&f, 17, tmp_dir());
    for (uint32_t i = 0; i < 3; i++) add_many(&f, 30000 * i, 30000);
    ck_assert_uint_eq(fragments_of(&f), 1);
    add_many(&f, 90000, 2000);
    ck_assert_uint_eq(fragments_of(&f), 2);
    close_store(&f);
}
END_TEST

TESTS(store, follows_the_model_through_restarts, ephemeral_follows_the_model, deleted_collections_leave_nothing,
      one_process_owns_a_directory, a_lost_catalog_does_not_cost_the_rows, updates_of_long_documents_count,
      deleting_everything_frees_the_fragments, large_collections_become_one_fragment)
