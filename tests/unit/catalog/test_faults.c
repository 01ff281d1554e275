/* test_faults.c - every change with each of its allocations, writes and flushes made to fail in turn.
 *
 * Two ways to fail: the n-th allocation (core/mem.h; SQLite's are among them), the n-th write, flush or cut of a file (a
 * table of files in between). After each: a change that failed has left view and file as they were, one that
 * succeeded shows in both. Two ways to crash: the files as the operating system has them at the moment of a failure
 * hold the state before or the one after; the files as of their last flush hold what was acknowledged.
 */
#include "tests/lib/suite.h"

#include <stdio.h>
#include <unistd.h>

#include "catalog/catalog.h"
#include "core/buf.h"
#include "core/mem.h"

#define T STR("default_tenant")
#define D STR("default_database")

/* --- faults ---------------------------------------------------------------------------------------------------- */

enum fault_kind { FAULT_NONE, FAULT_MEM, FAULT_WRITE, FAULT_FULL, FAULT_SYNC, N_FAULT_KINDS };

static struct {
    enum fault_kind kind;
    int countdown; /* the operation at which it reaches 0 fails, and the later ones succeed */
    bool has_fired;
    bool is_keeping; /* copy files as of each flush */
} fault;

static bool fails(enum fault_kind kind)
{
    if (fault.kind != kind || fault.has_fired || fault.countdown-- > 0) return false;
    fault.has_fired = true;
    return true;
}

static void arm(enum fault_kind kind, int n)
{
    fault.kind = kind;
    fault.countdown = n;
    fault.has_fired = false;
}

static bool on_alloc(void *ctx, size_t size)
{
    (void)ctx, (void)size;
    return !fails(FAULT_MEM);
}

static void copy_file(const char *from, const char *to)
{
    char block[8192];
    size_t n;
    (void)unlink(to);
    FILE *in = fopen(from, "rb");
    if (in == NULL) return;
    FILE *out = fopen(to, "wb");
    ck_assert_ptr_nonnull(out);
    while ((n = fread(block, 1, sizeof block, in)) > 0) ck_assert_uint_eq(fwrite(block, 1, n, out), n);
    (void)fclose(in);
    ck_assert_int_eq(fclose(out), 0);
}

/* --- the table of files in between ------------------------------------------------------------------------------- */

struct vfs_file {
    struct vfs_file *real;
    char path[256];
};

static enum err bad_open(void *ctx, const char *path, int flags, struct vfs_file **out, struct errmsg *em)
{
    struct vfs_file *real = NULL;
    (void)ctx;
    enum err e = vfs_posix()->open(NULL, path, flags, &real, em);
    if (e != ERR_OK) return e;
    struct vfs_file *f = calloc(1, sizeof *f);
    ck_assert_ptr_nonnull(f);
    f->real = real;
    (void)snprintf(f->path, sizeof f->path, "%s", path);
    *out = f;
    return ERR_OK;
}

static void bad_close(struct vfs_file *f)
{
    vfs_posix()->close(f->real);
    free(f);
}

static enum err bad_pread(struct vfs_file *f, void *p, size_t n, uint64_t at, struct errmsg *em)
{
    return vfs_posix()->pread(f->real, p, n, at, em);
}

static enum err bad_pwrite(struct vfs_file *f, const void *p, size_t n, uint64_t at, struct errmsg *em)
{
    if (fails(FAULT_WRITE)) { /* a torn one */
        (void)vfs_posix()->pwrite(f->real, p, n / 2, at, em);
        return errmsg_set(em, ERR_IO, "made to fail");
    }
    if (fails(FAULT_FULL)) return errmsg_set(em, ERR_NO_SPACE, "made to fail");
    return vfs_posix()->pwrite(f->real, p, n, at, em);
}

static enum err bad_size(struct vfs_file *f, uint64_t *size, struct errmsg *em)
{
    return vfs_posix()->size(f->real, size, em);
}

