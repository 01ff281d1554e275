/* schema.c - see schema.h and docs/formats.md#catalog.
 *
 * FAILURES   a foreign, damaged or newer file is refused before the first write to it.
 * INVARIANTS user_version changes in the same transaction as the tables. application_id is set by migration 1, so a
 *            file that has it has had at least that one.
 */
#include "catalog/schema.h"

#include <inttypes.h>
#include <stdio.h>

#include "catalog/digest.h"

/* Names of tenants are blobs, because any text is allowed in them, NUL included, and what SQLite does with a NUL inside
 * TEXT is undefined. Other names have been checked by the API. AUTOINCREMENT keeps SQLite from giving the number of
 * a deleted collection to a new one: the log and file names rely on that. */
static const char migration_1[] =
    "PRAGMA application_id = 0x63686d63;"
    "CREATE TABLE tenants ("
    "  name BLOB PRIMARY KEY NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE databases ("
    "  number INTEGER PRIMARY KEY,"
    "  id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),"
    "  tenant BLOB NOT NULL," /* no reference: the tenant need not exist */
    "  name TEXT NOT NULL,"
    "  UNIQUE (tenant, name)"
    ") STRICT;"
    "CREATE TABLE collections ("
    "  number INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),"
    "  database INTEGER NOT NULL REFERENCES databases (number) ON DELETE CASCADE,"
    "  name TEXT NOT NULL,"
    "  space INTEGER NOT NULL CHECK (space BETWEEN 0 AND 255),"
    "  configuration TEXT,"
    "  schema TEXT,"
    "  metadata BLOB,"
    "  UNIQUE (database, name)"
    ") STRICT;"
    "CREATE TABLE versions ("
    "  collection INTEGER PRIMARY KEY REFERENCES collections (number) ON DELETE CASCADE,"
    "  version INTEGER NOT NULL CHECK (version > 0),"
    "  log_position INTEGER NOT NULL CHECK (log_position >= 0),"
    "  next_ordinal INTEGER NOT NULL CHECK (next_ordinal >= 0),"
    "  dimension INTEGER NOT NULL CHECK (dimension BETWEEN 0 AND 4294967295),"
    "  manifest TEXT NOT NULL"
    ") STRICT;"
    "CREATE TABLE counters ("
    "  name TEXT PRIMARY KEY NOT NULL,"
    "  value INTEGER NOT NULL CHECK (value >= 0)"
    ") STRICT, WITHOUT ROWID;"
    "INSERT INTO tenants (name) VALUES (CAST('" DEFAULT_TENANT "' AS BLOB));"
    "INSERT INTO databases (id, tenant, name)"
    "  VALUES (zeroblob(16), CAST('" DEFAULT_TENANT "' AS BLOB), '" DEFAULT_DATABASE "');";

/* Forks. `root` is the number of the collection from which a tree of forks started; it is kept by number, because the root
 * may be deleted before its forks. n_forks counts every fork ever made in the tree, deleted ones included, and is there as
 * long as any member of the tree. */
static const char migration_2[] =
    "ALTER TABLE collections ADD COLUMN root INTEGER;" /* NULL: not a fork */
    "CREATE INDEX collections_by_root ON collections (root) WHERE root IS NOT NULL;"
    "CREATE TABLE lineages ("
    "  root INTEGER PRIMARY KEY,"
    "  n_forks INTEGER NOT NULL CHECK (n_forks > 0)"
    ") STRICT;"
    "CREATE TRIGGER lineage_ends AFTER DELETE ON collections BEGIN"
    "  DELETE FROM lineages WHERE root = coalesce(old.root, old.number)"
    "    AND NOT EXISTS (SELECT 1 FROM collections WHERE number = coalesce(old.root, old.number))"
    "    AND NOT EXISTS (SELECT 1 FROM collections WHERE root = coalesce(old.root, old.number));"
    "END;";

