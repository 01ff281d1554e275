/* limits_gate.c - see limits_gate.h.
 *
 * ORDER      after authentication, before the body: the rate, then the scorecard. A token that was taken is spent, also when
 *            the scorecard or a handler refuses afterwards.
 * IN PROGRESS  from here to api_end, which comes for every request that began: answered, refused, or cut off.
 */
#include "api/limits_gate.h"

#include <inttypes.h>

#include "api/answer.h"
#include "api/routes.h"
#include "core/mem.h"

static const char too_many[] = "Too many requests; backoff and try again";

/* --- what a route is ----------------------------------------------------------------------------------------------- */

static enum usage kind_of(enum auth_action action)
{
    switch (action) {
    case ACTION_ADD:
    case ACTION_UPDATE:
    case ACTION_UPSERT:
    case ACTION_DELETE:
        return USAGE_REQUESTS_WRITE;
    case ACTION_GET:
    case ACTION_COUNT:
        return USAGE_REQUESTS_READ;
    case ACTION_QUERY:
    case ACTION_SEARCH:
        return USAGE_REQUESTS_SEARCH;
    default:
        return USAGE_REQUESTS_OTHER;
    }
}

/* Of the routes of a tenant, those that may change something. */
static bool is_write(enum auth_action action)
{
    switch (action) {
    case ACTION_UPDATE_TENANT:
    case ACTION_CREATE_DATABASE:
    case ACTION_DELETE_DATABASE:
    case ACTION_CREATE_COLLECTION:
    case ACTION_GET_OR_CREATE_COLLECTION:
    case ACTION_UPDATE_COLLECTION:
    case ACTION_DELETE_COLLECTION:
    case ACTION_FORK_COLLECTION:
    case ACTION_CREATE_FUNCTION:
    case ACTION_REMOVE_FUNCTION:
        return true;
    default:
        return kind_of(action) == USAGE_REQUESTS_WRITE;
    }
}

/* --- the rate ------------------------------------------------------------------------------------------------------ */

static bool refuse(struct api_request *r)
{
    usage_add(r->tenant, USAGE_REFUSED_RATE, 1);
    (void)api_fail(r, ERR_RATE, "%s", too_many);
    return false;
}

static bool take_rate(struct api_request *r)
{
    struct tenant *t = r->tenant;
    bool writes = is_write(r->route->action);
    const struct rate_rule *rule = writes ? &t->rules->writes : &t->rules->reads;
    uint64_t wait_ns;
    if (rule->per_second == 0) return true;
    if (rate_take(writes ? &t->writes : &t->reads, rule, r->api->limits->options.now_ns(), &wait_ns)) return true;
    uint64_t wait_s = wait_ns / 1000000000 + (wait_ns % 1000000000 > 0);
    struct str lines =
        arena_printf(&r->arena, "%.*sretry-after: %" PRIu64 "\r\n", STR_ARG(r->extra_headers), wait_s > 0 ? wait_s : 1);
    if (lines.p != NULL) r->extra_headers = lines; /* short of memory it goes without */
    return refuse(r);
}

/* --- the scorecard: tags as upstream gives them ----------------------------------------------------------------------- */

