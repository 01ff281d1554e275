/* test_fragment_damage.c - damaged fragments, rows that do not belong in one, and failures while one is written. */
#include "core/crc32c.h"
#include "core/logger.h"
#include "tests/unit/index/fragment_model.h"

START_TEST(bad_rows_are_refused)
{
    struct vfs *vfs;
    struct fragment_writer *w;
    struct fragment_options o = {.dim = 1, .fragment_id = 1};
    float v = 1;
    struct row row = {.id = STR("a"), .vector = &v};
    must_ok(vfs_mem_new(&vfs, NULL));
    must_ok(fragment_writer_new(&w, vfs, "x", &o, NULL));
    must_ok(fragment_writer_add(w, &row, 5, 1, NULL));
    ck_assert_int_eq(fragment_writer_add(w, &row, 5, 1, NULL), ERR_CORRUPT); /* the ordinal does not ascend */
    fragment_writer_free(w);
    must_ok(fragment_writer_new(&w, vfs, "x", &o, NULL));
    must_ok(fragment_writer_add(w, &row, 5, 1, NULL));
    must_ok(fragment_writer_add(w, &row, 6, 1, NULL));
    struct errmsg em = {0};
    ck_assert_int_eq(fragment_writer_finish(w, &em), ERR_CORRUPT); /* the id occurs twice */
    ck_assert_ptr_nonnull(strstr(em.text, "same id"));
    fragment_writer_free(w);
    vfs_mem_free(vfs);
}
END_TEST

static void overwrite(const struct vfs *vfs, uint64_t at, const void *p, size_t n)
{
    struct vfs_file *file;
    must_ok(vfs->open(vfs->ctx, "fragment", VFS_WRITE, &file, NULL));
    must_ok(vfs->pwrite(file, p, n, at, NULL));
    vfs->close(file);
}

START_TEST(headers_are_checked)
{
    struct rng r = {1};
    struct vfs *vfs;
    struct model m;
    struct fragment *f;
    struct fragment_header h;
    struct vfs_file *file;
    must_ok(vfs_mem_new(&vfs, NULL));
    model_init(&m, 30, DIM, &r);
    must_ok(write_model(&m, vfs, "fragment", SPACE_IP));
    must_ok(vfs->open(vfs->ctx, "fragment", VFS_WRITE, &file, NULL));
    must_ok(vfs->pread(file, &h, sizeof h, 0, NULL));
    for (uint32_t at = 0; at < sizeof h; at += 1 + rng_below(&r, 9)) { /* every damaged byte of the header is noticed */
        uint8_t byte = (uint8_t)(((const uint8_t *)&h)[at] ^ 0x41);
        overwrite(vfs, at, &byte, 1);
        enum err e = fragment_open(&f, vfs, "fragment", NULL);
        must_msg(e == ERR_CORRUPT || (e == ERR_NEWER && at >= 8 && at < 12), "byte %u", at);
        overwrite(vfs, 0, &h, sizeof h);
    }
    struct fragment_header newer = h;
    newer.version = FRAGMENT_VERSION + 1;
    newer.crc = crc32c(0, &newer, sizeof newer - 4);
    overwrite(vfs, 0, &newer, sizeof newer);
    ck_assert_int_eq(fragment_open(&f, vfs, "fragment", NULL), ERR_NEWER);
    overwrite(vfs, 0, &h, sizeof h);
    must_ok(fragment_open(&f, vfs, "fragment", NULL));
    fragment_segment(f)->ops->free(fragment_segment(f));
    static const uint64_t sizes[] = {0, 1, 4095, 4096, 5000};
    for (size_t i = sizeof sizes / sizeof sizes[0]; i-- > 0;) { /* a file cut short */
        must_ok(vfs->truncate(file, sizes[i], NULL));
        ck_assert_int_eq(fragment_open(&f, vfs, "fragment", NULL), ERR_CORRUPT);
    }
    ck_assert_int_eq(fragment_open(&f, vfs, "absent", NULL), ERR_NOT_FOUND);
    vfs->close(file);
    arena_free(&m.arena);
    vfs_mem_free(vfs);
}
END_TEST

