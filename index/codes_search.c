/* codes_search.c - the nearest rows by codes, confirmed by exact distances.
 *
 * HAPPY PATH  without lists, blocks are scanned in order, with looks if there are any (codes_search_looks.c); with lists, list
 *             by list, nearest first. A row whose lower bound is not above the limit (the k-th exact distance so far)
 *             becomes a candidate (codes_candidates.c). So in what was scanned a row is left out only because its lower
 *             bound is above the k-th distance.
 * FAILURE     short memory is reported; `top` may have got offers then.
 */
#include "index/codes_search_internal.h"

enum {
    FRESH_PREFETCHED = 8,
    AHEAD = 2, /* blocks */
};

/* Lists whose centroid is within so many limits are looked at whatever the rule says: where the limit lies beyond the
 * cluster that the query is in, the rule, fitted to neighbours within clusters, knows nothing. */
#define AT_LEAST 1.1f

/* --- the search --------------------------------------------------------------------------------------------------- */

static uint32_t row_at(const struct codes *c, uint32_t place)
{
    return c->n_lists > 0 ? c->order[place] : place;
}

/* Of the places in `wanted` of a block those whose row is in the mask. */
static uint32_t masked(const struct search *s, uint32_t block, uint32_t wanted)
{
    const struct bitset *mask = s->mask;
    if (s->codes->n_lists == 0) return wanted & (uint32_t)(mask->words[block / 2] >> (block % 2 * 32));
    uint32_t left = 0;
    for (uint32_t w = wanted; w != 0; w &= w - 1) {
        unsigned i = (unsigned)__builtin_ctz(w);
        uint32_t row = s->codes->order[block * CODES_BLOCK_ROWS + i];
        if (row < mask->n_bits && bitset_get(mask, row)) left |= UINT32_C(1) << i;
    }
    return left;
}

/* The codes that are looked at first, and the factors, of a block of a list. */
static void prefetch_block(const struct codes *c, size_t b)
{
    codes_prefetch_bytes(c->blocks + b * c->first_dims * 4, (size_t)c->first_dims * 4);
    codes_prefetch_bytes(c->factors + b * CODES_BLOCK_FACTORS, CODES_BLOCK_FACTORS * sizeof(float));
}

/* Scans the places from..to. False when memory is short. */
static bool scan_places(struct search *s, uint32_t from, uint32_t to)
{
    const struct codes *c = s->codes;
    const size_t block_bytes = (size_t)c->first_dims * 4, rest_bytes = (size_t)(c->padded_dim - c->first_dims) * 4;
    const bool is_masked_first = s->mask != NULL && c->n_lists == 0;
    for (uint32_t b = from / CODES_BLOCK_ROWS; b * CODES_BLOCK_ROWS < to; b++) {
        uint32_t at = b * CODES_BLOCK_ROWS, wanted = UINT32_MAX;
        if (from > at) wanted <<= from - at;
        if (to - at < CODES_BLOCK_ROWS) wanted &= (UINT32_C(1) << (to - at)) - 1;
        if (is_masked_first) wanted = masked(s, b, wanted);
        if (wanted == 0) continue;
        if (c->n_lists > 0) { /* a list ends before the processor has learned to read ahead of it */
            if (to - at > AHEAD * CODES_BLOCK_ROWS) prefetch_block(c, b + AHEAD);
            codes_prefetch_bytes(c->rests + b * rest_bytes, rest_bytes);
        }
        float estimate[CODES_BLOCK_ROWS], lower[CODES_BLOCK_ROWS];
        const float *factors = c->factors + (size_t)b * CODES_BLOCK_FACTORS;
        uint32_t hits = s->kernels->scan(c->blocks + b * block_bytes, c->rests + b * rest_bytes, factors,
                                         &s->target.scan, s->limit, wanted, estimate, lower);
        if (hits == 0) continue;
        if (s->mask != NULL && !is_masked_first) hits = masked(s, b, hits);
        for (; hits != 0; hits &= hits - 1) {
            unsigned i = (unsigned)__builtin_ctz(hits);
            uint32_t row = row_at(c, at + i);
            if (row >= c->n) continue; /* a damaged section */
            float e = isnan(estimate[i]) ? -INFINITY : estimate[i];
            s->candidates[s->n++] = (struct codes_candidate){e, lower[i], row};
        }
        if (s->cap - s->n < CODES_BLOCK_ROWS && !codes_drain(s, false)) return false;
    }
    return true;
}

/* What will be read first of a list. */
static void prefetch_list(const struct codes *c, uint32_t list)
{
    size_t b = c->starts[list] / CODES_BLOCK_ROWS;
    for (size_t i = 0; i < AHEAD && (b + i) * CODES_BLOCK_ROWS < c->starts[list + 1]; i++) prefetch_block(c, b + i);
}

