/* schema_update.c - new_configuration of an update, applied to the stored configuration and schema documents.
 *
 * The documents are read into trees, the members that were given are replaced, and the trees are printed again: what this
 * program does not know in them stays as it is. Both vector indexes of the schema follow the configuration.
 * FAILURE  a stored document that is not what was written: ERR_CORRUPT, nothing is appended.
 */
#include "api/settings.h"

#include <inttypes.h>
#include <stdio.h>

static cJSON *read_document(struct str text, struct arena *a, enum err *e)
{
    struct json_reader *j = arena_alloc(a, sizeof *j);
    cJSON *tree = NULL;
    if (j == NULL) {
        *e = ERR_NOMEM;
        return NULL;
    }
    json_reader_init(j, text, a);
    if (!json_tree(j, &tree) || !json_finish(j)) {
        cJSON_Delete(tree);
        *e = j->err == ERR_NOMEM ? ERR_NOMEM : ERR_CORRUPT;
        return NULL;
    }
    return tree;
}

/* The object at a path of member names, or NULL. */
static cJSON *object_at(cJSON *tree, const char *const *path)
{
    for (; *path != NULL && tree != NULL; path++) tree = cJSON_GetObjectItemCaseSensitive(tree, *path);
    return cJSON_IsObject(tree) ? tree : NULL;
}

/* Replaces a member; one that is absent is put in behind the first. */
static bool set_raw(cJSON *object, const char *name, const char *text)
{
    cJSON *node = cJSON_CreateRaw(text), *rest, *next;
    if (node == NULL) return false;
    if (cJSON_GetObjectItemCaseSensitive(object, name) != NULL) {
        if (cJSON_ReplaceItemInObjectCaseSensitive(object, name, node)) return true;
        cJSON_Delete(node);
        return false;
    }
    if (!cJSON_AddItemToObject(object, name, node)) {
        cJSON_Delete(node);
        return false;
    }
    /* cJSON names a node only where it adds it, at the end: move those that belong behind it. Moving allocates
     * nothing, and an array's functions keep the names. */
    if (object->child == node) return true;
    for (rest = object->child->next; rest != node; rest = next) {
        next = rest->next;
        (void)cJSON_AddItemToArray(object, cJSON_DetachItemViaPointer(object, rest));
    }
    return true;
}

/* The given fields into an object of index parameters; those it does not show are left out. */
static bool set_fields(cJSON *hnsw, const struct hnsw_given *g)
{
    const struct {
        unsigned field;
        const char *name;
        uint64_t value;
    } sizes[] = {{HNSW_EF_SEARCH, "ef_search", g->values.ef_search},
                 {HNSW_MAX_NEIGHBORS, "max_neighbors", g->values.max_neighbors},
                 {HNSW_NUM_THREADS, "num_threads", g->values.num_threads},
                 {HNSW_SYNC_THRESHOLD, "sync_threshold", g->values.sync_threshold},
                 {HNSW_BATCH_SIZE, "batch_size", g->values.batch_size}};
    char text[32];
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if ((g->fields & sizes[i].field) == 0) continue;
        if (cJSON_GetObjectItemCaseSensitive(hnsw, sizes[i].name) == NULL) continue;
        (void)snprintf(text, sizeof text, "%" PRIu64, sizes[i].value);
        if (!set_raw(hnsw, sizes[i].name, text)) return false;
    }
    if ((g->fields & HNSW_RESIZE_FACTOR) == 0) return true;
    struct buf b = {0};
    json_put_double(&b, g->values.resize_factor);
    buf_char(&b, '\0');
    bool ok = b.err == ERR_OK && set_raw(hnsw, "resize_factor", b.p);
    buf_free(&b);
    return ok;
}

/* ERR_OK, ERR_NOMEM, or ERR_CORRUPT when the object that should hold the parameters is not there. */
static enum err change_parameters(cJSON *holder, const struct configuration *change, const char *function)
{
    cJSON *hnsw = cJSON_GetObjectItemCaseSensitive(holder, "hnsw");
    if (holder == NULL || !cJSON_IsObject(hnsw)) return ERR_CORRUPT;
    if (!set_fields(hnsw, &change->hnsw)) return ERR_NOMEM;
    if (function != NULL && !set_raw(holder, "embedding_function", function)) return ERR_NOMEM;
    return ERR_OK;
}

static enum err print(cJSON *tree, struct buf *out)
{
    char *text = cJSON_PrintUnformatted(tree);
    if (text == NULL) return ERR_NOMEM;
    buf_str(out, str_from_c(text));
    cJSON_free(text);
    return out->err;
}

enum err settings_update(struct str configuration, struct str schema, const struct configuration *change,
                         struct arena *a, struct buf *new_configuration, struct buf *new_schema, struct errmsg *em)
{
    static const char *const in_defaults[] = {"defaults", "float_list", "vector_index", "config", NULL};
    static const char *const in_embedding[] = {"keys", "#embedding", "float_list", "vector_index", "config", NULL};
    enum err e = ERR_OK;
    char *function = NULL;
    cJSON *c = read_document(configuration, a, &e), *s = NULL;
    if (c == NULL) goto fail;
    s = read_document(schema, a, &e);
    if (s == NULL) goto fail;
    if (change->function.text.p != NULL && (function = arena_cstr(a, change->function.text)) == NULL) {
        e = ERR_NOMEM;
        goto fail;
    }
    if ((e = change_parameters(c, change, function)) != ERR_OK) goto fail;
    if ((e = change_parameters(object_at(s, in_defaults), change, function)) != ERR_OK) goto fail;
    if ((e = change_parameters(object_at(s, in_embedding), change, function)) != ERR_OK) goto fail;
    if ((e = print(c, new_configuration)) != ERR_OK) goto fail;
    e = print(s, new_schema);
fail:
    cJSON_Delete(c);
    cJSON_Delete(s);
    return e == ERR_OK ? ERR_OK : errmsg_set(em, e, "The stored configuration cannot be changed: %s", err_text(e));
}
