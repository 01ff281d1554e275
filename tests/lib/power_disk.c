/* power_disk.c - see power_disk.h: the table of files that writes down what is done. Rebuilding: power_disk_cut.c. */
#include "tests/lib/power_disk_internal.h"

#include <fnmatch.h>
#include <stdio.h>

#include "tests/lib/suite.h"

struct vfs_file {
    struct power_disk *d;
    size_t inode;
};

/* --- growing things ------------------------------------------------------------------------------------------------ */

void *power_must(void *p)
{
    if (p == NULL) abort();
    return p;
}

char *power_copy(const void *p, size_t n)
{
    char *copy = power_must(malloc(n > 0 ? n : 1));
    if (n > 0) memcpy(copy, p, n);
    return copy;
}

/* The list, with room for one more. */
static void *with_room(void *list, size_t n, size_t *cap, size_t size)
{
    if (list != NULL && n < *cap) return list;
    *cap = *cap == 0 ? 16 : *cap * 2;
    return power_must(realloc(list, *cap * size));
}

void power_bytes_resize(char **p, size_t *n, size_t to)
{
    char *q = power_must(realloc(*p, to > 0 ? to : 1));
    if (to > *n) memset(q + *n, 0, to - *n);
    *p = q;
    *n = to;
}

void power_bytes_put(char **p, size_t *n, uint64_t at, const char *data, size_t k)
{
    if (k == 0) return;
    if (at + k > *n) power_bytes_resize(p, n, (size_t)at + k);
    memcpy(*p + at, data, k);
}

struct name *power_names_find(const struct names *t, const char *path)
{
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->list[i].path, path) == 0) return &t->list[i];
    return NULL;
}

void power_names_put(struct names *t, const char *path, size_t inode)
{
    struct name *name = power_names_find(t, path);
    if (name == NULL) {
        t->list = with_room(t->list, t->n, &t->cap, sizeof *t->list);
        name = &t->list[t->n++];
        ck_assert_uint_lt(strlen(path), sizeof name->path);
        (void)snprintf(name->path, sizeof name->path, "%s", path);
    }
    name->inode = inode;
}

void power_names_drop(struct names *t, struct name *name)
{
    *name = t->list[--t->n];
}

/* Is path `top` or below it? Then what follows `top`; NULL: it is not. */
static const char *below(const char *path, const char *top)
{
    size_t n = strlen(top);
    return strncmp(path, top, n) == 0 && (path[n] == '/' || path[n] == '\0') ? path + n : NULL;
}

static void set_top(struct name *name, const char *top, const char *rest)
{
    char path[2 * PATH_CAP];
    int n = snprintf(path, sizeof path, "%s%s", top, rest);
    ck_assert_int_lt(n, PATH_CAP);
    memcpy(name->path, path, (size_t)n + 1);
}

void power_names_move(struct names *t, const char *from, const char *to)
{
    struct name *over = power_names_find(t, to);
    if (over != NULL) power_names_drop(t, over);
    for (size_t i = 0; i < t->n; i++) {
        const char *rest = below(t->list[i].path, from);
        if (rest != NULL) set_top(&t->list[i], to, rest);
    }
}

void power_names_exchange(struct names *t, const char *a, const char *b)
{
    for (size_t i = 0; i < t->n; i++) {
        const char *in_a = below(t->list[i].path, a), *in_b = below(t->list[i].path, b);
        if (in_a != NULL)
            set_top(&t->list[i], b, in_a);
        else if (in_b != NULL)
            set_top(&t->list[i], a, in_b);
    }
}

size_t power_parent_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? (size_t)(slash - path) : 0;
}

bool power_is_in(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return power_parent_length(path) == n && strncmp(path, dir, n) == 0;
}

size_t power_inode_new(struct power_disk *d, bool is_dir)
{
    d->inodes = with_room(d->inodes, d->n_inodes, &d->cap_inodes, sizeof *d->inodes);
    d->inodes[d->n_inodes] = (struct inode){.is_dir = is_dir};
    return d->n_inodes++;
}

static struct op *note(struct power_disk *d, enum op_kind kind, size_t inode)
{
    d->ops = with_room(d->ops, d->n_ops, &d->cap_ops, sizeof *d->ops);
    struct op *op = &d->ops[d->n_ops++];
    *op = (struct op){.kind = kind, .inode = inode};
    return op;
}

static struct op *note_name(struct power_disk *d, enum op_kind kind, size_t inode, const char *path)
{
    struct op *op = note(d, kind, inode);
    op->path = power_copy(path, strlen(path) + 1);
    return op;
}

/* --- the table: files ---------------------------------------------------------------------------------------------- */

static void set_size(struct power_disk *d, size_t inode, uint64_t size)
{
    note(d, OP_SIZE, inode)->at = size;
    power_bytes_resize(&d->inodes[inode].now, &d->inodes[inode].n_now, (size_t)size);
}

