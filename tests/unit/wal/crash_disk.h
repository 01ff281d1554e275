/* crash_disk.h - a disk in memory that can fail, lose power and lie, for the tests of the log.
 *
 * Every file has what a reader sees (`now`), what the platter has (`disk`), and the list of writes in between. A sync applies
 * the list. disk_cut() is a power cut: of every unsynced write nothing, everything or some sectors arrive; of unsynced
 * names (made, renamed, removed) any subset. disk_kill() is the death of the process: nothing is lost, nothing is synced.
 * A failing sync can forget its writes as Linux does: the reader goes on seeing them, no later sync writes them.
 *
 * THREADS  the table: any. arm, cut, kill: while nobody uses the table.
 */
#ifndef TESTS_CRASH_DISK_H
#define TESTS_CRASH_DISK_H

#include <pthread.h>
#include <stdio.h>

#include "tests/lib/suite.h"

enum { SECTOR = 512, NAMES_MAX = 4096 };

enum disk_op {
    OP_OPEN = 1,
    OP_WRITE = 2,
    OP_SYNC = 4,
    OP_NAME = 8,
    OP_SYNC_DIR = 16,
    OP_ALLOCATE = 32,
    OP_READ = 64,
    OP_OTHER_WRITE = 128,
    OP_CHANGES = 63 | 128,
    OP_ANY = 127
};

struct disk_write { /* data == NULL: the size became `at` */
    uint64_t at;
    size_t n;
    char *data;
};

struct disk_inode {
    char *now, *disk;
    size_t n_now, n_disk;
    struct disk_write *writes;
    size_t n_writes;
    uint64_t last_turn; /* of the last write, synced or not, among all of the disk */
    size_t last_size;   /* its bytes */
    struct disk_inode *next;
};

struct disk_name {
    char path[160];
    struct disk_inode *inode;
};

struct disk_names {
    struct disk_name list[NAMES_MAX];
    int n;
};

struct disk_name_op { /* from == "": made; to == "": removed */
    char from[160], to[160];
    struct disk_inode *inode;
};

struct disk {
    struct vfs table;
    pthread_mutex_t mu;
    struct rng rng;
    struct disk_inode *inodes;
    struct disk_names now, synced;
    struct disk_name_op *name_ops;
    int n_name_ops;
    bool is_off;       /* every operation fails and changes nothing */
    long cut_after;    /* operations until is_off; -1: never */
    int fault_mask;    /* enum disk_op bits that count for the fault */
    long fault_after;  /* operations until the fault; -1: none */
    size_t fault_size; /* 0, or: only writes of this size count */
    enum err fault;
    bool fault_stays; /* fails from then on, not once */
    bool fault_fired;
    bool sync_forgets; /* a failing sync drops its writes */
    uint64_t n_syncs, n_turns;
};

struct vfs_file {
    struct disk *d;
    struct disk_inode *inode;
};

/* Counts the operation. False: it fails with *e; *has_effect: it is the one at which the power goes. */
static bool disk_allows(struct disk *d, enum disk_op op, enum err *e, bool *has_effect, struct errmsg *em)
{
    *has_effect = false;
    *e = ERR_IO;
    if (em != NULL) (void)snprintf(em->text, sizeof em->text, "no power");
    if (d->is_off) return false;
    if (d->cut_after >= 0 && (op & OP_CHANGES) != 0 && d->cut_after-- == 0) {
        d->is_off = true;
        *has_effect = true;
        return false;
    }
    if (d->fault_after >= 0 && (d->fault_mask & (int)op) != 0) {
        if (d->fault_after == 0) {
            if (em != NULL) (void)snprintf(em->text, sizeof em->text, "injected fault");
            *e = d->fault;
            d->fault_fired = true;
            if (!d->fault_stays) d->fault_after = -1;
            return false;
        }
        d->fault_after--;
    }
    return true;
}

static struct disk_name *names_find(struct disk_names *t, const char *path)
{
    for (int i = 0; i < t->n; i++)
        if (strcmp(t->list[i].path, path) == 0) return &t->list[i];
    return NULL;
}

static void names_put(struct disk_names *t, const char *path, struct disk_inode *inode)
{
    struct disk_name *name = names_find(t, path);
    if (name == NULL) {
        ck_assert_int_lt(t->n, NAMES_MAX);
        name = &t->list[t->n++];
        (void)snprintf(name->path, sizeof name->path, "%s", path);
    }
    name->inode = inode;
}

static void names_drop(struct disk_names *t, const char *path)
{
    struct disk_name *name = names_find(t, path);
    if (name != NULL) *name = t->list[--t->n];
}

