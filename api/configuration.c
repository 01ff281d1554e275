/* configuration.c - `configuration` of a request, legacy hnsw:* metadata, and the configuration document.
 *
 * HAPPY PATH  parse_configuration reads what was sent; configuration_resolve makes settings of it and of the metadata;
 *             put_configuration writes the document; configuration_effort looks into it, once a search.
 * FAILURE     wrong types and unknown members fail the reader (422); contradictions are messages for a 400.
 * RULE        legacy metadata count only when the configuration amounts to the defaults: it wins as a whole otherwise.
 */
#include "api/settings.h"

#include "api/json_internal.h"

#include <inttypes.h>
#include <unistd.h>

struct hnsw_settings hnsw_defaults(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return (struct hnsw_settings){.space = SPACE_L2,
                                  .ef_construction = 100,
                                  .ef_search = 100,
                                  .max_neighbors = 16,
                                  .num_threads = n > 0 ? (uint64_t)n : 1,
                                  .sync_threshold = 1000,
                                  .batch_size = 100,
                                  .resize_factor = 1.2};
}

bool hnsw_is_default(const struct hnsw_settings *h)
{
    struct hnsw_settings d = hnsw_defaults();
    return h->space == d.space && h->ef_construction == d.ef_construction && h->ef_search == d.ef_search &&
           h->max_neighbors == d.max_neighbors && h->num_threads == d.num_threads &&
           h->sync_threshold == d.sync_threshold && h->batch_size == d.batch_size &&
           h->resize_factor == d.resize_factor;
}

