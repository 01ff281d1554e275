/* records_answer.c - rows of a snapshot as the answer of get and query: one JSON array a column.
 *
 * HAPPY PATH  ids, then each included part over all rows, then the echo of `include`. What a row's part needs in memory
 * (a decompressed document) lies in a scratch arena that is emptied on the way, so an answer costs its own size and no
 * more.
 * FAILURE  a row that cannot be read ends the answer; the caller throws it away. The buffer's own failure is sticky.
 */
#include "api/records.h"
#include "api/settings.h"
#include "core/mem.h"

enum { SCRATCH_KEEP_BYTES = 1 << 20, FLOAT_TEXT_USUAL = 13 /* of a vector of length 1: a little more than it needs */ };

static const char *const include_names[] = {
    [INCLUDE_DISTANCES] = "distances", [INCLUDE_DOCUMENTS] = "documents", [INCLUDE_EMBEDDINGS] = "embeddings",
    [INCLUDE_METADATAS] = "metadatas", [INCLUDE_URIS] = "uris",
};
enum { N_INCLUDES = sizeof include_names / sizeof include_names[0] };

/* --- include ------------------------------------------------------------------------------------------------------ */

static void include_add(struct include_in *in, enum include part)
{
    buf_u8(&in->echo, (uint8_t)part);
    in->mask |= 1U << part;
}

bool include_read(struct include_in *in, struct json_reader *j)
{
    if (!json_enter_array(j, "a sequence")) return false;
    while (json_next_item(j)) {
        struct str name;
        if (!parse_variant(j, &name)) return false;
        unsigned part = 0;
        while (part < N_INCLUDES && !str_eq(name, str_from_c(include_names[part]))) part++;
        if (part == N_INCLUDES) {
            int shown = name.n < 200 ? (int)name.n : 200;
            json_fail_shape(
                j,
                "unknown variant `%.*s`, expected one of `distances`, `documents`, `embeddings`, `metadatas`, "
                "`uris`",
                shown, name.p);
            return false;
        }
        include_add(in, part);
    }
    if (in->echo.err != ERR_OK && j->err == ERR_OK) {
        j->err = in->echo.err;
        j->message = STR("out of memory");
    }
    return j->err == ERR_OK;
}

void include_default(struct include_in *in, bool with_distances)
{
    include_add(in, INCLUDE_DOCUMENTS);
    include_add(in, INCLUDE_METADATAS);
    if (with_distances) include_add(in, INCLUDE_DISTANCES);
}

/* --- values of one row -------------------------------------------------------------------------------------------- */

static void put_text(struct buf *b, struct str s)
{
    if (s.p == NULL)
        buf_lit(b, "null");
    else
        json_put_string(b, s);
}

/* Keys that begin with `chroma:` are the server's own and are not shown. A row that has only such keys shows an empty
 * object, one that has none at all null; upstream keeps the uri among the metadata: a row that has one has some. */
static enum err put_meta(struct buf *b, const struct answer_rows *rows, struct row_ref ref, struct arena *scratch,
                         struct errmsg *em)
{
    struct row row = {0};
    enum err e = exec_row(rows->snapshot, ref, ROW_META | ROW_UNCHECKED, scratch, &row, em);
    if (e != ERR_OK) return e;
    if (row.meta.n == 0) {
        e = exec_row(rows->snapshot, ref, ROW_URI, scratch, &row, em);
        if (e == ERR_OK) buf_str(b, row.uri.p != NULL ? STR("{}") : STR("null"));
        return e;
    }
    if (json_put_meta(b, row.meta, STR("chroma:"), scratch)) return ERR_OK;
    e = exec_row(rows->snapshot, ref, ROW_META, scratch, &row, em); /* says what is wrong, and where */
    return e != ERR_OK ? e : errmsg_set(em, ERR_CORRUPT, "the metadata of a row are damaged");
}

static void put_part(struct buf *b, const struct row *row, unsigned part, uint32_t dim)
{
    switch (part) {
    case ROW_ID:
        json_put_string(b, row->id);
        break;
    case ROW_DOCUMENT:
        put_text(b, row->document);
        break;
    case ROW_URI:
        put_text(b, row->uri);
        break;
    default:
        CHECK(part == ROW_VECTOR && "one part at a time");
        if (row->vector == NULL)
            buf_lit(b, "null");
        else
            json_put_floats(b, row->vector, dim);
        break;
    }
}

