/* view.c - see view.h.
 *
 * A lookup by name hashes (tenant, database) to the database entry, then (database entry, name) to the collection. A
 * lookup by id or number is one step. Listings copy a page of the ordered set.
 *
 * FAILURES   memory, when entries are made. Growing a table may fail unnoticed: it only gets slower.
 * INVARIANTS every collection entry is in by_name, by_id, by_number and its database's tree, or in none of them; a
 *            tenant entry is in the view iff it was created or has a database.
 */
#include "catalog/view.h"

#include "catalog/object.h"

#include <stdatomic.h>

#include "core/hash.h"
#include "core/mem.h"

#define ENTRY(type, member, node) ((struct type *)((char *)(node)-offsetof(struct type, member)))

/* --- tables ---------------------------------------------------------------------------------------------------- */

static void table_init(struct view_table *t)
{
    *t = (struct view_table){.n_buckets = VIEW_BUCKETS_MIN};
    t->buckets = t->first;
}

static void table_deinit(struct view_table *t)
{
    if (t->buckets != t->first) mem_free(t->buckets);
}

static struct view_node **bucket_of(const struct view_table *t, uint64_t hash)
{
    return &t->buckets[hash & (t->n_buckets - 1)];
}

static void table_grow(struct view_table *t)
{
    size_t n = 0;
    if (!ck_mul(t->n_buckets, 2, &n)) return;
    struct view_node **bigger = mem_array(n, sizeof *bigger);
    if (bigger == NULL) return; /* longer chains, the same answers */
    for (size_t i = 0; i < t->n_buckets; i++) {
        struct view_node *node = t->buckets[i];
        while (node != NULL) {
            struct view_node *next = node->next;
            struct view_node **to = &bigger[node->hash & (n - 1)];
            node->next = *to;
            *to = node;
            node = next;
        }
    }
    table_deinit(t);
    t->buckets = bigger;
    t->n_buckets = n;
}

static void table_add(struct view_table *t, struct view_node *node, uint64_t hash)
{
    if (t->n >= t->n_buckets) table_grow(t);
    struct view_node **bucket = bucket_of(t, hash);
    node->hash = hash;
    node->next = *bucket;
    *bucket = node;
    t->n++;
}

static void table_remove(struct view_table *t, struct view_node *node)
{
    struct view_node **link = bucket_of(t, node->hash);
    while (*link != node) {
        CHECK(*link != NULL && "the node is in the table");
        link = &(*link)->next;
    }
    *link = node->next;
    node->next = NULL;
    t->n--;
}

/* --- hashes and orders ------------------------------------------------------------------------------------------- */

static uint64_t hash_str(uint64_t seed, struct str s)
{
    return hash_bytes(s.n > 0 ? s.p : "", s.n, seed);
}

static uint64_t hash_database(const struct view *v, struct str tenant, struct str name)
{
    return hash_str(hash_str(v->seed, tenant), name);
}

static uint64_t hash_name(const struct view *v, const struct view_database *db, struct str name)
{
    return hash_str(v->seed ^ (db->number * 0x9e3779b97f4a7c15u), name);
}

static uint64_t hash_number(const struct view *v, uint64_t number)
{
    return hash_bytes(&number, sizeof number, v->seed);
}

static struct str tenant_name(const struct view_tenant *t)
{
    return str_of(t->name, t->n);
}

static struct str database_name(const struct view_database *d)
{
    return str_of(d->name, d->n);
}

static int compare_databases(const struct rank_node *a, const struct rank_node *b)
{
    const struct view_database *x = (const void *)((const char *)a - offsetof(struct view_database, in_tenant));
    const struct view_database *y = (const void *)((const char *)b - offsetof(struct view_database, in_tenant));
    return str_cmp(database_name(x), database_name(y));
}

