/* base64.c - see base64.h.
 *
 * HAPPY PATH  every group of four symbols but the last becomes three bytes through one table look-up a symbol; the last
 * group, which alone may be short or padded, is taken apart with all checks.
 * FAILURE  the first wrong symbol in reading order is named. Wrong lengths and padding are looked at only when every
 * symbol is fine. The buffer's length grows only at the end, so a failure appends nothing.
 * INVARIANT  symbol_bits[c] is below 64 for the alphabet and BAD for every other byte, '=' included.
 */
#include "api/base64.h"

enum { BAD = 0xff };

#define B BAD
static const uint8_t symbol_bits[256] = {
    B,  B,  B,  B,  B,  B,  B,  B, B, B, B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,
    B,  B,  B,  B,  B,  B,  B,  B, B, B, B,  B,  B,  B,  62, B,  B,  B,  63, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61,
    B,  B,  B,  B,  B,  B,  B,  0, 1, 2, 3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
    22, 23, 24, 25, B,  B,  B,  B, B, B, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44,
    45, 46, 47, 48, 49, 50, 51, B, B, B, B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,
    B,  B,  B,  B,  B,  B,  B,  B, B, B, B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,
    B,  B,  B,  B,  B,  B,  B,  B, B, B, B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,
    B,  B,  B,  B,  B,  B,  B,  B, B, B, B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,
    B,  B,  B,  B,  B,  B,  B,  B, B, B, B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B,  B};
#undef B

static enum err wrong_symbol(struct errmsg *em, const uint8_t *text, size_t offset)
{
    return errmsg_set(em, ERR_INVALID, "Invalid symbol %u, offset %zu.", text[offset], offset);
}

/* The last group: `n` (1 to 4) symbols of the text from `from` on. Writes up to 3 bytes and counts them. */
static enum err decode_last(const uint8_t *text, size_t from, size_t n, uint8_t *out, size_t *n_out, struct errmsg *em)
{
    uint32_t bits = 0;
    size_t n_symbols = 0, n_padding = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = text[from + i];
        if (c == '=') {
            if (i < 2) return wrong_symbol(em, text, from + i);
            n_padding++;
            continue;
        }
        if (n_padding > 0) return wrong_symbol(em, text, from + n_symbols); /* the '=' in front of it is to blame */
        if (symbol_bits[c] == BAD) return wrong_symbol(em, text, from + i);
        bits |= (uint32_t)symbol_bits[c] << (18 - 6 * n_symbols);
        n_symbols++;
    }
    if (n_symbols < 2) return errmsg_set(em, ERR_INVALID, "Invalid input length: %zu", from + n_symbols);
    if (n_symbols + n_padding != 4) return errmsg_set(em, ERR_INVALID, "Invalid padding");
    size_t n_bytes = n_symbols * 6 / 8;
    if ((bits & (UINT32_C(0xffffff) >> (8 * n_bytes))) != 0) {
        size_t last = from + n_symbols - 1;
        return errmsg_set(em, ERR_INVALID, "Invalid last symbol %u, offset %zu.", text[last], last);
    }
    for (size_t i = 0; i < n_bytes; i++) out[i] = (uint8_t)(bits >> (16 - 8 * i));
    *n_out = n_bytes;
    return ERR_OK;
}

enum err base64_decode(struct str s, struct buf *out, struct errmsg *em)
{
    if (s.n == 0) return ERR_OK;
    const uint8_t *text = (const uint8_t *)s.p;
    /* A single symbol too many at the end is most often a line break: upstream names it before anything else. */
    uint8_t end = text[s.n - 1];
    if (s.n % 4 == 1 && end != '=' && symbol_bits[end] == BAD) return wrong_symbol(em, text, s.n - 1);

    size_t n_whole = (s.n - 1) / 4; /* groups of four that are not the last */
    uint8_t *to = (uint8_t *)buf_room(out, n_whole * 3 + 3);
    if (to == NULL) return errmsg_set(em, out->err, "%s", err_text(out->err));
    for (size_t g = 0; g < n_whole; g++) {
        const uint8_t *in = text + 4 * g;
        uint8_t a = symbol_bits[in[0]], b = symbol_bits[in[1]], c = symbol_bits[in[2]], d = symbol_bits[in[3]];
        if (((a | b | c | d) & 0xc0) != 0) {
            size_t i = 0;
            while (symbol_bits[in[i]] != BAD) i++;
            return wrong_symbol(em, text, 4 * g + i);
        }
        uint32_t bits = (uint32_t)a << 18 | (uint32_t)b << 12 | (uint32_t)c << 6 | d;
        to[0] = (uint8_t)(bits >> 16);
        to[1] = (uint8_t)(bits >> 8);
        to[2] = (uint8_t)bits;
        to += 3;
    }
    size_t n_last = 0;
    enum err e = decode_last(text, 4 * n_whole, s.n - 4 * n_whole, to, &n_last, em);
    if (e != ERR_OK) return e;
    out->n += n_whole * 3 + n_last;
    return ERR_OK;
}