static enum err bad_truncate(struct vfs_file *f, uint64_t size, struct errmsg *em)
{
    if (fails(FAULT_WRITE)) return errmsg_set(em, ERR_IO, "made to fail");
    return vfs_posix()->truncate(f->real, size, em);
}

/* Does not really flush: what a power cut leaves is told by the copies, and thousands of flushes would take minutes. */
static enum err bad_sync(struct vfs_file *f, bool data_only, struct errmsg *em)
{
    (void)data_only;
    if (fails(FAULT_SYNC)) return errmsg_set(em, ERR_IO, "made to fail");
    if (fault.is_keeping) {
        char kept_path[300];
        const char *suffix = strstr(f->path, ".sqlite3");
        (void)snprintf(kept_path, sizeof kept_path, "%.*s-kept%s", (int)(suffix - f->path), f->path, suffix);
        copy_file(f->path, kept_path);
    }
    return ERR_OK;
}

static enum err bad_sync_dir(void *ctx, const char *path, struct errmsg *em)
{
    (void)ctx, (void)path;
    return fails(FAULT_SYNC) ? errmsg_set(em, ERR_IO, "made to fail") : ERR_OK;
}

static enum err bad_lock(struct vfs_file *f, uint64_t offset, uint64_t n, bool wanted, struct errmsg *em)
{
    return vfs_posix()->lock(f->real, offset, n, wanted, em);
}

static const struct vfs *bad_vfs(void)
{
    static struct vfs table;
    table = *vfs_posix();
    table.open = bad_open;
    table.close = bad_close;
    table.pread = bad_pread;
    table.pwrite = bad_pwrite;
    table.size = bad_size;
    table.truncate = bad_truncate;
    table.sync = bad_sync;
    table.sync_dir = bad_sync_dir;
    table.lock = bad_lock;
    return &table;
}

/* --- the state, as text ---------------------------------------------------------------------------------------- */

static void dump_collections(struct catalog *c, struct arena *a, struct buf *out)
{
    /* by number, which is the same in every run; ids are random */
    for (uint64_t number = 1; number < 20; number++) {
        const struct catalog_collection *col = catalog_collection_by_number(c, number);
        if (col == NULL) continue;
        struct catalog_version v = {0};
        ck_ok(catalog_get_version(c, number, a, &v, NULL));
        const struct catalog_collection *same = catalog_collection_by_name(c, col->tenant, col->database, col->name);
        ck_assert_ptr_eq(same, col);
        catalog_collection_unref(same);
        uint64_t n_forks = 0;
        ck_ok(catalog_count_forks(c, number, &n_forks, NULL));
        buf_printf(out, "%d %s/%s/%s %s %s %d v%d %d f%d\n", (int)number, col->tenant.p, col->database.p, col->name.p,
                   col->configuration.p, col->schema.p, (int)col->metadata.n, (int)v.version, (int)v.log_position,
                   (int)n_forks);
        catalog_collection_unref(col);
    }
}

static enum err dump_usage(void *ctx, const struct catalog_usage *row, struct errmsg *em)
{
    (void)em;
    buf_printf(ctx, "used %.*s %d %d\n", STR_ARG(row->tenant), (int)row->numbers[0], (int)row->numbers[11]);
    return ERR_OK;
}

static char *dump(struct catalog *c)
{
    const struct str tenants[] = {T, STR("acme"), STR("new")};
    struct arena a = {0};
    struct buf out = {0};
    for (size_t i = 0; i < 3; i++) {
        struct catalog_database *list = NULL;
        size_t n = 0;
        buf_printf(&out, "%s %d:", tenants[i].p, catalog_has_tenant(c, tenants[i]));
        ck_ok(catalog_list_databases(c, tenants[i], UINT32_MAX, 0, &a, &list, &n));
        for (size_t k = 0; k < n; k++) {
            buf_printf(&out, " %s %d,", list[k].name.p,
                       (int)catalog_count_collections(c, list[k].tenant, list[k].name));
        }
        buf_char(&out, '\n');
    }
    dump_collections(c, &a, &out);
    uint64_t counter = 0;
    ck_ok(catalog_get_counter(c, "n", &counter, NULL));
    buf_printf(&out, "n %d\n", (int)counter);
    ck_ok(catalog_load_usage(c, dump_usage, &out, NULL));
    buf_char(&out, '\0');
    arena_free(&a);
    ck_assert_int_eq(out.err, ERR_OK);
    return buf_take(&out, &(size_t){0});
}

