/* store_faults.h - a store whose operations are made to fail one at a time, or are cut off. Shared by tests.
 *
 * Three seams: the table of files (fails the n-th write, sync, change of a name ...), the allocator (the n-th allocation
 * of this thread), and fdatasync itself for SQLite's log (a commit that is written but whose flush fails: it may come to
 * light after a crash). SQLite's files and memory are behind the first two as well. The store runs without its compactor; the test calls what the compactor would.
 */
#ifndef TESTS_UNIT_API_STORE_FAULTS_H
#define TESTS_UNIT_API_STORE_FAULTS_H

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/store_internal.h"
#include "tests/unit/api/store_model.h"

/* --- faults ------------------------------------------------------------------------------------------------------ */

enum fault { FAULT_NONE, FAULT_WRITE, FAULT_SYNC, FAULT_NAME, FAULT_OPEN, FAULT_MEMORY, FAULT_COMMIT, N_FAULTS };

static struct {
    _Atomic(enum fault) kind;
    _Atomic int countdown; /* operations of the kind that still succeed */
    bool stays;            /* fails from then on */
    bool is_everywhere;    /* on all threads, not only the one that armed it */
    _Atomic bool has_fired;
    bool has_no_links; /* files are copied */
    enum err e;
    _Atomic pthread_t thread;          /* others never fail */
    void (*_Atomic before)(void *ctx); /* called before every operation that changes files; NULL: not wanted */
    void *before_ctx;
} fault;

static inline bool is_armed(enum fault kind)
{
    if (atomic_load(&fault.kind) != kind) return false;
    return fault.is_everywhere || pthread_equal(fault.thread, pthread_self()) != 0;
}

static inline bool fails(enum fault kind)
{
    if (!is_armed(kind)) return false;
    int left = atomic_fetch_sub(&fault.countdown, 1);
    if (left > 0 || (left < 0 && !fault.stays)) return false;
    fault.has_fired = true;
    return true;
}

static inline void arm(enum fault kind, int n, enum err e, bool stays)
{
    fault.countdown = n;
    fault.has_fired = false;
    fault.stays = stays;
    fault.e = e;
    fault.thread = pthread_self();
    atomic_store(&fault.kind, kind);
}

static inline bool disarm(void)
{
    atomic_store(&fault.kind, FAULT_NONE);
    return fault.has_fired;
}

static inline bool on_alloc(void *ctx, size_t size)
{
    (void)ctx, (void)size;
    return !fails(FAULT_MEMORY);
}

static _Thread_local bool is_commit; /* the last sync was one of SQLite's log */

/* Stands in front of the C library's. SQLite's log is flushed by it after the commit was written. */
int fdatasync(int fd)
{
    char link[64], path[512];
    is_commit = false;
    if (is_armed(FAULT_COMMIT) || is_armed(FAULT_SYNC)) {
        (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, sizeof path - 1);
        path[n > 0 ? n : 0] = '\0';
        is_commit = strstr(path, "catalog.sqlite3-wal") != NULL;
        if (is_commit && fails(FAULT_COMMIT)) {
            errno = EIO;
            return -1;
        }
    }
    return 0; /* nothing here loses power */
}

int fsync(int fd)
{
    (void)fd;
    return 0;
}

static inline enum err refuse(struct errmsg *em)
{
    return errmsg_set(em, fault.e, "made to fail");
}

static inline void before_change(void)
{
    void (*before)(void *ctx) = fault.before;
    if (before != NULL && pthread_equal(fault.thread, pthread_self()) != 0) before(fault.before_ctx);
}

static inline enum err bad_open(void *ctx, const char *path, int flags, struct vfs_file **f, struct errmsg *em)
{
    (void)ctx;
    before_change();
    return fails(FAULT_OPEN) ? refuse(em) : vfs_posix()->open(NULL, path, flags, f, em);
}

static inline enum err bad_pwrite(struct vfs_file *f, const void *p, size_t n, uint64_t offset, struct errmsg *em)
{
    before_change();
    if (!fails(FAULT_WRITE)) return vfs_posix()->pwrite(f, p, n, offset, em);
    enum err e = vfs_posix()->pwrite(f, p, n / 2, offset, em); /* a torn one */
    return e == ERR_OK ? refuse(em) : e;
}

