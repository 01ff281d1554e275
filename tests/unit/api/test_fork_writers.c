/* test_fork_writers.c - forks amid writers, flushes and merges: each must be one cut of the log, and stay as it is. */
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "tests/unit/api/store_model.h"

#define T STR("default_tenant")
#define D STR("default_database")

/* Request k of a writer upserts rows "w-state" and "w-k" with value k, so a prefix of its requests shows as
 * rows 0 .. m-1 and a state of m - 1. */
enum { N_WRITERS = 2, N_FORKS = 12, N_REQUESTS_MIN = 150 };

struct writing {
    struct store *s;
    const struct catalog_collection *col;
    int number;
    _Atomic bool *stop;
    _Atomic int n_sent, n_done;
    pthread_t thread;
};

static void *write_on(void *arg)
{
    struct writing *w = arg;
    struct fixture f = {.s = w->s, .col = w->col};
    for (int k = 0; k < N_REQUESTS_MIN || !atomic_load(w->stop); k++) {
        char texts[2][32];
        float v[2 * DIM] = {(float)k};
        struct buf packed = {0};
        struct value value = {.type = VALUE_INT, .i = k};
        struct str ids[2];
        struct bytes block;
        ids[0] = str_of(texts[0], (size_t)snprintf(texts[0], sizeof texts[0], "%d-state", w->number));
        ids[1] = str_of(texts[1], (size_t)snprintf(texts[1], sizeof texts[1], "%d-%d", w->number, k));
        meta_put(&packed, STR("k"), &value);
        const struct bytes metas[2] = {{packed.p, packed.n}, {packed.p, packed.n}};
        const uint8_t has_vector[2] = {1, 1};
        const struct batch_input in = {.kind = BATCH_UPSERT,
                                       .n_rows = 2,
                                       .dim = DIM,
                                       .ids = ids,
                                       .vectors = v,
                                       .has_vector = has_vector,
                                       .metas = metas};
        ck_ok(batch_build(&in, &block, NULL));
        atomic_store(&w->n_sent, k + 1);
        ck_ok(write_block(&f, block));
        atomic_store(&w->n_done, k + 1);
        buf_free(&packed);
    }
    return NULL;
}

struct cut {
    int n[N_WRITERS], state[N_WRITERS];
};

static struct cut read_cut(struct store *store, const struct catalog_collection *col)
{
    struct arena a = {0};
    struct snapshot s;
    struct row_ref *rows;
    uint32_t n;
    struct cut cut = {{0}, {-1, -1}};
    const struct selection all = {0};
    int next[N_WRITERS] = {0};
    ck_ok(store_snapshot(store, col, &a, &s, NULL));
    ck_ok(exec_get(&s, &all, UINT32_MAX, 0, &a, &rows, &n, NULL));
    for (uint32_t i = 0; i < n; i++) {
        struct row row = {0};
        struct meta_entry e;
        char text[32] = "", *rest;
        ck_ok(exec_row(&s, rows[i], ROW_ALL, &a, &row, NULL));
        ck_assert_uint_lt(row.id.n, sizeof text);
        memcpy(text, row.id.p, row.id.n);
        long w = strtol(text, &rest, 10);
        ck_assert(w >= 0 && w < N_WRITERS && meta_find(row.meta, STR("k"), &e));
        int k = (int)le64_get(e.payload.p);
        if (strcmp(rest, "-state") == 0) {
            cut.state[w] = k;
            continue;
        }
        ck_assert_int_eq(atoi(rest + 1), k);
        ck_assert_int_eq(k, next[w]++); /* in the order of creation, none missing */
    }
    ck_assert_uint_eq(collection_count(store_collection(col)), n);
    for (int w = 0; w < N_WRITERS; w++) cut.n[w] = next[w];
    snapshot_end(&s);
    arena_free(&a);
    return cut;
}

static void check_cut(struct store *store, const struct catalog_collection *col, const struct cut *expected)
{
    struct cut now = read_cut(store, col);
    ck_assert_int_eq(memcmp(&now, expected, sizeof now), 0);
}

START_TEST(a_fork_amid_writers_is_one_cut)
{
    struct fixture f;
    struct writing writers[N_WRITERS];
    struct cut cuts[N_FORKS];
    const struct catalog_collection *forks[N_FORKS];
    _Atomic bool stop = false;
    setup(&f, 3, tmp_dir());
    catalog_collection_unref(f.col);
    store_close(f.s);
    f.o.flush_rows = 40; /* flushes and merges come in between */
    open_store(&f);
    for (int w = 0; w < N_WRITERS; w++) {
        writers[w] = (struct writing){.s = f.s, .col = f.col, .number = w, .stop = &stop};
        ck_assert_int_eq(pthread_create(&writers[w].thread, NULL, write_on, &writers[w]), 0);
    }
    for (int i = 0; i < N_FORKS; i++) {
        char name[24];
        int done[N_WRITERS];
        while (atomic_load(&writers[0].n_done) < 10 * i) (void)sched_yield();
        for (int w = 0; w < N_WRITERS; w++) done[w] = atomic_load(&writers[w].n_done);
        ck_ok(store_fork_collection(f.s, f.col, str_of(name, (size_t)sprintf(name, "fork-%d", i)), &forks[i], NULL));
        cuts[i] = read_cut(f.s, forks[i]);
        for (int w = 0; w < N_WRITERS; w++) {
            ck_assert_int_ge(cuts[i].n[w], done[w]); /* everything that was acknowledged */
            ck_assert_int_le(cuts[i].n[w], atomic_load(&writers[w].n_sent));
            ck_assert_int_eq(cuts[i].state[w], cuts[i].n[w] - 1); /* and whole requests */
        }
    }
    atomic_store(&stop, true);
    for (int w = 0; w < N_WRITERS; w++) ck_assert_int_eq(pthread_join(writers[w].thread, NULL), 0);
    ck_ok(store_compact(f.s, NULL));
    for (int i = 0; i < N_FORKS; i++) {
        check_cut(f.s, forks[i], &cuts[i]);
        catalog_collection_unref(forks[i]);
    }
    ck_ok(store_delete_collection(f.s, T, D, STR("docs"), NULL));
    close_store(&f);
    open_store(&f);
    for (int i = 0; i < N_FORKS; i++) {
        char name[24];
        forks[i] =
            catalog_collection_by_name(store_catalog(f.s), T, D, str_of(name, (size_t)sprintf(name, "fork-%d", i)));
        ck_assert_ptr_nonnull(forks[i]);
        check_cut(f.s, forks[i], &cuts[i]);
        catalog_collection_unref(forks[i]);
    }
    close_store(&f);
}
END_TEST

TESTS(fork_writers, a_fork_amid_writers_is_one_cut)
