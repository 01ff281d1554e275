/* recover.c - what the log does with the files it finds at start.
 *
 * HAPPY PATH  1. list the directory: .log files are the log, .spare files hold nothing
 *             2. read and check the header of every .log file, and that they form a chain (log_format.h)
 *             3. walk the records, from the first segment that has one after replay_after, and hand them to the owner.
 *                A segment with a successor T must have every record up to T.prev_lsn.
 *             4. in the last segment the first position without a valid next record ends the log, unless a valid record
 *                behind it, or T, says that the missing one had been durable
 *             5. make the tail durable: see below
 *             6. continue in the last segment if there is nothing but zeros behind its last record; otherwise start a
 *                fresh one (wal.c) and cut the torn rest off
 * FAILURE     ERR_CORRUPT names file and byte. Steps 1-4 only read, so the files of a damaged log stay as they are. Steps
 *             5-6 may be cut short anywhere: the next start finds the same log.
 * INVARIANTS  R1 nothing that this process will write says that a record is durable before step 5 has made it so. A
 *                record of the last batch may have been read from the page cache only: its process was killed before the
 *                sync, or the sync failed and the kernel took the pages for clean. So the bytes of that batch are
 *                written again, as they are, and synced. Over what is on the disk already this changes nothing,
 *                however it is torn.
 *             R2 a torn batch is never followed by records in the same file: they go to another segment with another
 *                salt, so no part of that batch can become a record later.
 *             M  a mark may have been read from the page cache only, too, and nothing makes it durable. So, as in a running
 *                process, the next batch overwrites it: no record ever stands behind a mark.
 * CRASH LOOPS A start without writes adds no segment: an untorn last segment is continued, also an empty one. A start
 *             after a torn batch adds one; the former then has a record, and its file is cut to what it holds, or has
 *             none, and is removed by the helper or the next start. Spares are removed by the next start.
 */
#include <inttypes.h>

#include "core/mem.h"
#include "wal/segment_reader.h"
#include "wal/wal_internal.h"

/* --- 1. the directory ---------------------------------------------------------------------------------------------- */

struct listing {
    struct wal *w;
    struct errmsg *em;
};

static enum err add_entry(void *ctx, struct str name, bool is_dir)
{
    struct listing *l = ctx;
    struct wal *w = l->w;
    uint64_t number;
    bool is_spare;
    if (is_dir || !log_name_parse(name, &number, &is_spare)) return ERR_OK;
    if (number == UINT64_MAX) return errmsg_set(l->em, ERR_CORRUPT, STR_FMT ": no such number", STR_ARG(name));
    if (number >= w->next_number) w->next_number = number + 1;
    if (is_spare) {
        struct wal_spare *s = mem_zalloc(sizeof *s);
        if (s == NULL) return errmsg_set(l->em, ERR_NOMEM, "list the log");
        *s = (struct wal_spare){.next = w->dirty, .number = number};
        w->dirty = s;
        w->n_dirty++;
        return ERR_OK;
    }
    struct wal_segment *g = mem_zalloc(sizeof *g);
    if (g == NULL) return errmsg_set(l->em, ERR_NOMEM, "list the log");
    struct wal_segment **link = &w->segments; /* few, and mostly in order: insertion sort */
    g->number = number;
    while (*link != NULL && (*link)->number < number) link = &(*link)->next;
    g->next = *link;
    *link = g;
    return ERR_OK;
}

enum err wal_list_files(struct wal *w, struct errmsg *em)
{
    struct listing l = {w, em};
    enum err e = w->vfs->list(w->vfs->ctx, w->dir, add_entry, &l, em);
    while (*w->last_segment != NULL) w->last_segment = &(*w->last_segment)->next;
    return e;
}

/* --- 2. headers ---------------------------------------------------------------------------------------------------- */

static enum err damaged(const struct wal *w, const struct wal_segment *g, struct errmsg *em)
{
    char path[WAL_PATH_MAX];
    CHECK(wal_path(w, path, g->number, false) && "checked when opening");
    errmsg_wrap(em, "%s", path);
    return ERR_CORRUPT;
}

