/* wal.c - the handle of the log: open, submit, trim, stats, close. See wal.h for the contract, log_format.h for the rules
 * of the files, and these for the work: recover.c, flusher.c, spares.c.
 *
 * HAPPY PATH  wal_open recovers, makes sure that a segment is active, starts the flusher and the helper. wal_submit
 *             computes the payload's checksum and appends the record to a list; the flusher takes the whole list, and what
 *             is submitted meanwhile is the next batch. wal_trim notes a position and wakes the helper.
 * FAILURE     is_failed is set once and never cleared: nothing is written, renamed or removed from then on, so the
 *             files stay what the next start has to judge.
 * INVARIANTS  a record is in the list, or with the flusher, or its `done` has been called: never two of these.
 *             pending_bytes is the sum over the first two. At least one .log file exists once open has succeeded,
 *             unless the disk was full then.
 */
#include "wal/wal.h"

#include <string.h>

#include "core/crc32c.h"
#include "core/mem.h"
#include "wal/wal_internal.h"

bool wal_path(const struct wal *w, char out[WAL_PATH_MAX], uint64_t number, bool is_spare)
{
    char name[LOG_NAME_MAX];
    log_name_format(name, number, is_spare);
    return vfs_join(out, WAL_PATH_MAX, w->dir, name);
}

enum err wal_sync_file(const struct wal *w, struct vfs_file *f, bool data_only, struct errmsg *em)
{
    return w->options.no_sync ? ERR_OK : w->vfs->sync(f, data_only, em);
}

enum err wal_sync_dir(const struct wal *w, struct errmsg *em)
{
    return w->options.no_sync ? ERR_OK : w->vfs->sync_dir(w->vfs->ctx, w->dir, em);
}

/* The directory itself becomes durable by syncing the one that holds its name. */
static enum err make_directory(struct wal *w, struct errmsg *em)
{
    enum err e = w->vfs->make_dir(w->vfs->ctx, w->dir, em);
    if (e != ERR_OK || w->options.no_sync) return e;
    char parent[WAL_PATH_MAX];
    size_t n = strlen(w->dir);
    while (n > 1 && w->dir[n - 1] == '/') n--;
    while (n > 0 && w->dir[n - 1] != '/') n--;
    while (n > 1 && w->dir[n - 1] == '/') n--;
    if (n == 0) {
        parent[0] = '.';
        n = 1;
    } else {
        memcpy(parent, w->dir, n);
    }
    parent[n] = '\0';
    return w->vfs->sync_dir(w->vfs->ctx, parent, em);
}

static uint64_t or_default(uint64_t v, uint64_t standard)
{
    return v != 0 ? v : standard;
}

static uint64_t segment_size(uint64_t size)
{
    if (size < WAL_SEGMENT_MIN) size = WAL_SEGMENT_MIN;
    if (size > LOG_PAYLOAD_MAX) size = LOG_PAYLOAD_MAX;
    return (size + LOG_BLOCK - 1) / LOG_BLOCK * LOG_BLOCK;
}

static void set_options(struct wal *w, const struct wal_options *o)
{
    static const struct wal_options none;
    if (o == NULL) o = &none;
    uint64_t bulk = o->segment_bytes != 0 ? o->segment_bytes : UINT64_C(16) << 20;
    w->options = (struct wal_options){
        .segment_bytes = segment_size(or_default(o->segment_bytes, UINT64_C(4) << 20)),
        .bulk_bytes = segment_size(or_default(o->bulk_bytes, bulk)),
        .max_pending_bytes = or_default(o->max_pending_bytes, UINT64_C(64) << 20),
        .keep_segments = o->keep_segments != 0 ? o->keep_segments : 4,
        .quiet_ms = o->quiet_ms != 0 ? o->quiet_ms : 1000,
        .no_sync = o->no_sync,
    };
    w->next_bytes = w->options.segment_bytes;
}

/* A segment to write to, if recovery has left none. Without space the log opens all the same: what is in it can be
 * read, and the first batch asks for space again. */
