/* sqlite_vfs.c - see sqlite_vfs.h. What SQLite expects of each function stands in its documentation of sqlite3_vfs and
 * sqlite3_io_methods; said here is only what is decided here.
 *
 * LOCKS      SQLite's five levels become two: none, and this handle alone. The lock lies on the bytes that SQLite's own
 *            files functions lock (PENDING_BYTE and those behind it), so that a shell on the file meets it.
 * TRAITS     a write that is cut short does no harm beside the bytes that were to be written. SQLite's own functions assume
 *            the same on every Unix.
 * TEMPORARY  files have no name and are refused: the connection keeps such things in memory (PRAGMA temp_store = MEMORY).
 */
#include "catalog/sqlite_vfs.h"

#include <sqlite3.h>
#include <stdio.h>

#include "catalog/sqlite_wal.h"
#include "core/mem.h"

enum {
    NAME_CAP = 32,
    PATH_CAP = 4096,
    SECTOR_BYTES = 4096,
    LOCK_AT = 0x40000000, /* PENDING_BYTE of SQLite's file format, then RESERVED_BYTE and 510 bytes SHARED */
    LOCK_BYTES = 512,
};

struct sqlite_vfs {
    sqlite3_vfs base; /* first */
    const struct vfs *files;
    sqlite3_vfs *system; /* for time and randomness */
    char name[NAME_CAP];
    struct errmsg why;
    enum err last; /* with it */
};

struct catalog_file {
    sqlite3_file base; /* first */
    struct sqlite_vfs *v;
    struct vfs_file *file;
    struct wal_mark mark; /* of the -wal file */
    const char *path;     /* SQLite's, until the file is closed */
    bool is_new;          /* its name is not known to be durable */
    bool is_locked;
};

static struct sqlite_vfs *vfs_of(sqlite3_vfs *base)
{
    return (struct sqlite_vfs *)(void *)base;
}

static struct catalog_file *file_of(sqlite3_file *base)
{
    return (struct catalog_file *)(void *)base;
}

/* `otherwise`: for what SQLite has no code of its own. */
static int code_of(struct sqlite_vfs *v, enum err e, int otherwise)
{
    if (e != ERR_OK) v->last = e;
    switch (e) {
    case ERR_OK:
        return SQLITE_OK;
    case ERR_NO_SPACE:
        return SQLITE_FULL;
    case ERR_NOMEM:
        return SQLITE_IOERR_NOMEM;
    case ERR_LOCKED:
        return SQLITE_BUSY;
    default:
        return otherwise;
    }
}

/* The same where the table may refuse what SQLite does not take for a failure: `em` is the reason of one only here. */
static int fail(struct sqlite_vfs *v, enum err e, const struct errmsg *em, int otherwise)
{
    if (e != ERR_OK) v->why = *em;
    return code_of(v, e, otherwise);
}

static enum err sync_parent(struct sqlite_vfs *v, const char *path)
{
    char dir[PATH_CAP];
    const char *slash = strrchr(path, '/');
    size_t n = slash == NULL ? 0 : (size_t)(slash - path);
    if (n >= sizeof dir) return errmsg_set(&v->why, ERR_IO, "the path is too long");
    if (n == 0) {
        dir[0] = slash == NULL ? '.' : '/';
        n = 1;
    } else {
        memcpy(dir, path, n);
    }
    dir[n] = '\0';
    return v->files->sync_dir(v->files->ctx, dir, &v->why);
}

/* --- an open file ---------------------------------------------------------------------------------------------- */

static enum err set_lock(struct catalog_file *f, bool wanted)
{
    if (f->is_locked == wanted) return ERR_OK;
    enum err e = f->v->files->lock(f->file, LOCK_AT, LOCK_BYTES, wanted, &f->v->why);
    if (e == ERR_OK) f->is_locked = wanted;
    return e;
}

static int file_close(sqlite3_file *base)
{
    struct catalog_file *f = file_of(base);
    wal_mark_close(&f->mark);
    f->v->files->close(f->file); /* the lock goes with it */
    return SQLITE_OK;
}

