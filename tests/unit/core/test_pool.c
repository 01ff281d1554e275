/* test_pool.c - every job is run once, in the order in which they came; the queue is bounded; the end runs what waits. */
#include "tests/lib/suite.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "core/pool.h"
#include "core/slice.h"

enum { JOBS = 2000, THREADS = 4, PUSHERS = 3 };

struct counted {
    struct pool_job job; /* first */
    _Atomic unsigned n_runs;
    unsigned order; /* of running, from 1 */
};

static struct counted jobs[JOBS];
static _Atomic unsigned n_run;

static void count(struct pool_job *job)
{
    struct counted *c = (struct counted *)job;
    c->order = atomic_fetch_add(&n_run, 1) + 1;
    atomic_fetch_add(&c->n_runs, 1);
}

static void reset_jobs(void)
{
    atomic_store(&n_run, 0);
    for (int i = 0; i < JOBS; i++) {
        jobs[i].job.run = count;
        atomic_store(&jobs[i].n_runs, 0);
    }
}

/* A job that holds its thread until the gate opens. */
struct gate {
    struct pool_job job; /* first */
    pthread_mutex_t mu;
    pthread_cond_t changed;
    bool is_entered, is_open;
    pid_t thread; /* that is in it */
};

static void hold(struct pool_job *job)
{
    struct gate *g = (struct gate *)job;
    (void)pthread_mutex_lock(&g->mu);
    g->is_entered = true;
    g->thread = slice_thread();
    (void)pthread_cond_broadcast(&g->changed);
    while (!g->is_open) (void)pthread_cond_wait(&g->changed, &g->mu);
    (void)pthread_mutex_unlock(&g->mu);
}

/* Pushes it, with can_wait as it is; it is entered some time. */
static void gate_push(struct gate *g, struct pool *p)
{
    *g = (struct gate){.job = {.run = hold, .can_wait = g->job.can_wait}};
    (void)pthread_mutex_init(&g->mu, NULL);
    (void)pthread_cond_init(&g->changed, NULL);
    ck_ok(pool_push(p, &g->job));
}

static void gate_close(struct gate *g, struct pool *p)
{
    gate_push(g, p);
    (void)pthread_mutex_lock(&g->mu);
    while (!g->is_entered) (void)pthread_cond_wait(&g->changed, &g->mu);
    (void)pthread_mutex_unlock(&g->mu);
}

static void gate_open(struct gate *g)
{
    (void)pthread_mutex_lock(&g->mu);
    g->is_open = true;
    (void)pthread_cond_broadcast(&g->changed);
    (void)pthread_mutex_unlock(&g->mu);
}

/* The first 60 jobs, of which every other can wait. */
START_TEST(patient_jobs_wait_but_not_for_ever)
{
    enum { N = 60 };
    struct pool *p;
    struct errmsg em;
    struct gate g = {0};
    reset_jobs();
    ck_ok(pool_new(&p, "test", 1, N + 1, &em));
    gate_close(&g, p);
    for (int i = 0; i < N; i++) {
        jobs[i].job.can_wait = i % 2 == 0;
        ck_ok(pool_push(p, &jobs[i].job));
    }
    gate_open(&g);
    pool_free(p);
    for (int i = 0; i < N; i++) {
        ck_assert_uint_eq(atomic_load(&jobs[i].n_runs), 1);
        if (i >= 2) ck_assert_uint_gt(jobs[i].order, jobs[i - 2].order); /* each kind in its order */
    }
    /* Seven others, then one that can wait, and so on, while there are both. */
    for (unsigned k = 0; k < 4; k++) ck_assert_uint_eq(jobs[2 * k].order, 8 * (k + 1));
    ck_assert_uint_eq(jobs[1].order, 1);
    ck_assert_uint_eq(jobs[N - 1].order, N / 2 + 4); /* the last of them, after four that can wait */
    for (int i = 0; i < N; i++) jobs[i].job.can_wait = false;
}
END_TEST

START_TEST(one_thread_keeps_the_order)
{
    struct pool *p = NULL;
    struct gate gate = {0};
    struct pool_stats s;
    reset_jobs();
    ck_ok(pool_new(&p, "test", 1, JOBS, NULL));
    gate_close(&gate, p);
    for (int i = 0; i < JOBS; i++) ck_ok(pool_push(p, &jobs[i].job));
    pool_stats(p, &s);
    ck_assert_uint_eq(s.n_threads, 1);
    ck_assert_uint_eq(s.n_busy, 1);
    ck_assert_uint_eq(s.n_waiting, JOBS);
    ck_assert_uint_eq(pool_waiting(p), JOBS);
    gate_open(&gate);
    pool_free(p); /* runs them all */
    for (unsigned i = 0; i < JOBS; i++) ck_assert_uint_eq(jobs[i].order, i + 1);
}
END_TEST

