/* forks.c - see catalog.h: collections that are made of others, and how many. The steps of a change: catalog.c.
 *
 * A fork is entered with its version and its lineage in one transaction, so that it is there whole or not at all; its
 * files are on disk before (api/fork.c), under a number that was reserved for it.
 *
 * FAILURES   as in catalog.h. A failed fork leaves its number unused for ever.
 * INVARIANTS every fork of a tree has the same root; a tree has a lineage row from its first fork to its last member.
 */
#include "catalog/internal.h"

#include "catalog/object.h"

static enum err no_memory(struct errmsg *em)
{
    return errmsg_set(em, ERR_NOMEM, "out of memory");
}

static enum err read_number(void *ctx, sqlite3_stmt *row, struct errmsg *em)
{
    (void)em;
    *(uint64_t *)ctx = (uint64_t)sqlite3_column_int64(row, 0);
    return ERR_OK;
}

enum err catalog_reserve_number(struct catalog *c, uint64_t *number, struct errmsg *em)
{
    uint64_t reserved = 0;
    catalog_lock(c);
    enum err e = sql_query(&c->sql, SQL_RESERVE_NUMBER, NULL, 0, read_number, &reserved, em);
    catalog_unlock(c);
    if (e == ERR_OK && reserved == 0) e = errmsg_set(em, ERR_CORRUPT, "there is no sequence of collections' numbers");
    if (e != ERR_OK) {
        errmsg_wrap(em, "reserve a number");
        return e;
    }
    *number = reserved;
    return ERR_OK;
}

static enum err insert_fork(struct catalog *c, const struct catalog_fork *in, const struct catalog_collection *state,
                            struct errmsg *em)
{
    const struct sql_value number = sql_int((int64_t)in->number);
    const struct sql_value row[] = {number, sql_blob(state->id.b, sizeof state->id.b), sql_text(state->name),
                                    sql_int((int64_t)in->source)};
    enum err e = sql_begin(&c->sql, em);
    if (e != ERR_OK) return e;
    uint64_t n_forks = 0;
    e = catalog_change_row(c, SQL_ADD_FORK, row, 4, em);
    if (e == ERR_OK) e = catalog_change_row(c, SQL_COUNT_FORK, &number, 1, em);
    if (e == ERR_OK && in->forks_max > 0) e = sql_query(&c->sql, SQL_GET_FORKS, &number, 1, read_number, &n_forks, em);
    if (e == ERR_OK && n_forks > in->forks_max) e = errmsg_set(em, ERR_QUOTA, "there are forks enough");
    if (e == ERR_OK && in->version != NULL) e = catalog_put_version(c, in->version, em);
    if (e == ERR_OK) return sql_commit(&c->sql, em);
    sql_rollback(&c->sql);
    return e;
}

/* The state and its entry, with the live object attached: freed with them from here on. NULL when memory is short, and
 * then the live object is freed already. */
static struct view_collection *entry_new(const struct catalog_fork *in, const struct catalog_collection *source)
{
    struct catalog_collection fields = {.number = in->number,
                                        .id = uuid_new(),
                                        .tenant = source->tenant,
                                        .database = source->database,
                                        .name = in->name,
                                        .configuration = source->configuration,
                                        .schema = source->schema,
                                        .metadata = source->metadata,
                                        .space = source->space};
    struct catalog_collection *state = object_new(&fields);
    if (state == NULL) {
        in->runtime->free_runtime(in->runtime);
        return NULL;
    }
    object_attach(state, in->runtime);
    struct view_collection *entry = view_collection_new(state);
    if (entry == NULL) catalog_collection_unref(state);
    return entry;
}

/* With the change mutex. */
static enum err add_fork(struct catalog *c, const struct catalog_fork *in, const struct catalog_collection **col,
                         struct errmsg *em)
{
    const struct view_collection *source = view_find_number(&c->view, in->source);
    enum err e = ERR_OK;
    if (source == NULL)
        e = errmsg_set(em, ERR_NOT_FOUND, "no such collection");
    else if (view_find_name(&c->view, source->database, in->name) != NULL)
        e = errmsg_set(em, ERR_EXISTS, "the collection exists");
    else if (in->tenant_max > 0 && source->database->tenant->n_collections >= in->tenant_max)
        e = errmsg_set(em, ERR_QUOTA, "the tenant has %zu collections", source->database->tenant->n_collections);
    if (e != ERR_OK) {
        in->runtime->free_runtime(in->runtime);
        return e;
    }
    struct view_collection *entry = entry_new(in, source->state);
    if (entry == NULL) return no_memory(em);
    e = insert_fork(c, in, entry->state, em);
    if (e != ERR_OK) {
        view_collection_free(entry);
        return e;
    }
    *col = catalog_collection_ref(entry->state);
    view_add_collection(&c->view, source->database, entry);
    return ERR_OK;
}

enum err catalog_fork_collection(struct catalog *c, const struct catalog_fork *in,
                                 const struct catalog_collection **col, struct errmsg *em)
{
    CHECK((in->version == NULL || in->version->number == in->number) && "the version is the fork's");
    catalog_lock(c);
    enum err e = add_fork(c, in, col, em);
    catalog_unlock(c);
    if (e != ERR_OK) errmsg_wrap(em, "fork collection %llu", (unsigned long long)in->source);
    return e;
}

enum err catalog_count_forks(struct catalog *c, uint64_t number, uint64_t *n, struct errmsg *em)
{
    uint64_t found = 0; /* no row: never forked */
    enum err e = ERR_OK;
    catalog_lock(c);
    if (view_find_number(&c->view, number) == NULL) {
        e = errmsg_set(em, ERR_NOT_FOUND, "no such collection");
    } else {
        const struct sql_value values[] = {sql_int((int64_t)number)};
        e = sql_query(&c->sql, SQL_GET_FORKS, values, 1, read_number, &found, em);
    }
    catalog_unlock(c);
    if (e != ERR_OK) {
        errmsg_wrap(em, "count the forks of collection %llu", (unsigned long long)number);
        return e;
    }
    *n = found;
    return ERR_OK;
}
