/* schema.h - the tables of catalog.sqlite3 and how an older file becomes a newer one.
 *
 * A migration has a number and a script. PRAGMA user_version of a file is the number of the last migration it has had.
 * Released migrations never change; a new need is a new migration at the end of the list.
 */
#ifndef CATALOG_SCHEMA_H
#define CATALOG_SCHEMA_H

#include "catalog/sql.h"

enum {
    SCHEMA_APPLICATION_ID = 0x63686d63, /* "chmc": what tells this program's catalog from any SQLite file */
    SCHEMA_WITH_DIGESTS = 5,            /* from this migration on there are digests (digest.h) */
};

#define DEFAULT_TENANT   "default_tenant"
#define DEFAULT_DATABASE "default_database"

struct migration {
    int number;                                           /* 1, 2, 3 ... in the order of the list */
    const char *script;                                   /* SQL, run in one transaction ... */
    enum err (*finish)(struct sql *s, struct errmsg *em); /* ... with this; NULL: nothing */
};

extern const struct migration schema_migrations[];
extern const size_t schema_n_migrations;

/* Makes the default tenant and database; within a transaction of the caller. */
enum err schema_add_defaults(struct sql *s, struct errmsg *em);

/* Says whose file it is, without changing it: *version is the number of the last migration it has had, 0 for an
 * empty file. ERR_CORRUPT: not SQLite, or another program's. ERR_NEWER: above `newest`. */
enum err schema_identify(struct sql *s, int newest, int *version, struct errmsg *em);

/* Runs the migrations after `version`, each in a transaction of its own. A failure leaves the file as the last
 * complete one made it. */
enum err schema_migrate(struct sql *s, int version, const struct migration *list, size_t n, struct errmsg *em);

#endif
