/* codes_search.c - the nearest rows by codes, confirmed by exact distances.
 *
 * HAPPY PATH  without lists, blocks are scanned in order; with lists, list by list, nearest first. A row whose lower bound
 *             is not above the limit (the k-th exact distance so far) becomes a candidate. Candidates that are more
 *             likely than not below the limit are measured exactly after each list; the others wait. When the buffer is
 *             full, and at the end, the best by estimate are measured, which lowers the limit and drops most of the
 *             others, until no candidate is left. So in what was scanned a row is left out only because its lower bound
 *             is above the k-th distance.
 * FAILURE     short memory is reported; `top` may have got offers then.
 * INVARIANTS  the limit only falls. Each pass over the buffer measures at least one candidate or empties it. A row is
 *             asked for its visibility only when its distance could enter, so dead rows never take a place.
 */
#include "index/codes_internal.h"

enum {
    CANDIDATES_MIN = 512,
    CANDIDATES_MAX = 1 << 15, /* beyond it candidates are measured rather than kept */
    FIRST_MEASURED = 2,       /* beyond k: a limit is wanted, and more than that may be measured in vain */
    PREFETCH_AHEAD = 3,
    PREFETCH_LINES = 24, /* of a row, at most */
    FRESH_PREFETCHED = 8,
    AHEAD = 2, /* blocks */
    MET_BITS_MIN = 10,
    MET_BITS_MAX = 31,
};

/* Lists whose centroid is within so many limits are looked at whatever the rule says: where the limit lies beyond the
 * cluster that the query is in, the rule, fitted to neighbours within clusters, knows nothing. */
#define AT_LEAST 1.1f

struct search {
    const struct codes *codes;
    const struct codes_kernels *kernels;
    const struct codes_rows *rows;
    const struct bitset *mask; /* NULL: all rows */
    struct query_vector *q;
    struct topk *top;
    struct codes_target target;
    float limit; /* lower bounds above it are of no use */
    float stop;  /* of the rule that stops a search of lists */
    struct codes_candidate *candidates;
    uint32_t n, cap;
    uint32_t n_settled; /* candidates in front that wait for the end */
    bool is_short;      /* of memory: what was found is not to be used */
    struct codes_met *met;
};

/* --- exact distances ---------------------------------------------------------------------------------------------- */

static void prefetch_row(const struct codes_rows *rows, const struct query_vector *q, uint32_t row)
{
    const float *v = rows->vectors + (size_t)row * q->dim;
    for (size_t i = 0; i < PREFETCH_LINES && 16 * i < q->dim; i++) __builtin_prefetch(v + 16 * i);
    if (q->space == SPACE_COSINE && rows->norm2 != NULL) __builtin_prefetch(rows->norm2 + row);
}

static void measure(const struct codes_rows *rows, const struct query_vector *q, uint32_t row, struct topk *top)
{
    const float *v = rows->vectors + (size_t)row * q->dim;
    float norm2 = 0;
    if (q->space == SPACE_COSINE) norm2 = rows->norm2 != NULL ? rows->norm2[row] : distance_ops()->dot(v, v, q->dim);
    float d = distance_exact(q, v, norm2);
    top->n_measured++;
    if (d > topk_bound(top) || !rows->is_visible(rows->ctx, row)) return;
    topk_offer(top, d, rows->ordinal(rows->ctx, row), row);
}

void exact_search(const struct codes_rows *rows, uint32_t n_rows, struct query_vector *q, const struct bitset *mask,
                  struct topk *top)
{
    if (top->k == 0) return;
    if (mask == NULL) {
        for (uint32_t row = 0; row < n_rows; row++) measure(rows, q, row, top);
        return;
    }
    uint32_t row = bitset_next(mask, 0);
    while (row < n_rows && row < mask->n_bits) {
        uint32_t next = bitset_next(mask, row + 1);
        if (next < n_rows && next < mask->n_bits) prefetch_row(rows, q, next);
        measure(rows, q, row, top);
        row = next;
    }
}

/* --- candidates --------------------------------------------------------------------------------------------------- */

/* The k-th distance in the unit of estimates. */
static float limit_now(const struct search *s)
{
    return codes_in_estimates(s->codes->space, topk_bound(s->top)) + s->target.slack;
}

/* Moves the candidates of a[from, to) whose estimate is below the pivot (or_equal: not above it) to the front; the first place
 * behind them. Without a branch on an estimate: that would be guessed wrong every other time. */
