/* digest.c - see digest.h.
 *
 * INVARIANTS  every column of every table is in its digest; a migration that adds a column makes the table's triggers
 *             anew.
 *             The columns of a row are hashed in order, each with its type and length, so no two different rows look
 *             alike. No table has the same row twice, so rows do not cancel out.
 */
#include "catalog/digest.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/hash.h"

enum { COLUMNS_MAX = 16, TEXT_MAX = 4096 };

static const struct table {
    const char *name;
    const char *columns[COLUMNS_MAX];
} tables[] = {
    {"tenants", {"name"}},
    {"databases", {"number", "id", "tenant", "name"}},
    {"collections", {"number", "id", "database", "name", "space", "configuration", "schema", "metadata", "root"}},
    {"lineages", {"root", "n_forks"}},
    {"versions",
     {"collection", "version", "log_position", "next_ordinal", "dimension", "manifest", "n_rows", "file_bytes"}},
    {"counters", {"name", "value"}},
    {"usage",
     {"tenant", "requests_read", "requests_write", "requests_search", "requests_other", "records_written",
      "records_deleted", "records_read", "queries", "bytes_in", "bytes_out", "refused_rate", "refused_quota"}},
    /* rootpage is left out: a compaction of the file may move it, and the rows are counted anyway */
    {"sqlite_schema", {"type", "name", "tbl_name", "sql"}},
};

enum { N_TABLES = sizeof tables / sizeof tables[0], N_OWN = N_TABLES - 1 /* with triggers: all but the schema */ };

/* --- functions ---------------------------------------------------------------------------------------------------- */

static uint64_t digest_of(int n, sqlite3_value **values)
{
    uint64_t h = (uint64_t)n;
    for (int i = 0; i < n; i++) {
        int64_t number = 0;
        double real = 0;
        const void *p = &number;
        size_t size = sizeof number;
        int type = sqlite3_value_type(values[i]);
        switch (type) {
        case SQLITE_INTEGER:
            number = sqlite3_value_int64(values[i]);
            break;
        case SQLITE_FLOAT:
            real = sqlite3_value_double(values[i]);
            p = &real;
            break;
        case SQLITE_NULL:
            size = 0;
            break;
        default: /* text and blob: their bytes */
            p = type == SQLITE_TEXT ? (const void *)sqlite3_value_text(values[i]) : sqlite3_value_blob(values[i]);
            size = p != NULL ? (size_t)sqlite3_value_bytes(values[i]) : 0;
            break;
        }
        h = hash_bytes(p != NULL ? p : "", size, h + (uint64_t)type);
    }
    return h;
}

static void row_digest(sqlite3_context *ctx, int n, sqlite3_value **values)
{
    sqlite3_result_int64(ctx, (int64_t)digest_of(n, values));
}

static void add_row(sqlite3_context *ctx, int n, sqlite3_value **values)
{
    uint64_t *sum = sqlite3_aggregate_context(ctx, sizeof *sum);
    if (sum == NULL)
        sqlite3_result_error_nomem(ctx);
    else
        *sum ^= digest_of(n, values);
}

static void finish_rows(sqlite3_context *ctx)
{
    const uint64_t *sum = sqlite3_aggregate_context(ctx, 0); /* NULL: there was no row */
    sqlite3_result_int64(ctx, sum != NULL ? (int64_t)*sum : 0);
}

static void exclusive_or(sqlite3_context *ctx, int n, sqlite3_value **values)
{
    int64_t x = 0;
    for (int i = 0; i < n; i++) x ^= sqlite3_value_int64(values[i]);
    sqlite3_result_int64(ctx, x);
}

