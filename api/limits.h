/* limits.h - what a tenant may use and what it has used: rates, requests in progress, quotas, counters.
 *
 * RATE       so many requests a second, with a burst; one bucket for what changes something, one for the rest. 429.
 * SCORECARD  upstream's rules over tags of requests in progress. 429.
 * QUOTA      the most of something that a request may bring, or a tenant or collection may have. 422, and nothing of the
 *            request is done.
 * USAGE      counters a tenant, kept in the catalog; what they count is docs/limits.md.
 *
 * All are off, but for the counters, when nothing is set. System routes (time, health, version, identity, tenants' creation,
 * reset, ...) are nobody's: neither limited nor counted. A tenant is one that the catalog knows; requests that name any
 * other share one anonymous tenant, so that names cost no memory.
 * THREADS    any; nothing here waits, but for the thread that stores the counters.
 */
#ifndef API_LIMITS_H
#define API_LIMITS_H

#include "core/bytes.h"
#include "core/err.h"

/* code, key of the configuration (below quota.), upstream's name in messages, help */
#define QUOTA_TABLE(X)                                                                                                 \
    X(DATABASES, "num_databases", "Number of databases",                                                               \
      "Databases of a tenant. Exact, also when many are created at once.")                                             \
    X(COLLECTIONS, "num_collections", "Number of collections",                                                         \
      "Collections of a tenant, in all of its databases together. Exact likewise.")                                    \
    X(FORKS, "num_forks", "Number of forks", "Forks ever made in one tree of forks. Exact likewise.")                  \
    X(COLLECTION_RECORDS, "collection_size_records", "Collection size (records)",                                      \
      "Records of a collection. Records that are there can always be replaced.")                                       \
    X(RECORDS, "num_records", "Number of records", "Records of one add, update or upsert, and ids of one delete.")     \
    X(DIMENSIONS, "embedding_dimensions", "Embedding dimension",                                                       \
      "Numbers of an embedding, of records and of queries.")                                                           \
    X(SPARSE_DIMENSIONS, "sparse_vector_populated_dimensions", "Sparse vector populated dimension",                    \
      "Numbers of a sparse vector, of records and of searches.")                                                       \
    X(DOCUMENT_BYTES, "document_size_bytes", "Document size (bytes)", "Bytes of a record's document.")                 \
    X(URI_BYTES, "uri_size_bytes", "URI size (bytes)", "Bytes of a record's URI.")                                     \
    X(ID_BYTES, "id_size_bytes", "ID size (bytes)", "Bytes of a record's id.")                                         \
    X(NAME_BYTES, "name_size_bytes", "Name size (bytes)", "Bytes of the name of a new database or collection.")        \
    X(METADATA_KEYS, "num_metadata_keys", "Number of metadata dictionary keys",                                        \
      "Metadata keys that a request gives one record.")                                                                \
    X(METADATA_KEY_BYTES, "metadata_key_size_bytes", "Size of metadata dictionary key (bytes)",                        \
      "Bytes of a metadata key, of records and of collections.")                                                       \
    X(METADATA_VALUE_BYTES, "metadata_value_size_bytes", "Size of metadata dictionary value (bytes)",                  \
      "Bytes of a metadata value of a record: of a text its own, of a number 8, of a boolean 1, of a list their sum.") \
    X(COLLECTION_METADATA_KEYS, "num_collection_metadata_keys", "Number of metadata dictionary keys",                  \
      "Metadata keys that a request gives a collection.")                                                              \
    X(COLLECTION_METADATA_VALUE_BYTES, "collection_metadata_value_size_bytes",                                         \
      "Size of metadata dictionary value (bytes)", "Bytes of a metadata value of a collection.")                       \
    X(WHERE_PREDICATES, "num_where_predicates", "Number of where clause predicates",                                   \
      "Comparisons of ids and metadata in one filter.")                                                                \
    X(WHERE_VALUE_BYTES, "where_value_size_bytes", "Size of where clause value (bytes)",                               \
      "Bytes of a text that a filter compares metadata or ids with.")                                                  \
    X(DOCUMENT_PREDICATES, "num_where_document_predicates", "Number of where document predicates",                     \
      "Conditions on the document in one filter.")                                                                     \
    X(DOCUMENT_VALUE_BYTES, "where_document_value_length", "Length of where document value",                           \
      "Bytes of a text that a filter looks for in documents.")                                                         \
    X(REGEX_BYTES, "regex_pattern_length", "Length of regex pattern", "Bytes of a regular expression in a filter.")    \
    X(LIMIT, "limit_value", "Limit value",                                                                             \
      "`limit` of a get, a search or a list of collections. Where none is given this is it.")                          \
    X(RESULTS, "num_results", "Number of results", "`n_results` of a query. Where none is given it is at most this.")  \
    X(QUERY_EMBEDDINGS, "num_query_embeddings", "Number of query embeddings", "Embeddings of one query.")              \
    X(QUERY_IDS, "num_query_ids", "Number of IDs to filter by in a query", "Ids that one get or query asks for.")      \
    X(SEARCH_PAYLOADS, "num_search_payloads", "Number of search payloads in a search", "Searches of one request.")     \
    X(RANK_KNN, "num_rank_knn", "Number of knn searches in a rank expression",                                         \
      "Lists of nearest records in one rank expression.")                                                              \
    X(RANK_KNN_LIMIT, "rank_knn_limit", "Limit value in rank expression", "`limit` of such a list.")

