/* taken.h - how much of what a client has sent was taken from its socket.
 *
 * A file of its own: <linux/tcp.h>, which has the kernel's counter, and libmicrohttpd's header cannot be included together.
 * THREADS  any.
 */
#ifndef SERVER_TAKEN_H
#define SERVER_TAKEN_H

#include <stdint.h>

/* Bytes that lie in the socket's buffer, to be read; -1 when it cannot be told. */
int socket_unread(int fd);

/* Bytes that were read from a TCP socket since it was connected; 0 when it cannot be told. */
uint64_t socket_taken(int fd);

#endif
