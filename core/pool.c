/* pool.c - see pool.h.
 *
 * A thread without a job lies on a stack, and a job goes to the one that was put there last: its arena and its code are still
 * in the caches of its processor. It is woken by a semaphore of its own; a condition variable would take the mutex back
 * in a way that makes every release of it a call of the system, one more a request.
 *
 * RELIEF  Where a job has to wait, one relief thread is woken, the watcher, if there is none. It looks every few milliseconds
 *         while jobs wait; when fewer than n_threads of the running jobs are short so far, it takes a job and wakes
 *         the next watcher. For a job that cannot wait only such are counted.
 * INVARIANT  jobs wait only while no thread is idle; at most one watcher (is_watched); jobs wait without a watcher
 *            only while all relief threads run.
 */
#include "core/pool.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include "core/clock.h"
#include "core/mem.h"
#include "core/slice.h"
#include "core/spin.h"

enum { WATCH_MS = 2 };

struct pool_thread {
    struct pool *pool;
    pthread_t id;
    sem_t woken;              /* has a job, or the end has come; not of a relief thread */
    struct pool_job *job;     /* guarded by pool->mu while the thread is idle, its own after */
    struct pool_thread *next; /* guarded by pool->mu: on the stack of the idle */
    uint64_t since_ns;        /* guarded by pool->mu: when it was given its job; 0: it has none */
    bool can_wait;            /* guarded by pool->mu: its job could */
    bool is_long;             /* guarded by pool->mu: it has long slices */
    pid_t number;             /* guarded by pool->mu: slice.h; 0: it has not begun yet */
    struct spin spin;         /* its own */
};

struct queue {
    struct pool_job *head, **tail;
};

