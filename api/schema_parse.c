/* schema_parse.c - `schema` of a request into structs; what is missing stays missing.
 *
 * HAPPY PATH  defaults and keys each hold value types, these hold indexes, these a switch and a config.
 * FAILURE     wrong types, missing members and unknown members of a config fail the reader (422).
 */
#include "api/settings.h"

#include "api/json_internal.h"

#include <stdlib.h>

/* --- one index --------------------------------------------------------------------------------------------------- */

typedef bool (*config_reader)(struct json_reader *j, void *ctx);

/* {"enabled":bool,"config":{...}} or null. */
static bool parse_index(struct json_reader *j, const char *expected, config_reader config, void *ctx, bool *is_given,
                        bool *enabled)
{
    static const char *const names[] = {"enabled", "config"};
    struct json_fields f;
    if (json_peek(j) == JSON_NULL) return json_null(j);
    if (!json_enter_fields(j, &f, names, 2, false, expected)) return false;
    for (int i; (i = json_next_field(j, &f)) >= 0;) {
        if (i == 0 ? !json_bool(j, enabled, "a boolean") : !config(j, ctx)) return false;
    }
    if (!json_need_field(j, &f, 0) || !json_need_field(j, &f, 1)) return false;
    *is_given = true;
    return true;
}

static bool empty_config(struct json_reader *j, void *ctx)
{
    struct json_fields f;
    (void)ctx;
    if (!json_enter_fields(j, &f, NULL, 0, true, "struct IndexConfig")) return false;
    while (json_next_field(j, &f) >= 0) continue;
    return j->err == ERR_OK;
}

static bool parse_switch(struct json_reader *j, struct index_switch *s)
{
    return parse_index(j, "struct IndexType", empty_config, NULL, &s->is_given, &s->enabled);
}

static bool optional_string(struct json_reader *j, struct str *s)
{
    if (json_peek(j) == JSON_NULL) return json_null(j);
    return json_string(j, s, "a string");
}

static bool vector_config(struct json_reader *j, void *ctx)
{
    static const char *const names[] = {"space", "embedding_function", "source_key", "hnsw", "spann"};
    static const char *const hnsw_names[] = {"ef_construction", "max_neighbors",  "ef_search",    "num_threads",
                                             "batch_size",      "sync_threshold", "resize_factor"};
    static const enum hnsw_field hnsw_fields[] = {HNSW_EF_CONSTRUCTION, HNSW_MAX_NEIGHBORS, HNSW_EF_SEARCH,
                                                  HNSW_NUM_THREADS,     HNSW_BATCH_SIZE,    HNSW_SYNC_THRESHOLD,
                                                  HNSW_RESIZE_FACTOR};
    static const struct hnsw_fields hnsw_table = {hnsw_names, hnsw_fields, 7, "struct HnswIndexConfig"};
    struct vector_index *v = ctx;
    struct json_fields f;
    if (!json_enter_fields(j, &f, names, 5, true, "struct VectorIndexConfig")) return false;
    for (int i; (i = json_next_field(j, &f)) >= 0;) {
        bool ok = true;
        switch (i) {
        case 0:
            if (json_peek(j) == JSON_NULL) {
                ok = json_null(j);
            } else {
                ok = parse_space(j, &v->space);
                v->has_space = ok;
            }
            break;
        case 1:
            ok = parse_embedding_function(j, &v->function);
            break;
        case 2:
            ok = optional_string(j, &v->source_key);
            break;
        case 3:
            ok = parse_hnsw(j, &hnsw_table, &v->hnsw);
            break;
        default:
            /* Its parameters mean nothing on a single node, where it becomes an HNSW index of the same space. */
            v->has_spann = json_peek(j) != JSON_NULL;
            ok = v->has_spann ? parse_schema_spann(j) : json_null(j);
            break;
        }
        if (!ok) return false;
    }
    return j->err == ERR_OK;
}

