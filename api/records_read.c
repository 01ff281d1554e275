/* records_read.c - get and query.
 *
 * HAPPY PATH  body into columns; collection; checks; a snapshot; the executor; the answer column by column; the
 * snapshot ends. Nothing blocks, and nothing of the snapshot outlives it.
 * FAILURE  refusals in the contract's order. An answer beyond RECORDS_ANSWER_MAX is refused in words instead of cut.
 * INVARIANT  the collection's live object is used only inside the epoch entered before the collection was looked up.
 */
#include "api/records.h"

#include "api/explain.h"
#include "api/quota.h"
#include "api/settings.h"
#include "core/epoch.h"

enum { DEFAULT_RESULTS = 10 };

struct read_in {
    struct selection_in selection;
    struct include_in include;
    struct vectors vectors; /* query */
    uint32_t limit, offset, n_results;
    bool has_limit, has_offset, has_n_results, has_include;
};

static void read_free(struct read_in *in)
{
    selection_free(&in->selection);
    vectors_free(&in->vectors);
    buf_free(&in->include.echo);
}

/* Fills the answer from the rows, or fails. */
static enum api_outcome answer_rows(struct api_request *r, const struct answer_rows *rows,
                                    const struct include_in *include)
{
    struct errmsg em = {0};
    r->answer.max = RECORDS_ANSWER_MAX;
    for (uint32_t i = 0; i < rows->n_lists; i++) r->n_records += rows->n[i];
    return records_finish_read(r, answer_put(&r->answer, rows, include, &em), &em);
}

/* --- get ---------------------------------------------------------------------------------------------------------- */

static bool read_get(struct json_reader *j, struct read_in *in)
{
    static const char *const names[] = {SELECTION_MEMBERS, "limit", "offset", "include"};
    struct json_fields f;
    if (!records_enter_object(j, &f, names, 6, "struct GetRequestPayload")) return false;
    bool ok = true;
    for (int i; ok && (i = json_next_field(j, &f)) >= 0;) {
        if (i < SELECTION_N_MEMBERS) {
            ok = selection_read_member(&in->selection, i, j);
            continue;
        }
        switch (i) {
        case SELECTION_N_MEMBERS:
            ok = body_u32_or_null(j, &in->limit, &in->has_limit);
            break;
        case SELECTION_N_MEMBERS + 1:
            ok = body_u32_or_null(j, &in->offset, &in->has_offset);
            break;
        default:
            ok = include_read(&in->include, j);
            in->has_include = true;
            break;
        }
    }
    if (!in->has_include) include_default(&in->include, false);
    return ok && json_finish(j);
}

/* The caller is inside an epoch. */
static enum api_outcome get_checked(struct api_request *r, struct read_in *in, const struct catalog_collection *col)
{
    struct snapshot s;
    struct errmsg em = {0};
    struct row_ref *rows = NULL;
    uint32_t n = 0;
    if (!selection_check(r, &in->selection) || !selection_check_indexes(r, &in->selection, col)) return API_DONE;
    enum err e = store_snapshot(r->api->store, col, &r->arena, &s, &em);
    if (e != ERR_OK) return records_fail(r, e, &em);
    struct selection sel = selection_of(&in->selection);
    s.stats = &r->did;
    s.explain = explain_of(r);
    explain_end_stage(r, EXPLAIN_PARSE);
    enum api_outcome outcome;
    e = exec_get(&s, &sel, in->limit, in->offset, &r->arena, &rows, &n, &em);
    explain_end_stage(r, EXPLAIN_RUN);
    if (e == ERR_OK) {
        struct answer_rows answer = {.snapshot = &s, .lists = &rows, .n = &n, .n_lists = 1};
        limits_count(r, USAGE_RECORDS_READ, n);
        outcome = answer_rows(r, &answer, &in->include);
    } else {
        outcome = records_fail(r, e, &em);
    }
    snapshot_end(&s);
    return outcome;
}

static bool get_is_allowed(struct api_request *r, struct read_in *in)
{
    return quota_allows_limit(r, QUOTA_LIMIT, in->has_limit, UINT32_MAX, &in->limit) &&
           quota_allows_selection(r, &in->selection, QUOTA_QUERY_IDS);
}

/* --- query -------------------------------------------------------------------------------------------------------- */

static bool read_query(struct json_reader *j, struct read_in *in)
{
    static const char *const names[] = {SELECTION_MEMBERS, "query_embeddings", "n_results", "include"};
    struct json_fields f;
    if (!records_enter_object(j, &f, names, 6, "struct QueryRequestPayload")) return false;
    bool ok = true;
    for (int i; ok && (i = json_next_field(j, &f)) >= 0;) {
        if (i < SELECTION_N_MEMBERS) {
            ok = selection_read_member(&in->selection, i, j);
            continue;
        }
        switch (i) {
        case SELECTION_N_MEMBERS:
            ok = vectors_read_numbers(j, &in->vectors);
            break;
        case SELECTION_N_MEMBERS + 1:
            ok = body_u32_or_null(j, &in->n_results, &in->has_n_results);
            break;
        default:
            ok = include_read(&in->include, j);
            in->has_include = true;
            break;
        }
    }
    if (!in->has_include) include_default(&in->include, true);
    return ok && json_need_field(j, &f, SELECTION_N_MEMBERS) && json_finish(j);
}

