/* healthcheck_tls.c - the question of a health check over TLS.
 *
 * HAPPY PATH  handshake, send, receive until a line is complete. The socket does not block; what GnuTLS wants to wait for
 *             is waited for with the deadline of the whole check.
 * FAILURE     what answers speaks no TLS, breaks off, or is silent: ERR_IO and GnuTLS's reason.
 */
#include "server/healthcheck_internal.h"

#include <gnutls/gnutls.h>
#include <poll.h>

/* After a call that returned rc < 0: waits if it may be repeated. */
static enum err wait_more(gnutls_session_t s, int fd, ssize_t rc, int64_t deadline_ms, struct errmsg *em)
{
    if (gnutls_error_is_fatal((int)rc) != 0) return errmsg_set(em, ERR_IO, "TLS: %s", gnutls_strerror((int)rc));
    return healthcheck_wait(fd, gnutls_record_get_direction(s) == 1 ? POLLOUT : POLLIN, deadline_ms, em);
}

static enum err exchange(gnutls_session_t s, int fd, struct str request, int64_t deadline_ms, char *answer, size_t cap,
                         size_t *got, struct errmsg *em)
{
    enum err e = ERR_OK;
    ssize_t rc;
    size_t n = 0;
    while (e == ERR_OK && (rc = gnutls_handshake(s)) < 0) e = wait_more(s, fd, rc, deadline_ms, em);
    while (e == ERR_OK && request.n > 0) {
        rc = gnutls_record_send(s, request.p, request.n);
        if (rc < 0)
            e = wait_more(s, fd, rc, deadline_ms, em);
        else
            request = str_of(request.p + rc, request.n - (size_t)rc);
    }
    while (e == ERR_OK && n < cap && memchr(answer, '\n', n) == NULL) {
        rc = gnutls_record_recv(s, answer + n, cap - n);
        if (rc == 0) break;
        if (rc < 0)
            e = wait_more(s, fd, rc, deadline_ms, em);
        else
            n += (size_t)rc;
    }
    if (e == ERR_OK) *got = n;
    return e;
}

enum err healthcheck_ask_tls(int fd, struct str request, int64_t deadline_ms, char *answer, size_t cap, size_t *got,
                             struct errmsg *em)
{
    gnutls_session_t s = NULL;
    gnutls_certificate_credentials_t trust = NULL;
    enum err e = ERR_NOMEM;
    if (gnutls_certificate_allocate_credentials(&trust) < 0 ||
        gnutls_init(&s, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) < 0 || gnutls_set_default_priority(s) < 0 ||
        gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, trust) < 0) {
        (void)errmsg_set(em, e, "TLS cannot be set up");
        goto out;
    }
    gnutls_transport_set_int(s, fd);
    e = exchange(s, fd, request, deadline_ms, answer, cap, got, em);
out:
    if (s != NULL) gnutls_deinit(s);
    if (trust != NULL) gnutls_certificate_free_credentials(trust);
    return e;
}
