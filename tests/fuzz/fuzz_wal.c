/* fuzz_wal.c - recovery of the log: over any bytes under any names, and over a valid log with changes, with and
 * without its checksums made right again. It is refused, or what is replayed ascends, fits its checksums, and a log
 * that opened takes a write and opens again with it. wal_check has a problem with just those logs that do not open.
 *
 * INPUT  a byte: bit 0 clear: changes of a valid log: [segment (1), image.h] ...; bit 1: mend headers' and records'
 *        checksums. bit 0 set: files: name (1 byte: number and kind), length (2), bytes.
 * PROVED  A single change of at most 32 bits in a row is always noticed by CRC-32C: then every record that is
 *         replayed must be the one that was written at its position.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/fuzz/image.h"
/* the check above goes first: see fuzz.h */
#include "core/batch.h"
#include "core/crc32c.h"
#include "core/logger.h"
#include "core/mem.h"
#include "wal/check.h"
#include "wal/log_format.h"
#include "wal/wal.h"

enum { N_SEGMENTS_MAX = 8, SEGMENT_BYTES = 16 << 10, N_RECORDS = 60, FILES_MAX = 4 };

static const struct wal_options options = {.segment_bytes = SEGMENT_BYTES, .no_sync = true};

struct saved {
    char name[LOG_NAME_MAX];
    uint8_t *p;
    size_t n;
};

static struct saved segments[N_SEGMENTS_MAX]; /* of the valid log; made with the first input */
static uint32_t n_segments;

/* --- a user of the log ------------------------------------------------------------------------------------------- */

struct writer {
    struct wal_record r; /* first */
    pthread_mutex_t mu;
    pthread_cond_t cv;
    bool is_done;
    enum err e;
    uint64_t lsn;
};

static void written(struct wal_record *r, enum err e, uint64_t lsn)
{
    struct writer *w = (struct writer *)(void *)r;
    (void)pthread_mutex_lock(&w->mu);
    w->is_done = true;
    w->e = e;
    w->lsn = lsn;
    (void)pthread_cond_signal(&w->cv);
    (void)pthread_mutex_unlock(&w->mu);
}

static enum err write_one(struct wal *wal, struct bytes payload, uint64_t *lsn)
{
    struct writer w = {.r = {.collection = 3, .type = 1, .payload = payload, .done = written},
                       .mu = PTHREAD_MUTEX_INITIALIZER,
                       .cv = PTHREAD_COND_INITIALIZER};
    enum err e = wal_submit(wal, &w.r);
    if (e != ERR_OK) return e;
    (void)pthread_mutex_lock(&w.mu);
    while (!w.is_done) (void)pthread_cond_wait(&w.cv, &w.mu);
    (void)pthread_mutex_unlock(&w.mu);
    *lsn = w.lsn;
    return w.e;
}

/* The payload that the valid log has at a position: 0 to 1,600 bytes that follow from it. */
static struct bytes payload_at(uint64_t lsn, uint64_t bytes[200])
{
    struct rng r = {lsn};
    for (int i = 0; i < 200; i++) bytes[i] = rng_next(&r);
    return (struct bytes){bytes, (size_t)(lsn * 37 % 1600)};
}

struct replayed {
    bool is_exact; /* every record must be as it was written */
    uint64_t n, last, n_problems;
};

static enum err replay(void *ctx, uint64_t lsn, uint32_t type, uint64_t collection, struct bytes payload,
                       struct errmsg *em)
{
    struct replayed *r = ctx;
    uint64_t bytes[200];
    (void)collection, (void)em;
    must((uintptr_t)payload.p % 8 == 0 && type != LOG_MARK);
    must((r->n == 0 || lsn > r->last) && "positions ascend");
    r->n++;
    r->last = lsn;
    uint8_t sum = 0; /* every byte is there */
    for (size_t i = 0; i < payload.n; i++) sum ^= ((const uint8_t *)payload.p)[i];
    (void)sum;
    (void)batch_validate(payload, NULL);
    if (r->is_exact) {
        struct bytes want = payload_at(lsn, bytes);
        must(lsn <= N_RECORDS && type == 1 && collection == 3 && payload.n == want.n);
        must(want.n == 0 || memcmp(payload.p, want.p, want.n) == 0);
    }
    return ERR_OK;
}

/* --- the valid log ------------------------------------------------------------------------------------------------ */

