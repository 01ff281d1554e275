/* test_fork_faults.c - a fork with its operations made to fail one at a time, and cut off at each of them.
 *
 * How they are made to: store_faults.h. After every fault, and in the files as they are at that moment (a crash): the
 * source shows what its model says, and the fork is there whole or not at all. Then both go on, and the fork succeeds
 * when it is tried again. After a restart each directory holds what its version names, and there is none besides.
 */
#include "tests/unit/api/store_faults.h"

#define T STR("default_tenant")
#define D STR("default_database")

static const struct catalog_collection *find_fork(const struct fixture *f)
{
    return catalog_collection_by_name(store_catalog(f->s), T, D, STR("copy"));
}

static enum err fork_once(struct fixture *f, struct fixture *copy)
{
    static struct record records[N_IDS];
    *copy = *f;
    memcpy(records, f->model, sizeof records);
    copy->model = records;
    copy->col = NULL;
    return store_fork_collection(f->s, f->col, STR("copy"), &copy->col, NULL);
}

static int count_below(const char *dir)
{
    int n = 0;
    ck_ok(vfs_posix()->list(NULL, dir, count_entry, &n, NULL));
    return n;
}

static void check_files(const struct fixture *f, const struct catalog_collection *col)
{
    char dir[STORE_PATH_MAX];
    struct collection_pressure p;
    if (col == NULL) return;
    store_collection_dir(f->s, col->number, dir);
    ck_ok(live_open(f->s, live_of(col), NULL)); /* which also cleans up */
    collection_pressure(store_collection(col), &p);
    ck_assert_int_eq(count_below(dir), (int)p.n_fragments + 1);
}

/* Just opened: what is on disk is what the versions name. */
static void check_all_files(const struct fixture *f, const struct catalog_collection *fork)
{
    char dir[STORE_PATH_MAX];
    (void)snprintf(dir, sizeof dir, "%s/collections", f->o.path);
    ck_assert_int_eq(count_below(dir), fork != NULL ? 2 : 1);
    check_files(f, f->col);
    check_files(f, fork);
}

enum expected { FORK_IS_ABSENT, FORK_IS_THERE, FORK_IS_EITHER };

/* What a process would find that starts now: the files as the operating system has them. */
static void check_crash(const struct fixture *f, enum expected expected)
{
    struct fixture after = *f;
    char path[512];
    uint64_t n = 0;
    (void)snprintf(path, sizeof path, "%s/crash", base);
    copy_live_tree(f->o.path, path);
    open_at(&after, path);
    compare(&after);
    const struct catalog_collection *source = after.col, *fork = find_fork(&after);
    ck_assert(expected != FORK_IS_ABSENT || fork == NULL);
    ck_assert(expected != FORK_IS_THERE || fork != NULL);
    check_all_files(&after, fork);
    ck_ok(catalog_count_forks(store_catalog(after.s), source->number, &n, NULL));
    ck_assert_uint_eq(n, fork != NULL ? 1 : 0);
    if (fork != NULL) {
        after.col = fork;
        compare(&after);
        catalog_collection_unref(fork);
    }
    after.col = source;
    close_store(&after);
    remove_tree(path);
}

static void go_on(struct fixture *f, struct fixture *copy)
{
    compare(f);
    compare(copy);
    step(copy);
    step(f);
    compare(f);
    compare(copy);
}

static void restart(struct fixture *f, struct fixture *copy, const char *path)
{
    catalog_collection_unref(copy->col);
    close_store(f);
    open_at(f, path);
    copy->s = f->s;
    copy->col = find_fork(f);
    ck_assert_ptr_nonnull(copy->col);
    check_all_files(f, copy->col);
}

