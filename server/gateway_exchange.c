/* gateway_exchange.c - a request from its line to its hand-over.
 *
 * HAPPY PATH  on_request_line keeps the raw target; on_request is called with the headers (exchange_head: api_begin,
 *             limits, one block for the body), with pieces of the body (exchange_piece), and once more when all is there
 *             (exchange_whole: run here, or hand_over: suspend and push to the pool). After the work it is called again, and the
 *             answer is queued. on_completed ends the exchange, whatever happened.
 * REFUSALS    a body that is not wanted is read and thrown away up to discard_max_bytes, so that the client, which
 *             sends before it reads, gets its answer and keeps its connection. A longer one is answered at once and the
 *             connection closed, as is one that still waits for "100 Continue".
 * FAILURE     memory short: 503 from a constant text; where even that is impossible the connection is closed.
 * INVARIANTS  the body's bytes are charged to the gateway's budget as they arrive, those of a block that was kept (body_spares.h) and is in
 *             memory already at once, and given back when they are freed. All that is charged and all that is kept together are within it.
 */
#include "server/gateway_internal.h"

#include <strings.h>

#include "api/http_token.h"
#include "core/mem.h"
#include "server/target.h"

enum { HEADERS_MAX = 100, TARGET_MAX = 65534 }; /* upstream's */

static struct connection *connection_of(struct MHD_Connection *mhd)
{
    return MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

void *on_request_line(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    struct connection *c = connection_of(mhd);
    ((struct gateway *)cls)->has_called = true;
    if (c == NULL) return NULL;
    struct exchange *x = &c->x;
    CHECK(x->stage == STAGE_IDLE && x->uri == NULL && "one exchange at a time");
    *x = (struct exchange){.connection = c};
    /* Nothing can have come since: it was sent before the answer to the one before. Whoever does so waits for others. */
    x->is_pipelined = c->ended_in_run == c->gateway->n_runs; /* runs are counted from 1 */
    x->stage = STAGE_HEAD;                                   /* the deadline stays that of the headers */
    if (uri == NULL) uri = "";
    x->uri = mem_dup(uri, strlen(uri) + 1);
    return x;
}

/* ---------------------------------------------------------------------------------------------- headers */

static bool is_token(struct str value, const char *word)
{
    return value.n == strlen(word) && strncasecmp(value.p, word, value.n) == 0;
}

static bool parse_length(struct str s, uint64_t *v)
{
    uint64_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9' || __builtin_mul_overflow(n, 10u, &n) ||
            __builtin_add_overflow(n, (uint64_t)(s.p[i] - '0'), &n))
            return false;
    *v = n;
    return s.n > 0;
}

static void set_first(struct str *header, struct str value)
{
    if (header->p == NULL) *header = value;
}

