/* batch.c - see batch.h: writing, checking and reading the flat block of one write request. */
#include "core/batch.h"

#include "core/mem.h"
#include "core/value.h"

enum {
    BATCH_HEADER_BYTES = 64,
    BATCH_MAGIC = 0x31544243, /* "CBT1" */
    AT_KIND = 4,
    AT_ROWS = 8,
    AT_DIM = 12,
    AT_VECTORS = 16,
    AT_AS_OF = 24,
    AT_TOTAL = 32,
};

static uint32_t n_vectors(struct bytes b)
{
    return le32_get((const char *)b.p + AT_VECTORS);
}

/* Where the rows begin: after the vectors, 8-byte aligned. */
static size_t rows_at(size_t vectors, size_t dim)
{
    return (BATCH_HEADER_BYTES + vectors * dim * sizeof(float) + 7) / 8 * 8;
}

const struct batch_row *batch_rows(struct bytes b)
{
    return (const void *)((const char *)b.p + rows_at(n_vectors(b), batch_dim(b)));
}

const float *batch_vector(struct bytes b, const struct batch_row *r)
{
    if (r->vector == BATCH_NONE) return NULL;
    return (const void *)((const char *)b.p + BATCH_HEADER_BYTES + (size_t)r->vector * batch_dim(b) * sizeof(float));
}

static struct str part(struct bytes b, uint32_t at, uint32_t n)
{
    if (at == BATCH_NONE) return (struct str){NULL, 0};
    return (struct str){(const char *)b.p + at, n};
}

struct str batch_id(struct bytes b, const struct batch_row *r)
{
    return part(b, r->id_at, r->id_n);
}

struct str batch_document(struct bytes b, const struct batch_row *r)
{
    return part(b, r->document_at, r->document_n);
}

struct str batch_uri(struct bytes b, const struct batch_row *r)
{
    return part(b, r->uri_at, r->uri_n);
}

struct bytes batch_meta(struct bytes b, const struct batch_row *r)
{
    struct str s = part(b, r->meta_at, r->meta_n);
    return (struct bytes){s.p, s.n};
}

/* --- writing --------------------------------------------------------------------------------------------------- */

static bool add_length(size_t *total, const void *p, size_t n)
{
    return p == NULL || ck_add(*total, n, total);
}

/* Copies one part to the heap at *at; an absent part takes no room. */
static void put_part(char *block, size_t *at, const void *p, size_t n, uint32_t *part_at, uint32_t *part_n)
{
    *part_at = BATCH_NONE;
    *part_n = 0;
    if (p == NULL) return;
    if (n > 0) memcpy(block + *at, p, n);
    *part_at = (uint32_t)*at;
    *part_n = (uint32_t)n;
    *at += n;
}

static bool row_has_vector(const struct batch_input *in, uint32_t i)
{
    return in->vectors != NULL && (in->has_vector == NULL || in->has_vector[i] != 0);
}

enum err batch_build(const struct batch_input *in, struct bytes *block, struct errmsg *em)
{
    size_t vectors = 0, total, floats;
    for (uint32_t i = 0; i < in->n_rows; i++) vectors += row_has_vector(in, i);
    bool fits = ck_mul(vectors, (size_t)in->dim * sizeof(float), &floats) && floats < UINT32_MAX;
    total = fits ? rows_at(vectors, in->dim) + in->n_rows * sizeof(struct batch_row) : 0;
    size_t heap_at = total;
    for (uint32_t i = 0; fits && i < in->n_rows; i++)
        fits = add_length(&total, in->ids[i].p, in->ids[i].n) &&
               (in->documents == NULL || add_length(&total, in->documents[i].p, in->documents[i].n)) &&
               (in->uris == NULL || add_length(&total, in->uris[i].p, in->uris[i].n)) &&
               (in->metas == NULL || add_length(&total, in->metas[i].p, in->metas[i].n));
    if (!fits || total >= UINT32_MAX) return errmsg_set(em, ERR_TOO_LARGE, "a request of more than 4 GiB");
    char *p = mem_aligned(64, total);
    if (p == NULL) return errmsg_set(em, ERR_NOMEM, "a block of %zu bytes", total);

