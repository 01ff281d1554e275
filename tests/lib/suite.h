/* suite.h - what every unit test program starts with.
 *
 *   START_TEST(appends_grow) { ... } END_TEST
 *   TESTS(buf, appends_grow, ceiling_is_kept)
 */
#ifndef TESTS_SUITE_H
#define TESTS_SUITE_H

#include <check.h>
#include <stdlib.h>

#include "core/vfs.h"
#include "tests/lib/rng.h"

int suite_run(const char *name, const TTest *const *tests, int n);

#define TESTS(suite_name, ...)                                                                                         \
    int main(void)                                                                                                     \
    {                                                                                                                  \
        const TTest *const tests[] = {__VA_ARGS__};                                                                    \
        return suite_run(#suite_name, tests, (int)(sizeof tests / sizeof tests[0]));                                   \
    }

/* A fresh directory below $TMPDIR or /tmp, removed when the program ends. The text lives until then. */
const char *tmp_dir(void);

/* Of n rounds of a long test, how many to run: all, but half under AddressSanitizer and a quarter under ThreadSanitizer, which are slower.
 * SUITE_SHARE in the environment, in percent from 10, decides otherwise: 1000 is ten times n. At least 1. */
int suite_share(int n);
/* The same for a test that takes its cases in order: how far apart those are that run. 1: all of them, also above 100 %. */
int suite_stride(void);
/* Which operation of many to fail after the n-th: each at first, then fewer, the more so the smaller `steady` is, since the later
 * ones are much alike. From SHARE=1000 on: each. */
int suite_next_fault(int n, int steady);

#define ck_ok(expr)                                                                                                    \
    do {                                                                                                               \
        enum err ck_e_ = (expr);                                                                                       \
        ck_assert_msg(ck_e_ == ERR_OK, "%s: %s", #expr, err_text(ck_e_));                                              \
    } while (0)

#endif
