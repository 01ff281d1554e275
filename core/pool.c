/* pool.c - see pool.h.
 *
 * A semaphore counts the jobs, and a mutex guards their list. A condition variable would take the mutex back in a way that
 * makes every release of it a call of the system, one more a request.
 */
#include "core/pool.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>

#include "core/mem.h"

struct pool {
    pthread_mutex_t mu;
    sem_t ready; /* jobs in the list that no thread has been woken for; one more a thread when it stops */
    struct pool_job *head, **tail; /* guarded by mu */
    unsigned n_waiting;            /* guarded by mu */
    unsigned n_busy;               /* guarded by mu */
    bool is_stopping;              /* guarded by mu */
    unsigned queue_max;            /* immutable */
    unsigned n_threads;
    char name[12];
    pthread_t threads[];
};

/* Waits for a job and takes it off the list; NULL: the pool stops, and nothing is left. */
static struct pool_job *next_job(struct pool *p)
{
    while (sem_wait(&p->ready) != 0) CHECK(errno == EINTR && "a semaphore only fails to wait for a signal");
    (void)pthread_mutex_lock(&p->mu);
    struct pool_job *job = p->head;
    CHECK((job != NULL || p->is_stopping) && "a thread is woken for a job or the end");
    if (job != NULL) {
        p->head = job->next;
        if (p->head == NULL) p->tail = &p->head;
        p->n_waiting--;
        p->n_busy++;
    }
    (void)pthread_mutex_unlock(&p->mu);
    return job;
}

static void *pool_main(void *arg)
{
    struct pool *p = arg;
    for (struct pool_job *job; (job = next_job(p)) != NULL;) {
        job->run(job);
        (void)pthread_mutex_lock(&p->mu);
        p->n_busy--;
        (void)pthread_mutex_unlock(&p->mu);
    }
    return NULL;
}

enum err pool_new(struct pool **out, const char *name, unsigned n_threads, unsigned queue_max, struct errmsg *em)
{
    struct pool *p = mem_zalloc(sizeof *p + n_threads * sizeof p->threads[0]);
    if (p == NULL) return errmsg_set(em, ERR_NOMEM, "start %s threads", name);
    (void)pthread_mutex_init(&p->mu, NULL);
    (void)sem_init(&p->ready, 0, 0);
    p->tail = &p->head;
    p->queue_max = queue_max;
    (void)snprintf(p->name, sizeof p->name, "%s", name);
    for (; p->n_threads < n_threads; p->n_threads++) {
        int rc = pthread_create(&p->threads[p->n_threads], NULL, pool_main, p);
        if (rc != 0) {
            pool_free(p);
            return errmsg_errno(em, rc, "start thread %s-%u", name, p->n_threads);
        }
        char thread_name[16];
        (void)snprintf(thread_name, sizeof thread_name, "%.11s-%u", p->name, p->n_threads % 1000);
        (void)pthread_setname_np(p->threads[p->n_threads], thread_name);
    }
    *out = p;
    return ERR_OK;
}

enum err pool_push(struct pool *p, struct pool_job *job)
{
    (void)pthread_mutex_lock(&p->mu);
    bool is_full = p->is_stopping || p->n_waiting >= p->queue_max;
    if (!is_full) {
        job->next = NULL;
        *p->tail = job;
        p->tail = &job->next;
        p->n_waiting++;
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
    for (unsigned i = 0; i < p->n_threads; i++) (void)pthread_join(p->threads[i], NULL);
    (void)pthread_mutex_destroy(&p->mu);
    (void)sem_destroy(&p->ready);
    mem_free(p);
}
