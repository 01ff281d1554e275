/* sqlite_wal.c - see sqlite_wal.h.
 *
 * LAYOUT   a header of 32 bytes, then frames: 24 bytes and a page. Numbers are big-endian; checksums are over
 *          little-endian words (magic 0x377f0682; the other order is written by big-endian machines only). The checksum
 *          of a frame goes on from that of the frame before it.
 * DAMAGE   The chain ends at the first frame that is not valid.
 *          D1 If one bit turned makes that frame (or the header, together with the first frame) valid, it is turned back,
 *             if it can only be that one: the checksum has 64 bits, so these are the bytes that were written. Either a durable commit is whole again,
 *             or a torn one, of which all but that bit had reached the disk, is completed; both are allowed.
 *          D2 If behind it comes a valid commit and behind that another valid frame, both with the header's salts, it is
 *             damage that cannot be mended, and no torn end: each commit is synced before the next transaction is written
 *             (synchronous = FULL), and what a failed one leaves is not left behind another (sql.c, drop_leftovers).
 *          Frames of an earlier use of the file have other salts, and mean nothing.
 */
#include "catalog/sqlite_wal.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/logger.h"
#include "core/mem.h"

enum { HEADER = 32, FRAME = 24, SUMMED_HEADER = 24, SUMMED_FRAME = 8, PAGE_MIN = 512, PAGE_MAX = 65536 };

#define MAGIC UINT32_C(0x377f0682)

struct sum {
    uint32_t a, b;
};

struct log {
    uint8_t *p; /* the file; bits are turned in it, and turned back */
    size_t n, page;
};

