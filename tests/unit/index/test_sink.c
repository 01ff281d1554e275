/* test_sink.c - what is added arrives in the file; it goes to the disk a piece at a time, and a failure of that is told. */
#include "index/sink.h"

#include "core/crc32c.h"
#include "tests/lib/suite.h"

/* The table of files in memory, with a sync that is counted and can fail; watch() begins anew. */
static struct vfs watched;
static uint64_t n_written, n_unsynced_max, n_synced;
static int n_syncs, fail_at_sync;
static enum err (*real_write)(struct vfs_file *f, const void *p, size_t n, uint64_t offset, struct errmsg *em);

static enum err watched_write(struct vfs_file *f, const void *p, size_t n, uint64_t offset, struct errmsg *em)
{
    enum err e = real_write(f, p, n, offset, em);
    if (e == ERR_OK && offset + n > n_written) n_written = offset + n;
    if (n_written - n_synced > n_unsynced_max) n_unsynced_max = n_written - n_synced;
    return e;
}

static enum err watched_sync(struct vfs_file *f, bool data_only, struct errmsg *em)
{
    (void)f;
    ck_assert(data_only);
    if (++n_syncs == fail_at_sync) return errmsg_set(em, ERR_NO_SPACE, "the disk is full");
    n_synced = n_written;
    return ERR_OK;
}

static struct vfs *watch(struct vfs_file **f)
{
    struct vfs *mem;
    ck_ok(vfs_mem_new(&mem, NULL));
    n_written = n_synced = n_unsynced_max = 0;
    n_syncs = 0;
    watched = *mem;
    real_write = mem->pwrite;
    watched.pwrite = watched_write;
    watched.sync = watched_sync;
    ck_ok(mem->open(mem->ctx, "f", VFS_WRITE | VFS_CREATE, f, NULL));
    return mem;
}

static void fill(char *p, size_t n, struct rng *r)
{
    for (size_t i = 0; i < n; i++) p[i] = (char)rng_next(r);
}

START_TEST(what_is_added_arrives)
{
    enum { BEGIN = 4096, N_MAX = 3 * SINK_BUFFER_BYTES, SECTIONS = 3, ADDS = 40 };
    struct rng r = {7};
    struct vfs_file *f;
    struct sink s;
    struct vfs *mem = watch(&f);
    char *data = malloc(N_MAX), *read = malloc(ADDS * (size_t)N_MAX);
    ck_assert(data != NULL && read != NULL);
    fill(data, N_MAX, &r);
    ck_ok(sink_init(&s, &watched, f, BEGIN, NULL));
    for (int section = 0; section < SECTIONS; section++) {
        uint32_t crc = 0;
        uint64_t n_added = 0;
        sink_begin(&s, 64);
        uint64_t begin = s.section;
        for (int i = 0; i < ADDS; i++) {
            size_t n = rng_below(&r, 4) == 0 ? rng_below(&r, N_MAX) : rng_below(&r, 5000);
            size_t from = rng_below(&r, (uint32_t)(N_MAX - n + 1));
            sink_add(&s, data + from, n);
            crc = crc32c(crc, data + from, n);
            memcpy(read + n_added, data + from, n);
            n_added += n;
            ck_assert_uint_eq(sink_at(&s), n_added);
        }
        ck_assert_uint_eq(sink_crc(&s), crc);
        ck_ok(sink_flush(&s, NULL));
        char *back = malloc(n_added);
        ck_assert(back != NULL);
        ck_ok(mem->pread(f, back, n_added, begin, NULL));
        ck_assert_mem_eq(back, read, n_added);
        free(back);
    }
    sink_deinit(&s);
    mem->close(f);
    vfs_mem_free(mem);
    free(data);
    free(read);
}
END_TEST

START_TEST(little_waits_to_be_written)
{
    enum { ADD = 300000, N = 256 }; /* 77 MB */
    struct rng r = {8};
    struct vfs_file *f;
    struct sink s;
    struct vfs *mem = watch(&f);
    char *data = malloc(ADD);
    ck_assert(data != NULL);
    fill(data, ADD, &r);
    ck_ok(sink_init(&s, &watched, f, 0, NULL));
    for (int i = 0; i < N; i++) sink_add(&s, data, ADD);
    ck_ok(sink_flush(&s, NULL));
    ck_assert_int_eq(n_syncs, (int)((uint64_t)N * ADD / (SINK_SYNC_BYTES + SINK_BUFFER_BYTES)));
    ck_assert_uint_le(n_unsynced_max, SINK_SYNC_BYTES + SINK_BUFFER_BYTES);
    sink_deinit(&s);
    mem->close(f);
    vfs_mem_free(mem);
    free(data);
}
END_TEST

START_TEST(a_failed_sync_is_told)
{
    enum { ADD = 1 << 20, N = 64 };
    struct rng r = {9};
    char *data = malloc(ADD);
    ck_assert(data != NULL);
    fill(data, ADD, &r);
    for (fail_at_sync = 1; fail_at_sync <= N / (SINK_SYNC_BYTES / ADD); fail_at_sync++) {
        struct vfs_file *f;
        struct sink s;
        struct errmsg em;
        struct vfs *mem = watch(&f);
        ck_ok(sink_init(&s, &watched, f, 0, NULL));
        for (int i = 0; i < N; i++) sink_add(&s, data, ADD);
        ck_assert_int_eq(sink_flush(&s, &em), ERR_NO_SPACE);
        ck_assert_str_eq(em.text, "the disk is full");
        ck_assert_int_eq(n_syncs, fail_at_sync);
        ck_assert_uint_le(n_written, (uint64_t)fail_at_sync * SINK_SYNC_BYTES); /* nothing was written after it */
        sink_deinit(&s);
        mem->close(f);
        vfs_mem_free(mem);
    }
    fail_at_sync = 0;
    free(data);
}
END_TEST

TESTS(sink, what_is_added_arrives, little_waits_to_be_written, a_failed_sync_is_told)
