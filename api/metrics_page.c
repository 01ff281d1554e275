/* metrics_page.c - GET /metrics: everything that the program knows about itself, as text for Prometheus.
 *
 * HAPPY PATH  one function a group of rows: the program, requests, queries, threads, log, compactor, data, process.
 *             Runs on the pool, since it walks all collections and reads /proc.
 * QUERY       ?collections=true adds up to five rows a collection, ?tenants=true one a tenant and counter of limits.h. A scraper
 *             should not ask when there are thousands.
 * FAILURE     memory: 503. What cannot be read of /proc is left out.
 * INVARIANT   a family is written once, by one function.
 */
#include "api/metrics_page.h"

#include "api/answer.h"
#include "api/routes.h"
#include "core/pool.h"

static void put_program(struct exposition *e, const struct api *a)
{
    const struct exposition_label labels[] = {LABEL("version", str_from_c(a->options.version)),
                                              LABEL("compiler", STR(__VERSION__))};
    exposition_begin(e, "chroma_build_info", EXPOSITION_GAUGE, "The program that runs; always 1.");
    exposition_uint(e, labels, 2, 1);
}

/* --- requests ---------------------------------------------------------------------------------------------------- */

static void put_operation(struct exposition *e, const struct metrics *m, unsigned operation, const char *name)
{
    static const char *const classes[METRICS_CLASSES] = {"1xx", "2xx", "3xx", "4xx", "5xx"};
    for (unsigned i = 0; i < METRICS_CLASSES; i++) {
        uint64_t n = metrics_get(&m->requests[operation][i]);
        bool is_usual = i == 1 || i >= 3; /* there from the start, so that a first request is an increase */
        if (n == 0 && !is_usual) continue;
        const struct exposition_label labels[] = {LABEL("operation", str_from_c(name)),
                                                  LABEL("class", str_from_c(classes[i]))};
        exposition_uint(e, labels, 2, n);
    }
}

static void put_counts(struct exposition *e, const struct metrics *m)
{
    exposition_begin(e, "chroma_http_requests_total", EXPOSITION_COUNTER,
                     "Requests answered, by operation and class of status.");
    put_operation(e, m, METRICS_NO_ROUTE, "none");
    put_operation(e, m, METRICS_UNLISTED, "unlisted");
    for (unsigned i = 0; i < api_n_routes; i++)
        if (api_routes[i].id != NULL) put_operation(e, m, METRICS_FIRST_ROW + i, api_routes[i].id);

    exposition_begin(e, "chroma_http_refused_total", EXPOSITION_COUNTER,
                     "Of these, requests refused for who asks, for their size or kind, or for want of room.");
    for (unsigned i = 0; i < METRICS_REFUSALS; i++) {
        char status[4] = {(char)('0' + metrics_refusals[i] / 100), (char)('0' + metrics_refusals[i] / 10 % 10),
                          (char)('0' + metrics_refusals[i] % 10)};
        const struct exposition_label label = LABEL("status", str_from_c(status));
        exposition_uint(e, &label, 1, metrics_get(&m->refused[i]));
    }
    exposition_counter(e, "chroma_http_aborted_total", "Requests whose client went away before the answer.",
                       metrics_get(&m->n_aborted));
    exposition_counter(e, "chroma_http_request_body_bytes_total", "Bytes of bodies received.",
                       metrics_get(&m->bytes_in));
    exposition_counter(e, "chroma_http_response_body_bytes_total", "Bytes of bodies of answers.",
                       metrics_get(&m->bytes_out));
}

static void put_durations(struct exposition *e, const struct metrics *m)
{
    static const char *const groups[METRICS_GROUPS] = {
        [METRICS_SYSTEM] = "system", [METRICS_READ] = "read", [METRICS_WRITE] = "write", [METRICS_SEARCH] = "search"};
    struct histogram_counts counts;
    exposition_begin(e, "chroma_http_request_duration_seconds", EXPOSITION_HISTOGRAM,
                     "From the headers of a request to the end of its answer.");
    for (unsigned i = 0; i < METRICS_GROUPS; i++) {
        const struct exposition_label label = LABEL("group", str_from_c(groups[i]));
        histogram_read(&m->duration[i], &counts);
        exposition_histogram(e, &label, 1, &counts);
    }
    exposition_begin(e, "chroma_executor_wait_seconds", EXPOSITION_HISTOGRAM, "How long requests waited for a thread.");
    histogram_read(&m->queued, &counts);
    exposition_histogram(e, NULL, 0, &counts);
}

