/* test_vfs.c - both tables of files behave alike: everything here runs on the real one and on the one in memory. */
#include <stdio.h>

#include "tests/lib/suite.h"

static enum err count(void *ctx, struct str name, bool is_dir)
{
    int *n = ctx;
    n[is_dir]++;
    ck_assert_uint_gt(name.n, 0);
    return ERR_OK;
}

static void run(const struct vfs *v, const char *dir)
{
    char path[256], other[256], sub[256], got[16];
    struct vfs_file *f, *g;
    struct errmsg em = {{0}};
    struct bytes map;
    uint64_t size;
    ck_assert(vfs_join(path, sizeof path, dir, "file"));
    ck_assert(vfs_join(other, sizeof other, dir, "other"));
    ck_assert(vfs_join(sub, sizeof sub, dir, "sub"));
    ck_assert(!vfs_join(got, sizeof got, "a long directory", "name"));
    ck_ok(v->make_dir(v->ctx, dir, &em));
    ck_ok(v->make_dir(v->ctx, sub, &em));
    ck_ok(v->make_dir(v->ctx, sub, &em));
    ck_assert_int_eq(v->open(v->ctx, path, VFS_READ, &f, &em), ERR_NOT_FOUND);
    ck_ok(v->open(v->ctx, path, VFS_WRITE | VFS_CREATE, &f, &em));
    ck_ok(v->map(f, &map, &em));
    ck_assert_ptr_null(map.p);
    ck_ok(v->pwrite(f, "0123456789", 10, 0, &em));
    ck_ok(v->pwrite(f, "ab", 2, 4, &em));
    ck_ok(v->sync(f, true, &em));
    ck_ok(v->sync(f, false, &em));
    ck_ok(v->pread(f, got, 10, 0, &em));
    ck_assert_mem_eq(got, "0123ab6789", 10);
    ck_assert_int_eq(v->pread(f, got, 10, 5, &em), ERR_CORRUPT);
    ck_ok(v->map(f, &map, &em));
    ck_assert_uint_eq(map.n, 10);
    ck_assert_int_eq(v->open(v->ctx, path, VFS_WRITE | VFS_CREATE | VFS_EXCLUSIVE, &g, &em), ERR_EXISTS);
    ck_ok(v->open(v->ctx, path, VFS_READ, &g, &em));
    ck_assert_int_ne(v->pwrite(g, "x", 1, 0, &em), ERR_OK);
    v->close(g);
    ck_ok(v->truncate(f, 4, &em));
    ck_ok(v->size(f, &size, &em));
    ck_assert_uint_eq(size, 4);
    ck_ok(v->allocate(f, 100, &em));
    ck_ok(v->size(f, &size, &em));
    ck_assert_uint_eq(size, 100);
    v->close(f);
    v->unmap(v->ctx, map);
    ck_ok(v->open(v->ctx, other, VFS_WRITE | VFS_CREATE, &g, &em)); /* renaming replaces */
    v->close(g);
    ck_ok(v->rename(v->ctx, path, other, &em));
    ck_ok(v->sync_dir(v->ctx, dir, &em));
    ck_assert_int_eq(v->open(v->ctx, path, VFS_READ, &f, &em), ERR_NOT_FOUND);
    ck_ok(v->open(v->ctx, other, VFS_READ, &f, &em));
    ck_ok(v->pread(f, got, 4, 0, &em));
    ck_assert_mem_eq(got, "0123", 4);
    ck_ok(v->map(f, &map, &em));
    ck_ok(v->remove(v->ctx, other, &em)); /* an open, mapped file stays readable */
    ck_assert_mem_eq(map.p, "0123", 4);
    v->close(f);
    ck_assert_mem_eq(map.p, "0123", 4);
    v->unmap(v->ctx, map);
    ck_assert_int_eq(v->remove(v->ctx, other, &em), ERR_NOT_FOUND);
    int n[2] = {0, 0};
    ck_ok(v->open(v->ctx, path, VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, &f, &em));
    v->close(f);
    ck_ok(v->list(v->ctx, dir, count, n, &em));
    ck_assert_int_eq(n[0], 1);
    ck_assert_int_eq(n[1], 1);
    ck_ok(v->remove_dir(v->ctx, sub, &em));
    ck_ok(v->remove(v->ctx, path, &em));
}

