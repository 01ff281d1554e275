/* test_codes_effort.c - effort as a number: from ef_search and k to epsilon, from epsilon to the rule that stops. What it does
 * to a search: test_recall.c.
 */
#include "tests/lib/suite.h"

#include <math.h>

#include "index/codes_internal.h"

START_TEST(epsilon_grows_with_effort)
{
    ck_assert_float_eq(codes_epsilon(EFFORT_DEFAULT, 10), CODES_EPSILON);
    ck_assert_float_eq_tol(codes_epsilon(EFFORT_MIN, 10), CODES_EPSILON_FEW, 1e-6f);
    ck_assert_float_eq_tol(codes_epsilon(1000, 10), 2.7f, 1e-6f);
    float before = 0;
    for (uint32_t effort = EFFORT_MIN; effort <= EFFORT_MAX; effort++) {
        float now = codes_epsilon(effort, 1);
        ck_assert_msg(now > before, "effort %u: %g after %g", effort, (double)now, (double)before);
        before = now;
    }
    ck_assert_float_eq(codes_epsilon(0, 1), codes_epsilon(EFFORT_MIN, 1));
    ck_assert_float_eq(codes_epsilon(UINT32_MAX, 1), before);
}
END_TEST

/* k counts up to the default, and changes nothing there. */
START_TEST(k_is_the_least_effort)
{
    for (uint32_t k = 1; k <= EFFORT_DEFAULT; k++) {
        uint32_t wanted = k > 20 ? k : 20;
        ck_assert_float_eq(codes_epsilon(20, k), codes_epsilon(wanted, 1));
    }
    ck_assert_float_eq(codes_epsilon(EFFORT_MIN, UINT32_MAX), CODES_EPSILON);
    ck_assert_float_eq(codes_epsilon(EFFORT_DEFAULT, 5000), CODES_EPSILON);
    ck_assert_float_eq(codes_epsilon(300, 5000), codes_epsilon(300, 1));
}
END_TEST

START_TEST(stop_goes_through_what_was_measured)
{
    struct codes c = {.stop = 0.7f, .stop_few = 0.5f};
    ck_assert_float_eq_tol(codes_stop(&c, CODES_EPSILON), 0.7f, 1e-6f);
    ck_assert_float_eq_tol(codes_stop(&c, CODES_EPSILON_FEW), 0.5f, 1e-6f);
    ck_assert_float_eq_tol(codes_stop(&c, 2 * CODES_EPSILON - CODES_EPSILON_FEW), 0.9f, 1e-6f);
    c.stop_few = 0.7f; /* not a neighbour in between */
    ck_assert_float_eq_tol(codes_stop(&c, 4), 0.7f, 1e-6f);
}
END_TEST

/* Sections written before, those of the probes, and damage. */
START_TEST(stop_without_a_second_measure)
{
    const float fews[] = {0, -1, NAN, INFINITY, 0.8f};
    for (size_t i = 0; i < sizeof fews / sizeof fews[0]; i++) {
        struct codes c = {.stop = 0.7f, .stop_few = fews[i]};
        float few = codes_stop(&c, CODES_EPSILON_FEW);
        ck_assert_float_eq_tol(codes_stop(&c, CODES_EPSILON), 0.7f, 1e-6f);
        ck_assert_msg(few > 0.5f && few < 0.7f, "%g: %g", (double)fews[i], (double)few);
    }
    const float stops[] = {INFINITY, NAN};
    for (size_t i = 0; i < 2; i++) {
        struct codes c = {.stop = stops[i], .stop_few = i == 0 ? INFINITY : 0.5f};
        ck_assert_float_infinite(codes_stop(&c, 1));
        ck_assert_float_infinite(codes_stop(&c, CODES_EPSILON));
    }
}
END_TEST

TESTS(codes_effort, epsilon_grows_with_effort, k_is_the_least_effort, stop_goes_through_what_was_measured,
      stop_without_a_second_measure)
