/* collection.c - life of a collection, its versions and snapshots. Writing: collection_apply.c. Sealing and replacing
 * segments: collection_swap.c.
 *
 * WHY A SNAPSHOT IS CONSISTENT  A reader loads the version, then the position, then looks whether the version is still
 * the same; if not, it starts again. Let V be the version and S the position it ends with. V was current after S was
 * loaded, so
 *   1. every row born at or before S is in V: rows are only ever appended to the active tail of the current version;
 *   2. every row that a flush left out of V had died at or before the position of that flush, which is at or before S.
 * So each id's row that is visible at S is in V, once.
 */
#include "core/collection_internal.h"

#include "core/epoch.h"
#include "core/mem.h"

struct version *version_new(uint32_t n_segments, uint32_t n_fragments)
{
    struct version *v = mem_zalloc(sizeof *v + n_segments * sizeof v->segments[0]);
    if (v == NULL) return NULL;
    v->n_segments = n_segments;
    v->n_fragments = n_fragments;
    return v;
}

/* A reader reaches a segment only through a version, and a version gives its references back only when no reader can
 * hold it: whoever drops the last reference may free at once. */
void segment_ref(struct segment *s)
{
    atomic_fetch_add(&s->n_refs, 1);
}

void segment_unref(struct segment *s)
{
    if (s != NULL && atomic_fetch_sub(&s->n_refs, 1) == 1) s->ops->free(s);
}

static void version_free(void *p)
{
    struct version *v = p;
    for (uint32_t i = 0; i < v->n_segments; i++) segment_unref(v->segments[i]);
    mem_free(v);
}

static struct version *version_exchange(struct collection *c, struct version *v)
{
    for (uint32_t i = 0; i < v->n_segments; i++) segment_ref(v->segments[i]);
    return atomic_exchange(&c->version, v); /* pairs with the loads in snapshot_begin */
}

void version_retire(struct version *v)
{
    if (v != NULL) epoch_retire(version_free, v);
}

void version_publish(struct collection *c, struct version *v)
{
    version_retire(version_exchange(c, v));
}

/* `n_fragments` of them; closed: none, and n_live rows that are elsewhere. */
struct beginning {
    struct segment *const *fragments;
    uint32_t n_fragments;
    bool is_closed;
    uint64_t n_live;
};

static enum err collection_make(struct collection **out, uint64_t number, enum space space,
                                const struct collection_state *state, const struct beginning *b, struct errmsg *em)
{
    struct tail *tail = NULL;
    struct collection *c = mem_zalloc(sizeof *c);
    struct version *v = version_new(b->n_fragments + 1, b->n_fragments);
    if (c == NULL || v == NULL || tail_new(&tail) != ERR_OK) {
        mem_free(c);
        mem_free(v);
        return errmsg_set(em, ERR_NOMEM, "open a collection");
    }
    (void)pthread_mutex_init(&c->mu, NULL);
    c->number = number;
    c->space = space;
    c->next_ordinal = state->next_ordinal;
    atomic_init(&c->lsn, state->log_position);
    atomic_init(&c->dim, state->dimension);
    for (uint32_t i = 0; i < b->n_fragments; i++) v->segments[i] = b->fragments[i];
    v->segments[b->n_fragments] = tail_segment(tail);
    v->is_closed = b->is_closed;
    atomic_init(&c->n_live, b->n_live);
    version_publish(c, v);
    *out = c;
    return ERR_OK;
}

enum err collection_new(struct collection **out, uint64_t number, enum space space,
                        const struct collection_state *state, struct segment *const *fragments, uint32_t n_fragments,
                        struct errmsg *em)
{
    struct beginning b = {.fragments = fragments, .n_fragments = n_fragments};
    for (uint32_t i = 0; i < n_fragments; i++)
        b.n_live += fragments[i]->deaths.n_rows - atomic_load(&fragments[i]->deaths.n_dead);
    return collection_make(out, number, space, state, &b, em);
}

enum err collection_new_closed(struct collection **out, uint64_t number, enum space space,
                               const struct collection_state *state, uint64_t n_live, struct errmsg *em)
{
    return collection_make(out, number, space, state, &(struct beginning){.is_closed = true, .n_live = n_live}, em);
}

/* --- closing and opening again --------------------------------------------------------------------------------------- */

bool collection_is_closed(const struct collection *c)
{
    epoch_enter();
    bool is_closed = ((const struct version *)atomic_load(&c->version))->is_closed;
    epoch_leave();
    return is_closed;
}

/* What is published covers all that was applied: no tail has a write, and every death of a row is in a manifest. The
 * active tail is empty then, and stays. */