static void write_text(const struct vfs *v, const char *path, const char *text)
{
    struct vfs_file *f;
    ck_ok(v->open(v->ctx, path, VFS_WRITE | VFS_CREATE | VFS_EXCLUSIVE, &f, NULL));
    ck_ok(v->pwrite(f, text, strlen(text), 0, NULL));
    v->close(f);
}

static void expect_text(const struct vfs *v, const char *path, const char *text)
{
    struct vfs_file *f;
    uint64_t size;
    char got[64];
    ck_ok(v->open(v->ctx, path, VFS_READ, &f, NULL));
    ck_ok(v->size(f, &size, NULL));
    ck_assert_uint_eq(size, strlen(text));
    ck_ok(v->pread(f, got, (size_t)size, 0, NULL));
    ck_assert_mem_eq(got, text, (size_t)size);
    v->close(f);
}

/* One file under two names, linked (`shares`) or copied. */
static void run_links(const struct vfs *v, const char *dir, bool shares)
{
    char one[256], two[256], absent[256];
    struct vfs_file *f;
    ck_assert(vfs_join(one, sizeof one, dir, "one"));
    ck_assert(vfs_join(two, sizeof two, dir, "two"));
    ck_assert(vfs_join(absent, sizeof absent, dir, "absent"));
    ck_ok(v->make_dir(v->ctx, dir, NULL));
    write_text(v, one, "0123456789");
    ck_assert_int_eq(vfs_link_or_copy(v, absent, two, NULL), ERR_NOT_FOUND);
    ck_ok(vfs_link_or_copy(v, one, two, NULL));
    ck_assert_int_eq(vfs_link_or_copy(v, one, two, NULL), ERR_EXISTS);
    expect_text(v, two, "0123456789");
    ck_ok(v->open(v->ctx, one, VFS_WRITE, &f, NULL));
    ck_ok(v->pwrite(f, "ab", 2, 4, NULL));
    v->close(f);
    expect_text(v, two, shares ? "0123ab6789" : "0123456789");
    ck_ok(v->remove(v->ctx, one, NULL)); /* the other name keeps the bytes */
    ck_assert_int_eq(v->open(v->ctx, one, VFS_READ, &f, NULL), ERR_NOT_FOUND);
    expect_text(v, two, shares ? "0123ab6789" : "0123456789");
    ck_ok(vfs_link_or_copy(v, two, one, NULL));
    ck_ok(v->remove(v->ctx, two, NULL));
    ck_ok(v->remove(v->ctx, one, NULL));
}

static enum err no_link(void *ctx, const char *from, const char *to, struct errmsg *em)
{
    struct vfs_file *f;
    (void)to;
    enum err e = vfs_posix()->open(ctx, from, VFS_READ, &f, em);
    if (e != ERR_OK) return e;
    vfs_posix()->close(f);
    return errmsg_set(em, ERR_UNSUPPORTED, "no links here");
}

START_TEST(a_file_has_two_names)
{
    struct vfs *v, without_links = *vfs_posix();
    ck_ok(vfs_mem_new(&v, NULL));
    run_links(v, "memory", true);
    vfs_mem_free(v);
    run_links(vfs_posix(), tmp_dir(), true);
    without_links.link = no_link;
    run_links(&without_links, tmp_dir(), false);
}
END_TEST

START_TEST(the_real_table)
{
    struct vfs_file *lock, *second;
    struct errmsg em = {{0}};
    char deep[256];
    const struct vfs *v = vfs_posix();
    const char *dir = tmp_dir();
    run(v, dir);
    ck_ok(v->lock_dir(v->ctx, dir, &lock, &em));
    ck_assert_int_eq(v->lock_dir(v->ctx, dir, &second, &em), ERR_LOCKED);
    v->close(lock);
    ck_ok(v->lock_dir(v->ctx, dir, &lock, &em));
    v->close(lock);
    (void)snprintf(deep, sizeof deep, "%s/a/b/c", dir);
    ck_ok(v->make_dir(v->ctx, deep, &em));
    (void)snprintf(deep, sizeof deep, "%s/LOCK", dir);
    ck_assert_int_ne(v->make_dir(v->ctx, deep, &em), ERR_OK);
}
END_TEST

