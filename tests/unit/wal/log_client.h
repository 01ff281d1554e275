/* log_client.h - a user of the log that knows what it was promised, for the tests.
 *
 * Every record has an id; its payload follows from id and length. The client keeps, by position, which record it must find
 * there; and the records whose fate it does not know, in the order in which they were submitted.
 */
#ifndef TESTS_LOG_CLIENT_H
#define TESTS_LOG_CLIENT_H

#include <pthread.h>
#include <unistd.h>

#include "tests/lib/suite.h"
#include "wal/wal.h"

enum { CLIENT_COLLECTION = 7, CLIENT_POSITIONS = 1 << 16 };

/* In a loop that waits for the log's threads: sleeps a moment; a log that never gets there fails the test after minutes
 * instead of hanging it. */
static inline void wait_a_moment(int *n)
{
    ck_assert_msg(++*n < 600000, "the log's threads did not do what was waited for");
    (void)usleep(200);
}

struct client;

struct client_record {
    struct wal_record r;
    struct client *c;
    uint64_t id;
    struct client_record *next; /* all of this client, newest first */
    enum err e;
    bool is_done;
    char payload[];
};

struct client {
    struct wal *w;
    pthread_mutex_t gate; /* while a test has it, answers wait, and with them the log's thread */
    pthread_mutex_t mu;
    pthread_cond_t changed;
    struct client_record *records;
    uint64_t n_submitted, n_done, n_failed;
    uint64_t last_done_lsn;
    uint64_t next_id;
    uint64_t ids[CLIENT_POSITIONS]; /* by position; 0: a position never given out */
    uint64_t last_lsn;              /* the last one acknowledged */
    uint64_t trim_lsn;              /* the highest given to wal_trim */
    uint64_t unknown[1024];         /* ids without an answer or with an error, in order of submission */
    int n_unknown;
    uint64_t replayed_first, replayed_last, n_replayed;
};

static void client_fill(char *p, size_t n, uint64_t id)
{
    struct rng r = {id * 2654435761u + 1};
    for (size_t i = 0; i < n; i++) p[i] = (char)rng_next(&r);
    if (n >= sizeof id) memcpy(p, &id, sizeof id);
}

static bool client_matches(struct bytes payload, uint64_t id)
{
    char *want = malloc(payload.n > 0 ? payload.n : 1);
    ck_assert_ptr_nonnull(want);
    client_fill(want, payload.n, id);
    bool is_same = payload.n == 0 || memcmp(want, payload.p, payload.n) == 0;
    free(want);
    return is_same;
}

static struct client *client_new(void)
{
    struct client *c = calloc(1, sizeof *c);
    ck_assert_ptr_nonnull(c);
    (void)pthread_mutex_init(&c->gate, NULL);
    (void)pthread_mutex_init(&c->mu, NULL);
    (void)pthread_cond_init(&c->changed, NULL);
    c->next_id = 1;
    return c;
}

static void client_forget_records(struct client *c)
{
    for (struct client_record *r = c->records, *next; r != NULL; r = next) {
        next = r->next;
        ck_assert_msg(r->is_done, "record %llu never got its answer", (unsigned long long)r->id);
        free(r);
    }
    c->records = NULL;
}

static void client_free(struct client *c)
{
    client_forget_records(c);
    (void)pthread_mutex_destroy(&c->gate);
    (void)pthread_mutex_destroy(&c->mu);
    (void)pthread_cond_destroy(&c->changed);
    free(c);
}

static void client_done(struct wal_record *wr, enum err e, uint64_t lsn)
{
    struct client_record *r = (struct client_record *)(void *)wr;
    struct client *c = r->c;
    (void)pthread_mutex_lock(&c->gate);
    (void)pthread_mutex_unlock(&c->gate);
    (void)pthread_mutex_lock(&c->mu);
    CHECK(!r->is_done && "done is called once");
    r->is_done = true;
    r->e = e;
    c->n_done++;
    if (e == ERR_OK) {
        CHECK(lsn > c->last_done_lsn && lsn < CLIENT_POSITIONS && "in ascending order");
        c->last_done_lsn = c->last_lsn = lsn;
        c->ids[lsn] = r->id;
        /* answered: no longer unknown. Order is kept, so it is the first one. */
        for (int i = 0; i < c->n_unknown; i++) {
            if (c->unknown[i] != r->id) continue;
            memmove(&c->unknown[i], &c->unknown[i + 1], sizeof c->unknown[0] * (size_t)(c->n_unknown - i - 1));
            c->n_unknown--;
            break;
        }
    } else {
        c->n_failed++;
    }
    (void)pthread_cond_broadcast(&c->changed);
    (void)pthread_mutex_unlock(&c->mu);
}

