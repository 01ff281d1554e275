/* json_write.c - JSON text appended to a buffer: strings and integers.
 *
 * Compact and in the order of the calls, as serde_json writes it: '"', '\\' and control characters are escaped, everything
 * else goes out as it is. Failures are the buffer's (sticky); nothing here checks them.
 */
#include "api/json.h"

void json_put_string(struct buf *b, struct str s)
{
    static const char hex[] = "0123456789abcdef";
    static const char names[0x20] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    size_t from = 0;
    buf_char(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        buf_add(b, s.p + from, i - from);
        from = i + 1;
        if (c >= 0x20) {
            buf_add(b, (char[]){'\\', (char)c}, 2);
        } else if (names[c] != 0) {
            buf_add(b, (char[]){'\\', names[c]}, 2);
        } else {
            buf_add(b, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
        }
    }
    if (s.n > 0) buf_add(b, s.p + from, s.n - from);
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
