/* api.c - the life of a request: routing and early refusal, running, the end. See api.h for who calls what when.
 *
 * ORDER OF REFUSALS (the first that applies answers)
 *   1. no such route 404   2. wrong method 405   3. a path parameter that is not UTF-8 400
 *   4. who asks is not known 401, or may not do this 403 (auth_gate.c)
 *   5. the tenant asks too often, or has too much in progress 429 (limits_gate.c)
 *   6. the content type is not JSON 415   7. the announced body is too large 413 (the other way round where upstream
 *      answers that with a bare text: BODY_JSON_BARE)
 *   A password that has to be verified first puts off 4 and 5 until the body is there.
 *   Everything else needs the body and is the handler's.
 * CORS, when configured, adds its headers to every answer and answers every OPTIONS request by itself.
 */
#include "api/answer.h"
#include "api/auth_gate.h"
#include "api/http_token.h"
#include "api/limits_gate.h"
#include "api/routes.h"

#include <strings.h>

#include "core/mem.h"
#include "core/utf8.h"

static const uint64_t DEFAULT_PAYLOAD_BYTES = 40 * 1024 * 1024;
static const uint64_t DEFAULT_MEMORY_BYTES = UINT64_C(1) << 30;

enum err api_new(struct api **a, struct store *store, const struct api_options *o, struct errmsg *em)
{
    struct api *api = mem_zalloc(sizeof *api);
    if (api == NULL) return errmsg_set(em, ERR_NOMEM, "api: out of memory");
    /* Before any thread parses a document: cJSON's allocations are counted and may fail like all others. */
    cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = mem_alloc, .free_fn = mem_free});
    api->store = store;
    if (o != NULL) api->options = *o;
    if (api->options.max_payload_bytes == 0) api->options.max_payload_bytes = DEFAULT_PAYLOAD_BYTES;
    if (api->options.request_memory_bytes == 0) api->options.request_memory_bytes = DEFAULT_MEMORY_BYTES;
    api->memory.max_bytes = api->options.request_memory_bytes;
    if (api->options.version == NULL) api->options.version = "";
    CHECK(api_n_routes + METRICS_FIRST_ROW <= METRICS_OPERATIONS_MAX && "a counter for each route");
    enum err e = limits_new(&api->limits, store_catalog(store), api->options.limits, em);
    if (e != ERR_OK) {
        mem_free(api);
        return e;
    }
    (void)pthread_mutex_init(&api->update_mutex, NULL); /* cannot fail without attributes */
    *a = api;
    return ERR_OK;
}

void api_free(struct api *a)
{
    if (a == NULL) return;
    limits_free(a->limits);
    (void)pthread_mutex_destroy(&a->update_mutex);
    mem_free(a);
}

/* --- CORS -------------------------------------------------------------------------------------------------------- */

static bool is_any_origin(const struct api_options *o)
{
    return o->n_cors == 1 && str_eq(o->cors_origins[0], STR("*"));
}

static bool is_allowed_origin(const struct api_options *o, struct str origin)
{
    for (uint32_t i = 0; origin.p != NULL && i < o->n_cors; i++)
        if (str_eq(o->cors_origins[i], origin)) return true;
    return false;
}

static void add_cors_headers(struct api_request *r, bool is_options)
{
    const struct api_options *o = &r->api->options;
    const char *preflight = "access-control-allow-methods: *\r\naccess-control-allow-headers: *\r\n";
    struct str origin = STR("");
    if (is_any_origin(o))
        origin = STR("access-control-allow-origin: *\r\n");
    else if (is_allowed_origin(o, r->origin))
        origin = arena_printf(&r->arena, "access-control-allow-origin: %.*s\r\n", STR_ARG(r->origin));
    /* Short of memory the answer goes out without the headers: a browser then refuses it, nobody else notices. */
    r->extra_headers =
        arena_printf(&r->arena, "%.*svary: origin, access-control-request-method, access-control-request-headers\r\n%s",
                     STR_ARG(origin), is_options ? preflight : "");
}

/* --- beginning --------------------------------------------------------------------------------------------------- */

