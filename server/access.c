/* access.c - see access.h.
 *
 * HAPPY PATH  each file that the configuration names is read into memory; the policy is made from the texts;
 *             certificate and key are tried together, so that a mistake is found before the port is served.
 * FAILURE     one sentence that names the file, never what stands in it.
 */
#include "server/access.h"

#include <gnutls/gnutls.h>

#include "core/mem.h"
#include "core/vfs.h"

enum { ACCESS_FILE_MAX = 16 << 20, N_TEXTS = 5 };

/* The whole file, with a NUL behind it. */
static enum err read_whole(const char *path, char **text, size_t *n, struct errmsg *em)
{
    const struct vfs *vfs = vfs_posix();
    struct vfs_file *f = NULL;
    char *p = NULL;
    uint64_t size = 0;
    enum err e = vfs->open(vfs->ctx, path, VFS_READ, &f, em);
    if (e == ERR_NOT_FOUND) return errmsg_set(em, e, "%s does not exist", path);
    if (e != ERR_OK) return e;
    if ((e = vfs->size(f, &size, em)) != ERR_OK) goto out;
    if (size > ACCESS_FILE_MAX) {
        e = errmsg_set(em, ERR_INVALID, "%s: larger than such a file can be", path);
        goto out;
    }
    if ((p = mem_alloc((size_t)size + 1)) == NULL) {
        e = errmsg_set(em, ERR_NOMEM, "read %s", path);
        goto out;
    }
    if ((e = vfs->pread(f, p, (size_t)size, 0, em)) != ERR_OK) goto out;
    p[size] = '\0';
    *text = p;
    *n = (size_t)size;
    p = NULL;
out:
    mem_free(p);
    vfs->close(f);
    return e;
}

/* --- the policy -------------------------------------------------------------------------------------------------- */

/* The texts that were read from files, to be wiped. */
struct texts {
    char *p[N_TEXTS];
    size_t n[N_TEXTS];
    size_t count;
};

static enum err read_text(struct texts *t, const char *path, struct auth_text *out, struct errmsg *em)
{
    if (path == NULL) return ERR_OK;
    CHECK(t->count < N_TEXTS && "there are fewer files than places");
    enum err e = read_whole(path, &t->p[t->count], &t->n[t->count], em);
    if (e != ERR_OK) return e;
    *out = (struct auth_text){str_of(t->p[t->count], t->n[t->count]), path};
    t->count++;
    return ERR_OK;
}

static void wipe(struct texts *t)
{
    for (size_t i = 0; i < t->count; i++) {
        explicit_bzero(t->p[i], t->n[i]);
        mem_free(t->p[i]);
    }
}

static bool is_one_line(struct str s)
{
    while (s.n > 0 && (s.p[s.n - 1] == '\n' || s.p[s.n - 1] == '\r')) s.n--;
    return s.n == 0 || memchr(s.p, '\n', s.n) == NULL;
}

/* Older servers had one setting for all credentials: for tokens one line is a token, more are YAML. */
static void place_old(struct auth_options *o, struct auth_text text)
{
    if (text.text.p == NULL) return;
    if (o->provider == AUTH_BASIC)
        o->htpasswd = text;
    else if (is_one_line(text.text))
        o->token = text;
    else
        o->users = text;
}

static enum err make_policy(struct access *a, const struct config *c, struct errmsg *em)
{
    struct auth_options o = {.provider = (enum auth_provider)c->auth_provider,
                             .header = (enum auth_header)c->auth_token_header,
                             .replaces_defaults = c->auth_replace_defaults};
    struct auth_text old = {str_from_c(c->old_credentials), "CHROMA_SERVER_AUTHN_CREDENTIALS"};
    struct texts t = {.count = 0};
    o.token = (struct auth_text){str_from_c(c->auth_token), "auth.token"};
    o.roles = (struct auth_text){str_from_c(c->old_roles), "CHROMA_SERVER_AUTHZ_CONFIG"};
    enum err e = read_text(&t, c->auth_token_file, &o.token, em);
    if (e == ERR_OK) e = read_text(&t, c->auth_users_file, &o.users, em);
    if (e == ERR_OK) e = read_text(&t, c->auth_roles_file, &o.roles, em);
    if (e == ERR_OK) e = read_text(&t, c->auth_htpasswd_file, &o.htpasswd, em);
    if (e == ERR_OK) e = read_text(&t, c->old_credentials_file, &old, em);
    place_old(&o, old);
    if (e == ERR_OK) e = auth_new(&a->auth, &o, em);
    wipe(&t);
    return e;
}

/* --- TLS --------------------------------------------------------------------------------------------------------- */

/* The same calls that libmicrohttpd makes, which reports no reason. */
static enum err check_pair(const struct access *a, const struct config *c, struct errmsg *em)
{
    union { /* GnuTLS only reads what it is given, but does not say const */
        const char *text;
        unsigned char *p;
    } cert = {a->tls_cert}, key = {a->tls_key};
    gnutls_certificate_credentials_t pair;
    if (gnutls_certificate_allocate_credentials(&pair) < 0)
        return errmsg_set(em, ERR_NOMEM, "read %s", c->tls_cert_file);
    const gnutls_datum_t cert_text = {cert.p, (unsigned)strlen(a->tls_cert)};
    const gnutls_datum_t key_text = {key.p, (unsigned)strlen(a->tls_key)};
    int rc = gnutls_certificate_set_x509_key_mem(pair, &cert_text, &key_text, GNUTLS_X509_FMT_PEM);
    gnutls_certificate_free_credentials(pair);
    if (rc >= 0) return ERR_OK;
    return errmsg_set(em, ERR_INVALID, "tls.cert_file %s and tls.key_file %s do not fit: %s", c->tls_cert_file,
                      c->tls_key_file, gnutls_strerror(rc));
}

static enum err read_pair(struct access *a, const struct config *c, struct errmsg *em)
{
    size_t n;
    if (c->tls_cert_file == NULL) return ERR_OK;
    enum err e = read_whole(c->tls_cert_file, &a->tls_cert, &n, em);
    if (e == ERR_OK) e = read_whole(c->tls_key_file, &a->tls_key, &n, em);
    if (e == ERR_OK) e = check_pair(a, c, em);
    return e;
}

enum err access_open(struct access *out, const struct config *c, struct errmsg *em)
{
    struct access a = {0};
    enum err e = make_policy(&a, c, em);
    if (e == ERR_OK) e = read_pair(&a, c, em);
    if (e != ERR_OK)
        access_close(&a);
    else
        *out = a;
    return e;
}

void access_close(struct access *a)
{
    auth_free(a->auth);
    if (a->tls_key != NULL) explicit_bzero(a->tls_key, strlen(a->tls_key));
    mem_free(a->tls_cert);
    mem_free(a->tls_key);
    *a = (struct access){0};
}
