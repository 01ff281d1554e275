/* pool.c - see pool.h.
 *
 * A semaphore counts the jobs, and a mutex guards their queues. A condition variable would take the mutex back in a way that
 * makes every release of it a call of the system, one more a request.
 *
 * RELIEF  Where a job waits and every thread is busy, after a push or after the last thread took another job, one relief
 *         thread is woken, the watcher, if there is none. It looks every
 *         few milliseconds while jobs wait; when fewer than n_threads of the running jobs are short so far, it takes a
 *         job and wakes the next watcher. Whoever takes a job has taken one off `ready`, relief or not.
 * INVARIANT  at most one watcher (is_watched); jobs wait without a watcher only while a thread is about to take them
 *            or all relief threads run.
 */
#include "core/pool.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include "core/clock.h"
#include "core/mem.h"

enum { WATCH_MS = 5 };

struct pool_thread {
    struct pool *pool;
    pthread_t id;
    uint64_t since_ns; /* when it took its job; 0: it has none. Guarded by pool->mu */
};

struct queue {
    struct pool_job *head, **tail;
};

struct pool {
    pthread_mutex_t mu;
    sem_t ready; /* jobs in the queues that no thread has been woken for; one more a thread when it stops */
    struct queue urgent, patient; /* guarded by mu */
    unsigned n_ahead;             /* guarded by mu: jobs taken since a patient one was, while one waited */
    unsigned n_waiting;           /* guarded by mu: in both queues */
    unsigned n_busy;              /* guarded by mu */
    bool is_stopping;             /* guarded by mu */
    unsigned queue_max;           /* immutable */
    unsigned n_threads;
    char name[12];

    sem_t watch;                  /* a relief thread is to become the watcher, or the end */
    unsigned n_relief;            /* immutable after pool_add_relief */
    unsigned n_relief_idle;       /* guarded by mu: neither running a job nor watching */
    bool is_watched;              /* guarded by mu: a watcher is at it, or woken */
    struct pool_thread *relief;   /* n_relief of them */
    struct pool_thread threads[]; /* n_threads of them */
};

static void wait_for(sem_t *sem)
{
    while (sem_wait(sem) != 0) CHECK(errno == EINTR && "a semaphore only fails to wait for a signal");
}

static void queue_add(struct queue *q, struct pool_job *job)
{
    job->next = NULL;
    *q->tail = job;
    q->tail = &job->next;
}

static struct pool_job *queue_take(struct queue *q)
{
    struct pool_job *job = q->head;
    if (job == NULL) return NULL;
    q->head = job->next;
    if (q->head == NULL) q->tail = &q->head;
    return job;
}

/* mu is held. */
static struct pool_job *take_next(struct pool *p)
{
    bool is_patients_turn = p->urgent.head == NULL || p->n_ahead >= POOL_PATIENT_TURN - 1;
    if (p->patient.head == NULL || is_patients_turn)
        p->n_ahead = 0;
    else
        p->n_ahead++;
    return p->patient.head != NULL && is_patients_turn ? queue_take(&p->patient) : queue_take(&p->urgent);
}

/* The next job, or NULL. The caller has taken one off `ready`, and holds mu. */
static struct pool_job *take_job(struct pool_thread *t, uint64_t now_ns)
{
    struct pool *p = t->pool;
    struct pool_job *job = take_next(p);
    if (job == NULL) return NULL;
    p->n_waiting--;
    p->n_busy++;
    t->since_ns = now_ns;
    return job;
}

/* mu is held. Sees to it that somebody watches, if somebody can. */
static void watch_on(struct pool *p)
{
    p->is_watched = p->n_relief_idle > 0;
    if (!p->is_watched) return;
    p->n_relief_idle--; /* the one that is woken */
    (void)sem_post(&p->watch);
}

/* mu is held. */
static void watch_if_all_are_busy(struct pool *p)
{
    if (p->n_waiting > 0 && p->n_busy >= p->n_threads && !p->is_watched) watch_on(p);
}

