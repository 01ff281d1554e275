/* sqlite_wal.c - see sqlite_wal.h.
 *
 * LAYOUT   a header of 32 bytes, then frames: 24 bytes and a page. Numbers are big-endian; checksums are over
 *          little-endian words (magic 0x377f0682; the other order is written by big-endian machines only). The checksum
 *          of a frame goes on from that of the frame before it. A frame whose second number is not 0 ends a commit.
 * CLAIMS   A mark speaks of the file whose frames have its salts. Another file, none and an empty one are no damage: SQLite
 *          empties and removes it when everything is in the database, and another program may have made it do so.
 */
#include "catalog/sqlite_wal.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/crc32c.h"
#include "core/mem.h"

enum {
    HEADER = 32,
    FRAME = 24,
    SUMMED_HEADER = 24,
    SUMMED_FRAME = 8,
    SALTS_AT = 16, /* in the header; in a frame: */
    FRAME_SALTS_AT = 8,
    PAGE_MIN = 512,
    PAGE_MAX = 65536,
    PATH_CAP = 4096,
};

#define MAGIC UINT32_C(0x377f0682)

/* docs/formats.md, "The mark" */
enum { MARK_SALTS = 8, MARK_END = 16, MARK_CRC = 24, MARK_BYTES = 32 };

static const char mark_magic[MARK_SALTS] = {'C', 'H', 'W', 'M', 'A', 'R', 'K', '1'};

_Static_assert(MARK_END + sizeof(uint64_t) == MARK_CRC && MARK_CRC + 2 * sizeof(uint32_t) == MARK_BYTES,
               "docs/formats.md");

/* --- checking ------------------------------------------------------------------------------------------------------- */

struct sum {
    uint32_t a, b;
};

/* What a mark claims. */
struct claim {
    uint8_t salts[8];
    uint64_t end; /* 0: nothing */
};

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* n: a multiple of 8. */
static struct sum sum_of(struct sum s, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        s.a += le32_get(p + i) + s.b;
        s.b += le32_get(p + i + 4) + s.a;
    }
    return s;
}

static bool is_sum(struct sum s, const uint8_t *p)
{
    return be32(p) == s.a && be32(p + 4) == s.b;
}

static bool is_header(const uint8_t *p)
{
    uint32_t page = be32(p + 8);
    return be32(p) == MAGIC && page >= PAGE_MIN && page <= PAGE_MAX && (page & (page - 1)) == 0 &&
           is_sum(sum_of((struct sum){0, 0}, p, SUMMED_HEADER), p + SUMMED_HEADER);
}

static bool is_frame(const uint8_t *p, size_t page, const struct claim *c, struct sum *sum)
{
    *sum = sum_of(sum_of(*sum, p, SUMMED_FRAME), p + FRAME, page);
    return memcmp(p + FRAME_SALTS_AT, c->salts, sizeof c->salts) == 0 && is_sum(*sum, p + 16);
}

/* Where the first frame is, or the header, that is not what was written; the end of the claim: none is. */
static uint64_t first_damage(const uint8_t *p, size_t n, const struct claim *c)
{
    if (!is_header(p)) return 0;
    size_t page = be32(p + 8), at = HEADER;
    for (struct sum sum = {be32(p + SUMMED_HEADER), be32(p + SUMMED_HEADER + 4)}; at < c->end; at += FRAME + page)
        if (n - at < FRAME + page || !is_frame(p + at, page, c, &sum)) return at;
    return at;
}

/* The first bytes of a file, at most `max`; *n 0: there are none. The caller frees *out. */
static enum err read_start(const struct vfs *vfs, const char *path, uint64_t max, uint8_t **out, size_t *n,
                           struct errmsg *em)
{
    struct vfs_file *f = NULL;
    uint64_t size = 0;
    *out = NULL;
    *n = 0;
    enum err e = vfs->open(vfs->ctx, path, VFS_READ, &f, em);
    if (e != ERR_OK) return e == ERR_NOT_FOUND ? ERR_OK : e;
    e = vfs->size(f, &size, em);
    if (size > max) size = max;
    if (e == ERR_OK && size > 0) {
        *out = size <= SIZE_MAX ? mem_alloc((size_t)size) : NULL;
        e = *out == NULL ? errmsg_set(em, ERR_NOMEM, "read %s", path) : vfs->pread(f, *out, (size_t)size, 0, em);
        *n = (size_t)size;
    }
    vfs->close(f);
    return e;
}

static enum err read_mark(const struct vfs *vfs, const char *path, struct claim *c, struct errmsg *em)
{
    uint8_t *p;
    size_t n;
    c->end = 0;
    enum err e = read_start(vfs, path, MARK_BYTES, &p, &n, em);
    if (e == ERR_OK && n == MARK_BYTES && memcmp(p, mark_magic, sizeof mark_magic) == 0 &&
        le32_get(p + MARK_CRC) == crc32c(0, p, MARK_CRC)) {
        memcpy(c->salts, p + MARK_SALTS, sizeof c->salts);
        c->end = le64_get(p + MARK_END);
    }
    mem_free(p);
    return e;
}

