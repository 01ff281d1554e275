/* flusher.c - the thread that writes the log.
 *
 * HAPPY PATH  1. sleep until something was submitted; take the whole list and let go of the lock
 *             2. cut the list into groups that fit into the rest of the active segment; a record that does not fit
 *                starts the next segment (roll)
 *             3. write a group: small records are gathered in one buffer, big payloads written from where they are
 *             4. one fdatasync; publish durable_lsn; call `done` for every record of the group, in order, without a lock
 *             5. nothing waiting? write a mark behind the batch (log_format.h), unsynced; sleep
 *             There is no timer: while one fdatasync runs the next batch collects itself.
 * FAILURE     a write or sync of the log fails: the log is failed for good, and every record taken or waiting gets the
 *             error. No next segment for want of space, memory or descriptors (err_is_shortage), or no space or memory
 *             for a write, as on file systems that copy on write, where reserved space is not enough: the records taken get the
 *             error, positions are not used up, the next batch tries again. What a refused batch has left in the active segment
 *             is not written over: the next one goes into another segment, whose prev_lsn says that it is of no meaning.
 *             Anything else about the next segment counts
 *             as a failed write: a rename that may or may not be on disk must not be followed by records.
 * INVARIANTS  F1 a batch never spans segments, and each is synced before the next byte of a record is written anywhere.
 *             F2 last_lsn is durable whenever this thread is not between steps 3 and 4; hence records say durable_lsn =
 *                last_lsn of the batch before.
 *             F3 `at` is where the next record goes; beyond it the segment holds at most a mark, then zeros, unless it is spent.
 */
#include <time.h>

#include "core/clock.h"
#include "core/crc32c.h"
#include "core/hash.h"
#include "core/logger.h"
#include "core/mem.h"
#include "core/slice.h"
#include "wal/wal_internal.h"

/* --- gathering: a run of bytes for consecutive offsets of the active segment ------------------------------------- */

struct gather {
    struct wal *w;
    uint64_t at;  /* file offset of the first byte in the buffer */
    size_t n;     /* bytes in the buffer */
    enum err err; /* sticky */
    struct errmsg *em;
};

static void gather_flush(struct gather *g)
{
    if (g->n > 0 && g->err == ERR_OK) g->err = g->w->vfs->pwrite(g->w->file, g->w->buffer, g->n, g->at, g->em);
    g->at += g->n;
    g->n = 0;
}

static void gather_put(struct gather *g, const void *p, size_t n)
{
    if (n >= WAL_DIRECT_BYTES) {
        gather_flush(g);
        if (g->err == ERR_OK) g->err = g->w->vfs->pwrite(g->w->file, p, n, g->at, g->em);
        g->at += n;
        return;
    }
    if (n > WAL_BUFFER - g->n) gather_flush(g);
    if (n > 0) memcpy(g->w->buffer + g->n, p, n);
    g->n += n;
}

static void gather_record(struct gather *g, const struct wal_record *r, uint64_t lsn)
{
    static const char zeros[LOG_ALIGN];
    struct log_record_header h = {
        .type = r->type,
        .n = r->payload.n,
        .lsn = lsn,
        .durable_lsn = g->w->last_lsn, /* F2 */
        .collection = r->collection,
        .salt = g->w->salt,
    };
    h.crc = log_record_crc(&h, r->payload_crc);
    gather_put(g, &h, sizeof h);
    gather_put(g, r->payload.p, r->payload.n);
    gather_put(g, zeros, (size_t)(log_record_bytes(h.n) - sizeof h - h.n));
}

/* --- failing ------------------------------------------------------------------------------------------------------ */

/* Ends every record of the list with an error. */
static void refuse(struct wal *w, struct wal_record *list, enum err why)
{
    uint64_t bytes = 0;
    for (const struct wal_record *r = list; r != NULL; r = r->next) bytes += log_record_bytes(r->payload.n);
    (void)pthread_mutex_lock(&w->mu);
    w->pending_bytes -= bytes;
    (void)pthread_mutex_unlock(&w->mu);
    for (struct wal_record *r = list, *next; r != NULL; r = next) {
        next = r->next; /* `done` may free the record */
        r->done(r, why, 0);
    }
}