struct version *collection_close(struct collection *c)
{
    struct version *before = NULL, *v = NULL;
    (void)pthread_mutex_lock(&c->mu);
    struct version *now = atomic_load(&c->version);
    bool is_settled = atomic_load(&c->first_unflushed) == 0 && atomic_load(&c->first_sealed) == 0;
    if (is_settled && !now->is_closed && !atomic_load(&c->is_broken)) v = version_new(1, 0);
    if (v != NULL) {
        v->segments[0] = now->segments[now->n_segments - 1];
        v->is_closed = true;
        before = version_exchange(c, v);
    }
    (void)pthread_mutex_unlock(&c->mu);
    return before;
}

enum err collection_open(struct collection *c, struct segment *const *fragments, uint32_t n, struct errmsg *em)
{
    struct version *v = version_new(n + 1, n);
    if (v == NULL) return errmsg_set(em, ERR_NOMEM, "open a collection");
    for (uint32_t i = 0; i < n; i++) v->segments[i] = fragments[i];
    (void)pthread_mutex_lock(&c->mu);
    struct version *now = atomic_load(&c->version);
    CHECK(now->is_closed && now->n_segments == 1 && "opened once");
    v->segments[n] = now->segments[0];
    struct version *before = version_exchange(c, v);
    (void)pthread_mutex_unlock(&c->mu);
    version_retire(before);
    return ERR_OK;
}

void collection_stop(struct collection *c, uint64_t lsn)
{
    uint64_t none = 0;
    (void)pthread_mutex_lock(&c->mu);
    (void)atomic_compare_exchange_strong(&c->first_unflushed, &none, lsn);
    c->is_broken = true;
    (void)pthread_mutex_unlock(&c->mu);
}

/* --- its life ---------------------------------------------------------------------------------------------------------- */

static void collection_free(void *p)
{
    struct collection *c = p;
    version_free(atomic_load(&c->version));
    (void)pthread_mutex_destroy(&c->mu);
    mem_free(c);
}

void collection_retire(struct collection *c)
{
    if (c != NULL) epoch_retire(collection_free, c);
}

uint64_t collection_number(const struct collection *c)
{
    return c->number;
}

enum space collection_space(const struct collection *c)
{
    return c->space;
}

void collection_reserve_dim(struct collection *c, uint32_t dim, uint32_t *fixed)
{
    uint32_t before = 0;
    *fixed = atomic_compare_exchange_strong(&c->dim, &before, dim) ? dim : before;
}

uint32_t collection_dim(const struct collection *c)
{
    return atomic_load(&c->dim);
}

uint64_t collection_count(const struct collection *c)
{
    return atomic_load(&c->n_live);
}

void collection_drop(struct collection *c)
{
    atomic_store(&c->is_dropped, true);
}

bool collection_is_dropped(const struct collection *c)
{
    return atomic_load(&c->is_dropped);
}

bool collection_is_broken(const struct collection *c)
{
    return atomic_load(&c->is_broken);
}

enum err snapshot_begin(const struct collection *c, struct arena *a, struct snapshot *s)
{
    struct version *v;
    uint64_t lsn;
    epoch_enter();
    do {
        v = atomic_load(&c->version);
        lsn = atomic_load(&c->lsn);
    } while (atomic_load(&c->version) != v);
    struct snapshot_segment *segments = v->is_closed ? NULL : arena_array(a, v->n_segments, sizeof *segments);
    if (segments == NULL) {
        enum err e = v->is_closed ? ERR_BUSY : ERR_NOMEM;
        epoch_leave();
        return e;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < v->n_segments; i++) {
        const struct segment *segment = v->segments[i];
        uint32_t n_rows = segment->is_tail ? tail_n_rows(segment, lsn) : segment->deaths.n_rows;
        if (n_rows > 0) segments[n++] = (struct snapshot_segment){segment, n_rows};
    }
    *s = (struct snapshot){
        .collection = c,
        .lsn = lsn,
        .dim = atomic_load(&c->dim),
        .space = c->space,
        .effort = EFFORT_DEFAULT,
        .n_segments = n,
        .segments = segments,
    };
    return ERR_OK;
}

void snapshot_end(struct snapshot *s)
{
    s->n_segments = 0;
    s->segments = NULL;
    epoch_leave();
}

void collection_pressure(const struct collection *c, struct collection_pressure *p)
{
    epoch_enter();
    struct version *v = atomic_load(&c->version);
    struct tail *tail = active_tail(v);
    /* The active one first: a seal sets the other before it clears this one, so never are both missed. */
    uint64_t active = atomic_load(&c->first_unflushed), sealed = atomic_load(&c->first_sealed);
    p->tail_rows = tail_n_rows(tail_segment(tail), UINT64_MAX);
    p->tail_bytes = tail_bytes(tail);
    p->sealed_bytes = 0;
    for (uint32_t i = v->n_fragments; i + 1 < v->n_segments; i++)
        p->sealed_bytes += tail_bytes(tail_of(v->segments[i]));
    p->n_changes = atomic_load(&c->n_changes);
    p->first_lsn = sealed != 0 ? sealed : active;
    p->n_fragments = v->n_fragments;
    epoch_leave();
}
