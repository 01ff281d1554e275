/* inspect.h - a data directory looked at from outside, without opening it as a store: for `chroma verify` and `chroma
 * info`.
 *
 * The directory is locked meanwhile, so no server changes it, and nothing in it is changed (but for LOCK, which is made
 * if it is not there). The catalog is read from a copy in memory: reading an SQLite file with a -wal file changes both.
 * THREADS  one.
 */
#ifndef API_INSPECT_H
#define API_INSPECT_H

#include "catalog/catalog.h"
#include "core/buf.h"
#include "wal/check.h"

enum { INSPECT_PATH_MAX = 4096 };

#define INSPECT_COPY "catalog.sqlite3"

struct inspection {
    const struct vfs *vfs;
    char path[INSPECT_PATH_MAX / 2];
    struct vfs *memory; /* holds the copy of the catalog, under INSPECT_COPY */
    struct vfs_file *lock;
    int schema;              /* of the catalog; 0: not known */
    struct catalog *catalog; /* opened from the copy by inspect_read_catalog */
    struct arena arena;
    const struct catalog_collection **collections; /* references; by ascending number */
    size_t n_collections;
    struct catalog_version *versions; /* by ascending number of the collection */
    size_t n_versions;
};

/* Locks the directory and copies the catalog. ERR_NOT_FOUND: there is no data directory there (em says what there is).
 * ERR_LOCKED: a server has it. ERR_IO, ERR_NO_SPACE, ERR_NOMEM. inspect_close in any case. */
enum err inspect_open(struct inspection *in, const char *path, struct errmsg *em);
/* Opens the copy, brought up to this program's schema, and lists what is in it. ERR_CORRUPT, ERR_NEWER, ... */
enum err inspect_read_catalog(struct inspection *in, struct errmsg *em);
void inspect_close(struct inspection *in); /* all-zero is fine */

/* The version of a collection; ->version 0 when nothing was published. */
struct catalog_version inspect_version(const struct inspection *in, uint64_t number);

/* --- chroma verify ------------------------------------------------------------------------------------------------ */

struct verify_finding {
    bool is_problem;     /* else a note: nothing is wrong with it */
    const char *file;    /* within the directory */
    const char *section; /* of the file; NULL */
    uint64_t from, to;   /* its bytes; both 0: not known, or the whole file */
    const char *what;    /* is wrong */
    const char *so;      /* what follows: what is lost, what can be made again */
};
typedef void (*verify_on_finding)(void *ctx, const struct verify_finding *f);

struct verify_summary {
    uint64_t n_collections, n_fragments, n_rows, n_dead, fragment_bytes; /* n_rows: alive */
    struct wal_summary log;
    int schema; /* of the catalog; 0: not known */
    uint64_t n_problems, n_notes;
};

/* Checks everything in the directory against its checksums and against each other. ERR_OK also when there are problems.
 * Errors of inspect_open; ERR_IO, ERR_NOMEM: not everything was looked at. */
enum err verify_directory(const char *path, verify_on_finding on_finding, void *ctx, struct verify_summary *s,
                          struct errmsg *em);

/* --- chroma info -------------------------------------------------------------------------------------------------- */

/* Appends what is in the directory, as lines or as one JSON object: versions of the formats, tenants, databases,
 * collections with their sizes, the log. Damage is said where it is met. Errors of inspect_open and
 * inspect_read_catalog. */
enum err info_write(const char *path, bool is_json, struct buf *out, struct errmsg *em);

#endif
