/* json_string.c - string literals: found, checked and decoded.
 *
 * HAPPY PATH  one pass to the closing quote. A string without escapes is a view into the text; one with escapes is copied
 *             into the arena, which it cannot outgrow: an escape is longer than what it stands for.
 * FAILURE     control characters, unknown escapes, lone surrogates, bytes that are not UTF-8, the end of the text.
 */
#include "api/json_internal.h"

#include "core/utf8.h"

/* Stops at the first '"', '\\', control character or (so that UTF-8 can be checked) byte above 0x7f. */
static inline const char *skip_plain(const char *p, const char *end)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = UINT64_C(0x8080808080808080);
    while (end - p >= 8) {
        uint64_t w = le64_get(p), q = w ^ (ones * '"'), b = w ^ (ones * '\\');
        /* A byte below 0x20 borrows into its high bit, as does a zero byte of q or b; bytes with the high bit stop too.
         * A borrow may also flag a byte above the first hit, never one below it: good enough to stop. */
        if ((((w - ones * 0x20) | (q - ones) | (b - ones) | w) & highs) != 0) break;
        p += 8;
    }
    while (p < end && (unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80 && *p != '"' && *p != '\\') p++;
    return p;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Four hex digits at r->at. */
static bool read_hex4(struct json_reader *r, unsigned *v)
{
    unsigned sum = 0;
    if (r->end - r->at < 4) {
        r->at = r->end;
        return json_fail_byte(r, "EOF while parsing a string", "");
    }
    for (int i = 0; i < 4; i++) {
        int d = hex_value(r->at[i]);
        if (d < 0) {
            r->at += 4;
            json_fail_at(r, ERR_INVALID, r->at, "invalid escape");
            return false;
        }
        sum = sum << 4 | (unsigned)d;
    }
    r->at += 4;
    *v = sum;
    return true;
}

static char *put_utf8(char *to, unsigned c)
{
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xc0 | c >> 6);
        *to++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *to++ = (char)(0xe0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    } else {
        *to++ = (char)(0xf0 | c >> 18);
        *to++ = (char)(0x80 | (c >> 12 & 0x3f));
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    }
    return to;
}

/* What follows a backslash. At most four bytes for six or more of the text: the copy never outgrows the text. */
static bool read_escape(struct json_reader *r, char **to)
{
    unsigned c, low;
    if (r->at == r->end) return json_fail_byte(r, "EOF while parsing a string", "");
    switch (*r->at++) {
    case '"':
        *(*to)++ = '"';
        return true;
    case '\\':
        *(*to)++ = '\\';
        return true;
    case '/':
        *(*to)++ = '/';
        return true;
    case 'b':
        *(*to)++ = '\b';
        return true;
    case 'f':
        *(*to)++ = '\f';
        return true;
    case 'n':
        *(*to)++ = '\n';
        return true;
    case 'r':
        *(*to)++ = '\r';
        return true;
    case 't':
        *(*to)++ = '\t';
        return true;
    case 'u':
        break;
    default:
        json_fail_at(r, ERR_INVALID, r->at, "invalid escape");
        return false;
    }
    if (!read_hex4(r, &c)) return false;
    /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): set by read_hex4 */
    if (c >= 0xdc00 && c <= 0xdfff) {
        json_fail_at(r, ERR_INVALID, r->at, "lone leading surrogate in hex escape");
        return false;
    }
    if (c >= 0xd800 && c <= 0xdbff) {
        for (const char *want = "\\u"; *want != '\0'; want++) {
            if (r->at == r->end) return json_fail_byte(r, "EOF while parsing a string", "");
            if (*r->at++ != *want) {
                json_fail_at(r, ERR_INVALID, r->at, "unexpected end of hex escape");
                return false;
            }
        }
        if (!read_hex4(r, &low)) return false;
        if (low < 0xdc00 || low > 0xdfff) {
            json_fail_at(r, ERR_INVALID, r->at, "lone leading surrogate in hex escape");
            return false;
        }
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    *to = put_utf8(*to, c);
    return true;
}

bool json_read_string(struct json_reader *r, struct str *s)
{
    const char *open = ++r->at, *p = open, *end = r->end;
    bool has_high = false, has_escape = false;
    for (;;) { /* to the closing quote */
        p = skip_plain(p, end);
        if (p == end || *p == '"') break;
        if (*p == '\\') {
            has_escape = true;
            p += end - p >= 2 ? 2 : 1;
        } else if ((unsigned char)*p >= 0x80) {
            has_high = true;
            while (p < end && (unsigned char)*p >= 0x80) p++;
        } else {
            json_fail_at(r, ERR_INVALID, p + 1, "control character (\\u0000-\\u001F) found while parsing a string");
            return false;
        }
    }
    if (p == end) {
        r->at = end;
        return json_fail_byte(r, "EOF while parsing a string", "");
    }
    struct str raw = str_of(open, (size_t)(p - open));
    const char *close = p;
    if (has_escape) {
        char *copy = arena_alloc(r->arena, raw.n), *to = copy;
        if (copy == NULL) {
            json_fail_nomem(r);
            return false;
        }
        while (r->at < close) {
            const char *slash = memchr(r->at, '\\', (size_t)(close - r->at));
            size_t n = (size_t)((slash != NULL ? slash : close) - r->at);
            memcpy(to, r->at, n);
            to += n;
            r->at += n;
            if (slash != NULL) {
                r->at++;
                if (!read_escape(r, &to)) return false;
            }
        }
        CHECK(r->at == close && "an escape reaches over the closing quote");
        *s = str_of(copy, (size_t)(to - copy));
    } else {
        *s = raw;
    }
    r->at = close + 1;
    if (has_high && !utf8_is_valid(raw)) { /* escapes are ASCII: checking the source checks the copy */
        json_fail_at(r, ERR_INVALID, r->at, "invalid unicode code point");
        return false;
    }
    return true;
}
