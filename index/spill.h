/* spill.h - bytes gathered for later: in memory while they are few, in a temporary file once they are many.
 * Internal to index/.
 *
 * A fragment's columns arrive together and are written one after the other; this is where a column waits. A small
 * fragment never makes a temporary file, a large one never holds a column in memory.
 * THREADS  one owner.
 */
#ifndef INDEX_SPILL_H
#define INDEX_SPILL_H

#include "core/buf.h"
#include "core/vfs.h"

enum { SPILL_MEMORY_BYTES = 4 << 20 };

struct spill {
    const struct vfs *vfs; /* NULL: memory only */
    char *path;            /* of the temporary file; owned */
    struct vfs_file *file; /* NULL until it is needed */
    struct buf buf;        /* what is not in the file yet */
    uint64_t n_file;       /* bytes in the file */
    struct bytes map;      /* of the file, once spill_view was called */
    enum err err;          /* sticky */
    struct errmsg why;
};

/* The temporary file would be "<path><suffix>"; vfs NULL keeps everything in memory. ERR_NOMEM. */
enum err spill_init(struct spill *s, const struct vfs *vfs, const char *path, const char *suffix, struct errmsg *em);
void spill_deinit(struct spill *s); /* removes the file; all-zero is fine */

void spill_add(struct spill *s, const void *p, size_t n); /* failures are sticky; spill_view tells */

/* All bytes added; nothing is added afterwards. The view holds until spill_deinit. */
enum err spill_view(struct spill *s, struct bytes *view, struct errmsg *em);

static inline uint64_t spill_size(const struct spill *s)
{
    return s->n_file + s->buf.n;
}

#endif
