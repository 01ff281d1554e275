/* store.c - opening and closing a data directory, and the catalog changes that concern live collections. See store.h.
 *
 * ORDER OF OPENING  lock, catalog, closed collections, replay of the log (which opens some), clean-up, compactor,
 *                   scrub. Nothing is changed on disk before the lock is held; files are removed only after everything else has succeeded.
 * ORDER OF CLOSING  scrub, compactor, log (flushes what was submitted), catalog, lock.
 */
#include <stdio.h>
#include <time.h>

#include "api/store_internal.h"
#include "core/epoch.h"
#include "core/logger.h"
#include "core/mem.h"

enum {
    DEFAULT_FLUSH_ROWS = 8192,
    DEFAULT_FLUSH_BYTES = 24 << 20,
    DEFAULT_LOG_BYTES = 128 << 20,
};

void store_collection_dir(const struct store *s, uint64_t number, char out[STORE_PATH_MAX])
{
    (void)snprintf(out, STORE_PATH_MAX, "%s/collections/%llu", s->path, (unsigned long long)number);
}

void store_fragment_path(const struct store *s, uint64_t number, uint64_t fragment_id, char out[STORE_PATH_MAX])
{
    (void)snprintf(out, STORE_PATH_MAX, "%s/collections/%llu/%010llu.fragment", s->path, (unsigned long long)number,
                   (unsigned long long)fragment_id);
}

void store_manifest_name(uint64_t version, char out[64])
{
    (void)snprintf(out, 64, "%010llu.manifest", (unsigned long long)version);
}

/* --- opening and closing --------------------------------------------------------------------------------------- */

static void options_init(struct store *s, const struct store_options *o)
{
    s->options = *o;
    if (s->options.flush_rows == 0) s->options.flush_rows = DEFAULT_FLUSH_ROWS;
    if (s->options.flush_bytes == 0) s->options.flush_bytes = DEFAULT_FLUSH_BYTES;
    if (s->options.log_bytes == 0) s->options.log_bytes = DEFAULT_LOG_BYTES;
    if (o->path == NULL) s->options.wal.no_sync = true;
    s->options.path = s->path;
}

static enum err find_data(void *ctx, struct str name, bool is_dir)
{
    (void)name;
    *(bool *)ctx |= is_dir;
    return ERR_OK;
}

/* A directory with collections and without a catalog is no new one: opening it as such would remove them all. */
static enum err refuse_lost_catalog(struct store *s, const char *catalog, struct errmsg *em)
{
    char dir[STORE_PATH_MAX];
    struct vfs_file *f;
    bool has_data = false;
    enum err e = s->vfs->open(s->vfs->ctx, catalog, VFS_READ, &f, em);
    if (e == ERR_OK) s->vfs->close(f);
    if (e != ERR_NOT_FOUND) return e;
    (void)snprintf(dir, sizeof dir, "%s/collections", s->path);
    e = s->vfs->list(s->vfs->ctx, dir, find_data, &has_data, em);
    if (e != ERR_OK && e != ERR_NOT_FOUND) return e;
    if (has_data) return errmsg_set(em, ERR_CORRUPT, "%s is gone, but %s holds collections", catalog, dir);
    return ERR_OK;
}

/* What an interrupted migration has brought is not all of it: to serve it would look like a loss of data. */
static enum err refuse_unfinished(struct store *s, struct errmsg *em)
{
    char name[STORE_PATH_MAX];
    struct vfs_file *f;
    (void)snprintf(name, sizeof name, "%s/" STORE_MIGRATION_NAME, s->path);
    enum err e = s->vfs->open(s->vfs->ctx, name, VFS_READ, &f, em);
    if (e == ERR_OK) s->vfs->close(f);
    if (e != ERR_OK || s->options.is_migration) return e == ERR_NOT_FOUND ? ERR_OK : e;
    return errmsg_set(em, ERR_FORBIDDEN,
                      "a migration into this directory was not finished (%s is there): run `chroma migrate` with the "
                      "same --from and --path again, it starts anew",
                      name);
}

