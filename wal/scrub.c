/* scrub.c - reads the closed segments of a log that is in use, gently: wal_scrub in wal.h.
 *
 * HAPPY PATH  one segment after the other, by number, is held (nothing is retired meanwhile), its records are walked with
 *             their checksums up to the last position that it is known to have, and it is released. The active segment is left out:
 *             what it holds was written just now.
 * FAILURE     a record that is not what it should be: the segment is counted, and the next one looked at. A file that
 *             cannot be read counts the same.
 */
#include <inttypes.h>

#include "wal/segment_reader.h"
#include "wal/wal_internal.h"

/* The first closed segment above `number` that holds something that is not forgotten, and so is not being taken out;
 * held. */
static bool hold_next(struct wal *w, uint64_t number, struct wal_segment *found)
{
    bool is_found = false;
    (void)pthread_mutex_lock(&w->mu);
    for (const struct wal_segment *g = w->segments; g != NULL && !is_found; g = g->next) {
        is_found = g->number > number && g != w->active && g->last_lsn >= g->first_lsn && g->last_lsn > w->trim_lsn;
        if (is_found) *found = *g;
    }
    if (is_found) w->n_holds++;
    (void)pthread_mutex_unlock(&w->mu);
    return is_found;
}

/* ERR_CORRUPT: damaged. What `pace` returns. */
static enum err walk(struct segment_reader *r, const struct wal_segment *g, wal_pace pace, void *ctx, struct errmsg *em)
{
    uint64_t at = LOG_BLOCK;
    for (uint64_t next = g->first_lsn; next <= g->last_lsn; next++) {
        struct segment_record rec;
        enum err e = segment_reader_expect(r, at, next, &rec, em);
        if (e != ERR_OK) return e;
        uint64_t n = log_record_bytes(rec.header.n);
        if (r->vfs->forget != NULL) r->vfs->forget(r->file, at, n);
        at += n;
        e = pace(ctx, n);
        if (e != ERR_OK) return e;
    }
    return ERR_OK;
}

static enum err scrub_segment(struct wal *w, const struct wal_segment *g, wal_pace pace, void *ctx, bool *is_good,
                              struct errmsg *em)
{
    char path[WAL_PATH_MAX];
    struct log_segment_header h;
    struct vfs_file *file = NULL;
    if (!wal_path(w, path, g->number, false)) return errmsg_set(em, ERR_IO, "scrub the log: the path is too long");
    *is_good = false;
    enum err e = w->vfs->open(w->vfs->ctx, path, VFS_READ, &file, em);
    if (e != ERR_OK) return e == ERR_NOMEM ? e : ERR_OK;
    struct segment_reader r = {.vfs = w->vfs, .file = file, .salt = g->salt, .end = g->used};
    bool is_paced = true;
    e = w->vfs->pread(file, &h, sizeof h, 0, em);
    if (e == ERR_OK) e = log_segment_check(&h, g->number, em);
    if (e == ERR_OK) {
        is_paced = (e = pace(ctx, LOG_BLOCK)) == ERR_OK;
        if (is_paced) e = walk(&r, g, pace, ctx, em);
    }
    segment_reader_deinit(&r);
    w->vfs->close(file);
    *is_good = e == ERR_OK;
    if (e == ERR_CORRUPT || e == ERR_IO || e == ERR_NEWER) {
        errmsg_wrap(em, "%s", path);
        return ERR_OK;
    }
    return e;
}

enum err wal_scrub(struct wal *w, wal_pace pace, void *ctx, uint64_t *n_damaged, struct errmsg *em)
{
    struct wal_segment g = {.number = 0};
    uint64_t n = 0;
    enum err e = ERR_OK;
    while (e == ERR_OK && hold_next(w, g.number, &g)) {
        struct errmsg why = {{0}};
        bool is_good = false;
        e = scrub_segment(w, &g, pace, ctx, &is_good, &why);
        wal_release(w);
        if (e == ERR_OK && is_good) continue;
        if (em != NULL && (e != ERR_OK || n == 0)) *em = why;
        if (e == ERR_OK) n++;
    }
    if (e == ERR_OK) *n_damaged = n;
    return e;
}
