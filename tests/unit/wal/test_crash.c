/* test_crash.c - the log on a disk that loses power, loses writes and fails (crash_disk.h), against what it promised. */
#include "tests/unit/wal/crash_disk.h"
#include "tests/unit/wal/log_client.h"

#include "core/logger.h"
#include "core/mem.h"

enum { MARK_BYTES = 48, BLOCK = 4096 };

static const struct wal_options small = {.segment_bytes = 20 << 10, .keep_segments = 2};
static const struct wal_options hasty = {.segment_bytes = 20 << 10, .keep_segments = 2, .quiet_ms = 1};

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
    case 0:
        return 0;
    case 1:
        return 3000 + pick(d, 9000);
    case 2:
        return pick(d, 40) == 0 ? 15000 + pick(d, 90000) : 100;
    default:
        return pick(d, 700);
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
        } else {
            uint64_t last = client_last(c);
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
        enum err e = client_open(c, &d->table, "/wal", seed % 2 == 0 ? &hasty : &small, &em);
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
        if (pick(d, 3) == 0)
            disk_kill(d);
        else
            disk_cut(d, pick(d, 4) < 2 ? 2 : pick(d, 2));
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
    int n = suite_share(60);
    for (int seed = 1; seed <= n; seed++) run_lives((uint64_t)seed * 7919, 14, &n_cuts);
    ck_assert_int_gt(n_cuts, 5 * n);
}
END_TEST

/* --- damage --------------------------------------------------------------------------------------------------------- */

static bool is_segment(const char *path)
{
    size_t n = strlen(path);
    return n > 4 && strcmp(path + n - 4, ".log") == 0;
}

/* A checksum over all names and bytes that a reader sees. */
static uint64_t disk_sum(const struct disk *d)
{
    uint64_t sum = 0;
    for (int i = 0; i < d->now.n; i++) {
        const struct disk_name *name = &d->now.list[i];
        uint64_t h = 1469598103934665603u;
        for (const char *p = name->path; *p != '\0'; p++) h = (h ^ (unsigned char)*p) * 1099511628211u;
        for (size_t k = 0; k < name->inode->n_now; k++) h = (h ^ (unsigned char)name->inode->now[k]) * 1099511628211u;
        sum += h; /* in any order */
    }
    return sum;
}

/* Waits until the flusher has nothing left to do: the last it wrote is its mark, which nothing syncs. (A segment before may
 * end with a mark too, if the writer paused there.) */
static void wait_for_mark(struct disk *d)
{
    bool has_mark = false;
    for (int n = 0; !has_mark;) {
        const struct disk_inode *last = NULL;
        wait_a_moment(&n);
        (void)pthread_mutex_lock(&d->mu);
        for (int i = 0; i < d->now.n; i++) {
            const struct disk_inode *inode = d->now.list[i].inode;
            if (is_segment(d->now.list[i].path) && (last == NULL || inode->last_turn > last->last_turn)) last = inode;
        }
        has_mark = last != NULL && last->last_size == MARK_BYTES;
        (void)pthread_mutex_unlock(&d->mu);
    }
}

/* A log of several segments, all acknowledged, closed or killed when idle. */
static void write_some(struct client *c, struct disk *d, bool closes)
{
    ck_ok(client_open(c, &d->table, "/wal", &small, NULL));
    for (int i = 0; i < 40; i++) {
        ck_ok(client_submit(c, some_size(d)));
        if (pick(d, 3) == 0) client_wait(c);
    }
    client_wait(c);
    if (!closes) {
        wait_for_mark(d);
        (void)pthread_mutex_lock(&d->mu);
        d->is_off = true;
        (void)pthread_mutex_unlock(&d->mu);
    }
    client_close(c);
    disk_kill(d);
}

