/* access.h - what the configuration says about authentication and TLS, read from the files that it names.
 *
 * OWNS     the policy, and the texts of certificate and key while the server runs.
 * THREADS  the one that starts the program.
 */
#ifndef SERVER_ACCESS_H
#define SERVER_ACCESS_H

#include "api/auth.h"
#include "server/config.h"

/* All-zero: no authentication, no TLS. */
struct access {
    struct auth *auth;        /* NULL: everybody may do everything */
    char *tls_cert, *tls_key; /* PEM, NUL-terminated; NULL: plain HTTP */
};

/* ERR_INVALID, ERR_NOT_FOUND, ERR_IO, ERR_NOMEM: nothing is kept. Files of secrets are wiped from memory, except
 * for what the policy holds (digests, bcrypt hashes) and the TLS key. */
enum err access_open(struct access *a, const struct config *c, struct errmsg *em);
void access_close(struct access *a);

#endif
