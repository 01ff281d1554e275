/* schema_check.c - what a schema may not say (catalog.md 5.6), checked before anything is looked up.
 *
 * The first rule that is broken is the message. Sparse indexes may be enabled on any number of keys: upstream's single
 * node refuses them, this server does not.
 */
#include "api/settings.h"

#define DOCUMENT  STR("#document")
#define EMBEDDING STR("#embedding")

static bool check_defaults(const struct value_types *t, struct str *fault)
{
    if (t->vector.is_given && t->vector.enabled)
        *fault = STR("Vector index cannot be enabled by default. It can only be enabled on #embedding field.");
    else if (t->vector.hnsw.is_given && t->vector.has_spann)
        *fault = STR("Both spann and hnsw config cannot be present at the same time.");
    else if (t->sparse.is_given && t->sparse.enabled)
        *fault = STR("Sparse vector index cannot be enabled by default. Please enable sparse vector index on specific "
                     "keys. At most one sparse vector index is allowed for the collection.");
    else if (t->fts.is_given && t->fts.enabled)
        *fault = STR("Full text search / regular expression index cannot be enabled by default. It can only be enabled "
                     "on #document field.");
    else
        return true;
    return false;
}

static bool check_key(const struct schema_key *k, struct arena *a, struct str *fault)
{
    const struct value_types *t = &k->types;
    bool is_document = str_eq(k->key, DOCUMENT), is_embedding = str_eq(k->key, EMBEDDING);
    bool has_others = t->has_sparse || t->has_int || t->has_float || t->has_bool;
    const char *about_key = NULL; /* a message that ends in the key */
    struct str source = t->sparse.source_key;
    if (k->key.n > 0 && memchr(k->key.p, '\0', k->key.n) != NULL) {
        *fault = STR("key cannot contain a NUL character");
        return false;
    }
    if (k->key.n > 0 && k->key.p[0] == '#' && !is_document && !is_embedding)
        about_key = "key cannot begin with '#'. Keys starting with '#' are reserved for system use";
    else if (is_document && (has_others || t->has_float_list))
        about_key = "Document field cannot have any value types other than string";
    else if (is_embedding && (has_others || t->has_string))
        about_key = "Embedding field cannot have any value types other than float_list";
    else if (t->vector.is_given && t->vector.enabled && !is_embedding)
        about_key = "Vector index can only be enabled on #embedding field";
    if (about_key != NULL) {
        *fault = arena_printf(a, "%s: %.*s", about_key, STR_ARG(k->key));
        return false;
    }
    if (t->vector.source_key.p != NULL && !str_eq(t->vector.source_key, DOCUMENT)) {
        *fault = STR("Vector index can only source from #document");
        return false;
    }
    if (t->sparse.is_given && t->sparse.enabled && source.p != NULL && t->sparse.function.text.p == NULL) {
        *fault = STR("If source_key is provided then embedding_function must also be provided since there is no "
                     "default embedding function.");
        return false;
    }
    if (t->sparse.is_given && source.p != NULL && str_starts(source, STR("#")) && !str_eq(source, DOCUMENT)) {
        *fault = STR("source_key cannot begin with '#'. The only valid key starting with '#' is Key.DOCUMENT or "
                     "'#document'.");
        return false;
    }
    if (t->fts.is_given && t->fts.enabled && !is_document)
        about_key = "Full text search / regular expression index can only be enabled on #document field";
    else if (t->string_inverted.is_given && t->string_inverted.enabled && is_document)
        about_key = "String inverted index can not be enabled on #document key";
    if (about_key == NULL) return true;
    *fault = arena_printf(a, "%s: %.*s", about_key, STR_ARG(k->key));
    return false;
}

/* projects/P/locations/L/keyRings/R/cryptoKeys/K, each part not empty and without a slash. */
static bool is_gcp_key(struct str s)
{
    static const char *const words[] = {"projects/", "/locations/", "/keyRings/", "/cryptoKeys/"};
    for (size_t i = 0; i < 4; i++) {
        struct str word = str_from_c(words[i]);
        if (!str_starts(s, word)) return false;
        s.p += word.n;
        s.n -= word.n;
        const char *slash = s.n > 0 ? memchr(s.p, '/', s.n) : NULL;
        size_t n = slash != NULL ? (size_t)(slash - s.p) : s.n;
        if (n == 0) return false;
        s.p += n;
        s.n -= n;
    }
    return s.n == 0;
}

bool schema_check(const struct schema *s, struct arena *a, struct str *fault)
{
    if (!s->is_given) return true;
    if (!check_defaults(&s->defaults, fault)) return false;
    for (uint32_t i = 0; i < s->n_keys; i++)
        if (!check_key(&s->keys[i], a, fault)) return false;
    if (s->cmek.p != NULL && !is_gcp_key(s->cmek_gcp)) {
        *fault = arena_printf(a, "CMEK does not match expected pattern: Gcp(\"%.*s\")", STR_ARG(s->cmek_gcp));
        return false;
    }
    return true;
}
