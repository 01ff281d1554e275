/* catalog.c - see catalog.h: opening, tenants, databases, reset, counters. Collections: collections.c.
 *
 * Every change takes the same steps: lock out other changes; look in the view whether it is allowed; allocate what the
 * view will need; commit to SQLite; change the view, which cannot fail; unlock.
 *
 * FAILURES   before the commit, or the commit itself: nothing has changed, and what was allocated is freed. After the
 *            commit nothing can fail.
 * INVARIANTS the view holds what the last commit left; lock order: change, view.lock; callbacks of callers run without
 *            either, `attach` excepted (catalog.h).
 */
#include "catalog/internal.h"

#include "catalog/digest.h"
#include "catalog/schema.h"
#include "catalog/sqlite_wal.h"
#include "core/mem.h"

void catalog_lock(struct catalog *c)
{
    int e = pthread_mutex_lock(&c->change);
    CHECK(e == 0 && "the change mutex can be taken");
}

void catalog_unlock(struct catalog *c)
{
    int e = pthread_mutex_unlock(&c->change);
    CHECK(e == 0 && "the change mutex is held");
}

enum err catalog_change_row(struct catalog *c, enum sql_statement which, const struct sql_value *values, int n,
                            struct errmsg *em)
{
    int n_changed = 0;
    enum err e = sql_change(&c->sql, which, values, n, &n_changed, em);
    if (e == ERR_OK && n_changed != 1) {
        e = errmsg_set(em, ERR_CORRUPT, "a row is not there any more: another program has changed the catalog");
    }
    return e;
}

