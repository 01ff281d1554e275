/* run.c - the life of the server.
 *
 * START     read what guards the server and limits it; bind the port; look whether the directory is another program's; start threads;
 *           open the store; listen; raise limits; say so. Each step can fail with one sentence on stderr and status 1,
 *           and undoes those before it. The port comes before the store, so that a second server by mistake does not
 *           touch the data.
 * SERVE     the loop runs until the first SIGTERM or SIGINT.
 * STOP      the control socket goes, the gateway answers what is in flight (clients get STOP_GRACE_MS), then the pool, the api, what
 *           the control socket was asked for, and the store are closed in this order: nobody uses what is gone. An alarm ends the process after STOP_LIMIT_MS whatever
 *           hangs: everything acknowledged is in the log by then, so this loses no more than a crash would, which is
 *           nothing. A second signal does the same at once.
 * SIGNALS   while starting: leave at once (replay may take long, and as process 1 of a container the default action of a
 *           signal is to ignore it). SIGHUP opens the request log anew. SIGPIPE is ignored.
 */
#include "server/run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include "server/access.h"
#include "server/cli.h"
#include "server/control.h"
#include "server/gateway.h"
#include "server/limits_file.h"
#include "server/memory.h"
#include "server/processors.h"
#include "server/listen.h"

enum {
    STOP_GRACE_MS = 3000,
    STOP_LIMIT_MS = 4500,
    POOL_QUEUE_MAX = 2048,
    POOL_RELIEF = 8,
    SPARE_FILES = 512,
    FILES_MIN = 16,
};

struct server {
    const struct config *config;
    uv_loop_t loop;
    uv_signal_t on_term, on_int, on_hup;
    struct access access;
    struct limits_file limits;
    struct pool *pool;
    struct store *store;
    struct api *api;
    struct gateway *gateway;
    struct control *control; /* NULL: in memory, or no socket could be made */
    struct request_log *request_log;
    struct metrics metrics;
    int listen_fd; /* -1: none, or the gateway's */
    uint16_t port;
    bool is_stopping;
};

/* ------------------------------------------------------------------------------------------------ the process */

/* A file opened as descriptor 2 because stderr was closed would receive log lines: the log of writes, for example. */
static bool keep_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) return false;
    return true;
}

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static enum err count_entry(void *ctx, struct str name, bool is_dir)
{
    (void)name, (void)is_dir;
    ++*(uint64_t *)ctx;
    return ERR_OK;
}

/* How many connections may be open at a time, so that the files of flushes, merges and the catalog can always be opened beside
 * them. Called when everything else of the start is open. A server that could hardly open a file more does not start. */
static enum err limit_connections(uint64_t wanted, unsigned *connections, struct errmsg *em)
{
    struct rlimit limit;
    uint64_t n_open = 0;
    *connections = (unsigned)wanted;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return ERR_OK;
    enum err e = vfs_posix()->list(NULL, "/proc/self/fd", count_entry, &n_open, NULL);
    if (e == ERR_NOT_FOUND)
        n_open = 0; /* no /proc here: what fails later says so */
    else if (e != ERR_OK)
        n_open = limit.rlim_cur; /* no descriptor is left to look into it */
    uint64_t left = limit.rlim_cur > n_open ? limit.rlim_cur - n_open : 0;
    uint64_t can = left >= 2 * SPARE_FILES ? left - SPARE_FILES : left / 2;
    if (left < FILES_MIN)
        return errmsg_set(
            em, ERR_IO, "the process may open only %llu files, and %llu are open already: raise its limit (ulimit -n)",
            (unsigned long long)limit.rlim_cur, (unsigned long long)n_open);
    if (wanted <= can) return ERR_OK;
    *connections = (unsigned)can;
    log_warn("connection_limit is lowered from %llu to %llu: the process may open only %llu files",
             (unsigned long long)wanted, (unsigned long long)can, (unsigned long long)limit.rlim_cur);
    return ERR_OK;
}

static unsigned thread_count(uint64_t wanted, unsigned n_processors)
{
    if (wanted > 0) return (unsigned)wanted;
    return n_processors < 2 ? 2 : n_processors;
}

