/* spares.c - the helper thread: clean files ahead of the log, forgotten ones behind it.
 *
 * HAPPY PATH  ahead:  <n>.spare is made, its space reserved, zeros written, file and directory synced; it waits, open, in
 *                     the list `clean` until the flusher renames it to <m>.log. Overwriting zeros needs no journal commit,
 *                     so a batch costs one device flush (measured: 1.5 x fewer us). One is kept ready while segments
 *                     are being filled one after the other, and from half of one on.
 *             behind: a segment whose records are all forgotten is renamed to .spare, the directory is synced, and only
 *                     then are its bytes overwritten with zeros; what was deleted by a client is not kept. Beyond
 *                     keep_segments, or if it is not of the size that is being made, the file is removed instead.
 *             quiet:  after quiet_ms without a write the spares are removed; and if the log holds nothing any more, the
 *                     flusher is asked to move to a small, empty one, after which the former goes as any other does.
 *             size:   spares are small, large while flushes are (flusher.c); those that are there are used up first.
 * FAILURE     no spare can be made: prepare_err, which the flusher hands to the writers that wait; it asks again with the
 *             next batch. A segment cannot be retired: it stays, wal_trim reports and tries again. The directory cannot be
 *             synced after a rename or removal: no retiring until the next start (S below would be in danger).
 * INVARIANTS  S  segments leave oldest first, and the name of one is gone from the disk before the next leaves: a crash
 *                never leaves a hole in the chain. (Segments without a record may leave at any time: the chain does not
 *                need them.)
 *             Z  a byte of a .log file is never zeroed: the rename is durable before.
 *             N  the active segment is never retired, so the last position stays known.
 */
#include <inttypes.h>
#include <time.h>

#include "core/clock.h"
#include "core/logger.h"
#include "core/mem.h"
#include "wal/wal_internal.h"

void wal_spare_free(struct wal *w, struct wal_spare *s)
{
    if (s == NULL) return;
    if (s->file != NULL) w->vfs->close(s->file);
    mem_free(s);
}

void wal_spare_discard(struct wal *w, struct wal_spare *s)
{
    char path[WAL_PATH_MAX];
    CHECK(wal_path(w, path, s->number, true) && "checked when opening");
    wal_spare_free(w, s);
    /* If it stays, or comes back after a crash, the next start finds a spare more: no harm. */
    (void)w->vfs->remove(w->vfs->ctx, path, NULL);
}

static enum err write_zeros(const struct wal *w, struct vfs_file *f, uint64_t from, uint64_t to, struct errmsg *em)
{
    for (uint64_t at = from; at < to;) {
        uint64_t n = to - at < WAL_BUFFER ? to - at : WAL_BUFFER;
        enum err e = w->vfs->pwrite(f, w->zeros, (size_t)n, at, em);
        if (e != ERR_OK) return e;
        at += n;
    }
    return ERR_OK;
}

enum err wal_spare_new(struct wal *w, uint64_t size, bool is_filled, struct wal_spare **out, struct errmsg *em)
{
    struct wal_spare *s = mem_zalloc(sizeof *s);
    char path[WAL_PATH_MAX];
    if (s == NULL) return errmsg_set(em, ERR_NOMEM, "make a log segment");
    (void)pthread_mutex_lock(&w->mu);
    s->number = w->next_number++;
    (void)pthread_mutex_unlock(&w->mu);
    s->size = size;
    CHECK(wal_path(w, path, s->number, true) && "checked when opening");
    enum err e = w->vfs->open(w->vfs->ctx, path, VFS_WRITE | VFS_CREATE | VFS_EXCLUSIVE, &s->file, em);
    if (e != ERR_OK) {
        mem_free(s);
        return e;
    }
    e = w->vfs->allocate(s->file, size, em);
    /* Without syncs there is no journal to spare, and in memory zeros only cost memory. */
    if (e == ERR_OK && is_filled && !w->options.no_sync) e = write_zeros(w, s->file, 0, size, em);
    if (e != ERR_OK) {
        errmsg_wrap(em, "make %s", path);
        wal_spare_discard(w, s);
        return e;
    }
    *out = s;
    return ERR_OK;
}

