/* test_wal.c - the log as its users see it: on real files, in memory, with several threads. */
#include "tests/unit/wal/log_client.h"

#include <sched.h>
#include <stdatomic.h>

#include "core/mem.h"

static struct wal_stats stats_of(struct wal *w)
{
    struct wal_stats s;
    wal_stats(w, &s);
    return s;
}

static void dir_of(char out[256])
{
    ck_assert(vfs_join(out, 256, tmp_dir(), "wal"));
}

START_TEST(records_come_back_in_order)
{
    char dir[256];
    dir_of(dir);
    struct client *c = client_new();
    for (int round = 0; round < 3; round++) {
        ck_ok(client_open(c, vfs_posix(), dir, NULL, NULL));
        ck_assert_uint_eq(c->n_replayed, (uint64_t)round * 100);
        for (size_t i = 0; i < 100; i++) ck_ok(client_submit(c, i * 37));
        client_wait(c);
        ck_assert_uint_eq(c->last_lsn, (uint64_t)(round + 1) * 100);
        struct wal_stats s = stats_of(c->w);
        ck_assert_uint_eq(s.durable_lsn, c->last_lsn);
        ck_assert_uint_eq(s.first_lsn, 1);
        ck_assert_uint_eq(s.n_records, 100);
        ck_assert_uint_ge(s.n_flushes, 1);
        ck_assert(!s.is_failed);
        client_close(c);
    }
    client_free(c);
}
END_TEST

START_TEST(big_records_get_a_segment_of_their_own)
{
    char dir[256];
    dir_of(dir);
    const struct wal_options o = {.segment_bytes = 64 << 10};
    struct client *c = client_new();
    static const size_t sizes[] = {10, 3 << 20, 20, 60 << 10, 61 << 10, (64 << 10) - 4096 - 48, (64 << 10) - 4096 - 47,
                                   5};
    for (int round = 0; round < 2; round++) {
        ck_ok(client_open(c, vfs_posix(), dir, &o, NULL));
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            ck_ok(client_submit(c, sizes[i]));
            if (round == 1) client_wait(c);
        }
        client_wait(c);
        ck_assert_uint_eq(c->n_failed, 0);
        client_close(c);
    }
    ck_ok(client_open(c, vfs_posix(), dir, &o, NULL));
    ck_assert_uint_eq(c->n_replayed, 16);
    client_close(c);
    client_free(c);
}
END_TEST

static enum err count_replayed(void *ctx, uint64_t lsn, uint32_t type, uint64_t collection, struct bytes payload,
                               struct errmsg *em)
{
    uint64_t *n = ctx;
    (void)type, (void)collection, (void)payload;
    (*n)++;
    return lsn == 40 ? errmsg_set(em, ERR_NOMEM, "enough") : ERR_OK;
}

START_TEST(replay_starts_where_asked_and_can_stop)
{
    char dir[256];
    dir_of(dir);
    struct errmsg em = {{0}};
    const struct wal_options o = {.segment_bytes = 16 << 10};
    struct client *c = client_new();
    ck_ok(client_open(c, vfs_posix(), dir, &o, NULL));
    for (int i = 0; i < 50; i++) ck_ok(client_submit(c, 1500));
    client_wait(c);
    client_close(c);
    uint64_t n = 0;
    struct wal *w = NULL;
    ck_ok(wal_open(&w, vfs_posix(), dir, &o, 43, 0, count_replayed, &n, &em));
    ck_assert_uint_eq(n, 7);
    wal_close(w);
    n = 0;
    w = NULL;
    ck_assert_int_eq(wal_open(&w, vfs_posix(), dir, &o, 10, 0, count_replayed, &n, &em), ERR_NOMEM);
    ck_assert_uint_eq(n, 30);
    ck_assert_str_eq(em.text, "enough");
    ck_assert_ptr_null(w);
    client_free(c);
}
END_TEST