/* Two threads look, the loop's and an executor's; each only while there is a processor for it beside those at work. */
static void set_spin(struct pool *p, struct gateway_options *o, uint64_t us, unsigned n_processors)
{
    if (n_processors < 2) return;
    pool_set_spin(p, (unsigned)us, n_processors - 2);
    o->busy_poll_us = (unsigned)us;
    o->n_processors = n_processors;
}

static void set_handler(int signal_number, void (*handler)(int))
{
    struct sigaction a = {.sa_handler = handler};
    (void)sigemptyset(&a.sa_mask);
    (void)sigaction(signal_number, &a, NULL);
}

static void tell(const char *text, size_t n)
{
    if (write(STDERR_FILENO, text, n) < 0) return;
}

static void leave_while_starting(int signal_number)
{
    static const char text[] = "chroma: stopped by a signal while starting\n";
    (void)signal_number;
    tell(text, sizeof text - 1);
    _exit(0); /* nothing was acknowledged yet; opening may be interrupted at any place, as by a crash */
}

static void leave_at_once(int signal_number)
{
    static const char text[] = "chroma: a second signal: leaving at once\n";
    (void)signal_number;
    tell(text, sizeof text - 1);
    _exit(1);
}

static void leave_late(int signal_number)
{
    static const char text[] =
        "chroma: requests or files are still busy: leaving without them; what was acknowledged is "
        "on disk\n";
    (void)signal_number;
    tell(text, sizeof text - 1);
    _exit(0);
}

/* ------------------------------------------------------------------------------------------------ stopping */

static void close_signals(struct server *s)
{
    uv_close((uv_handle_t *)&s->on_term, NULL);
    uv_close((uv_handle_t *)&s->on_int, NULL);
    uv_close((uv_handle_t *)&s->on_hup, NULL);
}

static void on_drained(void *ctx)
{
    struct server *s = ctx;
    s->gateway = NULL;
    log_info("all connections are closed");
}

static void on_stop_signal(uv_signal_t *handle, int signal_number)
{
    struct server *s = handle->data;
    static const struct itimerval limit = {.it_value = {STOP_LIMIT_MS / 1000, STOP_LIMIT_MS % 1000 * 1000}};
    if (s->is_stopping) leave_at_once(signal_number);
    s->is_stopping = true;
    log_info("signal %d: stopping", signal_number);
    set_handler(SIGALRM, leave_late);
    (void)setitimer(ITIMER_REAL, &limit, NULL);
    close_signals(s); /* libuv gives the signals up, so ours come after; both before anybody can see that we stop */
    set_handler(SIGTERM, leave_at_once);
    set_handler(SIGINT, leave_at_once);
    set_handler(SIGHUP, SIG_IGN);
    control_stop(s->control);
    gateway_drain(s->gateway, STOP_GRACE_MS, on_drained, s);
}

static void on_hangup(uv_signal_t *handle, int signal_number)
{
    struct server *s = handle->data;
    (void)signal_number;
    request_log_reopen(s->request_log);
    log_info("SIGHUP: the request log, if it is a file, is opened anew; a changed configuration needs a restart");
}

/* ------------------------------------------------------------------------------------------------ starting */

/* Chroma's own server keeps everything in one SQLite file; writing ours beside it would leave two truths. */
static enum err refuse_foreign_data(const struct config *c, struct errmsg *em)
{
    const struct vfs *vfs = vfs_posix();
    struct vfs_file *f;
    char path[4096];
    if (c->ephemeral) return ERR_OK;
    if (!vfs_join(path, sizeof path, c->persist_path, c->sqlite_filename))
        return errmsg_set(em, ERR_INVALID, "persist_path is too long");
    enum err e = vfs->open(vfs->ctx, path, VFS_READ, &f, NULL);
    if (e == ERR_NOT_FOUND) return ERR_OK;
    if (e == ERR_OK)
        vfs->close(f);
    else if (e != ERR_IO)
        return errmsg_set(em, e, "open %s", path);
    if (e != ERR_OK) return ERR_OK; /* not a directory and the like: opening the store says it better */
    return errmsg_set(em, ERR_FORBIDDEN,
                      "%s holds a database of Chroma's own server (%s). This server keeps its data in another format "
                      "and has not touched "
                      "it. Bring it over into a new directory with: chroma migrate --from %s --path NEW_DIRECTORY (and "
                      "serve that one "
                      "then), or choose another directory (--path or persist_path)",
                      c->persist_path, c->sqlite_filename, c->persist_path);
}

