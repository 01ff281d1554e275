/* codes_internal.h - what the files of the vector codes share: the section's header, the scan kernels, the tables of a
 * query. Included by index/codes_*.c and their tests only.
 */
#ifndef INDEX_CODES_INTERNAL_H
#define INDEX_CODES_INTERNAL_H

#include "index/codes.h"

enum {
    CODES_MAGIC = 0x31444343, /* "CCD1" */
    CODES_VERSION = 4, /* without lists, with looks; 3: lists, and each row in two of them; 2: in one; 1: neither */
    CODES_VERSION_LISTS = 3,
    CODES_COPIES = 2, /* of a row, where there are lists */
    CODES_BLOCK_ROWS = 32,
    CODES_GROUP_BYTES = 16, /* of one group of 4 dimensions in a block */
    CODES_BLOCK_FACTORS = 3 * CODES_BLOCK_ROWS,
    CODES_ENTRY_MAX = 63,      /* largest entry of a query's table: four of them add up in a byte */
    CODES_CHUNK_GROUPS = 1024, /* groups whose entries add up in 16 bits */
    CODES_BLOCK_LOOKS = 3 * CODES_BLOCK_ROWS,
    CODES_LOOKS_MAX_DIM = 2048, /* padded: sums of whole rows have to fit 16 bits with a sign */
    CODES_LOOKS_MAX = 5,        /* after 2^i first_dims dimensions, and after all */
    CODES_STRETCH_BLOCKS = 2048 /* whose sums a search with looks keeps at a time: 128 KiB */
};
_Static_assert(CODES_ENTRY_MAX *CODES_LOOKS_MAX_DIM / 4 <= INT16_MAX, "sums of a row fit 16 bits with a sign");
_Static_assert(CODES_ENTRY_MAX *CODES_CHUNK_GROUPS <= UINT16_MAX, "sums of a chunk fit 16 bits");

struct codes_header {
    uint32_t magic;
    uint32_t version;
    uint32_t n_rows; /* 0: an empty section, which is this header alone */
    uint32_t dim;
    uint32_t padded_dim; /* 0 in an empty section */
    uint32_t space;
    uint64_t seed;
    uint64_t size_bytes; /* of the whole section */
    uint32_t n_lists;    /* from here on: zero in version 1 */
    uint32_t first_dims;
    float stop, lean, lift;
    float stop_few; /* zero in sections of before 2026-11-25 */
};
_Static_assert(sizeof(struct codes_header) == 64, "format");
_Static_assert(offsetof(struct codes_header, seed) == 24 && offsetof(struct codes_header, size_bytes) == 32, "format");
_Static_assert(offsetof(struct codes_header, n_lists) == 40 && offsetof(struct codes_header, first_dims) == 44,
               "format");
_Static_assert(offsetof(struct codes_header, stop) == 48 && offsetof(struct codes_header, lean) == 52, "format");
_Static_assert(offsetof(struct codes_header, lift) == 56 && offsetof(struct codes_header, stop_few) == 60, "format");

static inline uint32_t codes_n_blocks(uint32_t n_places)
{
    return n_places / CODES_BLOCK_ROWS + (n_places % CODES_BLOCK_ROWS != 0);
}

/* Where the parts of a section with rows lie, and its size. */
struct codes_layout {
    size_t centroid, starts, centroids, list_blocks, list_factors, order, blocks, rests, factors;
    size_t look_units, unlimited, looks, size;
};

/* n_lists 0: without lists, copies is 1. has_looks: only without lists. False when it does not fit. */
bool codes_layout(uint32_t n_rows, uint32_t copies, uint32_t n_lists, uint32_t padded_dim, uint32_t first_dims,
                  bool has_looks, struct codes_layout *l);

/* Squared lengths that the arithmetic of estimates can hold, with room for products. Zero is fine as well. */
#define CODES_SQUARE_MIN 1e-25f
#define CODES_SQUARE_MAX 1e30f

