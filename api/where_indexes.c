/* where_indexes.c - refuses filters that need an index which the collection's schema has switched off.
 *
 * Nothing here is needed to answer such a filter; upstream refuses it, and applications rely on being told. A schema
 * has for every value type a switch in `defaults`, and for a key maybe one of its own in `keys`.
 *
 * HAPPY PATH  nearly every schema leaves all switches as they are, which one look at its text shows: parsing is spared.
 * Else the text is parsed once a request, and the filter is walked depth first.
 * FAILURE  memory; a schema that does not parse counts as one without switches (it was validated when it was stored).
 */
#include "api/records.h"

#include <cjson/cJSON.h>

struct schema_switches {
    const cJSON *defaults, *keys;
};

/* True when the text can only be a schema whose switches are the default ones: full text on for the document, and the
 * one inverted index that is off is the document's, which the catalog never lets be on. A nested text of the same
 * spelling could only raise the count, which leads to the slow path. */
static bool has_default_switches(struct str schema)
{
    const struct str off = STR("inverted_index\":{\"enabled\":false");
    uint32_t n_off = 0;
    for (struct str rest = schema;;) {
        const char *at = rest.n == 0 ? NULL : memmem(rest.p, rest.n, off.p, off.n);
        if (at == NULL) break;
        n_off++;
        const char *next = at + off.n;
        rest = str_of(next, rest.n - (size_t)(next - rest.p));
    }
    return n_off == 1 && str_contains(schema, STR("\"fts_index\":{\"enabled\":true"));
}

static const cJSON *member(const cJSON *object, const char *name)
{
    return object == NULL ? NULL : cJSON_GetObjectItemCaseSensitive(object, name);
}

/* The switch of one value type: the key's own, else the default. On where neither says anything. */
static bool is_enabled(const struct schema_switches *s, const cJSON *key, const char *type, const char *index)
{
    const cJSON *own = member(member(member(key, type), index), "enabled");
    if (own == NULL) own = member(member(member(s->defaults, type), index), "enabled");
    return own == NULL || !cJSON_IsFalse(own);
}

static const cJSON *find_key(const struct schema_switches *s, struct str key)
{
    const cJSON *item = s->keys == NULL ? NULL : s->keys->child;
    while (item != NULL && !str_eq(str_from_c(item->string), key)) item = item->next;
    return item;
}

static struct str metadata_message(const struct schema_switches *s, struct str key, enum value_type type,
                                   struct arena *a, enum err *e)
{
    static const struct {
        const char *type, *index, *shown;
    } switches[] = {
        [VALUE_BOOL] = {"bool", "bool_inverted_index", "Bool"},
        [VALUE_INT] = {"int", "int_inverted_index", "Int"},
        [VALUE_FLOAT] = {"float", "float_inverted_index", "Float"},
        [VALUE_STR] = {"string", "string_inverted_index", "Str"},
    };
    CHECK(type >= VALUE_BOOL && type <= VALUE_STR && "filters compare scalars");
    if (is_enabled(s, find_key(s, key), switches[type].type, switches[type].index)) return (struct str){0};
    /* pieces, because the key may hold a NUL */
    struct buf text = {0};
    buf_lit(&text, "Cannot filter using metadata key '");
    buf_str(&text, key);
    buf_printf(&text, "' with type '%s' because indexing is disabled", switches[type].shown);
    struct str message = text.err == ERR_OK ? arena_str(a, buf_view(&text)) : (struct str){0};
    if (message.p == NULL) *e = ERR_NOMEM;
    buf_free(&text);
    return message;
}

static struct str node_message(const struct filter *f, const struct schema_switches *s, struct arena *a, enum err *e)
{
    switch (f->kind) {
    case FILTER_AND:
    case FILTER_OR:
        for (uint32_t i = 0; i < f->n_children; i++) {
            struct str message = node_message(f->children[i], s, a, e);
            if (message.p != NULL || *e != ERR_OK) return message;
        }
        return (struct str){0};
    case FILTER_DOC_CONTAINS:
    case FILTER_DOC_NOT_CONTAINS:
    case FILTER_DOC_REGEX:
    case FILTER_DOC_NOT_REGEX:
        if (is_enabled(s, find_key(s, STR("#document")), "string", "fts_index")) return (struct str){0};
        return STR("Cannot filter using full-text search because FTS indexing is disabled");
    case FILTER_EQ:
    case FILTER_NE:
    case FILTER_GT:
    case FILTER_GTE:
    case FILTER_LT:
    case FILTER_LTE:
    case FILTER_IN:
    case FILTER_NIN:
    case FILTER_CONTAINS:
    case FILTER_NOT_CONTAINS:
    case FILTER_ID_IN:
    case FILTER_ID_NOT_IN:
        return metadata_message(s, f->key, f->values[0].type, a, e);
    }
    return (struct str){0};
}

/* The one switch that is off by default: comparing the document as a string. */
static bool compares_document(const struct filter *f)
{
    for (uint32_t i = 0; i < f->n_children; i++) {
        if (compares_document(f->children[i])) return true;
    }
    return f->n_values > 0 && f->values[0].type == VALUE_STR && str_eq(f->key, STR("#document"));
}

struct str where_disabled_index(const struct filter *f, struct str schema, struct arena *a, enum err *e)
{
    *e = ERR_OK;
    if (f == NULL || (has_default_switches(schema) && !compares_document(f))) return (struct str){0};
    cJSON *tree = cJSON_ParseWithLength(schema.p, schema.n);
    struct schema_switches s = {member(tree, "defaults"), member(tree, "keys")};
    struct str message = node_message(f, &s, a, e);
    cJSON_Delete(tree);
    return message;
}
