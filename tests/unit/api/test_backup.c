/* test_backup.c - backups against the model, amid writers, with forks and deletions; restores that must be refused; compaction.
 *
 * Every backup here is restored, which opens it and compares every checksum, and then compared with what the source was.
 * Faults and crashes: test_backup_faults.c.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/backup.h"
#include "api/store_internal.h"
#include "tests/lib/no_sync.h"
#include "tests/unit/api/store_writers.h"

#define T STR("default_tenant")
#define D STR("default_database")

enum { PATH_SIZE = 512 };

static const char *below(const char *dir, const char *name, int number, char out[PATH_SIZE])
{
    (void)snprintf(out, PATH_SIZE, "%s/%s-%d", dir, name, number);
    return out;
}

static enum err restore_to(const char *from, const char *path, bool replaces, struct restored *done)
{
    static int n;
    char stamp[16];
    (void)snprintf(stamp, sizeof stamp, "%d", n++);
    const struct restore r = {.from = from, .path = path, .stamp = stamp, .replaces = replaces};
    return store_restore(vfs_posix(), &r, done, NULL);
}

static bool exists(const char *dir, const char *name)
{
    struct stat st;
    char path[2 * PATH_SIZE];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return stat(path, &st) == 0;
}

/* A store like f's on another directory, with the same model. */
static void open_other(const struct fixture *f, const char *path, struct fixture *other)
{
    *other = *f;
    other->o.path = path;
    open_store(other);
}

/* --- what a backup is ---------------------------------------------------------------------------------------------- */

START_TEST(a_backup_is_what_the_store_was)
{
    struct fixture f, other;
    char data[PATH_SIZE], to[PATH_SIZE], path[PATH_SIZE];
    const char *base = tmp_dir();
    setup(&f, 41, below(base, "data", 0, data));
    int rounds = suite_share(24);
    for (int i = 0; i < rounds; i++) {
        struct backup_summary sum;
        struct restored done;
        for (uint32_t k = rng_below(&f.rng, 12); k > 0; k--) step(&f);
        if (rng_below(&f.rng, 4) == 0) ck_ok(store_compact(f.s, NULL));
        ck_ok(store_backup(f.s, below(base, "backup", i, to), &sum, NULL));
        ck_assert_uint_eq(sum.n_collections, 1);
        ck_ok(restore_to(to, below(base, "restored", i, path), false, &done));
        ck_assert_uint_eq(done.backup.bytes, sum.bytes);
        ck_assert_uint_eq(done.n_records, collection_count(store_collection(f.col)));
        open_other(&f, path, &other);
        ck_assert_ptr_nonnull(other.col);
        compare(&other);
        f.rng = other.rng;
        close_store(&other);
        compare(&f);
        if (rng_below(&f.rng, 5) == 0) { /* and goes on where it was */
            close_store(&f);
            f.o.path = memcpy(data, path, sizeof data);
            open_store(&f);
        }
    }
    close_store(&f);
}
END_TEST

START_TEST(an_empty_store_has_a_backup_too)
{
    struct fixture f, other;
    char data[PATH_SIZE], to[PATH_SIZE], path[PATH_SIZE];
    const char *base = tmp_dir();
    struct backup_summary sum;
    struct restored done;
    const struct catalog_collection *second = NULL;
    setup(&f, 1, below(base, "data", 0, data));
    ck_ok(store_backup(f.s, below(base, "backup", 0, to), &sum, NULL));
    ck_assert_uint_eq(sum.position, 0);
    ck_assert_int_eq(store_backup(f.s, to, &sum, NULL), ERR_EXISTS);
    ck_ok(restore_to(to, below(base, "restored", 0, path), false, &done));
    open_other(&f, path, &other);
    ck_assert_ptr_nonnull(other.col);
    ck_assert_uint_eq(collection_count(store_collection(other.col)), 0);
    ck_assert_uint_eq(other.col->number, f.col->number);
    const struct catalog_new_collection in = {
        .tenant = T, .database = D, .name = STR("second"), .configuration = STR("{}"), .schema = STR("{}")};
    ck_ok(store_create_collection(other.s, &in, &second, NULL));
    ck_assert_uint_gt(second->number, f.col->number);
    catalog_collection_unref(second);
    close_store(&other);
    close_store(&f);
    f.o.path = NULL;
    open_store(&f);
    ck_assert_int_eq(store_backup(f.s, below(base, "backup", 1, to), &sum, NULL), ERR_UNSUPPORTED);
    ck_assert(!exists(to, "."));
    close_store(&f);
}
END_TEST

/* Writes go on, collections are made, forked and deleted while backups are made one after the other. */
struct churn {
    struct fixture *f;
    _Atomic bool *stop;
    _Atomic int n, n_max;
};

