/* collections.c - see catalog.h: collections and their index versions. The steps of a change: catalog.c.
 *
 * FAILURES   as in catalog.c.
 * INVARIANTS a state that others can see is never written to, `runtime` excepted.
 */
#include "catalog/internal.h"

#include <stdatomic.h>

#include "catalog/object.h"

static enum err no_memory(struct errmsg *em)
{
    return errmsg_set(em, ERR_NOMEM, "out of memory");
}

/* An absent name is an empty one: the column may not be NULL. */
static struct sql_value name_value(struct str name)
{
    return sql_text(str_of(name.n > 0 ? name.p : "", name.n));
}

static struct sql_value metadata_value(struct bytes metadata)
{
    return metadata.n > 0 ? sql_blob(metadata.p, metadata.n) : sql_blob(NULL, 0);
}

/* --- creating ----------------------------------------------------------------------------------------------------- */

/* Inserts the row and attaches the live object; gives `state` its number. */
static enum err insert(struct catalog *c, const struct view_database *d, const struct catalog_new_collection *in,
                       struct catalog_collection *state, struct errmsg *em)
{
    const struct sql_value v[] = {sql_blob(state->id.b, sizeof state->id.b),
                                  sql_int((int64_t)d->number),
                                  name_value(state->name),
                                  sql_int(state->space),
                                  sql_text(state->configuration),
                                  sql_text(state->schema),
                                  metadata_value(state->metadata)};
    enum err e = sql_begin(&c->sql, em);
    if (e != ERR_OK) return e;
    e = catalog_change_row(c, SQL_ADD_COLLECTION, v, 7, em);
    if (e != ERR_OK) goto fail;
    state->number = (uint64_t)sqlite3_last_insert_rowid(c->sql.db);
    if (in->attach != NULL) {
        struct catalog_runtime *runtime = NULL;
        e = in->attach(in->attach_ctx, state, &runtime, em);
        if (e != ERR_OK) goto fail;
        object_attach(state, runtime); /* goes with the state should the commit fail */
    }
    return sql_commit(&c->sql, em);

fail:
    sql_rollback(&c->sql);
    return e;
}

/* With the change mutex. On success *col is a reference for the caller. */
static enum err create(struct catalog *c, const struct catalog_new_collection *in,
                       const struct catalog_collection **col, bool *is_new, struct errmsg *em)
{
    struct view_database *d = view_find_database(&c->view, in->tenant, in->database);
    if (d == NULL) return errmsg_set(em, ERR_NOT_FOUND, "no such database");
    const struct view_collection *there = view_find_name(&c->view, d, in->name);
    if (there != NULL) {
        if (!in->get_or_create) return errmsg_set(em, ERR_EXISTS, "the collection exists");
        *col = catalog_collection_ref(there->state);
        *is_new = false;
        return ERR_OK;
    }
    if (in->tenant_max > 0 && d->tenant->n_collections >= in->tenant_max)
        return errmsg_set(em, ERR_QUOTA, "the tenant has %zu collections", d->tenant->n_collections);
    if (in->id != NULL && view_find_id(&c->view, in->id) != NULL)
        return errmsg_set(em, ERR_EXISTS, "a collection has that id already");
    const struct catalog_collection fields = {.id = in->id != NULL ? *in->id : uuid_new(),
                                              .tenant = in->tenant,
                                              .database = in->database,
                                              .name = str_of(in->name.n > 0 ? in->name.p : "", in->name.n),
                                              .configuration = in->configuration,
                                              .schema = in->schema,
                                              .metadata = in->metadata,
                                              .space = in->space};
    struct catalog_collection *state = object_new(&fields);
    if (state == NULL) return no_memory(em);
    struct view_collection *entry = view_collection_new(state);
    if (entry == NULL) {
        catalog_collection_unref(state);
        return no_memory(em);
    }
    enum err e = insert(c, d, in, state, em);
    if (e != ERR_OK) {
        view_collection_free(entry);
        errmsg_wrap(em, "create a collection");
        return e;
    }
    *col = catalog_collection_ref(state);
    *is_new = true;
    view_add_collection(&c->view, d, entry);
    return ERR_OK;
}

