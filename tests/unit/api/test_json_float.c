/* test_json_float.c - numbers in both directions, against exact arithmetic and the C library. */
#include "tests/lib/suite.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

#include "api/json_internal.h"

/* Every entry against its neighbour: t[k + 1] must be floor of the exact value, which for k >= 0 is checked by long
 * multiplication (10^k as five words of 64 bits) and for k < 0 by long division. */
START_TEST(powers_of_ten_are_exact)
{
    enum { WORDS = 8 };
    for (int k = JSON_POW10_MIN; k <= JSON_POW10_MAX; k++) {
        uint64_t big[WORDS] = {0}; /* little-endian words */
        int shift = 127 - json_log2_pow10(k);
        const struct json_pow10 *t = &json_pow10_table[k - JSON_POW10_MIN];
        if (k >= 0) {
            /* 10^k * 2^shift; a negative shift drops bits at the end */
            big[0] = 1;
            for (int i = 0; i < k; i++) {
                json_u128 carry = 0;
                for (int w = 0; w < WORDS; w++) {
                    carry += (json_u128)big[w] * 10;
                    big[w] = (uint64_t)carry;
                    carry >>= 64;
                }
            }
            for (int i = 0; i < shift; i++)
                for (int w = WORDS - 1; w >= 0; w--) big[w] = big[w] << 1 | (w > 0 ? big[w - 1] >> 63 : 0);
            for (int i = 0; i < -shift; i++)
                for (int w = 0; w < WORDS; w++) big[w] = big[w] >> 1 | (w + 1 < WORDS ? big[w + 1] << 63 : 0);
        } else {
            /* floor(2^shift / 10^-k), dividing by ten again and again: floor of floor is floor */
            ck_assert_int_lt(shift, 64 * WORDS);
            big[shift / 64] = UINT64_C(1) << (shift % 64);
            for (int i = 0; i < -k; i++) {
                json_u128 rest = 0;
                for (int w = WORDS - 1; w >= 0; w--) {
                    rest = rest << 64 | big[w];
                    big[w] = (uint64_t)(rest / 10);
                    rest %= 10;
                }
            }
        }
        ck_assert_msg(big[1] == t->hi && big[0] == t->lo && big[2] == 0, "10^%d", k);
        ck_assert(t->hi >> 63 == 1);
    }
}
END_TEST

static void check_float(uint32_t bits)
{
    float v, back;
    char text[64];
    memcpy(&v, &bits, sizeof v);
    if (!isfinite(v)) return;
    struct buf b = {0};
    json_put_float(&b, v);
    buf_char(&b, '\0');
    ck_assert_int_eq(b.err, ERR_OK);
    back = strtof(b.p, NULL);
    ck_assert_msg(memcmp(&back, &v, sizeof v) == 0, "%a became %s", (double)v, b.p);
    ck_assert_msg(strpbrk(b.p, ".e") != NULL, "%s looks like an integer", b.p);
    buf_free(&b);
    if (v <= 0) return;
    /* no shorter decimal reads back the same, and none of this length is nearer */
    struct json_decimal d = json_shortest_float(v);
    int n = snprintf(text, sizeof text, "%u", d.digits);
    if (n > 1) {
        (void)snprintf(text, sizeof text, "%.*e", n - 2, (double)v);
        ck_assert_msg(strtof(text, NULL) != v, "%a: %s is shorter", (double)v, text);
    }
    (void)snprintf(text, sizeof text, "%.*e", n - 1, (double)v);
    if (strtof(text, NULL) == v) {
        char mine[64];
        (void)snprintf(mine, sizeof mine, "%ue%d", d.digits, d.exponent);
        ck_assert_msg(fabs(strtod(mine, NULL) - (double)v) <= fabs(strtod(text, NULL) - (double)v), "%a: %s, not %s",
                      (double)v, mine, text);
    }
}

START_TEST(floats_are_shortest_at_every_exponent)
{
    static const uint32_t fractions[] = {0, 1, 2, 3, 0x400000, 0x3fffff, 0x7ffffe, 0x7fffff, 0x2aaaaa, 0x555555};
    for (uint32_t e = 0; e < 255; e++)
        for (size_t i = 0; i < sizeof fractions / sizeof fractions[0]; i++) check_float(e << 23 | fractions[i]);
    check_float(UINT32_C(0x80000000));
    check_float(UINT32_C(0x80000001));
}
END_TEST

START_TEST(random_floats_are_shortest)
{
    struct rng rng = {20261124};
    for (int i = 0, n_rounds = suite_share(300000); i < n_rounds; i++) check_float((uint32_t)rng_next(&rng));
}
END_TEST