static enum err start_segment(struct wal *w, struct errmsg *em)
{
    if (w->file != NULL) return ERR_OK;
    struct wal_spare *s = NULL;
    enum err e = wal_spare_new(w, wal_small_bytes(w), true, &s, em);
    if (e == ERR_OK) e = wal_activate(w, s, em);
    return e == ERR_NO_SPACE ? ERR_OK : e;
}

static void wal_free(struct wal *w)
{
    if (w->file != NULL) w->vfs->close(w->file);
    for (struct wal_segment *s = w->segments, *next; s != NULL; s = next) {
        next = s->next;
        mem_free(s);
    }
    struct wal_spare *lists[] = {w->clean, w->dirty};
    for (size_t i = 0; i < 2; i++)
        for (struct wal_spare *s = lists[i], *next; s != NULL; s = next) {
            next = s->next;
            wal_spare_free(w, s);
        }
    (void)pthread_mutex_destroy(&w->mu);
    (void)pthread_cond_destroy(&w->work);
    (void)pthread_cond_destroy(&w->help);
    (void)pthread_cond_destroy(&w->prepared);
    mem_free(w->buffer);
    mem_free(w->zeros);
    mem_free(w->dir);
    mem_free(w);
}

static enum err start_threads(struct wal *w, struct errmsg *em)
{
    int rc = pthread_create(&w->helper, NULL, wal_helper_main, w);
    if (rc != 0) return errmsg_errno(em, rc, "start the log's helper thread");
    w->has_helper = true;
    rc = pthread_create(&w->flusher, NULL, wal_flusher_main, w);
    if (rc != 0) return errmsg_errno(em, rc, "start the log's flusher thread");
    w->has_flusher = true;
    (void)pthread_setname_np(w->helper, "log-helper");
    (void)pthread_setname_np(w->flusher, "log");
    return ERR_OK;
}

static void stop_threads(struct wal *w)
{
    (void)pthread_mutex_lock(&w->mu);
    w->is_closing = true;
    (void)pthread_cond_broadcast(&w->work);
    (void)pthread_mutex_unlock(&w->mu);
    /* The flusher first: its last batch may need a segment from the helper. */
    if (w->has_flusher) (void)pthread_join(w->flusher, NULL);
    (void)pthread_mutex_lock(&w->mu);
    w->stops_helper = true;
    (void)pthread_cond_broadcast(&w->help);
    (void)pthread_mutex_unlock(&w->mu);
    if (w->has_helper) (void)pthread_join(w->helper, NULL);
}

enum err wal_open(struct wal **out, const struct vfs *vfs, const char *dir, const struct wal_options *o,
                  uint64_t replay_after, uint64_t min_next_lsn, wal_replay replay, void *replay_ctx, struct errmsg *em)
{
    struct wal *w = mem_zalloc(sizeof *w);
    if (w == NULL) return errmsg_set(em, ERR_NOMEM, "open the log");
    enum err e = ERR_OK;
    w->vfs = vfs;
    set_options(w, o);
    (void)pthread_mutex_init(&w->mu, NULL);
    (void)pthread_cond_init(&w->work, NULL);
    (void)pthread_cond_init(&w->help, NULL);
    (void)pthread_cond_init(&w->prepared, NULL);
    w->tail = &w->head;
    w->last_segment = &w->segments;
    w->next_number = 1;
    w->dir = mem_dup(dir, strlen(dir) + 1);
    w->buffer = mem_aligned(LOG_BLOCK, WAL_BUFFER);
    w->zeros = mem_zalloc(WAL_BUFFER);
    if (w->dir == NULL || w->buffer == NULL || w->zeros == NULL) {
        e = errmsg_set(em, ERR_NOMEM, "open the log");
        goto fail;
    }
    char path[WAL_PATH_MAX];
    if (!wal_path(w, path, UINT64_MAX, true)) { /* so that no later path can be too long */
        e = errmsg_set(em, ERR_INVALID, "the path of the log is too long");
        goto fail;
    }
    const struct wal_recovery r = {replay_after, min_next_lsn, replay, replay_ctx};
    if ((e = make_directory(w, em)) != ERR_OK) goto fail;
    if ((e = wal_recover(w, &r, em)) != ERR_OK) goto fail;
    if ((e = start_segment(w, em)) != ERR_OK) goto fail;
    if ((e = start_threads(w, em)) != ERR_OK) goto fail;
    *out = w;
    return ERR_OK;

fail:
    stop_threads(w);
    wal_free(w);
    return e;
}