static bool sparse_config(struct json_reader *j, void *ctx)
{
    static const char *const names[] = {"embedding_function", "source_key", "bm25", "algorithm"};
    struct sparse_index *s = ctx;
    struct json_fields f;
    struct str algorithm;
    if (!json_enter_fields(j, &f, names, 4, true, "struct SparseVectorIndexConfig")) return false;
    for (int i; (i = json_next_field(j, &f)) >= 0;) {
        bool ok;
        if (i == 0) {
            ok = parse_embedding_function(j, &s->function);
        } else if (i == 1) {
            ok = optional_string(j, &s->source_key);
        } else if (json_peek(j) == JSON_NULL) {
            ok = json_null(j);
        } else if (i == 2) {
            ok = json_bool(j, &s->bm25, "a boolean");
            s->has_bm25 = ok;
        } else {
            ok = parse_variant(j, &algorithm);
            if (ok && !str_eq(algorithm, STR("wand")) && !str_eq(algorithm, STR("max_score"))) {
                json_fail_shape(j, "unknown variant, expected `wand` or `max_score`");
                ok = false;
            }
        }
        if (!ok) return false;
    }
    return j->err == ERR_OK;
}

/* --- value types ------------------------------------------------------------------------------------------------- */

static bool parse_string_type(struct json_reader *j, struct value_types *t)
{
    static const char *const names[] = {"fts_index|$fts_index", "string_inverted_index|$string_inverted_index"};
    struct json_fields f;
    if (!json_enter_fields(j, &f, names, 2, false, "struct StringValueType")) return false;
    for (int i; (i = json_next_field(j, &f)) >= 0;)
        if (!parse_switch(j, i == 0 ? &t->fts : &t->string_inverted)) return false;
    return j->err == ERR_OK;
}

/* A value type with one index, which `read` reads. */
static bool parse_single_type(struct json_reader *j, const char *name, int type, struct value_types *t)
{
    struct json_fields f;
    if (!json_enter_fields(j, &f, &name, 1, false, "struct ValueType")) return false;
    while (json_next_field(j, &f) >= 0) {
        bool ok;
        switch (type) {
        case 1:
            ok = parse_index(j, "struct VectorIndexType", vector_config, &t->vector, &t->vector.is_given,
                             &t->vector.enabled);
            break;
        case 2:
            ok = parse_index(j, "struct SparseVectorIndexType", sparse_config, &t->sparse, &t->sparse.is_given,
                             &t->sparse.enabled);
            break;
        case 3:
            ok = parse_switch(j, &t->int_inverted);
            break;
        case 4:
            ok = parse_switch(j, &t->float_inverted);
            break;
        default:
            ok = parse_switch(j, &t->bool_inverted);
            break;
        }
        if (!ok) return false;
    }
    return j->err == ERR_OK;
}

static bool parse_types(struct json_reader *j, struct value_types *t)
{
    static const char *const names[] = {"string|#string", "float_list|#float_list", "sparse_vector|#sparse_vector",
                                        "int|#int",       "float|#float",           "bool|#bool"};
    static const char *const indexes[] = {NULL,
                                          "vector_index|$vector_index",
                                          "sparse_vector_index|$sparse_vector_index",
                                          "int_inverted_index|$int_inverted_index",
                                          "float_inverted_index|$float_inverted_index",
                                          "bool_inverted_index|$bool_inverted_index"};
    struct json_fields f;
    *t = (struct value_types){0};
    bool *const has[] = {&t->has_string, &t->has_float_list, &t->has_sparse, &t->has_int, &t->has_float, &t->has_bool};
    if (!json_enter_fields(j, &f, names, 6, false, "struct ValueTypes")) return false;
    for (int i; (i = json_next_field(j, &f)) >= 0;) {
        if (json_peek(j) == JSON_NULL) {
            if (!json_null(j)) return false;
            continue;
        }
        *has[i] = true;
        if (i == 0 ? !parse_string_type(j, t) : !parse_single_type(j, indexes[i], i, t)) return false;
    }
    return j->err == ERR_OK;
}

