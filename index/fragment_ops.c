/* fragment_ops.c - a fragment as a segment: rows by number and by id, and the nearest of them.
 *
 * DAMAGE   what a section may still be used for: fragment_health.c. Without codes every vector is compared, without norms
 *          lengths are measured, without sparse lists the caller passes over the metadata.
 * NEAREST  through the codes where there are some (codes.h, which decides by itself when few candidates are better
 *          compared one by one), else exactly. Distances offered are exact either way.
 */
#include "core/value.h"
#include "index/fragment_internal.h"

static bool is_visible(const struct fragment *f, uint32_t row, uint64_t lsn)
{
    return f->born[row] <= lsn && !deaths_is_dead(&f->segment.deaths, row, lsn);
}

static uint32_t fragment_find(const struct segment *s, struct str id, uint64_t lsn)
{
    const struct fragment *f = fragment_of(s);
    if (segment_is_unreadable(s)) return ROW_UNKNOWN;
    uint32_t row = id_hash_find(f, id);
    return row != ROW_NONE && is_visible(f, row, lsn) ? row : ROW_NONE;
}

static enum err get_document(const struct fragment *f, uint32_t row, struct arena *a, struct str *document,
                             struct errmsg *em)
{
    struct docs_reader r = {.docs = &f->docs};
    struct str found;
    enum err e = docs_get(&r, row, &found, em);
    if (e == ERR_OK && found.p != NULL && !docs_is_lasting(&r, found)) {
        found = arena_str(a, found);
        if (found.p == NULL) e = errmsg_set(em, ERR_NOMEM, "a document");
    }
    docs_end(&r);
    if (e == ERR_OK) *document = found;
    return e;
}

/* What needs which section. Ids, ordinals and births make a fragment unreadable, whatever is wanted. */
static const struct {
    enum section_type type;
    unsigned parts;
} sections_of_rows[] = {
    {SECTION_IDS, ROW_ALL},        {SECTION_ORDINALS, ROW_ALL},
    {SECTION_BORN, ROW_ALL},       {SECTION_DOCUMENTS, ROW_DOCUMENT},
    {SECTION_URIS, ROW_URI},       {SECTION_META, ROW_META},
    {SECTION_VECTORS, ROW_VECTOR},
};

enum { N_SECTIONS_OF_ROWS = sizeof sections_of_rows / sizeof sections_of_rows[0] };

/* Which of the sections that hold the wanted parts is damaged? ERR_OK: none. */
static enum err need_parts(const struct fragment *f, unsigned parts, struct errmsg *em)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < N_SECTIONS_OF_ROWS && e == ERR_OK; i++)
        if ((parts & sections_of_rows[i].parts) != 0) e = section_need(f, sections_of_rows[i].type, em);
    return e;
}

static unsigned fragment_lost(const struct segment *s)
{
    unsigned lost = 0;
    for (size_t i = 0; i < N_SECTIONS_OF_ROWS; i++)
        if (!section_is_good(fragment_of(s), sections_of_rows[i].type)) lost |= sections_of_rows[i].parts;
    return lost;
}

static enum err fragment_row(const struct segment *s, uint32_t row, unsigned parts, struct arena *a, struct row *out,
                             struct errmsg *em)
{
    const struct fragment *f = fragment_of(s);
    struct row found = *out;
    struct bytes value;
    enum err e = need_parts(f, parts, em);
    if (e != ERR_OK) goto fail;
    CHECK(row < f->n_rows && "row of this fragment");
    if ((parts & ROW_ID) != 0) {
        if ((e = column_get(&f->ids, row, &value, em)) != ERR_OK) goto fail;
        found.id = str_of(value.p, value.n);
    }
    if ((parts & ROW_URI) != 0) {
        if ((e = column_get(&f->uris, row, &value, em)) != ERR_OK) goto fail;
        found.uri = str_of(value.p, value.n);
    }
    if ((parts & ROW_META) != 0) {
        if ((e = column_get(&f->meta, row, &value, em)) != ERR_OK) goto fail;
        if (value.n > 0 && (parts & ROW_UNCHECKED) == 0 && !meta_validate(value, false)) {
            e = errmsg_set(em, ERR_CORRUPT, "row %u: its metadata are damaged", row);
            goto fail;
        }
        found.meta = value;
    }
    if ((parts & ROW_DOCUMENT) != 0 && (e = get_document(f, row, a, &found.document, em)) != ERR_OK) goto fail;
    if ((parts & ROW_VECTOR) != 0) found.vector = f->vectors + (size_t)row * f->dim;
    *out = found;
    return ERR_OK;
fail:
    errmsg_wrap(em, "%s", f->path);
    return e;
}

static uint64_t fragment_ordinal(const struct segment *s, uint32_t row)
{
    return fragment_of(s)->ordinals[row];
}

