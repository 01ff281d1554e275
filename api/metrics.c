/* metrics.c - counting requests. See metrics.h. Knows no routes, so that a test of the server needs none.
 */
#include "api/metrics.h"

#include <time.h>

const unsigned metrics_refusals[METRICS_REFUSALS] = {401, 403, 413, 415, 429, 503, 507};

void metrics_init(struct metrics *m)
{
    struct timespec t;
    memset(m, 0, sizeof *m);
    (void)clock_gettime(CLOCK_REALTIME, &t); /* cannot fail with this clock */
    m->started_s = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void count_records(struct metrics *m, const struct metrics_request *r)
{
    if (r->records != 0) metrics_add(r->group == METRICS_WRITE ? &m->records_in : &m->records_out, r->records);
    for (unsigned i = 0; i < EXEC_PLANS; i++)
        if (r->did.plans[i] != 0) metrics_add(&m->plans[i], r->did.plans[i]);
    if (r->did.n_candidates != 0) metrics_add(&m->candidates, r->did.n_candidates);
    if (r->did.n_measured != 0) metrics_add(&m->measured, r->did.n_measured);
    if (r->did.n_documents != 0) metrics_add(&m->documents, r->did.n_documents);
}

void metrics_count(struct metrics *m, const struct metrics_request *r)
{
    CHECK(r->operation < METRICS_OPERATIONS_MAX && r->group < METRICS_GROUPS && "an operation of the route table");
    if (r->bytes_in != 0) metrics_add(&m->bytes_in, r->bytes_in);
    if (r->status == 0) {
        metrics_add(&m->n_aborted, 1);
        return;
    }
    CHECK(r->status >= 100 && r->status < 600 && "a status of HTTP");
    metrics_add(&m->requests[r->operation][r->status / 100 - 1], 1);
    for (unsigned i = 0; i < METRICS_REFUSALS && r->status >= 400; i++)
        if (metrics_refusals[i] == r->status) metrics_add(&m->refused[i], 1);
    histogram_add(&m->duration[r->group], r->duration_ns);
    if (r->was_queued) histogram_add(&m->queued, r->queued_ns);
    if (r->bytes_out != 0) metrics_add(&m->bytes_out, r->bytes_out);
    count_records(m, r);
}