static enum err open_segment(const struct wal *w, const struct wal_segment *g, int flags, struct vfs_file **f,
                             struct errmsg *em)
{
    char path[WAL_PATH_MAX];
    CHECK(wal_path(w, path, g->number, false) && "checked when opening");
    return w->vfs->open(w->vfs->ctx, path, flags, f, em);
}

enum err wal_read_header(const struct wal *w, struct wal_segment *g, struct errmsg *em)
{
    struct vfs_file *f = NULL;
    struct log_segment_header h;
    uint64_t size;
    enum err e = open_segment(w, g, VFS_READ, &f, em);
    if (e != ERR_OK) return e;
    e = w->vfs->size(f, &size, em);
    if (e == ERR_OK && size < LOG_BLOCK)
        e = errmsg_set(em, ERR_CORRUPT, "byte %" PRIu64 ": the file ends inside the segment header", size);
    if (e == ERR_OK) e = w->vfs->pread(f, &h, sizeof h, 0, em);
    if (e == ERR_OK) e = log_segment_check(&h, g->number, em);
    w->vfs->close(f);
    if (e != ERR_OK) {
        (void)damaged(w, g, em);
        return e;
    }
    g->salt = h.salt;
    g->first_lsn = h.first_lsn;
    g->prev_lsn = h.prev_lsn;
    g->last_lsn = h.first_lsn - 1;
    g->size = size;
    g->used = size; /* until something better is known */
    /* Only a segment that a later one follows is ever cut. */
    if (size > h.size || (size < h.size && g->next == NULL)) {
        (void)errmsg_set(em, ERR_CORRUPT, "byte %" PRIu64 ": the file ends here, its header says %" PRIu64, size,
                         h.size);
        return damaged(w, g, em);
    }
    return ERR_OK;
}

enum err wal_check_order(const struct wal *w, struct wal_segment *before, struct wal_segment *g, struct errmsg *em)
{
    bool had_record = g->prev_lsn >= before->first_lsn;
    if (g->first_lsn < before->first_lsn || (!had_record && g->prev_lsn != before->prev_lsn)) {
        (void)errmsg_set(em, ERR_CORRUPT,
                         "byte 32: it goes on after position %" PRIu64 ", the segment before it starts at %" PRIu64
                         " after %" PRIu64,
                         g->prev_lsn, before->first_lsn, before->prev_lsn);
        return damaged(w, g, em);
    }
    if (had_record) before->last_lsn = g->prev_lsn;
    return ERR_OK;
}

static enum err read_headers(struct wal *w, struct errmsg *em)
{
    struct wal_segment *before = NULL;
    for (struct wal_segment *g = w->segments; g != NULL; before = g, g = g->next) {
        enum err e = wal_read_header(w, g, em);
        if (e == ERR_OK && before != NULL) e = wal_check_order(w, before, g, em);
        if (e != ERR_OK) return e;
    }
    return ERR_OK;
}

/* --- 3, 4. records ------------------------------------------------------------------------------------------------- */

/* What to say if no valid next record is at `at`: the end of the log, or damage. `until`: it must go on to there. */
static enum err judge_end(struct wal_walk *k, struct segment_reader *reader, const struct wal_segment *g, uint64_t at,
                          uint64_t until, struct errmsg *em)
{
    uint64_t missing = k->last_lsn + 1, durable = 0;
    bool is_zero = true;
    if (until == 0) {
        enum err e = segment_reader_scan(reader, at, &durable, &is_zero, em);
        if (e != ERR_OK) return e;
    } else {
        durable = until;
    }
    if (missing < g->first_lsn) missing = g->first_lsn;
    if (durable >= missing) {
        (void)errmsg_set(em, ERR_CORRUPT,
                         "byte %" PRIu64 ": record %" PRIu64
                         " is damaged or missing, and what follows says that it had "
                         "been acknowledged",
                         at, missing);
        return damaged(k->w, g, em);
    }
    k->end = k->is_marked ? k->mark_at : at; /* M: the mark is overwritten */
    if (k->batch_at > k->end) k->batch_at = k->end;
    k->is_torn = !is_zero;
    return ERR_OK;
}

