/* test_explain.c - the explanation of a read: there when it is asked for and only then, true against a model of what the
 * rows are, bounded, and never in the way of the answer.
 */
#include <cjson/cJSON.h>

#include "tests/unit/api/call.h"

#include "api/explain.h"

enum { N = 500, ROUNDS = 60 };

struct explained {
    unsigned status;
    char text[EXPLAIN_MAX_BYTES + 1]; /* of the header; empty: there was none */
    char body[1 << 12];
    cJSON *json; /* of text, or NULL */
};

/* POST to a route of the collection in use. */
static void ask(struct caller *c, const char *route, const char *body, bool wants, struct explained *out)
{
    struct call call = {.mu = PTHREAD_MUTEX_INITIALIZER, .cv = PTHREAD_COND_INITIALIZER};
    struct api_request *r = &call.r;
    char path[192];
    const char name[] = "x-chroma-explain: ";
    (void)snprintf(path, sizeof path, "%s/%s", c->collection, route);
    *r = (struct api_request){.method = STR("POST"), .path = str_from_c(path), .done = call_done, .server = &call};
    r->wants_explanation = wants;
    if (api_begin(c->api, r) != API_ANSWERED) {
        r->body = str_from_c(body);
        api_run(r);
    }
    out->status = r->status;
    out->text[0] = '\0';
    ck_assert_uint_lt(r->answer.n, sizeof out->body);
    (void)snprintf(out->body, sizeof out->body, "%.*s", STR_ARG(buf_view(&r->answer)));
    if (r->extra_headers.n > 0) {
        struct str line = r->extra_headers;
        ck_assert(str_starts(line, STR(name)) && line.p[line.n - 2] == '\r' && line.p[line.n - 1] == '\n');
        line = str_of(line.p + sizeof name - 1, line.n - sizeof name - 1);
        ck_assert_uint_le(line.n, EXPLAIN_MAX_BYTES);
        for (size_t i = 0; i < line.n; i++) ck_assert(line.p[i] >= ' ' && line.p[i] <= '~');
        (void)snprintf(out->text, sizeof out->text, "%.*s", STR_ARG(line));
    }
    out->json = out->text[0] != '\0' ? cJSON_Parse(out->text) : NULL;
    ck_assert((out->json != NULL) == (out->text[0] != '\0'));
    api_end(r);
}

static void done(struct explained *x)
{
    cJSON_Delete(x->json);
    x->json = NULL;
}

static double number(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    ck_assert_msg(cJSON_IsNumber(item), "no number %s", name);
    return item->valuedouble;
}

static void check_number(const struct explained *x, const char *name, double wanted)
{
    double found = number(x->json, name);
    ck_assert_msg(found >= wanted && found <= wanted, "%s is not %.0f: %s", name, wanted, x->text);
}

static const cJSON *query_of(const struct explained *x, int i)
{
    const cJSON *q = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(x->json, "queries"), i);
    ck_assert(q != NULL);
    return q;
}

static const char *plan_of(const struct explained *x, int i)
{
    const cJSON *plan = cJSON_GetObjectItemCaseSensitive(query_of(x, i), "plan");
    ck_assert(cJSON_IsString(plan));
    return plan->valuestring;
}

/* N rows: n counts up, the document names the remainder by 7, in words of more than three letters. */
static void add_rows(struct caller *c)
{
    static const char *const words[] = {"alpha", "bravo", "charlie", "delta", "echos", "foxtrot", "golfer"};
    struct buf b = {0};
    buf_lit(&b, "{\"ids\":[");
    for (int i = 0; i < N; i++) buf_printf(&b, "%s\"r%d\"", i > 0 ? "," : "", i);
    buf_lit(&b, "],\"embeddings\":[");
    for (int i = 0; i < N; i++) buf_printf(&b, "%s[%d,%d]", i > 0 ? "," : "", i % 31 + 1, i % 17);
    buf_lit(&b, "],\"documents\":[");
    for (int i = 0; i < N; i++) buf_printf(&b, "%s\"some %s\"", i > 0 ? "," : "", words[i % 7]);
    buf_lit(&b, "],\"metadatas\":[");
    for (int i = 0; i < N; i++) buf_printf(&b, "%s{\"n\":%d}", i > 0 ? "," : "", i);
    buf_lit(&b, "]}");
    buf_char(&b, '\0');
    ck_assert_int_eq(b.err, ERR_OK);
    ck_assert_uint_eq(post(c, "add", b.p), 201);
    buf_free(&b);
}

