/* test_fork_writers.c - forks amid writers, flushes and merges: each must be one cut of the log, and stay as it is. */
#include <sched.h>
#include <unistd.h>

#include "tests/unit/api/store_writers.h"

#define T STR("default_tenant")
#define D STR("default_database")

enum { N_FORKS = 12 };

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
