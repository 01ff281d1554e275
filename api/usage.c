/* usage.c - counters a tenant: their names, reading them, and storing them in the catalog now and then.
 *
 * HAPPY PATH  requests add to atomic counters. A thread of its own stores the rows that have changed every
 *             store_interval_s, some a transaction, so that other changes of the catalog get their turn; the rest
 *             is stored at the end. At the start counters go on from what was stored.
 * FAILURE     what could not be stored stays in memory and is tried again with the next round; the log says so once. A crash
 *             loses what was counted since the last round.
 */
#include "api/limits_internal.h"

#include <time.h>

#include "core/buf.h"
#include "core/logger.h"

_Static_assert((int)USAGE_COUNT_ == (int)CATALOG_USAGE_NUMBERS, "a column for each counter");

enum { ROWS_PER_STORE = 128 };

const char *usage_name(enum usage u)
{
    static const char *const names[] = {
#define USAGE_NAME_(code, name) [USAGE_##code] = (name),
        USAGE_TABLE(USAGE_NAME_)
#undef USAGE_NAME_
    };
    return names[u];
}

/* --- loading ------------------------------------------------------------------------------------------------------ */

static enum err load_row(void *ctx, const struct catalog_usage *row, struct errmsg *em)
{
    struct limits *l = ctx;
    struct tenant *t;
    enum err e = limits_add_tenant(l, row->tenant, &l->options.defaults, &t); /* one with rules of its own keeps them */
    if (e == ERR_TOO_LARGE) return ERR_OK; /* beyond what is counted; its row stays as it is */
    if (e != ERR_OK) return errmsg_set(em, e, "out of memory");
    for (int i = 0; i < USAGE_COUNT_; i++) {
        t->stored[i] = row->numbers[i];
        atomic_store_explicit(&t->counters[i], row->numbers[i], memory_order_relaxed);
    }
    return ERR_OK;
}

enum err usage_load(struct limits *l, struct errmsg *em)
{
    return catalog_load_usage(l->catalog, load_row, l, em);
}

/* --- storing ------------------------------------------------------------------------------------------------------ */

static void gather_changed(void *ctx, struct tenant *t)
{
    bool is_changed = false;
    for (int i = 0; i < USAGE_COUNT_; i++) is_changed = is_changed || usage_get(t, (enum usage)i) != t->stored[i];
    if (is_changed) buf_add(ctx, &t, sizeof t);
}

static enum err store_some(struct limits *l, struct tenant *const *tenants, size_t n, struct errmsg *em)
{
    struct catalog_usage rows[ROWS_PER_STORE] = {{{NULL, 0}, {0}}};
    for (size_t i = 0; i < n; i++) {
        rows[i].tenant = str_of(tenants[i]->name, tenants[i]->n);
        for (int k = 0; k < USAGE_COUNT_; k++) rows[i].numbers[k] = usage_get(tenants[i], (enum usage)k);
    }
    enum err e = catalog_store_usage(l->catalog, rows, n, em);
    for (size_t i = 0; i < n && e == ERR_OK; i++)
        memcpy(tenants[i]->stored, rows[i].numbers, sizeof tenants[i]->stored);
    return e;
}

enum err usage_store(struct limits *l, struct errmsg *em)
{
    struct buf changed = {0};
    (void)pthread_mutex_lock(&l->store_mu);
    limits_each_tenant(l, gather_changed, &changed);
    struct tenant *const *list = (struct tenant *const *)(const void *)changed.p;
    size_t n = changed.n / sizeof *list;
    enum err e = changed.err != ERR_OK ? errmsg_set(em, changed.err, "store usage") : ERR_OK;
    for (size_t i = 0; i < n && e == ERR_OK; i += ROWS_PER_STORE)
        e = store_some(l, list + i, n - i < ROWS_PER_STORE ? n - i : ROWS_PER_STORE, em);
    (void)pthread_mutex_unlock(&l->store_mu);
    buf_free(&changed);
    return e;
}

/* --- the thread --------------------------------------------------------------------------------------------------- */

/* False: it is time to stop. */
static bool wait_for_round(struct limits *l)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)l->options.store_interval_s;
    (void)pthread_mutex_lock(&l->thread_mu);
    int rc = 0;
    while (!l->is_stopping && rc == 0) rc = pthread_cond_timedwait(&l->wake, &l->thread_mu, &until);
    bool goes_on = !l->is_stopping;
    (void)pthread_mutex_unlock(&l->thread_mu);
    return goes_on;
}

static void *store_main(void *arg)
{
    struct limits *l = arg;
    bool has_failed = false;
    while (wait_for_round(l)) {
        struct errmsg em = {{0}};
        enum err e = usage_store(l, &em);
        if (e != ERR_OK && !has_failed) log_warn("usage is not stored, will be tried again: %s", em.text);
        has_failed = e != ERR_OK;
    }
    return NULL;
}

enum err usage_start(struct limits *l, struct errmsg *em)
{
    if (l->options.store_interval_s == 0) return ERR_OK;
    int rc = pthread_create(&l->thread, NULL, store_main, l);
    if (rc != 0) return errmsg_errno(em, rc, "start the thread that stores usage");
    (void)pthread_setname_np(l->thread, "usage");
    l->has_thread = true;
    return ERR_OK;
}

void usage_stop(struct limits *l)
{
    struct errmsg em = {{0}};
    (void)pthread_mutex_lock(&l->thread_mu);
    l->is_stopping = true;
    (void)pthread_cond_signal(&l->wake);
    (void)pthread_mutex_unlock(&l->thread_mu);
    if (l->has_thread) (void)pthread_join(l->thread, NULL);
    l->has_thread = false;
    if (l->options.store_interval_s > 0 && usage_store(l, &em) != ERR_OK)
        log_error("usage since the last round is lost: %s", em.text);
}