static char *dump_file(const char *path)
{
    struct catalog *c = NULL;
    struct errmsg em = {""};
    enum err e = catalog_open(&c, bad_vfs(), path, &em);
    ck_assert_msg(e == ERR_OK, "%s", em.text);
    char *text = dump(c);
    catalog_close(c);
    return text;
}

/* --- the changes ----------------------------------------------------------------------------------------------- */

static struct catalog_new_collection plan(struct str name)
{
    return (struct catalog_new_collection){.tenant = T,
                                           .database = D,
                                           .name = name,
                                           .configuration = STR("{}"),
                                           .schema = STR("[]"),
                                           .metadata = {"m", 1}};
}

static enum err create(struct catalog *c, struct str name)
{
    struct catalog_new_collection in = plan(name);
    const struct catalog_collection *col = NULL;
    bool is_new;
    enum err e = catalog_create_collection(c, &in, &col, &is_new, NULL);
    if (e == ERR_OK) catalog_collection_unref(col);
    return e;
}

static enum err change_create(struct catalog *c)
{
    return create(c, STR("three"));
}

static enum err change_update(struct catalog *c)
{
    struct catalog_update u = {.name = STR("uno"), .configuration = STR("{1}"), .set_metadata = true};
    return catalog_update_collection(c, 1, &u, NULL);
}

static enum err change_delete(struct catalog *c)
{
    return catalog_delete_collection(c, T, D, STR("one"), NULL, NULL);
}

static enum err change_publish(struct catalog *c)
{
    const struct catalog_version v = {1, 2, 20, 3, 4, STR("M2")};
    return catalog_publish_version(c, &v, NULL);
}

static void free_runtime(struct catalog_runtime *r)
{
    free(r);
}

static enum err change_fork(struct catalog *c) /* under the number that prepare() reserved */
{
    struct catalog_runtime *runtime = calloc(1, sizeof *runtime);
    ck_assert_ptr_nonnull(runtime);
    runtime->free_runtime = free_runtime;
    const struct catalog_version v = {3, 1, 10, 2, 3, STR("M1")};
    const struct catalog_fork in = {.source = 1, .number = 3, .name = STR("three"), .version = &v, .runtime = runtime};
    const struct catalog_collection *col = NULL;
    enum err e = catalog_fork_collection(c, &in, &col, NULL);
    catalog_collection_unref(col);
    return e;
}

static enum err change_tenant(struct catalog *c)
{
    return catalog_create_tenant(c, STR("new"), NULL);
}

static enum err change_database(struct catalog *c)
{
    return catalog_create_database(c, STR("new"), STR("db"), NULL);
}

static enum err change_drop_database(struct catalog *c)
{
    return catalog_delete_database(c, T, D, NULL, NULL, NULL);
}

static enum err change_reset(struct catalog *c)
{
    return catalog_reset(c, NULL, NULL, NULL);
}

static enum err change_counter(struct catalog *c)
{
    return catalog_set_counter(c, "n", 9, NULL);
}

static enum err change_usage(struct catalog *c) /* one row replaced, one new: both or neither */
{
    const struct catalog_usage rows[] = {{T, {10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12}}, {STR("acme"), {7}}};
    return catalog_store_usage(c, rows, 2, NULL);
}

static enum err (*const changes[])(struct catalog *c) = {
    change_create,   change_update,        change_delete, change_publish, change_tenant, change_fork,
    change_database, change_drop_database, change_reset,  change_counter, change_usage,
};
enum { N_CHANGES = sizeof changes / sizeof changes[0] };