static void *churn_on(void *arg)
{
    struct churn *c = arg;
    while (!atomic_load(c->stop)) {
        char name[24];
        if (atomic_load(&c->n) >= atomic_load(&c->n_max)) {
            (void)usleep(1000);
            continue;
        }
        const struct catalog_collection *fork = NULL;
        int k = atomic_fetch_add(&c->n, 1);
        struct str text = str_of(name, (size_t)snprintf(name, sizeof name, "fork-%d", k));
        CHECK(store_fork_collection(c->f->s, c->f->col, text, &fork, NULL) == ERR_OK && "it is forked");
        struct fixture of = {.s = c->f->s, .col = fork, .model = NULL};
        _Atomic bool at_once = true;
        struct writing w = {.s = of.s, .col = of.col, .number = 1, .stop = &at_once};
        if (k % 8 == 0) (void)write_on(&w);
        if (k % 4 != 0) CHECK(store_delete_collection(c->f->s, T, D, text, NULL) == ERR_OK && "it is deleted");
        catalog_collection_unref(fork);
    }
    return NULL;
}

/* Every fork in the backup is whole: its rows are a prefix of each writer's requests. */
static void check_forks(struct fixture *other)
{
    struct arena a = {0};
    const struct catalog_collection **all = NULL;
    size_t n = 0;
    ck_ok(catalog_all_collections(store_catalog(other->s), &a, &all, &n));
    for (size_t i = 0; i < n; i++) {
        (void)read_cut(other->s, all[i]);
        catalog_collection_unref(all[i]);
    }
    arena_free(&a);
}

START_TEST(a_backup_amid_writers_is_one_cut)
{
    enum { N_BACKUPS = 6 };
    struct fixture f, other;
    struct writing writers[N_WRITERS];
    char data[PATH_SIZE], to[PATH_SIZE], path[PATH_SIZE];
    const char *base = tmp_dir();
    _Atomic bool stop = false;
    pthread_t churner;
    setup(&f, 5, below(base, "data", 0, data));
    close_store(&f);
    f.o.flush_rows = 40; /* flushes and merges come in between, and segments of the log go */
    f.o.wal.segment_bytes = 16 << 10;
    open_store(&f);
    for (int w = 0; w < N_WRITERS; w++) {
        writers[w] = (struct writing){.s = f.s, .col = f.col, .number = w, .stop = &stop, .n_max = 60};
        ck_assert_int_eq(pthread_create(&writers[w].thread, NULL, write_on, &writers[w]), 0);
    }
    struct churn churn = {.f = &f, .stop = &stop};
    ck_assert_int_eq(pthread_create(&churner, NULL, churn_on, &churn), 0);
    for (int i = 0; i < N_BACKUPS; i++) {
        struct backup_summary sum;
        struct restored done;
        struct compact_summary compacted;
        int before[N_WRITERS];
        atomic_store(&churn.n_max, 6 * i + 6); /* so that a slow machine has no more to do than a fast one */
        for (int w = 0; w < N_WRITERS; w++) atomic_store(&writers[w].n_max, 60 * i + 60);
        while (atomic_load(&writers[0].n_done) < 10 * i || atomic_load(&churn.n) < 6 * i) (void)usleep(1000);
        if (i % 3 == 2) ck_ok(store_compact_now(f.s, i % 2 == 0 ? NULL : "docs", &compacted, NULL));
        for (int w = 0; w < N_WRITERS; w++) before[w] = atomic_load(&writers[w].n_done);
        ck_ok(store_backup(f.s, below(base, "backup", i, to), &sum, NULL));
        ck_ok(restore_to(to, below(base, "restored", i, path), false, &done));
        open_other(&f, path, &other);
        struct cut cut = read_cut(other.s, other.col);
        for (int w = 0; w < N_WRITERS; w++) {
            ck_assert_int_ge(cut.n[w], before[w]);
            ck_assert_int_le(cut.n[w], atomic_load(&writers[w].n_sent));
            ck_assert_int_eq(cut.state[w], cut.n[w] - 1);
        }
        check_forks(&other);
        close_store(&other);
    }
    atomic_store(&stop, true);
    for (int w = 0; w < N_WRITERS; w++) ck_assert_int_eq(pthread_join(writers[w].thread, NULL), 0);
    ck_assert_int_eq(pthread_join(churner, NULL), 0);
    check_forks(&f);
    close_store(&f);
    open_store(&f);
    struct cut cut = read_cut(f.s, f.col);
    for (int w = 0; w < N_WRITERS; w++) ck_assert_int_eq(cut.n[w], atomic_load(&writers[w].n_done));
    close_store(&f);
}
END_TEST

/* --- what is refused ----------------------------------------------------------------------------------------------- */

struct files {
    char names[64][128];
    int n;
    char dir[PATH_SIZE];
};