/* One query against one section, or one list of it. For a row with factors add, scale, err, delta, the sum of its table
 * entries, and the part `sum_1` of it that the first groups give:
 *   estimate = base + add + scale * (step * sum - shift)            lower = estimate - margin * err
 *   lower_1 = base + add + delta + scale * (step_1 * sum_1 - shift_1) - margin_1 * err
 * lower_1 is a bound as well, a wider one at part of the work: a block where it is above the limit everywhere is left.
 * Only sections with lists have it; there the low half of the word of `err` is delta, a bfloat16. (As the end of err's
 * mantissa it changes err by less than 1 in 128.) */
struct codes_scan {
    const uint8_t *table; /* n_groups x 16 entries, each at most CODES_ENTRY_MAX */
    uint32_t n_groups;    /* a multiple of 16 */
    uint32_t n_first;     /* a multiple of 16; n_groups: there is no first look */
    float step, shift, base, margin;
    float step_1, shift_1, margin_1;
};

/* A look: after n_groups groups a row whose sum is below (u U >> 16) + (v V >> 16) - (e E >> 16) + k is ruled out, where U, V, E
 * are its looks in the section. Additions saturate, shifts round down. u and e are not negative. */
struct codes_look {
    uint32_t n_groups;
    int16_t u, v, e, k;
};

/* Blocks of a section with looks that are scanned together, and what is known of each. */
struct codes_stretch {
    const uint8_t *blocks, *rests;
    const int16_t *looks;
    const uint32_t *unlimited;
    const float *factors;
    uint16_t *sums;   /* per block: of the groups so far, 32 rows */
    uint32_t *wanted; /* per block: rows that are not ruled out */
};

/* Some groups of every block: block i has n_bytes of them at codes + i * stride. */
struct codes_part {
    const uint8_t *codes;
    size_t stride;
    const uint8_t *table;
    size_t n_bytes;
};

/* Groups from .. to - 1, not of the first; multiples of 16. */
static inline struct codes_part codes_part(const struct codes_stretch *t, const struct codes_scan *s, uint32_t from,
                                           uint32_t to)
{
    return (struct codes_part){t->rests + (size_t)(from - s->n_first) * CODES_GROUP_BYTES,
                               (size_t)(s->n_groups - s->n_first) * CODES_GROUP_BYTES,
                               s->table + (size_t)from * CODES_GROUP_BYTES, (size_t)(to - from) * CODES_GROUP_BYTES};
}

/* Takes what a look has not seen from what is wanted of a block, and puts the block behind n_left others if any row is left. The
 * new n_left. Without a branch on that. */
static inline uint32_t codes_leave(const struct codes_stretch *t, uint32_t block, uint32_t seen, uint32_t *left,
                                   uint32_t n_left)
{
    uint32_t wanted = t->wanted[block] & (seen | t->unlimited[block]);
    t->wanted[block] = wanted;
    left[n_left] = block;
    return n_left + (wanted != 0);
}

/* The kernels of one level. All levels give the same bits: sums are integers, and the float arithmetic is the same
 * single operations in the same order. */
struct codes_kernels {
    /* Sums of table entries of the 32 rows of a block. */
    void (*sums)(const uint8_t *block, const struct codes_scan *s, uint32_t sums[CODES_BLOCK_ROWS]);

    /* Returns a bit for each row of `wanted` whose lower bounds are not above `limit` (NaN counts as not above). Unless
     * that is none, estimates and lower bounds of all rows are written. block: its first n_first groups; rest: the
     * others, not read if there are none. */
    uint32_t (*scan)(const uint8_t *block, const uint8_t *rest, const float *factors, const struct codes_scan *s,
                     float limit, uint32_t wanted, float estimate[CODES_BLOCK_ROWS], float lower[CODES_BLOCK_ROWS]);

    /* --- with looks --- */

