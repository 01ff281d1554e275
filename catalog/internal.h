/* internal.h - what the files of catalog/ share. */
#ifndef CATALOG_INTERNAL_H
#define CATALOG_INTERNAL_H

#include <stdatomic.h>

#include "catalog/sql.h"
#include "catalog/view.h"

struct catalog {
    pthread_mutex_t change; /* held by whoever changes anything or uses `sql`; before view.lock */
    struct sql sql;         /* guarded by `change` */
    struct view view;       /* its own lock; changed only by the holder of `change` */
    _Atomic bool leaves;    /* deleted or replaced content may be left in the file's log; written with `change` */
};

void catalog_lock(struct catalog *c);
void catalog_unlock(struct catalog *c);

/* Runs a change that must concern exactly one row. ERR_CORRUPT when it did not: somebody else wrote to the file. */
enum err catalog_change_row(struct catalog *c, enum sql_statement which, const struct sql_value *values, int n,
                            struct errmsg *em);

/* Makes a version current, in a transaction of the caller's or one of its own. ERR_INVALID as in catalog.h. */
enum err catalog_put_version(struct catalog *c, const struct catalog_version *v, struct errmsg *em);

/* Pages and indexes are in order, and the rows are those that were written: what is read afterwards can be relied on.
 * `version`: of the schema; 0: a new file. */
enum err catalog_check_rows(struct sql *s, int version, struct errmsg *em);

/* catalog_all_versions on any connection to a catalog. */
enum err catalog_read_versions(struct sql *s, struct arena *a, struct catalog_version **list, size_t *n,
                               struct errmsg *em);

/* Fills the empty view from the tables. */
enum err catalog_load(struct catalog *c, struct errmsg *em);

#endif
