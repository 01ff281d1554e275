/* http_token.h - what HTTP calls a token (RFC 9110, 5.6.2): methods, names of header fields, parts of media types.
 * Pure functions; any thread.
 */
#ifndef API_HTTP_TOKEN_H
#define API_HTTP_TOKEN_H

#include <string.h>

#include "core/bytes.h"

static inline bool http_is_token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static inline bool http_is_token(struct str s)
{
    size_t n = 0;
    while (n < s.n && http_is_token_char(s.p[n])) n++;
    return s.n > 0 && n == s.n;
}

#endif
