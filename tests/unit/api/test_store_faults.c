/* test_store_faults.c - a flush and a merge with their operations made to fail one at a time, and cut off at each of them.
 *
 * Three seams: the table of files (fails the n-th write, sync, change of a name ...), the allocator (the n-th allocation
 * of this thread), and fdatasync itself for SQLite's log (a commit that is written but whose flush fails: it may come to
 * light after a crash). The store runs without its compactor; the test calls what the compactor would. After every
 * fault: the store shows what the model says, the files as they are at that moment open and show the same (a crash), the
 * operation succeeds when it is tried again, and what is left after a restart is the same once more.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/store_internal.h"
#include "tests/unit/api/store_model.h"

/* --- faults ------------------------------------------------------------------------------------------------------ */

enum fault { FAULT_NONE, FAULT_WRITE, FAULT_SYNC, FAULT_NAME, FAULT_OPEN, FAULT_MEMORY, FAULT_COMMIT, N_FAULTS };

static struct {
    _Atomic(enum fault) kind;
    int countdown; /* this thread's operations of the kind that still succeed */
    bool stays;    /* fails from then on */
    bool has_fired;
    enum err e;
    _Atomic pthread_t thread;          /* others never fail */
    void (*_Atomic before)(void *ctx); /* called before every operation that changes files; NULL: not wanted */
    void *before_ctx;
} fault;

static bool is_armed(enum fault kind)
{
    return atomic_load(&fault.kind) == kind && pthread_equal(fault.thread, pthread_self()) != 0;
}

static bool fails(enum fault kind)
{
    if (!is_armed(kind) || (fault.has_fired && !fault.stays) || fault.countdown-- > 0) return false;
    fault.has_fired = true;
    return true;
}

static void arm(enum fault kind, int n, enum err e, bool stays)
{
    fault.countdown = n;
    fault.has_fired = false;
    fault.stays = stays;
    fault.e = e;
    fault.thread = pthread_self();
    atomic_store(&fault.kind, kind);
}

static bool disarm(void)
{
    atomic_store(&fault.kind, FAULT_NONE);
    return fault.has_fired;
}

static bool on_alloc(void *ctx, size_t size)
{
    (void)ctx, (void)size;
    return !fails(FAULT_MEMORY);
}

/* Stands in front of the C library's. SQLite's log is flushed by it after the commit was written. */
int fdatasync(int fd)
{
    char link[64], path[512];
    if (is_armed(FAULT_COMMIT)) {
        (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, sizeof path - 1);
        path[n > 0 ? n : 0] = '\0';
        if (strstr(path, "catalog.sqlite3-wal") != NULL && fails(FAULT_COMMIT)) {
            errno = EIO;
            return -1;
        }
    }
    return 0; /* nothing here loses power */
}

static enum err refuse(struct errmsg *em)
{
    return errmsg_set(em, fault.e, "made to fail");
}

static void before_change(void)
{
    void (*before)(void *ctx) = fault.before;
    if (before != NULL && pthread_equal(fault.thread, pthread_self()) != 0) before(fault.before_ctx);
}

static enum err bad_open(void *ctx, const char *path, int flags, struct vfs_file **f, struct errmsg *em)
{
    (void)ctx;
    before_change();
    return fails(FAULT_OPEN) ? refuse(em) : vfs_posix()->open(NULL, path, flags, f, em);
}

static enum err bad_pwrite(struct vfs_file *f, const void *p, size_t n, uint64_t offset, struct errmsg *em)
{
    before_change();
    if (!fails(FAULT_WRITE)) return vfs_posix()->pwrite(f, p, n, offset, em);
    enum err e = vfs_posix()->pwrite(f, p, n / 2, offset, em); /* a torn one */
    return e == ERR_OK ? refuse(em) : e;
}

static enum err bad_map(struct vfs_file *f, struct bytes *map, struct errmsg *em)
{
    return fails(FAULT_OPEN) ? refuse(em) : vfs_posix()->map(f, map, em);
}

static enum err bad_sync(struct vfs_file *f, bool data_only, struct errmsg *em)
{
    (void)f, (void)data_only;
    before_change();
    return fails(FAULT_SYNC) ? refuse(em) : ERR_OK;
}

static enum err bad_sync_dir(void *ctx, const char *path, struct errmsg *em)
{
    (void)ctx, (void)path;
    before_change();
    return fails(FAULT_SYNC) ? refuse(em) : ERR_OK;
}

