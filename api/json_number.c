/* json_number.c - number literals to integers, doubles and float32.
 *
 * HAPPY PATH  digits are gathered into one 64-bit integer m and a decimal exponent e, so that the literal is m * 10^e.
 *   1. m <= 2^53 and |e| <= 22: both are exact doubles, one operation rounds once (Clinger 1990).
 *   2. |e| <= 63: m times a 128-bit power of ten (after Lemire 2021). The product carries an error below two units of its
 *      last place; where that could change the rounding, step 3 decides. So no proof about the table is needed.
 *   3. strtod on a NUL-terminated copy (the program never calls setlocale, so the point is '.').
 * FAILURE     not the grammar of RFC 8259, or beyond the range of double: the reader fails with ERR_INVALID.
 */
#include "api/json_internal.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

_Static_assert(FLT_EVAL_METHOD == 0, "step 1 needs doubles that are rounded after every operation");

struct literal {
    const char *start, *end;
    uint64_t m; /* the first 19 significant digits */
    int e;      /* decimal exponent of m */
    bool is_negative;
    bool is_integer; /* neither fraction nor exponent */
    bool is_cut;     /* digits beyond the 19th were left out */
};

enum { DIGITS_MAX = 19, EXPONENT_MAX = 100000 };

static inline bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* How many of eight characters (little-endian word) come before the first that is no digit. That one may make a later one, but no
 * earlier one, look like no digit. */
static inline unsigned count_digits(uint64_t w)
{
    uint64_t is_wrong =
        ((w + UINT64_C(0x4646464646464646)) | (w - UINT64_C(0x3030303030303030))) & UINT64_C(0x8080808080808080);
    return is_wrong != 0 ? (unsigned)__builtin_ctzll(is_wrong) / 8 : 8;
}

/* The number whose eight digits are the bytes of w, the first in the lowest. */
static inline uint64_t eight_digits(uint64_t w)
{
    w = w * 10 + (w >> 8); /* pairs in bytes 0, 2, 4, 6 */
    const uint64_t mask = UINT64_C(0x000000FF000000FF);
    return (((w & mask) * UINT64_C(0x000F424000000064)) + (((w >> 16) & mask) * UINT64_C(0x0000271000000001))) >> 32;
}

/* Reads digits at p into l->m; *n_digits counts significant ones. Digits that do not fit are counted in *n_left. */
static inline const char *gather(const char *p, const char *end, struct literal *l, int *n_digits, int *n_left)
{
    static const uint64_t powers[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};
    while (end - p >= 8) {
        uint64_t w = le64_get(p);
        unsigned n = count_digits(w);
        if (n == 0) return p;
        if (*n_digits > DIGITS_MAX - (int)n) break;
        w = (w - UINT64_C(0x3030303030303030)) << (64 - 8 * n); /* what is no digit leaves; zeros come in front */
        l->m = l->m * powers[n] + eight_digits(w);
        /* zeros in front of the first significant digit do not count */
        if (*n_digits > 0)
            *n_digits += (int)n;
        else if (w != 0)
            *n_digits = 8 - __builtin_ctzll(w) / 8;
        p += n;
        if (n < 8) return p;
    }
    for (; p < end && is_digit(*p); p++) {
        if (*n_digits < DIGITS_MAX) {
            l->m = l->m * 10 + (uint64_t)(*p - '0');
            if (l->m != 0) ++*n_digits;
        } else {
            if (*p != '0') l->is_cut = true;
            if (*n_left < EXPONENT_MAX) ++*n_left;
        }
    }
    return p;
}

