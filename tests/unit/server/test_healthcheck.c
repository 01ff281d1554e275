/* test_healthcheck.c - `chroma healthcheck` against a server of the test's own, and the reading of its URL. */
#include "tests/lib/suite.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/healthcheck.h"
#include "server/listen.h"

static void check_url(const char *url, const char *want_host, unsigned want_port)
{
    char host[64] = "unchanged";
    uint16_t port = 8000;
    struct errmsg em = {0};
    enum err e = healthcheck_parse_url(url, host, sizeof host, &port, &em);
    ck_assert_int_eq(e, want_host != NULL ? ERR_OK : ERR_INVALID);
    ck_assert_str_eq(host, want_host != NULL ? want_host : "unchanged");
    ck_assert_uint_eq(port, want_host != NULL ? want_port : 8000);
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
    check_url("https://localhost", NULL, 0);
    check_url("http://", NULL, 0);
    check_url("", NULL, 0);
    check_url("http://:8000", NULL, 0);
    check_url("http://h:", NULL, 0);
    check_url("http://h:65536", NULL, 0);
    check_url("http://h:-1", NULL, 0);
    check_url("http://h:1x", NULL, 0);
    check_url("http://[::1", NULL, 0);
    check_url("http://a-host-name-that-is-longer-than-the-sixty-three-bytes-of-the-buffer", NULL, 0);
}
END_TEST

struct one_answer {
    int fd;
    const char *text;
};

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

static enum err ask(const char *answer, struct errmsg *em)
{
    struct one_answer o = {.text = answer};
    uint16_t port;
    pthread_t t;
    ck_ok(listen_bind("127.0.0.1", 0, &o.fd, &port, em));
    ck_ok(listen_start(o.fd, em));
    ck_assert_int_eq(pthread_create(&t, NULL, answer_once, &o), 0);
    enum err e = healthcheck("127.0.0.1", port, 60000, em);
    ck_assert_int_eq(pthread_join(t, NULL), 0);
    (void)close(o.fd);
    return e;
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
}
END_TEST

START_TEST(nobody_there_and_nobody_answers)
{
    struct errmsg em = {0};
    int fd;
    uint16_t port;
    ck_ok(listen_bind("127.0.0.1", 0, &fd, &port, &em));
    ck_assert_int_eq(healthcheck("127.0.0.1", port, 60000, &em), ERR_IO); /* bound, but not listening: refused */
    ck_ok(listen_start(fd, &em));
    ck_assert_int_eq(healthcheck("127.0.0.1", port, 50, &em), ERR_IO);
    ck_assert_ptr_nonnull(strstr(em.text, "no answer in time"));
    (void)close(fd);
    ck_assert_int_eq(healthcheck("no such host", port, 50, &em), ERR_IO);
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