static enum err no_memory(struct errmsg *em)
{
    return errmsg_set(em, ERR_NOMEM, "out of memory");
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

/* Readers do not wait for the writer, a commit is one flush, damage is noticed rather than passed on, and what is deleted is
 * overwritten. */
static enum err configure(struct sql *s, const char *path, struct errmsg *em)
{
    char mode[16];
    enum err e = sql_get_text(s, "PRAGMA journal_mode = WAL", mode, sizeof mode, em);
    if (e != ERR_OK) return e;
    if (strcmp(mode, path != NULL ? "wal" : "memory") != 0) {
        return errmsg_set(em, ERR_IO, "the file system refuses a write-ahead log (journal mode stays %s)", mode);
    }
    return sql_exec(s,
                    "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cell_size_check = ON; "
                    "PRAGMA secure_delete = ON;",
                    em);
}

enum err catalog_check_rows(struct sql *s, int version, struct errmsg *em)
{
    char verdict[256];
    if (version == 0) return ERR_OK; /* a new file */
    enum err e = sql_get_text(s, "PRAGMA integrity_check(1)", verdict, sizeof verdict, em);
    if (e == ERR_OK && strcmp(verdict, "ok") != 0) return errmsg_set(em, ERR_CORRUPT, "%s", verdict);
    return e == ERR_OK && version >= SCHEMA_WITH_DIGESTS ? digest_compare(s, em) : e;
}

enum err catalog_open(struct catalog **out, const struct vfs *vfs, const char *path, struct errmsg *em)
{
    int version = 0;
    struct catalog *c = mem_zalloc(sizeof *c);
    if (c == NULL) return no_memory(em);
    int lock_error = pthread_mutex_init(&c->change, NULL);
    if (lock_error != 0) {
        mem_free(c);
        return errmsg_errno(em, lock_error, "make a lock");
    }
    enum err e = view_init(&c->view, em);
    if (e != ERR_OK) goto fail;
    if (path != NULL) e = sqlite_wal_check(vfs, path, em);
    if (e != ERR_OK) goto fail;
    e = sql_open(&c->sql, vfs, path, em);
    if (e != ERR_OK) goto fail;
    e = schema_identify(&c->sql, (int)schema_n_migrations, &version, em);
    if (e != ERR_OK) {
        sql_leave_alone(&c->sql);
        goto fail;
    }
    e = configure(&c->sql, path, em);
    if (e == ERR_OK) e = catalog_check_rows(&c->sql, version, em);
    if (e == ERR_OK) e = schema_migrate(&c->sql, version, schema_migrations, schema_n_migrations, em);
    if (e == ERR_OK) e = catalog_load(c, em);
    if (e != ERR_OK) goto fail;
    /* What the process before has deleted may still be in the file and its log. */
    atomic_store_explicit(&c->leaves, path != NULL, memory_order_relaxed);
    *out = c;
    return ERR_OK;

fail:
    errmsg_wrap(em, "catalog %.200s", path != NULL ? path : "in memory");
    catalog_close(c);
    return e;
}

void catalog_close(struct catalog *c)
{
    if (c == NULL) return;
    sql_close(&c->sql);
    view_deinit(&c->view);
    (void)pthread_mutex_destroy(&c->change);
    mem_free(c);
}

/* --- tenants ------------------------------------------------------------------------------------------------------ */

static bool is_created(const struct view_tenant *t)
{
    return t != NULL && t->is_created;
}

enum err catalog_create_tenant(struct catalog *c, struct str name, struct errmsg *em)
{
    enum err e;
    struct view_tenant *t = NULL;
    catalog_lock(c);
    if (is_created(view_find_tenant(&c->view, name))) {
        e = errmsg_set(em, ERR_EXISTS, "the tenant exists");
        goto out;
    }
    t = view_tenant_new(name);
    if (t == NULL) {
        e = no_memory(em);
        goto out;
    }
    const struct sql_value v[] = {sql_blob(name.n > 0 ? name.p : "", name.n)};
    e = catalog_change_row(c, SQL_ADD_TENANT, v, 1, em);
    if (e != ERR_OK) {
        errmsg_wrap(em, "create a tenant");
        goto out;
    }
    view_add_tenant(&c->view, t);
    t = NULL;

out:
    catalog_unlock(c);
    view_tenant_free(t);
    return e;
}

bool catalog_has_tenant(struct catalog *c, struct str name)
{
    view_read_lock(&c->view);
    bool has = is_created(view_find_tenant(&c->view, name));
    view_unlock(&c->view);
    return has;
}

bool catalog_knows_tenant(struct catalog *c, struct str name)
{
    view_read_lock(&c->view);
    bool knows = view_find_tenant(&c->view, name) != NULL;
    view_unlock(&c->view);
    return knows;
}

struct catalog_counts catalog_count_tenant(struct catalog *c, struct str name)
{
    struct catalog_counts counts = {0};
    view_read_lock(&c->view);
    const struct view_tenant *t = view_find_tenant(&c->view, name);
    if (t != NULL) counts = (struct catalog_counts){rank_tree_count(&t->databases), t->n_collections};
    view_unlock(&c->view);
    return counts;
}

/* --- databases ---------------------------------------------------------------------------------------------------- */

enum err catalog_create_database(struct catalog *c, struct str tenant, struct str name, struct errmsg *em)
{
    return catalog_create_database_within(c, tenant, name, 0, NULL, em);
}

struct new_database {
    struct str tenant, name;
    struct uuid id;
    uint64_t max; /* databases of the tenant; 0: no quota */
};

static enum err create_database(struct catalog *c, const struct new_database *in, uint64_t *n_used, struct errmsg *em)
{
    enum err e;
    struct view_tenant *t = NULL;
    struct view_database *d = NULL;
    catalog_lock(c);
    if (view_find_database(&c->view, in->tenant, in->name) != NULL) {
        e = errmsg_set(em, ERR_EXISTS, "the database exists");
        goto out;
    }
    const struct view_tenant *there = view_find_tenant(&c->view, in->tenant);
    size_t n = there != NULL ? rank_tree_count(&there->databases) : 0;
    if (in->max > 0 && n >= in->max) {
        e = errmsg_set(em, ERR_QUOTA, "the tenant has %zu databases", n);
        if (n_used != NULL) *n_used = n + 1;
        goto out;
    }
    t = view_tenant_new(in->tenant);
    d = view_database_new(in->name, &in->id);
    if (t == NULL || d == NULL) {
        e = no_memory(em);
        goto out;
    }
    const struct sql_value v[] = {sql_blob(in->id.b, sizeof in->id.b),
                                  sql_blob(in->tenant.n > 0 ? in->tenant.p : "", in->tenant.n),
                                  sql_text(str_of(in->name.n > 0 ? in->name.p : "", in->name.n))};
    e = catalog_change_row(c, SQL_ADD_DATABASE, v, 3, em);
    if (e != ERR_OK) {
        errmsg_wrap(em, "create a database");
        goto out;
    }
    d->number = (uint64_t)sqlite3_last_insert_rowid(c->sql.db);
    view_add_database(&c->view, d, t);
    t = NULL;
    d = NULL;

out:
    catalog_unlock(c);
    view_tenant_free(t);
    view_database_free(d);
    return e;
}

enum err catalog_create_database_within(struct catalog *c, struct str tenant, struct str name, uint64_t max,
                                        uint64_t *n_used, struct errmsg *em)
{
    const struct new_database in = {tenant, name, uuid_new(), max};
    return create_database(c, &in, n_used, em);
}

enum err catalog_restore_database(struct catalog *c, struct str tenant, struct str name, const struct uuid *id,
                                  struct errmsg *em)
{
    const struct new_database in = {tenant, name, *id, 0};
    return create_database(c, &in, NULL, em);
}

enum err catalog_get_database(struct catalog *c, struct str tenant, struct str name, struct uuid *id)
{
    view_read_lock(&c->view);
    const struct view_database *d = view_find_database(&c->view, tenant, name);
    if (d != NULL && id != NULL) *id = d->id;
    view_unlock(&c->view);
    return d != NULL ? ERR_OK : ERR_NOT_FOUND;
}

/* References on collections that are about to go. */
struct doomed {
    const struct catalog_collection **list;
    size_t n;
};

static enum err doomed_alloc(struct doomed *d, size_t n, struct errmsg *em)
{
    d->list = mem_array(n > 0 ? n : 1, sizeof *d->list);
    return d->list != NULL ? ERR_OK : no_memory(em);
}

/* Without locks. */
static void doomed_finish(struct doomed *d, catalog_dropped dropped, void *ctx)
{
    for (size_t i = 0; i < d->n; i++) {
        if (dropped != NULL) dropped(ctx, d->list[i]);
        catalog_collection_unref(d->list[i]);
    }
    mem_free(d->list);
}

enum err catalog_delete_database(struct catalog *c, struct str tenant, struct str name, catalog_dropped dropped,
                                 void *ctx, struct errmsg *em)
{
    enum err e;
    struct doomed doomed = {NULL, 0};
    catalog_lock(c);
    struct view_database *d = view_find_database(&c->view, tenant, name);
    if (d == NULL) {
        e = errmsg_set(em, ERR_NOT_FOUND, "no such database");
        goto out;
    }
    size_t n = rank_tree_count(&d->collections);
    e = doomed_alloc(&doomed, n, em);
    if (e != ERR_OK) goto out;
    const struct sql_value v[] = {sql_int((int64_t)d->number)};
    e = catalog_change_row(c, SQL_DROP_DATABASE, v, 1, em); /* collections and versions go by cascade */
    if (e != ERR_OK) {
        errmsg_wrap(em, "delete a database");
        goto out;
    }
    atomic_store_explicit(&c->leaves, true, memory_order_relaxed);
    view_ref_page(d, 0, n, doomed.list);
    doomed.n = n;
    view_remove_database(&c->view, d);

out:
    catalog_unlock(c);
    doomed_finish(&doomed, dropped, ctx);
    return e;
}

static enum err copy_databases(const struct view_tenant *t, uint32_t limit, uint32_t offset, struct arena *a,
                               struct catalog_database **list, size_t *n)
{
    size_t count = t != NULL ? rank_tree_page(&t->databases, offset, limit) : 0;
    struct catalog_database *out = arena_array(a, count > 0 ? count : 1, sizeof *out);
    struct rank_node **nodes = arena_array(a, count > 0 ? count : 1, sizeof *nodes);
    if (out == NULL || nodes == NULL) return ERR_NOMEM;
    struct str tenant = {NULL, 0};
    if (count > 0) {
        tenant = arena_str(a, str_of(t->name, t->n));
        if (tenant.p == NULL) return ERR_NOMEM;
        rank_tree_copy(&t->databases, offset, count, nodes);
    }
    for (size_t i = 0; i < count; i++) {
        const struct view_database *d = view_database_at(nodes[i]);
        out[i] = (struct catalog_database){d->id, arena_str(a, str_of(d->name, d->n)), tenant};
        if (out[i].name.p == NULL) return ERR_NOMEM;
    }
    *list = out;
    *n = count;
    return ERR_OK;
}

enum err catalog_list_databases(struct catalog *c, struct str tenant, uint32_t limit, uint32_t offset, struct arena *a,
                                struct catalog_database **list, size_t *n)
{
    view_read_lock(&c->view);
    enum err e = copy_databases(view_find_tenant(&c->view, tenant), limit, offset, a, list, n);
    view_unlock(&c->view);
    return e;
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static enum err reset_tables(struct catalog *c, int64_t *default_number, struct errmsg *em)
{
    enum err e = sql_begin(&c->sql, em);
    if (e != ERR_OK) return e;
    e = sql_change(&c->sql, SQL_CLEAR_DATABASES, NULL, 0, NULL, em); /* collections and versions go by cascade */
    if (e == ERR_OK) e = sql_change(&c->sql, SQL_CLEAR_TENANTS, NULL, 0, NULL, em);
    if (e == ERR_OK) e = schema_add_defaults(&c->sql, em);
    if (e != ERR_OK) {
        sql_rollback(&c->sql);
        return e;
    }
    *default_number = sqlite3_last_insert_rowid(c->sql.db);
    return sql_commit(&c->sql, em);
}

enum err catalog_reset(struct catalog *c, catalog_dropped dropped, void *ctx, struct errmsg *em)
{
    enum err e;
    const struct uuid zeros = {{0}};
    struct doomed doomed = {NULL, 0};
    int64_t number = 0;
    catalog_lock(c);
    struct view_tenant *made = view_tenant_new(STR(DEFAULT_TENANT));
    struct view_tenant *for_database = view_tenant_new(STR(DEFAULT_TENANT));
    struct view_database *d = view_database_new(STR(DEFAULT_DATABASE), &zeros);
    if (made == NULL || for_database == NULL || d == NULL) {
        e = no_memory(em);
        goto out;
    }
    size_t n = c->view.by_number.n;
    e = doomed_alloc(&doomed, n, em);
    if (e != ERR_OK) goto out;
    e = reset_tables(c, &number, em);
    if (e != ERR_OK) {
        errmsg_wrap(em, "reset");
        goto out;
    }
    atomic_store_explicit(&c->leaves, true, memory_order_relaxed);
    view_ref_all(&c->view, doomed.list);
    doomed.n = n;
    d->number = (uint64_t)number;
    view_reset(&c->view, made, d, for_database);
    made = for_database = NULL;
    d = NULL;

out:
    catalog_unlock(c);
    view_tenant_free(made);
    view_tenant_free(for_database);
    view_database_free(d);
    doomed_finish(&doomed, dropped, ctx);
    return e;
}

enum err catalog_erase(struct catalog *c, struct errmsg *em)
{
    if (!atomic_load_explicit(&c->leaves, memory_order_relaxed)) return ERR_OK;
    catalog_lock(c);
    enum err e = sql_empty_log(&c->sql, em);
    if (e == ERR_OK) atomic_store_explicit(&c->leaves, false, memory_order_relaxed);
    catalog_unlock(c);
    if (e != ERR_OK) errmsg_wrap(em, "empty the catalog's log");
    return e;
}

enum err catalog_set_counter(struct catalog *c, const char *name, uint64_t value, struct errmsg *em)
{
    if (value > INT64_MAX) return errmsg_set(em, ERR_INVALID, "counter %.60s: the value is too large", name);
    const struct sql_value v[] = {sql_text(str_from_c(name)), sql_int((int64_t)value)};
    catalog_lock(c);
    enum err e = sql_change(&c->sql, SQL_SET_COUNTER, v, 2, NULL, em);
    catalog_unlock(c);
    if (e != ERR_OK) errmsg_wrap(em, "set counter %.60s", name);
    return e;
}

static enum err read_counter(void *ctx, sqlite3_stmt *row, struct errmsg *em)
{
    (void)em;
    *(uint64_t *)ctx = (uint64_t)sqlite3_column_int64(row, 0);
    return ERR_OK;
}

enum err catalog_get_counter(struct catalog *c, const char *name, uint64_t *value, struct errmsg *em)
{
    uint64_t found = 0;
    const struct sql_value v[] = {sql_text(str_from_c(name))};
    catalog_lock(c);
    enum err e = sql_query(&c->sql, SQL_GET_COUNTER, v, 1, read_counter, &found, em);
    catalog_unlock(c);
    if (e != ERR_OK) {
        errmsg_wrap(em, "get counter %.60s", name);
        return e;
    }
    *value = found;
    return ERR_OK;
}
