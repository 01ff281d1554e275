/* restore.c - a backup put back: store_restore in backup.h.
 *
 * STEPS    1. The list BACKUP is read. If something is in `path`, its lock is taken, so that no server uses it.
 *          2. Every file is copied into path.restoring-STAMP; size and checksum of what is copied are compared with the list.
 *          3. That directory is opened as a store: catalog, replay of the log; every collection is opened, every checksum
 *             in its fragments compared; it is closed again.
 *          4. It takes the place of `path`: by a rename over nothing or over an empty directory, or by exchanging the two
 *             names, after which what was in `path` is renamed to path.before-STAMP.
 *          Files are copied, not linked: what is served and its backup should not share a bad sector.
 * CUT OFF  before 4 `path` is untouched; the copy is left beside it. In 4 each rename is one step. Only where the file system
 *          cannot exchange two names it takes two, and between them `path` is absent, and both directories lie beside it.
 * FAILURE  the copy is removed. `path` is as it was.
 */
#include <inttypes.h>
#include <stdio.h>

#include "api/backup_internal.h"
#include "api/store_internal.h"
#include "core/crc32c.h"
#include "core/logger.h"
#include "core/mem.h"

enum { COPY_BYTES = 1 << 20 };

struct restoring {
    const struct vfs *v;
    const struct restore *r;
    struct backup_list list;
    struct vfs_file *lock;
    bool is_empty;                                   /* `path`, or absent */
    char aside[RESTORE_PATH_MAX];                    /* path.restoring-STAMP */
    char before[RESTORE_PATH_MAX];                   /* path.before-STAMP */
    char from[BACKUP_PATH_MAX], to[BACKUP_PATH_MAX]; /* scratch: of what is being worked on; here, for they are large */
    char *block;                                     /* COPY_BYTES */
    uint64_t n_records;
};

/* --- 2. copying -------------------------------------------------------------------------------------------------- */

static enum err copy_bytes(struct restoring *o, struct vfs_file *from, struct vfs_file *to,
                           const struct backup_file *file, struct errmsg *em)
{
    uint64_t size = 0;
    uint32_t crc = 0;
    enum err e = o->v->size(from, &size, em);
    if (e == ERR_OK && size != file->size)
        e = errmsg_set(em, ERR_CORRUPT, "it has %" PRIu64 " bytes, the backup's list says %" PRIu64, size, file->size);
    for (uint64_t at = 0; e == ERR_OK && at < size;) {
        size_t n = size - at < COPY_BYTES ? (size_t)(size - at) : COPY_BYTES;
        e = o->v->pread(from, o->block, n, at, em);
        if (e == ERR_OK) crc = crc32c(crc, o->block, n);
        if (e == ERR_OK) e = o->v->pwrite(to, o->block, n, at, em);
        at += n;
    }
    if (e == ERR_OK && crc != file->crc) e = errmsg_set(em, ERR_CORRUPT, "its bytes are not those of the backup");
    return e == ERR_OK ? o->v->sync(to, false, em) : e;
}

static enum err copy_file(struct restoring *o, const struct backup_file *file, struct errmsg *em)
{
    struct vfs_file *in = NULL, *out = NULL;
    if (!vfs_join(o->from, sizeof o->from, o->r->from, file->name.p) ||
        !vfs_join(o->to, sizeof o->to, o->aside, file->name.p))
        return errmsg_set(em, ERR_INVALID, "a path is too long");
    enum err e = o->v->open(o->v->ctx, o->from, VFS_READ, &in, em);
    if (e == ERR_NOT_FOUND) e = errmsg_set(em, ERR_CORRUPT, "it is missing");
    if (e == ERR_OK) e = o->v->open(o->v->ctx, o->to, VFS_WRITE | VFS_CREATE | VFS_EXCLUSIVE, &out, em);
    if (e == ERR_OK) e = copy_bytes(o, in, out, file, em);
    if (out != NULL) o->v->close(out);
    if (in != NULL) o->v->close(in);
    if (e != ERR_OK) errmsg_wrap(em, "%s", o->from);
    return e;
}

/* The directory that `name` is in, made if it is not there yet. */
static enum err make_parent(struct restoring *o, struct str name, struct errmsg *em)
{
    char part[256];
    size_t n = name.n;
    while (n > 0 && name.p[n - 1] != '/') n--;
    if (n == 0) return ERR_OK;
    if (n > sizeof part) return errmsg_set(em, ERR_CORRUPT, "a name in the backup's list is too long");
    memcpy(part, name.p, n - 1);
    part[n - 1] = '\0';
    if (!vfs_join(o->to, sizeof o->to, o->aside, part)) return errmsg_set(em, ERR_INVALID, "a path is too long");
    return o->v->make_dir(o->v->ctx, o->to, em);
}

