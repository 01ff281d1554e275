/* store_internal.h - what store*.c, compactor.c and publish.c share. See store.h.
 *
 * LOCK ORDER  live.flush_mu > store.publish_mu > collection.mu (inside core). compactor.mu is never held while another
 *             is taken.
 */
#ifndef API_STORE_INTERNAL_H
#define API_STORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "api/store.h"
#include "core/clock.h"
#include "index/index.h"

/* After a failure the next attempt waits, twice as long each time: what has failed may fail for long, and each attempt
 * writes files. */
struct backoff {
    uint64_t until_ns;
    unsigned n_failures; /* in a row */
};

/* The live side of one collection: what catalog_collection.runtime points to. Freed with the collection's last
 * reference. */
struct live {
    struct catalog_runtime runtime; /* first */
    struct collection *collection;  /* immutable */
    uint64_t number;
    _Atomic uint64_t last_write_ns; /* monotonic; for flushing what has gone quiet */
    _Atomic uint64_t n_reserved;    /* rows of writes on their way, where a quota asks for it (store_write.c) */

    /* Held over a whole flush: by the flusher thread, or by a fork, which needs everything in fragments. */
    pthread_mutex_t flush_mu;
    struct sealed sealed;         /* guarded by it; .tail != NULL (a reference): sealed, but not published yet (a flush
                                   * failed and is tried again) */
    struct backoff flush_backoff; /* likewise */

    struct backoff merge_backoff; /* the merger thread's */

    /* guarded by store.publish_mu */
    uint64_t version;
    uint64_t last_tried; /* version that anything was published as, or may have been; never used twice */
    uint64_t next_fragment_id;
    struct collection_state state; /* of the published version */
    struct leftover *leftovers;
    struct leftover *unpinned;    /* fragments that were replaced while n_pins > 0 */
    uint32_t n_pins;              /* forks that are linking the fragments of a version: no file of one is removed */
    _Atomic uint32_t n_leftovers; /* of both lists; read without the lock */
    bool is_ahead; /* the version has rows that are in a sealed tail here: no merge before the flush is repeated */
};

/* A file that must stay for a while: until the next version is published, or the last pin is gone. See publish.c. */
struct leftover {
    struct leftover *next;
    char path[];
};

/* Since the start; relaxed: they are looked at, nothing follows from them. */
struct compactor_counts {
    _Atomic uint64_t n_done, n_failed;
    _Atomic uint64_t busy_ns, bytes_written; /* of those that were published */
};

struct compactor {
    pthread_mutex_t mu;
    pthread_cond_t wake;     /* something to do, or stopping */
    pthread_cond_t progress; /* a flush ended; waited for by writers that are held back */
    bool is_stopping;        /* guarded by mu, with all below */
    bool flush_wanted, merge_wanted;
    unsigned n_flush_all; /* calls of store_compact under way: flush and merge everything */
    uint64_t flush_rounds, merge_rounds;
    struct garbage *garbage; /* directories of deleted collections */
    pthread_t flusher, merger;
    bool has_flusher, has_merger;

    struct compactor_counts flushes, merges; /* each written by its thread, read by anyone */
};

struct garbage {
    struct garbage *next;
    uint64_t number;
};

struct store {
    /* immutable */
    struct store_options options;
    const struct vfs *vfs;
    struct vfs *own_vfs; /* ephemeral: ours to free */
    char path[3072];
    struct catalog *catalog;
    struct wal *wal;
    struct vfs_file *lock;

    /* while opening */
    uint64_t n_replayed, replay_started_ns, replay_said_ns;

    _Atomic uint64_t applied_lsn; /* every durable record up to here was applied or skipped */
    pthread_mutex_t publish_mu;   /* one version is published at a time */
    struct compactor compactor;
};

enum { STORE_RECORD_BATCH = 1 }; /* wal_record.type: a write block */

enum { STORE_PATH_MAX = 4096 };

static inline struct live *live_of(const struct catalog_collection *col)
{
    return (struct live *)(void *)atomic_load(&col->runtime);
}

/* DIR/collections/N and files in it. */
void store_collection_dir(const struct store *s, uint64_t number, char out[STORE_PATH_MAX]);
void store_fragment_path(const struct store *s, uint64_t number, uint64_t fragment_id, char out[STORE_PATH_MAX]);
void store_manifest_name(uint64_t version, char out[64]);

/* store_open.c */
enum err live_new(struct live **out, const struct catalog_collection *col, struct errmsg *em);
enum err live_open(struct store *s, const struct catalog_collection *col, struct errmsg *em);
/* From the files that `v` names, or empty when v->version is 0. */
enum err live_from_version(struct store *s, const struct catalog_version *v, enum space space, struct live **out,
                           struct errmsg *em);
void live_free(struct catalog_runtime *live);
enum err store_replay(void *store, uint64_t lsn, uint32_t type, uint64_t collection, struct bytes payload,
                      struct errmsg *em);
/* Removes files of a collection's directory that its version does not name, or all of it. */
void store_clean_collection(struct store *s, uint64_t number, bool remove_all);
void store_clean(struct store *s);

/* publish.c: flusher thread, merger thread, forks. ERR_NOT_FOUND: the collection was deleted meanwhile.
 * flush_collection: with live.flush_mu. */
enum err flush_collection(struct store *s, const struct catalog_collection *col, struct errmsg *em);
/* Merges the segments given (fragments of the present version) into one. */
enum err merge_fragments(struct store *s, const struct catalog_collection *col, struct segment *const *fragments,
                         uint32_t n, struct errmsg *em);

/* The published version as it is: its fragments with the rows dead at its position (entries and bitmaps in the arena),
 * and its state. Until publish_unpin their files stay, whatever is merged meanwhile. Not while live.is_ahead. ERR_NOMEM. */
enum err publish_pin(struct store *s, struct live *live, struct arena *a, struct manifest_entry **entries, uint32_t *n,
                     struct collection_state *state);
void publish_unpin(struct store *s, struct live *live);

/* compactor.c */
enum err compactor_start(struct store *s, struct errmsg *em);
void compactor_stop(struct store *s);
void compactor_wake(struct store *s, bool flush, bool merge); /* any thread */
void compactor_discard(struct store *s, uint64_t number);     /* the files of a deleted collection */
bool compactor_is_stopping(struct store *s);
/* Writers, while a tail is far too big: waits a while. False: it is still so big that another write must be refused (flushing
 * has failed for long). */
bool compactor_wait_for_room(struct store *s, struct live *live);

#endif
