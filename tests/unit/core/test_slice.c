/* test_slice.c - a thread's slices, as the system tells them. */
#include "tests/lib/suite.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/slice.h"

START_TEST(a_long_slice_is_a_batchs_and_the_nice_value_stays)
{
    int policy = sched_getscheduler(0);
    if (policy != SCHED_OTHER) return; /* whoever runs the tests has set it so */
    ck_assert_int_eq(setpriority(PRIO_PROCESS, 0, 3), 0);
    slice_set(0, SLICE_LONG);
    ck_assert_int_eq(sched_getscheduler(0), SCHED_BATCH);
    ck_assert_int_eq(getpriority(PRIO_PROCESS, 0), 3);
    slice_set(slice_thread(), SLICE_SHORT);
    ck_assert_int_eq(sched_getscheduler(0), SCHED_OTHER);
    ck_assert_int_eq(getpriority(PRIO_PROCESS, 0), 3);
    slice_set(1 << 30, SLICE_LONG); /* no such thread */
    ck_assert_int_eq(sched_getscheduler(0), SCHED_OTHER);
}
END_TEST

START_TEST(what_others_have_set_is_left_alone)
{
    const struct sched_param zero = {0};
    if (sched_setscheduler(0, SCHED_IDLE, &zero) != 0) return; /* not allowed here */
    slice_set(0, SLICE_LONG);
    ck_assert_int_eq(sched_getscheduler(0), SCHED_IDLE);
    slice_set(0, SLICE_SHORT);
    ck_assert_int_eq(sched_getscheduler(0), SCHED_IDLE);
}
END_TEST

TESTS(slice, a_long_slice_is_a_batchs_and_the_nice_value_stays, what_others_have_set_is_left_alone)
