/* exec_query.c - the k nearest rows for each query vector.
 *
 * The selection is evaluated once for all vectors of a request; each segment then searches itself under its mask and
 * offers rows with exact distances to one heap, whose bound tightens from segment to segment. Tails come last in the
 * snapshot but are searched first: they are exact and small, and give the fragments' scans a bound to begin with.
 */
#include "core/distance.h"
#include "core/executor_internal.h"

/* Up to so many candidates in all segments together every distance is computed: the answer is exact. */
enum { EXACT_CANDIDATES = 4096 };

static void note_plan(struct exec_stats *stats, const struct snapshot *s, bool is_exact, uint64_t n_rows,
                      const struct topk *top)
{
    uint64_t n_all = 0;
    for (uint32_t i = 0; i < s->n_segments; i++) n_all += s->segments[i].n_rows;
    stats->plans[is_exact ? EXEC_EXACT : n_rows < n_all ? EXEC_MASKED : EXEC_FULL]++;
    stats->n_candidates += n_rows;
    stats->n_measured += top->n_measured;
}

enum err exec_nearest(const struct snapshot *s, const struct segment_rows *rows, const float *v, uint32_t k,
                      struct arena *a, struct topk *top, struct errmsg *em)
{
    struct query_vector q;
    query_vector_init(&q, v, s->dim, s->space, a);
    uint64_t n_rows = 0;
    for (uint32_t i = 0; i < s->n_segments; i++) n_rows += rows[i].n;
    q.is_exact = n_rows <= EXACT_CANDIDATES;
    if (!topk_init(top, a, k < n_rows ? k : (uint32_t)n_rows)) return errmsg_set(em, ERR_NOMEM, "the best %u rows", k);
    for (uint32_t i = s->n_segments; i-- > 0;) {
        const struct segment *segment = s->segments[i].segment;
        const struct bitset *mask = rows[i].mask.words != NULL ? &rows[i].mask : NULL;
        if (rows[i].n == 0) continue;
        top->segment = i;
        enum err e = segment->ops->nearest(segment, s->segments[i].n_rows, &q, mask, rows[i].n, s->lsn, top, a, em);
        if (e != ERR_OK) return e;
    }
    if (s->stats != NULL) note_plan(s->stats, s, q.is_exact, n_rows, top);
    topk_sort(top);
    return ERR_OK;
}

enum err exec_query(const struct snapshot *s, const struct selection *sel, const float *queries, uint32_t n_queries,
                    uint32_t k, struct arena *a, struct hit ***hits_out, uint32_t **n_hits_out, struct errmsg *em)
{
    struct segment_rows *rows = NULL;
    struct hit **hits = arena_array(a, n_queries, sizeof *hits);
    uint32_t *n_hits = arena_array(a, n_queries, sizeof *n_hits);
    if (hits == NULL || n_hits == NULL) return errmsg_set(em, ERR_NOMEM, "%u queries", n_queries);
    enum err e = exec_select(s, sel, a, &rows, em);
    for (uint32_t i = 0; i < n_queries && e == ERR_OK; i++) {
        struct topk top;
        e = exec_nearest(s, rows, queries + (size_t)i * s->dim, k, a, &top, em);
        if (e != ERR_OK) break;
        hits[i] = top.heap;
        n_hits[i] = top.n;
    }
    if (e != ERR_OK) return e;
    *hits_out = hits;
    *n_hits_out = n_hits;
    return ERR_OK;
}
