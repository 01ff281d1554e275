/* test_copy.c - parts of a log copied while it is written and trimmed: each is a log of its own that holds what was asked for.
 */
#include <stdio.h>
#include <sys/stat.h>

#include "tests/lib/no_sync.h"
#include "tests/unit/wal/log_client.h"
#include "wal/log_format.h"

static enum err count_copied(void *ctx, const char *name, struct errmsg *em)
{
    uint64_t number;
    bool is_spare;
    (void)em;
    ck_assert(log_name_parse(str_from_c(name), &number, &is_spare) && !is_spare);
    ++*(int *)ctx;
    return ERR_OK;
}

struct seen {
    struct client *c;
    uint64_t first, last;
};

/* The client's threads have nothing left to do. */
static enum err see(void *ctx, uint64_t lsn, uint32_t type, uint64_t collection, struct bytes payload,
                    struct errmsg *em)
{
    struct seen *s = ctx;
    (void)em;
    ck_assert_uint_eq(collection, CLIENT_COLLECTION);
    ck_assert_uint_eq(type, s->c->ids[lsn] % 5 + 1);
    ck_assert(client_matches(payload, s->c->ids[lsn]));
    if (s->first == 0) s->first = lsn;
    for (uint64_t gap = s->last + 1; s->last != 0 && gap < lsn; gap++) ck_assert_uint_eq(s->c->ids[gap], 0);
    s->last = lsn;
    return ERR_OK;
}

/* The copy goes from at or before `from` to `until`, and is continued like any log. */
static void check_copy(struct client *c, const char *dir, struct wal_range range, int n_files)
{
    struct wal *w = NULL;
    struct seen s = {.c = c};
    struct wal_stats stats;
    uint64_t last = range.until;
    while (last >= range.from && c->ids[last] == 0) last--; /* positions that were jumped over */
    for (int i = 0; i < 2; i++) {                           /* opening changes nothing */
        s.first = s.last = 0;
        ck_ok(wal_open(&w, vfs_posix(), dir, NULL, 0, 0, see, &s, NULL));
        wal_stats(w, &stats);
        wal_close(w);
        if (last < range.from) {
            ck_assert_int_eq(n_files, 0);
            continue;
        }
        ck_assert_int_gt(n_files, 0);
        ck_assert_uint_eq(s.last, last);
        ck_assert_uint_eq(stats.durable_lsn, last);
        for (uint64_t lsn = range.from; lsn < s.first; lsn++) ck_assert_uint_eq(c->ids[lsn], 0);
    }
}

/* Damage anywhere in the records of the copy is found: it ends with a mark. */
static void damage_copy(struct rng *rng, const char *dir, const char *name)
{
    char path[512];
    struct stat st;
    struct wal *w = NULL;
    struct log_record_header h;
    uint64_t at = LOG_BLOCK, end = LOG_BLOCK;
    const struct vfs *v = vfs_posix();
    struct vfs_file *f;
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_ok(v->open(NULL, path, VFS_WRITE, &f, NULL));
    for (; end + sizeof h <= (uint64_t)st.st_size; end += log_record_bytes(h.n)) {
        ck_ok(v->pread(f, &h, sizeof h, end, NULL));
        if (h.type == LOG_MARK) break;
    }
    ck_assert_uint_lt(end, (uint64_t)st.st_size); /* the mark */
    at += rng_next(rng) % (end - LOG_BLOCK);
    bool is_padding = false; /* which no checksum covers */
    for (uint64_t from = LOG_BLOCK; from <= at; from += log_record_bytes(h.n)) {
        ck_ok(v->pread(f, &h, sizeof h, from, NULL));
        is_padding = at >= from + sizeof h + h.n;
    }
    char byte;
    ck_ok(v->pread(f, &byte, 1, at, NULL));
    byte = (char)(byte ^ 16);
    ck_ok(v->pwrite(f, &byte, 1, at, NULL));
    v->close(f);
    enum err e = wal_open(&w, v, dir, NULL, UINT64_MAX, 0, NULL, NULL, NULL);
    if (e == ERR_OK) wal_close(w);
    ck_assert_int_eq(e, is_padding ? ERR_OK : ERR_CORRUPT);
}

struct writing {
    struct client *c;
    struct rng rng;
    int n;
};

static void *write_on(void *arg)
{
    struct writing *w = arg;
    for (int i = 0; i < w->n; i++) {
        size_t n = rng_below(&w->rng, 8) == 0 ? rng_below(&w->rng, 12000) : rng_below(&w->rng, 600);
        while (client_submit(w->c, n) == ERR_BUSY) (void)usleep(100);
        if (rng_below(&w->rng, 4) == 0) client_wait(w->c);
    }
    return NULL;
}