static uint32_t partition(struct codes_candidate *a, uint32_t from, uint32_t to, float pivot, bool or_equal)
{
    uint32_t end = from;
    for (uint32_t i = from; i < to; i++) {
        struct codes_candidate t = a[i];
        a[i] = a[end];
        a[end] = t;
        end += (t.estimate < pivot) | (or_equal & (t.estimate == pivot));
    }
    return end;
}

/* Reorders so that the m with the smallest estimates come first (Hoare's FIND, Comm. ACM 4, 1961). No estimate is NaN. */
static void select_best(struct codes_candidate *a, uint32_t n, uint32_t m)
{
    uint32_t low = 0, high = n; /* the m-th is among a[low, high) */
    while (low < m && m < high) {
        uint32_t last = high - 1, middle = low + (high - low) / 2;
        struct codes_candidate t = a[middle];
        a[middle] = a[last];
        a[last] = t;
        uint32_t end = partition(a, low, last, t.estimate, false);
        a[last] = a[end];
        a[end] = t;
        bool is_lopsided = end - low < (high - low) / 16; /* as where many rows are alike */
        if (m <= end)
            high = end;
        else
            low = is_lopsided ? partition(a, end + 1, high, t.estimate, true) : end + 1;
    }
}

/* Drops candidates above the limit. */
static void prune(struct search *s)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        s->candidates[kept] = s->candidates[i];
        kept += !(s->candidates[i].lower > s->limit);
    }
    s->n = kept;
}

static uint32_t met_size(const struct codes_met *m)
{
    return m->rows != NULL ? UINT32_C(1) << m->bits : 0;
}

/* Where row is, or is to go, in a table that has room. */
static uint32_t *find_met(const struct codes_met *m, uint32_t row)
{
    uint32_t at = (row * UINT32_C(2654435769)) >> (32 - m->bits);
    while (m->rows[at] != 0 && m->rows[at] != row + 1) at = (at + 1) & (met_size(m) - 1);
    return &m->rows[at];
}

static bool grow_met(struct codes_met *m, struct arena *a)
{
    const struct codes_met old = *m;
    uint32_t bits = old.rows != NULL ? old.bits + 1 : MET_BITS_MIN;
    uint32_t *rows = bits <= MET_BITS_MAX ? arena_array(a, (size_t)1 << bits, sizeof *rows) : NULL;
    if (rows == NULL) return false;
    *m = (struct codes_met){rows, old.n, bits};
    for (uint32_t i = 0; i < met_size(&old); i++) {
        if (old.rows[i] != 0) *find_met(m, old.rows[i] - 1) = old.rows[i];
    }
    return true;
}

/* A row that is in two lists comes up twice: is this the second time? */
static bool is_met(struct search *s, uint32_t row)
{
    struct codes_met *m = s->met;
    if (s->codes->copies < 2) return false;
    if (m->n >= met_size(m) / 2 && !grow_met(m, s->q->arena)) s->is_short = true;
    if (s->is_short) return true;
    uint32_t *at = find_met(m, row);
    if (*at != 0) return true;
    *at = row + 1;
    m->n++;
    return false;
}

/* Measures candidates a[0, n), those that can still enter. */
static void measure_all(struct search *s, const struct codes_candidate *a, uint32_t n)
{
    for (uint32_t i = 0; i < n && i < PREFETCH_AHEAD; i++) prefetch_row(s->rows, s->q, a[i].row);
    for (uint32_t i = 0; i < n; i++) {
        if (i + PREFETCH_AHEAD < n) prefetch_row(s->rows, s->q, a[i + PREFETCH_AHEAD].row);
        if (a[i].lower > s->limit || is_met(s, a[i].row)) continue;
        measure(s->rows, s->q, a[i].row, s->top);
        s->limit = limit_now(s);
    }
}

/* Measures the best m candidates and takes them out of the buffer. */
static void measure_best(struct search *s, uint32_t m)
{
    struct codes_candidate *a = s->candidates;
    if (m > s->n) m = s->n;
    select_best(a, s->n, m);
    measure_all(s, a, m);
    s->n -= m;
    memmove(a, a + m, s->n * sizeof *a);
}

static bool grow(struct search *s)
{
    struct codes_candidate *bigger = arena_alloc(s->q->arena, 2 * (size_t)s->cap * sizeof *bigger);
    if (bigger == NULL) return false;
    memcpy(bigger, s->candidates, s->n * sizeof *bigger);
    s->candidates = bigger;
    s->cap *= 2;
    return true;
}

