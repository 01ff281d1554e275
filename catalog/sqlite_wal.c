/* sqlite_wal.c - see sqlite_wal.h.
 *
 * LAYOUT   a header of 32 bytes, then frames: 24 bytes and a page. Numbers are big-endian; checksums are over
 *          little-endian words (magic 0x377f0682; the other order is written by big-endian machines only). The checksum
 *          of a frame goes on from that of the frame before it.
 * DAMAGE   The chain ends at the first frame that is not valid. It is damage, and no torn end, if
 *          D1 one bit turned makes that frame (or the header, together with the first frame) valid: what a cut leaves
 *             is never so close to right, as the checksum has 64 bits; or
 *          D2 behind it comes a valid commit and behind that another valid frame, both with the header's salts: each
 *             commit is synced before the next transaction is written (synchronous = FULL).
 *          Frames of an earlier use of the file have other salts, and mean nothing.
 */
#include "catalog/sqlite_wal.h"

#include <inttypes.h>
#include <stdio.h>

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
static bool has_turned_header(struct log *l)
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
    }
    return found;
}

/* D1 for a frame. Its salts must be the header's, but for the one bit: else it is one of an earlier use. */
static bool has_turned_frame(struct log *l, size_t i, struct sum before)
{
    uint8_t *f = l->p + HEADER + i * (FRAME + l->page);
    unsigned n_turned = 0;
    for (int k = 0; k < 8; k++) n_turned += (unsigned)__builtin_popcount(f[8 + k] ^ l->p[16 + k]);
    if (n_turned > 1) return false;
    for (size_t bit = 0; bit < (FRAME + l->page) * 8; bit++) {
        uint8_t mask = (uint8_t)(1U << bit % 8);
        f[bit / 8] ^= mask;
        bool is_valid = is_frame(l, i, before);
        f[bit / 8] ^= mask;
        if (is_valid) return true;
    }
    return false;
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

/* The byte where damage begins; false: there is none. */
static bool find_damage(struct log *l, size_t *at)
{
    *at = 0;
    if (l->n < HEADER + FRAME + PAGE_MIN) return false;
    if (!is_header(l)) return has_turned_header(l);
    l->page = be32(l->p + 8);
    struct sum before = stored(l->p + SUMMED_HEADER);
    for (size_t i = 0; i < n_frames(l); i++) {
        if (!is_frame(l, i, before)) {
            *at = HEADER + i * (FRAME + l->page);
            return has_turned_frame(l, i, before) || has_later_commits(l, i);
        }
        before = stored(frame_at(l, i) + 16);
    }
    return false;
}

enum err sqlite_wal_check(const struct vfs *vfs, const char *catalog, struct errmsg *em)
{
    char path[4096];
    struct vfs_file *f = NULL;
    uint64_t size = 0;
    size_t at;
    struct log l = {0};
    int n = snprintf(path, sizeof path, "%s-wal", catalog);
    if (n < 0 || (size_t)n >= sizeof path) return errmsg_set(em, ERR_INVALID, "the path is too long");
    enum err e = vfs->open(vfs->ctx, path, VFS_READ, &f, em);
    if (e != ERR_OK) return e == ERR_NOT_FOUND ? ERR_OK : e;
    e = vfs->size(f, &size, em);
    if (e == ERR_OK && size > 0) {
        l.n = (size_t)size;
        l.p = mem_alloc(l.n);
        e = l.p == NULL ? errmsg_set(em, ERR_NOMEM, "read %s", path) : vfs->pread(f, l.p, l.n, 0, em);
    }
    if (e == ERR_OK && find_damage(&l, &at))
        e = errmsg_set(em, ERR_CORRUPT,
                       "%s: byte %zu: a frame is damaged, and changes that had been acknowledged follow from there on",
                       path, at);
    mem_free(l.p);
    vfs->close(f);
    return e;
}
