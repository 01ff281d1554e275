/* test_api.c - requests driven through api_begin and api_run on a store in memory: routing, refusals before the body,
 * CORS, and the life of tenants, databases and collections. The contract's recorded cases are replayed over HTTP
 * elsewhere; here is what needs no socket. */
#include "tests/lib/suite.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

#include "api/handler.h"
#include "api/routes.h"
#include "core/epoch.h"
#include "core/mem.h"

static struct store *store;
static struct api *api;
static struct api_request request;
static bool is_done;

static void on_done(struct api_request *r)
{
    (void)r;
    is_done = true;
}

static atomic_bool is_written;

static void on_written(struct api_request *r)
{
    (void)r;
    atomic_store(&is_written, true);
}

static void setup(const struct api_options *o)
{
    struct errmsg em = {{0}};
    const struct store_options so = {.no_compactor = true};
    ck_ok(store_open(&store, &so, &em));
    ck_ok(api_new(&api, store, o, &em));
}

static void teardown(void)
{
    api_end(&request);
    request = (struct api_request){0};
    api_free(api);
    store_close(store);
    epoch_drain();
}

/* One request from beginning to answer; what it left is freed by the next one. */
static const struct api_request *ask_as(struct str type, const char *method, const char *target, const char *body)
{
    const char *mark = strchr(target, '?');
    api_end(&request);
    request = (struct api_request){.method = str_from_c(method),
                                   .path = str_of(target, mark != NULL ? (size_t)(mark - target) : strlen(target)),
                                   .query = mark != NULL ? str_from_c(mark + 1) : STR(""),
                                   .content_type = type,
                                   .done = on_done};
    request.body = str_from_c(body != NULL ? body : "");
    is_done = false;
    if (api_begin(api, &request) != API_ANSWERED) {
        api_run(&request);
        ck_assert(is_done);
    }
    ck_assert_uint_ge(request.status, 200);
    ck_assert(request.has_trace_id == (request.status >= 400));
    return &request;
}

static const struct api_request *ask(const char *method, const char *target, const char *body)
{
    return ask_as((struct str){NULL, 0}, method, target, body);
}

static void check(const struct api_request *r, unsigned status, const char *body)
{
    ck_assert_msg(r->status == status && str_eq(buf_view(&r->answer), str_from_c(body)), "%u %.*s\nwanted %u %s",
                  r->status, STR_ARG(buf_view(&r->answer)), status, body);
}

static bool says(const char *part)
{
    return str_contains(buf_view(&request.answer), str_from_c(part));
}

#define T                    "/api/v2/tenants/default_tenant"
#define D                    T "/databases/default_database"
#define C                    D "/collections"
#define ERROR(name, message) "{\"error\":\"" name "\",\"message\":\"" message "\"}"

