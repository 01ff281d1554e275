/* backup.c - a consistent copy of a store in use: store_backup in backup.h.
 *
 * THE CUT   Under publish_mu, so that no version is published meanwhile:
 *           1. P, the last durable position, is read. What was acknowledged is at or before it.
 *           2. The oldest position that some collection has in no published version is found.
 *           3. The catalog is copied in memory: it names for each collection a version, at a position of at most P.
 *           4. Every collection's version is pinned.
 *           Before, the log is held and the files of deleted collections are kept. From then on nothing that the copy of the catalog
 *           names, and no record from 2 to P, can leave the disk.
 * WHY IT IS ONE POSITION  A collection is its version and the records of the log after it; the backup's log ends with P. A
 *           collection made between 1 and 3 is in the catalog with no rows up to P: empty. One deleted between 2 and 3 is
 *           not in the catalog, and replay passes over its records. Numbers of collections are never used twice, and
 *           whatever the log up to P names had its number before the catalog was copied: what is made after a restore gets no
 *           number that the restored log knows. A fork's version was pinned (under publish_mu) before 1 and so is at most P, or
 *           the fork is not in the catalog yet.
 * FILES     Those of versions are linked, the log's records are copied with their checksums compared, the catalog is written.
 *           Then all is let go, and every file of the backup is read: its checksum noted, a fragment's own
 *           checksums compared. The list of files comes last.
 * FAILURE   the directory is removed again. The source was only read and linked; what was held is let go.
 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "api/backup_internal.h"
#include "api/store_internal.h"
#include "core/crc32c.h"
#include "core/logger.h"
#include "core/mem.h"

enum { SUM_BYTES = 1 << 20 };

struct backup {
    struct store *s;
    const struct vfs *v;
    const char *to;
    struct arena arena;
    struct catalog_image image;
    struct wal_range range;
    const struct catalog_collection **pinned;
    size_t n_pinned;
    bool has_hold;
    struct backup_list list;
};

/* --- the cut ----------------------------------------------------------------------------------------------------- */

static enum err pin_all(struct backup *b, struct errmsg *em)
{
    enum err e = catalog_all_collections(b->s->catalog, &b->arena, &b->pinned, &b->n_pinned);
    if (e != ERR_OK) return errmsg_set(em, e, "list collections");
    for (size_t i = 0; i < b->n_pinned; i++) publish_pin_named(live_of(b->pinned[i]));
    return ERR_OK;
}

static enum err cut(struct backup *b, struct errmsg *em)
{
    struct store *s = b->s;
    struct wal_stats stats;
    wal_hold(s->wal);
    compactor_keep_garbage(s);
    b->has_hold = true;
    (void)pthread_mutex_lock(&s->publish_mu);
    wal_stats(s->wal, &stats);
    b->range.until = b->list.position = stats.durable_lsn;
    enum err e = compactor_oldest(s, &b->range.from);
    if (e != ERR_OK) (void)errmsg_set(em, e, "find the oldest position that is needed");
    if (e == ERR_OK) e = catalog_copy(s->catalog, &b->arena, &b->image, em);
    if (e == ERR_OK) e = pin_all(b, em);
    (void)pthread_mutex_unlock(&s->publish_mu);
    return e;
}

static void let_go(struct backup *b)
{
    for (size_t i = 0; i < b->n_pinned; i++) {
        publish_unpin(b->s, live_of(b->pinned[i]));
        catalog_collection_unref(b->pinned[i]);
    }
    b->n_pinned = 0;
    if (!b->has_hold) return;
    compactor_free_garbage(b->s);
    wal_release(b->s->wal);
    b->has_hold = false;
}

static enum err check_stop(struct backup *b, struct errmsg *em)
{
    return compactor_is_stopping(b->s) ? errmsg_set(em, ERR_BUSY, "the server is stopping") : ERR_OK;
}

/* --- files ------------------------------------------------------------------------------------------------------- */

/* DIR/name, of a name that is in the list. */
static enum err path_of(const struct backup *b, const char *name, char out[BACKUP_PATH_MAX], struct errmsg *em)
{
    if (vfs_join(out, BACKUP_PATH_MAX, b->to, name)) return ERR_OK;
    return errmsg_set(em, ERR_INVALID, "the path %s is too long", b->to);
}

