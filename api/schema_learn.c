/* schema_learn.c - a collection's schema lists the metadata keys that were written, with the types of their values.
 *
 * Upstream's clients show this list. An entry is a copy of the switches that `defaults` has for the type, so it changes
 * no behaviour: where it cannot be written, the write that brought the key goes on without it.
 *
 * HAPPY PATH  the entries of the block are compared with those of the row before, which in nearly every request is all
 *             there is to do; what differs is looked up in a small table that starts with the schema's own keys.
 *             Only something new leads to a change of the document, under update_mutex: read, add, write back.
 * LIMIT       a schema learns up to SCHEMA_KEYS_MAX keys: it is sent with every collection object, and a client that
 *             makes up a key a record must not make it grow without end.
 * OVER-EAGER  keys of rows that the write then skips (an id that exists, in add) are learned too.
 */
#include "api/collections.h"

#include "core/batch.h"
#include "core/hash.h"
#include "core/logger.h"
#include "core/value.h"

enum { SCHEMA_KEYS_MAX = 1024, FIRST_SLOTS = 64 };

enum { TYPE_STRING = 1, TYPE_INT = 2, TYPE_FLOAT = 4, TYPE_BOOL = 8, N_TYPES = 4 };
static const char *const type_names[N_TYPES] = {"string", "int", "float", "bool"};

static unsigned type_of(enum value_type t)
{
    switch (t) {
    case VALUE_STR:
    case VALUE_STRS:
        return TYPE_STRING;
    case VALUE_INT:
    case VALUE_INTS:
        return TYPE_INT;
    case VALUE_FLOAT:
    case VALUE_FLOATS:
        return TYPE_FLOAT;
    case VALUE_BOOL:
    case VALUE_BOOLS:
        return TYPE_BOOL;
    default:
        return 0; /* nulls say nothing; sparse vectors are declared, not learned */
    }
}

/* --- what is known ----------------------------------------------------------------------------------------------- */

struct known {
    struct str key;      /* .p == NULL: a free slot */
    unsigned types, new; /* new: those that the schema does not list yet */
};

struct table {
    struct arena *arena;
    struct known *slots; /* open addressing; never more than half full */
    uint32_t n_slots, n_keys, n_new;
};

static struct known *slot_of(struct known *slots, uint32_t n_slots, struct str key)
{
    uint32_t at = (uint32_t)hash_bytes(key.p, key.n, hash_process_seed());
    while (slots[at & (n_slots - 1)].key.p != NULL && !str_eq(slots[at & (n_slots - 1)].key, key)) at++;
    return &slots[at & (n_slots - 1)];
}

/* Adds what is not there. False: memory is short, or the limit is reached. */
static bool note(struct table *t, struct str key, unsigned types, bool is_new)
{
    if (2 * (t->n_keys + 1) > t->n_slots) {
        uint32_t more = t->n_slots == 0 ? FIRST_SLOTS : 2 * t->n_slots;
        struct known *slots = arena_array(t->arena, more, sizeof *slots);
        if (slots == NULL) return false;
        for (uint32_t i = 0; i < t->n_slots; i++)
            if (t->slots[i].key.p != NULL) *slot_of(slots, more, t->slots[i].key) = t->slots[i];
        t->slots = slots;
        t->n_slots = more;
    }
    struct known *k = slot_of(t->slots, t->n_slots, key);
    if (k->key.p == NULL) {
        if (t->n_keys == SCHEMA_KEYS_MAX) return false;
        k->key = key;
        t->n_keys++;
    }
    unsigned added = types & ~k->types;
    k->types |= added;
    if (is_new && added != 0) {
        k->new |= added;
        t->n_new++;
    }
    return true;
}

/* The keys that a schema document lists. False: it cannot be read. */
static bool read_known(struct str schema, struct table *t)
{
    struct json_reader *j = arena_alloc(t->arena, sizeof *j);
    struct str member, key, type;
    if (j == NULL) return false;
    json_reader_init(j, schema, t->arena);
    if (!json_enter_object(j, "")) return false;
    while (json_next_member(j, &member)) {
        if (!str_eq(member, STR("keys"))) {
            (void)json_skip(j);
            continue;
        }
        (void)json_enter_object(j, "");
        while (json_next_member(j, &key)) {
            unsigned types = 0;
            (void)json_enter_object(j, "");
            while (json_next_member(j, &type)) {
                for (unsigned i = 0; i < N_TYPES; i++)
                    if (str_eq(type, str_from_c(type_names[i]))) types |= 1u << i;
                (void)json_skip(j);
            }
            if (!note(t, key, types, false)) return false;
        }
    }
    return json_finish(j);
}

/* --- what a block brings ----------------------------------------------------------------------------------------- */

