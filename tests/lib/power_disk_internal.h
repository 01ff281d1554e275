/* power_disk_internal.h - what power_disk.c (the table) and power_disk_cut.c (rebuilding) share.
 *
 * A disk is what it began with (inodes with their first bytes, names), the list of operations since, and what readers see
 * now.
 */
#ifndef TESTS_LIB_POWER_DISK_INTERNAL_H
#define TESTS_LIB_POWER_DISK_INTERNAL_H

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/power_disk.h"

enum { PATH_CAP = 256 };

enum op_kind { OP_WRITE, OP_SIZE, OP_SYNC, OP_MAKE, OP_RENAME, OP_EXCHANGE, OP_REMOVE, OP_SYNC_DIR };

struct inode {
    bool is_dir;
    char *first, *now; /* bytes: as the disk began, as readers see them */
    size_t n_first, n_now;
};

struct op {
    enum op_kind kind;
    size_t inode; /* index; OP_SYNC_DIR has none */
    uint64_t at;  /* OP_WRITE: offset. OP_SIZE: the size */
    size_t n;     /* OP_WRITE: bytes */
    char *data;   /* OP_WRITE */
    char *path,
        *was; /* names: the one that is made or removed, or whose directory is synced; OP_RENAME: the former one, OP_EXCHANGE: the other one */
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
    const char *lie; /* NULL: honest */
    bool has_no_links;
};

static inline void power_lock(struct power_disk *d)
{
    (void)pthread_mutex_lock(&d->mu);
}

static inline void power_unlock(struct power_disk *d)
{
    (void)pthread_mutex_unlock(&d->mu);
}

void *power_must(void *p); /* p; ends the program when it is NULL */
char *power_copy(const void *p, size_t n);
void power_bytes_resize(char **p, size_t *n, size_t to); /* new ones are zeros */
void power_bytes_put(char **p, size_t *n, uint64_t at, const char *data, size_t k);

struct name *power_names_find(const struct names *t, const char *path);
void power_names_put(struct names *t, const char *path, size_t inode);
void power_names_drop(struct names *t, struct name *name);
void power_names_move(struct names *t, const char *from, const char *to); /* with what is below, over `to` */
void power_names_exchange(struct names *t, const char *a, const char *b); /* likewise; both are there */
size_t power_parent_length(const char *path);        /* of the path of the directory that holds `path` */
bool power_is_in(const char *path, const char *dir); /* directly */

size_t power_inode_new(struct power_disk *d, bool is_dir); /* its index */

#endif
