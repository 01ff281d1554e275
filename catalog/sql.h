/* sql.h - the catalog's one SQLite connection: opening, cached statements, transactions, errors.
 *
 * Every statement of the catalog stands in SQL_TABLE, is prepared on first use and kept. A change outside a transaction
 * is a transaction by itself; either kind is on disk when it has returned ERR_OK (write-ahead log, synchronous=FULL).
 * SQLite's files are those of a `struct vfs` (sqlite_vfs.h), its memory that of core/mem.h (sqlite_memory.h).
 *
 * THREADS  one at a time: the holder of the catalog's change mutex.
 * ERRORS   SQLite's result codes become enum err in one place (sql_fail); texts name what was tried.
 */
#ifndef CATALOG_SQL_H
#define CATALOG_SQL_H

#include <sqlite3.h>

#include "catalog/sqlite_vfs.h"
#include "core/bytes.h"

#define SQL_TABLE(X)                                                                                                   \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                                        \
    X(COMMIT, "COMMIT")                                                                                                \
    X(ROLLBACK, "ROLLBACK")                                                                                            \
    X(ALL_TENANTS, "SELECT name FROM tenants")                                                                         \
    X(ALL_DATABASES, "SELECT number, id, tenant, name FROM databases")                                                 \
    X(ALL_COLLECTIONS, "SELECT c.number, c.id, c.name, c.space, c.configuration, c.schema, c.metadata, d.tenant, "     \
                       "d.name FROM collections c LEFT JOIN databases d ON d.number = c.database")                     \
    X(ADD_TENANT, "INSERT INTO tenants (name) VALUES (?1)")                                                            \
    X(ADD_DATABASE, "INSERT INTO databases (id, tenant, name) VALUES (?1, ?2, ?3)")                                    \
    X(DROP_DATABASE, "DELETE FROM databases WHERE number = ?1")                                                        \
    X(ADD_COLLECTION, "INSERT INTO collections (id, database, name, space, configuration, schema, metadata) "          \
                      "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")                                                           \
    X(UPDATE_COLLECTION, "UPDATE collections SET name = ?2, configuration = ?3, schema = ?4, metadata = ?5 "           \
                         "WHERE number = ?1")                                                                          \
    X(DROP_COLLECTION, "DELETE FROM collections WHERE number = ?1")                                                    \
    X(RESERVE_NUMBER, "UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'collections' RETURNING seq")             \
    X(ADD_FORK, "INSERT INTO collections (number, id, database, name, space, configuration, schema, metadata, root) "  \
                "SELECT ?1, ?2, database, ?3, space, configuration, schema, metadata, coalesce(root, number) "         \
                "FROM collections WHERE number = ?4")                                                                  \
    X(COUNT_FORK, "INSERT INTO lineages (root, n_forks) SELECT root, 1 FROM collections WHERE number = ?1 "            \
                  "ON CONFLICT (root) DO UPDATE SET n_forks = n_forks + 1")                                            \
    X(GET_FORKS, "SELECT n_forks FROM lineages WHERE root = "                                                          \
                 "(SELECT coalesce(root, number) FROM collections WHERE number = ?1)")                                 \
    X(PUBLISH, "INSERT INTO versions (collection, version, log_position, next_ordinal, dimension, manifest, n_rows, "  \
               "file_bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (collection) DO UPDATE SET "           \
               "version = excluded.version, log_position = excluded.log_position, "                                    \
               "next_ordinal = excluded.next_ordinal, dimension = excluded.dimension, manifest = excluded.manifest, "  \
               "n_rows = excluded.n_rows, file_bytes = excluded.file_bytes "                                           \
               "WHERE excluded.version > versions.version AND excluded.log_position >= versions.log_position")         \
    X(GET_VERSION, "SELECT collection, version, log_position, next_ordinal, dimension, manifest, n_rows, file_bytes "  \
                   "FROM versions WHERE collection = ?1")                                                              \
    X(ALL_VERSIONS, "SELECT collection, version, log_position, next_ordinal, dimension, manifest, n_rows, file_bytes " \
                    "FROM versions ORDER BY collection")                                                               \
    X(SET_COUNTER, "INSERT INTO counters (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET "              \
                   "value = excluded.value WHERE excluded.value > counters.value")                                     \
    X(GET_COUNTER, "SELECT value FROM counters WHERE name = ?1")                                                       \
    X(STORE_USAGE, "INSERT INTO usage VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) "                \
                   "ON CONFLICT (tenant) DO UPDATE SET "                                                               \
                   "requests_read = excluded.requests_read, "                                                          \
                   "requests_write = excluded.requests_write, "                                                        \
                   "requests_search = excluded.requests_search, "                                                      \
                   "requests_other = excluded.requests_other, "                                                        \
                   "records_written = excluded.records_written, "                                                      \
                   "records_deleted = excluded.records_deleted, "                                                      \
                   "records_read = excluded.records_read, queries = excluded.queries, "                                \
                   "bytes_in = excluded.bytes_in, bytes_out = excluded.bytes_out, "                                    \
                   "refused_rate = excluded.refused_rate, "                                                            \
                   "refused_quota = excluded.refused_quota")                                                           \
    X(LOAD_USAGE, "SELECT * FROM usage")                                                                               \
    X(CLEAR_DATABASES, "DELETE FROM databases")                                                                        \
    X(CLEAR_TENANTS, "DELETE FROM tenants")