/* A second name in the backup for a file of the store. */
static enum err link_file(struct backup *b, const char *from, const char *name, struct errmsg *em)
{
    char to[BACKUP_PATH_MAX];
    enum err e = path_of(b, name, to, em);
    if (e == ERR_OK) e = backup_list_add(&b->list, str_from_c(name), em);
    if (e == ERR_OK) e = vfs_link_or_copy(b->v, from, to, em);
    return e == ERR_NOT_FOUND ? ERR_CORRUPT : e; /* the catalog names it, so it must be there */
}

static enum err link_fragments(struct backup *b, uint64_t number, const char *manifest, struct errmsg *em)
{
    struct arena a = {0};
    struct manifest_entry *entries = NULL;
    uint32_t n = 0;
    char from[STORE_PATH_MAX], name[128];
    enum err e = manifest_read(b->v, manifest, &a, &entries, &n, em);
    for (uint32_t i = 0; i < n && e == ERR_OK; i++) {
        store_fragment_path(b->s, number, entries[i].fragment_id, from);
        (void)snprintf(name, sizeof name, "collections/%" PRIu64 "/%010" PRIu64 ".fragment", number,
                       entries[i].fragment_id);
        e = link_file(b, from, name, em);
    }
    arena_free(&a);
    return e;
}

static enum err link_version(struct backup *b, const struct catalog_version *v, struct errmsg *em)
{
    char dir[STORE_PATH_MAX], from[STORE_PATH_MAX + 256], to[BACKUP_PATH_MAX], name[256];
    if (v->version == 0) return ERR_OK;
    if (v->manifest.n > 128) return errmsg_set(em, ERR_CORRUPT, "the catalog names a manifest that cannot be");
    (void)snprintf(name, sizeof name, "collections/%" PRIu64, v->number);
    enum err e = path_of(b, name, to, em);
    if (e == ERR_OK) e = b->v->make_dir(b->v->ctx, to, em);
    if (e != ERR_OK) return e;
    store_collection_dir(b->s, v->number, dir);
    (void)snprintf(from, sizeof from, "%s/" STR_FMT, dir, STR_ARG(v->manifest));
    (void)snprintf(name, sizeof name, "collections/%" PRIu64 "/" STR_FMT, v->number, STR_ARG(v->manifest));
    e = link_file(b, from, name, em);
    if (e == ERR_OK) e = link_fragments(b, v->number, from, em);
    return e == ERR_OK ? b->v->sync_dir(b->v->ctx, to, em) : e;
}

static enum err link_versions(struct backup *b, struct errmsg *em)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < b->image.n_versions && e == ERR_OK; i++) {
        e = check_stop(b, em);
        if (e == ERR_OK) e = link_version(b, &b->image.versions[i], em);
        if (e != ERR_OK) errmsg_wrap(em, "collection number %llu", (unsigned long long)b->image.versions[i].number);
    }
    return e;
}

static enum err note_segment(void *ctx, const char *name, struct errmsg *em)
{
    struct backup *b = ctx;
    char path[64];
    (void)snprintf(path, sizeof path, "wal/%s", name);
    return backup_list_add(&b->list, str_from_c(path), em);
}

static enum err write_catalog(struct backup *b, struct errmsg *em)
{
    static const char name[] = "catalog.sqlite3";
    struct vfs_file *f = NULL;
    char path[BACKUP_PATH_MAX];
    enum err e = path_of(b, name, path, em);
    if (e == ERR_OK) e = backup_list_add(&b->list, str_from_c(name), em);
    if (e == ERR_OK) e = b->v->open(b->v->ctx, path, VFS_WRITE | VFS_CREATE | VFS_EXCLUSIVE, &f, em);
    if (e != ERR_OK) return e;
    e = b->v->pwrite(f, b->image.file.p, b->image.file.n, 0, em);
    if (e == ERR_OK) e = b->v->sync(f, false, em);
    b->v->close(f);
    return e;
}

static enum err make_dirs(struct backup *b, char log[BACKUP_PATH_MAX], char collections[BACKUP_PATH_MAX],
                          struct errmsg *em)
{
    enum err e = path_of(b, "wal", log, em);
    if (e == ERR_OK) e = path_of(b, "collections", collections, em);
    if (e == ERR_OK) e = b->v->make_dir(b->v->ctx, b->to, em);
    if (e == ERR_OK) e = b->v->make_dir(b->v->ctx, log, em);
    return e == ERR_OK ? b->v->make_dir(b->v->ctx, collections, em) : e;
}

