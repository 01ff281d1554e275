/* config.c - values into struct config: text to number, flag, list, level, each within its range.
 *
 * FAILURE    a value that does not fit is refused with its key, its place and what would fit; nothing is guessed.
 * INVARIANT  after config_init every member holds its default from the table.
 */
#include "server/config.h"

#include <stdio.h>
#include <strings.h>

#include "api/auth.h"
#include "core/mem.h"

static void *config_member(struct config *c, const struct config_key *key)
{
    return (char *)c + key->offset;
}

bool config_parse_number(struct str s, uint64_t *v)
{
    uint64_t sum = 0;
    if (s.n == 0) return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return false;
        if (__builtin_mul_overflow(sum, 10u, &sum) || __builtin_add_overflow(sum, (uint64_t)(s.p[i] - '0'), &sum))
            return false;
    }
    *v = sum;
    return true;
}

static bool is_word(struct str s, const char *word)
{
    return s.n == strlen(word) && strncasecmp(s.p, word, s.n) == 0;
}

static bool parse_bool(struct str s, bool *v)
{
    static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < 4; i++) {
        if (is_word(s, yes[i]) || is_word(s, no[i])) {
            *v = is_word(s, yes[i]);
            return true;
        }
    }
    return false;
}

static bool parse_level(struct str s, enum log_level *v)
{
    static const char *const names[] = {"debug", "info", "warn", "error", "none"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (is_word(s, names[i])) {
            *v = (enum log_level)i;
            return true;
        }
    }
    return false;
}

static enum err config_set_text(struct config *c, const struct config_key *key, struct str value, const char *place,
                                struct errmsg *em)
{
    if (value.n == 0) return errmsg_set(em, ERR_INVALID, "%s%s: must not be empty", place, key->name);
    if (memchr(value.p, '\0', value.n) != NULL)
        return errmsg_set(em, ERR_INVALID, "%s%s: must not contain a NUL byte", place, key->name);
    const char *copy = arena_cstr(&c->arena, value);
    if (copy == NULL) return errmsg_set(em, ERR_NOMEM, "%s%s", place, key->name);
    *(const char **)config_member(c, key) = copy;
    return ERR_OK;
}

static enum err config_set_word(struct config *c, const struct config_key *key, struct str value, const char *place,
                                struct errmsg *em)
{
    struct buf all = {.max = 256};
    for (int i = 0; key->words[i] != NULL; i++) {
        if (is_word(value, key->words[i])) {
            *(int *)config_member(c, key) = i;
            buf_free(&all);
            return ERR_OK;
        }
        buf_printf(&all, "%s%s", i > 0 ? ", " : "", key->words[i]);
    }
    (void)errmsg_set(em, ERR_INVALID, "%s%s: expected one of %.*s; found \"%.*s\"", place, key->name,
                     STR_ARG(buf_view(&all)), value.n < 64 ? (int)value.n : 64, value.p);
    buf_free(&all);
    return ERR_INVALID;
}

enum err config_set(struct config *c, const struct config_key *key, struct str value, const char *place,
                    struct errmsg *em)
{
    uint64_t number;
    switch (key->type) {
    case CONFIG_WORD:
        return config_set_word(c, key, value, place, em);
    case CONFIG_OPTIONAL:
    case CONFIG_TEXT:
        return config_set_text(c, key, value, place, em);
    case CONFIG_NUMBER:
        if (!config_parse_number(value, &number) || number < key->min || number > key->max)
            return errmsg_set(em, ERR_INVALID, "%s%s: expected a whole number from %llu to %llu, found \"%.*s\"", place,
                              key->name, (unsigned long long)key->min, (unsigned long long)key->max,
                              value.n < 64 ? (int)value.n : 64, value.p);
        *(uint64_t *)config_member(c, key) = number;
        return ERR_OK;
    case CONFIG_BOOL:
        if (parse_bool(value, (bool *)config_member(c, key))) return ERR_OK;
        return errmsg_set(em, ERR_INVALID, "%s%s: expected true or false, found \"%.*s\"", place, key->name,
                          value.n < 64 ? (int)value.n : 64, value.p);
    case CONFIG_LEVEL:
        if (parse_level(value, (enum log_level *)config_member(c, key))) return ERR_OK;
        return errmsg_set(em, ERR_INVALID, "%s%s: expected debug, info, warn, error or none, found \"%.*s\"", place,
                          key->name, value.n < 64 ? (int)value.n : 64, value.p);
    case CONFIG_LIST:
        return config_set_yaml_list(c, key, value, place, em);
    case CONFIG_RULES:
        return config_set_yaml_rules(c, key, value, place, em);
    case CONFIG_NO_EFFECT:
        buf_printf(&c->warnings, "%s%s is accepted, but has no effect in this server\n", place, key->name);
        return ERR_OK;
    }
    panic("key %s has no type", key->name);
}