#define SQL_ENUM_(name, text) SQL_##name,
enum sql_statement { SQL_TABLE(SQL_ENUM_) SQL_COUNT_ };
#undef SQL_ENUM_

/* All-zero is a closed connection. */
struct sql {
    sqlite3 *db;
    struct sqlite_vfs *files; /* NULL: in memory */
    sqlite3_stmt *cached[SQL_COUNT_];
};

/* A value for a parameter; what it points to must live until the call returns. */
struct sql_value {
    enum { SQL_NULL, SQL_INT, SQL_TEXT, SQL_BLOB } type;
    int64_t i;
    struct bytes b;
};

static inline struct sql_value sql_int(int64_t i)
{
    return (struct sql_value){.type = SQL_INT, .i = i};
}

/* .p == NULL becomes NULL. */
static inline struct sql_value sql_text(struct str s)
{
    return (struct sql_value){.type = s.p != NULL ? SQL_TEXT : SQL_NULL, .b = {s.p, s.n}};
}

static inline struct sql_value sql_blob(const void *p, size_t n)
{
    return (struct sql_value){.type = p != NULL ? SQL_BLOB : SQL_NULL, .b = {p, n}};
}

/* Opens or makes the file (path NULL: in memory, `vfs` is not looked at) without reading or changing anything in it. From
 * the first look at it until the close nobody else can use it. `vfs` must live until then. */
enum err sql_open(struct sql *s, const struct vfs *vfs, const char *path, struct errmsg *em);
/* The last thing before sql_close on a file that was found to be somebody else's: SQLite must not tidy it up either. */
void sql_leave_alone(struct sql *s);
void sql_close(struct sql *s);

/* Runs statements that are not worth keeping: pragmas, migrations. No parameters. */
enum err sql_exec(struct sql *s, const char *text, struct errmsg *em);
/* The first column of the first row, an integer or a text of at most cap - 1 bytes. ERR_NOT_FOUND when no row. */
enum err sql_get_int(struct sql *s, const char *text, int64_t *value, struct errmsg *em);
enum err sql_get_text(struct sql *s, const char *text, char *out, size_t cap, struct errmsg *em);

/* A row of a query; anything but ERR_OK ends the query and is passed on. Column views hold during the call only. */
typedef enum err (*sql_row)(void *ctx, sqlite3_stmt *row, struct errmsg *em);
enum err sql_query(struct sql *s, enum sql_statement which, const struct sql_value *values, int n, sql_row row,
                   void *ctx, struct errmsg *em);
/* A statement without rows. *n_changed: rows it inserted, updated or deleted itself; may be NULL. */
enum err sql_change(struct sql *s, enum sql_statement which, const struct sql_value *values, int n, int *n_changed,
                    struct errmsg *em);

/* Moves what is in the -wal file into the database, and empties it. */
enum err sql_empty_log(struct sql *s, struct errmsg *em);

enum err sql_begin(struct sql *s, struct errmsg *em);
/* On failure nothing was changed as far as this connection goes, and the transaction is over. */
enum err sql_commit(struct sql *s, struct errmsg *em);
void sql_rollback(struct sql *s); /* without a transaction: nothing */

/* Columns. NULL gives .p == NULL; an empty text or blob does not. ERR_NOMEM. */
enum err sql_column(sqlite3_stmt *row, int column, struct bytes *out, struct errmsg *em);

#endif
