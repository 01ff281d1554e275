/* schema_build.c - schema and configuration of a create request settled against each other, and the schema document.
 *
 * HAPPY PATH  at most one of the two says anything but the defaults. If it is the schema, the configuration document
 *             is derived from its #embedding key; if not, the settings go into both vector indexes of the default
 *             schema. Then the document is written with everything filled in that was left out.
 * FILLING     `defaults`, #document and #embedding are complete in the document; other keys are echoed as given.
 */
#include "api/settings.h"

#include <inttypes.h>

#define DOCUMENT  STR("#document")
#define EMBEDDING STR("#embedding")

static const struct value_types no_types;

static const struct value_types *types_of(const struct schema *s, struct str key)
{
    for (uint32_t i = 0; i < s->n_keys; i++)
        if (str_eq(s->keys[i].key, key)) return &s->keys[i].types;
    return &no_types;
}

/* --- does it say anything? --------------------------------------------------------------------------------------- */

static bool is_switch(const struct index_switch *s, bool by_default)
{
    return !s->is_given || s->enabled == by_default;
}

static struct hnsw_settings vector_settings(const struct vector_index *v)
{
    struct hnsw_settings h = hnsw_defaults();
    hnsw_apply(&h, &v->hnsw);
    if (v->has_space) h.space = v->space;
    return h;
}

static bool is_default_vector(const struct vector_index *v, bool by_default)
{
    struct hnsw_settings h = vector_settings(v);
    return (!v->is_given || v->enabled == by_default) && hnsw_is_default(&h) &&
           (v->function.text.p == NULL || v->function.is_plain);
}

static bool is_default_schema(const struct schema *s)
{
    const struct value_types *d = &s->defaults, *document = types_of(s, DOCUMENT), *embedding = types_of(s, EMBEDDING);
    for (uint32_t i = 0; i < s->n_keys; i++)
        if (!str_eq(s->keys[i].key, DOCUMENT) && !str_eq(s->keys[i].key, EMBEDDING)) return false;
    return is_switch(&d->fts, false) && is_switch(&d->string_inverted, true) && is_switch(&d->int_inverted, true) &&
           is_switch(&d->float_inverted, true) && is_switch(&d->bool_inverted, true) &&
           is_default_vector(&d->vector, false) && d->vector.source_key.p == NULL && !d->sparse.enabled &&
           !d->sparse.bm25 && d->sparse.source_key.p == NULL &&
           (d->sparse.function.text.p == NULL || d->sparse.function.is_plain) && is_switch(&document->fts, true) &&
           is_switch(&document->string_inverted, false) && is_default_vector(&embedding->vector, true);
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

/* "name": of an object's member, after a comma unless it is the first. */
static void put_name(struct buf *b, const char *name)
{
    if (b->n > 0 && b->p[b->n - 1] != '{') buf_char(b, ',');
    json_put_string(b, str_from_c(name));
    buf_char(b, ':');
}

static void put_bool(struct buf *b, bool v)
{
    buf_str(b, v ? STR("true") : STR("false"));
}

static void put_enabled(struct buf *b, bool enabled)
{
    buf_lit(b, "{\"enabled\":");
    put_bool(b, enabled);
    buf_lit(b, ",\"config\":{");
}

static void put_switch(struct buf *b, const char *name, bool enabled)
{
    put_name(b, name);
    put_enabled(b, enabled);
    buf_lit(b, "}}");
}

/* Of an index that is not in `defaults`: only if it was given. */
static void put_given_switch(struct buf *b, const char *name, const struct index_switch *s)
{
    if (s->is_given) put_switch(b, name, s->enabled);
}

static bool switch_or(const struct index_switch *s, bool by_default)
{
    return s->is_given ? s->enabled : by_default;
}

static void put_hnsw(struct buf *b, const struct hnsw_settings *h, unsigned fields)
{
    const struct {
        unsigned field;
        const char *name;
        uint64_t value;
    } sizes[] = {{HNSW_EF_CONSTRUCTION, "ef_construction", h->ef_construction},
                 {HNSW_MAX_NEIGHBORS, "max_neighbors", h->max_neighbors},
                 {HNSW_EF_SEARCH, "ef_search", h->ef_search},
                 {HNSW_NUM_THREADS, "num_threads", h->num_threads},
                 {HNSW_BATCH_SIZE, "batch_size", h->batch_size},
                 {HNSW_SYNC_THRESHOLD, "sync_threshold", h->sync_threshold}};
    put_name(b, "hnsw");
    buf_char(b, '{');
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if ((fields & sizes[i].field) == 0) continue;
        put_name(b, sizes[i].name);
        json_put_uint(b, sizes[i].value);
    }
    if ((fields & HNSW_RESIZE_FACTOR) != 0) {
        put_name(b, "resize_factor");
        json_put_double(b, h->resize_factor);
    }
    buf_char(b, '}');
}

