/* uuid.c - see uuid.h. */
#include "core/uuid.h"

#include "core/hash.h"

struct uuid uuid_new(void)
{
    struct uuid u;
    random_bytes(u.b, sizeof u.b);
    u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x40); /* version 4 */
    u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80); /* RFC variant */
    return u;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool uuid_parse(struct str text, struct uuid *out)
{
    static const char urn[] = "urn:uuid:";
    if (text.n == sizeof urn - 1 + UUID_TEXT && memcmp(text.p, urn, sizeof urn - 1) == 0) {
        text.p += sizeof urn - 1;
        text.n = UUID_TEXT;
    } else if (text.n == UUID_TEXT + 2 && text.p[0] == '{' && text.p[text.n - 1] == '}') {
        text.p++;
        text.n = UUID_TEXT;
    }
    bool has_hyphens = text.n == UUID_TEXT;
    if (!has_hyphens && text.n != 32) return false;
    struct uuid u;
    size_t at = 0;
    for (size_t i = 0; i < sizeof u.b; i++) {
        if (has_hyphens && (i == 4 || i == 6 || i == 8 || i == 10) && text.p[at++] != '-') return false;
        int hi = hex_digit(text.p[at]), lo = hex_digit(text.p[at + 1]);
        if (hi < 0 || lo < 0) return false;
        u.b[i] = (uint8_t)(hi << 4 | lo);
        at += 2;
    }
    *out = u;
    return true;
}

void uuid_format(const struct uuid *u, char out[UUID_TEXT + 1])
{
    static const char digits[] = "0123456789abcdef";
    size_t at = 0;
    for (size_t i = 0; i < sizeof u->b; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) out[at++] = '-';
        out[at++] = digits[u->b[i] >> 4];
        out[at++] = digits[u->b[i] & 15];
    }
    out[at] = '\0';
}
