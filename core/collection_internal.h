/* collection_internal.h - what collection*.c share. See collection.h for the rules. */
#ifndef CORE_COLLECTION_INTERNAL_H
#define CORE_COLLECTION_INTERNAL_H

#include <pthread.h>

#include "core/collection.h"
#include "core/tail.h"

/* One state of the list of segments; immutable once published. Oldest first; the last one is the active tail. */
struct version {
    uint32_t n_segments;
    uint32_t n_fragments; /* the first so many are fragments, the rest tails */
    bool is_closed;       /* its fragments are not here: only an active tail without rows */
    struct segment *segments[];
};

struct collection {
    /* immutable */
    uint64_t number;
    enum space space;

    /* published to readers */
    _Atomic(struct version *) version;
    _Atomic uint64_t lsn; /* every write up to here is applied and visible */
    _Atomic uint64_t n_live;
    _Atomic uint32_t dim;
    _Atomic bool is_dropped;
    _Atomic uint64_t first_unflushed; /* position of the oldest write in the active tail; 0: none */
    _Atomic uint64_t first_sealed;    /* likewise of the sealed tails */
    _Atomic uint64_t n_changes;       /* rows added, replaced or deleted since the last seal */

    /* guarded by mu: the writer's and the compactor's */
    pthread_mutex_t mu;
    uint64_t next_ordinal;
    _Atomic bool is_broken; /* an apply failed halfway: nothing more is applied until restart; read by anyone */
};

/* A version with room for n segments; NULL when memory is short. */
struct version *version_new(uint32_t n_segments, uint32_t n_fragments);
/* Takes references on its segments, publishes it, retires the one before. Writer or compactor, mu held. */
void version_publish(struct collection *c, struct version *v);

static inline struct tail *active_tail(const struct version *v)
{
    return tail_of(v->segments[v->n_segments - 1]);
}

#endif
