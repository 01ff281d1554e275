/* healthcheck.c - the smallest HTTP client that can tell 200 from everything else.
 *
 * HAPPY PATH  connect to one of the host's addresses, send one request (over TLS: healthcheck_tls.c), read the status line,
 *             done.
 * FAILURE     no address, refused, silent, another status: ERR_IO and a sentence. The whole takes at most timeout_ms.
 */
#include "server/healthcheck_internal.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

enum err healthcheck_wait(int fd, short events, int64_t deadline_ms, struct errmsg *em)
{
    for (;;) {
        int64_t left = deadline_ms - now_ms();
        struct pollfd p = {.fd = fd, .events = events};
        int rc = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (rc > 0) return ERR_OK;
        if (rc == 0) return errmsg_set(em, ERR_IO, "no answer in time");
        if (errno != EINTR) return errmsg_errno(em, errno, "wait");
    }
}

static enum err connect_one(const struct addrinfo *a, int64_t deadline_ms, int *out, struct errmsg *em)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    if (fd < 0) return errmsg_errno(em, errno, "make a socket");
    enum err e = ERR_OK;
    int err_no = connect(fd, a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
    if (err_no == EINPROGRESS) {
        socklen_t n = sizeof err_no;
        e = healthcheck_wait(fd, POLLOUT, deadline_ms, em);
        if (e == ERR_OK && getsockopt(fd, SOL_SOCKET, SO_ERROR, &err_no, &n) != 0) err_no = errno;
    }
    if (e == ERR_OK && err_no != 0) e = errmsg_errno(em, err_no, "connect");
    if (e == ERR_OK)
        *out = fd;
    else
        (void)close(fd);
    return e;
}

static enum err ask_plain(int fd, struct str request, int64_t deadline_ms, char *answer, size_t cap, size_t *got,
                          struct errmsg *em)
{
    size_t n = 0;
    if (send(fd, request.p, request.n, MSG_NOSIGNAL) != (ssize_t)request.n) return errmsg_errno(em, errno, "send");
    while (n < cap && memchr(answer, '\n', n) == NULL) {
        enum err e = healthcheck_wait(fd, POLLIN, deadline_ms, em);
        if (e != ERR_OK) return e;
        ssize_t rc = recv(fd, answer + n, cap - n, 0);
        if (rc < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (rc < 0) return errmsg_errno(em, errno, "receive");
        if (rc == 0) break;
        n += (size_t)rc;
    }
    *got = n;
    return ERR_OK;
}

static enum err ask(int fd, const struct healthcheck_target *t, int64_t deadline_ms, struct errmsg *em)
{
    char text[512], answer[512];
    size_t got = 0;
    int n = snprintf(text, sizeof text, "GET /api/v2/healthcheck HTTP/1.1\r\nHost: %.255s\r\nConnection: close\r\n\r\n",
                     t->host);
    struct str request = str_of(text, (size_t)n);
    enum err e = t->is_tls ? healthcheck_ask_tls(fd, request, deadline_ms, answer, sizeof answer - 1, &got, em)
                           : ask_plain(fd, request, deadline_ms, answer, sizeof answer - 1, &got, em);
    if (e != ERR_OK) return e;
    answer[got] = '\0';
    if (strncmp(answer, "HTTP/1.", 7) != 0) return errmsg_set(em, ERR_IO, "what answers is no HTTP server");
    if (strncmp(answer + 8, " 200", 4) != 0) return errmsg_set(em, ERR_IO, "unhealthy: status %.3s", answer + 9);
    return ERR_OK;
}

enum err healthcheck(const struct healthcheck_target *t, unsigned timeout_ms, struct errmsg *em)
{
    char service[8];
    int fd = -1;
    int64_t deadline_ms = now_ms() + timeout_ms;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list = NULL;
    (void)snprintf(service, sizeof service, "%u", (unsigned)t->port);
    int rc = getaddrinfo(t->host, service, &hints, &list);
    if (rc != 0) return errmsg_set(em, ERR_IO, "%s: %s", t->host, gai_strerror(rc));
    enum err e = errmsg_set(em, ERR_IO, "no address");
    for (const struct addrinfo *a = list; a != NULL && e != ERR_OK; a = a->ai_next)
        e = connect_one(a, deadline_ms, &fd, em);
    freeaddrinfo(list);
    if (e == ERR_OK) {
        e = ask(fd, t, deadline_ms, em);
        (void)close(fd);
    }
    if (e != ERR_OK) errmsg_wrap(em, "%s:%u", t->host, (unsigned)t->port);
    return e;
}

enum err healthcheck_parse_url(const char *url, struct healthcheck_target *t, struct errmsg *em)
{
    bool is_http = strncmp(url, "http://", 7) == 0, is_https = strncmp(url, "https://", 8) == 0;
    const char *p = is_http ? url + 7 : is_https ? url + 8 : url;
    if (strstr(p, "://") != NULL) return errmsg_set(em, ERR_INVALID, "%s: only http:// and https:// can be asked", url);
    bool is_bracketed = *p == '[';
    if (is_bracketed) p++;
    size_t n = strcspn(p, is_bracketed ? "]/" : ":/");
    const char *rest = p + n;
    if (is_bracketed && *rest++ != ']') return errmsg_set(em, ERR_INVALID, "%s: no ] behind the address", url);
    if (n == 0 || n >= sizeof t->host) return errmsg_set(em, ERR_INVALID, "%s: no host", url);
    uint16_t number = t->port;
    if (*rest == ':') {
        char *end;
        errno = 0;
        unsigned long v = strtoul(rest + 1, &end, 10);
        if (end == rest + 1 || rest[1] < '0' || rest[1] > '9' || v > 65535 || errno != 0)
            return errmsg_set(em, ERR_INVALID, "%s: no port from 0 to 65535 behind the colon", url);
        number = (uint16_t)v;
        rest = end;
    }
    if (*rest != '\0' && *rest != '/') return errmsg_set(em, ERR_INVALID, "%s: not an address", url);
    memcpy(t->host, p, n);
    t->host[n] = '\0';
    t->port = number;
    if (is_http || is_https) t->is_tls = is_https;
    return ERR_OK;
}
