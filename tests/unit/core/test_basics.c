/* test_basics.c - buffers, arenas, bitmaps, checksums, identifiers, errors. */
#include <errno.h>
#include <stdio.h>

#include "core/arena.h"
#include "core/bitset.h"
#include "core/buf.h"
#include "core/crc32c.h"
#include "core/hash.h"
#include "core/mem.h"
#include "core/uuid.h"
#include "tests/lib/suite.h"

START_TEST(expecting_bytes_changes_no_text)
{
    struct buf b = {.max = 100};
    buf_lit(&b, "abc");
    buf_expect(&b, 98); /* one too many */
    buf_expect(&b, SIZE_MAX);
    ck_assert_int_eq(b.err, ERR_OK);
    buf_expect(&b, 97);
    ck_assert_uint_eq(b.cap, 100);
    buf_expect(&b, 5); /* there is room already */
    ck_assert_uint_eq(b.cap, 100);
    ck_assert_uint_eq(b.n, 3);
    ck_assert_mem_eq(b.p, "abc", 3);
    buf_free(&b);
}
END_TEST

START_TEST(buffers_grow_and_keep_their_ceiling)
{
    struct buf b = {.max = 100};
    for (int i = 0; i < 100; i++) buf_char(&b, (char)i);
    ck_assert_int_eq(b.err, ERR_OK);
    ck_assert_uint_eq(b.n, 100);
    buf_char(&b, 'x');
    ck_assert_int_eq(b.err, ERR_TOO_LARGE);
    ck_assert_uint_eq(b.n, 100);
    for (int i = 0; i < 100; i++) ck_assert_int_eq(b.p[i], i);
    buf_free(&b);
    buf_lit(&b, "abc");
    buf_align(&b, 8);
    buf_u32(&b, 7);
    buf_printf(&b, "%d-%s", 5, "five");
    ck_assert_uint_eq(b.n, 8 + 4 + 6);
    ck_assert_mem_eq(b.p,
                     "abc\0\0\0\0\0\7\0\0\0"
                     "5-five",
                     18);
    size_t n;
    char *p = buf_take(&b, &n);
    ck_assert_uint_eq(n, 18);
    ck_assert_uint_eq(b.n, 0);
    mem_free(p);
    buf_varint(&b, 0);
    buf_varint(&b, 300);
    buf_varint(&b, UINT64_MAX);
    ck_assert_uint_eq(b.n, 1 + 2 + 10);
    ck_assert_mem_eq(b.p, "\0\xac\2", 3);
    buf_free(&b);
}
END_TEST

START_TEST(arenas_align_and_keep_their_ceiling)
{
    struct arena a = {.max_bytes = 1 << 20};
    struct rng r = {1};
    for (int i = 0; i < 500; i++) {
        size_t n = rng_below(&r, 1000);
        char *p = arena_alloc(&a, n);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % 16, 0);
        memset(p, i, n);
    }
    ck_assert_ptr_null(arena_alloc(&a, 1 << 20));
    ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX));
    ck_assert_ptr_null(arena_array(&a, SIZE_MAX / 2, 4));
    struct str s = arena_printf(&a, "%s=%d", "x", 3);
    ck_assert(str_eq(s, STR("x=3")));
    ck_assert_int_eq(s.p[s.n], 0);
    s = arena_str(&a, str_of("a\0b", 3));
    ck_assert_mem_eq(s.p, "a\0b", 4);
    arena_free(&a);
    ck_assert_uint_eq(a.max_bytes, 1 << 20);
    ck_assert_uint_eq(a.used_bytes, 0);
}
END_TEST

START_TEST(bitmaps_follow_an_array)
{
    struct rng r = {2};
    for (int round = 0; round < 200; round++) {
        struct arena a = {0};
        uint32_t n = 1 + rng_below(&r, 300), count = 0;
        bool x[300], y[300];
        struct bitset s, o;
        ck_assert(bitset_init(&s, &a, n) && bitset_init(&o, &a, n));
        for (uint32_t i = 0; i < n; i++) {
            x[i] = rng_below(&r, 3) == 0;
            y[i] = rng_below(&r, 2) == 0;
            if (x[i]) bitset_add(&s, i);
            if (y[i]) bitset_add(&o, i);
        }
        switch (round % 5) {
        case 0:
            bitset_and(&s, &o);
            break;
        case 1:
            bitset_or(&s, &o);
            break;
        case 2:
            bitset_andnot(&s, &o);
            break;
        case 3:
            bitset_not(&s);
            break;
        default:
            bitset_fill(&s);
            break;
        }
        uint32_t next = bitset_next(&s, 0);
        for (uint32_t i = 0; i < n; i++) {
            bool want[] = {x[i] && y[i], x[i] || y[i], x[i] && !y[i], !x[i], true};
            ck_assert_int_eq(bitset_get(&s, i), want[round % 5]);
            if (!want[round % 5]) continue;
            count++;
            ck_assert_uint_eq(next, i);
            next = bitset_next(&s, i + 1);
        }
        ck_assert_uint_eq(next, n);
        ck_assert_uint_eq(bitset_count(&s), count);
        for (int k = 0; k < 20; k++) { /* a stretch, at most so many of its ones */
            uint32_t to = rng_below(&r, n + 1), from = rng_below(&r, to + 1), most = rng_below(&r, n / 2 + 2);
            uint32_t passed, seen = 0, at = from, end = bitset_pass(&s, from, to, most, &passed);
            for (; at < to && seen < most; at++) seen += bitset_get(&s, at);
            ck_assert_uint_eq(passed, seen);
            ck_assert_uint_eq(end, at);
        }
        arena_free(&a);
    }
}
END_TEST

