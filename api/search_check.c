/* search_check.c - what a search may not ask, in the contract's order: values of the request, then indexes that the
 * schema does not have, then the lengths of dense queries.
 *
 * HAPPY PATH  nothing is wrong, and nothing is allocated but the schema's tree when there is a sparse leaf.
 * FAILURE     the first index and the first length answer; all faults in values answer together, one after the other
 *             without a separator, as upstream's validator writes them.
 */
#include "api/search.h"

#include <inttypes.h>

#include <cjson/cJSON.h>

#include "api/records.h"

/* --- values -------------------------------------------------------------------------------------------------------- */

static bool names_part(const struct str *keys, uint32_t n, unsigned parts)
{
    for (uint32_t i = 0; i < n; i++)
        if ((search_reserved_part(keys[i]) & parts) != 0) return true;
    return false;
}

/* NULL: fine. */
static const char *group_fault(const struct search_payload *p)
{
    const struct rank_group *g = &p->group;
    const unsigned columns = SEARCH_DOCUMENT | SEARCH_EMBEDDING | SEARCH_METADATA;
    if ((g->n_keys > 0) != p->has_aggregate)
        return "group_by keys and aggregate must both be specified or both be omitted";
    if (names_part(g->keys, g->n_keys, columns | SEARCH_SCORE))
        return "group_by keys must be metadata fields (cannot use #score, #document, #embedding, or #metadata)";
    if (!p->has_aggregate) return NULL;
    if (g->n_by == 0) return "aggregate keys must not be empty";
    if (g->k == 0) return "aggregate k must be greater than 0";
    if (names_part(g->by, g->n_by, columns))
        return "aggregate keys must be metadata fields or #score (cannot use #document, #embedding, or #metadata)";
    return NULL;
}

bool search_check_values(struct api_request *r, const struct search_request *in)
{
    struct buf faults = {0};
    for (uint32_t i = 0; i < in->n; i++) {
        const struct search_payload *p = &in->payloads[i];
        const char *group = group_fault(p);
        if (p->rank_fault.p != NULL) buf_printf(&faults, "searches[%" PRIu32 "].rank: %.*s", i, STR_ARG(p->rank_fault));
        if (group != NULL) buf_printf(&faults, "searches[%" PRIu32 "].group_by: %s", i, group);
        if (p->rank_fault.p == NULL && group == NULL && p->group.n_keys > 0 && p->rank == NULL)
            buf_printf(&faults, "searches[%" PRIu32 "].__all__: group_by requires rank expression to be specified", i);
    }
    bool is_fine = faults.n == 0 && faults.err == ERR_OK;
    if (faults.err != ERR_OK)
        (void)records_fail(r, faults.err, NULL);
    else if (!is_fine)
        (void)api_fail(r, ERR_INVALID, "Validation error: %.*s", STR_ARG(buf_view(&faults)));
    buf_free(&faults);
    return is_fine;
}

/* --- indexes ------------------------------------------------------------------------------------------------------- */

static const cJSON *sparse_index(const cJSON *types)
{
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(types, "sparse_vector");
    return cJSON_GetObjectItemCaseSensitive(type, "sparse_vector_index");
}

static const cJSON *index_of_key(const cJSON *schema, struct str key)
{
    const cJSON *keys = cJSON_GetObjectItemCaseSensitive(schema, "keys");
    const cJSON *item = keys == NULL ? NULL : keys->child;
    while (item != NULL && !str_eq(str_from_c(item->string), key)) item = item->next;
    return sparse_index(item);
}

static const cJSON *bm25_of(const cJSON *index)
{
    return cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(index, "config"), "bm25");
}

/* Whether the leaf weighs by frequency, where its key has an index; otherwise answered. */
static bool check_leaf(struct api_request *r, struct rank_leaf *leaf, const cJSON *schema)
{
    const cJSON *index = index_of_key(schema, leaf->key);
    if (!cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(index, "enabled"))) {
        struct buf text = {0}; /* pieces, because the key may hold a NUL */
        buf_lit(&text, "Cannot filter using metadata key '");
        buf_str(&text, leaf->key);
        buf_lit(&text, "' with type 'SparseVector' because indexing is disabled");
        if (text.err != ERR_OK)
            (void)records_fail(r, text.err, NULL);
        else
            (void)api_fail_str(r, ERR_INVALID, buf_view(&text));
        buf_free(&text);
        return false;
    }
    const cJSON *bm25 = bm25_of(index);
    if (!cJSON_IsBool(bm25)) bm25 = bm25_of(sparse_index(cJSON_GetObjectItemCaseSensitive(schema, "defaults")));
    leaf->weighs_by_frequency = cJSON_IsTrue(bm25);
    return true;
}

static bool has_sparse(const struct rank *rank)
{
    if (rank->kind == RANK_SPARSE) return true;
    for (uint32_t i = 0; i < rank->n_operands; i++)
        if (has_sparse(rank->operands[i])) return true;
    return false;
}

static bool check_leaves(struct api_request *r, struct rank *rank, const cJSON *schema)
{
    if (rank->kind == RANK_SPARSE && !check_leaf(r, &rank->leaf, schema)) return false;
    for (uint32_t i = 0; i < rank->n_operands; i++)
        if (!check_leaves(r, rank->operands[i], schema)) return false;
    return true;
}

bool search_check_indexes(struct api_request *r, struct search_request *in, struct str schema)
{
    cJSON *tree = NULL;
    bool is_fine = true;
    for (uint32_t i = 0; i < in->n && is_fine; i++) {
        const struct search_payload *p = &in->payloads[i];
        enum err e = ERR_OK;
        struct str message = where_disabled_index(p->filter, schema, &r->arena, &e);
        if (e != ERR_OK || message.p != NULL) {
            (void)(e != ERR_OK ? records_fail(r, e, NULL) : api_fail_str(r, ERR_INVALID, message));
            is_fine = false;
        } else if (p->rank != NULL && has_sparse(p->rank)) {
            if (tree == NULL) tree = cJSON_ParseWithLength(schema.p, schema.n);
            is_fine = tree != NULL && check_leaves(r, p->rank, tree);
            if (tree == NULL) (void)records_fail(r, ERR_NOMEM, NULL); /* it was valid when it was stored */
        }
    }
    cJSON_Delete(tree);
    return is_fine;
}

/* --- lengths ------------------------------------------------------------------------------------------------------- */

static bool check_dims(struct api_request *r, const struct rank *rank, uint32_t dim)
{
    if (rank->kind == RANK_DENSE && rank->leaf.n_dense != dim) {
        (void)api_fail(r, ERR_INVALID, "Collection expecting embedding with dimension of %" PRIu32 ", got %" PRIu32,
                       dim, rank->leaf.n_dense);
        return false;
    }
    for (uint32_t i = 0; i < rank->n_operands; i++)
        if (!check_dims(r, rank->operands[i], dim)) return false;
    return true;
}

bool search_check_dims(struct api_request *r, const struct search_request *in, uint32_t dim)
{
    for (uint32_t i = 0; i < in->n && dim != 0; i++) {
        const struct rank *rank = in->payloads[i].rank;
        if (rank != NULL && !check_dims(r, rank, dim)) return false;
    }
    return true;
}
