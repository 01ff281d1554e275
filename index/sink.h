/* sink.h - where the sections of a file go while they are built: buffered, in order, with a running checksum.
 * Internal to index/.
 *
 * Adding never reports by itself: a failure is sticky, later adds do nothing, and sink_flush tells. So a builder of a
 * section reads as a list of adds, and need not hold the section in memory.
 * THREADS  one owner.
 */
#ifndef INDEX_SINK_H
#define INDEX_SINK_H

#include "core/vfs.h"

enum {
    SINK_BUFFER_BYTES = 1 << 20,
    SINK_SYNC_BYTES = 16 << 20, /* what waits in the kernel to be written, at most; all but that is on disk */
};

struct sink {
    const struct vfs *vfs;
    struct vfs_file *file; /* the owner's */
    char *buffer;          /* SINK_BUFFER_BYTES */
    size_t n;              /* bytes in the buffer */
    size_t n_summed;       /* of them, in front: not of this section, or in `crc` already */
    uint64_t flushed;      /* file offset of buffer[0] */
    uint64_t synced;       /* the file is on disk up to here */
    uint64_t section;      /* file offset at which the present section begins */
    uint32_t crc;          /* of the section's bytes up to buffer[n_summed] */
    enum err err;          /* sticky */
    struct errmsg why;
};

/* Bytes will go to `file` from `offset` on. ERR_NOMEM. */
enum err sink_init(struct sink *s, const struct vfs *vfs, struct vfs_file *file, uint64_t offset, struct errmsg *em);
void sink_deinit(struct sink *s); /* all-zero is fine; leaves the file open, drops what is buffered */

void sink_begin(struct sink *s,
                size_t align); /* zero bytes up to a multiple of `align` in the file; a section begins */
void sink_add(struct sink *s, const void *p, size_t n);
void sink_align(struct sink *s, size_t align);          /* zero bytes until sink_at() is a multiple; at most 64 */
uint32_t sink_crc(struct sink *s);                      /* of the section so far */
enum err sink_flush(struct sink *s, struct errmsg *em); /* everything is in the file, or why not */

/* Bytes of the present section so far. */
static inline uint64_t sink_at(const struct sink *s)
{
    return s->flushed + s->n - s->section;
}

static inline void sink_u32(struct sink *s, uint32_t v)
{
    sink_add(s, &v, sizeof v);
}

static inline void sink_u64(struct sink *s, uint64_t v)
{
    sink_add(s, &v, sizeof v);
}

#endif
