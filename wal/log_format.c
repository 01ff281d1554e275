/* log_format.c - see log_format.h, which holds the rules. Nothing here touches a file. */
#include "wal/log_format.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/crc32c.h"

static const char LOG_MAGIC[8] = {'C', 'h', 'r', 'm', 'L', 'o', 'g', '\n'};

enum { NAME_DIGITS = 20 };

static uint32_t segment_crc(const struct log_segment_header *h)
{
    return crc32c(0, h, offsetof(struct log_segment_header, crc));
}

void log_segment_seal(struct log_segment_header *h)
{
    memcpy(h->magic, LOG_MAGIC, sizeof h->magic);
    h->version = LOG_VERSION;
    h->data_at = LOG_BLOCK;
    h->zero = 0;
    h->crc = segment_crc(h);
}

enum err log_segment_check(const struct log_segment_header *h, uint64_t number, struct errmsg *em)
{
    if (memcmp(h->magic, LOG_MAGIC, sizeof h->magic) != 0 || h->crc != segment_crc(h))
        return errmsg_set(em, ERR_CORRUPT, "byte 0: the segment header is damaged");
    /* Only after the checksum: a flipped bit is damage, not a later version. */
    if (h->version > LOG_VERSION)
        return errmsg_set(em, ERR_NEWER, "log format %" PRIu32 ", this program knows up to %d", h->version,
                          LOG_VERSION);
    if (h->number != number)
        return errmsg_set(em, ERR_CORRUPT, "byte 16: the file was segment %" PRIu64 " and has been renamed", h->number);
    if (h->version == 0 || h->data_at != LOG_BLOCK || h->size < LOG_BLOCK || h->salt == 0 ||
        h->prev_lsn >= h->first_lsn)
        return errmsg_set(em, ERR_CORRUPT, "byte 0: the segment header contradicts itself");
    return ERR_OK;
}

uint32_t log_record_crc(const struct log_record_header *h, uint32_t payload_crc)
{
    return crc32c(payload_crc, (const char *)h + sizeof h->crc, sizeof *h - sizeof h->crc);
}

bool log_record_is_plausible(const struct log_record_header *h, uint64_t salt, uint64_t room)
{
    if (h->salt != salt || h->n > LOG_PAYLOAD_MAX || h->n > room - sizeof *h) return false;
    return h->type == LOG_MARK ? h->n == 0 && h->durable_lsn == h->lsn : h->durable_lsn < h->lsn;
}

void log_name_format(char out[LOG_NAME_MAX], uint64_t number, bool is_spare)
{
    (void)snprintf(out, LOG_NAME_MAX, "%0*" PRIu64 "%s", NAME_DIGITS, number, is_spare ? ".spare" : ".log");
}

bool log_name_parse(struct str name, uint64_t *number, bool *is_spare)
{
    if (name.n < NAME_DIGITS) return false;
    struct str suffix = str_of(name.p + NAME_DIGITS, name.n - NAME_DIGITS);
    if (!str_eq(suffix, STR(".log")) && !str_eq(suffix, STR(".spare"))) return false;
    uint64_t v = 0;
    for (size_t i = 0; i < NAME_DIGITS; i++) {
        if (name.p[i] < '0' || name.p[i] > '9') return false;
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(name.p[i] - '0'), &v))
            return false;
    }
    *number = v;
    *is_spare = suffix.n == 6;
    return true;
}
