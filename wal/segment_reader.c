/* segment_reader.c - see segment_reader.h.
 *
 * A length in a damaged header may be anything up to the rest of the segment, so memory is bounded by the size of the file,
 * and a wrong length costs one checksum over what is there.
 */
#include "wal/segment_reader.h"

#include <inttypes.h>

#include "core/crc32c.h"
#include "core/mem.h"

enum { WINDOW_BYTES = 1 << 20 };

enum err segment_reader_view(struct segment_reader *r, uint64_t offset, uint64_t n, const char **p, struct errmsg *em)
{
    CHECK(offset <= r->end && n <= r->end - offset && "the caller knows the end");
    if (offset < r->at || offset - r->at > r->n || n > r->n - (offset - r->at)) {
        uint64_t want = n > WINDOW_BYTES ? n : WINDOW_BYTES;
        uint64_t start = offset / LOG_ALIGN * LOG_ALIGN; /* so that records stay aligned in memory */
        want += offset - start;
        if (want > r->end - start) want = r->end - start;
        if (want > SIZE_MAX / 2) return errmsg_set(em, ERR_NOMEM, "read the log");
        if (want > r->cap) {
            char *window = mem_aligned(64, (size_t)want);
            if (window == NULL) return errmsg_set(em, ERR_NOMEM, "read the log");
            mem_free(r->window);
            r->window = window;
            r->cap = (size_t)want;
        }
        r->n = 0; /* nothing is in the window if the read fails */
        enum err e = r->vfs->pread(r->file, r->window, (size_t)want, start, em);
        if (e != ERR_OK) return e;
        r->at = start;
        r->n = (size_t)want;
    }
    *p = r->window + (offset - r->at);
    return ERR_OK;
}

enum err segment_reader_record(struct segment_reader *r, uint64_t offset, bool *is_valid, struct segment_record *rec,
                               struct errmsg *em)
{
    struct log_record_header h;
    const char *p;
    CHECK(offset % LOG_ALIGN == 0 && offset >= LOG_BLOCK && "R1");
    if (offset > r->end || r->end - offset < sizeof h) {
        *is_valid = false;
        return ERR_OK;
    }
    enum err e = segment_reader_view(r, offset, sizeof h, &p, em);
    if (e != ERR_OK) return e;
    memcpy(&h, p, sizeof h);
    if (!log_record_is_plausible(&h, r->salt, r->end - offset)) {
        *is_valid = false;
        return ERR_OK;
    }
    e = segment_reader_view(r, offset, sizeof h + h.n, &p, em);
    if (e != ERR_OK) return e;
    const char *payload = p + sizeof h;
    *is_valid = log_record_crc(&h, crc32c(0, payload, (size_t)h.n)) == h.crc;
    if (*is_valid) *rec = (struct segment_record){h, payload};
    return ERR_OK;
}

static bool is_all_zero(const char *p, size_t n)
{
    /* compares the bytes with themselves, one apart */
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

enum err segment_reader_expect(struct segment_reader *r, uint64_t offset, uint64_t lsn, struct segment_record *rec,
                               struct errmsg *em)
{
    bool is_valid;
    enum err e = segment_reader_record(r, offset, &is_valid, rec, em);
    if (e != ERR_OK || (is_valid && rec->header.type != LOG_MARK && rec->header.lsn == lsn)) return e;
    return errmsg_set(em, ERR_CORRUPT, "byte %" PRIu64 ": record %" PRIu64 " is damaged or missing", offset, lsn);
}

enum err segment_reader_scan(struct segment_reader *r, uint64_t offset, uint64_t *max_durable, bool *is_zero,
                             struct errmsg *em)
{
    enum { STEP = 4096 };
    uint64_t highest = 0;
    bool zero = true;
    enum err e = ERR_OK;
    CHECK(offset % LOG_ALIGN == 0 && "records are aligned");
    for (uint64_t at = offset; at < r->end;) {
        uint64_t n = r->end - at < STEP ? r->end - at : STEP;
        const char *p;
        if ((e = segment_reader_view(r, at, n, &p, em)) != ERR_OK) return e;
        if (is_all_zero(p, (size_t)n)) {
            at += n;
            continue;
        }
        zero = false;
        for (uint64_t stop = at + n; at < stop; at += LOG_ALIGN) {
            bool is_valid;
            struct segment_record rec;
            if ((e = segment_reader_record(r, at, &is_valid, &rec, em)) != ERR_OK) return e;
            if (is_valid && rec.header.durable_lsn > highest) highest = rec.header.durable_lsn;
        }
    }
    *max_durable = highest;
    *is_zero = zero;
    return ERR_OK;
}

void segment_reader_deinit(struct segment_reader *r)
{
    mem_free(r->window);
    r->window = NULL;
    r->cap = r->n = 0;
}
