/* config_file.c - reads the configuration file whole; a file of more than a mebibyte is none.
 */
#include "server/config.h"

#include "core/mem.h"
#include "core/vfs.h"

enum { CONFIG_FILE_MAX = 1 << 20 };

enum err config_read_file(struct config *c, const char *path, struct errmsg *em)
{
    const struct vfs *vfs = vfs_posix();
    struct vfs_file *f = NULL;
    char *text = NULL;
    uint64_t size = 0;
    enum err e = vfs->open(vfs->ctx, path, VFS_READ, &f, em);
    if (e == ERR_NOT_FOUND) return errmsg_set(em, e, "configuration file %s does not exist", path);
    if (e != ERR_OK) return e;
    if ((e = vfs->size(f, &size, em)) != ERR_OK) goto out;
    if (size > CONFIG_FILE_MAX) {
        e = errmsg_set(em, ERR_INVALID, "%s: larger than a configuration file can be", path);
        goto out;
    }
    if ((text = mem_alloc((size_t)size)) == NULL) {
        e = errmsg_set(em, ERR_NOMEM, "read %s", path);
        goto out;
    }
    if ((e = vfs->pread(f, text, (size_t)size, 0, em)) != ERR_OK) goto out;
    e = config_read_yaml(c, str_of(text, (size_t)size), path, em);
out:
    mem_free(text);
    vfs->close(f);
    return e;
}
