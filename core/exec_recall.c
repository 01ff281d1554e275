/* exec_recall.c - how many of the true neighbours a query finds, measured on records of the collection itself.
 *
 * HAPPY PATH  a visible row is drawn; its vector is searched for as exec_query would, through codes and lists, and then by
 *             comparing every vector. Distances that are answered are exact either way, so a hit counts iff it is not farther than the
 *             k-th of the exact list: records at equal distances may stand for each other.
 * COST        an exact search reads all vectors. Memory: what a query takes, given back after each.
 * FAILURE     what a query meets.
 */
#include "core/distance.h"
#include "core/executor_internal.h"
#include "core/hash.h"

enum { TRIES = 16 }; /* draws until a visible row turns up */

static bool draw(const struct snapshot *s, uint64_t *state, struct row_ref *ref)
{
    uint64_t n_rows = 0;
    for (uint32_t i = 0; i < s->n_segments; i++) n_rows += s->segments[i].n_rows;
    for (int i = 0; i < TRIES && n_rows > 0; i++) {
        uint64_t at = splitmix64(state) % n_rows;
        uint32_t k = 0;
        while (at >= s->segments[k].n_rows) at -= s->segments[k++].n_rows;
        *ref = (struct row_ref){k, (uint32_t)at};
        if (segment_is_visible(s->segments[k].segment, ref->row, s->lsn)) return true;
    }
    return false;
}

static enum err nearest_exactly(const struct snapshot *s, const float *v, uint32_t k, struct arena *a, struct topk *top,
                                struct errmsg *em)
{
    struct query_vector q;
    query_vector_init(&q, v, s->dim, s->space, a);
    q.is_exact = true;
    if (!topk_init(top, a, k)) return errmsg_set(em, ERR_NOMEM, "the best %u rows", k);
    for (uint32_t i = 0; i < s->n_segments; i++) {
        const struct segment *segment = s->segments[i].segment;
        uint32_t n_rows = s->segments[i].n_rows;
        top->segment = i;
        enum err e = segment->ops->nearest(segment, n_rows, &q, NULL, n_rows, s->lsn, top, a, em);
        if (e != ERR_OK) return e;
    }
    topk_sort(top);
    return ERR_OK;
}

static enum err measure_one(const struct snapshot *s, struct row_ref ref, uint32_t k, struct exec_recall *out,
                            struct errmsg *em)
{
    struct arena a = {0};
    struct segment_rows *rows = NULL;
    const struct selection all = {0};
    struct row row = {0};
    struct topk found = {0}, wanted = {0};
    enum err e = exec_row(s, ref, ROW_VECTOR, &a, &row, em);
    if (e == ERR_OK) e = exec_select(s, &all, true, &a, &rows, em);
    if (e == ERR_OK) e = exec_nearest(s, rows, row.vector, k, &a, &found, em);
    if (e == ERR_OK) e = nearest_exactly(s, row.vector, k, &a, &wanted, em);
    if (e == ERR_OK && wanted.n > 0) {
        float farthest = wanted.heap[wanted.n - 1].distance;
        uint32_t n_found = 0;
        for (uint32_t i = 0; i < found.n && i < wanted.n; i++) n_found += found.heap[i].distance <= farthest;
        out->n_queries++;
        out->n_wanted += wanted.n;
        out->n_found += n_found;
    }
    arena_free(&a);
    return e;
}

enum err exec_recall(const struct snapshot *s, uint32_t n, uint32_t k, uint64_t seed, struct exec_recall *out,
                     struct errmsg *em)
{
    struct snapshot quiet = *s; /* these are nobody's queries */
    struct row_ref ref;
    enum err e = ERR_OK;
    quiet.stats = NULL;
    quiet.explain = NULL;
    for (uint32_t i = 0; i < n && e == ERR_OK; i++)
        if (draw(s, &seed, &ref)) e = measure_one(&quiet, ref, k, out, em);
    return e;
}