/* --- columns ------------------------------------------------------------------------------------------------------ */

static enum err put_list(struct buf *b, const struct answer_rows *rows, uint32_t list, unsigned part,
                         struct arena *scratch, struct errmsg *em)
{
    buf_char(b, '[');
    for (uint32_t i = 0; i < rows->n[list] && b->err == ERR_OK; i++) {
        struct row_ref ref = rows->lists[list][i];
        struct row row = {0};
        if (i > 0) buf_char(b, ',');
        enum err e = part == ROW_META ? put_meta(b, rows, ref, scratch, em)
                                      : exec_row(rows->snapshot, ref, part, scratch, &row, em);
        if (e != ERR_OK) return e;
        if (part != ROW_META) put_part(b, &row, part, rows->snapshot->dim);
        if (scratch->used_bytes > SCRATCH_KEEP_BYTES) arena_free(scratch);
    }
    buf_char(b, ']');
    return ERR_OK;
}

static enum err put_column(struct buf *b, const struct answer_rows *rows, unsigned part, struct errmsg *em)
{
    struct arena scratch = {0};
    enum err e = ERR_OK;
    size_t n_rows = 0, n_floats, n_bytes;
    for (uint32_t i = 0; i < rows->n_lists; i++) n_rows += rows->n[i];
    if (part == ROW_VECTOR && ck_mul(n_rows, rows->snapshot->dim, &n_floats) &&
        ck_mul(n_floats, FLOAT_TEXT_USUAL, &n_bytes))
        buf_expect(b, n_bytes);
    if (rows->is_nested) buf_char(b, '[');
    for (uint32_t i = 0; i < rows->n_lists && e == ERR_OK; i++) {
        if (i > 0) buf_char(b, ',');
        e = put_list(b, rows, i, part, &scratch, em);
    }
    if (rows->is_nested) buf_char(b, ']');
    arena_free(&scratch);
    return e;
}

static void put_distances(struct buf *b, const struct answer_rows *rows)
{
    buf_char(b, '[');
    for (uint32_t i = 0; i < rows->n_lists; i++) {
        if (i > 0) buf_char(b, ',');
        buf_char(b, '[');
        for (uint32_t k = 0; k < rows->n[i]; k++) {
            if (k > 0) buf_char(b, ',');
            json_put_float(b, rows->distances[i][k]);
        }
        buf_char(b, ']');
    }
    buf_char(b, ']');
}

enum err answer_put(struct buf *b, const struct answer_rows *rows, const struct include_in *include, struct errmsg *em)
{
    static const struct {
        const char *name;
        enum include include;
        unsigned part;
    } columns[] = {
        {",\"embeddings\":", INCLUDE_EMBEDDINGS, ROW_VECTOR},
        {",\"documents\":", INCLUDE_DOCUMENTS, ROW_DOCUMENT},
        {",\"uris\":", INCLUDE_URIS, ROW_URI},
        {",\"metadatas\":", INCLUDE_METADATAS, ROW_META},
    };
    buf_lit(b, "{\"ids\":");
    enum err e = put_column(b, rows, ROW_ID, em);
    for (size_t i = 0; i < sizeof columns / sizeof columns[0] && e == ERR_OK; i++) {
        buf_str(b, str_from_c(columns[i].name));
        if ((include->mask >> columns[i].include & 1) == 0)
            buf_lit(b, "null");
        else
            e = put_column(b, rows, columns[i].part, em);
    }
    if (rows->is_nested && e == ERR_OK) {
        buf_lit(b, ",\"distances\":");
        if ((include->mask >> INCLUDE_DISTANCES & 1) == 0)
            buf_lit(b, "null");
        else
            put_distances(b, rows);
    }
    buf_lit(b, ",\"include\":[");
    for (size_t i = 0; i < include->echo.n; i++) {
        if (i > 0) buf_char(b, ',');
        json_put_string(b, str_from_c(include_names[(uint8_t)include->echo.p[i]]));
    }
    buf_lit(b, "]}");
    return e;
}
