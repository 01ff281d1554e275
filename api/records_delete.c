/* records_delete.c - delete, by ids or by what matches a filter.
 *
 * HAPPY PATH  ids alone go to the log as they are. With a filter the rows are selected on a snapshot first, and
 * their ids go to the log with the snapshot's position: a row written since then is another one than was selected,
 * and stays.
 * FAILURE  as for every write: what can be refused is refused first. Nothing selected: answered without a write.
 */
#include "api/records.h"

#include "api/quota.h"
#include "core/epoch.h"

struct delete_in {
    struct selection_in selection;
    uint32_t limit;
    bool has_limit;
};

static bool read_delete(struct json_reader *j, struct delete_in *in)
{
    static const char *const names[] = {SELECTION_MEMBERS, "limit"};
    struct json_fields f;
    if (!records_enter_object(j, &f, names, 4, "struct DeleteCollectionRecordsPayload")) return false;
    bool ok = true;
    for (int i; ok && (i = json_next_field(j, &f)) >= 0;)
        ok = i < SELECTION_N_MEMBERS ? selection_read_member(&in->selection, i, j)
                                     : body_u32_or_null(j, &in->limit, &in->has_limit);
    return ok && json_finish(j);
}

/* Either ids or a filter, and a limit only with a filter. */
static bool check_delete(struct api_request *r, const struct delete_in *in)
{
    if (in->selection.filter != NULL) return true;
    const char *fault = in->selection.has_ids && in->selection.ids.n == 0
                            ? "ids, where: Either ids or where must be specified"
                        : in->has_limit ? "limit, where: limit can only be specified when a where clause is provided"
                                        : NULL;
    if (fault != NULL) (void)api_fail(r, ERR_INVALID, "Validation error: %s", fault);
    return fault == NULL;
}

/* Builds the block that deletes what matches now; no block when nothing does. */
static enum err block_of_matches(struct api_request *r, const struct catalog_collection *col,
                                 const struct delete_in *in, struct bytes *block, struct errmsg *em)
{
    struct arena *a = &r->arena;
    struct snapshot s;
    struct row_ref *rows = NULL;
    struct str *ids = NULL;
    uint32_t n = 0;
    enum err e = store_snapshot(r->api->store, col, a, &s, em);
    if (e != ERR_OK) return e;
    struct selection sel = selection_of(&in->selection);
    e = exec_get(&s, &sel, in->has_limit ? in->limit : UINT32_MAX, 0, a, &rows, &n, em);
    if (e == ERR_OK && (ids = arena_array(a, n, sizeof *ids)) == NULL) e = ERR_NOMEM;
    for (uint32_t i = 0; i < n && e == ERR_OK; i++) {
        struct row row = {0};
        e = exec_row(&s, rows[i], ROW_ID, a, &row, em);
        ids[i] = row.id;
    }
    if (e == ERR_OK && n > 0) {
        struct batch_input batch = {.kind = BATCH_DELETE_MATCHED, .n_rows = n, .as_of = s.lsn, .ids = ids};
        e = batch_build(&batch, block, em); /* copies the ids, which end with the snapshot */
    }
    snapshot_end(&s);
    return e;
}

/* Takes `col` over, and frees the selection if it submits. The caller is inside an epoch. */
static enum api_outcome delete_checked(struct api_request *r, struct delete_in *in,
                                       const struct catalog_collection *col)
{
    struct records_outcome outcome = {.status = 200, .is_delete = true};
    struct bytes block = {0};
    struct errmsg em = {0};
    enum err e = ERR_OK;
    if (!selection_check(r, &in->selection) || !check_delete(r, in) ||
        !selection_check_indexes(r, &in->selection, col)) {
        goto answered;
    }
    if (in->selection.filter != NULL) {
        outcome.counts_changes = true;
        e = block_of_matches(r, col, in, &block, &em);
    } else if (in->selection.has_ids) {
        outcome.n_given = body_n_strings(&in->selection.ids);
        struct batch_input batch = {
            .kind = BATCH_DELETE, .n_rows = outcome.n_given, .ids = body_string_array(&in->selection.ids)};
        e = batch_build(&batch, &block, &em);
    }
    if (e == ERR_OK && block.p != NULL) {
        selection_free(&in->selection); /* its filter lies in the request's arena, which may go with the next line */
        return records_submit(r, col, block, &outcome);
    }
    if (e != ERR_OK)
        (void)records_fail(r, e, &em);
    else
        (void)records_answer_write(r, &outcome, 0);
answered:
    catalog_collection_unref(col);
    return API_DONE;
}

enum api_outcome handle_delete(struct api_request *r)
{
    struct delete_in in = {0};
    struct json_reader j;
    enum api_outcome outcome = API_DONE;
    json_reader_init(&j, r->body, &r->arena);
    if (!read_delete(&j, &in)) {
        outcome = records_fail_body(r, &j);
    } else if (quota_allows_selection(r, &in.selection, QUOTA_RECORDS)) {
        epoch_enter();
        const struct catalog_collection *col = api_find_collection(r);
        if (col != NULL) outcome = delete_checked(r, &in, col);
        epoch_leave();
    }
    selection_free(&in.selection);
    return outcome;
}