static void prepare(struct catalog *c)
{
    const struct catalog_version v = {1, 1, 10, 2, 3, STR("M1")};
    ck_ok(create(c, STR("one")));
    ck_ok(create(c, STR("two")));
    ck_ok(catalog_publish_version(c, &v, NULL));
    uint64_t reserved = 0;
    ck_ok(catalog_reserve_number(c, &reserved, NULL));
    ck_assert_uint_eq(reserved, 3);
    ck_ok(catalog_create_tenant(c, STR("acme"), NULL));
    ck_ok(catalog_create_database(c, STR("acme"), STR("db"), NULL));
    ck_ok(catalog_store_usage(c, &(struct catalog_usage){T, {1, 2, 3}}, 1, NULL));
}

/* --- the tests ------------------------------------------------------------------------------------------------- */

static char dir[128], base[256], work[256], image[256], kept[256];

static void set_paths(void)
{
    (void)snprintf(dir, sizeof dir, "%s", tmp_dir());
    (void)snprintf(base, sizeof base, "%s/base.sqlite3", dir);
    (void)snprintf(work, sizeof work, "%s/work.sqlite3", dir);
    (void)snprintf(image, sizeof image, "%s/image.sqlite3", dir);
    (void)snprintf(kept, sizeof kept, "%s/work-kept.sqlite3", dir);
    struct catalog *c = NULL;
    ck_ok(catalog_open(&c, bad_vfs(), base, NULL));
    prepare(c);
    catalog_close(c);
}

/* The database, its log and the mark of it; not the index of the log, which is rebuilt after a crash. */
static void copy_database(const char *from, const char *to)
{
    char a[300], b[300];
    copy_file(from, to);
    (void)snprintf(a, sizeof a, "%s-wal", from);
    (void)snprintf(b, sizeof b, "%s-wal", to);
    copy_file(a, b);
    (void)snprintf(a, sizeof a, "%s-mark", from);
    (void)snprintf(b, sizeof b, "%s-mark", to);
    copy_file(a, b);
    (void)snprintf(b, sizeof b, "%s-shm", to);
    (void)unlink(b);
}

/* SQLite's own allocations are among them, hundreds: every fifth is enough, but for SHARE=1000. */
static int stride_of(enum fault_kind kind)
{
    return kind == FAULT_MEM && suite_share(100) < 1000 ? 5 * suite_stride() : suite_stride();
}

static bool is_expected_error(enum fault_kind kind, enum err e)
{
    if (kind == FAULT_MEM) return e == ERR_NOMEM;
    return kind == FAULT_FULL ? e == ERR_NO_SPACE : e == ERR_IO;
}

/* One change on a fresh copy, its n-th operation of the kind failing. False when it has no n-th operation. */
static bool fail_at(int i, enum fault_kind kind, int n, const char *before, const char *after)
{
    struct catalog *c = NULL;
    copy_database(base, work);
    ck_ok(catalog_open(&c, bad_vfs(), work, NULL));
    arm(kind, n);
    enum err e = changes[i](c);
    bool has_fired = fault.has_fired;
    arm(FAULT_NONE, 0);
    copy_database(work, image);
    char *crashed = dump_file(image);
    char *now = dump(c);
    const char *expected = e == ERR_OK ? after : before;
    ck_assert_msg(e == ERR_OK || (has_fired && is_expected_error(kind, e)), "change %d kind %d n %d: %s", i, kind, n,
                  err_text(e));
    ck_assert_msg(strcmp(now, expected) == 0, "change %d kind %d n %d: view:\n%s", i, kind, n, now);
    ck_assert_msg(strcmp(crashed, expected) == 0 || (e != ERR_OK && strcmp(crashed, after) == 0),
                  "change %d kind %d n %d: after a crash:\n%s", i, kind, n, crashed);
    mem_free(now);
    mem_free(crashed);
    if (e != ERR_OK) { /* trouble over, it works, and the failed attempt has left nothing in the way */
        ck_ok(changes[i](c));
        now = dump(c);
        ck_assert_msg(strcmp(now, after) == 0, "change %d kind %d n %d: second time:\n%s", i, kind, n, now);
        mem_free(now);
    }
    catalog_close(c);
    now = dump_file(work);
    ck_assert_msg(strcmp(now, after) == 0, "change %d kind %d n %d: file:\n%s", i, kind, n, now);
    mem_free(now);
    return has_fired;
}

