/* test_processors.c - what a quota of a control group is worth. */
#include "tests/lib/suite.h"

#include <limits.h>
#include <sched.h>

#include "server/processors.h"

START_TEST(quotas)
{
    static const struct {
        const char *text;
        unsigned n;
    } cases[] = {{"200000 100000\n", 2}, {"250000 100000\n", 2},    {"199999 100000\n", 1}, {"50000 100000\n", 1},
                 {"1 100000", 1},        {"6400000 100000 \n", 64}, {"0 100000", 1},        {"400000 50000", 8}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_msg(processors_of_quota(str_from_c(cases[i].text)) == cases[i].n, "%s", cases[i].text);
}
END_TEST

START_TEST(no_quota)
{
    static const char *const texts[] = {"max 100000\n",
                                        "-1 100000",
                                        "",
                                        "\n",
                                        "100000",
                                        "100000 0",
                                        "100000 x",
                                        " 100000",
                                        "100000 ",
                                        "1 2 3",
                                        "100000 -5",
                                        "99999999999999999999 1",
                                        "18446744073709551615 1"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        ck_assert_msg(processors_of_quota(str_from_c(texts[i])) == UINT_MAX, "%s", texts[i]);
}
END_TEST

START_TEST(this_machine)
{
    cpu_set_t set, one;
    unsigned n = processors_usable();
    ck_assert_uint_ge(n, 1);
    ck_assert_int_eq(sched_getaffinity(0, sizeof set, &set), 0);
    ck_assert_uint_le(n, (unsigned)CPU_COUNT(&set));
    CPU_ZERO(&one);
    for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &set)) CPU_SET(i, &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
    ck_assert_uint_eq(processors_usable(), 1);
    ck_assert_int_eq(sched_setaffinity(0, sizeof set, &set), 0);
}
END_TEST

TESTS(processors, quotas, no_quota, this_machine)