START_TEST(only_who_asks_is_told)
{
    struct caller c;
    struct explained x, y;
    caller_open(&c, 0);
    add_rows(&c);
    const char *const bodies[][2] = {
        {"get", "{\"limit\":3}"},
        {"query", "{\"query_embeddings\":[[1,2]],\"n_results\":3}"},
        {"search", "{\"searches\":[{\"rank\":{\"$knn\":{\"query\":[1,2]}},\"limit\":{\"limit\":3}}]}"}};
    for (int i = 0; i < 3; i++) {
        ask(&c, bodies[i][0], bodies[i][1], false, &x);
        ask(&c, bodies[i][0], bodies[i][1], true, &y);
        ck_assert_uint_eq(x.status, 200);
        ck_assert_str_eq(x.body, y.body);
        ck_assert_str_eq(x.text, "");
        check_number(&y, "records", 3);
        check_number(&y, "rows", N);
        const cJSON *us = cJSON_GetObjectItemCaseSensitive(y.json, "us");
        const char *const stages[] = {"parse", "plan", "run", "serialise"};
        for (int k = 0; k < 4; k++) ck_assert(number(us, stages[k]) >= 0 && number(us, stages[k]) < 1e9);
        done(&y);
    }
    /* neither refusals nor writes are explained */
    ask(&c, "query", "{\"query_embeddings\":[[1,2,3]]}", true, &x);
    ck_assert_uint_eq(x.status, 400);
    ck_assert_str_eq(x.text, "");
    ask(&c, "get", "{\"limit\":", true, &x);
    ck_assert_uint_eq(x.status, 400);
    ck_assert_str_eq(x.text, "");
    caller_close(&c);
}
END_TEST

/* What a filter on n leaves, in the tail and in fragments. */
START_TEST(numbers_are_those_of_a_model)
{
    struct caller c;
    struct explained x;
    struct rng rng = {20261124};
    caller_open(&c, 0);
    add_rows(&c);
    for (int i = 0; i < ROUNDS; i++) {
        char body[256];
        uint32_t lo = rng_below(&rng, N + 50), limit = 1 + rng_below(&rng, 20);
        double selected = lo < N ? N - lo : 0;
        double records = selected < limit ? selected : limit;
        if (i == ROUNDS / 2) ck_ok(store_compact(c.store, NULL));
        (void)snprintf(body, sizeof body, "{\"where\":{\"n\":{\"$gte\":%u}},\"limit\":%u}", lo, limit);
        ask(&c, "get", body, true, &x);
        check_number(&x, "selected", selected);
        check_number(&x, "records", records);
        check_number(&x, "documents", 0);
        ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(x.json, "queries")), 0);
        done(&x);
        (void)snprintf(body, sizeof body,
                       "{\"where\":{\"n\":{\"$gte\":%u}},\"n_results\":%u,\"query_embeddings\":[[1,2],[3,4]]}", lo,
                       limit);
        ask(&c, "query", body, true, &x);
        check_number(&x, "selected", selected);
        check_number(&x, "records", 2 * records);
        for (int k = 0; k < 2; k++) {
            ck_assert_str_eq(plan_of(&x, k), "exact");
            ck_assert(number(query_of(&x, k), "selected") >= selected &&
                      number(query_of(&x, k), "selected") <= selected);
            ck_assert(number(query_of(&x, k), "measured") <= number(query_of(&x, k), "candidates"));
        }
        done(&x);
    }
    caller_close(&c);
}
END_TEST

/* Like caller_open, but rows stay in the tail. */
static void open_quiet(struct caller *c)
{
    const struct store_options so = {.no_compactor = true};
    const struct api_options ao = {0};
    logger_set_level(LOG_ERROR);
    memset(c, 0, sizeof *c);
    ck_ok(store_open(&c->store, &so, NULL));
    ck_ok(api_new(&c->api, c->store, &ao, NULL));
    use_new_collection(c, "{\"name\":\"ccc\"}");
}

START_TEST(documents_are_counted)
{
    struct caller c;
    struct explained x;
    open_quiet(&c);
    add_rows(&c);
    const char *const rare = "{\"where_document\":{\"$contains\":\"charlie\"},\"include\":[]}";
    ask(&c, "get", rare, true, &x);
    check_number(&x, "documents", N); /* a tail has no index of its texts */
    done(&x);
    caller_close(&c);
    caller_open(&c, 0);
    add_rows(&c);
    ck_ok(store_compact(c.store, NULL));
    ask(&c, "get", rare, true, &x);
    check_number(&x, "documents", (N - 2 + 6) / 7); /* the trigrams leave those that have it */
    done(&x);
    ask(&c, "get", "{\"where_document\":{\"$contains\":\"absentee\"},\"include\":[]}", true, &x);
    check_number(&x, "documents", 0);
    check_number(&x, "selected", 0);
    done(&x);
    ask(&c, "get", "{\"ids\":[\"r1\",\"r2\",\"r3\"],\"where_document\":{\"$contains\":\"charlie\"}}", true, &x);
    check_number(&x, "documents", 3);
    check_number(&x, "selected", 1);
    done(&x);
    caller_close(&c);
}
END_TEST

