/* listen.c - see listen.h. SO_REUSEADDR lets a restart take a port whose old connections still linger; it does not let two
 * servers share one, since a listening socket stands in the way of a second bind.
 */
#include "server/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

static enum err bind_one(const struct addrinfo *a, int *out, struct errmsg *em)
{
    int one = 1, zero = 0;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    if (fd < 0) return errmsg_errno(em, errno, "make a socket");
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (a->ai_family == AF_INET6) (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    if (bind(fd, a->ai_addr, a->ai_addrlen) != 0) {
        int err_no = errno;
        (void)close(fd);
        return errmsg_errno(em, err_no, "bind");
    }
    *out = fd;
    return ERR_OK;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage any = {0};
    socklen_t n = sizeof any;
    if (getsockname(fd, (struct sockaddr *)&any, &n) != 0) return 0;
    if (any.ss_family == AF_INET6) {
        struct sockaddr_in6 a;
        memcpy(&a, &any, sizeof a);
        return ntohs(a.sin6_port);
    }
    struct sockaddr_in a;
    memcpy(&a, &any, sizeof a);
    return ntohs(a.sin_port);
}

enum err listen_bind(const char *host, uint16_t port, int *fd, uint16_t *bound, struct errmsg *em)
{
    char service[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *list = NULL;
    (void)snprintf(service, sizeof service, "%u", (unsigned)port);
    int rc = getaddrinfo(host, service, &hints, &list);
    if (rc != 0)
        return errmsg_set(em, ERR_IO, "%s is not an address of this machine: %s", host,
                          rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
    enum err e = errmsg_set(em, ERR_IO, "no address found");
    static const int families[] = {AF_INET, AF_INET6};
    for (size_t f = 0; f < 2 && e != ERR_OK; f++)
        for (const struct addrinfo *a = list; a != NULL && e != ERR_OK; a = a->ai_next)
            if (a->ai_family == families[f]) e = bind_one(a, fd, em);
    freeaddrinfo(list);
    if (e == ERR_OK)
        *bound = port_of(*fd);
    else
        errmsg_wrap(em, "address %s:%u is not available", host, (unsigned)port);
    return e;
}

enum err listen_start(int fd, struct errmsg *em)
{
    return listen(fd, BACKLOG) == 0 ? ERR_OK : errmsg_errno(em, errno, "listen");
}