/* The hits as rows and distances; the arrays are in the arena. */
static enum err list_hits(struct hit *const *hits, struct arena *a, struct answer_rows *out)
{
    out->lists = arena_array(a, out->n_lists, sizeof *out->lists);
    out->distances = arena_array(a, out->n_lists, sizeof *out->distances);
    if (out->lists == NULL || out->distances == NULL) return ERR_NOMEM;
    for (uint32_t i = 0; i < out->n_lists; i++) {
        out->lists[i] = arena_array(a, out->n[i], sizeof *out->lists[i]);
        out->distances[i] = arena_array(a, out->n[i], sizeof *out->distances[i]);
        if (out->lists[i] == NULL || out->distances[i] == NULL) return ERR_NOMEM;
        for (uint32_t k = 0; k < out->n[i]; k++) {
            out->lists[i][k] = (struct row_ref){hits[i][k].segment, hits[i][k].row};
            out->distances[i][k] = hits[i][k].distance;
        }
    }
    return ERR_OK;
}

static enum err run_query(const struct snapshot *s, const struct read_in *in, struct arena *a, struct answer_rows *out,
                          struct errmsg *em)
{
    const struct vectors *v = &in->vectors;
    struct selection sel = selection_of(&in->selection);
    struct hit **hits = NULL;
    uint32_t k = in->n_results;
    if (s->dim == 0 || k == 0 || v->n_vectors == 0) { /* no vectors to compare, or none wanted */
        out->n = arena_array(a, v->n_vectors, sizeof *out->n);
        if (out->n == NULL) return ERR_NOMEM;
    } else {
        enum err e = exec_query(s, &sel, vectors_floats(v), v->n_vectors, k, a, &hits, &out->n, em);
        if (e != ERR_OK) return e;
        /* Upstream refuses a query that names an unknown id. Ours refuses it when none is known (a client's mistake that
         * an empty answer would hide) and otherwise leaves the unknown ones out, as `get` does. */
        if (sel.ids != NULL && sel.n_ids > 0 && sel.filter == NULL && out->n[0] == 0)
            return errmsg_set(em, ERR_INVALID, "Error finding id: none of the ids is in the collection");
    }
    return list_hits(hits, a, out);
}

/* The caller is inside an epoch. */
static enum api_outcome query_checked(struct api_request *r, struct read_in *in, const struct catalog_collection *col)
{
    struct snapshot s;
    struct errmsg em = {0};
    if (!selection_check(r, &in->selection)) return API_DONE;
    enum err e = store_snapshot(r->api->store, col, &r->arena, &s, &em);
    if (e != ERR_OK) return records_fail(r, e, &em);
    s.effort = configuration_effort(col->configuration);
    s.stats = &r->did;
    s.explain = explain_of(r);
    enum api_outcome outcome = API_DONE;
    if (vectors_check_dim(r, &in->vectors, s.dim) && selection_check_indexes(r, &in->selection, col)) {
        struct answer_rows answer = {.snapshot = &s, .n_lists = in->vectors.n_vectors, .is_nested = true};
        explain_end_stage(r, EXPLAIN_PARSE);
        e = run_query(&s, in, &r->arena, &answer, &em);
        explain_end_stage(r, EXPLAIN_RUN);
        for (uint32_t i = 0; i < answer.n_lists && e == ERR_OK; i++) limits_count(r, USAGE_RECORDS_READ, answer.n[i]);
        limits_count(r, USAGE_QUERIES, answer.n_lists);
        outcome = e == ERR_OK ? answer_rows(r, &answer, &in->include) : records_fail(r, e, &em);
    }
    snapshot_end(&s);
    return outcome;
}

static bool query_is_allowed(struct api_request *r, struct read_in *in)
{
    return quota_allows(r, QUOTA_QUERY_EMBEDDINGS, in->vectors.n_items) &&
           quota_allows(r, QUOTA_DIMENSIONS, in->vectors.dim) &&
           quota_allows_limit(r, QUOTA_RESULTS, in->has_n_results, DEFAULT_RESULTS, &in->n_results) &&
           quota_allows_selection(r, &in->selection, QUOTA_QUERY_IDS);
}

/* --- the handlers ------------------------------------------------------------------------------------------------- */

/* `is_allowed` also settles the limits that were not given. */
static enum api_outcome read_rows(struct api_request *r, bool (*read)(struct json_reader *, struct read_in *),
                                  bool (*is_allowed)(struct api_request *, struct read_in *),
                                  enum api_outcome (*run)(struct api_request *, struct read_in *,
                                                          const struct catalog_collection *))
{
    struct read_in in = {0};
    struct json_reader j;
    enum api_outcome outcome = API_DONE;
    explain_begin(r);
    json_reader_init(&j, r->body, &r->arena);
    if (!read(&j, &in)) {
        outcome = records_fail_body(r, &j);
    } else if (is_allowed(r, &in)) {
        epoch_enter();
        const struct catalog_collection *col = api_find_collection(r);
        if (col != NULL) {
            outcome = run(r, &in, col);
            catalog_collection_unref(col);
        }
        epoch_leave();
    }
    read_free(&in);
    return outcome;
}

enum api_outcome handle_get(struct api_request *r)
{
    return read_rows(r, read_get, get_is_allowed, get_checked);
}

enum api_outcome handle_query(struct api_request *r)
{
    return read_rows(r, read_query, query_is_allowed, query_checked);
}
