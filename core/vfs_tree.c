/* vfs_tree.c - whole directories: vfs_remove_tree and vfs_look_at_dir in vfs.h.
 *
 * FAILURE  removing goes on past what cannot be removed, so that as little as possible is left; the first error is told.
 */
#include "core/vfs.h"

enum { DEPTH_MAX = 16, TREE_PATH_MAX = 4096 };

struct removing {
    const struct vfs *v;
    const char *path;
    int depth;
    enum err e; /* the first one */
    struct errmsg *em;
};

static enum err remove_dir(const struct vfs *v, const char *path, int depth, struct errmsg *em);

static enum err remove_entry(void *ctx, struct str name, bool is_dir)
{
    struct removing *r = ctx;
    struct errmsg em = {{0}};
    char text[256], path[TREE_PATH_MAX];
    enum err e = ERR_OK;
    if (name.n >= sizeof text) {
        e = errmsg_set(&em, ERR_IO, "remove %s: a name is too long", r->path);
    } else {
        memcpy(text, name.p, name.n);
        text[name.n] = '\0';
        if (!vfs_join(path, sizeof path, r->path, text))
            e = errmsg_set(&em, ERR_IO, "remove %s: the path is too long", r->path);
        else
            e = is_dir ? remove_dir(r->v, path, r->depth + 1, &em) : r->v->remove(r->v->ctx, path, &em);
    }
    if (e != ERR_OK && e != ERR_NOT_FOUND && r->e == ERR_OK) {
        r->e = e;
        if (r->em != NULL) *r->em = em;
    }
    return ERR_OK;
}

static enum err remove_dir(const struct vfs *v, const char *path, int depth, struct errmsg *em)
{
    struct removing r = {.v = v, .path = path, .depth = depth, .em = em};
    if (depth > DEPTH_MAX) return errmsg_set(em, ERR_IO, "remove %s: too deep", path);
    enum err e = v->list(v->ctx, path, remove_entry, &r, em);
    if (e == ERR_OK) e = r.e == ERR_OK ? v->remove_dir(v->ctx, path, em) : r.e;
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

enum err vfs_remove_tree(const struct vfs *v, const char *path, struct errmsg *em)
{
    return remove_dir(v, path, 0, em);
}

static enum err note_entry(void *ctx, struct str name, bool is_dir)
{
    (void)name, (void)is_dir;
    *(bool *)ctx = false;
    return ERR_OK;
}

enum err vfs_look_at_dir(const struct vfs *v, const char *path, bool *is_there, bool *is_empty, struct errmsg *em)
{
    bool empty = true;
    enum err e = v->list(v->ctx, path, note_entry, &empty, em);
    if (e != ERR_OK && e != ERR_NOT_FOUND) return e;
    *is_there = e == ERR_OK;
    *is_empty = empty;
    return ERR_OK;
}
