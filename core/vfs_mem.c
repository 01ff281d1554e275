/* vfs_mem.c - files in memory behind the table of vfs.h: for --ephemeral and for tests.
 *
 * Names are kept in a list; the bytes of each file live in a memfd, so that they can be mapped like any file, and go
 * when the name is removed and the last handle and mapping are gone. Reading, writing and mapping are left to the real
 * table: only names are ours. Syncs do nothing.
 * A handle is the real table's, opened through /proc/self/fd, which gives every open its own description.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <errno.h>
#include <unistd.h>

#include "core/mem.h"
#include "core/vfs.h"

struct mem_name {
    struct mem_name *next;
    int fd; /* the memfd; -1: a directory */
    char path[];
};

struct mem_vfs {
    struct vfs table; /* first: freed through it */
    pthread_mutex_t mu;
    struct mem_name *names; /* guarded by mu */
};

static struct mem_name **find_name(struct mem_vfs *v, const char *path)
{
    struct mem_name **link = &v->names;
    while (*link != NULL && strcmp((*link)->path, path) != 0) link = &(*link)->next;
    return link;
}

static enum err add_name(struct mem_vfs *v, const char *path, bool is_dir, struct mem_name **out, struct errmsg *em)
{
    size_t n = strlen(path) + 1;
    struct mem_name *name = mem_alloc(sizeof *name + n);
    if (name == NULL) return errmsg_set(em, ERR_NOMEM, "make %s", path);
    name->fd = is_dir ? -1 : memfd_create("chroma", MFD_CLOEXEC);
    if (!is_dir && name->fd < 0) {
        int err_no = errno;
        mem_free(name);
        return errmsg_errno(em, err_no, "make %s", path);
    }
    memcpy(name->path, path, n);
    name->next = v->names;
    v->names = name;
    *out = name;
    return ERR_OK;
}

static void drop_name(struct mem_name **link)
{
    struct mem_name *name = *link;
    *link = name->next;
    if (name->fd >= 0) (void)close(name->fd);
    mem_free(name);
}

static enum err mem_open(void *ctx, const char *path, int flags, struct vfs_file **f, struct errmsg *em)
{
    struct mem_vfs *v = ctx;
    enum err e = ERR_OK;
    char through[64];
    (void)pthread_mutex_lock(&v->mu);
    struct mem_name *name = *find_name(v, path);
    if (name != NULL && (flags & VFS_EXCLUSIVE) != 0) e = errmsg_set(em, ERR_EXISTS, "open %s: it exists", path);
    if (name == NULL && (flags & VFS_CREATE) == 0) e = errmsg_set(em, ERR_NOT_FOUND, "open %s: no such file", path);
    if (e == ERR_OK && name == NULL) e = add_name(v, path, false, &name, em);
    if (e == ERR_OK && name->fd < 0) e = errmsg_set(em, ERR_IO, "open %s: a directory", path);
    if (e == ERR_OK) {
        (void)snprintf(through, sizeof through, "/proc/self/fd/%d", name->fd);
        e = vfs_posix()->open(NULL, through, flags & (VFS_WRITE | VFS_TRUNCATE), f, em);
    }
    (void)pthread_mutex_unlock(&v->mu);
    return e;
}

static enum err mem_allocate(struct vfs_file *f, uint64_t size, struct errmsg *em)
{
    return vfs_posix()->truncate(f, size, em); /* pages come when they are written: nothing to reserve */
}

static enum err mem_sync(struct vfs_file *f, bool data_only, struct errmsg *em)
{
    (void)f, (void)data_only, (void)em;
    return ERR_OK;
}

static enum err mem_rename(void *ctx, const char *from, const char *to, struct errmsg *em)
{
    struct mem_vfs *v = ctx;
    (void)pthread_mutex_lock(&v->mu);
    struct mem_name **link = find_name(v, from);
    enum err e = *link != NULL ? ERR_OK : errmsg_set(em, ERR_NOT_FOUND, "rename %s: no such file", from);
    if (e == ERR_OK && strcmp(from, to) != 0) {
        struct mem_name *renamed = NULL;
        e = add_name(v, to, true, &renamed, em); /* in front: found before an older file of that name */
        if (e == ERR_OK) {
            link = find_name(v, from);
            renamed->fd = (*link)->fd;
            (*link)->fd = -1;
            drop_name(link);
            for (link = &renamed->next; *link != NULL && strcmp((*link)->path, to) != 0;) link = &(*link)->next;
            if (*link != NULL) drop_name(link);
        }
    }
    (void)pthread_mutex_unlock(&v->mu);
    return e;
}

/* Nobody who keeps files in memory replaces a directory. */
static enum err mem_exchange(void *ctx, const char *a, const char *b, struct errmsg *em)
{
    (void)ctx;
    return errmsg_set(em, ERR_UNSUPPORTED, "exchange %s and %s: not in memory", a, b);
}