static inline enum err bad_map(struct vfs_file *f, struct bytes *map, struct errmsg *em)
{
    return fails(FAULT_OPEN) ? refuse(em) : vfs_posix()->map(f, map, em);
}

static inline enum err bad_sync(struct vfs_file *f, bool data_only, struct errmsg *em)
{
    before_change();
    is_commit = false;
    enum err e = vfs_posix()->sync(f, data_only, em); /* the one above */
    return e == ERR_OK && !is_commit && fails(FAULT_SYNC) ? refuse(em) : e;
}

static inline enum err bad_sync_dir(void *ctx, const char *path, struct errmsg *em)
{
    (void)ctx, (void)path;
    before_change();
    return fails(FAULT_SYNC) ? refuse(em) : ERR_OK;
}

static inline enum err bad_remove(void *ctx, const char *path, struct errmsg *em)
{
    (void)ctx;
    before_change();
    return fails(FAULT_NAME) ? refuse(em) : vfs_posix()->remove(NULL, path, em);
}

static inline enum err bad_link(void *ctx, const char *from, const char *to, struct errmsg *em)
{
    (void)ctx;
    before_change();
    if (fault.has_no_links) return errmsg_set(em, ERR_UNSUPPORTED, "no links here");
    return fails(FAULT_NAME) ? refuse(em) : vfs_posix()->link(NULL, from, to, em);
}

static inline enum err bad_make_dir(void *ctx, const char *path, struct errmsg *em)
{
    (void)ctx;
    before_change();
    return fails(FAULT_NAME) ? refuse(em) : vfs_posix()->make_dir(NULL, path, em);
}

static inline const struct vfs *bad_vfs(void)
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

static inline void remove_tree(const char *path)
{
    ck_ok(vfs_remove_tree(vfs_posix(), path, NULL));
}

/* ERR_NOT_FOUND: it was removed or renamed since it was listed. */
static inline enum err copy_file(const char *from, const char *to)
{
    char block[1 << 14];
    ssize_t n;
    int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0 && errno == ENOENT) return ERR_NOT_FOUND;
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    ck_assert(in >= 0 && out >= 0);
    while ((n = read(in, block, sizeof block)) > 0) ck_assert_int_eq(write(out, block, (size_t)n), n);
    (void)close(in);
    (void)close(out);
    return ERR_OK;
}

struct copying {
    char from[1024], to[1024];
};

static inline enum err try_copy_tree(const char *from, const char *to);

static inline enum err copy_entry(void *ctx, struct str name, bool is_dir)
{
    const struct copying *c = ctx;
    char from[1024], to[1024];
    (void)snprintf(from, sizeof from, "%.500s/" STR_FMT, c->from, STR_ARG(name));
    (void)snprintf(to, sizeof to, "%.500s/" STR_FMT, c->to, STR_ARG(name));
    /* the memory that SQLite's connections share means nothing to another process after a crash */
    if (strstr(from, "sqlite3-shm") != NULL) return ERR_OK;
    return is_dir ? try_copy_tree(from, to) : copy_file(from, to);
}

static inline enum err try_copy_tree(const char *from, const char *to)
{
    struct copying c;
    (void)snprintf(c.from, sizeof c.from, "%s", from);
    (void)snprintf(c.to, sizeof c.to, "%s", to);
    ck_assert_int_eq(mkdir(to, 0750), 0);
    return vfs_posix()->list(NULL, from, copy_entry, &c, NULL);
}

static inline void copy_tree(const char *from, const char *to)
{
    ck_ok(try_copy_tree(from, to));
}

/* Of an open store, whose log's helper removes and renames files: once more from the start when it did so meanwhile, since a copy
 * without one of them is of no moment. */
static inline void copy_live_tree(const char *from, const char *to)
{
    enum err e;
    while ((e = try_copy_tree(from, to)) == ERR_NOT_FOUND) remove_tree(to);
    ck_ok(e);
}

/* --- the store under test ---------------------------------------------------------------------------------------- */

static const char *base; /* the directory of this test's directories */

/* A store with two fragments, rows dead in them, and a tail; made once, copied for every fault. */
static inline void make_start(struct fixture *f, const char *path)
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

static inline void open_at(struct fixture *f, const char *path)
{
    f->o.path = path;
    f->o.vfs = bad_vfs();
    open_store(f);
    ck_assert_ptr_nonnull(f->col);
}

#endif
