/* check.c - see check.h. */
#include "catalog/check.h"

#include <stdio.h>

#include "catalog/internal.h"
#include "catalog/schema.h"

struct check {
    struct sql sql;
    catalog_on_problem on_problem;
    void *ctx;
};

/* Damage is told, and ends this part of the check; the rest of the errors ends all of it. */
static enum err tell(const struct check *c, enum err e, const struct errmsg *why, struct errmsg *em)
{
    if (e == ERR_CORRUPT || e == ERR_NEWER) {
        c->on_problem(c->ctx, e, why->text);
        return ERR_OK;
    }
    if (e != ERR_OK && em != NULL) *em = *why;
    return e;
}

static enum err told_by_sqlite(const struct check *c, int rc, struct errmsg *em)
{
    struct errmsg why = {{0}};
    int code = rc & 0xff;
    enum err e = code == SQLITE_NOMEM                              ? ERR_NOMEM
                 : code == SQLITE_IOERR || code == SQLITE_CANTOPEN ? ERR_IO
                                                                   : ERR_CORRUPT;
    (void)errmsg_set(&why, e, "%s (SQLite code %d)", sqlite3_errmsg(c->sql.db), rc);
    return tell(c, e, &why, em);
}

/* Every row of the answer but "ok" is a problem. */
static enum err run_pragma(struct check *c, const char *text, const char *about, struct errmsg *em)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(c->sql.db, text, -1, &st, NULL);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        char what[512];
        rc = sqlite3_step(st);
        if (rc != SQLITE_ROW) break;
        const char *first = (const char *)sqlite3_column_text(st, 0);
        if (first == NULL || strcmp(first, "ok") == 0) continue;
        (void)snprintf(what, sizeof what, "%s%s", about, first);
        c->on_problem(c->ctx, ERR_CORRUPT, what);
    }
    enum err e = rc == SQLITE_DONE ? ERR_OK : told_by_sqlite(c, rc, em);
    (void)sqlite3_finalize(st);
    return e;
}

enum err catalog_check(const struct vfs *vfs, const char *path, catalog_on_problem on_problem, void *ctx, int *schema,
                       struct errmsg *em)
{
    struct check c = {.on_problem = on_problem, .ctx = ctx};
    struct errmsg why = {{0}};
    *schema = 0;
    enum err e = sql_open(&c.sql, vfs, path, &why);
    if (e == ERR_OK) {
        e = schema_identify(&c.sql, (int)schema_n_migrations, schema, &why);
        if (e == ERR_OK) {
            e = run_pragma(&c, "PRAGMA integrity_check", "", &why);
            if (e == ERR_OK)
                e = run_pragma(&c, "PRAGMA foreign_key_check", "a reference leads nowhere in table ", &why);
        }
        sql_close(&c.sql);
    }
    return tell(&c, e, &why, em);
}

enum err catalog_schema_of(const struct vfs *vfs, const char *path, int *schema, struct errmsg *em)
{
    struct sql sql = {0};
    enum err e = sql_open(&sql, vfs, path, em);
    if (e != ERR_OK) return e;
    e = schema_identify(&sql, (int)schema_n_migrations, schema, em);
    sql_leave_alone(&sql); /* its log is still to be looked at */
    sql_close(&sql);
    return e;
}

/* --- what is in it ------------------------------------------------------------------------------------------------ */

struct listing {
    catalog_database_visitor visit;
    void *ctx;
};

static enum err list_tenant(void *ctx, sqlite3_stmt *row, struct errmsg *em)
{
    const struct listing *l = ctx;
    struct bytes name;
    enum err e = sql_column(row, 0, &name, em);
    if (e == ERR_OK) l->visit(l->ctx, str_of(name.p, name.n), (struct str){NULL, 0});
    return e;
}

static enum err list_database(void *ctx, sqlite3_stmt *row, struct errmsg *em)
{
    const struct listing *l = ctx;
    struct bytes tenant, name;
    enum err e = sql_column(row, 2, &tenant, em);
    if (e == ERR_OK) e = sql_column(row, 3, &name, em);
    if (e == ERR_OK) l->visit(l->ctx, str_of(tenant.p, tenant.n), str_of(name.p, name.n));
    return e;
}

enum err catalog_each_database(struct catalog *c, catalog_database_visitor visit, void *ctx, struct errmsg *em)
{
    struct listing l = {visit, ctx};
    catalog_lock(c);
    enum err e = sql_query(&c->sql, SQL_ALL_TENANTS, NULL, 0, list_tenant, &l, em);
    if (e == ERR_OK) e = sql_query(&c->sql, SQL_ALL_DATABASES, NULL, 0, list_database, &l, em);
    catalog_unlock(c);
    return e;
}
