/* test_backup_faults.c - backups and restores with their operations made to fail one at a time, and cut off at each of them.
 *
 * How they are made to: store_faults.h, and here reading, renaming and exchanging as well. After a backup that failed there is no
 * BACKUP file, the source shows what its model says, goes on, and a backup that is tried again succeeds. Cut off anywhere, what
 * there is restores to the source, or is refused. After a restore that failed, or was cut off, the directory holds what it
 * did before, or all of the backup.
 */
#include "api/backup.h"
#include "tests/unit/api/store_faults.h"

enum { FAULT_READ = N_FAULTS, FAULT_RENAME };

static enum err read_or_fail(struct vfs_file *f, void *p, size_t n, uint64_t offset, struct errmsg *em)
{
    return fails((enum fault)FAULT_READ) ? refuse(em) : vfs_posix()->pread(f, p, n, offset, em);
}

static enum err rename_or_fail(void *ctx, const char *from, const char *to, struct errmsg *em)
{
    (void)ctx;
    before_change();
    return fails((enum fault)FAULT_RENAME) ? refuse(em) : vfs_posix()->rename(NULL, from, to, em);
}

static bool has_no_exchange;

static enum err exchange_or_fail(void *ctx, const char *a, const char *b, struct errmsg *em)
{
    (void)ctx;
    before_change();
    if (has_no_exchange) return errmsg_set(em, ERR_UNSUPPORTED, "no exchange here");
    return fails((enum fault)FAULT_RENAME) ? refuse(em) : vfs_posix()->exchange(NULL, a, b, em);
}

static enum err list_or_fail(void *ctx, const char *path, vfs_visit visit, void *visit_ctx, struct errmsg *em)
{
    (void)ctx;
    return fails(FAULT_OPEN) ? refuse(em) : vfs_posix()->list(NULL, path, visit, visit_ctx, em);
}

static const struct vfs *worse_vfs(void)
{
    static struct vfs table;
    if (table.open != NULL) return &table;
    table = *bad_vfs();
    table.pread = read_or_fail;
    table.rename = rename_or_fail;
    table.exchange = exchange_or_fail;
    table.list = list_or_fail;
    return &table;
}

enum { PATH_SIZE = 512 };

static void path_of(const char *name, char out[PATH_SIZE])
{
    (void)snprintf(out, PATH_SIZE, "%s/%s", base, name);
}

static bool is_there(const char *dir, const char *name)
{
    struct stat st;
    char path[2 * PATH_SIZE];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return stat(path, &st) == 0;
}

static void open_worse(struct fixture *f, const char *path)
{
    f->o.path = path;
    f->o.vfs = worse_vfs();
    open_store(f);
    ck_assert_ptr_nonnull(f->col);
}

/* What the directory holds is what the model says. The model is only looked at. */
static void compare_at(const struct fixture *f, const char *path)
{
    struct fixture other = *f;
    open_at(&other, path);
    compare(&other);
    close_store(&other);
}

static enum err restore_once(const struct vfs *v, const char *from, const char *path, bool replaces)
{
    struct restored done;
    const struct restore r = {.from = from, .path = path, .stamp = "x", .replaces = replaces};
    return store_restore(v, &r, &done, NULL);
}

static void remove_aside(const char *path)
{
    char aside[PATH_SIZE + 32];
    (void)snprintf(aside, sizeof aside, "%s.restoring-x", path);
    remove_tree(aside);
    (void)snprintf(aside, sizeof aside, "%s.before-x", path);
    remove_tree(aside);
}

/* A backup that says it is one. */
static void check_backup(const struct fixture *f, const char *to)
{
    char path[PATH_SIZE];
    path_of("restored", path);
    ck_ok(restore_once(vfs_posix(), to, path, false));
    compare_at(f, path);
    remove_tree(path);
}

/* --- faults ------------------------------------------------------------------------------------------------------ */