static enum err open_store(struct server *s, struct errmsg *em)
{
    const struct config *c = s->config;
    struct store_options store = {.path = c->ephemeral ? NULL : c->persist_path,
                                  .flush_rows = (uint32_t)c->flush_rows,
                                  .flush_bytes = c->flush_bytes,
                                  .log_bytes = c->log_bytes,
                                  .memory_budget =
                                      c->memory_budget_bytes != 0 ? c->memory_budget_bytes : memory_default_budget(),
                                  .close_after_s = (uint32_t)c->close_after_s,
                                  .scrub_bytes_per_s = c->scrub_bytes_per_s,
                                  .scrub_interval_s = c->scrub_interval_s,
                                  .recall_sample_s = c->recall_sample_s,
                                  .when_quiet = memory_give_back};
    struct api_options api = {.allow_reset = c->allow_reset,
                              .max_payload_bytes = c->max_payload_size_bytes,
                              .request_memory_bytes =
                                  c->request_memory_bytes != 0 ? c->request_memory_bytes : memory_default_budget() / 2,
                              .cors_origins = c->cors_allow_origins,
                              .n_cors = c->n_cors_allow_origins,
                              .auth = s->access.auth,
                              .limits = &s->limits.options,
                              .metrics = c->metrics ? &s->metrics : NULL,
                              .pool = s->pool,
                              .version = SERVER_VERSION};
    enum err e = store_open(&s->store, &store, em);
    if (e != ERR_OK) {
        if (!c->ephemeral) errmsg_wrap(em, "open the data in %s", c->persist_path);
        return e;
    }
    return api_new(&s->api, s->store, &api, em);
}

static enum err open_request_log(struct server *s, struct errmsg *em)
{
    const char *path = s->config->request_log;
    const struct request_log_options o = {.path = strcmp(path, "none") != 0 ? path : NULL, .metrics = &s->metrics};
    return request_log_open(&s->request_log, &o, em);
}

static enum err start_signals(struct server *s, struct errmsg *em)
{
    int rc = uv_signal_init(&s->loop, &s->on_term);
    if (rc == 0) rc = uv_signal_init(&s->loop, &s->on_int);
    if (rc == 0) rc = uv_signal_init(&s->loop, &s->on_hup);
    s->on_term.data = s->on_int.data = s->on_hup.data = s;
    if (rc == 0) rc = uv_signal_start(&s->on_term, on_stop_signal, SIGTERM);
    if (rc == 0) rc = uv_signal_start(&s->on_int, on_stop_signal, SIGINT);
    if (rc == 0) rc = uv_signal_start(&s->on_hup, on_hangup, SIGHUP);
    return rc == 0 ? ERR_OK : errmsg_set(em, ERR_IO, "watch signals: %s", uv_strerror(rc));
}

/* A server without one serves all the same: a file system may have no sockets. */
static void start_control(struct server *s)
{
    struct errmsg em = {0};
    if (s->config->ephemeral) return;
    if (control_open(&s->control, &s->loop, s->store, s->config->persist_path, &em) != ERR_OK)
        log_warn("chroma backup and chroma compact cannot reach this server: %s", em.text);
}

static void announce(const struct server *s)
{
    const struct config *c = s->config;
    const char *host = c->listen_address;
    bool is_any = strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0, is_v6 = strchr(host, ':') != NULL;
    if (is_any) host = "localhost";
    printf("Saving data to: %s\n", c->ephemeral ? "memory only, gone when the server stops" : c->persist_path);
    printf("Connect to Chroma at: %s://%s%s%s:%u\n", s->access.tls_cert != NULL ? "https" : "http",
           is_v6 && !is_any ? "[" : "", host, is_v6 && !is_any ? "]" : "", (unsigned)s->port);
    (void)fflush(stdout);
    log_info("serving on %s port %u, data in %s, %s", c->listen_address, (unsigned)s->port,
             c->ephemeral ? "memory" : c->persist_path,
             s->access.auth != NULL ? "callers must authenticate" : "no authentication");
}

