/* test_base64.c - decoding against a plain encoder, the wording of every kind of fault, and that exactly one
 * spelling of a sequence of bytes is accepted.
 */
#include "api/base64.h"

#include <stdio.h>

#include "core/mem.h"
#include "tests/lib/suite.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* The definition, bit by bit. */
static size_t encode(const uint8_t *p, size_t n, char *out)
{
    size_t k = 0;
    for (size_t bit = 0; bit < n * 8; bit += 6) {
        unsigned v = 0;
        for (size_t i = bit; i < bit + 6; i++) v = v << 1 | (i < n * 8 ? (unsigned)p[i / 8] >> (7 - i % 8) & 1U : 0U);
        out[k++] = alphabet[v];
    }
    while (k % 4 != 0) out[k++] = '=';
    return k;
}

START_TEST(reads_back_what_was_encoded)
{
    struct rng rng = {0x5eed64};
    uint8_t bytes[80];
    char text[120];
    for (size_t n = 0; n <= sizeof bytes; n++) {
        for (size_t i = 0; i < n; i++) bytes[i] = (uint8_t)rng_next(&rng);
        size_t k = encode(bytes, n, text);
        struct buf out = {0};
        buf_lit(&out, "before");
        ck_ok(base64_decode(str_of(text, k), &out, NULL));
        ck_assert_uint_eq(out.n, 6 + n);
        ck_assert_mem_eq(out.p, "before", 6);
        if (n > 0) ck_assert_mem_eq(out.p + 6, bytes, n);
        buf_free(&out);
    }
}
END_TEST

static const struct {
    const char *text, *fault;
} faults[] = {
    {"AAA", "Invalid padding"},
    {"AAAAAA", "Invalid padding"},
    {"AAAAAA=", "Invalid padding"},
    {"AAAAAAA", "Invalid padding"},
    {"A", "Invalid input length: 1"},
    {"AAAAA", "Invalid input length: 5"},
    {"AAAAAB==", "Invalid last symbol 66, offset 5."},
    {"AAAAAAAAAAB=", "Invalid last symbol 66, offset 10."},
    {"####", "Invalid symbol 35, offset 0."},
    {"AA#", "Invalid symbol 35, offset 2."},
    {"AAAAAAA#", "Invalid symbol 35, offset 7."},
    {"AAAA AAA", "Invalid symbol 32, offset 4."},
    {"AAAA\nAAA=", "Invalid symbol 10, offset 4."},
    {"AAAAAA==\n", "Invalid symbol 10, offset 8."},
    {"-_8_AAAAAAAA", "Invalid symbol 45, offset 0."},
    {"\xc3\xa9", "Invalid symbol 195, offset 0."},
    {"=", "Invalid symbol 61, offset 0."},
    {"====", "Invalid symbol 61, offset 0."},
    {"A===", "Invalid symbol 61, offset 1."},
    {"AA=A", "Invalid symbol 61, offset 2."},
    {"AA=AAA==", "Invalid symbol 61, offset 2."},
    {"AAA=AAAA", "Invalid symbol 61, offset 3."},
    {"AAAA====", "Invalid symbol 61, offset 4."},
    {"AAAAA===", "Invalid symbol 61, offset 5."},
    {"AAAAAA=A", "Invalid symbol 61, offset 6."},
    {"AAAAAA==AAAA", "Invalid symbol 61, offset 6."},
};

START_TEST(faults_are_named_as_the_contract_names_them)
{
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct buf out = {0};
        struct errmsg em = {{0}};
        buf_lit(&out, "kept");
        ck_assert_msg(base64_decode(str_from_c(faults[i].text), &out, &em) == ERR_INVALID, "accepted: %s",
                      faults[i].text);
        ck_assert_str_eq(em.text, faults[i].fault);
        ck_assert_uint_eq(out.n, 4);
        ck_assert(out.err == ERR_OK);
        buf_free(&out);
    }
}
END_TEST

/* Random changes of valid text: what is accepted must be the one spelling of what comes out. */
START_TEST(only_the_canonical_spelling_is_accepted)
{
    struct rng rng = {0x5eed65};
    unsigned n_accepted = 0;
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[16];
        char text[32], again[32];
        size_t n = rng_below(&rng, 12);
        for (size_t i = 0; i < n; i++) bytes[i] = (uint8_t)rng_next(&rng);
        size_t k = encode(bytes, n, text);
        if (k > 0) {
            char wild = rng_below(&rng, 3) == 0 ? (char)rng_next(&rng) : alphabet[rng_below(&rng, 64)];
            text[rng_below(&rng, (uint32_t)k)] = rng_below(&rng, 4) == 0 ? '=' : wild;
            if (rng_below(&rng, 4) == 0) k -= rng_below(&rng, (uint32_t)k);
        }
        struct buf out = {0};
        if (base64_decode(str_of(text, k), &out, NULL) == ERR_OK) {
            n_accepted++;
            ck_assert_uint_eq(encode((const uint8_t *)buf_view(&out).p, out.n, again), k);
            ck_assert_mem_eq(again, text, k);
        }
        buf_free(&out);
    }
    ck_assert_uint_gt(n_accepted, 1000);
}
END_TEST

static bool no_memory(void *ctx, size_t size)
{
    (void)ctx;
    (void)size;
    return false;
}

START_TEST(short_memory_and_ceilings_are_reported)
{
    struct buf out = {0};
    struct errmsg em = {{0}};
    mem_set_hook(no_memory, NULL);
    enum err e = base64_decode(STR("AAAA"), &out, &em);
    mem_set_hook(NULL, NULL);
    ck_assert(e == ERR_NOMEM);
    struct buf small = {.max = 8};
    ck_assert(base64_decode(STR("AAAAAAAAAAAAAAAA"), &small, &em) == ERR_TOO_LARGE);
    ck_assert_uint_eq(small.n, 0);
    buf_free(&small);
}
END_TEST

TESTS(base64, reads_back_what_was_encoded, faults_are_named_as_the_contract_names_them,
      only_the_canonical_spelling_is_accepted, short_memory_and_ceilings_are_reported)