static enum err disk_open(void *ctx, const char *path, int flags, struct vfs_file **out, struct errmsg *em)
{
    struct power_disk *d = ctx;
    enum err e = ERR_OK;
    power_lock(d);
    const struct name *name = power_names_find(&d->now, path);
    size_t inode = name != NULL ? name->inode : 0;
    if (name != NULL && d->inodes[inode].is_dir)
        e = errmsg_set(em, ERR_IO, "open %s: a directory", path);
    else if (name != NULL && (flags & VFS_EXCLUSIVE) != 0)
        e = errmsg_set(em, ERR_EXISTS, "open %s: it exists", path);
    else if (name == NULL && (flags & VFS_CREATE) == 0)
        e = errmsg_set(em, ERR_NOT_FOUND, "open %s: no such file", path);
    else if (name == NULL) {
        char dir[PATH_CAP];
        (void)snprintf(dir, sizeof dir, "%.*s", (int)power_parent_length(path), path);
        if (power_names_find(&d->now, dir) == NULL)
            e = errmsg_set(em, ERR_NOT_FOUND, "open %s: no such directory", path);
    }
    if (e == ERR_OK && name == NULL) {
        inode = power_inode_new(d, false);
        power_names_put(&d->now, path, inode);
        (void)note_name(d, OP_MAKE, inode, path);
    }
    if (e == ERR_OK && (flags & VFS_TRUNCATE) != 0 && d->inodes[inode].n_now > 0) set_size(d, inode, 0);
    power_unlock(d);
    if (e != ERR_OK) return e;
    struct vfs_file *f = power_must(malloc(sizeof *f));
    *f = (struct vfs_file){d, inode};
    *out = f;
    return ERR_OK;
}

static void disk_close(struct vfs_file *f)
{
    free(f);
}

static enum err disk_pread(struct vfs_file *f, void *p, size_t n, uint64_t at, struct errmsg *em)
{
    power_lock(f->d);
    const struct inode *i = &f->d->inodes[f->inode];
    bool is_there = at <= i->n_now && n <= i->n_now - at;
    if (is_there && n > 0) memcpy(p, i->now + at, n);
    power_unlock(f->d);
    return is_there ? ERR_OK : errmsg_set(em, ERR_CORRUPT, "the file ends before %llu", (unsigned long long)at + n);
}

static enum err disk_pwrite(struct vfs_file *f, const void *p, size_t n, uint64_t at, struct errmsg *em)
{
    struct power_disk *d = f->d;
    (void)em;
    power_lock(d);
    struct op *op = note(d, OP_WRITE, f->inode);
    op->at = at;
    op->n = n;
    op->data = power_copy(p, n);
    power_bytes_put(&d->inodes[f->inode].now, &d->inodes[f->inode].n_now, at, p, n);
    power_unlock(d);
    return ERR_OK;
}

static enum err disk_size(struct vfs_file *f, uint64_t *size, struct errmsg *em)
{
    (void)em;
    power_lock(f->d);
    *size = f->d->inodes[f->inode].n_now;
    power_unlock(f->d);
    return ERR_OK;
}

static enum err disk_truncate(struct vfs_file *f, uint64_t size, struct errmsg *em)
{
    (void)em;
    power_lock(f->d);
    set_size(f->d, f->inode, size);
    power_unlock(f->d);
    return ERR_OK;
}

static enum err disk_allocate(struct vfs_file *f, uint64_t size, struct errmsg *em)
{
    (void)em;
    power_lock(f->d);
    if (size > f->d->inodes[f->inode].n_now) set_size(f->d, f->inode, size);
    power_unlock(f->d);
    return ERR_OK;
}

static bool is_lie_about(const struct power_disk *d, const char *path)
{
    return d->lie != NULL && fnmatch(d->lie, path, FNM_PATHNAME) == 0;
}

static bool is_lie_about_inode(const struct power_disk *d, size_t inode)
{
    for (size_t i = 0; i < d->now.n; i++)
        if (d->now.list[i].inode == inode && is_lie_about(d, d->now.list[i].path)) return true;
    return false;
}

static enum err disk_sync(struct vfs_file *f, bool data_only, struct errmsg *em)
{
    (void)data_only, (void)em; /* a size that is needed to read the data is among them */
    power_lock(f->d);
    if (!is_lie_about_inode(f->d, f->inode)) (void)note(f->d, OP_SYNC, f->inode);
    power_unlock(f->d);
    return ERR_OK;
}