/* Measures until no candidate is left (`all`), or until the buffer is at most half full, if need be after growing. */
static bool drain(struct search *s, bool all)
{
    for (uint32_t m = s->top->k + FIRST_MEASURED; s->n > 0; m += m / 2) {
        if (!all && s->n <= s->cap / 2) break;
        measure_best(s, m);
        prune(s);
        bool is_settled = s->top->n == s->top->k;
        if (!all && is_settled && s->n > s->cap / 2 && s->cap < CANDIDATES_MAX && !grow(s)) return false;
    }
    s->n_settled = s->n;
    return true;
}

/* Measures new candidates whose estimate is within the limit. */
static void settle(struct search *s)
{
    if (s->limit == INFINITY) { /* the first ones: only the best, for a limit */
        for (uint32_t m = s->top->k + FIRST_MEASURED; s->limit == INFINITY && s->n > 0; m += m / 2) measure_best(s, m);
        prune(s);
        s->n_settled = 0;
    }
    struct codes_candidate *a = s->candidates;
    uint32_t n = s->n;
    for (uint32_t i = s->n_settled; i < n;) { /* those to measure go to the end */
        if (a[i].estimate > s->limit) {
            i++;
            continue;
        }
        struct codes_candidate t = a[i];
        a[i] = a[--n];
        a[n] = t;
    }
    measure_all(s, a + n, s->n - n);
    s->n = s->n_settled = n;
}

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

static void prefetch_bytes(const void *p, size_t n)
{
    for (size_t i = 0; i < n; i += 64) __builtin_prefetch((const char *)p + i);
}

/* The codes that are looked at first, and the factors, of a block of a list. */
static void prefetch_block(const struct codes *c, size_t b)
{
    prefetch_bytes(c->blocks + b * c->first_dims * 4, (size_t)c->first_dims * 4);
    prefetch_bytes(c->factors + b * CODES_BLOCK_FACTORS, CODES_BLOCK_FACTORS * sizeof(float));
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
            prefetch_bytes(c->rests + b * rest_bytes, rest_bytes);
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
        if (s->cap - s->n < CODES_BLOCK_ROWS && !drain(s, false)) return false;
    }
    return true;
}

/* What will be read first of a list. */
static void prefetch_list(const struct codes *c, uint32_t list)
{
    size_t b = c->starts[list] / CODES_BLOCK_ROWS;
    for (size_t i = 0; i < AHEAD && (b + i) * CODES_BLOCK_ROWS < c->starts[list + 1]; i++) prefetch_block(c, b + i);
}

/* Rows that `settle` will measure. */
static void prefetch_fresh(const struct search *s)
{
    uint32_t left = FRESH_PREFETCHED;
    for (uint32_t i = s->n_settled; i < s->n && left > 0; i++) {
        if (s->candidates[i].estimate > s->limit) continue;
        prefetch_row(s->rows, s->q, s->candidates[i].row);
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
        settle(s);
        if (is_wanted && list.distance > reach_now(s, p, &it)) /* the limit has fallen */
            is_wanted = codes_lists_next(&it, reach_now(s, p, &it), &list);
    }
    return drain(s, true);
}

/* An exact distance costs some 50 to 100 times the estimate of a row, and a scan by codes measures some k anyway. */
static bool is_exact_cheaper(uint32_t n, uint32_t n_wanted, uint32_t k)
{
    return n_wanted / 16 <= k || n_wanted <= n / 64 + FIRST_MEASURED;
}

/* Room for candidates, and for lists. */
static bool reserve(struct search *s, struct codes_prepared *p)
{
    s->cap = p->cap != 0 ? p->cap : CANDIDATES_MIN;
    while (s->cap / 4 < s->top->k + FIRST_MEASURED) s->cap *= 2; /* k is below n / 16: no overflow */
    s->candidates = s->cap == p->cap ? p->candidates : arena_alloc(s->q->arena, s->cap * sizeof *s->candidates);
    if (s->candidates == NULL) return false;
    s->met = &p->met;
    if (p->met.n > 0) memset(p->met.rows, 0, met_size(&p->met) * sizeof *p->met.rows);
    p->met.n = 0;
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
    if (is_zero || !codes_target_init(&s.target, c, p, epsilon)) {
        exact_search(rows, c->n, q, mask, top);
        return ERR_OK;
    }
    if (!reserve(&s, p)) goto no_memory;
    s.limit = limit_now(&s);
    bool is_done = c->n_lists > 0 ? scan_lists(&s, p) : scan_places(&s, 0, c->n) && drain(&s, true);
    p->candidates = s.candidates;
    p->cap = s.cap;
    if (is_done && !s.is_short) return ERR_OK;
no_memory:
    return errmsg_set(em, ERR_NOMEM, "search by vector codes");
}
