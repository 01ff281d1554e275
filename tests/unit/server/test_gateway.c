/* test_gateway.c - the gateway over real sockets, with a small api of the test's own behind it.
 *
 * The api here answers by path: /here on the loop, /pool on the pool, /held and /stuck (which holds the loop itself, as
 * nothing should) when the test lets them, /small with a limit of
 * 100 bytes, everything else with an empty 404. What it echoes shows what reached it, byte by byte.
 */
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

static bool path_is(const struct api_request *r, const char *path)
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

static void answer_echo(struct api_request *r)
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
static void answer_who(struct api_request *r)
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

static void on_drained(void *ctx)
{
    struct server *s = ctx;
    uv_close((uv_handle_t *)&s->stop, NULL);
}

static void on_stop(uv_async_t *a)
{
    struct server *s = a->data;
    gateway_stats(s->gateway, &at_stop);
    gateway_drain(s->gateway, s->grace_ms, on_drained, s);
}

static void *loop_main(void *arg)
{
    struct server *s = arg;
    ck_assert_int_eq(uv_run(&s->loop, UV_RUN_DEFAULT), 0);
    return NULL;
}

static void start(struct gateway_options o)
{
    struct errmsg em = {0};
    sv = calloc(1, sizeof *sv);
    ck_assert_ptr_nonnull(sv);
    sv->grace_ms = 60000;
    logger_set_level(LOG_NONE);
    ck_assert_int_eq(sem_init(&sv->api.held, 0, 0), 0);
    ck_assert_int_eq(sem_init(&sv->api.release, 0, 0), 0);
    ck_ok(pool_new(&sv->pool, "exec", 2, 64, &em));
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
    ck_ok(gateway_open(&sv->gateway, &sv->loop, &o, &em));
    ck_assert_int_eq(uv_async_init(&sv->loop, &sv->stop, on_stop), 0);
    sv->stop.data = sv;
    ck_assert_int_eq(pthread_create(&sv->thread, NULL, loop_main, sv), 0);
}

static void begin_stop(void)
{
    ck_assert_int_eq(uv_async_send(&sv->stop), 0);
}

/* Whatever happens to a request whose headers were read, it is counted once and told once. */
static void check_counts(void)
{
    const struct metrics *m = &sv->metrics;
    uint64_t n = metrics_get(&m->n_aborted);
    for (unsigned i = 0; i < METRICS_CLASSES; i++) n += metrics_get(&m->requests[METRICS_NO_ROUTE][i]);
    ck_assert_uint_eq(metrics_get(&m->log_lines) + metrics_get(&m->log_dropped), n);
    ck_assert_uint_ge(n, at_stop.n_answered);
}

/* gateway_drain itself checks that no connection, request or byte of a body is left. */
static void end_stop(void)
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

static void stop(void)
{
    begin_stop();
    end_stop();
}

/* ------------------------------------------------------------------------------------------------ the client */

