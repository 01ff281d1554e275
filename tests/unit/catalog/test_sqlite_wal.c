/* Damage to the file beside the catalog is told from a torn end.
 */
#include "tests/lib/suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "catalog/catalog.h"
#include "catalog/sqlite_wal.h"
#include "core/bytes.h"
#include "core/mem.h"

enum { N_TENANTS = 6, HEADER = 32, FRAME = 24 + 4096, MARK = 32, MARK_END = 16 };

static char path[4200], wal_path[4300], mark_path[4300];
static char *whole, *first_mark, *mark; /* the mark after the first change, and after all */
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

static void add_tenant(struct catalog *c, int i)
{
    char name[32];
    ck_ok(catalog_create_tenant(c, str_of(name, (size_t)sprintf(name, "tenant %d", i)), NULL));
}

static char *slurp_mark(const char *live)
{
    char name[4300];
    size_t n;
    (void)snprintf(name, sizeof name, "%s-mark", live);
    char *p = slurp(name, &n);
    ck_assert_uint_eq(n, MARK);
    return p;
}

/* The -wal file of a catalog that is open and its marks, as a killed process would leave them. */
static void make(void)
{
    struct catalog *c = NULL;
    char live[4200], live_wal[4300];
    (void)snprintf(live, sizeof live, "%s/live.sqlite3", tmp_dir());
    (void)snprintf(path, sizeof path, "%s/catalog.sqlite3", tmp_dir());
    (void)snprintf(wal_path, sizeof wal_path, "%s-wal", path);
    (void)snprintf(mark_path, sizeof mark_path, "%s-mark", path);
    ck_ok(catalog_open(&c, vfs_posix(), live, NULL));
    add_tenant(c, 0);
    first_mark = slurp_mark(live);
    for (int i = 1; i < N_TENANTS; i++) add_tenant(c, i);
    mark = slurp_mark(live);
    (void)snprintf(live_wal, sizeof live_wal, "%s-wal", live);
    whole = slurp(live_wal, &n_whole);
    catalog_close(c);
    ck_assert_uint_gt(n_whole, HEADER + 4 * FRAME);
    ck_assert_uint_eq((n_whole - HEADER) % FRAME, 0);
    spill(mark_path, mark, MARK);
}

static void forget(void)
{
    free(whole);
    free(first_mark);
    free(mark);
}

static enum err check(const char *p, size_t n)
{
    spill(wal_path, p, n);
    return sqlite_wal_check(vfs_posix(), path, NULL);
}

START_TEST(each_change_is_marked_and_a_new_beginning_is_not)
{
    struct catalog *c = NULL;
    char live[4200];
    make();
    ck_assert_uint_eq(le64_get(mark + MARK_END), n_whole);
    ck_assert_uint_lt(le64_get(first_mark + MARK_END), n_whole);
    ck_assert_uint_gt(le64_get(first_mark + MARK_END), HEADER);
    forget();

    (void)snprintf(live, sizeof live, "%s/live.sqlite3", tmp_dir());
    (void)snprintf(mark_path, sizeof mark_path, "%s-mark", live);
    ck_assert_int_ne(access(mark_path, F_OK), 0); /* it went with the -wal file */
    ck_ok(catalog_open(&c, vfs_posix(), live, NULL));
    add_tenant(c, 100);
    char *before = slurp_mark(live);
    ck_ok(catalog_erase(c, NULL)); /* the file is empty: what the mark says is of no file that is there */
    ck_ok(sqlite_wal_check(vfs_posix(), live, NULL));
    add_tenant(c, 101);
    char *after = slurp_mark(live);
    ck_assert_int_ne(memcmp(before + 8, after + 8, 8), 0); /* other salts */
    ck_ok(sqlite_wal_check(vfs_posix(), live, NULL));
    free(before);
    free(after);
    catalog_close(c);
}
END_TEST

START_TEST(torn_and_foreign_files_are_fine)
{
    struct rng r = {3};
    make();
    (void)unlink(wal_path);
    ck_ok(sqlite_wal_check(vfs_posix(), path, NULL)); /* none */
    ck_ok(check(whole, 0));
    ck_ok(check(whole, n_whole));
    spill(mark_path, first_mark, MARK); /* an older mark: what is behind it may be anything */
    for (int round = 0; round < suite_share(60); round++) {
        size_t end = (size_t)le64_get(first_mark + MARK_END), n = end + rng_below(&r, (uint32_t)(n_whole - end));
        ck_ok(check(whole, n));
        char *p = mem_dup(whole, n_whole);
        ck_assert_ptr_nonnull(p);
        for (size_t i = n; i < n_whole; i++) p[i] = (char)rng_next(&r);
        ck_ok(check(p, n_whole));
        mem_free(p);
    }
    (void)unlink(mark_path); /* nothing is known: SQLite's rule */
    ck_ok(check(whole, n_whole - 1));
    forget();
}
END_TEST

START_TEST(every_turned_bit_is_damage)
{
    struct rng r = {4};
    make();
    for (int round = 0; round < suite_share(600); round++) {
        size_t at = round % 4 == 0 ? rng_below(&r, HEADER + 24) : rng_below(&r, (uint32_t)n_whole);
        char before = whole[at];
        whole[at] = (char)(before ^ 1 << rng_below(&r, 8));
        ck_assert_msg(check(whole, n_whole) == ERR_CORRUPT, "byte %zu", at);
        whole[at] = before;
    }
    ck_ok(check(whole, n_whole));
    for (size_t bit = 0; bit < MARK * 8; bit++) { /* and one of the mark's has it say nothing */
        mark[bit / 8] = (char)(mark[bit / 8] ^ 1 << bit % 8);
        spill(mark_path, mark, MARK);
        mark[bit / 8] = (char)(mark[bit / 8] ^ 1 << bit % 8);
        ck_ok(sqlite_wal_check(vfs_posix(), path, NULL));
    }
    forget();
}
END_TEST

START_TEST(a_lost_sector_and_a_lost_end_are_damage)
{
    make();
    for (int round = 0; round < 20; round++) {
        size_t n = HEADER + (n_whole - HEADER) / 20 * (size_t)round;
        ck_assert_int_eq(check(whole, n), ERR_CORRUPT);
    }
    struct errmsg em;
    spill(wal_path, whole, n_whole);
    memset(whole + n_whole - 512, 0, 512);
    spill(wal_path, whole, n_whole);
    ck_assert_int_eq(sqlite_wal_check(vfs_posix(), path, &em), ERR_CORRUPT);
    char where[64];
    (void)snprintf(where, sizeof where, "-wal: byte %zu:", n_whole - FRAME);
    ck_assert_msg(strstr(em.text, where) != NULL, "%s", em.text);
    forget();
}
END_TEST

TESTS(sqlite_wal, each_change_is_marked_and_a_new_beginning_is_not, torn_and_foreign_files_are_fine,
      every_turned_bit_is_damage, a_lost_sector_and_a_lost_end_are_damage)
