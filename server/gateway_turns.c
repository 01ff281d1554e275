/* gateway_turns.c - connections that cost much wait for their turn, so that the others do not wait for them.
 *
 * LONG LINES   libmicrohttpd looks for the end of a line from the line's start, each time it runs, whether or not more has come;
 *              and once its buffer is nearly full it reads 128 bytes at a time. Some hundred KiB without an end thus cost every
 *              run a tenth of a millisecond. After a run that took long and in which nobody was called, whoever has sent much
 *              that has come to nothing is looked for. In a head it may be meant honestly: such a connection is held, that is,
 *              suspended, and let go on one at a time, once in TURN_MS; beyond LINE_MAX_BYTES it is refused. In a
 *              body (the extension of a chunk, a trailer) nobody means it: the connection is cut off.
 * LARGE BODIES while other requests are in progress, such a body is held after each piece of it, and one goes on each time the loop has looked
 *              at everything else.
 * PIPELINES    a request that was sent before the answer to the one before it waits while others are at work, and one of them goes on when
 *              fewer than PIPELINED_BESIDE are, or at every PIPELINED_TURN-th pump. Clients that send without reading would
 *              else fill every run with answers.
 * MEASURE      what a connection has sent that came to nothing is what was taken from its socket since the last sight of
 *              progress. (Under TLS that counts records, which is near enough.)
 * INVARIANTS   only connections that owe us something are held, and those of STAGE_READY, never those of STAGE_WORK, which are
 *              suspended as well. A
 *              connection that is cut, and every one while draining, goes on, so that libmicrohttpd sees its end. That
 *              it would not with a full buffer in a body, once it was held: then it neither reads nor polls. So
 *              nobody is held for a line there, and connection_cut has a time-out as well. A connection is read
 *              when it goes on, so it is held only while its request is incomplete, or bytes lie there unread: else the end
 *              of a client's stream would be taken for the end of a client that had not sent everything.
 */
#include "server/gateway_internal.h"

#include <sys/socket.h>

#include "core/logger.h"
#include "server/taken.h"

enum {
    SLOW_RUN_NS = 20000,
    LONG_LINE_BYTES = 32 << 10,
    LINE_MAX_BYTES = 100 << 10, /* a target of 65,534 bytes, and headers */
    LOOK_NS = 1000,             /* what looking at one connection takes, about */
    TURN_MS = 5,
    PIPELINED_BESIDE = 2,
    PIPELINED_TURN = 8,
};

static void append(struct held *h, struct connection *c)
{
    c->held_in = h;
    c->next_held = NULL;
    c->prev_held = h->last;
    if (h->last != NULL)
        h->last->next_held = c;
    else
        h->first = c;
    h->last = c;
}

static void take_out(struct connection *c)
{
    struct held *h = c->held_in;
    if (c->prev_held != NULL)
        c->prev_held->next_held = c->next_held;
    else
        h->first = c->next_held;
    if (c->next_held != NULL)
        c->next_held->prev_held = c->prev_held;
    else
        h->last = c->prev_held;
    c->held_in = NULL;
    c->prev_held = c->next_held = NULL;
}

static void hold(struct held *h, struct connection *c)
{
    CHECK(c->held_in == NULL && c->x.stage != STAGE_WORK && "a connection is suspended once");
    MHD_suspend_connection(c->mhd);
    append(h, c);
}

void connection_go_on(struct connection *c)
{
    if (c->held_in == NULL) return;
    take_out(c);
    MHD_resume_connection(c->mhd);
}

