/* wal.h - the log: every write is here, durable, before it is acknowledged.
 *
 * A directory of segment files, filled with zeros once and recycled, written by one flusher thread with group commit:
 * records that arrive while a flush is running share the next one. A second after the last write the spare files are
 * removed, and a log that holds nothing any more moves to a small, empty segment. Format: docs/formats.md#log.
 *
 * OWNS       the files in its directory, the flusher thread, a helper thread that prepares the next segment.
 * THREADS    wal_submit: any thread. Callbacks: the flusher thread. open, close: the thread that owns the store.
 * INVARIANTS durable <= written <= submitted; all only grow. Records become durable, and their callbacks run, in
 *            ascending order of their log position (lsn: 1, 2, 3 ... one a record).
 * FAILURE    a failed write or sync is never retried (the kernel may have dropped the pages): every waiter gets the
 *            error, and from then on wal_submit answers ERR_READ_ONLY until the next start. A shortage while preparing
 *            a segment (err_is_shortage) is not of that kind: the waiting records fail and writing resumes when space is there.
 */
#ifndef WAL_WAL_H
#define WAL_WAL_H

#include "core/histogram.h"
#include "core/vfs.h"

struct wal;

/* One record to be made durable, embedded in a request. Owned by the log from wal_submit until `done` is called. */
struct wal_record {
    uint64_t collection;  /* never-reused number of the collection */
    uint32_t type;        /* the owner's meaning; not 0 */
    struct bytes payload; /* must stay valid until `done` */
    /* Called once, on the flusher thread: ERR_OK and the record's position, or why it is not durable. On ERR_OK the
     * callback applies the record, so that memory follows the order of the log. It must not block for long. */
    void (*done)(struct wal_record *r, enum err e, uint64_t lsn);
    struct wal_record *next; /* the log's */
    uint32_t payload_crc;    /* the log's: made by wal_submit on the submitter's thread */
};

struct wal_options {            /* zero = default */
    uint64_t segment_bytes;     /* 4 MiB, at least 16 KiB; a larger record gets a segment of its own size */
    uint64_t bulk_bytes;        /* instead while a flush writes much; 16 MiB, or segment_bytes if that is given */
    uint64_t max_pending_bytes; /* 64 MiB: beyond it wal_submit answers ERR_BUSY */
    unsigned keep_segments;     /* 4: trimmed segments kept for recycling while writing goes on; others are removed */
    unsigned quiet_ms;          /* 1000: when nothing was written for so long, all but a small segment is given back */
    bool no_sync;               /* for --ephemeral: nothing is flushed; not crash-safe */
};

/* Called on open for every kept record after `replay_after`, in order. The payload is 8-byte aligned and lives until
 * the call returns. An error stops the opening. Calls may come before damage further on is found: the opening then fails,
 * and what was replayed is to be thrown away. */
typedef enum err (*wal_replay)(void *ctx, uint64_t lsn, uint32_t type, uint64_t collection, struct bytes payload,
                               struct errmsg *em);

/* Opens or makes the log in `dir`, replays records with lsn > replay_after, cuts an unacknowledged torn tail, starts
 * the threads. `min_next_lsn`: the next record gets a position of at least this (what the catalog has seen).
 * ERR_CORRUPT: acknowledged data are damaged; `em` names file and offset; the files are left as they are.
 * ERR_NEWER: made by a later version. */
enum err wal_open(struct wal **w, const struct vfs *vfs, const char *dir, const struct wal_options *o,
                  uint64_t replay_after, uint64_t min_next_lsn, wal_replay replay, void *replay_ctx, struct errmsg *em);

/* Hands a record over. On ERR_OK `done` will be called; on any other answer it will not: ERR_BUSY when too much waits (a
 * single record is never too much), ERR_READ_ONLY after a failure, ERR_TOO_LARGE for an absurd payload. */
enum err wal_submit(struct wal *w, struct wal_record *r);

/* Forgets records up to and including lsn: segments that hold nothing later are recycled (zeroed first) or removed, in
 * the background. If nothing at all is left, the log moves on to a fresh segment: at once when the active one is more than a
 * quarter full, else when it is quiet; so what was deleted leaves the disk. Nothing is persisted by the call itself: after a crash forgotten
 * records may be replayed again. An error is what the background work met since the last call; it is tried again.
 * Any thread. */
enum err wal_trim(struct wal *w, uint64_t lsn, struct errmsg *em);

/* Until wal_release, as often as it was called, no file of the log is recycled or removed, whatever is trimmed. Any thread. */
void wal_hold(struct wal *w);
void wal_release(struct wal *w);

/* Writes what the log holds from position `from` up to `until` (not above durable_lsn) into the directory `dir`, which is
 * there and empty, as segments that wal_open reads: whole segments, so with some records before `from`; every record's
 * checksum is compared. Synced, the directory too. `made` is called with the name of each file. Held meanwhile by the caller.
 * ERR_CORRUPT: a record is damaged; `em` names file and byte. Any thread. */
typedef enum err (*wal_copied)(void *ctx, const char *name, struct errmsg *em);
struct wal_range {
    uint64_t from, until;
};
enum err wal_copy(struct wal *w, struct wal_range range, const char *dir, wal_copied made, void *ctx,
                  struct errmsg *em);

/* Compares the checksums of the records in segments that are not written any more and not forgotten; `pace` is told of the
 * bytes read, and ends it by an error, which is passed on. *n_damaged: segments, of which `em` names the first. What a damaged one
 * holds should be made durable elsewhere and trimmed, as long as memory has it. Any thread; a segment is not retired while it
 * is read. (scrub.c) */
typedef enum err (*wal_pace)(void *ctx, uint64_t bytes);
enum err wal_scrub(struct wal *w, wal_pace pace, void *ctx, uint64_t *n_damaged, struct errmsg *em);

struct wal_stats {
    uint64_t durable_lsn; /* every position up to this one is durable, or was skipped because of min_next_lsn */
    uint64_t first_lsn;   /* the oldest still in the files; durable_lsn + 1 when there is none */
    uint64_t live_bytes;  /* used in segments that hold records after the trim position */
    uint64_t disk_bytes;  /* of all files */
    uint64_t n_segments;  /* of these files; without spares */
    uint64_t n_records, n_flushes, flush_ns_total; /* since the start, as all below */
    uint64_t bytes_written;                        /* of records */
    struct histogram_counts sync;                  /* how long the flushes' fdatasync took */
    bool is_failed;
};
void wal_stats(struct wal *w, struct wal_stats *s); /* any thread */

/* Flushes what was submitted, stops the threads, frees. Nothing may be submitted any more. NULL is fine. */
void wal_close(struct wal *w);

#endif