static enum err start(struct server *s, struct errmsg *em)
{
    const struct config *c = s->config;
    struct gateway_options gateway = {.idle_timeout_s = (unsigned)c->idle_timeout_s,
                                      .request_timeout_s = (unsigned)c->request_timeout_s,
                                      .breaker_requests = (unsigned)c->circuit_breaker_requests,
                                      .in_flight_max = POOL_QUEUE_MAX,
                                      .body_memory_bytes = c->body_memory_bytes};
    unsigned n_processors = processors_usable();
    enum err e = access_open(&s->access, c, em);
    if (e == ERR_OK) e = limits_file_open(&s->limits, c, em);
    if (e == ERR_OK) e = listen_bind(c->listen_address, (uint16_t)c->port, &s->listen_fd, &s->port, em);
    if (e == ERR_OK) e = refuse_foreign_data(c, em);
    if (e == ERR_OK) e = pool_new(&s->pool, "exec", thread_count(c->threads, n_processors), POOL_QUEUE_MAX, em);
    if (e == ERR_OK) set_spin(s->pool, &gateway, c->busy_poll_us, n_processors);
    if (e == ERR_OK) e = pool_add_relief(s->pool, POOL_RELIEF, em);
    if (e == ERR_OK) e = open_request_log(s, em);
    if (e == ERR_OK) e = open_store(s, em);
    if (e == ERR_OK) e = limit_connections(c->connection_limit, &gateway.connection_limit, em);
    if (e == ERR_OK) e = listen_start(s->listen_fd, em);
    if (e != ERR_OK) return e;
    gateway.api = s->api;
    gateway.pool = s->pool;
    gateway.listen_fd = s->listen_fd;
    gateway.tls_cert = s->access.tls_cert;
    gateway.tls_key = s->access.tls_key;
    gateway.metrics = &s->metrics;
    gateway.request_log = s->request_log;
    gateway.logs_requests = strcmp(c->request_log, "none") != 0;
    gateway.slow_request_ms = c->slow_request_ms;
    if ((e = start_signals(s, em)) != ERR_OK) return e;
    if ((e = gateway_open(&s->gateway, &s->loop, &gateway, em)) != ERR_OK) {
        close_signals(s);
        return e;
    }
    s->listen_fd = -1;
    start_control(s);
    return ERR_OK;
}

static void finish(struct server *s)
{
    pool_free(s->pool); /* runs what is queued: nothing, or what was pushed before a failed start */
    if (s->api != NULL) api_free(s->api);
    limits_file_close(&s->limits);
    access_close(&s->access);
    if (s->store != NULL) store_stop_work(s->store);
    control_free(s->control);
    if (s->store != NULL) store_close(s->store);
    request_log_close(s->request_log);
    if (s->listen_fd >= 0) (void)close(s->listen_fd);
    (void)uv_run(&s->loop, UV_RUN_DEFAULT); /* handles that are closing */
    (void)uv_loop_close(&s->loop);
}

int run_server(const struct config *c)
{
    struct server s = {.config = c, .listen_fd = -1};
    struct errmsg em = {0};
    if (!keep_standard_descriptors()) return 1;
    raise_file_limit();
    memory_init();
    metrics_init(&s.metrics);
    set_handler(SIGPIPE, SIG_IGN);
    set_handler(SIGTERM, leave_while_starting);
    set_handler(SIGINT, leave_while_starting);
    int rc = uv_loop_init(&s.loop);
    if (rc != 0) {
        (void)fprintf(stderr, "chroma: make the event loop: %s\n", uv_strerror(rc));
        return 1;
    }
    enum err e = start(&s, &em);
    if (e != ERR_OK) {
        (void)fprintf(stderr, "chroma: %s\n", errmsg_plain(&em));
        finish(&s);
        return 1;
    }
    announce(&s);
    (void)uv_run(&s.loop, UV_RUN_DEFAULT); /* until the gateway is drained and the signals are closed */
    finish(&s);
    log_info("stopped");
    return 0;
}