struct pool {
    pthread_mutex_t mu;
    struct pool_thread *idle;              /* guarded by mu: a stack */
    struct queue urgent, patient;          /* guarded by mu */
    unsigned n_ahead;                      /* guarded by mu: jobs taken since a patient one was, while one waited */
    unsigned n_waiting;                    /* guarded by mu: in both queues */
    unsigned n_busy;                       /* guarded by mu */
    bool is_stopping;                      /* guarded by mu */
    _Atomic(struct pool_thread *) spinner; /* the one that may look, or NULL; set under mu */
    unsigned spin_busy_max;                /* immutable after pool_set_spin */
    unsigned queue_max;                    /* immutable */
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

/* mu is held. t's slices are those that its job should have, unless it has not begun and will see to that by itself. */
static void set_slice(struct pool_thread *t, bool is_long)
{
    if (t->is_long == is_long || t->number == 0) return;
    t->is_long = is_long;
    slice_set(t->number, is_long ? SLICE_LONG : SLICE_SHORT);
}

/* mu is held. `job` is t's now. */
static void give(struct pool_thread *t, struct pool_job *job)
{
    t->pool->n_busy++;
    t->job = job;
    t->can_wait = job->can_wait;
    t->since_ns = t->pool->n_relief > 0 ? clock_monotonic_ns() : 1; /* without relief nobody looks at it */
    set_slice(t, job->can_wait);
}

/* mu is held. `job`, which waited, is t's now; NULL: false. */
static bool give_waiting(struct pool_thread *t, struct pool_job *job)
{
    if (job == NULL) return false;
    t->pool->n_waiting--;
    give(t, job);
    return true;
}

/* mu is held. t has run its job. */
static void take_back(struct pool_thread *t)
{
    set_slice(t, false);
    t->pool->n_busy--;
    t->job = NULL;
    t->since_ns = 0;
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
static void lay_down(struct pool_thread *t)
{
    t->next = t->pool->idle;
    t->pool->idle = t;
    if (t->pool->is_stopping) (void)sem_post(&t->woken);
}

/* mu is held. t, which lies down after its work, is the one that looks, or nobody is: the next job would be given to it. */
static void choose_spinner(struct pool_thread *t)
{
    struct pool *p = t->pool;
    struct pool_thread *spinner = p->n_busy <= p->spin_busy_max ? t : NULL;
    atomic_store_explicit(&p->spinner, spinner, memory_order_relaxed);
}

/* Until it is woken: with a job, or for the end. */
static void wait_as_idle(struct pool_thread *t)
{
    struct pool *p = t->pool;
    if (atomic_load_explicit(&p->spinner, memory_order_relaxed) != t) {
        wait_for(&t->woken);
        return;
    }
    bool is_woken;
    spin_begin(&t->spin);
    do {
        is_woken = sem_trywait(&t->woken) == 0;
    } while (!is_woken && atomic_load_explicit(&p->spinner, memory_order_relaxed) == t && spin_goes_on(&t->spin));
    if (!is_woken) wait_for(&t->woken);
    spin_end(&t->spin);
}

/* Runs its job and those that wait then. */
static void run_jobs(struct pool_thread *t)
{
    struct pool *p = t->pool;
    bool has_job = true;
    while (has_job) {
        t->job->run(t->job);
        (void)pthread_mutex_lock(&p->mu);
        take_back(t);
        has_job = give_waiting(t, take_next(p));
        if (!has_job) {
            lay_down(t);
            choose_spinner(t);
        }
        (void)pthread_mutex_unlock(&p->mu);
    }
}

static void begin(struct pool_thread *t)
{
    (void)pthread_mutex_lock(&t->pool->mu);
    t->number = slice_thread();
    t->is_long = t->can_wait; /* its first job may be there */
    slice_set(0, t->is_long ? SLICE_LONG : SLICE_SHORT);
    (void)pthread_mutex_unlock(&t->pool->mu);
}

static void *pool_main(void *arg)
{
    struct pool_thread *t = arg;
    begin(t);
    for (;;) {
        wait_as_idle(t);
        if (t->job == NULL) return NULL; /* the end */
        run_jobs(t);
    }
}

/* --- relief ------------------------------------------------------------------------------------------------------- */

struct running {
    unsigned n_urgent, n_patient; /* jobs that are short so far */
};

/* mu is held. What is found to be long has long slices from now on. */
static void count_short(struct running *r, struct pool_thread *threads, unsigned n, uint64_t long_before_ns)
{
    for (unsigned i = 0; i < n; i++) {
        bool is_running = threads[i].since_ns > 0, is_short = threads[i].since_ns > long_before_ns;
        if (is_running && !is_short) set_slice(&threads[i], true);
        if (!is_short) continue;
        if (threads[i].can_wait)
            r->n_patient++;
        else
            r->n_urgent++;
    }
}

/* mu is held. The job that a relief thread may run now, taken from its queue, or NULL. */
static struct pool_job *take_for_relief(struct pool *p)
{
    uint64_t now_ns = clock_monotonic_ns(), long_ns = (uint64_t)POOL_LONG_MS * 1000000;
    uint64_t long_before_ns = now_ns > long_ns ? now_ns - long_ns : 0;
    struct running r = {0};
    count_short(&r, p->threads, p->n_threads, long_before_ns);
    count_short(&r, p->relief, p->n_relief, long_before_ns);
    if (r.n_urgent + r.n_patient < p->n_threads) return take_next(p);
    return r.n_urgent < p->n_threads ? queue_take(&p->urgent) : NULL;
}

/* The watcher's look: whether it has a job now; *goes_on: jobs wait, look again. Another watches when it has a job, and nobody
 * when none waits. */
static bool look(struct pool_thread *t, bool *goes_on)
{
    struct pool *p = t->pool;
    (void)pthread_mutex_lock(&p->mu);
    bool has_job = give_waiting(t, take_for_relief(p));
    *goes_on = !has_job && p->n_waiting > 0;
    if (has_job) {
        watch_on(p);
    } else if (!*goes_on) {
        p->is_watched = false;
        p->n_relief_idle++;
    }
    (void)pthread_mutex_unlock(&p->mu);
    return has_job;
}

/* Runs its job, then goes back to sleep, or on the watch if nobody is. True: on the watch. */
static bool run_then_watch(struct pool_thread *t)
{
    struct pool *p = t->pool;
    t->job->run(t->job);
    (void)pthread_mutex_lock(&p->mu);
    take_back(t);
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
    begin(t);
    for (;;) {
        wait_for(&p->watch);
        if (is_over(p)) return NULL;
        bool watches = true;
        while (watches) {
            if (look(t, &watches))
                watches = run_then_watch(t);
            else if (watches)
                (void)nanosleep(&(struct timespec){.tv_nsec = WATCH_MS * 1000000L}, NULL);
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

void pool_set_spin(struct pool *p, unsigned max_us, unsigned busy_max)
{
    (void)pthread_mutex_lock(&p->mu);
    for (unsigned i = 0; i < p->n_threads; i++) p->threads[i].spin = spin_of(max_us);
    p->spin_busy_max = busy_max;
    (void)pthread_mutex_unlock(&p->mu);
}

enum err pool_new(struct pool **out, const char *name, unsigned n_threads, unsigned queue_max, struct errmsg *em)
{
    struct pool *p = mem_zalloc(sizeof *p + n_threads * sizeof p->threads[0]);
    if (p == NULL) return errmsg_set(em, ERR_NOMEM, "start %s threads", name);
    (void)pthread_mutex_init(&p->mu, NULL);
    (void)sem_init(&p->watch, 0, 0);
    p->urgent.tail = &p->urgent.head;
    p->patient.tail = &p->patient.head;
    p->queue_max = queue_max;
    (void)snprintf(p->name, sizeof p->name, "%s", name);
    for (; p->n_threads < n_threads; p->n_threads++) {
        struct pool_thread *t = &p->threads[p->n_threads];
        (void)sem_init(&t->woken, 0, 0);
        enum err e = start_thread(t, p, pool_main, "-", p->n_threads, em);
        if (e != ERR_OK) {
            (void)sem_destroy(&t->woken);
            pool_free(p);
            return e;
        }
        lay_down(t); /* nobody else knows the pool yet */
    }
    *out = p;
    return ERR_OK;
}

enum err pool_push(struct pool *p, struct pool_job *job)
{
    (void)pthread_mutex_lock(&p->mu);
    bool has_room = !p->is_stopping && (p->idle != NULL || p->n_waiting < p->queue_max);
    struct pool_thread *t = has_room ? p->idle : NULL;
    if (t != NULL) {
        p->idle = t->next;
        give(t, job);
    } else if (has_room) {
        queue_add(job->can_wait ? &p->patient : &p->urgent, job);
        p->n_waiting++;
        if (!p->is_watched) watch_on(p);
    }
    (void)pthread_mutex_unlock(&p->mu);
    if (t != NULL) (void)sem_post(&t->woken); /* not under the mutex: the thread would wake up to wait for it */
    return has_room ? ERR_OK : ERR_BUSY;
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
    for (struct pool_thread *t = p->idle; t != NULL; t = t->next) (void)sem_post(&t->woken);
    (void)pthread_mutex_unlock(&p->mu);
    for (unsigned i = 0; i < p->n_threads; i++) {
        (void)pthread_join(p->threads[i].id, NULL);
        (void)sem_destroy(&p->threads[i].woken);
    }
    for (unsigned i = 0; i < p->n_relief; i++) (void)sem_post(&p->watch); /* nothing waits any more */
    for (unsigned i = 0; i < p->n_relief; i++) (void)pthread_join(p->relief[i].id, NULL);
    mem_free(p->relief);
    (void)pthread_mutex_destroy(&p->mu);
    (void)sem_destroy(&p->watch);
    mem_free(p);
}
