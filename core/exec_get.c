/* exec_get.c - rows in the order of their creation, with offset and limit.
 *
 * Each segment offers its selected visible rows in ascending ordinals through a cursor: a fragment holds its rows in that
 * order; a tail does not (an updated row keeps its old place), so its rows are sorted first. The cursors are merged.
 * Whole stretches of one segment that come before every other cursor are skipped by arithmetic where nothing is dead, by the
 * counts of the dead a thousand rows, or by counting bits under a mask, so a page at a deep offset costs a binary search and
 * not a walk. Only while rows are open (see struct filter_rest) is each looked at.
 */
#include <stdlib.h>

#include "core/executor_internal.h"

enum { SETTLE_ROWS = 64 };

struct cursor {
    const struct snapshot *s;
    const struct segment *segment;
    struct bitset *mask;      /* NULL: all rows */
    struct filter_rest *rest; /* what is open in the mask */
    uint32_t n_settled;       /* nothing is open below this row */
    uint32_t n_ahead;         /* so many rows are decided at a time */
    uint32_t index;           /* of the segment in the snapshot */
    uint32_t n_rows;
    uint32_t *sorted;      /* tails: visible rows by ordinal; NULL: row numbers are in order */
    uint32_t n_sorted, at; /* at: next place in `sorted`, or the present row */
    uint64_t ordinal;      /* of the present row; UINT64_MAX: at the end */
    bool is_whole;         /* a fragment of which nothing is dead or open: every selected row is visible */
};

static uint32_t cursor_row(const struct cursor *c)
{
    return c->sorted != NULL ? c->sorted[c->at] : c->at;
}

/* Decides open rows from the present one on. Few at first, since a page may be full soon; more each time, since
 * documents that lie together are read together. */
static enum err settle_ahead(struct cursor *c, struct errmsg *em)
{
    uint32_t n = c->n_rows - c->at < c->n_ahead ? c->n_rows - c->at : c->n_ahead;
    enum err e = c->segment->ops->settle(c->segment, c->rest, c->mask, c->at, c->at + n, em);
    c->n_settled = c->at + n;
    c->n_ahead *= 2;
    return e;
}

/* Stands on the first selected visible row at or after c->at. */
static enum err cursor_settle(struct cursor *c, struct errmsg *em)
{
    if (c->sorted != NULL) {
        c->ordinal = c->at < c->n_sorted ? c->segment->ops->ordinal(c->segment, c->sorted[c->at]) : UINT64_MAX;
        return ERR_OK;
    }
    while (c->at < c->n_rows) {
        if (c->mask != NULL) c->at = bitset_next(c->mask, c->at);
        if (c->at >= c->n_rows) break;
        if (c->at >= c->n_settled) {
            enum err e = settle_ahead(c, em);
            if (e != ERR_OK) return e;
            continue;
        }
        if (c->is_whole || segment_is_visible(c->segment, c->at, c->s->lsn)) {
            c->ordinal = c->segment->ops->ordinal(c->segment, c->at);
            return ERR_OK;
        }
        c->at = deaths_next_alive(&c->segment->deaths, c->at + 1, c->s->lsn);
    }
    c->ordinal = UINT64_MAX;
    return ERR_OK;
}

struct sort_key {
    uint64_t ordinal;
    uint32_t row;
};

static int compare_keys(const void *a, const void *b)
{
    const struct sort_key *x = a, *y = b;
    return x->ordinal < y->ordinal ? -1 : x->ordinal > y->ordinal;
}

static enum err sort_tail(struct cursor *c, uint32_t n_max, struct arena *a)
{
    struct sort_key *keys = arena_alloc(a, n_max * sizeof *keys);
    c->sorted = arena_alloc(a, n_max * sizeof *c->sorted);
    if (keys == NULL || c->sorted == NULL) return ERR_NOMEM;
    uint32_t n = 0;
    bool is_sorted = true;
    for (uint32_t row = c->mask != NULL ? bitset_next(c->mask, 0) : 0; row < c->n_rows;
         row = c->mask != NULL ? bitset_next(c->mask, row + 1) : row + 1) {
        if (!segment_is_visible(c->segment, row, c->s->lsn)) continue;
        keys[n] = (struct sort_key){c->segment->ops->ordinal(c->segment, row), row};
        is_sorted = is_sorted && (n == 0 || keys[n - 1].ordinal < keys[n].ordinal);
        n++;
    }
    if (!is_sorted) qsort(keys, n, sizeof *keys, compare_keys);
    for (uint32_t i = 0; i < n; i++) c->sorted[i] = keys[i].row;
    c->n_sorted = n;
    return ERR_OK;
}