START_TEST(positions_can_be_skipped)
{
    char dir[256];
    dir_of(dir);
    struct client *c = client_new();
    ck_ok(wal_open(&c->w, vfs_posix(), dir, NULL, 0, 1000, NULL, NULL, NULL));
    ck_assert_uint_eq(stats_of(c->w).durable_lsn, 999);
    ck_ok(client_submit(c, 5));
    client_wait(c);
    ck_assert_uint_eq(c->last_lsn, 1000);
    client_close(c);
    ck_ok(wal_open(&c->w, vfs_posix(), dir, NULL, 1000, 2000, NULL, NULL, NULL)); /* and again without a write */
    client_close(c);
    c->n_submitted = c->n_done = 0;
    ck_ok(client_open(c, vfs_posix(), dir, NULL, NULL));
    ck_assert_uint_eq(c->n_replayed, 1);
    ck_assert_uint_eq(stats_of(c->w).durable_lsn, 1999);
    for (int i = 0; i < 3; i++) ck_ok(client_submit(c, 50));
    client_wait(c);
    ck_assert_uint_eq(c->last_lsn, 2002);
    client_close(c);
    ck_ok(client_open(c, vfs_posix(), dir, NULL, NULL));
    ck_assert_uint_eq(c->n_replayed, 4);
    client_close(c);
    client_free(c);
}
END_TEST

/* Callback that holds the flusher, so that what follows piles up. */
struct gate {
    struct wal_record r;
    pthread_mutex_t mu;
};

static void wait_at_gate(struct wal_record *r, enum err e, uint64_t lsn)
{
    struct gate *g = (struct gate *)(void *)r;
    (void)e, (void)lsn;
    (void)pthread_mutex_lock(&g->mu);
    (void)pthread_mutex_unlock(&g->mu);
}

START_TEST(too_much_waiting_is_refused)
{
    struct vfs *vfs = NULL;
    ck_ok(vfs_mem_new(&vfs, NULL));
    const struct wal_options o = {.max_pending_bytes = 1000, .no_sync = true};
    struct client *c = client_new();
    ck_ok(client_open(c, vfs, "/wal", &o, NULL));
    struct gate g = {.r = {.type = 9, .done = wait_at_gate}};
    (void)pthread_mutex_init(&g.mu, NULL);
    (void)pthread_mutex_lock(&g.mu);
    ck_ok(wal_submit(c->w, &g.r));
    for (int n = 0; stats_of(c->w).n_records == 0;) wait_a_moment(&n); /* the flusher is at the gate */
    ck_ok(client_submit(c, 5000));                                     /* alone it is never too much */
    ck_assert_int_eq(client_submit(c, 10), ERR_BUSY);
    (void)pthread_mutex_unlock(&g.mu);
    client_wait(c);
    ck_ok(client_submit(c, 10));
    client_wait(c);
    ck_assert_uint_eq(c->n_failed, 0);
    client_close(c);
    (void)pthread_mutex_destroy(&g.mu);
    client_free(c);
    vfs_mem_free(vfs);
}
END_TEST

START_TEST(waiting_records_share_a_flush)
{
    struct vfs *vfs = NULL;
    ck_ok(vfs_mem_new(&vfs, NULL));
    struct client *c = client_new();
    ck_ok(client_open(c, vfs, "/wal", NULL, NULL));
    struct gate g = {.r = {.type = 9, .done = wait_at_gate}};
    (void)pthread_mutex_init(&g.mu, NULL);
    (void)pthread_mutex_lock(&g.mu);
    ck_ok(wal_submit(c->w, &g.r));
    for (int n = 0; stats_of(c->w).n_records == 0;) wait_a_moment(&n);
    for (int i = 0; i < 64; i++) ck_ok(client_submit(c, 100));
    (void)pthread_mutex_unlock(&g.mu);
    client_wait(c);
    ck_assert_uint_eq(stats_of(c->w).n_records, 65);
    ck_assert_uint_eq(stats_of(c->w).n_flushes, 2);
    client_close(c);
    (void)pthread_mutex_destroy(&g.mu);
    client_free(c);
    vfs_mem_free(vfs);
}
END_TEST

START_TEST(trim_bounds_the_disk)
{
    char dir[256];
    dir_of(dir);
    const struct wal_options o = {.segment_bytes = 64 << 10, .keep_segments = 2};
    struct client *c = client_new();
    ck_ok(client_open(c, vfs_posix(), dir, &o, NULL));
    for (int i = 0; i < 400; i++) { /* 4 MB in all */
        ck_ok(client_submit(c, 10000));
        if (i % 20 == 19) {
            client_wait(c);
            ck_ok(client_trim(c, c->last_lsn - 3));
        }
    }
    client_wait(c);
    ck_ok(client_trim(c, c->last_lsn));
    /* one active, at most two spares, once the helper has caught up */
    for (int n = 0; stats_of(c->w).disk_bytes > 3 * (64 << 10) || stats_of(c->w).live_bytes > 0;) wait_a_moment(&n);
    client_close(c);
    ck_ok(client_open(c, vfs_posix(), dir, &o, NULL));
    ck_assert_uint_le(c->n_replayed, 7); /* what the active segment held at most */
    ck_assert_uint_eq(stats_of(c->w).durable_lsn, 400);
    client_close(c);
    client_free(c);
}
END_TEST

