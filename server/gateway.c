/* gateway.c - libmicrohttpd inside libuv: opening, pumping, completions, the end.
 *
 * HAPPY PATH  libmicrohttpd's epoll descriptor is polled by the loop; every event (poll, time-out, completion) is
 *             followed by gateway_pump(), which runs the daemon until it has nothing ready and arms its next time-out.
 * COMPLETION  a thread that finished an exchange pushes it onto a stack and wakes the loop once per batch; the loop
 *             resumes the connections of the whole batch and pumps. libmicrohttpd then calls on_request again, and the
 *             answer is queued there. (Resuming from another thread can be missed: the daemon collects resumes before it
 *             waits, and drains its wake-up after.)
 * LOOKING     between two pumps the loop sleeps, but not at once (core/spin.h), while there is a processor for it beside those that are
 *             at work on requests.
 * DRAINING    stop accepting; close idle connections; when no request is in progress, or clients' grace is over, close
 *             the handles, then stop the daemon. It must not be stopped while a connection is suspended, so work in
 *             flight is waited for without limit here; the program has its own last resort.
 * INVARIANTS  no uv handle is touched after is_closing. n_in_flight counts suspended connections.
 */
#include "server/gateway_internal.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/hash.h"
#include "core/logger.h"
#include "core/mem.h"
#include "core/slice.h"

static void drain_step(struct gateway *g);

static void on_timer(uv_timer_t *t);
static void on_poll(uv_poll_t *p, int status, int events);

static void on_again(uv_idle_t *h)
{
    gateway_next_body(h->data);
    gateway_pump(h->data);
}

/* May the daemon go on at once, after a run that began at `begun_ns`? It asks for that, and for ever, over a connection whose
 * buffer is full of something that it cannot read (a chunk's extension, say), and reads a line that nearly fills the buffer
 * in steps of a hundred bytes, from its start each time. So the time of runs in which it called nobody is rationed, but for
 * the few that may come between two of its calls. */
static bool may_run_again(struct gateway *g, uint64_t begun_ns, int *n_vain)
{
    uint64_t now_ns = uv_hrtime();
    if (g->has_called) *n_vain = 0;
    if (g->has_called) return true;
    if (now_ns - g->vain_since_ns >= VAIN_WINDOW_MS * UINT64_C(1000000)) {
        g->vain_since_ns = now_ns;
        g->vain_ns = 0;
    }
    g->vain_ns += now_ns - begun_ns;
    return ++*n_vain < VAIN_RUNS_MIN || g->vain_ns < VAIN_NS;
}

/* The loop looks at its descriptors without sleeping for as long as this handle is active. */
static void on_looking(uv_idle_t *h)
{
    struct gateway *g = h->data;
    if (!spin_goes_on(g->spin)) (void)uv_idle_stop(h);
}

/* Nothing is left to do until the next pump. */
static void wait_begins(struct gateway *g)
{
    if (g->n_in_flight >= g->options.n_processors || g->is_closing) return;
    g->spin = g->n_in_flight > 0 ? &g->for_work : &g->for_clients;
    spin_begin(g->spin);
    if (g->spin->window_ns > 0) (void)uv_idle_start(&g->looking, on_looking);
}

static void wait_ends(struct gateway *g)
{
    if (g->spin == NULL) return;
    spin_end(g->spin);
    g->spin = NULL;
    (void)uv_idle_stop(&g->looking);
}

/* Bounded, so that other handles get their turn. Going on where it stopped is not a timer's work: libuv runs timers of no
 * time one after the other, for as long as there are any, and looks at nothing else. */