/* One submitting thread. */
static enum err client_submit(struct client *c, size_t n)
{
    struct client_record *r = calloc(1, sizeof *r + n + 1);
    ck_assert_ptr_nonnull(r);
    (void)pthread_mutex_lock(&c->mu);
    r->c = c;
    r->id = c->next_id++;
    client_fill(r->payload, n, r->id);
    r->r = (struct wal_record){.collection = CLIENT_COLLECTION,
                               .type = (uint32_t)(r->id % 5 + 1),
                               .payload = {r->payload, n},
                               .done = client_done};
    ck_assert_int_lt(c->n_unknown, 1024);
    c->unknown[c->n_unknown++] = r->id;
    (void)pthread_mutex_unlock(&c->mu);
    enum err e = wal_submit(c->w, &r->r);
    (void)pthread_mutex_lock(&c->mu);
    if (e == ERR_OK) {
        r->next = c->records;
        c->records = r;
        c->n_submitted++;
    } else { /* never with the log: it cannot turn up either */
        for (int i = c->n_unknown - 1; i >= 0; i--) {
            if (c->unknown[i] != r->id) continue;
            memmove(&c->unknown[i], &c->unknown[i + 1], sizeof c->unknown[0] * (size_t)(c->n_unknown - i - 1));
            c->n_unknown--;
            break;
        }
        free(r);
    }
    (void)pthread_mutex_unlock(&c->mu);
    return e;
}

static void client_wait(struct client *c)
{
    (void)pthread_mutex_lock(&c->mu);
    while (c->n_done < c->n_submitted) (void)pthread_cond_wait(&c->changed, &c->mu);
    (void)pthread_mutex_unlock(&c->mu);
}

/* The last position acknowledged so far; more may be on their way. */
static inline uint64_t client_last(struct client *c)
{
    (void)pthread_mutex_lock(&c->mu);
    uint64_t last = c->last_lsn;
    (void)pthread_mutex_unlock(&c->mu);
    return last;
}

static inline enum err client_trim(struct client *c, uint64_t lsn)
{
    if (lsn > c->trim_lsn) c->trim_lsn = lsn;
    return wal_trim(c->w, lsn, NULL);
}

static enum err client_replay(void *ctx, uint64_t lsn, uint32_t type, uint64_t collection, struct bytes payload,
                              struct errmsg *em)
{
    struct client *c = ctx;
    (void)em;
    ck_assert_uint_eq((uintptr_t)payload.p % 8, 0);
    ck_assert_uint_eq(collection, CLIENT_COLLECTION);
    ck_assert_uint_lt(lsn, CLIENT_POSITIONS);
    if (c->n_replayed == 0)
        c->replayed_first = lsn;
    else
        ck_assert_uint_gt(lsn, c->replayed_last);
    for (uint64_t gap = c->replayed_last + 1; c->n_replayed > 0 && gap < lsn; gap++)
        ck_assert_msg(c->ids[gap] == 0, "record %llu was acknowledged and is gone", (unsigned long long)gap);
    if (lsn > c->last_lsn) { /* not acknowledged: it must be the next one submitted */
        ck_assert_msg(c->n_unknown > 0, "position %llu holds a record that nobody wrote", (unsigned long long)lsn);
        c->ids[lsn] = c->unknown[0];
        memmove(&c->unknown[0], &c->unknown[1], sizeof c->unknown[0] * (size_t)(--c->n_unknown));
        c->last_lsn = lsn;
    }
    ck_assert_msg(client_matches(payload, c->ids[lsn]), "position %llu holds other bytes", (unsigned long long)lsn);
    ck_assert_uint_eq(type, c->ids[lsn] % 5 + 1);
    c->replayed_last = lsn;
    c->n_replayed++;
    return ERR_OK;
}

/* Opens the log and checks it against the promises. If it does not open, what was replayed promises nothing: it may not have
 * been durable yet. */
static inline enum err client_open(struct client *c, const struct vfs *vfs, const char *dir,
                                   const struct wal_options *o, struct errmsg *em)
{
    client_forget_records(c);
    c->n_submitted = c->n_done = c->n_failed = 0;
    c->n_replayed = c->replayed_first = c->replayed_last = 0;
    uint64_t acknowledged = c->last_lsn, unknown[sizeof c->unknown / sizeof c->unknown[0]];
    int n_unknown = c->n_unknown;
    memcpy(unknown, c->unknown, sizeof unknown[0] * (size_t)n_unknown);
    enum err e = wal_open(&c->w, vfs, dir, o, 0, 0, client_replay, c, em);
    if (e != ERR_OK) {
        memcpy(c->unknown, unknown, sizeof unknown[0] * (size_t)n_unknown);
        c->n_unknown = n_unknown;
        for (; c->last_lsn > acknowledged; c->last_lsn--) c->ids[c->last_lsn] = 0;
        return e;
    }
    c->n_unknown = 0; /* what has not turned up never will */
    c->last_done_lsn = c->last_lsn;
    if (c->n_replayed > 0) {
        ck_assert_uint_ge(c->replayed_last, acknowledged);
        for (uint64_t lsn = c->trim_lsn + 1; lsn < c->replayed_first; lsn++)
            ck_assert_msg(c->ids[lsn] == 0, "record %llu was not trimmed and is gone", (unsigned long long)lsn);
    } else {
        ck_assert_uint_ge(c->trim_lsn, acknowledged);
    }
    return ERR_OK;
}

static void client_close(struct client *c)
{
    wal_close(c->w);
    c->w = NULL;
}

#endif
