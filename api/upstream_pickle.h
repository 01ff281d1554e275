/* upstream_pickle.h - index_metadata.pickle of upstream's vector segments: which label stands for which record.
 * Internal to api/upstream_*.c and their tests.
 *
 * The file is a Python pickle: of a dict (written by 1.x), or of an object whose state is that dict (written by the
 * Python server before). It is read as data by a small machine that knows the opcodes for these and nothing else;
 * classes are skipped by name, nothing is called.
 */
#ifndef API_UPSTREAM_PICKLE_H
#define API_UPSTREAM_PICKLE_H

#include "core/arena.h"
#include "core/err.h"

struct upstream_label {
    struct str id; /* a view into the pickle */
    uint64_t label;
};

struct upstream_labels {
    struct upstream_label
        *items; /* in the arena, in the order of the file; an id may stand there twice: the last counts */
    uint32_t n;
    bool has_max_seq_id;
    int64_t max_seq_id; /* of the log entries that the index has; newer files leave it to the database */
};

/* ERR_CORRUPT: it ends early, has an opcode that no such file has, or is of another shape; ERR_NOMEM. Memory is
 * bounded by some multiple of the file's size. */
enum err upstream_pickle_read(struct bytes pickle, struct arena *a, struct upstream_labels *labels, struct errmsg *em);

#endif
