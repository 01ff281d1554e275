/* wal_internal.h - what the files of wal/ share. Included by them and by nobody else.
 *
 *   wal.c           open, submit, trim, stats, close
 *   flusher.c       the flusher thread: batches, marks, moving to the next segment
 *   spares.c        the helper thread: makes, cleans and removes files ahead of and behind the log
 *   recover.c       what is in the directory at start
 *   check.c         the same without changing anything, and on beyond damage (wal/check.h)
 *   copy.c          what a backup gets of it
 *   scrub.c         reading what is not written any more
 *   segment_reader  records of one segment, bounds-checked
 *   log_format      the bytes
 *
 * LOCKS  one mutex, `mu`, never held over a file operation or a callback.
 */
#ifndef WAL_WAL_INTERNAL_H
#define WAL_WAL_INTERNAL_H

#include <pthread.h>

#include "wal/log_format.h"
#include "wal/wal.h"

/* A segment of the log: a .log file. Listed oldest first; the last one is active when wal.file != NULL. */
struct wal_segment {
    struct wal_segment *next;
    uint64_t number;
    uint64_t first_lsn;
    uint64_t last_lsn; /* first_lsn - 1 while it holds no record */
    uint64_t prev_lsn; /* see log_format.h */
    uint64_t salt;
    uint64_t size; /* of the file */
    uint64_t used; /* from here on the file holds zeros only */
};

/* A file without content: .spare. */
struct wal_spare {
    struct wal_spare *next;
    uint64_t number;
    uint64_t size;         /* of the file */
    uint64_t used;         /* from here on it holds zeros only */
    struct vfs_file *file; /* open when it is clean: zeros only, synced, of a size that was wanted when it was made */
};

struct wal {
    /* --- immutable after open */
    const struct vfs *vfs;
    char *dir;
    struct wal_options options; /* defaults filled in */
    pthread_t flusher, helper;
    bool has_flusher, has_helper;

    /* --- the flusher's (the opener's, while there is no flusher) */
    struct vfs_file *file; /* of the active segment; NULL: none, the next batch starts one */
    uint64_t salt;         /* of the active segment */
    uint64_t at;           /* where the next record goes in it */
    uint64_t size;         /* of the active segment */
    uint64_t n_flushes_in; /* into the active segment, by this process */
    uint64_t bytes_in;     /* that they wrote */
    uint64_t next_lsn;     /* position of the next record */
    uint64_t last_lsn;     /* position of the last record in the files, 0: none; what prev_lsn and marks say */
    bool is_marked;        /* a mark follows the last batch */
    bool skips_mark;       /* there was no space for one: none before the next batch */
    bool is_spent;         /* part of a refused batch may lie at `at`: what comes goes into another segment */
    char *buffer;          /* WAL_BUFFER bytes, page-aligned */

    /* --- the helper's (the opener's, while there is no helper) */
    char *zeros; /* WAL_BUFFER bytes; never written */

    pthread_mutex_t mu;
    pthread_cond_t work;     /* to the flusher: something was submitted, a roll has become possible, closing */
    pthread_cond_t help;     /* to the helper: a spare is wanted, something can be retired, closing */
    pthread_cond_t prepared; /* to the flusher: a clean spare, or prepare_err */
    /* --- guarded by mu */
    struct wal_record *head, **tail; /* submitted, not yet taken */
    uint64_t pending_bytes;          /* of records whose `done` has not been called */
    bool is_waiting;                 /* the flusher sleeps on `work` */
    bool is_closing;                 /* the flusher ends when it has nothing left to do */
    bool stops_helper;               /* the helper ends; set when the flusher has ended */
    bool is_failed;                  /* sticky: nothing is written any more */
    bool wants_small;                /* nothing is in the log and nothing is written: move to a small, empty one */
    bool wants_spare;                /* the flusher waits for one */
    uint64_t wanted_room;            /* with wants_spare: for so many bytes of records */
    uint64_t written_ns;             /* monotonic; the last batch. 0: none since opening */
    uint64_t rolled_ns;              /* monotonic; the last segment of full size was begun */
    bool wants_roll;      /* the active segment holds only forgotten records: leave it when a spare is clean */
    uint64_t durable_lsn; /* every position up to this one is durable (or was jumped over by min_next_lsn) */
    uint64_t trim_lsn;
    uint64_t next_number;                         /* of files */
    struct wal_segment *segments, **last_segment; /* last_segment: the `next` field where one is appended */
    struct wal_segment *active;                   /* the last one while `file` is open, else NULL */
    struct wal_spare *clean, *dirty;
    unsigned n_clean, n_dirty;
    uint64_t next_bytes;  /* the size of spares that are made; set by the flusher */
    enum err prepare_err; /* why there is no clean spare; ERR_OK again when the flusher asks anew */
    struct errmsg prepare_em;
    enum err trim_err; /* of the last attempt; handed out by the next wal_trim */
    struct errmsg trim_em;
    bool is_trim_blocked; /* after trim_err: no attempt before the next wal_trim */
    unsigned n_holds;     /* backups under way: nothing is retired */
    bool is_trim_broken;  /* a name may or may not have reached the disk: no retiring before the next start */
    uint64_t n_records, n_flushes, flush_ns_total, bytes_written;