/* Printable, or a tab, or beyond ASCII. */
static bool is_field_value(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (((unsigned char)s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == 0x7f) return false;
    return true;
}

/* "gzip, chunked" has an end that can be found, though we cannot read it (501); "identity" has none (400). */
static bool ends_in_chunked(struct str codings)
{
    while (codings.n > 0 && codings.p[codings.n - 1] == ' ') codings.n--;
    if (codings.n < 7 || !is_token(str_of(codings.p + codings.n - 7, 7), "chunked")) return false;
    return codings.n == 7 || codings.p[codings.n - 8] == ' ' || codings.p[codings.n - 8] == ',';
}

/* Two credentials are none: a proxy in front may have judged the other one. */
static void set_once(struct str *header, struct str value)
{
    *header = header->p == NULL ? value : STR("");
}

/* A message whose end two readers could see in different places is refused: a proxy in front may be the other one. */
static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *key, size_t key_n, const char *value,
                                 size_t value_n)
{
    struct exchange *x = cls;
    struct str name = str_of(key, key_n), v = str_of(value != NULL ? value : "", value_n);
    uint64_t length;
    (void)kind;
    if (++x->n_headers > HEADERS_MAX) {
        x->refusal = &refusal_many_headers;
        return MHD_NO; /* that is: no further headers, please */
    }
    if (!http_is_token(name) || !is_field_value(v)) {
        x->refusal = &refusal_framing;
    } else if (is_token(name, "content-type")) {
        set_first(&x->r.content_type, v);
    } else if (is_token(name, "origin")) {
        set_first(&x->r.origin, v);
    } else if (is_token(name, "authorization")) {
        set_once(&x->r.authorization, v);
    } else if (is_token(name, "x-chroma-token")) {
        set_once(&x->r.chroma_token, v);
    } else if (is_token(name, "x-chroma-explain")) {
        x->r.wants_explanation = is_token(v, "true");
    } else if (is_token(name, "expect")) {
        x->expects_continue = is_token(v, "100-continue");
    } else if (is_token(name, "transfer-encoding")) {
        if (x->is_chunked || !is_token(v, "chunked"))
            x->refusal = ends_in_chunked(v) ? &refusal_coding : &refusal_framing;
        x->is_chunked = true;
    } else if (is_token(name, "content-length")) {
        bool is_good = parse_length(v, &length) && (!x->r.has_length || x->r.content_length == length);
        if (is_good)
            x->r.content_length = length;
        else
            x->refusal = &refusal_framing;
        x->r.has_length = true;
    }
    return MHD_YES;
}

static void read_headers(struct exchange *x, const char *method, const char *version)
{
    struct str target = str_from_c(x->uri);
    x->r.method = str_from_c(method);
    x->r.path = x->r.query = STR("");
    if (target.n > TARGET_MAX)
        x->refusal = &refusal_long_target;
    else if (!http_is_token(x->r.method) || !is_http_version(str_from_c(version)) ||
             !split_target(target, &x->r.path, &x->r.query))
        x->refusal = &refusal_framing;
    (void)MHD_get_connection_values_n(x->connection->mhd, MHD_HEADER_KIND, on_header, x);
    if (x->is_chunked && x->r.has_length) { /* chunked wins; nothing that follows on this connection is trusted */
        x->r.has_length = false;
        x->r.content_length = 0;
        x->closes = true;
    }
}

/* ---------------------------------------------------------------------------------------------- the body */

static void free_body(struct exchange *x)
{
    struct gateway *g = x->connection->gateway;
    CHECK(g->body_bytes >= x->charged_bytes && "what is given back was charged");
    g->body_bytes -= x->charged_bytes;
    x->charged_bytes = 0;
    body_spares_keep(&g->spares, x->body, x->body_cap + 1, g->options.body_memory_bytes - g->body_bytes,
                     uv_now(g->loop));
    x->body = NULL;
    x->body_n = x->body_cap = 0;
}

/* From here on the body is thrown away; the answer is there already. */
static void discard_rest(struct exchange *x)
{
    free_body(x);
    x->stage = STAGE_DISCARD; /* the deadline stays that of the body */
}

static void refuse(struct exchange *x, const struct refusal *refusal)
{
    x->refusal = refusal;
    discard_rest(x);
}

/* At least n bytes in all. False: they are beyond the budget. */
static bool charge(struct exchange *x, size_t n)
{
    struct gateway *g = x->connection->gateway;
    uint64_t more = n > x->charged_bytes ? n - x->charged_bytes : 0;
    if (more > g->options.body_memory_bytes - g->body_bytes) return false;
    x->charged_bytes += more;
    g->body_bytes += more;
    body_spares_shrink(&g->spares, g->options.body_memory_bytes - g->body_bytes);
    return true;
}

static bool reserve_body(struct exchange *x, size_t n)
{
    size_t with_nul;
    if (n <= x->body_cap) return true;
    if (!ck_add(n, 1, &with_nul)) return false;
    char *p = x->body == NULL ? body_spares_take(&x->connection->gateway->spares, with_nul, &with_nul) : NULL;
    bool is_charged = p == NULL || charge(x, with_nul);
    CHECK(is_charged && "what was kept is within the budget");
    if (p == NULL) p = mem_resize(x->body, with_nul);
    if (p == NULL) return false;
    x->body = p;
    x->body_cap = with_nul - 1;
    return true;
}