/* Takes the longest token off the front. */
static struct str take_token(struct str *s)
{
    size_t n = 0;
    while (n < s->n && http_is_token_char(s->p[n])) n++;
    struct str token = str_of(s->p, n);
    *s = str_of(s->p + n, s->n - n);
    return token;
}

/* Takes "..." off the front; false: it has no end. */
static bool take_quoted(struct str *s)
{
    size_t i = 1;
    while (i < s->n && s->p[i] != '"') i += s->p[i] == '\\' ? 2 : 1;
    if (i >= s->n) return false;
    *s = str_of(s->p + i + 1, s->n - i - 1);
    return true;
}

/* The rest of a media type: ";" and parameters, with spaces nowhere but after a ";", the last of which may be empty. */
static bool are_parameters(struct str s)
{
    while (s.n > 0) {
        if (s.p[0] != ';') return false;
        do s = str_of(s.p + 1, s.n - 1);
        while (s.n > 0 && s.p[0] == ' ');
        if (s.n == 0) return true;
        if (take_token(&s).n == 0 || s.n == 0 || s.p[0] != '=') return false;
        s = str_of(s.p + 1, s.n - 1);
        if (s.n > 0 && s.p[0] == '"') {
            if (!take_quoted(&s)) return false;
        } else {
            (void)take_token(&s);
        }
    }
    return true;
}

static bool is_word(struct str s, const char *word)
{
    return s.n == strlen(word) && strncasecmp(s.p, word, s.n) == 0;
}

/* application/json and application/<anything>+json, with or without parameters. As upstream takes it, json+<anything>
 * is JSON as well. */
static bool is_json_type(struct str s)
{
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) s.n--;
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) s = str_of(s.p + 1, s.n - 1);
    if (!is_word(take_token(&s), "application") || s.n == 0 || s.p[0] != '/') return false;
    s = str_of(s.p + 1, s.n - 1);
    struct str subtype = take_token(&s);
    const char *plus = subtype.n > 0 ? memrchr(subtype.p, '+', subtype.n) : NULL;
    struct str name = subtype, suffix = STR("");
    if (plus != NULL) {
        name = str_of(subtype.p, (size_t)(plus - subtype.p));
        suffix = str_of(plus + 1, subtype.n - name.n - 1);
    }
    bool is_json = is_word(name, "json") || (name.n > 0 && is_word(suffix, "json"));
    return is_json && are_parameters(s);
}

/* False: answered. */
static bool decode_params(struct api_request *r, const struct str raw[API_PARAMS_MAX], uint32_t n_params)
{
    for (uint32_t i = 0; i < n_params; i++) {
        if (!percent_decode(&r->arena, raw[i], false, &r->params[i])) {
            (void)api_fail(r, ERR_NOMEM, "out of memory");
            return false;
        }
        if (!utf8_is_valid(r->params[i])) {
            struct str name = route_param_name(r->route, i);
            (void)api_fail(r, ERR_INVALID, "Invalid URL: Invalid UTF-8 in `%.*s`", STR_ARG(name));
            return false;
        }
    }
    return true;
}

static void refuse_body(struct api_request *r)
{
    r->close_connection = true; /* what is left of the body is not worth reading */
    if (r->route->body == BODY_JSON_BARE)
        (void)answer_text(r, err_status(ERR_TOO_LARGE), STR(""), STR("Payload too large"));
    else
        (void)api_fail(r, ERR_TOO_LARGE, "Failed to buffer the request body: length limit exceeded");
}

/* False: answered. */
static bool check_body_headers(struct api_request *r)
{
    bool is_too_long = r->has_length && r->content_length > r->body_max;
    bool is_other_type = r->content_type.p != NULL && !is_json_type(r->content_type);
    if (is_other_type && !(is_too_long && r->route->body == BODY_JSON_BARE))
        (void)api_fail(r, ERR_MEDIA_TYPE, "Expected request with `Content-Type: application/json`");
    else if (is_too_long)
        refuse_body(r);
    else
        return true;
    return false;
}

/* What logs and metrics call the request. */
static void name_operation(struct api_request *r)
{
    bool is_listed = r->route->id != NULL;
    r->operation = is_listed ? METRICS_FIRST_ROW + (unsigned)(r->route - api_routes) : METRICS_UNLISTED;
    r->operation_name = is_listed ? r->route->id : "unlisted";
    r->group = route_group(r->route);
}

