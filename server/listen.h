/* listen.h - the listening socket: bound early, so that a taken port is found before any data are touched; listening
 * late, so that nobody connects to a server that is still reading its log.
 */
#ifndef SERVER_LISTEN_H
#define SERVER_LISTEN_H

#include <stdint.h>

#include "core/err.h"

/* Binds to the first address of `host` that can be had (IPv4 ones first). *bound: the port in use, also when `port` is 0.
 * ERR_IO with a message that names address and port. The caller closes *fd. */
enum err listen_bind(const char *host, uint16_t port, int *fd, uint16_t *bound, struct errmsg *em);
enum err listen_start(int fd, struct errmsg *em);

#endif