/* The first row of a fragment, from the present one on, whose ordinal is not below `bound`. */
static uint32_t row_of_bound(const struct cursor *c, uint64_t bound)
{
    uint32_t lo = c->at, hi = c->n_rows;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (c->segment->ops->ordinal(c->segment, mid) < bound)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Passes over the rows from c->at on that are selected and not dead, `most` at most and none at or beyond `end`; returns how
 * many. Nothing is open, and something is dead. */
static uint32_t pass_alive(struct cursor *c, uint32_t end, uint32_t most)
{
    const struct deaths *d = &c->segment->deaths;
    uint32_t n = 0;
    while (c->at < end && n < most) {
        uint32_t i = c->at / DEATHS_CHUNK_ROWS, first = i * DEATHS_CHUNK_ROWS, n_passed;
        uint32_t stop = end - first < DEATHS_CHUNK_ROWS ? end : first + DEATHS_CHUNK_ROWS;
        if (c->mask == NULL && c->at == first && stop - first == DEATHS_CHUNK_ROWS) {
            n_passed = DEATHS_CHUNK_ROWS - deaths_count(d, i, c->s->lsn);
            if (n_passed <= most - n) {
                c->at = stop;
                n += n_passed;
                continue;
            }
        }
        uint64_t words[DEATHS_CHUNK_WORDS];
        deaths_bits(d, i, c->s->lsn, words);
        for (size_t k = 0; k < bitset_words(stop - first); k++)
            words[k] = ~words[k] & (c->mask != NULL ? c->mask->words[first / 64 + k] : ~UINT64_C(0));
        struct bitset alive = {words, DEATHS_CHUNK_ROWS};
        c->at = first + bitset_pass(&alive, c->at - first, stop - first, most - n, &n_passed);
        n += n_passed;
    }
    return n;
}

/* Moves on over the present row and further ones with ordinals below `bound`, `most` at most; returns how many. */
static uint32_t skip_rows(struct cursor *c, uint64_t bound, uint32_t most)
{
    uint32_t n = 1;
    if (c->sorted != NULL || c->rest->n > 0) {
        c->at++;
        return n;
    }
    uint32_t end = row_of_bound(c, bound);
    if (!c->is_whole) return pass_alive(c, end, most);
    if (c->mask != NULL) {
        c->at = bitset_pass(c->mask, c->at, end, most, &n);
        return n;
    }
    n = end - c->at < most ? end - c->at : most;
    c->at += n;
    return n;
}

static enum err open_cursors(const struct snapshot *s, struct segment_rows *rows, struct arena *a, struct cursor **out,
                             uint32_t *n_out, struct errmsg *em)
{
    struct cursor *cursors = arena_array(a, s->n_segments, sizeof *cursors);
    uint32_t n = 0;
    if (cursors == NULL) return errmsg_set(em, ERR_NOMEM, "read %u segments", s->n_segments);
    for (uint32_t i = 0; i < s->n_segments; i++) {
        if (rows[i].n == 0) continue;
        struct cursor *c = &cursors[n];
        *c = (struct cursor){
            .s = s,
            .segment = s->segments[i].segment,
            .mask = rows[i].mask.words != NULL ? &rows[i].mask : NULL,
            .rest = &rows[i].rest,
            .n_settled = rows[i].rest.n > 0 ? 0 : s->segments[i].n_rows,
            .n_ahead = SETTLE_ROWS,
            .index = i,
            .n_rows = s->segments[i].n_rows,
        };
        if (c->segment->is_tail) {
            CHECK(rows[i].rest.n == 0 && "a tail decides at once");
            if (sort_tail(c, rows[i].n, a) != ERR_OK) return errmsg_set(em, ERR_NOMEM, "sort %u rows", rows[i].n);
        } else {
            c->is_whole = rows[i].rest.n == 0 && atomic_load(&c->segment->deaths.n_dead) == 0;
        }
        enum err e = cursor_settle(c, em);
        if (e != ERR_OK) return e;
        n += c->ordinal != UINT64_MAX;
    }
    *out = cursors;
    *n_out = n;
    return ERR_OK;
}

/* The cursor with the lowest ordinal, and the lowest ordinal of the others. */
static struct cursor *lowest(struct cursor *cursors, uint32_t n, uint64_t *next)
{
    struct cursor *best = &cursors[0];
    *next = UINT64_MAX;
    for (uint32_t i = 1; i < n; i++) {
        if (cursors[i].ordinal < best->ordinal) {
            *next = best->ordinal;
            best = &cursors[i];
        } else if (cursors[i].ordinal < *next) {
            *next = cursors[i].ordinal;
        }
    }
    return best;
}

enum err exec_get(const struct snapshot *s, const struct selection *sel, uint32_t limit, uint32_t offset,
                  struct arena *a, struct row_ref **out, uint32_t *n_out, struct errmsg *em)
{
    struct segment_rows *rows = NULL;
    struct cursor *cursors = NULL;
    uint32_t n_cursors = 0, n = 0;
    uint64_t most = 0, next;
    enum err e = exec_select(s, sel, true, a, &rows, em);
    if (e != ERR_OK) return e;
    for (uint32_t i = 0; i < s->n_segments; i++) most += rows[i].n;
    most = most > offset ? most - offset : 0;
    if (most > limit) most = limit;
    struct row_ref *refs = arena_alloc(a, (size_t)most * sizeof *refs);
    if (refs == NULL) return errmsg_set(em, ERR_NOMEM, "collect %llu rows", (unsigned long long)most);
    if (most > 0 && (e = open_cursors(s, rows, a, &cursors, &n_cursors, em)) != ERR_OK) return e;
    while (n < most && n_cursors > 0) {
        struct cursor *c = lowest(cursors, n_cursors, &next);
        while (c->ordinal < next && n < most) { /* a stretch of one segment */
            if (offset > 0) {
                offset -= skip_rows(c, next, offset);
            } else {
                refs[n++] = (struct row_ref){c->index, cursor_row(c)};
                c->at++;
            }
            if (n < most && (e = cursor_settle(c, em)) != ERR_OK) return e;
        }
        if (c->ordinal == UINT64_MAX) *c = cursors[--n_cursors];
    }
    exec_note_documents(s, rows);
    *out = refs;
    *n_out = n;
    return ERR_OK;
}