/* Uses everything of a fragment that may be damaged: answers or ERR_CORRUPT, nothing else. */
static void exercise(struct segment *s, const struct model *m, struct rng *r)
{
    struct arena a = {0};
    struct regexes re = {.n = 0};
    for (uint32_t i = 0; i < fragment_n_rows(s); i++) {
        struct row row = {0};
        enum err e = s->ops->row(s, i, ROW_ALL, &a, &row, NULL);
        must(e == ERR_OK || e == ERR_CORRUPT || e == ERR_NOMEM);
        uint32_t found = s->ops->find(s, m->rows[i].id, 1000);
        must(found == ROW_NONE || found == ROW_UNKNOWN || found < fragment_n_rows(s));
    }
    for (int i = 0; i < 20; i++) {
        struct bitset found;
        enum err e = s->ops->filter(s, fragment_n_rows(s), random_filter(r, &a, m, &re, 0), &a, &found, NULL, NULL);
        must(e == ERR_OK || e == ERR_CORRUPT || e == ERR_NOMEM);
    }
    for (uint32_t i = 0; i < re.n; i++) regex_free(re.list[i]);
    for (int i = 0; i < 5; i++) { /* the indices of random_value() */
        static const uint32_t indices[] = {3, 70};
        static const float weights[] = {1, -1};
        const struct sparse_query q = {random_key(r), indices, weights, 2};
        uint32_t counts[2] = {0};
        struct topk top;
        must(topk_init(&top, &a, 3));
        enum err e = s->ops->sparse_nearest(s, &q, NULL, 1000, &top, &a, NULL);
        must(e == ERR_OK || e == ERR_CORRUPT || e == ERR_NOMEM || e == ERR_UNSUPPORTED);
        e = s->ops->sparse_count(s, &q, 1000, counts, NULL);
        must(e == ERR_OK || e == ERR_CORRUPT || e == ERR_UNSUPPORTED);
    }
    arena_free(&a);
}

/* Bytes behind the header are overwritten: fragment_verify always notices, and using the fragment is safe (asan). */
START_TEST(damage_is_noticed_and_survived)
{
    struct rng r = {1234};
    struct vfs *vfs;
    struct model m;
    struct fragment *f;
    struct vfs_file *file;
    uint64_t size;
    logger_set_level(LOG_NONE);
    must_ok(vfs_mem_new(&vfs, NULL));
    model_init(&m, 120, DIM, &r);
    must_ok(write_model(&m, vfs, "fragment", SPACE_L2));
    must_ok(vfs->open(vfs->ctx, "fragment", VFS_WRITE, &file, NULL));
    must_ok(vfs->size(file, &size, NULL));
    for (int round = 0; round < 400; round++) {
        uint8_t before[8], after[8];
        must_ok(fragment_open(&f, vfs, "fragment", NULL));
        const struct fragment_section *sections = f->header->sections;
        const struct fragment_section *s = &sections[rng_below(&r, f->header->n_sections)];
        uint32_t n = 1 + rng_below(&r, 8);
        /* heads and offsets matter most: every other time near the front */
        uint64_t span = rng_below(&r, 2) == 0 && s->length > 80 ? 80 : s->length;
        if (span <= n) n = 1;
        uint64_t at = s->offset + rng_below(&r, (uint32_t)(span - n + 1));
        fragment_segment(f)->ops->free(fragment_segment(f));
        must_ok(vfs->pread(file, before, n, at, NULL));
        memcpy(after, before, n);
        for (uint32_t i = 0; i < n; i++) after[i] = (uint8_t)(before[i] + 1 + rng_below(&r, 255));
        must_ok(vfs->pwrite(file, after, n, at, NULL));
        enum err e = fragment_open(&f, vfs, "fragment", NULL);
        must(e == ERR_OK || e == ERR_CORRUPT || e == ERR_NEWER);
        if (e == ERR_OK) {
            ck_assert_int_eq(fragment_verify(fragment_segment(f), NULL), ERR_CORRUPT);
            exercise(fragment_segment(f), &m, &r);
            fragment_segment(f)->ops->free(fragment_segment(f));
        }
        must_ok(vfs->pwrite(file, before, n, at, NULL));
    }
    vfs->close(file);
    arena_free(&m.arena);
    vfs_mem_free(vfs);
}
END_TEST

