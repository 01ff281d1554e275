/* sparse_lists_search.c - the rows whose sparse vectors are nearest to a query, from the inverted lists.
 *
 * Rows are searched in windows of at most WINDOW_ROWS, in ascending order. A window's BOUND of a term (an index that
 * the query shares with some row, with its weight) is the most that the term adds to the dot product of a row there,
 * from the extremes of the blocks that reach into the window; it is never below 0, since a row may lack the index.
 *
 * HAPPY PATH  1. Of the terms, those with the least bounds over the whole list first, as many as possible are OPTIONAL:
 *                a row that has no others cannot enter the k best. All of them: the window is passed over.
 *             2. The lists of the other terms are added up, term by term, in an array beside the window's rows.
 *             3. A row that has some and is in the mask is a candidate. Without optional terms its sum is its dot
 *                product. Else it stays one while its sum and the bounds of what is not in it yet are enough: the optional
 *                terms are looked up one by one, the greatest bound first. Of those that are left at the end the dot
 *                product is added up anew, in the order of indices. Visible ones are offered.
 *             Where the mask leaves few rows of a window, they are the candidates, and all terms are looked up.
 *
 * What differs from MaxScore and block-max WAND as published: bounds belong to windows and change from one to the
 * next, so terms become optional late or only in places; weights may be negative, so a bound comes from the least or
 * the greatest weight, whichever the query's sign calls for; and answers are those of a float32 sum in the order of
 * indices. The bounds of step 1 are such sums of bounds, and rounding is monotone, so they hold to the last bit and
 * rows of equal distance are passed over too. In step 3 the order of summation differs; its slack is in least_sum().
 *
 * FAILURE     ERR_CORRUPT: a row number beyond the fragment or out of order. A damaged weight or extreme is a wrong
 *             answer that only the checksum tells.
 * INVARIANTS  at <= end <= n for every term; sums and `seen` are zero between windows.
 */
#include <math.h>
#include <stdlib.h>

#include "index/sparse_lists_internal.h"

enum {
    WINDOW_ROWS = 4096,
    LOOKUP_COST = 8,       /* finding a row in a list, in postings added up */
    SLACK_TERMS = 1 << 20, /* with more terms the error of a sum is not bounded usefully */
};

struct term {
    struct sparse_list list;
    float weight;
    uint32_t at, end; /* postings in the window */
    uint32_t look;    /* the posting at which the last lookup ended */
    float bound;      /* no row of the window gets more from this term; not negative, not NaN */
    float size;       /* nor more than that, signs aside */
    bool is_optional;
};

struct by_bound {
    float bound;
    uint32_t term;
};

struct candidate {
    uint32_t row;
    float sum; /* of the terms added so far, in no order */
};

struct scan {
    const struct sparse_lists *lists;
    const struct sparse_rows *rows;
    const struct bitset *mask;
    struct topk *top;
    struct term *terms; /* in the order of their indices */
    struct by_bound *ascending;
    uint32_t n_terms, n_optional;
    uint32_t first, n;            /* the window */
    float *sums;                  /* WINDOW_ROWS */
    uint64_t *seen;               /* bits: rows that some term was added to */
    struct candidate *candidates; /* ascending rows; WINDOW_ROWS */
    uint32_t n_candidates;
};

static enum err damaged(struct errmsg *em)
{
    return errmsg_set(em, ERR_CORRUPT, "sparse lists: a row is out of range");
}

static uint32_t row_at(const struct sparse_list *list, uint32_t i)
{
    return le32_get(list->rows + (size_t)i * 4);
}

static struct sparse_block block_at(const struct sparse_list *list, uint32_t i)
{
    struct sparse_block block = {.min = list->min, .max = list->max};
    if (list->blocks != NULL) memcpy(&block, list->blocks + (size_t)i * sizeof block, sizeof block);
    return block;
}

/* --- finding postings ------------------------------------------------------------------------------------------- */

