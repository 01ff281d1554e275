/* target.c - the forms of a request's target (RFC 9112, 3.2), as strict as upstream is about them.
 *
 * WHY STRICT  a space or another byte that may not stand in a target is how requests are smuggled past a proxy that
 *             cuts the line elsewhere. What RFC 3986 forbids but clients send ('|', '{', '^', names in UTF-8 without
 *             escapes) is let through, as there.
 */
#include "server/target.h"

#include <string.h>

#include "api/json.h"
#include "core/utf8.h"

bool is_http_version(struct str s)
{
    return str_eq(s, STR("HTTP/1.1")) || str_eq(s, STR("HTTP/1.0"));
}

/* Bytes beyond ASCII pass: that they are UTF-8 has been seen to. */
static bool is_printable(struct str s, const char *but)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c <= ' ' || c == 0x7f || (c < 0x80 && strchr(but, c) != NULL)) return false;
    }
    return true;
}

static bool is_authority(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80) return false;
    return s.n > 0 && is_printable(s, "\"%<>\\^`{|}");
}

/* Cuts at the first of these characters; the rest, with it, stays in *s. */
static struct str take_until(struct str *s, const char *stops)
{
    size_t n = 0;
    while (n < s->n && (s->p[n] == '\0' || strchr(stops, s->p[n]) == NULL)) n++;
    struct str part = str_of(s->p, n);
    *s = str_of(s->p + n, s->n - n);
    return part;
}

/* "scheme://authority" off the front. Which host is meant does not matter here: there is one. */
static bool take_origin(struct str *s)
{
    (void)take_until(s, ":");
    if (s->n < 3 || memcmp(s->p, "://", 3) != 0) return false;
    *s = str_of(s->p + 3, s->n - 3);
    return is_authority(take_until(s, "/?#"));
}

bool split_target(struct str target, struct str *path, struct str *query)
{
    struct str rest = target, first, second = STR("");
    if (target.n == 0 || !utf8_is_valid(target)) return false;
    if (target.p[0] != '/') {
        first = take_until(&rest, "/?#");
        if (rest.n == 0) { /* "*", or an authority alone */
            if (!is_authority(first)) return false;
            *path = first;
            *query = second;
            return true;
        }
        rest = target;
        if (!take_origin(&rest)) return false;
    }
    first = take_until(&rest, "?#");
    if (rest.n > 0 && rest.p[0] == '?') {
        rest = str_of(rest.p + 1, rest.n - 1);
        second = take_until(&rest, "#");
    }
    if (!is_printable(first, "<>`") || !is_printable(second, "\"<>")) return false;
    *path = first.n > 0 ? first : STR("/");
    *query = second;
    return true;
}