static void put_text(struct buf *b, const char *name, struct str text)
{
    if (text.p == NULL) return;
    put_name(b, name);
    buf_str(b, text);
}

static void put_key_name(struct buf *b, const char *name, struct str s)
{
    if (s.p == NULL) return;
    put_name(b, name);
    json_put_string(b, s);
}

/* A vector index with everything in it. */
static void put_full_vector(struct buf *b, bool enabled, const struct hnsw_settings *h, struct str function,
                            struct str source_key)
{
    put_name(b, "float_list");
    buf_lit(b, "{\"vector_index\":");
    put_enabled(b, enabled);
    put_name(b, "space");
    put_space(b, h->space);
    put_text(b, "embedding_function", function);
    put_key_name(b, "source_key", source_key);
    put_hnsw(b, h, ~0u);
    buf_lit(b, "}}}");
}

/* A sparse index; `is_full`: in `defaults`, where nothing is left out. */
static void put_sparse(struct buf *b, const struct sparse_index *s, bool is_full)
{
    struct str function = s->function.text;
    if (function.p == NULL && is_full) function = STR("{\"type\":\"unknown\"}");
    put_name(b, "sparse_vector");
    buf_lit(b, "{\"sparse_vector_index\":");
    put_enabled(b, s->enabled);
    put_text(b, "embedding_function", function);
    put_key_name(b, "source_key", s->source_key);
    if (s->has_bm25 || is_full) {
        put_name(b, "bm25");
        put_bool(b, s->bm25);
    }
    buf_lit(b, "}}}");
}

static void put_defaults(struct buf *b, const struct value_types *t, const struct hnsw_settings *h, struct str function)
{
    put_name(b, "defaults");
    buf_char(b, '{');
    put_name(b, "string");
    buf_char(b, '{');
    put_switch(b, "fts_index", switch_or(&t->fts, false));
    put_switch(b, "string_inverted_index", switch_or(&t->string_inverted, true));
    buf_char(b, '}');
    put_full_vector(b, t->vector.enabled, h, function, t->vector.source_key);
    put_sparse(b, &t->sparse, true);
    const struct {
        const char *type, *index;
        const struct index_switch *s;
    } rest[] = {{"int", "int_inverted_index", &t->int_inverted},
                {"float", "float_inverted_index", &t->float_inverted},
                {"bool", "bool_inverted_index", &t->bool_inverted}};
    for (size_t i = 0; i < 3; i++) {
        put_name(b, rest[i].type);
        buf_char(b, '{');
        put_switch(b, rest[i].index, switch_or(rest[i].s, true));
        buf_char(b, '}');
    }
    buf_char(b, '}');
}

/* The value types of a user's key, as they were given. */
static void put_given_types(struct buf *b, const struct value_types *t)
{
    buf_char(b, '{');
    if (t->has_string) {
        put_name(b, "string");
        buf_char(b, '{');
        put_given_switch(b, "fts_index", &t->fts);
        put_given_switch(b, "string_inverted_index", &t->string_inverted);
        buf_char(b, '}');
    }
    if (t->has_float_list) {
        const struct vector_index *v = &t->vector;
        put_name(b, "float_list");
        buf_char(b, '{');
        if (v->is_given) {
            put_name(b, "vector_index");
            put_enabled(b, v->enabled);
            if (v->has_space) {
                put_name(b, "space");
                put_space(b, v->space);
            }
            put_text(b, "embedding_function", v->function.text);
            put_key_name(b, "source_key", v->source_key);
            if (v->hnsw.is_given) put_hnsw(b, &v->hnsw.values, v->hnsw.fields);
            buf_lit(b, "}}");
        }
        buf_char(b, '}');
    }
    if (t->has_sparse && t->sparse.is_given) {
        put_sparse(b, &t->sparse, false);
    } else if (t->has_sparse) {
        put_name(b, "sparse_vector");
        buf_lit(b, "{}");
    }
    const struct {
        bool has;
        const char *type, *index;
        const struct index_switch *s;
    } rest[] = {{t->has_int, "int", "int_inverted_index", &t->int_inverted},
                {t->has_float, "float", "float_inverted_index", &t->float_inverted},
                {t->has_bool, "bool", "bool_inverted_index", &t->bool_inverted}};
    for (size_t i = 0; i < 3; i++) {
        if (!rest[i].has) continue;
        put_name(b, rest[i].type);
        buf_char(b, '{');
        put_given_switch(b, rest[i].index, rest[i].s);
        buf_char(b, '}');
    }
    buf_char(b, '}');
}

