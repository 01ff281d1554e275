/* spill.c - see spill.h. */
#include "index/spill.h"

#include "core/mem.h"

enum err spill_init(struct spill *s, const struct vfs *vfs, const char *path, const char *suffix, struct errmsg *em)
{
    *s = (struct spill){.vfs = vfs};
    if (vfs == NULL) return ERR_OK;
    size_t path_n = strlen(path), suffix_n = strlen(suffix);
    s->path = mem_alloc(path_n + suffix_n + 1);
    if (s->path == NULL) return errmsg_set(em, ERR_NOMEM, "a name for temporary data");
    memcpy(s->path, path, path_n);
    memcpy(s->path + path_n, suffix, suffix_n + 1);
    return ERR_OK;
}

void spill_deinit(struct spill *s)
{
    if (s->map.p != NULL) s->vfs->unmap(s->vfs->ctx, s->map);
    if (s->file != NULL) {
        s->vfs->close(s->file);
        /* a file that stays is garbage that the next start removes: nothing names it */
        enum err e = s->vfs->remove(s->vfs->ctx, s->path, NULL);
        (void)e;
    }
    buf_free(&s->buf);
    mem_free(s->path);
    *s = (struct spill){0};
}

static void write_out(struct spill *s)
{
    if (s->file == NULL)
        s->err = s->vfs->open(s->vfs->ctx, s->path, VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, &s->file, &s->why);
    if (s->err == ERR_OK) s->err = s->vfs->pwrite(s->file, s->buf.p, s->buf.n, s->n_file, &s->why);
    if (s->err != ERR_OK) return;
    s->n_file += s->buf.n;
    s->buf.n = 0;
}

void spill_add(struct spill *s, const void *p, size_t n)
{
    if (s->err != ERR_OK) return;
    buf_add(&s->buf, p, n);
    if (s->buf.err != ERR_OK)
        s->err = errmsg_set(&s->why, s->buf.err, "gather %zu bytes", n);
    else if (s->vfs != NULL && s->buf.n >= SPILL_MEMORY_BYTES)
        write_out(s);
}

enum err spill_view(struct spill *s, struct bytes *view, struct errmsg *em)
{
    if (s->err == ERR_OK && s->file != NULL && s->map.p == NULL) {
        write_out(s);
        if (s->err == ERR_OK) s->err = s->vfs->map(s->file, &s->map, &s->why);
    }
    if (s->err != ERR_OK) {
        if (em != NULL) *em = s->why;
        return s->err;
    }
    *view = s->file != NULL ? s->map : (struct bytes){s->buf.p != NULL ? s->buf.p : "", s->buf.n};
    return ERR_OK;
}