static enum err make_files(struct backup *b, struct errmsg *em)
{
    char log[BACKUP_PATH_MAX], collections[BACKUP_PATH_MAX];
    enum err e = make_dirs(b, log, collections, em);
    if (e == ERR_OK) e = link_versions(b, em);
    if (e == ERR_OK && b->range.from <= b->range.until) e = wal_copy(b->s->wal, b->range, log, note_segment, b, em);
    if (e == ERR_OK) e = write_catalog(b, em);
    if (e == ERR_OK) e = b->v->sync_dir(b->v->ctx, collections, em);
    return e == ERR_OK ? b->v->sync_dir(b->v->ctx, b->to, em) : e;
}

/* --- checksums --------------------------------------------------------------------------------------------------- */

static enum err sum_bytes(struct backup *b, struct vfs_file *f, struct backup_file *file, struct errmsg *em)
{
    enum err e = b->v->size(f, &file->size, em);
    char *block = mem_alloc(SUM_BYTES);
    if (block == NULL) return errmsg_set(em, ERR_NOMEM, "read a file");
    for (uint64_t at = 0; e == ERR_OK && at < file->size;) {
        size_t n = file->size - at < SUM_BYTES ? (size_t)(file->size - at) : SUM_BYTES;
        e = b->v->pread(f, block, n, at, em);
        if (e == ERR_OK) file->crc = crc32c(file->crc, block, n);
        if (e == ERR_OK) e = check_stop(b, em);
        at += n;
    }
    mem_free(block);
    return e;
}

static enum err verify_fragment(struct backup *b, const char *path, struct errmsg *em)
{
    struct fragment *f = NULL;
    enum err e = fragment_open(&f, b->v, path, em);
    if (e != ERR_OK) return e;
    struct segment *segment = fragment_segment(f);
    e = fragment_verify(segment, em);
    segment->ops->free(segment);
    return e;
}

static enum err sum_file(struct backup *b, struct backup_file *file, struct errmsg *em)
{
    struct vfs_file *f = NULL;
    char path[BACKUP_PATH_MAX];
    enum err e = path_of(b, file->name.p, path, em);
    if (e == ERR_OK) e = b->v->open(b->v->ctx, path, VFS_READ, &f, em);
    if (e != ERR_OK) return e;
    e = sum_bytes(b, f, file, em);
    b->v->close(f);
    if (e == ERR_OK && file->name.n > 9 && strcmp(file->name.p + file->name.n - 9, ".fragment") == 0)
        e = verify_fragment(b, path, em);
    if (e != ERR_OK) errmsg_wrap(em, STR_FMT, STR_ARG(file->name));
    return e;
}

static enum err sum_files(struct backup *b, struct errmsg *em)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < b->list.n && e == ERR_OK; i++) e = sum_file(b, &b->list.files[i], em);
    return e;
}

/* --- all of it --------------------------------------------------------------------------------------------------- */

static void clean_up(struct backup *b, bool was_there)
{
    struct errmsg em = {{0}};
    enum err e = vfs_remove_tree(b->v, b->to, &em);
    if (e == ERR_OK && was_there) e = b->v->make_dir(b->v->ctx, b->to, &em);
    if (e != ERR_OK) log_warn("what there is of a backup stays in %s: %s", b->to, em.text);
}

enum err store_backup(struct store *s, const char *to, struct backup_summary *sum, struct errmsg *em)
{
    struct backup b = {.s = s, .v = s->vfs, .to = to};
    bool is_there, is_empty;
    if (s->own_vfs != NULL) return errmsg_set(em, ERR_UNSUPPORTED, "data in memory have no backup");
    enum err e = vfs_look_at_dir(b.v, to, &is_there, &is_empty, em);
    if (e == ERR_OK && !is_empty) e = errmsg_set(em, ERR_EXISTS, "%s is not empty", to);
    if (e != ERR_OK) return e;
    time_t now = time(NULL);
    struct tm utc;
    (void)strftime(b.list.time, sizeof b.list.time, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    e = cut(&b, em);
    if (e == ERR_OK) e = make_files(&b, em);
    b.list.n_collections = b.image.n_collections;
    let_go(&b);
    if (e == ERR_OK) e = sum_files(&b, em);
    if (e == ERR_OK) e = backup_list_write(b.v, to, &b.list, em);
    if (e == ERR_OK)
        backup_list_sum(&b.list, sum);
    else
        clean_up(&b, is_there);
    catalog_image_free(&b.image);
    backup_list_free(&b.list);
    arena_free(&b.arena);
    return e;
}
