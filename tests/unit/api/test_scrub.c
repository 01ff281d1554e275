/* test_scrub.c - damaged index files in a store: answers stay the model's, indexes are made again, damaged rows are refused
 * and can be deleted, the scrub finds what nobody uses.
 */
#include <fcntl.h>
#include <unistd.h>

#include "api/backup.h"
#include "api/store_internal.h"
#include "index/fragment_internal.h"
#include "tests/unit/api/store_model.h"

static const enum section_type derived[] = {SECTION_NORMS,      SECTION_ID_HASH,    SECTION_CODES,
                                            SECTION_META_INDEX, SECTION_TEXT_INDEX, SECTION_SPARSE_LISTS};

/* --- damage ------------------------------------------------------------------------------------------------------- */

struct spoil {
    const char *dir;
    enum section_type type; /* 0: the file's first byte */
    struct rng *rng;
    int n; /* files */
};

/* Turns one bit of the section in every fragment of the directory. */
static enum err spoil_file(void *ctx, struct str name, bool is_dir)
{
    struct spoil *s = ctx;
    char path[STORE_PATH_MAX + 256];
    struct fragment_header h;
    uint64_t at = 0;
    uint8_t byte;
    if (is_dir || name.n < 9 || memcmp(name.p + name.n - 9, ".fragment", 9) != 0) return ERR_OK;
    (void)snprintf(path, sizeof path, "%s/" STR_FMT, s->dir, STR_ARG(name));
    int fd = open(path, O_RDWR | O_CLOEXEC);
    ck_assert(fd >= 0 && pread(fd, &h, sizeof h, 0) == (ssize_t)sizeof h);
    for (uint32_t i = 0; i < h.n_sections; i++)
        if (h.sections[i].type == (uint32_t)s->type)
            at = h.sections[i].offset + rng_below(s->rng, (uint32_t)h.sections[i].length);
    ck_assert(at != 0 || s->type == 0);
    ck_assert_int_eq(pread(fd, &byte, 1, (off_t)at), 1);
    byte ^= (uint8_t)(1U << rng_below(s->rng, 8));
    ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)at), 1);
    (void)close(fd);
    s->n++;
    return ERR_OK;
}

static void spoil(struct fixture *f, enum section_type type)
{
    char dir[STORE_PATH_MAX];
    store_collection_dir(f->s, f->col->number, dir);
    struct spoil s = {dir, type, &f->rng, 0};
    ck_ok(vfs_posix()->list(NULL, dir, spoil_file, &s, NULL));
    ck_assert_int_gt(s.n, 0);
}

/* A store whose rows are in one fragment; damaged and closed. */
static void begin(struct fixture *f, enum section_type type, uint64_t seed)
{
    setup(f, seed, tmp_dir());
    logger_set_level(LOG_NONE);
    struct compact_summary sum;
    for (int i = 0; i < 20; i++) step(f);
    ck_ok(store_compact_now(f->s, NULL, &sum, NULL)); /* one fragment, whatever was flushed meanwhile */
    spoil(f, type);
    close_store(f);
}

static void end(struct fixture *f)
{
    ck_ok(store_delete_collection(f->s, STR("default_tenant"), STR("default_database"), STR("docs"), NULL));
    close_store(f);
}

static struct store_stats stats_of(struct fixture *f)
{
    struct store_stats stats;
    ck_ok(store_stats(f->s, NULL, NULL, &stats));
    return stats;
}

static void wait_for_rebuild(struct fixture *f)
{
    for (int i = 0; i < 6000; i++) {
        struct store_stats stats = stats_of(f);
        if (stats.scrub.n_rebuilt > 0 && stats.sizes.n_damaged_indexes == 0) return;
        (void)usleep(10000);
    }
    ck_abort_msg("nothing was made again");
}

/* --- what can be made again ---------------------------------------------------------------------------------------- */