static int compare_collections(const struct rank_node *a, const struct rank_node *b)
{
    const struct view_collection *x = (const void *)((const char *)a - offsetof(struct view_collection, in_database));
    const struct view_collection *y = (const void *)((const char *)b - offsetof(struct view_collection, in_database));
    return memcmp(x->state->id.b, y->state->id.b, sizeof x->state->id.b);
}

/* From a random start: clients cannot shape the trees. */
static uint64_t next_priority(struct view *v)
{
    return splitmix64(&v->priority);
}

/* --- life -------------------------------------------------------------------------------------------------------- */

enum err view_init(struct view *v, struct errmsg *em)
{
    *v = (struct view){.seed = hash_process_seed()};
    random_bytes(&v->priority, sizeof v->priority);
    pthread_rwlockattr_t attr;
    int e = pthread_rwlockattr_init(&attr);
    if (e != 0) return errmsg_errno(em, e, "make a lock");
    /* a stream of readers must not keep a change waiting; no reader takes the lock twice */
    e = pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    if (e == 0) e = pthread_rwlock_init(&v->lock, &attr);
    (void)pthread_rwlockattr_destroy(&attr);
    if (e != 0) return errmsg_errno(em, e, "make a lock");
    table_init(&v->tenants);
    table_init(&v->databases);
    table_init(&v->by_name);
    table_init(&v->by_id);
    table_init(&v->by_number);
    return ERR_OK;
}

static void remove_all(struct view *v);

void view_deinit(struct view *v)
{
    if (v->tenants.buckets == NULL) return;
    remove_all(v);
    table_deinit(&v->tenants);
    table_deinit(&v->databases);
    table_deinit(&v->by_name);
    table_deinit(&v->by_id);
    table_deinit(&v->by_number);
    (void)pthread_rwlock_destroy(&v->lock);
    *v = (struct view){0};
}

void view_read_lock(struct view *v)
{
    int e = pthread_rwlock_rdlock(&v->lock);
    CHECK(e == 0 && "the view's lock can be read-locked");
}

static void write_lock(struct view *v)
{
    int e = pthread_rwlock_wrlock(&v->lock);
    CHECK(e == 0 && "the view's lock can be write-locked");
}

void view_unlock(struct view *v)
{
    int e = pthread_rwlock_unlock(&v->lock);
    CHECK(e == 0 && "the view's lock is held");
}

/* --- lookups ------------------------------------------------------------------------------------------------------ */

struct view_tenant *view_find_tenant(const struct view *v, struct str name)
{
    uint64_t hash = hash_str(v->seed, name);
    for (struct view_node *n = *bucket_of(&v->tenants, hash); n != NULL; n = n->next) {
        struct view_tenant *t = ENTRY(view_tenant, by_name, n);
        if (n->hash == hash && str_eq(tenant_name(t), name)) return t;
    }
    return NULL;
}

struct view_database *view_find_database(const struct view *v, struct str tenant, struct str name)
{
    uint64_t hash = hash_database(v, tenant, name);
    for (struct view_node *n = *bucket_of(&v->databases, hash); n != NULL; n = n->next) {
        struct view_database *d = ENTRY(view_database, by_name, n);
        if (n->hash == hash && str_eq(database_name(d), name) && str_eq(tenant_name(d->tenant), tenant)) return d;
    }
    return NULL;
}

struct view_collection *view_find_name(const struct view *v, const struct view_database *db, struct str name)
{
    uint64_t hash = hash_name(v, db, name);
    for (struct view_node *n = *bucket_of(&v->by_name, hash); n != NULL; n = n->next) {
        struct view_collection *c = ENTRY(view_collection, by_name, n);
        if (n->hash == hash && c->database == db && str_eq(c->state->name, name)) return c;
    }
    return NULL;
}

struct view_collection *view_find_id(const struct view *v, const struct uuid *id)
{
    uint64_t hash = hash_bytes(id->b, sizeof id->b, v->seed);
    for (struct view_node *n = *bucket_of(&v->by_id, hash); n != NULL; n = n->next) {
        struct view_collection *c = ENTRY(view_collection, by_id, n);
        if (n->hash == hash && uuid_eq(&c->state->id, id)) return c;
    }
    return NULL;
}