static enum err sync_parent(struct restoring *o, struct str name, struct errmsg *em)
{
    if (!vfs_join(o->to, sizeof o->to, o->aside, name.p)) return errmsg_set(em, ERR_INVALID, "a path is too long");
    *strrchr(o->to, '/') = '\0';
    return o->v->sync_dir(o->v->ctx, o->to, em);
}

static bool is_same_dir(struct str a, struct str b)
{
    const char *x = strrchr(a.p, '/'), *y = strrchr(b.p, '/');
    size_t n = x != NULL ? (size_t)(x - a.p) : 0, m = y != NULL ? (size_t)(y - b.p) : 0;
    return n == m && memcmp(a.p, b.p, n) == 0;
}

/* Files of one directory stand together in the list: it is made with the first of them, and synced once. */
static enum err copy_files(struct restoring *o, struct errmsg *em)
{
    if (!vfs_join(o->to, sizeof o->to, o->aside, "collections"))
        return errmsg_set(em, ERR_INVALID, "a path is too long");
    enum err e = o->v->make_dir(o->v->ctx, o->to, em); /* and what it is in */
    for (size_t i = 0; i < o->list.n && e == ERR_OK; i++) {
        const struct backup_file *f = &o->list.files[i];
        if (i == 0 || !is_same_dir(f[-1].name, f->name)) e = make_parent(o, f->name, em);
        if (e == ERR_OK) e = copy_file(o, f, em);
    }
    for (size_t i = 0; i < o->list.n && e == ERR_OK; i++) {
        const struct backup_file *f = &o->list.files[i];
        if (i + 1 == o->list.n || !is_same_dir(f->name, f[1].name)) e = sync_parent(o, f->name, em);
    }
    if (e == ERR_OK) e = sync_parent(o, STR("collections/."), em);
    return e == ERR_OK ? o->v->sync_dir(o->v->ctx, o->aside, em) : e;
}

/* --- 3. opening -------------------------------------------------------------------------------------------------- */

static enum err verify_collection(struct restoring *o, struct store *s, const struct catalog_collection *col,
                                  struct errmsg *em)
{
    struct arena a = {0};
    struct segment **list = NULL;
    uint32_t n = 0;
    struct live *live = live_of(col);
    enum err e = live_hold(s, live, em); /* also says when the replay stopped it */
    if (e == ERR_OK) {
        e = collection_fragments(live->collection, &a, &list, &n);
        for (uint32_t i = 0; i < n; i++) {
            if (e == ERR_OK) e = fragment_verify(list[i], em);
            segment_unref(list[i]);
        }
        o->n_records += collection_count(live->collection);
        live_release(live);
    }
    if (e != ERR_OK) errmsg_wrap(em, "collection '" STR_FMT "' (number %" PRIu64 ")", STR_ARG(col->name), col->number);
    (void)live_close(live); /* one at a time is enough */
    arena_free(&a);
    return e;
}

static enum err verify(struct restoring *o, struct errmsg *em)
{
    const struct store_options options = {.path = o->aside, .vfs = o->v, .no_compactor = true};
    struct store *s = NULL;
    struct arena a = {0};
    const struct catalog_collection **all = NULL;
    size_t n = 0;
    enum err e = store_open(&s, &options, em);
    if (e != ERR_OK) return e;
    struct wal_stats stats;
    wal_stats(s->wal, &stats);
    if (stats.durable_lsn > o->list.position)
        e = errmsg_set(em, ERR_CORRUPT, "its log goes beyond the position of the backup");
    if (e == ERR_OK) {
        e = catalog_all_collections(s->catalog, &a, &all, &n);
        if (e != ERR_OK) (void)errmsg_set(em, e, "list collections");
    }
    if (e == ERR_OK && n != o->list.n_collections)
        e = errmsg_set(em, ERR_CORRUPT, "it has %zu collections, the backup's list says %" PRIu64, n,
                       o->list.n_collections);
    for (size_t i = 0; i < n; i++) {
        if (e == ERR_OK) e = verify_collection(o, s, all[i], em);
        catalog_collection_unref(all[i]);
    }
    arena_free(&a);
    store_close(s);
    return e;
}

/* --- 4. taking the place ----------------------------------------------------------------------------------------- */