START_TEST(an_index_is_made_again)
{
    for (size_t k = 0; k < sizeof derived / sizeof derived[0]; k++) {
        struct fixture f;
        begin(&f, derived[k], 30 + k);
        f.o.no_compactor = true; /* it stays damaged */
        open_store(&f);
        for (int i = 0; i < 3; i++) {
            compare(&f);
            step(&f); /* which finds ids, and replaces rows */
        }
        ck_ok(scrub_pass(f.s));
        compare(&f);
        ck_assert_uint_gt(stats_of(&f).sizes.n_damaged_indexes, 0);
        ck_assert_uint_eq(stats_of(&f).sizes.n_damaged_rows, 0);
        close_store(&f);

        f.o.no_compactor = false;
        open_store(&f);
        compare(&f);
        ck_ok(scrub_pass(f.s)); /* norms are not used by this space: only the scrub finds them */
        wait_for_rebuild(&f);
        compare(&f);
        uint64_t found = stats_of(&f).scrub.n_bad_indexes;
        ck_assert_uint_gt(found, 0);
        ck_ok(store_compact(f.s, NULL));
        ck_ok(scrub_pass(f.s));
        ck_assert_uint_eq(stats_of(&f).scrub.n_bad_indexes, found); /* the new files are good */
        ck_assert_uint_eq(stats_of(&f).scrub.n_passes, 2);
        close_store(&f);
        open_store(&f);
        compare(&f);
        ck_assert_uint_eq(stats_of(&f).scrub.n_bad_indexes, 0);
        end(&f);
    }
}
END_TEST

/* The scrub's own thread, on a collection that nobody opens. */
START_TEST(the_scrub_finds_what_nobody_uses)
{
    struct fixture f;
    begin(&f, SECTION_TEXT_INDEX, 40);
    f.o.scrub_bytes_per_s = 64 << 20;
    f.o.scrub_interval_s = 1;
    open_store(&f);
    wait_for_rebuild(&f);
    ck_assert_uint_ge(stats_of(&f).scrub.bytes_read, store_file_bytes(f.col));
    compare(&f);
    end(&f);
}
END_TEST

/* --- what cannot ---------------------------------------------------------------------------------------------------- */

static enum err try_write(struct fixture *f, const struct batch_input *in)
{
    struct bytes block;
    struct errmsg why = {{0}};
    ck_ok(batch_build(in, &block, NULL));
    struct waiter wait = {
        .w = {.collection = catalog_collection_ref(f->col), .block = block, .done = on_done, .why = &why}};
    (void)pthread_mutex_init(&wait.mu, NULL);
    (void)pthread_cond_init(&wait.cv, NULL);
    enum err e = store_submit(f->s, &wait.w);
    if (e != ERR_OK) {
        ck_assert_int_eq(e, ERR_CORRUPT);
        ck_assert_ptr_nonnull(strstr(why.text, ".fragment: "));
        catalog_collection_unref(f->col);
        mem_free((void *)(uintptr_t)block.p);
        return e;
    }
    (void)pthread_mutex_lock(&wait.mu);
    while (!wait.is_done) (void)pthread_cond_wait(&wait.cv, &wait.mu);
    (void)pthread_mutex_unlock(&wait.mu);
    return wait.e;
}

/* Reads one part of every row. */
static enum err read_part(struct fixture *f, unsigned part)
{
    struct arena a = {0};
    struct snapshot s;
    struct row_ref *rows = NULL;
    uint32_t n = 0;
    struct errmsg em = {{0}};
    const struct selection all = {0};
    ck_ok(store_snapshot(f->s, f->col, &a, &s, NULL));
    enum err e = exec_get(&s, &all, UINT32_MAX, 0, &a, &rows, &n, &em);
    for (uint32_t i = 0; i < n && e == ERR_OK; i++) {
        struct row row = {0};
        e = exec_row(&s, rows[i], part, &a, &row, &em);
    }
    if (e != ERR_OK) ck_assert_ptr_nonnull(strstr(em.text, ".fragment: "));
    snapshot_end(&s);
    arena_free(&a);
    return e;
}

static uint32_t some_id(const struct fixture *f)
{
    for (uint32_t i = 0; i < N_IDS; i++)
        if (f->model[i].is_live) return i;
    ck_abort_msg("no record is left");
}

