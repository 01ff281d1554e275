/* test_upstream_hnsw.c - the reader of upstream's index files: vectors by label, and headers that lie.
 */
#include "api/upstream_hnsw.h"

#include <stdio.h>

#include "core/buf.h"
#include "core/mem.h"
#include "tests/lib/suite.h"

enum { LINKS = 4, HEADER = 100 };

static struct vfs *memory(void)
{
    struct vfs *v;
    ck_ok(vfs_mem_new(&v, NULL));
    ck_ok(v->make_dir(v->ctx, "d", NULL));
    return v;
}

static void put_file(const struct vfs *v, const char *path, const void *p, size_t n)
{
    struct vfs_file *f;
    ck_ok(v->open(v->ctx, path, VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, &f, NULL));
    if (n > 0) ck_ok(v->pwrite(f, p, n, 0, NULL));
    v->close(f);
}

struct files {
    uint8_t header[HEADER];
    struct buf data;
    uint32_t dim;
};

static void begin(struct files *f, uint32_t dim)
{
    *f = (struct files){.dim = dim};
    uint64_t vector = 4 + 4 * LINKS, label = vector + 4ULL * dim;
    le32_put(f->header, 1);
    le64_put(f->header + 28, label + 8);
    le64_put(f->header + 36, label);
    le64_put(f->header + 44, vector);
    le64_put(f->header + 68, LINKS);
}

static void put_element(struct files *f, uint64_t label, bool is_deleted, float first)
{
    buf_u32(&f->data, 3U | (is_deleted ? 0x10000U : 0U));
    buf_zero(&f->data, 4 * LINKS);
    for (uint32_t i = 0; i < f->dim; i++) {
        float v = first + (float)i;
        buf_add(&f->data, &v, sizeof v);
    }
    buf_u64(&f->data, label);
    uint64_t n = le64_get(f->header + 20) + 1;
    le64_put(f->header + 20, n);
    le64_put(f->header + 12, 2 * n);
}

static enum err open_files(const struct vfs *v, const struct files *f, struct upstream_hnsw *h, struct errmsg *em)
{
    put_file(v, "d/header.bin", f->header, sizeof f->header);
    put_file(v, "d/data_level0.bin", f->data.p, f->data.n);
    return upstream_hnsw_open(h, v, "d", em);
}

static float first_of(const struct upstream_hnsw *h, uint64_t label)
{
    float v;
    const uint8_t *p = upstream_hnsw_find(h, label);
    if (p == NULL) return -1;
    memcpy(&v, p, sizeof v);
    return v;
}

START_TEST(finds_vectors_by_label)
{
    struct vfs *v = memory();
    struct rng rng = {0x4a51};
    for (uint32_t n = 0; n < 300; n = n * 2 + 1) {
        struct files f;
        struct upstream_hnsw h;
        begin(&f, 5);
        uint64_t step = 1 + rng_below(&rng, 1000);
        for (uint32_t i = 0; i < n; i++) put_element(&f, (i * 7919ULL % n) * step + 1, false, (float)(i * 7919 % n));
        ck_ok(open_files(v, &f, &h, NULL));
        ck_assert_uint_eq(h.dim, 5);
        for (uint32_t i = 0; i < n; i++) ck_assert(first_of(&h, i * step + 1) == (float)i);
        ck_assert_ptr_null(upstream_hnsw_find(&h, 0));
        ck_assert_ptr_null(upstream_hnsw_find(&h, n * step + 1));
        if (step > 1 && n > 0) ck_assert_ptr_null(upstream_hnsw_find(&h, 2));
        upstream_hnsw_close(&h);
        buf_free(&f.data);
    }
    vfs_mem_free(v);
}
END_TEST

