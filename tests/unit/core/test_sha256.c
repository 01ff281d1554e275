/* test_sha256.c - the standard's examples, every way of cutting the input, and lengths around the block. */
#include "tests/lib/suite.h"

#include <stdio.h>

#include "core/sha256.h"

static const char *hex_of(const void *p, size_t n)
{
    static char text[2 * SHA256_BYTES + 1];
    struct sha256 s;
    uint8_t d[SHA256_BYTES];
    sha256_init(&s);
    sha256_add(&s, p, n);
    sha256_end(&s, d);
    for (size_t i = 0; i < SHA256_BYTES; i++) (void)snprintf(text + 2 * i, 3, "%02x", d[i]);
    return text;
}

START_TEST(examples_of_the_standard)
{
    static char million[1000000];
    static const char two_blocks[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    memset(million, 'a', sizeof million);
    ck_assert_str_eq(hex_of("", 0), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    ck_assert_str_eq(hex_of("abc", 3), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    ck_assert_str_eq(hex_of(two_blocks, sizeof two_blocks - 1),
                     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    ck_assert_str_eq(hex_of(million, sizeof million),
                     "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}
END_TEST

START_TEST(cuts_do_not_matter)
{
    uint8_t input[200], whole[SHA256_BYTES], cut[SHA256_BYTES];
    struct rng r = {7};
    for (size_t i = 0; i < sizeof input; i++) input[i] = (uint8_t)rng_next(&r);
    for (size_t n = 0; n <= sizeof input; n++) {
        struct sha256 s;
        sha256_init(&s);
        sha256_add(&s, input, n);
        sha256_end(&s, whole);
        sha256_init(&s);
        for (size_t at = 0; at < n;) {
            size_t take = 1 + rng_below(&r, 70);
            if (take > n - at) take = n - at;
            sha256_add(&s, input + at, take);
            at += take;
        }
        sha256_end(&s, cut);
        ck_assert_msg(memcmp(whole, cut, sizeof cut) == 0, "length %zu, seed 7", n);
    }
}
END_TEST

START_TEST(equality_sees_every_byte)
{
    uint8_t a[33] = {0}, b[33] = {0};
    ck_assert(bytes_eq_constant_time(a, b, sizeof a));
    for (size_t i = 0; i < sizeof a; i++) {
        b[i] = 1;
        ck_assert(!bytes_eq_constant_time(a, b, sizeof a));
        ck_assert(bytes_eq_constant_time(a, b, i));
        b[i] = 0;
    }
}
END_TEST

TESTS(sha256, examples_of_the_standard, cuts_do_not_matter, equality_sees_every_byte)
