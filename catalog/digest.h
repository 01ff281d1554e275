/* digest.h - what the catalog's tables held at the last commit, so that a flipped bit in them is noticed.
 *
 * SQLite's pages have no checksums. So for each table, and for the text of the schema, the table `digests` keeps the
 * number of rows and the exclusive or of a 64-bit hash of each row. Triggers keep it up in the transaction of every
 * change;
 * catalog_open compares it with the rows. What lies outside of rows (the trees, the indexes) SQLite's own integrity
 * check looks at. The highest number that a collection ever had is in the counters, too, since sqlite_sequence can have
 * no trigger.
 * FORMAT   docs/formats.md#catalog-digests
 * THREADS  the holder of the connection.
 */
#ifndef CATALOG_DIGEST_H
#define CATALOG_DIGEST_H

#include "catalog/sql.h"

#define DIGEST_LAST_COLLECTION "last_collection" /* the counter */

/* Gives a connection the SQL functions row_digest(...) and rows_digest(...), an aggregate, which the triggers and the
 * comparison call. */
enum err digest_register(sqlite3 *db, struct errmsg *em);

/* The end of migration 5, in its transaction: makes table and triggers, and takes in the rows that are there. */
enum err digest_create(struct sql *s, struct errmsg *em);

/* After a migration, in its transaction: the schema is what it is now. */
enum err digest_take_schema(struct sql *s, struct errmsg *em);

/* ERR_CORRUPT: names the table that is not what was written. */
enum err digest_compare(struct sql *s, struct errmsg *em);

#endif