/* Starts from a copy of `start` each time. */
static void fail_each(const char *start, const struct fixture *model, enum fault kind, enum err e, bool stays)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/work", base);
    bool has_fired = true;
    for (int n = 0; has_fired; n = suite_next_fault(n, 4)) {
        static struct record records[N_IDS];
        struct fixture f = *model, copy;
        memcpy(records, model->model, sizeof records);
        f.model = records;
        copy_tree(start, path);
        open_at(&f, path);
        arm(kind, n, e, stays);
        enum err got = fork_once(&f, &copy);
        has_fired = disarm();
        if (!has_fired) ck_ok(got);
        compare(&f);
        ck_assert((copy.col != NULL) == (got == ERR_OK));
        if (got != ERR_OK) {
            ck_assert_ptr_null(find_fork(&f));
            check_crash(&f, kind == FAULT_COMMIT ? FORK_IS_EITHER : FORK_IS_ABSENT);
            step(&f);
            compare(&f);
            ck_ok(fork_once(&f, &copy));
        }
        check_crash(&f, FORK_IS_THERE);
        go_on(&f, &copy);
        restart(&f, &copy, path);
        go_on(&f, &copy);
        ck_ok(flush_collection(f.s, copy.col, NULL)); /* fragments of its own, beside those that are shared */
        ck_ok(flush_collection(f.s, f.col, NULL));
        go_on(&f, &copy);
        catalog_collection_unref(copy.col);
        close_store(&f);
        remove_tree(path);
        ck_assert_int_lt(n, 100000);
    }
}

static void with_start(void (*test)(const char *start, const struct fixture *model))
{
    struct fixture f;
    char start[512];
    base = tmp_dir();
    (void)snprintf(start, sizeof start, "%s/start", base);
    mem_set_hook(on_alloc, NULL);
    make_start(&f, start);
    logger_set_level(LOG_NONE);
    test(start, &f);
}

static void files_fail(const char *start, const struct fixture *model)
{
    static const enum fault kinds[] = {FAULT_WRITE, FAULT_SYNC, FAULT_NAME, FAULT_OPEN, FAULT_COMMIT};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) fail_each(start, model, kinds[i], ERR_IO, false);
}

START_TEST(each_operation_on_files_fails_once)
{
    with_start(files_fail);
}
END_TEST

START_TEST(each_operation_of_copying_fails_once)
{
    fault.has_no_links = true;
    with_start(files_fail);
    fault.has_no_links = false;
}
END_TEST

static void disk_is_full(const char *start, const struct fixture *model)
{
    fail_each(start, model, FAULT_WRITE, ERR_NO_SPACE, true);
}

START_TEST(the_disk_is_full_for_a_while)
{
    with_start(disk_is_full);
}
END_TEST

static void memory_fails(const char *start, const struct fixture *model)
{
    fail_each(start, model, FAULT_MEMORY, ERR_NOMEM, false);
}

START_TEST(each_allocation_fails_once)
{
    with_start(memory_fails);
}
END_TEST

/* --- crashes in the middle --------------------------------------------------------------------------------------- */

static void crash_now(void *ctx)
{
    const struct fixture *f = ctx;
    void (*before)(void *) = fault.before;
    fault.before = NULL; /* the second store's operations are its own */
    check_crash(
        f, FORK_IS_EITHER); /* the transaction is the last to write; between that and its flush the fork is there */
    fault.before = before;
}

static void crashes(const char *start, const struct fixture *model)
{
    char path[512];
    static struct record records[N_IDS];
    struct fixture f = *model, copy;
    (void)snprintf(path, sizeof path, "%s/work", base);
    for (int round = 0; round < 2; round++) {
        f = *model;
        memcpy(records, model->model, sizeof records);
        f.model = records;
        fault.has_no_links = round == 1;
        copy_tree(start, path);
        open_at(&f, path);
        fault.thread = pthread_self();
        fault.before_ctx = &f;
        fault.before = crash_now;
        ck_ok(fork_once(&f, &copy));
        fault.before = NULL;
        check_crash(&f, FORK_IS_THERE);
        go_on(&f, &copy);
        restart(&f, &copy, path);
        go_on(&f, &copy);
        catalog_collection_unref(copy.col);
        close_store(&f);
        remove_tree(path);
    }
    fault.has_no_links = false;
}

START_TEST(a_crash_at_each_operation)
{
    with_start(crashes);
}
END_TEST

TESTS(fork_faults, each_operation_on_files_fails_once, each_operation_of_copying_fails_once,
      the_disk_is_full_for_a_while, each_allocation_fails_once, a_crash_at_each_operation)
