/* utf8.c - see utf8.h. */
#include "core/utf8.h"

size_t utf8_decode(const char *text, size_t n, uint32_t *cp)
{
    const unsigned char *p = (const unsigned char *)text;
    uint32_t c = p[0], v;
    if (c < 0x80) {
        *cp = c;
        return 1;
    }
    size_t len = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
    *cp = 0xFFFD;
    if (c < 0xC2 || c > 0xF4 || len > n) return 1;
    v = c & (0x7Fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xC0) != 0x80) return 1;
        v = v << 6 | (p[i] & 0x3Fu);
    }
    if (v > UTF8_CP_MAX || (v >= 0xD800 && v <= 0xDFFF) || (len == 3 && v < 0x800) || (len == 4 && v < 0x10000))
        return 1;
    *cp = v;
    return len;
}

size_t utf8_encode(uint32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    size_t len = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = len - 1; i > 0; i--, cp >>= 6) out[i] = (char)(0x80 | (cp & 0x3F));
    out[0] = (char)((0xF00u >> len & 0xF0) | cp);
    return len;
}

/* Every document that comes in passes here: by utf8_decode it took two to three times as long. */
bool utf8_is_valid(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.p, *end = p + s.n;
    while (p < end) {
        while (end - p >= 8 && (le64_get(p) & UINT64_C(0x8080808080808080)) == 0) p += 8;
        if (p == end) break;
        unsigned c = *p++;
        if (c < 0x80) continue;
        unsigned n_more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
        if (c < 0xc2 || c > 0xf4 || (size_t)(end - p) < n_more) return false;
        /* the second byte rules out long forms, surrogates and what lies above U+10FFFF */
        unsigned low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80, high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
        if (*p < low || *p > high) return false;
        p++;
        for (unsigned i = 1; i < n_more; i++, p++)
            if ((*p & 0xc0) != 0x80) return false;
    }
    return true;
}

void utf8_make_plain(char *text, size_t n)
{
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp;
        len = utf8_decode(text + i, n - i, &cp);
        bool is_control = cp < ' ' || (cp >= 0x7f && cp < 0xa0), is_none = len == 1 && cp == 0xfffd;
        if (is_control || is_none) memset(text + i, '?', len);
    }
}
