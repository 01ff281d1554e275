/* test_manifest.c - manifests come back as they were written, and damage of any byte is noticed. */
#include "core/crc32c.h"
#include "core/mem.h"
#include "index/index.h"
#include "tests/lib/suite.h"

enum { N_MAX = 6 };

static uint32_t random_entries(struct rng *r, struct arena *a, struct manifest_entry *entries)
{
    static const uint32_t sizes[] = {0, 1, 63, 64, 65, 1000};
    uint32_t n = rng_below(r, N_MAX + 1);
    for (uint32_t i = 0; i < n; i++) {
        struct bitset dead;
        uint32_t n_rows = sizes[rng_below(r, 6)];
        ck_assert(bitset_init(&dead, a, n_rows));
        for (uint32_t k = rng_below(r, 3) * n_rows / 3; k > 0; k--) bitset_add(&dead, rng_below(r, n_rows));
        uint32_t n_dead = bitset_count(&dead);
        entries[i] = (struct manifest_entry){
            .fragment_id = rng_next(r), .n_rows = n_rows, .n_dead = n_dead, .dead = n_dead > 0 ? dead.words : NULL};
    }
    return n;
}

START_TEST(entries_come_back)
{
    struct rng r = {2024};
    struct vfs *vfs;
    ck_ok(vfs_mem_new(&vfs, NULL));
    for (int round = 0; round < 200; round++) {
        struct arena a = {0};
        struct manifest_entry wrote[N_MAX], *read;
        uint32_t n = random_entries(&r, &a, wrote), n_read = 99;
        ck_ok(manifest_write(vfs, "m", wrote, n, NULL)); /* over the one before, which may be longer */
        ck_ok(manifest_read(vfs, "m", &a, &read, &n_read, NULL));
        ck_assert_uint_eq(n_read, n);
        for (uint32_t i = 0; i < n; i++) {
            ck_assert_uint_eq(read[i].fragment_id, wrote[i].fragment_id);
            ck_assert_uint_eq(read[i].n_rows, wrote[i].n_rows);
            ck_assert_uint_eq(read[i].n_dead, wrote[i].n_dead);
            ck_assert((read[i].dead == NULL) == (wrote[i].n_dead == 0));
            if (read[i].dead != NULL) ck_assert_mem_eq(read[i].dead, wrote[i].dead, bitset_words(wrote[i].n_rows) * 8);
        }
        arena_free(&a);
    }
    vfs_mem_free(vfs);
}
END_TEST

static enum err read_bytes(const struct vfs *vfs, const void *p, size_t n)
{
    struct vfs_file *f;
    struct arena a = {0};
    struct manifest_entry *entries;
    uint32_t n_entries;
    ck_ok(vfs->open(vfs->ctx, "d", VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, &f, NULL));
    ck_ok(vfs->pwrite(f, p, n, 0, NULL));
    vfs->close(f);
    enum err e = manifest_read(vfs, "d", &a, &entries, &n_entries, NULL);
    arena_free(&a);
    return e;
}

START_TEST(damage_is_noticed)
{
    struct vfs *vfs;
    struct vfs_file *f;
    uint64_t dead[2] = {5, 1}, size;
    struct manifest_entry entries[] = {{7, 100, 3, dead}, {9, 50, 0, NULL}};
    char bytes[256], copy[256];
    ck_ok(vfs_mem_new(&vfs, NULL));
    ck_ok(manifest_write(vfs, "m", entries, 2, NULL));
    ck_ok(vfs->open(vfs->ctx, "m", VFS_READ, &f, NULL));
    ck_ok(vfs->size(f, &size, NULL));
    ck_assert_uint_lt(size, sizeof bytes - 1);
    ck_ok(vfs->pread(f, bytes, size, 0, NULL));
    vfs->close(f);
    ck_ok(read_bytes(vfs, bytes, size));
    for (uint32_t at = 0; at < size; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            memcpy(copy, bytes, size);
            copy[at] = (char)(copy[at] ^ 1 << bit);
            enum err e = read_bytes(vfs, copy, size);
            ck_assert_msg(e == ERR_CORRUPT || (e == ERR_NEWER && at >= 8 && at < 12), "byte %u", at);
        }
    }
    for (uint32_t n = 0; n < size; n++) ck_assert_int_eq(read_bytes(vfs, bytes, n), ERR_CORRUPT);
    bytes[size] = 0;
    ck_assert_int_eq(read_bytes(vfs, bytes, size + 1), ERR_CORRUPT);

    /* right checksums, wrong contents: n_dead other than the bitmap's, a bitmap outside, a version of later */
    memcpy(copy, bytes, size);
    le32_put(copy + 32 + 12, 4);
    le32_put(copy + 24, crc32c(0, copy + 32, size - 32));
    le32_put(copy + 28, crc32c(0, copy, 28));
    ck_assert_int_eq(read_bytes(vfs, copy, size), ERR_CORRUPT);
    memcpy(copy, bytes, size);
    le64_put(copy + 32 + 16, UINT64_MAX - 7);
    le32_put(copy + 24, crc32c(0, copy + 32, size - 32));
    le32_put(copy + 28, crc32c(0, copy, 28));
    ck_assert_int_eq(read_bytes(vfs, copy, size), ERR_CORRUPT);
    memcpy(copy, bytes, size);
    le32_put(copy + 8, 2);
    le32_put(copy + 28, crc32c(0, copy, 28));
    ck_assert_int_eq(read_bytes(vfs, copy, size), ERR_NEWER);
    vfs_mem_free(vfs);
}
END_TEST

START_TEST(an_absent_manifest_is_not_found)
{
    struct vfs *vfs;
    struct arena a = {0};
    struct manifest_entry *entries;
    uint32_t n;
    ck_ok(vfs_mem_new(&vfs, NULL));
    ck_assert_int_eq(manifest_read(vfs, "m", &a, &entries, &n, NULL), ERR_NOT_FOUND);
    vfs_mem_free(vfs);
}
END_TEST

static bool fail_at(void *ctx, size_t size)
{
    uint32_t *left = ctx;
    (void)size;
    return *left == 0 || --*left > 0;
}

START_TEST(short_memory_is_reported)
{
    uint64_t dead[2] = {5, 1};
    struct manifest_entry entries[] = {{7, 100, 3, dead}, {9, 50, 0, NULL}};
    for (uint32_t fail = 1, done = 0; done == 0; fail++) {
        struct vfs *vfs;
        struct arena a = {0};
        struct manifest_entry *read;
        uint32_t n, left = fail;
        ck_ok(vfs_mem_new(&vfs, NULL));
        mem_set_hook(fail_at, &left);
        enum err e = manifest_write(vfs, "m", entries, 2, NULL);
        if (e == ERR_OK) e = manifest_read(vfs, "m", &a, &read, &n, NULL);
        mem_set_hook(NULL, NULL);
        ck_assert_msg(e == (left == 0 ? ERR_NOMEM : ERR_OK), "allocation %u: %s", fail, err_text(e));
        done = e == ERR_OK;
        arena_free(&a);
        vfs_mem_free(vfs);
    }
}
END_TEST

TESTS(manifest, entries_come_back, damage_is_noticed, an_absent_manifest_is_not_found, short_memory_is_reported)
