/* quota.h - quotas of a request's tenant: the most that it may bring, or have. See limits.h for what each is.
 * Internal to api/. THREADS the one that runs the request.
 *
 * Each check is false when the quota is exceeded, and then the request is answered with 422. Without quotas a check is a
 * comparison.
 */
#ifndef API_QUOTA_H
#define API_QUOTA_H

#include "api/limits_gate.h"
#include "api/records.h"
#include "core/filter.h"

/* 0: no quota. */
static inline uint64_t quota_max(const struct api_request *r, enum quota q)
{
    return r->tenant != NULL && r->tenant->has_quotas ? r->tenant->rules->quotas[q] : 0;
}

static inline bool quota_has_any(const struct api_request *r)
{
    return r->tenant != NULL && r->tenant->has_quotas;
}

/* Answers 422 in upstream's words. */
enum api_outcome quota_refuse(struct api_request *r, enum quota q, uint64_t used);

static inline bool quota_allows(struct api_request *r, enum quota q, uint64_t used)
{
    uint64_t max = quota_max(r, q);
    if (max == 0 || used <= max) return true;
    (void)quota_refuse(r, q, used);
    return false;
}

/* A limit that may be given: checked if it is, else lowered from `preset` (UINT32_MAX: all) to the quota. */
bool quota_allows_limit(struct api_request *r, enum quota q, bool is_given, uint32_t preset, uint32_t *limit);

/* Packed metadata of a record or a collection. Members that stand for a document or a URI are measured as those. */
bool quota_allows_metadata(struct api_request *r, struct bytes packed, bool is_collection);

/* The filters of one request together; either may be NULL. */
bool quota_allows_filters(struct api_request *r, const struct filter *where, const struct filter *where_document);

/* What all of get, query and delete bring: ids and filters. */
bool quota_allows_selection(struct api_request *r, const struct selection_in *in, enum quota of_ids);

/* The ids of `n` records to be written fit the collection's quota: those that are not there yet. On true *n_reserved rows
 * are reserved (store.h) and go with the write; the caller gives them back if there is none. Inside an epoch. */
bool quota_reserve_records(struct api_request *r, const struct catalog_collection *col, const struct str *ids,
                           uint32_t n, uint32_t *n_reserved);

#endif
