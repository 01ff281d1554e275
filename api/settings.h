/* settings.h - how a collection is set up: its configuration and its schema, from requests into the documents that are
 * stored and answered. Internal to api/.
 *
 * A request may set up a collection in three ways: `configuration`, legacy `hnsw:*` metadata, `schema`. All end in two
 * documents: configuration (the member configuration_json of answers) and schema. The index parameters in them are
 * kept and answered; what this server acts on are the space and ef_search.
 * THREADS  any; everything lives in the request's arena.
 */
#ifndef API_SETTINGS_H
#define API_SETTINGS_H

#include "api/json.h"
#include "core/segment.h"
#include "core/value.h"

struct hnsw_settings {
    enum space space;
    uint64_t ef_construction, ef_search, max_neighbors, num_threads, sync_threshold, batch_size;
    double resize_factor;
};

enum hnsw_field { /* bits: which fields were given */
                  HNSW_SPACE = 1,
                  HNSW_EF_CONSTRUCTION = 2,
                  HNSW_EF_SEARCH = 4,
                  HNSW_MAX_NEIGHBORS = 8,
                  HNSW_NUM_THREADS = 16,
                  HNSW_RESIZE_FACTOR = 32,
                  HNSW_SYNC_THRESHOLD = 64,
                  HNSW_BATCH_SIZE = 128,
};

struct hnsw_given {
    bool is_given; /* an object, not null */
    unsigned fields;
    struct hnsw_settings values; /* of the fields given */
};

struct embedding_function {
    struct str text; /* the document as it is answered; .p == NULL: none */
    bool is_plain;   /* {"type":"unknown"}, or known and named "default": what clients send when nothing was said */
};

struct hnsw_settings hnsw_defaults(void);
bool hnsw_is_default(const struct hnsw_settings *h);
void hnsw_apply(struct hnsw_settings *h, const struct hnsw_given *given); /* given fields replace those of h */

/* --- configuration ----------------------------------------------------------------------------------------------- */

struct configuration {
    struct hnsw_given hnsw;
    bool has_spann;
    bool has_spann_space;
    enum space spann_space;
    struct embedding_function function;
};

/* Null or an object; is_update: new_configuration, which may not change the space and some others. */
bool parse_configuration(struct json_reader *j, bool is_update, struct configuration *c);

bool parse_variant(struct json_reader *j, struct str *s); /* the name of an enum's value; not a string: 400 */

/* {"l2","cosine","ip"} or 422. */
bool parse_space(struct json_reader *j, enum space *space);
bool parse_embedding_function(struct json_reader *j, struct embedding_function *f); /* null: none */

struct hnsw_fields { /* which members an hnsw object may have */
    const char *const *names;
    const enum hnsw_field *fields;
    uint32_t n;
    const char *expected;
};
bool parse_hnsw(struct json_reader *j, const struct hnsw_fields *table, struct hnsw_given *h); /* null or an object */
/* An object with a schema's settings of a SPANN index. They are checked as upstream's, and mean nothing: on a single node
 * the index becomes an HNSW index of the same space. */
bool parse_schema_spann(struct json_reader *j);

/* The settings that a create request's configuration and legacy metadata amount to. False: *fault is the message of a
 * 400. */
bool configuration_resolve(const struct configuration *c, struct bytes metadata, struct arena *a,
                           struct hnsw_settings *h, struct str *fault);

void put_space(struct buf *b, enum space space); /* quoted */
void put_configuration(struct buf *b, const struct hnsw_settings *h, struct str function);

/* The effort (core/segment.h) that `ef_search` of a stored configuration document asks for. */
uint32_t configuration_effort(struct str document);

/* --- schema ------------------------------------------------------------------------------------------------------ */

struct index_switch { /* {"enabled":bool,"config":{}} */
    bool is_given, enabled;
};

struct vector_index {
    bool is_given, enabled;
    bool has_space;
    enum space space;
    struct embedding_function function;
    struct str source_key; /* .p == NULL: none */
    bool has_spann;
    struct hnsw_given hnsw; /* without space */
};

struct sparse_index {
    bool is_given, enabled;
    struct embedding_function function;
    struct str source_key;
    bool has_bm25, bm25;
};

struct value_types { /* has_*: the member is there, maybe empty */
    bool has_string, has_float_list, has_sparse, has_int, has_float, has_bool;
    struct index_switch fts, string_inverted, int_inverted, float_inverted, bool_inverted;
    struct vector_index vector;
    struct sparse_index sparse;
};

struct schema_key {
    struct str key;
    struct value_types types;
};

struct schema {
    bool is_given;
    struct value_types defaults;
    struct schema_key *keys; /* in the order of the text, each key once */
    uint32_t n_keys;
    struct str cmek; /* as text; .p == NULL: none */
    struct str cmek_gcp;
};

bool parse_schema(struct json_reader *j, struct schema *s); /* null or an object */

/* The rules of catalog.md 5.6. False: *fault is what follows "Validation error: schema: ". */
bool schema_check(const struct schema *s, struct arena *a, struct str *fault);

/* Settles schema against configuration, fills what is missing, and writes both documents. *h gets the settings in
 * force. False: *fault is what follows "Failed to reconcile schema: "; the buffers' errors are the caller's to check. */
bool settings_reconcile(struct schema *s, const struct hnsw_settings *configured, const struct embedding_function *f,
                        struct arena *a, struct hnsw_settings *h, struct buf *configuration, struct buf *schema,
                        struct str *fault);

/* Both documents of a schema that was settled before (by upstream's server, which stores nothing else): its #embedding
 * key decides about the configuration. The buffers' errors are the caller's to check. */
void settings_restore(const struct schema *s, struct hnsw_settings *h, struct buf *configuration, struct buf *schema);

/* Stored documents changed by an update: new texts appended. ERR_CORRUPT when the stored ones cannot be read. */
enum err settings_update(struct str configuration, struct str schema, const struct configuration *change,
                         struct arena *a, struct buf *new_configuration, struct buf *new_schema, struct errmsg *em);

#endif