enum err catalog_create_collection(struct catalog *c, const struct catalog_new_collection *in,
                                   const struct catalog_collection **col, bool *is_new, struct errmsg *em)
{
    if (in->get_or_create) { /* most often it is there: no need to wait for other changes */
        const struct catalog_collection *there = catalog_collection_by_name(c, in->tenant, in->database, in->name);
        if (there != NULL) {
            *col = there;
            *is_new = false;
            return ERR_OK;
        }
    }
    catalog_lock(c);
    enum err e = create(c, in, col, is_new, em);
    catalog_unlock(c);
    return e;
}

/* --- lookups ------------------------------------------------------------------------------------------------------ */

static const struct catalog_collection *ref_of(const struct view_collection *entry)
{
    return entry != NULL ? catalog_collection_ref(entry->state) : NULL;
}

const struct catalog_collection *catalog_collection_by_name(struct catalog *c, struct str tenant, struct str database,
                                                            struct str name)
{
    view_read_lock(&c->view);
    const struct view_database *d = view_find_database(&c->view, tenant, database);
    const struct catalog_collection *col = d != NULL ? ref_of(view_find_name(&c->view, d, name)) : NULL;
    view_unlock(&c->view);
    return col;
}

const struct catalog_collection *catalog_collection_by_id(struct catalog *c, struct str tenant, struct str database,
                                                          const struct uuid *id)
{
    view_read_lock(&c->view);
    const struct catalog_collection *col = ref_of(view_find_id(&c->view, id));
    view_unlock(&c->view);
    if (col == NULL || (str_eq(col->tenant, tenant) && str_eq(col->database, database))) return col;
    catalog_collection_unref(col);
    return NULL;
}

const struct catalog_collection *catalog_collection_by_number(struct catalog *c, uint64_t number)
{
    view_read_lock(&c->view);
    const struct catalog_collection *col = ref_of(view_find_number(&c->view, number));
    view_unlock(&c->view);
    return col;
}

enum err catalog_list_collections(struct catalog *c, struct str tenant, struct str database, uint32_t limit,
                                  uint32_t offset, struct arena *a, const struct catalog_collection ***list, size_t *n)
{
    view_read_lock(&c->view);
    const struct view_database *d = view_find_database(&c->view, tenant, database);
    size_t count = d != NULL ? rank_tree_page(&d->collections, offset, limit) : 0;
    const struct catalog_collection **out = arena_array(a, count > 0 ? count : 1, sizeof *out);
    if (out != NULL && count > 0) view_ref_page(d, offset, count, out);
    view_unlock(&c->view);
    if (out == NULL) return ERR_NOMEM;
    *list = out;
    *n = count;
    return ERR_OK;
}

uint64_t catalog_count_collections(struct catalog *c, struct str tenant, struct str database)
{
    view_read_lock(&c->view);
    const struct view_database *d = view_find_database(&c->view, tenant, database);
    uint64_t n = d != NULL ? rank_tree_count(&d->collections) : 0;
    view_unlock(&c->view);
    return n;
}

enum err catalog_all_collections(struct catalog *c, struct arena *a, const struct catalog_collection ***list, size_t *n)
{
    view_read_lock(&c->view);
    size_t count = c->view.by_number.n;
    const struct catalog_collection **out = arena_array(a, count > 0 ? count : 1, sizeof *out);
    if (out != NULL) view_ref_all(&c->view, out);
    view_unlock(&c->view);
    if (out == NULL) return ERR_NOMEM;
    *list = out;
    *n = count;
    return ERR_OK;
}

/* --- changing and deleting ---------------------------------------------------------------------------------------- */

