/* config_env_auth.c - the variables by which Chroma's Python server (before 1.0) was told about authentication.
 *
 * HAPPY PATH  what means the same here is taken over: the token and basic providers, their credentials, the header, the
 *             file of roles, the replacement of default names.
 * FAILURE     everything else with these prefixes stops the start (ERR_FORBIDDEN): other providers, exceptions by path,
 *             the names of still older releases, TLS. A server that passed over them would be open.
 * INVARIANT   values are never shown: they may be secrets. The names of providers are none.
 */
#include "server/config.h"

#include <strings.h>

#include "api/auth.h"

static bool is_name(struct str s, const char *name)
{
    return s.n == strlen(name) && strncasecmp(s.p, name, s.n) == 0;
}

static bool is_about_auth(struct str name)
{
    static const char *const prefixes[] = {"CHROMA_SERVER_AUTH", "CHROMA_AUTH_", "CHROMA_OVERWRITE_SINGLETON_TENANT",
                                           "CHROMA_SERVER_SSL_", "CHROMA_SERVER_USERS"};
    const size_t n_own = sizeof "CHROMA_AUTH__" - 1; /* the environment's form of our own keys: auth.* */
    if (name.n >= n_own && strncasecmp(name.p, "CHROMA_AUTH__", n_own) == 0) return false;
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        size_t n = strlen(prefixes[i]);
        if (name.n >= n && strncasecmp(name.p, prefixes[i], n) == 0) return true;
    }
    return false;
}

static enum err refuse(struct str name, const char *why, struct errmsg *em)
{
    return errmsg_set(em, ERR_FORBIDDEN,
                      "the environment sets %.*s, but %s; the server does not start, because it would be less closed "
                      "than that asks for. docs/access.md says what there is instead",
                      STR_ARG(name), why);
}

static enum err set_provider(struct config *c, struct str name, struct str value, struct errmsg *em)
{
    if (str_eq(value, STR("chromadb.auth.token_authn.TokenAuthenticationServerProvider")))
        c->auth_provider = AUTH_TOKEN;
    else if (str_eq(value, STR("chromadb.auth.basic_authn.BasicAuthenticationServerProvider")))
        c->auth_provider = AUTH_BASIC;
    else
        return refuse(name, "this server does not have that provider", em);
    return ERR_OK;
}

static enum err set_text(struct config *c, const char **member, struct str value, struct errmsg *em)
{
    const char *copy = arena_cstr(&c->arena, value);
    if (copy == NULL) return errmsg_set(em, ERR_NOMEM, "read the environment");
    *member = copy;
    return ERR_OK;
}

enum err config_set_old_auth(struct config *c, struct str name, struct str value, bool *is_known, struct errmsg *em)
{
    *is_known = is_about_auth(name);
    if (!*is_known) return ERR_OK;
    if (is_name(name, "CHROMA_SERVER_AUTHN_PROVIDER")) return set_provider(c, name, value, em);
    if (is_name(name, "CHROMA_SERVER_AUTHN_CREDENTIALS")) return set_text(c, &c->old_credentials, value, em);
    if (is_name(name, "CHROMA_SERVER_AUTHN_CREDENTIALS_FILE")) return set_text(c, &c->old_credentials_file, value, em);
    if (is_name(name, "CHROMA_AUTH_TOKEN_TRANSPORT_HEADER"))
        return config_set(c, config_find(STR("auth.token_header")), value, "CHROMA_AUTH_TOKEN_TRANSPORT_HEADER: ", em);
    if (is_name(name, "CHROMA_SERVER_AUTHZ_PROVIDER")) {
        if (!str_eq(value, STR("chromadb.auth.simple_rbac_authz.SimpleRBACAuthorizationProvider")))
            return refuse(name, "this server does not have that provider", em);
        c->old_wants_roles = true;
        return ERR_OK;
    }
    if (is_name(name, "CHROMA_SERVER_AUTHZ_CONFIG")) return set_text(c, &c->old_roles, value, em);
    if (is_name(name, "CHROMA_SERVER_AUTHZ_CONFIG_FILE")) return set_text(c, &c->auth_roles_file, value, em);
    if (is_name(name, "CHROMA_OVERWRITE_SINGLETON_TENANT_DATABASE_ACCESS_FROM_AUTH"))
        return config_set(c, config_find(STR("auth.replace_defaults")), value,
                          "CHROMA_OVERWRITE_SINGLETON_TENANT_DATABASE_ACCESS_FROM_AUTH: ", em);
    return refuse(name, "this server has no such setting", em);
}