/* A copy: what is mapped here is never written any more. Its end is the end of a block, for AddressSanitizer. */
static enum err disk_map(struct vfs_file *f, struct bytes *map, struct errmsg *em)
{
    void *p = NULL;
    (void)em;
    power_lock(f->d);
    const struct inode *i = &f->d->inodes[f->inode];
    size_t n = i->n_now;
    if (n > 0) {
        ck_assert_int_eq(posix_memalign(&p, 4096, n), 0);
        memcpy(p, i->now, n);
    }
    power_unlock(f->d);
    *map = (struct bytes){p, n};
    return ERR_OK;
}

static void disk_unmap(void *ctx, struct bytes map)
{
    (void)ctx;
    free((void *)(uintptr_t)map.p);
}

/* --- the table: names ---------------------------------------------------------------------------------------------- */

static enum err disk_rename(void *ctx, const char *from, const char *to, struct errmsg *em)
{
    struct power_disk *d = ctx;
    ck_assert(power_parent_length(from) ==
              power_parent_length(to)); /* of two directories no sync could say what is durable */
    power_lock(d);
    struct name *name = power_names_find(&d->now, from);
    enum err e = name != NULL ? ERR_OK : errmsg_set(em, ERR_NOT_FOUND, "rename %s: no such file", from);
    if (e == ERR_OK && name != NULL) {
        size_t inode = name->inode;
        power_names_move(&d->now, from, to);
        note_name(d, OP_RENAME, inode, to)->was = power_copy(from, strlen(from) + 1);
    }
    power_unlock(d);
    return e;
}

static enum err disk_exchange(void *ctx, const char *a, const char *b, struct errmsg *em)
{
    struct power_disk *d = ctx;
    ck_assert(power_parent_length(a) == power_parent_length(b));
    power_lock(d);
    const struct name *name = power_names_find(&d->now, b);
    bool are_there = name != NULL && power_names_find(&d->now, a) != NULL;
    if (are_there) {
        size_t inode = name->inode;
        power_names_exchange(&d->now, a, b);
        note_name(d, OP_EXCHANGE, inode, a)->was = power_copy(b, strlen(b) + 1);
    }
    power_unlock(d);
    return are_there ? ERR_OK : errmsg_set(em, ERR_NOT_FOUND, "exchange %s and %s: no such file", a, b);
}

static enum err disk_link(void *ctx, const char *from, const char *to, struct errmsg *em)
{
    struct power_disk *d = ctx;
    enum err e = ERR_OK;
    power_lock(d);
    const struct name *name = power_names_find(&d->now, from);
    if (d->has_no_links)
        e = errmsg_set(em, ERR_UNSUPPORTED, "link %s: one name only", from);
    else if (name == NULL)
        e = errmsg_set(em, ERR_NOT_FOUND, "link %s: no such file", from);
    else if (power_names_find(&d->now, to) != NULL)
        e = errmsg_set(em, ERR_EXISTS, "link %s: it exists", to);
    if (e == ERR_OK && name != NULL) {
        size_t inode = name->inode;
        power_names_put(&d->now, to, inode);
        (void)note_name(d, OP_MAKE, inode, to);
    }
    power_unlock(d);
    return e;
}

static bool has_children(const struct power_disk *d, const char *dir)
{
    for (size_t i = 0; i < d->now.n; i++)
        if (power_is_in(d->now.list[i].path, dir)) return true;
    return false;
}

static enum err remove_name(struct power_disk *d, const char *path, bool is_dir, struct errmsg *em)
{
    enum err e = ERR_OK;
    power_lock(d);
    struct name *name = power_names_find(&d->now, path);
    if (name == NULL)
        e = errmsg_set(em, ERR_NOT_FOUND, "remove %s: no such file", path);
    else if (d->inodes[name->inode].is_dir != is_dir || (is_dir && has_children(d, path)))
        e = errmsg_set(em, ERR_IO, "remove %s: a directory, or not an empty one", path);
    if (e == ERR_OK && name != NULL) {
        (void)note_name(d, OP_REMOVE, name->inode, path);
        power_names_drop(&d->now, name);
    }
    power_unlock(d);
    return e;
}

static enum err disk_remove(void *ctx, const char *path, struct errmsg *em)
{
    return remove_name(ctx, path, false, em);
}

static enum err disk_remove_dir(void *ctx, const char *path, struct errmsg *em)
{
    return remove_name(ctx, path, true, em);
}

static enum err disk_make_dir(void *ctx, const char *path, struct errmsg *em)
{
    struct power_disk *d = ctx;
    char part[PATH_CAP];
    (void)em;
    ck_assert(path[0] == '/' && strlen(path) < sizeof part);
    power_lock(d);
    for (size_t i = 1; i <= strlen(path); i++) {
        if (path[i] != '/' && path[i] != '\0') continue;
        (void)snprintf(part, sizeof part, "%.*s", (int)i, path);
        if (power_names_find(&d->now, part) != NULL) continue;
        size_t inode = power_inode_new(d, true);
        power_names_put(&d->now, part, inode);
        (void)note_name(d, OP_MAKE, inode, part);
        part[power_parent_length(part)] = '\0';
        (void)note_name(d, OP_SYNC_DIR, 0, part);
    }
    power_unlock(d);
    return ERR_OK;
}

