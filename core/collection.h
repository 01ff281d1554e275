/* collection.h - the live rows of one collection: published fragments, tails, and the log position that readers see.
 *
 * A write is applied after it is durable, in log order: new rows go to the active tail, the rows they replace are
 * marked dead, then the collection's position is published. A reader takes a snapshot (a version and a position) and
 * works on it without locks until it ends it; everything the snapshot needs stays in memory until then (epoch.h).
 *
 *   version = fragments (immutable, ascending id) + sealed tails (being flushed) + the active tail
 *
 * CLOSED  A collection of which everything is in a published version may be closed: its fragments are given back, and what
 *         is left is a handful of numbers and an empty tail. It can be counted and measured; before it is read or written
 *         to it must be opened again, by whoever knows the files (api/live.c).
 *
 * THREADS    collection_apply: the log's flusher thread (start-up: the opening thread). seal, install: the compactor.
 *            The two exclude each other with a mutex inside that readers never take. Snapshots, count, reserve_dim:
 *            any thread.
 * INVARIANTS of every id, at any position, at most one row is visible. The position only grows. A record keeps its
 *            ordinal through updates.
 */
#ifndef CORE_COLLECTION_H
#define CORE_COLLECTION_H

#include "core/batch.h"
#include "core/segment.h"

struct collection;
struct exec_explain;
struct exec_stats;

struct collection_state { /* what a published version says; zero for a new collection */
    uint64_t log_position;
    uint64_t next_ordinal;
    uint32_t dimension;
};

/* Takes over the fragments (freed with their ops->free). ERR_NOMEM. */
enum err collection_new(struct collection **c, uint64_t number, enum space space, const struct collection_state *state,
                        struct segment *const *fragments, uint32_t n_fragments, struct errmsg *em);
/* The same without its fragments: closed, with `n_live` rows that are in them. */
enum err collection_new_closed(struct collection **c, uint64_t number, enum space space,
                               const struct collection_state *state, uint64_t n_live, struct errmsg *em);
/* Frees it when the last reader is gone. Nothing may be applied or swapped any more. NULL is fine. */
void collection_retire(struct collection *c);

uint64_t collection_number(const struct collection *c);
enum space collection_space(const struct collection *c);

/* Fixes the dimension if none is fixed yet; *fixed gets the one in force. For ever, also when the write that asked for it
 * fails later. */
void collection_reserve_dim(struct collection *c, uint32_t dim, uint32_t *fixed);
uint32_t collection_dim(const struct collection *c); /* 0: none yet */
uint64_t collection_count(const struct collection *c);

/* --- closing and opening again; one thread at a time, which also keeps seal and install away ------------------------ */

bool collection_is_closed(const struct collection *c); /* any thread */

/* Gives back the fragments, if nothing was written since they were published. NULL: something was, or it is closed already.
 * Else what readers may still be using: to be handed to version_retire, once no lock is held that a reader may want. */
struct version *collection_close(struct collection *c);
void version_retire(struct version *v); /* NULL is fine */

/* Takes the fragments of its published version over, oldest first. ERR_NOMEM: nothing was taken. */
enum err collection_open(struct collection *c, struct segment *const *fragments, uint32_t n, struct errmsg *em);

/* Nothing is applied any more until a restart. The log is kept from `lsn` on: the first record that the collection should
 * have got and has not. */
void collection_stop(struct collection *c, uint64_t lsn);

/* Applies a durable block and takes it over, whatever the outcome. The collection is open, or else the position must be one
 * that is skipped. A position at or below the collection's own is
 * skipped (replay). *n_changed: rows added, updated or deleted. ERR_NOT_FOUND: dropped. ERR_NOMEM, ERR_CORRUPT: the
 * collection takes no more writes until restart (ERR_READ_ONLY). */
enum err collection_apply(struct collection *c, uint64_t lsn, struct bytes block, uint32_t *n_changed,
                          struct errmsg *em);

/* Would damage keep the block from being applied? To be asked before it is logged: once it is durable it cannot be refused
 * any more. ERR_CORRUPT. The collection is open. Any thread; not what is found damaged later. */
enum err collection_check_block(const struct collection *c, struct bytes block, struct errmsg *em);

/* The collection is deleted: later applies are skipped with ERR_NOT_FOUND. */
void collection_drop(struct collection *c);
bool collection_is_dropped(const struct collection *c);

/* An apply has failed: a write that is logged from now on would be refused here, and yet be there after a restart. */
bool collection_is_broken(const struct collection *c);

/* --- reading -------------------------------------------------------------------------------------------------- */

struct snapshot_segment {
    const struct segment *segment;
    uint32_t n_rows; /* rows at and beyond are of later writes */
};

struct snapshot {
    const struct collection *collection;
    uint64_t lsn;
    uint32_t dim; /* 0: no vectors yet */
    enum space space;
    uint32_t effort; /* of searches for nearest rows (segment.h): the default, or what the reader sets */
    uint32_t n_segments;
    const struct snapshot_segment *segments; /* oldest first: fragments, then tails */
    struct exec_stats *stats;                /* executor.h; the reader's, set after snapshot_begin. NULL: not wanted */
    struct exec_explain *explain;            /* likewise */
};

/* Enters an epoch; the arena holds the list of segments. ERR_NOMEM, ERR_BUSY: it is closed (nothing entered then). */
enum err snapshot_begin(const struct collection *c, struct arena *a, struct snapshot *s);
void snapshot_end(struct snapshot *s);

/* --- for the compactor ---------------------------------------------------------------------------------------- */

struct collection_pressure {
    uint64_t tail_rows, tail_bytes; /* of the active tail */
    uint64_t sealed_bytes;          /* of tails that are being flushed */
    uint64_t n_changes;             /* rows added, replaced or deleted since the last seal */
    uint64_t first_lsn;             /* the oldest write not in a published version; 0: none */
    uint32_t n_fragments;
};
void collection_pressure(const struct collection *c, struct collection_pressure *p);

/* Closes the active tail and starts a new one. *sealed is NULL when there is nothing to flush. *position: everything up
 * to it is in fragments and sealed tails. The sealed tail stays readable; n_rows of it are to be flushed. */
struct sealed {
    struct segment *tail; /* with a reference of the caller's */
    uint32_t n_rows;
    struct collection_state state; /* log_position, ordinal, dimension at this moment */
};
enum err collection_seal(struct collection *c, struct sealed *s, struct errmsg *em);

/* A row of a replaced segment and where it is in the replacement (ROW_NONE: left out, because it was dead). */
struct replaced {
    const struct segment *segment;
    const uint32_t *row_map; /* one entry a row of `segment` */
};

/* Puts `fragment` (NULL: nothing is left of them) in the place of the replaced segments, and carries over deaths that
 * happened meanwhile. Takes the fragment over; the replaced ones are freed when the last reader is gone. */
enum err collection_install(struct collection *c, const struct replaced *replaced, uint32_t n_replaced,
                            struct segment *fragment, struct errmsg *em);

/* Fragments of the present version, oldest first, a reference (segment_ref) on each. */
enum err collection_fragments(const struct collection *c, struct arena *a, struct segment ***fragments, uint32_t *n);

/* Keeps a segment beyond the version and the epoch it was found in; the last unref frees it. Any thread. */
void segment_ref(struct segment *s);
void segment_unref(struct segment *s);

#endif
