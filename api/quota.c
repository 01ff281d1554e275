/* quota.c - see quota.h.
 *
 * RECORDS OF A COLLECTION  a write first reserves room for all of its rows. Only when that does not fit is it looked which
 *            of its ids are there already, and room kept for the others alone. A reservation is given back after the rows
 *            can be counted, so count and reservations together are never below what will be there, with one
 *            exception: an id that was there when it was looked for, and that another request deletes before the write is
 *            applied, comes back without a place. So the quota is overshot at most by what is deleted meanwhile. Close to
 *            it, writes at the same time may be refused although one of them would have fit.
 */
#include "api/quota.h"

#include <inttypes.h>
#include <stdlib.h>

#include "api/routes.h"

static const char *quota_name(enum quota q)
{
    static const char *const names[] = {
#define QUOTA_NAME_(code, key, name, help) [QUOTA_##code] = (name),
        QUOTA_TABLE(QUOTA_NAME_)
#undef QUOTA_NAME_
    };
    return names[q];
}

static const char *action_title(enum auth_action action)
{
    switch (action) {
    case ACTION_CREATE_DATABASE:
        return "Create Database";
    case ACTION_CREATE_COLLECTION:
        return "Create Collection";
    case ACTION_LIST_COLLECTIONS:
        return "List Collections";
    case ACTION_UPDATE_COLLECTION:
        return "Update Collection";
    case ACTION_FORK_COLLECTION:
        return "Fork Collection";
    case ACTION_ADD:
        return "Add";
    case ACTION_UPDATE:
        return "Update";
    case ACTION_UPSERT:
        return "Upsert";
    case ACTION_DELETE:
        return "Delete";
    case ACTION_GET:
        return "Get";
    case ACTION_QUERY:
        return "Query";
    case ACTION_SEARCH:
        return "Search";
    default:
        panic("a route without quotas was checked");
    }
}

enum api_outcome quota_refuse(struct api_request *r, enum quota q, uint64_t used)
{
    limits_count(r, USAGE_REFUSED_QUOTA, 1);
    return api_fail(r, ERR_QUOTA,
                    "Quota exceeded: '%s' exceeded quota limit for action '%s': current usage of %" PRIu64
                    " exceeds limit of %" PRIu64,
                    quota_name(q), action_title(r->route->action), used, quota_max(r, q));
}

bool quota_allows_limit(struct api_request *r, enum quota q, bool is_given, uint32_t preset, uint32_t *limit)
{
    if (is_given) return quota_allows(r, q, *limit);
    uint64_t max = quota_max(r, q);
    *limit = max > 0 && max < preset ? (uint32_t)max : preset;
    return true;
}

/* --- metadata ------------------------------------------------------------------------------------------------------ */

static uint64_t value_bytes(const struct value *v)
{
    switch (v->type) {
    case VALUE_NULL:
        return 0;
    case VALUE_BOOL:
        return 1;
    case VALUE_INT:
    case VALUE_FLOAT:
        return 8;
    case VALUE_STR:
        return v->s.n;
    case VALUE_BOOLS:
        return v->list.n;
    case VALUE_INTS:
    case VALUE_FLOATS:
        return (uint64_t)v->list.n * 8;
    case VALUE_STRS: {
        uint64_t sum = 0;
        for (uint32_t i = 0; i < v->list.n; i++) sum += v->list.items[i].s.n;
        return sum;
    }
    case VALUE_SPARSE:
        return 0; /* has a quota of its own */
    }
    panic("no such type of value");
}

static bool allows_entry(struct api_request *r, const struct meta_entry *e, bool is_collection, uint32_t *n_keys)
{
    struct value v;
    if (e->type == VALUE_SPARSE) {
        struct sparse_view sparse;
        if (meta_sparse(e, &sparse) && !quota_allows(r, QUOTA_SPARSE_DIMENSIONS, sparse.n)) return false;
        v = (struct value){.type = VALUE_NULL};
    } else if (!meta_value(e, &r->arena, &v)) {
        (void)api_fail(r, ERR_NOMEM, "out of memory");
        return false;
    }
    if (!is_collection && v.type == VALUE_STR && str_eq(e->key, STR("chroma:document")))
        return quota_allows(r, QUOTA_DOCUMENT_BYTES, v.s.n);
    if (!is_collection && v.type == VALUE_STR && str_eq(e->key, STR("chroma:uri")))
        return quota_allows(r, QUOTA_URI_BYTES, v.s.n);
    if (e->type != VALUE_NULL) ++*n_keys; /* a null in a patch takes a key away */
    return quota_allows(r, QUOTA_METADATA_KEY_BYTES, e->key.n) &&
           quota_allows(r, is_collection ? QUOTA_COLLECTION_METADATA_VALUE_BYTES : QUOTA_METADATA_VALUE_BYTES,
                        value_bytes(&v));
}