START_TEST(damage_is_refused_or_harmless)
{
    int n_refused = 0, n_harmless = 0, n = suite_share(300);
    logger_set_level(LOG_NONE);
    for (int seed = 1; seed <= n; seed++) {
        struct disk *d = disk_new((uint64_t)seed * 104729);
        struct client *c = client_new();
        struct errmsg em = {{0}};
        write_some(c, d, seed % 2 == 0);
        uint64_t last = c->last_lsn;
        ck_assert_uint_eq(last, 40);

        struct disk_name *name;
        do name = &d->now.list[pick(d, (uint32_t)d->now.n)];
        while (!is_segment(name->path));
        struct disk_inode *inode = name->inode;
        size_t used = inode->n_now;
        while (used > 0 && inode->now[used - 1] == 0) used--;
        size_t at = pick(d, 8) == 0 ? pick(d, 64) : pick(d, (uint32_t)used);
        inode->now[at] = (char)(inode->now[at] ^ (1 << pick(d, 8)));
        uint64_t before = disk_sum(d);
        enum err e = client_open(c, &d->table, "/wal", &small, &em);
        if (e == ERR_OK) {
            ck_assert_msg(c->n_replayed == 40, "seed %d: byte %zu of %s was changed, and %llu of 40 are left", seed, at,
                          name->path, (unsigned long long)c->n_replayed);
            client_close(c);
            n_harmless++;
        } else {
            ck_assert_msg(e == ERR_CORRUPT, "seed %d: %s", seed, em.text);
            ck_assert_msg(strstr(em.text, name->path) != NULL && strstr(em.text, "byte ") != NULL,
                          "the message names file and byte: %s", em.text);
            ck_assert_msg(disk_sum(d) == before, "the files are left as they are");
            n_refused++;
        }
        client_free(c);
        disk_free(d);
    }
    ck_assert_int_gt(n_refused, n / 2);
    ck_assert_int_gt(n_harmless, 0); /* padding, unused bytes of the header's block, the mark */
}
END_TEST

START_TEST(missing_segments_are_refused)
{
    logger_set_level(LOG_NONE);
    struct disk *d = disk_new(5);
    struct client *c = client_new();
    ck_ok(client_open(c, &d->table, "/wal", &small, NULL));
    for (int i = 0; i < 60; i++) {
        ck_ok(client_submit(c, 1500));
        client_wait(c);
    }
    client_close(c);
    /* the second oldest; the oldest alone cannot be missed, it may have been trimmed */
    const char *paths[2] = {NULL, NULL};
    for (int i = 0; i < d->now.n; i++) {
        const char *p = d->now.list[i].path;
        if (!is_segment(p)) continue;
        if (paths[0] == NULL || strcmp(p, paths[0]) < 0)
            paths[1] = paths[0], paths[0] = p;
        else if (paths[1] == NULL || strcmp(p, paths[1]) < 0)
            paths[1] = p;
    }
    ck_assert_ptr_nonnull(paths[1]);
    char path[160];
    (void)snprintf(path, sizeof path, "%s", paths[1]);
    ck_ok(d->table.remove(d, path, NULL));
    struct errmsg em = {{0}};
    ck_assert_int_eq(wal_open(&c->w, &d->table, "/wal", &small, 0, 0, NULL, NULL, &em), ERR_CORRUPT);
    /* not wanted: then it is not missed */
    ck_ok(wal_open(&c->w, &d->table, "/wal", &small, 59, 0, NULL, NULL, &em));
    client_close(c);
    client_free(c);
    disk_free(d);
}
END_TEST

/* --- what was left of a torn batch ------------------------------------------------------------------------------------ */

struct gate {
    struct wal_record r;
    pthread_mutex_t mu;
    bool is_reached;
};

static void wait_at_gate(struct wal_record *r, enum err e, uint64_t lsn)
{
    struct gate *g = (struct gate *)(void *)r;
    (void)e, (void)lsn;
    (void)pthread_mutex_lock(&g->mu);
    g->is_reached = true;
    (void)pthread_mutex_unlock(&g->mu);
}

static enum err note_lsn(void *ctx, uint64_t lsn, uint32_t type, uint64_t collection, struct bytes payload,
                         struct errmsg *em)
{
    uint64_t *seen = ctx; /* seen[lsn] = type */
    (void)collection, (void)payload, (void)em;
    ck_assert_uint_lt(lsn, 16);
    seen[lsn] = type;
    return ERR_OK;
}

static void note_done(struct wal_record *r, enum err e, uint64_t lsn)
{
    (void)lsn;
    struct gate *g = (struct gate *)(void *)r;
    g->is_reached = e == ERR_OK;
}

/* A batch of three loses its first record and keeps the others. A new record of the same length takes the first one's
 * position; the others, which would fit behind it exactly, stay gone. */
