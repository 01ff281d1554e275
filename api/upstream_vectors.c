/* upstream_vectors.c - see upstream_vectors.h.
 *
 * HAPPY PATH  index_metadata.pickle names the records of the index; then the collection's log entries are gone
 *             through in order, up to where the metadata segment is.
 *
 *   entries the index has already   say only where a vector may be found as it was sent. Whether an add among them was
 *                                   skipped (the record was there) cannot be told when what came before is purged:
 *                                   such a find is a guess, believed only if it agrees with the index.
 *   entries behind the index        change what a record has, as the index itself would when upstream's server starts.
 *
 * FAILURE     an unreadable index is told, not fatal: then the log counts alone, and updates of records that it does
 *             not know are believed, because the record may have come before.
 * INVARIANT   the table is never more than half full; ids are views into the pickle or copies in the arena.
 */
#include "api/upstream_vectors.h"

#include <math.h>

#include "api/upstream_hnsw.h"
#include "api/upstream_pickle.h"
#include "core/hash.h"
#include "core/mem.h"

enum presence { PRESENT_UNKNOWN, PRESENT_NO, PRESENT_YES };

struct entry {
    struct str id;           /* .p == NULL: a free slot */
    const uint8_t *in_index; /* NULL: not there, or replaced since */
    int64_t seq;             /* of the log entry that has its vector; 0: none */
    uint8_t presence;        /* enum presence, while the log is gone through */
    bool is_guess;           /* seq is of an add that may have been skipped */
};

struct upstream_vectors {
    struct upstream_vectors_in in;
    struct arena *arena;
    struct upstream_hnsw index;
    bool has_index;      /* it could be read */
    struct bytes pickle; /* mapped; ids point into it */
    struct entry *slots;
    size_t n_slots, n; /* n_slots: a power of two */
    struct buf scratch;
};

/* --- the table --------------------------------------------------------------------------------------------------- */

static struct entry *slot_of(struct entry *slots, size_t n_slots, struct str id)
{
    size_t at = (size_t)hash_bytes(id.p, id.n, hash_process_seed());
    while (slots[at & (n_slots - 1)].id.p != NULL && !str_eq(slots[at & (n_slots - 1)].id, id)) at++;
    return &slots[at & (n_slots - 1)];
}

static bool make_room(struct upstream_vectors *v, size_t n)
{
    size_t want = v->n_slots > 0 ? v->n_slots : 64;
    while (want / 2 < n) {
        if (want > SIZE_MAX / 4) return false;
        want *= 2;
    }
    if (want == v->n_slots) return true;
    struct entry *slots = mem_array(want, sizeof *slots);
    if (slots == NULL) return false;
    for (size_t i = 0; i < v->n_slots; i++)
        if (v->slots[i].id.p != NULL) *slot_of(slots, want, v->slots[i].id) = v->slots[i];
    mem_free(v->slots);
    v->slots = slots;
    v->n_slots = want;
    return true;
}

/* The record's entry, made if it is not there; NULL when memory is short. `is_view`: the id holds as long as the
 * table. */
static struct entry *entry_of(struct upstream_vectors *v, struct str id, bool is_view)
{
    if (id.p == NULL) id = STR("");
    if (!make_room(v, v->n + 1)) return NULL;
    struct entry *e = slot_of(v->slots, v->n_slots, id);
    if (e->id.p != NULL) return e;
    struct str kept = is_view ? id : arena_str(v->arena, id);
    if (kept.p == NULL) return NULL;
    e->id = kept;
    v->n++;
    return e;
}

/* --- the index --------------------------------------------------------------------------------------------------- */

static enum err map_pickle(struct upstream_vectors *v, const char *dir, struct errmsg *em)
{
    const struct vfs *vfs = v->in.vfs;
    struct vfs_file *f;
    char path[4096];
    if (!vfs_join(path, sizeof path, dir, "index_metadata.pickle"))
        return errmsg_set(em, ERR_INVALID, "the path %s is too long", dir);
    enum err e = vfs->open(vfs->ctx, path, VFS_READ, &f, em);
    if (e != ERR_OK) return e;
    e = vfs->map(f, &v->pickle, em);
    vfs->close(f);
    return e;
}

static enum err enter_labels(struct upstream_vectors *v, const struct upstream_labels *labels, struct errmsg *em)
{
    uint32_t n_missing = 0;
    if (!make_room(v, labels->n)) return errmsg_set(em, ERR_NOMEM, "a table of %u records", labels->n);
    for (uint32_t i = 0; i < labels->n; i++) {
        struct entry *e = entry_of(v, labels->items[i].id, true);
        if (e == NULL) return errmsg_set(em, ERR_NOMEM, "a table of %u records", labels->n);
        e->in_index = upstream_hnsw_find(&v->index, labels->items[i].label);
        if (e->in_index == NULL) n_missing++;
    }
    if (n_missing == 0) return ERR_OK;
    return errmsg_set(em, ERR_CORRUPT, "it lacks %u of the %u records that it names", n_missing, labels->n);
}

