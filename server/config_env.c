/* config_env.c - CHROMA_* of the environment, and what older releases read from it.
 *
 * HAPPY PATH  CHROMA_PORT=8001 sets port, CHROMA_CIRCUIT_BREAKER__REQUESTS=10 sets circuit_breaker.requests.
 * FAILURE     a value that does not fit: ERR_INVALID. A variable of older servers that asks for an authentication which
 *             this one does not have: ERR_FORBIDDEN, because a server that ignored it would stand open where its owner
 *             believes it closed; those that mean the same here are honoured (config_env_auth.c). An empty value counts
 *             as not set, since compose files pass unset variables on as empty ones.
 * KUBERNETES  for a service named "chroma" every pod gets CHROMA_PORT=tcp://10.0.0.1:8000, CHROMA_SERVICE_HOST,
 *             CHROMA_PORT_8000_TCP and so on. They are not settings and are passed over.
 */
#include "server/config.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

static bool starts_with(struct str s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.n >= n && strncasecmp(s.p, prefix, n) == 0;
}

static bool is_name(struct str s, const char *name)
{
    return s.n == strlen(name) && strncasecmp(s.p, name, s.n) == 0;
}

/* Variables of older releases that had an effect there and have none here. */
static const char *const retired[] = {"IS_PERSISTENT",
                                      "PERSIST_DIRECTORY",
                                      "ANONYMIZED_TELEMETRY",
                                      "ALLOW_RESET",
                                      "CHROMA_SERVER_HOST",
                                      "CHROMA_SERVER_HTTP_PORT",
                                      "CHROMA_SERVER_CORS_ALLOW_ORIGINS",
                                      "CHROMA_DB_IMPL",
                                      "CHROMA_API_IMPL",
                                      "CHROMA_SERVER_NOFILE",
                                      "CHROMA_SERVER_THREAD_POOL_SIZE",
                                      "CHROMA_MEMORY_LIMIT_BYTES",
                                      "CHROMA_SEGMENT_CACHE_POLICY"};

static bool is_retired(struct str name)
{
    for (size_t i = 0; i < sizeof retired / sizeof retired[0]; i++)
        if (is_name(name, retired[i])) return true;
    return false;
}

/* Variables with our prefix that are meant for clients, for kernels' tests, or come from Kubernetes. */
static bool is_not_ours(struct str name, struct str value)
{
    static const char *const names[] = {"CHROMA_API_KEY", "CHROMA_TENANT", "CHROMA_DATABASE", "CHROMA_HOST",
                                        "CHROMA_SIMD"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (is_name(name, names[i])) return true;
    if (starts_with(name, "CHROMA_CLIENT_") || starts_with(name, "CHROMA_SERVICE_")) return true;
    if (is_name(name, "CHROMA_PORT") && starts_with(value, "tcp://")) return true;
    return starts_with(name, "CHROMA_PORT_") && name.n > 12 && isdigit((unsigned char)name.p[12]);
}

/* CIRCUIT_BREAKER__REQUESTS -> circuit_breaker.requests; 0 when it is too long to be a key. */
static size_t key_name(struct str env_name, char *out, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < env_name.n; i++) {
        if (n == cap) return 0;
        bool is_dot = i > 0 && env_name.p[i] == '_' && i + 1 < env_name.n && env_name.p[i + 1] == '_';
        out[n++] = is_dot ? '.' : (char)tolower((unsigned char)env_name.p[i]);
        if (is_dot) i++;
    }
    return n;
}

static enum err read_variable(struct config *c, struct str name, struct str value, struct errmsg *em)
{
    if (value.n == 0) return ERR_OK;
    bool is_old_auth;
    enum err e = config_set_old_auth(c, name, value, &is_old_auth, em);
    if (e != ERR_OK || is_old_auth) return e;
    if (is_retired(name)) {
        buf_printf(&c->warnings, "environment: %.*s has no effect; see docs/configuration.md\n", STR_ARG(name));
        return ERR_OK;
    }
    if (!starts_with(name, "CHROMA_") || is_not_ours(name, value)) return ERR_OK;
    char text[128], place[160];
    size_t n = key_name(str_of(name.p + 7, name.n - 7), text, sizeof text);
    const struct config_key *key = n > 0 ? config_find(str_of(text, n)) : NULL;
    if (key == NULL && n > 0 && config_is_guarded(str_of(text, n)))
        return errmsg_set(em, ERR_INVALID, "environment: %.*s: there is no such setting", STR_ARG(name));
    if (key == NULL) {
        buf_printf(&c->unknown, "%s%.*s", c->unknown.n > 0 ? ", " : "", STR_ARG(name));
        return ERR_OK;
    }
    (void)snprintf(place, sizeof place, "environment: %.*s: ", name.n < 100 ? (int)name.n : 100, name.p);
    return config_set(c, key, value, place, em);
}

enum err config_read_environment(struct config *c, char *const *environment, struct errmsg *em)
{
    for (; *environment != NULL; environment++) {
        const char *equals = strchr(*environment, '=');
        if (equals == NULL) continue;
        enum err e =
            read_variable(c, str_of(*environment, (size_t)(equals - *environment)), str_from_c(equals + 1), em);
        if (e != ERR_OK) return e;
    }
    return ERR_OK;
}