/* Walks the records of one segment. It has a successor: up to g->last_lsn, which must be there. */
static enum err walk_segment(struct wal_walk *k, struct wal_segment *g, struct segment_reader *reader,
                             struct errmsg *em)
{
    uint64_t until = g->next != NULL ? g->last_lsn : 0, known = g->prev_lsn, at = LOG_BLOCK;
    if (g->next != NULL && g->last_lsn < g->first_lsn) return ERR_OK; /* nothing in it had become durable */
    k->last_lsn = g->prev_lsn;
    k->batch_at = at;
    k->is_marked = false;
    while (until == 0 || k->last_lsn < until) {
        bool is_valid;
        struct segment_record rec;
        enum err e = segment_reader_record(reader, at, &is_valid, &rec, em);
        if (e != ERR_OK) return e;
        bool is_mark = is_valid && rec.header.type == LOG_MARK;
        uint64_t expected = is_mark ? k->last_lsn : k->last_lsn == g->prev_lsn ? g->first_lsn : k->last_lsn + 1;
        if (!is_valid || k->is_marked || rec.header.lsn != expected) /* R5 */
            return judge_end(k, reader, g, at, until, em);

        uint64_t next = at + log_record_bytes(rec.header.n);
        if (next > reader->end) next = reader->end; /* only the padding of the last record was cut off */
        if (!is_mark && rec.header.lsn > k->r->replay_after && k->r->replay != NULL) {
            e = k->r->replay(k->r->ctx, rec.header.lsn, rec.header.type, rec.header.collection,
                             (struct bytes){rec.payload, (size_t)rec.header.n}, em);
            if (e != ERR_OK) return e;
        }
        if (rec.header.durable_lsn > known) { /* the first record of a batch, or a mark: what is before is durable */
            known = rec.header.durable_lsn;
            k->batch_at = is_mark ? next : at;
        }
        k->last_lsn = rec.header.lsn;
        k->is_marked = is_mark;
        k->mark_at = at;
        at = next;
    }
    g->used = at; /* of one with a successor; overwritten by what the caller knows of the last */
    return ERR_OK;
}

enum err wal_read_segment(struct wal_walk *k, struct wal_segment *g, struct errmsg *em)
{
    struct segment_reader reader = {.vfs = k->w->vfs, .salt = g->salt, .end = g->size};
    enum err e = open_segment(k->w, g, VFS_READ, &reader.file, em);
    if (e != ERR_OK) return e;
    e = walk_segment(k, g, &reader, em);
    segment_reader_deinit(&reader);
    k->w->vfs->close(reader.file);
    return e;
}

static enum err walk_all(struct wal_walk *k, struct errmsg *em)
{
    struct wal_segment *g = k->w->segments;
    while (g != NULL && g->next != NULL && g->next->prev_lsn <= k->r->replay_after) g = g->next; /* nothing wanted */
    for (; g != NULL; g = g->next) {
        uint64_t used = g->used;
        enum err e = wal_read_segment(k, g, em);
        if (e != ERR_OK) return e;
        if (g->next != NULL) g->used = used; /* a torn rest may follow: all of it counts as used */
    }
    return ERR_OK;
}

/* --- 5, 6. the tail ------------------------------------------------------------------------------------------------ */

/* R1: the same bytes again, then a sync. */
static enum err rewrite(struct wal *w, struct vfs_file *f, uint64_t from, uint64_t to, struct errmsg *em)
{
    if (from == to) return ERR_OK;
    for (uint64_t at = from; at < to;) {
        size_t n = to - at < WAL_BUFFER ? (size_t)(to - at) : WAL_BUFFER;
        enum err e = w->vfs->pread(f, w->buffer, n, at, em);
        if (e == ERR_OK) e = w->vfs->pwrite(f, w->buffer, n, at, em);
        if (e != ERR_OK) return e;
        at += n;
    }
    return wal_sync_file(w, f, true, em);
}