static const struct {
    enum fault kind;
    enum err e;
    bool stays, has_no_links;
} faults[] = {
    {FAULT_WRITE, ERR_IO, false, false},
    {FAULT_WRITE, ERR_NO_SPACE, true, true},
    {FAULT_SYNC, ERR_IO, false, false},
    {FAULT_NAME, ERR_IO, false, false},
    {FAULT_OPEN, ERR_IO, false, false},
    {FAULT_OPEN, ERR_IO, false, true},
    {FAULT_MEMORY, ERR_NOMEM, false, false},
    {(enum fault)FAULT_READ, ERR_IO, false, false},
    {(enum fault)FAULT_RENAME, ERR_IO, false, false},
};
enum { N_KINDS = sizeof faults / sizeof faults[0] };

static struct fixture start_from(const char *start, const struct fixture *model, const char *path)
{
    static struct record records[N_IDS];
    struct fixture f = *model;
    memcpy(records, model->model, sizeof records);
    f.model = records;
    copy_tree(start, path);
    open_worse(&f, path);
    return f;
}

static void fail_backups(int i, const char *start, const struct fixture *model, const char *path, const char *to)
{
    bool has_fired = true;
    fault.has_no_links = faults[i].has_no_links;
    for (int n = 0; has_fired; n = suite_next_fault(n, 4)) {
        struct backup_summary sum;
        struct fixture f = start_from(start, model, path);
        if (n % 3 == 2) ck_ok(flush_collection(f.s, f.col, NULL)); /* and with nothing in the log */
        arm(faults[i].kind, n, faults[i].e, faults[i].stays);
        enum err e = store_backup(f.s, to, &sum, NULL);
        has_fired = disarm();
        if (!has_fired) ck_ok(e);
        ck_assert(e == ERR_OK || !is_there(to, "BACKUP"));
        compare(&f);
        if (e == ERR_OK) check_backup(&f, to); /* the fault did not matter */
        remove_tree(to);
        step(&f);
        ck_ok(flush_collection(f.s, f.col, NULL)); /* nothing is pinned any more */
        ck_assert_uint_eq(live_of(f.col)->n_pins, 0);
        ck_ok(store_backup(f.s, to, &sum, NULL));
        compare(&f);
        close_store(&f);
        if (n % 4 == 0) check_backup(&f, to);
        compare_at(&f, path);
        remove_tree(to);
        remove_tree(path);
        ck_assert_int_lt(n, 100000);
    }
    fault.has_no_links = false;
}

START_TEST(each_operation_of_a_backup_fails_once)
{
    struct fixture model;
    char start[PATH_SIZE], path[PATH_SIZE], to[PATH_SIZE];
    base = tmp_dir();
    path_of("start", start);
    path_of("work", path);
    path_of("backup", to);
    mem_set_hook(on_alloc, NULL);
    make_start(&model, start);
    logger_set_level(LOG_NONE);
    for (int i = 0; i < N_KINDS; i++) fail_backups(i, start, &model, path, to);
}
END_TEST

/* What there is when a process dies in the middle: no backup, or all of it. */
struct cutting {
    const struct fixture *f;
    const char *to;
    int n_cuts, n_backups;
};

static void cut_now(void *ctx)
{
    struct cutting *c = ctx;
    void (*before)(void *) = fault.before;
    char path[PATH_SIZE];
    fault.before = NULL;
    c->n_cuts++;
    if (is_there(c->to, "BACKUP")) {
        c->n_backups++;
        check_backup(c->f, c->to);
    } else if (is_there(c->to, ".")) {
        path_of("restored", path);
        ck_assert_int_eq(restore_once(vfs_posix(), c->to, path, false), ERR_NOT_FOUND);
        ck_assert(!is_there(path, "."));
    }
    fault.before = before;
}

START_TEST(a_backup_cut_off_is_none)
{
    struct fixture model;
    char start[PATH_SIZE], path[PATH_SIZE], to[PATH_SIZE];
    struct backup_summary sum;
    base = tmp_dir();
    path_of("start", start);
    path_of("work", path);
    path_of("backup", to);
    make_start(&model, start);
    logger_set_level(LOG_NONE);
    struct fixture f = start_from(start, &model, path);
    struct cutting cutting = {.f = &f, .to = to};
    fault.thread = pthread_self();
    fault.before_ctx = &cutting;
    fault.before = cut_now;
    ck_ok(store_backup(f.s, to, &sum, NULL));
    fault.before = NULL;
    ck_assert_int_gt(cutting.n_cuts, 20);
    ck_assert_int_ge(cutting.n_backups, 1); /* between the rename and the sync of the directory */
    check_backup(&f, to);
    close_store(&f);
}
END_TEST

