/* collections_fork.c - forks of collections, and how many there are.
 *
 * ORDER OF CHECKS  body - database name - id - collection exists - new name - name free
 * FAILURE          nothing was changed that shows.
 */
#include "api/collections.h"

#include <inttypes.h>

#include "api/answer.h"
#include "api/name.h"
#include "api/quota.h"

static bool parse_fork(struct json_reader *j, struct str *name)
{
    static const char *const names[] = {"new_name"};
    struct json_fields f;
    if (!json_enter_fields(j, &f, names, 1, false, "struct ForkCollectionPayload")) return false;
    while (json_next_field(j, &f) >= 0)
        if (!json_string(j, name, "a string")) return false;
    return json_need_field(j, &f, 0) && json_finish(j);
}

/* Says which quota it was, and how much there would be by now. */
static enum api_outcome refuse_another(struct api_request *r, const struct catalog_collection *source,
                                       const struct store_fork_quota *quota)
{
    struct catalog *c = store_catalog(r->api->store);
    uint64_t n_collections = catalog_count_tenant(c, r->params[0]).n_collections, n_forks = 0;
    bool is_known = catalog_count_forks(c, source->number, &n_forks, NULL) == ERR_OK;
    if (quota->tenant_max == 0 || (is_known && quota->forks_max > 0 && n_forks >= quota->forks_max))
        return quota_refuse(r, QUOTA_FORKS, (n_forks > quota->forks_max ? n_forks : quota->forks_max) + 1);
    return quota_refuse(r, QUOTA_COLLECTIONS,
                        (n_collections > quota->tenant_max ? n_collections : quota->tenant_max) + 1);
}

static enum api_outcome fork_as(struct api_request *r, const struct catalog_collection *source, struct str name)
{
    const struct catalog_collection *col = NULL;
    struct errmsg em = {{0}};
    struct str fault;
    if (!name_check(name, &r->arena, &fault)) {
        if (fault.p == NULL) return api_fail(r, ERR_NOMEM, "out of memory");
        return answer_about(r, ERR_INVALID, "Validation error: new_name: ", fault, "");
    }
    /* Not inside an epoch: a flush waits for readers. */
    const struct store_fork_quota quota = {quota_max(r, QUOTA_COLLECTIONS), quota_max(r, QUOTA_FORKS)};
    enum err e = store_fork_within(r->api->store, source, name, &quota, &col, &em);
    switch (e) {
    case ERR_OK:
        return answer_new_collection(r, col);
    case ERR_QUOTA:
        return refuse_another(r, source, &quota);
    case ERR_EXISTS:
        return answer_about(r, e, "Collection [", name, "] already exists");
    case ERR_NOT_FOUND:
        return api_no_collection(r, &source->id);
    default:
        return api_fail(r, e, "%s", em.text);
    }
}

enum api_outcome handle_fork(struct api_request *r)
{
    struct json_reader *j = arena_alloc(&r->arena, sizeof *j);
    struct str name = {NULL, 0};
    if (j == NULL) return api_fail(r, ERR_NOMEM, "out of memory");
    json_reader_init(j, r->body, &r->arena);
    if (!parse_fork(j, &name)) return api_fail_json(r, j);
    if (!quota_allows(r, QUOTA_NAME_BYTES, name.n)) return API_DONE;
    if (!api_check_database_name(r, r->params[1])) return API_DONE;
    if (memchr(r->params[1].p, '+', r->params[1].n) != NULL)
        return api_fail(r, ERR_INVALID, "multi-region databases do not support forking");
    const struct catalog_collection *source = api_find_collection(r);
    if (source == NULL) return API_DONE;
    enum api_outcome outcome = fork_as(r, source, name);
    catalog_collection_unref(source);
    return outcome;
}

enum api_outcome handle_fork_count(struct api_request *r)
{
    struct errmsg em = {{0}};
    uint64_t n = 0;
    const struct catalog_collection *col = api_find_collection(r);
    if (col == NULL) return API_DONE;
    struct uuid id = col->id;
    enum err e = catalog_count_forks(store_catalog(r->api->store), col->number, &n, &em);
    catalog_collection_unref(col);
    if (e == ERR_NOT_FOUND) return api_no_collection(r, &id);
    if (e != ERR_OK) return api_fail(r, e, "%s", em.text);
    buf_printf(&r->answer, "{\"count\":%" PRIu64 "}", n);
    return api_ok(r, 200);
}
