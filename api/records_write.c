/* records_write.c - add, update and upsert.
 *
 * HAPPY PATH  the body becomes columns; the collection is found; values are checked; the columns become one block
 * (core/batch.h); the collection's dimension is settled; the block goes to the log (records_submit).
 * FAILURE  everything that can be refused is refused before the block is handed over: a refused request changes
 * nothing.
 * INVARIANTS  the collection's live object is used only inside the epoch entered before the collection was looked up.
 * Between the check of the dimension and its reservation another request may have fixed it, so what the reservation
 * says counts.
 */
#include "api/records.h"

#include <inttypes.h>

#include "api/collections.h"
#include "api/quota.h"
#include "core/epoch.h"
#include "core/mem.h"

/* --- add, update, upsert: the body -------------------------------------------------------------------------------- */

struct rows_in {
    enum batch_kind kind;
    struct vectors vectors;
    struct buf ids, documents, uris; /* struct str */
    struct buf metas;                /* packed, one behind the other */
    struct buf meta_ends;            /* u64 an item: where it ends in `metas` */
    bool has_vectors, has_documents, has_uris, has_metas;
    bool has_bad_meta;
    uint32_t bad_meta; /* the first one, when there is one */
};

static void rows_free(struct rows_in *in)
{
    vectors_free(&in->vectors);
    buf_free(&in->ids);
    buf_free(&in->documents);
    buf_free(&in->uris);
    buf_free(&in->metas);
    buf_free(&in->meta_ends);
}

static uint32_t n_metas(const struct rows_in *in)
{
    return (uint32_t)(in->meta_ends.n / sizeof(uint64_t));
}

static bool read_metas(struct json_reader *j, struct rows_in *in)
{
    if (json_null(j)) return true;
    if (!json_enter_array(j, "a sequence")) return false;
    in->metas.max = in->meta_ends.max = BODY_COLUMN_MAX;
    in->metas.budget = in->meta_ends.budget = j->arena->budget;
    while (json_next_item(j)) {
        bool is_bad = false;
        if (!parse_record_metadata(j, in->kind != BATCH_ADD, &in->metas, &is_bad)) return false;
        if (is_bad && !in->has_bad_meta) {
            in->has_bad_meta = true;
            in->bad_meta = n_metas(in);
        }
        buf_u64(&in->meta_ends, in->metas.n);
        enum err e = in->metas.err != ERR_OK ? in->metas.err : in->meta_ends.err;
        if (e != ERR_OK && j->err == ERR_OK) {
            j->err = e;
            j->message = e == ERR_NOMEM ? STR("out of memory") : STR("metadatas of more than 4 GiB");
        }
    }
    in->has_metas = true;
    return j->err == ERR_OK;
}

static bool read_embeddings(struct json_reader *j, struct rows_in *in)
{
    bool is_update = in->kind == BATCH_UPDATE;
    if (is_update && json_null(j)) return true;
    in->has_vectors = true;
    return vectors_read(j, &in->vectors, is_update, is_update ? "UpdateEmbeddingsPayload" : "EmbeddingsPayload");
}

static bool read_rows(struct json_reader *j, struct rows_in *in)
{
    static const char *const names[] = {"ids", "embeddings", "documents", "uris", "metadatas"};
    const char *expected = in->kind == BATCH_ADD      ? "struct AddCollectionRecordsPayload"
                           : in->kind == BATCH_UPDATE ? "struct UpdateCollectionRecordsPayload"
                                                      : "struct UpsertCollectionRecordsPayload";
    const unsigned optional = BODY_NULL_ITEMS | BODY_NULL_LIST;
    struct json_fields f;
    bool has_ids = false, ok = json_enter_fields(j, &f, names, 5, false, expected);
    for (int i; ok && (i = json_next_field(j, &f)) >= 0;) {
        switch (i) {
        case 0:
            ok = body_strings(j, BODY_NO_NULL, &in->ids, &has_ids);
            break;
        case 1:
            ok = read_embeddings(j, in);
            break;
        case 2:
            ok = body_strings(j, optional, &in->documents, &in->has_documents);
            break;
        case 3:
            ok = body_strings(j, optional, &in->uris, &in->has_uris);
            break;
        default:
            ok = read_metas(j, in);
            break;
        }
    }
    if (ok && f.is_array && j->err == ERR_OK && f.next < f.n) {
        json_fail_shape(j, "invalid length %" PRIu32 ", expected %s with 5 elements", f.next, expected);
    }
    return ok && json_need_field(j, &f, 0) && (in->kind == BATCH_UPDATE || json_need_field(j, &f, 1)) && json_finish(j);
}

/* --- add, update, upsert: quotas ---------------------------------------------------------------------------------- */