/* --- restore ------------------------------------------------------------------------------------------------------- */

/* A backup in `to`, and in `path` a store that has gone on since: `model` is of the backup, `later` of the other. */
static void prepare(struct fixture *model, struct fixture *later, const char *to, const char *old)
{
    static struct record records[N_IDS];
    struct backup_summary sum;
    char start[PATH_SIZE];
    path_of("start", start);
    make_start(model, start);
    logger_set_level(LOG_NONE);
    *later = *model;
    memcpy(records, model->model, sizeof records);
    later->model = records;
    copy_tree(start, old);
    open_worse(later, old);
    ck_ok(store_backup(later->s, to, &sum, NULL));
    uint64_t n = collection_count(store_collection(later->col));
    do step(later);
    while (collection_count(store_collection(later->col)) == n); /* so that one can be told from the other */
    close_store(later);
}

static void fail_restores(int i, const struct fixture *model, const struct fixture *later, const char *to,
                          const char *old, const char *path)
{
    bool has_fired = true;
    for (int n = 0; has_fired; n = suite_next_fault(n, 4)) {
        bool replaces = n % 2 == 0;
        has_no_exchange = n % 4 == 2;
        if (replaces) copy_tree(old, path);
        arm(faults[i].kind, n, faults[i].e, faults[i].stays);
        enum err e = restore_once(worse_vfs(), to, path, replaces);
        has_fired = disarm();
        if (!has_fired) ck_ok(e);
        if (e == ERR_OK)
            compare_at(model, path);
        else if (replaces)
            compare_at(later, path);
        else
            ck_assert(!is_there(path, "."));
        remove_tree(path);
        remove_aside(path);
        ck_assert_int_lt(n, 100000);
    }
    has_no_exchange = false;
}

START_TEST(each_operation_of_a_restore_fails_once)
{
    struct fixture model, later;
    char to[PATH_SIZE], old[PATH_SIZE], path[PATH_SIZE];
    base = tmp_dir();
    path_of("backup", to);
    path_of("old", old);
    path_of("work", path);
    mem_set_hook(on_alloc, NULL);
    prepare(&model, &later, to, old);
    for (int i = 0; i < N_KINDS; i++) fail_restores(i, &model, &later, to, old, path);
    ck_ok(restore_once(worse_vfs(), to, path, false));
    compare_at(&model, path);
}
END_TEST

static void cut_restore(void *ctx)
{
    const struct fixture *const *both = ctx; /* of the backup, of what was there */
    void (*before)(void *) = fault.before;
    char path[PATH_SIZE], copy[PATH_SIZE];
    fault.before = NULL;
    path_of("work", path);
    path_of("crash", copy);
    copy_tree(path, copy); /* the lock is held by the restore */
    struct fixture other = *both[1];
    open_at(&other, copy);
    uint64_t n = collection_count(store_collection(other.col)), expected = 0;
    for (int i = 0; i < N_IDS; i++) expected += both[1]->model[i].is_live;
    if (n != expected) other.model = both[0]->model;
    compare(&other);
    close_store(&other);
    remove_tree(copy);
    fault.before = before;
}

START_TEST(a_restore_cut_off_leaves_one_or_the_other)
{
    struct fixture model, later;
    char to[PATH_SIZE], old[PATH_SIZE], path[PATH_SIZE];
    base = tmp_dir();
    path_of("backup", to);
    path_of("old", old);
    path_of("work", path);
    prepare(&model, &later, to, old);
    copy_tree(old, path);
    const struct fixture *both[2] = {&model, &later};
    fault.thread = pthread_self();
    fault.before_ctx = both;
    fault.before = cut_restore;
    ck_ok(restore_once(worse_vfs(), to, path, true));
    fault.before = NULL;
    compare_at(&model, path);
}
END_TEST

TESTS(backup_faults, each_operation_of_a_backup_fails_once, a_backup_cut_off_is_none,
      each_operation_of_a_restore_fails_once, a_restore_cut_off_leaves_one_or_the_other)