/* --- faults ------------------------------------------------------------------------------------------------------- */

static bool fail_at(void *ctx, size_t size)
{
    uint32_t *left = ctx;
    (void)size;
    return *left == 0 || --*left > 0;
}

/* The n-th allocation fails, for every n until none does: ERR_NOMEM, nothing left over (asan looks on). */
START_TEST(short_memory_is_reported)
{
    struct rng r = {6};
    struct model m;
    model_init(&m, 60, 40, &r);
    for (uint32_t fail = 1, done = 0; done == 0; fail++) {
        struct vfs *vfs;
        struct fragment *f = NULL;
        must_ok(vfs_mem_new(&vfs, NULL));
        uint32_t left = fail;
        mem_set_hook(fail_at, &left);
        enum err e = write_model(&m, vfs, "fragment", SPACE_L2);
        if (e == ERR_OK) e = fragment_open(&f, vfs, "fragment", NULL);
        if (e == ERR_OK) {
            struct arena a = {0};
            struct row row;
            e = f->segment.ops->row(&f->segment, 7, ROW_ALL, &a, &row, NULL);
            arena_free(&a);
        }
        mem_set_hook(NULL, NULL);
        if (f != NULL) f->segment.ops->free(&f->segment);
        must_msg(e == (left == 0 ? ERR_NOMEM : ERR_OK), "allocation %u: %s", fail, err_text(e));
        done = e == ERR_OK;
        vfs_mem_free(vfs);
    }
    arena_free(&m.arena);
}
END_TEST

/* Files whose n-th write or sync fails. */
static uint32_t writes_left; /* of the one test that uses it */

static enum err failing_pwrite(struct vfs_file *f, const void *p, size_t n, uint64_t offset, struct errmsg *em)
{
    if (writes_left > 0 && --writes_left == 0) return errmsg_set(em, ERR_NO_SPACE, "no space");
    return vfs_posix()->pwrite(f, p, n, offset, em);
}

static enum err failing_sync(struct vfs_file *f, bool data_only, struct errmsg *em)
{
    (void)f, (void)data_only;
    if (writes_left > 0 && --writes_left == 0) return errmsg_set(em, ERR_IO, "sync");
    return ERR_OK;
}

START_TEST(failed_writes_are_reported)
{
    struct rng r = {6};
    struct model m;
    struct vfs *mem;
    uint32_t n_failed = 0;
    model_init(&m, 3000, 200, &r); /* some writes of 1 MiB */
    must_ok(vfs_mem_new(&mem, NULL));
    struct vfs table = *mem;
    table.pwrite = failing_pwrite;
    table.sync = failing_sync;
    for (uint32_t fail = 1;; fail++) {
        writes_left = fail;
        enum err e = write_model(&m, &table, "fragment", SPACE_L2);
        if (writes_left > 0) {
            must_ok(e);
            break;
        }
        must(e == ERR_NO_SPACE || e == ERR_IO);
        n_failed++;
    }
    ck_assert_uint_ge(n_failed, 4);
    writes_left = 0;
    arena_free(&m.arena);
    vfs_mem_free(mem);
}
END_TEST

TESTS(fragment_damage, bad_rows_are_refused, headers_are_checked, damage_is_noticed_and_survived,
      short_memory_is_reported, failed_writes_are_reported)
