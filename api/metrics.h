/* metrics.h - what the program counts about requests: written by the server as requests end, read by GET /metrics
 * (metrics_page.c, which adds what log, store and process know about themselves).
 *
 * THREADS  counters: whoever ends requests, today the loop alone, so that they cost nothing there; gauges: the loop.
 *          Reading: any thread. All accesses are relaxed: a page is a look at numbers that move, each of them right.
 * LIFETIME the program's: made before the loop, outlives api and gateway.
 */
#ifndef API_METRICS_H
#define API_METRICS_H

#include "core/executor.h"
#include "core/histogram.h"

enum metrics_group { METRICS_SYSTEM, METRICS_READ, METRICS_WRITE, METRICS_SEARCH, METRICS_GROUPS };

enum {
    METRICS_NO_ROUTE = 0,  /* nothing matched the path, or the request was refused before anybody looked */
    METRICS_UNLISTED = 1,  /* a route without an operation id: v1, docs */
    METRICS_FIRST_ROW = 2, /* and row i of the route table is METRICS_FIRST_ROW + i */
    METRICS_OPERATIONS_MAX = 128,
    METRICS_CLASSES = 5, /* 1xx to 5xx */
    METRICS_REFUSALS = 7,
};

/* The statuses by which a server says "not you" or "not now". */
extern const unsigned metrics_refusals[METRICS_REFUSALS];

/* All-zero but for started_s. */
struct metrics {
    double started_s; /* of the epoch; immutable */

    /* of requests that were answered, and by how far into the answer they were known */
    _Atomic uint64_t requests[METRICS_OPERATIONS_MAX][METRICS_CLASSES];
    _Atomic uint64_t refused[METRICS_REFUSALS];
    _Atomic uint64_t n_aborted; /* the client went away before there was an answer */
    struct histogram duration[METRICS_GROUPS], queued;
    _Atomic uint64_t bytes_in, bytes_out; /* of bodies */

    /* what queries did */
    _Atomic uint64_t plans[EXEC_PLANS], candidates, measured, documents;
    _Atomic uint64_t records_in, records_out;

    /* gauges, as the loop saw them last */
    _Atomic uint64_t in_progress, in_flight, connections, body_bytes;

    /* the request log's (server/request_log.h) */
    _Atomic uint64_t log_lines, log_dropped;
};

/* A request that has ended. */
struct metrics_request {
    unsigned operation; /* api_request.operation */
    enum metrics_group group;
    unsigned status; /* 0: it was not answered */
    uint64_t duration_ns;
    uint64_t queued_ns; /* valid when was_queued: with the pool, before a thread took it */
    bool was_queued;
    uint64_t bytes_in, bytes_out;
    uint64_t records;
    struct exec_stats did;
};

void metrics_init(struct metrics *m);
void metrics_count(struct metrics *m, const struct metrics_request *r);

static inline void metrics_add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static inline void metrics_set(_Atomic uint64_t *gauge, uint64_t v)
{
    atomic_store_explicit(gauge, v, memory_order_relaxed);
}

static inline uint64_t metrics_get(const _Atomic uint64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

#endif