START_TEST(many_queries_stay_bounded)
{
    struct caller c;
    struct explained x;
    struct buf b = {0};
    caller_open(&c, 0);
    add_rows(&c);
    buf_lit(&b, "{\"n_results\":1,\"include\":[],\"query_embeddings\":[");
    for (int i = 0; i < 200; i++) buf_printf(&b, "%s[%d,1]", i > 0 ? "," : "", i);
    buf_lit(&b, "]}");
    buf_char(&b, '\0');
    ask(&c, "query", b.p, true, &x);
    ck_assert_uint_eq(x.status, 200);
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(x.json, "queries")), EXEC_EXPLAIN_QUERIES);
    check_number(&x, "more_queries", 200 - EXEC_EXPLAIN_QUERIES);
    check_number(&x, "selected", N);
    done(&x);
    buf_free(&b);
    caller_close(&c);
}
END_TEST

/* Each payload of a search has a selection of its own; one without a rank asks no vector. */
START_TEST(a_search_is_told_payload_by_payload)
{
    struct caller c;
    struct explained x;
    caller_open(&c, 0);
    add_rows(&c);
    ask(&c, "search",
        "{\"searches\":[{\"filter\":{\"n\":{\"$lt\":10}},\"rank\":{\"$knn\":{\"query\":[1,2]}},\"limit\":{\"limit\":2}}"
        ","
        "{\"filter\":{\"n\":{\"$lt\":5}}},{\"rank\":{\"$sum\":[{\"$knn\":{\"query\":[1,2]}},{\"$knn\":{\"query\":[2,1]}"
        "}]},"
        "\"limit\":{\"limit\":1}}]}",
        true, &x);
    ck_assert_msg(x.status == 200, "%s", x.body);
    check_number(&x, "selected", 10 + 5 + N);
    check_number(&x, "records", 2 + 5 + 1);
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(x.json, "queries")), 3);
    ck_assert(number(query_of(&x, 0), "selected") < 11 && number(query_of(&x, 2), "selected") > N - 1);
    done(&x);
    caller_close(&c);
}
END_TEST

/* The numbers that could be longest still fit, so the header is never cut or left out for its size. */
START_TEST(the_longest_text_fits)
{
    struct api_request r = {.extra_headers = STR("vary: origin\r\n")};
    struct explain x = {.did = {.n_rows = UINT64_MAX, .n_segments = UINT32_MAX, .n_selected = UINT64_MAX}};
    r.did.n_documents = r.n_records = UINT64_MAX;
    r.explain = &x;
    x.did.n_queries = UINT32_MAX;
    for (int i = 0; i < EXEC_EXPLAIN_QUERIES; i++)
        x.did.queries[i] = (struct exec_explain_query){EXEC_MASKED, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    explain_end_stage(&r, EXPLAIN_PARSE);
    explain_end_stage(&r, EXPLAIN_RUN);
    explain_answer(&r);
    ck_assert(str_starts(r.extra_headers, STR("vary: origin\r\nx-chroma-explain: {")));
    ck_assert(memmem(r.extra_headers.p, r.extra_headers.n, "\"more_queries\":4294967279}\r\n", 27) != NULL);
    arena_free(&r.arena);
}
END_TEST

/* Memory too short for the explanation: the answer is the same without it. */
START_TEST(answers_do_not_depend_on_it)
{
    struct api_request r = {.wants_explanation = true, .arena = {.max_bytes = 64}};
    struct explain x = {.began_ns = 1};
    explain_begin(&r);
    ck_assert_ptr_null(r.explain);
    ck_assert_ptr_null(explain_of(&r));
    explain_answer(&r);
    ck_assert_uint_eq(r.extra_headers.n, 0);
    r.explain = &x;
    r.extra_headers = STR("vary: origin\r\n");
    explain_end_stage(&r, EXPLAIN_PARSE);
    explain_end_stage(&r, EXPLAIN_RUN);
    explain_answer(&r);
    ck_assert(str_eq(r.extra_headers, STR("vary: origin\r\n")));
    arena_free(&r.arena);
}
END_TEST

TESTS(explain, only_who_asks_is_told, numbers_are_those_of_a_model, documents_are_counted, many_queries_stay_bounded,
      a_search_is_told_payload_by_payload, the_longest_text_fits, answers_do_not_depend_on_it)
