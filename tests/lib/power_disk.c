/* power_disk.c - see power_disk.h.
 *
 * A disk is what it began with (inodes with their first bytes, names), the list of operations since, and what readers see
 * now. A cut replays the list twice: once for bytes, inode by inode, once for names, directory by directory; a sync makes
 * what is pending durable, and what is pending in the end meets its fate.
 */
#include "tests/lib/power_disk.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/suite.h"

enum { SECTOR = 512, PATH_CAP = 256 };

enum op_kind { OP_WRITE, OP_SIZE, OP_SYNC, OP_MAKE, OP_RENAME, OP_REMOVE, OP_SYNC_DIR };

struct inode {
    bool is_dir;
    char *first, *now; /* bytes: as the disk began, as readers see them */
    size_t n_first, n_now;
};

struct op {
    enum op_kind kind;
    size_t inode;     /* index; OP_SYNC_DIR has none */
    uint64_t at;      /* OP_WRITE: offset. OP_SIZE: the size */
    size_t n;         /* OP_WRITE: bytes */
    char *data;       /* OP_WRITE */
    char *path, *was; /* names: the one that is made or removed, or whose directory is synced; OP_RENAME: the former one */
};

struct name {
    char path[PATH_CAP];
    size_t inode;
};

struct names {
    struct name *list;
    size_t n, cap;
};

struct power_disk {
    struct vfs table;
    pthread_mutex_t mu; /* guards all below */
    struct inode *inodes;
    size_t n_inodes, cap_inodes;
    struct op *ops;
    size_t n_ops, cap_ops;
    struct names first, now;
};

struct vfs_file {
    struct power_disk *d;
    size_t inode;
};

/* --- growing things ------------------------------------------------------------------------------------------------ */

static void *must(void *p)
{
    if (p == NULL) abort();
    return p;
}

static char *copy_of(const void *p, size_t n)
{
    char *copy = must(malloc(n > 0 ? n : 1));
    if (n > 0) memcpy(copy, p, n);
    return copy;
}

/* The list, with room for one more. */
static void *with_room(void *list, size_t n, size_t *cap, size_t size)
{
    if (list != NULL && n < *cap) return list;
    *cap = *cap == 0 ? 16 : *cap * 2;
    return must(realloc(list, *cap * size));
}

static void bytes_resize(char **p, size_t *n, size_t to)
{
    char *q = must(realloc(*p, to > 0 ? to : 1));
    if (to > *n) memset(q + *n, 0, to - *n);
    *p = q;
    *n = to;
}

static void bytes_put(char **p, size_t *n, uint64_t at, const char *data, size_t k)
{
    if (k == 0) return;
    if (at + k > *n) bytes_resize(p, n, (size_t)at + k);
    memcpy(*p + at, data, k);
}

static struct name *names_find(const struct names *t, const char *path)
{
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->list[i].path, path) == 0) return &t->list[i];
    return NULL;
}

static void names_put(struct names *t, const char *path, size_t inode)
{
    struct name *name = names_find(t, path);
    if (name == NULL) {
        t->list = with_room(t->list, t->n, &t->cap, sizeof *t->list);
        name = &t->list[t->n++];
        ck_assert_uint_lt(strlen(path), sizeof name->path);
        (void)snprintf(name->path, sizeof name->path, "%s", path);
    }
    name->inode = inode;
}

static void names_drop(struct names *t, struct name *name)
{
    *name = t->list[--t->n];
}

/* The length of the path of the directory that holds `path`. */
static size_t parent_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? (size_t)(slash - path) : 0;
}

static bool is_in(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return parent_length(path) == n && strncmp(path, dir, n) == 0;
}

static size_t inode_new(struct power_disk *d, bool is_dir)
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
    op->path = copy_of(path, strlen(path) + 1);
    return op;
}

/* --- the table: files ---------------------------------------------------------------------------------------------- */

static void lock(struct power_disk *d)
{
    (void)pthread_mutex_lock(&d->mu);
}

static void unlock(struct power_disk *d)
{
    (void)pthread_mutex_unlock(&d->mu);
}