    /* Sums of the first n_first groups of blocks at .. at + n - 1. hits[i]: a bit for each row of block at + i that `l`, whose
     * e counts as 0, does not rule out. */
    void (*first)(const struct codes_stretch *t, uint32_t at, uint32_t n, const struct codes_scan *s,
                  const struct codes_look *l, uint32_t *hits);

    /* Takes rows that `l` rules out from what is wanted of n blocks. Those blocks of which any is left go to `left`, which may be
     * `blocks`; their number is returned. */
    uint32_t (*look)(const struct codes_stretch *t, const uint32_t *blocks, uint32_t n, const struct codes_look *l,
                     uint32_t *left);

    /* Adds a part to the sums of n blocks. */
    void (*add)(const struct codes_stretch *t, const uint32_t *blocks, uint32_t n, const struct codes_part *p);

    /* As `scan`, from the sums of all groups of one block. */
    uint32_t (*finish)(const struct codes_stretch *t, uint32_t block, const struct codes_scan *s, float limit,
                       float estimate[CODES_BLOCK_ROWS], float lower[CODES_BLOCK_ROWS]);
};

/* Blocks that are added to are not next to each other: the processor does not read ahead by itself. */
enum { CODES_ADD_AHEAD = 4 };

static inline void codes_prefetch_bytes(const void *p, size_t n)
{
    for (size_t i = 0; i < n; i += 64) __builtin_prefetch((const char *)p + i);
}

/* NULL where distance_ops_at(level) is. */
const struct codes_kernels *codes_kernels_at(enum simd_level level);

extern const struct codes_kernels codes_kernels_portable;
#if defined(__x86_64__)
extern const struct codes_kernels codes_kernels_avx2;
extern const struct codes_kernels codes_kernels_avx512;
#elif defined(__aarch64__)
extern const struct codes_kernels codes_kernels_neon;
#endif

/* Squared lengths and inner products that must not depend on the level, nor overflow: 4 sums in double. */
static inline double codes_dot(const float *a, const float *b, uint32_t n)
{
    double s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    uint32_t i = 0;
    for (; n - i >= 4; i += 4) {
        s0 += (double)a[i] * (double)b[i];
        s1 += (double)a[i + 1] * (double)b[i + 1];
        s2 += (double)a[i + 2] * (double)b[i + 2];
        s3 += (double)a[i + 3] * (double)b[i + 3];
    }
    for (; i < n; i++) s0 += (double)a[i] * (double)b[i];
    return (s0 + s1) + (s2 + s3);
}

/* Fills the table of w = P(q - c): for each group and each pattern of 4 signs the inner product with them, shifted and
 * scaled to whole numbers from 0 to CODES_ENTRY_MAX. Sets table, n_groups, step, shift, and no first look. */
void codes_table(const float *w, uint32_t padded_dim, uint8_t *table, struct codes_scan *s);

/* Lets the first `first_dims` dimensions (a multiple of 64) stand for all. After codes_table with the same w. */
void codes_first_look(const float *w, uint32_t padded_dim, uint32_t first_dims, struct codes_scan *s);

/* --- encoding (codes_encode.c) ------------------------------------------------------------------------------------ */

/* The factors of a residual, as far as they do not depend on the space. */
struct codes_factors {
    float square, f, err; /* |r|^2; |r|^2 / |r|_1; see codes.h */
    bool has_residual;    /* though its square may have vanished */
};

/* spread: the least that 1 - p^2 counts as. */
struct codes_factors codes_measure(const float *r, uint32_t padded_dim, float spread);

/* Puts the signs of n_dims coordinates into place j of a zeroed block: a one where the sign bit is not set. */
void codes_pack_signs(const float *r, uint32_t n_dims, uint8_t *block, uint32_t j);
void codes_put_factors(float *factors, uint32_t j, float add, float scale, float err);

/* Fills the places of the last block that have no row. */
void codes_fill_last(float *factors, uint32_t n_places);

