/* collection_swap.c - sealing the active tail, and putting fragments in the place of other segments.
 *
 * The compactor builds a fragment from rows that are alive at some position P while writes go on. Rows of the replaced
 * segments that die meanwhile are alive in the fragment; their deaths are carried over when it is installed, with
 * the writer held off for that moment.
 */
#include "core/collection_internal.h"
#include "core/epoch.h"
#include "core/mem.h"

enum err collection_seal(struct collection *c, struct sealed *s, struct errmsg *em)
{
    enum err e = ERR_OK;
    struct tail *fresh = NULL;
    struct version *v = NULL;
    (void)pthread_mutex_lock(&c->mu);
    struct version *now = atomic_load(&c->version);
    struct tail *tail = active_tail(now);
    *s = (struct sealed){
        .state = {.log_position = atomic_load(&c->lsn),
                  .next_ordinal = c->next_ordinal,
                  .dimension = atomic_load(&c->dim)},
    };
    if (atomic_load(&c->first_unflushed) == 0) goto out; /* nothing was written since the last time */
    if (c->is_broken) {
        e = errmsg_set(em, ERR_READ_ONLY, "collection %llu is broken until restart", (unsigned long long)c->number);
        goto out;
    }
    v = version_new(now->n_segments + 1, now->n_fragments);
    if (v == NULL || tail_new(&fresh) != ERR_OK) {
        mem_free(v);
        e = errmsg_set(em, ERR_NOMEM, "seal a tail");
        goto out;
    }
    memcpy(v->segments, now->segments, now->n_segments * sizeof v->segments[0]);
    v->segments[now->n_segments] = tail_segment(fresh);
    s->tail = tail_segment(tail);
    segment_ref(s->tail);
    s->n_rows = tail_n_rows(tail_segment(tail), UINT64_MAX);
    atomic_store(&c->first_sealed, atomic_load(&c->first_unflushed));
    atomic_store(&c->first_unflushed, 0);
    atomic_store(&c->n_changes, 0);
    version_publish(c, v);
out:
    (void)pthread_mutex_unlock(&c->mu);
    return e;
}

/* Deaths of replaced rows since the fragment's rows were chosen. */
static enum err carry_deaths(const struct replaced *r, struct segment *fragment)
{
    uint32_t n_rows = r->segment->is_tail ? tail_n_rows(r->segment, UINT64_MAX) : r->segment->deaths.n_rows;
    for (uint32_t row = 0; row < n_rows; row++) {
        uint64_t died = segment_died_at(r->segment, row);
        if (died == 0 || r->row_map[row] == ROW_NONE) continue;
        enum err e = deaths_mark(&fragment->deaths, r->row_map[row], died);
        if (e != ERR_OK) return e;
    }
    return ERR_OK;
}

static bool is_replaced(const struct segment *s, const struct replaced *r, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (r[i].segment == s) return true;
    return false;
}

enum err collection_install(struct collection *c, const struct replaced *replaced, uint32_t n_replaced,
                            struct segment *fragment, struct errmsg *em)
{
    enum err e = ERR_OK;
    uint32_t n = 0;
    bool is_placed = fragment == NULL, had_tail = false;
    (void)pthread_mutex_lock(&c->mu);
    struct version *now = atomic_load(&c->version);
    CHECK(!now->is_closed && "what is being built keeps the collection open");
    struct version *v = version_new(now->n_segments + 1, 0);
    if (v == NULL) e = ERR_NOMEM;
    for (uint32_t i = 0; i < n_replaced && e == ERR_OK && fragment != NULL; i++)
        e = carry_deaths(&replaced[i], fragment);
    if (e != ERR_OK) {
        mem_free(v);
        (void)errmsg_set(em, e, "install a fragment");
        goto out;
    }
    for (uint32_t i = 0; i < now->n_segments; i++) {
        struct segment *s = now->segments[i];
        bool goes = is_replaced(s, replaced, n_replaced);
        had_tail = had_tail || (goes && s->is_tail);
        /* the newcomer stands where the first of the replaced stood: among fragments, before any tail */
        if (!is_placed && (goes || s->is_tail)) {
            v->segments[n++] = fragment;
            v->n_fragments++;
            is_placed = true;
        }
        if (goes) continue;
        v->segments[n++] = s;
        v->n_fragments += !s->is_tail;
    }
    v->n_segments = n;
    if (had_tail) atomic_store(&c->first_sealed, 0);
    version_publish(c, v);
out:
    (void)pthread_mutex_unlock(&c->mu);
    return e;
}

enum err collection_fragments(const struct collection *c, struct arena *a, struct segment ***fragments, uint32_t *n)
{
    enum err e = ERR_NOMEM;
    epoch_enter();
    struct version *v = atomic_load(&c->version);
    struct segment **list = arena_array(a, v->n_fragments, sizeof *list);
    if (list != NULL) {
        for (uint32_t i = 0; i < v->n_fragments; i++) {
            list[i] = v->segments[i];
            segment_ref(list[i]);
        }
        *fragments = list;
        *n = v->n_fragments;
        e = ERR_OK;
    }
    epoch_leave();
    return e;
}