/* What lies behind the end of the file reads as zeros, and SQLite is told. */
static int file_read(sqlite3_file *base, void *p, int n, sqlite3_int64 at)
{
    struct catalog_file *f = file_of(base);
    const struct vfs *files = f->v->files;
    uint64_t size = 0;
    struct errmsg em;
    enum err e = files->pread(f->file, p, (size_t)n, (uint64_t)at, &em);
    if (e != ERR_CORRUPT) return fail(f->v, e, &em, SQLITE_IOERR_READ);
    e = files->size(f->file, &size, &f->v->why);
    size_t there = (uint64_t)at < size ? (size_t)(size - (uint64_t)at) : 0;
    if (there > (size_t)n) there = (size_t)n;
    if (e == ERR_OK && there > 0) e = files->pread(f->file, p, there, (uint64_t)at, &f->v->why);
    if (e != ERR_OK) return code_of(f->v, e, SQLITE_IOERR_READ);
    memset((char *)p + there, 0, (size_t)n - there);
    return SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *base, const void *p, int n, sqlite3_int64 at)
{
    struct catalog_file *f = file_of(base);
    enum err e = wal_mark_prepare(&f->mark, (uint64_t)at, &f->v->why);
    if (e == ERR_OK) {
        e = f->v->files->pwrite(f->file, p, (size_t)n, (uint64_t)at, &f->v->why);
        wal_mark_written(&f->mark, p, (size_t)n, (uint64_t)at, e != ERR_OK);
    }
    return code_of(f->v, e, SQLITE_IOERR_WRITE);
}

static int file_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    struct catalog_file *f = file_of(base);
    return code_of(f->v, f->v->files->truncate(f->file, (uint64_t)size, &f->v->why), SQLITE_IOERR_TRUNCATE);
}

static int file_sync(sqlite3_file *base, int flags)
{
    struct catalog_file *f = file_of(base);
    (void)flags; /* the size is among what a sync of the data makes durable */
    enum err e = f->v->files->sync(f->file, true, &f->v->why);
    if (e == ERR_OK && f->is_new) {
        e = sync_parent(f->v, f->path);
        f->is_new = e != ERR_OK;
    }
    wal_mark_synced(&f->mark, e != ERR_OK);
    return code_of(f->v, e, SQLITE_IOERR_FSYNC);
}

static int file_size(sqlite3_file *base, sqlite3_int64 *out)
{
    struct catalog_file *f = file_of(base);
    uint64_t size = 0;
    enum err e = f->v->files->size(f->file, &size, &f->v->why);
    if (e == ERR_OK) *out = (sqlite3_int64)size;
    return code_of(f->v, e, SQLITE_IOERR_FSTAT);
}

static int file_lock(sqlite3_file *base, int level)
{
    return level == SQLITE_LOCK_NONE ? SQLITE_OK
                                     : code_of(file_of(base)->v, set_lock(file_of(base), true), SQLITE_IOERR_LOCK);
}

static int file_unlock(sqlite3_file *base, int level)
{
    return level != SQLITE_LOCK_NONE ? SQLITE_OK
                                     : code_of(file_of(base)->v, set_lock(file_of(base), false), SQLITE_IOERR_UNLOCK);
}

/* Asked by one who has a lock, and then nobody else has any. */
static int file_check_reserved(sqlite3_file *base, int *is_reserved)
{
    (void)base;
    *is_reserved = 0;
    return SQLITE_OK;
}

static int file_control(sqlite3_file *base, int op, void *arg)
{
    (void)base, (void)op, (void)arg;
    return SQLITE_NOTFOUND;
}

static int file_sector(sqlite3_file *base)
{
    (void)base;
    return SECTOR_BYTES;
}