static void names_apply(struct disk_names *t, const struct disk_name_op *op)
{
    if (op->from[0] != '\0') {
        struct disk_name *from = names_find(t, op->from);
        if (from == NULL || from->inode != op->inode) return; /* its making was lost */
        names_drop(t, op->from);
    }
    if (op->to[0] != '\0') names_put(t, op->to, op->inode);
}

static void disk_name_op(struct disk *d, const char *from, const char *to, struct disk_inode *inode)
{
    d->name_ops = realloc(d->name_ops, sizeof *d->name_ops * (size_t)(d->n_name_ops + 1));
    ck_assert_ptr_nonnull(d->name_ops);
    struct disk_name_op *op = &d->name_ops[d->n_name_ops++];
    (void)snprintf(op->from, sizeof op->from, "%s", from);
    (void)snprintf(op->to, sizeof op->to, "%s", to);
    op->inode = inode;
}

static void bytes_resize(char **p, size_t *n, size_t to)
{
    char *q = realloc(*p, to > 0 ? to : 1);
    ck_assert_ptr_nonnull(q);
    if (to > *n) memset(q + *n, 0, to - *n);
    *p = q;
    *n = to;
}

static void bytes_put(char **p, size_t *n, uint64_t at, const char *data, size_t k)
{
    if (at + k > *n) bytes_resize(p, n, (size_t)at + k);
    if (k > 0) memcpy(*p + at, data, k);
}

static void inode_note(struct disk_inode *i, uint64_t at, const void *data, size_t n)
{
    i->writes = realloc(i->writes, sizeof *i->writes * (i->n_writes + 1));
    ck_assert_ptr_nonnull(i->writes);
    struct disk_write *w = &i->writes[i->n_writes++];
    *w = (struct disk_write){.at = at, .n = n};
    if (data != NULL) {
        w->data = malloc(n > 0 ? n : 1);
        ck_assert_ptr_nonnull(w->data);
        memcpy(w->data, data, n);
    }
}

static void inode_forget_writes(struct disk_inode *i)
{
    for (size_t k = 0; k < i->n_writes; k++) free(i->writes[k].data);
    free(i->writes);
    i->writes = NULL;
    i->n_writes = 0;
}

static void inode_sync(struct disk_inode *i)
{
    for (size_t k = 0; k < i->n_writes; k++) {
        const struct disk_write *w = &i->writes[k];
        if (w->data != NULL)
            bytes_put(&i->disk, &i->n_disk, w->at, w->data, w->n);
        else
            bytes_resize(&i->disk, &i->n_disk, (size_t)w->at);
    }
    inode_forget_writes(i);
}

/* --- the table ----------------------------------------------------------------------------------------------------- */

static enum err disk_open(void *ctx, const char *path, int flags, struct vfs_file **out, struct errmsg *em)
{
    struct disk *d = ctx;
    enum err e;
    bool has_effect;
    (void)pthread_mutex_lock(&d->mu);
    struct disk_name *name = names_find(&d->now, path);
    struct disk_inode *inode = name != NULL ? name->inode : NULL;
    bool makes = inode == NULL && (flags & VFS_CREATE) != 0;
    bool is_allowed = disk_allows(d, makes ? OP_OPEN : OP_READ, &e, &has_effect, em);
    if (is_allowed && inode == NULL && !makes) e = ERR_NOT_FOUND, is_allowed = false;
    if (is_allowed && inode != NULL && (flags & VFS_EXCLUSIVE) != 0) e = ERR_EXISTS, is_allowed = false;
    if (makes && (is_allowed || has_effect)) {
        inode = calloc(1, sizeof *inode);
        ck_assert_ptr_nonnull(inode);
        inode->next = d->inodes;
        d->inodes = inode;
        names_put(&d->now, path, inode);
        disk_name_op(d, "", path, inode);
    }
    if (is_allowed) {
        struct vfs_file *f = malloc(sizeof *f);
        ck_assert_ptr_nonnull(f);
        *f = (struct vfs_file){d, inode};
        *out = f;
        e = ERR_OK;
    }
    (void)pthread_mutex_unlock(&d->mu);
    return e;
}

static void disk_close(struct vfs_file *f)
{
    free(f);
}

static enum err disk_pread(struct vfs_file *f, void *p, size_t n, uint64_t at, struct errmsg *em)
{
    enum err e;
    bool has_effect;
    (void)pthread_mutex_lock(&f->d->mu);
    if (disk_allows(f->d, OP_READ, &e, &has_effect, em)) {
        e = ERR_CORRUPT;
        if (at <= f->inode->n_now && n <= f->inode->n_now - at) {
            if (n > 0) memcpy(p, f->inode->now + at, n);
            e = ERR_OK;
        }
    }
    (void)pthread_mutex_unlock(&f->d->mu);
    return e;
}