static enum err update(struct catalog *c, struct view_collection *entry, const struct catalog_update *u,
                       struct errmsg *em)
{
    const struct catalog_collection *old = entry->state;
    if (u->name.p != NULL) {
        const struct view_collection *there = view_find_name(&c->view, entry->database, u->name);
        if (there != NULL && there != entry) return errmsg_set(em, ERR_EXISTS, "the new name is taken");
    }
    const struct catalog_collection fields = {
        .number = old->number,
        .id = old->id,
        .tenant = old->tenant,
        .database = old->database,
        .name = u->name.p != NULL ? u->name : old->name,
        .configuration = u->configuration.p != NULL ? u->configuration : old->configuration,
        .schema = u->schema.p != NULL ? u->schema : old->schema,
        .metadata = u->set_metadata ? u->metadata : old->metadata,
        .space = old->space,
    };
    struct catalog_collection *state = object_new(&fields);
    if (state == NULL) return no_memory(em);
    const struct sql_value v[] = {sql_int((int64_t)state->number), name_value(state->name),
                                  sql_text(state->configuration), sql_text(state->schema),
                                  metadata_value(state->metadata)};
    enum err e = catalog_change_row(c, SQL_UPDATE_COLLECTION, v, 5, em);
    if (e != ERR_OK) {
        catalog_collection_unref(state);
        errmsg_wrap(em, "update a collection");
        return e;
    }
    atomic_store_explicit(&c->leaves, true, memory_order_relaxed);
    view_replace_state(&c->view, entry, state);
    return ERR_OK;
}

enum err catalog_update_collection(struct catalog *c, uint64_t number, const struct catalog_update *u,
                                   struct errmsg *em)
{
    bool is_empty = u->name.p == NULL && u->configuration.p == NULL && u->schema.p == NULL && !u->set_metadata;
    enum err e = ERR_OK;
    catalog_lock(c);
    struct view_collection *entry = view_find_number(&c->view, number);
    if (entry == NULL)
        e = errmsg_set(em, ERR_NOT_FOUND, "no such collection");
    else if (!is_empty)
        e = update(c, entry, u, em);
    catalog_unlock(c);
    return e;
}

enum err catalog_delete_collection(struct catalog *c, struct str tenant, struct str database, struct str name,
                                   const struct catalog_collection **col, struct errmsg *em)
{
    enum err e;
    catalog_lock(c);
    const struct view_database *d = view_find_database(&c->view, tenant, database);
    struct view_collection *entry = d != NULL ? view_find_name(&c->view, d, name) : NULL;
    if (entry == NULL) {
        e = errmsg_set(em, ERR_NOT_FOUND, "no such collection");
        goto out;
    }
    const struct sql_value v[] = {sql_int((int64_t)entry->state->number)};
    e = catalog_change_row(c, SQL_DROP_COLLECTION, v, 1, em); /* its version goes by cascade */
    if (e != ERR_OK) {
        errmsg_wrap(em, "delete a collection");
        goto out;
    }
    atomic_store_explicit(&c->leaves, true, memory_order_relaxed);
    if (col != NULL) *col = catalog_collection_ref(entry->state);
    view_remove_collection(&c->view, entry);

out:
    catalog_unlock(c);
    return e;
}

bool catalog_set_runtime(struct catalog *c, uint64_t number, struct catalog_runtime *runtime)
{
    return view_set_runtime(&c->view, number, runtime);
}

/* --- index versions ----------------------------------------------------------------------------------------------- */

enum err catalog_put_version(struct catalog *c, const struct catalog_version *v, struct errmsg *em)
{
    if (v->number > INT64_MAX) return errmsg_set(em, ERR_NOT_FOUND, "no such collection");
    if (v->version == 0 || v->version > INT64_MAX || v->log_position > INT64_MAX || v->next_ordinal > INT64_MAX ||
        v->n_rows > INT64_MAX || v->file_bytes > INT64_MAX) {
        return errmsg_set(em, ERR_INVALID, "publish a version: a number is out of range");
    }
    const struct sql_value values[] = {sql_int((int64_t)v->number),       sql_int((int64_t)v->version),
                                       sql_int((int64_t)v->log_position), sql_int((int64_t)v->next_ordinal),
                                       sql_int((int64_t)v->dimension),    name_value(v->manifest),
                                       sql_int((int64_t)v->n_rows),       sql_int((int64_t)v->file_bytes)};
    int n_changed = 0;
    enum err e = sql_change(&c->sql, SQL_PUBLISH, values, 8, &n_changed, em);
    if (e == ERR_OK && n_changed == 0) {
        e = errmsg_set(em, ERR_INVALID, "version %llu at position %llu does not come after the current one",
                       (unsigned long long)v->version, (unsigned long long)v->log_position);
    }
    return e;
}