/* The first posting of [from, to) whose row is not below `row`; `to` if there is none. */
static uint32_t search_rows(const struct sparse_list *list, uint32_t from, uint32_t to, uint32_t row)
{
    while (from < to) {
        uint32_t mid = from + (to - from) / 2;
        if (row_at(list, mid) < row)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

/* The same, where it is likely near `from`: steps that double, then a binary search. */
static uint32_t gallop(const struct sparse_list *list, uint32_t from, uint32_t to, uint32_t row)
{
    uint32_t low = from, step = 1;
    while (step < to - low && row_at(list, low + step - 1) < row) {
        low += step;
        step *= 2;
    }
    return search_rows(list, low, step < to - low ? low + step : to, row);
}

/* The same from `from` to the end of the list, by way of the blocks: steps that double, then a binary search. */
static uint32_t seek(const struct sparse_list *list, uint32_t from, uint32_t row)
{
    if (from == list->n || row_at(list, from) >= row) return from;
    if (list->blocks == NULL) return search_rows(list, from, list->n, row);
    uint32_t n_blocks = sparse_n_blocks(list->n), low = from / SPARSE_BLOCK_ROWS;
    uint64_t step = 1, high = low;
    while (high < n_blocks && block_at(list, (uint32_t)high).last_row < row) {
        low = (uint32_t)high + 1;
        high += step;
        step *= 2;
    }
    if (high > n_blocks) high = n_blocks;
    while (low < high) {
        uint32_t mid = low + ((uint32_t)high - low) / 2;
        if (block_at(list, mid).last_row < row)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == n_blocks) return list->n;
    uint32_t begin = low * SPARSE_BLOCK_ROWS;
    uint32_t n = list->n - begin < SPARSE_BLOCK_ROWS ? list->n - begin : SPARSE_BLOCK_ROWS;
    return search_rows(list, begin > from ? begin : from, begin + n, row);
}

/* --- bounds ----------------------------------------------------------------------------------------------------- */

/* The most that a posting of these extremes adds. A product that is no number belongs to rows without a finite distance,
 * which come last whatever is added: any bound holds for them. */
static float bound_of(float weight, float min, float max)
{
    float most = weight * (weight < 0 ? min : max);
    if (isnan(most)) return INFINITY;
    return most > 0 ? most : 0;
}

static float size_of(float weight, float min, float max)
{
    return fabsf(weight) * fmaxf(fabsf(min), fabsf(max));
}

/* Could a row of this dot product or less, with this ordinal or a later one, enter the k best? */
static bool may_enter(const struct topk *top, float dot, uint64_t ordinal)
{
    float distance = 1 - dot;
    if (top->n < top->k) return true;
    return top->k > 0 &&
           (distance < top->heap[0].distance || (distance == top->heap[0].distance && ordinal < top->heap[0].ordinal));
}

/* The first `n` terms in ascending order of bounds become the optional ones; the most that a row gets of them alone. */
static float make_optional(struct scan *s, uint32_t n)
{
    float sum = 0;
    for (uint32_t i = 0; i < s->n_terms; i++) s->terms[s->ascending[i].term].is_optional = i < n;
    for (uint32_t i = 0; i < s->n_terms; i++)
        if (s->terms[i].is_optional) sum += s->terms[i].bound;
    return sum;
}

/* As many optional terms as the k best allow. */
static void partition(struct scan *s, uint64_t ordinal)
{
    uint32_t low = 0, high = s->n_terms;
    if (s->top->n < s->top->k) high = 0;
    while (low < high) { /* low are possible, above high are not */
        uint32_t mid = high - (high - low) / 2;
        if (may_enter(s->top, make_optional(s, mid), ordinal))
            high = mid - 1;
        else
            low = mid;
    }
    s->n_optional = low;
    (void)make_optional(s, low);
}

/* A row of the window whose sum is below this cannot enter. The dot product is at most the sum + the bounds that are
 * missing in it, but for rounding: each of the two float32 sums errs by at most n 2^-24 of the sizes added up, and 1 - dot by half a unit. */
static double least_sum(const struct scan *s, double missing, double sizes)
{
    double worst = topk_bound(s->top);
    if (!(sizes < 1e37) || s->n_terms > SLACK_TERMS) return -INFINITY; /* a sum may overflow */
    double slack = sizes * (s->n_terms + 2.0) * 0x1p-23 + (fabs(worst) + 1) * 0x1p-22;
    return 1 - worst - missing - slack;
}

/* --- windows ---------------------------------------------------------------------------------------------------- */

/* The lowest row at or behind `row` that some list has, in *next; UINT32_MAX: there is none. */
static enum err next_row(struct scan *s, uint32_t row, uint32_t *next, struct errmsg *em)
{
    uint32_t lowest = UINT32_MAX;
    for (uint32_t i = 0; i < s->n_terms; i++) {
        struct term *t = &s->terms[i];
        t->at = seek(&t->list, t->at, row);
        if (t->at < t->list.n && row_at(&t->list, t->at) < lowest) lowest = row_at(&t->list, t->at);
    }
    if (lowest != UINT32_MAX && (lowest < row || lowest >= s->lists->n_rows)) return damaged(em);
    *next = lowest;
    return ERR_OK;
}

/* Begins the window at s->first: the postings and bounds of all terms. Returns how many postings there are. */
static uint64_t open_window(struct scan *s)
{
    uint64_t n = 0;
    uint32_t rest = s->lists->n_rows - s->first;
    s->n = rest < WINDOW_ROWS ? rest : WINDOW_ROWS;
    for (uint32_t i = 0; i < s->n_terms; i++) {
        struct term *t = &s->terms[i];
        t->end = seek(&t->list, t->at, s->first + s->n);
        t->look = t->at;
        t->bound = t->size = 0;
        n += t->end - t->at;
        if (t->at == t->end) continue;
        for (uint32_t b = t->at / SPARSE_BLOCK_ROWS; b <= (t->end - 1) / SPARSE_BLOCK_ROWS; b++) {
            struct sparse_block block = block_at(&t->list, b);
            t->bound = fmaxf(t->bound, bound_of(t->weight, block.min, block.max));
            t->size = fmaxf(t->size, size_of(t->weight, block.min, block.max));
        }
    }
    return n;
}

static enum err add_term(struct scan *s, const struct term *t, struct errmsg *em)
{
    const uint8_t *rows = t->list.rows, *weights = t->list.weights;
    uint32_t first = s->first, n = s->n, end = t->end; /* copies: the stores below might alter the originals */
    float weight = t->weight, *sums = s->sums;
    uint64_t *seen = s->seen;
    for (uint32_t i = t->at; i < end; i++) {
        uint32_t row = le32_get(rows + (size_t)i * 4) - first;
        if (row >= n) return damaged(em);
        sums[row] += weight * sparse_weight(weights, i);
        seen[row / 64] |= UINT64_C(1) << (row % 64);
    }
    return ERR_OK;
}

/* The dot product of a row of the window, which is not below the last one asked for. False: it shares no index. */
static bool look_up(struct scan *s, uint32_t row, float *dot)
{
    float sum = 0;
    bool is_found = false;
    for (uint32_t i = 0; i < s->n_terms; i++) {
        struct term *t = &s->terms[i];
        t->look = gallop(&t->list, t->look, t->end, row);
        if (t->look == t->end || row_at(&t->list, t->look) != row) continue;
        sum += t->weight * sparse_weight(t->list.weights, t->look);
        is_found = true;
    }
    *dot = sum;
    return is_found;
}

static void offer(struct scan *s, uint32_t row, float dot)
{
    const struct sparse_rows *rows = s->rows;
    if (1 - dot > topk_bound(s->top)) return;
    if (rows->is_visible != NULL && !rows->is_visible(rows->ctx, row)) return;
    topk_offer(s->top, 1 - dot, rows->ordinal(rows->ctx, row), row);
}

/* Moves the rows that step 2 has left to s->candidates, or offers them at once where no term is optional. Leaves sums
 * and bits zero. */
static void take_candidates(struct scan *s, double least)
{
    s->n_candidates = 0;
    for (uint32_t w = 0; w < bitset_words(s->n); w++) {
        for (uint64_t bits = s->seen[w]; bits != 0; bits &= bits - 1) {
            uint32_t i = w * 64 + (uint32_t)__builtin_ctzll(bits), row = s->first + i;
            float sum = s->sums[i];
            s->sums[i] = 0;
            if (s->mask != NULL && !bitset_get(s->mask, row)) continue;
            if (s->n_optional == 0)
                offer(s, row, sum);
            else if (!((double)sum < least))
                s->candidates[s->n_candidates++] = (struct candidate){row, sum};
        }
        s->seen[w] = 0;
    }
}

/* Adds an optional term to the candidates' sums, and keeps those that may still enter. */
static void narrow_candidates(struct scan *s, const struct term *t, double least)
{
    uint32_t at = t->at, n = 0;
    for (uint32_t i = 0; i < s->n_candidates; i++) {
        struct candidate c = s->candidates[i];
        at = gallop(&t->list, at, t->end, c.row);
        if (at < t->end && row_at(&t->list, at) == c.row) c.sum += t->weight * sparse_weight(t->list.weights, at);
        if (!((double)c.sum < least)) s->candidates[n++] = c;
    }
    s->n_candidates = n;
}

/* The sum of the bounds of the first n terms in ascending order of bounds. */
static double sum_of_bounds(const struct scan *s, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += (double)s->terms[s->ascending[i].term].bound;
    return sum;
}

/* The candidates' sums lack the first n terms in ascending order of bounds: adds them, the greatest first, and offers
 * the rows that are left. */
static void offer_candidates(struct scan *s, uint32_t n, double missing, double sizes)
{
    for (uint32_t i = n; i-- > 0 && s->n_candidates > 0 && s->top->n == s->top->k;) {
        const struct term *t = &s->terms[s->ascending[i].term];
        missing -= (double)t->bound;
        if (t->at < t->end) narrow_candidates(s, t, least_sum(s, missing, sizes));
    }
    for (uint32_t i = 0; i < s->n_candidates; i++) {
        float dot;
        if ((double)s->candidates[i].sum < least_sum(s, missing, sizes)) continue; /* the k best are better by now */
        if (look_up(s, s->candidates[i].row, &dot)) offer(s, s->candidates[i].row, dot);
    }
}

/* The rows of the window that the mask leaves, or none if they are too many to be looked up; `n_postings`: what the
 * window has. */
static bool take_masked(struct scan *s, uint64_t n_postings)
{
    uint64_t few = n_postings / ((uint64_t)s->n_terms * LOOKUP_COST);
    s->n_candidates = 0;
    for (uint32_t row = bitset_next(s->mask, s->first); row < s->first + s->n; row = bitset_next(s->mask, row + 1)) {
        if (s->n_candidates >= few) return false;
        s->candidates[s->n_candidates++] = (struct candidate){row, 0};
    }
    return true;
}

static enum err search_window(struct scan *s, struct errmsg *em)
{
    double sizes = 0;
    uint64_t n_postings = open_window(s);
    partition(s, s->rows->ordinal(s->rows->ctx, s->first));
    if (n_postings == 0 || s->n_optional == s->n_terms) return ERR_OK;
    for (uint32_t i = 0; i < s->n_terms; i++) sizes += (double)s->terms[i].size;
    if (s->mask != NULL && take_masked(s, n_postings)) {
        offer_candidates(s, s->n_terms, sum_of_bounds(s, s->n_terms), sizes);
        return ERR_OK;
    }
    for (uint32_t i = 0; i < s->n_terms; i++) {
        if (s->terms[i].is_optional) continue;
        enum err e = add_term(s, &s->terms[i], em);
        if (e != ERR_OK) return e;
    }
    double missing = sum_of_bounds(s, s->n_optional);
    take_candidates(s, least_sum(s, missing, sizes));
    offer_candidates(s, s->n_optional, missing, sizes);
    return ERR_OK;
}

static enum err search_all(struct scan *s, struct errmsg *em)
{
    for (uint32_t row = 0; row < s->lists->n_rows;) {
        enum err e = next_row(s, row, &s->first, em);
        if (e != ERR_OK) return e;
        if (s->first == UINT32_MAX) break;
        if (s->mask != NULL) {
            uint32_t masked = bitset_next(s->mask, s->first);
            if (masked == s->mask->n_bits) break;
            if (masked > s->first) {
                row = masked;
                if ((e = next_row(s, row, &s->first, em)) != ERR_OK) return e;
                if (s->first == UINT32_MAX) break;
            }
        }
        if ((e = search_window(s, em)) != ERR_OK) return e;
        row = s->first + s->n;
    }
    return ERR_OK;
}

/* --- the whole -------------------------------------------------------------------------------------------------- */

static int compare_bounds(const void *a, const void *b)
{
    const struct by_bound *x = a, *y = b;
    if (x->bound != y->bound) return x->bound < y->bound ? -1 : 1;
    return x->term < y->term ? -1 : x->term > y->term;
}

/* The lists of the query's indices that some row has. */
static enum err open_terms(struct scan *s, const struct sparse_query *q, struct arena *a, struct errmsg *em)
{
    struct bytes dims;
    enum err e = sparse_find_key(s->lists, q->key, &dims, em);
    if (e != ERR_OK || dims.n == 0) return e;
    s->terms = arena_array(a, q->n, sizeof *s->terms);
    s->ascending = arena_array(a, q->n, sizeof *s->ascending);
    s->sums = arena_array(a, WINDOW_ROWS, sizeof *s->sums);
    s->seen = arena_array(a, WINDOW_ROWS / 64, sizeof *s->seen);
    s->candidates = arena_alloc(a, WINDOW_ROWS * sizeof *s->candidates);
    if (s->terms == NULL || s->ascending == NULL || s->sums == NULL || s->seen == NULL || s->candidates == NULL)
        return errmsg_set(em, ERR_NOMEM, "a sparse vector of %u indices", q->n);
    for (uint32_t i = 0; i < q->n; i++) {
        struct term *t = &s->terms[s->n_terms];
        e = sparse_find_list(s->lists, dims, q->indices[i], &t->list, em);
        if (e != ERR_OK) return e;
        if (t->list.n == 0) continue;
        t->weight = q->weights[i];
        s->ascending[s->n_terms] = (struct by_bound){bound_of(t->weight, t->list.min, t->list.max), s->n_terms};
        s->n_terms++;
    }
    qsort(s->ascending, s->n_terms, sizeof *s->ascending, compare_bounds);
    return ERR_OK;
}

enum err sparse_lists_nearest(const struct sparse_lists *l, const struct sparse_rows *rows,
                              const struct sparse_query *q, const struct bitset *mask, struct topk *top,
                              struct arena *a, struct errmsg *em)
{
    struct arena scratch = {.max_bytes = a->max_bytes};
    struct scan s = {.lists = l, .rows = rows, .mask = mask, .top = top};
    CHECK((mask == NULL || mask->n_bits == l->n_rows) && "a mask of this fragment");
    if (q->n == 0 || top->k == 0) return ERR_OK;
    enum err e = open_terms(&s, q, &scratch, em);
    if (e == ERR_OK && s.n_terms > 0) e = search_all(&s, em);
    arena_free(&scratch);
    return e;
}

enum err sparse_lists_count(const struct sparse_lists *l, const struct sparse_rows *rows, const struct sparse_query *q,
                            uint32_t *counts, struct errmsg *em)
{
    struct bytes dims;
    enum err e = sparse_find_key(l, q->key, &dims, em);
    for (uint32_t i = 0; i < q->n && e == ERR_OK && dims.n > 0; i++) {
        struct sparse_list list;
        if ((e = sparse_find_list(l, dims, q->indices[i], &list, em)) != ERR_OK) break;
        uint32_t n = list.n;
        for (uint32_t k = 0; k < list.n && rows->is_visible != NULL; k++) {
            uint32_t row = row_at(&list, k);
            if (row >= l->n_rows) return damaged(em);
            n -= !rows->is_visible(rows->ctx, row);
        }
        counts[i] += n;
    }
    return e;
}