/* h and function: of the #embedding key; those of `defaults` are given apart. */
static void put_schema(struct buf *b, const struct schema *s, const struct hnsw_settings *default_h,
                       struct str default_function, const struct hnsw_settings *h, struct str function)
{
    const struct value_types *document = types_of(s, DOCUMENT), *embedding = types_of(s, EMBEDDING);
    buf_char(b, '{');
    put_defaults(b, &s->defaults, default_h, default_function);
    put_name(b, "keys");
    buf_char(b, '{');
    put_name(b, "#document");
    buf_lit(b, "{\"string\":{");
    put_switch(b, "fts_index", switch_or(&document->fts, true));
    put_switch(b, "string_inverted_index", switch_or(&document->string_inverted, false));
    buf_lit(b, "}}");
    put_name(b, "#embedding");
    buf_char(b, '{');
    put_full_vector(b, embedding->vector.is_given ? embedding->vector.enabled : true, h, function, DOCUMENT);
    buf_char(b, '}');
    for (uint32_t i = 0; i < s->n_keys; i++) {
        if (str_eq(s->keys[i].key, DOCUMENT) || str_eq(s->keys[i].key, EMBEDDING)) continue;
        buf_char(b, ',');
        json_put_string(b, s->keys[i].key);
        buf_char(b, ':');
        put_given_types(b, &s->keys[i].types);
    }
    buf_char(b, '}');
    put_text(b, "cmek", s->cmek);
    buf_char(b, '}');
}

/* --- settling ---------------------------------------------------------------------------------------------------- */

static bool has_good_thresholds(const struct hnsw_given *g, struct arena *a, struct str *fault)
{
    const char *name;
    uint64_t value;
    if ((g->fields & HNSW_SYNC_THRESHOLD) != 0 && g->values.sync_threshold < 2) {
        name = "sync_threshold";
        value = g->values.sync_threshold;
    } else if ((g->fields & HNSW_BATCH_SIZE) != 0 && g->values.batch_size < 2) {
        name = "batch_size";
        value = g->values.batch_size;
    } else {
        return true;
    }
    *fault = arena_printf(a,
                          "Invalid HNSW configuration: %s: Validation error: range [{\"value\": Number(%" PRIu64
                          "), \"min\": Number(2)}]",
                          name, value);
    return false;
}

void settings_restore(const struct schema *s, struct hnsw_settings *h, struct buf *configuration, struct buf *schema)
{
    const struct vector_index *vector = &types_of(s, EMBEDDING)->vector;
    struct hnsw_settings default_h = vector_settings(&s->defaults.vector);
    *h = vector_settings(vector);
    put_configuration(configuration, h, vector->function.text);
    put_schema(schema, s, &default_h, s->defaults.vector.function.text, h, vector->function.text);
}

bool settings_reconcile(struct schema *s, const struct hnsw_settings *configured, const struct embedding_function *f,
                        struct arena *a, struct hnsw_settings *h, struct buf *configuration, struct buf *schema,
                        struct str *fault)
{
    bool is_default_configuration = hnsw_is_default(configured) && (f->text.p == NULL || f->is_plain);
    bool is_schema = s->is_given && !is_default_schema(s);
    const struct vector_index *vector = &types_of(s, EMBEDDING)->vector;
    if (is_schema && !is_default_configuration) {
        *fault = STR("Cannot set both collection config and schema simultaneously");
        return false;
    }
    if (!has_good_thresholds(&s->defaults.vector.hnsw, a, fault) || !has_good_thresholds(&vector->hnsw, a, fault))
        return false;
    if (is_schema) {
        settings_restore(s, h, configuration, schema);
    } else {
        const struct schema plain = {.cmek = s->cmek};
        *h = *configured;
        put_configuration(configuration, h, f->text);
        put_schema(schema, &plain, h, f->text, h, f->text);
    }
    return true;
}