static enum err sync_around(struct restoring *o, struct errmsg *em)
{
    (void)snprintf(o->to, sizeof o->to, "%s", o->r->path);
    char *slash = strrchr(o->to, '/');
    if (slash == NULL) return o->v->sync_dir(o->v->ctx, ".", em);
    slash[slash == o->to ? 1 : 0] = '\0';
    return o->v->sync_dir(o->v->ctx, o->to, em);
}

/* The two names at once, or one after the other where that cannot be. *where: where the former is now. */
static enum err exchange(struct restoring *o, const char **where, struct errmsg *em)
{
    const char *path = o->r->path;
    enum err e = o->v->exchange(o->v->ctx, o->aside, path, em);
    if (e == ERR_OK) {
        *where = o->v->rename(o->v->ctx, o->aside, o->before, NULL) == ERR_OK ? o->before : o->aside;
        return ERR_OK;
    }
    if (e != ERR_UNSUPPORTED) return e;
    e = o->v->rename(o->v->ctx, path, o->before, em);
    if (e != ERR_OK) return e;
    e = o->v->rename(o->v->ctx, o->aside, path, em);
    if (e == ERR_OK)
        *where = o->before;
    else if (o->v->rename(o->v->ctx, o->before, path, NULL) != ERR_OK)
        errmsg_wrap(em, "what was in %s is in %s now", path, o->before);
    return e;
}

static enum err take_place(struct restoring *o, const char **where, struct errmsg *em)
{
    struct errmsg sync = {{0}};
    enum err e = o->is_empty ? o->v->rename(o->v->ctx, o->aside, o->r->path, em) : exchange(o, where, em);
    if (e != ERR_OK) return e;
    if (sync_around(o, &sync) != ERR_OK)
        log_warn("%s: the restored directory is in place, but a power cut may undo it", sync.text);
    return ERR_OK;
}

/* --- all of it --------------------------------------------------------------------------------------------------- */

static bool set_name(const struct restoring *o, char out[RESTORE_PATH_MAX], const char *word)
{
    int n = snprintf(out, RESTORE_PATH_MAX, "%s.%s-%s", o->r->path, word, o->r->stamp);
    return n >= 0 && n < RESTORE_PATH_MAX;
}

static enum err prepare(struct restoring *o, struct errmsg *em)
{
    bool is_there, is_free;
    if (!set_name(o, o->aside, "restoring") || !set_name(o, o->before, "before"))
        return errmsg_set(em, ERR_INVALID, "the path is too long");
    enum err e = backup_list_read(o->v, o->r->from, &o->list, em);
    if (e == ERR_OK) e = vfs_look_at_dir(o->v, o->r->path, &is_there, &o->is_empty, em);
    if (e == ERR_OK && !o->is_empty && !o->r->replaces)
        e = errmsg_set(em, ERR_EXISTS, "%s is not empty, and it was not said to replace it", o->r->path);
    if (e == ERR_OK && !o->is_empty) e = o->v->lock_dir(o->v->ctx, o->r->path, &o->lock, em);
    if (e == ERR_OK) e = vfs_look_at_dir(o->v, o->aside, &is_there, &is_free, em);
    if (e == ERR_OK && !is_free) e = errmsg_set(em, ERR_EXISTS, "%s is there already", o->aside);
    if (e != ERR_OK) return e;
    o->block = mem_alloc(COPY_BYTES);
    return o->block != NULL ? ERR_OK : errmsg_set(em, ERR_NOMEM, "restore a backup");
}

enum err store_restore(const struct vfs *v, const struct restore *r, struct restored *done, struct errmsg *em)
{
    const char *where = NULL;
    struct restoring *o = mem_zalloc(sizeof *o);
    if (o == NULL) return errmsg_set(em, ERR_NOMEM, "restore a backup");
    o->v = v;
    o->r = r;
    enum err e = prepare(o, em);
    if (e == ERR_OK) {
        e = copy_files(o, em);
        if (e == ERR_OK) e = verify(o, em);
        if (e == ERR_OK) e = take_place(o, &where, em);
        if (e != ERR_OK && vfs_remove_tree(v, o->aside, NULL) != ERR_OK)
            log_warn("what was copied stays in %s", o->aside);
    }
    if (e == ERR_OK) {
        backup_list_sum(&o->list, &done->backup);
        done->n_records = o->n_records;
        (void)snprintf(done->before, sizeof done->before, "%s", where != NULL ? where : "");
    }
    if (o->lock != NULL) v->close(o->lock);
    mem_free(o->block);
    backup_list_free(&o->list);
    mem_free(o);
    return e;
}
