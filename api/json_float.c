/* json_float.c - floats to the shortest decimal that reads back the same.
 *
 * float32 is the hot path of answers that include embeddings. METHOD (Giulietti 2021, "The Schubfach way to render
 * doubles", here for float32): v = c * 2^q has the rounding interval [v - 2^(q-1), v + 2^(q-1)] (narrower below a power of
 * two). k is chosen so that the interval, scaled by 10^-k, is at least one and less than ten units long: then it
 * holds an integer, and at most one multiple of ten; the multiple of ten wins if there is one, else the integer nearest
 * to v. The three scaled values carry two fraction bits, the lower one sticky ("round to odd"), which is enough to
 * compare them exactly as if they had not been rounded.
 * json_float_avx2.c has the same for eight at a time.
 * double: metadata mostly holds numbers that people wrote, of up to 15 digits. Of these at most one reads back as v (15
 * digits survive the way through a double), so if m / 10^p is v for a whole m < 10^15, m without zeros at the end is the
 * shortest form; both are doubles without error, so the division rounds once and the test is exact. Other doubles get
 * the first of 15, 16 and 17 digits that strtod reads back as the same value, always correct, sometimes one digit longer
 * than need be for denormals.
 * FORM  as upstream prints: 12.5, 1.0, 0.00001, 1e+16, 1.5e-7 (see put_decimal).
 */
#include "api/json_internal.h"
#include "core/distance.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* floor(g * cp / 2^64) with the lost bits gathered in the lowest one. */
static inline uint32_t round_to_odd(uint64_t g, uint32_t cp)
{
    json_u128 p = (json_u128)g * cp;
    uint32_t high = (uint32_t)(p >> 64), low = (uint32_t)((uint64_t)p >> 32);
    return high | (low > 1); /* g exceeds the power of ten by less than one unit: low <= 1 is an exact integer */
}

struct json_decimal json_shortest_float(float v)
{
    uint32_t bits, c;
    int q;
    memcpy(&bits, &v, sizeof bits);
    uint32_t fraction = bits & 0x7fffff, exponent = bits >> 23 & 0xff;
    if (exponent != 0) {
        c = fraction | 0x800000;
        q = (int)exponent - 150;
        if (q <= 0 && q > -24 && (c & ((1u << -q) - 1)) == 0) { /* a small integer is its own shortest form */
            struct json_decimal d = {c >> -q, 0};
            while (d.digits % 10 == 0) {
                d.digits /= 10;
                d.exponent++;
            }
            return d;
        }
    } else {
        c = fraction;
        q = -149;
    }
    bool is_even = c % 2 == 0;
    bool is_lower_closer = fraction == 0 && exponent > 1;
    uint32_t left = 4 * c - 2 + is_lower_closer, middle = 4 * c, right = 4 * c + 2;

    /* k = floor(log10(2^q)), of 3/4 * 2^q where the interval is narrower */
    int k = (q * 1262611 - (is_lower_closer ? 524031 : 0)) >> 22;
    int h = q + json_log2_pow10(-k) + 1;
    CHECK(h >= 1 && h <= 4 && -k >= JSON_POW10_MIN && -k <= JSON_POW10_MAX);
    const struct json_pow10 *t = &json_pow10_table[-k - JSON_POW10_MIN];
    uint64_t g = t->hi + (t->lo != 0);
    uint32_t vl = round_to_odd(g, left << h), vm = round_to_odd(g, middle << h), vr = round_to_odd(g, right << h);
    uint32_t lower = vl + !is_even, upper = vr - !is_even; /* an even significand owns its bounds */

    struct json_decimal d;
    uint32_t s = vm / 4, tens = s / 10;
    bool is_down_inside = lower <= 40 * tens, is_up_inside = 40 * tens + 40 <= upper;
    if (s >= 10 && is_down_inside != is_up_inside) {
        d = (struct json_decimal){tens + is_up_inside, k + 1};
    } else {
        is_down_inside = lower <= 4 * s;
        is_up_inside = 4 * s + 4 <= upper;
        bool is_up = is_down_inside != is_up_inside ? is_up_inside : vm > 4 * s + 2 || (vm == 4 * s + 2 && s % 2 == 1);
        d = (struct json_decimal){s + is_up, k};
    }
    while (d.digits % 10 == 0) {
        d.digits /= 10;
        d.exponent++;
    }
    return d;
}

/* Where plain notation ends: upstream's limits differ for the two widths. `point` is the place of the decimal point
 * counted from the first digit: 1.5 has 1, 0.015 has -1. */
struct form {
    int point_min, point_max; /* plain for point_min < point <= point_max */
};
static const struct form form_float = {-6, 13}, form_double = {-5, 16};

/* Writes digits * 10^exponent at `to` (JSON_FLOAT_TEXT_MAX bytes), returns its end. */
static char *put_decimal(char *to, const char *digits, int n, int exponent, const struct form *form)
{
    int point = n + exponent;
    if (exponent >= 0 && point <= form->point_max) { /* 1200.0 */
        memcpy(to, digits, (size_t)n);
        to += n;
        for (int i = 0; i < exponent; i++) *to++ = '0';
        *to++ = '.';
        *to++ = '0';
    } else if (point > 0 && point <= form->point_max) { /* 12.5 */
        memcpy(to, digits, (size_t)point);
        to += point;
        *to++ = '.';
        memcpy(to, digits + point, (size_t)(n - point));
        to += n - point;
    } else if (point <= 0 && point > form->point_min) { /* 0.0125 */
        *to++ = '0';
        *to++ = '.';
        for (int i = point; i < 0; i++) *to++ = '0';
        memcpy(to, digits, (size_t)n);
        to += n;
    } else { /* 1.25e-9 */
        /* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): n >= 1 */
        *to++ = digits[0];
        if (n > 1) {
            *to++ = '.';
            memcpy(to, digits + 1, (size_t)(n - 1));
            to += n - 1;
        }
        int e = point - 1;
        *to++ = 'e';
        *to++ = e < 0 ? '-' : '+';
        if (e < 0) e = -e;
        if (e >= 100) *to++ = (char)('0' + e / 100);
        if (e >= 10) *to++ = (char)('0' + e / 10 % 10);
        *to++ = (char)('0' + e % 10);
    }
    return to;
}

