/* catalog.h - tenants, databases, collections, and which index version of a collection is current.
 *
 * SQLite holds the truth, in numbered migrations; an in-memory view answers every read, so no read waits for SQLite.
 * A change is committed (durable) first, then the view follows. Format: docs/formats.md#catalog.
 *
 * OWNS     catalog.sqlite3 in the data directory, the view.
 * THREADS  lookups: any thread, also the loop (a short read lock, never held over I/O). Changes: any thread that may
 *          block (not the loop); they are serialised inside.
 * LIFETIME collections are handed out as references: catalog_collection_unref when done. One object is one state of a
 *          collection and immutable; an update makes a new object.
 * ERRORS   ERR_NOT_FOUND, ERR_EXISTS, ERR_IO, ERR_NO_SPACE, ERR_NOMEM, ERR_CORRUPT, ERR_LOCKED (another program holds
 *          the file), ERR_INVALID (numbers beyond 2^63 - 1, versions that go back), at open also ERR_NEWER (the
 *          schema is of a later version). Texts for clients are the API's; `em` is for logs and for start-up.
 *          After a failed change nothing has changed, as far as this process can see. But after ERR_IO, and only when
 *          the process dies before the next successful change, the change may turn out to have been made at the next
 *          start (its commit was written, and only the flush failed). So files that a failed change would have named
 *          must not be deleted before the next start or the next successful change.
 */
#ifndef CATALOG_CATALOG_H
#define CATALOG_CATALOG_H

#include "core/arena.h"
#include "core/uuid.h"
#include "core/vfs.h"

struct catalog;

/* First member of what is attached to a collection: its live object. Every state of the collection that anyone holds
 * keeps it; with the last of them it is freed, on whichever thread gives that one back. That may be the catalog itself
 * with its locks held (a deletion, closing), so free_runtime must not call the catalog. */
struct catalog_runtime {
    _Atomic(size_t) n_states;                        /* the catalog's; zero at first */
    void (*free_runtime)(struct catalog_runtime *r); /* immutable */
};

/* All strings are owned by the object and NUL-terminated as well. */
struct catalog_collection {
    uint64_t number; /* never reused: names the collection in the log and in file names */
    struct uuid id;
    struct str tenant, database; /* names */
    struct str name;
    struct str configuration; /* compact JSON text, opaque here */
    struct str schema;        /* likewise */
    struct bytes metadata;    /* packed (core/value.h); n == 0: none */
    uint8_t space;            /* enum space (core/segment.h) */
    /* What was attached (`attach` below, or catalog_set_runtime); NULL before. Later states of the collection inherit
     * it. The only member that changes, hence atomic; it reads like a plain pointer. */
    _Atomic(struct catalog_runtime *) runtime;
};

struct catalog_database {
    struct uuid id;
    struct str name, tenant;
};

/* Opens or makes the catalog; applies migrations in one transaction each. path NULL: in memory, and `vfs` is not looked
 * at; else all files are reached through `vfs`, which must live until the close. Nobody else can use the file meanwhile.
 * A fresh catalog has tenant `default_tenant` and database `default_database` (id all zeros).
 * ERR_CORRUPT: damaged, no SQLite file, or another program's. A file that is refused is left as it was. */
enum err catalog_open(struct catalog **c, const struct vfs *vfs, const char *path, struct errmsg *em);
void catalog_close(struct catalog *c); /* NULL is fine. References handed out stay valid. */

/* --- tenants and databases ------------------------------------------------------------------------------------ */

/* Names are compared byte by byte; any bytes are allowed in the name of a tenant. */
enum err catalog_create_tenant(struct catalog *c, struct str name, struct errmsg *em);
bool catalog_has_tenant(struct catalog *c, struct str name);
/* It was made, or some database names it as its own. Any thread, also the loop. */
bool catalog_knows_tenant(struct catalog *c, struct str name);
struct catalog_counts {
    uint64_t n_databases, n_collections;
};
struct catalog_counts catalog_count_tenant(struct catalog *c, struct str name); /* zero when there is no such tenant */

/* The tenant need not exist (upstream's rule). The id is random, also when `default_database` is made again. */
enum err catalog_create_database(struct catalog *c, struct str tenant, struct str name, struct errmsg *em);
/* The same within a quota: ERR_QUOTA when the tenant has `max` databases already (0: no quota). Exact, whatever else is
 * created at the same time. *n_used: how many there would have been; set with ERR_QUOTA only. */
enum err catalog_create_database_within(struct catalog *c, struct str tenant, struct str name, uint64_t max,
                                        uint64_t *n_used, struct errmsg *em);
/* The same with an id that it had elsewhere. ERR_EXISTS: the name, or the id. */
enum err catalog_restore_database(struct catalog *c, struct str tenant, struct str name, const struct uuid *id,
                                  struct errmsg *em);
