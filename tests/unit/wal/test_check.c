/* wal_check agrees with the start: it finds something wrong exactly where wal_open refuses, and it goes on beyond.
 */
#include "tests/unit/wal/log_client.h"

#include <stdio.h>

#include "core/mem.h"
#include "wal/check.h"

enum { N_RECORDS = 60, FILES_MAX = 32, SEGMENT = 16 << 10 };

struct saved {
    char name[64];
    char *p;
    size_t n;
};

struct log {
    struct saved files[FILES_MAX];
    int n;
    const struct vfs *vfs; /* while it is saved */
};

static enum err save(void *ctx, struct str name, bool is_dir)
{
    struct log *l = ctx;
    struct vfs_file *f;
    char path[128];
    uint64_t size;
    ck_assert(!is_dir && l->n < FILES_MAX && name.n < 60);
    struct saved *s = &l->files[l->n++];
    (void)snprintf(s->name, sizeof s->name, "%.*s", STR_ARG(name));
    (void)snprintf(path, sizeof path, "log/%s", s->name);
    ck_ok(l->vfs->open(l->vfs->ctx, path, VFS_READ, &f, NULL));
    ck_ok(l->vfs->size(f, &size, NULL));
    s->n = (size_t)size;
    s->p = malloc(s->n + 1);
    ck_assert_ptr_nonnull(s->p);
    ck_ok(l->vfs->pread(f, s->p, s->n, 0, NULL));
    l->vfs->close(f);
    return ERR_OK;
}

/* A log of several segments, as a server that was stopped leaves it. */
static void make(struct log *l)
{
    struct vfs *vfs;
    struct client *c = client_new();
    const struct wal_options o = {.segment_bytes = SEGMENT};
    *l = (struct log){0};
    ck_ok(vfs_mem_new(&vfs, NULL));
    ck_ok(client_open(c, vfs, "log", &o, NULL));
    for (int i = 0; i < N_RECORDS; i++) {
        ck_ok(client_submit(c, 700 + (size_t)i * 13));
        client_wait(c);
    }
    client_close(c);
    l->vfs = vfs;
    ck_ok(vfs->list(vfs->ctx, "log", save, l, NULL));
    client_free(c);
    vfs_mem_free(vfs);
}

static void unmake(struct log *l)
{
    for (int i = 0; i < l->n; i++) free(l->files[i].p);
}

static struct vfs *restore(const struct log *l)
{
    struct vfs *vfs;
    ck_ok(vfs_mem_new(&vfs, NULL));
    ck_ok(vfs->make_dir(vfs->ctx, "log", NULL));
    for (int i = 0; i < l->n; i++) {
        struct vfs_file *f;
        char path[128];
        (void)snprintf(path, sizeof path, "log/%s", l->files[i].name);
        ck_ok(vfs->open(vfs->ctx, path, VFS_WRITE | VFS_CREATE, &f, NULL));
        ck_ok(vfs->pwrite(f, l->files[i].p, l->files[i].n, 0, NULL));
        vfs->close(f);
    }
    return vfs;
}

struct seen {
    uint64_t n_records, last_lsn, n_problems;
    char first[512];
};

static enum err visit(void *ctx, uint64_t lsn, uint32_t type, uint64_t collection, struct bytes payload,
                      struct errmsg *em)
{
    struct seen *seen = ctx;
    (void)em;
    ck_assert(type >= 1 && type <= 5 && collection == CLIENT_COLLECTION && payload.n >= 700 && lsn > seen->last_lsn);
    seen->n_records++;
    seen->last_lsn = lsn;
    return ERR_OK;
}

static void on_problem(void *ctx, enum err e, const char *what)
{
    struct seen *seen = ctx;
    ck_assert(e == ERR_CORRUPT || e == ERR_NEWER);
    if (seen->n_problems++ == 0) (void)snprintf(seen->first, sizeof seen->first, "%s", what);
}

static struct seen check(const struct vfs *vfs, struct wal_summary *s)
{
    struct seen seen = {0};
    ck_ok(wal_check(vfs, "log", visit, on_problem, &seen, s, NULL));
    ck_assert_uint_eq(s->n_records, seen.n_records);
    return seen;
}