static void set_size(struct power_disk *d, size_t inode, uint64_t size)
{
    note(d, OP_SIZE, inode)->at = size;
    bytes_resize(&d->inodes[inode].now, &d->inodes[inode].n_now, (size_t)size);
}

static enum err disk_open(void *ctx, const char *path, int flags, struct vfs_file **out, struct errmsg *em)
{
    struct power_disk *d = ctx;
    enum err e = ERR_OK;
    lock(d);
    const struct name *name = names_find(&d->now, path);
    size_t inode = name != NULL ? name->inode : 0;
    if (name != NULL && d->inodes[inode].is_dir)
        e = errmsg_set(em, ERR_IO, "open %s: a directory", path);
    else if (name != NULL && (flags & VFS_EXCLUSIVE) != 0)
        e = errmsg_set(em, ERR_EXISTS, "open %s: it exists", path);
    else if (name == NULL && (flags & VFS_CREATE) == 0)
        e = errmsg_set(em, ERR_NOT_FOUND, "open %s: no such file", path);
    else if (name == NULL) {
        char dir[PATH_CAP];
        (void)snprintf(dir, sizeof dir, "%.*s", (int)parent_length(path), path);
        if (names_find(&d->now, dir) == NULL) e = errmsg_set(em, ERR_NOT_FOUND, "open %s: no such directory", path);
    }
    if (e == ERR_OK && name == NULL) {
        inode = inode_new(d, false);
        names_put(&d->now, path, inode);
        (void)note_name(d, OP_MAKE, inode, path);
    }
    if (e == ERR_OK && (flags & VFS_TRUNCATE) != 0 && d->inodes[inode].n_now > 0) set_size(d, inode, 0);
    unlock(d);
    if (e != ERR_OK) return e;
    struct vfs_file *f = must(malloc(sizeof *f));
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
    lock(f->d);
    const struct inode *i = &f->d->inodes[f->inode];
    bool is_there = at <= i->n_now && n <= i->n_now - at;
    if (is_there && n > 0) memcpy(p, i->now + at, n);
    unlock(f->d);
    return is_there ? ERR_OK : errmsg_set(em, ERR_CORRUPT, "the file ends before %llu", (unsigned long long)at + n);
}

static enum err disk_pwrite(struct vfs_file *f, const void *p, size_t n, uint64_t at, struct errmsg *em)
{
    struct power_disk *d = f->d;
    (void)em;
    lock(d);
    struct op *op = note(d, OP_WRITE, f->inode);
    op->at = at;
    op->n = n;
    op->data = copy_of(p, n);
    bytes_put(&d->inodes[f->inode].now, &d->inodes[f->inode].n_now, at, p, n);
    unlock(d);
    return ERR_OK;
}

static enum err disk_size(struct vfs_file *f, uint64_t *size, struct errmsg *em)
{
    (void)em;
    lock(f->d);
    *size = f->d->inodes[f->inode].n_now;
    unlock(f->d);
    return ERR_OK;
}

static enum err disk_truncate(struct vfs_file *f, uint64_t size, struct errmsg *em)
{
    (void)em;
    lock(f->d);
    set_size(f->d, f->inode, size);
    unlock(f->d);
    return ERR_OK;
}

static enum err disk_allocate(struct vfs_file *f, uint64_t size, struct errmsg *em)
{
    (void)em;
    lock(f->d);
    if (size > f->d->inodes[f->inode].n_now) set_size(f->d, f->inode, size);
    unlock(f->d);
    return ERR_OK;
}

static enum err disk_sync(struct vfs_file *f, bool data_only, struct errmsg *em)
{
    (void)data_only, (void)em; /* a size that is needed to read the data is among them */
    lock(f->d);
    (void)note(f->d, OP_SYNC, f->inode);
    unlock(f->d);
    return ERR_OK;
}

