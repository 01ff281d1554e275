/* codes_search.c - the nearest rows by codes, confirmed by exact distances.
 *
 * HAPPY PATH  the query is rotated once a request, its table made once a section. Blocks are scanned in order; a row
 *             whose lower bound is not above the limit (the k-th exact distance so far) becomes a candidate. When the
 *             buffer of candidates is full, the best by estimate are measured exactly, which lowers the limit and drops
 *             most of the others; at the end the same is repeated until no candidate is left. So a row is left out only
 *             because its lower bound is above the k-th distance.
 * FAILURE     short memory is reported; `top` may have got offers then.
 * INVARIANTS  the limit only falls. Each pass over the buffer measures at least one candidate or empties it. A row is
 *             asked for its visibility only when its distance could enter, so dead rows never take a place.
 */
#include "index/codes_internal.h"

#include <float.h>

#include "core/mem.h"
#include "index/rotation.h"

enum {
    CANDIDATES_MIN = 512,
    CANDIDATES_MAX = 1 << 15, /* beyond it candidates are measured rather than kept */
    FIRST_MEASURED = 16,      /* beyond k */
    PREFETCH_AHEAD = 3,
    PREFETCH_LINES = 24, /* of a row, at most */
};

struct candidate {
    float estimate, lower;
    uint32_t row;
};

/* What a query keeps between sections: query_vector.rotated. */
struct prepared {
    struct prepared *next; /* for another seed or size */
    uint64_t seed;
    uint32_t padded_dim;
    float *rotated;               /* Pq (cosine: of q normalised), padded_dim */
    double length;                /* of `rotated` */
    float *w;                     /* scratch: P(q - c) of the section at hand */
    uint8_t *table;               /* scratch: its table */
    struct candidate *candidates; /* scratch: the buffer as large as the last section needed it */
    uint32_t cap;
};

struct search {
    const struct codes *codes;
    const struct codes_rows *rows;
    struct query_vector *q;
    struct topk *top;
    struct codes_scan scan;
    float slack; /* what rounding may do to an estimate */
    float limit; /* lower bounds above it are of no use */
    struct candidate *candidates;
    uint32_t n, cap;
};

/* --- exact distances ---------------------------------------------------------------------------------------------- */

static void prefetch_row(const struct codes_rows *rows, const struct query_vector *q, uint32_t row)
{
    const float *v = rows->vectors + (size_t)row * q->dim;
    for (size_t i = 0; i < PREFETCH_LINES && 16 * i < q->dim; i++) __builtin_prefetch(v + 16 * i);
    if (q->space == SPACE_COSINE) __builtin_prefetch(rows->norm2 + row);
}

