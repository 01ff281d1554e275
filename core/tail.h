/* tail.h - the rows of a collection that are not in a fragment yet, in memory, as a segment. Internal to core/.
 *
 * Rows are appended by the writer and never move; what they refer to are the write blocks, which the tail keeps, and an
 * arena for merged parts. Ids are found through a hash table of row numbers; the rows of one id are chained, newest first.
 *
 * THREADS    tail_append, tail_mark_dead, tail_keep_block: the collection's writer. Everything else: readers inside an
 *            epoch, without locks.
 * INVARIANTS born positions ascend with row numbers. A row is complete before its number can be seen.
 */
#ifndef CORE_TAIL_H
#define CORE_TAIL_H

#include "core/batch.h"
#include "core/segment.h"

struct tail;

enum err tail_new(struct tail **t);
struct segment *tail_segment(struct tail *t); /* freed through its ops->free */
struct tail *tail_of(struct segment *s);

/* A row to append; views must live as long as the tail (kept blocks, tail_arena). */
struct tail_row_input {
    struct row row;
    uint32_t dim;
    uint64_t born, ordinal;
};

/* ERR_NOMEM leaves the tail as it was. The row is visible to readers at positions >= born. */
enum err tail_append(struct tail *t, const struct tail_row_input *in);
void tail_mark_dead(struct tail *t, uint32_t row, uint64_t lsn);

/* Takes a block over (mem_free): rows may point into it. ERR_NOMEM: not taken. */
enum err tail_keep_block(struct tail *t, struct bytes block);
struct arena *tail_arena(struct tail *t); /* for merged metadata and copied parts */

uint32_t tail_n_rows(const struct segment *s, uint64_t lsn); /* rows born at or before lsn */
uint64_t tail_bytes(const struct tail *t);                   /* memory held, roughly */
uint64_t tail_died(const struct segment *s, uint32_t row);   /* 0 = alive */
float tail_norm2(const struct segment *s, uint32_t row);

/* The position from which the row of this segment, a tail or a fragment, is dead; 0 = alive. */
static inline uint64_t segment_died_at(const struct segment *s, uint32_t row)
{
    return s->is_tail ? tail_died(s, row) : deaths_at(&s->deaths, row);
}

/* Is the row of this segment visible at lsn? For tails and fragments. */
static inline bool segment_is_visible(const struct segment *s, uint32_t row, uint64_t lsn)
{
    if (!s->is_tail) return !deaths_is_dead(&s->deaths, row, lsn);
    uint64_t died = tail_died(s, row);
    return (died == 0 || died > lsn) && s->ops->born(s, row) <= lsn;
}

#endif