enum err wal_submit(struct wal *w, struct wal_record *r)
{
    CHECK(r->type != LOG_MARK && r->done != NULL && "a record has a type and a callback");
    if (r->payload.n > LOG_PAYLOAD_MAX) return ERR_TOO_LARGE;
    uint64_t bytes = log_record_bytes(r->payload.n);
    /* Here, not on the flusher's thread: submitters are many, and what they checksum is what the client sent. */
    r->payload_crc = crc32c(0, r->payload.p, r->payload.n);
    r->next = NULL;

    enum err e = ERR_OK;
    (void)pthread_mutex_lock(&w->mu);
    CHECK(!w->is_closing && "nothing is submitted to a log that closes");
    if (w->is_failed) {
        e = ERR_READ_ONLY;
    } else if (w->pending_bytes != 0 && (w->pending_bytes >= w->options.max_pending_bytes ||
                                         bytes > w->options.max_pending_bytes - w->pending_bytes)) {
        e = ERR_BUSY;
    } else {
        *w->tail = r;
        w->tail = &r->next;
        w->pending_bytes += bytes;
        if (w->is_waiting) (void)pthread_cond_signal(&w->work);
    }
    (void)pthread_mutex_unlock(&w->mu);
    return e;
}

enum err wal_trim(struct wal *w, uint64_t lsn, struct errmsg *em)
{
    (void)pthread_mutex_lock(&w->mu);
    if (lsn > w->durable_lsn) lsn = w->durable_lsn;
    if (lsn > w->trim_lsn) w->trim_lsn = lsn;
    const struct wal_segment *a = w->active;
    w->wants_roll = a != NULL && a->last_lsn >= a->first_lsn && w->trim_lsn >= a->last_lsn &&
                    a->used - LOG_BLOCK > (a->size - LOG_BLOCK) / 4;
    enum err e = w->trim_err;
    if (e != ERR_OK && em != NULL) *em = w->trim_em;
    w->trim_err = ERR_OK;
    w->is_trim_blocked = false;
    (void)pthread_cond_signal(&w->help);
    if (w->wants_roll && w->clean != NULL) (void)pthread_cond_signal(&w->work);
    (void)pthread_mutex_unlock(&w->mu);
    return e;
}

void wal_stats(struct wal *w, struct wal_stats *s)
{
    struct wal_stats t = {0};
    (void)pthread_mutex_lock(&w->mu);
    t.durable_lsn = w->durable_lsn;
    t.first_lsn = w->durable_lsn + 1;
    bool has_first = false;
    for (const struct wal_segment *g = w->segments; g != NULL; g = g->next) {
        t.disk_bytes += g->size;
        t.n_segments++;
        if (g->last_lsn < g->first_lsn) continue;
        if (!has_first) t.first_lsn = g->first_lsn;
        has_first = true;
        if (g->last_lsn > w->trim_lsn) t.live_bytes += g->used;
    }
    for (const struct wal_spare *p = w->clean; p != NULL; p = p->next) t.disk_bytes += p->size;
    for (const struct wal_spare *p = w->dirty; p != NULL; p = p->next) t.disk_bytes += p->size;
    t.n_records = w->n_records;
    t.n_flushes = w->n_flushes;
    t.flush_ns_total = w->flush_ns_total;
    t.bytes_written = w->bytes_written;
    t.is_failed = w->is_failed;
    (void)pthread_mutex_unlock(&w->mu);
    histogram_read(&w->sync, &t.sync);
    *s = t;
}

void wal_close(struct wal *w)
{
    if (w == NULL) return;
    stop_threads(w);
    /* The mark behind the last batch reaches the disk, so that damage while the server is down is found. The records
     * themselves are durable: a failure here costs that proof and nothing else. */
    if (!w->is_failed && w->file != NULL && w->is_marked) {
        struct errmsg em;
        (void)wal_sync_file(w, w->file, true, &em);
    }
    wal_free(w);
}
