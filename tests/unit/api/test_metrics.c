/* test_metrics.c - the text format, what is counted, and the page over a real store. The page as a whole, through a
 * strict parser, is tests/e2e/test_observe.py's.
 */
#include "tests/unit/api/call.h"

#include <stdatomic.h>

#include "api/exposition.h"
#include "core/pool.h"

static void check_text(struct buf *b, const char *wanted)
{
    ck_assert_int_eq(b->err, ERR_OK);
    buf_char(b, '\0');
    ck_assert_str_eq(b->p, wanted);
    buf_free(b);
}

START_TEST(labels_and_help_are_escaped)
{
    struct buf b = {0};
    struct exposition e = {.out = &b};
    exposition_begin(&e, "a_total", EXPOSITION_COUNTER, "one \\ two\nthree \"four\"");
    const struct exposition_label labels[] = {LABEL("x", STR("a\\b\n\"c\"")), LABEL("y", STR("")),
                                              LABEL("z", STR("\xc3\xa9"))};
    exposition_uint(&e, labels, 3, UINT64_MAX);
    exposition_uint(&e, NULL, 0, 0);
    check_text(&b, "# HELP a_total one \\\\ two\\nthree \"four\"\n# TYPE a_total counter\n"
                   "a_total{x=\"a\\\\b\\n\\\"c\\\"\",y=\"\",z=\"\xc3\xa9\"} 18446744073709551615\na_total 0\n");
}
END_TEST

START_TEST(numbers_are_exact)
{
    struct buf b = {0};
    struct exposition e = {.out = &b};
    exposition_begin(&e, "g", EXPOSITION_GAUGE, "h");
    exposition_double(&e, NULL, 0, 0.1);
    exposition_double(&e, NULL, 0, (double)INFINITY);
    exposition_double(&e, NULL, 0, (double)-INFINITY);
    exposition_double(&e, NULL, 0, (double)NAN);
    exposition_seconds(&e, "s_seconds_total", "h", UINT64_C(12345678901234567890));
    check_text(&b, "# HELP g h\n# TYPE g gauge\ng 0.10000000000000001\ng +Inf\ng -Inf\ng NaN\n"
                   "# HELP s_seconds_total h\n# TYPE s_seconds_total counter\ns_seconds_total 12345678901.234567890\n");
}
END_TEST

START_TEST(buckets_are_cumulative)
{
    struct buf b = {0};
    struct exposition e = {.out = &b};
    struct histogram h = {0};
    struct histogram_counts c;
    histogram_add(&h, 1);
    histogram_add(&h, 300000);
    histogram_add(&h, UINT64_C(11000000000));
    histogram_read(&h, &c);
    exposition_begin(&e, "d_seconds", EXPOSITION_HISTOGRAM, "h");
    const struct exposition_label label = LABEL("group", STR("read"));
    exposition_histogram(&e, &label, 1, &c);
    check_text(&b,
               "# HELP d_seconds h\n# TYPE d_seconds histogram\n"
               "d_seconds_bucket{group=\"read\",le=\"0.0001\"} 1\nd_seconds_bucket{group=\"read\",le=\"0.0003\"} 2\n"
               "d_seconds_bucket{group=\"read\",le=\"0.001\"} 2\nd_seconds_bucket{group=\"read\",le=\"0.003\"} 2\n"
               "d_seconds_bucket{group=\"read\",le=\"0.01\"} 2\nd_seconds_bucket{group=\"read\",le=\"0.03\"} 2\n"
               "d_seconds_bucket{group=\"read\",le=\"0.1\"} 2\nd_seconds_bucket{group=\"read\",le=\"0.3\"} 2\n"
               "d_seconds_bucket{group=\"read\",le=\"1\"} 2\nd_seconds_bucket{group=\"read\",le=\"3\"} 2\n"
               "d_seconds_bucket{group=\"read\",le=\"10\"} 2\nd_seconds_bucket{group=\"read\",le=\"+Inf\"} 3\n"
               "d_seconds_sum{group=\"read\"} 11.000300001\nd_seconds_count{group=\"read\"} 3\n");
}
END_TEST

START_TEST(requests_are_counted_where_they_belong)
{
    static struct metrics m;
    struct histogram_counts c;
    metrics_init(&m);
    ck_assert(m.started_s > 1e9);
    struct metrics_request r = {.operation = 5,
                                .group = METRICS_WRITE,
                                .status = 201,
                                .duration_ns = 2000000,
                                .bytes_in = 7,
                                .bytes_out = 2,
                                .records = 3,
                                .was_queued = true,
                                .queued_ns = 10};
    metrics_count(&m, &r);
    r = (struct metrics_request){.operation = 6, .group = METRICS_SEARCH, .status = 200, .records = 9};
    r.did = (struct exec_stats){.plans = {1, 2, 3}, .n_candidates = 100, .n_measured = 50};
    metrics_count(&m, &r);
    r = (struct metrics_request){.operation = 5, .group = METRICS_WRITE, .status = 413, .bytes_in = 100};
    metrics_count(&m, &r);
    r = (struct metrics_request){.operation = 5, .group = METRICS_WRITE, .bytes_in = 1000};
    metrics_count(&m, &r); /* aborted */
    ck_assert_uint_eq(metrics_get(&m.requests[5][1]), 1);
    ck_assert_uint_eq(metrics_get(&m.requests[5][3]), 1);
    ck_assert_uint_eq(metrics_get(&m.requests[6][1]), 1);
    for (unsigned i = 0; i < METRICS_REFUSALS; i++)
        ck_assert_uint_eq(metrics_get(&m.refused[i]), metrics_refusals[i] == 413 ? 1 : 0);
    ck_assert_uint_eq(metrics_get(&m.n_aborted), 1);
    ck_assert_uint_eq(metrics_get(&m.bytes_in), 1107);
    ck_assert_uint_eq(metrics_get(&m.bytes_out), 2);
    ck_assert_uint_eq(metrics_get(&m.records_in), 3);
    ck_assert_uint_eq(metrics_get(&m.records_out), 9);
    ck_assert_uint_eq(metrics_get(&m.plans[EXEC_MASKED]), 2);
    ck_assert_uint_eq(metrics_get(&m.candidates), 100);
    ck_assert_uint_eq(metrics_get(&m.measured), 50);
    histogram_read(&m.duration[METRICS_WRITE], &c);
    ck_assert_uint_eq(c.total, 2); /* not the aborted one */
    histogram_read(&m.queued, &c);
    ck_assert_uint_eq(c.total, 1);
}
END_TEST

