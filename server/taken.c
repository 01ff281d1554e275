/* taken.c - see taken.h.
 */
#include "server/taken.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

int socket_unread(int fd)
{
    int n = 0;
    return ioctl(fd, FIONREAD, &n) == 0 ? n : -1;
}

uint64_t socket_taken(int fd)
{
    struct tcp_info info = {0};
    socklen_t n = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) != 0) return 0;
    int n_unread = socket_unread(fd);
    uint64_t unread = n_unread > 0 ? (uint64_t)n_unread : 0;
    return info.tcpi_bytes_received > unread ? info.tcpi_bytes_received - unread : 0;
}