/* *seq: up to which position of the log it has everything; 0 when there is no index, which is normal for a collection
 * of fewer records than its sync_threshold. */
static enum err read_index(struct upstream_vectors *v, int64_t *seq, struct errmsg *em)
{
    char dir[4096];
    const struct upstream_collection *c = v->in.collection;
    struct upstream_labels labels = {0};
    *seq = 0;
    if (c->vector_segment.p == NULL || memchr(c->vector_segment.p, '/', c->vector_segment.n) != NULL)
        return ERR_OK; /* the name of a folder, not a way out of the directory */
    if (!vfs_join(dir, sizeof dir, v->in.dir, c->vector_segment.p))
        return errmsg_set(em, ERR_INVALID, "the path %s is too long", v->in.dir);
    enum err e = map_pickle(v, dir, em);
    if (e == ERR_NOT_FOUND && c->vector_seq == 0) return ERR_OK;
    if (e == ERR_OK) e = upstream_pickle_read(v->pickle, v->arena, &labels, em);
    if (e == ERR_OK) e = upstream_hnsw_open(&v->index, v->in.vfs, dir, em);
    if (e != ERR_OK) return e;
    if (c->dimension != 0 && v->index.n > 0 && v->index.dim != c->dimension)
        return errmsg_set(em, ERR_CORRUPT, "header.bin: vectors of %u, the collection has %u", v->index.dim,
                          c->dimension);
    *seq = c->vector_seq > 0 ? c->vector_seq : labels.has_max_seq_id ? labels.max_seq_id : 0;
    return enter_labels(v, &labels, em);
}

/* --- the log ----------------------------------------------------------------------------------------------------- */

/* An entry that the index has already. */
static void look_back(struct entry *e, const struct upstream_entry *w)
{
    bool has_vector = w->vector.p != NULL;
    switch (w->operation) {
    case UPSTREAM_DELETE:
        e->presence = PRESENT_NO;
        e->seq = 0;
        break;
    case UPSTREAM_ADD:
        if (e->presence == PRESENT_YES) break;
        e->is_guess = e->presence == PRESENT_UNKNOWN;
        e->seq = has_vector ? w->seq : 0;
        e->presence = PRESENT_YES;
        break;
    case UPSTREAM_UPDATE:
        if (e->presence == PRESENT_NO || !has_vector) break;
        e->is_guess = false;
        e->seq = w->seq;
        break;
    case UPSTREAM_UPSERT:
        e->presence = PRESENT_YES;
        if (!has_vector) break;
        e->is_guess = false;
        e->seq = w->seq;
        break;
    }
}

/* After the last entry that the index has: what it does not have is not there, whatever the log said. */
static void settle(struct upstream_vectors *v)
{
    for (size_t i = 0; i < v->n_slots; i++) {
        struct entry *e = &v->slots[i];
        e->presence = e->in_index != NULL ? PRESENT_YES : PRESENT_NO;
        if (e->in_index == NULL) e->seq = 0;
    }
}

static void set_vector(struct entry *e, const struct upstream_entry *w)
{
    if (w->vector.p == NULL) return;
    e->seq = w->seq;
    e->in_index = NULL;
    e->is_guess = false;
}

/* An entry that the index has not. */
static void go_on(struct entry *e, const struct upstream_entry *w, bool has_index)
{
    switch (w->operation) {
    case UPSTREAM_DELETE:
        e->presence = PRESENT_NO;
        e->in_index = NULL;
        e->seq = 0;
        break;
    case UPSTREAM_ADD:
        if (e->presence == PRESENT_YES) break;
        set_vector(e, w);
        e->presence = PRESENT_YES;
        break;
    case UPSTREAM_UPDATE:
        if (e->presence == PRESENT_YES || !has_index) set_vector(e, w);
        break;
    case UPSTREAM_UPSERT:
        set_vector(e, w);
        e->presence = PRESENT_YES;
        break;
    }
}

static enum err read_log(struct upstream_vectors *v, int64_t index_seq, struct errmsg *em)
{
    const struct upstream_collection *c = v->in.collection;
    bool is_settled = false;
    for (uint32_t i = 0; i < c->n_log; i++) {
        struct upstream_entry w;
        bool is_behind = c->log[i] > index_seq;
        if (is_behind && c->log[i] > c->metadata_seq) break; /* applied by whoever writes the records */
        if (is_behind && !is_settled) {
            settle(v);
            is_settled = true;
        }
        enum err e = upstream_log_entry(v->in.db, c->log[i], &w, em);
        if (e != ERR_OK) return e;
        struct entry *entry = entry_of(v, w.id, false);
        if (entry == NULL) return errmsg_set(em, ERR_NOMEM, "a table of %zu records", v->n);
        if (is_behind)
            go_on(entry, &w, v->has_index);
        else
            look_back(entry, &w);
    }
    if (!is_settled) settle(v);
    return ERR_OK;
}

