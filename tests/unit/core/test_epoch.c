/* test_epoch.c - nothing is freed while a reader may hold it, everything is freed in the end; and the pool of threads. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "core/epoch.h"
#include "core/mem.h"
#include "core/pool.h"
#include "tests/lib/suite.h"

enum { ALIVE = 0x600d, FREED = 0xdead, ROUNDS = 20000 };

struct node {
    _Atomic int state;
};

static _Atomic(struct node *) shared;
static _Atomic bool stop;
static _Atomic int n_freed;

static void free_node(void *p)
{
    struct node *n = p;
    atomic_store(&n->state, FREED);
    atomic_fetch_add(&n_freed, 1);
    mem_free(n);
}

static struct node *new_node(void)
{
    struct node *n = mem_alloc(sizeof *n);
    atomic_init(&n->state, ALIVE);
    return n;
}

static void *read_nodes(void *arg)
{
    unsigned long seen = 0;
    (void)arg;
    while (!stop) {
        epoch_enter();
        struct node *n = atomic_load(&shared);
        for (int i = 0; i < 10; i++) ck_assert_int_eq(atomic_load(&n->state), ALIVE);
        epoch_enter(); /* nested */
        epoch_leave();
        ck_assert_int_eq(atomic_load(&n->state), ALIVE);
        epoch_leave();
        if (++seen % 64 == 0) (void)sched_yield();
    }
    return NULL;
}

START_TEST(readers_keep_what_they_hold)
{
    pthread_t t[3];
    atomic_store(&shared, new_node());
    for (int i = 0; i < 3; i++) ck_assert_int_eq(pthread_create(&t[i], NULL, read_nodes, NULL), 0);
    for (int i = 0; i < ROUNDS; i++) {
        struct node *old = atomic_exchange(&shared, new_node());
        epoch_retire(free_node, old);
    }
    stop = true;
    for (int i = 0; i < 3; i++) (void)pthread_join(t[i], NULL);
    epoch_drain();
    ck_assert_int_eq(n_freed, ROUNDS);
    mem_free(atomic_load(&shared));
}
END_TEST

START_TEST(a_reader_inside_holds_back_freeing)
{
    int before = n_freed;
    epoch_enter();
    epoch_retire(free_node, new_node());
    ck_assert(!epoch_reclaim());
    ck_assert_int_eq(n_freed, before);
    epoch_leave();
    epoch_drain();
    ck_assert_int_eq(n_freed, before + 1);
}
END_TEST

struct job {
    struct pool_job job;
    _Atomic int *sum;
    int value;
};

static void add_value(struct pool_job *j)
{
    struct job *job = (void *)j;
    atomic_fetch_add(job->sum, job->value);
}

static _Atomic bool gate_open;

static void wait_at_gate(struct pool_job *j)
{
    (void)j;
    while (!gate_open) (void)sched_yield();
}

START_TEST(the_pool_runs_everything_and_refuses_beyond_its_bound)
{
    enum { N = 1000 };
    static struct job jobs[N];
    _Atomic int sum = 0;
    int pushed = 0;
    struct pool *p;
    struct pool_job gate = {.run = wait_at_gate};
    ck_ok(pool_new(&p, "test", 1, 10, NULL));
    ck_ok(pool_push(p, &gate));
    while (pool_waiting(p) > 0) (void)sched_yield(); /* the one thread stands at the gate */
    for (int i = 0; i < 20; i++) {
        jobs[i] = (struct job){.job = {.run = add_value}, .sum = &sum, .value = 1};
        pushed += pool_push(p, &jobs[i].job) == ERR_OK;
    }
    ck_assert_int_eq(pushed, 10);
    gate_open = true;
    pool_free(p);
    ck_assert_int_eq(sum, 10);
    ck_ok(pool_new(&p, "test", 4, N, NULL));
    sum = 0;
    for (int i = 0; i < N; i++) {
        jobs[i] = (struct job){.job = {.run = add_value}, .sum = &sum, .value = i};
        ck_ok(pool_push(p, &jobs[i].job));
    }
    pool_free(p);
    ck_assert_int_eq(sum, N * (N - 1) / 2);
}
END_TEST

TESTS(epoch, readers_keep_what_they_hold, a_reader_inside_holds_back_freeing,
      the_pool_runs_everything_and_refuses_beyond_its_bound)
