/* auth_basic.c - names and passwords: the htpasswd file, the header, bcrypt.
 *
 * HAPPY PATH  the header is decoded to "name:password" and digested; a digest that was judged lately is in the cache.
 *             Otherwise a thread of the pool asks crypt_r, and the result is remembered.
 * TIMING      a name that does not exist costs the same bcrypt as one that does.
 * FAILURE     a file with hashes other than bcrypt is refused at the start: weaker ones are not worth accepting.
 *             Memory too short to verify: AUTH_SHORT, never AUTH_GOOD.
 * INVARIANT   decoded passwords are wiped before their memory is given back.
 */
#include "api/auth_internal.h"

#include <crypt.h>
#include <strings.h>
#include <time.h>

#include "api/base64.h"
#include "core/mem.h"

enum { COST_MIN = 4, COST_MAX = 16, HASH_BYTES = 60, CREDENTIALS_MAX = 4096 };

/* --- the file ---------------------------------------------------------------------------------------------------- */

/* $2a$, $2b$, $2y$, two digits of cost, $, 53 characters. */
static bool is_bcrypt(struct str s)
{
    if (s.n != HASH_BYTES || s.p[0] != '$' || s.p[1] != '2' || s.p[3] != '$' || s.p[6] != '$') return false;
    if (s.p[2] != 'a' && s.p[2] != 'b' && s.p[2] != 'y') return false;
    if (s.p[4] < '0' || s.p[4] > '9' || s.p[5] < '0' || s.p[5] > '9') return false;
    for (size_t i = 7; i < s.n; i++) {
        char c = s.p[i];
        bool is_digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_digit && c != '.' && c != '/') return false;
    }
    int cost = (s.p[4] - '0') * 10 + (s.p[5] - '0');
    return cost >= COST_MIN && cost <= COST_MAX;
}

static enum err read_line(struct auth *a, struct str line, struct errmsg *em)
{
    const char *colon = memchr(line.p, ':', line.n);
    if (colon == NULL || colon == line.p) return errmsg_set(em, ERR_INVALID, "expected name:hash");
    struct str name = str_of(line.p, (size_t)(colon - line.p));
    struct str hash = str_of(colon + 1, line.n - name.n - 1);
    size_t user;
    if (!is_bcrypt(hash))
        return errmsg_set(em, ERR_INVALID,
                          "user %.*s: the hash is not bcrypt of a cost from %d to %d; make it with \"htpasswd -B\"",
                          STR_ARG(name), COST_MIN, COST_MAX);
    if (!auth_find_user(a, name, &user)) {
        enum err e = auth_add_user(a, name, &user, em);
        if (e != ERR_OK) return e;
    }
    if (a->users[user].hash != NULL) return errmsg_set(em, ERR_INVALID, "user %.*s is there twice", STR_ARG(name));
    a->users[user].hash = arena_cstr(&a->arena, hash);
    return a->users[user].hash != NULL ? ERR_OK : errmsg_set(em, ERR_NOMEM, "out of memory");
}

enum err auth_read_htpasswd(struct auth *a, const struct auth_text *t, struct errmsg *em)
{
    struct str rest = t->text;
    size_t n_users = 0;
    for (unsigned number = 1; rest.n > 0; number++) {
        const char *end = memchr(rest.p, '\n', rest.n);
        struct str line = str_of(rest.p, end != NULL ? (size_t)(end - rest.p) : rest.n);
        size_t skip = line.n + (end != NULL);
        while (line.n > 0 && (line.p[line.n - 1] == '\r' || line.p[line.n - 1] == ' ')) line.n--;
        if (line.n > 0) {
            enum err e = read_line(a, line, em);
            if (e != ERR_OK) {
                errmsg_wrap(em, "%s:%u", t->name, number);
                return e;
            }
            n_users++;
        }
        rest = str_of(rest.p + skip, rest.n - skip);
    }
    return n_users > 0 ? ERR_OK : errmsg_set(em, ERR_INVALID, "%s: there is no user in it", t->name);
}

/* --- the header -------------------------------------------------------------------------------------------------- */

static uint64_t now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail with this clock */
    return (uint64_t)t.tv_sec + 1;            /* never 0, which means "empty" */
}