/* Steps through two rows' metadata side by side: equal entries need no look-up. */
static bool note_row(struct table *t, struct bytes meta, struct bytes before)
{
    struct meta_iter it = meta_iter(meta), old_it = meta_iter(before);
    struct meta_entry e, old = {.key = {NULL, 0}};
    while (meta_next(&it, &e)) {
        bool has_old = meta_next(&old_it, &old);
        unsigned type = type_of(e.type);
        if (type == 0 || (has_old && type == type_of(old.type) && str_eq(e.key, old.key))) continue;
        if (str_starts(e.key, STR("chroma:"))) continue;      /* the server's own, not shown anywhere */
        if (memchr(e.key.p, '\0', e.key.n) != NULL) continue; /* no place in a tree of C strings */
        if (!note(t, e.key, type, true)) return false;
    }
    return true;
}

static void note_block(struct table *t, struct bytes block)
{
    const struct batch_row *rows = batch_rows(block);
    struct bytes before = {NULL, 0};
    for (uint32_t i = 0; i < batch_n_rows(block); i++) {
        struct bytes meta = batch_meta(block, &rows[i]);
        if (meta.n == 0) continue;
        if (!note_row(t, meta, before)) return;
        before = meta;
    }
}

/* --- writing it down --------------------------------------------------------------------------------------------- */

static bool add_types(cJSON *keys, const cJSON *defaults, const char *name, unsigned types)
{
    cJSON *key = cJSON_GetObjectItemCaseSensitive(keys, name);
    if (key == NULL) key = cJSON_AddObjectToObject(keys, name);
    if (key == NULL) return false;
    for (unsigned i = 0; i < N_TYPES; i++) {
        const cJSON *type = cJSON_GetObjectItemCaseSensitive(defaults, type_names[i]);
        if ((types >> i & 1) == 0 || type == NULL) continue;
        if (cJSON_GetObjectItemCaseSensitive(key, type_names[i]) != NULL) continue; /* learned meanwhile */
        cJSON *copy = cJSON_Duplicate(type, true);
        if (copy == NULL || !cJSON_AddItemToObject(key, type_names[i], copy)) {
            cJSON_Delete(copy);
            return false;
        }
    }
    return true;
}

static enum err write_learned(struct catalog *c, const struct catalog_collection *now, const struct table *t,
                              struct errmsg *em)
{
    struct json_reader *j = arena_alloc(t->arena, sizeof *j);
    cJSON *tree = NULL, *keys, *defaults;
    char *text = NULL, *name;
    enum err e = ERR_NOMEM;
    if (j == NULL) return errmsg_set(em, e, "out of memory");
    json_reader_init(j, now->schema, t->arena);
    if (!json_tree(j, &tree) || !json_finish(j)) {
        e = errmsg_set(em, ERR_CORRUPT, "the stored schema cannot be read");
        goto fail;
    }
    keys = cJSON_GetObjectItemCaseSensitive(tree, "keys");
    defaults = cJSON_GetObjectItemCaseSensitive(tree, "defaults");
    if (!cJSON_IsObject(keys) || !cJSON_IsObject(defaults)) {
        e = errmsg_set(em, ERR_CORRUPT, "the stored schema has no keys");
        goto fail;
    }
    for (uint32_t i = 0; i < t->n_slots; i++) {
        if (t->slots[i].new == 0) continue;
        if ((name = arena_cstr(t->arena, t->slots[i].key)) == NULL) goto fail;
        if (!add_types(keys, defaults, name, t->slots[i].new)) goto fail;
    }
    if ((text = cJSON_PrintUnformatted(tree)) == NULL) goto fail;
    e = catalog_update_collection(c, now->number, &(struct catalog_update){.schema = str_from_c(text)}, em);
fail:
    cJSON_free(text);
    cJSON_Delete(tree);
    return e;
}

void schema_learn_block(struct catalog *catalog, pthread_mutex_t *update_mutex, struct arena *a,
                        const struct catalog_collection *col, struct bytes block)
{
    struct table t = {.arena = a};
    struct errmsg em = {{0}};
    enum err e = ERR_OK;
    bool has_meta = false;
    const struct batch_row *rows = batch_rows(block);
    for (uint32_t i = 0; i < batch_n_rows(block) && !has_meta; i++) has_meta = batch_meta(block, &rows[i]).n > 0;
    if (!has_meta || !read_known(col->schema, &t)) return;
    note_block(&t, block);
    if (t.n_new == 0) return;
    if (update_mutex != NULL) (void)pthread_mutex_lock(update_mutex);
    const struct catalog_collection *now = catalog_collection_by_number(catalog, col->number);
    if (now != NULL) e = write_learned(catalog, now, &t, &em);
    catalog_collection_unref(now);
    if (update_mutex != NULL) (void)pthread_mutex_unlock(update_mutex);
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        log_warn("collection %.*s: keys not learned: %s", STR_ARG(col->name), em.text);
}

void schema_learn(struct api_request *r, const struct catalog_collection *col, struct bytes block)
{
    schema_learn_block(store_catalog(r->api->store), &r->api->update_mutex, &r->arena, col, block);
}