static enum err open_files(struct store *s, const char *path, struct errmsg *em)
{
    char name[STORE_PATH_MAX];
    s->vfs = s->options.vfs != NULL ? s->options.vfs : vfs_posix();
    if (path == NULL) {
        enum err e = vfs_mem_new(&s->own_vfs, em);
        if (e != ERR_OK) return e;
        s->vfs = s->own_vfs;
    }
    int n = snprintf(s->path, sizeof s->path, "%s", path != NULL ? path : "memory");
    if (n < 0 || (size_t)n >= sizeof s->path) return errmsg_set(em, ERR_INVALID, "the path is too long");
    enum err e = s->vfs->make_dir(s->vfs->ctx, s->path, em);
    if (e == ERR_OK) e = s->vfs->lock_dir(s->vfs->ctx, s->path, &s->lock, em);
    if (e != ERR_OK) return e;
    (void)snprintf(name, sizeof name, "%s/catalog.sqlite3", s->path);
    if (path != NULL) e = refuse_unfinished(s, em);
    if (e == ERR_OK && path != NULL) e = refuse_lost_catalog(s, name, em);
    if (e == ERR_OK) e = catalog_open(&s->catalog, s->vfs, path != NULL ? name : NULL, em);
    if (e != ERR_OK) return e;
    (void)snprintf(name, sizeof name, "%s/collections", s->path);
    e = s->vfs->make_dir(s->vfs->ctx, name, em);
    return e == ERR_OK ? s->vfs->sync_dir(s->vfs->ctx, s->path, em) : e;
}