/* The log is over until the next start: `list` and whatever waits gets the error. */
static void fail_log(struct wal *w, struct wal_record *list, enum err why, const struct errmsg *em)
{
    (void)pthread_mutex_lock(&w->mu);
    w->is_failed = true;
    struct wal_record *waiting = w->head;
    w->head = NULL;
    w->tail = &w->head;
    (void)pthread_mutex_unlock(&w->mu);
    log_error("the log failed and takes no more writes until the next start: %s: %s", err_text(why), em->text);
    refuse(w, list, why);
    refuse(w, waiting, why);
}

/* --- segments ----------------------------------------------------------------------------------------------------- */

enum err wal_activate(struct wal *w, struct wal_spare *s, struct errmsg *em)
{
    struct wal_segment *g = mem_zalloc(sizeof *g);
    char from[WAL_PATH_MAX], to[WAL_PATH_MAX];
    enum err e = ERR_OK;
    if (g == NULL) {
        wal_spare_discard(w, s);
        return errmsg_set(em, ERR_NOMEM, "start a log segment");
    }
    (void)pthread_mutex_lock(&w->mu);
    g->number = w->next_number++; /* always a new one: names sort by age */
    (void)pthread_mutex_unlock(&w->mu);
    g->first_lsn = w->next_lsn;
    g->last_lsn = w->next_lsn - 1;
    g->prev_lsn = w->last_lsn;
    g->size = s->size;
    g->used = LOG_BLOCK;
    do random_bytes(&g->salt, sizeof g->salt);
    while (g->salt == 0);

    struct log_segment_header h = {
        .number = g->number, .salt = g->salt, .first_lsn = g->first_lsn, .prev_lsn = g->prev_lsn, .size = g->size};
    log_segment_seal(&h);
    memset(w->buffer, 0, LOG_BLOCK);
    memcpy(w->buffer, &h, sizeof h);
    e = w->vfs->pwrite(s->file, w->buffer, LOG_BLOCK, 0, em);
    if (e == ERR_OK) e = wal_sync_file(w, s->file, false, em);
    if (e != ERR_OK) {
        /* The file is no part of the log yet, so nothing is lost with it. */
        wal_spare_discard(w, s);
        mem_free(g);
        errmsg_wrap(em, "write the header of a log segment");
        return e;
    }
    CHECK(wal_path(w, from, s->number, true) && wal_path(w, to, g->number, false) && "checked when opening");
    e = w->vfs->rename(w->vfs->ctx, from, to, em);
    if (e == ERR_OK) e = wal_sync_dir(w, em);
    if (e == ERR_FILES && w->vfs->rename(w->vfs->ctx, to, from, NULL) == ERR_OK) {
        /* No descriptor for the directory, so nothing was synced. The next sync of it makes both renames durable; a crash
         * before may leave the new name, of a segment without records, as a crash after the first rename may. */
        wal_spare_discard(w, s);
        mem_free(g);
        return e;
    }
    if (e != ERR_OK) {
        wal_spare_free(w, s);
        mem_free(g);
        return err_is_shortage(e) ? ERR_IO : e; /* not of the kind that clears by itself */
    }

    if (w->file != NULL) w->vfs->close(w->file);
    w->file = s->file;
    w->salt = g->salt;
    w->at = LOG_BLOCK;
    w->size = g->size;
    w->is_marked = w->skips_mark = w->is_spent = false;
    w->n_flushes_in = w->bytes_in = 0;
    s->file = NULL;
    wal_spare_free(w, s);
    (void)pthread_mutex_lock(&w->mu);
    *w->last_segment = g;
    w->last_segment = &g->next;
    w->active = g;
    w->wants_roll = false;
    (void)pthread_cond_signal(&w->help); /* the former segment may be retired, a spare is gone */
    (void)pthread_mutex_unlock(&w->mu);
    return ERR_OK;
}

/* What a record takes in a segment: a mark has to fit behind it, or damage to the last batch of a full segment would look like
 * a torn one. */
