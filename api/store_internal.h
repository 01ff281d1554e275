/* store_internal.h - what store*.c, compactor.c and publish.c share. See store.h.
 *
 * LOCK ORDER  live.flush_mu, live.merge_mu > live.open_mu > store.publish_mu > collection.mu (inside core). compactor.mu is never held
 *             while another is taken. Readers, inside an epoch, take open_mu: so nothing is retired while it is held
 *             (epoch_retire may have to wait for readers).
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
    _Atomic uint64_t last_used_ns;  /* monotonic; the last read or write began then */
    _Atomic uint64_t file_bytes;    /* of the published version's fragments; written with publish_mu or open_mu */

    /* closed and opened again: live.c */
    pthread_mutex_t open_mu;
    _Atomic uint32_t n_holds; /* writes on their way, merges, forks: it stays open meanwhile */
    _Atomic bool is_closing;  /* written with open_mu */
    _Atomic bool needs_clean; /* files that no version names may lie in its directory; cleared with open_mu */
    _Atomic bool is_stopped;  /* the replay found its files damaged: it is not read, and takes no writes */
    bool has_told;            /* guarded by open_mu: that its files cannot be opened is in the log */

    struct { /* of samples, the older ones counting less and less; written by the scrubber, read by anyone; relaxed */
        _Atomic uint64_t n_queries, n_wanted, n_found;
    } recall;

    /* Held over a whole flush: by the flusher thread, or by a fork, which needs everything in fragments. */
    pthread_mutex_t flush_mu;
    struct sealed sealed;         /* guarded by it; .tail != NULL (a reference): sealed, but not published yet (a flush
                                   * failed and is tried again) */
    struct backoff flush_backoff; /* likewise */

    /* Held over a whole merge: by the merger thread, or by store_compact_now. Two merges of one collection would replace
     * the same fragments. */
    pthread_mutex_t merge_mu;
    struct backoff merge_backoff; /* the merger thread's */

    /* guarded by store.publish_mu; nobody writes them while the collection is closed */
    uint64_t version;
    uint64_t last_tried; /* version that anything was published as, or may have been; never used twice */
    uint64_t next_fragment_id;
    struct collection_state state; /* of the published version */
    struct leftover *leftovers;
    struct leftover *unpinned; /* files that were replaced while n_pins > 0 */
    uint32_t n_pins;           /* forks and backups that are linking the files of a version: none of one is removed */
    _Atomic uint32_t n_leftovers; /* of both lists; read without the lock */
    bool is_ahead; /* the version has rows that are in a sealed tail here: no merge before the flush is repeated */
};

/* A file that must stay for a while: until the next version is published, or the last pin is gone. See publish.c. */
struct leftover {
    struct leftover *next;
    char path[];
};

/* Since the start, where nothing else is said; relaxed: they are looked at, nothing follows from them. */
struct compactor_counts {
    _Atomic uint64_t n_done, n_failed;
    _Atomic uint64_t n_running;              /* now */
    _Atomic uint64_t busy_ns, bytes_written; /* of those that were published */
};

struct compactor {
    pthread_mutex_t mu;
    pthread_cond_t wake;     /* something to do, or stopping */
    pthread_cond_t progress; /* a flush ended; waited for by writers that are held back */
    bool is_stopping;        /* guarded by mu, with all below */
    bool flush_wanted, merge_wanted;
    bool is_log_damaged;  /* everything is to be flushed once */
    unsigned n_flush_all; /* calls of store_compact under way: flush and merge everything */
    uint64_t flush_rounds, merge_rounds;
    struct garbage *garbage; /* directories of deleted collections */
    unsigned n_keeps;        /* backups that may be linking files of them: they stay */
    pthread_t flusher, merger;
    bool has_flusher, has_merger;

    bool is_flush_settled;   /* the flusher's: the last round found nothing to do ... */
    uint64_t flush_round_ns; /* ... and began then */
    uint64_t quiet_ns;       /* the flusher's: the activity after which it called options.when_quiet */
    bool has_merge_failed;   /* the merger's: something is to be tried again */
    bool has_merged;         /* likewise: this round put fragments together */
    uint64_t merge_round_ns;
    uint64_t n_damage_seen;     /* the merger's: store.watch.n_derived when its last round began */
    _Atomic uint64_t n_rebuilt; /* fragments that were rewritten for a damaged index */

    struct compactor_counts flushes, merges; /* by whoever flushes and merges; read by anyone */
};

struct garbage {
    struct garbage *next;
    uint64_t number;
};

/* scrub.c. Counters since the start; relaxed. */
struct scrub {
    pthread_mutex_t mu;
    pthread_cond_t wake; /* stopping */
    bool is_stopping;    /* guarded by mu */
    pthread_t thread;
    bool has_thread;

    uint64_t due_ns;            /* its thread's: no byte is read before */
    uint64_t sampled_ns;        /* likewise: when recall was sampled last */
    _Atomic uint64_t n_samples; /* since the start */

    _Atomic uint64_t n_passes, n_files, bytes_read;
    _Atomic uint64_t n_bad_files; /* found damaged: headers, manifests, files that are gone; sections: store.watch */
    _Atomic uint64_t n_done, n_wanted; /* collections of the pass under way */
    _Atomic uint64_t passed_ns;        /* when the last pass ended; 0: none did */
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

    /* room.c. The sums are measured now and then, and adjusted by guesses between */
    _Atomic uint64_t tail_bytes;   /* of all tails */
    _Atomic uint64_t mapped_bytes; /* of all fragments of open collections */
    _Atomic uint64_t activity_ns;  /* monotonic: the last write, opening, or new version */