START_TEST(checksums_have_the_published_values)
{
    /* RFC 3720, appendix B.4 */
    uint8_t zeros[32] = {0}, ones[32], up[32];
    memset(ones, 0xff, sizeof ones);
    for (int i = 0; i < 32; i++) up[i] = (uint8_t)i;
    ck_assert_uint_eq(crc32c(0, zeros, 32), 0x8a9136aa);
    ck_assert_uint_eq(crc32c(0, ones, 32), 0x62a8ab43);
    ck_assert_uint_eq(crc32c(0, up, 32), 0x46dd794e);
    ck_assert_uint_eq(crc32c(0, "123456789", 9), 0xe3069283);
    struct rng r = {3};
    uint8_t text[300];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (uint8_t)rng_next(&r);
    for (size_t n = 0; n < 290; n++) {
        size_t at = n % 7, cut = rng_below(&r, (uint32_t)n + 1);
        uint32_t whole = crc32c(0, text + at, n);
        ck_assert_uint_eq(whole, crc32c_portable(0, text + at, n));
        ck_assert_uint_eq(whole, crc32c(crc32c(0, text + at, cut), text + at + cut, n - cut));
    }
}
END_TEST

START_TEST(identifiers_are_read_in_every_spelling)
{
    struct uuid u, v;
    char text[UUID_TEXT + 1];
    const char *good[] = {"a5ef6948-c3c8-4b82-90cf-e2faeb008ca6", "A5EF6948-C3C8-4B82-90CF-E2FAEB008CA6",
                          "a5ef6948c3c84b8290cfe2faeb008ca6", "{a5ef6948-c3c8-4b82-90cf-e2faeb008ca6}",
                          "urn:uuid:a5ef6948-c3c8-4b82-90cf-e2faeb008ca6"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        ck_assert_msg(uuid_parse(str_from_c(good[i]), &u), "%s", good[i]);
        uuid_format(&u, text);
        ck_assert_str_eq(text, good[0]);
    }
    const char *bad[] = {"",
                         "zzz",
                         " a5ef6948-c3c8-4b82-90cf-e2faeb008ca6",
                         "a5ef6948-c3c8-4b82-90cf-e2faeb008ca",
                         "a5ef6948+c3c8-4b82-90cf-e2faeb008ca6",
                         "g5ef6948-c3c8-4b82-90cf-e2faeb008ca6",
                         "{a5ef6948-c3c8-4b82-90cf-e2faeb008ca6"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!uuid_parse(str_from_c(bad[i]), &u), "%s", bad[i]);
    u = uuid_new();
    v = uuid_new();
    ck_assert(!uuid_eq(&u, &v));
    uuid_format(&u, text);
    ck_assert_int_eq(text[14], '4');
    ck_assert(uuid_parse(str_from_c(text), &v) && uuid_eq(&u, &v));
}
END_TEST

START_TEST(errors_say_where_and_why)
{
    struct errmsg em = {{0}};
    ck_assert_int_eq(errmsg_errno(&em, ENOSPC, "write %s", "x"), ERR_NO_SPACE);
    ck_assert_str_eq(em.text, "write x: No space left on device");
    errmsg_wrap(&em, "segment %d", 12);
    ck_assert_str_eq(em.text, "segment 12: write x: No space left on device");
    ck_assert_int_eq(errmsg_errno(&em, EIO, "read"), ERR_IO);
    char lots[2000];
    memset(lots, 'a', sizeof lots - 1);
    lots[sizeof lots - 1] = 0;
    for (int i = 0; i < 5; i++) errmsg_wrap(&em, "%s", lots);
    ck_assert_uint_eq(strlen(em.text), sizeof em.text - 1);
    ck_assert_uint_eq(err_status(ERR_EXISTS), 409);
    ck_assert_str_eq(err_name(ERR_NOT_FOUND), "NotFoundError");
    ck_assert_int_eq(errmsg_set(NULL, ERR_CORRUPT, "nobody listens"), ERR_CORRUPT);
}
END_TEST

static bool fail_once(void *ctx, size_t size)
{
    (void)size;
    return --*(int *)ctx != 0;
}