static enum err list_file(void *ctx, struct str name, bool is_dir)
{
    struct files *l = ctx;
    char sub[PATH_SIZE], was[PATH_SIZE];
    if (!is_dir) {
        ck_assert_int_lt(l->n, 64);
        (void)snprintf(l->names[l->n++], sizeof l->names[0], "%.80s/" STR_FMT, l->dir, STR_ARG(name));
        return ERR_OK;
    }
    memcpy(was, l->dir, sizeof was);
    (void)snprintf(sub, sizeof sub, "%.300s/" STR_FMT, l->dir, STR_ARG(name));
    memcpy(l->dir, sub, sizeof sub);
    ck_ok(vfs_posix()->list(NULL, l->dir, list_file, l, NULL));
    memcpy(l->dir, was, sizeof was);
    return ERR_OK;
}

static char *load(const char *path, size_t *n)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert(fd >= 0 && fstat(fd, &st) == 0);
    *n = (size_t)st.st_size;
    char *p = malloc(*n + 1);
    ck_assert_ptr_nonnull(p);
    ck_assert_int_eq(read(fd, p, *n), (ssize_t)*n);
    (void)close(fd);
    return p;
}

static void save(const char *path, const char *p, size_t n)
{
    int fd = open(path, O_WRONLY | O_TRUNC | O_CREAT | O_CLOEXEC, 0640);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, p, n), (ssize_t)n);
    (void)close(fd);
}

static void refuse(const char *from, const char *path)
{
    struct restored done;
    ck_assert_int_ne(restore_to(from, path, false, &done), ERR_OK);
    ck_assert(!exists(path, "."));
}

/* Each file with a bit flipped here and there (in the list: in every byte), longer, shorter, and missing. */
static void damage_file(struct rng *rng, const char *name, const char *to, const char *path)
{
    size_t n;
    char *p = load(name, &n);
    bool is_list = strstr(name, "/BACKUP") != NULL;
    ck_assert_uint_gt(n, 0);
    for (size_t k = 0; k < (is_list ? n : 6); k++) {
        size_t at = is_list ? k : rng_next(rng) % n;
        char was = p[at];
        p[at] = (char)(was ^ (char)(1U << rng_below(rng, 7)));
        save(name, p, n);
        refuse(to, path);
        p[at] = was;
    }
    save(name, p, n - 1);
    refuse(to, path);
    p[n] = 'x';
    save(name, p, n + 1);
    refuse(to, path);
    ck_assert_int_eq(unlink(name), 0);
    refuse(to, path);
    save(name, p, n);
    free(p);
}

START_TEST(damage_to_any_file_is_refused)
{
    struct fixture f, other;
    static struct files files;
    char data[PATH_SIZE], to[PATH_SIZE], path[PATH_SIZE];
    const char *base = tmp_dir();
    struct backup_summary sum;
    struct restored done;
    setup(&f, 9, below(base, "data", 0, data));
    for (int i = 0; i < 30; i++) {
        step(&f);
        if (i == 20) ck_ok(store_compact(f.s, NULL));
    }
    ck_ok(store_backup(f.s, below(base, "backup", 0, to), &sum, NULL));
    close_store(&f);
    logger_set_level(LOG_NONE);
    memcpy(files.dir, to, sizeof to);
    ck_ok(vfs_posix()->list(NULL, to, list_file, &files, NULL));
    ck_assert_uint_eq((uint64_t)files.n, sum.n_files + 1);
    below(base, "restored", 0, path);
    for (int i = 0; i < files.n; i++) damage_file(&f.rng, files.names[i], to, path);
    ck_ok(restore_to(to, path, false, &done));
    open_other(&f, path, &other);
    compare(&other);
    close_store(&other);
    f.o.path = path; /* and a later program's list is said to be one */
    (void)snprintf(files.names[0], sizeof files.names[0], "%.100s/BACKUP", to);
    save(files.names[0], "chroma backup 2\n", 16);
    ck_assert_int_eq(restore_to(to, below(base, "restored", 1, path), false, &done), ERR_NEWER);
}
END_TEST

START_TEST(a_damaged_source_has_no_backup)
{
    struct fixture f;
    static struct files files;
    char data[PATH_SIZE], to[PATH_SIZE];
    const char *base = tmp_dir();
    struct backup_summary sum;
    struct errmsg em = {{0}};
    setup(&f, 10, below(base, "data", 0, data));
    for (int i = 0; i < 20; i++) step(&f);
    ck_ok(store_compact(f.s, NULL));
    (void)snprintf(files.dir, sizeof files.dir, "%.400s/collections", data);
    ck_ok(vfs_posix()->list(NULL, files.dir, list_file, &files, NULL));
    below(base, "backup", 0, to);
    for (int i = 0; i < files.n; i++) {
        size_t n;
        char *p = load(files.names[i], &n);
        int fd = open(files.names[i], O_WRONLY | O_CLOEXEC);
        char bad = (char)(p[n / 2] ^ 4);
        ck_assert_int_eq(pwrite(fd, &bad, 1, (off_t)(n / 2)), 1);
        ck_assert_int_eq(store_backup(f.s, to, &sum, &em), ERR_CORRUPT);
        ck_assert_ptr_nonnull(strstr(em.text, strrchr(files.names[i], '/')));
        ck_assert(!exists(to, "."));
        ck_assert_int_eq(pwrite(fd, &p[n / 2], 1, (off_t)(n / 2)), 1);
        (void)close(fd);
        free(p);
    }
    ck_ok(store_backup(f.s, to, &sum, NULL));
    compare(&f);
    close_store(&f);
}
END_TEST

