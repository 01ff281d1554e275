/* usage.c - see catalog.h: the rows of what tenants have used. No part of the view: they are written now and then and read
 * once, at the start.
 *
 * FAILURES   a store is a transaction: all of its rows, or none. A number below zero is ERR_CORRUPT.
 */
#include "catalog/internal.h"

enum { N_COLUMNS = 1 + CATALOG_USAGE_NUMBERS };

static enum err store_rows(struct catalog *c, const struct catalog_usage *rows, size_t n, struct errmsg *em)
{
    for (size_t i = 0; i < n; i++) {
        struct sql_value v[N_COLUMNS] = {sql_blob(rows[i].tenant.n > 0 ? rows[i].tenant.p : "", rows[i].tenant.n)};
        for (int k = 0; k < CATALOG_USAGE_NUMBERS; k++) {
            uint64_t number = rows[i].numbers[k];
            v[1 + k] = sql_int(number < INT64_MAX ? (int64_t)number : INT64_MAX);
        }
        enum err e = sql_change(&c->sql, SQL_STORE_USAGE, v, N_COLUMNS, NULL, em);
        if (e != ERR_OK) return e;
    }
    return ERR_OK;
}

enum err catalog_store_usage(struct catalog *c, const struct catalog_usage *rows, size_t n, struct errmsg *em)
{
    if (n == 0) return ERR_OK;
    catalog_lock(c);
    enum err e = sql_begin(&c->sql, em);
    if (e == ERR_OK) {
        e = store_rows(c, rows, n, em);
        if (e == ERR_OK)
            e = sql_commit(&c->sql, em);
        else
            sql_rollback(&c->sql);
    }
    catalog_unlock(c);
    if (e != ERR_OK) errmsg_wrap(em, "store usage");
    return e;
}

struct usage_reader {
    catalog_usage_visitor visit;
    void *ctx;
};

static enum err read_row(void *ctx, sqlite3_stmt *row, struct errmsg *em)
{
    const struct usage_reader *r = ctx;
    struct catalog_usage u;
    struct bytes name;
    enum err e = sql_column(row, 0, &name, em);
    if (e != ERR_OK) return e;
    if (name.p == NULL) return errmsg_set(em, ERR_CORRUPT, "table usage: a row without a tenant");
    u.tenant = str_of(name.p, name.n);
    for (int k = 0; k < CATALOG_USAGE_NUMBERS; k++) {
        int64_t number = sqlite3_column_int64(row, 1 + k);
        if (number < 0) return errmsg_set(em, ERR_CORRUPT, "table usage: a number below zero");
        u.numbers[k] = (uint64_t)number;
    }
    return r->visit(r->ctx, &u, em);
}

enum err catalog_load_usage(struct catalog *c, catalog_usage_visitor visit, void *ctx, struct errmsg *em)
{
    struct usage_reader r = {visit, ctx};
    catalog_lock(c);
    enum err e = sql_query(&c->sql, SQL_LOAD_USAGE, NULL, 0, read_row, &r, em);
    catalog_unlock(c);
    if (e != ERR_OK) errmsg_wrap(em, "load usage");
    return e;
}