struct view_collection *view_find_number(const struct view *v, uint64_t number)
{
    uint64_t hash = hash_number(v, number);
    for (struct view_node *n = *bucket_of(&v->by_number, hash); n != NULL; n = n->next) {
        struct view_collection *c = ENTRY(view_collection, by_number, n);
        if (c->state->number == number) return c;
    }
    return NULL;
}

void view_ref_page(const struct view_database *db, size_t offset, size_t n, const struct catalog_collection **out)
{
    enum { BATCH = 128 };
    struct rank_node *nodes[BATCH];
    for (size_t done = 0; done < n;) {
        size_t now = n - done < BATCH ? n - done : BATCH;
        rank_tree_copy(&db->collections, offset + done, now, nodes);
        for (size_t i = 0; i < now; i++) out[done + i] = catalog_collection_ref(view_collection_at(nodes[i])->state);
        done += now;
    }
}

void view_ref_all(const struct view *v, const struct catalog_collection **out)
{
    size_t at = 0;
    for (size_t i = 0; i < v->by_number.n_buckets; i++) {
        for (struct view_node *n = v->by_number.buckets[i]; n != NULL; n = n->next) {
            out[at++] = catalog_collection_ref(ENTRY(view_collection, by_number, n)->state);
        }
    }
    CHECK(at == v->by_number.n && "the table's count is exact");
}

/* --- entries ------------------------------------------------------------------------------------------------------ */

struct view_tenant *view_tenant_new(struct str name)
{
    size_t size = 0;
    if (!ck_add(sizeof(struct view_tenant), name.n, &size)) return NULL;
    struct view_tenant *t = mem_zalloc(size);
    if (t == NULL) return NULL;
    rank_tree_init(&t->databases, compare_databases);
    t->n = name.n;
    if (name.n > 0) memcpy(t->name, name.p, name.n);
    return t;
}

struct view_database *view_database_new(struct str name, const struct uuid *id)
{
    size_t size = 0;
    if (!ck_add(sizeof(struct view_database), name.n, &size)) return NULL;
    struct view_database *d = mem_zalloc(size);
    if (d == NULL) return NULL;
    rank_tree_init(&d->collections, compare_collections);
    d->id = *id;
    d->n = name.n;
    if (name.n > 0) memcpy(d->name, name.p, name.n);
    return d;
}

struct view_collection *view_collection_new(struct catalog_collection *state)
{
    struct view_collection *c = mem_zalloc(sizeof *c);
    if (c != NULL) c->state = state;
    return c;
}

void view_tenant_free(struct view_tenant *t)
{
    mem_free(t);
}

void view_database_free(struct view_database *d)
{
    mem_free(d);
}

void view_collection_free(struct view_collection *c)
{
    if (c == NULL) return;
    catalog_collection_unref(c->state);
    mem_free(c);
}

/* --- changes ------------------------------------------------------------------------------------------------------ */

/* The tenant's entry of that name: the one in the view, or else `t`, put in. What is not used is freed. */
static struct view_tenant *settle_tenant(struct view *v, struct view_tenant *t)
{
    struct view_tenant *there = view_find_tenant(v, tenant_name(t));
    if (there != NULL) {
        view_tenant_free(t);
        return there;
    }
    table_add(&v->tenants, &t->by_name, hash_str(v->seed, tenant_name(t)));
    return t;
}

static void add_database(struct view *v, struct view_database *d, struct view_tenant *t)
{
    d->tenant = settle_tenant(v, t);
    rank_tree_insert(&d->tenant->databases, &d->in_tenant, next_priority(v));
    table_add(&v->databases, &d->by_name, hash_database(v, tenant_name(d->tenant), database_name(d)));
}

void view_add_tenant(struct view *v, struct view_tenant *t)
{
    write_lock(v);
    settle_tenant(v, t)->is_created = true;
    view_unlock(v);
}