static uint64_t room_for(const struct wal_record *r)
{
    return log_record_bytes(r->payload.n) + log_record_bytes(0);
}

/* The size for segments to come. A roll costs about as much as three flushes, so a segment should hold many of them; where
 * flushes are small a small one does, and the log takes less of the disk. */
static uint64_t size_to_come(const struct wal *w)
{
    if (w->n_flushes_in == 0) return w->next_bytes;
    bool is_bulk = w->bytes_in / w->n_flushes_in > WAL_BULK_FLUSH;
    return is_bulk ? w->options.bulk_bytes : w->options.segment_bytes;
}

/* Leaves the active segment for one with `need` bytes of room. Errors as wal_activate. */
static enum err roll(struct wal *w, uint64_t need, struct errmsg *em)
{
    struct wal_spare *s = NULL;
    enum err e;
    uint64_t next_bytes = size_to_come(w);
    (void)pthread_mutex_lock(&w->mu);
    w->next_bytes = next_bytes;
    (void)pthread_mutex_unlock(&w->mu);
    if (need > next_bytes - LOG_BLOCK) {
        uint64_t size = LOG_BLOCK + need;
        /* Not filled first: one record overwrites all of it, once. */
        e = wal_spare_new(w, (size + LOG_BLOCK - 1) / LOG_BLOCK * LOG_BLOCK, false, &s, em);
    } else {
        e = wal_spare_take(w, need, &s, em);
    }
    if (e == ERR_OK) e = wal_activate(w, s, em);
    if (e != ERR_OK) return e;
    (void)pthread_mutex_lock(&w->mu);
    w->rolled_ns = clock_monotonic_ns();
    (void)pthread_mutex_unlock(&w->mu);
    return ERR_OK;
}

/* The log holds nothing that anybody wants, and its segment is larger than it need be. Errors as wal_activate. */
static enum err move_to_small(struct wal *w, struct errmsg *em)
{
    struct wal_spare *s = NULL;
    (void)pthread_mutex_lock(&w->mu);
    w->next_bytes = w->options.segment_bytes; /* what comes after a pause need not be like what was before */
    (void)pthread_mutex_unlock(&w->mu);
    enum err e = wal_spare_new(w, wal_small_bytes(w), true, &s, em);
    return e == ERR_OK ? wal_activate(w, s, em) : e;
}

/* --- batches ------------------------------------------------------------------------------------------------------ */

/* Writes and syncs the records of a list that fit into the active segment, at least one, and calls them done. *rest: the
 * others; on failure the whole list. If the segment is spent then, the log is as before, else its state on disk is not known. */
static enum err write_group(struct wal *w, struct wal_record *list, struct wal_record **rest, struct errmsg *em)
{
    uint64_t started = clock_monotonic_ns(), bytes = 0, n = 0;
    struct gather g = {.w = w, .at = w->at, .em = em};
    struct wal_record *r = list;
    for (; r != NULL; r = r->next) {
        uint64_t size = log_record_bytes(r->payload.n);
        if (room_for(r) > w->size - w->at - bytes) break;
        gather_record(&g, r, w->next_lsn + n);
        bytes += size;
        n++;
    }
    CHECK(n > 0 && "the caller has made room for one");
    gather_flush(&g);
    *rest = list;
    w->is_spent = err_is_shortage(g.err);
    if (g.err != ERR_OK) return g.err;
    uint64_t sync_started = clock_monotonic_ns();
    enum err e = wal_sync_file(w, w->file, true, em);
    if (e != ERR_OK) return e;
    histogram_add(&w->sync, clock_monotonic_ns() - sync_started);

