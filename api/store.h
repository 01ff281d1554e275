/* store.h - a data directory in use: the log, the catalog, the collections and the compactor behind one handle.
 *
 * No HTTP here: the API's handlers, an embedded library and the tests all call this.
 *
 *   DIR/LOCK              held while the process lives
 *   DIR/catalog.sqlite3   catalog/
 *   DIR/wal/              wal/
 *   DIR/MIGRATION         only while a migration fills the directory, or when one was interrupted
 *   DIR/collections/N/    fragments and manifests of collection number N (index/)
 *
 * THREADS  open, close: one. Everything else: any thread that may block for a moment; not the loop, except where said.
 */
#ifndef API_STORE_H
#define API_STORE_H

#include "catalog/catalog.h"
#include "core/collection.h"
#include "wal/wal.h"

struct store;

#define STORE_MIGRATION_NAME "MIGRATION"

struct store_options {      /* zero = default */
    const char *path;       /* NULL: ephemeral, everything in memory */
    uint32_t flush_rows;    /* 8192: a tail of so many rows is flushed */
    uint64_t flush_bytes;   /* 24 MiB: or of so many bytes */
    uint64_t log_bytes;     /* 128 MiB: beyond it quiet collections are flushed too */
    uint64_t memory_budget; /* bytes; a quarter is for tails, the rest for what is mapped. 0: as much as it takes */
    uint32_t close_after_s; /* a collection that was not used for so long is closed. 0: never, unless the budget asks */
    /* The scrub reads all files again and again, so many bytes a second; 0: never. From the beginning of one pass to the
     * next at least so many seconds. */
    uint64_t scrub_bytes_per_s;
    uint64_t scrub_interval_s;
    uint64_t
        recall_sample_s; /* so often one record of each collection in use is searched for, to know the recall; 0: never */
    void (*when_quiet)(
        void); /* called some seconds after the last write and after a round of merges: what was freed may be given back. NULL: nothing */
    bool is_migration;     /* api/migrate.h fills the directory; nobody else opens one that is half filled */
    bool no_compactor;     /* tests: nothing happens in the background */
    const struct vfs *vfs; /* tests: reaches the files of `path` instead of vfs_posix() */
    struct wal_options wal;
};

/* Opens or makes the directory: lock, catalog, replay of the log's rest into the collections that it is about; the others
 * stay closed until they are used. A collection whose files are damaged does not keep the store from opening.
 * ERR_LOCKED, ERR_CORRUPT, ERR_NEWER, ERR_IO, ERR_FORBIDDEN (a migration into it was not finished) ...: nothing was
 * changed, `em` says why. */
enum err store_open(struct store **s, const struct store_options *o, struct errmsg *em);
void store_close(struct store *s); /* flushes the log, stops the threads */
/* Before store_close, when nobody writes any more: what happens in the background ends, and store_backup and
 * store_compact_now, wherever they are called, return ERR_BUSY soon. */
void store_stop_work(struct store *s);

struct catalog *store_catalog(struct store *s); /* lookups may be made on it directly, also from the loop */

/* Catalog changes that also concern live collections. ERR_* as in catalog.h. */
enum err store_create_collection(struct store *s, const struct catalog_new_collection *in,
                                 const struct catalog_collection **col, struct errmsg *em);
/* A new collection of that name in the source's database, with its settings and the records that it has at one position
 * of the log: every write that was acknowledged before the call is in it. The two are independent from then on. Costs
 * what the source's tail costs to flush, plus a link a fragment. On ERR_OK *col is a reference. ERR_NOT_FOUND: the source is
 * gone. ERR_EXISTS: the name is taken. Not inside an epoch. */
enum err store_fork_collection(struct store *s, const struct catalog_collection *source, struct str name,
                               const struct catalog_collection **col, struct errmsg *em);
/* The same within quotas (struct catalog_fork; 0: none): ERR_QUOTA. */
struct store_fork_quota {
    uint64_t tenant_max, forks_max;
};
enum err store_fork_within(struct store *s, const struct catalog_collection *source, struct str name,
                           const struct store_fork_quota *quota, const struct catalog_collection **col,
                           struct errmsg *em);
enum err store_delete_collection(struct store *s, struct str tenant, struct str database, struct str name,
                                 struct errmsg *em);
enum err store_delete_database(struct store *s, struct str tenant, struct str name, struct errmsg *em);
enum err store_reset(struct store *s, struct errmsg *em);

/* The live object of a collection; lives at least as long as an epoch entered before the lookup of `col`. */
struct collection *store_collection(const struct catalog_collection *col);

