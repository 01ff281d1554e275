/* search.c - the search route: a batch of ranked searches over one snapshot.
 *
 * HAPPY PATH  body into payloads (search_parse.c); collection; checks (search_check.c); a snapshot, which all payloads
 *             share; core/rank.h makes a page of each; the answer column by column (search_answer.c).
 * FAILURE     refusals in the contract's order. A batch is all or nothing.
 * INVARIANT   the collection's live object is used only inside the epoch entered before the collection was looked up.
 */
#include "api/search.h"

#include "api/explain.h"
#include "api/quota.h"
#include "api/settings.h"
#include "core/epoch.h"

/* A clause on ids that all rows must meet becomes a lookup: a list of ids, and what is left as filter. */
static enum err select_rows(const struct filter *f, struct arena *a, struct selection *sel)
{
    const struct filter *of_ids = NULL;
    *sel = (struct selection){.filter = f};
    if (f == NULL) return ERR_OK;
    if (f->kind == FILTER_ID_IN) {
        of_ids = f;
        sel->filter = NULL;
    } else if (f->kind == FILTER_AND) {
        uint32_t at = 0;
        while (at < f->n_children && f->children[at]->kind != FILTER_ID_IN) at++;
        if (at == f->n_children) return ERR_OK;
        of_ids = f->children[at];
        struct filter *rest = arena_zalloc(a, sizeof *rest);
        struct filter **children = arena_array(a, f->n_children - 1, sizeof(struct filter *));
        if (rest == NULL || children == NULL) return ERR_NOMEM;
        *rest = (struct filter){.kind = FILTER_AND, .children = children};
        for (uint32_t i = 0; i < f->n_children; i++)
            if (i != at) children[rest->n_children++] = f->children[i];
        sel->filter = rest;
    } else {
        return ERR_OK;
    }
    struct str *ids = arena_array(a, of_ids->n_values, sizeof *ids);
    if (ids == NULL) return ERR_NOMEM;
    for (uint32_t i = 0; i < of_ids->n_values; i++) ids[i] = of_ids->values[i].s;
    sel->ids = ids;
    sel->n_ids = of_ids->n_values;
    return ERR_OK;
}

static enum err run_payload(const struct snapshot *s, const struct search_payload *p, struct arena *a,
                            struct search_page *page, struct errmsg *em)
{
    struct rank_group group = p->group;
    struct str *by = arena_array(a, group.n_by, sizeof *by);
    struct rank_search search = {
        .rank = p->rank, .group = group.n_keys > 0 ? &group : NULL, .offset = p->offset, .limit = p->limit};
    if (by == NULL || select_rows(p->filter, a, &search.selection) != ERR_OK) return ERR_NOMEM;
    for (uint32_t i = 0; i < group.n_by; i++)
        if (search_reserved_part(group.by[i]) != SEARCH_SCORE) by[i] = group.by[i]; /* the score: no name */
    group.by = by;
    return rank_search(s, &search, a, &page->rows, &page->n, em);
}

static enum api_outcome answer_pages(struct api_request *r, const struct snapshot *s, const struct search_request *in,
                                     struct errmsg *em)
{
    enum err e = ERR_OK;
    struct search_page *pages = arena_array(&r->arena, in->n, sizeof *pages);
    if (pages == NULL) return records_fail(r, ERR_NOMEM, NULL);
    explain_end_stage(r, EXPLAIN_PARSE);
    for (uint32_t i = 0; i < in->n && e == ERR_OK; i++) e = run_payload(s, &in->payloads[i], &r->arena, &pages[i], em);
    explain_end_stage(r, EXPLAIN_RUN);
    if (e != ERR_OK) return records_fail(r, e, em);
    for (uint32_t i = 0; i < in->n; i++) limits_count(r, USAGE_RECORDS_READ, pages[i].n);
    limits_count(r, USAGE_QUERIES, in->n);
    for (uint32_t i = 0; i < in->n; i++) r->n_records += pages[i].n;
    r->answer.max = RECORDS_ANSWER_MAX;
    return records_finish_read(r, search_put(&r->answer, s, in, pages, em), em);
}

/* The caller is inside an epoch. */
static enum api_outcome search_collection(struct api_request *r, struct search_request *in,
                                          const struct catalog_collection *col)
{
    struct snapshot s;
    struct errmsg em = {0};
    if (!search_check_values(r, in) || !search_check_indexes(r, in, col->schema)) return API_DONE;
    enum err e = store_snapshot(r->api->store, col, &r->arena, &s, &em);
    if (e != ERR_OK) return records_fail(r, e, &em);
    s.effort = configuration_effort(col->configuration);
    s.stats = &r->did;
    s.explain = explain_of(r);
    enum api_outcome outcome = search_check_dims(r, in, s.dim) ? answer_pages(r, &s, in, &em) : API_DONE;
    snapshot_end(&s);
    return outcome;
}

/* --- quotas ---------------------------------------------------------------------------------------------------------- */

static bool allows_rank(struct api_request *r, const struct rank *rank, uint32_t *n_leaves)
{
    if (rank->kind == RANK_DENSE || rank->kind == RANK_SPARSE) {
        const struct rank_leaf *leaf = &rank->leaf;
        bool is_dense = rank->kind == RANK_DENSE;
        ++*n_leaves;
        return quota_allows(r, QUOTA_RANK_KNN_LIMIT, leaf->limit) &&
               quota_allows(r, is_dense ? QUOTA_DIMENSIONS : QUOTA_SPARSE_DIMENSIONS,
                            is_dense ? leaf->n_dense : leaf->sparse.n);
    }
    for (uint32_t i = 0; i < rank->n_operands; i++)
        if (!allows_rank(r, rank->operands[i], n_leaves)) return false;
    return true;
}

/* Lowers limits that were not given to the quota. */
static bool search_is_allowed(struct api_request *r, struct search_request *in)
{
    if (!quota_has_any(r)) return true;
    if (!quota_allows(r, QUOTA_SEARCH_PAYLOADS, in->n)) return false;
    for (uint32_t i = 0; i < in->n; i++) {
        struct search_payload *p = &in->payloads[i];
        uint32_t n_leaves = 0;
        if (!quota_allows_limit(r, QUOTA_LIMIT, p->limit != UINT32_MAX, UINT32_MAX, &p->limit)) return false;
        if (!quota_allows_filters(r, p->filter, NULL)) return false;
        if (p->rank != NULL && !allows_rank(r, p->rank, &n_leaves)) return false;
        if (!quota_allows(r, QUOTA_RANK_KNN, n_leaves)) return false;
    }
    return true;
}

enum api_outcome handle_search(struct api_request *r)
{
    struct search_request in = {0};
    struct json_reader j;
    enum api_outcome outcome = API_DONE;
    explain_begin(r);
    json_reader_init(&j, r->body, &r->arena);
    if (!search_parse(&j, &in)) {
        outcome = records_fail_body(r, &j);
    } else if (search_is_allowed(r, &in)) {
        epoch_enter();
        const struct catalog_collection *col = api_find_collection(r);
        if (col != NULL) {
            outcome = search_collection(r, &in, col);
            catalog_collection_unref(col);
        }
        epoch_leave();
    }
    search_free(&in);
    return outcome;
}