/* "name:password" of the header. AUTH_GOOD: `b` holds it, NUL-terminated behind b->n. The scheme may be left out, as
 * with Chroma's own server. */
static enum auth_result decode(struct str header, struct buf *b)
{
    static const char basic[] = "Basic ";
    const size_t n = sizeof basic - 1;
    if (header.p == NULL || header.n == 0 || header.n > CREDENTIALS_MAX) return AUTH_BAD;
    if (header.n > n && strncasecmp(header.p, basic, n) == 0) header = str_of(header.p + n, header.n - n);
    /* More than it decodes to, with the NUL: the block never moves, leaving a copy behind. */
    if (buf_room(b, header.n + 4) == NULL) return AUTH_SHORT;
    if (base64_decode(header, b, NULL) != ERR_OK) return AUTH_BAD;
    b->p[b->n] = '\0';
    bool has_nul = memchr(b->p, '\0', b->n) != NULL; /* crypt would see a shorter password */
    return !has_nul && memchr(b->p, ':', b->n) != NULL ? AUTH_GOOD : AUTH_BAD;
}

static void wipe(struct buf *b)
{
    if (b->p != NULL) explicit_bzero(b->p, b->cap);
    buf_free(b);
}

static enum auth_result from_cache(struct auth *a, const struct auth_digest *d, const struct auth_user **user)
{
    struct auth_cache_entry e;
    if (!auth_cache_get(&a->cache, d, now_s(), &e)) return AUTH_UNVERIFIED;
    if (!e.is_good) return AUTH_BAD;
    *user = &a->users[e.user];
    return AUTH_GOOD;
}

enum auth_result auth_identify_basic(struct auth *a, const struct auth_headers *h, const struct auth_user **user)
{
    struct buf b = {0};
    enum auth_result result = decode(h->authorization, &b);
    if (result == AUTH_GOOD) {
        struct auth_digest d = auth_digest_of(a, buf_view(&b));
        result = from_cache(a, &d, user);
    }
    wipe(&b);
    return result;
}

/* A hash to spend the same time on when the name is unknown. */
static const char *any_hash(const struct auth *a)
{
    for (size_t i = 0; i < a->n_users; i++)
        if (a->users[i].hash != NULL) return a->users[i].hash;
    panic("basic authentication without a password");
}

static enum auth_result check_password(const char *password, const char *hash)
{
    struct crypt_data *data = mem_zalloc(sizeof *data);
    if (data == NULL) return AUTH_SHORT;
    const char *found = crypt_r(password, hash, data);
    bool is_equal = found != NULL && strlen(found) == HASH_BYTES && bytes_eq_constant_time(found, hash, HASH_BYTES);
    explicit_bzero(data, sizeof *data);
    mem_free(data);
    return is_equal ? AUTH_GOOD : AUTH_BAD;
}

static enum auth_result judge(struct auth *a, const struct buf *b, const struct auth_digest *d,
                              const struct auth_user **user)
{
    struct str text = buf_view(b);
    const char *colon = memchr(text.p, ':', text.n);
    size_t index = 0;
    bool is_known = auth_find_user(a, str_of(text.p, (size_t)(colon - text.p)), &index);
    is_known = is_known && a->users[index].hash != NULL;
    enum auth_result result = check_password(colon + 1, is_known ? a->users[index].hash : any_hash(a));
    if (result == AUTH_SHORT) return result;
    if (!is_known) result = AUTH_BAD;
    uint64_t now = now_s();
    bool is_good = result == AUTH_GOOD;
    const struct auth_cache_entry e = {*d, now + (is_good ? AUTH_GOOD_S : AUTH_BAD_S), (uint32_t)index, is_good};
    auth_cache_put(&a->cache, &e, now);
    if (is_good) *user = &a->users[index];
    return result;
}

enum auth_result auth_verify_basic(struct auth *a, const struct auth_headers *h, const struct auth_user **user)
{
    struct buf b = {0};
    enum auth_result result = decode(h->authorization, &b);
    if (result == AUTH_GOOD) {
        struct auth_digest d = auth_digest_of(a, buf_view(&b));
        result = from_cache(a, &d, user); /* requests that came together wait for one of them */
        if (result == AUTH_UNVERIFIED) result = judge(a, &b, &d, user);
    }
    wipe(&b);
    return result;
}
