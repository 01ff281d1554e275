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

static enum err count_entry(void *ctx, struct str name, bool is_dir)
{
    (void)name, (void)is_dir;
    ++*(int *)ctx;
    return ERR_OK;
}

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

TESTS(store, follows_the_model_through_restarts, ephemeral_follows_the_model, deleted_collections_leave_nothing,
      one_process_owns_a_directory, deleting_everything_frees_the_fragments)