/* The version of a collection, from the list in ascending order of numbers; what nothing was published of has version 0. */
static struct catalog_version version_of(const struct catalog_version *list, size_t n, uint64_t number)
{
    size_t low = 0;
    for (size_t high = n; low < high;) {
        size_t middle = low + (high - low) / 2;
        if (list[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && list[low].number == number ? list[low] : (struct catalog_version){.number = number};
}

static enum err open_collection(struct store *s, const struct catalog_collection *col, const struct catalog_version *v,
                                struct errmsg *em)
{
    struct live *live = NULL;
    enum err e = live_from_catalog(s, v, (enum space)col->space, &live, em);
    if (e == ERR_OK)
        CHECK(catalog_set_runtime(s->catalog, col->number, &live->runtime) && "nothing is deleted while opening");
    else
        errmsg_wrap(em, "collection '" STR_FMT "' (number %llu)", STR_ARG(col->name), (unsigned long long)col->number);
    return e;
}

static enum err open_collections(struct store *s, uint64_t *last_position, struct errmsg *em)
{
    struct arena a = {0};
    const struct catalog_collection **all = NULL;
    struct catalog_version *versions = NULL;
    size_t n = 0, n_versions = 0;
    enum err e = catalog_all_versions(s->catalog, &a, &versions, &n_versions, em);
    if (e == ERR_OK) {
        e = catalog_all_collections(s->catalog, &a, &all, &n);
        if (e != ERR_OK) (void)errmsg_set(em, e, "list collections");
    }
    for (size_t i = 0; i < n; i++) {
        struct catalog_version v = version_of(versions, n_versions, all[i]->number);
        if (e == ERR_OK) e = open_collection(s, all[i], &v, em);
        if (v.log_position > *last_position) *last_position = v.log_position;
        catalog_collection_unref(all[i]);
    }
    arena_free(&a);
    return e;
}

enum err store_open(struct store **out, const struct store_options *o, struct errmsg *em)
{
    uint64_t last_position = 0;
    char name[STORE_PATH_MAX];
    struct store *s = mem_zalloc(sizeof *s);
    if (s == NULL) return errmsg_set(em, ERR_NOMEM, "open a store");
    options_init(s, o);
    (void)pthread_mutex_init(&s->publish_mu, NULL);
    enum err e = open_files(s, o->path, em);
    if (e == ERR_OK) e = open_collections(s, &last_position, em);
    if (e == ERR_OK) {
        (void)snprintf(name, sizeof name, "%s/wal", s->path);
        s->replay_started_ns = s->replay_said_ns = clock_monotonic_ns();
        e = wal_open(&s->wal, s->vfs, name, &s->options.wal, 0, last_position + 1, store_replay, s, em);
        if (e != ERR_OK) errmsg_wrap(em, "open the log");
    }
    if (e == ERR_OK) {
        struct wal_stats stats;
        wal_stats(s->wal, &stats);
        atomic_store(&s->applied_lsn, stats.durable_lsn);
        log_info("store is open: replayed=%llu ms=%llu", (unsigned long long)s->n_replayed,
                 (unsigned long long)((clock_monotonic_ns() - s->replay_started_ns) / 1000000));
        store_clean(s);
        e = compactor_start(s, em);
        if (e == ERR_OK) e = scrub_start(s, em);
    }
    if (e != ERR_OK) {
        store_close(s);
        return e;
    }
    *out = s;
    return ERR_OK;
}

void store_close(struct store *s)
{
    if (s == NULL) return;
    scrub_stop(s);
    compactor_stop(s);
    wal_close(s->wal);
    catalog_close(s->catalog);
    epoch_drain();
    if (s->lock != NULL) s->vfs->close(s->lock);
    vfs_mem_free(s->own_vfs);
    (void)pthread_mutex_destroy(&s->publish_mu);
    mem_free(s);
}

struct catalog *store_catalog(struct store *s)
{
    return s->catalog;
}

struct collection *store_collection(const struct catalog_collection *col)
{
    return live_of(col)->collection;
}

enum err store_snapshot(struct store *s, const struct catalog_collection *col, struct arena *a,
                        struct snapshot *snapshot, struct errmsg *em)
{
    struct live *live = live_of(col);
    atomic_store_explicit(&live->last_used_ns, clock_monotonic_ns(), memory_order_relaxed);
    for (;;) {                                                             /* it may be closed again between the two */
        if (atomic_load(&live->is_stopped)) return live_open(s, live, em); /* which says so */
        enum err e = snapshot_begin(live->collection, a, snapshot);
        if (e == ERR_BUSY)
            e = live_open(s, live, em);
        else
            return e;
        if (e != ERR_OK) return e;
    }
}

uint64_t store_file_bytes(const struct catalog_collection *col)
{
    return atomic_load_explicit(&live_of(col)->file_bytes, memory_order_relaxed);
}

void store_health(struct store *s, struct store_health *h)
{
    wal_stats(s->wal, &h->log);
    h->is_read_only = h->log.is_failed;
}

/* --- catalog changes ------------------------------------------------------------------------------------------- */

static enum err attach_live(void *ctx, const struct catalog_collection *col, struct catalog_runtime **runtime,
                            struct errmsg *em)
{
    struct live *live = NULL;
    (void)ctx;
    enum err e = live_new(&live, col, em);
    if (e == ERR_OK) *runtime = &live->runtime;
    return e;
}

enum err store_create_collection(struct store *s, const struct catalog_new_collection *in,
                                 const struct catalog_collection **out, struct errmsg *em)
{
    struct catalog_new_collection with_live = *in;
    bool is_new;
    with_live.attach = attach_live;
    return catalog_create_collection(s->catalog, &with_live, out, &is_new, em);
}

static void drop_live(void *ctx, const struct catalog_collection *col)
{
    struct store *s = ctx;
    if (live_of(col) != NULL) collection_drop(live_of(col)->collection);
    compactor_discard(s, col->number);
}

enum err store_delete_collection(struct store *s, struct str tenant, struct str database, struct str name,
                                 struct errmsg *em)
{
    const struct catalog_collection *col = NULL;
    enum err e = catalog_delete_collection(s->catalog, tenant, database, name, &col, em);
    if (e != ERR_OK) return e;
    drop_live(s, col);
    catalog_collection_unref(col);
    return ERR_OK;
}

enum err store_delete_database(struct store *s, struct str tenant, struct str name, struct errmsg *em)
{
    return catalog_delete_database(s->catalog, tenant, name, drop_live, s, em);
}

enum err store_reset(struct store *s, struct errmsg *em)
{
    return catalog_reset(s->catalog, drop_live, s, em);
}