static enum err bad_remove(void *ctx, const char *path, struct errmsg *em)
{
    (void)ctx;
    before_change();
    return fails(FAULT_NAME) ? refuse(em) : vfs_posix()->remove(NULL, path, em);
}

static enum err bad_link(void *ctx, const char *from, const char *to, struct errmsg *em)
{
    (void)ctx;
    before_change();
    return fails(FAULT_NAME) ? refuse(em) : vfs_posix()->link(NULL, from, to, em);
}

static enum err bad_make_dir(void *ctx, const char *path, struct errmsg *em)
{
    (void)ctx;
    before_change();
    return fails(FAULT_NAME) ? refuse(em) : vfs_posix()->make_dir(NULL, path, em);
}

static const struct vfs *bad_vfs(void)
{
    static struct vfs table;
    if (table.open != NULL) return &table; /* a store that is open reads it */
    table = *vfs_posix();
    table.open = bad_open;
    table.pwrite = bad_pwrite;
    table.map = bad_map;
    table.sync = bad_sync;
    table.sync_dir = bad_sync_dir;
    table.link = bad_link;
    table.remove = bad_remove;
    table.make_dir = bad_make_dir;
    return &table;
}

/* --- directories ------------------------------------------------------------------------------------------------- */

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *f)
{
    (void)st, (void)flag, (void)f;
    return remove(path);
}

static void remove_tree(const char *path)
{
    (void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void copy_file(const char *from, const char *to)
{
    char block[1 << 14];
    ssize_t n;
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    ck_assert(in >= 0 && out >= 0);
    while ((n = read(in, block, sizeof block)) > 0) ck_assert_int_eq(write(out, block, (size_t)n), n);
    (void)close(in);
    (void)close(out);
}

struct copying {
    char from[512], to[512];
};

static void copy_tree(const char *from, const char *to);

static enum err copy_entry(void *ctx, struct str name, bool is_dir)
{
    const struct copying *c = ctx;
    char from[1024], to[1024];
    (void)snprintf(from, sizeof from, "%s/" STR_FMT, c->from, STR_ARG(name));
    (void)snprintf(to, sizeof to, "%s/" STR_FMT, c->to, STR_ARG(name));
    /* the memory that SQLite's connections share means nothing to another process after a crash */
    if (strstr(from, "sqlite3-shm") != NULL) return ERR_OK;
    if (is_dir)
        copy_tree(from, to);
    else
        copy_file(from, to);
    return ERR_OK;
}

static void copy_tree(const char *from, const char *to)
{
    struct copying c;
    (void)snprintf(c.from, sizeof c.from, "%s", from);
    (void)snprintf(c.to, sizeof c.to, "%s", to);
    ck_assert_int_eq(mkdir(to, 0750), 0);
    ck_ok(vfs_posix()->list(NULL, from, copy_entry, &c, NULL));
}

/* --- the store under test ---------------------------------------------------------------------------------------- */

static const char *base; /* the directory of this test's directories */

/* A store with two fragments, rows dead in them, and a tail; made once, copied for every fault. */
static void make_start(struct fixture *f, const char *path)
{
    setup(f, 17, path);
    close_store(f);
    f->o.no_compactor = true;
    f->o.wal.segment_bytes = 16 << 10;
    open_store(f);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 12; i++) step(f);
        if (round < 2) ck_ok(flush_collection(f->s, f->col, NULL));
    }
    compare(f);
    close_store(f);
}

static void open_at(struct fixture *f, const char *path)
{
    f->o.path = path;
    f->o.vfs = bad_vfs();
    open_store(f);
    ck_assert_ptr_nonnull(f->col);
}

/* What a process would find that starts now: the files as the operating system has them. */
static void check_crash(const struct fixture *f)
{
    struct fixture after = *f;
    char path[512];
    (void)snprintf(path, sizeof path, "%s/crash", base);
    copy_tree(f->o.path, path);
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
    enum err e = collection_fragments(store_collection(f->col), &a, &list, &n);
    if (e == ERR_OK) e = n > 0 ? merge_fragments(f->s, f->col, list, n, NULL) : ERR_OK;
    for (uint32_t i = 0; i < n; i++) segment_unref(list[i]);
    arena_free(&a);
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
    for (int n = 0; has_fired; n += 1 + n / 8) { /* each at first, then fewer: the later ones are much alike */
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

TESTS(store_faults, each_operation_on_files_fails_once, the_disk_is_full_for_a_while, each_allocation_fails_once,
      a_crash_at_each_operation)
