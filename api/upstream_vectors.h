/* upstream_vectors.h - the vector of each record of one collection, from upstream's index files and its log.
 * Internal to api/upstream_*.c, api/migrate*.c and their tests.
 *
 * The log has vectors as they were sent, but only those of writes that are not purged yet; the index has every record
 * up to its position, under `cosine` divided by its length. So the log is preferred where it says which vector a
 * record has now.
 *
 * THREADS  one at a time.
 */
#ifndef API_UPSTREAM_VECTORS_H
#define API_UPSTREAM_VECTORS_H

#include "api/upstream_db.h"
#include "core/segment.h"
#include "core/vfs.h"

struct upstream_vectors;

struct upstream_vectors_in {
    struct upstream_db *db;
    const struct vfs *vfs;
    const char *dir; /* upstream's data directory */
    const struct upstream_collection *collection;
    enum space space;
};

/* What each record has after the log entries up to collection->metadata_seq. An index that cannot be read is no
 * failure: *index_fault says what is wrong with it (in the arena; .p == NULL: nothing), and the log is all there is.
 * ERR_CORRUPT: the log is damaged. ERR_IO, ERR_NOMEM. */
enum err upstream_vectors_open(struct upstream_vectors **v, const struct upstream_vectors_in *in, struct arena *a,
                               struct str *index_fault, struct errmsg *em);
void upstream_vectors_close(struct upstream_vectors *v); /* NULL is fine */

enum upstream_origin {
    UPSTREAM_NOWHERE,  /* there is none: nothing was appended */
    UPSTREAM_AS_SENT,  /* from the log, or from an index that keeps vectors as they were sent */
    UPSTREAM_UNIT,     /* from an index under cosine: its length is lost */
    UPSTREAM_DISPUTED, /* from the log; the index has another one */
};

/* Appends the record's vector to `floats`; *dim: its length. ERR_CORRUPT: the log's is damaged; ERR_NOMEM. */
enum err upstream_vectors_get(struct upstream_vectors *v, struct str id, struct buf *floats, uint32_t *dim,
                              enum upstream_origin *origin, struct errmsg *em);

#endif