enum err config_set_list(struct config *c, const struct config_key *key, const struct str *items, uint32_t n,
                         struct errmsg *em)
{
    CHECK(key->type == CONFIG_LIST && key->offset == offsetof(struct config, cors_allow_origins) &&
          "the count's place is known for this list only");
    struct str *copy = arena_array(&c->arena, n > 0 ? n : 1, sizeof *copy);
    if (copy == NULL) return errmsg_set(em, ERR_NOMEM, "%s", key->name);
    for (uint32_t i = 0; i < n; i++) {
        copy[i] = arena_str(&c->arena, items[i]);
        if (copy[i].p == NULL) return errmsg_set(em, ERR_NOMEM, "%s", key->name);
    }
    c->cors_allow_origins = copy;
    c->n_cors_allow_origins = n;
    return ERR_OK;
}

enum err config_init(struct config *c, struct errmsg *em)
{
    *c = (struct config){.warnings = {.max = 65536}, .unknown = {.max = 4096}};
    for (size_t i = 0; i < config_n_keys; i++) {
        const struct config_key *k = &config_keys[i];
        if (k->initial == NULL || k->type == CONFIG_LIST || k->type == CONFIG_RULES) continue;
        enum err e = config_set(c, k, str_from_c(k->initial), "default of ", em);
        CHECK((e == ERR_OK || e == ERR_NOMEM) && "the table's defaults are within its own ranges");
        if (e != ERR_OK) {
            config_free(c);
            return e;
        }
    }
    return ERR_OK;
}

/* Contradictions stop the start: whichever half is meant, the other may be what keeps strangers out. */
static enum err check_auth(const struct config *c, struct errmsg *em)
{
    const struct {
        const char *name, *value;
        bool token, basic; /* providers that it is for */
    } texts[] = {{"auth.token", c->auth_token, true, false},
                 {"auth.token_file", c->auth_token_file, true, false},
                 {"auth.users_file", c->auth_users_file, true, true},
                 {"auth.roles_file", c->auth_roles_file, true, true},
                 {"auth.htpasswd_file", c->auth_htpasswd_file, false, true},
                 {"CHROMA_SERVER_AUTHN_CREDENTIALS", c->old_credentials, true, true},
                 {"CHROMA_SERVER_AUTHN_CREDENTIALS_FILE", c->old_credentials_file, true, true},
                 {"CHROMA_SERVER_AUTHZ_CONFIG", c->old_roles, true, true}};
    bool is_token = c->auth_provider == AUTH_TOKEN, is_basic = c->auth_provider == AUTH_BASIC;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (texts[i].value != NULL && !(is_token && texts[i].token) && !(is_basic && texts[i].basic))
            return errmsg_set(em, ERR_INVALID, "%s is set, but auth.provider is %s", texts[i].name,
                              is_token   ? "token"
                              : is_basic ? "basic"
                                         : "none");
    bool has_roles = c->auth_roles_file != NULL || c->old_roles != NULL;
    if (c->auth_roles_file != NULL && c->old_roles != NULL) return errmsg_set(em, ERR_INVALID, "roles are given twice");
    if (c->old_wants_roles && !has_roles)
        return errmsg_set(em, ERR_INVALID, "CHROMA_SERVER_AUTHZ_PROVIDER is set, but no file of roles");
    int n_token = (c->auth_token != NULL) + (c->auth_token_file != NULL) + (c->auth_users_file != NULL);
    int n_old = (c->old_credentials != NULL) + (c->old_credentials_file != NULL);
    if (is_token && n_token + n_old != 1)
        return errmsg_set(em, ERR_INVALID,
                          "auth.provider is token: exactly one of auth.token, auth.token_file and auth.users_file must "
                          "be set");
    if (is_basic && (c->auth_htpasswd_file != NULL) + n_old != 1)
        return errmsg_set(em, ERR_INVALID, "auth.provider is basic: auth.htpasswd_file must be set");
    if (c->auth_replace_defaults && !is_token && !is_basic)
        return errmsg_set(em, ERR_INVALID, "auth.replace_defaults is set, but auth.provider is none");
    if ((c->tls_cert_file == NULL) != (c->tls_key_file == NULL))
        return errmsg_set(em, ERR_INVALID, "tls.cert_file and tls.key_file must be set together");
    return ERR_OK;
}

enum err config_check(const struct config *c, struct errmsg *em)
{
    for (uint32_t i = 0; i < c->n_cors_allow_origins; i++)
        if (str_eq(c->cors_allow_origins[i], STR("*")) && c->n_cors_allow_origins > 1)
            return errmsg_set(em, ERR_INVALID, "cors_allow_origins: \"*\" must stand alone, not beside other origins");
    enum err e = check_auth(c, em);
    if (e != ERR_OK) return e;
    if (c->body_memory_bytes < c->max_payload_size_bytes)
        return errmsg_set(em, ERR_INVALID, "body_memory_bytes (%llu) is below max_payload_size_bytes (%llu)",
                          (unsigned long long)c->body_memory_bytes, (unsigned long long)c->max_payload_size_bytes);
    return ERR_OK;
}

void config_free(struct config *c)
{
    buf_free(&c->warnings);
    buf_free(&c->unknown);
    arena_free(&c->arena);
    *c = (struct config){0};
}
