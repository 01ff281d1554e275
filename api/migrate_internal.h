/* migrate_internal.h - what migrate*.c share. See migrate.h. */
#ifndef API_MIGRATE_INTERNAL_H
#define API_MIGRATE_INTERNAL_H

#include "api/migrate.h"
#include "api/store.h"
#include "api/upstream_db.h"
#include "core/vfs.h"

enum { MIGRATE_PATH_MAX = 4096 };

struct source_state { /* what changes when somebody writes to the source */
    uint32_t change_counter;
    uint64_t size, log_size;
};

struct mover {
    const struct migrate_options *o;
    const struct vfs *vfs;
    struct upstream_db db;
    struct store *store;
    struct arena arena; /* the list of collections and their log */
    struct migrate_counts counts;
    struct source_state source;
    uint64_t told_ns;      /* of the last line of progress */
    bool has_store_failed; /* the error is the target's: there is no going on */
};

void migrate_tell(struct mover *m, enum migrate_line kind, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* --- migrate_files.c --------------------------------------------------------------------------------------------- */

/* Takes a directory that is empty, or left over from an interrupted migration (which is removed), and marks it. Does
 * not touch any other. ERR_EXISTS, ERR_LOCKED, errors of files. */
enum err migrate_take_target(struct mover *m, struct errmsg *em);
/* Removes the mark: the directory is complete. */
enum err migrate_release_target(struct mover *m, struct errmsg *em);

/* ERR_NOT_FOUND: there is no database of upstream's. */
enum err migrate_look_at_source(const struct mover *m, struct source_state *s, struct errmsg *em);
/* Opens the source's database; from a copy in the target when a journal lies beside it. */
enum err migrate_open_source(struct mover *m, struct errmsg *em);
/* Closes it and removes the copy. ERR_BUSY: somebody wrote to the source since it was opened. */
enum err migrate_close_source(struct mover *m, struct errmsg *em);

/* --- migrate_records.c ------------------------------------------------------------------------------------------- */

/* Brings the records of a collection that was just made; *col is replaced by its newest state. Problems are told. An
 * error with m->has_store_failed: the target's; without: what the source has is damaged, and a part may have been
 * brought. */
enum err migrate_records(struct mover *m, const struct upstream_collection *c, const struct catalog_collection **col,
                         struct errmsg *em);

#endif