static enum err disk_pwrite(struct vfs_file *f, const void *p, size_t n, uint64_t at, struct errmsg *em)
{
    enum err e;
    bool has_effect;
    (void)pthread_mutex_lock(&f->d->mu);
    bool is_spared = f->d->fault_size != 0 && n != f->d->fault_size;
    bool is_allowed = disk_allows(f->d, is_spared ? OP_OTHER_WRITE : OP_WRITE, &e, &has_effect, em);
    if (is_allowed || has_effect) {
        bytes_put(&f->inode->now, &f->inode->n_now, at, p, n);
        inode_note(f->inode, at, p, n);
        f->inode->last_turn = ++f->d->n_turns;
        f->inode->last_size = n;
    }
    (void)pthread_mutex_unlock(&f->d->mu);
    return is_allowed ? ERR_OK : e;
}

static enum err disk_size(struct vfs_file *f, uint64_t *size, struct errmsg *em)
{
    enum err e;
    bool has_effect;
    (void)pthread_mutex_lock(&f->d->mu);
    if (disk_allows(f->d, OP_READ, &e, &has_effect, em)) {
        *size = f->inode->n_now;
        e = ERR_OK;
    }
    (void)pthread_mutex_unlock(&f->d->mu);
    return e;
}

static enum err set_size(struct vfs_file *f, uint64_t size, bool shrinks, struct errmsg *em)
{
    enum err e;
    bool has_effect;
    (void)pthread_mutex_lock(&f->d->mu);
    bool is_allowed = disk_allows(f->d, OP_ALLOCATE, &e, &has_effect, em);
    if ((is_allowed || has_effect) && (shrinks || size > f->inode->n_now)) {
        bytes_resize(&f->inode->now, &f->inode->n_now, (size_t)size);
        inode_note(f->inode, size, NULL, 0);
    }
    (void)pthread_mutex_unlock(&f->d->mu);
    return is_allowed ? ERR_OK : e;
}

static enum err disk_truncate(struct vfs_file *f, uint64_t size, struct errmsg *em)
{
    return set_size(f, size, true, em);
}

static enum err disk_allocate(struct vfs_file *f, uint64_t size, struct errmsg *em)
{
    return set_size(f, size, false, em);
}

static enum err disk_sync(struct vfs_file *f, bool data_only, struct errmsg *em)
{
    enum err e;
    bool has_effect;
    (void)data_only;
    (void)pthread_mutex_lock(&f->d->mu);
    bool is_allowed = disk_allows(f->d, OP_SYNC, &e, &has_effect, em);
    if (is_allowed) {
        inode_sync(f->inode);
        f->d->n_syncs++;
    } else if (!has_effect && !f->d->is_off && f->d->sync_forgets) {
        inode_forget_writes(f->inode);
    }
    (void)pthread_mutex_unlock(&f->d->mu);
    return is_allowed ? ERR_OK : e;
}

static enum err disk_rename(void *ctx, const char *from, const char *to, struct errmsg *em)
{
    struct disk *d = ctx;
    enum err e;
    bool has_effect;
    (void)pthread_mutex_lock(&d->mu);
    struct disk_name *name = names_find(&d->now, from);
    bool is_allowed = disk_allows(d, OP_NAME, &e, &has_effect, em);
    if (is_allowed && name == NULL) e = ERR_NOT_FOUND, is_allowed = false;
    if (name != NULL && (is_allowed || has_effect)) {
        struct disk_inode *inode = name->inode;
        names_drop(&d->now, from);
        names_put(&d->now, to, inode);
        disk_name_op(d, from, to, inode);
    }
    (void)pthread_mutex_unlock(&d->mu);
    return is_allowed ? ERR_OK : e;
}

static enum err disk_remove(void *ctx, const char *path, struct errmsg *em)
{
    struct disk *d = ctx;
    enum err e;
    bool has_effect;
    (void)pthread_mutex_lock(&d->mu);
    struct disk_name *name = names_find(&d->now, path);
    bool is_allowed = disk_allows(d, OP_NAME, &e, &has_effect, em);
    if (is_allowed && name == NULL) e = ERR_NOT_FOUND, is_allowed = false;
    if (name != NULL && (is_allowed || has_effect)) {
        disk_name_op(d, path, "", name->inode);
        names_drop(&d->now, path);
    }
    (void)pthread_mutex_unlock(&d->mu);
    return is_allowed ? ERR_OK : e;
}

static enum err disk_make_dir(void *ctx, const char *path, struct errmsg *em)
{
    (void)ctx, (void)path, (void)em;
    return ERR_OK;
}

static enum err disk_sync_dir(void *ctx, const char *path, struct errmsg *em)
{
    struct disk *d = ctx;
    enum err e;
    bool has_effect;
    (void)path;
    (void)pthread_mutex_lock(&d->mu);
    bool is_allowed = disk_allows(d, OP_SYNC_DIR, &e, &has_effect, em);
    if (is_allowed) {
        for (int i = 0; i < d->n_name_ops; i++) names_apply(&d->synced, &d->name_ops[i]);
        d->n_name_ops = 0;
    }
    (void)pthread_mutex_unlock(&d->mu);
    return is_allowed ? ERR_OK : e;
}

