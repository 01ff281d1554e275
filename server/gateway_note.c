/* gateway_note.c - what is remembered of a request for metrics and the request log, from its headers to the end of its
 * answer.
 *
 * HAPPY PATH  note_head starts the clock and, when requests are logged, draws the trace id; the pool's thread notes when
 *             it begins and ends; note_answer takes down everything that is freed once the answer is queued; note_end
 *             adds how long it took, counts, and puts the line into the log's queue.
 * FAILURE     memory too short for a line: it is counted as dropped.
 * COST        without a log: five readings of the clock and some additions.
 * THREADS     the loop, but for the two times.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <time.h>

#include "server/gateway_internal.h"
#include "server/request_line.h"

/* --- trace ids ----------------------------------------------------------------------------------------------------
 * xoshiro256** (Blackman & Vigna 2018), seeded by the kernel: they need not be secret, only different. */

static uint64_t rotl(uint64_t x, unsigned k)
{
    return x << k | x >> (64 - k);
}

static uint64_t next_random(uint64_t s[4])
{
    uint64_t result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

static bool logs_everything(const struct gateway_options *o)
{
    return o->request_log != NULL && o->logs_requests;
}

static bool watches_slow(const struct gateway_options *o)
{
    return o->request_log != NULL && o->slow_request_ms > 0;
}

/* --- the note ----------------------------------------------------------------------------------------------------- */

void note_head(struct exchange *x)
{
    struct gateway *g = x->connection->gateway;
    x->note.head_ns = clock_monotonic_ns();
    if (g->options.request_log == NULL) return;
    (void)clock_gettime(CLOCK_REALTIME, &x->note.received);
    if (!logs_everything(&g->options) && !watches_slow(&g->options)) return;
    unsigned long long high = next_random(g->trace_state), low = next_random(g->trace_state);
    (void)snprintf(x->r.trace_id, sizeof x->r.trace_id, "%016llx%016llx", high, low);
}

static void put_remote(const struct exchange *x, char *out, size_t cap)
{
    char host[INET6_ADDRSTRLEN] = "";
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->connection->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *a = info != NULL ? info->client_addr : NULL;
    out[0] = '\0';
    if (a != NULL && a->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)a;
        if (inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host) != NULL)
            (void)snprintf(out, cap, "%s:%u", host, (unsigned)ntohs(v4->sin_port));
    } else if (a != NULL && a->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)a;
        if (inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host) != NULL)
            (void)snprintf(out, cap, "[%s]:%u", host, (unsigned)ntohs(v6->sin6_port));
    }
}

static void begin_line(struct exchange *x, const struct metrics_request *m)
{
    char remote[INET6_ADDRSTRLEN + 16];
    put_remote(x, remote, sizeof remote);
    bool is_refusal = x->refusal != NULL && m->status != 0;
    const struct request_line line = {
        .received = x->note.received,
        .remote = remote,
        .status = m->status,
        .error = !is_refusal        ? x->r.error_name
                 : m->status == 503 ? "ChromaError"
                                    : NULL,
        .was_queued = m->was_queued,
        .queued_ns = m->queued_ns,
        .run_ns = x->note.done_ns - x->note.run_ns,
        .bytes_in = m->bytes_in,
        .bytes_out = m->bytes_out,
    };
    request_line_begin(&x->note.line, &x->r, &line);
}

void note_answer(struct exchange *x, unsigned status, uint64_t n_bytes)
{
    struct note *n = &x->note;
    const struct gateway_options *o = &x->connection->gateway->options;
    if (n->head_ns == 0 || n->is_taken) return;
    n->is_taken = true;
    n->m = (struct metrics_request){
        .operation = x->r.operation,
        .group = x->r.group,
        .status = status,
        .was_queued = n->run_ns != 0,
        .queued_ns = n->run_ns != 0 ? n->run_ns - n->pushed_ns : 0,
        .bytes_in = x->received_bytes,
        .bytes_out = n_bytes,
        .records = x->r.n_records,
        .did = x->r.did,
    };
    bool is_line_wanted = o->request_log != NULL && (o->logs_requests || watches_slow(o) || status >= 500);
    if (is_line_wanted) begin_line(x, &n->m);
}

/* Where the line goes; 0: nowhere. */
static unsigned places_of(const struct gateway_options *o, const struct metrics_request *m)
{
    unsigned places = logs_everything(o) ? REQUEST_LOG_FILE : 0;
    bool is_slow = watches_slow(o) && m->duration_ns / 1000000 >= o->slow_request_ms;
    if (m->status == 500)
        places |= REQUEST_LOG_ERROR;
    else if (m->status > 500 || (is_slow && places == 0))
        places |= REQUEST_LOG_WARN;
    return places;
}

void note_end(struct exchange *x, bool is_sent)
{
    struct note *n = &x->note;
    const struct gateway_options *o = &x->connection->gateway->options;
    if (n->head_ns == 0) return;
    note_answer(x, 0, 0); /* unless there was one */
    n->m.duration_ns = clock_monotonic_ns() - n->head_ns;
    n->m.bytes_in = x->received_bytes; /* an answer may come before the rest of a body that is thrown away */
    if (o->metrics != NULL) metrics_count(o->metrics, &n->m);
    if (n->line.n > 0 || n->line.err != ERR_OK) {
        unsigned places = places_of(o, &n->m);
        request_line_end(&n->line, n->m.duration_ns, is_sent && n->m.status != 0);
        if (places != 0 && n->line.err == ERR_OK)
            request_log_put(o->request_log, places, buf_view(&n->line));
        else if (places != 0 && o->metrics != NULL)
            metrics_add(&o->metrics->log_dropped, 1);
    }
    buf_free(&n->line);
    *n = (struct note){0};
}

void note_gauges(const struct gateway *g)
{
    struct metrics *m = g->options.metrics;
    if (m == NULL) return;
    metrics_set(&m->in_progress, g->n_requests);
    metrics_set(&m->in_flight, g->n_in_flight);
    metrics_set(&m->connections, g->n_connections);
    metrics_set(&m->body_bytes, g->body_bytes);
}
