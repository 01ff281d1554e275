/* test_spin.c - the window follows what waits took, and looking ends with it. */
#include "tests/lib/suite.h"

#include "core/clock.h"
#include "core/spin.h"

enum { MAX_US = 400 };

START_TEST(waits_that_are_short_enough_open_the_window)
{
    struct spin s = spin_of(MAX_US);
    ck_assert(!spin_goes_on(&s)); /* at first it sleeps at once */
    uint64_t before = 0;
    for (int i = 0; i < 10; i++) {
        spin_learn(&s, s.max_ns);
        ck_assert_uint_ge(s.window_ns, before);
        ck_assert_uint_le(s.window_ns, s.max_ns);
        before = s.window_ns;
    }
    ck_assert_uint_eq(s.window_ns, s.max_ns);
}
END_TEST

START_TEST(the_window_is_no_longer_than_needed)
{
    struct spin s = spin_of(MAX_US);
    for (int i = 0; i < 100; i++) spin_learn(&s, 60000);
    ck_assert_uint_ge(s.window_ns, 60000);
    ck_assert_uint_lt(s.window_ns, 2 * 60000);
    uint64_t found = s.window_ns;
    spin_learn(&s, 0);
    spin_learn(&s, found); /* the window was enough */
    ck_assert_uint_eq(s.window_ns, found);
}
END_TEST

START_TEST(long_waits_close_it)
{
    struct spin s = spin_of(MAX_US);
    for (int i = 0; i < 10; i++) spin_learn(&s, s.max_ns);
    uint64_t before = s.window_ns;
    for (int i = 0; i < 20; i++) {
        spin_learn(&s, s.max_ns + 1);
        ck_assert_uint_le(s.window_ns, before);
        before = s.window_ns;
    }
    ck_assert_uint_eq(s.window_ns, 0);
    spin_begin(&s);
    ck_assert(!spin_goes_on(&s));
    spin_learn(&s, 1000); /* and open again */
    ck_assert_uint_gt(s.window_ns, 0);
}
END_TEST

START_TEST(looking_ends_with_the_window)
{
    struct spin s = spin_of(MAX_US);
    for (int i = 0; i < 10; i++) spin_learn(&s, s.max_ns);
    uint64_t begun_ns = clock_monotonic_ns();
    spin_begin(&s);
    while (spin_goes_on(&s)) continue;
    ck_assert_uint_ge(clock_monotonic_ns() - begun_ns, s.max_ns);
    spin_end(&s); /* took longer than the longest */
    ck_assert_uint_lt(s.window_ns, s.max_ns);
}
END_TEST

START_TEST(without_a_longest_it_never_looks)
{
    struct spin s = spin_of(0);
    for (int i = 0; i < 10; i++) {
        spin_begin(&s);
        ck_assert(!spin_goes_on(&s));
        spin_end(&s);
        spin_learn(&s, 0);
    }
    ck_assert_uint_eq(s.window_ns, 0);
}
END_TEST

TESTS(spin, waits_that_are_short_enough_open_the_window, the_window_is_no_longer_than_needed, long_waits_close_it,
      looking_ends_with_the_window, without_a_longest_it_never_looks)