enum err digest_register(sqlite3 *db, struct errmsg *em)
{
    /* innocuous: triggers may call them though the schema is not trusted */
    const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS;
    int rc = sqlite3_create_function_v2(db, "row_digest", -1, flags, NULL, row_digest, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_create_function_v2(db, "rows_digest", -1, flags, NULL, NULL, add_row, finish_rows, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_create_function_v2(db, "exclusive_or", -1, flags, NULL, exclusive_or, NULL, NULL, NULL);
    if (rc == SQLITE_OK) return ERR_OK;
    return errmsg_set(em, rc == SQLITE_NOMEM ? ERR_NOMEM : ERR_INTERNAL, "add functions: %s", sqlite3_errstr(rc));
}

/* --- statements --------------------------------------------------------------------------------------------------- */

/* "a, b, c" of a table's columns, each behind `prefix`. */
static void put_columns(char *out, size_t cap, const struct table *t, const char *prefix)
{
    size_t n = 0;
    for (int i = 0; i < COLUMNS_MAX && t->columns[i] != NULL; i++) {
        int more = snprintf(out + n, cap - n, "%s%s%s", i > 0 ? ", " : "", prefix, t->columns[i]);
        CHECK(more > 0 && (size_t)more < cap - n && "the columns of a table fit");
        n += (size_t)more;
    }
}

struct columns {
    char plain[TEXT_MAX / 4], added[TEXT_MAX / 4], removed[TEXT_MAX / 4];
};

static void columns_of(struct columns *c, const struct table *t)
{
    put_columns(c->plain, sizeof c->plain, t, "");
    put_columns(c->added, sizeof c->added, t, "new.");
    put_columns(c->removed, sizeof c->removed, t, "old.");
}

static enum err create_triggers(struct sql *s, const struct table *t, struct errmsg *em)
{
    char text[2 * TEXT_MAX];
    struct columns c;
    columns_of(&c, t);
    int n = snprintf(text, sizeof text,
                     "CREATE TRIGGER %s_added AFTER INSERT ON %s BEGIN UPDATE digests SET n_rows = n_rows + 1, "
                     "sum = exclusive_or(sum, row_digest(%s)) WHERE name = '%s'; END;"
                     "CREATE TRIGGER %s_removed AFTER DELETE ON %s BEGIN UPDATE digests SET n_rows = n_rows - 1, "
                     "sum = exclusive_or(sum, row_digest(%s)) WHERE name = '%s'; END;"
                     "CREATE TRIGGER %s_changed AFTER UPDATE ON %s BEGIN UPDATE digests SET "
                     "sum = exclusive_or(sum, row_digest(%s), row_digest(%s)) WHERE name = '%s'; END;"
                     "INSERT INTO digests SELECT '%s', count(*), rows_digest(%s) FROM %s;",
                     t->name, t->name, c.added, t->name, t->name, t->name, c.removed, t->name, t->name, t->name,
                     c.removed, c.added, t->name, t->name, c.plain, t->name);
    CHECK(n > 0 && (size_t)n < sizeof text && "the triggers of a table fit");
    return sql_exec(s, text, em);
}

enum err digest_create(struct sql *s, struct errmsg *em)
{
    enum err e = sql_exec(s,
                          "CREATE TABLE digests ("
                          "  name TEXT PRIMARY KEY NOT NULL,"
                          "  n_rows INTEGER NOT NULL,"
                          "  sum INTEGER NOT NULL"
                          ") STRICT, WITHOUT ROWID;"
                          "INSERT INTO counters SELECT '" DIGEST_LAST_COLLECTION "', seq FROM sqlite_sequence "
                          "WHERE name = 'collections';"
                          "CREATE TRIGGER collections_counted AFTER INSERT ON collections BEGIN"
                          "  INSERT INTO counters VALUES ('" DIGEST_LAST_COLLECTION "', new.number)"
                          "    ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value);"
                          "END;",
                          em);
    for (int i = 0; e == ERR_OK && i < N_OWN; i++) e = create_triggers(s, &tables[i], em);
    return e;
}

enum err digest_take_schema(struct sql *s, struct errmsg *em)
{
    return sql_exec(s,
                    "INSERT OR REPLACE INTO digests SELECT 'sqlite_schema', count(*), "
                    "rows_digest(type, name, tbl_name, sql) FROM sqlite_schema",
                    em);
}

/* --- comparing ---------------------------------------------------------------------------------------------------- */

static enum err compare_table(struct sql *s, const struct table *t, struct errmsg *em)
{
    char text[TEXT_MAX];
    struct columns c;
    int64_t is_same = 0;
    columns_of(&c, t);
    int n = snprintf(text, sizeof text,
                     "SELECT (SELECT count(*) = d.n_rows AND rows_digest(%s) = d.sum FROM %s) "
                     "FROM digests d WHERE d.name = '%s'",
                     c.plain, t->name, t->name);
    CHECK(n > 0 && (size_t)n < sizeof text && "the comparison of a table fits");
    enum err e = sql_get_int(s, text, &is_same, em);
    if (e == ERR_NOT_FOUND || (e == ERR_OK && is_same != 1))
        return errmsg_set(em, ERR_CORRUPT, "table %s: its rows are not those that were written", t->name);
    return e;
}

enum err digest_compare(struct sql *s, struct errmsg *em)
{
    int64_t is_low = 0;
    enum err e = ERR_OK;
    for (int i = 0; e == ERR_OK && i < N_TABLES; i++) e = compare_table(s, &tables[i], em);
    if (e != ERR_OK) return e;
    e = sql_get_int(s,
                    "SELECT coalesce((SELECT value FROM counters WHERE name = '" DIGEST_LAST_COLLECTION "'), 0) > "
                    "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'collections'), 0)",
                    &is_low, em);
    if (e == ERR_OK && is_low != 0)
        return errmsg_set(em, ERR_CORRUPT, "table sqlite_sequence: a collection has had a higher number");
    return e;
}