/* Makes a segment that was retired a clean spare of `want` bytes. On failure the caller discards it. */
static enum err clean_spare(const struct wal *w, struct wal_spare *s, uint64_t want, struct errmsg *em)
{
    char path[WAL_PATH_MAX];
    uint64_t size = 0;
    CHECK(wal_path(w, path, s->number, true) && "checked when opening");
    enum err e = w->vfs->open(w->vfs->ctx, path, VFS_WRITE, &s->file, em);
    if (e != ERR_OK) return e;
    if ((e = w->vfs->size(s->file, &size, em)) != ERR_OK) return e;
    if (w->options.no_sync) {
        if ((e = w->vfs->truncate(s->file, 0, em)) != ERR_OK) return e;
        e = w->vfs->allocate(s->file, want, em);
    } else {
        uint64_t used = s->used < size ? s->used : size;
        if (size > want && (e = w->vfs->truncate(s->file, want, em)) != ERR_OK) return e;
        if ((e = w->vfs->allocate(s->file, want, em)) != ERR_OK) return e;
        if (used > want) used = want;
        if ((e = write_zeros(w, s->file, 0, used, em)) != ERR_OK) return e;
        if (size < want) e = write_zeros(w, s->file, size, want, em);
    }
    if (e == ERR_OK) e = wal_sync_file(w, s->file, false, em);
    if (e != ERR_OK) return e;
    s->size = want;
    s->used = 0;
    return ERR_OK;
}

/* Is there a clean spare for so many bytes of records? The newest comes first, and is of the size that is wanted now. */
static bool has_room(const struct wal *w, uint64_t need)
{
    return w->clean != NULL && need <= w->clean->size - LOG_BLOCK;
}

enum err wal_spare_take(struct wal *w, uint64_t need, struct wal_spare **out, struct errmsg *em)
{
    enum err e = ERR_OK;
    (void)pthread_mutex_lock(&w->mu);
    if (!has_room(w, need)) {
        w->prepare_err = ERR_OK; /* ask anew, even if it failed before */
        w->wants_spare = true;
        w->wanted_room = need;
        (void)pthread_cond_signal(&w->help);
        while (!has_room(w, need) && w->prepare_err == ERR_OK) (void)pthread_cond_wait(&w->prepared, &w->mu);
        w->wants_spare = false;
    }
    if (has_room(w, need)) {
        struct wal_spare *s = w->clean;
        w->clean = s->next;
        w->n_clean--;
        s->next = NULL;
        *out = s;
        (void)pthread_cond_signal(&w->help); /* the next one */
    } else {
        e = w->prepare_err;
        if (em != NULL) *em = w->prepare_em;
    }
    (void)pthread_mutex_unlock(&w->mu);
    return e;
}

/* --- the helper thread; functions are called with `mu` held, and let go of it around file operations --------------- */

static struct wal_spare *take_dirty(struct wal *w)
{
    struct wal_spare *s = w->dirty;
    if (s == NULL) return NULL;
    w->dirty = s->next;
    w->n_dirty--;
    s->next = NULL;
    return s;
}

static void add_clean(struct wal *w, struct wal_spare *s)
{
    s->next = w->clean;
    w->clean = s;
    w->n_clean++;
    (void)pthread_cond_signal(&w->prepared);
    if (w->wants_roll) (void)pthread_cond_signal(&w->work);
}

