/* gateway_answer.c - an answer of the api, or a refusal, as a libmicrohttpd response. The body is not copied: the
 * response takes the api's buffer over and frees it when the last byte is sent.
 *
 * FAILURE  a response or header that cannot be made for lack of memory closes the connection: half an answer would be
 *          worse. Everything else of the request is freed as soon as the answer is queued, not when a slow client has
 *          read it.
 */
#include "server/gateway_internal.h"

#include "core/logger.h"
#include "core/mem.h"

#define JSON_ERROR(message) "{\"error\":\"ChromaError\",\"message\":\"" message "\"}"
#define JSON                "application/json"

const struct refusal refusal_rate_limited = {429, "text/plain; charset=utf-8", "You have been rate limited.", false};
const struct refusal refusal_busy = {503, JSON, JSON_ERROR("The server is too busy; try again later"), false};
const struct refusal refusal_body_memory = {
    503, JSON, JSON_ERROR("The server holds as many request bodies as it may; try again later"), false};
const struct refusal refusal_no_memory = {503, JSON, JSON_ERROR("The server is out of memory; try again later"), false};
const struct refusal refusal_framing = {400, NULL, "", true};
const struct refusal refusal_coding = {501, NULL, "", true};
const struct refusal refusal_many_headers = {431, NULL, "", true};
const struct refusal refusal_long_target = {414, NULL, "", true};

static bool add_header(struct MHD_Response *m, struct str name, struct str value)
{
    char small[512], *text = small;
    size_t n;
    if (!ck_add(name.n, value.n, &n) || !ck_add(n, 2, &n)) return false;
    if (n > sizeof small && (text = mem_alloc(n)) == NULL) return false;
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    if (value.n > 0) memcpy(text + name.n + 1, value.p, value.n);
    text[n - 1] = '\0';
    bool is_added = MHD_add_response_header(m, text, text + name.n + 1) == MHD_YES;
    if (text != small) mem_free(text);
    return is_added;
}

/* "name: value\r\n" lines. */
static bool add_header_lines(struct MHD_Response *m, struct str lines)
{
    while (lines.n > 0) {
        const char *end = memchr(lines.p, '\n', lines.n);
        size_t n = end != NULL ? (size_t)(end - lines.p) : lines.n, skip = end != NULL ? n + 1 : n;
        if (n > 0 && lines.p[n - 1] == '\r') n--;
        const char *colon = n > 0 ? memchr(lines.p, ':', n) : NULL;
        if (colon != NULL) {
            struct str name = str_of(lines.p, (size_t)(colon - lines.p));
            struct str value = str_of(colon + 1, n - name.n - 1);
            while (value.n > 0 && value.p[0] == ' ') value = str_of(value.p + 1, value.n - 1);
            if (!add_header(m, name, value)) return false;
        }
        lines = str_of(lines.p + skip, lines.n - skip);
    }
    return true;
}

/* The trace id goes with refusals of our own kind; upstream's 429 has none. */
static struct MHD_Response *make_refusal(const struct refusal *refusal, const struct api_request *r)
{
    union { /* libmicrohttpd only reads a persistent buffer, but does not say const */
        const char *text;
        void *p;
    } body = {.text = refusal->body};
    struct MHD_Response *m = MHD_create_response_from_buffer(strlen(refusal->body), body.p, MHD_RESPMEM_PERSISTENT);
    if (m == NULL) return NULL;
    bool is_good = (refusal->type == NULL || add_header(m, STR("content-type"), str_from_c(refusal->type))) &&
                   (refusal->status != 503 || r->trace_id[0] == '\0' ||
                    add_header(m, STR("chroma-trace-id"), str_from_c(r->trace_id))) &&
                   (!refusal->closes || add_header(m, STR("Connection"), STR("close")));
    if (is_good) return m;
    MHD_destroy_response(m);
    return NULL;
}

/* An answer beyond what is free of charge: the budget has it until it is sent. */
struct charged {
    struct budget *budget;
    size_t cap;
    void *body;
};

static void free_charged(void *cls)
{
    struct charged *c = cls;
    budget_shrink(c->budget, c->cap, 0);
    mem_free(c->body);
    mem_free(c);
}

static struct MHD_Response *make_answer(struct api_request *r, size_t *n)
{
    struct budget *budget = r->answer.budget;
    size_t cap = r->answer.cap;
    bool is_charged = budget != NULL && budget_charge(cap) > 0;
    struct charged *c = is_charged ? mem_alloc(sizeof *c) : NULL;
    if (is_charged && c == NULL) return NULL;
    char *body = buf_take(&r->answer, n);
    if (c != NULL) *c = (struct charged){.budget = budget, .cap = cap, .body = body};
    void (*release)(void *) = c != NULL ? free_charged : mem_free;
    void *cls = c != NULL ? (void *)c : body;
    struct MHD_Response *m = MHD_create_response_from_buffer_with_free_callback_cls(*n, body, release, cls);
    if (m == NULL) {
        release(cls);
        return NULL;
    }
    bool is_good = (r->answer_type.n == 0 || add_header(m, STR("content-type"), r->answer_type)) &&
                   (r->allow.n == 0 || add_header(m, STR("allow"), r->allow)) &&
                   (r->location.n == 0 || add_header(m, STR("location"), r->location)) &&
                   (!r->has_trace_id || add_header(m, STR("chroma-trace-id"), str_from_c(r->trace_id))) &&
                   add_header_lines(m, r->extra_headers);
    if (is_good) return m;
    MHD_destroy_response(m); /* frees the body */
    return NULL;
}

enum MHD_Result exchange_answer(struct exchange *x)
{
    struct gateway *g = x->connection->gateway;
    size_t n = 0;
    unsigned status = x->refusal != NULL ? x->refusal->status : x->r.status;
    struct MHD_Response *m = x->refusal != NULL ? make_refusal(x->refusal, &x->r) : make_answer(&x->r, &n);
    /* The api cannot know that the rest of an unwanted body was read and thrown away: then nothing is in the way. */
    bool is_rest_read = x->stage == STAGE_DISCARD;
    bool closes = g->is_draining || x->closes || (x->refusal == NULL && x->r.close_connection && !is_rest_read);
    if (m != NULL && closes && !add_header(m, STR("Connection"), STR("close"))) {
        MHD_destroy_response(m);
        m = NULL;
    }
    if (m == NULL) {
        log_warn("http: memory is short, a connection is closed without an answer");
        return MHD_NO;
    }
    enum MHD_Result result = MHD_queue_response(x->connection->mhd, status, m);
    MHD_destroy_response(m); /* our reference; the connection has its own */
    note_answer(x, result == MHD_YES ? status : 0, x->refusal != NULL ? strlen(x->refusal->body) : n);
    exchange_release(x);
    if (result != MHD_YES) return MHD_NO;
    g->n_answered++;
    connection_expect(x->connection, STAGE_SENDING, n);
    return MHD_YES;
}
