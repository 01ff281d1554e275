/* fragment_scrub.c - compares the checksums of a fragment's file by reading it in pieces, without mapping it.
 *
 * HAPPY PATH  the header's page, then section by section, in pieces that the caller paces. Pages that were read for this
 *             alone are given back to the kernel; those that a reader has mapped stay.
 * FAILURE     a section that cannot be read is as good as damaged, unless memory or the like was short: that is reported. A
 *             header that is wrong ends it: nothing else is known.
 */
#include "core/crc32c.h"
#include "core/mem.h"
#include "index/fragment_internal.h"

enum { PIECE_BYTES = 256 << 10 };

struct scrub {
    const struct vfs *vfs;
    struct vfs_file *file;
    uint8_t *piece;
    fragment_pace pace;
    void *ctx;
};

/* Errors: what `pace` returns, and what is short. */
static enum err scrub_section(const struct scrub *s, const struct fragment_section *section, bool *is_right,
                              struct errmsg *em)
{
    uint32_t crc = 0;
    bool is_read = true;
    for (uint64_t at = 0; at < section->length && is_read;) {
        uint64_t left = section->length - at, n = left < PIECE_BYTES ? left : PIECE_BYTES;
        enum err e = s->vfs->pread(s->file, s->piece, (size_t)n, section->offset + at, em);
        if (err_is_shortage(e)) return e;
        is_read = e == ERR_OK;
        if (is_read) crc = crc32c(crc, s->piece, (size_t)n);
        if (s->vfs->forget != NULL) s->vfs->forget(s->file, section->offset + at, n);
        at += n;
        e = s->pace(s->ctx, n);
        if (e != ERR_OK) return e;
    }
    *is_right = is_read && crc == section->crc;
    return ERR_OK;
}

enum err fragment_scrub(const struct vfs *vfs, const char *path, fragment_pace pace, void *ctx, uint32_t *damaged,
                        struct errmsg *em)
{
    struct scrub s = {.vfs = vfs, .pace = pace, .ctx = ctx};
    struct fragment_header *h = mem_alloc(sizeof *h);
    uint32_t found = 0;
    uint64_t size = 0;
    enum err e = ERR_NOMEM;
    s.piece = mem_alloc(PIECE_BYTES);
    if (h == NULL || s.piece == NULL) {
        (void)errmsg_set(em, e, "scrub a fragment");
        goto out;
    }
    e = vfs->open(vfs->ctx, path, VFS_READ, &s.file, em);
    if (e == ERR_OK) e = vfs->size(s.file, &size, em);
    if (e == ERR_OK) e = vfs->pread(s.file, h, sizeof *h, 0, em);
    if (e == ERR_OK) e = fragment_check_header_of(h, size, em);
    if (e == ERR_OK) e = pace(ctx, sizeof *h);
    for (uint32_t i = 0; e == ERR_OK && i < h->n_sections; i++) {
        bool is_right = false;
        e = scrub_section(&s, &h->sections[i], &is_right, em);
        if (e == ERR_OK && !is_right && h->sections[i].type < SECTION_TYPES_)
            found |= UINT32_C(1) << h->sections[i].type;
    }
    if (e == ERR_OK) *damaged = found;
out:
    if (e != ERR_OK) errmsg_wrap(em, "%s", path);
    if (s.file != NULL) vfs->close(s.file);
    mem_free(s.piece);
    mem_free(h);
    return e;
}