static enum err save(void *ctx, struct str name, bool is_dir)
{
    const struct vfs *vfs = ctx;
    struct saved *s = &segments[n_segments];
    char path[64];
    struct vfs_file *f;
    uint64_t size;
    must(!is_dir && name.n < sizeof s->name);
    if (name.n < 4 || memcmp(name.p + name.n - 4, ".log", 4) != 0) return ERR_OK;
    must(n_segments < N_SEGMENTS_MAX);
    (void)snprintf(s->name, sizeof s->name, "%.*s", STR_ARG(name));
    (void)snprintf(path, sizeof path, "wal/%s", s->name);
    must_ok(vfs->open(vfs->ctx, path, VFS_READ, &f, NULL));
    must_ok(vfs->size(f, &size, NULL));
    s->n = (size_t)size;
    s->p = mem_alloc(s->n);
    must(s->p != NULL);
    must_ok(vfs->pread(f, s->p, s->n, 0, NULL));
    vfs->close(f);
    n_segments++;
    return ERR_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct saved *)a)->name, ((const struct saved *)b)->name);
}

static void make_log(void)
{
    struct vfs *vfs;
    struct wal *wal;
    uint64_t bytes[200], lsn = 0;
    struct replayed r = {0};
    logger_set_level(LOG_NONE);
    must_ok(vfs_mem_new(&vfs, NULL));
    must_ok(wal_open(&wal, vfs, "wal", &options, 0, 0, replay, &r, NULL));
    for (uint64_t i = 1; i <= N_RECORDS; i++) must_ok(write_one(wal, payload_at(i, bytes), &lsn));
    must(lsn == N_RECORDS);
    wal_close(wal);
    must_ok(vfs->list(vfs->ctx, "wal", save, vfs, NULL));
    qsort(segments, n_segments, sizeof segments[0], by_name);
    must(n_segments > 1);
    vfs_mem_free(vfs);
}

/* Of the header, and of every record that can still be walked to. */
static void mend_checksums(struct image *m)
{
    if (m->n < LOG_BLOCK) return;
    struct log_segment_header h;
    struct log_record_header r;
    memcpy(&h, m->p, sizeof h);
    log_segment_seal(&h);
    memcpy(m->p, &h, sizeof h);
    for (size_t at = LOG_BLOCK; m->n - at >= sizeof r;) {
        memcpy(&r, m->p + at, sizeof r);
        if (r.salt != h.salt || r.n > m->n - at - sizeof r) break;
        r.crc = log_record_crc(&r, crc32c(0, m->p + at + sizeof r, (size_t)r.n));
        memcpy(m->p + at, &r, sizeof r);
        uint64_t step = log_record_bytes(r.n);
        if (step > m->n - at) break;
        at += (size_t)step;
    }
}

/* ------------------------------------------------------------------------------------------------------------------ */

static void put_file(const struct vfs *vfs, const char *name, const uint8_t *p, size_t n)
{
    char path[64];
    struct vfs_file *f;
    (void)snprintf(path, sizeof path, "wal/%s", name);
    must_ok(vfs->open(vfs->ctx, path, VFS_WRITE | VFS_CREATE | VFS_TRUNCATE, &f, NULL));
    if (n > 0) must_ok(vfs->pwrite(f, p, n, 0, NULL));
    vfs->close(f);
}

/* Returns whether all records must come back as they were written. */
static bool put_changed(const struct vfs *vfs, bool mends, struct input *in)
{
    struct image images[N_SEGMENTS_MAX];
    for (uint32_t i = 0; i < n_segments; i++) {
        images[i] = (struct image){mem_dup(segments[i].p, segments[i].n), segments[i].n};
        must(images[i].p != NULL);
    }
    int n_changes = 0;
    uint32_t widest = 0;
    for (; n_changes < IMAGE_CHANGES_MAX && in->n > 0; n_changes++) {
        uint8_t which = input_u8(in);
        struct image *m = &images[which % n_segments];
        size_t from = (which & 0x80) != 0 ? 0 : LOG_BLOCK; /* the header; the records */
        if (in->n > 0) widest |= 1u << (*in->p >> 2 & 3);
        if (which == 0x7f)
            m->n = LOG_BLOCK + input_u32(in) % (m->n - LOG_BLOCK + 1); /* cut short */
        else if (m->n > from)
            image_change(m, from, from == 0 ? sizeof(struct log_segment_header) : m->n - from, in);
    }
    for (uint32_t i = 0; i < n_segments; i++) {
        if (mends) mend_checksums(&images[i]);
        put_file(vfs, segments[i].name, images[i].p, images[i].n);
        mem_free(images[i].p);
    }
    return n_changes == 0 || (!mends && n_changes == 1 && widest < 8);
}

