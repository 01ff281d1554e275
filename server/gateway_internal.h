/* gateway_internal.h - what the files of the gateway share: the connection, the exchange on it, the gateway itself.
 *
 * A connection carries one exchange (request and answer) at a time, so the exchange lies in the connection and costs no
 * allocation of its own. Its stages:
 *
 *   IDLE -> HEAD (request line seen) -> BODY (being collected) or DISCARD (refused, being thrown away)
 *        -> READY (complete, to be handed over) -> WORK (connection suspended; the pool or the log has it) -> ANSWER (to be queued) -> SENDING -> IDLE
 *
 * A stage may be left out, never gone back to within one exchange. Only the loop's thread writes the stage.
 */
#ifndef SERVER_GATEWAY_INTERNAL_H
#define SERVER_GATEWAY_INTERNAL_H

#include <microhttpd.h>

#include "core/clock.h"
#include "core/spin.h"
#include "server/body_spares.h"
#include "server/gateway.h"

enum {
    CONNECTION_MEMORY_BYTES = 128 << 10, /* half of it is for a head at first: upstream takes targets of 65,534 bytes */
    PUMP_BUDGET = 16,
    LARGE_BODY_BYTES = 1 << 20, /* whoever sends so much lets others pass */
    NARROW_PART = 5,
    VAIN_NS = 1000000, /* in each window */
    VAIN_RUNS_MIN = 3,
    VAIN_WINDOW_MS = 10,
    SWEEP_MS = 1000,
    SWEEP_DRAINING_MS = 50,
    LIMIT_PAUSE_MS = 100,
    LIMIT_TOLD_EVERY_MS = 60000
};

enum stage {
    STAGE_IDLE,
    STAGE_HEAD,
    STAGE_BODY,
    STAGE_DISCARD,
    STAGE_READY,
    STAGE_WORK,
    STAGE_ANSWER,
    STAGE_SENDING,
};

/* Answers that the gateway gives by itself, without the api and without allocating. */
struct refusal {
    unsigned status;
    const char *type; /* content type, or NULL */
    const char *body;
    bool closes;
};
extern const struct refusal refusal_rate_limited, refusal_busy, refusal_body_memory, refusal_no_memory, refusal_framing,
    refusal_coding, refusal_many_headers, refusal_long_target;

struct connection;

/* gateway_note.c */
struct note {
    uint64_t head_ns;   /* monotonic; 0: the headers were not complete */
    uint64_t pushed_ns; /* to the pool */
    uint64_t run_ns;    /* a thread took it; written by that thread while stage is WORK, as done_ns; 0: not run there */
    uint64_t done_ns;
    struct timespec received; /* head_ns as the time of day, when there is a log */
    bool is_taken;            /* m and line hold what the answer was */
    struct metrics_request m;
    struct buf line; /* without its end; empty: not wanted */
};

struct exchange {
    struct pool_job job;        /* the pool's while stage is WORK */
    struct exchange *next_done; /* in the stack of completions */
    struct connection *connection;
    enum stage stage;
    enum api_place place;
    bool is_counted; /* in n_requests */
    bool is_begun;   /* api_begin was called, api_end was not */
    bool runs_here;  /* api_run is on the stack of the loop's thread */
    bool is_done;    /* it has answered there */
    bool is_chunked, expects_continue, closes;
    bool is_pipelined;             /* sent before the answer to the one before it */
    bool has_waited;               /* for others to pass, once */
    const struct refusal *refusal; /* if not NULL, the answer */
    char *uri;                     /* a copy: libmicrohttpd cuts up its own */
    char *body;
    size_t body_n, body_cap; /* body_cap leaves out one byte for a NUL behind the text */
    uint64_t charged_bytes;  /* of the budget of all bodies */
    uint64_t discarded_bytes;
    unsigned n_headers;
    uint64_t received_bytes; /* of the body, also those thrown away */
    struct note note;
    struct api_request r;
};

/* Connections that wait for their turn, the first to come in front. */
struct held {
    struct connection *first, *last;
};

struct connection {
    struct connection *prev, *next; /* the gateway's list */
    struct held *held_in;           /* NULL: it is not held */
    struct connection *prev_held, *next_held;
    struct gateway *gateway;
    struct MHD_Connection *mhd;
    int fd;
    uint64_t deadline_ms; /* of the loop's clock: cut off then; 0: none (the server is at work) */
    bool is_cut;
    uint64_t n_ended;                   /* exchanges */
    uint64_t ended_in_run;              /* the run of the daemon in which the last of them ended */
    uint64_t seen_ended, seen_received; /* n_ended and x.received_bytes when gateway_turns.c last looked at it */
    uint64_t seen_taken;                /* what had been taken from the socket when these were new */
    struct exchange x;
};