static enum err disk_sync_dir(void *ctx, const char *path, struct errmsg *em)
{
    struct power_disk *d = ctx;
    power_lock(d);
    bool is_there = power_names_find(&d->now, path) != NULL;
    if (is_there && !is_lie_about(d, path)) (void)note_name(d, OP_SYNC_DIR, 0, path);
    power_unlock(d);
    return is_there ? ERR_OK : errmsg_set(em, ERR_NOT_FOUND, "sync directory %s: it is not there", path);
}

/* Over a copy, so that `visit` may remove what it is shown. */
static enum err disk_list(void *ctx, const char *path, vfs_visit visit, void *visit_ctx, struct errmsg *em)
{
    struct power_disk *d = ctx;
    enum err e = ERR_OK;
    power_lock(d);
    bool is_there = power_names_find(&d->now, path) != NULL;
    size_t n = d->now.n;
    struct name *copy = power_must(malloc(n * sizeof *copy + 1));
    bool *is_dir = power_must(malloc(n + 1));
    if (n > 0) memcpy(copy, d->now.list, n * sizeof *copy);
    for (size_t i = 0; i < n; i++) is_dir[i] = d->inodes[copy[i].inode].is_dir;
    power_unlock(d);
    if (!is_there) e = errmsg_set(em, ERR_NOT_FOUND, "list %s: no such directory", path);
    for (size_t i = 0; i < n && e == ERR_OK; i++)
        if (power_is_in(copy[i].path, path))
            e = visit(visit_ctx, str_from_c(strrchr(copy[i].path, '/') + 1), is_dir[i]);
    free(copy);
    free(is_dir);
    return e;
}

static enum err disk_lock_dir(void *ctx, const char *path, struct vfs_file **out, struct errmsg *em)
{
    char name[PATH_CAP];
    ck_assert(vfs_join(name, sizeof name, path, "LOCK"));
    return disk_open(ctx, name, VFS_WRITE | VFS_CREATE, out, em); /* nobody else can reach this disk */
}

static enum err disk_lock(struct vfs_file *f, uint64_t offset, uint64_t n, bool wanted, struct errmsg *em)
{
    (void)f, (void)offset, (void)n, (void)wanted, (void)em;
    return ERR_OK;
}

/* --- what tests do with it ----------------------------------------------------------------------------------------- */

struct power_disk *power_disk_new(void)
{
    struct power_disk *d = power_must(calloc(1, sizeof *d));
    (void)pthread_mutex_init(&d->mu, NULL);
    d->table = (struct vfs){
        .ctx = d,
        .open = disk_open,
        .close = disk_close,
        .pread = disk_pread,
        .pwrite = disk_pwrite,
        .size = disk_size,
        .truncate = disk_truncate,
        .allocate = disk_allocate,
        .sync = disk_sync,
        .map = disk_map,
        .unmap = disk_unmap,
        .rename = disk_rename,
        .exchange = disk_exchange,
        .link = disk_link,
        .remove = disk_remove,
        .make_dir = disk_make_dir,
        .remove_dir = disk_remove_dir,
        .sync_dir = disk_sync_dir,
        .list = disk_list,
        .lock_dir = disk_lock_dir,
        .lock = disk_lock,
    };
    return d;
}

void power_disk_free(struct power_disk *d)
{
    if (d == NULL) return;
    for (size_t i = 0; i < d->n_inodes; i++) {
        free(d->inodes[i].first);
        free(d->inodes[i].now);
    }
    for (size_t i = 0; i < d->n_ops; i++) {
        free(d->ops[i].data);
        free(d->ops[i].path);
        free(d->ops[i].was);
    }
    free(d->inodes);
    free(d->ops);
    free(d->first.list);
    free(d->now.list);
    (void)pthread_mutex_destroy(&d->mu);
    free(d);
}

const struct vfs *power_disk_vfs(struct power_disk *d)
{
    return &d->table;
}

size_t power_disk_ops(struct power_disk *d)
{
    power_lock(d);
    size_t n = d->n_ops;
    power_unlock(d);
    return n;
}

bool power_disk_is_sync(struct power_disk *d, size_t n)
{
    power_lock(d);
    bool is_sync = n < d->n_ops && (d->ops[n].kind == OP_SYNC || d->ops[n].kind == OP_SYNC_DIR);
    power_unlock(d);
    return is_sync;
}

void power_disk_lie(struct power_disk *d, const char *pattern)
{
    power_lock(d);
    d->lie = pattern;
    power_unlock(d);
}

void power_disk_refuse_links(struct power_disk *d)
{
    power_lock(d);
    d->has_no_links = true;
    power_unlock(d);
}