/* False: the grammar is broken at *l->end (or the text ends there). */
static inline bool scan(const char *p, const char *end, struct literal *l)
{
    int n_digits = 0, n_left = 0, exponent = 0;
    *l = (struct literal){.start = p, .is_integer = true};
    l->is_negative = p < end && *p == '-'; /* of embeddings every other one, at random: no branch */
    p += l->is_negative;
    if (p == end || !is_digit(*p)) goto broken;
    if (*p == '0') {
        p++;
        if (p < end && is_digit(*p)) goto broken;
    } else {
        p = gather(p, end, l, &n_digits, &n_left);
        exponent = n_left;
    }
    if (p < end && *p == '.') {
        l->is_integer = false;
        p++;
        if (p == end || !is_digit(*p)) goto broken;
        const char *fraction = p;
        n_left = 0;
        p = gather(p, end, l, &n_digits, &n_left);
        ptrdiff_t n_used = p - fraction - n_left;
        exponent -= n_used < EXPONENT_MAX ? (int)n_used : EXPONENT_MAX;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        bool is_minus = false;
        int e = 0;
        l->is_integer = false;
        p++;
        if (p < end && (*p == '+' || *p == '-')) is_minus = *p++ == '-';
        if (p == end || !is_digit(*p)) goto broken;
        for (; p < end && is_digit(*p); p++)
            if (e < EXPONENT_MAX) e = e * 10 + (*p - '0');
        exponent += is_minus ? -e : e;
    }
    l->e = exponent;
    l->end = p;
    return true;
broken:
    l->end = p;
    return false;
}

