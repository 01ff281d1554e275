/* sqlite_wal.h - damage to the file beside the catalog, catalog.sqlite3-wal, is told from a torn end.
 *
 * SQLite takes the first frame with a wrong checksum for the end, as after a cut of the power; every commit from there
 * on is forgotten without a word. So a mark beside it, catalog.sqlite3-mark, says up to where the file is known to be on
 * disk: what is wrong before that is damage. The format of the -wal file is SQLite's
 * (https://www.sqlite.org/fileformat2.html#walformat), that of the mark stands in docs/formats.md.
 *
 * M1  A mark is written after the sync of what it names, and is not synced itself: it may be older than the file, never
 *     ahead of it. A cut of the power can lose it; then nothing is claimed.
 * M2  Before the file is begun anew (its header is written) a mark is made void, and that is synced: a mark never speaks of
 *     frames that were given up.
 *
 * THREADS  one at a time.
 */
#ifndef CATALOG_SQLITE_WAL_H
#define CATALOG_SQLITE_WAL_H

#include "core/vfs.h"

/* `catalog`: path of the database; no file beside it is fine, and nobody writes them. ERR_CORRUPT: commits that were durable
 * would be lost; em names file and byte. ERR_IO, ERR_NOMEM. */
enum err sqlite_wal_check(const struct vfs *vfs, const char *catalog, struct errmsg *em);

/* The mark as SQLite's writes to the -wal file go by. All-zero: there is none. */
struct wal_mark {
    const struct vfs *files; /* NULL: all-zero */
    struct vfs_file *file;   /* NULL: not made yet */
    const char *wal;         /* the caller's */
    bool is_void;
    uint64_t commit_at; /* of the last commit's frame; what is behind it holds once `end` > 0 */
    uint64_t end;       /* of that frame, when it was written whole; 0: nothing to be claimed */
    uint8_t salts[8];
};

/* `wal`: path of the -wal file, which lives until the close. The mark's file is made when there is something to claim. */
enum err wal_mark_open(struct wal_mark *m, const struct vfs *files, const char *wal, struct errmsg *em);
void wal_mark_close(struct wal_mark *m);
/* Before n bytes are written at `at`: M2. An error forbids the write. */
enum err wal_mark_prepare(struct wal_mark *m, uint64_t at, struct errmsg *em);
/* After the write; `failed`: some of it may be there. */
void wal_mark_written(struct wal_mark *m, const void *p, size_t n, uint64_t at, bool failed);
/* After a sync. A mark that cannot be written claims less, and is no error. */
void wal_mark_synced(struct wal_mark *m, bool failed);
/* With the -wal file, which was removed. */
void wal_mark_remove(const struct vfs *files, const char *wal);

#endif
