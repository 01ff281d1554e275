/* config.h - everything that can be set, from one table: the parser, the help, chroma.conf and its test read it.
 *
 *   default  <  file (YAML)  <  environment (CHROMA_<KEY>, "__" for ".")  <  flags
 *
 * Keys that upstream's server knows and this one does not need are accepted; unknown ones are remembered, so that one
 * warning names them all. A value that does not fit stops the start: ERR_INVALID, with key, value and place.
 * THREADS  the one that starts the program.
 */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include "api/limits.h"
#include "core/arena.h"
#include "core/buf.h"
#include "core/logger.h"

struct config {
    const char *persist_path;
    const char *listen_address;
    const char *sqlite_filename;
    const struct str *cors_allow_origins;
    uint32_t n_cors_allow_origins;
    bool allow_reset, ephemeral;
    uint64_t port;
    uint64_t max_payload_size_bytes;
    uint64_t circuit_breaker_requests;
    uint64_t threads;
    uint64_t loops;
    uint64_t busy_poll_us;
    uint64_t connection_limit;
    uint64_t idle_timeout_s, request_timeout_s;
    uint64_t body_memory_bytes, request_memory_bytes;
    uint64_t flush_rows, flush_bytes, log_bytes;
    uint64_t memory_budget_bytes, close_after_s;
    uint64_t scrub_bytes_per_s, scrub_interval_s, recall_sample_s;
    enum log_level log_level;
    bool metrics;
    const char *request_log; /* "none", "-" or a path */
    uint64_t slow_request_ms;

    /* who may do what (server/access.h); NULL: not set */
    int auth_provider;     /* enum auth_provider */
    int auth_token_header; /* enum auth_header */
    const char *auth_token, *auth_token_file, *auth_users_file, *auth_roles_file, *auth_htpasswd_file;
    bool auth_replace_defaults;
    const char *tls_cert_file, *tls_key_file;
    /* from variables of Chroma's older servers only */
    const char *old_credentials, *old_credentials_file, *old_roles;
    bool old_wants_roles;

    /* what a tenant may use (api/limits.h, server/limits_file.h) */
    struct tenant_rules limits; /* of tenants that have none of their own */
    const char *limits_file;    /* NULL: none */
    uint64_t usage_store_interval_s;
    bool scorecard_enabled;
    const struct scorecard_rule *scorecard; /* n_scorecard of them */
    size_t n_scorecard;

    struct buf warnings; /* lines to be logged once the log level is known */
    struct buf unknown;  /* ", "-separated names of keys that nobody knows */
    struct arena arena;  /* owns the texts above */
};

enum config_type {
    CONFIG_TEXT,
    CONFIG_NUMBER,
    CONFIG_BOOL,
    CONFIG_LIST,
    CONFIG_LEVEL,
    CONFIG_NO_EFFECT,
    CONFIG_OPTIONAL, /* a text that may be absent (NULL); never shown, it may be a secret */
    CONFIG_WORD,     /* one of `words`, kept as its number */
    CONFIG_RULES     /* the scorecard's: a list of {patterns: [texts], score: number} */
};

struct config_key {
    const char *name; /* dotted */
    enum config_type type;
    size_t offset;            /* of its member in struct config */
    uint64_t min, max;        /* numbers */
    const char *initial;      /* its default, as it would be written; NULL: none */
    const char *flag;         /* of `chroma run`, or NULL */
    const char *flag_value;   /* what the flag wants, as shown in the help; NULL: nothing */
    const char *help;         /* what it is, and its effect; lines separated by \n */
    const char *const *words; /* NULL at the end; letters' case does not matter */
};

extern const struct config_key config_keys[];
extern const size_t config_n_keys;

/* NULL: no such key. A key below one without effect ("open_telemetry.endpoint") finds that one. */
const struct config_key *config_find(struct str name);

/* All defaults. ERR_NOMEM. */
enum err config_init(struct config *c, struct errmsg *em);
void config_free(struct config *c);

/* Sets one key from text; lists are comma-separated or written as YAML ("[a, b]"). `place` begins the message. */
enum err config_set(struct config *c, const struct config_key *key, struct str value, const char *place,
                    struct errmsg *em);
enum err config_set_list(struct config *c, const struct config_key *key, const struct str *items, uint32_t n,
                         struct errmsg *em);

/* A configuration file's text. `name` is for messages. (config_yaml.c) */
enum err config_read_yaml(struct config *c, struct str text, const char *name, struct errmsg *em);
/* The scorecard's rules as YAML text. */
enum err config_set_yaml_rules(struct config *c, const struct config_key *key, struct str text, const char *place,
                               struct errmsg *em);
/* A YAML list or scalar, as environment variables hold lists. */
enum err config_set_yaml_list(struct config *c, const struct config_key *key, struct str text, const char *place,
                              struct errmsg *em);

/* The whole file at `path`. ERR_NOT_FOUND and others of vfs.h; ERR_INVALID. (config_file.c) */
enum err config_read_file(struct config *c, const char *path, struct errmsg *em);

/* A whole number in decimal digits. */
bool config_parse_number(struct str s, uint64_t *v);

/* A setting below a group that guards the server must not be misspelt: it is an error, not a warning. */
bool config_is_guarded(struct str name);

/* CHROMA_* of `environment` (NAME=value texts, NULL at the end). ERR_FORBIDDEN: it asks for an authentication that this
 * server cannot give, so it must not start open. (config_env.c) */
enum err config_read_environment(struct config *c, char *const *environment, struct errmsg *em);

/* Variables by which older servers were told about authentication; *is_known: it was one. (config_env_auth.c) */
enum err config_set_old_auth(struct config *c, struct str name, struct str value, bool *is_known, struct errmsg *em);

/* What only several keys together can get wrong; to be called last. */
enum err config_check(const struct config *c, struct errmsg *em);

/* Writes chroma.conf: every key with its help and its default. (config_help.c) */
void config_write_example(struct buf *out);
/* The flags of `chroma run`, a line each. */
void config_write_flags(struct buf *out);

#endif