/* An answer before the end of the head can only be ours: libmicrohttpd has called nobody yet. */
static void refuse_long_head(struct connection *c)
{
    static const char line_too_long[] = "HTTP/1.1 414 URI Too Long\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    static const char head_too_long[] =
        "HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    bool is_line = c->x.stage == STAGE_IDLE;
    if (c->gateway->options.tls_cert != NULL) return;
    (void)send(c->fd, is_line ? line_too_long : head_too_long,
               (is_line ? sizeof line_too_long : sizeof head_too_long) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Is c waiting for the end of something long? Then it is held, or cut off. */
static void look_at(struct gateway *g, struct connection *c)
{
    enum stage stage = c->x.stage;
    bool is_head = stage == STAGE_IDLE || stage == STAGE_HEAD, is_body = stage == STAGE_BODY || stage == STAGE_DISCARD;
    if (c->is_cut || c->held_in != NULL || !(is_head || is_body)) return;
    uint64_t taken = socket_taken(c->fd);
    if (c->n_ended != c->seen_ended || c->x.received_bytes != c->seen_received) {
        c->seen_ended = c->n_ended;
        c->seen_received = c->x.received_bytes;
        c->seen_taken = taken;
    }
    uint64_t in_vain = taken > c->seen_taken ? taken - c->seen_taken : 0;
    if (in_vain < LONG_LINE_BYTES) return;
    if (is_body || in_vain > LINE_MAX_BYTES) {
        log_debug("http: a connection that sends a line without an end is cut off");
        if (is_head) refuse_long_head(c);
        connection_cut(c);
        return;
    }
    hold(&g->held_lines, c);
    if (!uv_is_active((const uv_handle_t *)&g->turn)) (void)uv_timer_start(&g->turn, on_turn, TURN_MS, TURN_MS);
}

void gateway_after_run(struct gateway *g, uint64_t run_ns)
{
    struct connection *turned = g->turned;
    g->turned = NULL;
    if (g->is_draining) return;
    if (turned != NULL) look_at(g, turned);
    if (g->has_called || run_ns < SLOW_RUN_NS) return;
    uint64_t n = run_ns / LOOK_NS; /* looking takes no longer than the run did */
    for (uint64_t i = 0; i < n && i < g->n_connections; i++) {
        struct connection *c = g->looked_at != NULL ? g->looked_at : g->connections;
        g->looked_at = c->next;
        look_at(g, c);
    }
}

void on_turn(uv_timer_t *t)
{
    struct gateway *g = t->data;
    g->turned = g->held_lines.first;
    if (g->turned == NULL) {
        (void)uv_timer_stop(&g->turn);
        return;
    }
    connection_go_on(g->turned);
    gateway_pump(g);
}

void exchange_take_turns(struct exchange *x)
{
    struct connection *c = x->connection;
    struct gateway *g = c->gateway;
    if (x->received_bytes < LARGE_BODY_BYTES || g->n_requests < 2 || g->is_draining || c->is_cut) return;
    if (c->held_in != NULL) return; /* further chunks that were in the buffer */
    if (socket_unread(c->fd) > 0) hold(&g->held_bodies, c);
}

bool exchange_lets_others_pass(struct exchange *x)
{
    struct connection *c = x->connection;
    struct gateway *g = c->gateway;
    bool waits = x->is_pipelined && !x->has_waited && g->n_in_flight > 0 && !g->is_draining && !c->is_cut;
    if (!waits) return false;
    x->has_waited = true;
    hold(&g->held_pipelines, c);
    return true;
}

void gateway_next_body(struct gateway *g)
{
    if (g->held_bodies.first != NULL) connection_go_on(g->held_bodies.first);
}

void gateway_next_pipeline(struct gateway *g)
{
    if (g->held_pipelines.first == NULL) return;
    if (g->n_in_flight >= PIPELINED_BESIDE && ++g->n_passed < PIPELINED_TURN) return;
    g->n_passed = 0;
    connection_go_on(g->held_pipelines.first);
}

void gateway_release_held(struct gateway *g)
{
    while (g->held_bodies.first != NULL) connection_go_on(g->held_bodies.first);
    while (g->held_lines.first != NULL) connection_go_on(g->held_lines.first);
    while (g->held_pipelines.first != NULL) connection_go_on(g->held_pipelines.first);
}