START_TEST(texts_are_made_plain)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"plain, 1 \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "plain, 1 \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"a\nb\r\tc\x1b[2J\x7f", "a?b??c?[2J?"},
        {"\xff"
         "a\xc3",
         "?a?"},                             /* bytes of no character, one cut off at the end */
        {"\xed\xa0\x80|\xc0\xaf", "???|??"}, /* a surrogate, a long form */
        {"\xc2\x9b"
         "31m \xc2\xa0",
         "??31m \xc2\xa0"}, /* a control character beyond ASCII, and what follows those */
        {"\xef\xbf\xbd", "\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct errmsg em;
        (void)errmsg_set(&em, ERR_CORRUPT, "%s", cases[i][0]);
        ck_assert_str_eq(errmsg_plain(&em), cases[i][1]);
    }
}
END_TEST

/* Arenas and buffers of one budget, against sums of what they hold. */
START_TEST(a_budget_is_shared)
{
    enum { N = 4, FREE = BUDGET_FREE_BYTES };
    struct budget all = {.max_bytes = 1 << 20};
    struct arena arenas[N];
    struct buf bufs[N];
    struct rng rng = {3};
    bool was_refused = false;
    for (int i = 0; i < N; i++) {
        arenas[i] = (struct arena){.budget = &all};
        bufs[i] = (struct buf){.budget = &all};
    }
    for (int step = 0; step < 2000; step++) {
        uint64_t r = rng_next(&rng);
        int i = (int)(r % N);
        size_t n = (r >> 8) % 200000;
        if ((r >> 40) % 4 == 0) {
            arena_free(&arenas[i]);
            buf_free(&bufs[i]);
            bufs[i].budget = &all;
        } else if ((r >> 40) % 4 == 1) {
            if (bufs[i].err == ERR_OK) buf_zero(&bufs[i], n);
            was_refused = was_refused || bufs[i].err == ERR_NOMEM;
        } else if (arena_alloc(&arenas[i], n) == NULL) {
            was_refused = true;
        }
        uint64_t sum = 0;
        for (int k = 0; k < N; k++) {
            sum += arenas[k].held_bytes > FREE ? arenas[k].held_bytes - FREE : 0;
            sum += bufs[k].cap > FREE ? bufs[k].cap - FREE : 0;
        }
        ck_assert_uint_eq(budget_used(&all), sum);
        ck_assert_uint_le(sum, all.max_bytes);
    }
    ck_assert(was_refused);
    for (int i = 0; i < N; i++) {
        arena_free(&arenas[i]);
        buf_free(&bufs[i]);
    }
    ck_assert_uint_eq(budget_used(&all), 0);
    ck_assert(budget_take(&all, all.max_bytes)); /* spent: what is small goes on */
    struct buf small = {.budget = &all};
    buf_zero(&small, FREE);
    ck_assert_int_eq(small.err, ERR_OK);
    buf_char(&small, 'x');
    ck_assert_int_eq(small.err, ERR_NOMEM);
    size_t n = 0, cap = small.cap;
    char *p = buf_take(&small, &n); /* with its charge, which is none */
    budget_shrink(&all, cap, 0);
    mem_free(p);
    ck_assert_uint_eq(budget_used(&all), all.max_bytes);
}
END_TEST

START_TEST(short_memory_is_told)
{
    int left = 1;
    struct buf b = {0};
    mem_set_hook(fail_once, &left);
    buf_lit(&b, "x");
    mem_set_hook(NULL, NULL);
    ck_assert_int_eq(b.err, ERR_NOMEM);
    buf_lit(&b, "y"); /* sticky */
    ck_assert_uint_eq(b.n, 0);
    buf_free(&b);
    left = 1;
    mem_set_hook(fail_once, &left);
    buf_expect(&b, 100); /* a wish only */
    mem_set_hook(NULL, NULL);
    ck_assert_int_eq(left, 0);
    buf_lit(&b, "x");
    ck_assert_int_eq(b.err, ERR_OK);
    ck_assert_uint_eq(b.n, 1);
    buf_free(&b);
    ck_assert_ptr_null(mem_array(SIZE_MAX / 2, 3));
    void *p = mem_aligned(64, 100);
    ck_assert_uint_eq((uintptr_t)p % 64, 0);
    mem_free(p);
}
END_TEST

START_TEST(hashes_depend_on_the_seed)
{
    ck_assert_uint_eq(hash_bytes("abc", 3, 1), hash_bytes("abc", 3, 1));
    ck_assert_uint_ne(hash_bytes("abc", 3, 1), hash_bytes("abc", 3, 2));
    ck_assert_uint_eq(hash_process_seed(), hash_process_seed());
}
END_TEST

TESTS(basics, buffers_grow_and_keep_their_ceiling, expecting_bytes_changes_no_text, arenas_align_and_keep_their_ceiling,
      bitmaps_follow_an_array, checksums_have_the_published_values, identifiers_are_read_in_every_spelling,
      errors_say_where_and_why, texts_are_made_plain, a_budget_is_shared, short_memory_is_told,
      hashes_depend_on_the_seed)