/* R2: a fresh segment follows the torn one, which is cut to what it holds. */
static enum err leave_torn(struct wal *w, struct wal_segment *g, struct vfs_file *f, uint64_t end, struct errmsg *em)
{
    struct wal_spare *s = NULL;
    enum err e = wal_spare_new(w, wal_small_bytes(w), true, &s, em);
    if (e == ERR_OK) e = wal_activate(w, s, em);
    if (e == ERR_NO_SPACE) return ERR_OK; /* the first batch asks again; until then nothing follows the torn one */
    if (e != ERR_OK || g->last_lsn < g->first_lsn) return e;
    e = w->vfs->truncate(f, end, em);
    if (e == ERR_OK) e = wal_sync_file(w, f, false, em);
    if (e == ERR_OK) g->size = g->used = end;
    return e;
}

static enum err settle_tail(struct wal *w, const struct wal_walk *k, struct errmsg *em)
{
    struct wal_segment *g = w->segments;
    while (g->next != NULL) g = g->next;
    struct vfs_file *f = NULL;
    enum err e = open_segment(w, g, VFS_WRITE, &f, em);
    if (e != ERR_OK) return e;
    if (k->last_lsn >= g->first_lsn) g->last_lsn = k->last_lsn;
    e = rewrite(w, f, k->batch_at, k->end, em);
    if (e == ERR_OK && k->is_torn) {
        e = leave_torn(w, g, f, k->end, em);
    } else if (e == ERR_OK && w->next_lsn == (k->last_lsn >= g->first_lsn ? k->last_lsn + 1 : g->first_lsn)) {
        g->used = k->end + (k->is_marked ? log_record_bytes(0) : 0);
        w->file = f;
        f = NULL;
        w->salt = g->salt;
        w->at = k->end;
        w->size = g->size;
        w->is_marked = k->is_marked;
        w->active = g;
    }
    if (f != NULL) w->vfs->close(f);
    return e;
}

/* What earlier starts have left behind, if they were cut short before the helper could see to it. Without this a loop
 * of crashes could add a file each time. A removal that fails or is undone by a crash does no harm.
 * No spare is used again, however it looks: its sync may have failed in the process before, after which the kernel shows
 * bytes and a length that are not on the disk, and no later sync of ours would write them. */
static void drop_leftovers(struct wal *w)
{
    while (w->dirty != NULL) {
        struct wal_spare *s = w->dirty;
        w->dirty = s->next;
        w->n_dirty--;
        wal_spare_discard(w, s);
    }
    for (struct wal_segment **link = &w->segments, *g; (g = *link) != NULL && g->next != NULL;) {
        char path[WAL_PATH_MAX];
        CHECK(wal_path(w, path, g->number, false) && "checked when opening");
        if (g->last_lsn >= g->first_lsn || w->vfs->remove(w->vfs->ctx, path, NULL) != ERR_OK) {
            link = &g->next;
            continue;
        }
        *link = g->next; /* never the last one, so last_segment stays right */
        mem_free(g);
    }
}

enum err wal_recover(struct wal *w, const struct wal_recovery *r, struct errmsg *em)
{
    struct wal_walk k = {.w = w, .r = r};
    enum err e = wal_list_files(w, em);
    if (e != ERR_OK) return e;
    if ((e = read_headers(w, em)) != ERR_OK) return e;
    if ((e = walk_all(&k, em)) != ERR_OK) return e;

    w->last_lsn = k.last_lsn;
    w->next_lsn = k.last_lsn + 1;
    for (const struct wal_segment *g = w->segments; g != NULL; g = g->next)
        if (w->next_lsn < g->first_lsn) w->next_lsn = g->first_lsn;
    if (w->next_lsn < r->min_next_lsn) w->next_lsn = r->min_next_lsn;
    w->durable_lsn = w->next_lsn - 1;
    drop_leftovers(w);
    return w->segments != NULL ? settle_tail(w, &k, em) : ERR_OK;
}