/* A copy: what is mapped here is never written any more. Its end is the end of a block, for AddressSanitizer. */
static enum err disk_map(struct vfs_file *f, struct bytes *map, struct errmsg *em)
{
    void *p = NULL;
    (void)em;
    lock(f->d);
    const struct inode *i = &f->d->inodes[f->inode];
    size_t n = i->n_now;
    if (n > 0) {
        ck_assert_int_eq(posix_memalign(&p, 4096, n), 0);
        memcpy(p, i->now, n);
    }
    unlock(f->d);
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
    ck_assert(parent_length(from) == parent_length(to)); /* of two directories no sync could say what is durable */
    lock(d);
    struct name *name = names_find(&d->now, from);
    enum err e = name != NULL ? ERR_OK : errmsg_set(em, ERR_NOT_FOUND, "rename %s: no such file", from);
    if (e == ERR_OK && name != NULL) {
        size_t inode = name->inode;
        names_drop(&d->now, name);
        names_put(&d->now, to, inode);
        note_name(d, OP_RENAME, inode, to)->was = copy_of(from, strlen(from) + 1);
    }
    unlock(d);
    return e;
}

static enum err disk_link(void *ctx, const char *from, const char *to, struct errmsg *em)
{
    struct power_disk *d = ctx;
    enum err e = ERR_OK;
    lock(d);
    const struct name *name = names_find(&d->now, from);
    if (name == NULL)
        e = errmsg_set(em, ERR_NOT_FOUND, "link %s: no such file", from);
    else if (names_find(&d->now, to) != NULL)
        e = errmsg_set(em, ERR_EXISTS, "link %s: it exists", to);
    if (e == ERR_OK && name != NULL) {
        size_t inode = name->inode;
        names_put(&d->now, to, inode);
        (void)note_name(d, OP_MAKE, inode, to);
    }
    unlock(d);
    return e;
}

static bool has_children(const struct power_disk *d, const char *dir)
{
    for (size_t i = 0; i < d->now.n; i++)
        if (is_in(d->now.list[i].path, dir)) return true;
    return false;
}

static enum err remove_name(struct power_disk *d, const char *path, bool is_dir, struct errmsg *em)
{
    enum err e = ERR_OK;
    lock(d);
    struct name *name = names_find(&d->now, path);
    if (name == NULL)
        e = errmsg_set(em, ERR_NOT_FOUND, "remove %s: no such file", path);
    else if (d->inodes[name->inode].is_dir != is_dir || (is_dir && has_children(d, path)))
        e = errmsg_set(em, ERR_IO, "remove %s: a directory, or not an empty one", path);
    if (e == ERR_OK && name != NULL) {
        (void)note_name(d, OP_REMOVE, name->inode, path);
        names_drop(&d->now, name);
    }
    unlock(d);
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
    lock(d);
    for (size_t i = 1; i <= strlen(path); i++) {
        if (path[i] != '/' && path[i] != '\0') continue;
        (void)snprintf(part, sizeof part, "%.*s", (int)i, path);
        if (names_find(&d->now, part) != NULL) continue;
        size_t inode = inode_new(d, true);
        names_put(&d->now, part, inode);
        (void)note_name(d, OP_MAKE, inode, part);
        part[parent_length(part)] = '\0';
        (void)note_name(d, OP_SYNC_DIR, 0, part);
    }
    unlock(d);
    return ERR_OK;
}

static enum err disk_sync_dir(void *ctx, const char *path, struct errmsg *em)
{
    struct power_disk *d = ctx;
    lock(d);
    bool is_there = names_find(&d->now, path) != NULL;
    if (is_there) (void)note_name(d, OP_SYNC_DIR, 0, path);
    unlock(d);
    return is_there ? ERR_OK : errmsg_set(em, ERR_NOT_FOUND, "sync directory %s: it is not there", path);
}

