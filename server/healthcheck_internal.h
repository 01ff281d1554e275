/* healthcheck_internal.h - what the plain and the encrypted health check share.
 */
#ifndef SERVER_HEALTHCHECK_INTERNAL_H
#define SERVER_HEALTHCHECK_INTERNAL_H

#include "server/healthcheck.h"

/* Until the socket is ready for `events` (of poll). ERR_IO at the deadline (CLOCK_MONOTONIC). */
enum err healthcheck_wait(int fd, short events, int64_t deadline_ms, struct errmsg *em);

/* Sends `request` over TLS and reads at least the first line of the answer into `answer` (at most cap bytes, *got of
 * them). The certificate is not verified: the question is whether the server on this socket works, and no secret is sent. */
enum err healthcheck_ask_tls(int fd, struct str request, int64_t deadline_ms, char *answer, size_t cap, size_t *got,
                             struct errmsg *em);

#endif