void gateway_pump(struct gateway *g)
{
    MHD_UNSIGNED_LONG_LONG ms = 0;
    enum MHD_Result has_timeout;
    bool goes_on;
    int budget = PUMP_BUDGET, n_vain = 0;
    g->has_met_limit = false;
    wait_ends(g);
    gateway_next_pipeline(g);
    do {
        uint64_t begun_ns = uv_hrtime();
        g->has_called = false;
        g->n_runs++;
        (void)MHD_run(g->mhd);
        gateway_after_run(g, uv_hrtime() - begun_ns);
        has_timeout = MHD_get_timeout(g->mhd, &ms);
        goes_on = has_timeout == MHD_YES && ms == 0 && !g->has_met_limit && may_run_again(g, begun_ns, &n_vain);
    } while (goes_on && --budget > 0);
    if (has_timeout == MHD_YES && ms == 0 && !goes_on) ms = VAIN_WINDOW_MS;
    /* With no connection that could end it tries again at once, and its descriptor stays readable: for ever. */
    bool pauses = g->has_met_limit && g->n_connections == 0;
    if (pauses && !g->is_pausing) (void)uv_poll_stop(&g->poll);
    if (!pauses && g->is_pausing && !g->is_closing) (void)uv_poll_start(&g->poll, UV_READABLE, on_poll);
    g->is_pausing = pauses;
    bool has_more = !pauses && ((has_timeout == MHD_YES && ms == 0) || g->held_bodies.first != NULL);
    if (pauses) {
        has_timeout = MHD_YES;
        ms = LIMIT_PAUSE_MS;
    }
    if (has_more)
        (void)uv_idle_start(&g->again, on_again);
    else
        (void)uv_idle_stop(&g->again);
    if (has_timeout == MHD_YES && !has_more)
        (void)uv_timer_start(&g->timer, on_timer, ms, 0);
    else
        (void)uv_timer_stop(&g->timer);
    note_gauges(g);
    if (g->is_draining) drain_step(g);
    if (!has_more) wait_begins(g);
}

static void on_timer(uv_timer_t *t)
{
    gateway_pump(t->data);
}

static void on_poll(uv_poll_t *p, int status, int events)
{
    (void)events;
    if (status == 0) gateway_pump(p->data);
}

static void on_sweep(uv_timer_t *t)
{
    struct gateway *g = t->data;
    gateway_sweep(g);
    body_spares_age(&g->spares, uv_now(g->loop));
    gateway_pump(g);
}

/* Only the push onto an empty stack wakes; whoever pushes onto a full one knows that the loop has not taken it yet. The
 * write's result is of no interest: a counter of such wakes cannot overflow. An eventfd of our own and not uv_async_t,
 * whose receiver spins until the sender is out of its write: a tenth of the loop's time.
 * The loop takes the stack only after the write, so that nothing of the gateway is touched once it may be gone. */
void gateway_complete(struct exchange *x)
{
    struct gateway *g = x->connection->gateway;
    struct exchange *old = atomic_load_explicit(&g->done, memory_order_relaxed);
    do {
        x->next_done = old;
    } while (!atomic_compare_exchange_weak(&g->done, &old, x));
    if (old == NULL) (void)!eventfd_write(g->wake_fd, 1);
}

static void on_wake(uv_poll_t *p, int status, int events)
{
    struct gateway *g = p->data;
    eventfd_t n_wakes;
    (void)status, (void)events;
    (void)!eventfd_read(g->wake_fd, &n_wakes); /* before the stack is taken: a later push wakes again */
    struct exchange *taken = atomic_exchange(&g->done, NULL), *in_order = NULL;
    while (taken != NULL) { /* first finished, first answered */
        struct exchange *next = taken->next_done;
        taken->next_done = in_order;
        in_order = taken;
        taken = next;
    }
    while (in_order != NULL) {
        struct exchange *x = in_order;
        in_order = x->next_done;
        CHECK(x->stage == STAGE_WORK && g->n_in_flight > 0 && "only suspended exchanges come back");
        x->stage = STAGE_ANSWER;
        g->n_in_flight--;
        MHD_resume_connection(x->connection->mhd);
    }
    gateway_pump(g);
}

/* Clients wait until a descriptor is free again. Told now and then. */
static void note_limit(struct gateway *g)
{
    uint64_t now = uv_now(g->loop);
    g->has_met_limit = true;
    if (g->limit_told_ms != 0 && now - g->limit_told_ms < LIMIT_TOLD_EVERY_MS) return;
    g->limit_told_ms = now;
    log_warn("a connection cannot be accepted: no file descriptor or no memory for it is left; open=%u",
             g->n_connections);
}

static void on_daemon_log(void *ctx, const char *fmt, va_list ap)
{
    char text[512];
    if (strstr(fmt, "resource limit") != NULL) note_limit(ctx); /* libmicrohttpd tells its failing accept only here */
    int n = vsnprintf(text, sizeof text, fmt, ap);
    while (n > 0 && (size_t)n < sizeof text && text[n - 1] == '\n') text[--n] = '\0';
    log_debug("http: %s", text); /* nearly all of it is told about clients' mistakes */
}