/* The second name has a descriptor of its own of the same memfd. */
static enum err mem_link(void *ctx, const char *from, const char *to, struct errmsg *em)
{
    struct mem_vfs *v = ctx;
    struct mem_name *made = NULL;
    enum err e = ERR_OK;
    (void)pthread_mutex_lock(&v->mu);
    const struct mem_name *there = *find_name(v, from);
    if (there == NULL)
        e = errmsg_set(em, ERR_NOT_FOUND, "link %s: no such file", from);
    else if (there->fd < 0)
        e = errmsg_set(em, ERR_IO, "link %s: a directory", from);
    else if (*find_name(v, to) != NULL)
        e = errmsg_set(em, ERR_EXISTS, "link %s: it exists", to);
    else {
        int fd = fcntl(there->fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0) e = errmsg_errno(em, errno, "link %s", from);
        if (e == ERR_OK) e = add_name(v, to, true, &made, em); /* without a file of its own */
        if (e == ERR_OK)
            made->fd = fd;
        else if (fd >= 0)
            (void)close(fd);
    }
    (void)pthread_mutex_unlock(&v->mu);
    return e;
}

static enum err mem_remove(void *ctx, const char *path, struct errmsg *em)
{
    struct mem_vfs *v = ctx;
    (void)pthread_mutex_lock(&v->mu);
    struct mem_name **link = find_name(v, path);
    bool found = *link != NULL;
    if (found) drop_name(link);
    (void)pthread_mutex_unlock(&v->mu);
    return found ? ERR_OK : errmsg_set(em, ERR_NOT_FOUND, "remove %s: no such file", path);
}

static enum err mem_make_dir(void *ctx, const char *path, struct errmsg *em)
{
    struct mem_vfs *v = ctx;
    struct mem_name *name;
    (void)pthread_mutex_lock(&v->mu);
    enum err e = *find_name(v, path) != NULL ? ERR_OK : add_name(v, path, true, &name, em);
    (void)pthread_mutex_unlock(&v->mu);
    return e;
}

static enum err mem_sync_dir(void *ctx, const char *path, struct errmsg *em)
{
    (void)ctx, (void)path, (void)em;
    return ERR_OK;
}

/* Names directly below `path`. The walk is over a copy, so that `visit` may remove what it is shown. */
static enum err mem_list(void *ctx, const char *path, vfs_visit visit, void *visit_ctx, struct errmsg *em)
{
    struct mem_vfs *v = ctx;
    struct arena a = {0};
    struct entry {
        struct entry *next;
        struct str name;
        bool is_dir;
    } *entries = NULL;
    size_t n = strlen(path);
    enum err e = ERR_OK;
    (void)pthread_mutex_lock(&v->mu);
    for (struct mem_name *name = v->names; name != NULL && e == ERR_OK; name = name->next) {
        const char *rest = name->path + n + 1;
        if (strncmp(name->path, path, n) != 0 || name->path[n] != '/' || strchr(rest, '/') != NULL) continue;
        struct entry *entry = arena_alloc(&a, sizeof *entry);
        struct str copy = entry != NULL ? arena_str(&a, str_from_c(rest)) : (struct str){NULL, 0};
        if (entry == NULL || copy.p == NULL) {
            e = errmsg_set(em, ERR_NOMEM, "list %s", path);
            break;
        }
        *entry = (struct entry){entries, copy, name->fd < 0};
        entries = entry;
    }
    (void)pthread_mutex_unlock(&v->mu);
    for (; entries != NULL && e == ERR_OK; entries = entries->next)
        e = visit(visit_ctx, entries->name, entries->is_dir);
    arena_free(&a);
    return e;
}

static enum err mem_lock_dir(void *ctx, const char *path, struct vfs_file **lock, struct errmsg *em)
{
    char name[512];
    if (!vfs_join(name, sizeof name, path, "LOCK")) return errmsg_set(em, ERR_IO, "lock: the path is too long");
    return mem_open(ctx, name, VFS_WRITE | VFS_CREATE, lock, em); /* nobody else can reach these files */
}

enum err vfs_mem_new(struct vfs **out, struct errmsg *em)
{
    struct mem_vfs *v = mem_zalloc(sizeof *v);
    if (v == NULL) return errmsg_set(em, ERR_NOMEM, "files in memory");
    (void)pthread_mutex_init(&v->mu, NULL);
    v->table = *vfs_posix();
    v->table.ctx = v;
    v->table.open = mem_open;
    v->table.allocate = mem_allocate;
    v->table.sync = mem_sync;
    v->table.rename = mem_rename;
    v->table.exchange = mem_exchange;
    v->table.link = mem_link;
    v->table.remove = mem_remove;
    v->table.make_dir = mem_make_dir;
    v->table.remove_dir = mem_remove;
    v->table.sync_dir = mem_sync_dir;
    v->table.list = mem_list;
    v->table.lock_dir = mem_lock_dir;
    *out = &v->table;
    return ERR_OK;
}

void vfs_mem_free(struct vfs *table)
{
    if (table == NULL) return;
    struct mem_vfs *v = table->ctx;
    while (v->names != NULL) drop_name(&v->names);
    (void)pthread_mutex_destroy(&v->mu);
    mem_free(v);
}
