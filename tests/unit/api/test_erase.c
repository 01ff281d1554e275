/* Text that was deleted leaves the disk: no file of the directory holds it any more after compaction.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/api/store_model.h"

#define MARK "qXz7-secret" /* occurs in nothing else */

enum { N_ROWS = 80, DEADLINE_S = 120 };

/* --- searching ---------------------------------------------------------------------------------------------------- */

/* Read, not mapped: the store cuts files short meanwhile. */
static bool holds_mark(const char *path)
{
    struct stat st;
    bool found = false;
    int fd = open(path, O_RDONLY);
    if (fd < 0) return false; /* removed meanwhile */
    if (fstat(fd, &st) == 0 && st.st_size > 0) {
        char *p = malloc((size_t)st.st_size);
        ck_assert_ptr_nonnull(p);
        ssize_t n = pread(fd, p, (size_t)st.st_size, 0);
        found = n > 0 && memmem(p, (size_t)n, MARK, sizeof MARK - 1) != NULL;
        free(p);
    }
    (void)close(fd);
    return found;
}

/* A file below `dir` that holds the mark, in `where`; false: there is none. */
static bool find_mark(const char *dir, char where[4096])
{
    bool found = false;
    DIR *d = opendir(dir);
    if (d == NULL) return false;
    for (struct dirent *e; !found && (e = readdir(d)) != NULL;) {
        char path[4096];
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        int n = snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        ck_assert(n > 0 && (size_t)n < sizeof path);
        if (stat(path, &st) != 0) continue;
        if (S_ISDIR(st.st_mode)) {
            found = find_mark(path, where);
        } else if (holds_mark(path)) {
            memcpy(where, path, sizeof path);
            found = true;
        }
    }
    (void)closedir(d);
    return found;
}

static void expect_mark(const char *dir)
{
    char where[4096];
    ck_assert(find_mark(dir, where));
}

/* The log gives its files back in the background; the deadline is for a machine that hangs. */
static void expect_no_mark(const char *dir)
{
    char where[4096] = "";
    struct timespec begun, now, wait = {.tv_nsec = 20000000};
    (void)clock_gettime(CLOCK_MONOTONIC, &begun);
    do {
        if (!find_mark(dir, where)) return;
        (void)nanosleep(&wait, NULL);
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - begun.tv_sec < DEADLINE_S);
    ck_abort_msg("%s holds deleted text", where);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void start(struct fixture *f, const char *path)
{
    setup(f, 1, path);
    close_store(f);
    f->o.wal.segment_bytes = 64 << 10;
    f->o.wal.quiet_ms = 50;
    open_store(f);
}

/* Rows 0 .. n - 1 of whose ids, documents, uris and metadata every second one has the mark. */
static void write_rows(struct fixture *f, enum batch_kind kind, uint32_t n)
{
    static char texts[N_ROWS][64];
    static float vectors[N_ROWS * DIM];
    struct str ids[N_ROWS], documents[N_ROWS];
    struct bytes metas[N_ROWS];
    struct buf packed[N_ROWS] = {{0}};
    uint32_t n_rows = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (kind == BATCH_DELETE && i % 2 == 0) continue;
        const char *mark = i % 2 != 0 ? MARK : "public";
        struct value v = {.type = VALUE_STR, .s = str_from_c(mark)};
        ids[n_rows] = str_of(texts[i], (size_t)sprintf(texts[i], "%s %u", mark, i));
        documents[n_rows] = ids[n_rows];
        meta_put(&packed[i], str_from_c(mark), &v);
        metas[n_rows++] = (struct bytes){packed[i].p, packed[i].n};
    }
    const struct batch_input in = {
        .kind = kind,
        .n_rows = n_rows,
        .dim = kind == BATCH_DELETE ? 0 : DIM,
        .ids = ids,
        .vectors = kind == BATCH_DELETE ? NULL : vectors,
        .documents = kind == BATCH_DELETE ? NULL : documents,
        .uris = kind == BATCH_DELETE ? NULL : documents,
        .metas = kind == BATCH_DELETE ? NULL : metas,
    };
    struct bytes block;
    ck_ok(batch_build(&in, &block, NULL));
    ck_ok(write_block(f, block));
    for (uint32_t i = 0; i < n; i++) buf_free(&packed[i]);
}

