/* config_table.c - the one table of what can be set. Adding a key is adding a row here, a member in struct config, and
 * running `chroma help config > chroma.conf` (a test holds the file to the table).
 */
#include "server/config.h"

#define AT(member) offsetof(struct config, member)
#define NO_EFFECT(name)                                                                                                \
    {                                                                                                                  \
        name, CONFIG_NO_EFFECT, 0, 0, 0, NULL, NULL, NULL, NULL, NULL                                                  \
    }

#define OPTIONAL(name, member, help)                                                                                   \
    {                                                                                                                  \
        name, CONFIG_OPTIONAL, AT(member), 0, 0, NULL, NULL, NULL, help, NULL                                          \
    }

#define RATE(name, member, help)                                                                                       \
    {                                                                                                                  \
        "rate_limit." name, CONFIG_NUMBER, AT(limits.member), 0, RATE_MAX, "0", NULL, NULL, help, NULL                 \
    }

#define QUOTA_ROW_(code, key, name, text)                                                                              \
    {"quota." key,                                                                                                     \
     CONFIG_NUMBER,                                                                                                    \
     AT(limits.quotas[QUOTA_##code]),                                                                                  \
     0,                                                                                                                \
     UINT32_MAX,                                                                                                       \
     "0",                                                                                                              \
     NULL,                                                                                                             \
     NULL,                                                                                                             \
     text "\nMore are refused with 422. 0: no quota.",                                                                 \
     NULL},

/* In the order of enum auth_provider and enum auth_header. */
static const char *const providers[] = {"none", "token", "basic", NULL};
static const char *const headers[] = {"any", "Authorization", "X-Chroma-Token", NULL};

const struct config_key config_keys[] = {
    {"persist_path", CONFIG_TEXT, AT(persist_path), 0, 0, "./chroma", "--path", "DIR",
     "The directory of the data. It is made if it is absent, and one server at a time may use it.\n"
     "A relative path starts at the working directory."},
    {"listen_address", CONFIG_TEXT, AT(listen_address), 0, 0, "0.0.0.0", "--host", "HOST",
     "The address or name to listen on: 127.0.0.1 for this machine only, 0.0.0.0 for every IPv4 address, :: for every\n"
     "address of both kinds. Without a configuration file the default is localhost. Unless auth.provider is set,\n"
     "whoever reaches the port may read and write everything."},
    {"port", CONFIG_NUMBER, AT(port), 0, 65535, "8000", "--port", "PORT",
     "The TCP port. 0 takes any free one; the line \"Connect to Chroma at\" then names it."},
    {"ephemeral", CONFIG_BOOL, AT(ephemeral), 0, 0, "false", "--ephemeral", NULL,
     "Keeps everything in memory and nothing on disk; persist_path is not touched. All is gone when the server stops."},
    {"allow_reset", CONFIG_BOOL, AT(allow_reset), 0, 0, "false", NULL, NULL,
     "Whether POST /api/v2/reset may delete everything. If false it is answered with 403."},
    {"max_payload_size_bytes", CONFIG_NUMBER, AT(max_payload_size_bytes), 1, UINT64_C(4294967295), "41943040", NULL,
     NULL,
     "The largest body of a request, in bytes. A larger one is answered with 413. A request needs a small multiple of\n"
     "its body's size in memory while it is served."},
    {"cors_allow_origins", CONFIG_LIST, AT(cors_allow_origins), 0, 0, "[]", NULL, NULL,
     "Web pages of these origins may use the server from a browser, for example [\"https://app.example.com\"].\n"
     "[\"*\"] alone allows every origin. Empty: no CORS headers are sent."},
    {"circuit_breaker.requests", CONFIG_NUMBER, AT(circuit_breaker_requests), 0, 1000000, "0", NULL, NULL,
     "At most so many requests are in progress at a time, counted from their headers to the end of their answer; what\n"
     "comes on top is answered with 429. 0: no such limit."},
    {"sqlite_filename", CONFIG_TEXT, AT(sqlite_filename), 0, 0, "chroma.sqlite3", NULL, NULL,
     "The name of the database that Chroma's own server would keep in persist_path. This server does not write it; if\n"
     "the file is there, the directory belongs to the other server, and the start is refused."},
    {"threads", CONFIG_NUMBER, AT(threads), 0, 1024, "0", NULL, NULL,
     "Threads that parse and answer requests, beside one for the network, one for the log and one that builds "
     "indexes.\n"
     "0: one for each processor that the process may use, at least two."},
    {"loops", CONFIG_NUMBER, AT(loops), 1, 1, "1", NULL, NULL,
     "Threads that drive the network. Only 1 is supported at present."},
    {"busy_poll_us", CONFIG_NUMBER, AT(busy_poll_us), 0, 10000, "500", NULL, NULL,
     "The network's thread and one of those that answer look for work for up to so many microseconds before they\n"
     "sleep, if it came as soon as that lately: a thread that sleeps is woken late, above all on a virtual machine. "
     "It\n"
     "costs processor time while requests follow one another closely, and next to none else. 0, or fewer than two\n"
     "processors: they sleep at once."},
    {"connection_limit", CONFIG_NUMBER, AT(connection_limit), 1, 1000000, "4096", NULL, NULL,
     "Connections at a time. Further ones wait until one closes. Lowered at the start, with a warning, if the process\n"
     "may not open so many files."},
    {"idle_timeout_s", CONFIG_NUMBER, AT(idle_timeout_s), 1, 86400, "60", NULL, NULL,
     "A connection on which nothing moves for so many seconds is closed. It does not limit how long the server works "
     "on\n"
     "a request. A proxy in front should keep its connections for a shorter time than this."},
    {"request_timeout_s", CONFIG_NUMBER, AT(request_timeout_s), 1, 86400, "300", NULL, NULL,
     "The seconds that a client may take to send the body of a request, and at least that long to receive the answer\n"
     "(plus a second for each 64 KiB of it). A slower client is cut off, also when it keeps sending."},
    {"body_memory_bytes", CONFIG_NUMBER, AT(body_memory_bytes), 1048576, UINT64_C(1099511627776), "1073741824", NULL,
     NULL,
     "The bodies of all requests that are being received or served may use so many bytes together. Beyond it requests\n"
     "with a body are answered with 503. Must be at least max_payload_size_bytes."},
    {"request_memory_bytes", CONFIG_NUMBER, AT(request_memory_bytes), 0, UINT64_C(1099511627776), "0", NULL, NULL,
     "What requests make of their bodies, their results, and answers until they are sent may use so many bytes\n"
     "together, beside the bodies themselves. A request that would need more is answered with 503; 64 KiB of each are\n"
     "not counted, so that small ones are always served. 0: a quarter of the machine's memory, or of what the\n"
     "process's control group may use. See docs/operations.md."},
    {"flush_rows", CONFIG_NUMBER, AT(flush_rows), 64, 16777216, "8192", NULL, NULL,
     "So many new rows of a collection stay in memory before they are written to an index file. Fewer: less memory "
     "and\n"
     "a faster start; more: fewer and larger files."},
    {"flush_bytes", CONFIG_NUMBER, AT(flush_bytes), 65536, UINT64_C(1073741824), "25165824", NULL, NULL,
     "Or so many bytes of them, whichever comes first."},
    {"log_bytes", CONFIG_NUMBER, AT(log_bytes), 1048576, UINT64_C(1099511627776), "134217728", NULL, NULL,
     "When the log holds more bytes than this, collections that are quiet are written to index files too, so that the\n"
     "log can be cut. It bounds what is read again at the next start."},
    {"memory_budget_bytes", CONFIG_NUMBER, AT(memory_budget_bytes), 0, UINT64_C(1152921504606846976), "0", NULL, NULL,
     "What records may use of the memory, in bytes: a quarter for rows that are not in an index file yet (beyond it "
     "the\n"
     "largest collections are written out, and writers wait), the rest for index files that are mapped (beyond it the\n"
     "least recently used collections are closed, and opened again when they are used). 0: half of the machine's "
     "memory,\n"
     "or of what the process's control group may use. See docs/operations.md."},
    {"close_after_s", CONFIG_NUMBER, AT(close_after_s), 0, 31536000, "60", NULL, NULL,
     "A collection that nobody has used for so many seconds is closed: it keeps no memory and no mapped file, and the\n"
     "next request opens it again. 0: only memory_budget_bytes closes collections."},
    {"scrub_bytes_per_s", CONFIG_NUMBER, AT(scrub_bytes_per_s), 0, UINT64_C(1099511627776), "4194304", NULL, NULL,
     "All index files are read again and again in the background, so many bytes a second, to find damage before it is\n"
     "served. A damaged index is made again from the records; damaged records are told in the log and in /metrics.\n"
     "0: only what is used is checked."},
    {"scrub_interval_s", CONFIG_NUMBER, AT(scrub_interval_s), 1, 31536000, "259200", NULL, NULL,
     "So many seconds lie between the beginning of one reading of everything and the next, or more if it takes "
     "longer."},
    {"recall_sample_s", CONFIG_NUMBER, AT(recall_sample_s), 0, 31536000, "900", NULL, NULL,
     "Every so many seconds one record of each collection that was used meanwhile is searched for twice, through the "
     "index\n"
     "and exactly; /metrics tells how many neighbours the index found (chroma_recall). 0: never."},
    {"log_level", CONFIG_LEVEL, AT(log_level), 0, 0, "info", NULL, NULL,
     "What is told on stderr: debug, info, warn, error or none."},
    {"request_log", CONFIG_TEXT, AT(request_log), 0, 0, "none", NULL, NULL,
     "Where every request is told, one JSON object a line: none, a file, or - for stderr. The file is appended to, "
     "and\n"
     "opened anew at SIGHUP. See docs/operations.md."},
    {"slow_request_ms", CONFIG_NUMBER, AT(slow_request_ms), 0, 86400000, "0", NULL, NULL,
     "Requests that took at least so many milliseconds are told on stderr even if request_log is none. 0: they are "
     "not."},
    {"metrics", CONFIG_BOOL, AT(metrics), 0, 0, "true", NULL, NULL,
     "Whether GET /metrics answers with counters and gauges in Prometheus' text format. If false it is answered with "
     "404.\n"
     "With auth.provider it needs the action system:metrics and a caller who is not bound to a tenant."},
    {"auth.provider", CONFIG_WORD, AT(auth_provider), 0, 0, "none", NULL, NULL,
     "How callers show who they are. none: they do not, and may do everything. token: a secret text in a header.\n"
     "basic: a name and a password. Callers without are answered with 401. See docs/access.md.",
     providers},
    OPTIONAL(
        "auth.token", auth_token,
        "For provider token: the one valid token; whoever has it may do everything. A file (auth.token_file) or the\n"
        "environment (CHROMA_AUTH__TOKEN) keeps it out of this file."),
    OPTIONAL("auth.token_file", auth_token_file, "For provider token: a file that holds the one valid token."),
    {"auth.token_header", CONFIG_WORD, AT(auth_token_header), 0, 0, "any", NULL, NULL,
     "For provider token: the header that is looked at. any: \"Authorization: Bearer TOKEN\", and if that is not "
     "there,\n"
     "\"X-Chroma-Token: TOKEN\".",
     headers},
    OPTIONAL(
        "auth.users_file", auth_users_file,
        "A YAML file of users with their tokens, tenant, databases and role, instead of a single token. With provider\n"
        "basic: the same for users whose passwords are in auth.htpasswd_file; users who are not in it may do nothing."),
    OPTIONAL("auth.roles_file", auth_roles_file,
             "A second file of this form, read after auth.users_file, that gives users their roles; users who are not "
             "in it\n"
             "may do nothing."),
    OPTIONAL("auth.htpasswd_file", auth_htpasswd_file,
             "For provider basic: a file with a line \"name:hash\" for each user, as \"htpasswd -B\" makes it (bcrypt "
             "only)."),
    {"auth.replace_defaults", CONFIG_BOOL, AT(auth_replace_defaults), 0, 0, "false", NULL, NULL,
     "If true, default_tenant and default_database in a request mean the caller's tenant and database, for callers "
     "who\n"
     "are bound to exactly one. So clients that know only the defaults work unchanged.",
     NULL},
    OPTIONAL("tls.cert_file", tls_cert_file,
             "A certificate with its chain, in PEM. With it the server speaks HTTPS only (TLS 1.2 and 1.3). Needs\n"
             "tls.key_file. Both are read once, at the start."),
    OPTIONAL("tls.key_file", tls_key_file, "The private key that belongs to tls.cert_file, in PEM, not encrypted."),
    RATE("reads_per_second", reads.per_second,
         "Requests a second that one tenant may make, of those that change nothing. More are answered with 429 and a\n"
         "header Retry-After. 0: any number. See docs/limits.md."),
    RATE("reads_burst", reads.burst, "So many of them may come at once, after a pause. 0: as many as in a second."),
    RATE("writes_per_second", writes.per_second, "The same for requests that change something."),
    RATE("writes_burst", writes.burst, "So many of those at once. 0: as many as in a second."),
    QUOTA_TABLE(QUOTA_ROW_) OPTIONAL(
        "limits_file", limits_file,
        "A YAML file of tenants whose rates and quotas differ from those above. It is read once, at the start."),
    {"usage.store_interval_s", CONFIG_NUMBER, AT(usage_store_interval_s), 0, 86400, "10", NULL, NULL,
     "What tenants have used is counted in memory and stored every so many seconds and at the end, so a crash loses "
     "what\n"
     "was counted since. 0: it is never stored, and counting begins again with each start."},
    {"scorecard_enabled", CONFIG_BOOL, AT(scorecard_enabled), 0, 0, "false", NULL, NULL,
     "Whether the rules of scorecard are in force."},
    {"scorecard", CONFIG_RULES, AT(scorecard), 0, 0, "[]", NULL, NULL,
     "How many requests may be in progress at a time, by tags: for example\n"
     "[{patterns: [\"op:write\", \"tenant:*\"], score: 8}] allows each tenant eight writes. More are answered with "
     "429.\n"
     "See docs/limits.md."},
    NO_EFFECT("open_telemetry"),
    NO_EFFECT("stdout_tracing"),
    NO_EFFECT("sqlitedb"),
    NO_EFFECT("sysdb"),
    NO_EFFECT("segment_manager"),
    NO_EFFECT("default_knn_index"),
    NO_EFFECT("enable_schema"),
    NO_EFFECT("min_records_for_invocation"),
    NO_EFFECT("tenants_to_migrate_immediately"),
    NO_EFFECT("tenants_to_migrate_immediately_threshold"),
    NO_EFFECT("tenants_with_quantization"),
    NO_EFFECT("enable_log_scouting"),
    NO_EFFECT("enable_span_indexing"),
    NO_EFFECT("region"),
    NO_EFFECT("executor"),
    NO_EFFECT("log"),
    NO_EFFECT("collections_with_segments_provider"),
};

const size_t config_n_keys = sizeof config_keys / sizeof config_keys[0];

const struct config_key *config_find(struct str name)
{
    for (size_t i = 0; i < config_n_keys; i++) {
        const struct config_key *k = &config_keys[i];
        struct str own = str_from_c(k->name);
        if (str_eq(name, own)) return k;
        bool is_below = k->type == CONFIG_NO_EFFECT && str_starts(name, own) && name.p[own.n] == '.';
        if (is_below) return k;
    }
    return NULL;
}

bool config_is_guarded(struct str name)
{
    static const char *const groups[] = {"auth", "tls", "rate_limit", "quota", "usage"};
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        struct str group = str_from_c(groups[i]);
        if (str_starts(name, group) && (name.n == group.n || name.p[group.n] == '.')) return true;
    }
    return false;
}
