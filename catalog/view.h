/* view.h - the catalog in memory: what every lookup is answered from.
 *
 * Tables by name, id and number, and per tenant and per database an ordered set for listings. Everything is linked
 * through nodes inside the entries, so once an entry was allocated (before the commit), linking it in (after the
 * commit) allocates nothing and cannot fail. That is how the view and the disk stay in step.
 *
 * THREADS  The holder of the catalog's change mutex is the only one who changes the view. It may call the view_find
 *          functions without the lock; view_add_*, view_remove_* and view_replace_* take the write lock themselves.
 *          Everybody else holds the read lock (view_read_lock) around view_find_* and what they return; entries
 *          must not be touched after it. Lock order: change mutex, then this lock; it is never held over I/O.
 */
#ifndef CATALOG_VIEW_H
#define CATALOG_VIEW_H

#include <pthread.h>

#include "catalog/catalog.h"
#include "catalog/rank_tree.h"

struct view_node {
    struct view_node *next; /* in the bucket */
    uint64_t hash;
};

enum { VIEW_BUCKETS_MIN = 16 };

/* A chained hash table. INVARIANT n_buckets is a power of two. When memory for more buckets is short it goes on with
 * longer chains. */
struct view_table {
    struct view_node **buckets; /* `first`, or an array of its own */
    size_t n_buckets, n;
    struct view_node *first[VIEW_BUCKETS_MIN];
};

/* A tenant that was made, or one that has databases (it need not have been made). */
struct view_tenant {
    struct view_node by_name;
    struct rank_tree databases; /* in byte order of names */
    bool is_created;
    size_t n_collections; /* in all of its databases */
    size_t n;
    char name[];
};

struct view_database {
    struct view_node by_name;
    struct rank_node in_tenant;
    struct rank_tree collections; /* by id ascending */
    struct view_tenant *tenant;   /* set when added */
    uint64_t number;              /* of the row in SQLite */
    struct uuid id;
    size_t n;
    char name[];
};

struct view_collection {
    struct view_node by_name, by_id, by_number;
    struct rank_node in_database;
    struct view_database *database;   /* set when added */
    struct catalog_collection *state; /* the current one; the view's reference */
};

struct view {
    pthread_rwlock_t lock;
    struct view_table tenants, databases, by_name, by_id, by_number;
    uint64_t seed;     /* of the hashes */
    uint64_t priority; /* state of the generator of the trees' priorities */
};

enum err view_init(struct view *v, struct errmsg *em);
void view_deinit(struct view *v); /* all-zero is fine */

void view_read_lock(struct view *v);
void view_unlock(struct view *v);

/* --- lookups: under the read lock or the change mutex ---------------------------------------------------------- */

struct view_tenant *view_find_tenant(const struct view *v, struct str name); /* NULL when absent */
struct view_database *view_find_database(const struct view *v, struct str tenant, struct str name);
struct view_collection *view_find_name(const struct view *v, const struct view_database *db, struct str name);
struct view_collection *view_find_id(const struct view *v, const struct uuid *id);
struct view_collection *view_find_number(const struct view *v, uint64_t number);

static inline struct view_database *view_database_at(struct rank_node *n)
{
    return (struct view_database *)((char *)n - offsetof(struct view_database, in_tenant));
}

static inline struct view_collection *view_collection_at(struct rank_node *n)
{
    return (struct view_collection *)((char *)n - offsetof(struct view_collection, in_database));
}

/* The references of a page of a database's collections, or of every collection there is (no order), into `out`. */
void view_ref_page(const struct view_database *db, size_t offset, size_t n, const struct catalog_collection **out);
void view_ref_all(const struct view *v, const struct catalog_collection **out);

/* --- entries: made before the commit --------------------------------------------------------------------------- */

struct view_tenant *view_tenant_new(struct str name);
struct view_database *view_database_new(struct str name, const struct uuid *id);
/* Takes over `state` when it succeeds. */
struct view_collection *view_collection_new(struct catalog_collection *state);
/* Of entries that are not in the view; NULL is fine. A database must have no collections. */
void view_tenant_free(struct view_tenant *t);
void view_database_free(struct view_database *d);
void view_collection_free(struct view_collection *c);

/* --- changes: after the commit, by the holder of the change mutex; none can fail --------------------------------- */

/* Takes `t`. If databases brought the tenant in already, `t` is freed and that entry is marked as made. */
void view_add_tenant(struct view *v, struct view_tenant *t);
/* Takes `d`, and `t` (made for the tenant's name): used if the tenant is not in the view yet, else freed. */
void view_add_database(struct view *v, struct view_database *d, struct view_tenant *t);
void view_add_collection(struct view *v, struct view_database *d, struct view_collection *c);
/* Takes `state`, which becomes current and inherits `runtime`; the name may differ. */
void view_replace_state(struct view *v, struct view_collection *c, struct catalog_collection *state);
void view_remove_collection(struct view *v, struct view_collection *c);
void view_remove_database(struct view *v, struct view_database *d); /* with its collections */
/* Takes all three: empties the view and puts in tenant `t` and its database `d` (`for_d` as in view_add_database), so
 * that no reader sees a moment without them. */
void view_reset(struct view *v, struct view_tenant *t, struct view_database *d, struct view_tenant *for_d);
/* False when there is no such collection. Any thread. */
bool view_set_runtime(struct view *v, uint64_t number, struct catalog_runtime *runtime);

#endif
