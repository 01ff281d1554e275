/* vfs.h - the one table through which files are reached.
 *
 * The store never calls open(2) and its relatives itself; it is handed a `struct vfs`. vfs_posix() is the real one,
 * vfs_mem_new() keeps everything in memory (--ephemeral, unit tests), and tests put their own table in between to fail,
 * tear and lose writes.
 *
 * THREADS  all functions: any thread; one file handle is used by one thread at a time, except that pread and map are
 *          safe beside each other and beside writes to other ranges.
 * PATHS    plain UTF-8, '/' between parts. OUT parameters are written only on success.
 */
#ifndef CORE_VFS_H
#define CORE_VFS_H

#include "core/arena.h"
#include "core/err.h"

struct vfs_file; /* an open file; belongs to the table that made it */

enum vfs_open_flags {
    VFS_READ = 0,      /* existing file, reading only */
    VFS_WRITE = 1,     /* existing file, reading and writing */
    VFS_CREATE = 2,    /* with VFS_WRITE: make it if absent */
    VFS_EXCLUSIVE = 4, /* with VFS_CREATE: fail if it is there */
    VFS_TRUNCATE = 8,  /* with VFS_WRITE: to length zero */
};

/* Called for every entry of a directory except . and .. ; a non-zero return stops the walk and is passed on. */
typedef enum err (*vfs_visit)(void *ctx, struct str name, bool is_dir);

struct vfs {
    void *ctx;
    /* ERR_NOT_FOUND when absent and not to be made. */
    enum err (*open)(void *ctx, const char *path, int flags, struct vfs_file **f, struct errmsg *em);
    void (*close)(struct vfs_file *f); /* errors of close are of no consequence after a sync */
    /* Reads exactly n bytes or fails; ERR_CORRUPT when the file ends before. */
    enum err (*pread)(struct vfs_file *f, void *p, size_t n, uint64_t offset, struct errmsg *em);
    enum err (*pwrite)(struct vfs_file *f, const void *p, size_t n, uint64_t offset, struct errmsg *em);
    enum err (*size)(struct vfs_file *f, uint64_t *size, struct errmsg *em);
    enum err (*truncate)(struct vfs_file *f, uint64_t size, struct errmsg *em);
    /* Reserves space so that later writes cannot run out of it (ERR_NO_SPACE now, not then). */
    enum err (*allocate)(struct vfs_file *f, uint64_t size, struct errmsg *em);
    enum err (*sync)(struct vfs_file *f, bool data_only, struct errmsg *em); /* fdatasync or fsync */
    /* These bytes will not be read again soon: the kernel need not keep them, unless somebody has them mapped. A hint; may be
     * NULL in a table. */
    void (*forget)(struct vfs_file *f, uint64_t offset, uint64_t n);
    /* Maps the whole file for reading; holds after close. An empty file maps to {NULL, 0}. */
    enum err (*map)(struct vfs_file *f, struct bytes *map, struct errmsg *em);
    void (*unmap)(void *ctx, struct bytes map);
    enum err (*rename)(void *ctx, const char *from, const char *to, struct errmsg *em);
    /* Two names change what they name, in one step. ERR_UNSUPPORTED: not on this file system. */
    enum err (*exchange)(void *ctx, const char *a, const char *b, struct errmsg *em);
    /* A second name for a file; its bytes stay until the last name is removed. ERR_EXISTS: `to` is there.
     * ERR_UNSUPPORTED: this file can have no second name there (vfs_link_or_copy copies then). */
    enum err (*link)(void *ctx, const char *from, const char *to, struct errmsg *em);
    enum err (*remove)(void *ctx, const char *path, struct errmsg *em); /* a file; absent: ERR_NOT_FOUND */
    /* With parents, and durable; existing is fine. */
    enum err (*make_dir)(void *ctx, const char *path, struct errmsg *em);
    enum err (*remove_dir)(void *ctx, const char *path, struct errmsg *em); /* must be empty */
    enum err (*sync_dir)(void *ctx, const char *path, struct errmsg *em);   /* names made or removed become durable */
    enum err (*list)(void *ctx, const char *path, vfs_visit visit, void *visit_ctx, struct errmsg *em);
    /* Takes the directory for this process by a lock on path/LOCK that dies with it. ERR_LOCKED if another one has it. */
    enum err (*lock_dir)(void *ctx, const char *path, struct vfs_file **lock, struct errmsg *em);
    /* Takes n bytes of a file that is open for writing, there or not, for this handle alone, or gives them up. Other
     * handles and processes that ask for them meet it; reading and writing do not. Dies with the handle. ERR_LOCKED. */
    enum err (*lock)(struct vfs_file *f, uint64_t offset, uint64_t n, bool wanted, struct errmsg *em);
};

const struct vfs *vfs_posix(void);

/* Files in memory (each a memfd, so that they can be mapped). Free it after everything opened through it is closed. */
enum err vfs_mem_new(struct vfs **v, struct errmsg *em);
void vfs_mem_free(struct vfs *v);

/* Gives `to`, which must not be there, the bytes of the file `from`, which nobody writes to: a second name where the
 * table can link, else a copy, synced. The name is durable after sync_dir. After a failure part of a copy may be left
 * under `to`. Errors of link, and of reading and writing. */
enum err vfs_link_or_copy(const struct vfs *v, const char *from, const char *to, struct errmsg *em);

/* Removes a directory with all that is in it, at most 16 levels; what cannot be removed stays, and the first error is
 * returned. An absent one is fine. */
enum err vfs_remove_tree(const struct vfs *v, const char *path, struct errmsg *em);

/* Is it absent (*is_there false), or else without an entry? Other errors as list. */
enum err vfs_look_at_dir(const struct vfs *v, const char *path, bool *is_there, bool *is_empty, struct errmsg *em);

/* "dir/name" in a caller's buffer; false when it does not fit. */
bool vfs_join(char *out, size_t cap, const char *dir, const char *name);

#endif
