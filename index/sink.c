/* sink.c - see sink.h.
 *
 * Small adds are gathered to writes of 1 MiB; an add of that size or more goes out directly. The checksum is taken over
 * the buffer when it is written or asked for, not with every add.
 *
 * A file is brought to the disk a piece at a time. One sync of gigabytes at its end would leave the log's syncs, and so
 * everybody who writes, waiting behind it for seconds.
 */
#include "index/sink.h"

#include "core/crc32c.h"
#include "core/mem.h"

enum { PADDING_MAX = 4096 };

enum err sink_init(struct sink *s, const struct vfs *vfs, struct vfs_file *file, uint64_t offset, struct errmsg *em)
{
    *s = (struct sink){.vfs = vfs, .file = file, .flushed = offset, .synced = offset, .section = offset};
    s->buffer = mem_alloc(SINK_BUFFER_BYTES);
    return s->buffer != NULL ? ERR_OK : errmsg_set(em, ERR_NOMEM, "a write buffer");
}

void sink_deinit(struct sink *s)
{
    mem_free(s->buffer);
    *s = (struct sink){0};
}

static void sum_buffer(struct sink *s)
{
    s->crc = crc32c(s->crc, s->buffer + s->n_summed, s->n - s->n_summed);
    s->n_summed = s->n;
}

static void write_out(struct sink *s, const void *p, size_t n)
{
    if (s->err == ERR_OK) s->err = s->vfs->pwrite(s->file, p, n, s->flushed, &s->why);
    s->flushed += n;
    if (s->flushed - s->synced < SINK_SYNC_BYTES) return;
    if (s->err == ERR_OK) s->err = s->vfs->sync(s->file, true, &s->why);
    s->synced = s->flushed;
}

static void write_buffer(struct sink *s)
{
    if (s->n == 0) return;
    sum_buffer(s);
    write_out(s, s->buffer, s->n);
    s->n = s->n_summed = 0;
}

void sink_add(struct sink *s, const void *p, size_t n)
{
    if (s->err != ERR_OK || n == 0) return;
    if (n > SINK_BUFFER_BYTES - s->n) write_buffer(s);
    if (n >= SINK_BUFFER_BYTES) {
        s->crc = crc32c(s->crc, p, n);
        write_out(s, p, n);
        return;
    }
    memcpy(s->buffer + s->n, p, n);
    s->n += n;
}

static void add_zeros(struct sink *s, size_t n)
{
    static const char zeros[PADDING_MAX];
    CHECK(n <= sizeof zeros && "padding below a page");
    sink_add(s, zeros, n);
}

void sink_begin(struct sink *s, size_t align)
{
    size_t over = (size_t)((s->flushed + s->n) % align);
    if (over != 0) add_zeros(s, align - over);
    s->section = s->flushed + s->n;
    s->n_summed = s->n;
    s->crc = 0;
}

void sink_align(struct sink *s, size_t align)
{
    size_t over = (size_t)(sink_at(s) % align);
    if (over != 0) add_zeros(s, align - over);
}

uint32_t sink_crc(struct sink *s)
{
    sum_buffer(s);
    return s->crc;
}

enum err sink_flush(struct sink *s, struct errmsg *em)
{
    write_buffer(s);
    if (s->err != ERR_OK && em != NULL) *em = s->why;
    return s->err;
}