START_TEST(a_restore_replaces_only_when_it_may)
{
    struct fixture f, other;
    static struct record later[N_IDS];
    char data[PATH_SIZE], to[PATH_SIZE];
    const char *base = tmp_dir();
    struct backup_summary sum;
    struct restored done;
    setup(&f, 12, below(base, "data", 0, data));
    for (int i = 0; i < 10; i++) step(&f);
    ck_ok(store_backup(f.s, below(base, "backup", 0, to), &sum, NULL));
    struct fixture now = f;
    memcpy(later, f.model, sizeof later);
    now.model = later;
    for (int i = 0; i < 10; i++) step(&now);
    compare(&now);
    ck_assert_int_eq(restore_to(to, data, false, &done), ERR_EXISTS);
    ck_assert_int_eq(restore_to(to, data, true, &done), ERR_LOCKED);
    compare(&now);
    close_store(&now);
    ck_assert_int_eq(restore_to(to, data, false, &done), ERR_EXISTS);
    ck_ok(restore_to(to, data, true, &done));
    open_other(&f, data, &other);
    compare(&other);
    close_store(&other);
    open_other(&now, done.before, &other); /* what was there is whole, beside it */
    compare(&other);
    close_store(&other);
    ck_assert_int_eq(restore_to(data, to, true, &done), ERR_NOT_FOUND); /* no backup */
    ck_assert_int_eq(vfs_posix()->make_dir(NULL, below(base, "restored", 0, data), NULL), ERR_OK);
    ck_ok(restore_to(to, data, false, &done)); /* over an empty directory */
    ck_assert_str_eq(done.before, "");
}
END_TEST

/* --- compaction ---------------------------------------------------------------------------------------------------- */

START_TEST(compaction_leaves_one_fragment_without_dead_rows)
{
    struct fixture f;
    char data[PATH_SIZE];
    struct compact_summary sum;
    struct collection_pressure p;
    setup(&f, 13, below(tmp_dir(), "data", 0, data));
    f.o.no_compactor = true; /* what is done here is all that is done */
    for (int round = 0; round < suite_share(12); round++) {
        close_store(&f);
        open_store(&f);
        for (int i = 0; i < 6; i++) {
            step(&f);
            if (i % 2 == 0) ck_ok(flush_collection(f.s, f.col, NULL));
        }
        ck_ok(store_compact_now(f.s, round % 2 == 0 ? "docs" : NULL, &sum, NULL));
        ck_assert_uint_eq(sum.n_collections, 1);
        compare(&f);
        collection_pressure(store_collection(f.col), &p);
        ck_assert_uint_le(p.n_fragments, 1);
        ck_assert_uint_eq(p.first_lsn, 0);
        struct arena a = {0};
        struct segment **list;
        uint32_t n;
        ck_ok(collection_fragments(store_collection(f.col), &a, &list, &n));
        for (uint32_t i = 0; i < n; i++) {
            ck_assert_uint_eq(list[i]->deaths.n_rows, collection_count(store_collection(f.col)));
            segment_unref(list[i]);
        }
        arena_free(&a);
        ck_ok(store_compact_now(f.s, NULL, &sum, NULL)); /* nothing is left to do */
        ck_assert_uint_eq(sum.bytes_before, sum.bytes_after);
    }
    char id[UUID_TEXT + 1];
    uuid_format(&f.col->id, id);
    ck_ok(store_compact_now(f.s, id, &sum, NULL));
    ck_assert_int_eq(store_compact_now(f.s, "none", &sum, NULL), ERR_NOT_FOUND);
    store_stop_work(f.s);
    ck_assert_int_eq(store_compact_now(f.s, NULL, &sum, NULL), ERR_BUSY);
    close_store(&f);
}
END_TEST

TESTS(backup, a_backup_is_what_the_store_was, an_empty_store_has_a_backup_too, a_backup_amid_writers_is_one_cut,
      damage_to_any_file_is_refused, a_damaged_source_has_no_backup, a_restore_replaces_only_when_it_may,
      compaction_leaves_one_fragment_without_dead_rows)
