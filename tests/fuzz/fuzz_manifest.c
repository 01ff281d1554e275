/* fuzz_manifest.c - manifests: any bytes, any bytes behind a right header, and valid ones with changes. What is read
 * and written again is the same file.
 *
 * INPUT  a byte: 0 any bytes, 1 bytes behind a header with right checksums, else changes of a valid one (image.h).
 */
#include "tests/fuzz/image.h"
/* the check above goes first: see fuzz.h */
#include "core/bitset.h"
#include "core/crc32c.h"
#include "core/mem.h"
#include "index/index.h"

enum { HEADER = 32, BYTES_MAX = 1 << 16 };

static struct vfs *vfs; /* made with the first input */
static uint8_t base[4096];
static size_t n_base;

static size_t read_all(const char *path, uint8_t *p)
{
    struct vfs_file *f;
    uint64_t size;
    must_ok(vfs->open(vfs->ctx, path, VFS_READ, &f, NULL));
    must_ok(vfs->size(f, &size, NULL));
    must(size <= BYTES_MAX);
    must_ok(vfs->pread(f, p, (size_t)size, 0, NULL));
    vfs->close(f);
    return (size_t)size;
}

static void make_base(void)
{
    static const uint64_t dead[3] = {5, 0, 1};
    const struct manifest_entry entries[] = {{1, 130, 3, dead}, {4, 7, 0, NULL}, {9, 64, 2, dead}};
    must_ok(vfs_mem_new(&vfs, NULL));
    must_ok(manifest_write(vfs, "base", entries, 3, NULL));
    n_base = read_all("base", base);
}

static void mend_checksums(uint8_t *p, size_t n)
{
    if (n < HEADER) return;
    le32_put(p + 24, crc32c(0, p + HEADER, n - HEADER));
    le32_put(p + 28, crc32c(0, p, 28));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static uint8_t bytes[BYTES_MAX], again[BYTES_MAX];
    struct input in = {p, n};
    struct vfs_file *f;
    struct errmsg em = {{0}};
    if (vfs == NULL) make_base();
    size_t n_bytes = 0;
    uint8_t how = input_u8(&in);
    if (how == 0) {
        struct str s = input_text(&in, BYTES_MAX);
        n_bytes = s.n;
        if (s.n > 0) memcpy(bytes, s.p, s.n);
    } else if (how == 1) {
        memcpy(bytes, base, HEADER);
        le32_put(bytes + 12, input_u8(&in));
        struct str s = input_text(&in, BYTES_MAX - HEADER);
        n_bytes = HEADER + s.n;
        if (s.n > 0) memcpy(bytes + HEADER, s.p, s.n);
        le64_put(bytes + 16, n_bytes);
        mend_checksums(bytes, n_bytes);
    } else {
        memcpy(bytes, base, n_base);
        struct image m = {bytes, n_base};
        for (int i = 0; i < IMAGE_CHANGES_MAX && in.n > 0; i++) image_change(&m, 0, m.n, &in);
        n_bytes = n_base;
        mend_checksums(bytes, n_bytes);
    }
    must_ok(vfs->open(vfs->ctx, "m", VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, &f, NULL));
    must_ok(vfs->pwrite(f, bytes, n_bytes, 0, NULL));
    vfs->close(f);
    struct arena a = {.max_bytes = 64 << 20};
    struct manifest_entry *entries;
    uint32_t n_entries;
    enum err e = manifest_read(vfs, "m", &a, &entries, &n_entries, &em);
    must(e == ERR_OK || ((e == ERR_CORRUPT || e == ERR_NEWER || e == ERR_NOMEM) && em.text[0] != '\0'));
    if (e == ERR_OK) {
        for (uint32_t i = 0; i < n_entries; i++) {
            must(entries[i].n_dead <= entries[i].n_rows && (entries[i].dead == NULL) == (entries[i].n_dead == 0));
            uint64_t n_set = 0;
            for (size_t w = 0; entries[i].dead != NULL && w < bitset_words(entries[i].n_rows); w++)
                n_set += (uint64_t)__builtin_popcountll(entries[i].dead[w]);
            must(n_set == entries[i].n_dead);
        }
        must_ok(manifest_write(vfs, "again", entries, n_entries, NULL));
        size_t n_again = read_all("again", again);
        struct manifest_entry *entries_again;
        uint32_t n_entries_again;
        must_ok(manifest_read(vfs, "again", &a, &entries_again, &n_entries_again, NULL));
        must(n_entries_again == n_entries && n_again <= BYTES_MAX);
    }
    arena_free(&a);
    return 0;
}