/* Some time after the last write there are no spares, and an empty log is small; nothing is lost by it. */
START_TEST(a_quiet_log_gives_the_disk_back)
{
    char dir[256];
    dir_of(dir);
    const struct wal_options o = {.segment_bytes = 256 << 10, .quiet_ms = 30};
    struct client *c = client_new();
    ck_ok(client_open(c, vfs_posix(), dir, &o, NULL));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 100; i++) ck_ok(client_submit(c, 10000)); /* 1 MB */
        client_wait(c);
        ck_ok(client_trim(c, c->last_lsn - 1)); /* the last one is kept: the active segment stays, the spares go */
        for (int n = 0; stats_of(c->w).disk_bytes > 256 << 10;) wait_a_moment(&n);
        ck_ok(client_trim(c, c->last_lsn));
        for (int n = 0; stats_of(c->w).disk_bytes > 64 << 10;) wait_a_moment(&n);
        ck_assert_uint_eq(stats_of(c->w).n_segments, 1);
    }
    ck_assert_uint_eq(stats_of(c->w).durable_lsn, 300);
    client_close(c);
    ck_ok(client_open(c, vfs_posix(), dir, &o, NULL));
    ck_assert_uint_eq(c->n_replayed, 0);
    ck_ok(client_submit(c, 100));
    client_wait(c);
    ck_assert_uint_eq(c->last_lsn, 301);
    client_close(c);
    client_free(c);
}
END_TEST

/* Segments are large while flushes are, small again when they are not; and a record that the spare at hand has no room for
 * waits for one that has. */
START_TEST(segments_are_as_large_as_flushes_ask)
{
    struct vfs *vfs;
    ck_ok(vfs_mem_new(&vfs, NULL));
    const struct wal_options o = {.segment_bytes = 256 << 10, .bulk_bytes = 2 << 20, .quiet_ms = 3600000};
    struct client *c = client_new();
    ck_ok(client_open(c, vfs, "wal", &o, NULL));
    for (int round = 0; round < 2; round++) {
        uint64_t before = stats_of(c->w).n_segments;
        for (int i = 0; i < 20; i++, client_wait(c)) ck_ok(client_submit(c, 200 << 10)); /* one a segment at first */
        ck_assert_uint_ge(stats_of(c->w).disk_bytes, 4 << 20);
        ck_assert_uint_le(stats_of(c->w).n_segments - before, 6); /* 4 MB in 2 MiB each, but for the first few */
        for (int i = 0; i < 3; i++, client_wait(c)) ck_ok(client_submit(c, 1 << 20)); /* large ones, to begin with */
        for (int i = 0; i < 1000; i++, client_wait(c)) ck_ok(client_submit(c, 9000));
        for (int i = 0; i < 4; i++, client_wait(c)) ck_ok(client_submit(c, 1 << 20)); /* more than a small one has */
        for (int i = 0; i < 300; i++, client_wait(c)) ck_ok(client_submit(c, 9000));
        ck_ok(client_trim(c, c->last_lsn));
        for (int n = 0; stats_of(c->w).n_segments > 1;) wait_a_moment(&n);
        for (int i = 0; i < 100; i++, client_wait(c)) ck_ok(client_submit(c, 9000)); /* 0.9 MB: spares are reused */
        ck_assert_uint_ge(stats_of(c->w).n_segments, 2);
        ck_ok(client_trim(c, c->last_lsn));
        for (int n = 0; stats_of(c->w).n_segments > 1;) wait_a_moment(&n);
    }
    ck_assert_uint_eq(c->n_failed, 0);
    for (int i = 0; i < 10; i++) ck_ok(client_submit(c, 70000));
    client_wait(c);
    client_close(c);
    ck_ok(client_open(c, vfs, "wal", &o, NULL));
    ck_assert_uint_ge(c->n_replayed, 10);
    client_close(c);
    client_free(c);
    vfs_mem_free(vfs);
}
END_TEST