#define CODES_SPREAD       0.1f  /* without lists, and of centroids */
#define CODES_LISTS_SPREAD 0.25f /* in lists */

/* Rows as they come to a builder: of any alignment, and hence no float pointer. */
struct codes_source {
    const char *rows;
    uint32_t n, dim, padded_dim;
    enum space space;
    uint64_t seed;
};

/* Row i into x[0, dim); normalised for cosine unless it is zero. */
void codes_take_row(const struct codes_source *s, uint32_t i, float *x);

/* Row i minus the mean (padded_dim, zero beyond dim), rotated; x: padded_dim. */
void codes_take_residual(const struct codes_source *s, uint32_t i, const float *mean, float *x);

/* --- a query (codes_query.c) -------------------------------------------------------------------------------------- */

struct codes_ranked;

struct codes_candidate {
    float estimate, lower;
    uint32_t row;
};

/* Rows of a section, plus 1, in a table with open addressing (Knuth, TAOCP 6.4): those whose distance is known. */
struct codes_met {
    uint32_t *rows; /* 2^bits, at most half of them used; 0: free. NULL: none yet */
    uint32_t n, bits;
};

/* What a query keeps between sections: query_vector.rotated. */
struct codes_prepared {
    struct codes_prepared *next; /* for another seed or size */
    uint64_t seed;
    uint32_t padded_dim;
    float *rotated;                     /* Pq (cosine: of q normalised), padded_dim */
    double length;                      /* of `rotated` */
    float *w;                           /* scratch: P(q - c) of the section at hand */
    uint8_t *table;                     /* scratch: its table */
    struct codes_candidate *candidates; /* scratch: the buffer as large as the last section needed it */
    struct codes_ranked *heap;          /* scratch: lists */
    struct codes_met met;               /* scratch: of a section with copies */
    struct codes_stretch stretch;       /* scratch: of a section with looks, sums and wanted */
    uint32_t *places;                   /* scratch: likewise, blocks */
    uint32_t cap, heap_cap, stretch_cap;
};

/* A look at any limit. */
struct codes_prospect {
    uint32_t n_groups;
    double unit;   /* what a sum of one stands for in an inner product of all dimensions */
    double shift;  /* in sums */
    double margin; /* as codes_scan's */
};

/* The query rotated; NULL when memory is short. */
struct codes_prepared *codes_prepare(const struct codes *c, struct query_vector *q);

/* A query against a section. */
struct codes_target {
    const struct codes_prepared *prepared;
    struct codes_scan scan; /* without lists, complete; with lists, once codes_target_list has set a list */
    double square;          /* |w|^2, of w = P(q - c) */
    double rounded;         /* what rounding of the table adds to the squares of deviations */
    double epsilon, rounding, with_centroid;
    float slack;                                      /* what rounding may do to an estimate */
    struct codes_prospect prospects[CODES_LOOKS_MAX]; /* with looks */
    uint32_t n_looks;
};

/* Makes the table. False when the query is too far away for estimates. */
bool codes_target_init(struct codes_target *t, const struct codes *c, struct codes_prepared *p, float epsilon);

/* What the estimate by `some` of `all` dimensions deviates by, in that by all of them. With signs of r on random axes the
 * variance is (pi/2 D/d - 1)/D of |r|^2 |w|^2 where r and w are in no relation, (pi/2 - 1)/D for d = D; where they are
 * alike both are smaller. */
double codes_deviation(uint32_t all, uint32_t some);

/* Turns to one list. list_square: |w - c_l|^2. */
void codes_target_list(struct codes_target *t, const struct codes *c, uint32_t list, float list_square);

/* --- looks (codes_looks.c) ---------------------------------------------------------------------------------------- */

/* How many dimensions a section without lists keeps in its blocks: those of the first look. */
uint32_t codes_looks_first_dims(uint32_t padded_dim);

