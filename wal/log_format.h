/* log_format.h - the bytes of the log: what a segment file and a record look like, and when they are valid.
 *
 * A segment file is one block of LOG_BLOCK bytes with the segment header at its start, then records, one after the
 * other, each padded with zeros to a multiple of 8, then zeros. The header has the block to itself, so that writing
 * records never rewrites its sector. docs/formats.md#log gives every field.
 *
 * NAMES      <20 digits>.log is a segment of the log; <20 digits>.spare is a file that holds nothing and waits for reuse.
 *            A file changes sides by rename, so a crash leaves it on one of them. A number
 *            newly given is above all that exist, so names sort by age.
 * SEGMENT    A .log file is valid iff
 *            S1 the header's magic and checksum are right,          S2 its number is that of the file's name,
 *            S3 size >= LOG_BLOCK, data_at == LOG_BLOCK, salt != 0, S4 prev_lsn < first_lsn.
 *            Nothing but a valid header is ever given a .log name (it is synced before the rename), so a .log file
 *            that breaks a rule is damaged, whatever happened to the machine.
 * CHAIN      Ordered by number, prev_lsn and first_lsn never fall. prev_lsn is the position of the last record before
 *            the segment: it was durable before the header was written. So a segment with a successor T is complete
 *            iff it has the records up to T.prev_lsn; what follows them is the rest of a torn batch and is ignored.
 * RECORD     The bytes at offset o of a segment are a valid record iff
 *            R1 o is a multiple of 8, o >= LOG_BLOCK, and header and payload end within the segment's size,
 *            R2 the salt is that of the segment header: drawn at random for each use of a file, so a record from
 *               an earlier use is none,
 *            R3 the CRC-32C of payload and header (without its crc field) is right,
 *            R4 it is data: type != LOG_MARK and durable_lsn < lsn; or a mark: type == LOG_MARK, no payload,
 *               durable_lsn == lsn.
 *            It is the next record of the log iff also
 *            R5 it begins where the one before it ends, and lsn is one more (the first record of a segment: first_lsn).
 *               A mark has the lsn of the record before it, and nothing follows a mark.
 * MARK       Written, without a sync of its own, behind a batch that is durable when nothing else waits, and overwritten
 *            by the next batch. It says that everything before it had been acknowledged, so that damage to the last
 *            batch is not taken for a torn tail.
 * PROOF      durable_lsn: every record up to it was durable before this one was written. If a record is not valid and
 *            any valid record or header says that it had been durable, acknowledged data are damaged.
 */
#ifndef WAL_LOG_FORMAT_H
#define WAL_LOG_FORMAT_H

#include <stddef.h>

#include "core/bytes.h"
#include "core/err.h"

enum {
    LOG_VERSION = 1,
    LOG_BLOCK = 4096, /* of the header; also what sizes of segments are rounded to */
    LOG_ALIGN = 8,    /* of records */
    LOG_MARK = 0,     /* the record type that owners may not use */
};

/* A limit against nonsense: no payload is near it, and sums of sizes below it cannot overflow. */
#define LOG_PAYLOAD_MAX (UINT64_C(1) << 40)

struct log_segment_header {
    char magic[8];      /* LOG_MAGIC */
    uint32_t version;   /* LOG_VERSION */
    uint32_t data_at;   /* LOG_BLOCK: where records begin */
    uint64_t number;    /* that of the file's name */
    uint64_t salt;      /* of every record in this use of the file; not 0 */
    uint64_t first_lsn; /* position that the first record has or will have */
    uint64_t prev_lsn;  /* position of the last record before this segment; 0: none */
    uint64_t size;      /* bytes of the file */
    uint32_t zero;
    uint32_t crc; /* CRC-32C of the 60 bytes before */
};
_Static_assert(sizeof(struct log_segment_header) == 64, "format");
_Static_assert(offsetof(struct log_segment_header, version) == 8, "format");
_Static_assert(offsetof(struct log_segment_header, number) == 16, "format");
_Static_assert(offsetof(struct log_segment_header, salt) == 24, "format");
_Static_assert(offsetof(struct log_segment_header, first_lsn) == 32, "format");
_Static_assert(offsetof(struct log_segment_header, prev_lsn) == 40, "format");
_Static_assert(offsetof(struct log_segment_header, size) == 48, "format");
_Static_assert(offsetof(struct log_segment_header, crc) == 60, "format");

struct log_record_header {
    uint32_t crc;         /* CRC-32C of the payload, continued over the 44 bytes after this field */
    uint32_t type;        /* the owner's, or LOG_MARK */
    uint64_t n;           /* bytes of payload */
    uint64_t lsn;         /* position */
    uint64_t durable_lsn; /* every record up to this one was durable when this one was written */
    uint64_t collection;  /* the owner's */
    uint64_t salt;        /* that of the segment */
};
_Static_assert(sizeof(struct log_record_header) == 48, "format");
_Static_assert(offsetof(struct log_record_header, n) == 8, "format");
_Static_assert(offsetof(struct log_record_header, lsn) == 16, "format");
_Static_assert(offsetof(struct log_record_header, durable_lsn) == 24, "format");
_Static_assert(offsetof(struct log_record_header, collection) == 32, "format");
_Static_assert(offsetof(struct log_record_header, salt) == 40, "format");
_Static_assert(sizeof(struct log_record_header) % LOG_ALIGN == 0, "payloads are aligned like records");

/* Bytes that a record takes in the file. n <= LOG_PAYLOAD_MAX. */
static inline uint64_t log_record_bytes(uint64_t n)
{
    return (sizeof(struct log_record_header) + n + LOG_ALIGN - 1) / LOG_ALIGN * LOG_ALIGN;
}

/* Fills in magic, version, data_at, zero and crc. */
void log_segment_seal(struct log_segment_header *h);

/* S1-S4. ERR_CORRUPT, or ERR_NEWER for an intact header of a later version. */
enum err log_segment_check(const struct log_segment_header *h, uint64_t number, struct errmsg *em);

/* The value of the crc field, from the CRC-32C of the payload alone. */
uint32_t log_record_crc(const struct log_record_header *h, uint32_t payload_crc);

/* R2, R4 and the limits of n: what can be said before the payload is read. `room`: bytes from the record's start to
 * the end of the segment, at least sizeof *h. */
bool log_record_is_plausible(const struct log_record_header *h, uint64_t salt, uint64_t room);

/* File names: "<number>.log" or "<number>.spare" in a buffer of LOG_NAME_MAX. */
enum { LOG_NAME_MAX = 32 };
void log_name_format(char out[LOG_NAME_MAX], uint64_t number, bool is_spare);
bool log_name_parse(struct str name, uint64_t *number, bool *is_spare); /* false: not one of ours */

#endif
