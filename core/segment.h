/* segment.h - what the planner and the executor see of the rows of a collection.
 *
 * A collection's rows lie in segments: immutable fragments on disk (index/) and tails in memory (core/tail.c). Each
 * row has a dense 32-bit number inside its segment. A row is never changed: an update appends a new row and marks the
 * old one dead from that log position on.
 *
 * WHO SEES WHAT  A reader works at one log position `lsn`. It sees row r iff born(r) <= lsn and not dead(r) at lsn.
 * THREADS  all operations here: any reader inside an epoch. deaths_mark: the collection's writer only.
 */
#ifndef CORE_SEGMENT_H
#define CORE_SEGMENT_H

#include <stdatomic.h>

#include "core/bitset.h"
#include "core/err.h"

enum { /* no row numbers */
       ROW_NONE = UINT32_MAX,
       ROW_UNKNOWN =
           UINT32_MAX - 1, /* of `find`: damage keeps the segment from telling; segment_unreadable() says what */
};

enum row_part { /* bits: which parts of a row are wanted */
                ROW_ID = 1,
                ROW_DOCUMENT = 2,
                ROW_URI = 4,
                ROW_META = 8,
                ROW_VECTOR = 16,
                ROW_ALL = 31,
                ROW_UNCHECKED = 32, /* with ROW_META: as they lie; whoever walks them minds where meta_next() ends */
};

/* Views into the segment, or into the arena passed to `row` (decompressed documents). */
struct row {
    struct str id;
    struct str document; /* .p == NULL: none */
    struct str uri;      /* .p == NULL: none */
    struct bytes meta;   /* packed, see value.h; n == 0: none */
    const float *vector; /* dim floats, as the client sent them */
};

/* --- when rows died ------------------------------------------------------------------------------------------- */

/* For every row the log position from which it is dead, 0 while it lives. Chunks of positions are made on the first
 * death in them; rows that were dead when the segment was opened are in a bitmap.
 * INVARIANT a position, once set, never changes. Stores are relaxed: a reader that misses one works at an earlier
 * position by definition, because the writer publishes its position (release) only afterwards.
 * COUNTED   each chunk says how many of its rows are dead, and which, whatever the position; `newest`, stored before, is at
 * least the position of every death among these. A reader that finds it at or below its own position may take the count and the
 * bits as they are, which is nearly always so; else it looks at the positions one by one. */
enum { DEATHS_CHUNK_ROWS = 1024, DEATHS_CHUNK_WORDS = DEATHS_CHUNK_ROWS / 64 };

struct deaths_chunk {
    _Atomic uint64_t newest;                   /* position of the last death in it */
    _Atomic uint32_t n_dead;                   /* base included, as in `dead` */
    _Atomic uint64_t dead[DEATHS_CHUNK_WORDS]; /* one bit a row */
    _Atomic uint64_t at[DEATHS_CHUNK_ROWS];    /* base not included */
};

struct deaths {
    uint32_t n_rows;
    const uint64_t *base;                   /* dead since before the segment was opened; NULL: none. Owned. */
    const uint32_t *n_base;                 /* how many of them in each chunk; NULL with base. Owned. */
    _Atomic(struct deaths_chunk *) *chunks; /* one a DEATHS_CHUNK_ROWS rows */
    _Atomic uint32_t n_dead;                /* base included */
};

enum err deaths_init(struct deaths *d, uint32_t n_rows);
/* Copies `base`: the bitmap of rows that are dead already. Before the segment is shared. */
enum err deaths_set_base(struct deaths *d, const uint64_t *words, uint32_t n_bits);
void deaths_deinit(struct deaths *d);

/* Marks row dead from lsn on. ERR_NOMEM leaves it alive. Marking twice keeps the first. */
enum err deaths_mark(struct deaths *d, uint32_t row, uint64_t lsn);

/* How many rows of chunk i (rows from i * DEATHS_CHUNK_ROWS on) are dead at lsn. */
uint32_t deaths_count(const struct deaths *d, uint32_t i, uint64_t lsn);
uint32_t deaths_total(const struct deaths *d, uint64_t lsn); /* of all chunks */
/* Which: a bit a row, bit 0 is the chunk's first. */
void deaths_bits(const struct deaths *d, uint32_t i, uint64_t lsn, uint64_t out[DEATHS_CHUNK_WORDS]);
/* The first row at or after `row` that is not dead at lsn; n_rows if there is none. */
uint32_t deaths_next_alive(const struct deaths *d, uint32_t row, uint64_t lsn);

/* The position from which the row is dead: 0 = alive, 1 = since before the segment was opened. */
static inline uint64_t deaths_at(const struct deaths *d, uint32_t row)
{
    if (d->base != NULL && (d->base[row / 64] >> (row % 64) & 1) != 0) return 1;
    struct deaths_chunk *chunk = atomic_load_explicit(&d->chunks[row / DEATHS_CHUNK_ROWS], memory_order_acquire);
    return chunk == NULL ? 0 : atomic_load_explicit(&chunk->at[row % DEATHS_CHUNK_ROWS], memory_order_relaxed);
}

static inline bool deaths_is_dead(const struct deaths *d, uint32_t row, uint64_t lsn)
{
    if (atomic_load_explicit(&d->n_dead, memory_order_relaxed) == 0) return false;
    uint64_t at = deaths_at(d, row);
    return at != 0 && at <= lsn;
}

/* --- the interface -------------------------------------------------------------------------------------------- */