static enum api_place begin(struct api *a, struct api_request *r)
{
    struct str raw[API_PARAMS_MAX];
    uint32_t n_params = 0;
    r->api = a;
    r->arena = (struct arena){.max_bytes = a->options.request_memory_bytes, .budget = &a->memory};
    r->body_max = a->options.max_payload_bytes;
    r->status = 0;
    r->answer = (struct buf){.budget = &a->memory};
    r->answer_type = r->allow = r->location = r->extra_headers = STR("");
    r->has_trace_id = r->close_connection = false;
    r->state = NULL;
    r->user = NULL;
    r->is_unverified = r->is_pending = r->is_admitted = r->ignores_body = false;
    r->tenant = NULL;
    r->explain = NULL;
    r->ticket.n = 0;
    r->is_head = str_eq(r->method, STR("HEAD"));
    r->operation = METRICS_NO_ROUTE;
    r->group = METRICS_SYSTEM;
    r->operation_name = r->error_name = NULL;
    r->n_scope = 0;
    r->user_name = (struct str){NULL, 0};
    r->n_records = 0;
    r->did = (struct exec_stats){0};

    bool is_options = str_eq(r->method, STR("OPTIONS"));
    if (a->options.n_cors > 0) add_cors_headers(r, is_options);
    const struct api_route *first = route_find(r->path, raw, &n_params);
    if (first != NULL && first->handler == handle_metrics && a->options.metrics == NULL) first = NULL;
    if (a->options.n_cors > 0 && is_options) {
        if (first != NULL) r->allow = route_allow(first, &r->arena);
        (void)answer_empty(r, 200);
        return API_ANSWERED;
    }
    if (first == NULL) {
        (void)answer_empty(r, 404);
        return API_ANSWERED;
    }
    r->route = route_with_method(first, r->method);
    if (r->route == NULL) {
        r->allow = route_allow(first, &r->arena);
        (void)answer_empty(r, 405);
        return API_ANSWERED;
    }
    name_operation(r);
    if (!decode_params(r, raw, n_params)) return API_ANSWERED;
    r->n_scope = route_n_scope(r->route);
    if (!auth_gate_admit(r)) return API_ANSWERED;
    if (!r->is_unverified && !limits_admit(r)) return API_ANSWERED;
    r->ignores_body = r->route->body == BODY_NONE;
    if (!r->ignores_body && !check_body_headers(r)) return API_ANSWERED;
    return r->is_unverified ? API_RUN_POOL : r->route->place;
}

enum api_place api_begin(struct api *a, struct api_request *r)
{
    enum api_place place = begin(a, r);
    if (place == API_ANSWERED) limits_count_answer(r);
    return place;
}

void api_refuse_body(struct api_request *r)
{
    refuse_body(r);
    limits_count_answer(r);
}

void api_write_routes(struct buf *out)
{
    for (uint32_t i = 0; i < api_n_routes; i++)
        buf_printf(out, "%s %s %s\n", api_routes[i].method, api_routes[i].pattern,
                   auth_action_name(api_routes[i].action));
}

/* --- running and ending ------------------------------------------------------------------------------------------ */

bool api_ready(struct api_request *r)
{
    if (auth_gate_ready(r) && (r->is_unverified || limits_admit(r))) return true;
    limits_count_answer(r);
    return false;
}

void api_complete(struct api_request *r)
{
    limits_count_answer(r);
    r->done(r);
}

static bool admit_late(struct api_request *r)
{
    if (!auth_gate_confirm(r) || !limits_admit(r)) return false;
    limits_count(r, USAGE_BYTES_IN, r->body.n);
    return true;
}

void api_run(struct api_request *r)
{
    if (r->body.p == NULL) r->body = STR("");
    if (!admit_late(r) || r->route->handler(r) == API_DONE) api_complete(r);
}

void api_end(struct api_request *r)
{
    limits_leave(r);
    auth_gate_leave(r);
    arena_free(&r->arena);
    buf_free(&r->answer);
}