/* Over a copy, so that `visit` may remove what it is shown. */
static enum err disk_list(void *ctx, const char *path, vfs_visit visit, void *visit_ctx, struct errmsg *em)
{
    struct power_disk *d = ctx;
    enum err e = ERR_OK;
    lock(d);
    bool is_there = names_find(&d->now, path) != NULL;
    size_t n = d->now.n;
    struct name *copy = must(malloc(n * sizeof *copy + 1));
    bool *is_dir = must(malloc(n + 1));
    if (n > 0) memcpy(copy, d->now.list, n * sizeof *copy);
    for (size_t i = 0; i < n; i++) is_dir[i] = d->inodes[copy[i].inode].is_dir;
    unlock(d);
    if (!is_there) e = errmsg_set(em, ERR_NOT_FOUND, "list %s: no such directory", path);
    for (size_t i = 0; i < n && e == ERR_OK; i++)
        if (is_in(copy[i].path, path)) e = visit(visit_ctx, str_from_c(strrchr(copy[i].path, '/') + 1), is_dir[i]);
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

/* --- fates --------------------------------------------------------------------------------------------------------- */

struct fates {
    enum power_loss loss;
    struct rng rng;
    size_t last; /* POWER_ORDER: the operation that is torn; those before have arrived, those after have not */
};

/* A name, or a size: whole or not at all. */
static bool is_kept(struct fates *f, size_t i)
{
    switch (f->loss) {
    case POWER_KEEP:
        return true;
    case POWER_DROP:
        return false;
    case POWER_ORDER:
        return i < f->last;
    default:
        return rng_below(&f->rng, 2) == 0;
    }
}

static void put_sectors(struct fates *f, struct inode *i, const struct op *op)
{
    for (size_t from = 0; from < op->n;) {
        size_t step = SECTOR - (size_t)((op->at + from) % SECTOR);
        if (step > op->n - from) step = op->n - from;
        if (rng_below(&f->rng, 2) == 0) bytes_put(&i->first, &i->n_first, op->at + from, op->data + from, step);
        from += step;
    }
}

static void put_part(struct fates *f, struct inode *i, const struct op *op)
{
    size_t cut = rng_below(&f->rng, (uint32_t)op->n + 1);
    if (rng_below(&f->rng, 3) != 0)
        bytes_put(&i->first, &i->n_first, op->at, op->data, cut);
    else
        bytes_put(&i->first, &i->n_first, op->at + cut, op->data + cut, op->n - cut);
}

static void meet_fate(struct fates *f, struct inode *inode, const struct op *op, size_t i)
{
    enum power_loss loss = f->loss;
    if (op->kind == OP_SIZE) {
        if (is_kept(f, i)) bytes_resize(&inode->first, &inode->n_first, (size_t)op->at);
        return;
    }
    if (loss == POWER_ORDER && i == f->last) loss = POWER_BYTES;
    if (loss == POWER_MIX) {
        static const enum power_loss ways[] = {POWER_KEEP, POWER_DROP, POWER_SECTORS, POWER_BYTES, POWER_MIX};
        loss = ways[rng_below(&f->rng, sizeof ways / sizeof ways[0])];
    }
    switch (loss) {
    case POWER_SECTORS:
        put_sectors(f, inode, op);
        break;
    case POWER_BYTES:
        put_part(f, inode, op);
        break;
    case POWER_MIX:
        if (op->at + op->n > inode->n_first) bytes_resize(&inode->first, &inode->n_first, (size_t)op->at + op->n);
        break;
    default:
        if (loss == POWER_KEEP || (loss != POWER_DROP && is_kept(f, i)))
            bytes_put(&inode->first, &inode->n_first, op->at, op->data, op->n);
        break;
    }
}

static void apply_whole(struct inode *i, const struct op *op)
{
    if (op->kind == OP_WRITE)
        bytes_put(&i->first, &i->n_first, op->at, op->data, op->n);
    else
        bytes_resize(&i->first, &i->n_first, (size_t)op->at);
}

static void apply_name(struct names *t, const struct op *op)
{
    struct name *name = names_find(t, op->kind == OP_RENAME ? op->was : op->path);
    if (op->kind != OP_MAKE && name != NULL && name->inode == op->inode) names_drop(t, name);
    if (op->kind != OP_REMOVE) names_put(t, op->path, op->inode);
}

static bool is_byte_op(const struct op *op)
{
    return op->kind == OP_WRITE || op->kind == OP_SIZE;
}

static bool is_name_op(const struct op *op)
{
    return op->kind == OP_MAKE || op->kind == OP_RENAME || op->kind == OP_REMOVE;
}

/* For each inode, how many of the first n operations were done before its last sync; 0: none. */
static size_t *last_syncs(const struct power_disk *d, size_t n)
{
    size_t *synced = must(calloc(d->n_inodes + 1, sizeof *synced));
    for (size_t i = 0; i < n; i++)
        if (d->ops[i].kind == OP_SYNC) synced[d->ops[i].inode] = i;
    return synced;
}

static bool is_name_synced(const struct power_disk *d, size_t i, size_t n)
{
    for (size_t k = i + 1; k < n; k++)
        if (d->ops[k].kind == OP_SYNC_DIR && is_in(d->ops[i].path, d->ops[k].path)) return true;
    return false;
}

/* Without a directory nothing is in it. */
static void drop_orphans(struct names *t)
{
    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < t->n; i++) {
            char dir[PATH_CAP];
            (void)snprintf(dir, sizeof dir, "%.*s", (int)parent_length(t->list[i].path), t->list[i].path);
            if (dir[0] == '\0' || names_find(t, dir) != NULL) continue;
            names_drop(t, &t->list[i]);
            again = true;
        }
    }
}