/* Are the first n bytes of a -wal file those of the one that is spoken of? */
static bool is_claimed(const uint8_t *p, size_t n, const struct claim *c)
{
    if (n >= HEADER && is_header(p)) return memcmp(p + SALTS_AT, c->salts, sizeof c->salts) == 0;
    return n >= HEADER + FRAME && memcmp(p + HEADER + FRAME_SALTS_AT, c->salts, sizeof c->salts) == 0;
}

enum err sqlite_wal_check(const struct vfs *vfs, const char *catalog, struct errmsg *em)
{
    char path[PATH_CAP], mark[PATH_CAP];
    struct claim c;
    uint8_t *p;
    size_t got;
    int n = snprintf(mark, sizeof mark, "%s-mark", catalog);
    if (n < 0 || (size_t)n >= sizeof mark) return errmsg_set(em, ERR_INVALID, "the path is too long");
    (void)snprintf(path, sizeof path, "%s-wal", catalog);
    enum err e = read_mark(vfs, mark, &c, em);
    if (e != ERR_OK || c.end == 0) return e;
    e = read_start(vfs, path, c.end, &p, &got, em);
    uint64_t at = e == ERR_OK && is_claimed(p, got, &c) ? first_damage(p, got, &c) : c.end;
    if (at < c.end)
        e = errmsg_set(em, ERR_CORRUPT,
                       "%s: byte %" PRIu64 ": damaged, and changes that had been acknowledged follow from there on (by "
                       "%s its first %" PRIu64 " bytes are on disk)",
                       path, at, mark, c.end);
    mem_free(p);
    return e;
}

/* --- the mark ------------------------------------------------------------------------------------------------------- */

/* ".../catalog.sqlite3-wal" gives ".../catalog.sqlite3-mark". */
static bool mark_path(char out[PATH_CAP], const char *wal)
{
    size_t n = strlen(wal);
    CHECK(n >= 4 && memcmp(wal + n - 4, "-wal", 4) == 0);
    int got = snprintf(out, PATH_CAP, "%.*s-mark", (int)(n - 4), wal);
    return got > 0 && got < PATH_CAP;
}

static enum err open_mark(struct wal_mark *m, int flags, struct errmsg *em)
{
    char path[PATH_CAP];
    if (!mark_path(path, m->wal)) return errmsg_set(em, ERR_INVALID, "the path is too long");
    return m->files->open(m->files->ctx, path, flags, &m->file, em);
}

enum err wal_mark_open(struct wal_mark *m, const struct vfs *files, const char *wal, struct errmsg *em)
{
    *m = (struct wal_mark){.files = files, .wal = wal};
    enum err e = open_mark(m, VFS_WRITE, em);
    m->is_void = e == ERR_NOT_FOUND;
    if (m->is_void) m->file = NULL;
    return m->is_void ? ERR_OK : e;
}

void wal_mark_close(struct wal_mark *m)
{
    if (m->file != NULL) m->files->close(m->file);
    *m = (struct wal_mark){0};
}

enum err wal_mark_prepare(struct wal_mark *m, uint64_t at, struct errmsg *em)
{
    static const uint8_t none[MARK_BYTES];
    if (at >= HEADER || m->file == NULL || m->is_void) return ERR_OK;
    enum err e = m->files->pwrite(m->file, none, sizeof none, 0, em);
    if (e == ERR_OK) e = m->files->sync(m->file, true, em);
    m->is_void = e == ERR_OK;
    return e;
}

void wal_mark_written(struct wal_mark *m, const void *p, size_t n, uint64_t at, bool failed)
{
    if (m->files == NULL) return;
    if (failed || at < HEADER) {
        m->commit_at = m->end = 0;
    } else if (n == FRAME &&
               be32((const uint8_t *)p + 4) != 0) { /* of a commit; a second time if checksums are redone */
        if (at != m->commit_at) m->end = 0;
        m->commit_at = at;
        memcpy(m->salts, (const uint8_t *)p + FRAME_SALTS_AT, sizeof m->salts);
    } else if (m->commit_at != 0 && at == m->commit_at + FRAME) { /* its page */
        m->end = at + n;
    }
}

void wal_mark_synced(struct wal_mark *m, bool failed)
{
    uint8_t p[MARK_BYTES] = {0};
    if (m->end == 0) return;
    uint64_t end = m->end;
    m->commit_at = m->end = 0;
    if (failed) return;
    if (m->file == NULL && open_mark(m, VFS_WRITE | VFS_CREATE, NULL) != ERR_OK) return;
    memcpy(p, mark_magic, sizeof mark_magic);
    memcpy(p + MARK_SALTS, m->salts, sizeof m->salts);
    le64_put(p + MARK_END, end);
    le32_put(p + MARK_CRC, crc32c(0, p, MARK_CRC));
    m->is_void = false;
    (void)m->files->pwrite(m->file, p, sizeof p, 0, NULL);
}

void wal_mark_remove(const struct vfs *files, const char *wal)
{
    char path[PATH_CAP];
    if (mark_path(path, wal)) (void)files->remove(files->ctx, path, NULL);
}
