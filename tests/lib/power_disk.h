/* power_disk.h - a disk in memory that writes down every operation, and can be rebuilt as a power cut may have left it.
 *
 * A disk is a `struct vfs`. power_disk_cut() makes a second disk from the first n operations of one: what was synced is on
 * it; of every write, size and name that was not, as much as `loss` says. The second disk has no operations yet: what is
 * done to it (a recovery) is written down anew and can be cut again.
 *
 * WHAT IS SYNCED  a file's bytes and size by a sync of the file, whatever name it has; a name (made, linked, renamed,
 *                 removed) by a sync of its directory only. Directories are made durable (vfs.h), one level after the other.
 *                 A name in a directory that is gone is gone. A directory that is renamed, or exchanged with another, takes what is in it along;
 *                 a cut after it may go no further than to operations that touch neither.
 * THREADS         the table: any. new, cut, free, sum: while nobody uses the table.
 */
#ifndef TESTS_LIB_POWER_DISK_H
#define TESTS_LIB_POWER_DISK_H

#include "core/vfs.h"

struct power_disk;

enum power_loss {
    POWER_KEEP,    /* everything done so far has arrived */
    POWER_DROP,    /* nothing that was not synced */
    POWER_ORDER,   /* in the order in which it was done, up to some operation, which is torn */
    POWER_CHOOSE,  /* each write and each name by itself: whole or not at all */
    POWER_SECTORS, /* each 512-byte sector of each write by itself, names too */
    POWER_BYTES,   /* a beginning or an end of each write, cut at any byte, names by themselves */
    POWER_MIX,     /* each write in one of these ways; or its size arrives, and zeros for its bytes */
    POWER_LOSSES
};

struct power_disk *power_disk_new(void);
void power_disk_free(struct power_disk *d); /* NULL is fine; the copies that were cut from it stay */
const struct vfs *power_disk_vfs(struct power_disk *d);

size_t power_disk_ops(struct power_disk *d);             /* so far; also while others use the table */
bool power_disk_is_sync(struct power_disk *d, size_t n); /* is operation n a sync, of a file or a directory? */

/* After the first n operations. The same disk for the same n, loss and seed. Free it. Others may use the table meanwhile: the
 * threads of a store that is still open. */
struct power_disk *power_disk_cut(struct power_disk *d, size_t n, enum power_loss loss, uint64_t seed);

/* From now on the disk lies: a sync of a file or directory of which a path matches `pattern` (fnmatch, a / is matched by a /
 * only) says that it was done and does nothing. For showing that a test would notice. NULL: it is honest again. */
void power_disk_lie(struct power_disk *d, const char *pattern);

/* From now on files on it, and on what is cut from it, can have one name only, as on file systems without hard links. */
void power_disk_refuse_links(struct power_disk *d);

uint64_t power_disk_sum(struct power_disk *d); /* over all names and bytes */

/* One line a name, with its size, to stderr: for a test that is about to fail. */
void power_disk_print(struct power_disk *d);

#endif
