/* test_store_faults.c - a flush and a merge with their operations made to fail one at a time, and cut off at each of them.
 *
 * How they are made to: store_faults.h. After every fault: the store shows what the model says, the files as they are at
 * that moment open and show the same (a crash), the operation succeeds when it is tried again, and what is left after a
 * restart is the same once more.
 */
#include "tests/unit/api/store_faults.h"

/* What a process would find that starts now: the files as the operating system has them. */
static void check_crash(const struct fixture *f)
{
    struct fixture after = *f;
    char path[512];
    (void)snprintf(path, sizeof path, "%s/crash", base);
    copy_live_tree(f->o.path, path);
    open_at(&after, path);
    compare(&after);
    close_store(&after);
    remove_tree(path);
}

static enum err merge_all(struct fixture *f)
{
    struct arena a = {0};
    struct segment **list;
    uint32_t n = 0;
    enum err e = live_hold(f->s, live_of(f->col), NULL);
    if (e != ERR_OK) return e;
    e = collection_fragments(store_collection(f->col), &a, &list, &n);
    if (e == ERR_OK) e = n > 0 ? merge_fragments(f->s, f->col, list, n, NULL) : ERR_OK;
    for (uint32_t i = 0; i < n; i++) segment_unref(list[i]);
    arena_free(&a);
    live_release(live_of(f->col));
    return e;
}

static enum err flush_once(struct fixture *f)
{
    return flush_collection(f->s, f->col, NULL);
}

static int count_files(const struct fixture *f)
{
    int n = 0;
    char dir[STORE_PATH_MAX];
    store_collection_dir(f->s, f->col->number, dir);
    ck_ok(vfs_posix()->list(NULL, dir, count_entry, &n, NULL));
    return n;
}

static void after_fault(struct fixture *f, enum err (*operation)(struct fixture *), bool other_first)
{
    compare(f);
    check_crash(f);
    step(f); /* deaths in everything, after the failure */
    compare(f);
    if (other_first) { /* the other kind of publication comes in between; it may have to wait for a repeated flush */
        enum err e = operation == flush_once ? merge_all(f) : flush_once(f);
        ck_assert(e == ERR_OK || e == ERR_BUSY);
        compare(f);
        check_crash(f);
        step(f);
    }
    ck_ok(operation(f));
    compare(f);
    check_crash(f);
    ck_ok(merge_all(f));
    ck_ok(flush_once(f));
    compare(f);
}

/* Starts from a copy of `start` each time. */
static void fail_each(const char *start, const struct fixture *model, enum err (*operation)(struct fixture *),
                      enum fault kind, enum err e, bool stays, bool other_first)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/work", base);
    bool has_fired = true;
    for (int n = 0; has_fired; n = suite_next_fault(n, 8)) {
        static struct record records[N_IDS];
        struct fixture f = *model;
        memcpy(records, model->model, sizeof records);
        f.model = records;
        copy_tree(start, path);
        open_at(&f, path);
        arm(kind, n, e, stays);
        enum err got = operation(&f);
        has_fired = disarm();
        if (!has_fired) ck_ok(got);
        after_fault(&f, operation, other_first);
        close_store(&f);
        open_at(&f, path); /* the clean-up of the start leaves what the version names, and no more */
        compare(&f);
        struct collection_pressure p;
        collection_pressure(store_collection(f.col), &p);
        ck_assert_int_eq(count_files(&f), (int)p.n_fragments + 1);
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
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        fail_each(start, model, flush_once, kinds[i], ERR_IO, false, i % 2 != 0);
        fail_each(start, model, merge_all, kinds[i], ERR_IO, false, i % 2 == 0);
    }
    fail_each(start, model, flush_once, FAULT_COMMIT, ERR_IO, false, true);
    fail_each(start, model, merge_all, FAULT_COMMIT, ERR_IO, false, false);
}