struct gateway {
    struct gateway_options options; /* immutable */
    uv_loop_t *loop;
    struct MHD_Daemon *mhd;
    uv_poll_t poll;                /* libmicrohttpd's epoll descriptor */
    uv_timer_t timer;              /* the time-out it asked for */
    uv_idle_t again;               /* active: it has more to do, once the loop has looked at everything else */
    uv_idle_t looking;             /* active: the loop does not sleep yet */
    uv_timer_t sweep;              /* our own deadlines */
    uv_timer_t turn;               /* active: held_lines is not empty */
    uv_poll_t wake;                /* wake_fd: completions are there */
    int wake_fd;                   /* an eventfd */
    struct exchange *_Atomic done; /* LIFO of finished exchanges; producers: any thread */

    /* owner: the loop's thread */
    struct connection *connections;
    unsigned n_connections, n_requests, n_in_flight;
    struct spin for_clients, for_work; /* what is waited for: nothing is in flight, or something is */
    struct spin *spin;                 /* which of them the present wait is of; NULL: none */
    bool is_pausing;                   /* until the timer: no descriptor was left, and the daemon is not polled */
    bool has_met_limit;                /* while the daemon runs: no descriptor was left for a connection */
    uint64_t n_runs;                   /* of the daemon */
    bool has_called;                   /* while the daemon runs: it called one of the functions below */
    uint64_t vain_ns, vain_since_ns;   /* of runs in which it called none, in the window that began then */
    struct held held_lines, held_bodies, held_pipelines;
    unsigned n_passed;            /* pumps in which no pipeline went on though one was held */
    struct connection *looked_at; /* the next to be looked at for a long line; NULL: the first */
    struct connection *turned;    /* of held_lines, the one that goes on in the next run */
    uint64_t limit_told_ms;       /* when the log said so; 0: never */
    uint64_t body_bytes, n_answered;
    struct body_spares spares; /* with body_bytes within body_memory_bytes */
    uint64_t trace_state[4];   /* of the generator of trace ids */
    bool is_sweeping, is_draining, is_closing;
    unsigned n_handles; /* still open */
    uint64_t drain_deadline_ms;
    void (*drained)(void *ctx);
    void *drained_ctx;
};

/* gateway.c */
void gateway_complete(struct exchange *x); /* any thread: the exchange goes back to the loop */
void gateway_pump(struct gateway *g);

/* gateway_connection.c: libmicrohttpd's notices, and deadlines */
void on_connection(void *cls, struct MHD_Connection *c, void **socket_ctx, enum MHD_ConnectionNotificationCode code);
void connection_expect(struct connection *c, enum stage stage, uint64_t answer_bytes);
void connection_cut(struct connection *c);
void gateway_sweep(struct gateway *g);

/* gateway_turns.c: who costs much takes turns */
void gateway_after_run(struct gateway *g, uint64_t run_ns); /* of the daemon */
void gateway_next_body(struct gateway *g);
void gateway_next_pipeline(struct gateway *g);
void gateway_release_held(struct gateway *g);
void on_turn(uv_timer_t *t);
void connection_go_on(struct connection *c);        /* if it is held */
void exchange_take_turns(struct exchange *x);       /* after a piece of its body, within libmicrohttpd's call */
bool exchange_lets_others_pass(struct exchange *x); /* of STAGE_READY; true: it is held */

/* gateway_exchange.c: a request, from its line to its answer */
void *on_request_line(void *cls, const char *uri, struct MHD_Connection *c);
enum MHD_Result on_request(void *cls, struct MHD_Connection *c, const char *url, const char *method,
                           const char *version, const char *data, size_t *data_n, void **ctx);
void on_completed(void *cls, struct MHD_Connection *c, void **ctx, enum MHD_RequestTerminationCode why);
void exchange_release(struct exchange *x); /* everything but the answer's bytes */

/* gateway_note.c. note_answer: when the answer is queued (status 0: it could not be), before anything is released;
 * note_end: when it was sent, or the connection has gone. */
void note_head(struct exchange *x);
void note_answer(struct exchange *x, unsigned status, uint64_t n_bytes);
void note_end(struct exchange *x, bool is_sent);
void note_gauges(const struct gateway *g);

/* gateway_answer.c */
enum MHD_Result exchange_answer(struct exchange *x);

#endif
