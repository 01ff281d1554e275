/* suite.c - see suite.h. */
#include "tests/lib/suite.h"

#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int suite_run(const char *name, const TTest *const *tests, int n)
{
    Suite *s = suite_create(name);
    TCase *tc = tcase_create(name);
    tcase_set_timeout(tc, 0); /* slow machines are no failure */
    for (int i = 0; i < n; i++) tcase_add_test(tc, tests[i]);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#if defined(__SANITIZE_THREAD__)
enum { SHARE_PERCENT = 25 };
#elif defined(__SANITIZE_ADDRESS__)
enum { SHARE_PERCENT = 50 };
#else
enum { SHARE_PERCENT = 100 };
#endif

static int share_percent(void)
{
    const char *text = getenv("SUITE_SHARE");
    long v = text != NULL ? strtol(text, NULL, 10) : 0;
    return v >= 10 && v <= 100000 ? (int)v : SHARE_PERCENT;
}

int suite_share(int n)
{
    long long v = (long long)n * share_percent() / 100;
    return v < 1 ? 1 : v > INT_MAX ? INT_MAX : (int)v;
}

int suite_stride(void)
{
    int percent = share_percent();
    return percent >= 100 ? 1 : 100 / percent;
}

int suite_next_fault(int n, int steady)
{
    int stride = suite_stride();
    return suite_share(100) >= 1000 ? n + 1 : n + stride + n * stride / steady;
}

static char tmp_dirs[64][128];
static int n_tmp_dirs;

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *f)
{
    (void)st, (void)flag, (void)f;
    return remove(path);
}

static void remove_tmp_dirs(void)
{
    for (int i = 0; i < n_tmp_dirs; i++) (void)nftw(tmp_dirs[i], remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *tmp_dir(void)
{
    ck_assert_int_lt(n_tmp_dirs, 64);
    char *path = tmp_dirs[n_tmp_dirs];
    const char *base = getenv("TMPDIR");
    (void)snprintf(path, sizeof tmp_dirs[0], "%s/chroma-test-XXXXXX", base != NULL ? base : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(path));
    if (n_tmp_dirs++ == 0) (void)atexit(remove_tmp_dirs);
    return path;
}
