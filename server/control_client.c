/* control_client.c - asking a running server through its control socket. See control.h.
 *
 * FAILURE  no socket, or one that nobody listens on (a server that was killed): ERR_NOT_FOUND. No time-out: a backup takes
 *          as long as its data take, and a server that goes away closes the connection.
 */
#include "server/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum err control_address(const char *dir, struct sockaddr_un *address, int *fd, struct errmsg *em)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    *fd = -1;
    if (vfs_join(address->sun_path, sizeof address->sun_path, dir, "control")) return ERR_OK;
    int opened = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (opened < 0) return errmsg_errno(em, errno, "open %s", dir);
    (void)snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/control", opened);
    *fd = opened;
    return ERR_OK;
}

static enum err connect_to(const char *dir, int *out, struct errmsg *em)
{
    struct sockaddr_un address;
    int dir_fd = -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return errmsg_errno(em, errno, "make a socket");
    enum err e = control_address(dir, &address, &dir_fd, em);
    if (e == ERR_OK && connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        int err_no = errno;
        e = errmsg_errno(em, err_no, "connect to %s/control", dir);
        if (err_no == ENOENT || err_no == ECONNREFUSED || err_no == ENOTDIR) e = ERR_NOT_FOUND;
    }
    if (dir_fd >= 0) (void)close(dir_fd);
    if (e == ERR_OK)
        *out = fd;
    else
        (void)close(fd);
    return e;
}

static enum err send_all(int fd, const char *p, size_t n, struct errmsg *em)
{
    while (n > 0) {
        ssize_t put = send(fd, p, n, MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return errmsg_errno(em, errno, "ask the server");
        p += put;
        n -= (size_t)put;
    }
    return ERR_OK;
}

/* Up to the end of the line. */
static enum err receive_line(int fd, char *line, size_t cap, struct errmsg *em)
{
    for (size_t n = 0; n < cap;) {
        ssize_t got = recv(fd, line + n, cap - n, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errmsg_errno(em, errno, "wait for the server");
        if (got == 0) return errmsg_set(em, ERR_IO, "the server went away before it was done");
        char *end = memchr(line + n, '\n', (size_t)got);
        if (end != NULL) {
            *end = '\0';
            return ERR_OK;
        }
        n += (size_t)got;
    }
    return errmsg_set(em, ERR_IO, "the server's answer is too long");
}

static enum err read_answer(const char *line, char answer[WORK_ANSWER_MAX], struct errmsg *em)
{
    if (strncmp(line, "ok ", 3) == 0) {
        (void)snprintf(answer, WORK_ANSWER_MAX, "%.*s", WORK_ANSWER_MAX - 1, line + 3);
        return ERR_OK;
    }
    if (strncmp(line, "error ", 6) == 0) return errmsg_set(em, ERR_INTERNAL, "%s", line + 6);
    return errmsg_set(em, ERR_IO, "the server's answer makes no sense");
}

enum err control_ask(const char *dir, const char *line, char answer[WORK_ANSWER_MAX], struct errmsg *em)
{
    char got[2 * WORK_ANSWER_MAX];
    int fd = -1;
    enum err e = connect_to(dir, &fd, em);
    if (e != ERR_OK) return e;
    e = send_all(fd, line, strlen(line), em);
    if (e == ERR_OK) e = send_all(fd, "\n", 1, em);
    if (e == ERR_OK) e = receive_line(fd, got, sizeof got, em);
    (void)close(fd);
    return e == ERR_OK ? read_answer(got, answer, em) : e;
}