    memset(p, 0, BATCH_HEADER_BYTES);
    le32_put(p, BATCH_MAGIC);
    p[AT_KIND] = (char)in->kind;
    le32_put(p + AT_ROWS, in->n_rows);
    le32_put(p + AT_DIM, vectors > 0 ? in->dim : 0);
    le32_put(p + AT_VECTORS, (uint32_t)vectors);
    le64_put(p + AT_AS_OF, in->as_of);
    le64_put(p + AT_TOTAL, total);
    if (floats > 0) memcpy(p + BATCH_HEADER_BYTES, in->vectors, floats);
    size_t rows_start = rows_at(vectors, vectors > 0 ? in->dim : 0), pad = BATCH_HEADER_BYTES + floats;
    memset(p + pad, 0, rows_start - pad);
    struct batch_row *rows = (void *)(p + rows_start);
    uint32_t vector = 0;
    for (uint32_t i = 0; i < in->n_rows; i++) {
        struct batch_row *r = &rows[i];
        const struct str none = {NULL, 0};
        struct str document = in->documents != NULL ? in->documents[i] : none;
        struct str uri = in->uris != NULL ? in->uris[i] : none;
        put_part(p, &heap_at, in->ids[i].p, in->ids[i].n, &r->id_at, &r->id_n);
        put_part(p, &heap_at, document.p, document.n, &r->document_at, &r->document_n);
        put_part(p, &heap_at, uri.p, uri.n, &r->uri_at, &r->uri_n);
        put_part(p, &heap_at, in->metas != NULL ? in->metas[i].p : NULL, in->metas != NULL ? in->metas[i].n : 0,
                 &r->meta_at, &r->meta_n);
        r->vector = row_has_vector(in, i) ? vector++ : BATCH_NONE;
        r->zero = 0;
    }
    CHECK(heap_at == total && "lengths counted and lengths written differ");
    *block = (struct bytes){p, total};
    return ERR_OK;
}

/* --- checking -------------------------------------------------------------------------------------------------- */

static bool part_in_heap(uint32_t at, uint32_t n, size_t heap, size_t total)
{
    return at == BATCH_NONE ? n == 0 : at >= heap && at <= total && n <= total - at;
}

enum err batch_validate(struct bytes b, struct errmsg *em)
{
    const char *p = b.p;
    if (b.n < BATCH_HEADER_BYTES || le32_get(p) != BATCH_MAGIC) return errmsg_set(em, ERR_CORRUPT, "not a write block");
    uint8_t kind = (uint8_t)p[AT_KIND];
    size_t rows = batch_n_rows(b), dim = batch_dim(b), vectors = n_vectors(b);
    if (kind < BATCH_ADD || kind > BATCH_DELETE_MATCHED || le64_get(p + AT_TOTAL) != b.n || vectors > rows)
        return errmsg_set(em, ERR_CORRUPT, "write block: bad header");
    size_t floats, heap;
    if ((vectors > 0) != (dim > 0) || !ck_mul(vectors * dim, sizeof(float), &floats) || floats > b.n ||
        !ck_add(rows_at(vectors, dim), rows * sizeof(struct batch_row), &heap) || heap > b.n)
        return errmsg_set(em, ERR_CORRUPT, "write block: %zu rows do not fit in %zu bytes", rows, b.n);
    const struct batch_row *r = batch_rows(b);
    bool allow_null = kind == BATCH_UPDATE || kind == BATCH_UPSERT;
    for (size_t i = 0; i < rows; i++, r++) {
        bool ok = r->id_at != BATCH_NONE && part_in_heap(r->id_at, r->id_n, heap, b.n) &&
                  part_in_heap(r->document_at, r->document_n, heap, b.n) &&
                  part_in_heap(r->uri_at, r->uri_n, heap, b.n) && part_in_heap(r->meta_at, r->meta_n, heap, b.n) &&
                  (r->vector == BATCH_NONE || r->vector < vectors);
        if (!ok || !meta_validate(batch_meta(b, r), allow_null))
            return errmsg_set(em, ERR_CORRUPT, "write block: row %zu is malformed", i);
    }
    return ERR_OK;
}
