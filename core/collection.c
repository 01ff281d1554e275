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

void version_publish(struct collection *c, struct version *v)
{
    for (uint32_t i = 0; i < v->n_segments; i++) segment_ref(v->segments[i]);
    struct version *before = atomic_exchange(&c->version, v); /* pairs with the loads in snapshot_begin */
    if (before != NULL) epoch_retire(version_free, before);
}

enum err collection_new(struct collection **out, uint64_t number, enum space space,
                        const struct collection_state *state, struct segment *const *fragments, uint32_t n_fragments,
                        struct errmsg *em)
{
    struct tail *tail = NULL;
    struct collection *c = mem_zalloc(sizeof *c);
    struct version *v = version_new(n_fragments + 1, n_fragments);
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
    uint64_t n_live = 0;
    for (uint32_t i = 0; i < n_fragments; i++) {
        v->segments[i] = fragments[i];
        n_live += fragments[i]->deaths.n_rows - atomic_load(&fragments[i]->deaths.n_dead);
    }
    v->segments[n_fragments] = tail_segment(tail);
    atomic_init(&c->n_live, n_live);
    version_publish(c, v);
    *out = c;
    return ERR_OK;
}

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
    struct snapshot_segment *segments = arena_array(a, v->n_segments, sizeof *segments);
    if (segments == NULL) {
        epoch_leave();
        return ERR_NOMEM;
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
    p->n_changes = atomic_load(&c->n_changes);
    p->first_lsn = sealed != 0 ? sealed : active;
    p->n_fragments = v->n_fragments;
    epoch_leave();
}