/* What tenants have used, a number each. No reference to tenants: it outlives them, since bills are written later. */
static const char migration_3[] = "CREATE TABLE usage ("
                                  "  tenant BLOB PRIMARY KEY NOT NULL,"
                                  "  requests_read INTEGER NOT NULL,"
                                  "  requests_write INTEGER NOT NULL,"
                                  "  requests_search INTEGER NOT NULL,"
                                  "  requests_other INTEGER NOT NULL,"
                                  "  records_written INTEGER NOT NULL,"
                                  "  records_deleted INTEGER NOT NULL,"
                                  "  records_read INTEGER NOT NULL,"
                                  "  queries INTEGER NOT NULL,"
                                  "  bytes_in INTEGER NOT NULL,"
                                  "  bytes_out INTEGER NOT NULL,"
                                  "  refused_rate INTEGER NOT NULL,"
                                  "  refused_quota INTEGER NOT NULL"
                                  ") STRICT, WITHOUT ROWID;";

/* What a version holds, so that a start need not read any manifest. NULL: published by an earlier program. */
static const char migration_4[] = "ALTER TABLE versions ADD COLUMN n_rows INTEGER CHECK (n_rows >= 0);"
                                  "ALTER TABLE versions ADD COLUMN file_bytes INTEGER CHECK (file_bytes >= 0);";

_Static_assert(SCHEMA_APPLICATION_ID == 0x63686d63, "migration 1 says the same number");

const struct migration schema_migrations[] = {
    {1, migration_1, NULL},
    {2, migration_2, NULL},
    {3, migration_3, NULL},
    {4, migration_4, NULL},
    {SCHEMA_WITH_DIGESTS, "", digest_create},
};
const size_t schema_n_migrations = sizeof schema_migrations / sizeof schema_migrations[0];

enum err schema_add_defaults(struct sql *s, struct errmsg *em)
{
    static const uint8_t zeros[16];
    const struct str tenant = STR(DEFAULT_TENANT);
    const struct sql_value t[] = {sql_blob(tenant.p, tenant.n)};
    enum err e = sql_change(s, SQL_ADD_TENANT, t, 1, NULL, em);
    if (e != ERR_OK) return e;
    const struct sql_value d[] = {sql_blob(zeros, sizeof zeros), t[0], sql_text(STR(DEFAULT_DATABASE))};
    return sql_change(s, SQL_ADD_DATABASE, d, 3, NULL, em);
}

enum err schema_identify(struct sql *s, int newest, int *version, struct errmsg *em)
{
    int64_t application, number, n_objects;
    enum err e = sql_get_int(s, "PRAGMA application_id", &application, em);
    if (e == ERR_OK) e = sql_get_int(s, "PRAGMA user_version", &number, em);
    if (e == ERR_OK) e = sql_get_int(s, "SELECT count(*) FROM sqlite_schema", &n_objects, em);
    if (e != ERR_OK) return e;
    if (application == 0 && number == 0 && n_objects == 0) {
        *version = 0;
        return ERR_OK;
    }
    if (application != SCHEMA_APPLICATION_ID) {
        return errmsg_set(em, ERR_CORRUPT, "this SQLite file belongs to another program (application id %" PRId64 ")",
                          application);
    }
    if (number > newest) {
        return errmsg_set(em, ERR_NEWER,
                          "the file has schema %" PRId64 ", this program knows schemas up to %d: use a newer program",
                          number, newest);
    }
    if (number < 1) return errmsg_set(em, ERR_CORRUPT, "impossible schema number %" PRId64, number);
    *version = (int)number;
    return ERR_OK;
}

enum err schema_migrate(struct sql *s, int version, const struct migration *list, size_t n, struct errmsg *em)
{
    for (size_t i = 0; i < n; i++) {
        const struct migration *m = &list[i];
        CHECK(m->number == (int)i + 1 && "migrations are numbered without gaps");
        if (m->number <= version) continue;
        char set_number[48];
        (void)snprintf(set_number, sizeof set_number, "PRAGMA user_version = %d", m->number);
        enum err e = sql_begin(s, em);
        if (e == ERR_OK) e = sql_exec(s, m->script, em);
        if (e == ERR_OK && m->finish != NULL) e = m->finish(s, em);
        if (e == ERR_OK && m->number >= SCHEMA_WITH_DIGESTS && list == schema_migrations) e = digest_take_schema(s, em);
        if (e == ERR_OK) e = sql_exec(s, set_number, em);
        if (e == ERR_OK) e = sql_commit(s, em);
        if (e != ERR_OK) {
            sql_rollback(s);
            errmsg_wrap(em, "migration %d", m->number);
            return e;
        }
    }
    return ERR_OK;
}
