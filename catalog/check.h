/* check.h - is a catalog file whole? For whoever checks a directory offline.
 *
 * THREADS  any; nobody else has the file open. It may be changed (SQLite folds its -wal file in): give it a copy.
 */
#ifndef CATALOG_CHECK_H
#define CATALOG_CHECK_H

#include "catalog/catalog.h"

/* `what`: a sentence; holds during the call. */
typedef void (*catalog_on_problem)(void *ctx, enum err e, const char *what);

/* SQLite's integrity check (pages, indexes, the tables' own rules) and references, then the schema's number. Calls
 * `on_problem` for each thing that is wrong, at most a hundred. *schema: 0 when it could not be read. ERR_OK also when
 * there are problems; ERR_IO, ERR_NOMEM otherwise. */
enum err catalog_check(const struct vfs *vfs, const char *path, catalog_on_problem on_problem, void *ctx, int *schema,
                       struct errmsg *em);

/* The schema that a file has, before it is opened (which would bring it up to the newest). As catalog_open's errors. */
enum err catalog_schema_of(const struct vfs *vfs, const char *path, int *schema, struct errmsg *em);

/* Calls `visit` for every tenant (database.p NULL) that was made, then for every database, with the catalog locked: it
 * must not call the catalog. Reads SQLite. Views hold during the call. */
typedef void (*catalog_database_visitor)(void *ctx, struct str tenant, struct str database);
enum err catalog_each_database(struct catalog *c, catalog_database_visitor visit, void *ctx, struct errmsg *em);

#endif