void hnsw_apply(struct hnsw_settings *h, const struct hnsw_given *given)
{
    const struct hnsw_settings *v = &given->values;
    if ((given->fields & HNSW_SPACE) != 0) h->space = v->space;
    if ((given->fields & HNSW_EF_CONSTRUCTION) != 0) h->ef_construction = v->ef_construction;
    if ((given->fields & HNSW_EF_SEARCH) != 0) h->ef_search = v->ef_search;
    if ((given->fields & HNSW_MAX_NEIGHBORS) != 0) h->max_neighbors = v->max_neighbors;
    if ((given->fields & HNSW_NUM_THREADS) != 0) h->num_threads = v->num_threads;
    if ((given->fields & HNSW_RESIZE_FACTOR) != 0) h->resize_factor = v->resize_factor;
    if ((given->fields & HNSW_SYNC_THRESHOLD) != 0) h->sync_threshold = v->sync_threshold;
    if ((given->fields & HNSW_BATCH_SIZE) != 0) h->batch_size = v->batch_size;
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

static bool space_of(struct str s, enum space *space)
{
    if (str_eq(s, STR("l2")))
        *space = SPACE_L2;
    else if (str_eq(s, STR("cosine")))
        *space = SPACE_COSINE;
    else if (str_eq(s, STR("ip")))
        *space = SPACE_IP;
    else
        return false;
    return true;
}

bool parse_variant(struct json_reader *j, struct str *s)
{
    enum json_type t = json_peek(j);
    if (t == JSON_FAILED) return false;
    if (t == JSON_STRING) return json_string(j, s, "a string");
    json_fail_at(j, ERR_INVALID, j->at + 1, "expected value"); /* upstream's parser takes it for broken text */
    return false;
}

bool parse_space(struct json_reader *j, enum space *space)
{
    struct str s;
    if (!parse_variant(j, &s)) return false;
    if (space_of(s, space)) return true;
    if (s.n > 100) s = STR("...");
    json_fail_shape(j, "unknown variant `%.*s`, expected one of `l2`, `cosine`, `ip`", STR_ARG(s));
    return false;
}

static bool read_size(struct json_reader *j, uint64_t *v, const char *type)
{
    struct json_number n;
    struct buf b = {0};
    if (!json_number(j, &n, type)) return false;
    if (n.is_uint && (n.u <= UINT32_MAX || strcmp(type, "u32") != 0)) {
        *v = n.u;
        return true;
    }
    if (n.is_int) {
        json_fail_shape(j, "invalid value: integer `%" PRId64 "`, expected %s", n.i, type);
    } else {
        json_put_double(&b, n.f);
        json_fail_shape(j, "invalid type: floating point `%.*s`, expected %s", STR_ARG(buf_view(&b)), type);
        buf_free(&b);
    }
    return false;
}

bool parse_hnsw(struct json_reader *j, const struct hnsw_fields *table, struct hnsw_given *h)
{
    struct json_fields f;
    struct json_number n;
    struct hnsw_given g = {0};
    if (json_peek(j) == JSON_NULL) {
        *h = g;
        return json_null(j);
    }
    if (!json_enter_fields(j, &f, table->names, table->n, true, table->expected)) return false;
    g.is_given = true;
    for (int i; (i = json_next_field(j, &f)) >= 0;) {
        enum hnsw_field field = table->fields[i];
        bool ok = true;
        if (json_peek(j) == JSON_NULL) {
            if (!json_null(j)) return false;
            continue;
        }
        switch (field) {
        case HNSW_SPACE:
            ok = parse_space(j, &g.values.space);
            break;
        case HNSW_EF_CONSTRUCTION:
            ok = read_size(j, &g.values.ef_construction, "usize");
            break;
        case HNSW_EF_SEARCH:
            ok = read_size(j, &g.values.ef_search, "usize");
            break;
        case HNSW_MAX_NEIGHBORS:
            ok = read_size(j, &g.values.max_neighbors, "usize");
            break;
        case HNSW_NUM_THREADS:
            ok = read_size(j, &g.values.num_threads, "usize");
            break;
        case HNSW_SYNC_THRESHOLD:
            ok = read_size(j, &g.values.sync_threshold, "usize");
            break;
        case HNSW_BATCH_SIZE:
            ok = read_size(j, &g.values.batch_size, "usize");
            break;
        case HNSW_RESIZE_FACTOR:
            ok = json_number(j, &n, "f64");
            if (ok) g.values.resize_factor = n.f;
            break;
        }
        if (!ok) return false;
        g.fields |= (unsigned)field;
    }
    if (j->err != ERR_OK) return false;
    *h = g;
    return true;
}

static const char *const create_names[] = {"space",       "ef_construction", "ef_search",      "max_neighbors",
                                           "num_threads", "resize_factor",   "sync_threshold", "batch_size"};
static const enum hnsw_field create_fields[] = {HNSW_SPACE,          HNSW_EF_CONSTRUCTION, HNSW_EF_SEARCH,
                                                HNSW_MAX_NEIGHBORS,  HNSW_NUM_THREADS,     HNSW_RESIZE_FACTOR,
                                                HNSW_SYNC_THRESHOLD, HNSW_BATCH_SIZE};
static const struct hnsw_fields create_table = {create_names, create_fields, 8, "struct HnswConfiguration"};

static const char *const update_names[] = {"ef_search",     "max_neighbors",  "num_threads",
                                           "resize_factor", "sync_threshold", "batch_size"};
static const enum hnsw_field update_fields[] = {HNSW_EF_SEARCH,     HNSW_MAX_NEIGHBORS,  HNSW_NUM_THREADS,
                                                HNSW_RESIZE_FACTOR, HNSW_SYNC_THRESHOLD, HNSW_BATCH_SIZE};
static const struct hnsw_fields update_table = {update_names, update_fields, 6, "struct UpdateHnswConfiguration"};

/* Checked like upstream's, but of all that only the space has a meaning on a single node. */
static bool parse_spann(struct json_reader *j, bool is_update, struct configuration *c)
{
    static const char *const names[] = {"search_nprobe",           "write_nprobe",    "space",
                                        "ef_construction",         "ef_search",       "max_neighbors",
                                        "reassign_neighbor_count", "split_threshold", "merge_threshold"};
    static const char *const names_of_update[] = {"search_nprobe", "ef_search"};
    struct json_fields f;
    uint64_t ignored;
    if (json_peek(j) == JSON_NULL) return json_null(j);
    if (!json_enter_fields(j, &f, is_update ? names_of_update : names, is_update ? 2 : 9, true,
                           is_update ? "struct UpdateSpannConfiguration" : "struct SpannConfiguration"))
        return false;
    c->has_spann = true;
    for (int i; (i = json_next_field(j, &f)) >= 0;) {
        if (json_peek(j) == JSON_NULL) {
            if (!json_null(j)) return false;
        } else if (!is_update && i == 2) {
            if (!parse_space(j, &c->spann_space)) return false;
            c->has_spann_space = true;
        } else if (!read_size(j, &ignored, "u32")) {
            return false;
        }
    }
    return j->err == ERR_OK;
}

bool parse_schema_spann(struct json_reader *j)
{
    static const char *const names[] = {"search_nprobe",
                                        "search_rng_factor",
                                        "search_rng_epsilon",
                                        "nreplica_count",
                                        "write_rng_factor",
                                        "write_rng_epsilon",
                                        "split_threshold",
                                        "num_samples_kmeans",
                                        "initial_lambda",
                                        "reassign_neighbor_count",
                                        "merge_threshold",
                                        "num_centers_to_merge_to",
                                        "write_nprobe",
                                        "ef_construction",
                                        "ef_search",
                                        "max_neighbors",
                                        "center_drift_threshold",
                                        "quantize"};
    enum { N = sizeof names / sizeof names[0], QUANTIZE = N - 1 };
    static const char types[] = "iffiffiufiiiiuuuf"; /* i: u32, u: usize, f: f32, as the messages say */
    _Static_assert(sizeof types == N, "a type for each but the last");
    struct json_fields f;
    struct json_number n;
    struct str variant;
    uint64_t ignored;
    if (!json_enter_fields(j, &f, names, N, true, "struct SpannIndexConfig")) return false;
    for (int i; (i = json_next_field(j, &f)) >= 0;) {
        bool ok;
        if (i == QUANTIZE) { /* the one that must not be null */
            ok = parse_variant(j, &variant);
            if (ok && !str_eq(variant, STR("none")) && !str_eq(variant, STR("four_bit_rabit_q_with_u_search"))) {
                if (variant.n > 100) variant = STR("...");
                json_fail_shape(j, "unknown variant `%.*s`, expected `none` or `four_bit_rabit_q_with_u_search`",
                                STR_ARG(variant));
                ok = false;
            }
        } else if (json_peek(j) == JSON_NULL) {
            ok = json_null(j);
        } else if (types[i] == 'f') {
            ok = json_number(j, &n, "f32");
        } else {
            ok = read_size(j, &ignored, types[i] == 'i' ? "u32" : "usize");
        }
        if (!ok) return false;
    }
    return j->err == ERR_OK;
}

bool parse_embedding_function(struct json_reader *j, struct embedding_function *out)
{
    struct str key, type = {NULL, 0}, name = {NULL, 0};
    struct buf config = {0}, text = {0};
    unsigned n_names = 0, n_configs = 0;
    *out = (struct embedding_function){{NULL, 0}, false};
    if (json_peek(j) == JSON_NULL) return json_null(j);
    if (!json_enter_object(j, "internally tagged enum EmbeddingFunctionConfiguration")) goto fail;
    while (json_next_member(j, &key)) {
        bool ok;
        n_names += str_eq(key, STR("name"));
        if (str_eq(key, STR("type"))) {
            if (type.p != NULL) {
                json_fail_at(j, ERR_SHAPE, j->key_end, "duplicate field `type`");
                goto fail;
            }
            ok = json_string(j, &type, "variant identifier");
            if (ok && !str_eq(type, STR("legacy")) && !str_eq(type, STR("known")) && !str_eq(type, STR("unknown"))) {
                if (type.n > 100) type = STR("...");
                json_fail_shape(j, "unknown variant `%.*s`, expected one of `legacy`, `known`, `unknown`",
                                STR_ARG(type));
                ok = false;
            }
        } else if (str_eq(key, STR("name")) && json_peek(j) == JSON_STRING) {
            ok = json_string(j, &name, "a string");
        } else if (str_eq(key, STR("config"))) {
            config.n = 0;
            n_configs++;
            ok = json_sorted_text(j, &config);
        } else {
            ok = json_skip(j); /* a name of another type is blamed below, and only for `known` */
        }
        if (!ok) goto fail;
    }
    if (j->err != ERR_OK) goto fail;
    if (type.p == NULL) {
        json_fail_shape_late(j, "missing field `type`");
        goto fail;
    }
    bool is_known = str_eq(type, STR("known"));
    if (is_known && (n_names > 1 || n_configs > 1)) { /* the other types ignore these members */
        json_fail_shape_late(j, "duplicate field `%s`", n_names > 1 ? "name" : "config");
        goto fail;
    }
    if (is_known && (name.p == NULL || n_configs == 0)) {
        json_fail_shape_late(j, "missing field `%s`", name.p == NULL ? "name" : "config");
        goto fail;
    }
    buf_lit(&text, "{\"type\":");
    json_put_string(&text, type);
    if (is_known) {
        buf_lit(&text, ",\"name\":");
        json_put_string(&text, name);
        buf_lit(&text, ",\"config\":");
        buf_str(&text, buf_view(&config));
    }
    buf_char(&text, '}');
    struct str copy = text.err == ERR_OK ? arena_str(j->arena, buf_view(&text)) : (struct str){NULL, 0};
    if (copy.p == NULL) {
        json_fail_nomem(j);
        goto fail;
    }
    out->text = copy;
    out->is_plain = str_eq(type, STR("unknown")) || (is_known && str_eq(name, STR("default")));
    buf_free(&config);
    buf_free(&text);
    return true;
fail:
    buf_free(&config);
    buf_free(&text);
    return false;
}

bool parse_configuration(struct json_reader *j, bool is_update, struct configuration *c)
{
    static const char *const names[] = {"hnsw", "spann", "embedding_function"};
    struct json_fields f;
    *c = (struct configuration){0};
    if (json_peek(j) == JSON_NULL) return json_null(j);
    if (!json_enter_fields(j, &f, names, 3, false,
                           is_update ? "struct UpdateCollectionConfiguration" : "struct CollectionConfiguration"))
        return false;
    for (int i; (i = json_next_field(j, &f)) >= 0;) {
        bool ok;
        if (i == 0)
            ok = parse_hnsw(j, is_update ? &update_table : &create_table, &c->hnsw);
        else if (i == 1)
            ok = parse_spann(j, is_update, c);
        else
            ok = parse_embedding_function(j, &c->function);
        if (!ok) return false;
    }
    return j->err == ERR_OK;
}

/* --- legacy metadata --------------------------------------------------------------------------------------------- */

/* One hnsw:* entry; false: an unknown key, a wrong type, or out of range. */
static bool legacy_entry(struct str key, const struct value *v, struct hnsw_given *g)
{
    static const struct {
        const char *key;
        enum hnsw_field field;
        size_t offset;
        uint64_t min;
    } sizes[] = {
        {"hnsw:construction_ef", HNSW_EF_CONSTRUCTION, offsetof(struct hnsw_settings, ef_construction), 0},
        {"hnsw:search_ef", HNSW_EF_SEARCH, offsetof(struct hnsw_settings, ef_search), 0},
        {"hnsw:M", HNSW_MAX_NEIGHBORS, offsetof(struct hnsw_settings, max_neighbors), 0},
        {"hnsw:num_threads", HNSW_NUM_THREADS, offsetof(struct hnsw_settings, num_threads), 0},
        {"hnsw:sync_threshold", HNSW_SYNC_THRESHOLD, offsetof(struct hnsw_settings, sync_threshold), 2},
        {"hnsw:batch_size", HNSW_BATCH_SIZE, offsetof(struct hnsw_settings, batch_size), 2},
    };
    if (str_eq(key, STR("hnsw:space"))) {
        if (v->type != VALUE_STR || !space_of(v->s, &g->values.space)) return false;
        g->fields |= HNSW_SPACE;
        return true;
    }
    if (str_eq(key, STR("hnsw:resize_factor"))) {
        if (!value_is_number(v)) return false;
        g->values.resize_factor = v->type == VALUE_INT ? (double)v->i : v->f;
        g->fields |= HNSW_RESIZE_FACTOR;
        return true;
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (!str_eq(key, str_from_c(sizes[i].key))) continue;
        if (v->type != VALUE_INT || v->i < 0 || (uint64_t)v->i < sizes[i].min) return false;
        uint64_t size = (uint64_t)v->i;
        memcpy((char *)&g->values + sizes[i].offset, &size, sizeof size);
        g->fields |= (unsigned)sizes[i].field;
        return true;
    }
    return false;
}

static bool legacy_settings(struct bytes metadata, struct arena *a, struct hnsw_given *g)
{
    struct meta_entry e;
    struct value v;
    for (struct meta_iter it = meta_iter(metadata); meta_next(&it, &e);) {
        if (!str_starts(e.key, STR("hnsw:"))) continue;
        if (!meta_value(&e, a, &v) || !legacy_entry(e.key, &v, g)) return false;
    }
    return true;
}

bool configuration_resolve(const struct configuration *c, struct bytes metadata, struct arena *a,
                           struct hnsw_settings *h, struct str *fault)
{
    struct hnsw_given legacy = {0};
    struct hnsw_settings settings = hnsw_defaults();
    if (c->hnsw.is_given && c->has_spann) {
        *fault = STR("Multiple vector index configurations provided");
        return false;
    }
    if (!c->has_spann && !legacy_settings(metadata, a, &legacy)) {
        *fault = STR("Failed to parse hnsw parameters from segment metadata");
        return false;
    }
    hnsw_apply(&settings, &c->hnsw);
    if (c->has_spann && c->has_spann_space) settings.space = c->spann_space;
    if (!c->has_spann && hnsw_is_default(&settings)) hnsw_apply(&settings, &legacy);
    *h = settings;
    return true;
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

void put_space(struct buf *b, enum space space)
{
    static const char *const names[] = {"\"l2\"", "\"cosine\"", "\"ip\""};
    buf_str(b, str_from_c(names[space]));
}

void put_configuration(struct buf *b, const struct hnsw_settings *h, struct str function)
{
    buf_lit(b, "{\"hnsw\":{\"space\":");
    put_space(b, h->space);
    buf_printf(b,
               ",\"ef_construction\":%" PRIu64 ",\"ef_search\":%" PRIu64 ",\"max_neighbors\":%" PRIu64
               ",\"resize_factor\":",
               h->ef_construction, h->ef_search, h->max_neighbors);
    json_put_double(b, h->resize_factor);
    buf_printf(b, ",\"sync_threshold\":%" PRIu64 "},\"spann\":null,\"embedding_function\":", h->sync_threshold);
    buf_str(b, function.p != NULL ? function : STR("null"));
    buf_char(b, '}');
}

uint32_t configuration_effort(struct str document)
{
    /* No parsing: every search asks. Documents begin with their `hnsw` and end with what the client has named, so the first
     * member of that name is the one. */
    const struct str name = STR("\"ef_search\":");
    const char *at = document.n == 0 ? NULL : memmem(document.p, document.n, name.p, name.n);
    if (at == NULL) return EFFORT_DEFAULT;
    uint64_t ef = 0;
    for (at += name.n; at < document.p + document.n && *at >= '0' && *at <= '9' && ef < EFFORT_MAX; at++)
        ef = 10 * ef + (uint64_t)(*at - '0');
    return ef < EFFORT_MIN ? EFFORT_MIN : ef > EFFORT_MAX ? EFFORT_MAX : (uint32_t)ef;
}
