/* upstream_settings.c - see upstream_settings.h.
 *
 * FORMS OF THE CONFIGURATION (config_json_str), by age
 *   {"hnsw_configuration":{"space":..,"M":..,..},..}             before 1.0
 *   {"hnsw":{..},"spann":null,"embedding_function":..}           1.0
 *   {"vector_index":{"hnsw":{..}},"embedding_function":..}       since
 *   {}                                                           beside a schema
 * A SPANN index means its space here, as it does when such a collection is made through the API.
 * FAILURE  a document that cannot be read is replaced by the defaults, with a note: settings are no reason to leave
 *          records behind.
 */
#include "api/upstream_settings.h"

#include "api/settings.h"

static bool read_size(struct json_reader *j, uint64_t *out, unsigned *fields, enum hnsw_field field)
{
    struct json_number n;
    if (json_null(j)) return true;
    if (!json_number(j, &n, "a number") || !n.is_uint) return false;
    *out = n.u;
    *fields |= (unsigned)field;
    return true;
}

static bool read_factor(struct json_reader *j, struct hnsw_given *g)
{
    struct json_number n;
    if (json_null(j)) return true;
    if (!json_number(j, &n, "a number")) return false;
    g->values.resize_factor = n.f;
    g->fields |= HNSW_RESIZE_FACTOR;
    return true;
}

/* An index's parameters; what is unknown is skipped. space_only: of a SPANN index. */
static bool read_parameters(struct json_reader *j, bool space_only, struct hnsw_given *g)
{
    struct str key;
    if (json_peek(j) == JSON_NULL) return json_null(j);
    if (!json_enter_object(j, "a map")) return false;
    g->is_given = true;
    while (json_next_member(j, &key)) {
        struct hnsw_settings *v = &g->values;
        bool ok;
        if (str_eq(key, STR("space"))) {
            ok = parse_space(j, &v->space);
            g->fields |= HNSW_SPACE;
        } else if (space_only) {
            ok = json_skip(j);
        } else if (str_eq(key, STR("ef_construction"))) {
            ok = read_size(j, &v->ef_construction, &g->fields, HNSW_EF_CONSTRUCTION);
        } else if (str_eq(key, STR("ef_search"))) {
            ok = read_size(j, &v->ef_search, &g->fields, HNSW_EF_SEARCH);
        } else if (str_eq(key, STR("max_neighbors")) || str_eq(key, STR("M"))) {
            ok = read_size(j, &v->max_neighbors, &g->fields, HNSW_MAX_NEIGHBORS);
        } else if (str_eq(key, STR("num_threads"))) {
            ok = read_size(j, &v->num_threads, &g->fields, HNSW_NUM_THREADS);
        } else if (str_eq(key, STR("batch_size"))) {
            ok = read_size(j, &v->batch_size, &g->fields, HNSW_BATCH_SIZE);
        } else if (str_eq(key, STR("sync_threshold"))) {
            ok = read_size(j, &v->sync_threshold, &g->fields, HNSW_SYNC_THRESHOLD);
        } else if (str_eq(key, STR("resize_factor"))) {
            ok = read_factor(j, g);
        } else {
            ok = json_skip(j);
        }
        if (!ok) return false;
    }
    return j->err == ERR_OK;
}

struct configured {
    struct hnsw_given index;
    struct embedding_function function;
};

static bool read_member(struct json_reader *j, struct str key, struct configured *c)
{
    struct str inner;
    if (str_eq(key, STR("embedding_function"))) return parse_embedding_function(j, &c->function);
    if (str_eq(key, STR("hnsw")) || str_eq(key, STR("hnsw_configuration"))) return read_parameters(j, false, &c->index);
    if (str_eq(key, STR("spann"))) return read_parameters(j, true, &c->index);
    if (!str_eq(key, STR("vector_index")) || json_peek(j) == JSON_NULL) return json_skip(j);
    if (!json_enter_object(j, "a map")) return false;
    while (json_next_member(j, &inner)) {
        bool is_spann = str_eq(inner, STR("spann"));
        bool ok = is_spann || str_eq(inner, STR("hnsw")) ? read_parameters(j, is_spann, &c->index) : json_skip(j);
        if (!ok) return false;
    }
    return j->err == ERR_OK;
}

static bool read_configuration(struct json_reader *j, struct configured *c)
{
    struct str key;
    if (!json_enter_object(j, "a map")) return false;
    while (json_next_member(j, &key))
        if (!read_member(j, key, c)) return false;
    return json_finish(j);
}

/* Collections without a schema. */
static enum err from_configuration(const struct upstream_collection *c, struct bytes metadata, struct arena *a,
                                   struct upstream_settings *s, struct errmsg *em)
{
    struct json_reader *j = arena_alloc(a, sizeof *j);
    struct configured found = {0};
    struct schema none = {0};
    struct hnsw_settings h = hnsw_defaults();
    struct str fault;
    if (j == NULL) return errmsg_set(em, ERR_NOMEM, "settings");
    if (c->configuration.p != NULL) {
        json_reader_init(j, c->configuration, a);
        if (!read_configuration(j, &found)) {
            if (j->err == ERR_NOMEM) return errmsg_set(em, ERR_NOMEM, "settings");
            found = (struct configured){0};
            s->note = "its configuration cannot be read: the defaults take its place";
        }
    }
    if (found.index.is_given) {
        hnsw_apply(&h, &found.index);
    } else {
        const struct configuration nothing = {0};
        if (!configuration_resolve(&nothing, metadata, a, &h, &fault)) {
            h = hnsw_defaults();
            s->note = "its hnsw:* metadata cannot be read: the defaults take their place";
        }
    }
    if (h.sync_threshold < 2) h.sync_threshold = hnsw_defaults().sync_threshold;
    if (h.batch_size < 2) h.batch_size = hnsw_defaults().batch_size;
    if (!settings_reconcile(&none, &h, &found.function, a, &h, &s->configuration, &s->schema, &fault))
        return errmsg_set(em, ERR_INTERNAL, "settings: %.*s", STR_ARG(fault));
    s->space = h.space;
    return ERR_OK;
}

enum err upstream_settings_read(const struct upstream_collection *c, struct bytes metadata, struct arena *a,
                                struct upstream_settings *s, struct errmsg *em)
{
    enum err e = ERR_OK;
    bool is_done = false;
    *s = (struct upstream_settings){0};
    if (c->schema.p != NULL) {
        struct json_reader *j = arena_alloc(a, sizeof *j);
        struct schema *schema = arena_zalloc(a, sizeof *schema);
        struct hnsw_settings h;
        if (j == NULL || schema == NULL) return errmsg_set(em, ERR_NOMEM, "settings");
        json_reader_init(j, c->schema, a);
        is_done = parse_schema(j, schema) && json_finish(j) && schema->is_given;
        if (is_done) {
            settings_restore(schema, &h, &s->configuration, &s->schema);
            s->space = h.space;
        } else if (j->err == ERR_NOMEM) {
            return errmsg_set(em, ERR_NOMEM, "settings");
        }
    }
    if (!is_done) e = from_configuration(c, metadata, a, s, em);
    if (!is_done && c->schema.p != NULL) s->note = "its schema cannot be read: its configuration takes its place";
    if (e == ERR_OK && (s->configuration.err != ERR_OK || s->schema.err != ERR_OK))
        e = errmsg_set(em, ERR_NOMEM, "settings");
    return e;
}
