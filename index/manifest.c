/* manifest.c - which fragments make up a version of a collection, and which of their rows are dead: see index.h.
 *
 * FORMAT   docs/formats.md#manifest: a header, the entries, the bitmaps of entries with dead rows. One checksum in the
 *          header covers everything behind it, another one the header.
 * FAILURE  a file that is shorter, longer or other than its checksums say is ERR_CORRUPT; so is a bitmap whose bits are
 *          not n_dead in number.
 */
#include "core/buf.h"
#include "core/crc32c.h"
#include "core/mem.h"
#include "index/index.h"

#define MANIFEST_MAGIC "CHRMANI\n"

enum { MANIFEST_VERSION = 1, MANIFEST_BYTES_MAX = 1 << 30 };

struct manifest_header {
    char magic[8];
    uint32_t version;
    uint32_t n_entries;
    uint64_t file_bytes;
    uint32_t body_crc; /* CRC32C of everything behind the header */
    uint32_t crc;      /* CRC32C of the 28 bytes before it */
};
_Static_assert(sizeof(struct manifest_header) == 32, "format");
_Static_assert(offsetof(struct manifest_header, crc) == 28, "format");

struct manifest_record {
    uint64_t fragment_id;
    uint32_t n_rows;
    uint32_t n_dead;
    uint64_t dead_at; /* file offset of the bitmap; 0 when n_dead is 0 */
};
_Static_assert(sizeof(struct manifest_record) == 24, "format");

static enum err write_file(const struct vfs *vfs, const char *path, struct str bytes, struct errmsg *em)
{
    struct vfs_file *f;
    enum err e = vfs->open(vfs->ctx, path, VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, &f, em);
    if (e != ERR_OK) return e;
    e = vfs->pwrite(f, bytes.p, bytes.n, 0, em);
    if (e == ERR_OK) e = vfs->sync(f, false, em);
    vfs->close(f);
    return e;
}

