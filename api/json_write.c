/* json_write.c - JSON text appended to a buffer: strings and integers.
 *
 * Compact and in the order of the calls, as serde_json writes it: '"', '\\' and control characters are escaped, everything
 * else goes out as it is. Failures are the buffer's (sticky); nothing here checks them.
 */
#include "api/json.h"

#include "core/utf8.h"

/* The high bits of bytes that need an escape: a byte below 0x20 borrows into its high bit, and so does a zero in the
 * difference from '"' or '\\'. A borrow may flag bytes above the first hit as well, never one below it. */
static inline uint64_t escapes(uint64_t w)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = UINT64_C(0x8080808080808080);
    uint64_t quote = w ^ (ones * '"'), slash = w ^ (ones * '\\');
    return ((w - ones * 0x20) | (quote - ones) | (slash - ones)) & ~w & highs;
}

/* Nothing needs an escape. The last word reaches back over bytes that were seen: most strings are a few words, or less. */
static inline bool is_plain(const char *p, size_t n)
{
    if (n >= 8) {
        size_t i = 0;
        for (; n - i > 8; i += 8)
            if (escapes(le64_get(p + i)) != 0) return false;
        return escapes(le64_get(p + n - 8)) == 0;
    }
    if (n >= 4) return escapes((uint64_t)le32_get(p + n - 4) << 32 | le32_get(p)) == 0;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)p[i] < 0x20 || p[i] == '"' || p[i] == '\\') return false;
    return true;
}

/* Where the first byte is that needs one. */
static const char *plain_end(const char *p, const char *end)
{
    for (; end - p >= 8; p += 8) {
        uint64_t hits = escapes(le64_get(p));
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
    const char *from = s.n > 0 ? s.p : "", *end = from + s.n;
    if (is_plain(from, s.n)) { /* nearly always: one piece */
        char *to = s.n < SIZE_MAX - 2 ? buf_room(b, s.n + 2) : NULL;
        if (to == NULL) return; /* the buffer knows */
        to[0] = '"';
        memcpy(to + 1, from, s.n);
        to[s.n + 1] = '"';
        b->n += s.n + 2;
        return;
    }
    buf_char(b, '"');
    for (const char *stop; (stop = plain_end(from, end)) < end;) {
        buf_add(b, from, (size_t)(stop - from));
        put_escape(b, (unsigned char)*stop);
        from = stop + 1;
    }
    buf_add(b, from, (size_t)(end - from));
    buf_char(b, '"');
}

void json_put_text(struct buf *b, struct str s)
{
    struct buf mended = {0};
    if (!utf8_is_valid(s)) {
        uint32_t cp;
        for (size_t i = 0, n; i < s.n; i += n) {
            n = utf8_decode(s.p + i, s.n - i, &cp);
            buf_str(&mended, n == 1 && cp >= 0x80 ? STR("\xef\xbf\xbd") : str_of(s.p + i, n));
        }
        s = buf_view(&mended);
    }
    if (mended.err == ERR_OK)
        json_put_string(b, s);
    else
        b->err = mended.err;
    buf_free(&mended);
}

void json_put_uint(struct buf *b, uint64_t v)
{
    char text[20];
    size_t at = sizeof text;
    for (; v >= 100; v /= 100) {
        unsigned two = (unsigned)(v % 100);
        text[--at] = (char)('0' + two % 10);
        text[--at] = (char)('0' + two / 10);
    }
    if (v >= 10) {
        text[--at] = (char)('0' + v % 10);
        v /= 10;
    }
    text[--at] = (char)('0' + v);
    buf_add(b, text + at, sizeof text - at);
}

void json_put_int(struct buf *b, int64_t v)
{
    if (v < 0) buf_char(b, '-');
    json_put_uint(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}
