/* gateway_rig.h - a gateway over real sockets, with a small api of the tests' own behind it, and a client for it.
 *
 * The api here answers by path: /here on the loop, /pool on the pool, /held and /stuck (which holds the loop itself, as
 * nothing should) when the test lets them, /small with a limit of
 * 100 bytes, everything else with an empty 404. What it echoes shows what reached it, byte by byte.
 *
 * THREADS  the test's; api_* as api.h has it. One program includes it once.
 */
#ifndef TESTS_GATEWAY_RIG_H
#define TESTS_GATEWAY_RIG_H

#include "tests/lib/suite.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/crc32c.h"
#include "core/logger.h"
#include "core/mem.h"
#include "server/gateway.h"
#include "server/listen.h"

/* ------------------------------------------------------------------------------------------------ the api */

struct api {
    atomic_uint n_begun, n_ended;
    sem_t held, release; /* posted by /held when it waits; posted by the test to let one go */
};

static inline bool path_is(const struct api_request *r, const char *path)
{
    return str_eq(r->path, str_from_c(path));
}

enum api_place api_begin(struct api *a, struct api_request *r)
{
    atomic_fetch_add(&a->n_begun, 1);
    r->api = a;
    r->body_max = path_is(r, "/small") ? 100 : 8 << 20;
    r->is_head = str_eq(r->method, STR("HEAD"));
    r->ignores_body = str_eq(r->query, STR("ignore"));
    if (path_is(r, "/here") || path_is(r, "/stuck") || path_is(r, "/who")) return API_RUN_HERE;
    if (path_is(r, "/late")) return API_RUN_POOL;
    if (path_is(r, "/pool") || path_is(r, "/held") || path_is(r, "/small") || path_is(r, "/p%2Fq")) return API_RUN_POOL;
    r->status = path_is(r, "/allow") ? 405 : path_is(r, "/docs") ? 303 : 404;
    if (r->status == 405) r->allow = STR("GET,HEAD");
    if (r->status == 303) r->location = STR("/docs/");
    r->extra_headers = STR("vary: origin\r\naccess-control-allow-origin: *\r\n");
    r->has_trace_id = r->status >= 400;
    memset(r->trace_id, '0', 32);
    return API_ANSWERED;
}

void api_refuse_body(struct api_request *r)
{
    r->status = 413;
    r->answer_type = STR("application/json");
    buf_free(&r->answer);
    buf_lit(&r->answer, "{\"error\":\"ChromaError\"}");
}

static inline void answer_echo(struct api_request *r)
{
    r->status = 200;
    r->answer_type = STR("application/json");
    buf_printf(&r->answer, "%.*s %.*s [%.*s] [%.*s] %zu %08x", STR_ARG(r->method), STR_ARG(r->path), STR_ARG(r->query),
               STR_ARG(r->content_type), r->body.n, (unsigned)crc32c(0, r->body.p, r->body.n));
    if (r->answer.err != ERR_OK) {
        buf_free(&r->answer);
        r->answer = (struct buf){0};
        r->status = 503;
    }
}

bool api_ready(struct api_request *r)
{
    ck_assert(!path_is(r, "/here") && !path_is(r, "/who")); /* asked only before the pool */
    if (!path_is(r, "/late")) return true;
    r->status = 503;
    buf_printf(&r->answer, "late %zu", r->body.n);
    return false;
}

/* The two headers of credentials; absent and empty are told apart. */
static inline void answer_who(struct api_request *r)
{
    static const struct str none = {"-", 1};
    struct str a = r->authorization.p != NULL ? r->authorization : none;
    struct str t = r->chroma_token.p != NULL ? r->chroma_token : none;
    r->status = 200;
    buf_printf(&r->answer, "[%.*s] [%.*s]", STR_ARG(a), STR_ARG(t));
}

void api_run(struct api_request *r)
{
    if (path_is(r, "/who")) {
        answer_who(r);
        r->done(r);
        return;
    }
    if (path_is(r, "/held") || path_is(r, "/stuck")) {
        (void)sem_post(&r->api->held);
        while (sem_wait(&r->api->release) != 0) continue;
    }
    ck_assert_int_eq(r->body.p[r->body.n > 0 ? r->body.n : 0], '\0');
    answer_echo(r);
    r->done(r);
}

void api_end(struct api_request *r)
{
    atomic_fetch_add(&r->api->n_ended, 1);
    buf_free(&r->answer);
    arena_free(&r->arena);
}

/* ------------------------------------------------------------------------------------------------ the server */

static struct gateway_stats at_stop; /* of the last server */

static struct server {
    struct api api;
    struct pool *pool;
    struct gateway *gateway;
    struct metrics metrics;
    struct request_log *log;
    char log_path[256];
    uv_loop_t loop;
    uv_async_t stop;
    pthread_t thread;

    uint16_t port;
    uint64_t grace_ms;
} * sv; /* of its own memory: a test that fails may leave its server running */

static inline void on_drained(void *ctx)
{
    struct server *s = ctx;
    uv_close((uv_handle_t *)&s->stop, NULL);
}

static inline void on_stop(uv_async_t *a)
{
    struct server *s = a->data;
    gateway_stats(s->gateway, &at_stop);
    gateway_drain(s->gateway, s->grace_ms, on_drained, s);
}

static inline void *loop_main(void *arg)
{
    struct server *s = arg;
    ck_assert_int_eq(uv_run(&s->loop, UV_RUN_DEFAULT), 0);
    return NULL;
}

