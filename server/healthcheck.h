/* healthcheck.h - `chroma healthcheck`: asks a running server whether it is well. For containers without curl.
 */
#ifndef SERVER_HEALTHCHECK_H
#define SERVER_HEALTHCHECK_H

#include "core/bytes.h"
#include "core/err.h"

struct healthcheck_target {
    char host[256];
    uint16_t port;
    bool is_tls; /* the certificate is not verified */
};

/* GET /api/v2/healthcheck must be answered with 200 within timeout_ms. ERR_IO with what went wrong. */
enum err healthcheck(const struct healthcheck_target *t, unsigned timeout_ms, struct errmsg *em);

/* "http://host:port/", "https://[::1]:8000", "host:port", "host"; what is not named stays as it is. ERR_INVALID: *t is
 * unchanged. */
enum err healthcheck_parse_url(const char *url, struct healthcheck_target *t, struct errmsg *em);

#endif