/* Rows that codes_settle will measure. */
static void prefetch_fresh(const struct search *s)
{
    uint32_t left = FRESH_PREFETCHED;
    for (uint32_t i = s->n_settled; i < s->n && left > 0; i++) {
        if (s->candidates[i].estimate > s->limit) continue;
        codes_prefetch_row(s->rows, s->q, s->candidates[i].row);
        left--;
    }
}

/* How far away a list may be with the limit as it is. */
static float reach_now(const struct search *s, const struct codes_prepared *p, const struct codes_lists_iter *it)
{
    float limit = codes_in_lists(s->codes, p, s->limit), stop = s->stop * (limit + s->codes->lean * it->nearest);
    return stop > AT_LEAST * limit ? stop : AT_LEAST * limit;
}

static bool scan_lists(struct search *s, const struct codes_prepared *p)
{
    const struct codes *c = s->codes;
    const struct codes_target target = s->target; /* of no list */
    struct codes_lists_iter it;
    struct codes_near list;
    codes_lists_begin(&it, c, &target, p->heap);
    bool is_wanted = codes_lists_next(&it, INFINITY, &list);
    while (is_wanted) {
        codes_target_list(&s->target, c, list.list, list.square);
        if (!scan_places(s, c->starts[list.list], c->starts[list.list + 1])) return false;
        prefetch_fresh(s); /* while the next list is looked for */
        is_wanted = codes_lists_next(&it, reach_now(s, p, &it), &list);
        if (is_wanted) prefetch_list(c, list.list);
        codes_settle(s);
        if (is_wanted && list.distance > reach_now(s, p, &it)) /* the limit has fallen */
            is_wanted = codes_lists_next(&it, reach_now(s, p, &it), &list);
    }
    return codes_drain(s, true);
}

/* Where a limit is loose at first, rows beyond the margin are measured as well. With looks it never is, so that the margin alone
 * decides; this much more of it finds as many neighbours. */
#define LOOKS_EPSILON_MORE 0.05F

/* An exact distance costs some 50 to 100 times the estimate of a row, and a scan by codes measures some k anyway. */
static bool is_exact_cheaper(uint32_t n, uint32_t n_wanted, uint32_t k)
{
    return n_wanted / 16 <= k || n_wanted <= n / 64 + CODES_FIRST_MEASURED;
}

/* Room for candidates, and for lists. */
static bool reserve(struct search *s, struct codes_prepared *p)
{
    s->cap = p->cap != 0 ? p->cap : CODES_CANDIDATES_MIN;
    while (s->cap / 4 < s->top->k + CODES_FIRST_MEASURED) s->cap *= 2; /* k is below n / 16: no overflow */
    s->candidates = s->cap == p->cap ? p->candidates : arena_alloc(s->q->arena, s->cap * sizeof *s->candidates);
    if (s->candidates == NULL) return false;
    s->met = &p->met;
    codes_met_clear(&p->met);
    if (p->heap_cap >= s->codes->n_lists) return true;
    p->heap = arena_array(s->q->arena, s->codes->n_lists, sizeof *p->heap);
    if (p->heap == NULL) return false;
    p->heap_cap = s->codes->n_lists;
    return true;
}

enum err codes_search(const struct codes *c, const struct codes_rows *rows, struct query_vector *q,
                      const struct bitset *mask, float epsilon, struct topk *top, struct arena *a, struct errmsg *em)
{
    (void)a;
    CHECK(c->n > 0 && q->dim == c->dim && q->space == c->space);
    CHECK(mask == NULL || mask->n_bits == c->n);
    if (top->k == 0) return ERR_OK;
    uint32_t n_wanted = mask == NULL ? c->n : bitset_count(mask);
    if (is_exact_cheaper(c->n, n_wanted, top->k)) {
        exact_search(rows, c->n, q, mask, top);
        return ERR_OK;
    }
    struct codes_prepared *p = codes_prepare(c, q);
    if (p == NULL) goto no_memory;
    struct search s = {.codes = c,
                       .kernels = codes_kernels_at(distance_ops()->level),
                       .rows = rows,
                       .mask = mask,
                       .stop = c->n_lists > 0 ? codes_stop(c, epsilon) : 0,
                       .q = q,
                       .top = top};
    bool is_zero = c->space == SPACE_COSINE && p->length == 0; /* as far from everything */
    if (c->looks != NULL) epsilon += LOOKS_EPSILON_MORE;
    if (is_zero || !codes_target_init(&s.target, c, p, epsilon)) {
        exact_search(rows, c->n, q, mask, top);
        return ERR_OK;
    }
    if (!reserve(&s, p)) goto no_memory;
    s.limit = codes_limit(&s);
    bool is_done;
    if (c->n_lists > 0)
        is_done = scan_lists(&s, p);
    else if (c->looks != NULL)
        is_done = codes_scan_with_looks(&s, p);
    else
        is_done = scan_places(&s, 0, c->n) && codes_drain(&s, true);
    p->candidates = s.candidates;
    p->cap = s.cap;
    if (is_done && !s.is_short) return ERR_OK;
no_memory:
    return errmsg_set(em, ERR_NOMEM, "search by vector codes");
}
