/* test_backup_power.c - power cuts while backups are made and put back, on the disk of tests/lib/power_disk.h.
 *
 * Whatever the cut has left: a backup that says it is one restores to what the store was, and one that was answered is there; the
 * source is what it was. The disk is cut at random operations of each backup and after it. A disk whose syncs of the
 * backup's files or directories do nothing must be noticed.
 *
 * While a backup is put back, the data directory is what it was or all of the backup, and the latter once that was answered. (Where
 * two names cannot be exchanged at once it may be absent between; that is told in docs/reliability.md, and not tried here.)
 */
#include <unistd.h>

#include "api/backup.h"
#include "api/store_internal.h"
#include "tests/lib/no_sync.h"
#include "tests/lib/power_disk.h"
#include "tests/unit/api/store_model.h"

enum { PATH_SIZE = 512, BACKUPS = 6, CUTS = 240 };

static const char *base; /* of what is restored, on the real disk */

/* --- from one table of files to another ---------------------------------------------------------------------------- */

struct copying {
    const struct vfs *from, *to;
    const char *from_dir, *to_dir;
};

static void copy_tree(const struct copying *c);

static enum err copy_entry(void *ctx, struct str name, bool is_dir)
{
    const struct copying *c = ctx;
    char from[PATH_SIZE], to[PATH_SIZE];
    struct vfs_file *f;
    uint64_t size;
    (void)snprintf(from, sizeof from, "%s/" STR_FMT, c->from_dir, STR_ARG(name));
    (void)snprintf(to, sizeof to, "%s/" STR_FMT, c->to_dir, STR_ARG(name));
    if (is_dir) {
        copy_tree(&(struct copying){c->from, c->to, from, to});
        return ERR_OK;
    }
    ck_ok(c->from->open(c->from->ctx, from, VFS_READ, &f, NULL));
    ck_ok(c->from->size(f, &size, NULL));
    char *p = malloc((size_t)size + 1);
    ck_assert_ptr_nonnull(p);
    ck_ok(c->from->pread(f, p, (size_t)size, 0, NULL));
    c->from->close(f);
    ck_ok(c->to->open(c->to->ctx, to, VFS_WRITE | VFS_CREATE, &f, NULL));
    ck_ok(c->to->pwrite(f, p, (size_t)size, 0, NULL));
    c->to->close(f);
    free(p);
    return ERR_OK;
}

static void copy_tree(const struct copying *c)
{
    struct copying copy = *c;
    ck_ok(c->to->make_dir(c->to->ctx, c->to_dir, NULL));
    ck_ok(c->from->list(c->from->ctx, c->from_dir, copy_entry, &copy, NULL));
}

/* --- a check ------------------------------------------------------------------------------------------------------- */

static bool has_file(const struct vfs *v, const char *path)
{
    struct vfs_file *f;
    if (v->open(v->ctx, path, VFS_READ, &f, NULL) != ERR_OK) return false;
    v->close(f);
    return true;
}

/* The backup on the cut disk, if it says it is one, restores to the model; false: it does not, or is absent and must not be. */
static bool check_backup(const struct fixture *model, const struct vfs *v, const char *dir, bool is_answered)
{
    char path[PATH_SIZE], from[PATH_SIZE], to[PATH_SIZE];
    struct restored done;
    (void)snprintf(path, sizeof path, "%s/BACKUP", dir);
    if (!has_file(v, path)) return !is_answered;
    (void)snprintf(from, sizeof from, "%s/backup", base);
    (void)snprintf(to, sizeof to, "%s/restored", base);
    copy_tree(&(struct copying){v, vfs_posix(), dir, from});
    const struct restore r = {.from = from, .path = to, .stamp = "x"};
    bool is_good = store_restore(vfs_posix(), &r, &done, NULL) == ERR_OK;
    if (is_good) {
        struct fixture other = *model;
        other.o.vfs = NULL;
        other.o.path = to;
        open_store(&other);
        compare(&other);
        close_store(&other);
    }
    ck_ok(vfs_remove_tree(vfs_posix(), from, NULL));
    ck_ok(vfs_remove_tree(vfs_posix(), to, NULL));
    return is_good;
}

static void check_source(const struct fixture *model, const struct vfs *v)
{
    struct fixture other = *model;
    other.o.vfs = v;
    open_store(&other);
    compare(&other);
    close_store(&other);
}

struct span {
    size_t from, to; /* operations of the disk */
};