START_TEST(a_full_queue_refuses)
{
    struct pool *p = NULL;
    struct gate gate = {0};
    reset_jobs();
    ck_ok(pool_new(&p, "test", 1, 3, NULL));
    gate_close(&gate, p);
    for (int i = 0; i < 3; i++) ck_ok(pool_push(p, &jobs[i].job));
    ck_assert_int_eq(pool_push(p, &jobs[3].job), ERR_BUSY);
    gate_open(&gate);
    pool_free(p);
    ck_assert_uint_eq(atomic_load(&n_run), 3);
    ck_assert_uint_eq(atomic_load(&jobs[3].n_runs), 0);
}
END_TEST

struct pusher {
    pthread_t thread;
    struct pool *p;
    int first;
};

static void *push_some(void *arg)
{
    const struct pusher *x = arg;
    for (int i = x->first; i < JOBS; i += PUSHERS)
        if (pool_push(x->p, &jobs[i].job) != ERR_OK) return arg;
    return NULL;
}

START_TEST(many_threads_run_each_job_once)
{
    for (int round = 0; round < suite_share(20); round++) {
        struct pool *p = NULL;
        struct pusher pushers[PUSHERS];
        reset_jobs();
        ck_ok(pool_new(&p, "test", THREADS, JOBS, NULL));
        if (round % 2 == 1) pool_set_spin(p, 500, (unsigned)round % THREADS);
        for (int i = 0; i < PUSHERS; i++) {
            pushers[i] = (struct pusher){.p = p, .first = i};
            ck_assert_int_eq(pthread_create(&pushers[i].thread, NULL, push_some, &pushers[i]), 0);
        }
        for (int i = 0; i < PUSHERS; i++) {
            void *failed = NULL;
            ck_assert_int_eq(pthread_join(pushers[i].thread, &failed), 0);
            ck_assert_ptr_null(failed);
        }
        pool_free(p); /* some threads may not have run at all, some jobs still wait */
        for (int i = 0; i < JOBS; i++) ck_assert_uint_eq(atomic_load(&jobs[i].n_runs), 1);
    }
}
END_TEST

START_TEST(short_jobs_pass_long_ones)
{
    struct pool *p = NULL;
    struct gate gates[4] = {0};
    struct counted last = {.job.run = count};
    reset_jobs();
    ck_ok(pool_new(&p, "test", 2, JOBS, NULL));
    ck_ok(pool_add_relief(p, 3, NULL));
    for (int i = 0; i < 4; i++)
        gate_close(&gates[i], p); /* two of them on the relief's threads, or this would not return */
    for (int i = 0; i < 100; i++) ck_ok(pool_push(p, &jobs[i].job));
    ck_ok(pool_push(p, &last.job));
    while (atomic_load(&last.n_runs) == 0) (void)usleep(1000); /* the gates are closed: one thread runs them all */
    for (unsigned i = 0; i < 100; i++) ck_assert_uint_eq(jobs[i].order, i + 1);
    for (int i = 0; i < 4; i++) gate_open(&gates[i]);
    pool_free(p);
}
END_TEST

/* Pushed before the threads that were woken for the others have taken them: there is no push after them to see that all
 * are busy. */
START_TEST(a_job_pushed_with_long_ones_is_relieved)
{
    for (int round = 0; round < suite_share(40); round++) {
        struct pool *p = NULL;
        struct gate gate = {.job.can_wait = round % 2 == 1};
        struct counted last = {.job.run = count};
        reset_jobs();
        ck_ok(pool_new(&p, "test", 1, JOBS, NULL));
        ck_ok(pool_add_relief(p, 1, NULL));
        gate_push(&gate, p);
        ck_ok(pool_push(p, &last.job));
        while (atomic_load(&last.n_runs) == 0) (void)usleep(1000); /* the gate is closed */
        gate_open(&gate);
        pool_free(p);
    }
}
END_TEST

START_TEST(relief_runs_each_job_once)
{
    for (int round = 0; round < suite_share(20); round++) {
        struct pool *p = NULL;
        struct gate gate = {0};
        struct pusher pusher = {0};
        void *failed = NULL;
        reset_jobs();
        ck_ok(pool_new(&p, "test", 1, JOBS, NULL));
        ck_ok(pool_add_relief(p, THREADS, NULL));
        gate_close(&gate, p);
        pusher = (struct pusher){.p = p, .first = 0};
        for (int i = 1; i < PUSHERS; i++) ck_assert_ptr_null(push_some(&(struct pusher){.p = p, .first = i}));
        ck_assert_int_eq(pthread_create(&pusher.thread, NULL, push_some, &pusher), 0);
        if (round % 2 == 0) { /* the relief has begun when the gate opens, or perhaps not */
            while (atomic_load(&n_run) == 0) (void)usleep(1000);
        }
        ck_assert_int_eq(pthread_join(pusher.thread, &failed), 0);
        ck_assert_ptr_null(failed);
        gate_open(&gate);
        pool_free(p);
        for (int i = 0; i < JOBS; i++) ck_assert_uint_eq(atomic_load(&jobs[i].n_runs), 1);
    }
}
END_TEST

struct noted {
    struct pool_job job; /* first */
    pthread_t by;
};

