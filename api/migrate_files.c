/* migrate_files.c - see migrate_internal.h: the two directories of a migration.
 *
 * TARGET   looked at before anything is written, so that a wrong --path (upstream's own directory, or one with data)
 *          stays as it is; then locked, and looked at again. The mark is durable before anything else is made, and
 *          removed, durably, after everything else was synced: so whenever the power goes, a directory without it is
 *          complete.
 * SOURCE   read with SQLite's `immutable`, without locks: nothing is made beside it, and it may lie on a read-only file
 *          system. When a journal lies beside the database (its server was killed), the files are copied first, because
 *          SQLite must finish what the journal asks for, which writes. Nobody should write to the source meanwhile; if
 *          somebody does, the database's change counter tells, and the migration does not end well.
 */
#include <stdio.h>

#include "api/migrate_internal.h"
#include "core/mem.h"

#define COPY_NAME "upstream-copy"

enum { COPY_CHUNK = 1 << 20 };

/* --- the target: what is in it ----------------------------------------------------------------------------------- */

struct content {
    bool is_upstreams, is_marked, has_other;
    char other[128]; /* the name of something that is no migration's */
};

static bool is_ours(struct str name)
{
    static const char *const names[] = {"LOCK", "wal", "collections", COPY_NAME, STORE_MIGRATION_NAME};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (str_eq(name, str_from_c(names[i]))) return true;
    return str_starts(name, STR("catalog.sqlite3"));
}

static enum err look_at(void *ctx, struct str name, bool is_dir)
{
    struct content *c = ctx;
    if (str_eq(name, STR(UPSTREAM_FILE))) c->is_upstreams = true;
    if (str_eq(name, STR(STORE_MIGRATION_NAME))) c->is_marked = true;
    if (str_eq(name, STR("LOCK")) || (is_dir && str_eq(name, STR("lost+found")))) return ERR_OK;
    if (!c->has_other || !is_ours(name)) (void)snprintf(c->other, sizeof c->other, STR_FMT, STR_ARG(name));
    c->has_other = true;
    return ERR_OK;
}

static enum err check_target(const struct mover *m, bool *is_marked, struct errmsg *em)
{
    struct content c = {0};
    const char *path = m->o->path;
    enum err e = m->vfs->list(m->vfs->ctx, path, look_at, &c, em);
    *is_marked = c.is_marked;
    if (e == ERR_NOT_FOUND) return ERR_OK;
    if (e != ERR_OK) return e;
    if (c.is_upstreams)
        return errmsg_set(em, ERR_EXISTS,
                          "%s holds a database of Chroma's own server: --path must be another directory", path);
    if (c.is_marked && !is_ours(str_from_c(c.other)))
        return errmsg_set(em, ERR_EXISTS,
                          "%s holds %s, which no migration has made: remove it, or choose another directory", path,
                          c.other);
    if (c.has_other && !c.is_marked)
        return errmsg_set(em, ERR_EXISTS, "%s is not empty (%s is in it): --path must be a new directory", path,
                          c.other);
    return ERR_OK;
}

/* --- the target: removing what an interrupted migration left ----------------------------------------------------- */

struct sweep {
    const struct vfs *vfs;
    char dir[MIGRATE_PATH_MAX];
    unsigned depth; /* directories above this one that are swept too */
};

static enum err sweep_dir(const struct vfs *vfs, const char *dir, unsigned depth, struct errmsg *em);

static enum err sweep_entry(void *ctx, struct str name, bool is_dir)
{
    struct sweep *s = ctx;
    char text[256], path[MIGRATE_PATH_MAX];
    if (s->depth == 0 && (!is_ours(name) || str_eq(name, STR("LOCK")) || str_eq(name, STR(STORE_MIGRATION_NAME))))
        return ERR_OK;
    if (name.n >= sizeof text) return ERR_IO;
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    if (!vfs_join(path, sizeof path, s->dir, text)) return ERR_IO;
    if (!is_dir) return s->vfs->remove(s->vfs->ctx, path, NULL);
    enum err e = sweep_dir(s->vfs, path, s->depth + 1, NULL);
    return e == ERR_OK ? s->vfs->remove_dir(s->vfs->ctx, path, NULL) : e;
}

/* collections/N/file is as deep as it goes. */
static enum err sweep_dir(const struct vfs *vfs, const char *dir, unsigned depth, struct errmsg *em)
{
    if (depth > 2) return errmsg_set(em, ERR_IO, "%s: too deep", dir);
    struct sweep *s = mem_zalloc(sizeof *s);
    if (s == NULL) return errmsg_set(em, ERR_NOMEM, "out of memory");
    s->vfs = vfs;
    s->depth = depth;
    (void)snprintf(s->dir, sizeof s->dir, "%s", dir);
    enum err e = vfs->list(vfs->ctx, dir, sweep_entry, s, em);
    mem_free(s);
    if (e != ERR_OK) errmsg_wrap(em, "remove what an interrupted migration left in %s", dir);
    return e;
}

