/* limits_internal.h - what the files of limits.h share, and what the api asks of them.
 *
 *   limits.c      the table of tenants          rate_limit.c  buckets            scorecard.c  requests in progress
 *   limits_gate.c the decision at the door      usage.c       counters, storing them
 */
#ifndef API_LIMITS_INTERNAL_H
#define API_LIMITS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "api/limits.h"
#include "catalog/catalog.h"

/* --- buckets (rate_limit.c) -------------------------------------------------------------------------------------- */

/* A bucket of `burst` tokens that fills by `per_second`. All-zero is full. */
struct rate_bucket {
    _Atomic uint64_t full_at_ns; /* when it will be full again; alone and relaxed: nothing else depends on it */
};

/* Takes a token. False: there is none; *wait_ns is how long until there is. Any thread. */
bool rate_take(struct rate_bucket *b, const struct rate_rule *rule, uint64_t now_ns, uint64_t *wait_ns);

/* --- tenants (limits.c) ------------------------------------------------------------------------------------------ */

struct tenant {
    struct tenant *next; /* in its bucket of the table; guarded by limits.lock */
    uint64_t hash;
    const struct tenant_rules *rules; /* immutable, as are the next two */
    bool has_quotas;                  /* some quota is set */
    size_t n;                         /* of name */
    struct rate_bucket reads, writes;
    _Atomic uint64_t counters[USAGE_COUNT_]; /* relaxed: sums, in no order to each other */
    uint64_t stored[USAGE_COUNT_];           /* guarded by limits.store_mu: as the catalog has them */
    char name[];
};

struct scorecard;

enum { LIMITS_BUCKETS_MIN = 64, LIMITS_TENANTS_MAX = 1 << 20 };

struct limits {
    struct catalog *catalog; /* immutable, with all down to `anonymous` */
    struct limits_options options;
    struct scorecard *scorecard; /* NULL: off */
    struct tenant *anonymous;    /* of requests that name a tenant which the catalog does not know; not stored */

    pthread_rwlock_t lock; /* guards the table; tenants themselves stay until limits_free */
    struct tenant **buckets;
    size_t n_buckets, n;

    pthread_mutex_t store_mu;  /* one at a time stores; before catalog.change, never with `lock` */
    pthread_mutex_t thread_mu; /* guards is_stopping */
    pthread_cond_t wake;
    bool is_stopping;
    bool has_thread;
    pthread_t thread;
};

/* Reads the stored counters and starts the thread that stores them. */
enum err limits_new(struct limits **l, struct catalog *catalog, const struct limits_options *o, struct errmsg *em);
void limits_free(struct limits *l); /* stores them for the last time; NULL is fine */

/* Never NULL. */
struct tenant *limits_tenant(struct limits *l, struct str name);
/* Finds or makes the entry, whether the catalog knows the tenant or not. ERR_NOMEM; ERR_TOO_LARGE: there are
 * LIMITS_TENANTS_MAX already. */
enum err limits_add_tenant(struct limits *l, struct str name, const struct tenant_rules *rules, struct tenant **t);
void limits_each_tenant(struct limits *l, void (*visit)(void *ctx, struct tenant *t), void *ctx);

/* --- usage (usage.c) --------------------------------------------------------------------------------------------- */

static inline void usage_add(struct tenant *t, enum usage u, uint64_t n)
{
    (void)atomic_fetch_add_explicit(&t->counters[u], n, memory_order_relaxed);
}

static inline uint64_t usage_get(const struct tenant *t, enum usage u)
{
    return atomic_load_explicit(&t->counters[u], memory_order_relaxed);
}

enum err usage_load(struct limits *l, struct errmsg *em);
enum err usage_store(struct limits *l, struct errmsg *em); /* what has changed; blocks */
enum err usage_start(struct limits *l, struct errmsg *em); /* the thread; nothing if store_interval_s is 0 */
void usage_stop(struct limits *l);

/* --- scorecard (scorecard.c) -------------------------------------------------------------------------------------- */

/* ERR_INVALID: a pattern is too long. ERR_NOMEM. */
enum err scorecard_new(struct scorecard **s, const struct scorecard_rule *rules, size_t n, struct errmsg *em);
void scorecard_free(struct scorecard *s); /* NULL is fine */

/* ERR_OK: counted, until scorecard_leave. ERR_RATE: some rule allows no more; nothing was counted. ERR_NOMEM likewise. */
enum err scorecard_enter(struct scorecard *s, const struct str *tags, uint32_t n_tags, struct scorecard_ticket *t);
void scorecard_leave(struct scorecard *s, struct scorecard_ticket *t); /* empties the ticket */
size_t scorecard_n_counted(struct scorecard *s);                       /* keys under which anything is in progress */

bool scorecard_matches(struct str pattern, struct str tag);

#endif