START_TEST(a_torn_batch_is_not_completed_by_later_records)
{
    static const char text[976] = "same length for all: 1024 bytes with its header";
    uint64_t seen[16] = {0};
    logger_set_level(LOG_NONE);
    struct disk *d = disk_new(6);
    struct wal *w = NULL;
    ck_ok(wal_open(&w, &d->table, "/wal", &small, 0, 0, note_lsn, seen, NULL));
    struct gate g = {.r = {.type = 1, .payload = {text, sizeof text}, .done = wait_at_gate}};
    (void)pthread_mutex_init(&g.mu, NULL);
    (void)pthread_mutex_lock(&g.mu);
    ck_ok(wal_submit(w, &g.r));
    struct wal_stats s;
    int n_waits = 0;
    do {
        wait_a_moment(&n_waits);
        wal_stats(w, &s);
    } while (s.n_records == 0);
    struct gate torn[3];
    for (unsigned i = 0; i < 3; i++) {
        torn[i] = (struct gate){.r = {.type = 2 + i, .payload = {text, sizeof text}, .done = note_done}};
        ck_ok(wal_submit(w, &torn[i].r));
    }
    disk_arm(d, OP_SYNC, ERR_IO, 0, true, 0); /* their sync never happens */
    (void)pthread_mutex_unlock(&g.mu);
    wal_close(w);
    ck_assert(g.is_reached && !torn[0].is_reached && !torn[2].is_reached);
    disk_cut(d, 0); /* everything arrives, except for the first record of the batch */
    struct disk_inode *inode = NULL;
    for (int i = 0; i < d->now.n; i++)
        if (is_segment(d->now.list[i].path)) inode = d->now.list[i].inode;
    ck_assert_ptr_nonnull(inode);
    ck_assert_int_ne(inode->disk[BLOCK + 1024], 0);
    memset(inode->disk + BLOCK + 1024, 0, 1024);
    disk_cut(d, 0);

    ck_ok(wal_open(&w, &d->table, "/wal", &small, 0, 0, note_lsn, seen, NULL));
    ck_assert_uint_eq(seen[1], 1);
    ck_assert_uint_eq(seen[2], 0);
    /* no mark over what follows: the salt alone must keep it out */
    disk_arm(d, OP_WRITE, ERR_IO, 0, true, MARK_BYTES);
    struct gate again = {.r = {.type = 9, .payload = {text, sizeof text}, .done = note_done}};
    ck_ok(wal_submit(w, &again.r));
    wal_close(w);
    ck_assert(again.is_reached && d->fault_fired);
    disk_cut(d, 1);
    memset(seen, 0, sizeof seen);
    ck_ok(wal_open(&w, &d->table, "/wal", &small, 0, 0, note_lsn, seen, NULL));
    ck_assert_uint_eq(seen[1], 1);
    ck_assert_uint_eq(seen[2], 9);
    ck_assert_uint_eq(seen[3], 0);
    ck_assert_uint_eq(seen[4], 0);
    wal_close(w);
    (void)pthread_mutex_destroy(&g.mu);
    disk_free(d);
}
END_TEST

/* A file nothing was written to has no bytes to point at. */
static bool bytes_hold(const void *bytes, size_t n, const char *text)
{
    return n > 0 && memmem(bytes, n, text, strlen(text)) != NULL;
}

static bool disk_holds(struct disk *d, const char *text)
{
    bool found = false;
    (void)pthread_mutex_lock(&d->mu);
    for (int i = 0; i < d->now.n; i++) {
        const struct disk_inode *inode = d->now.list[i].inode;
        found |= bytes_hold(inode->now, inode->n_now, text) || bytes_hold(inode->disk, inode->n_disk, text);
    }
    (void)pthread_mutex_unlock(&d->mu);
    return found;
}

