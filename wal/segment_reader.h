/* segment_reader.h - bounds-checked reading of one segment file through a window that moves along.
 *
 * THREADS  one owner. Pointers handed out live until the next call on the same reader.
 */
#ifndef WAL_SEGMENT_READER_H
#define WAL_SEGMENT_READER_H

#include "core/vfs.h"
#include "wal/log_format.h"

struct segment_reader {
    const struct vfs *vfs;
    struct vfs_file *file; /* borrowed */
    uint64_t salt;         /* of valid records */
    uint64_t end;          /* bytes of the file that count */
    char *window;          /* aligned; owned */
    size_t cap;
    uint64_t at; /* the window's place in the file, a multiple of LOG_ALIGN */
    size_t n;    /* bytes in the window */
};

/* One record as it lies in the window. */
struct segment_record {
    struct log_record_header header;
    const char *payload; /* 8-byte aligned */
};

/* Points *p at n bytes from `offset` on. The caller has checked offset + n <= end. ERR_IO, ERR_NOMEM. */
enum err segment_reader_view(struct segment_reader *r, uint64_t offset, uint64_t n, const char **p, struct errmsg *em);

/* *is_valid: whether a valid record (R1-R4 of log_format.h) is at `offset`; then *rec is it. */
enum err segment_reader_record(struct segment_reader *r, uint64_t offset, bool *is_valid, struct segment_record *rec,
                               struct errmsg *em);

/* The record of `lsn`, which is known to have been written at `offset`. ERR_CORRUPT: it is damaged or missing. */
enum err segment_reader_expect(struct segment_reader *r, uint64_t offset, uint64_t lsn, struct segment_record *rec,
                               struct errmsg *em);

/* What lies from `offset` (a multiple of 8) to the end, where the log's next record should be and is not:
 * *max_durable: the highest durable_lsn of any valid record there, 0 if none; *is_zero: whether there is nothing at all. */
enum err segment_reader_scan(struct segment_reader *r, uint64_t offset, uint64_t *max_durable, bool *is_zero,
                             struct errmsg *em);

void segment_reader_deinit(struct segment_reader *r);

#endif