#if defined(__x86_64__)
static void check_eight(const float *v)
{
    char want[8 * JSON_FLOAT_TEXT_MAX + 9], got[8 * JSON_FLOAT_TEXT_MAX + 9], *to = want;
    for (int i = 0; i < 8; i++) {
        *to++ = ',';
        to = json_put_float_at(to, v[i]);
    }
    *to = '\0';
    *json_put_eights_avx2(got, v, 8) = '\0';
    ck_assert_str_eq(got, want);
}

START_TEST(eight_at_a_time_give_the_same_text)
{
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("lzcnt")) return;
    struct rng rng = {20261124};
    float v[8];
    for (uint32_t e = 0; e < 256; e++) {
        static const uint32_t fractions[] = {0, 1, 2, 0x400000, 0x3fffff, 0x7ffffe, 0x7fffff, 0x2aaaaa};
        for (int i = 0; i < 8; i++) {
            uint32_t bits = e << 23 | fractions[i] | (uint32_t)(i % 2) << 31;
            memcpy(&v[i], &bits, sizeof bits);
        }
        check_eight(v);
    }
    for (int i = 0, n_rounds = suite_share(250000); i < n_rounds; i++) {
        for (int j = 0; j < 8; j++) {
            /* mostly everyday sizes, from 2^-27 to 2^30; some numbers with few digits; anything at all */
            uint32_t exponent = 100 + (uint32_t)rng_below(&rng, 58), bits = (uint32_t)rng_next(&rng);
            uint32_t kind = (uint32_t)rng_below(&rng, 8);
            if (kind > 0) bits = (bits & 0x807fffff) | exponent << 23;
            memcpy(&v[j], &bits, sizeof bits);
            if (kind == 1) v[j] = (float)(int32_t)rng_below(&rng, 100000) / 1000;
            if (kind == 2) v[j] = (float)(int32_t)rng_below(&rng, 1000000000);
        }
        check_eight(v);
    }
}
END_TEST
#else
START_TEST(eight_at_a_time_give_the_same_text)
{
    ck_assert_ptr_null(json_put_eights_here());
}
END_TEST
#endif

START_TEST(lists_of_any_length)
{
    float v[200];
    for (uint32_t i = 0; i < 200; i++) v[i] = (float)i / 8 - 3;
    for (uint32_t n = 0; n <= 200; n++) {
        struct buf got = {0}, want = {0};
        json_put_floats(&got, v, n);
        buf_char(&want, '[');
        for (uint32_t i = 0; i < n; i++) {
            if (i > 0) buf_char(&want, ',');
            json_put_float(&want, v[i]);
        }
        buf_char(&want, ']');
        ck_assert_uint_eq(got.n, want.n);
        ck_assert_mem_eq(got.p, want.p, want.n);
        buf_free(&got);
        buf_free(&want);
    }
}
END_TEST

