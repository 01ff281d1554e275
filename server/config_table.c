/* config_table.c - the one table of what can be set. Adding a key is adding a row here, a member in struct config, and
 * running `chroma help config > chroma.conf` (a test holds the file to the table).
 */
#include "server/config.h"

#define AT(member) offsetof(struct config, member)
#define NO_EFFECT(name)                                                                                                \
    {                                                                                                                  \
        name, CONFIG_NO_EFFECT, 0, 0, 0, NULL, NULL, NULL, NULL                                                        \
    }

const struct config_key config_keys[] = {
    {"persist_path", CONFIG_TEXT, AT(persist_path), 0, 0, "./chroma", "--path", "DIR",
     "The directory of the data. It is made if it is absent, and one server at a time may use it.\n"
     "A relative path starts at the working directory."},
    {"listen_address", CONFIG_TEXT, AT(listen_address), 0, 0, "0.0.0.0", "--host", "HOST",
     "The address or name to listen on: 127.0.0.1 for this machine only, 0.0.0.0 for every IPv4 address, :: for every\n"
     "address of both kinds. Without a configuration file the default is localhost. There is no authentication yet:\n"
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
    {"flush_rows", CONFIG_NUMBER, AT(flush_rows), 64, 16777216, "8192", NULL, NULL,
     "So many new rows of a collection stay in memory before they are written to an index file. Fewer: less memory "
     "and\n"
     "a faster start; more: fewer and larger files."},
    {"flush_bytes", CONFIG_NUMBER, AT(flush_bytes), 65536, UINT64_C(1073741824), "25165824", NULL, NULL,
     "Or so many bytes of them, whichever comes first."},
    {"log_bytes", CONFIG_NUMBER, AT(log_bytes), 1048576, UINT64_C(1099511627776), "134217728", NULL, NULL,
     "When the log holds more bytes than this, collections that are quiet are written to index files too, so that the\n"
     "log can be cut. It bounds what is read again at the next start."},
    {"log_level", CONFIG_LEVEL, AT(log_level), 0, 0, "info", NULL, NULL,
     "What is told on stderr: debug, info, warn, error or none."},
    NO_EFFECT("scorecard_enabled"),
    NO_EFFECT("scorecard"),
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
