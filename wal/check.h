/* check.h - reads a log that nobody has open and says what is wrong with it: every segment, every record's checksum,
 * positions without gaps, and whether what follows the last record is damage or a batch that was being written.
 *
 * It goes by the rules of the start (wal_open), of which it shares the code, but changes nothing and goes on beyond
 * damage.
 * THREADS  any; the directory must not be in use.
 */
#ifndef WAL_CHECK_H
#define WAL_CHECK_H

#include "wal/wal.h"

struct wal_summary {
    uint64_t n_segments, n_spares, bytes;    /* bytes: of both */
    uint64_t n_records, first_lsn, last_lsn; /* of records that were read; 0 when there is none */
    bool is_torn;                            /* something other than zeros follows the last record: */
    uint64_t torn_number, torn_at;           /* in this segment, from this byte on. No server acknowledged it */
};

/* `what` names file and byte; holds during the call. Acknowledged writes are lost, or the segment is of a later version
 * (e: ERR_CORRUPT or ERR_NEWER). */
typedef void (*wal_on_problem)(void *ctx, enum err e, const char *what);

/* Calls `on_problem` for each thing that is wrong and `visit` for each record that could be read (see wal_replay; an
 * error of it ends the walk over that segment and is reported). ERR_OK also when there are problems. ERR_NOT_FOUND:
 * there is no such directory. ERR_IO, ERR_NOMEM. */
enum err wal_check(const struct vfs *vfs, const char *dir, wal_replay visit, wal_on_problem on_problem, void *ctx,
                   struct wal_summary *s, struct errmsg *em);

#endif
