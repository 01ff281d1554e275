/* test_backup_power.c - power cuts while backups are made, on the disk of tests/lib/power_disk.h.
 *
 * Whatever the cut has left: a backup that says it is one restores to what the store was, and one that was answered is there; the
 * source is what it was. The disk is cut at random operations of each backup and after it. A disk whose syncs of the
 * backup's files or directories do nothing must be noticed. Restores are cut off in test_backup_faults.c.
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

/* A store that writes, flushes and merges, and backups of it; every cut of each is checked. */
static bool run(uint64_t seed, const char *lie, int n_backups, int n_cuts)
{
    static struct record records[N_IDS];
    struct power_disk *d = power_disk_new();
    struct compact_summary compacted;
    bool is_good = true;
    memset(records, 0, sizeof records);
    struct fixture f = {.rng = {seed}, .model = records};
    f.o = (struct store_options){
        .path = "/data", .vfs = power_disk_vfs(d), .no_compactor = true, .wal = {.segment_bytes = 16 << 10}};
    open_store(&f);
    const struct catalog_new_collection in = {.tenant = STR("default_tenant"),
                                              .database = STR("default_database"),
                                              .name = STR("docs"),
                                              .configuration = STR("{}"),
                                              .schema = STR("{}")};
    ck_ok(store_create_collection(f.s, &in, &f.col, NULL));
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

START_TEST(a_backup_survives_power_cuts)
{
    base = tmp_dir();
    logger_set_level(LOG_NONE);
    ck_assert(run(1, NULL, BACKUPS, suite_share(CUTS / BACKUPS)));
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

TESTS(backup_power, a_backup_survives_power_cuts, a_backup_that_is_not_synced_is_noticed)