static void put_present(struct exposition *e, const struct metrics *m)
{
    exposition_gauge(e, "chroma_http_requests_in_progress", "Requests between their headers and the end of the answer.",
                     metrics_get(&m->in_progress));
    exposition_gauge(e, "chroma_http_requests_in_flight", "Of these, requests with a thread, its queue or the log.",
                     metrics_get(&m->in_flight));
    exposition_gauge(e, "chroma_http_connections", "Open connections.", metrics_get(&m->connections));
    exposition_gauge(e, "chroma_http_held_body_bytes", "Bytes of bodies held in memory.", metrics_get(&m->body_bytes));
    exposition_counter(e, "chroma_request_log_lines_total", "Lines written to the request log.",
                       metrics_get(&m->log_lines));
    exposition_counter(e, "chroma_request_log_dropped_total", "Lines lost since the log could not keep up.",
                       metrics_get(&m->log_dropped));
}

static void put_requests(struct exposition *e, const struct metrics *m)
{
    put_counts(e, m);
    put_durations(e, m);
    put_present(e, m);
}

/* --- what requests did ------------------------------------------------------------------------------------------- */

static void put_queries(struct exposition *e, const struct metrics *m)
{
    static const char *const plans[EXEC_PLANS] = {
        [EXEC_EXACT] = "exact", [EXEC_MASKED] = "masked_scan", [EXEC_FULL] = "full_scan", [EXEC_SPARSE] = "sparse"};
    exposition_begin(e, "chroma_query_plans_total", EXPOSITION_COUNTER,
                     "Query vectors by how they were compared: exact (few rows left by the filter), masked_scan, "
                     "full_scan, sparse.");
    for (unsigned i = 0; i < EXEC_PLANS; i++) {
        const struct exposition_label label = LABEL("plan", str_from_c(plans[i]));
        exposition_uint(e, &label, 1, metrics_get(&m->plans[i]));
    }
    exposition_counter(e, "chroma_query_candidate_rows_total", "Rows that filters and ids left to be compared.",
                       metrics_get(&m->candidates));
    exposition_counter(e, "chroma_query_measured_rows_total", "Of these, rows whose exact distance was computed.",
                       metrics_get(&m->measured));
    exposition_counter(e, "chroma_query_documents_read_total", "Documents read to decide a clause about documents.",
                       metrics_get(&m->documents));
    exposition_counter(e, "chroma_records_changed_total", "Records added, updated or deleted.",
                       metrics_get(&m->records_in));
    exposition_counter(e, "chroma_records_returned_total", "Records in answers.", metrics_get(&m->records_out));
}

static void put_executor(struct exposition *e, struct pool *pool)
{
    struct pool_stats s;
    if (pool == NULL) return;
    pool_stats(pool, &s);
    exposition_gauge(e, "chroma_executor_threads", "Threads that run requests.", s.n_threads);
    exposition_gauge(e, "chroma_executor_threads_busy", "Of these, threads at work; this page needs one.", s.n_busy);
    exposition_gauge(e, "chroma_executor_queue_length", "Requests that wait for a thread.", s.n_waiting);
}

/* --- the page ---------------------------------------------------------------------------------------------------- */

static bool wants(const struct api_request *r, struct str option)
{
    struct str rest = r->query, pair;
    bool is_wanted = false;
    while (next_query_pair(&rest, &pair)) is_wanted = is_wanted || str_eq(pair, option);
    return is_wanted;
}

enum api_outcome handle_metrics(struct api_request *r)
{
    struct api *a = r->api;
    struct store_stats stats;
    struct exposition e = {.out = &r->answer};
    enum err err = store_stats(a->store, NULL, NULL, &stats);
    if (err != ERR_OK) return api_fail(r, err, "The metrics do not fit in memory");
    put_program(&e, a);
    put_requests(&e, a->options.metrics);
    put_queries(&e, a->options.metrics);
    put_executor(&e, a->options.pool);
    metrics_put_log(&e, &stats.log);
    metrics_put_compactor(&e, &stats);
    metrics_put_data(&e, &stats);
    metrics_put_damage(&e, &stats);
    metrics_put_recall(&e, &stats);
    metrics_put_process(&e, a->options.metrics);
    if (wants(r, STR("tenants=true"))) metrics_put_tenants(&e, a);
    if (wants(r, STR("collections=true"))) err = metrics_put_collections(&e, a->store);
    if (err != ERR_OK) return api_fail(r, err, "The metrics do not fit in memory");
    enum api_outcome outcome = api_ok(r, 200);
    if (r->status == 200) r->answer_type = STR("text/plain; version=0.0.4; charset=utf-8");
    return outcome;
}
