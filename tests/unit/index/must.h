/* must.h - checks for inner loops: Check writes every ck_assert it passes to a file, which would take longer than what is
 * tested here.
 */
#ifndef TESTS_MUST_H
#define TESTS_MUST_H

#include "tests/lib/suite.h"

#define must_msg(condition, ...)                                                                                       \
    do {                                                                                                               \
        if (!(condition)) ck_abort_msg(__VA_ARGS__);                                                                   \
    } while (0)

#define must(condition) must_msg(condition, "%s", #condition)

#define must_ok(expr)                                                                                                  \
    do {                                                                                                               \
        enum err must_e_ = (expr);                                                                                     \
        must_msg(must_e_ == ERR_OK, "%s: %s", #expr, err_text(must_e_));                                               \
    } while (0)

#endif
