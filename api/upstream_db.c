/* upstream_db.c - see upstream_db.h: opening the file, and the catalog in it.
 *
 * FAILURE  SQLite's codes become ours in one place (upstream_fail). A table or column that a database of 1.x must
 *          have and has not is ERR_UNSUPPORTED when it looks older, ERR_CORRUPT else.
 * TRUST    the file may be damaged or doctored: its own triggers, views and functions must not run (trusted_schema),
 *          cells are checked, and text is checked to be UTF-8 before it goes on.
 */
#include "api/upstream_db.h"

#include <stdio.h>

#include "api/json.h"
#include "api/upstream_hnsw.h"
#include "catalog/sqlite_memory.h"
#include "core/utf8.h"
#include "core/value.h"

/* --- the connection ---------------------------------------------------------------------------------------------- */

enum err upstream_fail(struct upstream_db *u, int rc, const char *what, struct errmsg *em)
{
    enum err e = ERR_IO;
    switch (rc & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* "no such table" and the like */
    case SQLITE_SCHEMA:
    case SQLITE_FORMAT:
        e = ERR_CORRUPT;
        break;
    case SQLITE_NOMEM:
        e = ERR_NOMEM;
        break;
    case SQLITE_FULL:
        e = ERR_NO_SPACE;
        break;
    default:
        break;
    }
    return errmsg_set(em, e, UPSTREAM_FILE ": %.60s: %s", what,
                      u->db != NULL ? sqlite3_errmsg(u->db) : sqlite3_errstr(rc));
}

enum err upstream_prepare(struct upstream_db *u, const char *sql, sqlite3_stmt **st, struct errmsg *em)
{
    int rc = sqlite3_prepare_v2(u->db, sql, -1, st, NULL);
    return rc == SQLITE_OK ? ERR_OK : upstream_fail(u, rc, sql, em);
}

enum err upstream_step(struct upstream_db *u, sqlite3_stmt *st, bool *has_row, struct errmsg *em)
{
    int rc = sqlite3_step(st);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) return upstream_fail(u, rc, sqlite3_sql(st), em);
    *has_row = rc == SQLITE_ROW;
    return ERR_OK;
}

struct str upstream_text(sqlite3_stmt *row, int column)
{
    if (sqlite3_column_type(row, column) == SQLITE_NULL) return (struct str){NULL, 0};
    const char *p = (const char *)sqlite3_column_text(row, column);
    return str_of(p != NULL ? p : "", p != NULL ? (size_t)sqlite3_column_bytes(row, column) : 0);
}

static bool has_column(const struct upstream_db *u, const char *table, const char *column)
{
    return sqlite3_table_column_metadata(u->db, NULL, table, column, NULL, NULL, NULL, NULL, NULL) == SQLITE_OK;
}

static enum err check_tables(struct upstream_db *u, struct errmsg *em)
{
    bool has_row;
    sqlite3_stmt *st = NULL;
    enum err e = upstream_prepare(u, "SELECT count(*) FROM sqlite_master", &st, em); /* reads the first page */
    if (e == ERR_OK) e = upstream_step(u, st, &has_row, em);
    (void)sqlite3_finalize(st);
    if (e != ERR_OK) return e;
    if (!has_column(u, "collections", "name") || !has_column(u, "embeddings_queue", "seq_id"))
        return errmsg_set(em, ERR_CORRUPT, UPSTREAM_FILE " is not a database of Chroma's server");
    if (!has_column(u, "databases", "tenant_id") || !has_column(u, "max_seq_id", "seq_id") ||
        !has_column(u, "embedding_metadata", "bool_value"))
        return errmsg_set(em, ERR_UNSUPPORTED,
                          UPSTREAM_FILE " is of a version of Chroma before 1.0: start a server of 1.x on the directory "
                                        "once, which brings it up to date");
    u->has_arrays = has_column(u, "embedding_metadata_array", "key");
    u->has_schemas = has_column(u, "collections", "schema_str");
    u->has_configs = has_column(u, "collections", "config_json_str");
    return ERR_OK;
}

/* "file:" and the path with what means something in a URI written as %XX. */
static bool put_uri(char *out, size_t cap, const char *path)
{
    size_t n = (size_t)snprintf(out, cap, "file:");
    for (; *path != '\0' && n + 4 < cap; path++) {
        unsigned char c = (unsigned char)*path;
        bool is_plain = c > ' ' && c < 0x7f && strchr("%?#", c) == NULL;
        n += (size_t)snprintf(out + n, cap - n, is_plain ? "%c" : "%%%02X", c);
    }
    int tail = snprintf(out + n, cap - n, "?mode=ro&immutable=1");
    return *path == '\0' && tail > 0 && (size_t)tail < cap - n;
}