static void on_daemon_panic(void *ctx, const char *file, unsigned line, const char *reason)
{
    (void)ctx;
    panic_at(file, (int)line, "libmicrohttpd: %s", reason);
}

/* Paths are matched byte by byte and decoded by the api. */
static size_t no_unescape(void *ctx, struct MHD_Connection *c, char *s)
{
    (void)ctx, (void)c;
    return strlen(s);
}

#define TLS_VERSIONS "NORMAL:-VERS-ALL:+VERS-TLS1.2:+VERS-TLS1.3"

static struct MHD_Daemon *start_daemon(struct gateway *g)
{
    const struct gateway_options *o = &g->options;
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TURBO | MHD_USE_ERROR_LOG;
    union { /* libmicrohttpd only reads the texts, but does not say const */
        const char *text;
        void *p;
    } cert = {o->tls_cert}, key = {o->tls_key}, versions = {TLS_VERSIONS};
    struct MHD_OptionItem tls[] = {{MHD_OPTION_HTTPS_MEM_CERT, 0, cert.p},
                                   {MHD_OPTION_HTTPS_MEM_KEY, 0, key.p},
                                   {MHD_OPTION_HTTPS_PRIORITIES, 0, versions.p},
                                   {MHD_OPTION_END, 0, NULL}};
    if (o->tls_cert != NULL)
        flags |= MHD_USE_TLS;
    else
        tls[0] = tls[3];
    MHD_set_panic_func(on_daemon_panic, NULL);
    /* clang-format off */
    return MHD_start_daemon(flags, 0, NULL, NULL, on_request, g,
                            MHD_OPTION_EXTERNAL_LOGGER, on_daemon_log, g,
                            MHD_OPTION_LISTEN_SOCKET, o->listen_fd,
                            MHD_OPTION_NOTIFY_CONNECTION, on_connection, g,
                            MHD_OPTION_NOTIFY_COMPLETED, on_completed, g,
                            MHD_OPTION_URI_LOG_CALLBACK, on_request_line, g,
                            MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, NULL,
                            MHD_OPTION_CONNECTION_LIMIT, o->connection_limit,
                            MHD_OPTION_CONNECTION_TIMEOUT, o->idle_timeout_s,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY_BYTES,
                            MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
                            MHD_OPTION_ARRAY, tls,
                            MHD_OPTION_END);
    /* clang-format on */
}

static void set_defaults(struct gateway_options *o)
{
    if (o->connection_limit == 0) o->connection_limit = 4096;
    if (o->idle_timeout_s == 0) o->idle_timeout_s = 60;
    if (o->request_timeout_s == 0) o->request_timeout_s = 300;
    if (o->in_flight_max == 0) o->in_flight_max = 2048;
    if (o->n_processors == 0) o->n_processors = 1;
    if (o->body_memory_bytes == 0) o->body_memory_bytes = UINT64_C(1) << 30;
    if (o->discard_max_bytes == 0) o->discard_max_bytes = UINT64_C(64) << 20;
}

/* Looking beside an executor at work takes a whole processor for as long as the work does. With two of them nothing would be left for
 * anybody else, neither here nor, on a virtual machine with a quota, at its host, which stops the machine for it; so there only
 * work that is about as short as a wake-up is waited for in this way. */
static void set_spin(struct gateway *g)
{
    unsigned us = g->options.busy_poll_us;
    g->for_clients = spin_of(us);
    g->for_work = spin_of(g->options.n_processors > 2 ? us : us / NARROW_PART);
}

static void on_handle_closed(uv_handle_t *h)
{
    struct gateway *g = h->data;
    if (--g->n_handles > 0) return;
    void (*drained)(void *) = g->drained;
    void *ctx = g->drained_ctx;
    MHD_stop_daemon(g->mhd); /* on_completed and on_connection are called for what is left */
    (void)close(g->wake_fd);
    body_spares_shrink(&g->spares, 0);
    CHECK(g->connections == NULL && g->n_requests == 0 && g->body_bytes == 0 && "the daemon has let go of everything");
    mem_free(g);
    if (drained != NULL) drained(ctx);
}

