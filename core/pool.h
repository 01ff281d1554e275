/* pool.h - a fixed set of threads that run jobs in the order they came: the query executors.
 *
 * They ask for short slices (slice.h); a job that can wait, or was found to be long while others wait, is run with long ones.
 * Of idle threads the one that worked last takes the next job: what it needs is still in the caches of its processor. It may
 * look for one a little longer before it sleeps (spin.h).
 * Jobs that can wait are run when no other waits, and then and now before: one of POOL_PATIENT_TURN jobs, if some wait.
 * The queue is bounded: when it is full pool_push refuses, and the caller answers "too busy" instead of piling up work.
 * THREADS  pool_push: any. pool_new, pool_free: the thread that owns the pool.
 */
#ifndef CORE_POOL_H
#define CORE_POOL_H

#include <stdbool.h>

#include "core/err.h"

struct pool;

/* Threads beside those of the pool, for the time in which jobs wait while all others are long at it: a job that runs for more than
 * POOL_LONG_MS no longer counts, nor, for one that cannot wait, does one that can; and up to n further ones run beside
 * those, so that short jobs are not kept waiting by long ones (the system shares the processors out among them). They
 * sleep when no job waits. Once, before the first push. */
enum { POOL_LONG_MS = 10 };
enum err pool_add_relief(struct pool *p, unsigned n, struct errmsg *em);

/* The thread that worked last looks for a job for up to max_us before it sleeps, if at most busy_max others are at one then, so that
 * there is a processor for those and for whoever hands out jobs. Once, before the first push; without it none looks. */
void pool_set_spin(struct pool *p, unsigned max_us, unsigned busy_max);

/* Embedded in what is to be done (a request); belongs to the pool from push until `run` is called. */
struct pool_job {
    struct pool_job *next;
    void (*run)(struct pool_job *job);
    bool can_wait;
};
enum { POOL_PATIENT_TURN = 8 };

/* Starts n_threads threads named "<name>-<i>". queue_max bounds the jobs that wait. */
enum err pool_new(struct pool **p, const char *name, unsigned n_threads, unsigned queue_max, struct errmsg *em);
enum err pool_push(struct pool *p, struct pool_job *job); /* ERR_BUSY when the queue is full or the pool stops */
unsigned pool_waiting(struct pool *p);

struct pool_stats {
    unsigned n_threads, n_busy; /* without and with the relief; busy: running a job */
    unsigned n_waiting;         /* jobs */
};
void pool_stats(struct pool *p, struct pool_stats *s); /* any thread */

void pool_free(struct pool *p); /* runs what is queued, then joins the threads; NULL is fine */

#endif