START_TEST(paths_are_matched_exactly)
{
    setup(NULL);
    static const char *const unknown[] = {"/",
                                          "/nope",
                                          "/api/v2/",
                                          "/api/v2/heartbeat/",
                                          "//api/v2/heartbeat",
                                          "/api/v2/Heartbeat",
                                          "/api/v2/tenants/",
                                          C "/",
                                          C "/by-id/",
                                          "/api/v1/",
                                          "/metrics",
                                          "/docs/x",
                                          C "/x/conditional/get",
                                          "/api/v2/../v2"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        check(ask("GET", unknown[i], NULL), 404, "");
        ck_assert_uint_eq(request.answer_type.n, 0);
    }
    static const struct {
        const char *method, *path, *allow;
    } wrong[] = {{"POST", "/api/v2/heartbeat", "GET,HEAD"},
                 {"get", "/api/v2/heartbeat", "GET,HEAD"},
                 {"OPTIONS", "/api/v2/tenants", "POST"},
                 {"PUT", "/api/v2/tenants/x", "GET,HEAD,PATCH"},
                 {"PUT", T "/databases", "GET,HEAD,POST"},
                 {"POST", D, "GET,HEAD,DELETE"},
                 {"PUT", C, "POST,GET,HEAD"},
                 {"POST", C "/x", "GET,HEAD,PUT,DELETE"},
                 {"DELETE", C "/by-id/x", "GET,HEAD"},
                 {"GET", C "/x/add", "POST"},
                 {"POST", "/api/v1/collections", "GET,HEAD,PUT,PATCH,DELETE,OPTIONS"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        check(ask(wrong[i].method, wrong[i].path, NULL), 405, "");
        ck_assert_msg(str_eq(request.allow, str_from_c(wrong[i].allow)), "%.*s", STR_ARG(request.allow));
    }
    static const char *const kept[] = {"/api/v1/heartbeat", "/api/v1/version"};
    for (size_t i = 0; i < 2; i++) {
        ck_assert_uint_eq(ask("GET", kept[i], NULL)->status, 200);
        ck_assert_uint_eq(ask("HEAD", kept[i], NULL)->status, 200);
        ck_assert_uint_eq(ask("DELETE", kept[i], NULL)->status, 410);
        ck_assert_uint_eq(ask("POST", kept[i], NULL)->status, 405);
    }
    check(ask("GET", "/api/v1/version", NULL), 200, "\"1.0.0\"");
    ck_assert_uint_eq(ask("GET", "/api/v1", NULL)->status, 200);
    check(ask("PATCH", "/api/v1/any/thing", NULL), 410,
          ERROR("Unimplemented", "The v1 API is deprecated. Please use /v2 apis"));
    check(ask("GET", "/docs", NULL), 303, "");
    ck_assert(str_eq(request.location, STR("/docs/")));
    teardown();
}
END_TEST

START_TEST(parameters_are_decoded_after_routing)
{
    setup(NULL);
    check(ask("POST", "/api/v2/tenants", "{\"name\":\"a/b c\"}"), 200, "{}");
    check(ask("GET", "/api/v2/tenants/a%2Fb%20c", NULL), 200, "{\"name\":\"a/b c\",\"resource_name\":null}");
    check(ask("GET", "/api/v2/tenants/%zz", NULL), 404, ERROR("NotFoundError", "Tenant [%zz] not found"));
    check(ask("GET", "/api/v2/tenants/a+b", NULL), 404, ERROR("NotFoundError", "Tenant [a+b] not found"));
    check(ask("GET", "/api/v2/tenants/%FF%FE", NULL), 400,
          ERROR("InvalidArgumentError", "Invalid URL: Invalid UTF-8 in `tenant_name`"));
    check(ask("GET", "/api/v2/tenants//databases", NULL), 200, "[]");
    check(ask("GET", "/api/v2/tenants/%", NULL), 404, ERROR("NotFoundError", "Tenant [%] not found"));
    check(ask("GET", "/api/v2/tenants/x%4", NULL), 404, ERROR("NotFoundError", "Tenant [x%4] not found"));
    teardown();
}
END_TEST

START_TEST(bodies_are_refused_before_they_are_read)
{
    const struct api_options o = {.max_payload_bytes = 100};
    setup(&o);
    request = (struct api_request){.method = STR("POST"), .path = STR("/api/v2/tenants"), .done = on_done};
    request.has_length = true;
    request.content_length = 100;
    ck_assert_int_eq(api_begin(api, &request), API_RUN_POOL);
    ck_assert_uint_eq(request.body_max, 100);
    api_end(&request);
    request.content_length = 101;
    ck_assert_int_eq(api_begin(api, &request), API_ANSWERED);
    check(&request, 413, ERROR("ChromaError", "Failed to buffer the request body: length limit exceeded"));
    ck_assert(request.close_connection);
    api_end(&request);
    request.path = STR(C "/x/add");
    ck_assert_int_eq(api_begin(api, &request), API_ANSWERED);
    check(&request, 413, "Payload too large");
    ck_assert_uint_eq(request.answer_type.n, 0);
    api_end(&request);
    /* a chunked body that grows too large while it arrives */
    request.has_length = false;
    ck_assert_int_eq(api_begin(api, &request), API_RUN_POOL);
    api_refuse_body(&request);
    check(&request, 413, "Payload too large");
    api_end(&request);
    /* which of two faults is named, by the kind of route */
    request.has_length = true;
    request.content_type = STR("text/plain");
    ck_assert_int_eq(api_begin(api, &request), API_ANSWERED);
    check(&request, 413, "Payload too large");
    api_end(&request);
    request.path = STR("/api/v2/tenants");
    ck_assert_int_eq(api_begin(api, &request), API_ANSWERED);
    ck_assert_uint_eq(request.status, 415);
    api_end(&request);
    /* where none is read, neither matters */
    request.method = STR("GET");
    request.path = STR("/api/v2/tenants/default_tenant");
    ck_assert_int_eq(api_begin(api, &request), API_RUN_HERE);
    ck_assert(request.ignores_body);
    static const struct {
        const char *type;
        bool ok;
    } types[] = {{"application/json", true},
                 {"application/json; charset=utf-8", true},
                 {"Application/JSON", true},
                 {"application/vnd.x+json", true},
                 {"application/+json", false},
                 {"text/plain", false},
                 {"", false},
                 {"application/jsonx", false},
                 {"application/json;", true},
                 {"application/json; a=b; c=\"d \\\" e\"", true},
                 {"application/json;a=", true},
                 {"application/json+x", true},
                 {"application/a+b+json", true},
                 {"application/json;x", false},
                 {"application/json;;", false},
                 {"application/json ;a=b", false},
                 {"application/json;a=\"b", false},
                 {"application/json;a=b,c", false},
                 {"application/(+json", false},
                 {"application/a/b+json", false},
                 {"json", false}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        unsigned status =
            ask_as(str_from_c(types[i].type), "PATCH", "/api/v2/tenants/x", "{\"resource_name\":\"y\"}")->status;
        ck_assert_msg(status == (types[i].ok ? 200u : 415u), "%s: %u", types[i].type, status);
        ck_assert_uint_eq(ask_as(str_from_c(types[i].type), "GET", "/api/v2/version", NULL)->status, 200);
    }
    teardown();
}
END_TEST

START_TEST(cors_answers_options_and_adds_headers)
{
    const struct str origins[] = {STR("http://a.example"), STR("http://b.example")}, any = STR("*");
    struct api_options o = {.cors_origins = origins, .n_cors = 2};
    setup(&o);
    check(ask("OPTIONS", "/nope", NULL), 200, "");
    ck_assert(str_contains(request.extra_headers, STR("access-control-allow-methods: *\r\n")));
    check(ask("OPTIONS", "/api/v2/tenants", NULL), 200, "");
    ck_assert(str_eq(request.allow, STR("POST")));
    for (int i = 0; i < 2; i++) {
        api_end(&request);
        request = (struct api_request){.method = STR("GET"), .path = STR("/api/v2/version"), .done = on_done};
        request.origin = i == 0 ? origins[1] : STR("http://c.example");
        ck_assert_int_eq(api_begin(api, &request), API_RUN_HERE);
        ck_assert(str_contains(request.extra_headers, STR("vary: origin")));
        ck_assert(str_contains(request.extra_headers, STR("access-control-allow-origin: http://b.example\r\n")) ==
                  (i == 0));
        ck_assert(!str_contains(request.extra_headers, STR("allow-methods")));
    }
    teardown();
    o = (struct api_options){.cors_origins = &any, .n_cors = 1};
    setup(&o);
    (void)ask("GET", "/nope", NULL);
    ck_assert(str_starts(request.extra_headers, STR("access-control-allow-origin: *\r\nvary: origin, ")));
    teardown();
    setup(NULL);
    (void)ask("GET", "/api/v2/version", NULL);
    ck_assert_uint_eq(request.extra_headers.n, 0);
    teardown();
}
END_TEST

START_TEST(system_routes)
{
    setup(NULL);
    ck_assert_uint_eq(ask("GET", "/api/v2", NULL)->status, 200);
    ck_assert(says("{\"nanosecond heartbeat\":"));
    check(ask("GET", "/api/v2/healthcheck", NULL), 200, "{\"is_executor_ready\":true,\"is_log_client_ready\":true}");
    check(ask("GET", "/api/v2/version", NULL), 200, "\"1.0.0\"");
    check(ask("GET", "/api/v2/auth/identity", NULL), 200,
          "{\"user_id\":\"\",\"tenant\":\"default_tenant\",\"databases\":[\"default_database\"]}");
    check(ask("POST", "/api/v2/reset", NULL), 403, ERROR("ChromaError", "Reset is disabled by config"));
    (void)ask("HEAD", "/api/v2/version", NULL);
    ck_assert(request.is_head && request.status == 200);
    /* the description is JSON and knows every listed route */
    struct arena arena = {0};
    static struct json_reader j;
    (void)ask("GET", "/openapi.json", NULL);
    json_reader_init(&j, buf_view(&request.answer), &arena);
    ck_assert_msg(json_skip(&j) && json_finish(&j), "%.*s", STR_ARG(j.message));
    for (uint32_t i = 0; i < api_n_routes; i++) ck_assert(api_routes[i].tag == NULL || says(api_routes[i].pattern));
    arena_free(&arena);
    (void)ask("GET", "/docs/", NULL);
    ck_assert(str_starts(request.answer_type, STR("text/html")) && says("<table>"));
    teardown();
}
END_TEST

START_TEST(databases_come_in_pages)
{
    setup(NULL);
    check(ask("POST", "/api/v2/tenants/t/databases", "{\"name\":\"adb\"}"), 200, "{}");
    check(ask("POST", "/api/v2/tenants/t/databases", "{\"name\":\"Zdb\"}"), 200, "{}");
    check(ask("POST", "/api/v2/tenants/t/databases", "{\"name\":\"adb\"}"), 409,
          ERROR("ChromaError", "Database [adb] already exists"));
    (void)ask("GET", "/api/v2/tenants/t/databases?limit=1", NULL);
    ck_assert(says("\"name\":\"Zdb\",\"tenant\":\"t\"}]"));
    (void)ask("GET", "/api/v2/tenants/t/databases?zzz=1&offset=1&limit=%31", NULL);
    ck_assert(says("\"name\":\"adb\",\"tenant\":\"t\"}]"));
    check(ask("GET", "/api/v2/tenants/t/databases?limit=0", NULL), 200, "[]");
    check(ask("GET", "/api/v2/tenants/t/databases?offset=9", NULL), 200, "[]");
    static const struct {
        const char *query, *text;
    } bad[] = {{"?limit=-1", "limit: invalid digit found in string"},
               {"?limit=", "limit: cannot parse integer from empty string"},
               {"?limit", "limit: cannot parse integer from empty string"},
               {"?offset=4294967296", "offset: number too large to fit in target type"},
               {"?limit=1&limit=2", "duplicate field `limit`"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char target[100], want[300];
        (void)snprintf(target, sizeof target, "/api/v2/tenants/t/databases%s", bad[i].query);
        (void)snprintf(want, sizeof want,
                       "{\"error\":\"InvalidArgumentError\",\"message\":\"Failed to deserialize query string: %s\"}",
                       bad[i].text);
        check(ask("GET", target, NULL), 400, want);
    }
    check(ask("GET", "/api/v2/tenants/t/databases/ab", NULL), 400,
          ERROR("InvalidArgumentError", "database name must be at least 3 characters"));
    check(ask("DELETE", "/api/v2/tenants/t/databases/ab", NULL), 404,
          ERROR("NotFoundError", "Database [ab] not found"));
    check(ask("DELETE", "/api/v2/tenants/t/databases/adb", NULL), 200, "{}");
    check(ask("GET", "/api/v2/tenants/t/databases/adb", NULL), 404,
          ERROR("NotFoundError", "Database [adb] not found. Are you sure it exists?"));
    teardown();
}
END_TEST

START_TEST(collections_live_and_die)
{
    char id[UUID_TEXT + 1] = {0}, path[300];
    const struct api_options o = {.allow_reset = true};
    setup(&o);
    /* the query string is read before the names of the path are looked at */
    check(ask("GET", "/api/v2/tenants/t/databases/ab/collections?limit=x", NULL), 400,
          ERROR("InvalidArgumentError", "Failed to deserialize query string: limit: invalid digit found in string"));
    check(ask("GET", "/api/v2/tenants/t/databases/a+b/collections/x/functions/f", NULL), 400,
          ERROR("InvalidArgumentError", "multi-region databases do not support attached functions"));
    ck_assert_uint_eq(ask("POST", C "/x/attached_functions/f/detach", "{\"delete_output\":null}")->status, 422);
    ck_assert_uint_eq(ask("POST", C, "{\"name\":\"docs\",\"metadata\":{\"a\":1}}")->status, 200);
    ck_assert(says("\"name\":\"docs\"") &&
              says("\"metadata\":{\"a\":1},\"dimension\":null,\"tenant\":\"default_tenant\","
                   "\"database\":\"default_database\",\"log_position\":0,\"version\":0}"));
    memcpy(id, request.answer.p + sizeof "{\"id\":\"" - 1, UUID_TEXT);
    check(ask("POST", C, "{\"name\":\"docs\"}"), 409, ERROR("ChromaError", "Collection [docs] already exists"));
    ck_assert_uint_eq(ask("POST", C, "{\"name\":\"docs\",\"get_or_create\":true,\"metadata\":{\"b\":2}}")->status, 200);
    ck_assert(says(id) && says("\"metadata\":{\"a\":1}"));
    check(ask("POST", T "/databases/absent/collections", "{\"name\":\"docs\"}"), 400,
          ERROR("InvalidArgumentError", "Database [absent] does not exist"));
    /* several faults in one answer */
    check(ask("POST", C, "{\"name\":\"x\",\"metadata\":{}}"), 400,
          ERROR("InvalidArgumentError",
                "Validation error: name: Expected a name containing 3-512 characters from [a-zA-Z0-9._-], starting and "
                "ending with a character in [a-zA-Z0-9]. Got: x\\nmetadata: Metadata cannot be empty"));
    (void)snprintf(path, sizeof path, C "/by-id/%s", id);
    ck_assert_uint_eq(ask("GET", path, NULL)->status, 200);
    (void)snprintf(path, sizeof path, T "/databases/other/collections/by-id/%s", id);
    ck_assert_uint_eq(ask("GET", path, NULL)->status, 404);
    ck_assert_uint_eq(ask("GET", C "/docs", NULL)->status, 200);
    check(ask("GET", D "/collections_count", NULL), 200, "1");

    /* an update through another database finds nothing; a good one changes all parts */
    (void)snprintf(path, sizeof path, T "/databases/other/collections/%s", id);
    ck_assert_uint_eq(ask("PUT", path, "{\"new_name\":\"wrong\"}")->status, 404);
    (void)snprintf(path, sizeof path, C "/%s", id);
    check(ask("PUT", path,
              "{\"new_name\":\"papers\",\"new_metadata\":{\"b\":2,\"c\":null},\"new_configuration\":{\"hnsw\":{"
              "\"ef_search\":7}}}"),
          200, "{}");
    ck_assert_uint_eq(ask("GET", C "/docs", NULL)->status, 404);
    ck_assert_uint_eq(ask("GET", C "/papers", NULL)->status, 200);
    ck_assert(says("\"metadata\":{\"b\":2}") && says("\"ef_construction\":100,\"ef_search\":7,\"max_neighbors\":16"));
    /* a rename onto a name that is taken leaves everything as it was */
    ck_assert_uint_eq(ask("POST", C, "{\"name\":\"docs\"}")->status, 200);
    check(ask("PUT", path, "{\"new_name\":\"docs\",\"new_metadata\":{\"z\":1}}"), 409,
          ERROR("ChromaError", "Collection [docs] already exists"));
    (void)ask("GET", C "/papers", NULL);
    ck_assert(says("\"metadata\":{\"b\":2}"));
    check(ask("PUT", C "/papers", "{}"), 400, ERROR("InvalidArgumentError", "Collection ID is not a valid UUIDv4"));

    /* deletion goes by name */
    ck_assert_uint_eq(ask("DELETE", path, NULL)->status, 404);
    check(ask("DELETE", C "/papers", NULL), 200, "{}");
    check(ask("DELETE", C "/papers", NULL), 404, ERROR("NotFoundError", "Collection [papers] does not exist"));
    ck_assert_uint_eq(ask("PUT", path, "{}")->status, 404);
    check(ask("POST", "/api/v2/reset", "anything"), 200, "true");
    check(ask("GET", C, NULL), 200, "[]");
    teardown();
}
END_TEST

/* A write: the answer comes on the log's thread. */
static unsigned write_records(const char *path, const char *body)
{
    api_end(&request);
    request = (struct api_request){.method = STR("POST"), .path = str_from_c(path), .done = on_written};
    request.body = str_from_c(body);
    ck_assert_int_eq(api_begin(api, &request), API_RUN_POOL);
    atomic_store(&is_written, false);
    api_run(&request);
    while (!atomic_load(&is_written)) (void)sched_yield();
    return request.status;
}

START_TEST(schemas_learn_the_keys_that_are_written)
{
    char id[UUID_TEXT + 1] = {0}, path[300];
    setup(NULL);
    ck_assert_uint_eq(ask("POST", C, "{\"name\":\"docs\"}")->status, 200);
    memcpy(id, request.answer.p + sizeof "{\"id\":\"" - 1, UUID_TEXT);
    (void)snprintf(path, sizeof path, C "/%s/add", id);
    ck_assert_uint_eq(write_records(path, "{\"ids\":[\"a\",\"b\"],\"embeddings\":[[1,2],[3,4]],\"metadatas\":[{\"k\":"
                                          "\"v\",\"n\":1,\"l\":[true]},{\"k\":2.5,\"n\":7}]}"),
                      201);
    (void)ask("GET", C "/docs", NULL);
    const char *string = "\"string\":{\"fts_index\":{\"enabled\":false,\"config\":{}},\"string_inverted_index\":{"
                         "\"enabled\":true,\"config\":{}}}";
    ck_assert(says(string) && says("\"n\":{\"int\":{\"int_inverted_index\":{\"enabled\":true,\"config\":{}}}}"));
    ck_assert(says("\"l\":{\"bool\":{\"bool_inverted_index\":{\"enabled\":true,\"config\":{}}}}"));
    ck_assert(says("\"float\":{\"float_inverted_index\":{\"enabled\":true,\"config\":{}}}}"));
    ck_assert(says("\"dimension\":2"));
    /* the same again changes nothing */
    const struct catalog_collection *before =
        catalog_collection_by_name(store_catalog(store), STR("default_tenant"), STR("default_database"), STR("docs"));
    ck_assert_uint_eq(write_records(path, "{\"ids\":[\"c\"],\"embeddings\":[[1,2]],\"metadatas\":[{\"n\":1}]}"), 201);
    const struct catalog_collection *after =
        catalog_collection_by_name(store_catalog(store), STR("default_tenant"), STR("default_database"), STR("docs"));
    ck_assert_ptr_eq(before, after);
    /* a client that makes up keys is stopped, its records are not */
    struct buf body = {0};
    buf_lit(&body, "{\"ids\":[\"d\"],\"embeddings\":[[1,2]],\"metadatas\":[{");
    for (int i = 0; i < 3000; i++) buf_printf(&body, "%s\"key%04d\":%d", i > 0 ? "," : "", i, i);
    buf_lit(&body, "}]}");
    buf_char(&body, '\0');
    ck_assert_uint_eq(write_records(path, body.p), 201);
    buf_free(&body);
    (void)ask("GET", C "/docs", NULL);
    ck_assert(says("\"key0100\":{\"int\"") && !says("\"key2000\":"));
    catalog_collection_unref(before);
    catalog_collection_unref(after);
    teardown();
}
END_TEST

/* Memory that runs out anywhere in a request gives an answer of status 503 or a good one, and leaks nothing. */
static atomic_int n_left; /* atomic, and the hook there before the threads are: the log's threads ask too */

static bool fail_at(void *ctx, size_t size)
{
    (void)ctx, (void)size;
    return atomic_fetch_sub(&n_left, 1) != 0;
}

START_TEST(short_memory_is_answered)
{
    atomic_store(&n_left, -1);
    mem_set_hook(fail_at, NULL);
    setup(NULL);
    ck_assert_uint_eq(ask("POST", C, "{\"name\":\"docs\"}")->status, 200);
    for (int n = 0, is_over = 0; !is_over; n++) {
        atomic_store(&n_left, n);
        unsigned status = ask("GET", C "?limit=10", NULL)->status;
        is_over = atomic_exchange(&n_left, -1) >= 0;
        ck_assert_msg(status == 200 || status == 503, "allocation %d: status %u", n, status);
        ck_assert_int_lt(n, 1000);
    }
    for (int n = 0, is_over = 0; !is_over; n++) {
        char name[64];
        (void)snprintf(name, sizeof name, "{\"name\":\"c%04d\",\"metadata\":{\"b\":\"\\n\",\"a\":1}}", n);
        atomic_store(&n_left, n);
        unsigned status = ask("POST", C, name)->status;
        is_over = atomic_exchange(&n_left, -1) >= 0;
        ck_assert_msg(status == 200 || status == 503, "allocation %d: status %u %.*s", n, status,
                      STR_ARG(buf_view(&request.answer)));
        ck_assert_int_lt(n, 1000);
    }
    teardown();
    mem_set_hook(NULL, NULL);
}
END_TEST

TESTS(api, paths_are_matched_exactly, parameters_are_decoded_after_routing, bodies_are_refused_before_they_are_read,
      cors_answers_options_and_adds_headers, system_routes, databases_come_in_pages, collections_live_and_die,
      schemas_learn_the_keys_that_are_written, short_memory_is_answered)