START_TEST(what_was_trimmed_leaves_the_disk)
{
    static const char text[6000] = "the text that somebody wants deleted";
    struct disk *d = disk_new(8);
    struct wal *w = NULL;
    ck_ok(wal_open(&w, &d->table, "/wal", &small, 0, 0, NULL, NULL, NULL));
    for (unsigned round = 0; round < 4; round++) {
        struct gate g = {.r = {.type = 1, .payload = {text, sizeof text}, .done = wait_at_gate}};
        (void)pthread_mutex_init(&g.mu, NULL);
        ck_ok(wal_submit(w, &g.r));
        struct wal_stats s;
        int n_waits = 0;
        do {
            wait_a_moment(&n_waits);
            wal_stats(w, &s);
        } while (s.durable_lsn < round + 1);
        ck_assert(disk_holds(d, text));
        ck_ok(wal_trim(w, s.durable_lsn, NULL));
        while (disk_holds(d, text)) wait_a_moment(&n_waits);
        /* `done` may not have returned yet; the record must stay until it has */
        bool is_reached = false;
        while (!is_reached) {
            (void)pthread_mutex_lock(&g.mu);
            is_reached = g.is_reached;
            (void)pthread_mutex_unlock(&g.mu);
        }
    }
    wal_close(w);
    disk_free(d);
}
END_TEST

START_TEST(every_use_of_a_file_has_its_own_salt)
{
    uint64_t salts[256];
    int n = 0;
    struct disk *d = disk_new(9);
    struct client *c = client_new();
    ck_ok(client_open(c, &d->table, "/wal", &small, NULL));
    for (int i = 0; i < 120; i++) {
        ck_ok(client_submit(c, 1800));
        client_wait(c);
        ck_ok(client_trim(c, c->last_lsn));
        (void)pthread_mutex_lock(&d->mu);
        for (int k = 0; k < d->now.n; k++) {
            const struct disk_name *name = &d->now.list[k];
            uint64_t number = strtoull(name->path + strlen("/wal/"), NULL, 10);
            if (!is_segment(name->path) || number >= 256) continue;
            uint64_t salt = le64_get(name->inode->now + 24);
            bool is_known = false;
            for (int j = 0; j < n; j++) is_known |= salts[j] == salt;
            if (!is_known) salts[n++] = salt;
            ck_assert_int_lt(n, 256);
        }
        (void)pthread_mutex_unlock(&d->mu);
    }
    ck_assert_int_ge(n, 10); /* 120 records, at most 8 a segment, few files */
    client_close(c);
    client_free(c);
    disk_free(d);
}
END_TEST

/* --- loops of crashes --------------------------------------------------------------------------------------------------- */

START_TEST(crash_loops_do_not_pile_up_files)
{
    logger_set_level(LOG_NONE);
    struct disk *d = disk_new(10);
    struct client *c = client_new();
    for (int i = 0, n = suite_share(300); i < n; i++) {
        d->cut_after = (long)pick(d, 40);
        bool is_open = client_open(c, &d->table, "/wal", &small, NULL) == ERR_OK;
        if (is_open) {
            for (int k = 0; k < 3; k++) (void)client_submit(c, 300);
            client_wait(c);
            if (i % 10 == 0) (void)client_trim(c, c->last_lsn);
            client_close(c);
        }
        disk_cut(d, 2);
        uint64_t n_live = c->last_lsn - (c->trim_lsn < c->last_lsn ? c->trim_lsn : c->last_lsn);
        ck_assert_msg((uint64_t)d->now.n <= 30 + n_live, "%d files for %llu records in round %d", d->now.n,
                      (unsigned long long)n_live, i);
    }
    /* without a write the number stays, however often it starts */
    int n_starts = suite_share(100);
    for (int i = 0; i < n_starts; i++) {
        d->cut_after = (long)pick(d, 25);
        if (client_open(c, &d->table, "/wal", &small, NULL) == ERR_OK) client_close(c);
        disk_cut(d, pick(d, 3));
    }
    ck_ok(client_open(c, &d->table, "/wal", &small, NULL));
    ck_ok(client_trim(c, c->last_lsn));
    client_close(c);
    int n = d->now.n;
    for (int i = 0; i < n_starts; i++) {
        d->cut_after = (long)pick(d, 25);
        if (client_open(c, &d->table, "/wal", &small, NULL) == ERR_OK) client_close(c);
        disk_cut(d, pick(d, 3));
        ck_assert_int_le(d->now.n, n + 6);
    }
    client_free(c);
    disk_free(d);
}
END_TEST

TESTS(crash, promises_survive_power_cuts, damage_is_refused_or_harmless, missing_segments_are_refused,
      a_torn_batch_is_not_completed_by_later_records, what_was_trimmed_leaves_the_disk,
      every_use_of_a_file_has_its_own_salt, crash_loops_do_not_pile_up_files)
