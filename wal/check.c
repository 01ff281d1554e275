/* check.c - see check.h.
 *
 * HAPPY PATH  list; headers, and the order of those that are good; the records of each segment.
 * FAILURE     a damaged header leaves a gap: the segment before it is read like a last one, since nobody says how far
 *             it went. Damage inside a segment ends the walk over it, and the next one is read.
 * INVARIANT   nothing is opened for writing.
 */
#include "wal/check.h"

#include "core/mem.h"
#include "wal/wal_internal.h"

struct checker {
    struct wal w; /* vfs, dir and the lists are used */
    wal_replay visit;
    wal_on_problem on_problem;
    void *ctx;
    struct wal_summary *s;
};

/* Damage is told; anything else ends the check. */
static enum err tell(const struct checker *c, enum err e, const struct errmsg *why, struct errmsg *em)
{
    if (e == ERR_OK) return e;
    if (e != ERR_CORRUPT && e != ERR_NEWER) {
        if (em != NULL) *em = *why;
        return e;
    }
    c->on_problem(c->ctx, e, why->text);
    return ERR_OK;
}

/* A segment whose header is good has a salt. */
static bool is_good(const struct wal_segment *g)
{
    return g->salt != 0;
}

static enum err check_headers(struct checker *c, struct errmsg *em)
{
    struct wal_segment *before = NULL;
    for (struct wal_segment *g = c->w.segments; g != NULL; before = g, g = g->next) {
        struct errmsg why = {{0}};
        enum err e = wal_read_header(&c->w, g, &why);
        if (e != ERR_OK)
            g->salt = 0;
        else if (before != NULL && is_good(before))
            e = wal_check_order(&c->w, before, g, &why);
        e = tell(c, e, &why, em);
        if (e != ERR_OK) return e;
        c->s->n_segments++;
        c->s->bytes += g->size;
    }
    return ERR_OK;
}

static enum err visit_record(void *ctx, uint64_t lsn, uint32_t type, uint64_t collection, struct bytes payload,
                             struct errmsg *em)
{
    struct checker *c = ctx;
    c->s->n_records++;
    if (c->s->first_lsn == 0) c->s->first_lsn = lsn;
    c->s->last_lsn = lsn;
    return c->visit != NULL ? c->visit(c->ctx, lsn, type, collection, payload, em) : ERR_OK;
}

static enum err check_records(struct checker *c, struct errmsg *em)
{
    const struct wal_recovery r = {.replay = visit_record, .ctx = c};
    struct wal_walk k = {.w = &c->w, .r = &r};
    for (struct wal_segment *g = c->w.segments, *next; g != NULL; g = next) {
        struct errmsg why = {{0}};
        next = g->next;
        if (!is_good(g)) continue;
        if (next != NULL && !is_good(next)) g->next = NULL;
        k.is_torn = false;
        enum err e = wal_read_segment(&k, g, &why);
        if (e == ERR_OK && g->next == NULL && k.is_torn) {
            c->s->is_torn = true;
            c->s->torn_number = g->number;
            c->s->torn_at = k.end;
        }
        g->next = next;
        e = tell(c, e, &why, em);
        if (e != ERR_OK) return e;
    }
    return ERR_OK;
}

static void free_lists(struct checker *c)
{
    for (struct wal_segment *g = c->w.segments, *next; g != NULL; g = next) {
        next = g->next;
        mem_free(g);
    }
    for (struct wal_spare *s = c->w.dirty, *next; s != NULL; s = next) {
        next = s->next;
        mem_free(s);
    }
}

enum err wal_check(const struct vfs *vfs, const char *dir, wal_replay visit, wal_on_problem on_problem, void *ctx,
                   struct wal_summary *s, struct errmsg *em)
{
    struct checker c = {.visit = visit, .on_problem = on_problem, .ctx = ctx, .s = s};
    char path[WAL_PATH_MAX];
    *s = (struct wal_summary){0};
    c.w.vfs = vfs;
    c.w.last_segment = &c.w.segments;
    c.w.dir = mem_dup(dir, strlen(dir) + 1);
    if (c.w.dir == NULL) return errmsg_set(em, ERR_NOMEM, "check the log");
    enum err e = wal_path(&c.w, path, 0, true) ? ERR_OK : errmsg_set(em, ERR_INVALID, "the path is too long");
    if (e == ERR_OK) e = wal_list_files(&c.w, em);
    if (e == ERR_OK) e = check_headers(&c, em);
    if (e == ERR_OK) e = check_records(&c, em);
    s->n_spares = c.w.n_dirty;
    free_lists(&c);
    mem_free(c.w.dir);
    return e;
}
