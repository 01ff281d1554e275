/* test_copy.c - the catalog's bytes at one moment: what a file made of them holds, amid changes, and from a damaged one.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "catalog/catalog.h"
#include "tests/lib/suite.h"

#define T STR("default_tenant")
#define D STR("default_database")

static char dir[200];

static struct catalog *open_at(const char *name, char path[256])
{
    struct catalog *c = NULL;
    struct errmsg em = {""};
    (void)snprintf(path, 256, "%s/%s", dir, name);
    enum err e = catalog_open(&c, vfs_posix(), path, &em);
    ck_assert_msg(e == ERR_OK, "%s", em.text);
    return c;
}

/* A collection with a version, in two transactions. NULL-free names c0, c1, ... */
static enum err make(struct catalog *c, int i)
{
    char name[16];
    bool is_new;
    const struct catalog_collection *col = NULL;
    const struct catalog_new_collection in = {
        .tenant = T, .database = D, .name = str_of(name, (size_t)snprintf(name, sizeof name, "c%d", i))};
    enum err e = catalog_create_collection(c, &in, &col, &is_new, NULL);
    if (e != ERR_OK) return e;
    const struct catalog_version v = {.number = col->number,
                                      .version = (uint64_t)i + 1,
                                      .log_position = (uint64_t)i,
                                      .manifest = STR("m"),
                                      .n_rows = 3,
                                      .file_bytes = 4};
    catalog_collection_unref(col);
    return catalog_publish_version(c, &v, NULL);
}

struct making {
    struct catalog *c;
    _Atomic int n;
    _Atomic bool stop;
};

static void *make_on(void *arg)
{
    struct making *m = arg;
    while (!atomic_load(&m->stop)) {
        CHECK(make(m->c, atomic_load(&m->n)) == ERR_OK && "it is made");
        (void)atomic_fetch_add(&m->n, 1);
    }
    return NULL;
}

static void save(const char *name, struct bytes b)
{
    struct vfs_file *f;
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    ck_ok(vfs_posix()->open(NULL, path, VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, &f, NULL));
    ck_ok(vfs_posix()->pwrite(f, b.p, b.n, 0, NULL));
    vfs_posix()->close(f);
}

START_TEST(an_image_is_one_moment)
{
    char path[256];
    (void)snprintf(dir, sizeof dir, "%s", tmp_dir());
    struct making m = {.c = open_at("catalog.sqlite3", path)};
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, make_on, &m), 0);
    for (int i = 0; i < suite_share(8); i++) {
        struct arena a = {0};
        struct catalog_image image;
        struct catalog_version *versions;
        size_t n;
        char name[32];
        int before = atomic_load(&m.n);
        ck_ok(catalog_copy(m.c, &a, &image, NULL));
        int after = atomic_load(&m.n) + 1;
        ck_assert_uint_ge(image.n_versions, (uint64_t)before);
        ck_assert_uint_le(image.n_collections, (uint64_t)after);
        ck_assert(image.n_collections - image.n_versions <= 1); /* the one between its two transactions */
        (void)snprintf(name, sizeof name, "copy-%d.sqlite3", i);
        save(name, image.file);
        struct catalog *copy = open_at(name, path);
        ck_assert_uint_eq(catalog_count_collections(copy, T, D), image.n_collections);
        ck_ok(catalog_all_versions(copy, &a, &versions, &n, NULL));
        ck_assert_uint_eq(n, image.n_versions);
        for (size_t k = 0; k < n; k++) {
            ck_assert_uint_eq(versions[k].number, image.versions[k].number);
            ck_assert_uint_eq(versions[k].version, image.versions[k].version);
            ck_assert(str_eq(versions[k].manifest, image.versions[k].manifest));
        }
        ck_ok(make(copy, 1000000 + i)); /* and it goes on */
        catalog_close(copy);
        catalog_image_free(&image);
        catalog_image_free(&image);
        arena_free(&a);
    }
    atomic_store(&m.stop, true);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    catalog_close(m.c);
}
END_TEST

/* A file that is damaged while it is open: the image is refused, or was made of pages that SQLite still has, and is whole. */
START_TEST(an_image_is_whole_or_refused)
{
    char path[256], other[256];
    static const char zeros[4096];
    (void)snprintf(dir, sizeof dir, "%s", tmp_dir());
    struct catalog *c = open_at("catalog.sqlite3", path);
    for (int i = 0; i < 50; i++) ck_ok(make(c, i));
    catalog_close(c); /* which folds the log of changes in */
    struct vfs_file *f;
    uint64_t size;
    ck_ok(vfs_posix()->open(NULL, path, VFS_WRITE, &f, NULL));
    ck_ok(vfs_posix()->size(f, &size, NULL));
    for (uint64_t at = 4096; at + sizeof zeros <= size; at += sizeof zeros) {
        char was[4096];
        struct arena a = {0};
        struct catalog_image image = {{NULL, 0}};
        c = open_at("catalog.sqlite3", path);
        ck_ok(vfs_posix()->pread(f, was, sizeof was, at, NULL));
        ck_ok(vfs_posix()->pwrite(f, zeros, sizeof zeros, at, NULL));
        enum err e = catalog_copy(c, &a, &image, NULL);
        ck_assert(e == ERR_OK || e == ERR_CORRUPT);
        ck_ok(vfs_posix()->pwrite(f, was, sizeof was, at, NULL));
        catalog_close(c);
        if (e == ERR_OK) {
            save("copy.sqlite3", image.file);
            struct catalog *copy = open_at("copy.sqlite3", other);
            ck_assert_uint_eq(catalog_count_collections(copy, T, D), 50);
            ck_assert_uint_eq(image.n_versions, 50);
            catalog_close(copy);
        }
        catalog_image_free(&image);
        arena_free(&a);
    }
    vfs_posix()->close(f);
}
END_TEST

TESTS(copy, an_image_is_one_moment, an_image_is_whole_or_refused)