static enum err start(const struct vfs *vfs)
{
    struct wal *w = NULL;
    const struct wal_options o = {.segment_bytes = SEGMENT, .no_sync = true};
    enum err e = wal_open(&w, vfs, "log", &o, 0, 1, NULL, NULL, NULL);
    if (e == ERR_OK) wal_close(w);
    return e;
}

START_TEST(a_sound_log_has_no_problems)
{
    struct log l;
    struct wal_summary s;
    make(&l);
    struct vfs *vfs = restore(&l);
    struct seen seen = check(vfs, &s);
    ck_assert_msg(seen.n_problems == 0, "%s", seen.first);
    ck_assert_uint_eq(s.n_records, N_RECORDS);
    ck_assert_uint_eq(s.first_lsn, 1);
    ck_assert_uint_eq(s.last_lsn, N_RECORDS);
    ck_assert_uint_ge(s.n_segments, 3);
    ck_assert(!s.is_torn);
    ck_assert_int_eq(wal_check(vfs_posix(), "/absent/wal", visit, on_problem, &seen, &s, NULL), ERR_NOT_FOUND);
    vfs_mem_free(vfs);
    unmake(&l);
}
END_TEST

START_TEST(it_finds_what_the_start_refuses)
{
    struct log l;
    struct rng r = {11};
    int n_wrong = 0, n_torn = 0;
    make(&l);
    for (int round = 0; round < suite_share(400); round++) {
        struct wal_summary s;
        struct saved *f = &l.files[rng_below(&r, (uint32_t)l.n)];
        if (f->n == 0) continue;
        size_t at = rng_below(&r, round % 4 == 0 ? 64 : (uint32_t)f->n);
        unsigned bit = rng_below(&r, 8);
        f->p[at] = (char)(f->p[at] ^ 1 << bit);
        struct vfs *vfs = restore(&l);
        f->p[at] = (char)(f->p[at] ^ 1 << bit);
        struct seen seen = check(vfs, &s);
        enum err e = start(vfs);
        ck_assert_msg((e != ERR_OK) == (seen.n_problems > 0), "%s, byte %zu: the start says %s, the check %s", f->name,
                      at, err_text(e), seen.n_problems > 0 ? seen.first : "nothing");
        n_wrong += e != ERR_OK;
        n_torn += s.is_torn;
        vfs_mem_free(vfs);
    }
    ck_assert_int_gt(n_wrong, 0);
    ck_assert_int_gt(n_torn, 0);
    unmake(&l);
}
END_TEST

START_TEST(it_goes_on_beyond_damage)
{
    struct log l;
    struct wal_summary s;
    int first = -1, last = -1; /* segments with records; the list is in no order */
    make(&l);
    for (int i = 0; i < l.n; i++) {
        if (strstr(l.files[i].name, ".log") == NULL) continue;
        if (first < 0 || strcmp(l.files[i].name, l.files[first].name) < 0) first = i;
        if (last < 0 || strcmp(l.files[i].name, l.files[last].name) > 0) last = i;
    }
    ck_assert(first >= 0 && first != last);
    l.files[first].p[4096 + 100] ^= 1; /* the first record */
    struct vfs *vfs = restore(&l);
    struct seen seen = check(vfs, &s);
    ck_assert_uint_eq(seen.n_problems, 1);
    ck_assert_ptr_nonnull(strstr(seen.first, l.files[first].name));
    ck_assert_ptr_nonnull(strstr(seen.first, "byte 4096"));
    ck_assert(s.last_lsn == N_RECORDS && s.n_records > 0 && s.n_records < N_RECORDS);
    vfs_mem_free(vfs);
    l.files[last].p[20] ^= 1; /* a header too */
    vfs = restore(&l);
    seen = check(vfs, &s);
    ck_assert_uint_ge(seen.n_problems, 2);
    vfs_mem_free(vfs);
    unmake(&l);
}
END_TEST

TESTS(check, a_sound_log_has_no_problems, it_finds_what_the_start_refuses, it_goes_on_beyond_damage)
