/* load.c - from the tables into the view, once, at start.
 *
 * FAILURES   a row that the tables' own rules exclude is ERR_CORRUPT: the rules of a file can be tampered with.
 * INVARIANTS afterwards the view holds exactly what the tables hold.
 */
#include "catalog/internal.h"
#include "catalog/object.h"

static struct str str_of_bytes(struct bytes b)
{
    return (struct str){b.p, b.n};
}

static enum err no_memory(struct errmsg *em)
{
    return errmsg_set(em, ERR_NOMEM, "out of memory");
}

static enum err read_columns(sqlite3_stmt *row, const int *columns, int n, struct bytes *out, struct errmsg *em)
{
    for (int i = 0; i < n; i++) {
        enum err e = sql_column(row, columns[i], &out[i], em);
        if (e != ERR_OK) return e;
    }
    return ERR_OK;
}

static enum err load_tenant(void *ctx, sqlite3_stmt *row, struct errmsg *em)
{
    struct catalog *c = ctx;
    struct bytes name;
    enum err e = sql_column(row, 0, &name, em);
    if (e != ERR_OK) return e;
    struct view_tenant *t = view_tenant_new(str_of_bytes(name));
    if (t == NULL) return no_memory(em);
    view_add_tenant(&c->view, t);
    return ERR_OK;
}

static enum err load_database(void *ctx, sqlite3_stmt *row, struct errmsg *em)
{
    struct catalog *c = ctx;
    struct bytes b[3]; /* id, tenant, name */
    enum err e = read_columns(row, (const int[]){1, 2, 3}, 3, b, em);
    if (e != ERR_OK) return e;
    struct uuid id;
    int64_t number = sqlite3_column_int64(row, 0);
    if (b[0].n != sizeof id.b || number <= 0 || b[1].p == NULL || b[2].p == NULL) {
        return errmsg_set(em, ERR_CORRUPT, "table databases: row %lld is malformed", (long long)number);
    }
    memcpy(id.b, b[0].p, sizeof id.b);
    struct view_tenant *t = view_tenant_new(str_of_bytes(b[1]));
    struct view_database *d = view_database_new(str_of_bytes(b[2]), &id);
    if (t == NULL || d == NULL) {
        view_tenant_free(t);
        view_database_free(d);
        return no_memory(em);
    }
    d->number = (uint64_t)number;
    if (view_find_database(&c->view, str_of_bytes(b[1]), str_of_bytes(b[2])) != NULL) {
        view_tenant_free(t);
        view_database_free(d);
        return errmsg_set(em, ERR_CORRUPT, "table databases: row %lld is there twice", (long long)number);
    }
    view_add_database(&c->view, d, t);
    return ERR_OK;
}

static enum err load_collection(void *ctx, sqlite3_stmt *row, struct errmsg *em)
{
    struct catalog *c = ctx;
    struct bytes b[7]; /* id, name, configuration, schema, metadata, tenant, database */
    enum err e = read_columns(row, (const int[]){1, 2, 4, 5, 6, 7, 8}, 7, b, em);
    if (e != ERR_OK) return e;
    struct catalog_collection f = {.name = str_of_bytes(b[1]),
                                   .configuration = str_of_bytes(b[2]),
                                   .schema = str_of_bytes(b[3]),
                                   .metadata = b[4],
                                   .tenant = str_of_bytes(b[5]),
                                   .database = str_of_bytes(b[6])};
    int64_t number = sqlite3_column_int64(row, 0), space = sqlite3_column_int64(row, 3);
    struct view_database *d = NULL;
    if (f.tenant.p != NULL && f.database.p != NULL) d = view_find_database(&c->view, f.tenant, f.database);
    if (d == NULL || b[0].n != sizeof f.id.b || number <= 0 || f.name.p == NULL || space < 0 || space > UINT8_MAX) {
        return errmsg_set(em, ERR_CORRUPT, "table collections: row %lld is malformed", (long long)number);
    }
    memcpy(f.id.b, b[0].p, sizeof f.id.b);
    f.number = (uint64_t)number;
    f.space = (uint8_t)space;
    if (view_find_id(&c->view, &f.id) != NULL || view_find_name(&c->view, d, f.name) != NULL) {
        return errmsg_set(em, ERR_CORRUPT, "table collections: row %lld is there twice", (long long)number);
    }
    struct catalog_collection *state = object_new(&f);
    struct view_collection *entry = state != NULL ? view_collection_new(state) : NULL;
    if (entry == NULL) {
        catalog_collection_unref(state);
        return no_memory(em);
    }
    view_add_collection(&c->view, d, entry);
    return ERR_OK;
}

enum err catalog_load(struct catalog *c, struct errmsg *em)
{
    enum err e = sql_query(&c->sql, SQL_ALL_TENANTS, NULL, 0, load_tenant, c, em);
    if (e == ERR_OK) e = sql_query(&c->sql, SQL_ALL_DATABASES, NULL, 0, load_database, c, em);
    if (e == ERR_OK) e = sql_query(&c->sql, SQL_ALL_COLLECTIONS, NULL, 0, load_collection, c, em);
    return e;
}
