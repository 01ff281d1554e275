/* upstream_dir.h - makes directories like those of upstream's server, for tests of what reads them. */
#ifndef TESTS_UNIT_API_UPSTREAM_DIR_H
#define TESTS_UNIT_API_UPSTREAM_DIR_H

#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>

#include "core/buf.h"
#include "tests/lib/suite.h"

#define UPSTREAM_ID "74028371-ba69-41f0-be0e-5ac8e2e77aa1"

static const char upstream_tables[] =
    "CREATE TABLE tenants (id TEXT PRIMARY KEY);"
    "CREATE TABLE databases (id TEXT PRIMARY KEY, name TEXT NOT NULL, tenant_id TEXT NOT NULL);"
    "CREATE TABLE collections (id TEXT PRIMARY KEY, name TEXT NOT NULL, dimension INTEGER, database_id TEXT NOT NULL, "
    "config_json_str TEXT, schema_str TEXT);"
    "CREATE TABLE collection_metadata (collection_id TEXT, key TEXT NOT NULL, str_value TEXT, int_value INTEGER, "
    "float_value REAL, bool_value INTEGER, PRIMARY KEY (collection_id, key));"
    "CREATE TABLE segments (id TEXT PRIMARY KEY, type TEXT NOT NULL, scope TEXT NOT NULL, collection TEXT NOT NULL);"
    "CREATE TABLE embeddings (id INTEGER PRIMARY KEY, segment_id TEXT NOT NULL, embedding_id TEXT NOT NULL, "
    "seq_id BLOB NOT NULL, UNIQUE (segment_id, embedding_id));"
    "CREATE TABLE embedding_metadata (id INTEGER, key TEXT NOT NULL, string_value TEXT, int_value INTEGER, "
    "float_value REAL, bool_value INTEGER, PRIMARY KEY (id, key));"
    "CREATE TABLE embedding_metadata_array (id INTEGER NOT NULL, key TEXT NOT NULL, string_value TEXT, int_value "
    "INTEGER, "
    "float_value REAL, bool_value INTEGER);"
    "CREATE TABLE max_seq_id (segment_id TEXT PRIMARY KEY, seq_id INTEGER);"
    "CREATE TABLE embeddings_queue (seq_id INTEGER PRIMARY KEY, operation INTEGER NOT NULL, topic TEXT NOT NULL, "
    "id TEXT NOT NULL, vector BLOB, encoding TEXT, metadata TEXT);"
    "INSERT INTO tenants VALUES ('default_tenant');"
    "INSERT INTO databases VALUES ('00000000-0000-0000-0000-000000000000', 'default_database', 'default_tenant');"
    "INSERT INTO collections VALUES ('" UPSTREAM_ID
    "', 'docs', NULL, '00000000-0000-0000-0000-000000000000', '{}', NULL);"
    "INSERT INTO segments VALUES ('meta', 'm', 'METADATA', '" UPSTREAM_ID "'), ('vec', 'v', 'VECTOR', '" UPSTREAM_ID
    "');";

static inline void run_sql(sqlite3 *db, const char *text)
{
    char *message = NULL;
    int rc = sqlite3_exec(db, text, NULL, NULL, &message);
    ck_assert_msg(rc == SQLITE_OK, "%s: %s", text, message);
}

/* DIR with chroma.sqlite3: one collection, "docs", without records; complete after end_upstream. */
static inline sqlite3 *make_upstream(const char *dir)
{
    char path[4400];
    sqlite3 *db;
    (void)mkdir(dir, 0700);
    (void)snprintf(path, sizeof path, "%s/chroma.sqlite3", dir);
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    run_sql(db, "PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF; BEGIN");
    run_sql(db, upstream_tables);
    return db;
}

static inline void end_upstream(sqlite3 *db)
{
    run_sql(db, "COMMIT");
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

/* operation: 0 add, 1 update, 2 upsert, 3 delete. v NULL: without a vector. */
static inline void put_log(sqlite3 *db, int64_t seq, int operation, const char *id, const float *v, uint32_t dim,
                           const char *metadata)
{
    sqlite3_stmt *st;
    ck_assert_int_eq(
        sqlite3_prepare_v2(db, "INSERT INTO embeddings_queue VALUES (?, ?, ?, ?, ?, 'FLOAT32', ?)", -1, &st, NULL),
        SQLITE_OK);
    (void)sqlite3_bind_int64(st, 1, seq);
    (void)sqlite3_bind_int(st, 2, operation);
    (void)sqlite3_bind_text(st, 3, "persistent://default/default/" UPSTREAM_ID, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(st, 4, id, -1, SQLITE_TRANSIENT);
    if (v != NULL) (void)sqlite3_bind_blob(st, 5, v, (int)(dim * sizeof *v), SQLITE_TRANSIENT);
    if (metadata != NULL) (void)sqlite3_bind_text(st, 6, metadata, -1, SQLITE_TRANSIENT);
    ck_assert_int_eq(sqlite3_step(st), SQLITE_DONE);
    (void)sqlite3_finalize(st);
}

/* --- index files in DIR/vec ------------------------------------------------------------------------------------------- */

struct index_files {
    struct buf pickle, data;
    uint32_t dim;
    uint64_t n;
};

static inline void index_text(struct index_files *f, const char *s)
{
    buf_char(&f->pickle, 'X');
    buf_u32(&f->pickle, (uint32_t)strlen(s));
    buf_add(&f->pickle, s, strlen(s));
}

static inline void index_begin(struct index_files *f, uint32_t dim)
{
    *f = (struct index_files){.dim = dim};
    buf_lit(&f->pickle, "\x80\x03}(");
    index_text(f, "id_to_label");
    buf_lit(&f->pickle, "}(");
}

/* is_listed: false for an element that was deleted, which the pickle does not name. */
static inline void index_put(struct index_files *f, const char *id, const float *v, bool is_listed)
{
    uint64_t label = 1 + f->n++;
    if (is_listed) {
        index_text(f, id);
        buf_char(&f->pickle, 'J');
        buf_u32(&f->pickle, (uint32_t)label);
    }
    buf_u32(&f->data, is_listed ? 0 : 0x10000);
    buf_add(&f->data, v, f->dim * sizeof *v);
    buf_u64(&f->data, label);
}

static inline void index_file(const char *dir, const char *name, const void *p, size_t n)
{
    char path[4400];
    (void)snprintf(path, sizeof path, "%s/vec/%s", dir, name);
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(p, 1, n, file), n);
    ck_assert_int_eq(fclose(file), 0);
}

static inline void index_write(struct index_files *f, const char *dir)
{
    char path[4400];
    uint8_t header[100] = {1};
    uint64_t label = 4 + 4ULL * f->dim;
    (void)snprintf(path, sizeof path, "%s/vec", dir);
    (void)mkdir(path, 0700);
    le64_put(header + 12, f->n);
    le64_put(header + 20, f->n);
    le64_put(header + 28, label + 8);
    le64_put(header + 36, label);
    le64_put(header + 44, 4);
    buf_lit(&f->pickle, "uu.");
    index_file(dir, "index_metadata.pickle", f->pickle.p, f->pickle.n);
    index_file(dir, "header.bin", header, sizeof header);
    index_file(dir, "data_level0.bin", f->data.n > 0 ? f->data.p : "", f->data.n);
    buf_free(&f->pickle);
    buf_free(&f->data);
}

#endif