static bool cut_backup(const struct fixture *model, struct power_disk *d, const char *dir, struct span s, int n_cuts)
{
    struct rng rng = {s.from + 1};
    bool is_good = true;
    for (int i = 0; i < n_cuts && is_good; i++) {
        size_t n = i % 8 == 7 ? s.to : s.from + rng_below(&rng, (uint32_t)(s.to - s.from + 1));
        struct power_disk *cut = power_disk_cut(d, n, (enum power_loss)(i % POWER_LOSSES), rng_next(&rng));
        is_good = check_backup(model, power_disk_vfs(cut), dir, n == s.to);
        if (i % 4 == 0) check_source(model, power_disk_vfs(cut));
        power_disk_free(cut);
    }
    return is_good;
}

static void begin(struct fixture *f, uint64_t seed, struct power_disk *d, const char *path)
{
    const struct store_options o = {
        .path = path, .vfs = power_disk_vfs(d), .no_compactor = true, .wal = {.segment_bytes = 16 << 10}};
    setup_with(f, seed, &o);
}

/* A store that writes, flushes and merges, and backups of it; every cut of each is checked. */
static bool run(uint64_t seed, const char *lie, int n_backups, int n_cuts)
{
    struct power_disk *d = power_disk_new();
    struct compact_summary compacted;
    struct fixture f;
    bool is_good = true;
    if (seed % 2 == 0) power_disk_refuse_links(d);
    begin(&f, seed, d, "/data");
    power_disk_lie(d, lie);
    for (int i = 0; i < n_backups && is_good; i++) {
        char dir[64];
        struct backup_summary sum;
        struct span s;
        for (int k = 0; k < 6; k++) {
            step(&f);
            if (rng_below(&f.rng, 4) == 0) ck_ok(flush_collection(f.s, f.col, NULL));
        }
        if (i % 3 == 2) ck_ok(store_compact_now(f.s, NULL, &compacted, NULL));
        step(&f);
        (void)snprintf(dir, sizeof dir, "/backup-%d", i);
        s.from = power_disk_ops(d);
        ck_ok(store_backup(f.s, dir, &sum, NULL));
        s.to = power_disk_ops(d);
        is_good = cut_backup(&f, d, dir, s, n_cuts);
    }
    close_store(&f);
    power_disk_free(d);
    return is_good;
}

/* --- putting back -------------------------------------------------------------------------------------------------- */

#define PLACE "/srv/data"

struct states {
    const struct fixture *former, *backup; /* former NULL: nothing was in the place */
    uint64_t former_position, position;    /* of their logs; different */
    unsigned n_former, n_backup;           /* found */
};

/* Has the open store as many records as the model? What has not is not compared any further, which would end the test. */
static bool has_as_many(const struct fixture *f)
{
    struct arena a = {0};
    struct snapshot s;
    bool is_good = store_snapshot(f->s, f->col, &a, &s, NULL) == ERR_OK;
    if (is_good) snapshot_end(&s);
    arena_free(&a);
    return is_good && collection_count(store_collection(f->col)) == count_live(f);
}

/* What is in the place is one of the two, whole; once that was answered, the backup. */
static bool check_place(struct states *st, const struct vfs *v, bool is_answered)
{
    bool is_there, is_empty;
    struct wal_stats stats;
    ck_ok(vfs_look_at_dir(v, PLACE, &is_there, &is_empty, NULL));
    if (is_empty) return st->former == NULL && !is_answered;
    struct fixture f = *st->backup;
    f.o.vfs = v;
    f.o.path = PLACE;
    if (store_open(&f.s, &f.o, NULL) != ERR_OK) return false;
    f.col = catalog_collection_by_name(store_catalog(f.s), STR("default_tenant"), STR("default_database"), STR("docs"));
    wal_stats(f.s->wal, &stats);
    bool is_backup = stats.durable_lsn == st->position;
    bool is_former = st->former != NULL && stats.durable_lsn == st->former_position;
    if (is_former) f.model = st->former->model;
    st->n_former += is_former;
    st->n_backup += is_backup;
    bool is_good = f.col != NULL && (is_backup || (is_former && !is_answered)) && has_as_many(&f);
    if (is_good) compare(&f);
    close_store(&f);
    return is_good;
}