enum err catalog_publish_version(struct catalog *c, const struct catalog_version *v, struct errmsg *em)
{
    catalog_lock(c);
    enum err e = catalog_put_version(c, v, em);
    catalog_unlock(c);
    if (e != ERR_OK) errmsg_wrap(em, "publish a version of collection %llu", (unsigned long long)v->number);
    return e;
}

struct version_reader {
    struct arena *arena;
    struct catalog_version v;     /* the last one read */
    struct catalog_version *list; /* all of them (keep_version) */
    size_t n, cap;
};

static enum err read_version(void *ctx, sqlite3_stmt *row, struct errmsg *em)
{
    struct version_reader *r = ctx;
    struct bytes manifest;
    enum err e = sql_column(row, 5, &manifest, em);
    if (e != ERR_OK) return e;
    r->v = (struct catalog_version){
        .number = (uint64_t)sqlite3_column_int64(row, 0),
        .version = (uint64_t)sqlite3_column_int64(row, 1),
        .log_position = (uint64_t)sqlite3_column_int64(row, 2),
        .next_ordinal = (uint64_t)sqlite3_column_int64(row, 3),
        .dimension = (uint32_t)sqlite3_column_int64(row, 4),
        .manifest = arena_str(r->arena, (struct str){manifest.p, manifest.n}),
        .n_rows = (uint64_t)sqlite3_column_int64(row, 6),
        .file_bytes = (uint64_t)sqlite3_column_int64(row, 7),
        .is_measured = sqlite3_column_type(row, 6) != SQLITE_NULL && sqlite3_column_type(row, 7) != SQLITE_NULL,
    };
    return r->v.manifest.p != NULL ? ERR_OK : no_memory(em);
}

static enum err keep_version(void *ctx, sqlite3_stmt *row, struct errmsg *em)
{
    struct version_reader *r = ctx;
    enum err e = read_version(r, row, em);
    if (e != ERR_OK) return e;
    if (r->n == r->cap) {
        size_t cap = r->cap > 0 ? r->cap * 2 : 64;
        struct catalog_version *list = arena_array(r->arena, cap, sizeof *list);
        if (list == NULL) return no_memory(em);
        if (r->n > 0) memcpy(list, r->list, r->n * sizeof *list);
        r->list = list;
        r->cap = cap;
    }
    r->list[r->n++] = r->v;
    return ERR_OK;
}

enum err catalog_read_versions(struct sql *s, struct arena *a, struct catalog_version **list, size_t *n,
                               struct errmsg *em)
{
    struct version_reader r = {.arena = a};
    enum err e = sql_query(s, SQL_ALL_VERSIONS, NULL, 0, keep_version, &r, em);
    if (e != ERR_OK) {
        errmsg_wrap(em, "read the versions of all collections");
        return e;
    }
    *list = r.list;
    *n = r.n;
    return ERR_OK;
}

enum err catalog_all_versions(struct catalog *c, struct arena *a, struct catalog_version **list, size_t *n,
                              struct errmsg *em)
{
    catalog_lock(c);
    enum err e = catalog_read_versions(&c->sql, a, list, n, em);
    catalog_unlock(c);
    return e;
}

enum err catalog_get_version(struct catalog *c, uint64_t number, struct arena *a, struct catalog_version *v,
                             struct errmsg *em)
{
    struct version_reader r = {.arena = a, .v = {.number = number}};
    enum err e = ERR_OK;
    catalog_lock(c);
    if (view_find_number(&c->view, number) == NULL) {
        e = errmsg_set(em, ERR_NOT_FOUND, "no such collection");
    } else {
        const struct sql_value values[] = {sql_int((int64_t)number)};
        e = sql_query(&c->sql, SQL_GET_VERSION, values, 1, read_version, &r, em);
    }
    catalog_unlock(c);
    if (e != ERR_OK) {
        errmsg_wrap(em, "read the version of collection %llu", (unsigned long long)number);
        return e;
    }
    *v = r.v;
    return ERR_OK;
}
