/* test_faults.c - every operation of the log fails once, or from then on; every allocation fails once; the disk is full. */
#include "tests/unit/wal/crash_disk.h"
#include "tests/unit/wal/log_client.h"

#include "core/logger.h"
#include "core/mem.h"

static const struct wal_options small = {.segment_bytes = 20 << 10, .keep_segments = 2, .quiet_ms = 1};

/* Opens, writes over several segments, trims, closes. Whatever fails, what was acknowledged is there afterwards. */
static void run_with_fault(struct disk *d, struct client *c)
{
    struct errmsg em = {{0}};
    enum err e = client_open(c, &d->table, "/wal", &small, &em);
    if (e != ERR_OK) {
        /* no space for a name that may or may not be on the disk is not of the kind that clears by itself */
        ck_assert(e == d->fault || (d->fault == ERR_NO_SPACE && e == ERR_IO));
        ck_assert_str_ne(em.text, "");
        return;
    }
    for (int i = 0; i < 30; i++) {
        e = client_submit(c, i == 20 ? 30000 : 1700);
        ck_assert(e == ERR_OK || e == ERR_READ_ONLY);
        if (i % 3 == 0) client_wait(c);
        if (i % 12 == 11) (void)client_trim(c, client_last(c));
    }
    client_wait(c);
    struct wal_stats s;
    wal_stats(c->w, &s);
    for (const struct client_record *r = c->records; r != NULL; r = r->next)
        if (r->e != ERR_OK) ck_assert_int_eq(r->e, d->fault == ERR_NO_SPACE && r->e == ERR_IO ? ERR_IO : d->fault);
    bool clears = d->fault == ERR_FILES || (d->fault == ERR_NO_SPACE && d->fault_mask == OP_WRITE);
    ck_assert(!s.is_failed || !clears); /* others may close some, or make space: that clears by itself */
    if (s.is_failed) ck_assert_int_eq(client_submit(c, 10), ERR_READ_ONLY);
    client_close(c);
}

static void fail_each(int mask, enum err fault, bool stays, bool forgets)
{
    for (long at = 0;; at += suite_stride()) {
        struct disk *d = disk_new((uint64_t)at + 1);
        struct client *c = client_new();
        d->fault = fault;
        d->fault_mask = mask;
        d->fault_stays = stays;
        d->sync_forgets = forgets;
        d->fault_after = at;
        run_with_fault(d, c);
        bool fired = d->fault_fired;
        disk_kill(d);
        struct errmsg em = {{0}};
        ck_assert_msg(client_open(c, &d->table, "/wal", &small, &em) == ERR_OK, "after fault %ld of %d: %s", at, mask,
                      em.text);
        ck_ok(client_submit(c, 10)); /* it writes again */
        client_wait(c);
        ck_assert_uint_eq(c->n_failed, 0);
        client_close(c);
        disk_cut(d, 1); /* what was recovered is durable, even if its sync had failed before */
        ck_assert_msg(client_open(c, &d->table, "/wal", &small, &em) == ERR_OK, "later, %ld of %d: %s", at, mask,
                      em.text);
        client_close(c);
        client_free(c);
        disk_free(d);
        if (!fired) break;
    }
}

/* Opened once more, the log has so many records. The end of a test. */
static void end_with(struct disk *d, struct client *c, const struct wal_options *o, uint64_t n_replayed)
{
    ck_ok(client_open(c, &d->table, "/wal", o, NULL));
    ck_assert_uint_eq(c->n_replayed, n_replayed);
    client_close(c);
    client_free(c);
    disk_free(d);
}

START_TEST(each_operation_may_fail_once)
{
    logger_set_level(LOG_NONE);
    fail_each(OP_WRITE, ERR_IO, false, false);
    fail_each(OP_WRITE, ERR_NO_SPACE, false, false);
    fail_each(OP_SYNC, ERR_IO, false, false);
    fail_each(OP_SYNC, ERR_IO, false, true);
    fail_each(OP_NAME | OP_SYNC_DIR | OP_OPEN | OP_ALLOCATE, ERR_IO, false, false);
    fail_each(OP_READ, ERR_IO, false, false);
    fail_each(OP_SYNC_DIR | OP_OPEN, ERR_FILES, false, false);
}
END_TEST

START_TEST(each_operation_may_fail_for_good)
{
    logger_set_level(LOG_NONE);
    fail_each(OP_ANY, ERR_IO, true, true);
    fail_each(OP_CHANGES, ERR_NO_SPACE, true, false);
    fail_each(OP_WRITE, ERR_NO_SPACE, true, false);
    fail_each(OP_SYNC_DIR | OP_OPEN, ERR_FILES, true, false);
}
END_TEST