enum err manifest_write(const struct vfs *vfs, const char *path, const struct manifest_entry *entries, uint32_t n,
                        struct errmsg *em)
{
    struct buf b = {.max = MANIFEST_BYTES_MAX};
    struct manifest_header h = {.version = MANIFEST_VERSION, .n_entries = n};
    uint64_t dead_at = sizeof h + (uint64_t)n * sizeof(struct manifest_record);
    buf_zero(&b, sizeof h);
    for (uint32_t i = 0; i < n; i++) {
        struct manifest_record r = {
            .fragment_id = entries[i].fragment_id,
            .n_rows = entries[i].n_rows,
            .n_dead = entries[i].n_dead,
            .dead_at = entries[i].n_dead > 0 ? dead_at : 0,
        };
        CHECK((r.n_dead == 0 || entries[i].dead != NULL) && "dead rows have a bitmap");
        if (r.n_dead > 0) dead_at += bitset_words(r.n_rows) * 8;
        buf_add(&b, &r, sizeof r);
    }
    for (uint32_t i = 0; i < n; i++)
        if (entries[i].n_dead > 0) buf_add(&b, entries[i].dead, bitset_words(entries[i].n_rows) * 8);
    enum err e = b.err;
    if (e != ERR_OK) {
        (void)errmsg_set(em, e, "a manifest of %u fragments", n);
    } else {
        memcpy(h.magic, MANIFEST_MAGIC, sizeof h.magic);
        h.file_bytes = b.n;
        h.body_crc = crc32c(0, b.p + sizeof h, b.n - sizeof h);
        h.crc = crc32c(0, &h, offsetof(struct manifest_header, crc));
        memcpy(b.p, &h, sizeof h);
        e = write_file(vfs, path, buf_view(&b), em);
    }
    buf_free(&b);
    if (e != ERR_OK) errmsg_wrap(em, "%s", path);
    return e;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static enum err damaged(struct errmsg *em, const char *what)
{
    return errmsg_set(em, ERR_CORRUPT, "%s", what);
}

static enum err check(struct str file, struct manifest_header *h, struct errmsg *em)
{
    if (file.n < sizeof *h) return damaged(em, "the file is shorter than its header");
    memcpy(h, file.p, sizeof *h);
    if (memcmp(h->magic, MANIFEST_MAGIC, sizeof h->magic) != 0) return damaged(em, "this is no manifest");
    if (h->version > MANIFEST_VERSION)
        return errmsg_set(em, ERR_NEWER, "manifest format %u; this program knows %d", h->version, MANIFEST_VERSION);
    if (crc32c(0, h, offsetof(struct manifest_header, crc)) != h->crc)
        return damaged(em, "the header's checksum is wrong");
    if (h->file_bytes != file.n || h->n_entries > (file.n - sizeof *h) / sizeof(struct manifest_record))
        return damaged(em, "the file has another length than its header says");
    if (crc32c(0, file.p + sizeof *h, file.n - sizeof *h) != h->body_crc) return damaged(em, "the checksum is wrong");
    return ERR_OK;
}

static enum err read_dead(struct str file, const struct manifest_record *r, struct arena *a, const uint64_t **dead,
                          struct errmsg *em)
{
    size_t bytes = bitset_words(r->n_rows) * 8;
    struct bitset s;
    *dead = NULL;
    if (r->n_dead == 0) return ERR_OK;
    if (r->dead_at > file.n || bytes > file.n - r->dead_at) return damaged(em, "a bitmap is outside the file");
    if (!bitset_init(&s, a, r->n_rows)) return errmsg_set(em, ERR_NOMEM, "dead rows");
    memcpy(s.words, file.p + r->dead_at, bytes);
    if (r->n_rows % 64 != 0 && s.words[r->n_rows / 64] >> (r->n_rows % 64) != 0)
        return damaged(em, "a bitmap has rows beyond its fragment's");
    if (bitset_count(&s) != r->n_dead) return damaged(em, "a bitmap does not have as many rows as its entry says");
    *dead = s.words;
    return ERR_OK;
}

static enum err parse(struct str file, struct arena *a, struct manifest_entry **entries, uint32_t *n, struct errmsg *em)
{
    struct manifest_header h;
    enum err e = check(file, &h, em);
    if (e != ERR_OK) return e;
    struct manifest_entry *list = arena_array(a, h.n_entries, sizeof *list);
    if (list == NULL) return errmsg_set(em, ERR_NOMEM, "a manifest of %u fragments", h.n_entries);
    for (uint32_t i = 0; i < h.n_entries; i++) {
        struct manifest_record r;
        memcpy(&r, file.p + sizeof h + (size_t)i * sizeof r, sizeof r);
        list[i] = (struct manifest_entry){.fragment_id = r.fragment_id, .n_rows = r.n_rows, .n_dead = r.n_dead};
        if ((e = read_dead(file, &r, a, &list[i].dead, em)) != ERR_OK) return e;
    }
    *entries = list;
    *n = h.n_entries;
    return ERR_OK;
}

enum err manifest_read(const struct vfs *vfs, const char *path, struct arena *a, struct manifest_entry **entries,
                       uint32_t *n, struct errmsg *em)
{
    struct vfs_file *f;
    uint64_t size = 0;
    char *p = NULL;
    enum err e = vfs->open(vfs->ctx, path, VFS_READ, &f, em);
    if (e != ERR_OK) return e;
    if ((e = vfs->size(f, &size, em)) != ERR_OK) goto out;
    if (size > MANIFEST_BYTES_MAX) {
        e = damaged(em, "the file is larger than any manifest");
        goto out;
    }
    p = mem_alloc((size_t)size);
    if (p == NULL) {
        e = errmsg_set(em, ERR_NOMEM, "read %llu bytes", (unsigned long long)size);
        goto out;
    }
    if ((e = vfs->pread(f, p, (size_t)size, 0, em)) != ERR_OK) goto out;
    e = parse(str_of(p, (size_t)size), a, entries, n, em);
out:
    mem_free(p);
    vfs->close(f);
    if (e != ERR_OK) errmsg_wrap(em, "%s", path);
    return e;
}