START_TEST(the_table_in_memory)
{
    struct vfs *v;
    struct errmsg em = {{0}};
    ck_ok(vfs_mem_new(&v, &em));
    run(v, "memory");
    vfs_mem_free(v);
}
END_TEST

static void make_file(const struct vfs *v, const char *dir, const char *name)
{
    char path[512];
    struct vfs_file *f;
    ck_assert(vfs_join(path, sizeof path, dir, name));
    ck_ok(v->open(v->ctx, path, VFS_WRITE | VFS_CREATE, &f, NULL));
    ck_ok(v->pwrite(f, name, 1, 0, NULL));
    v->close(f);
}

static void trees(const struct vfs *v, const char *dir)
{
    char tree[256], sub[300];
    bool is_there, is_empty;
    ck_ok(v->make_dir(v->ctx, dir, NULL));
    ck_assert(vfs_join(tree, sizeof tree, dir, "tree") && vfs_join(sub, sizeof sub, tree, "sub"));
    ck_ok(vfs_remove_tree(v, tree, NULL)); /* absent */
    ck_ok(v->make_dir(v->ctx, tree, NULL));
    ck_ok(vfs_look_at_dir(v, tree, &is_there, &is_empty, NULL));
    ck_assert(is_empty);
    ck_ok(v->make_dir(v->ctx, sub, NULL));
    make_file(v, tree, "a");
    make_file(v, sub, "b");
    make_file(v, sub, "c");
    make_file(v, dir, "d");
    ck_ok(vfs_look_at_dir(v, tree, &is_there, &is_empty, NULL));
    ck_assert(is_there && !is_empty);
    ck_ok(vfs_remove_tree(v, tree, NULL));
    ck_ok(vfs_look_at_dir(v, tree, &is_there, &is_empty, NULL));
    ck_assert(is_empty);
    ck_ok(vfs_look_at_dir(v, dir, &is_there, &is_empty, NULL));
    ck_assert(is_there && !is_empty); /* what is beside it stays */
}

START_TEST(trees_are_removed_whole)
{
    struct vfs *v;
    bool is_there, is_empty;
    char path[256];
    trees(vfs_posix(), tmp_dir());
    ck_assert(vfs_join(path, sizeof path, tmp_dir(), "absent"));
    ck_ok(vfs_look_at_dir(vfs_posix(), path, &is_there, &is_empty, NULL));
    ck_assert(!is_there && is_empty);
    ck_ok(vfs_mem_new(&v, NULL));
    trees(v, "memory");
    vfs_mem_free(v);
}
END_TEST

START_TEST(two_directories_are_exchanged)
{
    const struct vfs *v = vfs_posix();
    const char *dir = tmp_dir();
    char a[256], b[256], path[512];
    struct vfs_file *f;
    ck_assert(vfs_join(a, sizeof a, dir, "a") && vfs_join(b, sizeof b, dir, "b"));
    ck_ok(v->make_dir(v->ctx, a, NULL));
    ck_assert_int_eq(v->exchange(v->ctx, a, b, NULL), ERR_NOT_FOUND);
    ck_ok(v->make_dir(v->ctx, b, NULL));
    make_file(v, a, "x");
    make_file(v, b, "y");
    enum err e = v->exchange(v->ctx, a, b, NULL);
    ck_assert(e == ERR_OK || e == ERR_UNSUPPORTED); /* a file system need not be able to */
    ck_assert(vfs_join(path, sizeof path, e == ERR_OK ? b : a, "x"));
    ck_ok(v->open(v->ctx, path, VFS_READ, &f, NULL));
    v->close(f);
    struct vfs *mem;
    ck_ok(vfs_mem_new(&mem, NULL));
    ck_assert_int_eq(mem->exchange(mem->ctx, a, b, NULL), ERR_UNSUPPORTED);
    vfs_mem_free(mem);
}
END_TEST

TESTS(vfs, the_real_table, the_table_in_memory, a_file_has_two_names, trees_are_removed_whole,
      two_directories_are_exchanged)