/* --- the whole --------------------------------------------------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
    const struct schema_key *const *x = a, *const *y = b;
    int c = str_cmp((*x)->key, (*y)->key);
    return c != 0 ? c : *x < *y ? -1 : 1;
}

/* Of equal keys the last counts, as in every map. */
static bool drop_repeated_keys(struct json_reader *j, struct schema *s)
{
    struct schema_key **order = arena_array(j->arena, s->n_keys, sizeof(struct schema_key *));
    bool *is_dropped = arena_array(j->arena, s->n_keys, sizeof(bool));
    uint32_t n = 0;
    if (order == NULL || is_dropped == NULL) {
        json_fail_nomem(j);
        return false;
    }
    for (uint32_t i = 0; i < s->n_keys; i++) order[i] = &s->keys[i];
    qsort(order, s->n_keys, sizeof(struct schema_key *), by_key);
    for (uint32_t i = 0; i + 1 < s->n_keys; i++)
        if (str_eq(order[i]->key, order[i + 1]->key)) is_dropped[order[i] - s->keys] = true;
    for (uint32_t i = 0; i < s->n_keys; i++)
        if (!is_dropped[i]) s->keys[n++] = s->keys[i];
    s->n_keys = n;
    return true;
}

static bool parse_keys(struct json_reader *j, struct schema *s)
{
    struct str key;
    uint32_t cap = 0;
    if (!json_enter_object(j, "a map")) return false;
    while (json_next_member(j, &key)) {
        if (s->n_keys == cap) {
            uint32_t more = cap == 0 ? 8 : cap * 2;
            struct schema_key *keys = cap > UINT32_MAX / 4 ? NULL : arena_array(j->arena, more, sizeof *keys);
            if (keys == NULL) {
                json_fail_nomem(j);
                return false;
            }
            if (s->n_keys > 0) memcpy(keys, s->keys, s->n_keys * sizeof *keys);
            s->keys = keys;
            cap = more;
        }
        s->keys[s->n_keys].key = key;
        if (!parse_types(j, &s->keys[s->n_keys].types)) return false;
        s->n_keys++;
    }
    return j->err == ERR_OK && (s->n_keys == 0 || drop_repeated_keys(j, s));
}

/* {"gcp":"..."} */
static bool parse_cmek(struct json_reader *j, struct schema *s)
{
    struct str key;
    struct buf text = {0};
    if (json_peek(j) == JSON_NULL) return json_null(j);
    if (json_peek(j) != JSON_OBJECT) {
        if (parse_variant(j, &key)) json_fail_shape(j, "invalid type: unit variant, expected newtype variant");
        return false;
    }
    if (!json_enter_object(j, "enum Cmek")) return false;
    while (json_next_member(j, &key)) {
        if (!str_eq(key, STR("gcp"))) {
            j->at = j->key_end;
            j->has_step = false;
            json_fail_shape(j, "unknown variant, expected `gcp`");
            return false;
        }
        if (!json_string(j, &s->cmek_gcp, "a string")) return false;
    }
    if (j->err != ERR_OK) return false;
    if (s->cmek_gcp.p == NULL) {
        json_fail_at(j, ERR_INVALID, j->at, "expected value");
        return false;
    }
    buf_lit(&text, "{\"gcp\":");
    json_put_string(&text, s->cmek_gcp);
    buf_char(&text, '}');
    s->cmek = text.err == ERR_OK ? arena_str(j->arena, buf_view(&text)) : (struct str){NULL, 0};
    buf_free(&text);
    if (s->cmek.p != NULL) return true;
    json_fail_nomem(j);
    return false;
}

bool parse_schema(struct json_reader *j, struct schema *s)
{
    static const char *const names[] = {"defaults", "keys|key_overrides", "cmek"};
    struct json_fields f;
    *s = (struct schema){0};
    if (json_peek(j) == JSON_NULL) return json_null(j);
    if (!json_enter_fields(j, &f, names, 3, false, "struct Schema")) return false;
    s->is_given = true;
    for (int i; (i = json_next_field(j, &f)) >= 0;) {
        bool ok = i == 0 ? parse_types(j, &s->defaults) : i == 1 ? parse_keys(j, s) : parse_cmek(j, s);
        if (!ok) return false;
    }
    return json_need_field(j, &f, 0) && json_need_field(j, &f, 1);
}