bool quota_allows_metadata(struct api_request *r, struct bytes packed, bool is_collection)
{
    struct meta_entry e;
    uint32_t n_keys = 0;
    if (!quota_has_any(r) || packed.n == 0) return true;
    for (struct meta_iter it = meta_iter(packed); meta_next(&it, &e);)
        if (!allows_entry(r, &e, is_collection, &n_keys)) return false;
    return quota_allows(r, is_collection ? QUOTA_COLLECTION_METADATA_KEYS : QUOTA_METADATA_KEYS, n_keys);
}

/* --- filters ------------------------------------------------------------------------------------------------------- */

struct predicates {
    uint64_t n_where, n_document;
};

static bool allows_node(struct api_request *r, const struct filter *f, struct predicates *n)
{
    switch (f->kind) {
    case FILTER_AND:
    case FILTER_OR:
        for (uint32_t i = 0; i < f->n_children; i++) /* as deep as the reader lets JSON be */
            if (!allows_node(r, f->children[i], n)) return false;
        return true;
    case FILTER_DOC_CONTAINS:
    case FILTER_DOC_NOT_CONTAINS:
        n->n_document++;
        return quota_allows(r, QUOTA_DOCUMENT_VALUE_BYTES, f->text.n);
    case FILTER_DOC_REGEX:
    case FILTER_DOC_NOT_REGEX:
        n->n_document++;
        return quota_allows(r, QUOTA_REGEX_BYTES, f->text.n);
    default:
        n->n_where++;
        for (uint32_t i = 0; i < f->n_values; i++)
            if (f->values[i].type == VALUE_STR && !quota_allows(r, QUOTA_WHERE_VALUE_BYTES, f->values[i].s.n))
                return false;
        return true;
    }
}

bool quota_allows_filters(struct api_request *r, const struct filter *where, const struct filter *where_document)
{
    struct predicates n = {0, 0};
    if (!quota_has_any(r)) return true;
    if (where != NULL && !allows_node(r, where, &n)) return false;
    if (where_document != NULL && !allows_node(r, where_document, &n)) return false;
    return quota_allows(r, QUOTA_WHERE_PREDICATES, n.n_where) &&
           quota_allows(r, QUOTA_DOCUMENT_PREDICATES, n.n_document);
}

bool quota_allows_selection(struct api_request *r, const struct selection_in *in, enum quota of_ids)
{
    return quota_allows(r, of_ids, body_n_strings(&in->ids)) && quota_allows_filters(r, in->where, in->where_document);
}

/* --- records of a collection ----------------------------------------------------------------------------------------- */

static int compare_ids(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static bool is_there(const struct snapshot *s, struct str id)
{
    for (uint32_t i = s->n_segments; i-- > 0;) { /* newest first: most likely there */
        const struct segment *segment = s->segments[i].segment;
        uint32_t row = segment->ops->find(segment, id, s->lsn);
        if (row != ROW_NONE && row < s->segments[i].n_rows) return true; /* ROW_UNKNOWN: the write is refused later */
    }
    return false;
}

/* How many different ids are not there yet. */
static enum err count_new(struct api_request *r, const struct catalog_collection *col, const struct str *ids,
                          uint32_t n, uint32_t *n_new, struct errmsg *em)
{
    struct snapshot s;
    struct str *missing = arena_array(&r->arena, n, sizeof *missing);
    if (missing == NULL) return ERR_NOMEM;
    enum err e = store_snapshot(r->api->store, col, &r->arena, &s, em);
    if (e != ERR_OK) return e;
    uint32_t n_missing = 0, n_different = 0;
    for (uint32_t i = 0; i < n; i++)
        if (!is_there(&s, ids[i])) missing[n_missing++] = ids[i];
    snapshot_end(&s);
    qsort(missing, n_missing, sizeof *missing, compare_ids);
    for (uint32_t i = 0; i < n_missing; i++)
        if (i == 0 || !str_eq(missing[i - 1], missing[i])) n_different++;
    *n_new = n_different;
    return ERR_OK;
}

bool quota_reserve_records(struct api_request *r, const struct catalog_collection *col, const struct str *ids,
                           uint32_t n, uint32_t *n_reserved)
{
    uint64_t max = quota_max(r, QUOTA_COLLECTION_RECORDS), total = 0;
    uint32_t n_new = 0;
    if (max == 0 || n == 0) return true;
    if (store_reserve_rows(col, n, max, &total)) {
        *n_reserved = n;
        return true;
    }
    struct errmsg em = {0};
    enum err e = count_new(r, col, ids, n, &n_new, &em);
    if (e != ERR_OK) {
        (void)records_fail(r, e, &em);
        return false;
    }
    if (n_new == 0) return true;
    if (store_reserve_rows(col, n_new, max, &total)) {
        *n_reserved = n_new;
        return true;
    }
    (void)quota_refuse(r, QUOTA_COLLECTION_RECORDS, total);
    return false;
}