/* The spare that the next roll will take. */
static void prepare_one(struct wal *w)
{
    struct errmsg em = {{0}};
    struct wal_spare *s = take_dirty(w);
    uint64_t size = w->next_bytes;
    (void)pthread_mutex_unlock(&w->mu);
    enum err e = ERR_OK;
    if (s != NULL && (e = clean_spare(w, s, size, &em)) != ERR_OK) {
        wal_spare_discard(w, s);
        s = NULL;
        log_warn("a spare log segment could not be reused: %s: %s", err_text(e), em.text);
    }
    if (s == NULL) {
        e = wal_spare_new(w, size, true, &s, &em);
        /* now, so that the flusher's sync of the header finds little to write */
        if (e == ERR_OK) e = wal_sync_file(w, s->file, false, &em);
        if (e == ERR_OK) e = wal_sync_dir(w, &em);
        if (e != ERR_OK && s != NULL) wal_spare_discard(w, s);
    }
    (void)pthread_mutex_lock(&w->mu);
    if (e == ERR_OK) {
        add_clean(w, s);
    } else {
        w->prepare_err = e;
        w->prepare_em = em;
        (void)pthread_cond_signal(&w->prepared);
    }
}

/* Is there a spare that the flusher can take? While it waits for one it says how large: one may be there that is too small,
 * made before the size changed. */
static bool is_ready(const struct wal *w)
{
    return has_room(w, w->wants_spare ? w->wanted_room : 0);
}

/* Not urgent, but what was deleted must not stay readable. */
static void clean_one(struct wal *w)
{
    struct errmsg em = {{0}};
    struct wal_spare *s = take_dirty(w);
    uint64_t size = w->next_bytes;
    (void)pthread_mutex_unlock(&w->mu);
    enum err e = clean_spare(w, s, size, &em);
    if (e != ERR_OK) {
        wal_spare_discard(w, s);
        log_warn("a spare log segment could not be cleaned: %s: %s", err_text(e), em.text);
    }
    (void)pthread_mutex_lock(&w->mu);
    if (e == ERR_OK) add_clean(w, s);
}

static void drop_surplus(struct wal *w)
{
    struct wal_spare *s = take_dirty(w);
    if (s == NULL) { /* the oldest: the newest is what the flusher takes next, and of the right size */
        struct wal_spare **link = &w->clean;
        CHECK(*link != NULL && "there is a surplus");
        while ((*link)->next != NULL) link = &(*link)->next;
        s = *link;
        *link = NULL;
        w->n_clean--;
    }
    (void)pthread_mutex_unlock(&w->mu);
    wal_spare_discard(w, s);
    (void)pthread_mutex_lock(&w->mu);
}

/* S: the oldest segment if all of it is forgotten; or any that never got a record. N: not the active one, nor the last. */
static struct wal_segment *find_retirable(const struct wal *w)
{
    if (w->is_trim_blocked || w->is_trim_broken || w->n_holds > 0) return NULL;
    for (struct wal_segment *g = w->segments; g != NULL && g->next != NULL; g = g->next) {
        bool is_empty = g->last_lsn < g->first_lsn;
        if (is_empty || (g == w->segments && g->last_lsn <= w->trim_lsn)) return g;
    }
    return NULL;
}

static void unlink_segment(struct wal *w, struct wal_segment *g)
{
    struct wal_segment **link = &w->segments;
    while (*link != g) link = &(*link)->next;
    *link = g->next;
    if (w->last_segment == &g->next) w->last_segment = link;
}

static void retire(struct wal *w, struct wal_segment *g, unsigned keep)
{
    struct errmsg em = {{0}};
    bool keeps = g->size == w->next_bytes && w->n_clean + w->n_dirty < keep;
    (void)pthread_mutex_unlock(&w->mu);

    char name[WAL_PATH_MAX], spare_name[WAL_PATH_MAX];
    struct wal_spare *s = keeps ? mem_zalloc(sizeof *s) : NULL; /* without memory it is removed instead */
    CHECK(wal_path(w, name, g->number, false) && wal_path(w, spare_name, g->number, true) && "checked when opening");
    enum err e =
        s != NULL ? w->vfs->rename(w->vfs->ctx, name, spare_name, &em) : w->vfs->remove(w->vfs->ctx, name, &em);
    bool is_gone = e == ERR_OK;
    if (is_gone) e = wal_sync_dir(w, &em);

    (void)pthread_mutex_lock(&w->mu);
    if (e != ERR_OK) {
        w->trim_err = e;
        w->trim_em = em;
        w->is_trim_blocked = true;
        w->is_trim_broken = is_gone;
        mem_free(s); /* Z: if the rename is not known to be durable the file is left as it is */
    } else if (s != NULL) {
        *s = (struct wal_spare){.next = w->dirty, .number = g->number, .size = g->size, .used = g->used};
        w->dirty = s;
        w->n_dirty++;
    }
    if (is_gone) {
        unlink_segment(w, g);
        mem_free(g);
    }
}

