/* test_crash.c - the log on a disk that loses power, loses writes and fails (crash_disk.h), against what it promised. */
#include "tests/unit/wal/crash_disk.h"
#include "tests/unit/wal/log_client.h"

#include <sched.h>

#include "core/logger.h"
#include "core/mem.h"

static const struct wal_options small = {.segment_bytes = 20 << 10, .keep_segments = 2};

static uint32_t pick(struct disk *d, uint32_t n)
{
    (void)pthread_mutex_lock(&d->mu);
    uint32_t v = rng_below(&d->rng, n);
    (void)pthread_mutex_unlock(&d->mu);
    return v;
}

static size_t some_size(struct disk *d)
{
    switch (pick(d, 12)) {
    case 0: return 0;
    case 1: return 3000 + pick(d, 9000);
    case 2: return pick(d, 40) == 0 ? 15000 + pick(d, 90000) : 100;
    default: return pick(d, 700);
    }
}

/* One life of the process: random writes, waits and trims. */
static void live(struct client *c, struct disk *d, int n_steps)
{
    for (int i = 0; i < n_steps; i++) {
        uint32_t what = pick(d, 20);
        if (what < 14) {
            enum err e = client_submit(c, some_size(d));
            ck_assert(e == ERR_OK || e == ERR_READ_ONLY);
        } else if (what < 18) {
            client_wait(c);
        } else if (c->last_lsn > 0) {
            (void)pthread_mutex_lock(&c->mu);
            uint64_t last = c->last_lsn;
            (void)pthread_mutex_unlock(&c->mu);
            (void)client_trim(c, what == 18 ? last : last - last / 8);
        }
    }
}

/* Runs one disk through many lives, each ended by a close, a kill or a power cut at a random operation, also while opening;
 * every opening checks the promises. */
static void run_lives(uint64_t seed, int n_lives, int *n_cuts)
{
    struct disk *d = disk_new(seed);
    struct client *c = client_new();
    struct errmsg em = {{0}};
    for (int life = 0; life < n_lives; life++) {
        if (pick(d, 5) != 0) d->cut_after = (long)pick(d, pick(d, 3) == 0 ? 12 : 120);
        d->sync_forgets = pick(d, 2) == 0;
        if (pick(d, 6) == 0) {
            d->fault = ERR_IO;
            d->fault_mask = pick(d, 2) == 0 ? OP_SYNC : OP_WRITE;
            d->fault_after = (long)pick(d, 60);
            d->fault_stays = false;
        }
        enum err e = client_open(c, &d->table, "/wal", &small, &em);
        if (e == ERR_OK) {
            live(c, d, (int)pick(d, 60));
            if (pick(d, 3) == 0) client_wait(c);
            client_close(c);
        } else {
            ck_assert_msg(d->is_off || d->fault_fired, "seed %llu life %d: %s: %s", (unsigned long long)seed, life,
                          err_text(e), em.text);
            ck_assert_msg(e != ERR_CORRUPT, "seed %llu life %d: %s", (unsigned long long)seed, life, em.text);
        }
        d->fault_fired = false;
        if (d->is_off) ++*n_cuts;
        if (pick(d, 3) == 0) disk_kill(d);
        else disk_cut(d, pick(d, 4) < 2 ? 2 : pick(d, 2));
    }
    ck_assert_msg(client_open(c, &d->table, "/wal", &small, &em) == ERR_OK, "seed %llu, at the end: %s",
                  (unsigned long long)seed, em.text);
    client_close(c);
    client_free(c);
    disk_free(d);
}

START_TEST(promises_survive_power_cuts)
{
    int n_cuts = 0;
    logger_set_level(LOG_NONE);
    for (uint64_t seed = 1; seed <= 60; seed++) run_lives(seed * 7919, 14, &n_cuts);
    ck_assert_int_gt(n_cuts, 300);
}
END_TEST

TESTS(crash, promises_survive_power_cuts)