static void note_thread(struct pool_job *job)
{
    ((struct noted *)job)->by = pthread_self();
}

static void wait_until_idle(struct pool *p)
{
    struct pool_stats s;
    do {
        (void)usleep(100);
        pool_stats(p, &s);
    } while (s.n_busy > 0);
}

START_TEST(the_thread_that_worked_last_works_next)
{
    struct pool *p = NULL;
    struct noted first = {.job.run = note_thread}, next = first;
    ck_ok(pool_new(&p, "test", THREADS, 1, NULL));
    for (int round = 0; round < 50; round++) {
        struct noted *n = round == 0 ? &first : &next;
        ck_ok(pool_push(p, &n->job));
        wait_until_idle(p);
        if (round > 0) ck_assert(pthread_equal(next.by, first.by));
    }
    pool_free(p);
}
END_TEST

/* One after the other, as a client does that waits for its answer: some find the thread looking, some asleep, and the end comes while
 * it does either. */
START_TEST(a_thread_that_looks_is_given_jobs)
{
    for (int round = 0; round < suite_share(20); round++) {
        struct pool *p = NULL;
        reset_jobs();
        ck_ok(pool_new(&p, "test", 2, 1, NULL));
        pool_set_spin(p, 300, 0);
        for (unsigned i = 0; i < 100; i++) {
            ck_ok(pool_push(p, &jobs[i].job));
            while (atomic_load(&jobs[i].n_runs) == 0) (void)sched_yield();
            if (i % 8 == 0) (void)usleep(i * 5);
        }
        if (round % 2 == 0) (void)usleep(1000);
        pool_free(p);
        for (unsigned i = 0; i < 100; i++) ck_assert_uint_eq(jobs[i].order, i + 1);
    }
}
END_TEST

struct sliced {
    struct pool_job job; /* first */
    _Atomic int policy;  /* of the thread that ran it; -1: it has not run yet */
};

static void note_policy(struct pool_job *job)
{
    atomic_store(&((struct sliced *)job)->policy, sched_getscheduler(0));
}

static int policy_of(struct pool *p, bool can_wait)
{
    struct sliced s = {.job = {.run = note_policy, .can_wait = can_wait}, .policy = -1};
    ck_ok(pool_push(p, &s.job));
    while (atomic_load(&s.policy) == -1) (void)usleep(100);
    return atomic_load(&s.policy);
}

/* Each kind of job has its slices, whatever its thread did before, also the first job of a thread that has not begun. */
START_TEST(jobs_that_can_wait_have_long_slices)
{
    if (sched_getscheduler(0) != SCHED_OTHER) return; /* whoever runs the tests has set it so */
    for (int round = 0; round < suite_share(20); round++) {
        struct pool *p = NULL;
        ck_ok(pool_new(&p, "test", 1, JOBS, NULL));
        for (int i = 0; i < 4; i++) {
            bool can_wait = (i + round) % 2 == 0;
            ck_assert_int_eq(policy_of(p, can_wait), can_wait ? SCHED_BATCH : SCHED_OTHER);
        }
        pool_free(p);
    }
}
END_TEST

START_TEST(a_job_that_keeps_others_waiting_has_long_slices)
{
    if (sched_getscheduler(0) != SCHED_OTHER) return;
    struct pool *p = NULL;
    struct gate gate = {0};
    ck_ok(pool_new(&p, "test", 1, JOBS, NULL));
    ck_ok(pool_add_relief(p, 1, NULL));
    gate_close(&gate, p);
    ck_assert_int_eq(policy_of(p, false), SCHED_OTHER); /* of the relief; the gate is closed */
    ck_assert_int_eq(sched_getscheduler(gate.thread), SCHED_BATCH);
    gate_open(&gate);
    for (struct pool_stats s = {.n_busy = 1}; s.n_busy > 0; pool_stats(p, &s)) (void)usleep(100);
    ck_assert_int_eq(sched_getscheduler(gate.thread), SCHED_OTHER);
    ck_assert_int_eq(policy_of(p, false), SCHED_OTHER);
    pool_free(p);
}
END_TEST

START_TEST(an_idle_pool_ends)
{
    struct pool *p = NULL;
    ck_ok(pool_new(&p, "test", THREADS, 1, NULL));
    pool_free(p);
    pool_free(NULL);
    ck_ok(pool_new(&p, "test", THREADS, 1, NULL));
    ck_ok(pool_add_relief(p, THREADS, NULL));
    pool_free(p);
}
END_TEST

TESTS(pool, patient_jobs_wait_but_not_for_ever, the_thread_that_worked_last_works_next, one_thread_keeps_the_order,
      a_full_queue_refuses, many_threads_run_each_job_once, short_jobs_pass_long_ones,
      a_job_pushed_with_long_ones_is_relieved, relief_runs_each_job_once, a_thread_that_looks_is_given_jobs,
      jobs_that_can_wait_have_long_slices, a_job_that_keeps_others_waiting_has_long_slices, an_idle_pool_ends)