static const double exact_pow10[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                     1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* Step 2. False: too close to call. */
static inline bool scale(uint64_t m, int e, double *out)
{
    const struct json_pow10 *t = &json_pow10_table[e - JSON_POW10_MIN];
    int n_zeros = __builtin_clzll(m);
    uint64_t w = m << n_zeros;
    /* w * t has 192 bits; p is the upper 128. The true product lies in [p, p + 2). */
    json_u128 p = (json_u128)w * t->hi + (((json_u128)w * t->lo) >> 64);
    int top = (int)(p >> 127);
    int shift = 73 + top; /* leaves 53 bits and the one that decides the rounding */
    json_u128 mask = ((json_u128)1 << shift) - 1, rest = p & mask;
    uint64_t kept = (uint64_t)(p >> shift);
    if (t->lo != 0 && (rest > mask - 2 || (rest == 0 && (kept & 1) != 0))) return false;
    uint64_t mantissa = kept >> 1;
    /* Digits of embeddings are random: branches on them and on the sign would be guessed wrong every other time. */
    mantissa += kept & 1 & ((uint64_t)(rest != 0) | mantissa);
    int exponent = json_log2_pow10(e) - 63 - n_zeros + shift + 1;
    if (mantissa == UINT64_C(1) << 53) {
        mantissa >>= 1;
        exponent++;
    }
    /* |e| <= 64 and m < 10^19 keep the result far from the ends of the range of double. */
    uint64_t bits = (uint64_t)(exponent + 52 + 1023) << 52 | (mantissa & ((UINT64_C(1) << 52) - 1));
    memcpy(out, &bits, sizeof bits);
    return true;
}

/* Step 3. False: memory is short. */
static bool by_strtod(struct arena *arena, const struct literal *l, double *out)
{
    char small[256];
    size_t n = (size_t)(l->end - l->start);
    const char *z = small;
    if (n < sizeof small) {
        memcpy(small, l->start, n);
        small[n] = '\0';
    } else {
        z = arena_cstr(arena, str_of(l->start, n));
        if (z == NULL) return false;
    }
    *out = strtod(z, NULL);
    return true;
}

static inline bool to_double(struct arena *arena, const struct literal *l, double *out)
{
    double v;
    if (l->m == 0) {
        v = 0;
    } else if (!l->is_cut && l->m <= UINT64_C(1) << 53 && l->e >= -22 && l->e <= 22) {
        v = l->e < 0 ? (double)l->m / exact_pow10[-l->e] : (double)l->m * exact_pow10[l->e];
    } else if (l->is_cut || l->e < JSON_POW10_MIN || l->e > JSON_POW10_MAX || !scale(l->m, l->e, &v)) {
        return by_strtod(arena, l, out);
    }
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    bits |= (uint64_t)l->is_negative << 63;
    memcpy(out, &bits, sizeof bits);
    return true;
}

static void fail_literal(struct json_reader *r, const struct literal *l)
{
    if (l->end == r->end)
        json_fail_at(r, ERR_INVALID, r->end, "EOF while parsing a value");
    else
        json_fail_at(r, ERR_INVALID, l->end + 1, "invalid number");
}

bool json_read_number(struct json_reader *r, struct json_number *n)
{
    struct literal l;
    struct json_number v = {0};
    if (!scan(r->at, r->end, &l)) {
        fail_literal(r, &l);
        return false;
    }
    if (!to_double(r->arena, &l, &v.f)) {
        json_fail_nomem(r);
        return false;
    }
    r->at = l.end;
    if (!isfinite(v.f)) {
        json_fail_at(r, ERR_INVALID, r->at, "number out of range");
        return false;
    }
    if (l.is_integer && l.e == 0 && !l.is_cut) {
        if (!l.is_negative) {
            v.is_uint = true;
            v.u = l.m;
            v.is_int = l.m <= (uint64_t)INT64_MAX;
            if (v.is_int) v.i = (int64_t)l.m;
        } else if (l.m != 0 && l.m <= (uint64_t)INT64_MAX + 1) {
            v.is_int = true;
            v.i = (int64_t)(0 - l.m);
        }
    } else if (l.is_integer && !l.is_negative) {
        /* Twenty digits may still fit: 18446744073709551615 has so many. */
        uint64_t u = 0;
        bool fits = true;
        for (const char *p = l.start; p < l.end && fits; p++)
            fits = !__builtin_mul_overflow(u, UINT64_C(10), &u) && !__builtin_add_overflow(u, (uint64_t)(*p - '0'), &u);
        v.is_uint = fits;
        if (fits) v.u = u;
    }
    *n = v;
    return true;
}

bool json_f32_array(struct json_reader *r, struct buf *out, uint32_t *n)
{
    enum { CHUNK = 256 };
    float chunk[CHUNK];
    uint32_t n_chunk = 0, n_items = 0;
    struct literal l;
    double v;
    if (!json_enter_array(r, "a sequence")) return false;
    struct json_step *step = &r->path[r->depth - 1];
    const char *p = r->at, *end = r->end;
    for (;;) {
        while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')) p++;
        /* Anything but a number, and what it means here, is left to the general reader. */
        if (p == end || !(is_digit(*p) || *p == '-')) break;
        if (!scan(p, end, &l)) {
            step->index = n_items;
            r->has_step = true;
            fail_literal(r, &l);
            return false;
        }
        if (!to_double(r->arena, &l, &v)) {
            json_fail_nomem(r);
            return false;
        }
        p = l.end;
        if (!isfinite(v)) {
            step->index = n_items;
            r->has_step = true;
            json_fail_at(r, ERR_INVALID, p, "number out of range");
            return false;
        }
        if (n_items == UINT32_MAX - 1) {
            json_fail_at(r, ERR_INVALID, p, "too many numbers");
            return false;
        }
        chunk[n_chunk++] = (float)v;
        n_items++;
        r->is_first = false;
        if (n_chunk == CHUNK) {
            buf_add(out, chunk, sizeof chunk);
            n_chunk = 0;
        }
        while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')) p++;
        r->at = p;
        if (p < end && *p == ',')
            p++;
        else
            break;
    }
    buf_add(out, chunk, n_chunk * sizeof chunk[0]);
    if (out->err != ERR_OK) {
        json_fail_nomem(r);
        return false;
    }
    /* r->at stands behind the last number, before a comma if there was one: what follows is the end or a fault. */
    step->index = n_items == 0 ? UINT32_MAX : n_items - 1;
    if (json_next_item(r)) {
        json_fail_type(r, "f32");
        return false;
    }
    if (r->err != ERR_OK) return false;
    *n = n_items;
    return true;
}