static enum err last_name(void *ctx, struct str name, bool is_dir)
{
    char *last = ctx, text[64];
    (void)is_dir;
    (void)snprintf(text, sizeof text, STR_FMT, STR_ARG(name));
    if (strstr(text, ".log") != NULL && strcmp(text, last) > 0) memcpy(last, text, sizeof text);
    return ERR_OK;
}

START_TEST(a_copy_is_a_log_of_what_was_asked_for)
{
    const char *base = tmp_dir();
    char dir[256], to[256];
    struct client *c = client_new();
    struct rng rng = {77};
    const struct wal_options o = {.segment_bytes = 16 << 10, .keep_segments = 1};
    (void)snprintf(dir, sizeof dir, "%s/log", base);
    ck_ok(wal_open(&c->w, vfs_posix(), dir, &o, 0, 0, NULL, NULL, NULL));
    for (int round = 0; round < suite_share(40); round++) {
        struct writing w = {.c = c, .rng = {rng_next(&rng)}, .n = 20 + (int)rng_below(&rng, 30)};
        pthread_t thread;
        int n_files = 0;
        struct wal_stats stats;
        (void)write_on(&w);
        client_wait(c);
        wal_hold(c->w);
        wal_stats(c->w, &stats);
        uint64_t low = c->trim_lsn + 1;
        struct wal_range range = {.until = stats.durable_lsn};
        if (rng_below(&rng, 3) == 0) range.until = low + rng_below(&rng, (uint32_t)(stats.durable_lsn - low + 1));
        range.from = low + rng_below(&rng, (uint32_t)(range.until - low + 1));
        ck_assert_int_eq(pthread_create(&thread, NULL, write_on, &w), 0);
        (void)wal_trim(c->w, range.until, NULL); /* what is held stays */
        (void)snprintf(to, sizeof to, "%s/copy-%d", base, round);
        ck_ok(vfs_posix()->make_dir(NULL, to, NULL));
        enum err e = wal_copy(c->w, range, to, count_copied, &n_files, NULL);
        wal_release(c->w);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        client_wait(c);
        ck_ok(e);
        c->trim_lsn = range.until > c->trim_lsn ? range.until : c->trim_lsn;
        check_copy(c, to, range, n_files);
        char last[64] = "";
        ck_ok(vfs_posix()->list(NULL, to, last_name, last, NULL));
        if (n_files > 0) damage_copy(&rng, to, last);
        if (round % 5 == 4) { /* and a log with positions that nobody has */
            client_close(c);
            client_forget_records(c);
            c->n_submitted = c->n_done = 0;
            ck_ok(wal_open(&c->w, vfs_posix(), dir, &o, 0, c->last_lsn + 1 + rng_below(&rng, 20), NULL, NULL, NULL));
        }
    }
    client_close(c);
    client_free(c);
}
END_TEST

START_TEST(damage_to_the_log_gets_no_fresh_checksum)
{
    const char *base = tmp_dir();
    char dir[256], to[256], path[512], last[64] = "", byte;
    struct client *c = client_new();
    struct errmsg em = {{0}};
    struct vfs_file *f;
    int n_files = 0;
    (void)snprintf(dir, sizeof dir, "%s/log", base);
    (void)snprintf(to, sizeof to, "%s/copy", base);
    ck_ok(wal_open(&c->w, vfs_posix(), dir, NULL, 0, 0, NULL, NULL, NULL));
    for (int i = 0; i < 10; i++) ck_ok(client_submit(c, 100));
    client_wait(c);
    ck_ok(vfs_posix()->list(NULL, dir, last_name, last, NULL));
    (void)snprintf(path, sizeof path, "%s/%s", dir, last);
    ck_ok(vfs_posix()->open(NULL, path, VFS_WRITE, &f, NULL));
    ck_ok(vfs_posix()->pread(f, &byte, 1, LOG_BLOCK + 500, NULL));
    byte = (char)(byte ^ 1);
    ck_ok(vfs_posix()->pwrite(f, &byte, 1, LOG_BLOCK + 500, NULL));
    vfs_posix()->close(f);
    ck_ok(vfs_posix()->make_dir(NULL, to, NULL));
    wal_hold(c->w);
    ck_assert_int_eq(wal_copy(c->w, (struct wal_range){1, 10}, to, count_copied, &n_files, &em), ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(em.text, last));
    wal_release(c->w);
    client_close(c);
    client_free(c);
}
END_TEST

TESTS(copy, a_copy_is_a_log_of_what_was_asked_for, damage_to_the_log_gets_no_fresh_checksum)
