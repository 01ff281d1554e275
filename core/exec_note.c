/* exec_note.c - what a read did, told to whoever wants to know: sums for metrics and logs, and query by query for an
 * explanation.
 *
 * COST       sums: a few additions a query. An explanation: a reading of the clock a selection, and nothing a row.
 * INVARIANT  the sums of all queries in an explanation are what the sums say.
 */
#include "core/clock.h"
#include "core/executor_internal.h"

void exec_explain_selection(const struct snapshot *s, const struct segment_rows *rows, uint64_t began_ns)
{
    struct exec_explain *x = s->explain;
    if (x == NULL) return;
    x->select_ns += clock_monotonic_ns() - began_ns;
    x->n_rows = 0;
    x->n_segments = s->n_segments;
    for (uint32_t i = 0; i < s->n_segments; i++) {
        x->n_rows += s->segments[i].n_rows;
        x->n_selected += rows[i].n;
    }
}

void exec_note_query(const struct snapshot *s, const struct exec_explain_query *q)
{
    if (s->stats != NULL) {
        s->stats->plans[q->plan]++;
        s->stats->n_candidates += q->n_candidates;
        s->stats->n_measured += q->n_measured;
    }
    if (s->explain == NULL) return;
    if (s->explain->n_queries < EXEC_EXPLAIN_QUERIES) s->explain->queries[s->explain->n_queries] = *q;
    if (s->explain->n_queries < UINT32_MAX) s->explain->n_queries++;
}

void exec_note_documents(const struct snapshot *s, const struct segment_rows *rows)
{
    if (s->stats == NULL) return;
    for (uint32_t i = 0; i < s->n_segments; i++) s->stats->n_documents += rows[i].rest.n_documents;
}