void view_add_database(struct view *v, struct view_database *d, struct view_tenant *t)
{
    write_lock(v);
    add_database(v, d, t);
    view_unlock(v);
}

void view_add_collection(struct view *v, struct view_database *d, struct view_collection *c)
{
    write_lock(v);
    c->database = d;
    d->tenant->n_collections++;
    rank_tree_insert(&d->collections, &c->in_database, next_priority(v));
    table_add(&v->by_name, &c->by_name, hash_name(v, d, c->state->name));
    table_add(&v->by_id, &c->by_id, hash_bytes(c->state->id.b, sizeof c->state->id.b, v->seed));
    table_add(&v->by_number, &c->by_number, hash_number(v, c->state->number));
    view_unlock(v);
}

void view_replace_state(struct view *v, struct view_collection *c, struct catalog_collection *state)
{
    write_lock(v);
    struct catalog_collection *old = c->state;
    /* under the write lock, which view_set_runtime takes too: no attachment can fall between the two states */
    object_attach(state, atomic_load(&old->runtime));
    table_remove(&v->by_name, &c->by_name);
    c->state = state;
    table_add(&v->by_name, &c->by_name, hash_name(v, c->database, state->name));
    view_unlock(v);
    catalog_collection_unref(old);
}

static void unlink_collection(struct view *v, struct view_collection *c)
{
    table_remove(&v->by_name, &c->by_name);
    table_remove(&v->by_id, &c->by_id);
    table_remove(&v->by_number, &c->by_number);
    rank_tree_remove(&c->database->collections, &c->in_database);
    CHECK(c->database->tenant->n_collections > 0 && "every collection was counted");
    c->database->tenant->n_collections--;
}

void view_remove_collection(struct view *v, struct view_collection *c)
{
    write_lock(v);
    unlink_collection(v, c);
    view_unlock(v);
    view_collection_free(c);
}

static void remove_database(struct view *v, struct view_database *d)
{
    while (d->collections.root != NULL) {
        struct view_collection *c = view_collection_at(d->collections.root);
        unlink_collection(v, c);
        view_collection_free(c);
    }
    struct view_tenant *t = d->tenant;
    table_remove(&v->databases, &d->by_name);
    rank_tree_remove(&t->databases, &d->in_tenant);
    view_database_free(d);
    if (!t->is_created && t->databases.root == NULL) {
        table_remove(&v->tenants, &t->by_name);
        view_tenant_free(t);
    }
}

void view_remove_database(struct view *v, struct view_database *d)
{
    write_lock(v);
    remove_database(v, d);
    view_unlock(v);
}

static void remove_all(struct view *v)
{
    for (size_t i = 0; i < v->databases.n_buckets; i++) {
        while (v->databases.buckets[i] != NULL)
            remove_database(v, ENTRY(view_database, by_name, v->databases.buckets[i]));
    }
    for (size_t i = 0; i < v->tenants.n_buckets; i++) {
        while (v->tenants.buckets[i] != NULL) {
            struct view_tenant *t = ENTRY(view_tenant, by_name, v->tenants.buckets[i]);
            table_remove(&v->tenants, &t->by_name);
            view_tenant_free(t);
        }
    }
    CHECK(v->by_number.n == 0 && v->by_name.n == 0 && v->by_id.n == 0 && "collections leave with their databases");
}

void view_reset(struct view *v, struct view_tenant *t, struct view_database *d, struct view_tenant *for_d)
{
    write_lock(v);
    remove_all(v);
    settle_tenant(v, t)->is_created = true;
    add_database(v, d, for_d);
    view_unlock(v);
}

bool view_set_runtime(struct view *v, uint64_t number, struct catalog_runtime *runtime)
{
    write_lock(v);
    struct view_collection *c = view_find_number(v, number);
    if (c != NULL) object_attach(c->state, runtime);
    view_unlock(v);
    return c != NULL;
}