struct damage {
    size_t at;      /* of the frame, or 0: the header */
    bool is_turned; /* D1, and it is known where: `mask` in byte `byte` */
    size_t byte;
    uint8_t mask;
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

static struct sum stored(const uint8_t *p)
{
    return (struct sum){be32(p), be32(p + 4)};
}

static bool is_header(const struct log *l)
{
    uint32_t page = be32(l->p + 8);
    return be32(l->p) == MAGIC && page >= PAGE_MIN && page <= PAGE_MAX && (page & (page - 1)) == 0 &&
           is_sum(sum_of((struct sum){0, 0}, l->p, SUMMED_HEADER), l->p + SUMMED_HEADER);
}

static const uint8_t *frame_at(const struct log *l, size_t i)
{
    return l->p + HEADER + i * (FRAME + l->page);
}

static bool is_frame(const struct log *l, size_t i, struct sum before)
{
    const uint8_t *f = frame_at(l, i);
    if (memcmp(f + 8, l->p + 16, 8) != 0) return false;
    return is_sum(sum_of(sum_of(before, f, SUMMED_FRAME), f + FRAME, l->page), f + 16);
}

static bool is_commit(const struct log *l, size_t i)
{
    return be32(frame_at(l, i) + 4) != 0;
}

static size_t n_frames(const struct log *l)
{
    return (l->n - HEADER) / (FRAME + l->page);
}

/* D1 for the header. */
static bool has_turned_header(struct log *l, struct damage *d)
{
    bool found = false;
    for (size_t bit = 0; bit < (size_t)HEADER * 8 && !found; bit++) {
        uint8_t mask = (uint8_t)(1U << bit % 8);
        l->p[bit / 8] ^= mask;
        if (is_header(l)) {
            l->page = be32(l->p + 8);
            found = n_frames(l) > 0 && is_frame(l, 0, stored(l->p + SUMMED_HEADER));
        }
        l->p[bit / 8] ^= mask;
        if (found) *d = (struct damage){.is_turned = true, .byte = bit / 8, .mask = mask};
    }
    return found;
}

/* D1 for a frame. Its salts must be the header's, but for the one bit: else it is one of an earlier use. The highest bits of
 * several words, and those of the last word and of the checksum, make up for each other: then nobody knows which it was,
 * unless the next frame, whose checksum goes on from this one, tells, and the frame counts as torn (a sector that a cut
 * lost may have held one bit only). */
static bool has_turned_frame(struct log *l, size_t i, struct sum before, struct damage *d)
{
    const size_t at = HEADER + i * (FRAME + l->page);
    uint8_t *f = l->p + at;
    unsigned n_turned = 0, n_fits = 0, n_goes_on = 0;
    for (int k = 0; k < 8; k++) n_turned += (unsigned)__builtin_popcount(f[8 + k] ^ l->p[16 + k]);
    if (n_turned > 1) return false;
    for (size_t bit = 0; bit < (FRAME + l->page) * 8; bit++) {
        uint8_t mask = (uint8_t)(1U << bit % 8);
        f[bit / 8] ^= mask;
        bool fits = is_frame(l, i, before);
        bool goes_on = fits && i + 1 < n_frames(l) && is_frame(l, i + 1, stored(f + 16));
        f[bit / 8] ^= mask;
        if (goes_on || (fits && n_goes_on == 0)) *d = (struct damage){.at = at, .byte = at + bit / 8, .mask = mask};
        n_fits += fits;
        n_goes_on += goes_on;
    }
    d->is_turned = n_goes_on == 1 || (n_goes_on == 0 && n_fits == 1);
    return d->is_turned;
}

/* D2. */
static bool has_later_commits(const struct log *l, size_t i)
{
    bool has_commit = false;
    for (size_t k = i + 1; k < n_frames(l); k++) {
        if (!is_frame(l, k, stored(frame_at(l, k - 1) + 16))) continue;
        if (has_commit) return true;
        has_commit = is_commit(l, k);
    }
    return false;
}

/* The first damage; false: there is none. */
static bool find_damage(struct log *l, struct damage *d)
{
    if (l->n < HEADER + FRAME + PAGE_MIN) return false;
    if (!is_header(l)) return has_turned_header(l, d);
    l->page = be32(l->p + 8);
    struct sum before = stored(l->p + SUMMED_HEADER);
    for (size_t i = 0; i < n_frames(l); i++) {
        if (!is_frame(l, i, before)) {
            if (has_turned_frame(l, i, before, d)) return true;
            *d = (struct damage){.at = HEADER + i * (FRAME + l->page)};
            return has_later_commits(l, i);
        }
        before = stored(frame_at(l, i) + 16);
    }
    return false;
}

/* The file as it is; all-zero when there is none. */
static enum err read_file(const struct vfs *vfs, const char *path, struct log *l, struct errmsg *em)
{
    struct vfs_file *f = NULL;
    uint64_t size = 0;
    enum err e = vfs->open(vfs->ctx, path, VFS_READ, &f, em);
    if (e != ERR_OK) return e == ERR_NOT_FOUND ? ERR_OK : e;
    e = vfs->size(f, &size, em);
    if (e == ERR_OK && size > 0) {
        l->n = (size_t)size;
        l->p = mem_alloc(l->n);
        e = l->p == NULL ? errmsg_set(em, ERR_NOMEM, "read %s", path) : vfs->pread(f, l->p, l->n, 0, em);
    }
    vfs->close(f);
    return e;
}

/* Turns the bit back, in the file and in `l`. */
static enum err turn_back(const struct vfs *vfs, const char *path, struct log *l, const struct damage *d,
                          struct errmsg *em)
{
    struct vfs_file *f = NULL;
    enum err e = vfs->open(vfs->ctx, path, VFS_WRITE, &f, em);
    if (e != ERR_OK) return e;
    l->p[d->byte] ^= d->mask;
    e = vfs->pwrite(f, l->p + d->byte, 1, d->byte, em);
    if (e == ERR_OK) e = vfs->sync(f, true, em);
    vfs->close(f);
    if (e == ERR_OK) log_warn("%s: byte %zu had one bit turned, and is right again by its checksum", path, d->byte);
    return e;
}

static enum err look(const struct vfs *vfs, const char *catalog, bool mends, struct errmsg *em)
{
    char path[4096];
    struct log l = {0};
    struct damage d = {0};
    int n = snprintf(path, sizeof path, "%s-wal", catalog);
    if (n < 0 || (size_t)n >= sizeof path) return errmsg_set(em, ERR_INVALID, "the path is too long");
    enum err e = read_file(vfs, path, &l, em);
    while (e == ERR_OK && find_damage(&l, &d)) { /* each round makes one more frame valid */
        if (mends && d.is_turned)
            e = turn_back(vfs, path, &l, &d, em);
        else
            e = errmsg_set(em, ERR_CORRUPT, "%s: byte %zu: %s, and changes that had been acknowledged %s", path, d.at,
                           d.is_turned ? "one bit of a frame is turned" : "a frame is damaged",
                           d.is_turned ? "may be in it (the next start turns it back)" : "follow from there on");
    }
    mem_free(l.p);
    return e;
}

enum err sqlite_wal_check(const struct vfs *vfs, const char *catalog, struct errmsg *em)
{
    return look(vfs, catalog, false, em);
}

enum err sqlite_wal_mend(const struct vfs *vfs, const char *catalog, struct errmsg *em)
{
    return look(vfs, catalog, true, em);
}