START_TEST(floats_print_as_upstream_prints)
{
    static const struct {
        float v;
        const char *text;
    } cases[] = {{1, "1.0"},
                 {-0.0f, "-0.0"},
                 {0.1f, "0.1"},
                 {1e16f, "1e+16"},
                 {1e12f, "1000000000000.0"},
                 {1e13f, "1e+13"},
                 {1.5e13f, "1.5e+13"},
                 {123456789.0f, "123456790.0"},
                 {1e-5f, "0.00001"},
                 {1e-6f, "0.000001"},
                 {1.5e-7f, "1.5e-7"},
                 {3.4e38f, "3.4e+38"},
                 {1e-45f, "1e-45"},
                 {0.00001234f, "0.00001234"},
                 {NAN, "null"},
                 {INFINITY, "null"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf b = {0};
        json_put_float(&b, cases[i].v);
        buf_char(&b, '\0');
        ck_assert_str_eq(b.p, cases[i].text);
        buf_free(&b);
    }
}
END_TEST

START_TEST(doubles_print_as_upstream_prints)
{
    static const struct {
        double v;
        const char *text;
    } cases[] = {{1.5, "1.5"},
                 {2, "2.0"},
                 {0.0, "0.0"},
                 {-0.0, "-0.0"},
                 {1e16, "1e+16"},
                 {3e15, "3000000000000000.0"},
                 {1e-7, "1e-7"},
                 {1e-5, "0.00001"},
                 {1e-6, "1e-6"},
                 {9223372036854775808.0, "9.223372036854776e+18"},
                 {123456789012345680.0, "1.2345678901234568e+17"},
                 {0.1, "0.1"},
                 {1.7976931348623157e308, "1.7976931348623157e+308"},
                 {5e-324, "5e-324"},
                 {-0.30000000000000004, "-0.30000000000000004"},
                 {INFINITY, "null"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf b = {0};
        json_put_double(&b, cases[i].v);
        buf_char(&b, '\0');
        ck_assert_str_eq(b.p, cases[i].text);
        buf_free(&b);
    }
}
END_TEST

/* What people write: the text is the shortest there is, and reads back. */
START_TEST(doubles_of_few_digits_are_shortest)
{
    struct rng rng = {15};
    for (int i = 0, n_rounds = suite_share(200000); i < n_rounds; i++) {
        char text[64], shorter[64];
        int n_digits = 1 + (int)rng_below(&rng, 17), exponent = (int)rng_below(&rng, 36) - 24;
        uint64_t m = rng_next(&rng) >> 4;
        for (uint64_t limit = 10; n_digits > 0; n_digits--, limit *= 10)
            if (n_digits == 1) m %= limit;
        (void)snprintf(text, sizeof text, "%llue%d", (unsigned long long)m, exponent);
        double v = strtod(text, NULL);
        struct buf b = {0};
        json_put_double(&b, v);
        buf_char(&b, '\0');
        ck_assert_int_eq(b.err, ERR_OK);
        ck_assert_msg(strtod(b.p, NULL) == v, "%s became %s", text, b.p);
        int n_shown = 0; /* significant digits: from the first that is not zero to the last */
        int n_zeros = 0;
        for (const char *p = b.p; *p != '\0' && *p != 'e'; p++) {
            if (*p < '0' || *p > '9' || (n_shown == 0 && *p == '0')) continue;
            n_zeros = *p == '0' ? n_zeros + 1 : 0;
            n_shown++;
        }
        n_shown -= n_zeros;
        if (n_shown > 1) {
            (void)snprintf(shorter, sizeof shorter, "%.*e", n_shown - 2, v);
            ck_assert_msg(strtod(shorter, NULL) != v, "%s became %s", text, b.p);
        }
        buf_free(&b);
    }
}
END_TEST

START_TEST(doubles_read_back)
{
    struct rng rng = {7};
    for (int i = 0, n_rounds = suite_share(50000); i < n_rounds; i++) {
        uint64_t bits = rng_next(&rng);
        double v, back;
        memcpy(&v, &bits, sizeof v);
        if (!isfinite(v)) continue;
        struct buf b = {0};
        json_put_double(&b, v);
        buf_char(&b, '\0');
        back = strtod(b.p, NULL);
        ck_assert_msg(memcmp(&v, &back, sizeof v) == 0, "%a became %s", v, b.p);
        buf_free(&b);
    }
}
END_TEST

static void check_reading(const char *text)
{
    struct arena arena = {0};
    static struct json_reader r;
    struct json_number n;
    json_reader_init(&r, str_from_c(text), &arena);
    ck_assert_msg(json_number(&r, &n, "a number") && json_finish(&r), "%s: %.*s", text, STR_ARG(r.message));
    double want = strtod(text, NULL);
    ck_assert_msg(memcmp(&n.f, &want, sizeof want) == 0, "%s read as %a, not %a", text, n.f, want);
    arena_free(&arena);
}

START_TEST(decimals_are_rounded_as_strtod_does)
{
    struct rng rng = {99};
    char text[128];
    for (int i = 0, n_rounds = suite_share(200000); i < n_rounds; i++) {
        uint64_t m = rng_next(&rng) >> rng_below(&rng, 64);
        int e = (int)rng_below(&rng, 140) - 70;
        switch (rng_below(&rng, 4)) {
        case 0:
            (void)snprintf(text, sizeof text, "%llue%d", (unsigned long long)m, e);
            break;
        case 1: {
            uint64_t bits = rng_next(&rng);
            double v;
            memcpy(&v, &bits, sizeof v);
            if (!isfinite(v)) continue;
            (void)snprintf(text, sizeof text, "%.17g", v);
            break;
        }
        case 2:
            (void)snprintf(text, sizeof text, "-0.%0*llu", 1 + (int)rng_below(&rng, 30), (unsigned long long)m);
            break;
        default:
            (void)snprintf(text, sizeof text, "%llu.%llue%d", (unsigned long long)(m >> 30),
                           (unsigned long long)rng_next(&rng), e);
            break;
        }
        check_reading(text);
    }
}
END_TEST

/* Values exactly between two doubles, and one digit beside them: the hardest to round. */
START_TEST(ties_are_rounded_to_even)
{
    struct rng rng = {5};
    char text[900];
    for (int i = 0, n_rounds = suite_share(3000); i < n_rounds; i++) {
        uint64_t m = (rng_next(&rng) >> 11) | UINT64_C(1) << 52;
        int e = (int)rng_below(&rng, 80) - 60;
        double low = ldexp((double)m, e), half = ldexp(1.0, e - 1);
        /* both parts are exact in long double or printed exactly: m + 0.5 needs 54 bits */
        long double tie = (long double)low + (long double)half;
        int n = snprintf(text, sizeof text, "%.*Lf", e < 0 ? 1 - e : 0, tie);
        ck_assert_int_lt(n, (int)sizeof text - 4);
        check_reading(text);
        (void)snprintf(text + n, sizeof text - (size_t)n, "%s", e < 1 ? "01" : ".01");
        check_reading(text);
    }
    check_reading("9007199254740993");
    check_reading("9007199254740992.5");
    check_reading("9007199254740993.0000000000000000000000001");
    check_reading("0.000000000000000000000000000000000000000000000000000000000000000000000000000000000000001");
    check_reading("0e99999999999");
    check_reading("1e-99999999999");
    check_reading("2.2250738585072011e-308");
    check_reading("4.9406564584124654e-324");
}
END_TEST

START_TEST(vectors_are_the_double_cast_to_float)
{
    struct rng rng = {12};
    struct buf text = {0}, out = {0};
    enum { N = 20000 };
    float *want = malloc(N * sizeof *want);
    ck_assert_ptr_nonnull(want);
    buf_char(&text, '[');
    for (int i = 0; i < N; i++) {
        char number[64];
        float g = rng_gauss(&rng);
        if (i % 3 == 0)
            (void)snprintf(number, sizeof number, "%.17g", (double)g);
        else if (i % 3 == 1)
            (void)snprintf(number, sizeof number, "%.9g", (double)g * 1e-30);
        else
            (void)snprintf(number, sizeof number, "%d", (int)(g * 1e6f));
        want[i] = (float)strtod(number, NULL);
        if (strcmp(number, "-0") == 0) want[i] = -0.0f;
        buf_printf(&text, "%s%s", i > 0 ? (i % 2 ? ", " : ",") : "", number);
    }
    buf_char(&text, ']');
    struct arena arena = {0};
    static struct json_reader r;
    uint32_t n = 0;
    json_reader_init(&r, buf_view(&text), &arena);
    ck_assert(json_f32_array(&r, &out, &n) && json_finish(&r));
    ck_assert_uint_eq(n, N);
    ck_assert_uint_eq(out.n, N * sizeof *want);
    ck_assert_int_eq(memcmp(out.p, want, out.n), 0);
    /* and written and read again they are the same */
    struct buf again = {0}, out2 = {0};
    json_put_floats(&again, want, N);
    json_reader_init(&r, buf_view(&again), &arena);
    ck_assert(json_f32_array(&r, &out2, &n) && json_finish(&r));
    ck_assert_int_eq(memcmp(out2.p, want, out.n), 0);
    buf_free(&again);
    buf_free(&out2);
    buf_free(&text);
    buf_free(&out);
    arena_free(&arena);
    free(want);
}
END_TEST

START_TEST(vectors_beyond_float32_are_infinite)
{
    struct arena arena = {0};
    static struct json_reader r;
    struct buf out = {0};
    uint32_t n = 7;
    json_reader_init(&r, STR("[1e39, -1e39, 1e-46, 3.4028235677973366e38]"), &arena);
    ck_assert(json_f32_array(&r, &out, &n));
    ck_assert_uint_eq(n, 4);
    const float want[] = {INFINITY, -INFINITY, 0, INFINITY};
    ck_assert_int_eq(memcmp(out.p, want, sizeof want), 0);
    buf_free(&out);
    json_reader_init(&r, STR("[]"), &arena);
    ck_assert(json_f32_array(&r, &out, &n) && json_finish(&r));
    ck_assert_uint_eq(n, 0);
    ck_assert_uint_eq(out.n, 0);
    buf_free(&out);
    arena_free(&arena);
}
END_TEST

TESTS(json_float, powers_of_ten_are_exact, floats_are_shortest_at_every_exponent, random_floats_are_shortest,
      eight_at_a_time_give_the_same_text, lists_of_any_length, floats_print_as_upstream_prints,
      doubles_print_as_upstream_prints, doubles_read_back, doubles_of_few_digits_are_shortest,
      decimals_are_rounded_as_strtod_does, ties_are_rounded_to_even, vectors_are_the_double_cast_to_float,
      vectors_beyond_float32_are_infinite)