enum space { SPACE_L2 = 0, SPACE_COSINE = 1, SPACE_IP = 2 }; /* numbers are part of the file format */

struct filter;
struct topk;

/* How hard to look for the nearest rows where not all of them are measured: what clients know as `ef_search`, within these
 * limits. More finds more and takes longer; what is answered has its exact distance whatever the effort. */
enum { EFFORT_MIN = 10, EFFORT_DEFAULT = 100, EFFORT_MAX = 10000 };

/* One vector to search for, prepared once a request (distance.h). */
struct query_vector {
    const float *v; /* dim floats */
    uint32_t dim;
    enum space space;
    float norm2;         /* squared length of v */
    uint32_t effort;     /* EFFORT_MIN to EFFORT_MAX */
    bool is_exact;       /* few candidates in all: no estimate may leave out a row */
    void *rotated;       /* owned by index/: the rotated vector and its tables, made on first use; NULL at first */
    struct arena *arena; /* of the request: where `rotated` lives */
};

/* One sparse vector to search for among those under `key` of the metadata. */
struct sparse_query {
    struct str key;
    const uint32_t *indices; /* n, ascending strictly */
    const float *weights;    /* n */
    uint32_t n;
};

struct segment;

/* What a segment left open of a filter: texts that only reading the documents decides. A reader that wants ten rows has
 * them decided as it goes, and stops. */
struct filter_rest {
    const struct filter **filters; /* an open row must match all of them */
    uint32_t n;                    /* 0: nothing is open */
    struct bitset open;
    bool decides_all;     /* set by the caller: leave nothing open */
    uint64_t n_documents; /* read so far */
};

struct segment_ops {
    void (*free)(struct segment *s);

    /* The row with this id that reader `lsn` sees, ROW_NONE, or ROW_UNKNOWN. */
    uint32_t (*find)(const struct segment *s, struct str id, uint64_t lsn);

    /* Fills the wanted parts; others are left alone. ERR_CORRUPT: among others when such a part of any of its rows is
     * damaged, since nothing tells which one. ERR_NOMEM. */
    enum err (*row)(const struct segment *s, uint32_t row, unsigned parts, struct arena *a, struct row *out,
                    struct errmsg *em);

    /* Bits of the first n_rows rows that match the filter (dead rows may be included), words in the arena. With `rest`
     * the segment may leave rows in `out` that it has not looked at, and counts documents; NULL: it decides all. */
    enum err (*filter)(const struct segment *s, uint32_t n_rows, const struct filter *f, struct arena *a,
                       struct bitset *out, struct filter_rest *rest, struct errmsg *em);

    /* Decides the open rows from `from` to below `to`: they leave rest->open, and `rows` too if they do not match. Only
     * called with what `filter` of this segment gave. */
    enum err (*settle)(const struct segment *s, struct filter_rest *rest, struct bitset *rows, uint32_t from,
                       uint32_t to, struct errmsg *em);

    /* Offers to `top` the nearest visible rows among the first n_rows, those in `mask` only when it is not NULL.
     * `n_mask` is the number of bits in the mask. Distances offered are exact. */
    enum err (*nearest)(const struct segment *s, uint32_t n_rows, struct query_vector *q, const struct bitset *mask,
                        uint32_t n_mask, uint64_t lsn, struct topk *top, struct arena *a, struct errmsg *em);

    /* The two below are NULL where a segment has no inverted lists: its metadata are passed over instead
     * (rank_sparse.c, which is what they must agree with, bit by bit). All rows of the segment take part.
     * Offers to `top` the nearest visible rows (in `mask`, if it is not NULL) whose vector shares an index with the
     * query: their distance is 1 - dot, float32, the products added in the order of the indices. ERR_CORRUPT, ERR_NOMEM.
     * ERR_UNSUPPORTED, of both: the lists are damaged; nothing was offered or added, as if there were none. */
    enum err (*sparse_nearest)(const struct segment *s, const struct sparse_query *q, const struct bitset *mask,
                               uint64_t lsn, struct topk *top, struct arena *a, struct errmsg *em);
    /* Adds to counts[i] the number of visible rows whose vector has indices[i]. ERR_CORRUPT. */
    enum err (*sparse_count)(const struct segment *s, const struct sparse_query *q, uint64_t lsn, uint32_t *counts,
                             struct errmsg *em);

    /* Parts of rows (bits of enum row_part) that are known to be damaged, after a look at what is small. NULL: none is. */
    unsigned (*lost)(const struct segment *s);

    uint64_t (*ordinal)(const struct segment *s, uint32_t row); /* of the record's creation: the order of `get` */
    uint64_t (*born)(const struct segment *s, uint32_t row);    /* log position of the write that made this row */
};

/* First member of every segment. */
struct segment {
    const struct segment_ops *ops;
    struct deaths deaths;    /* of a fragment; a tail keeps deaths in its rows */
    bool is_tail;            /* see tail.h */
    _Atomic uint32_t n_refs; /* versions that hold it: the collection's business; 0 at first */
    /* Damage: it is not certain which rows there are and when they were written. Whoever reads or writes asks first, and
     * has no answer to give. Never cleared. */
    _Atomic bool is_unreadable;
};

static inline bool segment_is_unreadable(const struct segment *s)
{
    return atomic_load_explicit(&s->is_unreadable, memory_order_acquire);
}

/* ERR_CORRUPT, with what is damaged, of a segment that is unreadable. */
enum err segment_unreadable(const struct segment *s, struct errmsg *em);

#endif
