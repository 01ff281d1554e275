/* sqlite_wal.h - is the file beside the catalog, catalog.sqlite3-wal, damaged?
 *
 * SQLite takes the first frame with a wrong checksum for the end, as after a cut of the power; every commit from there
 * on is forgotten without a word. This tells damage from a torn end before SQLite opens the file. The format is
 * SQLite's (https://www.sqlite.org/fileformat2.html#walformat).
 * THREADS  any; nobody writes the file.
 */
#ifndef CATALOG_SQLITE_WAL_H
#define CATALOG_SQLITE_WAL_H

#include "core/vfs.h"

/* `catalog`: path of the database; no file beside it is fine. ERR_CORRUPT: commits that were durable would be lost; em
 * names file and byte. ERR_IO, ERR_NOMEM. */
enum err sqlite_wal_check(const struct vfs *vfs, const char *catalog, struct errmsg *em);

/* The same before the catalog is opened: a single turned bit, which the checksum shows, is turned back and logged, also
 * where a cut of the power left it. ERR_CORRUPT: what cannot be mended. */
enum err sqlite_wal_mend(const struct vfs *vfs, const char *catalog, struct errmsg *em);

#endif
