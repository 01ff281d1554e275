/* batch.h - one write request as one flat block: the payload of a log record, and what the tail's rows point into.
 *
 * LAYOUT (docs/formats.md#batch), all little-endian, offsets from the start of the block:
 *   0   u32 magic "CBT1"        4   u8 kind (enum batch_kind)   5  u8[3] zero
 *   8   u32 n_rows              12  u32 dim (0 when no row has a vector)
 *   16  u32 n_vectors           20  u32 zero
 *   24  u64 as_of               (DELETE_MATCHED: the log position at which the rows were selected)
 *   32  u64 total bytes of the block
 *   40  u8[24] zero
 *   64  f32 vectors[n_vectors * dim]
 *       struct batch_row rows[n_rows], 8-byte aligned
 *       heap: the bytes that rows refer to
 * The block starts 8-byte aligned in memory; in it vectors are 4-byte aligned.
 *
 * A block is written by batch_build() and read through the accessors. Blocks from disk pass batch_validate() first;
 * after that every accessor is in bounds.
 */
#ifndef CORE_BATCH_H
#define CORE_BATCH_H

#include "core/buf.h"

enum batch_kind {                   /* numbers are part of the file format */
                  BATCH_ADD = 1,    /* rows whose id exists are skipped; an id twice: the first counts */
                  BATCH_UPDATE = 2, /* rows whose id is absent are skipped */
                  BATCH_UPSERT = 3,
                  BATCH_DELETE = 4,         /* ids only */
                  BATCH_DELETE_MATCHED = 5, /* ids selected by a filter at as_of: a row written since then stays */
};

enum { BATCH_NONE = UINT32_MAX }; /* offset of an absent part, index of an absent vector */

struct batch_row {
    uint32_t id_at, id_n;
    uint32_t document_at, document_n; /* document_at == BATCH_NONE: absent */
    uint32_t uri_at, uri_n;           /* likewise */
    uint32_t meta_at, meta_n;         /* packed metadata (value.h); likewise */
    uint32_t vector;                  /* index of its vector, or BATCH_NONE */
    uint32_t zero;
};
_Static_assert(sizeof(struct batch_row) == 40, "format");

/* What the API parsed, in columns. Optional columns may be NULL; in them .p == NULL means absent. */
struct batch_input {
    enum batch_kind kind;
    uint32_t n_rows, dim;
    uint64_t as_of;
    const struct str *ids;     /* n_rows */
    const float *vectors;      /* n_vectors x dim, row-major, in row order */
    const uint8_t *has_vector; /* n_rows flags, or NULL: every row has one if vectors != NULL */
    const struct str *documents, *uris;
    const struct bytes *metas; /* packed; may contain NULLs for UPDATE and UPSERT */
};

/* A block in memory of its own (mem_aligned, free with mem_free). ERR_NOMEM; ERR_TOO_LARGE above 4 GiB. */
enum err batch_build(const struct batch_input *in, struct bytes *block, struct errmsg *em);

/* Checks every offset, count and packed metadata of a block that comes from disk. */
enum err batch_validate(struct bytes block, struct errmsg *em);

static inline enum batch_kind batch_kind(struct bytes b)
{
    return (enum batch_kind)((const uint8_t *)b.p)[4];
}

static inline uint32_t batch_n_rows(struct bytes b)
{
    return le32_get((const char *)b.p + 8);
}

static inline uint32_t batch_dim(struct bytes b)
{
    return le32_get((const char *)b.p + 12);
}

static inline uint64_t batch_as_of(struct bytes b)
{
    return le64_get((const char *)b.p + 24);
}

const struct batch_row *batch_rows(struct bytes b);
const float *batch_vector(struct bytes b, const struct batch_row *r); /* NULL when absent */
struct str batch_id(struct bytes b, const struct batch_row *r);
struct str batch_document(struct bytes b, const struct batch_row *r); /* .p == NULL when absent */
struct str batch_uri(struct bytes b, const struct batch_row *r);
struct bytes batch_meta(struct bytes b, const struct batch_row *r);

#endif