    struct histogram sync; /* written by the flusher, read by anyone */
};

enum {
    WAL_BUFFER = 1 << 20,
    WAL_BULK_FLUSH = 64 << 10,   /* a segment whose flushes wrote more on average is followed by a large one */
    WAL_DIRECT_BYTES = 64 << 10, /* payloads from this size on are written from where they are, not copied */
};

#define WAL_SEGMENT_MIN         (UINT64_C(4) * LOG_BLOCK)
#define WAL_FIRST_SEGMENT_BYTES (UINT64_C(512) << 10) /* made while opening, or while nobody writes */
#define WAL_PATH_MAX            4096

/* The size of a segment that is made while nobody writes. */
static inline uint64_t wal_small_bytes(const struct wal *w)
{
    uint64_t size = w->options.segment_bytes / 4 / LOG_BLOCK * LOG_BLOCK;
    if (size > WAL_FIRST_SEGMENT_BYTES) size = WAL_FIRST_SEGMENT_BYTES;
    return size > WAL_SEGMENT_MIN ? size : WAL_SEGMENT_MIN;
}

/* Time to have the next one ready. `mu` held. */
static inline bool wal_is_half_full(const struct wal *w)
{
    return w->active != NULL && w->active->used > w->active->size / 2;
}

/* --- wal.c */
bool wal_path(const struct wal *w, char out[WAL_PATH_MAX], uint64_t number, bool is_spare);
enum err wal_sync_file(const struct wal *w, struct vfs_file *f, bool data_only, struct errmsg *em); /* unless no_sync */
enum err wal_sync_dir(const struct wal *w, struct errmsg *em);

/* --- flusher.c */
void *wal_flusher_main(void *wal);

/* Makes the spare the active segment: header written and synced, renamed, directory synced. Takes the spare over in
 * any case. A shortage (err_is_shortage): the log is as before; any other error: its state on disk is not known. */
enum err wal_activate(struct wal *w, struct wal_spare *s, struct errmsg *em);

/* --- spares.c */
void *wal_helper_main(void *wal);

/* A new spare of `size` bytes that reads as zeros, not in any list and not yet synced (wal_activate does). `is_filled`: with zeros, so that overwriting needs no journal. */
enum err wal_spare_new(struct wal *w, uint64_t size, bool is_filled, struct wal_spare **s, struct errmsg *em);
void wal_spare_free(struct wal *w, struct wal_spare *s);    /* closes; the file stays. NULL is fine. */
void wal_spare_discard(struct wal *w, struct wal_spare *s); /* removes the file too */

/* Takes a clean spare with room for `need` bytes of records (at most next_bytes has), waiting for the helper if there is none.
 * Flusher thread. */
enum err wal_spare_take(struct wal *w, uint64_t need, struct wal_spare **s, struct errmsg *em);

/* --- recover.c */
struct wal_recovery {
    uint64_t replay_after;
    uint64_t min_next_lsn;
    wal_replay replay;
    void *ctx;
};

/* A walk over the records, segment by segment; what it finds of the last one. */
struct wal_walk {
    struct wal *w;
    const struct wal_recovery *r;
    uint64_t last_lsn; /* of the last record accepted */
    /* of the last segment: */
    uint64_t end;      /* behind the last record: where the next one goes */
    uint64_t mark_at;  /* of the mark, if is_marked */
    uint64_t batch_at; /* where the last batch begins that nothing says to have been durable; == end: none */
    bool is_marked;    /* a mark follows the last record */
    bool is_torn;      /* there is something else behind the last record */
};

/* Reading only, the steps of wal_recover; for wal_check too. Errors name the file and the byte. */
enum err wal_list_files(struct wal *w, struct errmsg *em);                               /* fills both lists */
enum err wal_read_header(const struct wal *w, struct wal_segment *g, struct errmsg *em); /* g->next: is there one? */
/* Does g go on where `before` ends? Then before->last_lsn is known. */
enum err wal_check_order(const struct wal *w, struct wal_segment *before, struct wal_segment *g, struct errmsg *em);
enum err wal_read_segment(struct wal_walk *k, struct wal_segment *g, struct errmsg *em);

/* Reads the directory: fills the lists, replays, makes the tail durable, and opens the last segment if it can be
 * continued. Nothing is written before everything has been read and found good. */
enum err wal_recover(struct wal *w, const struct wal_recovery *r, struct errmsg *em);

#endif