START_TEST(an_empty_log_keeps_its_place)
{
    char dir[256];
    dir_of(dir);
    const struct wal_options o = {.segment_bytes = 16 << 10};
    struct client *c = client_new();
    ck_ok(client_open(c, vfs_posix(), dir, &o, NULL));
    for (int i = 0; i < 6; i++) ck_ok(client_submit(c, 1900)); /* 11 of 16 KiB: more than a quarter, in one segment */
    client_wait(c);
    ck_ok(client_trim(c, 6));
    for (int n = 0; stats_of(c->w).first_lsn != 7;) wait_a_moment(&n); /* moved on, the old one is gone */
    client_close(c);
    for (int round = 0; round < 3; round++) {
        ck_ok(client_open(c, vfs_posix(), dir, &o, NULL));
        ck_assert_uint_eq(c->n_replayed, 0);
        ck_assert_uint_eq(stats_of(c->w).durable_lsn, 6);
        client_close(c);
    }
    ck_ok(client_open(c, vfs_posix(), dir, &o, NULL));
    ck_ok(client_submit(c, 1));
    client_wait(c);
    ck_assert_uint_eq(c->last_lsn, 7);
    client_close(c);
    client_free(c);
}
END_TEST

/* --- several threads -------------------------------------------------------------------------------------------------- */

enum { N_THREADS = 4, N_PER_THREAD = 400 };

struct many {
    struct wal *w;
    _Atomic uint64_t last_lsn, n_done, n_submitted;
    _Atomic bool out_of_order;
};

struct many_record {
    struct wal_record r;
    struct many *m;
    char payload[120];
};

static void many_done(struct wal_record *r, enum err e, uint64_t lsn)
{
    struct many_record *mr = (struct many_record *)(void *)r;
    struct many *m = mr->m;
    if (e != ERR_OK || lsn != m->last_lsn + 1) m->out_of_order = true;
    m->last_lsn = lsn;
    mem_free(mr);
    m->n_done++;
}

static void *many_main(void *arg)
{
    struct many *m = arg;
    for (int i = 0; i < N_PER_THREAD; i++) {
        struct many_record *r = mem_zalloc(sizeof *r);
        if (r == NULL) return NULL;
        r->m = m;
        r->r =
            (struct wal_record){.type = 1, .payload = {r->payload, (size_t)i % sizeof r->payload}, .done = many_done};
        while (wal_submit(m->w, &r->r) == ERR_BUSY) (void)sched_yield();
        m->n_submitted++;
    }
    return NULL;
}

static void run_many(const struct vfs *vfs, const char *dir)
{
    const struct wal_options o = {.segment_bytes = 16 << 10, .max_pending_bytes = 8 << 10, .keep_segments = 2};
    struct many m = {0};
    pthread_t threads[N_THREADS];
    ck_ok(wal_open(&m.w, vfs, dir, &o, 0, 0, NULL, NULL, NULL));
    for (int i = 0; i < N_THREADS; i++) ck_assert_int_eq(pthread_create(&threads[i], NULL, many_main, &m), 0);
    struct wal_stats s;
    do {
        wal_stats(m.w, &s);
        ck_ok(wal_trim(m.w, s.durable_lsn / 2, NULL));
        (void)sched_yield();
    } while (m.n_done < N_THREADS * N_PER_THREAD);
    for (int i = 0; i < N_THREADS; i++) ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert(!m.out_of_order);
    ck_assert_uint_eq(m.last_lsn, N_THREADS * N_PER_THREAD);
    wal_close(m.w);
}

START_TEST(many_threads_submit_on_files)
{
    char dir[256];
    dir_of(dir);
    run_many(vfs_posix(), dir);
}
END_TEST

START_TEST(many_threads_submit_in_memory)
{
    struct vfs *vfs = NULL;
    ck_ok(vfs_mem_new(&vfs, NULL));
    run_many(vfs, "/wal");
    vfs_mem_free(vfs);
}
END_TEST

TESTS(wal, records_come_back_in_order, big_records_get_a_segment_of_their_own, replay_starts_where_asked_and_can_stop,
      positions_can_be_skipped, too_much_waiting_is_refused, waiting_records_share_a_flush, trim_bounds_the_disk,
      a_quiet_log_gives_the_disk_back, segments_are_as_large_as_flushes_ask, an_empty_log_keeps_its_place,
      many_threads_submit_on_files, many_threads_submit_in_memory)