    uint64_t lsn = w->next_lsn;
    w->at += bytes;
    w->bytes_in += bytes;
    w->n_flushes_in++;
    w->next_lsn += n;
    w->last_lsn = w->next_lsn - 1;
    w->is_marked = w->skips_mark = false;
    CHECK(g.at == w->at && "what was written is what was counted");
    (void)pthread_mutex_lock(&w->mu);
    w->durable_lsn = w->last_lsn;
    w->active->last_lsn = w->last_lsn;
    w->active->used = w->at;
    w->pending_bytes -= bytes;
    w->n_records += n;
    w->n_flushes++;
    w->flush_ns_total += clock_monotonic_ns() - started;
    w->bytes_written += bytes;
    w->written_ns = clock_monotonic_ns();
    if (w->clean == NULL && wal_is_half_full(w)) (void)pthread_cond_signal(&w->help); /* a spare will be needed soon */
    (void)pthread_mutex_unlock(&w->mu);
    *rest = r;
    for (struct wal_record *done = list, *next; done != r; done = next) {
        next = done->next; /* `done` may free the record */
        done->done(done, ERR_OK, lsn++);
    }
    return ERR_OK;
}

static void write_list(struct wal *w, struct wal_record *list)
{
    struct errmsg em = {{0}};
    while (list != NULL) {
        uint64_t need = room_for(list);
        bool rolls = w->file == NULL || w->is_spent || need > w->size - w->at;
        enum err e = rolls ? roll(w, need, &em) : ERR_OK;
        bool is_refused = err_is_shortage(e);
        if (is_refused) errmsg_wrap(&em, "there is no next log segment");
        if (e == ERR_OK) {
            e = write_group(w, list, &list, &em);
            is_refused = w->is_spent;
        }
        if (is_refused) {
            log_warn("a write is refused: %s", em.text);
            refuse(w, list, e);
            return;
        }
        if (e != ERR_OK) {
            fail_log(w, list, e, &em);
            return;
        }
    }
}

/* A mark at the end of the last batch. `at` stays: the next batch overwrites it. */
static void write_mark(struct wal *w)
{
    struct log_record_header h = {.type = LOG_MARK, .lsn = w->last_lsn, .durable_lsn = w->last_lsn, .salt = w->salt};
    struct errmsg em = {{0}};
    h.crc = log_record_crc(&h, 0);
    enum err e = w->vfs->pwrite(w->file, &h, sizeof h, w->at, &em);
    w->skips_mark = err_is_shortage(e);
    if (w->skips_mark) return;
    if (e != ERR_OK) {
        fail_log(w, NULL, e, &em);
        return;
    }
    w->is_marked = true;
    (void)pthread_mutex_lock(&w->mu);
    w->active->used = w->at + sizeof h;
    (void)pthread_mutex_unlock(&w->mu);
}

static bool can_mark(const struct wal *w)
{
    return w->file != NULL && !w->is_marked && !w->skips_mark && w->at > LOG_BLOCK &&
           w->size - w->at >= log_record_bytes(0);
}

void *wal_flusher_main(void *arg)
{
    struct wal *w = arg;
    slice_set(0, SLICE_SHORT); /* whoever writes waits for it */
    (void)pthread_mutex_lock(&w->mu);
    for (;;) {
        struct wal_record *list = w->head;
        bool marks = list == NULL && !w->is_failed && can_mark(w);
        bool may_move = list == NULL && !w->is_failed && !w->is_closing;
        bool shrinks = may_move && w->wants_small, rolls = may_move && (shrinks || (w->wants_roll && w->clean != NULL));
        if (list == NULL && !marks && !rolls) {
            if (w->is_closing) break;
            w->is_waiting = true;
            (void)pthread_cond_wait(&w->work, &w->mu);
            w->is_waiting = false;
            continue;
        }
        if (rolls && w->trim_lsn < w->last_lsn) { /* a record came since: leave it where it is */
            w->wants_roll = w->wants_small = false;
            continue;
        }
        w->head = NULL;
        w->tail = &w->head;
        (void)pthread_mutex_unlock(&w->mu);
        if (list != NULL) {
            write_list(w, list);
        } else if (rolls) {
            struct errmsg em = {{0}};
            enum err e = shrinks ? move_to_small(w, &em) : roll(w, 0, &em);
            if (e != ERR_OK && !err_is_shortage(e)) fail_log(w, NULL, e, &em);
        } else {
            write_mark(w);
        }
        (void)pthread_mutex_lock(&w->mu);
        if (rolls) w->wants_roll = w->wants_small = false; /* also if it failed: the next trim asks again */
    }
    (void)pthread_mutex_unlock(&w->mu);
    return NULL;
}
