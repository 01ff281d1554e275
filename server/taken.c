/* taken.c - see taken.h.
 */
#include "server/taken.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

uint64_t socket_unread(int fd)
{
    int n = 0;
    return ioctl(fd, FIONREAD, &n) == 0 && n > 0 ? (uint64_t)n : 0;
}

uint64_t socket_taken(int fd)
{
    struct tcp_info info = {0};
    socklen_t n = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) != 0) return 0;
    uint64_t unread = socket_unread(fd);
    return info.tcpi_bytes_received > unread ? info.tcpi_bytes_received - unread : 0;
}
