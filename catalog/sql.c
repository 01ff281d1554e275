/* sql.c - see sql.h.
 *
 * Happy path: sql_open; pragmas and migrations by sql_exec; then sql_change and sql_query on cached statements, with
 * sql_begin and sql_commit around what belongs together.
 *
 * FAILURES   whatever SQLite reports. A statement that fails outside a transaction has changed nothing. After a failed
 *            commit the connection is rolled back; the failed transaction's pages are overwritten by the next one, but
 *            until then a crash may still bring it to light (catalog.h, "errors of changes").
 * INVARIANTS a cached statement is reset and its parameters are cleared between calls, so no read transaction stays
 *            open and no pointer of a caller is kept.
 */
#include "catalog/sql.h"

#include "catalog/sqlite_memory.h"

#include "catalog/digest.h"

enum { BUSY_TIMEOUT_MS = 5000 }; /* somebody with a shell on the file; another server is kept out by the lock file */

#define SQL_TEXT_(name, text) text,
static const char *const sql_texts[] = {SQL_TABLE(SQL_TEXT_)};
#undef SQL_TEXT_

static enum err code_of(const struct sql *s, int rc)
{
    switch (rc) {
    case SQLITE_CONSTRAINT_FOREIGNKEY:
        return ERR_NOT_FOUND;
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
        return ERR_EXISTS;
    case SQLITE_IOERR_NOMEM:
        return ERR_NOMEM;
    default:
        break;
    }
    switch (rc & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* the statements are our own and right, so the file's tables are not what we made */
        return ERR_CORRUPT;
    case SQLITE_FULL:
        return ERR_NO_SPACE;
    case SQLITE_NOMEM:
        return ERR_NOMEM;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN: /* no code of SQLite's says that descriptors are short */
        return s->files != NULL && sqlite_vfs_last(s->files) == ERR_FILES ? ERR_FILES : ERR_IO;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return ERR_IO;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_LOCKED;
    case SQLITE_READONLY:
        return ERR_READ_ONLY;
    case SQLITE_TOOBIG:
        return ERR_TOO_LARGE;
    default:
        return ERR_INTERNAL;
    }
}

/* What the file said, where a file is what has failed. */
static const char *why_of(const struct sql *s, int rc)
{
    int code = rc & 0xff;
    bool is_file = code == SQLITE_IOERR || code == SQLITE_CANTOPEN || code == SQLITE_FULL || code == SQLITE_BUSY;
    return is_file && s->files != NULL ? sqlite_vfs_why(s->files) : "";
}

static enum err sql_fail(struct sql *s, int rc, const char *what, struct errmsg *em)
{
    const char *why = why_of(s, rc);
    return errmsg_set(em, code_of(s, rc), "%.60s: %s (SQLite code %d)%s%.200s", what,
                      s->db != NULL ? sqlite3_errmsg(s->db) : sqlite3_errstr(rc), rc, why[0] != '\0' ? ": " : "", why);
}

/* --- the connection ------------------------------------------------------------------------------------------- */

