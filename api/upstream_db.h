/* upstream_db.h - chroma.sqlite3 of upstream's server: what there is, record by record. Reading only.
 * Internal to api/upstream_*.c, api/migrate*.c and their tests.
 *
 * What it is about: `collections`, `segments` (two a collection: METADATA, whose rows are in `embeddings` and
 * `embedding_metadata`, and VECTOR, whose rows are in index files), `embeddings_queue` (the log: every write, until
 * both segments have it and it is purged) and `max_seq_id` (how far each segment is).
 *
 * THREADS  one at a time.
 * VIEWS    strings handed to a visitor hold during the call; those in lists live in the arena that was given.
 * ERRORS   ERR_CORRUPT: damaged, or no database of upstream's; ERR_UNSUPPORTED: of a version before 1.0; ERR_IO,
 *          ERR_NOMEM. An error of a visitor ends the walk and is passed on.
 */
#ifndef API_UPSTREAM_DB_H
#define API_UPSTREAM_DB_H

#include <sqlite3.h>

#include "core/arena.h"
#include "core/buf.h"
#include "core/err.h"
#include "core/uuid.h"

#define UPSTREAM_FILE "chroma.sqlite3"

/* All-zero is closed. */
struct upstream_db {
    sqlite3 *db;
    bool has_arrays;               /* there are lists in metadata (since 1.4) */
    bool has_schemas, has_configs; /* columns of collections */
    sqlite3_stmt *scalars, *arrays, *entry;
};

/* Opens the file. is_copy false: with `immutable`, so that SQLite neither locks nor writes anything beside it; true:
 * it is a copy of ours, on which SQLite may finish what its journal asks for. */
enum err upstream_db_open(struct upstream_db *u, const char *file, bool is_copy, struct errmsg *em);
void upstream_db_close(struct upstream_db *u);

/* --- the catalog (upstream_db.c) --------------------------------------------------------------------------------- */

typedef enum err (*upstream_tenant_visitor)(void *ctx, struct str name, struct errmsg *em);
enum err upstream_each_tenant(struct upstream_db *u, upstream_tenant_visitor visit, void *ctx, struct errmsg *em);

typedef enum err (*upstream_database_visitor)(void *ctx, struct str tenant, struct str name, struct str id,
                                              struct errmsg *em);
enum err upstream_each_database(struct upstream_db *u, upstream_database_visitor visit, void *ctx, struct errmsg *em);

struct upstream_collection {
    struct str id; /* as text */
    struct str name, tenant, database;
    struct str configuration, schema;            /* JSON texts; .p == NULL: none */
    uint32_t dimension;                          /* 0: none, or more than UPSTREAM_DIM_MAX, which is damage */
    struct str metadata_segment, vector_segment; /* ids; .p == NULL: there is none */
    int64_t metadata_seq, vector_seq;            /* the log up to here is in the segment; 0: nothing of it */
    int64_t *log;                                /* positions of its log entries, ascending; after upstream_log_list */
    uint32_t n_log;
};

/* All of them in the order of their ids, in the arena. */
enum err upstream_collections(struct upstream_db *u, struct arena *a, struct upstream_collection **list, uint32_t *n,
                              struct errmsg *em);

/* Its metadata, packed (core/value.h), appended. */
enum err upstream_collection_metadata(struct upstream_db *u, const struct upstream_collection *c, struct buf *packed,
                                      struct errmsg *em);

/* --- records of the metadata segment (upstream_rows.c) ----------------------------------------------------------- */

struct upstream_record {
    struct str id, document, uri; /* .p == NULL: none */
    struct bytes meta;            /* packed, without what upstream keeps under chroma:* */
    const char *fault;            /* something of it cannot be brought: what; NULL: nothing */
};

/* In the order of their creation, which is the order of upstream's answers. */
typedef enum err (*upstream_record_visitor)(void *ctx, const struct upstream_record *r, struct errmsg *em);
enum err upstream_each_record(struct upstream_db *u, struct str segment, upstream_record_visitor visit, void *ctx,
                              struct errmsg *em);

/* --- the log (upstream_log.c) ------------------------------------------------------------------------------------ */

enum upstream_operation { UPSTREAM_ADD = 0, UPSTREAM_UPDATE = 1, UPSTREAM_UPSERT = 2, UPSTREAM_DELETE = 3 };

struct upstream_entry {
    int64_t seq;
    enum upstream_operation operation;
    struct str id;
    struct bytes vector; /* as stored; .p == NULL: none */
    bool is_int;         /* its numbers are int32, not float32 */
    struct str metadata; /* JSON; .p == NULL: none */
};

/* Gives every collection the positions of its entries, in one pass. Entries of no collection in the list are passed over:
 * it was deleted. */
enum err upstream_log_list(struct upstream_db *u, struct arena *a, struct upstream_collection *list, uint32_t n,
                           struct errmsg *em);

/* One entry; its views hold until the next call. ERR_CORRUPT: it is not there, or of an unknown operation. */
enum err upstream_log_entry(struct upstream_db *u, int64_t seq, struct upstream_entry *e, struct errmsg *em);

/* Appends the entry's vector as float32; *dim: how many. ERR_CORRUPT: no whole number of numbers. */
enum err upstream_entry_vector(const struct upstream_entry *e, struct buf *floats, uint32_t *dim, struct errmsg *em);

/* --- shared by the files above ----------------------------------------------------------------------------------- */

enum err upstream_fail(struct upstream_db *u, int rc, const char *what, struct errmsg *em);
enum err upstream_prepare(struct upstream_db *u, const char *sql, sqlite3_stmt **st, struct errmsg *em);
/* *has_row: false at the end. */
enum err upstream_step(struct upstream_db *u, sqlite3_stmt *st, bool *has_row, struct errmsg *em);
struct str upstream_text(sqlite3_stmt *row, int column); /* .p == NULL: NULL */

#endif