/* --- opening ----------------------------------------------------------------------------------------------------- */

/* What was read of an index that turned out to be damaged counts no more. */
static void forget_index(struct upstream_vectors *v)
{
    upstream_hnsw_close(&v->index);
    for (size_t i = 0; i < v->n_slots; i++) v->slots[i].in_index = NULL;
}

enum err upstream_vectors_open(struct upstream_vectors **out, const struct upstream_vectors_in *in, struct arena *a,
                               struct str *index_fault, struct errmsg *em)
{
    int64_t seq = 0;
    struct errmsg why = {{0}};
    struct upstream_vectors *v = mem_zalloc(sizeof *v);
    if (v == NULL) return errmsg_set(em, ERR_NOMEM, "vectors");
    v->in = *in;
    v->arena = a;
    v->has_index = true;
    *index_fault = (struct str){NULL, 0};
    enum err e = read_index(v, &seq, &why);
    if (e == ERR_CORRUPT && v->index.places != NULL && v->n > 0) {
        /* some records are missing in it: the others count, and the log may have the rest */
        *index_fault = arena_printf(a, "%s", why.text);
        e = ERR_OK;
    } else if (e != ERR_OK && e != ERR_NOMEM) {
        *index_fault = arena_printf(a, "%s", why.text);
        forget_index(v);
        v->has_index = false;
        seq = 0;
        e = ERR_OK;
    } else if (e != ERR_OK) {
        (void)errmsg_set(em, e, "%s", why.text);
    }
    if (e == ERR_OK) e = read_log(v, seq, em);
    if (e != ERR_OK) {
        upstream_vectors_close(v);
        return e;
    }
    *out = v;
    return ERR_OK;
}

void upstream_vectors_close(struct upstream_vectors *v)
{
    if (v == NULL) return;
    upstream_hnsw_close(&v->index);
    if (v->pickle.p != NULL) v->in.vfs->unmap(v->in.vfs->ctx, v->pickle);
    mem_free(v->slots);
    buf_free(&v->scratch);
    mem_free(v);
}

/* --- one record -------------------------------------------------------------------------------------------------- */

/* Is b what an index keeps of a? Under cosine it divides by the length, in float32 and in an order of its own. */
static bool agrees(const float *a, const uint8_t *b, uint32_t dim, enum space space)
{
    double square = 0;
    if (memcmp(a, b, dim * sizeof(float)) == 0) return true;
    if (space != SPACE_COSINE) return false;
    for (uint32_t i = 0; i < dim; i++) square += (double)a[i] * a[i];
    for (uint32_t i = 0; i < dim; i++) {
        float unit;
        memcpy(&unit, b + i * sizeof unit, sizeof unit);
        if (!(fabs((double)a[i] / (sqrt(square) + 1e-30) - unit) < 1e-4)) return false;
    }
    return true;
}

static enum err from_log(struct upstream_vectors *v, const struct entry *e, uint32_t *dim, struct errmsg *em)
{
    struct upstream_entry w;
    v->scratch.n = 0;
    enum err err = upstream_log_entry(v->in.db, e->seq, &w, em);
    return err == ERR_OK ? upstream_entry_vector(&w, &v->scratch, dim, em) : err;
}

enum err upstream_vectors_get(struct upstream_vectors *v, struct str id, struct buf *floats, uint32_t *dim,
                              enum upstream_origin *origin, struct errmsg *em)
{
    static const struct entry none;
    const struct entry *e = v->n_slots > 0 ? slot_of(v->slots, v->n_slots, id) : &none;
    if (e->seq != 0) {
        uint32_t n;
        enum err err = from_log(v, e, &n, em);
        if (err != ERR_OK) return err;
        const float *sent = (const float *)(const void *)v->scratch.p;
        bool is_same = e->in_index == NULL || (n == v->index.dim && agrees(sent, e->in_index, n, v->in.space));
        if (is_same || !e->is_guess) {
            buf_add(floats, v->scratch.p, v->scratch.n);
            *dim = n;
            *origin = is_same ? UPSTREAM_AS_SENT : UPSTREAM_DISPUTED;
            return floats->err == ERR_OK ? ERR_OK : errmsg_set(em, floats->err, "vectors");
        }
    }
    if (e->in_index == NULL) {
        *origin = UPSTREAM_NOWHERE;
        return ERR_OK;
    }
    buf_add(floats, e->in_index, v->index.dim * sizeof(float));
    *dim = v->index.dim;
    *origin = v->in.space == SPACE_COSINE ? UPSTREAM_UNIT : UPSTREAM_AS_SENT;
    return floats->err == ERR_OK ? ERR_OK : errmsg_set(em, floats->err, "vectors");
}