static void measure(const struct codes_rows *rows, const struct query_vector *q, uint32_t row, struct topk *top)
{
    float norm2 = q->space == SPACE_COSINE ? rows->norm2[row] : 0;
    float d = distance_exact(q, rows->vectors + (size_t)row * q->dim, norm2);
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

/* --- preparing ---------------------------------------------------------------------------------------------------- */

static struct prepared *prepared_new(const struct codes *c, struct query_vector *q)
{
    struct prepared *p = arena_zalloc(q->arena, sizeof *p);
    float *floats = arena_array(q->arena, c->padded_dim, 2 * sizeof(float));
    uint8_t *table = arena_array(q->arena, c->padded_dim, 4);
    if (p == NULL || floats == NULL || table == NULL) return NULL;
    *p = (struct prepared){.next = q->rotated,
                           .seed = c->seed,
                           .padded_dim = c->padded_dim,
                           .rotated = floats,
                           .w = floats + c->padded_dim,
                           .table = table};
    double factor = 1;
    if (q->space == SPACE_COSINE) {
        double norm2 = codes_dot(q->v, q->v, q->dim);
        factor = norm2 > 0 ? 1 / sqrt(norm2) : 0;
    }
    for (uint32_t d = 0; d < q->dim; d++) p->rotated[d] = (float)((double)q->v[d] * factor);
    rotation_apply(p->rotated, c->padded_dim, c->seed);
    p->length = sqrt(codes_dot(p->rotated, p->rotated, c->padded_dim));
    q->rotated = p;
    return p;
}

static struct prepared *prepare(const struct codes *c, struct query_vector *q)
{
    for (struct prepared *p = q->rotated; p != NULL; p = p->next) {
        if (p->seed == c->seed && p->padded_dim == c->padded_dim) return p;
    }
    return prepared_new(c, q);
}

/* Sets the table and the constants of the section. False when the query is too far away for estimates. */
static bool set_scan(struct search *s, struct prepared *p, float epsilon)
{
    const struct codes *c = s->codes;
    for (uint32_t d = 0; d < c->padded_dim; d++) p->w[d] = p->rotated[d] - c->centroid[d];
    double square = codes_dot(p->w, p->w, c->padded_dim);
    double centroid = sqrt(codes_dot(c->centroid, c->centroid, c->padded_dim)), reach = (p->length + centroid);
    if (!(reach * reach <= (double)CODES_SQUARE_MAX)) return false;
    codes_table(p->w, c->padded_dim, p->table, &s->scan);

    /* Rounding n table entries to whole steps adds an error of deviation sigma = step sqrt(n / 12) to <s, w>, which f
     * multiplies. err >= f sqrt(0.1) by construction, so both together are within 2 err sqrt(|w|^2 + 10 sigma^2).
     * w itself is off by the rounding of two rotations; |r| <= err sqrt(10 D) carries that over. */
    double dims = c->padded_dim, step = (double)s->scan.step;
    double deviation = sqrt(square + 10 * step * step * (s->scan.n_groups / 12.0));
    double rounding = sqrt(10 * dims) * 0x1p-22 * reach;
    s->scan.margin = (float)(2 * ((double)epsilon * deviation + rounding));
    double base = square, slack = 0x1p-18 * square;
    if (c->space == SPACE_IP) {
        base = -2 * codes_dot(p->rotated, c->centroid, c->padded_dim);
        slack += 0x1p-18 * (p->length * centroid);
    }
    if (c->space != SPACE_L2) slack += 0x1p-20; /* 1 - x rounds to units of 2^-24 however small it is */
    s->scan.base = (float)base;
    s->slack = (float)slack;
    return true;
}

/* --- candidates --------------------------------------------------------------------------------------------------- */

/* The k-th distance in the unit of estimates. */
static float limit_now(const struct search *s)
{
    float bound = topk_bound(s->top);
    switch (s->codes->space) {
    case SPACE_COSINE:
        bound *= 2;
        break;
    case SPACE_IP:
        bound = 2 * (bound - 1);
        break;
    case SPACE_L2:
        break;
    }
    return bound + s->slack;
}

/* Reorders so that the m with the smallest estimates come first (Hoare's selection). No estimate is NaN. */
static void select_best(struct candidate *a, uint32_t n, uint32_t m)
{
    if (m >= n) return;
    int64_t low = 0, high = (int64_t)n - 1, wanted = (int64_t)m - 1;
    while (low < high) {
        float pivot = a[low + (high - low) / 2].estimate;
        int64_t i = low - 1, j = high + 1;
        for (;;) {
            do i++;
            while (a[i].estimate < pivot);
            do j--;
            while (a[j].estimate > pivot);
            if (i >= j) break;
            struct candidate t = a[i];
            a[i] = a[j];
            a[j] = t;
        }
        if (wanted <= j)
            high = j;
        else
            low = j + 1;
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

/* Measures the best m candidates and takes them out of the buffer. */
static void measure_best(struct search *s, uint32_t m)
{
    struct candidate *a = s->candidates;
    if (m > s->n) m = s->n;
    select_best(a, s->n, m);
    for (uint32_t i = 0; i < m && i < PREFETCH_AHEAD; i++) prefetch_row(s->rows, s->q, a[i].row);
    for (uint32_t i = 0; i < m; i++) {
        if (i + PREFETCH_AHEAD < m) prefetch_row(s->rows, s->q, a[i + PREFETCH_AHEAD].row);
        if (a[i].lower > s->limit) continue;
        measure(s->rows, s->q, a[i].row, s->top);
        s->limit = limit_now(s);
    }
    s->n -= m;
    memmove(a, a + m, s->n * sizeof *a);
}

static bool grow(struct search *s)
{
    struct candidate *bigger = arena_alloc(s->q->arena, 2 * (size_t)s->cap * sizeof *bigger);
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
        if (!all && s->n <= s->cap / 2) return true;
        measure_best(s, m);
        prune(s);
        bool is_settled = s->top->n == s->top->k;
        if (!all && is_settled && s->n > s->cap / 2 && s->cap < CANDIDATES_MAX) return grow(s);
    }
    return true;
}

/* --- the search --------------------------------------------------------------------------------------------------- */

static bool scan_blocks(struct search *s, const struct bitset *mask)
{
    const struct codes *c = s->codes;
    const struct codes_kernels *kernels = codes_kernels_at(distance_ops()->level);
    const size_t block_bytes = (size_t)c->padded_dim * 4;
    uint32_t n_blocks = codes_n_blocks(c->n);
    for (uint32_t b = 0; b < n_blocks; b++) {
        uint32_t wanted = mask == NULL ? UINT32_MAX : (uint32_t)(mask->words[b / 2] >> (b % 2 * 32));
        if (b == n_blocks - 1 && c->n % 32 != 0) wanted &= (UINT32_C(1) << (c->n % 32)) - 1;
        if (wanted == 0) continue;
        float estimate[CODES_BLOCK_ROWS], lower[CODES_BLOCK_ROWS];
        uint32_t hits =
            wanted & kernels->scan(c->blocks + b * block_bytes, c->factors + (size_t)b * CODES_BLOCK_FACTORS, &s->scan,
                                   s->limit, estimate, lower);
        for (; hits != 0; hits &= hits - 1) {
            unsigned i = (unsigned)__builtin_ctz(hits);
            float e = isnan(estimate[i]) ? -INFINITY : estimate[i];
            s->candidates[s->n++] = (struct candidate){e, lower[i], b * CODES_BLOCK_ROWS + i};
        }
        if (s->cap - s->n < CODES_BLOCK_ROWS && !drain(s, false)) return false;
    }
    return drain(s, true);
}

/* An exact distance costs some 50 to 100 times the estimate of a row, and a scan by codes measures some k anyway. */
static bool is_exact_cheaper(uint32_t n, uint32_t n_wanted, uint32_t k)
{
    return n_wanted / 16 <= k || n_wanted <= n / 64 + FIRST_MEASURED;
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
    struct prepared *p = prepare(c, q);
    if (p == NULL) goto no_memory;
    struct search s = {.codes = c, .rows = rows, .q = q, .top = top};
    bool is_zero = c->space == SPACE_COSINE && p->length == 0; /* as far from everything */
    if (is_zero || !set_scan(&s, p, epsilon)) {
        exact_search(rows, c->n, q, mask, top);
        return ERR_OK;
    }
    s.cap = p->cap != 0 ? p->cap : CANDIDATES_MIN;
    while (s.cap / 4 < top->k + FIRST_MEASURED) s.cap *= 2; /* k is below n / 16: no overflow */
    s.candidates = s.cap == p->cap ? p->candidates : arena_alloc(q->arena, s.cap * sizeof *s.candidates);
    if (s.candidates == NULL) goto no_memory;
    s.limit = limit_now(&s);
    bool is_done = scan_blocks(&s, mask);
    p->candidates = s.candidates;
    p->cap = s.cap;
    if (is_done) return ERR_OK;
no_memory:
    return errmsg_set(em, ERR_NOMEM, "search by vector codes");
}