START_TEST(damaged_documents_are_refused_and_replaced)
{
    struct fixture f;
    char text[16];
    begin(&f, SECTION_DOCUMENTS, 50);
    open_store(&f);
    ck_assert_int_eq(read_part(&f, ROW_DOCUMENT), ERR_CORRUPT);
    ck_ok(read_part(&f, ROW_ID | ROW_META | ROW_VECTOR));
    ck_assert_uint_eq(stats_of(&f).sizes.n_damaged_rows, 1);

    /* an update that would take the document over is refused before it is logged; one that brings its own is not */
    uint32_t id = some_id(&f);
    struct str name = str_of(text, (size_t)sprintf(text, "id-%u", id)), document = STR("text number 5.");
    struct bytes none = {NULL, 0};
    uint8_t with = 1;
    float v[DIM];
    for (int k = 0; k < DIM; k++) v[k] = rng_gauss(&f.rng);
    struct batch_input in = {.kind = BATCH_UPSERT,
                             .n_rows = 1,
                             .dim = DIM,
                             .ids = &name,
                             .vectors = v,
                             .has_vector = &with,
                             .documents = &(struct str){NULL, 0},
                             .metas = &none};
    ck_assert_int_eq(try_write(&f, &in), ERR_CORRUPT);
    in.documents = &document;
    ck_ok(try_write(&f, &in));
    memcpy(f.model[id].v, v, sizeof v);
    f.model[id].document = 5;

    /* every damaged row is deleted: the file goes, and the collection is whole again */
    const struct record *kept = &f.model[id];
    for (uint32_t i = 0; i < N_IDS; i++) {
        if (!f.model[i].is_live || &f.model[i] == kept) continue;
        struct str gone = str_of(text, (size_t)sprintf(text, "id-%u", i));
        ck_ok(try_write(&f, &(struct batch_input){.kind = BATCH_DELETE, .n_rows = 1, .ids = &gone}));
        f.model[i].is_live = false;
    }
    ck_ok(store_compact(f.s, NULL));
    ck_assert_uint_eq(stats_of(&f).sizes.n_damaged_rows, 0);
    compare(&f);
    for (int i = 0; i < 5; i++) step(&f);
    compare(&f);
    end(&f);
}
END_TEST

/* A damaged collection stays what it is through a merge and a restart, and is not closed meanwhile. */
START_TEST(damaged_rows_never_get_a_fresh_checksum)
{
    struct fixture f;
    begin(&f, SECTION_VECTORS, 60);
    open_store(&f);
    ck_assert_int_eq(read_part(&f, ROW_VECTOR), ERR_CORRUPT);
    ck_ok(read_part(&f, ROW_ID | ROW_META | ROW_DOCUMENT));
    const struct str id = STR("another"); /* something to merge with */
    const float v[DIM] = {1};
    ck_ok(try_write(&f, &(struct batch_input){.kind = BATCH_ADD, .n_rows = 1, .dim = DIM, .ids = &id, .vectors = v}));
    ck_ok(store_compact(f.s, NULL));
    ck_assert_uint_eq(stats_of(&f).sizes.n_fragments, 2);
    ck_assert_int_eq(read_part(&f, ROW_VECTOR), ERR_CORRUPT);
    ck_assert(!live_close(live_of(f.col)));
    close_store(&f);
    open_store(&f);
    ck_ok(scrub_pass(f.s));
    ck_assert_uint_eq(stats_of(&f).sizes.n_damaged_rows, 1);
    ck_assert_uint_eq(stats_of(&f).scrub.n_bad_rows, 1);
    ck_assert_int_eq(read_part(&f, ROW_VECTOR), ERR_CORRUPT);
    end(&f);
}
END_TEST

