/* test_healthcheck.c - `chroma healthcheck` against a server of the test's own, and the reading of its URL. */
#include "tests/lib/suite.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/healthcheck.h"
#include "server/listen.h"

static void check_url(const char *url, const char *want_host, unsigned want_port)
{
    struct healthcheck_target t = {.host = "unchanged", .port = 8000};
    struct errmsg em = {0};
    enum err e = healthcheck_parse_url(url, &t, &em);
    ck_assert_int_eq(e, want_host != NULL ? ERR_OK : ERR_INVALID);
    ck_assert_str_eq(t.host, want_host != NULL ? want_host : "unchanged");
    ck_assert_uint_eq(t.port, want_host != NULL ? want_port : 8000);
    ck_assert(t.is_tls == (want_host != NULL && strncmp(url, "https:", 6) == 0));
}

START_TEST(urls_are_taken_apart)
{
    check_url("http://localhost:8001", "localhost", 8001);
    check_url("http://localhost:8001/", "localhost", 8001);
    check_url("http://localhost", "localhost", 8000);
    check_url("http://localhost/api/v2", "localhost", 8000);
    check_url("localhost:1", "localhost", 1);
    check_url("127.0.0.1", "127.0.0.1", 8000);
    check_url("http://[::1]:8001/x", "::1", 8001);
    check_url("[::1]", "::1", 8000);
    check_url("https://localhost", "localhost", 8000);
    check_url("https://[::1]:1", "::1", 1);
    check_url("ftp://localhost", NULL, 0);
    check_url("http://", NULL, 0);
    check_url("", NULL, 0);
    check_url("http://:8000", NULL, 0);
    check_url("http://h:", NULL, 0);
    check_url("http://h:65536", NULL, 0);
    check_url("http://h:-1", NULL, 0);
    check_url("http://h:1x", NULL, 0);
    check_url("http://[::1", NULL, 0);
    char longest[7 + 256 + 1] = "http://"; /* a byte too many, with its NUL */
    memset(longest + 7, 'a', 256);
    check_url(longest, NULL, 0);
}
END_TEST

struct one_answer {
    int fd;
    const char *text;
};

static enum err check(const char *host, uint16_t port, bool is_tls, unsigned timeout_ms, struct errmsg *em)
{
    struct healthcheck_target t = {.port = port, .is_tls = is_tls};
    (void)snprintf(t.host, sizeof t.host, "%s", host);
    return healthcheck(&t, timeout_ms, em);
}

static void *answer_once(void *arg)
{
    struct one_answer *o = arg;
    char request[1024];
    int c;
    do c = accept(o->fd, NULL, NULL);
    while (c < 0);
    (void)recv(c, request, sizeof request, 0);
    size_t n = strlen(o->text), half = n / 2; /* in two pieces */
    if (send(c, o->text, half, MSG_NOSIGNAL) == (ssize_t)half) (void)send(c, o->text + half, n - half, MSG_NOSIGNAL);
    (void)close(c);
    return NULL;
}

static enum err ask_as(bool is_tls, const char *answer, struct errmsg *em)
{
    struct one_answer o = {.text = answer};
    uint16_t port;
    pthread_t t;
    ck_ok(listen_bind("127.0.0.1", 0, &o.fd, &port, em));
    ck_ok(listen_start(o.fd, em));
    ck_assert_int_eq(pthread_create(&t, NULL, answer_once, &o), 0);
    enum err e = check("127.0.0.1", port, is_tls, 60000, em);
    ck_assert_int_eq(pthread_join(t, NULL), 0);
    (void)close(o.fd);
    return e;
}

static enum err ask(const char *answer, struct errmsg *em)
{
    return ask_as(false, answer, em);
}

START_TEST(only_200_is_well)
{
    struct errmsg em = {0};
    ck_ok(ask("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", &em));
    ck_ok(ask("HTTP/1.0 200\r\n\r\n", &em));
    ck_assert_int_eq(ask("HTTP/1.1 503 Service Unavailable\r\n\r\n", &em), ERR_IO);
    ck_assert_ptr_nonnull(strstr(em.text, "unhealthy: status 503"));
    ck_assert_int_eq(ask("HTTP/1.1 404 Not Found\r\n\r\n", &em), ERR_IO);
    ck_assert_int_eq(ask("SSH-2.0-OpenSSH\r\n", &em), ERR_IO);
    ck_assert_int_eq(ask("", &em), ERR_IO);
    ck_assert_int_eq(ask("HTTP/1.1", &em), ERR_IO);
    ck_assert_int_eq(ask_as(true, "HTTP/1.1 200 OK\r\n\r\n", &em), ERR_IO); /* speaks no TLS */
    ck_assert_ptr_nonnull(strstr(em.text, "TLS: "));
}
END_TEST

START_TEST(nobody_there_and_nobody_answers)
{
    struct errmsg em = {0};
    int fd;
    uint16_t port;
    ck_ok(listen_bind("127.0.0.1", 0, &fd, &port, &em));
    ck_assert_int_eq(check("127.0.0.1", port, false, 60000, &em), ERR_IO); /* bound, but not listening: refused */
    ck_ok(listen_start(fd, &em));
    ck_assert_int_eq(check("127.0.0.1", port, false, 50, &em), ERR_IO);
    ck_assert_ptr_nonnull(strstr(em.text, "no answer in time"));
    ck_assert_int_eq(check("127.0.0.1", port, true, 50, &em), ERR_IO);
    ck_assert_ptr_nonnull(strstr(em.text, "no answer in time"));
    (void)close(fd);
    ck_assert_int_eq(check("no such host", port, false, 50, &em), ERR_IO);
}
END_TEST

START_TEST(a_taken_port_is_told)
{
    struct errmsg em = {0};
    int first, second = -1;
    uint16_t port, same;
    ck_ok(listen_bind("localhost", 0, &first, &port, &em));
    ck_assert_uint_ne(port, 0);
    ck_ok(listen_start(first, &em));
    ck_assert_int_eq(listen_bind("127.0.0.1", port, &second, &same, &em), ERR_IO);
    ck_assert_ptr_nonnull(strstr(em.text, "is not available: bind: Address already in use"));
    ck_assert_int_eq(second, -1);
    (void)close(first);
    ck_assert_int_eq(listen_bind("192.0.2.1", 0, &second, &same, &em), ERR_IO); /* not of this machine */
    ck_assert_int_eq(listen_bind("no such host", 0, &second, &same, &em), ERR_IO);
}
END_TEST

TESTS(healthcheck, urls_are_taken_apart, only_200_is_well, nobody_there_and_nobody_answers, a_taken_port_is_told)
