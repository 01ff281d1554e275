/* json_write.c - JSON text appended to a buffer: strings and integers.
 *
 * Compact and in the order of the calls, as serde_json writes it: '"', '\\' and control characters are escaped, everything
 * else goes out as it is. Failures are the buffer's (sticky); nothing here checks them.
 */
#include "api/json.h"

/* Where the first byte is that needs an escape. A word holds one if a byte of it below 0x20, or of its difference from
 * '"' or '\\' a zero, borrows into its high bit; a borrow may flag bytes above the first hit, never below. */
static inline const char *plain_end(const char *p, const char *end)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = UINT64_C(0x8080808080808080);
    for (; end - p >= 8; p += 8) {
        uint64_t w = le64_get(p), quote = w ^ (ones * '"'), slash = w ^ (ones * '\\');
        uint64_t hits = ((w - ones * 0x20) | (quote - ones) | (slash - ones)) & ~w & highs;
        if (hits != 0) return p + __builtin_ctzll(hits) / 8;
    }
    while (p < end && (unsigned char)*p >= 0x20 && *p != '"' && *p != '\\') p++;
    return p;
}

static void put_escape(struct buf *b, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char names[0x20] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    if (c >= 0x20)
        buf_add(b, (char[]){'\\', (char)c}, 2);
    else if (names[c] != 0)
        buf_add(b, (char[]){'\\', names[c]}, 2);
    else
        buf_add(b, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
}

void json_put_string(struct buf *b, struct str s)
{
    const char *from = s.n > 0 ? s.p : "", *end = from + s.n, *stop = plain_end(from, end);
    if (stop == end) { /* nearly always: one piece */
        char *to = s.n < SIZE_MAX - 2 ? buf_room(b, s.n + 2) : NULL;
        if (to == NULL) return; /* the buffer knows */
        to[0] = '"';
        memcpy(to + 1, from, s.n);
        to[s.n + 1] = '"';
        b->n += s.n + 2;
        return;
    }
    buf_char(b, '"');
    for (; stop < end; stop = plain_end(from, end)) {
        buf_add(b, from, (size_t)(stop - from));
        put_escape(b, (unsigned char)*stop);
        from = stop + 1;
    }
    buf_add(b, from, (size_t)(end - from));
    buf_char(b, '"');
}

void json_put_uint(struct buf *b, uint64_t v)
{
    char text[20];
    size_t at = sizeof text;
    do {
        text[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    buf_add(b, text + at, sizeof text - at);
}

void json_put_int(struct buf *b, int64_t v)
{
    if (v < 0) buf_char(b, '-');
    json_put_uint(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}
