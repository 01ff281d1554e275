/* collection_apply.c - applying a durable write block to a collection.
 *
 * Each row of the block becomes at most one new row of the active tail; the row it replaces dies at the block's
 * position. Nothing is visible until the position is published at the end, then all of it at once.
 * FAILURE  short of memory halfway the block is partly in the tail. Since it is durable it cannot be refused any more, and
 *          a later position would make its half visible, so the collection applies nothing from then on
 *          (ERR_READ_ONLY); a restart replays it in full.
 */
#include "core/collection_internal.h"
#include "core/epoch.h"
#include "core/mem.h"
#include "core/value.h"

/* Where the live row of an id is, for the writer: newest segments first. */
struct found {
    struct segment *segment; /* NULL: no live row */
    uint32_t row;            /* ROW_UNKNOWN: the segment cannot tell whether it has one */
};

struct apply {
    struct collection *c;
    struct version *v; /* current: only mu holders replace it */
    struct tail *tail;
    struct bytes block;
    uint64_t lsn;
    uint32_t dim;
    uint32_t n_changed;
    bool block_is_kept;
};

static struct found find_live(const struct version *v, struct str id)
{
    for (uint32_t i = v->n_segments; i-- > 0;) {
        struct segment *s = v->segments[i];
        uint32_t row = s->ops->find(s, id, UINT64_MAX);
        if (row != ROW_NONE) return (struct found){s, row}; /* ROW_UNKNOWN too */
    }
    return (struct found){NULL, ROW_NONE};
}

static enum err mark_dead(struct apply *ap, struct found f)
{
    if (!f.segment->is_tail) return deaths_mark(&f.segment->deaths, f.row, ap->lsn);
    tail_mark_dead(tail_of(f.segment), f.row, ap->lsn);
    return ERR_OK;
}

static enum err keep_block(struct apply *ap)
{
    if (ap->block_is_kept) return ERR_OK;
    enum err e = tail_keep_block(ap->tail, ap->block);
    ap->block_is_kept = e == ERR_OK;
    return e;
}

static enum err append_row(struct apply *ap, const struct row *row, uint64_t ordinal)
{
    const struct tail_row_input in = {.row = *row, .dim = ap->dim, .born = ap->lsn, .ordinal = ordinal};
    enum err e = keep_block(ap);
    return e == ERR_OK ? tail_append(ap->tail, &in) : e;
}

/* old with patch, in the tail's arena; a patch of nothing gives the old bytes themselves. */
static enum err merge_meta(struct apply *ap, struct bytes old, struct bytes patch, struct bytes *merged)
{
    struct buf out = {0};
    if (patch.n == 0) {
        *merged = old;
        return ERR_OK;
    }
    meta_merge(old, patch, &out);
    enum err e = out.err;
    if (e == ERR_OK) {
        void *copy = arena_alloc(tail_arena(ap->tail), out.n);
        if (copy == NULL)
            e = ERR_NOMEM;
        else if (out.n > 0)
            memcpy(copy, out.p, out.n);
        *merged = (struct bytes){copy, out.n};
    }
    buf_free(&out);
    return e;
}

/* Copies into the tail what the old row had and the new one takes over, unless it already lies in this tail. */
static enum err adopt(struct apply *ap, const void **p, size_t n)
{
    if (*p == NULL) return ERR_OK;
    void *copy = arena_alloc(tail_arena(ap->tail), n);
    if (copy == NULL) return ERR_NOMEM;
    if (n > 0) memcpy(copy, *p, n);
    *p = copy;
    return ERR_OK;
}

static enum err adopt_str(struct apply *ap, struct str *s)
{
    const void *p = s->p;
    enum err e = adopt(ap, &p, s->n);
    s->p = p;
    return e;
}

static struct row patch_row(struct bytes block, const struct batch_row *r)
{
    return (struct row){
        .id = batch_id(block, r),
        .document = batch_document(block, r),
        .uri = batch_uri(block, r),
        .meta = batch_meta(block, r),
        .vector = batch_vector(block, r),
    };
}

/* What a new row needs of the one that it replaces. Metadata are merged. No more is read: so a damaged part can be written
 * anew. */