/* The headers are known. Decides what happens with the body. */
static enum MHD_Result exchange_head(struct exchange *x, const char *method, const char *version)
{
    struct gateway *g = x->connection->gateway;
    g->n_requests++;
    x->is_counted = true;
    note_head(x);
    read_headers(x, method, version);
    connection_expect(x->connection, STAGE_BODY, 0);
    bool has_answer = true;
    if (x->refusal == NULL && g->options.breaker_requests > 0 && g->n_requests > g->options.breaker_requests)
        x->refusal = &refusal_rate_limited;
    if (x->refusal == NULL) {
        x->place = api_begin(g->options.api, &x->r);
        x->is_begun = true;
        uint64_t length = x->r.content_length, room = g->options.body_memory_bytes - g->body_bytes;
        if (x->place == API_ANSWERED) {
            has_answer = true;
        } else if (x->r.ignores_body) {
            has_answer = length > g->options.discard_max_bytes;
            if (has_answer) api_refuse_body(&x->r);
        } else if (length > x->r.body_max) {
            api_refuse_body(&x->r);
        } else if (length > room) {
            x->refusal = &refusal_body_memory;
        } else if (length > 0 && !reserve_body(x, (size_t)length)) {
            x->refusal = &refusal_no_memory;
        } else {
            has_answer = false;
        }
    }
    if (!has_answer) return MHD_YES;
    discard_rest(x);
    bool has_body = x->is_chunked || x->r.content_length > 0;
    bool is_early = x->refusal != NULL && x->refusal->closes;
    is_early = is_early || (has_body && (x->expects_continue || x->r.content_length > g->options.discard_max_bytes));
    return is_early ? exchange_answer(x) : MHD_YES;
}

static enum MHD_Result exchange_piece(struct exchange *x, const char *data, size_t n)
{
    struct gateway *g = x->connection->gateway;
    x->received_bytes += n;
    if (x->stage == STAGE_DISCARD || x->r.ignores_body) {
        x->discarded_bytes += n;
        return x->discarded_bytes <= g->options.discard_max_bytes ? MHD_YES : MHD_NO;
    }
    CHECK(x->stage == STAGE_BODY && "a piece of a body comes while it is collected");
    size_t needed;
    if (!ck_add(x->body_n, n, &needed) || needed > x->r.body_max) {
        api_refuse_body(&x->r);
        discard_rest(x);
        return MHD_YES;
    }
    if (!charge(x, needed)) {
        refuse(x, &refusal_body_memory);
        return MHD_YES;
    }
    size_t cap = x->body_cap;
    while (cap < needed) cap = cap < 4096 ? 4096 : cap > SIZE_MAX / 2 ? needed : cap * 2; /* chunked: size unknown */
    if (cap > x->r.body_max && needed <= x->r.body_max) cap = (size_t)x->r.body_max;
    if (!reserve_body(x, cap)) {
        refuse(x, &refusal_no_memory);
        return MHD_YES;
    }
    memcpy(x->body + x->body_n, data, n);
    x->body_n = needed;
    return MHD_YES;
}

/* ---------------------------------------------------------------------------------------------- the work */

static void on_api_done(struct api_request *r)
{
    struct exchange *x = r->server;
    x->note.done_ns = clock_monotonic_ns();
    if (x->runs_here)
        x->is_done = true;
    else
        gateway_complete(x);
}

static void run_job(struct pool_job *job)
{
    struct exchange *x = (struct exchange *)((char *)job - offsetof(struct exchange, job));
    x->note.run_ns = clock_monotonic_ns();
    api_run(&x->r);
}