/* snapshot_begin on the collection, which is opened if it is closed: may read files. Errors of snapshot_begin and of files;
 * `em` names the file. ERR_NOT_FOUND: it was deleted meanwhile. */
enum err store_snapshot(struct store *s, const struct catalog_collection *col, struct arena *a,
                        struct snapshot *snapshot, struct errmsg *em);
uint64_t store_file_bytes(const struct catalog_collection *col); /* of its fragments; also the loop */

/* One write on its way; embedded in the request. */
struct store_write {
    const struct catalog_collection *collection; /* a reference; the store's until done */
    struct bytes block;                          /* batch.h; the store's from a successful submit on */
    /* Called once on the log's thread when the write is durable and visible (ERR_OK), or failed and left no trace. */
    void (*done)(struct store_write *w, enum err e);
    struct errmsg
        *why; /* gets what keeps the collection from being written to, when store_submit fails; NULL: not wanted */
    uint32_t n_changed;
    uint32_t n_reserved;      /* rows reserved for it, which are given back when it is done */
    struct wal_record record; /* the store's */
    struct store *store;      /* the store's */
};

/* ERR_OK: `done` will be called. Otherwise nothing was taken over: ERR_BUSY, ERR_READ_ONLY, ERR_NO_SPACE, and what opening
 * a closed collection meets (ERR_CORRUPT, ERR_IO ...). */
enum err store_submit(struct store *s, struct store_write *w);

/* Keeps room for n new rows in the collection, as long as those that are there and those that are reserved stay within `max`.
 * False: they do not; *total is how many there would be. What is reserved goes with a write (n_reserved) or is released.
 * Also the loop. */
bool store_reserve_rows(const struct catalog_collection *col, uint32_t n, uint64_t max, uint64_t *total);
void store_release_rows(const struct catalog_collection *col, uint32_t n);

/* Blocks until everything acknowledged is in fragments and merging, as its policy is, has nothing left to do. Tests.
 * store_compact_now (api/backup.h) goes further. */
enum err store_compact(struct store *s, struct errmsg *em);

struct store_health {
    bool is_read_only;
    struct wal_stats log;
};
void store_health(struct store *s, struct store_health *h); /* any thread, also the loop */

/* --- for metrics (store_stats.c) -------------------------------------------------------------------------------- */

struct store_work { /* since the start */
    uint64_t n_done, n_failed;
    uint64_t n_running;              /* now */
    uint64_t busy_ns, bytes_written; /* of those that were published */
};

struct store_sizes {
    uint64_t live_rows;
    uint64_t tail_rows, tail_bytes; /* of active tails */
    uint64_t n_fragments;           /* of open collections */
    uint64_t n_open;                /* collections that are open */
    uint64_t file_bytes;            /* of fragments, mapped or not */
    uint64_t mapped_bytes;          /* of fragments of open collections */
    uint64_t n_leftovers;           /* files that go with the next version */
    uint64_t n_damaged_indexes;     /* fragments of open collections that do without a damaged index */
    uint64_t n_damaged_rows;        /* those of which a part of the rows is damaged */
    uint64_t n_stopped;             /* collections that the replay stopped, for damage */
    uint64_t n_wanted, n_found;     /* their nearest neighbours, and those of them that the index found */
};

struct store_scrub { /* since the start */
    uint64_t n_passes, n_files, bytes_read;
    uint64_t n_bad_files;                       /* of which nothing could be read or repaired */
    uint64_t n_bad_indexes, n_bad_rows;         /* sections found damaged, by scrub or use */
    uint64_t n_samples;                         /* records searched for to measure the recall */
    uint64_t n_rebuilt;                         /* fragments that were rewritten for a damaged index */
    uint64_t n_collections_done, n_collections; /* of the pass under way */
    uint64_t age_ns;                            /* since a pass ended; UINT64_MAX: none did */
};

struct store_stats {
    bool is_read_only;
    struct wal_stats log;
    uint64_t n_collections;
    struct store_sizes sizes; /* of all collections together */
    uint64_t memory_budget;   /* 0: none */
    struct store_work flushes, merges;
    struct store_scrub scrub;
};

/* Called for each collection, whose `col` holds during the call; NULL is fine. */
typedef void (*store_visit)(void *ctx, const struct catalog_collection *col, const struct store_sizes *sizes);

/* Walks all collections, without holding a lock meanwhile: not on the loop. ERR_NOMEM. */
enum err store_stats(struct store *s, store_visit visit, void *ctx, struct store_stats *stats);

#endif