START_TEST(uncertain_rows_stop_their_collection_only)
{
    static const enum section_type types[] = {SECTION_IDS, SECTION_ORDINALS, SECTION_BORN};
    for (size_t k = 0; k < sizeof types / sizeof types[0]; k++) {
        struct fixture f;
        struct str id = STR("id-1");
        begin(&f, types[k], 70 + k);
        open_store(&f);
        ck_assert_int_eq(read_part(&f, ROW_META), ERR_CORRUPT);
        ck_assert_int_eq(try_write(&f, &(struct batch_input){.kind = BATCH_DELETE, .n_rows = 1, .ids = &id}),
                         ERR_CORRUPT);
        ck_ok(store_compact(f.s, NULL));
        close_store(&f);
        open_store(&f); /* what was refused is not in the log: nothing stops the start */
        ck_assert_int_eq(read_part(&f, ROW_META), ERR_CORRUPT);
        ck_assert_uint_eq(stats_of(&f).sizes.n_stopped, 0);
        end(&f);
    }
}
END_TEST

START_TEST(a_damaged_header_is_told)
{
    struct fixture f;
    begin(&f, 0, 80);
    open_store(&f);
    ck_ok(scrub_pass(f.s));
    ck_assert_uint_eq(stats_of(&f).scrub.n_bad_files, 1);
    end(&f);
}
END_TEST

struct log_files {
    char active[25], closed[25]; /* the last two names */
};

static enum err find_closed(void *ctx, struct str name, bool is_dir)
{
    struct log_files *l = ctx;
    if (is_dir || name.n != 24 || memcmp(name.p + 20, ".log", 4) != 0) return ERR_OK;
    if (memcmp(name.p, l->active, 24) > 0) {
        memcpy(l->closed, l->active, sizeof l->closed);
        memcpy(l->active, name.p, 24);
    } else if (memcmp(name.p, l->closed, 24) > 0) {
        memcpy(l->closed, name.p, 24);
    }
    return ERR_OK;
}

START_TEST(a_damaged_log_is_written_elsewhere)
{
    struct fixture f;
    struct store_stats stats;
    struct log_files files = {{0}, {0}};
    char dir[STORE_PATH_MAX], path[STORE_PATH_MAX + 64];
    setup(&f, 90, tmp_dir());
    close_store(&f);
    logger_set_level(LOG_NONE);
    f.o.flush_rows = 1 << 20;
    f.o.no_compactor = true; /* nothing is flushed meanwhile */
    f.o.wal.segment_bytes = 16 << 10;
    open_store(&f);
    /* the first segment is of 512 KiB, or of 16 if the log has been quiet since it was opened */
    while (stats_of(&f).log.n_segments < 2 || stats_of(&f).log.live_bytes < 34 << 10) step(&f);
    ck_ok(scrub_pass(f.s));
    ck_assert_uint_eq(stats_of(&f).scrub.n_bad_files, 0);
    (void)snprintf(dir, sizeof dir, "%s/wal", f.o.path);
    ck_ok(vfs_posix()->list(NULL, dir, find_closed, &files, NULL));
    (void)snprintf(path, sizeof path, "%s/%s", dir, files.closed);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    char byte;
    ck_assert(fd >= 0 && pread(fd, &byte, 1, 4096 + 100) == 1);
    byte ^= 4;
    ck_assert_int_eq(pwrite(fd, &byte, 1, 4096 + 100), 1);
    (void)close(fd);
    ck_ok(scrub_pass(f.s));
    ck_assert_uint_eq(stats_of(&f).scrub.n_bad_files, 1);
    ck_assert(f.s->compactor.is_log_damaged);
    f.s->options.no_compactor = false; /* from here on as ever */
    ck_ok(compactor_start(f.s, NULL));
    for (int i = 0; i < 3000; i++) {
        stats = stats_of(&f);
        if (stats.sizes.tail_rows == 0 && stats.log.live_bytes < 32 << 10) break;
        (void)usleep(10000);
    }
    ck_assert_uint_eq(stats.sizes.tail_rows, 0);
    compare(&f);
    close_store(&f);
    open_store(&f); /* the damaged part is not read any more */
    compare(&f);
    end(&f);
}
END_TEST

TESTS(scrub, an_index_is_made_again, the_scrub_finds_what_nobody_uses, damaged_documents_are_refused_and_replaced,
      damaged_rows_never_get_a_fresh_checksum, uncertain_rows_stop_their_collection_only, a_damaged_header_is_told,
      a_damaged_log_is_written_elsewhere)