/* Suspend comes first: the worker may finish, and the loop be asked to resume, before this returns. */
static enum MHD_Result hand_over(struct exchange *x)
{
    struct gateway *g = x->connection->gateway;
    x->job.run = run_job;
    x->job.can_wait = x->is_pipelined || x->received_bytes >= LARGE_BODY_BYTES;
    x->note.pushed_ns = clock_monotonic_ns();
    connection_expect(x->connection, STAGE_WORK, 0);
    g->n_in_flight++;
    note_gauges(g); /* the pool's thread may be about to show them */
    MHD_suspend_connection(x->connection->mhd);
    if (pool_push(g->options.pool, &x->job) == ERR_OK) return MHD_YES; /* x is no longer ours */
    x->refusal = &refusal_busy;
    gateway_complete(x);
    return MHD_YES;
}

/* The request is complete. What goes to the pool is handed over at libmicrohttpd's next turn, not here: a connection
 * suspended in the turn in which it was read is read again when it is resumed, and a client that has closed its sending
 * side by then would lose its answer. After a turn without an answer the library knows that it is our turn. */
static enum MHD_Result exchange_whole(struct exchange *x)
{
    struct gateway *g = x->connection->gateway;
    if (x->stage == STAGE_DISCARD) return exchange_answer(x);
    CHECK(x->stage == STAGE_BODY && "a complete request was being collected");
    if (x->body != NULL) x->body[x->body_n] = '\0';
    x->r.body = str_of(x->body != NULL ? x->body : "", x->body_n);
    if (x->place == API_RUN_HERE) {
        x->runs_here = true;
        api_run(&x->r);
        CHECK(x->is_done && "what runs on the loop answers there");
        return exchange_answer(x);
    }
    if (g->n_in_flight >= g->options.in_flight_max) {
        x->refusal = &refusal_busy;
        return exchange_answer(x);
    }
    if (!api_ready(&x->r)) return exchange_answer(x);
    connection_expect(x->connection, STAGE_READY, 0);
    return MHD_YES;
}

/* ---------------------------------------------------------------------------------------------- libmicrohttpd's calls */

enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                           const char *version, const char *data, size_t *data_n, void **ctx)
{
    struct exchange *x = *ctx;
    (void)mhd, (void)url;
    ((struct gateway *)cls)->has_called = true;
    if (x == NULL || x->uri == NULL) return MHD_NO; /* memory was short when it began */
    if (x->stage == STAGE_HEAD) {
        x->r.server = x;
        x->r.done = on_api_done;
        return exchange_head(x, method, version);
    }
    if (*data_n > 0) {
        size_t n = *data_n;
        *data_n = 0;
        enum MHD_Result taken = exchange_piece(x, data, n);
        if (taken == MHD_YES) exchange_take_turns(x);
        return taken;
    }
    CHECK(x->stage != STAGE_WORK && "a suspended connection is left alone");
    if (x->stage == STAGE_READY) return exchange_lets_others_pass(x) ? MHD_YES : hand_over(x);
    return x->stage == STAGE_ANSWER ? exchange_answer(x) : exchange_whole(x);
}

void exchange_release(struct exchange *x)
{
    if (x->is_begun) api_end(&x->r);
    x->is_begun = false;
    free_body(x);
    mem_free(x->uri);
    x->uri = NULL;
}

void on_completed(void *cls, struct MHD_Connection *mhd, void **ctx, enum MHD_RequestTerminationCode why)
{
    struct gateway *g = cls;
    struct exchange *x = *ctx;
    (void)mhd;
    g->has_called = true;
    if (x == NULL) return;
    CHECK(x->stage != STAGE_WORK && "a suspended exchange cannot end");
    note_end(x, why == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    exchange_release(x);
    x->connection->n_ended++;
    x->connection->ended_in_run = g->n_runs;
    if (x->is_counted) g->n_requests--;
    x->is_counted = false;
    connection_expect(x->connection, STAGE_IDLE, 0);
    *ctx = NULL;
}
