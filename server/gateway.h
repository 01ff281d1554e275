/* gateway.h - HTTP in front of the api: one libmicrohttpd daemon driven by one libuv loop.
 *
 * OWNS       the listening socket, the connections, every request from its first byte to the end of its answer.
 * THREADS    all functions: the loop's thread. Requests are run on it or on the pool, as api_begin says.
 * LIMITS     bodies (each, and all together), connections, requests in flight, time to send and to receive. What is
 *            over a limit is refused cheaply, before memory is spent on it.
 * SHUTDOWN   gateway_drain: no new connections, idle ones closed, what is in flight answered, then `drained`.
 */
#ifndef SERVER_GATEWAY_H
#define SERVER_GATEWAY_H

#include <uv.h>

#include "api/api.h"
#include "core/pool.h"
#include "server/request_log.h"

struct gateway;

struct gateway_options { /* zero = default, except where said */
    struct api *api;
    struct pool *pool;          /* outlives the gateway; this gateway's thread is the only one that pushes */
    int listen_fd;              /* listening; the gateway's from a successful gateway_open on */
    unsigned connection_limit;  /* 4096 */
    unsigned idle_timeout_s;    /* 60 */
    unsigned request_timeout_s; /* 300 */
    unsigned in_flight_max;     /* 2048: requests that wait for the pool, run, or wait for the log */
    unsigned breaker_requests;  /* 0: no breaker. Requests in progress, headers to end of answer; more: 429 */
    unsigned busy_poll_us;      /* 0: the loop sleeps at once. Else: it looks for so long at most (core/spin.h) */
    unsigned n_processors;      /* 1: for the loop and what is in flight, together */
    uint64_t body_memory_bytes; /* 1 GiB: bodies held at a time; more: 503 */
    uint64_t discard_max_bytes; /* 64 MiB: of a refused body, read and thrown away to keep the connection usable */
    const char *tls_cert;       /* PEM, with the chain; kept by the caller. NULL: plain HTTP */
    const char *tls_key;        /* PEM; likewise */

    struct metrics *metrics; /* what is counted; NULL: nothing. Outlives the gateway, like the log */
    struct request_log
        *request_log;         /* NULL: nothing is told. Else: answers of 500 and above, to the program's log, and */
    bool logs_requests;       /* every request, to its file */
    uint64_t slow_request_ms; /* requests that took so long, to the program's log unless to the file; 0: off */
};

/* Serves from the moment the loop runs. ERR_NOMEM, ERR_IO. */
enum err gateway_open(struct gateway **g, uv_loop_t *loop, const struct gateway_options *o, struct errmsg *em);

/* Starts the end. Clients get grace_ms to send and receive what they have begun, then are cut off; requests that are
 * being worked on are always waited for. Then the gateway is freed and `drained` is called, once, by the loop. */
void gateway_drain(struct gateway *g, uint64_t grace_ms, void (*drained)(void *ctx), void *ctx);

struct gateway_stats {
    unsigned n_connections;
    unsigned n_requests;  /* in progress */
    unsigned n_in_flight; /* of these, with the pool or the log */
    uint64_t body_bytes;  /* held */
    uint64_t n_answered;  /* since the start */
};
void gateway_stats(const struct gateway *g, struct gateway_stats *s);

#endif