START_TEST(a_deleted_element_gives_way)
{
    struct vfs *v = memory();
    struct files f;
    struct upstream_hnsw h;
    begin(&f, 2);
    put_element(&f, 9, false, 1);
    put_element(&f, 9, true, 2);
    put_element(&f, 4, true, 3);
    ck_ok(open_files(v, &f, &h, NULL));
    ck_assert(first_of(&h, 9) == 1.0F);
    ck_assert(first_of(&h, 4) == 3.0F);
    upstream_hnsw_close(&h);
    buf_free(&f.data);
    vfs_mem_free(v);
}
END_TEST

START_TEST(headers_that_lie_are_refused)
{
    static const struct {
        size_t at;
        uint64_t value;
    } lies[] = {{20, 4},  {20, UINT64_MAX}, {20, UINT32_MAX}, {28, 0},   {28, 1 << 20}, {36, 0},          {36, 19},
                {36, 31}, {36, UINT64_MAX}, {44, 0},          {44, 100}, {44, 3},       {44, UINT64_MAX}, {4, 1}};
    struct vfs *v = memory();
    struct files f;
    struct upstream_hnsw h;
    begin(&f, 3);
    for (uint64_t i = 0; i < 3; i++) put_element(&f, i, false, 0);
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct files lie = f;
        struct errmsg em = {{0}};
        le64_put(lie.header + lies[i].at, lies[i].value);
        ck_assert_msg(open_files(v, &lie, &h, &em) == ERR_CORRUPT, "lie %zu", i);
        ck_assert_msg(strstr(em.text, ".bin") != NULL, "%s", em.text);
    }
    struct files other = f;
    le32_put(other.header, 2);
    ck_assert_int_eq(open_files(v, &other, &h, NULL), ERR_CORRUPT);
    put_file(v, "d/header.bin", f.header, HEADER - 1);
    ck_assert_int_eq(upstream_hnsw_open(&h, v, "d", NULL), ERR_CORRUPT);
    put_file(v, "d/header.bin", f.header, HEADER);
    put_file(v, "d/data_level0.bin", f.data.p, f.data.n - 1);
    ck_assert_int_eq(upstream_hnsw_open(&h, v, "d", NULL), ERR_CORRUPT);
    ck_ok(v->remove(v->ctx, "d/data_level0.bin", NULL));
    ck_assert_int_eq(upstream_hnsw_open(&h, v, "d", NULL), ERR_NOT_FOUND);
    buf_free(&f.data);
    vfs_mem_free(v);
}
END_TEST

/* Whatever header is taken, all that it leads to lies in the file. */
START_TEST(any_header_is_harmless)
{
    struct vfs *v = memory();
    struct rng rng = {0xbad4ead};
    struct files f;
    begin(&f, 3);
    for (uint64_t i = 0; i < 30; i++) put_element(&f, i, i % 5 == 0, (float)i);
    int n_taken = 0;
    for (int i = 0, n = suite_share(4000); i < n; i++) {
        struct files bad = f;
        struct upstream_hnsw h;
        bad.header[rng_below(&rng, HEADER)] ^= (uint8_t)(1U << rng_below(&rng, 8));
        if (i % 3 == 0) bad.header[20 + rng_below(&rng, 32)] = (uint8_t)rng_next(&rng);
        enum err e = open_files(v, &bad, &h, NULL);
        ck_assert_msg(e == ERR_OK || e == ERR_CORRUPT, "round %d (seed 0xbad4ead): %s", i, err_text(e));
        if (e != ERR_OK) continue;
        n_taken++;
        uint64_t sum = 0;
        for (uint64_t label = 0; label < 40; label++) {
            const uint8_t *p = upstream_hnsw_find(&h, label);
            for (size_t k = 0; p != NULL && k < h.dim * sizeof(float); k++) sum += p[k];
        }
        ck_assert(sum < UINT64_MAX);
        upstream_hnsw_close(&h);
    }
    ck_assert_int_gt(n_taken, 0);
    buf_free(&f.data);
    vfs_mem_free(v);
}
END_TEST

TESTS(upstream_hnsw, finds_vectors_by_label, a_deleted_element_gives_way, headers_that_lie_are_refused,
      any_header_is_harmless)