static void close_handles(struct gateway *g)
{
    g->is_closing = true;
    g->n_handles = 7;
    (void)uv_poll_stop(&g->poll);
    (void)uv_poll_stop(&g->wake);
    uv_close((uv_handle_t *)&g->poll, on_handle_closed);
    uv_close((uv_handle_t *)&g->timer, on_handle_closed);
    uv_close((uv_handle_t *)&g->again, on_handle_closed);
    uv_close((uv_handle_t *)&g->looking, on_handle_closed);
    uv_close((uv_handle_t *)&g->sweep, on_handle_closed);
    uv_close((uv_handle_t *)&g->turn, on_handle_closed);
    uv_close((uv_handle_t *)&g->wake, on_handle_closed);
}

enum err gateway_open(struct gateway **out, uv_loop_t *loop, const struct gateway_options *o, struct errmsg *em)
{
    struct gateway *g = mem_zalloc(sizeof *g);
    if (g == NULL) return errmsg_set(em, ERR_NOMEM, "start the HTTP server");
    g->options = *o;
    set_defaults(&g->options);
    random_bytes(g->trace_state, sizeof g->trace_state);
    g->loop = loop;
    set_spin(g);
    g->poll.data = g->timer.data = g->again.data = g->looking.data = g->sweep.data = g->turn.data = g->wake.data = g;
    if ((g->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0) {
        int why = errno;
        mem_free(g);
        return errmsg_errno(em, why, "start the HTTP server");
    }
    if ((g->mhd = start_daemon(g)) == NULL) {
        int why = errno != 0 ? errno : EINVAL;
        (void)close(g->wake_fd);
        mem_free(g);
        return errmsg_errno(em, why, "start the HTTP server");
    }
    int epoll_fd = MHD_get_daemon_info(g->mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    int rc = uv_poll_init(loop, &g->wake, g->wake_fd);
    if (rc == 0 && (rc = uv_poll_init(loop, &g->poll, epoll_fd)) != 0) uv_close((uv_handle_t *)&g->wake, NULL);
    if (rc != 0) {
        (void)MHD_quiesce_daemon(g->mhd); /* the listening socket stays the caller's */
        MHD_stop_daemon(g->mhd);
        (void)uv_run(loop, UV_RUN_NOWAIT);
        (void)close(g->wake_fd);
        mem_free(g);
        return errmsg_set(em, ERR_IO, "start the HTTP server: %s", uv_strerror(rc));
    }
    (void)uv_timer_init(loop, &g->timer); /* never fails */
    (void)uv_timer_init(loop, &g->sweep);
    (void)uv_timer_init(loop, &g->turn);
    (void)uv_idle_init(loop, &g->again);
    (void)uv_idle_init(loop, &g->looking);
    (void)uv_poll_start(&g->poll, UV_READABLE, on_poll);
    (void)uv_poll_start(&g->wake, UV_READABLE, on_wake);
    (void)uv_timer_start(&g->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
    slice_set(0, SLICE_SHORT);
    gateway_pump(g);
    *out = g;
    return ERR_OK;
}

/* Called after every pump while draining, and by the sweep. */
static void drain_step(struct gateway *g)
{
    if (g->is_closing) return;
    bool is_grace_over = uv_now(g->loop) >= g->drain_deadline_ms;
    if (g->n_requests > 0 && !is_grace_over) return;
    if (g->n_in_flight > 0) return; /* suspended: their answers may still go out, and must before the end */
    close_handles(g);
}

void gateway_drain(struct gateway *g, uint64_t grace_ms, void (*drained)(void *ctx), void *ctx)
{
    CHECK(!g->is_draining && "drained once");
    gateway_pump(g); /* what has arrived by now is in flight */
    int fd = MHD_quiesce_daemon(g->mhd);
    if (fd != MHD_INVALID_SOCKET) (void)close(fd);
    g->is_draining = true; /* nobody is held from here on */
    gateway_release_held(g);
    g->drained = drained;
    g->drained_ctx = ctx;
    uv_update_time(g->loop);
    g->drain_deadline_ms = uv_now(g->loop) + grace_ms;
    for (struct connection *c = g->connections; c != NULL; c = c->next)
        if (!c->x.is_counted) connection_cut(c);
    (void)uv_timer_start(&g->sweep, on_sweep, SWEEP_DRAINING_MS, SWEEP_DRAINING_MS);
    gateway_pump(g);
}

void gateway_stats(const struct gateway *g, struct gateway_stats *s)
{
    *s = (struct gateway_stats){.n_connections = g->n_connections,
                                .n_requests = g->n_requests,
                                .n_in_flight = g->n_in_flight,
                                .body_bytes = g->body_bytes,
                                .n_answered = g->n_answered};
}
