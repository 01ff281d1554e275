/* migrate.h - a data directory of upstream's server (1.x) brought over into a new one of ours.
 *
 * Tenants, databases, collections with their ids, settings and metadata, and records with documents, uris, metadata and
 * embeddings, in the order in which upstream answers them. docs/migration.md says what is brought and from where.
 *
 * OWNS     the directory `path` while it runs, marked by STORE_MIGRATION_NAME in it until everything is there: a
 *          migration that was interrupted is refused by store_open, and started anew by the next one. Nothing is ever
 *          written to `from`.
 * THREADS  one, which waits for the log and for files; `tell` is called on it.
 */
#ifndef API_MIGRATE_H
#define API_MIGRATE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/err.h"

enum migrate_line {
    MIGRATE_PROGRESS,
    MIGRATE_RESULT,  /* what was brought */
    MIGRATE_NOTE,    /* something the operator should know; nothing is lost by it */
    MIGRATE_PROBLEM, /* something that could not be brought, or not as it was: with its name */
};

struct migrate_options {
    const char *from, *path;
    uint64_t memory_budget;                                            /* of the store; 0: as much as it takes */
    void (*tell)(void *ctx, enum migrate_line kind, const char *text); /* a line without its end */
    void *ctx;
};

struct migrate_counts {
    uint64_t n_tenants, n_databases, n_collections, n_records; /* that are there now */
    uint64_t n_problems;                                       /* lines of MIGRATE_PROBLEM */
};

/* ERR_OK: the directory is complete, but for what was told as problems. Errors: of the source as a whole
 * (ERR_NOT_FOUND, ERR_CORRUPT, ERR_UNSUPPORTED: before 1.0; ERR_BUSY: it changed while it was read) and of the target
 * (ERR_EXISTS: not empty; ERR_LOCKED, ERR_NO_SPACE, ERR_IO ...); then it stays marked as unfinished, or was not
 * touched. */
enum err migrate(const struct migrate_options *o, struct migrate_counts *counts, struct errmsg *em);

#endif