static int file_traits(sqlite3_file *base)
{
    (void)base;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static const sqlite3_io_methods file_methods = {
    .iVersion = 1, /* no shared memory, no mapping */
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector,
    .xDeviceCharacteristics = file_traits,
};

/* --- names ----------------------------------------------------------------------------------------------------- */

static int vfs_open(sqlite3_vfs *base, const char *path, sqlite3_file *out, int flags, int *out_flags)
{
    struct sqlite_vfs *v = vfs_of(base);
    struct catalog_file *f = file_of(out);
    bool writes = (flags & SQLITE_OPEN_READWRITE) != 0, makes = (flags & SQLITE_OPEN_CREATE) != 0;
    *f = (struct catalog_file){.v = v, .path = path}; /* without methods: SQLite does not close it */
    struct errmsg em;
    if (path == NULL) return fail(v, errmsg_set(&em, ERR_INTERNAL, "a temporary file is wanted"), &em, SQLITE_CANTOPEN);
    enum err e = v->files->open(v->files->ctx, path, writes ? VFS_WRITE : VFS_READ, &f->file, &em);
    if (e == ERR_OK && makes && (flags & SQLITE_OPEN_EXCLUSIVE) != 0) {
        v->files->close(f->file);
        e = errmsg_set(&em, ERR_EXISTS, "open %s: it exists", path);
    } else if (e == ERR_NOT_FOUND && makes) {
        e = v->files->open(v->files->ctx, path, VFS_WRITE | VFS_CREATE, &f->file, &em);
        f->is_new = true;
    }
    if (e == ERR_OK && writes && (flags & SQLITE_OPEN_WAL) != 0) {
        e = wal_mark_open(&f->mark, v->files, path, &em);
        if (e != ERR_OK) v->files->close(f->file);
    }
    if (e != ERR_OK) return fail(v, e, &em, SQLITE_CANTOPEN);
    if (out_flags != NULL) *out_flags = flags;
    f->base.pMethods = &file_methods;
    return SQLITE_OK;
}

static bool is_wal(const char *path)
{
    size_t n = strlen(path);
    return n >= 4 && memcmp(path + n - 4, "-wal", 4) == 0;
}

static int vfs_delete(sqlite3_vfs *base, const char *path, int sync_dir)
{
    struct sqlite_vfs *v = vfs_of(base);
    struct errmsg em;
    enum err e = v->files->remove(v->files->ctx, path, &em);
    if (e == ERR_NOT_FOUND) return SQLITE_IOERR_DELETE_NOENT;
    if (e != ERR_OK) return fail(v, e, &em, SQLITE_IOERR_DELETE);
    if (is_wal(path)) wal_mark_remove(v->files, path);
    return sync_dir != 0 ? code_of(v, sync_parent(v, path), SQLITE_IOERR_DIR_FSYNC) : SQLITE_OK;
}

/* A file of no bytes is as good as none, for SQLite's own functions too. */
static int vfs_access(sqlite3_vfs *base, const char *path, int flags, int *is_there)
{
    struct sqlite_vfs *v = vfs_of(base);
    struct vfs_file *f = NULL;
    uint64_t size = 0;
    struct errmsg em;
    (void)flags; /* what can be read can be written: these are the store's own files */
    enum err e = v->files->open(v->files->ctx, path, VFS_READ, &f, &em);
    if (e == ERR_OK) {
        e = v->files->size(f, &size, &em);
        v->files->close(f);
    }
    if (e != ERR_OK && e != ERR_NOT_FOUND) return fail(v, e, &em, SQLITE_IOERR_ACCESS);
    *is_there = e == ERR_OK && size > 0;
    return SQLITE_OK;
}

/* The table knows what a path means; SQLite only puts suffixes behind it. */
static int vfs_full_path(sqlite3_vfs *base, const char *path, int cap, char *out)
{
    size_t n = strlen(path) + 1;
    (void)base;
    if (n > (size_t)cap) return SQLITE_CANTOPEN;
    memcpy(out, path, n);
    return SQLITE_OK;
}

static int vfs_randomness(sqlite3_vfs *base, int n, char *out)
{
    sqlite3_vfs *system = vfs_of(base)->system;
    return system->xRandomness(system, n, out);
}

static int vfs_sleep(sqlite3_vfs *base, int microseconds)
{
    sqlite3_vfs *system = vfs_of(base)->system;
    return system->xSleep(system, microseconds);
}

static int vfs_time(sqlite3_vfs *base, double *days)
{
    sqlite3_vfs *system = vfs_of(base)->system;
    return system->xCurrentTime(system, days);
}

static int vfs_last_error(sqlite3_vfs *base, int n, char *out)
{
    (void)base, (void)n, (void)out;
    return 0; /* sqlite_vfs_why says more */
}

/* --- making one ------------------------------------------------------------------------------------------------ */

enum err sqlite_vfs_new(struct sqlite_vfs **out, const struct vfs *files, struct errmsg *em)
{
    sqlite3_vfs *system = sqlite3_vfs_find(NULL);
    struct sqlite_vfs *v = system != NULL ? mem_zalloc(sizeof *v) : NULL;
    if (v == NULL) return errmsg_set(em, ERR_NOMEM, "out of memory");
    v->files = files;
    v->system = system;
    (void)snprintf(v->name, sizeof v->name, "chroma-%p", (void *)v); /* of its own while it lives */
    v->base = (sqlite3_vfs){
        .iVersion = 1,
        .szOsFile = (int)sizeof(struct catalog_file),
        .mxPathname = PATH_CAP - 1,
        .zName = v->name,
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_path,
        .xRandomness = vfs_randomness,
        .xSleep = vfs_sleep,
        .xCurrentTime = vfs_time,
        .xGetLastError = vfs_last_error,
    };
    if (sqlite3_vfs_register(&v->base, 0) != SQLITE_OK) {
        mem_free(v);
        return errmsg_set(em, ERR_NOMEM, "out of memory");
    }
    *out = v;
    return ERR_OK;
}

void sqlite_vfs_free(struct sqlite_vfs *v)
{
    if (v == NULL) return;
    int rc = sqlite3_vfs_unregister(&v->base);
    CHECK(rc == SQLITE_OK && "it was registered");
    mem_free(v);
}

const char *sqlite_vfs_name(const struct sqlite_vfs *v)
{
    return v->name;
}

enum err sqlite_vfs_last(const struct sqlite_vfs *v)
{
    return v->last;
}

const char *sqlite_vfs_why(const struct sqlite_vfs *v)
{
    return v->why.text;
}