/* The value behind "name " in the page, or a failure. */
static unsigned long long value_of(const char *page, const char *series)
{
    char line[256];
    (void)snprintf(line, sizeof line, "\n%s ", series);
    const char *at = strstr(page, line);
    ck_assert_msg(at != NULL, "%s is not on the page", series);
    return strtoull(at + strlen(line), NULL, 10);
}

/* The status; the page, if it is one, with a line's end before it. */
static unsigned get_page(struct api *api, char *page, size_t cap)
{
    struct call call = {.mu = PTHREAD_MUTEX_INITIALIZER, .cv = PTHREAD_COND_INITIALIZER};
    call.r = (struct api_request){.method = STR("GET"), .path = STR("/metrics"), .query = STR("x&collections=true")};
    call.r.done = call_done;
    call.r.server = &call;
    if (api_begin(api, &call.r) != API_ANSWERED) api_run(&call.r);
    unsigned status = call.r.status;
    if (status == 200) {
        ck_assert(str_eq(call.r.answer_type, STR("text/plain; version=0.0.4; charset=utf-8")));
        ck_assert_uint_lt(call.r.answer.n + 1, cap);
        (void)snprintf(page, cap, "\n%.*s", STR_ARG(buf_view(&call.r.answer)));
    }
    api_end(&call.r);
    return status;
}

/* Allocations that are still granted; negative: all. Atomic, since the log's threads ask too. */
static atomic_int n_granted = -1;

static bool grant(void *ctx, size_t size)
{
    (void)ctx, (void)size;
    int n = atomic_load(&n_granted);
    while (n > 0 && !atomic_compare_exchange_weak(&n_granted, &n, n - 1)) continue;
    return n != 0;
}

START_TEST(the_page_tells_of_store_and_pool)
{
    static struct metrics m;
    static char page[1 << 16];
    struct errmsg em = {{0}};
    struct store *store = NULL;
    struct api *api = NULL;
    struct pool *pool = NULL;
    struct caller c = {0};
    const struct store_options so = {.flush_rows = 100, .no_compactor = true};
    logger_set_level(LOG_ERROR);
    metrics_init(&m);
    mem_set_hook(grant, NULL); /* before there are threads */
    ck_ok(pool_new(&pool, "t", 3, 10, &em));
    ck_ok(store_open(&store, &so, &em));
    const struct api_options ao = {.metrics = &m, .pool = pool, .version = "9.8\"7"};
    ck_ok(api_new(&api, store, &ao, &em));
    c.store = store;
    c.api = api;
    use_new_collection(&c, "{\"name\":\"a_collection\"}");
    ck_assert_uint_eq(post(&c, "add", "{\"ids\":[\"a\",\"b\"],\"embeddings\":[[1,2],[3,4]]}"), 201);

    ck_assert_uint_eq(get_page(api, page, sizeof page), 200);
    ck_assert_ptr_nonnull(strstr(page, "\nchroma_build_info{version=\"9.8\\\"7\",compiler="));
    ck_assert_uint_eq(value_of(page, "chroma_executor_threads"), 3);
    ck_assert_uint_eq(value_of(page, "chroma_collections"), 1);
    ck_assert_uint_eq(value_of(page, "chroma_records"), 2);
    ck_assert_uint_eq(value_of(page, "chroma_tail_rows"), 2);
    ck_assert_uint_eq(value_of(page, "chroma_log_commits_total"), 1);
    ck_assert_uint_eq(value_of(page, "chroma_log_sync_duration_seconds_count"), 1);
    ck_assert_uint_gt(value_of(page, "chroma_log_written_bytes_total"), 16);
    ck_assert_uint_gt(value_of(page, "process_resident_memory_bytes"), 1 << 20);
    ck_assert_uint_gt(value_of(page, "process_open_fds"), 2);
    ck_assert_ptr_nonnull(strstr(page, "\nchroma_collection_records{tenant=\"default_tenant\","
                                       "database=\"default_database\",collection=\"a_collection\",id=\""));

    static char again[1 << 16];
    unsigned status = 503;
    int n_allowed = 0;
    for (; status != 200; n_allowed++) { /* a page is whole, or refused */
        atomic_store(&n_granted, n_allowed);
        status = get_page(api, again, sizeof again);
        atomic_store(&n_granted, -1);
        ck_assert(status == 200 || status == 503);
        ck_assert_int_lt(n_allowed, 1000);
    }
    ck_assert_int_gt(n_allowed, 3);
    ck_assert_ptr_nonnull(strstr(again, "\nchroma_collection_fragments{"));
    pool_free(pool);
    api_free(api);
    store_close(store);
    mem_set_hook(NULL, NULL);
}
END_TEST

TESTS(metrics, labels_and_help_are_escaped, numbers_are_exact, buckets_are_cumulative,
      requests_are_counted_where_they_belong, the_page_tells_of_store_and_pool)