char *json_put_float_at(char *to, float v)
{
    char digits[10] = {0};
    if (!isfinite(v)) {
        memcpy(to, "null", 4);
        return to + 4;
    }
    if (signbit(v)) {
        *to++ = '-';
        v = -v;
    }
    if (v == 0) {
        memcpy(to, "0.0", 3);
        return to + 3;
    }
    struct json_decimal d = json_shortest_float(v);
    int at = (int)sizeof digits;
    for (uint32_t rest = d.digits; rest != 0; rest /= 10) digits[--at] = (char)('0' + rest % 10);
    return put_decimal(to, digits + at, (int)sizeof digits - at, d.exponent, &form_float);
}

void json_put_float(struct buf *b, float v)
{
    char *to = buf_room(b, JSON_FLOAT_TEXT_MAX);
    if (to != NULL) b->n += (size_t)(json_put_float_at(to, v) - to);
}

#if defined(__clang__) /* does not know the name; no processor has bmi without lzcnt */
#define LZCNT "bmi"
#else
#define LZCNT "lzcnt"
#endif

json_put_eights json_put_eights_here(void)
{
#if defined(__x86_64__)
    enum simd_level level = distance_ops()->level; /* CHROMA_SIMD holds for all kernels */
    if ((level == SIMD_AVX2 || level == SIMD_AVX512) && __builtin_cpu_supports(LZCNT)) return json_put_eights_avx2;
#endif
    return NULL;
}

void json_put_floats(struct buf *b, const float *v, uint32_t n)
{
    enum { STEP = 64 };
    json_put_eights put_eights = json_put_eights_here();
    size_t began = b->n;
    for (uint32_t i = 0; i < n; i += STEP) {
        uint32_t n_step = n - i < STEP ? n - i : STEP, j = 0;
        char *start = buf_room(b, (size_t)STEP * (JSON_FLOAT_TEXT_MAX + 1)), *to = start;
        if (start == NULL) return;
        if (put_eights != NULL) {
            j = n_step & ~7u;
            to = put_eights(to, v + i, j);
        }
        for (; j < n_step; j++) {
            *to++ = ',';
            to = json_put_float_at(to, v[i + j]);
        }
        b->n += (size_t)(to - start);
    }
    if (n > 0)
        b->p[began] = '['; /* in the place of the first comma */
    else
        buf_char(b, '[');
    buf_char(b, ']');
}

/* v > 0 as m * 10^-p with m < 10^15 and 0 <= p <= 22, without zeros at the end of m; false when it is no such number. */
static bool few_digits(double v, uint64_t *m, int *p)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (!(v >= 1e-7 && v < 1e15)) return false;
    int exponent; /* v < 2^exponent, so v < 10^(n + 1) with n = floor(log10(2^exponent)) */
    (void)frexp(v, &exponent);
    int n = exponent * 1233 >> 12;
    int scale = 14 - n < 22 ? 14 - n : 22;
    if (scale < 0) scale = 0;
    uint64_t whole = (uint64_t)(v * powers[scale] + 0.5);
    if (whole == 0 || whole >= UINT64_C(1000000000000000) || (double)whole / powers[scale] != v) return false;
    for (int step = 8; step > 0; step /= 2) {
        uint64_t ten = (uint64_t)powers[step];
        while (scale >= step && whole % ten == 0) {
            whole /= ten;
            scale -= step;
        }
    }
    *m = whole;
    *p = scale;
    return true;
}

void json_put_double(struct buf *b, double v)
{
    char text[40], digits[20];
    uint64_t whole;
    int n_digits = 0, exponent;
    if (!isfinite(v)) {
        buf_lit(b, "null");
        return;
    }
    char *start = buf_room(b, JSON_FLOAT_TEXT_MAX), *to = start;
    if (start == NULL) return;
    if (signbit(v)) {
        *to++ = '-';
        v = -v;
    }
    if (v == 0) {
        memcpy(to, "0.0", 3);
        b->n += (size_t)(to + 3 - start);
        return;
    }
    if (few_digits(v, &whole, &exponent)) {
        int at = (int)sizeof digits;
        for (; whole != 0; whole /= 10) digits[--at] = (char)('0' + whole % 10);
        n_digits = (int)sizeof digits - at;
        memmove(digits, digits + at, (size_t)n_digits);
        exponent = -exponent;
    } else {
        /* d.ddd...e+XX: the digits stand at 0 and from 2 on */
        for (int n = v < 1e-300 ? 1 : 15;; n++) { /* denormals have fewer digits than 15 */
            (void)snprintf(text, sizeof text, "%.*e", n - 1, v);
            if (n >= 17 || strtod(text, NULL) == v) break;
        }
        const char *p = text;
        for (; *p != 'e'; p++)
            if (*p != '.') digits[n_digits++] = *p;
        exponent = (int)strtol(p + 1, NULL, 10) - (n_digits - 1);
    }
    while (n_digits > 1 && digits[n_digits - 1] == '0') {
        n_digits--;
        exponent++;
    }
    to = put_decimal(to, digits, n_digits, exponent, &form_double);
    b->n += (size_t)(to - start);
}
