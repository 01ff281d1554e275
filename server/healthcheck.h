/* healthcheck.h - `chroma healthcheck`: asks a running server whether it is well. For containers without curl.
 */
#ifndef SERVER_HEALTHCHECK_H
#define SERVER_HEALTHCHECK_H

#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

/* GET http://HOST:PORT/api/v2/healthcheck must be answered with 200 within timeout_ms. ERR_IO with what went wrong. */
enum err healthcheck(const char *host, uint16_t port, unsigned timeout_ms, struct errmsg *em);

/* "http://host:port/", "http://[::1]:8000", "host:port", "host"; *port stays as it is when none is named. ERR_INVALID. */
enum err healthcheck_parse_url(const char *url, char *host, size_t host_cap, uint16_t *port, struct errmsg *em);

#endif
