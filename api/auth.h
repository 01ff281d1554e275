/* auth.h - who may do what: a policy made at the start from texts, immutable afterwards.
 *
 * IDENTITY  a token, or a name with a password, makes the caller one of the policy's users. A user has a role (a set of
 *           actions, named as Chroma names them) and a scope: one tenant or all, some databases or all.
 * SCOPE     is decided from the path alone, before anything is looked up, so that an answer never tells whether what
 *           lies outside of it exists: 403 in either case. What concerns more than a tenant (reset, creating tenants)
 *           needs a user without bounds.
 * SECRETS   tokens are kept as keyed digests, passwords as the bcrypt hashes they were given as. Nothing of either is
 *           ever part of a message; `auth_new` names lines and users.
 * THREADS   auth_new, auth_free: one. Everything else: any thread.
 */
#ifndef API_AUTH_H
#define API_AUTH_H

#include "core/bytes.h"
#include "core/err.h"

struct auth;

enum auth_provider {
    AUTH_NONE,  /* everybody may do everything */
    AUTH_TOKEN, /* "Authorization: Bearer T" or "X-Chroma-Token: T" */
    AUTH_BASIC, /* "Authorization: Basic base64(name:password)" */
};

enum auth_header { AUTH_HEADER_ANY, AUTH_HEADER_AUTHORIZATION, AUTH_HEADER_CHROMA_TOKEN };

/* A text to be read, and what to call it in messages (a file's name). .text.p == NULL: none. */
struct auth_text {
    struct str text;
    const char *name;
};

struct auth_options { /* nothing is kept */
    enum auth_provider provider;
    enum auth_header header;   /* where tokens are looked for */
    struct auth_text token;    /* one token: user "anonymous", everything allowed */
    struct auth_text users;    /* YAML: users (id, tokens, tenant, databases, role), roles_mapping */
    struct auth_text roles;    /* YAML of the same form, read after `users`: gives users their roles. Users who are not
                                  in it may do nothing */
    struct auth_text htpasswd; /* lines "name:bcrypt hash" */
    bool replaces_defaults;    /* default_tenant, default_database in a path mean the caller's only ones */
};

/* ERR_INVALID: the texts are wrong, or do not fit the provider. ERR_NOMEM. With AUTH_NONE *a is NULL. */
enum err auth_new(struct auth **a, const struct auth_options *o, struct errmsg *em);
void auth_free(struct auth *a); /* NULL is fine */

#endif
