/* json_internal.h - what the files of the JSON reader and writer share. Internal to api/json_*.c and their tests. */
#ifndef API_JSON_INTERNAL_H
#define API_JSON_INTERNAL_H

#include "api/json.h"

/* Fails the reader at `where` with "<path>: <text> at line L column C"; a reader that has failed already stays. */
void json_fail_at(struct json_reader *r, enum err e, const char *where, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* A byte that was looked at and is wrong, or the end of the text. Returns false. */
bool json_fail_byte(struct json_reader *r, const char *eof, const char *wrong);

void json_skip_space(struct json_reader *r);

/* The string literal at r->at, which is its opening quote. */
bool json_read_string(struct json_reader *r, struct str *s);

/* "invalid type: <what is next>, expected <expected>"; reads the scalar that is next. */
void json_fail_type(struct json_reader *r, const char *expected);

/* One number literal at r->at, which is '-' or a digit. */
bool json_read_number(struct json_reader *r, struct json_number *n);

/* A power of ten as a 128-bit fraction: 10^k = (hi * 2^64 + lo) * 2^e with the top bit of hi set, rounded down. The
 * exponent is not stored: floor(k * log2(10)) - 127. lo == 0 means that the value is exact. */
struct json_pow10 {
    uint64_t hi, lo;
};
enum { JSON_POW10_MIN = -64, JSON_POW10_MAX = 63 };
extern const struct json_pow10 json_pow10_table[JSON_POW10_MAX - JSON_POW10_MIN + 1];

/* floor(k * log2(10)) for |k| <= 1000 or so. */
static inline int json_log2_pow10(int k)
{
    return (k * 1741647) >> 19;
}

__extension__ typedef unsigned __int128 json_u128;

/* Shortest decimal digits of a positive finite float: v = digits * 10^exponent, without trailing zeros. */
struct json_decimal {
    uint32_t digits;
    int exponent;
};
struct json_decimal json_shortest_float(float v);

/* One float as text at `to`, which has room for JSON_FLOAT_TEXT_MAX bytes; returns the end of the text. Bytes beyond it
 * may have been written as well. */
enum { JSON_FLOAT_TEXT_MAX = 40 };
char *json_put_float_at(char *to, float v);

/* n floats, a multiple of eight, a comma before each, the same text; room for JSON_FLOAT_TEXT_MAX + 1 bytes each. */
typedef char *(*json_put_eights)(char *to, const float *v, uint32_t n);
json_put_eights json_put_eights_here(void); /* the best that this processor has; NULL: none */
#if defined(__x86_64__)
char *json_put_eights_avx2(char *to, const float *v, uint32_t n);
#endif

#endif
