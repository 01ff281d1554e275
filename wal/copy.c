/* copy.c - a part of the log, written beside it as a log of its own: wal_copy in wal.h.
 *
 * HAPPY PATH  1. list the segments that hold positions of the range, under `mu`
 *             2. walk the records of each from its start, comparing checksums, up to its last one or the range's end, and
 *                write these bytes, with the segment's own header, under the segment's own name
 *             3. the last one gets a mark behind its last record, so that damage there is not taken for a torn tail, and a
 *                header that says how large the copy is
 * WHAT MAY BE READ  Records up to durable_lsn do not change any more. Behind them the flusher writes: bytes there may come
 *             along in the window that is read, and are not looked at.
 * FAILURE     files of the copy may be left; whoever owns the directory removes them. The log itself is only read.
 */
#include <inttypes.h>

#include "core/mem.h"
#include "wal/segment_reader.h"
#include "wal/wal_internal.h"

void wal_hold(struct wal *w)
{
    (void)pthread_mutex_lock(&w->mu);
    w->n_holds++;
    (void)pthread_mutex_unlock(&w->mu);
}

void wal_release(struct wal *w)
{
    (void)pthread_mutex_lock(&w->mu);
    CHECK(w->n_holds > 0 && "released as often as held");
    w->n_holds--;
    (void)pthread_cond_signal(&w->help);
    (void)pthread_mutex_unlock(&w->mu);
}

/* Step 1: copies of the segments wanted, oldest first. */
struct wanted {
    struct wal_segment *list;
    size_t n;
};

static enum err list_wanted(struct wal *w, struct wal_range range, struct wanted *out, struct errmsg *em)
{
    size_t n = 0;
    (void)pthread_mutex_lock(&w->mu);
    for (const struct wal_segment *g = w->segments; g != NULL; g = g->next) n++;
    struct wal_segment *list = mem_array(n > 0 ? n : 1, sizeof *list);
    n = 0;
    for (const struct wal_segment *g = w->segments; list != NULL && g != NULL; g = g->next)
        if (g->last_lsn >= g->first_lsn && g->last_lsn >= range.from && g->first_lsn <= range.until) list[n++] = *g;
    (void)pthread_mutex_unlock(&w->mu);
    if (list == NULL) return errmsg_set(em, ERR_NOMEM, "copy the log");
    *out = (struct wanted){list, n};
    return ERR_OK;
}

struct copying {
    struct wal *w;
    const struct wal_segment *g;
    struct vfs_file *from, *to;
    uint64_t until;    /* of this segment */
    uint64_t last_lsn; /* copied */
    uint64_t end;      /* of the copy so far */
    bool is_last;
};

static enum err copy_records(struct copying *c, struct segment_reader *r, struct errmsg *em)
{
    for (uint64_t at = LOG_BLOCK, next = c->g->first_lsn; next <= c->until; next++) {
        struct segment_record rec;
        const char *p;
        enum err e = segment_reader_expect(r, at, next, &rec, em);
        if (e != ERR_OK) return e;
        uint64_t n = log_record_bytes(rec.header.n);
        if (n > r->end - at) n = r->end - at; /* only the padding of the last record was cut off */
        e = segment_reader_view(r, at, n, &p, em);
        if (e == ERR_OK) e = c->w->vfs->pwrite(c->to, p, (size_t)n, at, em);
        if (e != ERR_OK) return e;
        at += n;
        c->last_lsn = next;
        c->end = at;
    }
    return ERR_OK;
}

/* Step 3. */
static enum err end_log(struct copying *c, struct log_segment_header *h, struct errmsg *em)
{
    struct log_record_header mark = {
        .type = LOG_MARK, .lsn = c->last_lsn, .durable_lsn = c->last_lsn, .salt = c->g->salt};
    uint64_t at = (c->end + LOG_ALIGN - 1) / LOG_ALIGN * LOG_ALIGN;
    mark.crc = log_record_crc(&mark, 0);
    h->size = (at + sizeof mark + LOG_BLOCK - 1) / LOG_BLOCK * LOG_BLOCK;
    log_segment_seal(h);
    enum err e = c->w->vfs->pwrite(c->to, &mark, sizeof mark, at, em);
    return e == ERR_OK ? c->w->vfs->truncate(c->to, h->size, em) : e;
}

static enum err copy_segment(struct copying *c, struct errmsg *em)
{
    char block[LOG_BLOCK] = {0};
    struct log_segment_header h;
    struct segment_reader reader = {.vfs = c->w->vfs, .file = c->from, .salt = c->g->salt, .end = c->g->size};
    enum err e = c->w->vfs->pread(c->from, &h, sizeof h, 0, em);
    if (e == ERR_OK) e = log_segment_check(&h, c->g->number, em);
    if (e == ERR_OK) e = copy_records(c, &reader, em);
    segment_reader_deinit(&reader);
    if (e == ERR_OK && c->is_last) e = end_log(c, &h, em);
    if (e != ERR_OK) return e;
    memcpy(block, &h, sizeof h);
    e = c->w->vfs->pwrite(c->to, block, sizeof block, 0, em);
    return e == ERR_OK ? c->w->vfs->sync(c->to, false, em) : e;
}

static enum err copy_file(struct wal *w, const struct wal_segment *g, struct wal_range range, bool is_last,
                          const char *to, struct errmsg *em)
{
    char from[WAL_PATH_MAX];
    struct copying c = {.w = w, .g = g, .is_last = is_last};
    c.until = g->last_lsn < range.until ? g->last_lsn : range.until;
    CHECK(wal_path(w, from, g->number, false) && "checked when opening");
    enum err e = w->vfs->open(w->vfs->ctx, from, VFS_READ, &c.from, em);
    if (e == ERR_OK) e = w->vfs->open(w->vfs->ctx, to, VFS_WRITE | VFS_CREATE | VFS_EXCLUSIVE, &c.to, em);
    if (e == ERR_OK) e = copy_segment(&c, em);
    if (c.to != NULL) w->vfs->close(c.to);
    if (c.from != NULL) w->vfs->close(c.from);
    if (e != ERR_OK) errmsg_wrap(em, "copy %s", from);
    return e == ERR_NOT_FOUND ? ERR_IO : e; /* it is held, so it should be there */
}

enum err wal_copy(struct wal *w, struct wal_range range, const char *dir, wal_copied made, void *ctx, struct errmsg *em)
{
    struct wanted wanted = {NULL, 0};
    enum err e = list_wanted(w, range, &wanted, em);
    for (size_t i = 0; i < wanted.n && e == ERR_OK; i++) {
        char name[LOG_NAME_MAX], to[WAL_PATH_MAX];
        log_name_format(name, wanted.list[i].number, false);
        if (!vfs_join(to, sizeof to, dir, name)) e = errmsg_set(em, ERR_INVALID, "the path %s is too long", dir);
        if (e == ERR_OK) e = made(ctx, name, em);
        if (e == ERR_OK) e = copy_file(w, &wanted.list[i], range, i + 1 == wanted.n, to, em);
    }
    mem_free(wanted.list);
    return e == ERR_OK ? w->vfs->sync_dir(w->vfs->ctx, dir, em) : e;
}