static enum err disk_list(void *ctx, const char *path, vfs_visit visit, void *visit_ctx, struct errmsg *em)
{
    struct disk *d = ctx;
    enum err e;
    bool has_effect;
    size_t n = strlen(path);
    (void)pthread_mutex_lock(&d->mu);
    bool is_allowed = disk_allows(d, OP_READ, &e, &has_effect, em);
    int count = d->now.n;
    (void)pthread_mutex_unlock(&d->mu);
    if (!is_allowed) return e;
    for (int i = 0; i < count; i++) {
        const char *full = d->now.list[i].path;
        if (strncmp(full, path, n) != 0 || full[n] != '/') continue;
        if ((e = visit(visit_ctx, str_from_c(full + n + 1), false)) != ERR_OK) return e;
    }
    return ERR_OK;
}

/* --- what tests do with it ----------------------------------------------------------------------------------------- */

static struct disk *disk_new(uint64_t seed)
{
    struct disk *d = calloc(1, sizeof *d);
    ck_assert_ptr_nonnull(d);
    (void)pthread_mutex_init(&d->mu, NULL);
    d->rng.s = seed;
    d->cut_after = d->fault_after = -1;
    d->table = (struct vfs){.ctx = d,
                            .open = disk_open,
                            .close = disk_close,
                            .pread = disk_pread,
                            .pwrite = disk_pwrite,
                            .size = disk_size,
                            .truncate = disk_truncate,
                            .allocate = disk_allocate,
                            .sync = disk_sync,
                            .rename = disk_rename,
                            .remove = disk_remove,
                            .make_dir = disk_make_dir,
                            .sync_dir = disk_sync_dir,
                            .list = disk_list};
    return d;
}

static void disk_free(struct disk *d)
{
    for (struct disk_inode *i = d->inodes, *next; i != NULL; i = next) {
        next = i->next;
        inode_forget_writes(i);
        free(i->now);
        free(i->disk);
        free(i);
    }
    free(d->name_ops);
    (void)pthread_mutex_destroy(&d->mu);
    free(d);
}

/* Arms the fault while the log is running: the operation after `after` more of the kinds in `mask` fails, and, if it
 * stays, all after it. `size`: of writes, only those of this size count; 0: all. */
static inline void disk_arm(struct disk *d, int mask, enum err fault, long after, bool stays, size_t size)
{
    (void)pthread_mutex_lock(&d->mu);
    d->fault_mask = mask;
    d->fault = fault;
    d->fault_after = after;
    d->fault_stays = stays;
    d->fault_size = size;
    d->sync_forgets = (mask & OP_SYNC) != 0 && !stays;
    (void)pthread_mutex_unlock(&d->mu);
}

/* The process is gone; what it wrote is still in the page cache. */
static void disk_kill(struct disk *d)
{
    d->is_off = false;
    d->cut_after = d->fault_after = -1;
    d->fault_size = 0;
    d->fault_stays = d->fault_fired = false;
}

/* The power is gone. `loss`: 0 every unsynced write arrives, 1 none, 2 each may arrive, in part too. */
static void disk_cut(struct disk *d, uint32_t loss)
{
    disk_kill(d);
    for (int i = 0; i < d->n_name_ops; i++)
        if (loss == 0 || (loss == 2 && rng_below(&d->rng, 2) == 0)) names_apply(&d->synced, &d->name_ops[i]);
    d->n_name_ops = 0;
    d->now = d->synced;
    for (struct disk_inode *i = d->inodes; i != NULL; i = i->next) {
        for (size_t k = 0; k < i->n_writes; k++) {
            const struct disk_write *w = &i->writes[k];
            uint32_t fate = loss == 2 ? rng_below(&d->rng, 3) : loss;
            if (fate == 1) continue;
            if (w->data == NULL) {
                bytes_resize(&i->disk, &i->n_disk, (size_t)w->at);
                continue;
            }
            for (size_t from = 0; from < w->n;) { /* sector by sector of the file */
                size_t step = SECTOR - (size_t)((w->at + from) % SECTOR);
                if (step > w->n - from) step = w->n - from;
                if (fate == 0 || rng_below(&d->rng, 2) == 0)
                    bytes_put(&i->disk, &i->n_disk, w->at + from, w->data + from, step);
                from += step;
            }
        }
        inode_forget_writes(i);
        bytes_resize(&i->now, &i->n_now, i->n_disk);
        if (i->n_disk > 0) memcpy(i->now, i->disk, i->n_disk);
    }
}

#endif