static inline void start(struct gateway_options o)
{
    struct errmsg em = {0};
    sv = calloc(1, sizeof *sv);
    ck_assert_ptr_nonnull(sv);
    sv->grace_ms = 60000;
    logger_set_level(LOG_NONE);
    ck_assert_int_eq(sem_init(&sv->api.held, 0, 0), 0);
    ck_assert_int_eq(sem_init(&sv->api.release, 0, 0), 0);
    ck_ok(pool_new(&sv->pool, "exec", 2, 64, &em));
    pool_set_spin(sv->pool, 500, 0);
    ck_ok(listen_bind("127.0.0.1", 0, &o.listen_fd, &sv->port, &em));
    ck_ok(listen_start(o.listen_fd, &em));
    ck_assert_int_eq(uv_loop_init(&sv->loop), 0);
    metrics_init(&sv->metrics);
    (void)snprintf(sv->log_path, sizeof sv->log_path, "%s/requests", tmp_dir());
    const struct request_log_options log = {.path = sv->log_path, .metrics = &sv->metrics};
    ck_ok(request_log_open(&sv->log, &log, &em));
    o.metrics = &sv->metrics;
    o.request_log = sv->log;
    o.logs_requests = true;
    o.api = &sv->api;
    o.pool = sv->pool;
    o.busy_poll_us = 500;
    o.n_processors = 2;
    ck_ok(gateway_open(&sv->gateway, &sv->loop, &o, &em));
    ck_assert_int_eq(uv_async_init(&sv->loop, &sv->stop, on_stop), 0);
    sv->stop.data = sv;
    ck_assert_int_eq(pthread_create(&sv->thread, NULL, loop_main, sv), 0);
}

static inline void begin_stop(void)
{
    ck_assert_int_eq(uv_async_send(&sv->stop), 0);
}

/* Whatever happens to a request whose headers were read, it is counted once and told once. */
static inline void check_counts(void)
{
    const struct metrics *m = &sv->metrics;
    uint64_t n = metrics_get(&m->n_aborted);
    for (unsigned i = 0; i < METRICS_CLASSES; i++) n += metrics_get(&m->requests[METRICS_NO_ROUTE][i]);
    ck_assert_uint_eq(metrics_get(&m->log_lines) + metrics_get(&m->log_dropped), n);
    ck_assert_uint_ge(n, at_stop.n_answered);
}

/* gateway_drain itself checks that no connection, request or byte of a body is left. */
static inline void end_stop(void)
{
    ck_assert_int_eq(pthread_join(sv->thread, NULL), 0);
    ck_assert_int_eq(uv_loop_close(&sv->loop), 0);
    pool_free(sv->pool);
    request_log_close(sv->log);
    check_counts();
    ck_assert_uint_eq(atomic_load(&sv->api.n_begun), atomic_load(&sv->api.n_ended));
    (void)sem_destroy(&sv->api.held);
    (void)sem_destroy(&sv->api.release);
    free(sv);
}

static inline void stop(void)
{
    begin_stop();
    end_stop();
}

/* ------------------------------------------------------------------------------------------------ the client */

static inline int dial(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(sv->port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

/* False once the other side has closed. */
static inline bool put(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t rc = send(fd, p, n, MSG_NOSIGNAL);
        if (rc < 0 && errno == EINTR) continue;
        if (rc <= 0) return false;
        p += rc;
        n -= (size_t)rc;
    }
    return true;
}

static inline void say(int fd, const char *text)
{
    ck_assert(put(fd, text, strlen(text)));
}

struct answer {
    unsigned status; /* 0: the connection was closed instead */
    char head[2048];
    char body[65536];
    size_t body_n;
};
static struct answer an;

/* Reads one answer, byte by byte in the head so that nothing of the next one is taken. */
static inline void hear(int fd, bool is_head)
{
    size_t n = 0;
    memset(&an, 0, sizeof an);
    while (n < 4 || memcmp(an.head + n - 4, "\r\n\r\n", 4) != 0) {
        ck_assert_uint_lt(n, sizeof an.head - 1);
        ssize_t rc = recv(fd, an.head + n, 1, 0);
        if (rc < 0 && errno == EINTR) continue;
        if (rc <= 0) return;
        n++;
    }
    const char *length = strcasestr(an.head, "content-length: ");
    ck_assert_msg(strncmp(an.head, "HTTP/1.1 ", 9) == 0, "%s", an.head);
    unsigned status = (unsigned)atoi(an.head + 9);
    size_t want = length != NULL && !is_head ? (size_t)atoll(length + 16) : 0;
    ck_assert_uint_lt(want, sizeof an.body);
    while (an.body_n < want) {
        ssize_t rc = recv(fd, an.body + an.body_n, want - an.body_n, 0);
        if (rc < 0 && errno == EINTR) continue;
        ck_assert_int_gt(rc, 0);
        an.body_n += (size_t)rc;
    }
    an.status = status;
}

static inline void expect(int fd, unsigned status, const char *body)
{
    hear(fd, false);
    ck_assert_uint_eq(an.status, status);
    ck_assert_str_eq(an.body, body);
}

static inline void expect_closed(int fd)
{
    char c;
    ssize_t rc;
    do rc = recv(fd, &c, 1, 0);
    while (rc < 0 && errno == EINTR);
    ck_assert_int_le(rc, 0);
    (void)close(fd);
}

#endif
