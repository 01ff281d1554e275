/* Damage to the file beside the catalog is told from a torn end.
 */
#include "tests/lib/suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "catalog/catalog.h"
#include "catalog/sqlite_wal.h"
#include "core/mem.h"

enum { N_TENANTS = 6, HEADER = 32, FRAME = 24 + 4096 };

static char path[4200], wal_path[4300];
static char *whole;
static size_t n_whole;

static char *slurp(const char *name, size_t *n)
{
    int fd = open(name, O_RDONLY);
    ck_assert_int_ge(fd, 0);
    off_t size = lseek(fd, 0, SEEK_END);
    char *p = malloc((size_t)size + 1);
    ck_assert(p != NULL && pread(fd, p, (size_t)size, 0) == size);
    (void)close(fd);
    *n = (size_t)size;
    return p;
}

static void spill(const char *name, const char *p, size_t n)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert(write(fd, p, n) == (ssize_t)n);
    (void)close(fd);
}

/* The -wal file of a catalog that is open, as a killed process would leave it. */
static void make(void)
{
    struct catalog *c = NULL;
    char live[4200];
    (void)snprintf(live, sizeof live, "%s/live.sqlite3", tmp_dir());
    (void)snprintf(path, sizeof path, "%s/catalog.sqlite3", tmp_dir());
    (void)snprintf(wal_path, sizeof wal_path, "%s-wal", path);
    ck_ok(catalog_open(&c, vfs_posix(), live, NULL));
    for (int i = 0; i < N_TENANTS; i++) {
        char name[32];
        ck_ok(catalog_create_tenant(c, str_of(name, (size_t)sprintf(name, "tenant %d", i)), NULL));
    }
    char live_wal[4300];
    (void)snprintf(live_wal, sizeof live_wal, "%s-wal", live);
    whole = slurp(live_wal, &n_whole);
    catalog_close(c);
    ck_assert_uint_gt(n_whole, HEADER + 4 * FRAME);
    ck_assert_uint_eq((n_whole - HEADER) % FRAME, 0);
}

static enum err check(const char *p, size_t n)
{
    spill(wal_path, p, n);
    return sqlite_wal_check(vfs_posix(), path, NULL);
}

START_TEST(sound_and_torn_files_are_fine)
{
    struct rng r = {3};
    make();
    (void)unlink(wal_path);
    ck_ok(sqlite_wal_check(vfs_posix(), path, NULL)); /* none */
    ck_ok(check(whole, 0));
    ck_ok(check(whole, n_whole));
    for (int round = 0; round < suite_share(60); round++) /* cut short anywhere */
        ck_ok(check(whole, rng_below(&r, (uint32_t)n_whole)));
    for (int round = 0; round < suite_share(20); round++) { /* the last frame torn: its end is what was there before */
        char *p = mem_dup(whole, n_whole);
        ck_assert_ptr_nonnull(p);
        size_t at = n_whole - FRAME + rng_below(&r, FRAME / 2);
        for (size_t i = at; i < n_whole; i++) p[i] = (char)rng_next(&r);
        ck_ok(check(p, n_whole));
        mem_free(p);
    }
    free(whole);
}
END_TEST

START_TEST(one_turned_bit_is_damage_and_can_be_mended)
{
    struct rng r = {4};
    int n_mended = 0;
    make();
    for (int round = 0; round < suite_share(60); round++) {
        size_t at = round % 4 == 0 ? rng_below(&r, HEADER) : rng_below(&r, (uint32_t)n_whole);
        char before = whole[at];
        whole[at] = (char)(before ^ 1 << rng_below(&r, 8));
        enum err e = check(whole, n_whole);
        enum err mend = sqlite_wal_mend(vfs_posix(), path, NULL);
        size_t n;
        char *now = slurp(wal_path, &n);
        bool is_same = n == n_whole && memcmp(now, whole, n) == 0;
        free(now);
        whole[at] = before;
        if (e == ERR_OK) { /* taken for torn, as there is more than one way to mend it: left alone */
            ck_assert(mend == ERR_OK && is_same);
            continue;
        }
        ck_assert_msg(e == ERR_CORRUPT, "byte %zu: %s", at, err_text(e));
        ck_assert_msg(mend == ERR_OK || mend == ERR_CORRUPT, "byte %zu: %s", at, err_text(mend));
        if (mend == ERR_CORRUPT) continue;
        now = slurp(wal_path, &n);
        ck_assert(n == n_whole && memcmp(now, whole, n) == 0);
        free(now);
        n_mended++;
    }
    ck_assert_int_gt(n_mended, suite_share(60) * 3 / 4); /* all but most of the highest bits of words */
    free(whole);
}
END_TEST

START_TEST(a_lost_sector_before_later_commits_is_damage)
{
    make();
    memset(whole + HEADER + FRAME + 1024, 0, 512);
    memset(whole + HEADER + FRAME, 0xa5, 24);
    ck_assert_int_eq(check(whole, n_whole), ERR_CORRUPT);
    ck_assert_int_eq(sqlite_wal_mend(vfs_posix(), path, NULL), ERR_CORRUPT);
    free(whole);
}
END_TEST

TESTS(sqlite_wal, sound_and_torn_files_are_fine, one_turned_bit_is_damage_and_can_be_mended,
      a_lost_sector_before_later_commits_is_damage)