#define QUOTA_ENUM_(code, key, name, help) QUOTA_##code,
enum quota { QUOTA_TABLE(QUOTA_ENUM_) QUOTA_COUNT_ };
#undef QUOTA_ENUM_

struct rate_rule {
    uint64_t per_second; /* 0: no limit; up to RATE_MAX */
    uint64_t burst;      /* 0: as per_second; up to RATE_MAX */
};
enum { RATE_MAX = 1000000 };

struct tenant_rules {
    struct rate_rule reads, writes; /* writes: whatever changes something */
    uint64_t quotas[QUOTA_COUNT_];  /* 0: none */
};

struct tenant_override {
    struct str tenant;
    struct tenant_rules rules;
};

enum { SCORECARD_PATTERN_MAX = 63 }; /* bytes */

/* Applies when each of its patterns ("*": any bytes; everything else stands for itself) matches a tag of the request.
 * No pattern: never. */
struct scorecard_rule {
    const struct str *patterns;
    uint32_t n_patterns;
    uint64_t score; /* requests at a time, for each combination of tags matched */
};

/* What a request in progress is counted under; lies in the request. All-zero: nothing. */
enum { SCORECARD_TAGS_MAX = 3, SCORECARD_KEYS_MAX = 1 << SCORECARD_TAGS_MAX };
struct scorecard_ticket {
    uint32_t n;
    struct scorecard_key {
        uint64_t a, b; /* a hash of 128 bits of the tags matched */
    } keys[SCORECARD_KEYS_MAX];
};

struct limits_options { /* zero = default; everything is kept by the caller */
    struct tenant_rules defaults;
    const struct tenant_override *overrides; /* of tenants that have rules of their own */
    size_t n_overrides;
    bool has_scorecard;
    const struct scorecard_rule *scorecard;
    size_t n_scorecard;
    uint32_t store_interval_s; /* how often the counters are stored, and at the end; 0: never */
    uint64_t (*now_ns)(void);  /* tests: a clock that never goes back. NULL: the monotonic one */
};

/* --- usage ------------------------------------------------------------------------------------------------------ */

/* code, name in answers; in the order of the catalog's columns */
#define USAGE_TABLE(X)                                                                                                 \
    X(REQUESTS_READ, "requests_read")                                                                                  \
    X(REQUESTS_WRITE, "requests_write")                                                                                \
    X(REQUESTS_SEARCH, "requests_search")                                                                              \
    X(REQUESTS_OTHER, "requests_other")                                                                                \
    X(RECORDS_WRITTEN, "records_written")                                                                              \
    X(RECORDS_DELETED, "records_deleted")                                                                              \
    X(RECORDS_READ, "records_read")                                                                                    \
    X(QUERIES, "queries")                                                                                              \
    X(BYTES_IN, "bytes_in")                                                                                            \
    X(BYTES_OUT, "bytes_out")                                                                                          \
    X(REFUSED_RATE, "refused_rate")                                                                                    \
    X(REFUSED_QUOTA, "refused_quota")

#define USAGE_ENUM_(code, name) USAGE_##code,
enum usage { USAGE_TABLE(USAGE_ENUM_) USAGE_COUNT_ };
#undef USAGE_ENUM_

const char *usage_name(enum usage u);

struct tenant_usage {
    struct str tenant; /* holds as long as the api */
    uint64_t counters[USAGE_COUNT_];
};

struct api;

/* Calls `visit` for every tenant that has been seen, in no order. Any thread, also the loop: it only reads memory.
 * `visit` must not call the api. */
void usage_each(struct api *a, void (*visit)(void *ctx, const struct tenant_usage *u), void *ctx);

#endif
