/* exec_query.c - the k nearest rows for each query vector.
 *
 * The selection is evaluated once for all vectors of a request; each segment then searches itself under its mask and
 * offers rows with exact distances to one heap, whose bound tightens from segment to segment. Tails come last in the
 * snapshot but are searched first: they are exact and small, and give the fragments' scans a bound to begin with.
 */
#include "core/distance.h"
#include "core/executor_internal.h"

/* Up to so many candidates in all segments together every distance is computed: the answer is exact. Beyond it scanning
 * codes costs less than fetching the vectors of rows that lie anywhere (some 0.15 us each). */
enum { EXACT_CANDIDATES = 1024 };

enum { SPARE_ROWS = 2, OPEN_ROUNDS = 3 };

static uint64_t count_rows(const struct snapshot *s, const struct segment_rows *rows)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < s->n_segments; i++) n += rows[i].n;
    return n;
}

static enum exec_plan plan_of(const struct snapshot *s, const struct query_vector *q, uint64_t n_rows)
{
    uint64_t n_all = 0;
    for (uint32_t i = 0; i < s->n_segments; i++) n_all += s->segments[i].n_rows;
    return q->is_exact ? EXEC_EXACT : n_rows < n_all ? EXEC_MASKED : EXEC_FULL;
}

/* The k nearest rows of the masks, open ones included. Adds what it did to `note`. */
static enum err nearest_of_masks(const struct snapshot *s, const struct segment_rows *rows, struct query_vector *q,
                                 uint32_t k, struct arena *a, struct topk *top, struct exec_explain_query *note,
                                 struct errmsg *em)
{
    uint64_t n_rows = count_rows(s, rows);
    q->is_exact = n_rows <= EXACT_CANDIDATES;
    if (!topk_init(top, a, k < n_rows ? k : (uint32_t)n_rows)) return errmsg_set(em, ERR_NOMEM, "the best %u rows", k);
    for (uint32_t i = s->n_segments; i-- > 0;) {
        const struct segment *segment = s->segments[i].segment;
        const struct bitset *mask = rows[i].mask.words != NULL ? &rows[i].mask : NULL;
        if (rows[i].n == 0) continue;
        top->segment = i;
        enum err e = segment->ops->nearest(segment, s->segments[i].n_rows, q, mask, rows[i].n, s->lsn, top, a, em);
        if (e != ERR_OK) return e;
    }
    note->plan = plan_of(s, q, n_rows);
    note->n_candidates += n_rows;
    note->n_measured += top->n_measured;
    topk_sort(top);
    return ERR_OK;
}

/* Decides the rows of `top`, best first, until k of them match; the others leave the list and the masks. */
static enum err settle_best(const struct snapshot *s, struct segment_rows *rows, uint32_t k, struct topk *top,
                            struct errmsg *em)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < top->n && kept < k; i++) {
        struct hit hit = top->heap[i];
        struct segment_rows *r = &rows[hit.segment];
        if (r->rest.n > 0 && bitset_get(&r->rest.open, hit.row)) {
            const struct segment *segment = s->segments[hit.segment].segment;
            enum err e = segment->ops->settle(segment, &r->rest, &r->mask, hit.row, hit.row + 1, em);
            if (e != ERR_OK) return e;
            if (!bitset_get(&r->mask, hit.row)) {
                r->n--;
                continue;
            }
        }
        top->heap[kept++] = hit;
    }
    top->n = kept;
    return ERR_OK;
}

static enum err settle_all(const struct snapshot *s, struct segment_rows *rows, struct errmsg *em)
{
    for (uint32_t i = 0; i < s->n_segments; i++) {
        struct segment_rows *r = &rows[i];
        const struct segment *segment = s->segments[i].segment;
        if (r->rest.n == 0) continue;
        enum err e = segment->ops->settle(segment, &r->rest, &r->mask, 0, s->segments[i].n_rows, em);
        if (e != ERR_OK) return e;
        r->rest.n = 0;
        r->n = bitset_count(&r->mask);
    }
    return ERR_OK;
}

static bool has_open_rows(const struct snapshot *s, const struct segment_rows *rows)
{
    for (uint32_t i = 0; i < s->n_segments; i++)
        if (rows[i].rest.n > 0) return true;
    return false;
}

/* As exec_nearest; adds what it did to `note`. */
static enum err nearest_settled(const struct snapshot *s, struct segment_rows *rows, struct query_vector *q, uint32_t k,
                                struct arena *a, struct topk *top, struct exec_explain_query *note, struct errmsg *em)
{
    /* Most open rows match, as a rule: some more than k are asked for, and only as many documents read as it takes. */
    uint64_t wanted = (uint64_t)k + k / 8 + SPARE_ROWS;
    for (int round = 0; has_open_rows(s, rows); round++, wanted *= 4) {
        uint64_t n_rows = count_rows(s, rows);
        enum err e;
        if (round == OPEN_ROUNDS || wanted >= n_rows / 4) {
            if ((e = settle_all(s, rows, em)) != ERR_OK) return e;
            break;
        }
        e = nearest_of_masks(s, rows, q, (uint32_t)wanted, a, top, note, em);
        bool is_all = e == ERR_OK && top->n < wanted;
        if (e == ERR_OK) e = settle_best(s, rows, k, top, em);
        if (e != ERR_OK || top->n == k || is_all) return e;
    }
    return nearest_of_masks(s, rows, q, k, a, top, note, em);
}

enum err exec_nearest(const struct snapshot *s, struct segment_rows *rows, const float *v, uint32_t k, struct arena *a,
                      struct topk *top, struct errmsg *em)
{
    struct query_vector q;
    struct exec_explain_query note = {.n_selected = count_rows(s, rows)};
    query_vector_init(&q, v, s->dim, s->space, a);
    q.effort = s->effort;
    enum err e = nearest_settled(s, rows, &q, k, a, top, &note, em);
    if (e == ERR_OK) exec_note_query(s, &note);
    return e;
}

enum err exec_query(const struct snapshot *s, const struct selection *sel, const float *queries, uint32_t n_queries,
                    uint32_t k, struct arena *a, struct hit ***hits_out, uint32_t **n_hits_out, struct errmsg *em)
{
    struct segment_rows *rows = NULL;
    struct hit **hits = arena_array(a, n_queries, sizeof *hits);
    uint32_t *n_hits = arena_array(a, n_queries, sizeof *n_hits);
    if (hits == NULL || n_hits == NULL) return errmsg_set(em, ERR_NOMEM, "%u queries", n_queries);
    enum err e = exec_select(s, sel, true, a, &rows, em);
    for (uint32_t i = 0; i < n_queries && e == ERR_OK; i++) {
        struct topk top;
        e = exec_nearest(s, rows, queries + (size_t)i * s->dim, k, a, &top, em);
        if (e != ERR_OK) break;
        hits[i] = top.heap;
        n_hits[i] = top.n;
    }
    if (e != ERR_OK) return e;
    exec_note_documents(s, rows);
    *hits_out = hits;
    *n_hits_out = n_hits;
    return ERR_OK;
}