/* --- what tests do with it ----------------------------------------------------------------------------------------- */

struct power_disk *power_disk_new(void)
{
    struct power_disk *d = must(calloc(1, sizeof *d));
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
    lock(d);
    size_t n = d->n_ops;
    unlock(d);
    return n;
}

bool power_disk_is_sync(struct power_disk *d, size_t n)
{
    return n < d->n_ops && (d->ops[n].kind == OP_SYNC || d->ops[n].kind == OP_SYNC_DIR);
}

struct power_disk *power_disk_cut(struct power_disk *d, size_t n, enum power_loss loss, uint64_t seed)
{
    struct power_disk *to = power_disk_new();
    struct fates fates = {.loss = loss, .rng = {seed * 2 + 1}};
    ck_assert_uint_le(n, d->n_ops);
    size_t back = rng_below(&fates.rng, 24);
    fates.last = n > back ? n - back : 0;
    for (size_t i = 0; i < d->n_inodes; i++) {
        (void)inode_new(to, d->inodes[i].is_dir);
        to->inodes[i].first = copy_of(d->inodes[i].first, d->inodes[i].n_first);
        to->inodes[i].n_first = d->inodes[i].n_first;
    }
    for (size_t i = 0; i < d->first.n; i++) names_put(&to->first, d->first.list[i].path, d->first.list[i].inode);

    size_t *synced = last_syncs(d, n);
    for (size_t i = 0; i < n; i++) {
        const struct op *op = &d->ops[i];
        if (is_byte_op(op) && i < synced[op->inode])
            apply_whole(&to->inodes[op->inode], op);
        else if (is_byte_op(op))
            meet_fate(&fates, &to->inodes[op->inode], op, i);
        else if (is_name_op(op) && (is_name_synced(d, i, n) || is_kept(&fates, i)))
            apply_name(&to->first, op);
    }
    free(synced);
    drop_orphans(&to->first);
    for (size_t i = 0; i < to->n_inodes; i++) {
        to->inodes[i].now = copy_of(to->inodes[i].first, to->inodes[i].n_first);
        to->inodes[i].n_now = to->inodes[i].n_first;
    }
    for (size_t i = 0; i < to->first.n; i++) names_put(&to->now, to->first.list[i].path, to->first.list[i].inode);
    return to;
}

static uint64_t sum_bytes(uint64_t h, const char *p, size_t n)
{
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        h = (h ^ word) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
    }
    for (; n > 0; p++, n--) h = (h ^ (unsigned char)*p) * 1099511628211u;
    return h;
}

uint64_t power_disk_sum(struct power_disk *d)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < d->now.n; i++) {
        const struct inode *inode = &d->inodes[d->now.list[i].inode];
        uint64_t h = sum_bytes(1469598103934665603u, d->now.list[i].path, strlen(d->now.list[i].path));
        sum += sum_bytes(h + inode->n_now, inode->now, inode->n_now); /* in any order */
    }
    return sum;
}

void power_disk_print(struct power_disk *d)
{
    for (size_t i = 0; i < d->now.n; i++) {
        const struct name *name = &d->now.list[i];
        (void)fprintf(stderr, "  %10zu %s\n", d->inodes[name->inode].n_now, name->path);
    }
}