static bool allows_texts(struct api_request *r, enum quota q, const struct buf *column)
{
    const struct str *texts = body_string_array(column);
    uint32_t n = body_n_strings(column);
    if (quota_max(r, q) == 0) return true;
    for (uint32_t i = 0; i < n; i++)
        if (!quota_allows(r, q, texts[i].n)) return false;
    return true;
}

/* Those of the request alone; the collection's comes when it is known. */
static bool allows_rows(struct api_request *r, const struct rows_in *in)
{
    if (!quota_has_any(r)) return true;
    if (!quota_allows(r, QUOTA_RECORDS, body_n_strings(&in->ids)) ||
        !quota_allows(r, QUOTA_DIMENSIONS, in->vectors.dim) || !allows_texts(r, QUOTA_ID_BYTES, &in->ids) ||
        !allows_texts(r, QUOTA_DOCUMENT_BYTES, &in->documents) || !allows_texts(r, QUOTA_URI_BYTES, &in->uris))
        return false;
    uint64_t from = 0;
    for (uint32_t i = 0; i < n_metas(in); i++) {
        uint64_t to = le64_get(in->meta_ends.p + (size_t)i * sizeof to);
        if (!quota_allows_metadata(r, (struct bytes){in->metas.p + from, (size_t)(to - from)}, false)) return false;
        from = to;
    }
    return true;
}

/* --- add, update, upsert: the checks ------------------------------------------------------------------------------ */

/* Steps 5 and 7 of the contract. */
static bool check_values(struct api_request *r, const struct rows_in *in)
{
    const struct vectors *v = &in->vectors;
    if (v->is_bad_text) {
        (void)api_fail(r, ERR_INVALID, "%s", v->fault.text);
        return false;
    }
    const char *fault = v->has_empty             ? "Each embedding must have at least 1 dimension"
                        : !vectors_are_finite(v) ? "Embeddings must not contain NaN or Infinity values"
                                                 : NULL;
    if (fault == NULL && !in->has_bad_meta) return true;
    struct errmsg meta = {0};
    if (in->has_bad_meta) {
        (void)errmsg_set(&meta, ERR_INVALID, "metadatas: Invalid metadata at index %" PRIu32, in->bad_meta);
    }
    (void)api_fail(r, ERR_INVALID, "Validation error: %s%s%s%s", fault != NULL ? "embeddings: " : "",
                   fault != NULL ? fault : "", fault != NULL && in->has_bad_meta ? "\n" : "", meta.text);
    return false;
}

/* Steps 9 and 10. */
static bool check_rows(struct api_request *r, const struct rows_in *in)
{
    uint32_t n = body_n_strings(&in->ids);
    if ((in->has_vectors && in->vectors.n_items != n) || (in->has_documents && body_n_strings(&in->documents) != n) ||
        (in->has_uris && body_n_strings(&in->uris) != n) || (in->has_metas && n_metas(in) != n)) {
        (void)api_fail(r, ERR_INVALID, "Inconsistent number of IDs, embeddings, documents, URIs and metadatas");
        return false;
    }
    const struct str *ids = body_string_array(&in->ids);
    for (uint32_t i = 0; i < n; i++) {
        if (ids[i].n > 0) continue;
        (void)api_fail(r, ERR_INVALID, "Empty ID, ID must have at least one character");
        return false;
    }
    return true;
}

/* --- add, update, upsert: the block ------------------------------------------------------------------------------- */

/* `chroma:document` and `chroma:uri` in metadata are other ways to give the row's document and its uri. They leave the
 * metadata; a part that was given as such is kept. `column` is made when the request has none. */
static enum err take_reserved(struct bytes *meta, struct str key, struct arena *a, struct buf *column, uint32_t n_rows,
                              uint32_t row)
{
    struct meta_entry found, e;
    struct value v;
    if (!meta_find(*meta, key, &found) || found.type != VALUE_STR) return ERR_OK;
    if (!meta_value(&found, a, &v)) return ERR_NOMEM;
    if (column->n == 0) buf_zero(column, (size_t)n_rows * sizeof(struct str));
    if (column->err != ERR_OK) return column->err;
    struct str *cell = (struct str *)(void *)column->p + row;
    if (cell->p == NULL) *cell = v.s;
    struct buf rest = {0};
    for (struct meta_iter it = meta_iter(*meta); meta_next(&it, &e);) {
        if (!str_eq(e.key, key)) meta_put_raw(&rest, &e);
    }
    enum err err = rest.err;
    struct str kept = err == ERR_OK ? arena_str(a, buf_view(&rest)) : (struct str){0};
    buf_free(&rest);
    if (err == ERR_OK && kept.p == NULL) err = ERR_NOMEM;
    if (err == ERR_OK) *meta = (struct bytes){kept.p, kept.n};
    return err;
}

