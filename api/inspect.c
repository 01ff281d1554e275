/* inspect.c - see inspect.h. */
#include "api/inspect.h"

#include <stdio.h>
#include <stdlib.h>

#include "catalog/check.h"
#include "core/mem.h"

#define CATALOG_NAME  INSPECT_COPY
#define UPSTREAM_NAME "chroma.sqlite3"

static bool is_there(const struct vfs *vfs, const char *dir, const char *name)
{
    char path[INSPECT_PATH_MAX];
    struct vfs_file *f = NULL;
    if (!vfs_join(path, sizeof path, dir, name) || vfs->open(vfs->ctx, path, VFS_READ, &f, NULL) != ERR_OK)
        return false;
    vfs->close(f);
    return true;
}

static enum err refuse(struct inspection *in, struct errmsg *em)
{
    if (is_there(in->vfs, in->path, CATALOG_NAME)) return ERR_OK;
    if (is_there(in->vfs, in->path, UPSTREAM_NAME))
        return errmsg_set(em, ERR_NOT_FOUND, "%s belongs to Chroma's own server (it has a %s, and no %s)", in->path,
                          UPSTREAM_NAME, CATALOG_NAME);
    return errmsg_set(em, ERR_NOT_FOUND, "%s is no data directory: it has no %s", in->path, CATALOG_NAME);
}

static enum err copy_file(struct inspection *in, const char *name, struct errmsg *em)
{
    char from[INSPECT_PATH_MAX];
    struct vfs_file *source = NULL, *target = NULL;
    struct bytes map = {NULL, 0};
    CHECK(vfs_join(from, sizeof from, in->path, name) && "half as long");
    enum err e = in->vfs->open(in->vfs->ctx, from, VFS_READ, &source, em);
    if (e != ERR_OK) return e;
    e = in->memory->open(in->memory->ctx, name, VFS_WRITE | VFS_CREATE | VFS_EXCLUSIVE, &target, em);
    if (e == ERR_OK) e = in->vfs->map(source, &map, em);
    if (e == ERR_OK && map.n > 0) e = in->memory->pwrite(target, map.p, map.n, 0, em);
    if (map.p != NULL) in->vfs->unmap(in->vfs->ctx, map);
    if (target != NULL) in->memory->close(target);
    in->vfs->close(source);
    return e;
}

static enum err copy_catalog(struct inspection *in, struct errmsg *em)
{
    enum err e = vfs_mem_new(&in->memory, em);
    if (e == ERR_OK) e = copy_file(in, CATALOG_NAME, em);
    if (e != ERR_OK) return e;
    static const char *const beside[] = {CATALOG_NAME "-wal", CATALOG_NAME "-mark"}; /* none after a clean stop */
    for (size_t i = 0; i < sizeof beside / sizeof beside[0]; i++) {
        e = copy_file(in, beside[i], em);
        if (e != ERR_OK && e != ERR_NOT_FOUND) return e;
    }
    return ERR_OK;
}

enum err inspect_open(struct inspection *in, const char *path, struct errmsg *em)
{
    *in = (struct inspection){.vfs = vfs_posix()};
    int n = snprintf(in->path, sizeof in->path, "%s", path);
    if (n < 0 || (size_t)n >= sizeof in->path) return errmsg_set(em, ERR_INVALID, "the path is too long");
    enum err e = refuse(in, em);
    if (e == ERR_OK) e = in->vfs->lock_dir(in->vfs->ctx, in->path, &in->lock, em);
    if (e == ERR_OK) e = copy_catalog(in, em);
    return e;
}

static int compare_collections(const void *a, const void *b)
{
    const struct catalog_collection *x = *(const struct catalog_collection *const *)a;
    const struct catalog_collection *y = *(const struct catalog_collection *const *)b;
    return x->number < y->number ? -1 : x->number > y->number;
}

enum err inspect_read_catalog(struct inspection *in, struct errmsg *em)
{
    enum err e = catalog_schema_of(in->memory, INSPECT_COPY, &in->schema, em);
    if (e == ERR_OK) e = catalog_open(&in->catalog, in->memory, INSPECT_COPY, em);
    if (e == ERR_OK) e = catalog_all_versions(in->catalog, &in->arena, &in->versions, &in->n_versions, em);
    if (e != ERR_OK) return e;
    e = catalog_all_collections(in->catalog, &in->arena, &in->collections, &in->n_collections);
    if (e != ERR_OK) return errmsg_set(em, e, "list collections");
    if (in->n_collections > 1)
        qsort(in->collections, in->n_collections, sizeof(struct catalog_collection *), compare_collections);
    return ERR_OK;
}

struct catalog_version inspect_version(const struct inspection *in, uint64_t number)
{
    size_t low = 0;
    for (size_t high = in->n_versions; low < high;) {
        size_t middle = low + (high - low) / 2;
        if (in->versions[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < in->n_versions && in->versions[low].number == number) return in->versions[low];
    return (struct catalog_version){.number = number};
}

void inspect_close(struct inspection *in)
{
    if (in->vfs == NULL) return;
    for (size_t i = 0; i < in->n_collections; i++) catalog_collection_unref(in->collections[i]);
    catalog_close(in->catalog);
    vfs_mem_free(in->memory);
    if (in->lock != NULL) in->vfs->close(in->lock);
    arena_free(&in->arena);
    *in = (struct inspection){0};
}
