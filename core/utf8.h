/* utf8.h - characters of UTF-8, as RFC 3629 has them: no surrogates, shortest forms only.
 * THREADS  any.
 */
#ifndef CORE_UTF8_H
#define CORE_UTF8_H

#include <stdint.h>

#include "core/bytes.h"

enum { UTF8_CP_MAX = 0x10FFFF };

/* Length of the character at p (n > 0 bytes left) and its code point; a byte that starts none counts as U+FFFD, of
 * length 1, which the character U+FFFD itself does not have. */
size_t utf8_decode(const char *p, size_t n, uint32_t *cp);
size_t utf8_encode(uint32_t cp, char out[4]); /* its length */
bool utf8_is_valid(struct str s);

/* Makes a text fit for a terminal or a line of a log, whatever it was made of: bytes that belong to no character, and those of control
 * characters, become '?'. */
void utf8_make_plain(char *text, size_t n);

#endif