/* --- the target: taking and releasing ---------------------------------------------------------------------------- */

static enum err mark_path(const struct mover *m, char out[MIGRATE_PATH_MAX], struct errmsg *em)
{
    if (vfs_join(out, MIGRATE_PATH_MAX, m->o->path, STORE_MIGRATION_NAME)) return ERR_OK;
    return errmsg_set(em, ERR_INVALID, "the path %s is too long", m->o->path);
}

static enum err put_mark(struct mover *m, struct errmsg *em)
{
    char path[MIGRATE_PATH_MAX], text[MIGRATE_PATH_MAX + 32];
    struct vfs_file *f;
    const struct vfs *vfs = m->vfs;
    enum err e = mark_path(m, path, em);
    if (e == ERR_OK) e = vfs->open(vfs->ctx, path, VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, &f, em);
    if (e != ERR_OK) return e;
    int n = snprintf(text, sizeof text, "from: %s\n", m->o->from);
    e = vfs->pwrite(f, text, n > 0 ? (size_t)n : 0, 0, em);
    if (e == ERR_OK) e = vfs->sync(f, false, em);
    vfs->close(f);
    return e == ERR_OK ? vfs->sync_dir(vfs->ctx, m->o->path, em) : e;
}

enum err migrate_take_target(struct mover *m, struct errmsg *em)
{
    const struct vfs *vfs = m->vfs;
    struct vfs_file *lock;
    bool is_marked;
    enum err e = check_target(m, &is_marked, em);
    if (e == ERR_OK) e = vfs->make_dir(vfs->ctx, m->o->path, em);
    if (e == ERR_OK) e = vfs->lock_dir(vfs->ctx, m->o->path, &lock, em);
    if (e != ERR_OK) return e;
    e = check_target(m, &is_marked, em);
    if (e == ERR_OK && !is_marked) e = put_mark(m, em);
    if (e == ERR_OK && is_marked) {
        e = sweep_dir(vfs, m->o->path, 0, em);
        if (e == ERR_OK) e = put_mark(m, em); /* the source may be another one now */
    }
    vfs->close(lock); /* store_open takes it again; whoever comes between finds the mark, as we would */
    return e;
}

enum err migrate_release_target(struct mover *m, struct errmsg *em)
{
    char path[MIGRATE_PATH_MAX];
    enum err e = mark_path(m, path, em);
    if (e == ERR_OK) e = m->vfs->remove(m->vfs->ctx, path, em);
    return e == ERR_OK ? m->vfs->sync_dir(m->vfs->ctx, m->o->path, em) : e;
}

/* --- the source -------------------------------------------------------------------------------------------------- */

static enum err name_path(char out[MIGRATE_PATH_MAX], const char *dir, const char *suffix, struct errmsg *em)
{
    int n = snprintf(out, MIGRATE_PATH_MAX, "%s/" UPSTREAM_FILE "%s", dir, suffix);
    if (n > 0 && n < MIGRATE_PATH_MAX) return ERR_OK;
    return errmsg_set(em, ERR_INVALID, "the path %s is too long", dir);
}

/* *size: 0 for a file that is not there. */
static enum err file_size(const struct mover *m, const char *suffix, uint64_t *size, struct errmsg *em)
{
    char path[MIGRATE_PATH_MAX];
    struct vfs_file *f;
    enum err e = name_path(path, m->o->from, suffix, em);
    if (e != ERR_OK) return e;
    *size = 0;
    e = m->vfs->open(m->vfs->ctx, path, VFS_READ, &f, em);
    if (e == ERR_NOT_FOUND) return ERR_OK;
    if (e != ERR_OK) return e;
    e = m->vfs->size(f, size, em);
    m->vfs->close(f);
    return e;
}

enum err migrate_look_at_source(const struct mover *m, struct source_state *s, struct errmsg *em)
{
    char path[MIGRATE_PATH_MAX];
    uint8_t counter[4] = {0};
    struct vfs_file *f;
    enum err e = name_path(path, m->o->from, "", em);
    if (e == ERR_OK) e = m->vfs->open(m->vfs->ctx, path, VFS_READ, &f, em);
    if (e == ERR_NOT_FOUND)
        return errmsg_set(em, e, "%s holds no data of Chroma's own server: there is no " UPSTREAM_FILE " in it",
                          m->o->from);
    if (e != ERR_OK) return e;
    e = m->vfs->size(f, &s->size, em);
    if (e == ERR_OK && s->size >= 28) e = m->vfs->pread(f, counter, sizeof counter, 24, em);
    m->vfs->close(f);
    s->change_counter = le32_get(counter);
    return e == ERR_OK ? file_size(m, "-wal", &s->log_size, em) : e;
}

