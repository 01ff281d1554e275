/* codes_candidates.c - rows that may be among the nearest, from estimates to exact distances. See codes_search_internal.h.
 *
 * HAPPY PATH  candidates that are more likely than not below the limit are measured soon (codes_settle); the others wait.
 *             When the buffer is full, and at the end, the best by estimate are measured, which lowers the limit and drops most of
 *             the others, until no candidate is left (codes_drain).
 * FAILURE     short memory is reported; `top` may have got offers then.
 * INVARIANTS  the limit only falls. Each pass over the buffer measures at least one candidate or empties it. A row is
 *             asked for its visibility only when its distance could enter, so dead rows never take a place.
 */
#include "index/codes_search_internal.h"

enum {
    PREFETCH_AHEAD = 3,
    PREFETCH_LINES = 24, /* of a row, at most */
    MET_BITS_MIN = 10,
    MET_BITS_MAX = 31,
};

/* --- exact distances ---------------------------------------------------------------------------------------------- */

void codes_prefetch_row(const struct codes_rows *rows, const struct query_vector *q, uint32_t row)
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
        if (next < n_rows && next < mask->n_bits) codes_prefetch_row(rows, q, next);
        measure(rows, q, row, top);
        row = next;
    }
}

/* --- candidates --------------------------------------------------------------------------------------------------- */

float codes_limit(const struct search *s)
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

/* Hoare's FIND (Comm. ACM 4, 1961). */
void codes_select(struct codes_candidate *a, uint32_t n, uint32_t m)
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
    for (uint32_t i = 0; old.rows != NULL && i < met_size(&old); i++) {
        if (old.rows[i] != 0) *find_met(m, old.rows[i] - 1) = old.rows[i];
    }
    return true;
}

void codes_met_clear(struct codes_met *m)
{
    if (m->n > 0) memset(m->rows, 0, met_size(m) * sizeof *m->rows);
    m->n = 0;
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

void codes_measure_all(struct search *s, const struct codes_candidate *a, uint32_t n)
{
    for (uint32_t i = 0; i < n && i < PREFETCH_AHEAD; i++) codes_prefetch_row(s->rows, s->q, a[i].row);
    for (uint32_t i = 0; i < n; i++) {
        if (i + PREFETCH_AHEAD < n) codes_prefetch_row(s->rows, s->q, a[i + PREFETCH_AHEAD].row);
        if (a[i].lower > s->limit || is_met(s, a[i].row)) continue;
        measure(s->rows, s->q, a[i].row, s->top);
        s->limit = codes_limit(s);
    }
}

/* Measures the best m candidates and takes them out of the buffer. */
static void measure_best(struct search *s, uint32_t m)
{
    struct codes_candidate *a = s->candidates;
    if (m > s->n) m = s->n;
    codes_select(a, s->n, m);
    codes_measure_all(s, a, m);
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

bool codes_drain(struct search *s, bool all)
{
    for (uint32_t m = s->top->k + CODES_FIRST_MEASURED; s->n > 0; m += m / 2) {
        if (!all && s->n <= s->cap / 2) break;
        measure_best(s, m);
        prune(s);
        bool is_settled = s->top->n == s->top->k;
        if (!all && is_settled && s->n > s->cap / 2 && s->cap < CODES_CANDIDATES_MAX && !grow(s)) return false;
    }
    s->n_settled = s->n;
    return true;
}

void codes_settle(struct search *s)
{
    if (s->limit == INFINITY) { /* the first ones: only the best, for a limit */
        for (uint32_t m = s->top->k + CODES_FIRST_MEASURED; s->limit == INFINITY && s->n > 0; m += m / 2)
            measure_best(s, m);
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
    codes_measure_all(s, a + n, s->n - n);
    s->n = s->n_settled = n;
}