/* A backup, then more writes, then the backup is put back over them, or (over_nothing) into an absent directory. */
static bool run_restore(uint64_t seed, const char *lie, bool over_nothing, int n_cuts)
{
    static struct record at_backup[N_IDS];
    struct power_disk *d = power_disk_new();
    const struct vfs *v = power_disk_vfs(d);
    struct fixture f, backup;
    struct backup_summary sum;
    struct restored done;
    struct rng rng = {seed};
    bool is_good = true;
    begin(&f, seed, d, over_nothing ? "/other/data" : PLACE);
    ck_ok(v->make_dir(v->ctx, "/srv", NULL));
    for (int i = 0; i < 20; i++) {
        step(&f);
        if (rng_below(&f.rng, 5) == 0) ck_ok(flush_collection(f.s, f.col, NULL));
    }
    ck_ok(store_backup(f.s, "/backup", &sum, NULL));
    memcpy(at_backup, f.model, sizeof at_backup);
    backup = f;
    backup.model = at_backup;
    for (int i = 0; i < 8; i++) {
        step(&f);
        if (i == 4) ck_ok(flush_collection(f.s, f.col, NULL));
    }
    struct wal_stats stats;
    wal_stats(f.s->wal, &stats);
    struct states st = {.former = over_nothing ? NULL : &f,
                        .backup = &backup,
                        .former_position = stats.durable_lsn,
                        .position = sum.position};
    ck_assert_uint_gt(st.former_position, st.position);
    close_store(&f);

    power_disk_lie(d, lie);
    const struct restore r = {.from = "/backup", .path = PLACE, .stamp = "x", .replaces = !over_nothing};
    size_t from = power_disk_ops(d);
    ck_ok(store_restore(v, &r, &done, NULL));
    size_t to = power_disk_ops(d);
    for (int i = 0; i < n_cuts && is_good; i++) {
        uint32_t n_ops = (uint32_t)(to - from);
        /* Most that can go wrong does at the end: a quarter of the cuts are of the last operations, a quarter after all. */
        size_t n = i % 4 == 3 ? to : i % 4 == 2 ? to - rng_below(&rng, 12) : from + rng_below(&rng, n_ops + 1);
        struct power_disk *cut = power_disk_cut(d, n, (enum power_loss)(i % POWER_LOSSES), rng_next(&rng));
        is_good = check_place(&st, power_disk_vfs(cut), n == to);
        if (!is_good && lie == NULL) power_disk_print(cut);
        power_disk_free(cut);
    }
    power_disk_free(d);
    ck_assert(lie != NULL || (st.n_backup > 0 && (over_nothing || st.n_former > 0)));
    return is_good;
}

START_TEST(a_restore_survives_power_cuts)
{
    logger_set_level(LOG_NONE);
    for (uint64_t seed = 1; seed <= 4; seed++) ck_assert(run_restore(seed, NULL, seed % 2 == 0, suite_share(100)));
}
END_TEST

START_TEST(a_restore_that_is_not_synced_is_noticed)
{
    static const char *const lies[] = {PLACE ".restoring-x/wal/*.log",         PLACE ".restoring-x/wal",
                                       PLACE ".restoring-x/catalog.sqlite3",   PLACE ".restoring-x/collections/*",
                                       PLACE ".restoring-x/collections/*/*.*", "/srv"};
    logger_set_level(LOG_NONE);
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        bool is_noticed = false;
        for (uint64_t seed = 1; seed < 20 && !is_noticed; seed++)
            is_noticed = !run_restore(seed, lies[i], seed % 2 == 0, 56);
        ck_assert_msg(is_noticed, "%s", lies[i]);
    }
}
END_TEST

START_TEST(a_backup_survives_power_cuts)
{
    base = tmp_dir();
    logger_set_level(LOG_NONE);
    ck_assert(run(1, NULL, BACKUPS, suite_share(CUTS / BACKUPS)));
    ck_assert(run(2, NULL, BACKUPS, suite_share(CUTS / BACKUPS / 2))); /* all is copied */
}
END_TEST

START_TEST(a_backup_that_is_not_synced_is_noticed)
{
    static const char *const lies[] = {"/backup-*/wal/*.log",  "/backup-*/wal", "/backup-*/catalog.sqlite3",
                                       "/backup-*/BACKUP.new", "/backup-?",     "/backup-*/collections/*"};
    base = tmp_dir();
    logger_set_level(LOG_NONE);
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        bool is_noticed = false;
        for (uint64_t seed = 1; seed < 20 && !is_noticed; seed++) is_noticed = !run(seed, lies[i], BACKUPS, 16);
        ck_assert_msg(is_noticed, "%s", lies[i]);
    }
}
END_TEST

TESTS(backup_power, a_backup_survives_power_cuts, a_backup_that_is_not_synced_is_noticed, a_restore_survives_power_cuts,
      a_restore_that_is_not_synced_is_noticed)
