/* auth.c - the policy: made from texts, asked by header.
 *
 * HAPPY PATH  auth_new reads users, roles, passwords; sorts the tokens' digests. A request's token is digested with the
 *             policy's key and looked for among them.
 * TIMING      what is compared are digests under a key that nobody outside knows, so how far a comparison gets tells
 *             nothing about a token; the last one is of constant time all the same.
 * FAILURE     auth_new leaves nothing behind. Texts that are wrong stop the start: a policy is never half applied.
 */
#include "api/auth_internal.h"

#include <stdlib.h>
#include <strings.h>

#include "core/hash.h"
#include "core/mem.h"

/* --- building ---------------------------------------------------------------------------------------------------- */

bool auth_find_user(const struct auth *a, struct str id, size_t *index)
{
    for (size_t i = 0; i < a->n_users; i++) {
        if (!str_eq(a->users[i].id, id)) continue;
        *index = i;
        return true;
    }
    return false;
}

enum err auth_add_user(struct auth *a, struct str id, size_t *index, struct errmsg *em)
{
    size_t bytes;
    struct str copy = arena_str(&a->arena, id);
    struct auth_user *users = NULL;
    if (copy.p != NULL && ck_mul(a->n_users + 1, sizeof *users, &bytes)) users = mem_resize(a->users, bytes);
    if (users == NULL) return errmsg_set(em, ERR_NOMEM, "out of memory");
    a->users = users;
    users[a->n_users] = (struct auth_user){.id = copy, .any_database = true};
    *index = a->n_users++;
    return ERR_OK;
}

/* What a header can carry without quoting, as in Chroma's own server. */
static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~') return false;
    return s.n > 0;
}

enum err auth_add_token(struct auth *a, size_t user, struct str token, struct errmsg *em)
{
    size_t bytes;
    if (!is_token(token))
        return errmsg_set(em, ERR_INVALID,
                          "a token must consist of ASCII letters, digits and punctuation, without "
                          "spaces");
    struct auth_token *tokens = NULL;
    if (ck_mul(a->n_tokens + 1, sizeof *tokens, &bytes)) tokens = mem_resize(a->tokens, bytes);
    if (tokens == NULL) return errmsg_set(em, ERR_NOMEM, "out of memory");
    a->tokens = tokens;
    tokens[a->n_tokens++] = (struct auth_token){auth_digest_of(a, token), (uint32_t)user};
    return ERR_OK;
}

static int compare_tokens(const void *x, const void *y)
{
    const struct auth_token *a = x, *b = y;
    return memcmp(&a->digest, &b->digest, sizeof a->digest);
}

static enum err sort_tokens(struct auth *a, struct errmsg *em)
{
    if (a->n_tokens > 1) qsort(a->tokens, a->n_tokens, sizeof *a->tokens, compare_tokens);
    for (size_t i = 1; i < a->n_tokens; i++) {
        if (compare_tokens(&a->tokens[i - 1], &a->tokens[i]) != 0) continue;
        struct str first = a->users[a->tokens[i - 1].user].id, second = a->users[a->tokens[i].user].id;
        return errmsg_set(em, ERR_INVALID, "users %.*s and %.*s: a token may be given to one user, once",
                          STR_ARG(first), STR_ARG(second));
    }
    return ERR_OK;
}

static struct str trim(struct str s)
{
    while (s.n > 0 && (s.p[s.n - 1] == '\n' || s.p[s.n - 1] == '\r' || s.p[s.n - 1] == ' ')) s.n--;
    return s;
}

static enum err read_single_token(struct auth *a, const struct auth_text *t, struct errmsg *em)
{
    size_t user;
    enum err e = auth_add_user(a, STR("anonymous"), &user, em);
    if (e == ERR_OK) e = auth_add_token(a, user, trim(t->text), em);
    if (e == ERR_OK)
        a->users[user].actions = auth_role_actions(STR("admin"));
    else
        errmsg_wrap(em, "%s", t->name);
    return e;
}

static enum err check_options(const struct auth_options *o, struct errmsg *em)
{
    bool has_token = o->token.text.p != NULL, has_users = o->users.text.p != NULL;
    bool has_passwords = o->htpasswd.text.p != NULL;
    if (o->provider == AUTH_TOKEN && has_token == has_users)
        return errmsg_set(em, ERR_INVALID, "authentication by token needs one token, or a file of users: %s",
                          has_token ? "both are given" : "neither is given");
    if (o->provider == AUTH_TOKEN && has_passwords)
        return errmsg_set(em, ERR_INVALID, "%s: passwords are given, but authentication is by token", o->htpasswd.name);
    if (o->provider == AUTH_TOKEN && has_token && o->roles.text.p != NULL)
        return errmsg_set(em, ERR_INVALID, "%s: roles need users; there is only a single token", o->roles.name);
    if (o->provider == AUTH_BASIC && !has_passwords)
        return errmsg_set(em, ERR_INVALID, "basic authentication needs an htpasswd file");
    if (o->provider == AUTH_BASIC && has_token)
        return errmsg_set(em, ERR_INVALID, "%s: a token is given, but authentication is by password", o->token.name);
    return ERR_OK;
}