/* Waits for a job and takes it off the list; NULL: the pool stops, and nothing is left. */
static struct pool_job *next_job(struct pool_thread *t)
{
    struct pool *p = t->pool;
    wait_for(&p->ready);
    uint64_t now_ns = p->n_relief > 0 ? clock_monotonic_ns() : 1; /* nobody looks at it */
    (void)pthread_mutex_lock(&p->mu);
    struct pool_job *job = take_job(t, now_ns);
    CHECK((job != NULL || p->is_stopping) && "a thread is woken for a job or the end");
    watch_if_all_are_busy(p);
    (void)pthread_mutex_unlock(&p->mu);
    return job;
}

static void run_job(struct pool_thread *t, struct pool_job *job)
{
    struct pool *p = t->pool;
    job->run(job);
    (void)pthread_mutex_lock(&p->mu);
    p->n_busy--;
    t->since_ns = 0;
    (void)pthread_mutex_unlock(&p->mu);
}

static void *pool_main(void *arg)
{
    struct pool_thread *t = arg;
    for (struct pool_job *job; (job = next_job(t)) != NULL;) run_job(t, job);
    return NULL;
}

/* --- relief ------------------------------------------------------------------------------------------------------- */

static unsigned count_short(const struct pool_thread *threads, unsigned n, uint64_t long_before_ns)
{
    unsigned n_short = 0;
    for (unsigned i = 0; i < n; i++) n_short += threads[i].since_ns > long_before_ns;
    return n_short;
}

/* The watcher's look: a job to run, or NULL; *goes_on: jobs wait, look again. Another watches when it returns a job, and
 * nobody when none waits. */
static struct pool_job *look(struct pool_thread *t, bool *goes_on)
{
    struct pool *p = t->pool;
    struct pool_job *job = NULL;
    uint64_t now_ns = clock_monotonic_ns(), long_ns = (uint64_t)POOL_LONG_MS * 1000000;
    uint64_t long_before_ns = now_ns > long_ns ? now_ns - long_ns : 0;
    (void)pthread_mutex_lock(&p->mu);
    unsigned n_short =
        count_short(p->threads, p->n_threads, long_before_ns) + count_short(p->relief, p->n_relief, long_before_ns);
    /* That a job waits is not enough: a thread may have been woken for it. */
    if (p->n_waiting > 0 && n_short < p->n_threads && p->n_busy >= p->n_threads && sem_trywait(&p->ready) == 0)
        job = take_job(t, now_ns);
    *goes_on = job == NULL && p->n_waiting > 0;
    if (job != NULL) {
        watch_on(p);
    } else if (!*goes_on) {
        p->is_watched = false;
        p->n_relief_idle++;
    }
    (void)pthread_mutex_unlock(&p->mu);
    return job;
}

/* After a job: back to sleep, or on the watch if nobody is. True: on the watch. */
static bool takes_watch(struct pool *p)
{
    (void)pthread_mutex_lock(&p->mu);
    bool watches = p->n_waiting > 0 && !p->is_watched;
    if (watches)
        p->is_watched = true;
    else
        p->n_relief_idle++;
    (void)pthread_mutex_unlock(&p->mu);
    return watches;
}

static bool is_over(struct pool *p)
{
    (void)pthread_mutex_lock(&p->mu);
    bool is = p->is_stopping && p->n_waiting == 0;
    (void)pthread_mutex_unlock(&p->mu);
    return is;
}

