/* auth_cache.c - credentials that bcrypt has judged, so that it is asked once in some minutes and not by every request.
 *
 * A digest belongs to one set of four places. A new entry takes a place that is empty or expired, else one of a wrong
 * password, else the one that expires first; a wrong password never drives out a right one, so guessing cannot make
 * the others' requests slow.
 * INVARIANT  the entries hold digests under the policy's key, never a secret.
 */
#include "api/auth_internal.h"

enum err auth_cache_init(struct auth_cache *c, struct errmsg *em)
{
    int err_no = pthread_mutex_init(&c->mu, NULL);
    return err_no == 0 ? ERR_OK : errmsg_errno(em, err_no, "make a lock");
}

void auth_cache_deinit(struct auth_cache *c)
{
    (void)pthread_mutex_destroy(&c->mu);
}

static struct auth_cache_entry *set_of(struct auth_cache *c, const struct auth_digest *d)
{
    return c->entries[d->b[0] % AUTH_CACHE_SETS];
}

static struct auth_cache_entry *find(struct auth_cache *c, const struct auth_digest *d)
{
    struct auth_cache_entry *set = set_of(c, d);
    for (size_t i = 0; i < AUTH_CACHE_WAYS; i++)
        if (set[i].expires_s != 0 && bytes_eq_constant_time(&set[i].digest, d, sizeof *d)) return &set[i];
    return NULL;
}

bool auth_cache_get(struct auth_cache *c, const struct auth_digest *d, uint64_t now_s, struct auth_cache_entry *out)
{
    (void)pthread_mutex_lock(&c->mu);
    const struct auth_cache_entry *e = find(c, d);
    bool is_known = e != NULL && e->expires_s > now_s;
    if (is_known) *out = *e;
    (void)pthread_mutex_unlock(&c->mu);
    return is_known;
}

/* Small is replaced first. */
static unsigned worth(const struct auth_cache_entry *e, uint64_t now_s)
{
    if (e->expires_s <= now_s) return 0;
    return e->is_good ? 2 : 1;
}

void auth_cache_put(struct auth_cache *c, const struct auth_cache_entry *e, uint64_t now_s)
{
    (void)pthread_mutex_lock(&c->mu);
    struct auth_cache_entry *place = find(c, &e->digest), *set = set_of(c, &e->digest);
    if (place == NULL) {
        place = &set[0];
        for (size_t i = 1; i < AUTH_CACHE_WAYS; i++) {
            unsigned a = worth(&set[i], now_s), b = worth(place, now_s);
            if (a < b || (a == b && set[i].expires_s < place->expires_s)) place = &set[i];
        }
        if (!e->is_good && worth(place, now_s) == 2) place = NULL;
    }
    if (place != NULL) *place = *e;
    (void)pthread_mutex_unlock(&c->mu);
}