enum err sql_open(struct sql *s, const struct vfs *vfs, const char *path, struct errmsg *em)
{
    struct sql fresh = {0};
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    sqlite_memory_use();
    enum err e = path != NULL ? sqlite_vfs_new(&fresh.files, vfs, em) : ERR_OK;
    if (e != ERR_OK) return e;
    int rc = path != NULL ? sqlite3_open_v2(path, &fresh.db, flags, sqlite_vfs_name(fresh.files))
                          : sqlite3_open_v2(":memory:", &fresh.db, flags, NULL);
    if (rc != SQLITE_OK) {
        e = sql_fail(&fresh, rc, "open", em);
        goto fail;
    }
    rc = sqlite3_busy_timeout(fresh.db, BUSY_TIMEOUT_MS);
    /* a damaged or doctored file must not run functions or be written through its own tables */
    if (rc == SQLITE_OK) rc = sqlite3_db_config(fresh.db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_db_config(fresh.db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    /* sqlite_vfs.h has neither shared memory nor temporary files */
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(fresh.db, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA temp_store = MEMORY;", NULL, NULL, NULL);
    if (rc != SQLITE_OK) {
        e = sql_fail(&fresh, rc, "configure", em);
        goto fail;
    }
    e = digest_register(fresh.db, em);
    if (e != ERR_OK) goto fail;
    *s = fresh;
    return ERR_OK;

fail:
    sql_close(&fresh);
    return e;
}

void sql_leave_alone(struct sql *s)
{
    (void)sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
}

void sql_close(struct sql *s)
{
    for (int i = 0; i < SQL_COUNT_; i++) (void)sqlite3_finalize(s->cached[i]);
    int rc = sqlite3_close(s->db);
    CHECK(rc == SQLITE_OK && "no statement outlives the connection");
    sqlite_vfs_free(s->files);
    *s = (struct sql){0};
}

/* --- statements that are not kept -------------------------------------------------------------------------------- */

enum err sql_exec(struct sql *s, const char *text, struct errmsg *em)
{
    int rc = sqlite3_exec(s->db, text, NULL, NULL, NULL);
    return rc == SQLITE_OK ? ERR_OK : sql_fail(s, rc, text, em);
}

static enum err first_row(struct sql *s, const char *text, sqlite3_stmt **out, struct errmsg *em)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(s->db, text, -1, &st, NULL);
    if (rc != SQLITE_OK) return sql_fail(s, rc, text, em);
    rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        *out = st;
        return ERR_OK;
    }
    enum err e = rc == SQLITE_DONE ? errmsg_set(em, ERR_NOT_FOUND, "%.60s: no row", text) : sql_fail(s, rc, text, em);
    (void)sqlite3_finalize(st);
    return e;
}

enum err sql_get_int(struct sql *s, const char *text, int64_t *value, struct errmsg *em)
{
    sqlite3_stmt *st = NULL;
    enum err e = first_row(s, text, &st, em);
    if (e != ERR_OK) return e;
    *value = sqlite3_column_int64(st, 0);
    (void)sqlite3_finalize(st);
    return ERR_OK;
}

enum err sql_get_text(struct sql *s, const char *text, char *out, size_t cap, struct errmsg *em)
{
    sqlite3_stmt *st = NULL;
    enum err e = first_row(s, text, &st, em);
    if (e != ERR_OK) return e;
    struct bytes b;
    e = sql_column(st, 0, &b, em);
    if (e == ERR_OK && b.n >= cap) e = errmsg_set(em, ERR_TOO_LARGE, "%.60s: too long an answer", text);
    if (e == ERR_OK) {
        if (b.n > 0) memcpy(out, b.p, b.n);
        out[b.n] = '\0';
    }
    (void)sqlite3_finalize(st);
    return e;
}

/* --- cached statements --------------------------------------------------------------------------------------- */

static int bind(sqlite3_stmt *st, int at, const struct sql_value *v)
{
    /* a blob of no bytes needs a pointer, or SQLite makes it NULL */
    const void *p = v->b.n > 0 ? v->b.p : "";
    switch (v->type) {
    case SQL_NULL:
        return sqlite3_bind_null(st, at);
    case SQL_INT:
        return sqlite3_bind_int64(st, at, v->i);
    case SQL_TEXT:
        return sqlite3_bind_text64(st, at, p, v->b.n, SQLITE_STATIC, SQLITE_UTF8);
    case SQL_BLOB:
        return sqlite3_bind_blob64(st, at, p, v->b.n, SQLITE_STATIC);
    }
    return SQLITE_MISUSE;
}

static enum err prepared(struct sql *s, enum sql_statement which, const struct sql_value *values, int n,
                         struct errmsg *em)
{
    int rc = SQLITE_OK;
    if (s->cached[which] == NULL) {
        rc = sqlite3_prepare_v3(s->db, sql_texts[which], -1, SQLITE_PREPARE_PERSISTENT, &s->cached[which], NULL);
        if (rc != SQLITE_OK) return sql_fail(s, rc, sql_texts[which], em);
    }
    sqlite3_stmt *st = s->cached[which];
    CHECK(sqlite3_bind_parameter_count(st) == n && "a value for every parameter");
    for (int i = 0; i < n && rc == SQLITE_OK; i++) rc = bind(st, i + 1, &values[i]);
    if (rc == SQLITE_OK) return ERR_OK;
    enum err e = sql_fail(s, rc, sql_texts[which], em);
    (void)sqlite3_clear_bindings(st);
    return e;
}

enum err sql_query(struct sql *s, enum sql_statement which, const struct sql_value *values, int n, sql_row row,
                   void *ctx, struct errmsg *em)
{
    enum err e = prepared(s, which, values, n, em);
    if (e != ERR_OK) return e;
    sqlite3_stmt *st = s->cached[which];
    int rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        CHECK(row != NULL && "only a query has rows");
        e = row(ctx, st, em);
        if (e != ERR_OK) break;
    }
    if (e == ERR_OK && rc != SQLITE_DONE) e = sql_fail(s, rc, sql_texts[which], em);
    (void)sqlite3_reset(st); /* repeats the error of the step, if any */
    (void)sqlite3_clear_bindings(st);
    return e;
}

enum err sql_empty_log(struct sql *s, struct errmsg *em)
{
    int64_t is_busy = 0;
    enum err e = sql_get_int(s, "PRAGMA wal_checkpoint(TRUNCATE)", &is_busy, em);
    if (e == ERR_OK && is_busy != 0) e = errmsg_set(em, ERR_LOCKED, "somebody reads the catalog");
    return e;
}

enum err sql_change(struct sql *s, enum sql_statement which, const struct sql_value *values, int n, int *n_changed,
                    struct errmsg *em)
{
    int before = sqlite3_total_changes(s->db);
    enum err e = sql_query(s, which, values, n, NULL, NULL, em);
    if (e != ERR_OK) return e;
    /* changes() keeps the figure of an earlier statement when this one changed nothing at all */
    if (n_changed != NULL) *n_changed = sqlite3_total_changes(s->db) == before ? 0 : sqlite3_changes(s->db);
    return ERR_OK;
}

enum err sql_begin(struct sql *s, struct errmsg *em)
{
    return sql_change(s, SQL_BEGIN, NULL, 0, NULL, em);
}

enum err sql_commit(struct sql *s, struct errmsg *em)
{
    enum err e = sql_change(s, SQL_COMMIT, NULL, 0, NULL, em);
    if (e != ERR_OK) sql_rollback(s);
    return e;
}

void sql_rollback(struct sql *s)
{
    if (sqlite3_get_autocommit(s->db) != 0) return; /* SQLite rolled back by itself, or there was nothing */
    (void)sql_change(s, SQL_ROLLBACK, NULL, 0, NULL, NULL);
}

enum err sql_column(sqlite3_stmt *row, int column, struct bytes *out, struct errmsg *em)
{
    if (sqlite3_column_type(row, column) == SQLITE_NULL) {
        *out = (struct bytes){NULL, 0};
        return ERR_OK;
    }
    const void *p = sqlite3_column_blob(row, column);
    int n = sqlite3_column_bytes(row, column);
    if (p == NULL && n > 0) return errmsg_set(em, ERR_NOMEM, "read a column: out of memory");
    *out = (struct bytes){n > 0 ? p : "", (size_t)n};
    return ERR_OK;
}
