/* search_answer.c - pages of a search as its answer: columns of one list a payload.
 *
 * HAPPY PATH  ids, documents, embeddings, metadatas, scores, then the echo of what was selected. A column that a payload
 *             did not select is null for it. What one row needs lies in a scratch arena that is emptied on the way.
 * FAILURE     a row that cannot be read ends the answer; the caller throws it away. The buffer's own failure is sticky.
 */
#include "api/search.h"

enum { SCRATCH_KEEP_BYTES = 1 << 20 };

enum column { COLUMN_IDS, COLUMN_DOCUMENTS, COLUMN_EMBEDDINGS, COLUMN_METADATAS, COLUMN_SCORES };

struct writer {
    struct buf *b;
    struct buf meta; /* the selected entries of one row, packed */
    struct arena scratch;
    const struct snapshot *s;
};

/* The entries that are wanted: all, or those named; never the server's own. No entry left: null. */
static void put_meta(struct writer *w, struct bytes meta, const struct search_select *select)
{
    struct meta_entry e;
    uint32_t at = 0; /* both are in ascending order */
    w->meta.n = 0;
    for (struct meta_iter it = meta_iter(meta); meta_next(&it, &e);) {
        if (str_starts(e.key, STR("chroma:"))) continue;
        if ((select->parts & SEARCH_METADATA) == 0) {
            while (at < select->n_names && str_cmp(select->names[at], e.key) < 0) at++;
            if (at == select->n_names) break;
            if (!str_eq(select->names[at], e.key)) continue;
        }
        meta_put_raw(&w->meta, &e);
    }
    if (w->meta.err != ERR_OK) {
        if (w->b->err == ERR_OK) w->b->err = w->meta.err;
        return;
    }
    bool is_packed = json_put_meta(w->b, (struct bytes){w->meta.p, w->meta.n}, STR(""), &w->scratch);
    CHECK(is_packed && "entries come out as they went in");
}

static enum err put_value(struct writer *w, enum column column, const struct rank_row *at,
                          const struct search_select *select, struct errmsg *em)
{
    static const unsigned parts[] = {
        [COLUMN_IDS] = ROW_ID,
        [COLUMN_DOCUMENTS] = ROW_DOCUMENT,
        [COLUMN_EMBEDDINGS] = ROW_VECTOR,
        [COLUMN_METADATAS] = ROW_META,
        [COLUMN_SCORES] = 0,
    };
    struct row row = {0};
    if (column != COLUMN_SCORES) {
        enum err e = exec_row(w->s, at->ref, parts[column], &w->scratch, &row, em);
        if (e != ERR_OK) return e;
    }
    switch (column) {
    case COLUMN_IDS:
        json_put_string(w->b, row.id);
        break;
    case COLUMN_DOCUMENTS:
        if (row.document.p == NULL)
            buf_lit(w->b, "null");
        else
            json_put_string(w->b, row.document);
        break;
    case COLUMN_EMBEDDINGS:
        if (row.vector == NULL)
            buf_lit(w->b, "null");
        else
            json_put_floats(w->b, row.vector, w->s->dim);
        break;
    case COLUMN_METADATAS:
        put_meta(w, row.meta, select);
        break;
    case COLUMN_SCORES:
        json_put_float(w->b, at->score);
        break;
    }
    if (w->scratch.used_bytes > SCRATCH_KEEP_BYTES) arena_free(&w->scratch);
    return ERR_OK;
}

static bool is_selected(const struct search_select *select, enum column column)
{
    switch (column) {
    case COLUMN_IDS:
        return true;
    case COLUMN_DOCUMENTS:
        return (select->parts & SEARCH_DOCUMENT) != 0;
    case COLUMN_EMBEDDINGS:
        return (select->parts & SEARCH_EMBEDDING) != 0;
    case COLUMN_METADATAS:
        return (select->parts & SEARCH_METADATA) != 0 || select->n_names > 0;
    case COLUMN_SCORES:
        return (select->parts & SEARCH_SCORE) != 0;
    }
    return false;
}

static enum err put_column(struct writer *w, enum column column, const struct search_request *in,
                           const struct search_page *pages, struct errmsg *em)
{
    buf_char(w->b, '[');
    for (uint32_t i = 0; i < in->n; i++) {
        const struct search_select *select = &in->payloads[i].select;
        if (i > 0) buf_char(w->b, ',');
        if (!is_selected(select, column)) {
            buf_lit(w->b, "null");
            continue;
        }
        buf_char(w->b, '[');
        for (uint32_t k = 0; k < pages[i].n && w->b->err == ERR_OK; k++) {
            if (k > 0) buf_char(w->b, ',');
            enum err e = put_value(w, column, &pages[i].rows[k], select, em);
            if (e != ERR_OK) return e;
        }
        buf_char(w->b, ']');
    }
    buf_char(w->b, ']');
    return ERR_OK;
}

static void put_echo(struct buf *b, const struct search_select *select)
{
    static const struct {
        unsigned part;
        const char *name;
    } parts[] = {{SEARCH_DOCUMENT, "#document"},
                 {SEARCH_EMBEDDING, "#embedding"},
                 {SEARCH_METADATA, "#metadata"},
                 {SEARCH_SCORE, "#score"}};
    bool is_first = true;
    buf_char(b, '[');
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if ((select->parts & parts[i].part) == 0) continue;
        if (!is_first) buf_char(b, ',');
        is_first = false;
        json_put_string(b, str_from_c(parts[i].name));
    }
    for (uint32_t i = 0; i < select->n_names; i++) {
        if (!is_first) buf_char(b, ',');
        is_first = false;
        json_put_string(b, select->names[i]);
    }
    buf_char(b, ']');
}

enum err search_put(struct buf *b, const struct snapshot *s, const struct search_request *in,
                    const struct search_page *pages, struct errmsg *em)
{
    static const char *const names[] = {
        [COLUMN_IDS] = "{\"ids\":",
        [COLUMN_DOCUMENTS] = ",\"documents\":",
        [COLUMN_EMBEDDINGS] = ",\"embeddings\":",
        [COLUMN_METADATAS] = ",\"metadatas\":",
        [COLUMN_SCORES] = ",\"scores\":",
    };
    struct writer w = {.b = b, .s = s};
    enum err e = ERR_OK;
    for (unsigned i = 0; i < sizeof names / sizeof names[0] && e == ERR_OK; i++) {
        buf_str(b, str_from_c(names[i]));
        e = put_column(&w, (enum column)i, in, pages, em);
    }
    buf_lit(b, ",\"select\":[");
    for (uint32_t i = 0; i < in->n; i++) {
        if (i > 0) buf_char(b, ',');
        put_echo(b, &in->payloads[i].select);
    }
    buf_lit(b, "]}");
    buf_free(&w.meta);
    arena_free(&w.scratch);
    return e;
}