START_TEST(each_operation_on_files_fails_once)
{
    with_start(files_fail);
}
END_TEST

static void disk_is_full(const char *start, const struct fixture *model)
{
    fail_each(start, model, flush_once, FAULT_WRITE, ERR_NO_SPACE, true, false);
    fail_each(start, model, merge_all, FAULT_WRITE, ERR_NO_SPACE, true, true);
}

START_TEST(the_disk_is_full_for_a_while)
{
    with_start(disk_is_full);
}
END_TEST

static void memory_fails(const char *start, const struct fixture *model)
{
    fail_each(start, model, flush_once, FAULT_MEMORY, ERR_NOMEM, false, true);
    fail_each(start, model, merge_all, FAULT_MEMORY, ERR_NOMEM, false, true);
}

START_TEST(each_allocation_fails_once)
{
    with_start(memory_fails);
}
END_TEST

/* A closed collection of which an operation of opening fails: the one who asked gets the error, the next one gets the rows. */
static void opening_fails(const char *start, const struct fixture *model)
{
    static const enum fault kinds[] = {FAULT_OPEN, FAULT_MEMORY};
    char path[512];
    struct fixture f = *model;
    (void)snprintf(path, sizeof path, "%s/work", base);
    copy_tree(start, path);
    open_at(&f, path);
    ck_ok(flush_once(&f));
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        bool has_fired = true;
        int n = 0;
        for (; has_fired; n++) {
            struct arena a = {0};
            struct snapshot s;
            ck_assert(live_close(live_of(f.col)));
            arm(kinds[i], n, kinds[i] == FAULT_MEMORY ? ERR_NOMEM : ERR_IO, false);
            enum err e = store_snapshot(f.s, f.col, &a, &s, NULL);
            has_fired = disarm();
            /* without memory to remember what is retired, it is waited for */
            ck_assert_msg(e == ERR_OK || (has_fired && e == fault.e), "fault %zu, %d: %s", i, n, err_text(e));
            if (e == ERR_OK) snapshot_end(&s);
            compare(&f);
            arena_free(&a);
        }
        ck_assert_int_gt(n, 3);
    }
    close_store(&f);
}

START_TEST(opening_again_may_fail)
{
    with_start(opening_fails);
}
END_TEST

/* --- crashes in the middle --------------------------------------------------------------------------------------- */

static void crash_now(void *ctx)
{
    const struct fixture *f = ctx;
    void (*before)(void *) = fault.before;
    fault.before = NULL; /* the second store's operations are its own */
    check_crash(f);
    fault.before = before;
}

static void crashes(const char *start, const struct fixture *model)
{
    char path[512];
    static struct record records[N_IDS];
    struct fixture f = *model;
    memcpy(records, model->model, sizeof records);
    f.model = records;
    (void)snprintf(path, sizeof path, "%s/work", base);
    copy_tree(start, path);
    open_at(&f, path);
    for (int round = 0; round < 6; round++) {
        /* a commit of which nobody can say whether it is made; then the next publication is cut off everywhere */
        if (round % 2 == 1) {
            arm(FAULT_COMMIT, 0, ERR_IO, false);
            enum err e = round == 3 ? merge_all(&f) : flush_once(&f);
            ck_assert(!disarm() || e != ERR_OK);
            for (int i = 0; i < 3; i++) step(&f);
        }
        fault.thread = pthread_self();
        fault.before_ctx = &f;
        fault.before = crash_now;
        ck_ok(round % 3 == 1 ? merge_all(&f) : flush_once(&f));
        fault.before = NULL;
        compare(&f);
        for (int i = 0; i < 4; i++) step(&f);
    }
    close_store(&f);
}

START_TEST(a_crash_at_each_operation)
{
    with_start(crashes);
}
END_TEST

TESTS(store_faults, opening_again_may_fail, each_operation_on_files_fails_once, the_disk_is_full_for_a_while,
      each_allocation_fails_once, a_crash_at_each_operation)