/* What the helper goes by, of one moment. */
struct pace {
    bool is_quiet;     /* nothing was written for quiet_ms */
    bool needs_spare;  /* one is to be kept ready */
    unsigned keep;     /* so many spares may stay */
    uint64_t quiet_ns; /* the moment from which it is quiet, if nothing is written until then */
};

static struct pace pace_now(const struct wal *w)
{
    uint64_t now = clock_monotonic_ns(), wait = (uint64_t)w->options.quiet_ms * 1000000;
    uint64_t last = w->written_ns > w->rolled_ns ? w->written_ns : w->rolled_ns;
    struct pace p = {.quiet_ns = last + wait};
    p.is_quiet = last == 0 || now >= p.quiet_ns;
    bool is_rolling = w->rolled_ns != 0 && now - w->rolled_ns < wait;
    p.needs_spare = w->wants_spare || (!p.is_quiet && (w->wants_roll || is_rolling || wal_is_half_full(w)));
    p.keep = !p.is_quiet ? w->options.keep_segments : p.needs_spare ? 1 : 0;
    return p;
}

/* Is all of the active segment forgotten, and it is larger than an empty log needs, or has what was deleted in it? */
static bool can_shrink(const struct wal *w)
{
    const struct wal_segment *a = w->active;
    return a != NULL && w->head == NULL && w->pending_bytes == 0 && w->trim_lsn >= a->last_lsn &&
           (a->size > wal_small_bytes(w) || a->last_lsn >= a->first_lsn);
}

/* Sleeps until something changes, or until it becomes quiet if there will be something to give back then. */
static void sleep_helper(struct wal *w, const struct pace *p)
{
    bool has_surplus = w->n_clean + w->n_dirty > 0 || can_shrink(w);
    if (p->is_quiet || !has_surplus) {
        (void)pthread_cond_wait(&w->help, &w->mu);
        return;
    }
    uint64_t now = clock_monotonic_ns(), ns = p->quiet_ns > now ? p->quiet_ns - now : 0;
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    ns += (uint64_t)until.tv_nsec + 1000000; /* a little later, so that it is quiet then */
    until.tv_sec += (time_t)(ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    (void)pthread_cond_timedwait(&w->help, &w->mu, &until);
}

void *wal_helper_main(void *arg)
{
    struct wal *w = arg;
    (void)pthread_mutex_lock(&w->mu);
    while (!w->stops_helper) {
        struct pace p = pace_now(w);
        struct wal_segment *g = w->is_failed ? NULL : find_retirable(w);
        if (g != NULL) {
            retire(w, g, p.keep);
        } else if (!w->is_failed && !is_ready(w) && p.needs_spare && w->prepare_err == ERR_OK) {
            prepare_one(w);
        } else if (!w->is_failed && w->n_clean + w->n_dirty > p.keep) {
            drop_surplus(w);
        } else if (!w->is_failed && w->n_dirty > 0) {
            clean_one(w);
        } else {
            if (!w->is_failed && p.is_quiet && !w->wants_small && can_shrink(w)) {
                w->wants_small = true;
                (void)pthread_cond_signal(&w->work);
            }
            sleep_helper(w, &p);
        }
    }
    (void)pthread_mutex_unlock(&w->mu);
    return NULL;
}
