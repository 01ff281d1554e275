/* test_body_spares.c - the smallest block that fits is taken; what is kept stays within its bounds; what nobody takes is freed.
 * (That nothing is lost or freed twice is seen by AddressSanitizer.) */
#include "tests/lib/suite.h"

#include "core/mem.h"
#include "server/body_spares.h"

#define MIB ((size_t)1 << 20)

static struct body_spares s;

static void keep(size_t mib, uint64_t room_mib, uint64_t now_ms)
{
    char *p = mem_alloc(mib * MIB);
    ck_assert_ptr_nonnull(p);
    body_spares_keep(&s, p, mib * MIB, room_mib * MIB, now_ms);
}

static void ck_kept(unsigned n, size_t mib)
{
    ck_assert_uint_eq(s.n, n);
    ck_assert_uint_eq(s.bytes, mib * MIB);
}

START_TEST(the_smallest_that_fits)
{
    size_t got = 0;
    for (size_t mib = 8; mib >= 4; mib -= 2) keep(mib, 100, 0);
    ck_kept(3, 18);
    ck_assert_ptr_null(body_spares_take(&s, 9 * MIB, &got));
    ck_assert_ptr_null(body_spares_take(&s, MIB, &got)); /* small ones are the C library's */
    char *p = body_spares_take(&s, 5 * MIB, &got);
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_eq(got, 6 * MIB);
    ck_kept(2, 12);
    body_spares_keep(&s, p, got, 100 * MIB, 0);
    ck_kept(3, 18);
    body_spares_shrink(&s, 0);
    ck_kept(0, 0);
    ck_assert_ptr_null(body_spares_take(&s, 5 * MIB, &got));
}
END_TEST

START_TEST(bounds)
{
    body_spares_keep(&s, NULL, 0, 100 * MIB, 0);
    keep(3, 100, 0);
    ck_kept(0, 0); /* small */
    keep(4, 3, 0);
    ck_kept(0, 0); /* no room */
    keep(4, 4, 0);
    keep(4, 7, 0);
    ck_kept(1, 4);
    keep(4, 2, 0);
    ck_kept(1, 4);
    for (int i = 0; i < 10; i++) keep(5, 100, 0);
    ck_kept(SPARES_MAX, 4 + 5 * (SPARES_MAX - 1));
    body_spares_shrink(&s, 12 * MIB); /* the longest kept first */
    ck_kept(2, 10);
    body_spares_shrink(&s, 12 * MIB);
    ck_kept(2, 10);
    body_spares_shrink(&s, 0);
    ck_kept(0, 0);
}
END_TEST

START_TEST(ageing)
{
    body_spares_age(&s, 0);
    keep(4, 100, 1000);
    keep(5, 100, 1500);
    keep(6, 100, 1500);
    body_spares_age(&s, 1000 + SPARE_IDLE_MS - 1);
    ck_kept(3, 15);
    body_spares_age(&s, 1500 + SPARE_IDLE_MS);
    ck_kept(2, 11); /* one at a time */
    body_spares_age(&s, 1500 + SPARE_IDLE_MS);
    ck_kept(1, 6);
    body_spares_age(&s, 1500 + SPARE_IDLE_MS);
    ck_kept(0, 0);
}
END_TEST

TESTS(body_spares, the_smallest_that_fits, bounds, ageing)