enum err catalog_get_database(struct catalog *c, struct str tenant, struct str name, struct uuid *id);
/* Deletes its collections too; `dropped` is called for each, on this thread, after the commit. */
typedef void (*catalog_dropped)(void *ctx, const struct catalog_collection *col);
enum err catalog_delete_database(struct catalog *c, struct str tenant, struct str name, catalog_dropped dropped,
                                 void *ctx, struct errmsg *em);
/* In byte order of names; strings are copied into the arena. limit UINT32_MAX = all. */
enum err catalog_list_databases(struct catalog *c, struct str tenant, uint32_t limit, uint32_t offset, struct arena *a,
                                struct catalog_database **list, size_t *n);

/* --- collections ---------------------------------------------------------------------------------------------- */

struct catalog_new_collection {
    struct str tenant, database, name, configuration, schema;
    struct bytes metadata;
    uint8_t space;
    bool get_or_create;
    const struct uuid *id; /* NULL: a random one. Data that come from elsewhere keep theirs; ERR_EXISTS: it is in use */

    /* Makes the live object of a new collection before anyone can see the collection: called before the commit, with
     * the catalog's changes locked out, so it may look up but not change. `col` has its number and id already; what
     * is written to *runtime becomes col->runtime, and is freed when the commit fails. An error undoes the creation and
     * is passed on. NULL: not wanted. */
    enum err (*attach)(void *ctx, const struct catalog_collection *col, struct catalog_runtime **runtime,
                       struct errmsg *em);
    void *attach_ctx;

    uint64_t tenant_max; /* ERR_QUOTA when the tenant has so many collections already; exact. 0: no quota */
};

/* ERR_NOT_FOUND: no such database. ERR_EXISTS: name taken and not get_or_create. On ERR_OK *col is a reference, and
 * *is_new says whether it was made now. A collection that is there is found whatever the quota. */
enum err catalog_create_collection(struct catalog *c, const struct catalog_new_collection *in,
                                   const struct catalog_collection **col, bool *is_new, struct errmsg *em);

/* NULL when absent. A collection is found only under its own tenant and database. */
const struct catalog_collection *catalog_collection_by_name(struct catalog *c, struct str tenant, struct str database,
                                                            struct str name);
const struct catalog_collection *catalog_collection_by_id(struct catalog *c, struct str tenant, struct str database,
                                                          const struct uuid *id);
const struct catalog_collection *catalog_collection_by_number(struct catalog *c, uint64_t number);
const struct catalog_collection *catalog_collection_ref(const struct catalog_collection *col);
void catalog_collection_unref(const struct catalog_collection *col);

/* Ordered by id ascending; limit UINT32_MAX = all. The array lies in the arena; each element is a reference of the
 * caller's. */
enum err catalog_list_collections(struct catalog *c, struct str tenant, struct str database, uint32_t limit,
                                  uint32_t offset, struct arena *a, const struct catalog_collection ***list, size_t *n);
uint64_t catalog_count_collections(struct catalog *c, struct str tenant, struct str database);
/* Every collection of every tenant, in no order: start-up, compactor, metrics. */
enum err catalog_all_collections(struct catalog *c, struct arena *a, const struct catalog_collection ***list,
                                 size_t *n);

/* --- forks ----------------------------------------------------------------------------------------------------- */

/* A number for a collection that is yet to be made, so that its files can be written before it is there. Durable: no
 * collection is ever given it, but the one that is made with it. Needs a catalog that has had a collection. */
enum err catalog_reserve_number(struct catalog *c, uint64_t *number, struct errmsg *em);

struct catalog_fork {
    uint64_t source; /* number of the collection that is forked */
    uint64_t number; /* reserved, for the new one */
    struct str name;
    const struct catalog_version *version; /* of the new one, ->number too; NULL: nothing was published */
    struct catalog_runtime *runtime;       /* its live object; taken over, also when this fails */
    /* Quotas, exact; 0: none. ERR_QUOTA when the tenant has so many collections already, or so many forks were made in the
     * tree of forks. */
    uint64_t tenant_max, forks_max;
};
/* A new collection beside the source, with the configuration, schema, metadata and space that the source has now; it
 * and its version in one transaction. ERR_NOT_FOUND: the source is gone. ERR_EXISTS: the name is taken. *col: a
 * reference. */
enum err catalog_fork_collection(struct catalog *c, const struct catalog_fork *in,
                                 const struct catalog_collection **col, struct errmsg *em);

/* How many forks were made in the tree of forks that the collection belongs to: of its root, and of all that descend
 * from it; those that were deleted are counted too. Reads SQLite. ERR_NOT_FOUND: no such collection. */
enum err catalog_count_forks(struct catalog *c, uint64_t number, uint64_t *n, struct errmsg *em);

struct catalog_update { /* .p == NULL: leave as it is */
    struct str name, configuration, schema;
    struct bytes metadata;
    bool set_metadata; /* metadata may be set to none */
};
/* All parts in one transaction. ERR_EXISTS: the new name is taken. The own name is no conflict. */
enum err catalog_update_collection(struct catalog *c, uint64_t number, const struct catalog_update *u,
                                   struct errmsg *em);