enum err upstream_db_open(struct upstream_db *u, const char *file, bool is_copy, struct errmsg *em)
{
    struct upstream_db fresh = {0};
    char uri[3 * 4096];
    sqlite_memory_use();
    int mode = is_copy ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY | SQLITE_OPEN_URI;
    if (!is_copy && !put_uri(uri, sizeof uri, file))
        return errmsg_set(em, ERR_INVALID, "the path %s is too long", file);
    enum err e = ERR_OK;
    int rc = sqlite3_open_v2(is_copy ? file : uri, &fresh.db, mode | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_db_config(fresh.db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_db_config(fresh.db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_exec(fresh.db, "PRAGMA cell_size_check = ON", NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        e = upstream_fail(&fresh, rc, "open", em);
    else
        e = check_tables(&fresh, em);
    if (e != ERR_OK) {
        upstream_db_close(&fresh);
        return e;
    }
    *u = fresh;
    return ERR_OK;
}

void upstream_db_close(struct upstream_db *u)
{
    (void)sqlite3_finalize(u->scalars);
    (void)sqlite3_finalize(u->arrays);
    (void)sqlite3_finalize(u->entry);
    (void)sqlite3_close(u->db);
    *u = (struct upstream_db){0};
}

/* --- tenants and databases --------------------------------------------------------------------------------------- */

enum err upstream_each_tenant(struct upstream_db *u, upstream_tenant_visitor visit, void *ctx, struct errmsg *em)
{
    sqlite3_stmt *st = NULL;
    bool has_row = true;
    enum err e = upstream_prepare(u, "SELECT id FROM tenants ORDER BY rowid", &st, em);
    while (e == ERR_OK && (e = upstream_step(u, st, &has_row, em)) == ERR_OK && has_row)
        e = visit(ctx, upstream_text(st, 0), em);
    (void)sqlite3_finalize(st);
    return e;
}

enum err upstream_each_database(struct upstream_db *u, upstream_database_visitor visit, void *ctx, struct errmsg *em)
{
    sqlite3_stmt *st = NULL;
    bool has_row = true;
    enum err e = upstream_prepare(u, "SELECT tenant_id, name, id FROM databases ORDER BY rowid", &st, em);
    while (e == ERR_OK && (e = upstream_step(u, st, &has_row, em)) == ERR_OK && has_row)
        e = visit(ctx, upstream_text(st, 0), upstream_text(st, 1), upstream_text(st, 2), em);
    (void)sqlite3_finalize(st);
    return e;
}

/* --- collections ------------------------------------------------------------------------------------------------- */

static bool keep(struct arena *a, struct str *out, struct str s)
{
    *out = s.p != NULL ? arena_str(a, s) : s;
    return s.p == NULL || out->p != NULL;
}

/* Databases before 1.0 kept positions as big-endian blobs; some rows may still be such. */
static int64_t read_seq(sqlite3_stmt *row, int column)
{
    if (sqlite3_column_type(row, column) != SQLITE_BLOB) return sqlite3_column_int64(row, column);
    const uint8_t *p = sqlite3_column_blob(row, column);
    int n = sqlite3_column_bytes(row, column);
    uint64_t v = 0;
    for (int i = 0; i < n && n == 8; i++) v = v << 8 | p[i];
    return v <= INT64_MAX ? (int64_t)v : 0;
}

static enum err read_segments(struct upstream_db *u, struct arena *a, struct upstream_collection *list, uint32_t n,
                              struct errmsg *em)
{
    sqlite3_stmt *st = NULL;
    enum err e = upstream_prepare(u,
                                  "SELECT s.id, s.scope, m.seq_id FROM segments s LEFT JOIN max_seq_id m "
                                  "ON m.segment_id = s.id WHERE s.collection = ?1",
                                  &st, em);
    for (uint32_t i = 0; i < n && e == ERR_OK; i++) {
        bool has_row = true;
        (void)sqlite3_reset(st);
        (void)sqlite3_bind_text(st, 1, list[i].id.p, (int)list[i].id.n, SQLITE_STATIC);
        while ((e = upstream_step(u, st, &has_row, em)) == ERR_OK && has_row) {
            struct str scope = upstream_text(st, 1);
            bool is_vector = str_eq(scope, STR("VECTOR"));
            if (!is_vector && !str_eq(scope, STR("METADATA"))) continue;
            if (!keep(a, is_vector ? &list[i].vector_segment : &list[i].metadata_segment, upstream_text(st, 0))) {
                e = errmsg_set(em, ERR_NOMEM, "out of memory");
                break;
            }
            *(is_vector ? &list[i].vector_seq : &list[i].metadata_seq) = read_seq(st, 2);
        }
    }
    (void)sqlite3_finalize(st);
    return e;
}

static bool read_collection(sqlite3_stmt *row, struct arena *a, struct upstream_collection *c)
{
    int64_t dimension = sqlite3_column_int64(row, 2);
    *c = (struct upstream_collection){.dimension =
                                          dimension > 0 && dimension <= UPSTREAM_DIM_MAX ? (uint32_t)dimension : 0};
    return keep(a, &c->id, upstream_text(row, 0)) && keep(a, &c->name, upstream_text(row, 1)) &&
           keep(a, &c->tenant, upstream_text(row, 3)) && keep(a, &c->database, upstream_text(row, 4)) &&
           keep(a, &c->configuration, upstream_text(row, 5)) && keep(a, &c->schema, upstream_text(row, 6));
}

enum err upstream_collections(struct upstream_db *u, struct arena *a, struct upstream_collection **out, uint32_t *n_out,
                              struct errmsg *em)
{
    char sql[320];
    sqlite3_stmt *st = NULL;
    struct upstream_collection *list = NULL;
    uint32_t n = 0, cap = 0;
    bool has_row = true;
    (void)snprintf(sql, sizeof sql,
                   "SELECT c.id, c.name, c.dimension, d.tenant_id, d.name, %s, %s FROM collections c "
                   "LEFT JOIN databases d ON d.id = c.database_id ORDER BY c.id",
                   u->has_configs ? "c.config_json_str" : "NULL", u->has_schemas ? "c.schema_str" : "NULL");
    enum err e = upstream_prepare(u, sql, &st, em);
    while (e == ERR_OK && (e = upstream_step(u, st, &has_row, em)) == ERR_OK && has_row) {
        if (n == cap) {
            uint32_t more = cap > 0 ? cap * 2 : 64;
            struct upstream_collection *bigger = arena_array(a, more, sizeof *bigger);
            if (bigger != NULL && n > 0) memcpy(bigger, list, n * sizeof *list);
            list = bigger;
            cap = more;
        }
        if (list == NULL || !read_collection(st, a, &list[n])) e = errmsg_set(em, ERR_NOMEM, "out of memory");
        n++;
    }
    (void)sqlite3_finalize(st);
    if (e == ERR_OK) e = read_segments(u, a, list, n, em);
    if (e != ERR_OK) return e;
    *out = list;
    *n_out = n;
    return ERR_OK;
}

enum err upstream_collection_metadata(struct upstream_db *u, const struct upstream_collection *c, struct buf *packed,
                                      struct errmsg *em)
{
    sqlite3_stmt *st = NULL;
    bool has_row = true;
    enum err e = upstream_prepare(u,
                                  "SELECT key, str_value, int_value, float_value, bool_value FROM collection_metadata "
                                  "WHERE collection_id = ?1 ORDER BY key",
                                  &st, em);
    if (e == ERR_OK) (void)sqlite3_bind_text(st, 1, c->id.p, (int)c->id.n, SQLITE_STATIC);
    while (e == ERR_OK && (e = upstream_step(u, st, &has_row, em)) == ERR_OK && has_row) {
        struct str key = upstream_text(st, 0), text = upstream_text(st, 1);
        struct value v = {.type = VALUE_NULL};
        if (text.p != NULL)
            v = (struct value){.type = VALUE_STR, .s = text};
        else if (sqlite3_column_type(st, 2) != SQLITE_NULL)
            v = (struct value){.type = VALUE_INT, .i = sqlite3_column_int64(st, 2)};
        else if (sqlite3_column_type(st, 3) != SQLITE_NULL)
            v = (struct value){.type = VALUE_FLOAT, .f = sqlite3_column_double(st, 3)};
        else if (sqlite3_column_type(st, 4) != SQLITE_NULL)
            v = (struct value){.type = VALUE_BOOL, .b = sqlite3_column_int64(st, 4) != 0};
        if (v.type == VALUE_NULL) continue;
        if (!utf8_is_valid(key) || (v.type == VALUE_STR && !utf8_is_valid(v.s)))
            e = errmsg_set(em, ERR_CORRUPT, "metadata that are no text");
        else
            meta_put(packed, key, &v);
    }
    (void)sqlite3_finalize(st);
    if (e == ERR_OK && packed->err != ERR_OK) e = errmsg_set(em, packed->err, "metadata");
    return e;
}
