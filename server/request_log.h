/* request_log.h - lines about requests, on their way to a file, to stderr or to the program's log.
 *
 * OWNS       the file, a queue of a fixed size, one thread that writes.
 * THREADS    put: any; it copies into the queue and never waits for a file. open, close: one. reopen, flush: any.
 * FULL       what does not fit into the queue is dropped and counted; nothing waits. The same when a write fails.
 * INVARIANT  lines that were put by one thread and not dropped come out in that order, each whole and once.
 */
#ifndef SERVER_REQUEST_LOG_H
#define SERVER_REQUEST_LOG_H

#include "api/metrics.h"
#include "core/bytes.h"
#include "core/err.h"

struct request_log;

enum request_log_place {                        /* bits */
                         REQUEST_LOG_FILE = 1,  /* options.path; nowhere if there is none */
                         REQUEST_LOG_WARN = 2,  /* the program's log (core/logger.h) */
                         REQUEST_LOG_ERROR = 4, /* likewise */
};

struct request_log_options {
    const char *path;        /* NULL: none. "-": stderr. Else a file that is appended to; kept by the caller */
    size_t queue_bytes;      /* 0: 4 MiB; lines that wait */
    struct metrics *metrics; /* where lines and drops are counted; kept by the caller */
};

/* ERR_IO, ERR_NO_SPACE: the file cannot be opened. ERR_NOMEM. */
enum err request_log_open(struct request_log **l, const struct request_log_options *o, struct errmsg *em);

/* A line without its end, to `places`. */
void request_log_put(struct request_log *l, unsigned places, struct str line);

/* The file is opened anew before the next line is written: after somebody has renamed it. If that fails, the old one
 * goes on, and the program's log says so. */
void request_log_reopen(struct request_log *l);

/* Returns when everything that was put before is written or dropped. */
void request_log_flush(struct request_log *l);

void request_log_close(struct request_log *l); /* flushes; NULL is fine */

#endif