START_TEST(deleted_records_leave_the_disk)
{
    struct fixture f;
    const char *path = tmp_dir();
    start(&f, path);
    write_rows(&f, BATCH_ADD, N_ROWS);
    expect_mark(path); /* in the log */
    ck_ok(store_compact(f.s, NULL));
    expect_mark(path);
    write_rows(&f, BATCH_DELETE, N_ROWS); /* names the ids once more */
    ck_ok(store_compact(f.s, NULL));
    expect_no_mark(path);
    ck_assert_uint_eq(collection_count(store_collection(f.col)), N_ROWS / 2);
    close_store(&f);
    expect_no_mark(path);
}
END_TEST

START_TEST(replaced_records_leave_the_disk)
{
    struct fixture f;
    const char *path = tmp_dir();
    start(&f, path);
    write_rows(&f, BATCH_ADD, N_ROWS);
    write_rows(&f, BATCH_DELETE, N_ROWS); /* both in one tail: no fragment ever holds them */
    ck_ok(store_compact(f.s, NULL));
    expect_no_mark(path);
    close_store(&f);
}
END_TEST

/* Everything in the name, settings and metadata of a collection, and what was written to it. */
START_TEST(deleted_collections_leave_the_disk)
{
    struct fixture f;
    const char *path = tmp_dir();
    const struct str tenant = STR("default_tenant"), database = STR("default_database");
    for (int is_flushed = 0; is_flushed < 2; is_flushed++) {
        start(&f, path);
        const struct catalog_collection *before = f.col;
        struct buf meta = {0};
        struct value v = {.type = VALUE_STR, .s = STR(MARK)};
        meta_put(&meta, STR("about"), &v);
        const struct catalog_new_collection in = {
            .tenant = tenant,
            .database = database,
            .name = STR(MARK),
            .configuration = STR("{\"a\":\"" MARK "\"}"),
            .schema = STR("{\"b\":\"" MARK "\"}"),
            .metadata = {meta.p, meta.n},
        };
        ck_ok(store_create_collection(f.s, &in, &f.col, NULL));
        write_rows(&f, BATCH_ADD, N_ROWS);
        if (is_flushed != 0) ck_ok(store_compact(f.s, NULL));
        catalog_collection_unref(f.col);
        f.col = before;
        ck_ok(store_delete_collection(f.s, tenant, database, STR(MARK), NULL));
        expect_no_mark(path);
        buf_free(&meta);
        close_store(&f);
        expect_no_mark(path);
        path = tmp_dir();
    }
}
END_TEST

START_TEST(replaced_settings_leave_the_disk)
{
    struct fixture f;
    const char *path = tmp_dir();
    start(&f, path);
    const struct catalog_update named = {.name = STR(MARK), .configuration = STR("{\"a\":\"" MARK "\"}")};
    const struct catalog_update renamed = {.name = STR("docs"), .configuration = STR("{}")};
    ck_ok(catalog_update_collection(store_catalog(f.s), f.col->number, &named, NULL));
    ck_ok(catalog_update_collection(store_catalog(f.s), f.col->number, &renamed, NULL));
    expect_no_mark(path);
    ck_ok(catalog_create_database(store_catalog(f.s), STR("default_tenant"), STR(MARK), NULL));
    expect_mark(path);
    ck_ok(store_delete_database(f.s, STR("default_tenant"), STR(MARK), NULL));
    expect_no_mark(path);
    close_store(&f);
}
END_TEST

TESTS(erase, deleted_records_leave_the_disk, replaced_records_leave_the_disk, deleted_collections_leave_the_disk,
      replaced_settings_leave_the_disk)