START_TEST(a_failed_sync_is_not_tried_again)
{
    logger_set_level(LOG_NONE);
    struct disk *d = disk_new(3);
    struct client *c = client_new();
    ck_ok(client_open(c, &d->table, "/wal", &small, NULL));
    ck_ok(client_submit(c, 100));
    client_wait(c);
    disk_arm(d, OP_SYNC, ERR_IO, 0, false, 0); /* once: the next one would succeed, and lie */
    ck_ok(client_submit(c, 100));
    client_wait(c);
    ck_assert_uint_eq(c->n_failed, 1);
    uint64_t n_syncs = d->n_syncs;
    ck_assert_int_eq(client_submit(c, 100), ERR_READ_ONLY);
    ck_ok(client_trim(c, 1));
    struct wal_stats s;
    wal_stats(c->w, &s);
    ck_assert(s.is_failed);
    ck_assert_uint_eq(s.durable_lsn, 1);
    client_close(c);
    ck_assert_uint_eq(d->n_syncs, n_syncs);
    disk_cut(d, 1);
    end_with(d, c, &small, 1);
}
END_TEST

START_TEST(a_full_disk_clears_by_itself)
{
    logger_set_level(LOG_NONE);
    struct disk *d = disk_new(4);
    struct client *c = client_new();
    d->fault = ERR_NO_SPACE; /* no space to reserve, what is reserved can be written */
    d->fault_mask = OP_ALLOCATE;
    d->fault_after = 0;
    d->fault_stays = true;
    ck_ok(client_open(c, &d->table, "/wal", &small, NULL)); /* opens even so */
    ck_ok(client_submit(c, 100));
    client_wait(c);
    ck_assert_uint_eq(c->n_failed, 1);
    ck_assert_int_eq(c->records->e, ERR_NO_SPACE);
    (void)pthread_mutex_lock(&d->mu);
    d->fault_after = 4; /* room for some segments */
    (void)pthread_mutex_unlock(&d->mu);
    uint64_t n_failed = 1;
    for (int i = 0; i < 100; i++) {
        ck_ok(client_submit(c, 1900));
        client_wait(c);
        if (c->n_failed == n_failed) continue;
        n_failed = c->n_failed;
        ck_assert_int_eq(c->records->e, ERR_NO_SPACE);
    }
    ck_assert_uint_gt(n_failed, 10);
    ck_assert_uint_gt(c->last_lsn, 10);
    struct wal_stats s;
    wal_stats(c->w, &s);
    ck_assert(!s.is_failed);
    (void)pthread_mutex_lock(&d->mu);
    d->fault_after = -1; /* somebody made space */
    (void)pthread_mutex_unlock(&d->mu);
    uint64_t last = c->last_lsn;
    for (int i = 0; i < 20; i++) ck_ok(client_submit(c, 1900));
    client_wait(c);
    ck_assert_uint_eq(c->n_failed, n_failed);
    ck_assert_uint_eq(c->last_lsn, last + 20); /* refused records use up no positions */
    client_close(c);
    disk_cut(d, 1);
    end_with(d, c, &small, last + 20);
}
END_TEST

/* As where a write takes new space though it goes to what was reserved: part of a batch is written, then there is none. Before and after
 * each such batch others are acknowledged. Without a cut of the power just those are found. */
START_TEST(a_disk_that_fills_while_it_is_written_clears_by_itself)
{
    enum { BIG = 70000, ROUNDS = 40 }; /* a big one is a write of its own */
    static const struct wal_options large = {.segment_bytes = 2 << 20, .keep_segments = 2};
    logger_set_level(LOG_NONE);
    struct disk *d = disk_new(5);
    struct client *c = client_new();
    uint64_t n_acknowledged = 0, n_refused = 0;
    ck_ok(client_open(c, &d->table, "/wal", &large, NULL));
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < 3; i++) ck_ok(client_submit(c, i == round % 3 ? 1900 : 300));
        client_wait(c);
        ck_assert_uint_eq(c->n_failed, n_refused);
        n_acknowledged += 3;
        disk_arm(d, OP_WRITE, ERR_NO_SPACE, round % 3, true, 0);
        uint64_t n_done = c->n_done;
        for (int i = 0; i < 5; i++) ck_ok(client_submit(c, i % 2 == 0 ? BIG : 300)); /* in one batch, or in several */
        client_wait(c);
        uint64_t n_failed = c->n_failed - n_refused;
        ck_assert_uint_gt(n_failed, 0);
        n_acknowledged += c->n_done - n_done - n_failed;
        n_refused = c->n_failed;
        for (const struct client_record *r = c->records; r != NULL; r = r->next)
            ck_assert(r->e == ERR_OK || r->e == ERR_NO_SPACE);
        disk_arm(d, 0, ERR_OK, -1, false, 0); /* somebody made space */
    }
    ck_ok(client_submit(c, 100));
    client_wait(c);
    ck_assert_uint_eq(c->n_failed, n_refused);
    struct wal_stats s;
    wal_stats(c->w, &s);
    ck_assert(!s.is_failed);
    ck_assert_uint_eq(s.durable_lsn, n_acknowledged + 1); /* refused records use up no positions */
    client_close(c);
    end_with(d, c, &large, n_acknowledged + 1);
}
END_TEST

