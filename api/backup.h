/* backup.h - a copy of a data directory while it is in use, that copy put back, and the data put together.
 *
 * A backup is a directory: BACKUP (the list of the others with sizes and checksums, written last), catalog.sqlite3, wal/,
 * collections/. Format: docs/formats.md#backup. Without BACKUP it is none.
 *
 * THREADS  one that may take long, not the loop; any number of store_backup and store_compact_now beside each other, beside
 *          readers and writers.
 */
#ifndef API_BACKUP_H
#define API_BACKUP_H

#include "api/store.h"

struct backup_summary {
    uint64_t position; /* of the log: what was written up to it is in the backup, and nothing later */
    uint64_t n_collections, n_files, bytes;
};

/* Makes a backup of the store as it is at one position of the log, in the directory `to`, which must be absent or empty:
 * every write that was acknowledged before the call is in it, and each request whole or not at all. Files of fragments and
 * manifests become further names (hard links) where the file system allows it; all else is copied and synced. Every byte
 * is read and every checksum compared, so that damage gets no fresh checksum. Writes, flushes and merges go on meanwhile.
 * ERR_EXISTS: there is something in `to`. ERR_CORRUPT: a file is damaged, `em` names it. ERR_UNSUPPORTED: the store is in
 * memory. ERR_BUSY: store_stop_work was called. ERR_IO, ERR_NO_SPACE, ERR_NOMEM. After an error no BACKUP is there, and what was
 * made is removed as far as possible. */
enum err store_backup(struct store *s, const char *to, struct backup_summary *sum, struct errmsg *em);

enum { RESTORE_PATH_MAX = 3072 };

struct restore {
    const char *from;  /* the backup; only read */
    const char *path;  /* the data directory to be; without a '/' at its end */
    const char *stamp; /* makes names that are not taken: path.restoring-STAMP, path.before-STAMP */
    bool replaces;     /* something may be in `path`: it is moved aside */
};
struct restored {
    struct backup_summary backup;
    uint64_t n_records;
    char before[RESTORE_PATH_MAX]; /* where what was in `path` is now; empty: nothing was */
};

/* Puts a backup back. Everything is copied beside `path` and compared with its checksum, then opened as a server opens it,
 * every checksum inside the files compared as well; only then the directory takes the place of `path`, in one step. So `path`
 * holds what it held before, or all of the backup.
 * ERR_NOT_FOUND: no backup. ERR_CORRUPT, ERR_NEWER: it cannot be used, `em` says which file. ERR_EXISTS: something is in `path`,
 * and `replaces` is false. ERR_LOCKED: a server uses `path`. ERR_IO, ERR_NO_SPACE, ERR_NOMEM. What was copied is removed then. */
enum err store_restore(const struct vfs *v, const struct restore *r, struct restored *done, struct errmsg *em);

struct compact_summary {
    uint64_t n_collections;
    uint64_t fragments_before, fragments_after;
    uint64_t bytes_before, bytes_after; /* of their files */
};

/* Flushes and merges until each collection, or those of which `which` is the name or the id, has all it had at the call in one
 * fragment without dead rows; then trims the log. Goes on after a collection that fails, and returns the first error.
 * ERR_NOT_FOUND: no such collection. ERR_BUSY: store_stop_work was called. */
enum err store_compact_now(struct store *s, const char *which, struct compact_summary *sum, struct errmsg *em);

#endif