static enum err copy_file(struct mover *m, const char *suffix, struct errmsg *em)
{
    char from[MIGRATE_PATH_MAX], dir[MIGRATE_PATH_MAX], to[MIGRATE_PATH_MAX];
    const struct vfs *vfs = m->vfs;
    struct vfs_file *in = NULL, *out = NULL;
    uint64_t size = 0;
    void *chunk = mem_alloc(COPY_CHUNK);
    enum err e = chunk != NULL ? ERR_OK : errmsg_set(em, ERR_NOMEM, "out of memory");
    if (e == ERR_OK) e = name_path(from, m->o->from, suffix, em);
    if (e == ERR_OK && !vfs_join(dir, sizeof dir, m->o->path, COPY_NAME))
        e = errmsg_set(em, ERR_INVALID, "the path is too long");
    if (e == ERR_OK) e = name_path(to, dir, suffix, em);
    if (e == ERR_OK) e = vfs->open(vfs->ctx, from, VFS_READ, &in, em);
    if (e == ERR_NOT_FOUND) {
        mem_free(chunk);
        return ERR_OK;
    }
    if (e == ERR_OK) e = vfs->size(in, &size, em);
    if (e == ERR_OK) e = vfs->open(vfs->ctx, to, VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, &out, em);
    for (uint64_t at = 0; e == ERR_OK && at < size;) {
        size_t n = size - at < COPY_CHUNK ? (size_t)(size - at) : COPY_CHUNK;
        e = vfs->pread(in, chunk, n, at, em);
        if (e == ERR_OK) e = vfs->pwrite(out, chunk, n, at, em);
        at += n;
    }
    if (in != NULL) vfs->close(in);
    if (out != NULL) vfs->close(out);
    mem_free(chunk);
    if (e != ERR_OK) errmsg_wrap(em, "copy " UPSTREAM_FILE "%s", suffix);
    return e;
}

static enum err copy_source(struct mover *m, char copy[MIGRATE_PATH_MAX], struct errmsg *em)
{
    char dir[MIGRATE_PATH_MAX];
    if (!vfs_join(dir, sizeof dir, m->o->path, COPY_NAME)) return errmsg_set(em, ERR_INVALID, "the path is too long");
    migrate_tell(m, MIGRATE_PROGRESS, "a journal lies beside " UPSTREAM_FILE ": reading from a copy");
    enum err e = m->vfs->make_dir(m->vfs->ctx, dir, em);
    if (e == ERR_OK) e = copy_file(m, "", em);
    if (e == ERR_OK) e = copy_file(m, "-wal", em);
    if (e == ERR_OK) e = copy_file(m, "-journal", em);
    return e == ERR_OK ? name_path(copy, dir, "", em) : e;
}

enum err migrate_open_source(struct mover *m, struct errmsg *em)
{
    char path[MIGRATE_PATH_MAX];
    uint64_t journal_size = 0;
    enum err e = file_size(m, "-journal", &journal_size, em);
    if (e != ERR_OK) return e;
    bool needs_copy = m->source.log_size > 0 || journal_size > 0;
    e = needs_copy ? copy_source(m, path, em) : name_path(path, m->o->from, "", em);
    return e == ERR_OK ? upstream_db_open(&m->db, path, needs_copy, em) : e;
}

enum err migrate_close_source(struct mover *m, struct errmsg *em)
{
    char dir[MIGRATE_PATH_MAX];
    struct source_state now = {0};
    upstream_db_close(&m->db);
    if (vfs_join(dir, sizeof dir, m->o->path, COPY_NAME)) {
        enum err swept = sweep_dir(m->vfs, dir, 1, NULL);
        if (swept == ERR_OK) (void)m->vfs->remove_dir(m->vfs->ctx, dir, NULL);
        if (swept != ERR_OK && swept != ERR_NOT_FOUND) return errmsg_set(em, swept, "remove %s", dir);
    }
    enum err e = migrate_look_at_source(m, &now, em);
    if (e != ERR_OK) return e;
    if (now.change_counter == m->source.change_counter && now.size == m->source.size &&
        now.log_size == m->source.log_size)
        return ERR_OK;
    return errmsg_set(em, ERR_BUSY,
                      "%s was written to while it was read: stop its server and start the migration again", m->o->from);
}
