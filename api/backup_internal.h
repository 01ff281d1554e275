/* backup_internal.h - what backup.c and restore.c share: the file BACKUP (backup_list.c). */
#ifndef API_BACKUP_INTERNAL_H
#define API_BACKUP_INTERNAL_H

#include "api/backup.h"

enum { BACKUP_VERSION = 1, BACKUP_PATH_MAX = 4096, BACKUP_TIME_MAX = 32 };

struct backup_file {
    struct str name; /* below the directory; NUL-terminated */
    uint64_t size;
    uint32_t crc;
};

/* All-zero is empty. */
struct backup_list {
    struct arena arena;
    struct backup_file *files;
    size_t n, cap;
    uint64_t position;
    uint64_t n_collections;
    char time[BACKUP_TIME_MAX]; /* UTC, for people */
};

enum err backup_list_add(struct backup_list *l, struct str name, struct errmsg *em);
void backup_list_free(struct backup_list *l);
void backup_list_sum(const struct backup_list *l, struct backup_summary *sum);

/* The file BACKUP of the directory, by a rename, synced. */
enum err backup_list_write(const struct vfs *v, const char *dir, const struct backup_list *l, struct errmsg *em);
/* ERR_NOT_FOUND: there is none. ERR_CORRUPT, ERR_NEWER. Names are of the kinds that a backup has, so none leads elsewhere. */
enum err backup_list_read(const struct vfs *v, const char *dir, struct backup_list *l, struct errmsg *em);

#endif
