/* sqlite_vfs.h - SQLite's files reached through a table of core/vfs.h: the catalog is written, failed, recorded and kept
 * in memory like every other file.
 *
 * For one connection in exclusive locking mode (PRAGMA locking_mode = EXCLUSIVE before anything is read): there is no
 * memory shared with other connections, so the index of the write-ahead log lies in this connection's memory and no -shm
 * file is made. Another one, of this process or another, gets SQLITE_BUSY as long as this one is open.
 *
 * THREADS  one at a time, the connection's. Making and freeing: any.
 * SYNC     a sync is one of the table's; the first one of a file that this made syncs its directory too. A removal syncs
 *          the directory when SQLite asks for it.
 * ERRORS   become SQLite's codes: ERR_NO_SPACE SQLITE_FULL, ERR_NOMEM SQLITE_IOERR_NOMEM, ERR_LOCKED SQLITE_BUSY, the rest
 *          SQLITE_IOERR_* or SQLITE_CANTOPEN. The table's text is kept for sqlite_vfs_why.
 */
#ifndef CATALOG_SQLITE_VFS_H
#define CATALOG_SQLITE_VFS_H

#include "core/vfs.h"

struct sqlite_vfs;

/* Registers with SQLite, under a name of its own. `files` must live until the free. ERR_NOMEM. */
enum err sqlite_vfs_new(struct sqlite_vfs **out, const struct vfs *files, struct errmsg *em);
/* After the connection is closed. NULL is fine. */
void sqlite_vfs_free(struct sqlite_vfs *v);
const char *sqlite_vfs_name(const struct sqlite_vfs *v); /* for sqlite3_open_v2 */
/* What the table said when it last failed; "" when it never did. Lives as long as `v`, changes with the next failure. */
const char *sqlite_vfs_why(const struct sqlite_vfs *v);

#endif