/* Fills look_units, unlimited and looks of a section at p, whose factors are there, and all else zero. */
void codes_looks_write(char *p, const struct codes_layout *l, uint32_t n_rows);

/* The looks of place j of a block with these factors: u, v, e. False when the row is one that looks do not rule out. */
bool codes_looks_of(const float *factors, uint32_t j, const float units[3], int16_t looks[3]);

/* Makes the prospects of a query. After codes_table. */
void codes_looks_init(struct codes_target *t, const struct codes *c);

/* Look i at a limit. */
struct codes_look codes_look_at(const struct codes_target *t, const struct codes *c, uint32_t i, float limit);

/* A distance as the API answers it in the unit of estimates. */
static inline float codes_in_estimates(enum space space, float distance)
{
    switch (space) {
    case SPACE_COSINE:
        return distance * 2;
    case SPACE_IP:
        return 2 * (distance - 1);
    case SPACE_L2:
        break;
    }
    return distance;
}

/* An estimate in the unit of distances of lists (ip: with the lift). */
static inline float codes_in_lists(const struct codes *c, const struct codes_prepared *p, float estimate)
{
    return c->space == SPACE_IP ? (float)(p->length * p->length) + c->lift + estimate : estimate;
}

/* --- lists (codes_lists_build.c, codes_lists.c) ------------------------------------------------------------------- */

/* codes_build with a number of lists of the caller's choice (0: none), at most n / 64, and of copies of a row in them (1 as in
 * version 2, or CODES_COPIES with at least two lists). For tests. */
enum err codes_build_as(const float *rows, uint32_t n, uint32_t dim, enum space space, uint64_t seed, uint32_t n_lists,
                        uint32_t copies, struct buf *out, struct errmsg *em);

/* For struct codes_rows: none is dead, and ordinals are the rows' numbers. Of probes and tests. */
bool codes_all_visible(const void *ctx, uint32_t row);
uint64_t codes_row_as_ordinal(const void *ctx, uint32_t row);

/* How many lists n rows get; 0: none. */
uint32_t codes_lists_wanted(uint32_t n_rows, uint32_t padded_dim);
uint32_t codes_lists_first_dims(uint32_t padded_dim);

/* Writes a section of `n_lists` lists with so many copies of each row at p (64-byte aligned, codes_layout's size). *is_in_range
 * is false, and p of no use, when a length is out of range. *share: the codes that a search for a few neighbours looks at, of
 * as many as there are rows. ERR_NOMEM. */
enum err codes_lists_write(const struct codes_source *s, const float *mean, uint32_t n_lists, uint32_t copies, char *p,
                           bool *is_in_range, float *share, struct errmsg *em);

/* The rule's `stop` for a search of this epsilon. */
float codes_stop(const struct codes *c, float epsilon);

/* A query's lists, the nearest first as far as codes tell. */
struct codes_ranked {
    float lower; /* bound of its distance */
    uint32_t list;
};
struct codes_near {
    float distance; /* ip: with the lift */
    float square;   /* |w - c_l|^2 */
    uint32_t list;
};
enum { CODES_LISTS_FIRST = 8 };
struct codes_lists_iter {
    const struct codes *codes;
    const struct codes_target *target;
    struct codes_ranked *heap; /* the lowest on top */
    uint32_t n;
    struct codes_near first[CODES_LISTS_FIRST]; /* those that come first, nearest first */
    uint32_t n_first, at;
    float nearest; /* distance of the nearest of them, at least 0 */
};

/* Ranks the lists. `t` stays as it is, and must outlive the iterator; `heap`: n_lists places. */
void codes_lists_begin(struct codes_lists_iter *it, const struct codes *c, const struct codes_target *t,
                       struct codes_ranked *heap);

/* The next list whose distance is not above `reach`. False when there is none, or hardly: lists are asked for their
 * distance until their lower bounds are beyond. */
bool codes_lists_next(struct codes_lists_iter *it, float reach, struct codes_near *next);

#endif