static const char *op_of(const struct api_route *route)
{
    switch (route->action) {
    case ACTION_ADD:
    case ACTION_UPDATE:
    case ACTION_UPSERT:
    case ACTION_DELETE:
        return "op:write";
    case ACTION_GET:
    case ACTION_QUERY:
        return "op:read";
    case ACTION_SEARCH:
        return "op:search";
    case ACTION_COUNT:
        return strcmp(route->id, "collection_count") == 0 ? "op:read" : "op:indexing_status";
    case ACTION_LIST_DATABASES:
        return "op:list_databases";
    case ACTION_CREATE_DATABASE:
        return "op:create_database";
    case ACTION_GET_DATABASE:
        return "op:get_database";
    case ACTION_DELETE_DATABASE:
        return "op:delete_database";
    case ACTION_LIST_COLLECTIONS:
        return "op:list_collections";
    case ACTION_COUNT_COLLECTIONS:
        return "op:count_collections";
    case ACTION_CREATE_COLLECTION:
        return "op:create_collection";
    case ACTION_GET_COLLECTION:
        return strcmp(route->id, "get_attached_function") == 0 ? "op:get_attached_function" : "op:get_collection";
    case ACTION_UPDATE_COLLECTION:
        return "op:update_collection";
    case ACTION_DELETE_COLLECTION:
        return "op:delete_collection";
    case ACTION_FORK_COLLECTION:
        return "op:fork_collection";
    case ACTION_COUNT_FORKS:
        return "op:fork_count";
    case ACTION_CREATE_FUNCTION:
        return "op:attach_function";
    case ACTION_REMOVE_FUNCTION:
        return "op:detach_function";
    default:
        return NULL; /* routes of the server and of whole tenants have no tags */
    }
}

/* The third tag: records, forks and indexing are about a collection, functions about a database, the rest about neither. */
static const char *third_of(const char *op, uint32_t *param)
{
    static const char *const of_collections[] = {"op:write",           "op:read",       "op:search",
                                                 "op:fork_collection", "op:fork_count", "op:indexing_status"};
    static const char *const of_databases[] = {"op:attach_function", "op:get_attached_function", "op:detach_function"};
    for (size_t i = 0; i < sizeof of_collections / sizeof of_collections[0]; i++)
        if (strcmp(op, of_collections[i]) == 0) return *param = 2, "collection:";
    for (size_t i = 0; i < sizeof of_databases / sizeof of_databases[0]; i++)
        if (strcmp(op, of_databases[i]) == 0) return *param = 1, "database:";
    return NULL;
}

static bool join(struct arena *a, const char *prefix, struct str value, struct str *out)
{
    size_t n = strlen(prefix), size;
    char *p = ck_add(n, value.n, &size) ? arena_alloc(a, size) : NULL;
    if (p == NULL) return false;
    memcpy(p, prefix, n);
    if (value.n > 0) memcpy(p + n, value.p, value.n);
    *out = str_of(p, size);
    return true;
}

static bool enter_scorecard(struct api_request *r)
{
    const char *op = op_of(r->route);
    if (op == NULL) return true;
    struct str tags[SCORECARD_TAGS_MAX] = {str_from_c(op)};
    uint32_t n = 2, param = 0;
    const char *third = third_of(op, &param);
    enum err e = ERR_OK;
    if (!join(&r->arena, "tenant:", r->params[0], &tags[1])) e = ERR_NOMEM;
    if (e == ERR_OK && third != NULL && !join(&r->arena, third, r->params[param], &tags[n++])) e = ERR_NOMEM;
    if (e == ERR_OK) e = scorecard_enter(r->api->limits->scorecard, tags, n, &r->ticket);
    if (e == ERR_OK) return true;
    if (e == ERR_RATE) return refuse(r);
    (void)api_fail(r, e, "out of memory");
    return false;
}

/* --- the door ------------------------------------------------------------------------------------------------------ */

bool limits_admit(struct api_request *r)
{
    if (r->is_admitted) return true;
    r->is_admitted = true;
    if (!route_names_tenant(r->route)) return true;
    r->tenant = limits_tenant(r->api->limits, r->params[0]);
    usage_add(r->tenant, kind_of(r->route->action), 1);
    return take_rate(r) && (r->api->limits->scorecard == NULL || enter_scorecard(r));
}

void limits_count_answer(struct api_request *r)
{
    if (!r->is_head) limits_count(r, USAGE_BYTES_OUT, r->answer.n);
}

void limits_leave(struct api_request *r)
{
    if (r->ticket.n > 0) scorecard_leave(r->api->limits->scorecard, &r->ticket);
}
