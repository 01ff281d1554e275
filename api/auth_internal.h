/* auth_internal.h - what the files of the policy share, and what the api asks of it. See auth.h.
 */
#ifndef API_AUTH_INTERNAL_H
#define API_AUTH_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "api/auth.h"
#include "api/auth_action.h"
#include "core/arena.h"
#include "core/sha256.h"

enum {
    AUTH_CACHE_SETS = 256,
    AUTH_CACHE_WAYS = 4,
    AUTH_GOOD_S = 300,     /* how long a verified password is remembered */
    AUTH_BAD_S = 10,       /* and a wrong one */
    AUTH_PENDING_MAX = 16, /* requests that wait for, or are in, the verification of a password; more: 503 */
};

struct auth_digest {
    uint8_t b[SHA256_BYTES];
};

struct auth_user {
    struct str id;
    struct str tenant;     /* .p == NULL: any */
    struct str *databases; /* n_databases of them, unless any_database */
    uint32_t n_databases;
    bool any_database;
    auth_actions actions;
    const char *hash; /* bcrypt, or NULL: has no password */
};

struct auth_token {
    struct auth_digest digest;
    uint32_t user;
};

/* Verified credentials, by keyed digest: a small set-associative table, so that its size is bounded by construction. */
struct auth_cache_entry {
    struct auth_digest digest;
    uint64_t expires_s; /* 0: empty */
    uint32_t user;
    bool is_good;
};

struct auth_cache {
    pthread_mutex_t mu; /* held for some comparisons only: the loop takes it */
    struct auth_cache_entry entries[AUTH_CACHE_SETS][AUTH_CACHE_WAYS];
};

struct auth {
    /* immutable after auth_new */
    enum auth_provider provider;
    enum auth_header header;
    bool replaces_defaults;
    struct auth_user *users;
    size_t n_users;
    struct auth_token *tokens; /* by digest */
    size_t n_tokens;
    struct arena arena; /* texts of the users */
    uint8_t key[SHA256_BLOCK];

    struct auth_cache cache;
    atomic_uint n_pending;
};

enum auth_result {
    AUTH_GOOD,
    AUTH_BAD,
    AUTH_UNVERIFIED, /* a password that only auth_verify can judge, which is slow */
    AUTH_SHORT,      /* of memory, or too many verifications at a time */
};

/* The two headers as received; .p == NULL: absent. */
struct auth_headers {
    struct str authorization, chroma_token;
};

/* Neither blocks; the provider says which. AUTH_GOOD: *user is set. The second answers from memory what it can. */
enum auth_result auth_identify_token(struct auth *a, const struct auth_headers *h, const struct auth_user **user);
enum auth_result auth_identify_basic(struct auth *a, const struct auth_headers *h, const struct auth_user **user);
/* After AUTH_UNVERIFIED; takes as long as bcrypt does (about 0.1 s). Not on the loop. */
enum auth_result auth_verify_basic(struct auth *a, const struct auth_headers *h, const struct auth_user **user);

bool auth_covers_tenant(const struct auth_user *u, struct str tenant);
bool auth_covers_database(const struct auth_user *u, struct str database);
bool auth_is_unbounded(const struct auth_user *u); /* any tenant, any database */

/* auth.c, for the readers */
enum err auth_add_user(struct auth *a, struct str id, size_t *index, struct errmsg *em);
bool auth_find_user(const struct auth *a, struct str id, size_t *index);
enum err auth_add_token(struct auth *a, size_t user, struct str token, struct errmsg *em);
struct auth_digest auth_digest_of(const struct auth *a, struct str secret);

/* auth_users.c: `is_roles` as in auth_options.roles */
enum err auth_read_users(struct auth *a, const struct auth_text *t, bool is_roles, struct errmsg *em);

/* auth_basic.c */
enum err auth_read_htpasswd(struct auth *a, const struct auth_text *t, struct errmsg *em);

/* auth_cache.c. False from get: not known, or not any more. */
enum err auth_cache_init(struct auth_cache *c, struct errmsg *em);
void auth_cache_deinit(struct auth_cache *c);
bool auth_cache_get(struct auth_cache *c, const struct auth_digest *d, uint64_t now_s, struct auth_cache_entry *out);
void auth_cache_put(struct auth_cache *c, const struct auth_cache_entry *e, uint64_t now_s);

#endif