static char *state_after(int i)
{
    struct catalog *c = NULL;
    copy_database(base, work);
    ck_ok(catalog_open(&c, bad_vfs(), work, NULL));
    ck_ok(changes[i](c));
    char *text = dump(c);
    catalog_close(c);
    return text;
}

START_TEST(a_failed_change_changes_nothing)
{
    set_paths();
    mem_set_hook(on_alloc, NULL);
    char *before = dump_file(base);
    int n_fired[N_FAULT_KINDS] = {0};
    for (int i = 0; i < N_CHANGES; i++) {
        char *after = state_after(i);
        ck_assert_str_ne(before, after);
        for (enum fault_kind kind = FAULT_MEM; kind < N_FAULT_KINDS; kind++) {
            int n = 0;
            while (fail_at(i, kind, n, before, after)) n += stride_of(kind);
            n_fired[kind] += n;
        }
        mem_free(after);
    }
    mem_free(before);
    mem_set_hook(NULL, NULL);
    for (enum fault_kind kind = FAULT_MEM; kind < N_FAULT_KINDS; kind++) ck_assert_int_ge(n_fired[kind], 5);
}
END_TEST

START_TEST(what_was_acknowledged_was_flushed)
{
    set_paths();
    for (int i = 0; i < N_CHANGES; i++) {
        struct catalog *c = NULL;
        char *after = state_after(i);
        copy_database(base, work);
        copy_database(work, kept); /* on disk from before */
        ck_ok(catalog_open(&c, bad_vfs(), work, NULL));
        fault.is_keeping = true;
        ck_ok(changes[i](c));
        fault.is_keeping = false;
        char *survived = dump_file(kept);
        ck_assert_msg(strcmp(survived, after) == 0, "change %d: after a power cut:\n%s", i, survived);
        mem_free(survived);
        mem_free(after);
        catalog_close(c);
    }
}
END_TEST

START_TEST(a_failed_open_can_be_repeated)
{
    set_paths();
    mem_set_hook(on_alloc, NULL);
    char *before = dump_file(base);
    for (enum fault_kind kind = FAULT_MEM; kind < N_FAULT_KINDS; kind++) {
        for (int is_new = 0; is_new < 2; is_new++) {
            bool has_fired = true;
            for (int n = 0; has_fired; n += stride_of(kind)) {
                struct catalog *c = NULL;
                struct errmsg em = {""};
                copy_database(is_new != 0 ? "/absent" : base, work);
                arm(kind, n);
                enum err e = catalog_open(&c, bad_vfs(), work, &em);
                has_fired = fault.has_fired;
                arm(FAULT_NONE, 0);
                ck_assert_msg(e == ERR_OK || has_fired, "kind %d n %d: %s", kind, n, em.text);
                if (e == ERR_OK)
                    catalog_close(c);
                else
                    ck_assert_ptr_null(c);
                char *now = dump_file(work);
                if (is_new == 0)
                    ck_assert_str_eq(now, before);
                else
                    ck_assert_ptr_nonnull(strstr(now, "default_tenant 1: default_database 0,\n"));
                mem_free(now);
            }
        }
    }
    mem_free(before);
    mem_set_hook(NULL, NULL);
}
END_TEST

TESTS(catalog_faults, a_failed_change_changes_nothing, what_was_acknowledged_was_flushed, a_failed_open_can_be_repeated)