static enum err read_texts(struct auth *a, const struct auth_options *o, struct errmsg *em)
{
    enum err e = ERR_OK;
    if (o->token.text.p != NULL) e = read_single_token(a, &o->token, em);
    if (e == ERR_OK && o->users.text.p != NULL) e = auth_read_users(a, &o->users, false, em);
    if (e == ERR_OK && o->roles.text.p != NULL) e = auth_read_users(a, &o->roles, true, em);
    bool has_roles = o->users.text.p != NULL || o->roles.text.p != NULL;
    size_t n_before = a->n_users;
    if (e == ERR_OK && o->htpasswd.text.p != NULL) e = auth_read_htpasswd(a, &o->htpasswd, em);
    /* Without a file of roles whoever knows a password may do everything; with one, whoever is not in it nothing. */
    for (size_t i = n_before; i < a->n_users && !has_roles; i++) a->users[i].actions = auth_role_actions(STR("admin"));
    if (e == ERR_OK) e = sort_tokens(a, em);
    return e;
}

enum err auth_new(struct auth **out, const struct auth_options *o, struct errmsg *em)
{
    if (o->provider == AUTH_NONE) {
        *out = NULL;
        return ERR_OK;
    }
    enum err e = check_options(o, em);
    if (e != ERR_OK) return e;
    struct auth *a = mem_zalloc(sizeof *a);
    if (a == NULL) return errmsg_set(em, ERR_NOMEM, "out of memory");
    a->provider = o->provider;
    a->header = o->header;
    a->replaces_defaults = o->replaces_defaults;
    random_bytes(a->key, sizeof a->key);
    e = auth_cache_init(&a->cache, em);
    if (e != ERR_OK) {
        mem_free(a);
        return e;
    }
    e = read_texts(a, o, em);
    if (e != ERR_OK) {
        auth_free(a);
        return e;
    }
    *out = a;
    return ERR_OK;
}

void auth_free(struct auth *a)
{
    if (a == NULL) return;
    CHECK(atomic_load(&a->n_pending) == 0 && "no request outlives the policy");
    auth_cache_deinit(&a->cache);
    arena_free(&a->arena);
    mem_free(a->users);
    mem_free(a->tokens);
    explicit_bzero(a, sizeof *a);
    mem_free(a);
}

/* --- asking ------------------------------------------------------------------------------------------------------ */

/* The key fills a block of the hash, so digesting costs no more for it. */
struct auth_digest auth_digest_of(const struct auth *a, struct str secret)
{
    struct auth_digest d = {{0}};
    struct sha256 s;
    sha256_init(&s);
    sha256_add(&s, a->key, sizeof a->key);
    sha256_add(&s, secret.p, secret.n);
    sha256_end(&s, d.b);
    return d;
}

static const struct auth_user *user_of_token(const struct auth *a, struct str token)
{
    struct auth_digest d = auth_digest_of(a, token);
    size_t low = 0, high = a->n_tokens;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(&a->tokens[middle].digest, &d, sizeof d) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    bool is_known = low < a->n_tokens && bytes_eq_constant_time(&a->tokens[low].digest, &d, sizeof d);
    return is_known ? &a->users[a->tokens[low].user] : NULL;
}

enum auth_result auth_identify_token(struct auth *a, const struct auth_headers *h, const struct auth_user **user)
{
    static const char bearer[] = "Bearer ";
    const size_t n = sizeof bearer - 1;
    struct str token = {NULL, 0}, s = h->authorization;
    if (a->header != AUTH_HEADER_CHROMA_TOKEN && s.p != NULL && s.n > n && strncasecmp(s.p, bearer, n) == 0)
        token = str_of(s.p + n, s.n - n);
    if (token.p == NULL && a->header != AUTH_HEADER_AUTHORIZATION) token = h->chroma_token;
    if (token.p == NULL || token.n == 0) return AUTH_BAD;
    const struct auth_user *u = user_of_token(a, token);
    if (u == NULL) return AUTH_BAD;
    *user = u;
    return AUTH_GOOD;
}

/* --- scope ------------------------------------------------------------------------------------------------------- */

bool auth_covers_tenant(const struct auth_user *u, struct str tenant)
{
    return u->tenant.p == NULL || str_eq(u->tenant, tenant);
}

bool auth_covers_database(const struct auth_user *u, struct str database)
{
    if (u->any_database) return true;
    for (uint32_t i = 0; i < u->n_databases; i++)
        if (str_eq(u->databases[i], database)) return true;
    return false;
}

bool auth_is_unbounded(const struct auth_user *u)
{
    return u->tenant.p == NULL && u->any_database;
}