static unsigned parts_taken_over(const struct row *patch)
{
    unsigned parts = ROW_META;
    if (patch->document.p == NULL) parts |= ROW_DOCUMENT;
    if (patch->uri.p == NULL) parts |= ROW_URI;
    if (patch->vector == NULL) parts |= ROW_VECTOR;
    return parts;
}

/* The live row `f` with the parts that the patch has; a whole new row, with the old one's place in the order. */
static enum err replace_row(struct apply *ap, struct found f, const struct batch_row *r, struct errmsg *em)
{
    struct arena scratch = {0};
    struct row old = {0}, row = patch_row(ap->block, r);
    enum err e = f.segment->ops->row(f.segment, f.row, parts_taken_over(&row), &scratch, &old, em);
    bool is_here = f.segment == tail_segment(ap->tail);
    if (e != ERR_OK) goto out;
    struct bytes patch = row.meta;
    if (patch.n == 0) {
        row.meta = old.meta;
        if (!is_here) e = adopt(ap, &row.meta.p, row.meta.n);
    } else {
        e = merge_meta(ap, old.meta, patch, &row.meta);
    }
    if (row.document.p == NULL && old.document.p != NULL) {
        row.document = old.document;
        if (e == ERR_OK && !is_here) e = adopt_str(ap, &row.document);
    }
    if (row.uri.p == NULL && old.uri.p != NULL) {
        row.uri = old.uri;
        if (e == ERR_OK && !is_here) e = adopt_str(ap, &row.uri);
    }
    if (row.vector == NULL) {
        const void *v = old.vector;
        if (e == ERR_OK && !is_here) e = adopt(ap, &v, ap->dim * sizeof(float));
        row.vector = v;
    }
    uint64_t ordinal = f.segment->ops->ordinal(f.segment, f.row);
    if (e == ERR_OK) e = append_row(ap, &row, ordinal);
    if (e == ERR_OK) e = mark_dead(ap, f);
    if (e == ERR_OK) ap->n_changed++;
out:
    arena_free(&scratch);
    return e;
}

static enum err insert_row(struct apply *ap, const struct batch_row *r, struct errmsg *em)
{
    struct row row = patch_row(ap->block, r);
    if (row.vector == NULL) return errmsg_set(em, ERR_CORRUPT, "a block that makes a row without a vector");
    enum err e = merge_meta(ap, (struct bytes){NULL, 0}, row.meta, &row.meta); /* drops the NULLs of a patch */
    if (e == ERR_OK) e = append_row(ap, &row, ap->c->next_ordinal);
    if (e != ERR_OK) return e;
    ap->c->next_ordinal++;
    ap->n_changed++;
    return ERR_OK;
}

static enum err delete_row(struct apply *ap, struct found f)
{
    enum err e = mark_dead(ap, f);
    if (e == ERR_OK) ap->n_changed++;
    return e;
}

static enum err apply_row(struct apply *ap, enum batch_kind kind, const struct batch_row *r, int64_t *n_live,
                          struct errmsg *em)
{
    struct found f = find_live(ap->v, batch_id(ap->block, r));
    bool exists = f.segment != NULL;
    enum err e = ERR_OK;
    if (f.row == ROW_UNKNOWN) return segment_unreadable(f.segment, em);
    switch (kind) {
    case BATCH_ADD:
        if (!exists) e = insert_row(ap, r, em), *n_live += 1;
        break;
    case BATCH_UPDATE:
        if (exists) e = replace_row(ap, f, r, em);
        break;
    case BATCH_UPSERT:
        if (exists)
            e = replace_row(ap, f, r, em);
        else
            e = insert_row(ap, r, em), *n_live += 1;
        break;
    case BATCH_DELETE:
        if (exists) e = delete_row(ap, f), *n_live -= 1;
        break;
    case BATCH_DELETE_MATCHED: /* a row written since the selection was made does not go with it */
        if (exists && f.segment->ops->born(f.segment, f.row) <= batch_as_of(ap->block))
            e = delete_row(ap, f), *n_live -= 1;
        break;
    }
    return e;
}