static int dial(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(sv->port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

/* False once the other side has closed. */
static bool put(int fd, const char *p, size_t n)
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

static void say(int fd, const char *text)
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
static void hear(int fd, bool is_head)
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

static void expect(int fd, unsigned status, const char *body)
{
    hear(fd, false);
    ck_assert_uint_eq(an.status, status);
    ck_assert_str_eq(an.body, body);
}

static void expect_closed(int fd)
{
    char c;
    ssize_t rc;
    do rc = recv(fd, &c, 1, 0);
    while (rc < 0 && errno == EINTR);
    ck_assert_int_le(rc, 0);
    (void)close(fd);
}

/* ------------------------------------------------------------------------------------------------ tests */

START_TEST(answers_from_loop_and_pool_on_one_connection)
{
    start((struct gateway_options){0});
    int fd = dial();
    for (int i = 0; i < 50; i++) {
        say(fd, "GET /here?a=1&b=%20 HTTP/1.1\r\nHost: x\r\n\r\n");
        expect(fd, 200, "GET /here [a=1&b=%20] [] 0 00000000");
        ck_assert_ptr_nonnull(strcasestr(an.head, "content-type: application/json\r\n"));
        ck_assert_ptr_nonnull(strcasestr(an.head, "\r\ndate: "));
        ck_assert_ptr_null(strcasestr(an.head, "chroma-trace-id"));
        say(fd, "POST /pool HTTP/1.1\r\nHost: x\r\nContent-Type: a/b; c=d\r\nContent-Length: 9\r\n\r\n123456789");
        expect(fd, 200, "POST /pool [] [a/b; c=d] 9 e3069283");
    }
    (void)close(fd);
    stop();
    ck_assert_uint_eq(at_stop.n_answered, 100);
}
END_TEST

START_TEST(a_whole_request_may_be_refused_before_the_pool)
{
    start((struct gateway_options){0});
    int fd = dial();
    for (int i = 0; i < 3; i++) {
        say(fd, "POST /late HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd");
        expect(fd, 503, "late 4");
        say(fd, "POST /pool HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"); /* the connection lives */
        expect(fd, 200, "POST /pool [] [] 0 00000000");
    }
    (void)close(fd);
    stop();
    ck_assert_uint_eq(at_stop.n_in_flight, 0);
}
END_TEST

START_TEST(credentials_reach_the_api_and_two_are_none)
{
    start((struct gateway_options){0});
    int fd = dial();
    say(fd, "GET /who HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(fd, 200, "[-] [-]");
    say(fd, "GET /who HTTP/1.1\r\nHost: x\r\nauthorization: Bearer a b\r\nX-CHROMA-TOKEN: t\r\n\r\n");
    expect(fd, 200, "[Bearer a b] [t]");
    say(fd, "GET /who HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nAuthorization: Bearer a\r\n\r\n");
    expect(fd, 200, "[] [-]");
    say(fd, "GET /who HTTP/1.1\r\nHost: x\r\nX-Chroma-Token: a\r\nx-chroma-token: b\r\nx-chroma-token: c\r\n\r\n");
    expect(fd, 200, "[-] []");
    say(fd, "GET /who HTTP/1.1\r\nHost: x\r\n\r\n"); /* nothing stays from the request before */
    expect(fd, 200, "[-] [-]");
    (void)close(fd);
    stop();
}
END_TEST

START_TEST(empty_answers_carry_their_headers)
{
    start((struct gateway_options){0});
    int fd = dial();
    say(fd, "GET /nothing HTTP/1.1\r\n\r\n"); /* without Host */
    expect(fd, 404, "");
    ck_assert_ptr_nonnull(strcasestr(an.head, "chroma-trace-id: 00000000000000000000000000000000\r\n"));
    ck_assert_ptr_nonnull(strcasestr(an.head, "vary: origin\r\n"));
    ck_assert_ptr_nonnull(strcasestr(an.head, "access-control-allow-origin: *\r\n"));
    ck_assert_ptr_null(strcasestr(an.head, "content-type"));
    say(fd, "PUT /allow HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd"); /* the body is read and thrown away */
    expect(fd, 405, "");
    ck_assert_ptr_nonnull(strcasestr(an.head, "allow: GET,HEAD\r\n"));
    say(fd, "GET /docs HTTP/1.1\r\n\r\n");
    expect(fd, 303, "");
    ck_assert_ptr_nonnull(strcasestr(an.head, "location: /docs/\r\n"));
    (void)close(fd);
    stop();
}
END_TEST

START_TEST(targets_arrive_as_they_were_sent)
{
    start((struct gateway_options){0});
    int fd = dial();
    say(fd, "GET /p%2Fq?x=%zz+1?y HTTP/1.1\r\n\r\n");
    expect(fd, 200, "GET /p%2Fq [x=%zz+1?y] [] 0 00000000");
    say(fd, "GET //here HTTP/1.1\r\n\r\n");
    expect(fd, 404, "");
    say(fd, "GET /x/../here HTTP/1.1\r\n\r\n");
    expect(fd, 404, "");
    say(fd, "GET http://name:80/here?q HTTP/1.1\r\nHost: name\r\n\r\n");
    expect(fd, 200, "GET /here [q] [] 0 00000000");
    say(fd, "get /here HTTP/1.1\r\n\r\n");
    expect(fd, 200, "get /here [] [] 0 00000000");
    (void)close(fd);
    stop();
}
END_TEST

START_TEST(head_has_the_length_and_no_body)
{
    start((struct gateway_options){0});
    int fd = dial();
    say(fd, "HEAD /here HTTP/1.1\r\n\r\nHEAD /pool HTTP/1.1\r\n\r\nGET /here HTTP/1.1\r\n\r\n");
    for (int i = 0; i < 2; i++) {
        hear(fd, true);
        ck_assert_uint_eq(an.status, 200);
        ck_assert_ptr_nonnull(strcasestr(an.head, "content-length: 27\r\n"));
    }
    expect(fd, 200, "GET /here [] [] 0 00000000");
    (void)close(fd);
    stop();
}
END_TEST

START_TEST(http_1_0_closes_unless_asked)
{
    start((struct gateway_options){0});
    int fd = dial();
    say(fd, "GET /here HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    expect(fd, 200, "GET /here [] [] 0 00000000");
    say(fd, "POST /pool HTTP/1.0\r\nContent-Length: 1\r\n\r\nx");
    hear(fd, false);
    ck_assert_uint_eq(an.status, 200);
    expect_closed(fd);
    stop();
}
END_TEST

START_TEST(half_closed_clients_get_their_answers)
{
    start((struct gateway_options){0});
    static const char *const requests[] = {"GET /here HTTP/1.1\r\n\r\n", "GET /pool HTTP/1.1\r\n\r\n"};
    for (int i = 0; i < 2; i++) {
        int fd = dial();
        say(fd, requests[i]);
        ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
        hear(fd, false);
        ck_assert_uint_eq(an.status, 200);
        expect_closed(fd);
    }
    int fd = dial(); /* while it is worked on */
    say(fd, "GET /held HTTP/1.1\r\n\r\nGET /here HTTP/1.1\r\n\r\n");
    ck_assert_int_eq(sem_wait(&sv->api.held), 0);
    ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
    (void)sem_post(&sv->api.release);
    hear(fd, false);
    ck_assert_uint_eq(an.status, 200);
    expect(fd, 200, "GET /here [] [] 0 00000000");
    expect_closed(fd);
    fd = dial(); /* in the middle of a body: nothing to answer */
    say(fd, "POST /pool HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345");
    ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
    expect_closed(fd);
    stop();
}
END_TEST

/* While the loop is held, data and the end of the stream arrive as one: libmicrohttpd does not see the end. */
START_TEST(an_end_that_comes_with_the_data_is_noticed)
{
    start((struct gateway_options){.idle_timeout_s = 86400, .request_timeout_s = 86400});
    static const char *const requests[] = {"GET /here HTTP/1.1\r\n\r\n", "GET /pool HTTP/1.1\r\n\r\n",
                                           "POST /pool HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345", "GET /he"};
    int stuck = dial(), fds[4];
    for (int i = 0; i < 4; i++) {
        fds[i] = dial();
        say(fds[i], "GET /here HTTP/1.1\r\n\r\n"); /* so that it is known to the server */
        hear(fds[i], false);
    }
    say(stuck, "GET /stuck HTTP/1.1\r\n\r\n");
    ck_assert_int_eq(sem_wait(&sv->api.held), 0);
    for (int i = 0; i < 4; i++) {
        say(fds[i], requests[i]);
        ck_assert_int_eq(shutdown(fds[i], SHUT_WR), 0);
    }
    (void)sem_post(&sv->api.release);
    hear(stuck, false);
    for (int i = 0; i < 4; i++) {
        if (i < 2) hear(fds[i], false);
        if (i < 2) ck_assert_msg(an.status == 200, "request %d: %u", i, an.status);
        expect_closed(fds[i]);
    }
    (void)close(stuck);
    stop();
}
END_TEST

START_TEST(bodies_over_the_limit_leave_the_connection_usable)
{
    start((struct gateway_options){.discard_max_bytes = 1000});
    char body[1200];
    memset(body, 'b', sizeof body);
    int fd = dial();
    say(fd, "POST /small HTTP/1.1\r\nContent-Length: 100\r\n\r\n");
    ck_assert(put(fd, body, 100));
    hear(fd, false);
    ck_assert_uint_eq(an.status, 200);
    say(fd, "POST /small HTTP/1.1\r\nContent-Length: 101\r\n\r\n");
    ck_assert(put(fd, body, 101));
    expect(fd, 413, "{\"error\":\"ChromaError\"}");
    say(fd, "POST /small HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n");
    ck_assert(put(fd, body, 64));
    say(fd, "\r\n25\r\n");
    ck_assert(put(fd, body, 37));
    say(fd, "\r\n0\r\n\r\n");
    expect(fd, 413, "{\"error\":\"ChromaError\"}");
    say(fd, "POST /small HTTP/1.1\r\nContent-Length: 101\r\nExpect: 100-continue\r\n\r\n");
    expect(fd, 413, "{\"error\":\"ChromaError\"}"); /* no 100 before it */
    expect_closed(fd);
    fd = dial(); /* longer than what is thrown away: answered before it is read */
    say(fd, "POST /small HTTP/1.1\r\nContent-Length: 1200\r\n\r\n");
    expect(fd, 413, "{\"error\":\"ChromaError\"}");
    expect_closed(fd);
    fd = dial(); /* chunked, without end: cut off */
    say(fd, "POST /small HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 1000000; i++)
        if (!put(fd, "40\r\n", 4) || !put(fd, body, 64) || !put(fd, "\r\n", 2)) break;
    expect_closed(fd);
    stop();
}
END_TEST

START_TEST(bodies_that_nobody_wants_are_thrown_away)
{
    start((struct gateway_options){.discard_max_bytes = 1000, .body_memory_bytes = 10});
    char body[1000];
    memset(body, 'b', sizeof body);
    int fd = dial();
    static const char *const where[] = {"/small", "/here", "/pool"};
    for (size_t i = 0; i < 3; i++) { /* beyond the route's limit and the budget, and yet */
        char head[100], whole[100];
        (void)snprintf(head, sizeof head, "POST %s?ignore HTTP/1.1\r\nContent-Length: 1000\r\n\r\n", where[i]);
        (void)snprintf(whole, sizeof whole, "POST %s [ignore] [] 0 00000000", where[i]);
        say(fd, head);
        ck_assert(put(fd, body, sizeof body));
        expect(fd, 200, whole);
        (void)snprintf(head, sizeof head, "POST %s?ignore HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n",
                       where[i]);
        say(fd, head);
        ck_assert(put(fd, body, sizeof body));
        say(fd, "\r\n0\r\n\r\n");
        expect(fd, 200, whole);
    }
    say(fd, "POST /here?ignore HTTP/1.1\r\nContent-Length: 1001\r\n\r\n"); /* more than is read for nothing */
    expect(fd, 413, "{\"error\":\"ChromaError\"}");
    expect_closed(fd);
    stop();
}
END_TEST

START_TEST(malformed_heads_are_refused_and_close)
{
    start((struct gateway_options){0});
    static const struct {
        const char *head;
        unsigned status;
    } bad[] = {{"GET /here x HTTP/1.1\r\n\r\n", 400},
               {"GET /here\001 HTTP/1.1\r\n\r\n", 400},
               {"GET here/x HTTP/1.1\r\n\r\n", 400},
               {"GET /here HTTP/1.2\r\n\r\n", 400},
               {"G@T /here HTTP/1.1\r\n\r\n", 400},
               {"GET /here HTTP/1.1\r\nX : a\r\n\r\n", 400},
               {"GET /here HTTP/1.1\r\nX: \001\r\n\r\n", 400},
               {"POST /here HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n", 400},
               {"POST /here HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", 400},
               {"POST /here HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int fd = dial();
        say(fd, bad[i].head);
        expect(fd, bad[i].status, "");
        expect_closed(fd);
    }
    stop();
}
END_TEST

START_TEST(headers_and_targets_have_upstreams_limits)
{
    start((struct gateway_options){0});
    for (unsigned n = 100; n <= 101; n++) {
        int fd = dial();
        say(fd, "GET /here HTTP/1.1\r\n");
        for (unsigned i = 0; i < n; i++) say(fd, "X: y\r\n");
        say(fd, "\r\n");
        hear(fd, false);
        ck_assert_uint_eq(an.status, n > 100 ? 431 : 200);
        if (n > 100)
            expect_closed(fd);
        else
            (void)close(fd);
    }
    static char target[65536];
    memset(target, 'a', sizeof target);
    memcpy(target, "/who?", 5);
    for (size_t n = 65534; n <= 65535; n++) {
        int fd = dial();
        say(fd, "GET ");
        ck_assert(put(fd, target, n));
        say(fd, " HTTP/1.1\r\n\r\n");
        hear(fd, false);
        ck_assert_uint_eq(an.status, n > 65534 ? 414 : 200);
        if (n > 65534)
            expect_closed(fd);
        else
            (void)close(fd);
    }
    stop();
}
END_TEST

START_TEST(expect_continue_is_answered_and_the_body_taken)
{
    start((struct gateway_options){0});
    int fd = dial();
    say(fd, "POST /pool HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n");
    hear(fd, false);
    ck_assert_uint_eq(an.status, 100);
    say(fd, "123456789");
    expect(fd, 200, "POST /pool [] [] 9 e3069283");
    (void)close(fd);
    stop();
}
END_TEST

START_TEST(ambiguous_ends_of_messages_are_refused)
{
    start((struct gateway_options){0});
    static const struct {
        const char *headers;
        unsigned status;
    } cases[] = {{"Content-Length: 1\r\nContent-Length: 2\r\n", 400},
                 {"Content-Length: 1x\r\n", 400},
                 {"Content-Length: -1\r\n", 400},
                 {"Content-Length: 1, 1\r\n", 400},
                 {"Transfer-Encoding: gzip, chunked\r\n", 501},
                 {"Transfer-Encoding: identity\r\n", 400}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int fd = dial();
        say(fd, "POST /pool HTTP/1.1\r\n");
        say(fd, cases[i].headers);
        say(fd, "\r\n");
        hear(fd, false);
        ck_assert_uint_eq(an.status, cases[i].status);
        char c; /* libmicrohttpd 0.9.75 repeats the headers of its own refusal behind them */
        while (recv(fd, &c, 1, 0) > 0) continue;
        (void)close(fd);
    }
    int fd = dial(); /* chunked wins over a length, and the connection ends behind it */
    say(fd,
        "POST /pool HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n0\r\n\r\n");
    expect(fd, 200, "POST /pool [] [] 9 e3069283");
    expect_closed(fd);
    stop();
}
END_TEST

START_TEST(bodies_share_a_budget)
{
    start((struct gateway_options){.body_memory_bytes = 1000});
    char body[900];
    memset(body, 'b', sizeof body);
    int first = dial(), second = dial();
    say(first, "POST /held HTTP/1.1\r\nContent-Length: 900\r\n\r\n");
    ck_assert(put(first, body, 900));
    ck_assert_int_eq(sem_wait(&sv->api.held), 0);
    say(second, "POST /pool HTTP/1.1\r\nContent-Length: 900\r\n\r\n");
    ck_assert(put(second, body, 900));
    hear(second, false);
    ck_assert_uint_eq(an.status, 503);
    say(second, "POST /pool HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n384\r\n");
    ck_assert(put(second, body, 900));
    say(second, "\r\n0\r\n\r\n");
    hear(second, false);
    ck_assert_uint_eq(an.status, 503);
    (void)sem_post(&sv->api.release);
    hear(first, false);
    ck_assert_uint_eq(an.status, 200);
    say(second, "POST /pool HTTP/1.1\r\nContent-Length: 900\r\n\r\n");
    ck_assert(put(second, body, 900));
    hear(second, false);
    ck_assert_uint_eq(an.status, 200);
    (void)close(first);
    (void)close(second);
    stop();
    ck_assert_uint_eq(at_stop.body_bytes, 0);
}
END_TEST

START_TEST(requests_over_the_caps_are_refused_at_once)
{
    start((struct gateway_options){.in_flight_max = 1, .breaker_requests = 2});
    int a = dial(), b = dial(), c = dial();
    say(a, "GET /held HTTP/1.1\r\n\r\n");
    ck_assert_int_eq(sem_wait(&sv->api.held), 0);
    say(b, "GET /pool HTTP/1.1\r\n\r\n");
    expect(b, 503, "{\"error\":\"ChromaError\",\"message\":\"The server is too busy; try again later\"}");
    say(b, "POST /pool HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345"); /* counts while its body arrives ... */
    int rounds = 0;
    do { /* ... which the server may learn a moment after c's request */
        say(c, "GET /here HTTP/1.1\r\n\r\n");
        hear(c, false);
        ck_assert(an.status == 429 || an.status == 200);
    } while (an.status == 200 && ++rounds < 100000);
    ck_assert_uint_eq(an.status, 429);
    ck_assert_str_eq(an.body, "You have been rate limited.");
    ck_assert_ptr_nonnull(strcasestr(an.head, "content-type: text/plain; charset=utf-8\r\n"));
    (void)sem_post(&sv->api.release);
    hear(a, false);
    ck_assert_uint_eq(an.status, 200);
    (void)close(a);
    (void)close(b);
    (void)close(c);
    stop();
}
END_TEST

/* Time-outs: the client only waits until it is cut off; a slow machine makes this slower, not wrong. */
START_TEST(slow_clients_are_cut_off)
{
    start((struct gateway_options){.idle_timeout_s = 1, .request_timeout_s = 1});
    static const char *const beginnings[] = {
        "", "GET /he", "POST /pool HTTP/1.1\r\nX: ", "POST /pool HTTP/1.1\r\nContent-Length: 100000\r\n\r\n",
        "POST /pool HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n"};
    enum { N = sizeof beginnings / sizeof beginnings[0] };
    int fds[N];
    for (int i = 0; i < N; i++) {
        fds[i] = dial();
        say(fds[i], beginnings[i]);
    }
    for (int open = N - 1; open > 0;) { /* the first stays silent, the others keep sending */
        open = 0;
        for (int i = 1; i < N; i++) {
            char c;
            if (fds[i] < 0) continue;
            if (put(fds[i], "x", 1) && recv(fds[i], &c, 1, MSG_DONTWAIT) != 0 && errno == EAGAIN) {
                open++;
                continue;
            }
            (void)close(fds[i]);
            fds[i] = -1;
        }
        (void)usleep(20000);
    }
    expect_closed(fds[0]);
    stop();
}
END_TEST

START_TEST(work_is_not_timed_out)
{
    start((struct gateway_options){.idle_timeout_s = 1, .request_timeout_s = 1});
    int fd = dial();
    say(fd, "GET /held HTTP/1.1\r\n\r\n");
    ck_assert_int_eq(sem_wait(&sv->api.held), 0);
    (void)usleep(2500000);
    (void)sem_post(&sv->api.release);
    hear(fd, false);
    ck_assert_uint_eq(an.status, 200);
    (void)close(fd);
    stop();
}
END_TEST

START_TEST(draining_answers_what_is_in_flight)
{
    start((struct gateway_options){0});
    int busy = dial(), idle = dial(), partial = dial();
    say(idle, "GET /here HTTP/1.1\r\n\r\n");
    hear(idle, false);
    say(busy, "GET /held HTTP/1.1\r\n\r\n");
    say(partial, "POST /pool HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n");
    hear(partial, false); /* its headers are in */
    ck_assert_uint_eq(an.status, 100);
    ck_assert_int_eq(sem_wait(&sv->api.held), 0);
    begin_stop();
    expect_closed(idle);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(sv->port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int late = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ne(connect(late, (struct sockaddr *)&a, sizeof a), 0);
    (void)close(late);
    say(partial, "123456789");
    expect(partial, 200, "POST /pool [] [] 9 e3069283");
    ck_assert_ptr_nonnull(strcasestr(an.head, "connection: close\r\n"));
    expect_closed(partial);
    (void)sem_post(&sv->api.release);
    hear(busy, false);
    ck_assert_uint_eq(an.status, 200);
    ck_assert_ptr_nonnull(strcasestr(an.head, "connection: close\r\n"));
    expect_closed(busy);
    end_stop();
}
END_TEST

START_TEST(draining_does_not_wait_for_slow_clients_for_ever)
{
    start((struct gateway_options){0});
    sv->grace_ms = 200;
    int fd = dial();
    say(fd, "POST /pool HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n");
    hear(fd, false);
    stop(); /* returns: that is the test */
    expect_closed(fd);
}
END_TEST

START_TEST(clients_that_vanish_leave_nothing_behind)
{
    start((struct gateway_options){0});
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    static const char *const beginnings[] = {"GET /pool HTTP/1.1\r\n\r\n",
                                             "POST /pool HTTP/1.1\r\nContent-Length: 100\r\n\r\n12345",
                                             "POST /small HTTP/1.1\r\nContent-Length: 101\r\n\r\n12345",
                                             "POST /pool HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n123",
                                             "GET /pool HTTP/1.1\r\n\r\nGET /pool HTTP/1.1\r\n\r\nGET /po",
                                             "\r\n\r\n",
                                             "GARBAGE\r\n\r\n",
                                             ""};
    for (int i = 0; i < 200; i++) {
        int fd = dial();
        say(fd, beginnings[i % 8]);
        if (i % 3 == 0) ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0); /* RST */
        (void)close(fd);
    }
    int fd = dial();
    say(fd, "GET /held HTTP/1.1\r\n\r\n");
    ck_assert_int_eq(sem_wait(&sv->api.held), 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
    (void)close(fd);
    (void)sem_post(&sv->api.release);
    fd = dial();
    say(fd, "GET /here HTTP/1.1\r\n\r\n");
    expect(fd, 200, "GET /here [] [] 0 00000000");
    (void)close(fd);
    stop();
}
END_TEST

/* Random requests, pipelined, bodies by length or in random chunks, sent in random slices over several connections:
 * each is answered in its turn with the checksum of exactly its body. */
START_TEST(any_slicing_gives_the_same_requests)
{
    enum { N_CONNECTIONS = 4, N_ROUNDS = 30, BODY_MAX = 20000 };
    static char body[BODY_MAX], out[N_CONNECTIONS][1 << 18];
    struct rng rng = {.s = 20261124};
    start((struct gateway_options){0});
    int fds[N_CONNECTIONS];
    for (int c = 0; c < N_CONNECTIONS; c++) fds[c] = dial();
    for (int round = 0; round < N_ROUNDS; round++) {
        static char want[N_CONNECTIONS][4][128];
        size_t n[N_CONNECTIONS] = {0}, sent[N_CONNECTIONS] = {0};
        for (int c = 0; c < N_CONNECTIONS; c++) {
            for (int i = 0; i < 4; i++) {
                size_t size = rng_below(&rng, rng_below(&rng, 4) == 0 ? BODY_MAX : 50);
                bool is_chunked = rng_below(&rng, 2) == 1;
                const char *path = rng_below(&rng, 2) == 1 ? "/here" : "/pool";
                for (size_t k = 0; k < size; k++) body[k] = (char)rng_next(&rng);
                (void)snprintf(want[c][i], sizeof want[c][i], "POST %s [%d] [] %zu %08x", path, i, size,
                               (unsigned)crc32c(0, body, size));
                char *p = out[c] + n[c];
                p += sprintf(p, "POST %s?%d HTTP/1.1\r\n", path, i);
                if (!is_chunked)
                    p += sprintf(p, "Content-Length: %zu\r\n\r\n", size);
                else
                    p += sprintf(p, "Transfer-Encoding: chunked\r\n\r\n");
                for (size_t at = 0; at < size;) {
                    size_t piece = is_chunked ? 1 + rng_below(&rng, (uint32_t)(size - at)) : size;
                    if (is_chunked) p += sprintf(p, "%zx\r\n", piece);
                    memcpy(p, body + at, piece);
                    p += piece;
                    at += piece;
                    if (is_chunked) p += sprintf(p, "\r\n");
                }
                if (is_chunked) p += sprintf(p, "0\r\n\r\n");
                n[c] = (size_t)(p - out[c]);
            }
        }
        for (bool is_more = true; is_more;) {
            is_more = false;
            for (int c = 0; c < N_CONNECTIONS; c++) {
                size_t left = n[c] - sent[c], piece = 1 + rng_below(&rng, 9000);
                if (piece > left) piece = left;
                ck_assert(put(fds[c], out[c] + sent[c], piece));
                sent[c] += piece;
                is_more = is_more || sent[c] < n[c];
            }
        }
        for (int c = 0; c < N_CONNECTIONS; c++)
            for (int i = 0; i < 4; i++) expect(fds[c], 200, want[c][i]);
    }
    for (int c = 0; c < N_CONNECTIONS; c++) (void)close(fds[c]);
    stop();
}
END_TEST

/* Good requests with some bytes changed, lost or doubled: whatever they now mean, the server goes on. */
START_TEST(mutated_requests_do_no_harm)
{
    static const char *const seeds[] = {
        "POST /pool?a=b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n123456789",
        "POST /here HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\n1234\r\n5\r\n56789\r\n0\r\nT: 1\r\n\r\n",
        "GET /here HTTP/1.1\r\nCookie: a=b; c=\"d\"\r\nConnection: keep-alive, x\r\n\r\nHEAD /pool HTTP/1.0\r\n\r\n",
        "POST /small HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n folded\r\n\r\n123456789"};
    struct rng rng = {.s = 4711};
    start((struct gateway_options){.discard_max_bytes = 4096});
    for (int round = 0; round < 500; round++) {
        char text[512];
        size_t n = strlen(seeds[round % 4]);
        memcpy(text, seeds[round % 4], n);
        for (uint32_t edits = 1 + rng_below(&rng, 4); edits > 0; edits--) {
            static const char interesting[] = "\r\n\0 :;,%\t09afF-\xff\"=";
            size_t at = rng_below(&rng, (uint32_t)n);
            switch (rng_below(&rng, 4)) {
            case 0:
                text[at] = (char)rng_next(&rng);
                break;
            case 1:
                text[at] = interesting[rng_below(&rng, sizeof interesting - 1)];
                break;
            case 2:
                memmove(text + at, text + at + 1, --n - at);
                break;
            default:
                memmove(text + at + 1, text + at, n++ - at);
            }
        }
        int fd = dial();
        (void)put(fd, text, n);
        (void)shutdown(fd, SHUT_WR);
        while (recv(fd, text, sizeof text, 0) > 0) continue;
        (void)close(fd);
    }
    int fd = dial();
    say(fd, "GET /here HTTP/1.1\r\n\r\n");
    expect(fd, 200, "GET /here [] [] 0 00000000");
    (void)close(fd);
    stop();
}
END_TEST

/* Every n-th allocation fails: an answer, a 503 or a closed connection, never a leak or a hang. */
static struct {
    atomic_uint n, every;
} fault;

static bool fault_hook(void *ctx, size_t size)
{
    (void)ctx, (void)size;
    unsigned every = atomic_load(&fault.every);
    return every == 0 || atomic_fetch_add(&fault.n, 1) % every != every - 1;
}

START_TEST(short_memory_is_answered_or_closed)
{
    mem_set_hook(fault_hook, NULL);
    atomic_store(&fault.every, 0);
    start((struct gateway_options){0});
    unsigned n_good = 0, n_bad = 0;
    for (unsigned every = 1; every < 12; every++) {
        atomic_store(&fault.every, every);
        for (int i = 0; i < 12; i++) {
            int fd = dial();
            say(fd, i % 2 == 0
                        ? "POST /pool HTTP/1.1\r\nContent-Length: 9\r\n\r\n123456789"
                        : "POST /here HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n0\r\n\r\n");
            hear(fd, false);
            ck_assert_msg(an.status == 200 || an.status == 503 || an.status == 0, "status %u", an.status);
            if (an.status == 200)
                n_good++;
            else
                n_bad++;
            (void)close(fd);
        }
    }
    atomic_store(&fault.every, 0);
    ck_assert_uint_gt(n_good, 0);
    ck_assert_uint_gt(n_bad, 0);
    int fd = dial();
    say(fd, "GET /here HTTP/1.1\r\n\r\n");
    expect(fd, 200, "GET /here [] [] 0 00000000");
    (void)close(fd);
    stop();
    mem_set_hook(NULL, NULL);
}
END_TEST

TESTS(gateway, answers_from_loop_and_pool_on_one_connection, a_whole_request_may_be_refused_before_the_pool,
      credentials_reach_the_api_and_two_are_none, empty_answers_carry_their_headers, targets_arrive_as_they_were_sent,
      head_has_the_length_and_no_body, http_1_0_closes_unless_asked, half_closed_clients_get_their_answers,
      an_end_that_comes_with_the_data_is_noticed, bodies_over_the_limit_leave_the_connection_usable,
      bodies_that_nobody_wants_are_thrown_away, malformed_heads_are_refused_and_close,
      headers_and_targets_have_upstreams_limits, expect_continue_is_answered_and_the_body_taken,
      ambiguous_ends_of_messages_are_refused, bodies_share_a_budget, requests_over_the_caps_are_refused_at_once,
      slow_clients_are_cut_off, work_is_not_timed_out, draining_answers_what_is_in_flight,
      draining_does_not_wait_for_slow_clients_for_ever, clients_that_vanish_leave_nothing_behind,
      any_slicing_gives_the_same_requests, mutated_requests_do_no_harm, short_memory_is_answered_or_closed)
