/* limits.c - the table of tenants: who has which rules, and where what he uses is counted.
 *
 * HAPPY PATH  a request's tenant is found by one hash lookup under a read lock. A tenant that is seen for the first time is
 *             looked up in the catalog and then added; entries stay until the end, so a request may hold one without a
 *             count.
 * FAILURE     a tenant that cannot be added (memory; LIMITS_TENANTS_MAX) is served as the anonymous one: limited by the
 *             defaults, together with others, and not counted by name.
 * INVARIANT   names that the catalog does not know are never added by a request. The table grows with what was created,
 *             with the file of limits, and with what an earlier process stored.
 */
#include "api/limits_internal.h"

#include <time.h>

#include "core/hash.h"
#include "core/clock.h"
#include "core/mem.h"

static struct tenant *tenant_new(struct str name, const struct tenant_rules *rules)
{
    size_t size;
    if (!ck_add(sizeof(struct tenant), name.n, &size)) return NULL;
    struct tenant *t = mem_zalloc(size);
    if (t == NULL) return NULL;
    t->rules = rules;
    for (int i = 0; i < QUOTA_COUNT_; i++) t->has_quotas = t->has_quotas || rules->quotas[i] > 0;
    t->n = name.n;
    if (name.n > 0) memcpy(t->name, name.p, name.n);
    return t;
}

/* --- the table: with the lock ------------------------------------------------------------------------------------ */

static struct tenant *find(const struct limits *l, struct str name, uint64_t hash)
{
    struct tenant *t = l->buckets[hash & (l->n_buckets - 1)];
    while (t != NULL && !(t->hash == hash && str_eq(str_of(t->name, t->n), name))) t = t->next;
    return t;
}

static void grow(struct limits *l)
{
    size_t n;
    if (!ck_mul(l->n_buckets, 2, &n)) return;
    struct tenant **bigger = mem_array(n, sizeof *bigger);
    if (bigger == NULL) return; /* longer chains, the same answers */
    for (size_t i = 0; i < l->n_buckets; i++) {
        while (l->buckets[i] != NULL) {
            struct tenant *t = l->buckets[i];
            l->buckets[i] = t->next;
            t->next = bigger[t->hash & (n - 1)];
            bigger[t->hash & (n - 1)] = t;
        }
    }
    mem_free(l->buckets);
    l->buckets = bigger;
    l->n_buckets = n;
}

static uint64_t hash_name(struct str name)
{
    return hash_bytes(name.n > 0 ? name.p : "", name.n, hash_process_seed());
}

enum err limits_add_tenant(struct limits *l, struct str name, const struct tenant_rules *rules, struct tenant **out)
{
    const uint64_t hash = hash_name(name);
    enum err e = ERR_OK;
    (void)pthread_rwlock_wrlock(&l->lock);
    struct tenant *t = find(l, name, hash);
    if (t == NULL && l->n >= LIMITS_TENANTS_MAX) {
        e = ERR_TOO_LARGE;
    } else if (t == NULL) {
        if (l->n >= l->n_buckets) grow(l);
        t = tenant_new(name, rules);
        if (t == NULL) {
            e = ERR_NOMEM;
        } else {
            t->hash = hash;
            t->next = l->buckets[hash & (l->n_buckets - 1)];
            l->buckets[hash & (l->n_buckets - 1)] = t;
            l->n++;
        }
    }
    (void)pthread_rwlock_unlock(&l->lock);
    if (e == ERR_OK) *out = t;
    return e;
}

struct tenant *limits_tenant(struct limits *l, struct str name)
{
    const uint64_t hash = hash_name(name);
    (void)pthread_rwlock_rdlock(&l->lock);
    struct tenant *t = find(l, name, hash);
    (void)pthread_rwlock_unlock(&l->lock);
    if (t != NULL) return t;
    if (!catalog_knows_tenant(l->catalog, name)) return l->anonymous;
    return limits_add_tenant(l, name, &l->options.defaults, &t) == ERR_OK ? t : l->anonymous;
}

void limits_each_tenant(struct limits *l, void (*visit)(void *ctx, struct tenant *t), void *ctx)
{
    (void)pthread_rwlock_rdlock(&l->lock);
    for (size_t i = 0; i < l->n_buckets; i++)
        for (struct tenant *t = l->buckets[i]; t != NULL; t = t->next) visit(ctx, t);
    (void)pthread_rwlock_unlock(&l->lock);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static enum err add_overrides(struct limits *l, struct errmsg *em)
{
    for (size_t i = 0; i < l->options.n_overrides; i++) {
        const struct tenant_override *o = &l->options.overrides[i];
        struct tenant *t;
        if (limits_add_tenant(l, o->tenant, &o->rules, &t) != ERR_OK)
            return errmsg_set(em, ERR_NOMEM, "limits: there are too many tenants with limits of their own");
    }
    return ERR_OK;
}

enum err limits_new(struct limits **out, struct catalog *catalog, const struct limits_options *o, struct errmsg *em)
{
    struct limits *l = mem_zalloc(sizeof *l);
    if (l == NULL) return errmsg_set(em, ERR_NOMEM, "make limits");
    l->catalog = catalog;
    if (o != NULL) l->options = *o;
    if (l->options.now_ns == NULL) l->options.now_ns = clock_monotonic_ns;
    (void)pthread_rwlock_init(&l->lock, NULL); /* none of these can fail without attributes */
    (void)pthread_mutex_init(&l->store_mu, NULL);
    (void)pthread_mutex_init(&l->thread_mu, NULL);
    (void)pthread_cond_init(&l->wake, NULL);
    l->n_buckets = LIMITS_BUCKETS_MIN;
    l->buckets = mem_array(l->n_buckets, sizeof(struct tenant *));
    l->anonymous = tenant_new(STR(""), &l->options.defaults);
    enum err e = ERR_OK;
    if (l->buckets == NULL || l->anonymous == NULL) e = errmsg_set(em, ERR_NOMEM, "make limits");
    if (e == ERR_OK) e = add_overrides(l, em);
    if (e == ERR_OK && l->options.has_scorecard)
        e = scorecard_new(&l->scorecard, l->options.scorecard, l->options.n_scorecard, em);
    if (e == ERR_OK) e = usage_load(l, em);
    if (e == ERR_OK) e = usage_start(l, em);
    if (e != ERR_OK) {
        l->options.store_interval_s = 0; /* nothing was counted */
        limits_free(l);
        return e;
    }
    *out = l;
    return ERR_OK;
}

void limits_free(struct limits *l)
{
    if (l == NULL) return;
    usage_stop(l);
    for (size_t i = 0; l->buckets != NULL && i < l->n_buckets; i++) {
        while (l->buckets[i] != NULL) {
            struct tenant *next = l->buckets[i]->next;
            mem_free(l->buckets[i]);
            l->buckets[i] = next;
        }
    }
    mem_free(l->buckets);
    mem_free(l->anonymous);
    scorecard_free(l->scorecard);
    (void)pthread_cond_destroy(&l->wake);
    (void)pthread_mutex_destroy(&l->thread_mu);
    (void)pthread_mutex_destroy(&l->store_mu);
    (void)pthread_rwlock_destroy(&l->lock);
    mem_free(l);
}
