/* api.c - the life of a request: routing and early refusal, running, the end. See api.h for who calls what when.
 *
 * ORDER OF REFUSALS (the first that applies answers)
 *   1. no such route 404   2. wrong method 405   3. a path parameter that is not UTF-8 400
 *   4. who asks is not known 401, or may not do this 403 (auth_gate.c)
 *   5. the announced body is too large 413   6. the content type is not JSON 415
 *   Everything else needs the body and is the handler's.
 * CORS, when configured, adds its headers to every answer and answers every OPTIONS request by itself.
 */
#include "api/answer.h"
#include "api/auth_gate.h"
#include "api/routes.h"

#include <strings.h>

#include "core/mem.h"

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
    (void)pthread_mutex_init(&api->update_mutex, NULL); /* cannot fail without attributes */
    *a = api;
    return ERR_OK;
}

void api_free(struct api *a)
{
    if (a == NULL) return;
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
    const char *vary = "vary: origin, access-control-request-method, access-control-request-headers\r\n";
    const char *preflight = "access-control-allow-methods: *\r\naccess-control-allow-headers: *\r\n";
    struct str origin = STR("");
    if (is_any_origin(o))
        origin = STR("access-control-allow-origin: *\r\n");
    else if (is_allowed_origin(o, r->origin))
        origin = arena_printf(&r->arena, "access-control-allow-origin: %.*s\r\n", STR_ARG(r->origin));
    /* Short of memory the answer goes out without the headers: a browser then refuses it, nobody else notices. */
    r->extra_headers =
        arena_printf(&r->arena, "%.*s%s%s", STR_ARG(origin), is_any_origin(o) ? "" : vary, is_options ? preflight : "");
}

/* --- beginning --------------------------------------------------------------------------------------------------- */

/* application/json and application/<anything>+json, with or without parameters. */
static bool is_json_type(struct str type)
{
    const char *semicolon = memchr(type.p, ';', type.n);
    if (semicolon != NULL) type.n = (size_t)(semicolon - type.p);
    while (type.n > 0 && (type.p[type.n - 1] == ' ' || type.p[type.n - 1] == '\t')) type.n--;
    while (type.n > 0 && (type.p[0] == ' ' || type.p[0] == '\t')) type.p++, type.n--;
    const size_t n = sizeof "application/" - 1;
    if (type.n <= n || strncasecmp(type.p, "application/", n) != 0) return false;
    type.p += n;
    type.n -= n;
    if (type.n == 4 && strncasecmp(type.p, "json", 4) == 0) return true;
    return type.n > 5 && strncasecmp(type.p + type.n - 5, "+json", 5) == 0;
}

/* False: answered. */
static bool decode_params(struct api_request *r, const struct str raw[API_PARAMS_MAX], uint32_t n_params)
{
    for (uint32_t i = 0; i < n_params; i++) {
        if (!percent_decode(&r->arena, raw[i], false, &r->params[i])) {
            (void)api_fail(r, ERR_NOMEM, "out of memory");
            return false;
        }
        if (!json_is_utf8(r->params[i])) {
            struct str name = route_param_name(r->route, i);
            (void)api_fail(r, ERR_INVALID, "Invalid URL: Invalid UTF-8 in `%.*s`", STR_ARG(name));
            return false;
        }
    }
    return true;
}

enum api_place api_begin(struct api *a, struct api_request *r)
{
    struct str raw[API_PARAMS_MAX];
    uint32_t n_params = 0;
    r->api = a;
    r->arena = (struct arena){.max_bytes = a->options.request_memory_bytes};
    r->body_max = a->options.max_payload_bytes;
    r->status = 0;
    r->answer = (struct buf){0};
    r->answer_type = r->allow = r->location = r->extra_headers = STR("");
    r->has_trace_id = r->close_connection = false;
    r->state = NULL;
    r->user = NULL;
    r->is_unverified = false;
    r->is_head = str_eq(r->method, STR("HEAD"));

    bool is_options = str_eq(r->method, STR("OPTIONS"));
    if (a->options.n_cors > 0) add_cors_headers(r, is_options);
    const struct api_route *first = route_find(r->path, raw, &n_params);
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
    if (!decode_params(r, raw, n_params) || !auth_gate_admit(r)) return API_ANSWERED;
    if (r->has_length && r->content_length > r->body_max) {
        api_refuse_body(r);
        return API_ANSWERED;
    }
    if (r->route->body != BODY_NONE && r->content_type.p != NULL && !is_json_type(r->content_type)) {
        (void)api_fail(r, ERR_MEDIA_TYPE, "Expected request with `Content-Type: application/json`");
        return API_ANSWERED;
    }
    return r->is_unverified ? API_RUN_POOL : r->route->place;
}

void api_refuse_body(struct api_request *r)
{
    r->close_connection = true; /* what is left of the body is not worth reading */
    if (r->route->body == BODY_JSON_BARE)
        (void)answer_text(r, err_status(ERR_TOO_LARGE), STR(""), STR("Payload too large"));
    else
        (void)api_fail(r, ERR_TOO_LARGE, "Failed to buffer the request body: length limit exceeded");
}

void api_write_routes(struct buf *out)
{
    for (uint32_t i = 0; i < api_n_routes; i++)
        buf_printf(out, "%s %s %s\n", api_routes[i].method, api_routes[i].pattern,
                   auth_action_name(api_routes[i].action));
}

/* --- running and ending ------------------------------------------------------------------------------------------ */

void api_run(struct api_request *r)
{
    if (r->body.p == NULL) r->body = STR("");
    if (!auth_gate_confirm(r) || r->route->handler(r) == API_DONE) r->done(r);
}

void api_end(struct api_request *r)
{
    auth_gate_leave(r);
    arena_free(&r->arena);
    buf_free(&r->answer);
}