    _Atomic uint64_t applied_lsn; /* every durable record up to here was applied or skipped */
    pthread_mutex_t publish_mu;   /* one version is published at a time */
    struct compactor compactor;
    struct fragment_watch watch; /* what fragments have found to be damaged */
    struct scrub scrub;
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

/* live.c: the live side of a collection, and its files. */
enum err live_new(struct live **out, const struct catalog_collection *col, struct errmsg *em);
/* Open, from the files that `v` names; empty when v->version is 0. v->n_rows and the like are not looked at. */
enum err live_from_version(struct store *s, const struct catalog_version *v, enum space space, struct live **out,
                           struct errmsg *em);
/* At start: without a look at its files, if `v` says how many rows are in them. */
enum err live_from_catalog(struct store *s, const struct catalog_version *v, enum space space, struct live **out,
                           struct errmsg *em);
void live_free(struct catalog_runtime *live);

/* Opens the collection if it is closed. It may be closed again at once, unless it is held. ERR_CORRUPT, ERR_NEWER, ERR_IO,
 * ERR_NOMEM; ERR_NOT_FOUND: it was deleted. Any thread that may block; also inside an epoch. */
enum err live_open(struct store *s, struct live *live, struct errmsg *em);
/* The same, and it stays open until live_release. Nothing is held after an error. */
enum err live_hold(struct store *s, struct live *live, struct errmsg *em);
void live_release(struct live *live); /* any thread */
/* The flusher: closes it, unless it is in use by a write, a merge or a fork, or has something that is not published. Readers
 * that have it go on. */
bool live_close(struct live *live);
/* Removes what an earlier process left in its directory. The flusher. */
void live_clean(struct store *s, struct live *live);

/* store_open.c */
enum err store_replay(void *store, uint64_t lsn, uint32_t type, uint64_t collection, struct bytes payload,
                      struct errmsg *em);
/* Removes all files of a collection's directory, and it. */
void store_remove_collection(struct store *s, uint64_t number);
/* Removes files of a collection's directory other than the manifest and the fragments given. */
void store_clean_collection(struct store *s, uint64_t number, const char *manifest,
                            const struct manifest_entry *entries, uint32_t n);
/* At start: directories that no collection has, and files of collections that nothing was published of. */
void store_clean(struct store *s);

/* publish.c: flusher thread, merger thread, forks. ERR_NOT_FOUND: the collection was deleted meanwhile.
 * flush_collection: with live.flush_mu. */
enum err flush_collection(struct store *s, const struct catalog_collection *col, struct errmsg *em);
/* Merges the segments given (fragments of the present version) into one. */
enum err merge_fragments(struct store *s, const struct catalog_collection *col, struct segment *const *fragments,
                         uint32_t n, struct errmsg *em);

/* Is a row of the fragment alive at the position? */
bool publish_has_live_rows(const struct segment *s, uint64_t position);

/* The published version as it is: its fragments with the rows dead at its position (entries and bitmaps in the arena),
 * and its state. Until publish_unpin their files stay, whatever is merged meanwhile. Not while live.is_ahead. ERR_NOMEM. */
enum err publish_pin(struct store *s, struct live *live, struct arena *a, struct manifest_entry **entries, uint32_t *n,
                     struct collection_state *state);
void publish_unpin(struct store *s, struct live *live);
/* The same for the files that the catalog names now, manifest included, also while live.is_ahead. With publish_mu held. */
void publish_pin_named(struct live *live);

/* room.c: the memory budget. */
uint64_t room_tail_limit(const struct store *s); /* UINT64_MAX: none */
void room_note_active(struct store *s); /* any thread: rounds that would find nothing to do must not be skipped */
void room_note_opened(struct store *s, uint64_t file_bytes);
void room_note_written(struct store *s, uint64_t bytes);
void room_note_flushed(struct store *s, uint64_t bytes);

struct room { /* what one look at all collections has found */
    uint64_t
        flush_from_bytes; /* tails of so many bytes are to be flushed, or they do not fit into the budget; UINT64_MAX: all fit */
    bool is_settled; /* nothing to flush, nothing to clean, nothing open */
};
/* The flusher thread. ERR_NOMEM: nothing is known, and nothing was done. */
enum err room_measure(struct store *s, struct room *r);
/* Closes collections that nobody has used for a while, and the least recently used ones until the rest fits. */
void room_close_unused(struct store *s);

/* scrub.c */
enum err scrub_start(struct store *s, struct errmsg *em);
void scrub_stop(struct store *s);
/* Reads every file once, at the rate of the options (0: as fast as it goes). ERR_BUSY: told to stop. Its thread; tests. */
enum err scrub_pass(struct store *s);
/* Searches for one record of each collection that was used within `within_ns`. Its thread; tests. */
void scrub_sample_recall(struct store *s, uint64_t within_ns);

/* compactor.c */
enum err compactor_start(struct store *s, struct errmsg *em);
void compactor_stop(struct store *s);
void compactor_wake(struct store *s, bool flush, bool merge); /* any thread */
void compactor_flush_all(struct store *s);                    /* soon; any thread: the log is not to be relied upon */
void compactor_discard(struct store *s, uint64_t number);     /* the files of a deleted collection */
bool compactor_is_stopping(struct store *s);
/* Until the second is called as often as the first, files of deleted collections stay. */
void compactor_keep_garbage(struct store *s);
void compactor_free_garbage(struct store *s);
/* The position from which on the log is needed: everything before is in published versions. ERR_NOMEM; ERR_BUSY: stopping. */
enum err compactor_oldest(struct store *s, uint64_t *lsn);
void compactor_trim_log(struct store *s); /* any thread */
/* Writers, while a tail is far too big: waits a while. False: it is still so big that another write must be refused (flushing
 * has failed for long). */
bool compactor_wait_for_room(struct store *s, struct live *live);

#endif