/* The packed metadata of every row as views; a row without any has .p == NULL. */
static enum err list_metas(struct rows_in *in, struct arena *a, const struct bytes **out)
{
    const struct str reserved = STR("chroma:");
    uint32_t n = n_metas(in);
    struct bytes *list = arena_array(a, n, sizeof *list);
    uint64_t from = 0;
    if (list == NULL) return ERR_NOMEM;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t to = le64_get(in->meta_ends.p + (size_t)i * sizeof to);
        struct bytes meta = {in->metas.p + from, (size_t)(to - from)};
        from = to;
        if (meta.n > 0 && memmem(meta.p, meta.n, reserved.p, reserved.n) != NULL) {
            enum err e = take_reserved(&meta, STR("chroma:document"), a, &in->documents, n, i);
            if (e == ERR_OK) e = take_reserved(&meta, STR("chroma:uri"), a, &in->uris, n, i);
            if (e != ERR_OK) return e;
        }
        if (meta.n > 0) list[i] = meta;
    }
    *out = list;
    return ERR_OK;
}

static enum err build_block(struct rows_in *in, struct arena *a, struct bytes *block, struct errmsg *em)
{
    const struct bytes *metas = NULL;
    if (in->has_metas) {
        enum err e = list_metas(in, a, &metas);
        if (e != ERR_OK) return e;
    }
    const struct vectors *v = &in->vectors;
    struct batch_input batch = {
        .kind = in->kind,
        .n_rows = body_n_strings(&in->ids),
        .dim = v->n_vectors > 0 ? v->dim : 0,
        .ids = body_string_array(&in->ids),
        .vectors = v->n_vectors > 0 ? vectors_floats(v) : NULL,
        .has_vector = v->n_vectors > 0 ? (const uint8_t *)v->present.p : NULL,
        .documents = in->documents.n > 0 ? body_string_array(&in->documents) : NULL,
        .uris = in->uris.n > 0 ? body_string_array(&in->uris) : NULL,
        .metas = metas,
    };
    return batch_build(&batch, block, em);
}

/* Takes `col` over. The caller is inside an epoch. */
static enum api_outcome write_checked(struct api_request *r, struct rows_in *in, const struct catalog_collection *col)
{
    struct records_outcome outcome = {.status = in->kind == BATCH_ADD ? 201 : 200};
    struct collection *live = store_collection(col);
    struct bytes block = {0};
    struct errmsg em = {0};
    if (!check_values(r, in) || !vectors_check_dim(r, &in->vectors, collection_dim(live)) || !check_rows(r, in)) {
        goto refused;
    }
    if (in->ids.n == 0) {
        (void)records_answer_write(r, &outcome, 0);
        goto refused;
    }
    enum err e = build_block(in, &r->arena, &block, &em);
    if (e != ERR_OK) {
        (void)records_fail(r, e, &em);
        goto refused;
    }
    if (in->vectors.n_vectors > 0) {
        uint32_t fixed = 0;
        collection_reserve_dim(live, in->vectors.dim, &fixed);
        if (!vectors_check_dim(r, &in->vectors, fixed)) {
            mem_free((void *)(uintptr_t)block.p);
            goto refused;
        }
    }
    if (in->kind != BATCH_UPDATE &&
        !quota_reserve_records(r, col, body_string_array(&in->ids), body_n_strings(&in->ids), &outcome.n_reserved)) {
        mem_free((void *)(uintptr_t)block.p);
        goto refused;
    }
    schema_learn(r, col, block);
    return records_submit(r, col, block, &outcome);
refused:
    catalog_collection_unref(col);
    return API_DONE;
}

static enum api_outcome write_rows(struct api_request *r, enum batch_kind kind)
{
    struct rows_in in = {.kind = kind};
    struct json_reader j;
    enum api_outcome outcome = API_DONE;
    json_reader_init(&j, r->body, &r->arena);
    if (!read_rows(&j, &in)) {
        outcome = records_fail_body(r, &j);
    } else if (allows_rows(r, &in)) {
        epoch_enter();
        const struct catalog_collection *col = api_find_collection(r);
        if (col != NULL) outcome = write_checked(r, &in, col);
        epoch_leave();
    }
    rows_free(&in);
    return outcome;
}

enum api_outcome handle_add(struct api_request *r)
{
    return write_rows(r, BATCH_ADD);
}

enum api_outcome handle_update(struct api_request *r)
{
    return write_rows(r, BATCH_UPDATE);
}

enum api_outcome handle_upsert(struct api_request *r)
{
    return write_rows(r, BATCH_UPSERT);
}
