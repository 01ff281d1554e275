/* vfs_link.c - one file under two names: see vfs_link_or_copy in vfs.h.
 *
 * A copy takes the place of a link where the file system has none (FAT, some network shares) or a file has as many
 * names as it can have (65,000 on ext4).
 * FAILURE  what there is of a copy stays under the new name; the caller knows the directory and removes it.
 */
#include "core/mem.h"
#include "core/vfs.h"

enum { COPY_BYTES = 1 << 20 };

static enum err copy_bytes(const struct vfs *v, struct vfs_file *from, struct vfs_file *to, struct errmsg *em)
{
    uint64_t size = 0;
    enum err e = v->size(from, &size, em);
    if (e != ERR_OK) return e;
    char *block = mem_alloc(COPY_BYTES);
    if (block == NULL) return errmsg_set(em, ERR_NOMEM, "copy a file");
    for (uint64_t at = 0; at < size && e == ERR_OK;) {
        size_t n = size - at < COPY_BYTES ? (size_t)(size - at) : COPY_BYTES;
        e = v->pread(from, block, n, at, em);
        if (e == ERR_OK) e = v->pwrite(to, block, n, at, em);
        at += n;
    }
    mem_free(block);
    return e == ERR_OK ? v->sync(to, false, em) : e;
}

static enum err copy_file(const struct vfs *v, const char *from, const char *to, struct errmsg *em)
{
    struct vfs_file *in = NULL, *out = NULL;
    enum err e = v->open(v->ctx, from, VFS_READ, &in, em);
    if (e != ERR_OK) return e;
    e = v->open(v->ctx, to, VFS_WRITE | VFS_CREATE | VFS_EXCLUSIVE, &out, em);
    if (e == ERR_OK) {
        e = copy_bytes(v, in, out, em);
        v->close(out);
    }
    v->close(in);
    if (e != ERR_OK) errmsg_wrap(em, "copy %s", from);
    return e;
}

enum err vfs_link_or_copy(const struct vfs *v, const char *from, const char *to, struct errmsg *em)
{
    enum err e = v->link(v->ctx, from, to, em);
    return e == ERR_UNSUPPORTED ? copy_file(v, from, to, em) : e;
}