static uint64_t fragment_born(const struct segment *s, uint32_t row)
{
    return fragment_of(s)->born[row];
}

/* --- what the indexes ask about rows -------------------------------------------------------------------------------- */

struct search {
    const struct fragment *f;
    uint64_t lsn;
};

static bool search_is_visible(const void *ctx, uint32_t row)
{
    const struct search *search = ctx;
    return is_visible(search->f, row, search->lsn);
}

static uint64_t search_ordinal(const void *ctx, uint32_t row)
{
    const struct search *search = ctx;
    return search->f->ordinals[row];
}

/* --- nearest ------------------------------------------------------------------------------------------------------ */

static enum err fragment_nearest(const struct segment *s, uint32_t n_rows, struct query_vector *q,
                                 const struct bitset *mask, uint32_t n_mask, uint64_t lsn, struct topk *top,
                                 struct arena *a, struct errmsg *em)
{
    (void)n_mask;
    const struct fragment *f = fragment_of(s);
    struct search search = {f, lsn};
    struct codes_rows rows = {
        .vectors = f->vectors,
        .norm2 = f->norms,
        .is_visible = search_is_visible,
        .ordinal = search_ordinal,
        .ctx = &search,
    };
    CHECK(n_rows == f->n_rows && "a fragment is seen whole");
    CHECK(q->dim == f->dim && "a query of the collection's dimension");
    if (segment_is_unreadable(s)) return segment_unreadable(s, em);
    enum err e = section_need(f, SECTION_VECTORS, em);
    if (e != ERR_OK) {
        errmsg_wrap(em, "%s", f->path);
        return e;
    }
    if (f->space == SPACE_COSINE && !section_is_good(f, SECTION_NORMS)) rows.norm2 = NULL; /* measured anew */
    if (f->codes.n > 0 && !q->is_exact && section_is_good(f, SECTION_CODES))
        return codes_search(&f->codes, &rows, q, mask, codes_epsilon(q->effort, top->k), top, a, em);
    exact_search(&rows, n_rows, q, mask, top);
    return ERR_OK;
}

static enum err fragment_sparse_nearest(const struct segment *s, const struct sparse_query *q,
                                        const struct bitset *mask, uint64_t lsn, struct topk *top, struct arena *a,
                                        struct errmsg *em)
{
    const struct fragment *f = fragment_of(s);
    struct search search = {f, lsn};
    struct sparse_rows rows = {search_is_visible, search_ordinal, &search};
    if (segment_is_unreadable(s)) return segment_unreadable(s, em);
    if (!section_is_good(f, SECTION_SPARSE_LISTS)) return errmsg_set(em, ERR_UNSUPPORTED, "damaged sparse lists");
    enum err e = sparse_lists_nearest(&f->sparse_lists, &rows, q, mask, top, a, em);
    if (e == ERR_CORRUPT)
        section_condemn(f, SECTION_SPARSE_LISTS, "an entry is out of range"); /* the next one does without */
    if (e != ERR_OK) errmsg_wrap(em, "%s", f->path);
    return e;
}

static enum err fragment_sparse_count(const struct segment *s, const struct sparse_query *q, uint64_t lsn,
                                      uint32_t *counts, struct errmsg *em)
{
    const struct fragment *f = fragment_of(s);
    struct search search = {f, lsn};
    bool is_whole = atomic_load_explicit(&s->deaths.n_dead, memory_order_relaxed) == 0;
    struct sparse_rows rows = {is_whole ? NULL : search_is_visible, search_ordinal, &search};
    if (segment_is_unreadable(s)) return segment_unreadable(s, em);
    if (!section_is_good(f, SECTION_SPARSE_LISTS)) return errmsg_set(em, ERR_UNSUPPORTED, "damaged sparse lists");
    enum err e = sparse_lists_count(&f->sparse_lists, &rows, q, counts, em);
    if (e == ERR_CORRUPT)
        section_condemn(f, SECTION_SPARSE_LISTS, "an entry is out of range"); /* the next one does without */
    if (e != ERR_OK) errmsg_wrap(em, "%s", f->path);
    return e;
}

#define FRAGMENT_OPS                                                                                                   \
    .free = fragment_free, .find = fragment_find, .row = fragment_row, .filter = fragment_filter,                      \
    .settle = fragment_settle, .nearest = fragment_nearest, .lost = fragment_lost, .ordinal = fragment_ordinal,        \
    .born = fragment_born

const struct segment_ops *fragment_ops(bool has_sparse_lists)
{
    static const struct segment_ops plain = {FRAGMENT_OPS};
    static const struct segment_ops ops = {
        FRAGMENT_OPS,
        .sparse_nearest = fragment_sparse_nearest,
        .sparse_count = fragment_sparse_count,
    };
    return has_sparse_lists ? &ops : &plain;
}