/* Two records of a refused batch are in the file, and the next one is as large as the first of them: nothing may follow it. There is no
 * space for a mark either. */
START_TEST(what_a_refused_batch_has_left_never_comes_back)
{
    enum { BIG = 70000, SMALL = 300, MARK = 48 };
    static const struct wal_options large = {.segment_bytes = 2 << 20, .keep_segments = 2};
    logger_set_level(LOG_NONE);
    struct disk *d = disk_new(6);
    struct client *c = client_new();
    ck_ok(client_open(c, &d->table, "/wal", &large, NULL));
    for (int round = 0; round < 10; round++) {
        struct wal_stats s = {0};
        int n_waits = 0;
        (void)pthread_mutex_lock(&c->gate);
        ck_ok(client_submit(c, SMALL));
        for (uint64_t last = c->last_lsn; s.durable_lsn <= last; wal_stats(c->w, &s)) wait_a_moment(&n_waits);
        disk_arm(d, OP_WRITE, ERR_NO_SPACE, 0, true, BIG);
        for (int i = 0; i < 2; i++) ck_ok(client_submit(c, SMALL)); /* one batch, all of it */
        ck_ok(client_submit(c, BIG));
        (void)pthread_mutex_unlock(&c->gate);
        client_wait(c);
        uint64_t n_failed = c->n_failed, last = c->last_lsn;
        ck_assert_uint_eq(n_failed, 3);
        disk_arm(d, OP_WRITE, ERR_NO_SPACE, 0, true, MARK);
        ck_ok(client_submit(c, SMALL));
        client_wait(c);
        ck_assert_uint_eq(c->n_failed, n_failed);
        ck_assert_uint_eq(c->last_lsn, last + 1);
        client_close(c);
        disk_kill(d);
        ck_ok(client_open(c, &d->table, "/wal", &large, NULL));
        ck_assert_uint_eq(c->n_replayed, last + 1);
    }
    client_close(c);
    client_free(c);
    disk_free(d);
}
END_TEST

/* --- memory ------------------------------------------------------------------------------------------------------------ */

struct shortage {
    _Atomic long after;
    _Atomic bool fired;
};

static bool allow_memory(void *ctx, size_t size)
{
    struct shortage *s = ctx;
    (void)size;
    if (s->after-- != 0) return true;
    s->fired = true;
    return false;
}

START_TEST(each_allocation_may_fail)
{
    logger_set_level(LOG_NONE);
    bool fired = true;
    for (long at = 0; fired; at += suite_stride()) {
        struct disk *d = disk_new(5);
        struct client *c = client_new();
        for (int round = 0; round < 2; round++) { /* the second finds files */
            struct shortage s = {at, false};
            struct errmsg em = {{0}};
            mem_set_hook(allow_memory, &s);
            enum err e = client_open(c, &d->table, "/wal", &small, &em);
            if (e == ERR_OK) {
                for (int i = 0; i < 15; i++) ck_ok(client_submit(c, 3000));
                client_wait(c);
                ck_ok(client_trim(c, c->last_lsn));
                for (const struct client_record *r = c->records; r != NULL; r = r->next)
                    ck_assert(r->e == ERR_OK || r->e == ERR_NOMEM);
                client_close(c);
            } else {
                ck_assert_int_eq(e, ERR_NOMEM);
            }
            mem_set_hook(NULL, NULL);
            fired = s.fired;
        }
        ck_ok(client_open(c, &d->table, "/wal", &small, NULL));
        client_close(c);
        client_free(c);
        disk_free(d);
    }
}
END_TEST

TESTS(faults, each_operation_may_fail_once, each_operation_may_fail_for_good, a_failed_sync_is_not_tried_again,
      a_full_disk_clears_by_itself, a_disk_that_fills_while_it_is_written_clears_by_itself,
      what_a_refused_batch_has_left_never_comes_back, each_allocation_may_fail)