static void put_any(const struct vfs *vfs, struct input *in)
{
    for (int i = 0; i < FILES_MAX && in->n > 0; i++) {
        char name[LOG_NAME_MAX];
        uint8_t which = input_u8(in);
        log_name_format(name, which & 0x0f, (which & 0x10) != 0);
        size_t n = input_u8(in) | (size_t)input_u8(in) << 8;
        struct str bytes = input_text(in, n);
        uint8_t *p = mem_zalloc(LOG_BLOCK + bytes.n);
        must(p != NULL);
        size_t n_header = bytes.n < sizeof(struct log_segment_header) ? bytes.n : sizeof(struct log_segment_header);
        if (bytes.n > 0) memcpy(p, bytes.p, n_header); /* the rest of the first block is zero */
        size_t rest = bytes.n - n_header;
        if (rest > 0) memcpy(p + LOG_BLOCK, bytes.p + n_header, rest);
        struct image m = {p, (which & 0x20) != 0 ? bytes.n : LOG_BLOCK + rest};
        if ((which & 0x40) != 0) mend_checksums(&m);
        put_file(vfs, name, m.p, m.n);
        mem_free(p);
    }
}

static void count_problem(void *ctx, enum err e, const char *what)
{
    must((e == ERR_CORRUPT || e == ERR_NEWER) && what[0] != '\0');
    ++((struct replayed *)ctx)->n_problems;
}

static enum err look(void *ctx, uint64_t lsn, uint32_t type, uint64_t collection, struct bytes payload,
                     struct errmsg *em)
{
    (void)lsn, (void)type, (void)collection, (void)payload, (void)em;
    ++((struct replayed *)ctx)->n;
    return ERR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct input in = {p, n};
    struct vfs *vfs;
    struct wal *wal;
    struct errmsg em = {{0}};
    struct replayed r = {0};
    if (n_segments == 0) make_log();
    must_ok(vfs_mem_new(&vfs, NULL));
    must_ok(vfs->make_dir(vfs->ctx, "wal", NULL));
    uint8_t how = input_u8(&in);
    if ((how & 1) == 0)
        r.is_exact = put_changed(vfs, (how & 2) != 0, &in);
    else
        put_any(vfs, &in);
    struct replayed checked = {0};
    struct wal_summary summary;
    enum err ce = wal_check(vfs, "wal", look, count_problem, &checked, &summary, &em);
    must(ce == ERR_OK || (ce == ERR_NOMEM && em.text[0] != '\0'));
    enum err e = wal_open(&wal, vfs, "wal", &options, 0, 0, replay, &r, &em);
    must(e == ERR_OK ||
         ((e == ERR_CORRUPT || e == ERR_NEWER || e == ERR_NOMEM || e == ERR_TOO_LARGE) && em.text[0] != '\0'));
    if (ce == ERR_OK && e != ERR_NOMEM && e != ERR_TOO_LARGE)
        must_msg((e == ERR_OK) == (checked.n_problems == 0), "wal_check has %llu problems, wal_open says: %s",
                 (unsigned long long)checked.n_problems, em.text);
    if (e == ERR_OK) must(ce != ERR_OK || (checked.n == r.n && summary.n_records == r.n));
    if (e == ERR_OK) {
        uint64_t lsn = 0, former = r.n;
        e = write_one(wal, (struct bytes){"12345678", 8}, &lsn);
        must(e == ERR_OK || e == ERR_NO_SPACE || e == ERR_NOMEM || e == ERR_READ_ONLY || e == ERR_IO);
        wal_close(wal);
        if (e == ERR_OK) {
            must(former == 0 || lsn > r.last);
            r = (struct replayed){0};
            must_msg(wal_open(&wal, vfs, "wal", &options, 0, 0, replay, &r, &em) == ERR_OK, "again: %s", em.text);
            must(r.n == former + 1 && r.last == lsn);
            wal_close(wal);
        }
    }
    vfs_mem_free(vfs);
    return 0;
}