static void *relief_main(void *arg)
{
    struct pool_thread *t = arg;
    struct pool *p = t->pool;
    for (;;) {
        wait_for(&p->watch);
        if (is_over(p)) return NULL;
        bool watches = true;
        while (watches) {
            (void)nanosleep(&(struct timespec){.tv_nsec = WATCH_MS * 1000000L}, NULL);
            struct pool_job *job = look(t, &watches);
            if (job == NULL) continue;
            run_job(t, job);
            watches = takes_watch(p);
        }
    }
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static enum err start_thread(struct pool_thread *t, struct pool *p, void *(*main)(void *), const char *suffix,
                             unsigned number, struct errmsg *em)
{
    char name[16];
    t->pool = p;
    int rc = pthread_create(&t->id, NULL, main, t);
    if (rc != 0) return errmsg_errno(em, rc, "start thread %s%s%u", p->name, suffix, number);
    (void)snprintf(name, sizeof name, "%.10s%s%u", p->name, suffix, number % 1000);
    (void)pthread_setname_np(t->id, name);
    return ERR_OK;
}

enum err pool_add_relief(struct pool *p, unsigned n, struct errmsg *em)
{
    CHECK(p->relief == NULL && "added once");
    if ((p->relief = mem_array(n, sizeof *p->relief)) == NULL)
        return errmsg_set(em, ERR_NOMEM, "start %s threads", p->name);
    for (; p->n_relief < n; p->n_relief++) {
        enum err e = start_thread(&p->relief[p->n_relief], p, relief_main, "+", p->n_relief, em);
        if (e != ERR_OK) return e; /* those that run are used, and joined by pool_free */
        p->n_relief_idle++;
    }
    return ERR_OK;
}

enum err pool_new(struct pool **out, const char *name, unsigned n_threads, unsigned queue_max, struct errmsg *em)
{
    struct pool *p = mem_zalloc(sizeof *p + n_threads * sizeof p->threads[0]);
    if (p == NULL) return errmsg_set(em, ERR_NOMEM, "start %s threads", name);
    (void)pthread_mutex_init(&p->mu, NULL);
    (void)sem_init(&p->ready, 0, 0);
    (void)sem_init(&p->watch, 0, 0);
    p->urgent.tail = &p->urgent.head;
    p->patient.tail = &p->patient.head;
    p->queue_max = queue_max;
    (void)snprintf(p->name, sizeof p->name, "%s", name);
    for (; p->n_threads < n_threads; p->n_threads++) {
        enum err e = start_thread(&p->threads[p->n_threads], p, pool_main, "-", p->n_threads, em);
        if (e != ERR_OK) {
            pool_free(p);
            return e;
        }
    }
    *out = p;
    return ERR_OK;
}

enum err pool_push(struct pool *p, struct pool_job *job)
{
    (void)pthread_mutex_lock(&p->mu);
    bool is_full = p->is_stopping || p->n_waiting >= p->queue_max;
    if (!is_full) {
        queue_add(job->can_wait ? &p->patient : &p->urgent, job);
        p->n_waiting++;
        watch_if_all_are_busy(p);
    }
    (void)pthread_mutex_unlock(&p->mu);
    if (!is_full) (void)sem_post(&p->ready); /* not under the mutex: the thread would wake up to wait for it */
    return is_full ? ERR_BUSY : ERR_OK;
}

unsigned pool_waiting(struct pool *p)
{
    (void)pthread_mutex_lock(&p->mu);
    unsigned n = p->n_waiting;
    (void)pthread_mutex_unlock(&p->mu);
    return n;
}

void pool_stats(struct pool *p, struct pool_stats *s)
{
    (void)pthread_mutex_lock(&p->mu);
    *s = (struct pool_stats){.n_threads = p->n_threads, .n_busy = p->n_busy, .n_waiting = p->n_waiting};
    (void)pthread_mutex_unlock(&p->mu);
}

void pool_free(struct pool *p)
{
    if (p == NULL) return;
    (void)pthread_mutex_lock(&p->mu);
    p->is_stopping = true;
    (void)pthread_mutex_unlock(&p->mu);
    for (unsigned i = 0; i < p->n_threads; i++) (void)sem_post(&p->ready);
    for (unsigned i = 0; i < p->n_threads; i++) (void)pthread_join(p->threads[i].id, NULL);
    for (unsigned i = 0; i < p->n_relief; i++) (void)sem_post(&p->watch); /* nothing waits any more */
    for (unsigned i = 0; i < p->n_relief; i++) (void)pthread_join(p->relief[i].id, NULL);
    mem_free(p->relief);
    (void)pthread_mutex_destroy(&p->mu);
    (void)sem_destroy(&p->ready);
    (void)sem_destroy(&p->watch);
    mem_free(p);
}