/* By name; *col is the state that was deleted, a reference. col may be NULL. */
enum err catalog_delete_collection(struct catalog *c, struct str tenant, struct str database, struct str name,
                                   const struct catalog_collection **col, struct errmsg *em);

/* Attaches the live object of a collection, at start-up or right after it was made (where others may see it without
 * for a moment; `attach` above has no such moment). False when the collection is gone: the object is still the
 * caller's. States that were replaced before keep what they had. */
bool catalog_set_runtime(struct catalog *c, uint64_t number, struct catalog_runtime *runtime);

/* --- index versions ------------------------------------------------------------------------------------------- */

/* What a version is: the manifest file names the fragments; everything up to log_position is in them. */
struct catalog_version {
    uint64_t number;  /* collection */
    uint64_t version; /* ascending within the collection; 0 = none yet */
    uint64_t log_position;
    uint64_t next_ordinal; /* of the next new record */
    uint32_t dimension;    /* 0 = not fixed yet */
    struct str manifest;   /* file name within the collection's directory; lives in the arena given */
    uint64_t n_rows;       /* that live at log_position, in all its fragments */
    uint64_t file_bytes;   /* of its fragments */
    bool is_measured;      /* false: an earlier program published it; the two above are not known */
};
/* Makes `v` current, in one durable transaction. ERR_NOT_FOUND when the collection is gone (its files are garbage
 * then). ERR_INVALID when v->version is not above the current one or v->log_position is below the current one. */
enum err catalog_publish_version(struct catalog *c, const struct catalog_version *v, struct errmsg *em);
/* v->version == 0 and the rest zero when nothing was published. ERR_NOT_FOUND: no such collection. Reads SQLite. */
enum err catalog_get_version(struct catalog *c, uint64_t number, struct arena *a, struct catalog_version *v,
                             struct errmsg *em);
/* Every version there is, by ascending number of the collection; collections that nothing was published of are left out.
 * The list lies in the arena. Reads SQLite. ERR_NOMEM, ERR_CORRUPT. */
enum err catalog_all_versions(struct catalog *c, struct arena *a, struct catalog_version **list, size_t *n,
                              struct errmsg *em);

/* --- a copy of it ---------------------------------------------------------------------------------------------- */

/* The whole catalog as it was at one moment, for a backup. */
struct catalog_image {
    struct bytes file;                /* what a file catalog.sqlite3 is to hold; freed by catalog_image_free */
    struct catalog_version *versions; /* the versions in it, as of catalog_all_versions; in the arena given */
    size_t n_versions;
    uint64_t n_collections;
};
/* Takes it, in memory: changes wait while the pages are copied, not while the copy is checked. ERR_CORRUPT: the copy, and so
 * the catalog, is damaged. ERR_NOMEM. */
enum err catalog_copy(struct catalog *c, struct arena *a, struct catalog_image *image, struct errmsg *em);
void catalog_image_free(struct catalog_image *image); /* all-zero is fine */

/* --- all of it ------------------------------------------------------------------------------------------------ */

/* Deletes everything but the counters and makes the default tenant and database again (id all zeros); `dropped` as
 * above. Numbers of collections go on where they were. */
enum err catalog_reset(struct catalog *c, catalog_dropped dropped, void *ctx, struct errmsg *em);

/* What deleted and replaced rows held leaves the disk: their pages are overwritten at once, but former states of these are in
 * the -wal file until this call empties it. Cheap when no change since the last call has left any. Any thread that may
 * block. After an error the next call tries again. */
enum err catalog_erase(struct catalog *c, struct errmsg *em);

/* What a tenant has used since it was first seen (api/limits.h says what each number counts): a row a tenant, kept also when
 * the tenant goes. The order is that of the table's columns. */
enum { CATALOG_USAGE_NUMBERS = 12 };
struct catalog_usage {
    struct str tenant;
    uint64_t numbers[CATALOG_USAGE_NUMBERS]; /* up to 2^63 - 1 each; larger ones are stored as that */
};
/* Stores n rows in one durable transaction, each in the place of the tenant's former one. */
enum err catalog_store_usage(struct catalog *c, const struct catalog_usage *rows, size_t n, struct errmsg *em);
/* Calls `visit` for every row, with the catalog locked: it must not call the catalog. The tenant's name holds during the
 * call. An error of `visit` ends the walk and is passed on. */
typedef enum err (*catalog_usage_visitor)(void *ctx, const struct catalog_usage *row, struct errmsg *em);
enum err catalog_load_usage(struct catalog *c, catalog_usage_visitor visit, void *ctx, struct errmsg *em);

/* A durable number that only grows, kept beside the data: the highest log position ever trimmed, say. Setting it to
 * less than it is changes nothing. */
enum err catalog_set_counter(struct catalog *c, const char *name, uint64_t value, struct errmsg *em);
enum err catalog_get_counter(struct catalog *c, const char *name, uint64_t *value, struct errmsg *em); /* 0 if unset */

#endif