enum err collection_apply(struct collection *c, uint64_t lsn, struct bytes block, uint32_t *n_changed,
                          struct errmsg *em)
{
    enum err e = ERR_OK;
    int64_t n_live = 0;
    (void)pthread_mutex_lock(&c->mu);
    struct apply ap = {.c = c, .v = atomic_load(&c->version), .block = block, .lsn = lsn};
    ap.tail = active_tail(ap.v);
    *n_changed = 0;
    if (c->is_broken) {
        e = errmsg_set(em, ERR_READ_ONLY, "collection %llu takes no writes until restart",
                       (unsigned long long)c->number);
    } else if (atomic_load(&c->is_dropped)) {
        e = errmsg_set(em, ERR_NOT_FOUND, "collection %llu is deleted", (unsigned long long)c->number);
    } else if (lsn > atomic_load(&c->lsn)) {
        CHECK(!ap.v->is_closed && "a writer keeps the collection open");
        if (batch_dim(block) != 0) {
            uint32_t fixed;
            collection_reserve_dim(c, batch_dim(block), &fixed); /* replay: the first block decides again */
            if (fixed != batch_dim(block))
                e = errmsg_set(em, ERR_CORRUPT, "a block of dimension %u in a collection of %u", batch_dim(block),
                               fixed);
        }
        ap.dim = atomic_load(&c->dim);
        const struct batch_row *rows = batch_rows(block);
        for (uint32_t i = 0, n = batch_n_rows(block); i < n && e == ERR_OK; i++)
            e = apply_row(&ap, batch_kind(block), &rows[i], &n_live, em);
        if (e == ERR_OK) {
            uint64_t none = 0;
            (void)atomic_compare_exchange_strong(&c->first_unflushed, &none, lsn);
            atomic_fetch_add(&c->n_live, (uint64_t)n_live);
            atomic_fetch_add(&c->n_changes, ap.n_changed);
            atomic_store(&c->lsn, lsn); /* from here on readers see all of it; pairs with snapshot_begin */
            *n_changed = ap.n_changed;
        } else {
            uint64_t none = 0;
            (void)atomic_compare_exchange_strong(&c->first_unflushed, &none, lsn); /* the log keeps it for the replay */
            c->is_broken = true;
        }
    }
    (void)pthread_mutex_unlock(&c->mu);
    /* An unkept block has nothing pointing into it; a kept one is the tail's, also after a failure. */
    if (!ap.block_is_kept) mem_free((void *)(uintptr_t)block.p);
    return e;
}

/* --- before it is logged -------------------------------------------------------------------------------------------- */

/* Can this row of the block be applied, although parts of some segments' rows are lost? */
static enum err check_row(const struct version *v, struct bytes block, const struct batch_row *r, struct errmsg *em)
{
    struct found f = find_live(v, batch_id(block, r));
    struct arena scratch = {0};
    struct row patch = patch_row(block, r), old = {0};
    if (f.row == ROW_UNKNOWN) return segment_unreadable(f.segment, em);
    if (f.segment == NULL || f.segment->ops->lost == NULL) return ERR_OK;
    unsigned needed = parts_taken_over(&patch) & f.segment->ops->lost(f.segment);
    if (needed == 0) return ERR_OK;
    enum err e = f.segment->ops->row(f.segment, f.row, needed, &scratch, &old, em); /* which fails, and says why */
    arena_free(&scratch);
    return e;
}

enum err collection_check_block(const struct collection *c, struct bytes block, struct errmsg *em)
{
    enum err e = ERR_OK;
    enum batch_kind kind = batch_kind(block);
    bool takes_over = kind == BATCH_UPDATE || kind == BATCH_UPSERT, has_lost = false;
    epoch_enter();
    const struct version *v = atomic_load(&c->version);
    for (uint32_t i = 0; i < v->n_segments && e == ERR_OK; i++) {
        const struct segment *s = v->segments[i];
        if (segment_is_unreadable(s)) e = segment_unreadable(s, em);
        /* what an index does on its first use, comparing a checksum, is done here and not by the log's thread */
        if (e == ERR_OK && batch_n_rows(block) > 0)
            (void)s->ops->find(s, batch_id(block, &batch_rows(block)[0]), UINT64_MAX);
        if (takes_over && s->ops->lost != NULL && s->ops->lost(s) != 0) has_lost = true;
    }
    for (uint32_t i = 0, n = batch_n_rows(block); i < n && has_lost && e == ERR_OK; i++)
        e = check_row(v, block, &batch_rows(block)[i], em);
    epoch_leave();
    return e;
}
