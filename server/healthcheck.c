/* healthcheck.c - the smallest HTTP client that can tell 200 from everything else.
 *
 * HAPPY PATH  connect to one of the host's addresses, send one request, read the status line, done.
 * FAILURE     no address, refused, silent, another status: ERR_IO and a sentence. The whole takes at most timeout_ms.
 */
#include "server/healthcheck.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static enum err wait_for(int fd, short events, int64_t deadline_ms, struct errmsg *em)
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
        e = wait_for(fd, POLLOUT, deadline_ms, em);
        if (e == ERR_OK && getsockopt(fd, SOL_SOCKET, SO_ERROR, &err_no, &n) != 0) err_no = errno;
    }
    if (e == ERR_OK && err_no != 0) e = errmsg_errno(em, err_no, "connect");
    if (e == ERR_OK)
        *out = fd;
    else
        (void)close(fd);
    return e;
}

static enum err ask(int fd, const char *host, int64_t deadline_ms, struct errmsg *em)
{
    char text[512];
    int n = snprintf(text, sizeof text, "GET /api/v2/healthcheck HTTP/1.1\r\nHost: %.255s\r\nConnection: close\r\n\r\n",
                     host);
    if (send(fd, text, (size_t)n, MSG_NOSIGNAL) != n) return errmsg_errno(em, errno, "send");
    size_t got = 0;
    while (got < sizeof text - 1 && memchr(text, '\n', got) == NULL) {
        enum err e = wait_for(fd, POLLIN, deadline_ms, em);
        if (e != ERR_OK) return e;
        ssize_t rc = recv(fd, text + got, sizeof text - 1 - got, 0);
        if (rc < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (rc < 0) return errmsg_errno(em, errno, "receive");
        if (rc == 0) break;
        got += (size_t)rc;
    }
    text[got] = '\0';
    if (strncmp(text, "HTTP/1.", 7) != 0) return errmsg_set(em, ERR_IO, "what answers is no HTTP server");
    if (strncmp(text + 8, " 200", 4) != 0) return errmsg_set(em, ERR_IO, "unhealthy: status %.3s", text + 9);
    return ERR_OK;
}

enum err healthcheck(const char *host, uint16_t port, unsigned timeout_ms, struct errmsg *em)
{
    char service[8];
    int fd = -1;
    int64_t deadline_ms = now_ms() + timeout_ms;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list = NULL;
    (void)snprintf(service, sizeof service, "%u", (unsigned)port);
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc != 0) return errmsg_set(em, ERR_IO, "%s: %s", host, gai_strerror(rc));
    enum err e = errmsg_set(em, ERR_IO, "no address");
    for (const struct addrinfo *a = list; a != NULL && e != ERR_OK; a = a->ai_next)
        e = connect_one(a, deadline_ms, &fd, em);
    freeaddrinfo(list);
    if (e == ERR_OK) {
        e = ask(fd, host, deadline_ms, em);
        (void)close(fd);
    }
    if (e != ERR_OK) errmsg_wrap(em, "%s:%u", host, (unsigned)port);
    return e;
}

enum err healthcheck_parse_url(const char *url, char *host, size_t host_cap, uint16_t *port, struct errmsg *em)
{
    const char *p = strncmp(url, "http://", 7) == 0 ? url + 7 : url;
    if (strstr(p, "://") != NULL) return errmsg_set(em, ERR_INVALID, "%s: only http:// can be asked", url);
    bool is_bracketed = *p == '[';
    if (is_bracketed) p++;
    size_t n = strcspn(p, is_bracketed ? "]/" : ":/");
    const char *rest = p + n;
    if (is_bracketed && *rest++ != ']') return errmsg_set(em, ERR_INVALID, "%s: no ] behind the address", url);
    if (n == 0 || n >= host_cap) return errmsg_set(em, ERR_INVALID, "%s: no host", url);
    uint16_t number = *port;
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
    memcpy(host, p, n);
    host[n] = '\0';
    *port = number;
    return ERR_OK;
}
