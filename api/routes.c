/* routes.c - the route table and how a path finds its row.
 *
 * Matching is exact and byte-wise on the raw path: no dots, double slashes or escapes are interpreted. A path is tried
 * against the patterns in order; a pattern with a fixed part stands before one with a parameter in its place ("by-id"
 * before "{collection_id}"). Some thirty comparisons of a few bytes are cheaper than keeping anything cleverer right.
 * A parameter may be empty inside a path, not at its end.
 */
#include "api/routes.h"

#define TENANT    "/api/v2/tenants/{tenant_name}"
#define DATABASES "/api/v2/tenants/{tenant}/databases"
#define DATABASE  DATABASES "/{database}"
#define COLS      DATABASE "/collections"
#define COL       COLS "/{collection_id}"

/* The shapes of request bodies, for openapi.json. */
#define STRING                       "{\"type\":\"string\"}"
#define OPT_OBJECT                   "{\"type\":[\"object\",\"null\"]}"
#define STRINGS                      "{\"type\":\"array\",\"items\":" STRING "}"
#define OPT_LIST(item)               "{\"type\":[\"array\",\"null\"],\"items\":" item "}"
#define OPT_STRINGS                  OPT_LIST("{\"type\":[\"string\",\"null\"]}")
#define VECTORS                      "{\"type\":\"array\",\"items\":{\"type\":\"array\",\"items\":{\"type\":\"number\"}}}"
#define OPT_COUNT                    "{\"type\":[\"integer\",\"null\"],\"minimum\":0}"
#define OBJECT(required, properties) "{\"type\":\"object\",\"required\":[" required "],\"properties\":{" properties "}}"
#define NAME_ONLY                    OBJECT("\"name\"", "\"name\":" STRING)
#define RECORDS(required)                                                                                              \
    OBJECT(required,                                                                                                   \
           "\"ids\":" STRINGS ",\"embeddings\":" OPT_LIST("{}") ",\"documents\":" OPT_STRINGS ",\"uris\":" OPT_STRINGS \
                                                                ",\"metadatas\":" OPT_LIST(OPT_OBJECT))
#define FILTERS "\"ids\":" OPT_LIST(STRING) ",\"where\":" OPT_OBJECT ",\"where_document\":" OPT_OBJECT
#define INCLUDE ",\"include\":" OPT_LIST(STRING)

/* The rest of v1: upstream's answer. */
#define V1_GONE(method, pattern)                                                                                       \
    {                                                                                                                  \
        method, pattern, handle_v1, API_RUN_HERE, BODY_NONE, NULL, NULL, NULL, NULL, ACTION_PUBLIC                     \
    }
/* A route that v1 keeps for GET; other methods are answered as everywhere below /api/v1. */
#define V1_KEPT(pattern, handler)                                                                                      \
    {"GET", pattern, handler, API_RUN_HERE, BODY_NONE, NULL, NULL, NULL, NULL, ACTION_PUBLIC},                         \
        V1_GONE("PUT", pattern), V1_GONE("PATCH", pattern), V1_GONE("DELETE", pattern), V1_GONE("OPTIONS", pattern)

/* The last member names the action: a new row needs one (routes without are refused and a test fails).
 * Order matters twice: within `allow` of a 405, and between fixed parts and parameters. */
const struct api_route api_routes[] = {
    {"GET", "/api/v2", handle_heartbeat, API_RUN_HERE, BODY_NONE, "System", "root", "Server time in nanoseconds", NULL,
     ACTION_PUBLIC},
    {"GET", "/api/v2/heartbeat", handle_heartbeat, API_RUN_HERE, BODY_NONE, "System", "heartbeat",
     "Server time in nanoseconds", NULL, ACTION_PUBLIC},
    {"GET", "/api/v2/healthcheck", handle_healthcheck, API_RUN_HERE, BODY_NONE, "System", "healthcheck",
     "Whether the server can read and write", NULL, ACTION_PUBLIC},
    {"GET", "/api/v2/version", handle_version, API_RUN_HERE, BODY_NONE, "System", "version", "Version of the interface",
     NULL, ACTION_PUBLIC},
    {"GET", "/api/v2/pre-flight-checks", handle_pre_flight, API_RUN_HERE, BODY_NONE, "System", "pre_flight_checks",
     "Limits that clients need to know", NULL, ACTION_PUBLIC},
    {"GET", "/api/v2/auth/identity", handle_identity, API_RUN_HERE, BODY_NONE, "Authentication", "get_user_identity",
     "Who the caller is", NULL, ACTION_IDENTITY},
    {"POST", "/api/v2/reset", handle_reset, API_RUN_POOL, BODY_NONE, "System", "reset",
     "Delete everything; must be allowed by configuration", NULL, ACTION_RESET},
    {"POST", "/api/v2/tenants", handle_create_tenant, API_RUN_POOL, BODY_JSON, "Tenant", "create_tenant",
     "Create a tenant", NAME_ONLY, ACTION_CREATE_TENANT},
    {"GET", TENANT, handle_get_tenant, API_RUN_HERE, BODY_NONE, "Tenant", "get_tenant", "Get a tenant", NULL,
     ACTION_GET_TENANT},
    {"PATCH", TENANT, handle_update_tenant, API_RUN_POOL, BODY_JSON, "Tenant", "update_tenant", "Update a tenant",
     OBJECT("\"resource_name\"", "\"resource_name\":" STRING), ACTION_UPDATE_TENANT},
    {"GET", TENANT "/usage", handle_tenant_usage, API_RUN_POOL, BODY_NONE, "Tenant", "get_tenant_usage",
     "What a tenant has used and has stored", NULL, ACTION_GET_USAGE},
    {"GET", "/api/v2/usage", handle_usage, API_RUN_POOL, BODY_NONE, "Tenant", "get_usage",
     "What every tenant has used and has stored", NULL, ACTION_GET_USAGE},
    {"GET", DATABASES, handle_list_databases, API_RUN_POOL, BODY_NONE, "Database", "list_databases",
     "List databases by name", NULL, ACTION_LIST_DATABASES},
    {"POST", DATABASES, handle_create_database, API_RUN_POOL, BODY_JSON, "Database", "create_database",
     "Create a database", NAME_ONLY, ACTION_CREATE_DATABASE},
    {"GET", DATABASE, handle_get_database, API_RUN_HERE, BODY_NONE, "Database", "get_database", "Get a database", NULL,
     ACTION_GET_DATABASE},
    {"DELETE", DATABASE, handle_delete_database, API_RUN_POOL, BODY_NONE, "Database", "delete_database",
     "Delete a database with its collections", NULL, ACTION_DELETE_DATABASE},
    {"POST", COLS, handle_create_collection, API_RUN_POOL, BODY_JSON, "Collection", "create_collection",
     "Create a collection, or get the one of this name",
     OBJECT("\"name\"", "\"name\":" STRING ",\"schema\":" OPT_OBJECT ",\"configuration\":" OPT_OBJECT
                        ",\"metadata\":" OPT_OBJECT ",\"get_or_create\":{\"type\":\"boolean\"}"),
     ACTION_CREATE_COLLECTION},
    {"GET", COLS, handle_list_collections, API_RUN_POOL, BODY_NONE, "Collection", "list_collections",
     "List collections by id", NULL, ACTION_LIST_COLLECTIONS},
    {"GET", DATABASE "/collections_count", handle_count_collections, API_RUN_HERE, BODY_NONE, "Collection",
     "count_collections", "Number of collections", NULL, ACTION_COUNT_COLLECTIONS},
    {"GET", COLS "/by-id/{collection_id}", handle_get_collection_by_id, API_RUN_HERE, BODY_NONE, "Collection",
     "get_collection_by_id", "Get a collection by id", NULL, ACTION_GET_COLLECTION},
    {"GET", COL, handle_get_collection, API_RUN_HERE, BODY_NONE, "Collection", "get_collection",
     "Get a collection by name", NULL, ACTION_GET_COLLECTION},
    {"PUT", COL, handle_update_collection, API_RUN_POOL, BODY_JSON, "Collection", "update_collection",
     "Change the name, metadata or configuration of a collection, by id",
     OBJECT("", "\"new_name\":{\"type\":[\"string\",\"null\"]},\"new_metadata\":" OPT_OBJECT
                ",\"new_configuration\":" OPT_OBJECT),
     ACTION_UPDATE_COLLECTION},
    {"DELETE", COL, handle_delete_collection, API_RUN_POOL, BODY_NONE, "Collection", "delete_collection",
     "Delete a collection by name", NULL, ACTION_DELETE_COLLECTION},
    {"GET", "/api/v2/collections/{crn}", handle_get_collection_by_crn, API_RUN_HERE, BODY_NONE, "Collection",
     "get_collection_by_crn", "Get a collection by resource name", NULL, ACTION_GET_COLLECTION_BY_CRN},
    {"POST", COL "/fork", handle_fork, API_RUN_POOL, BODY_JSON, "Collection", "fork_collection", "Fork a collection",
     OBJECT("\"new_name\"", "\"new_name\":" STRING), ACTION_FORK_COLLECTION},
    {"GET", COL "/fork_count", handle_fork_count, API_RUN_POOL, BODY_NONE, "Collection", "fork_count",
     "Number of forks of a collection", NULL, ACTION_COUNT_FORKS},
    {"GET", COL "/indexing_status", handle_indexing_status, API_RUN_HERE, BODY_NONE, "Collection", "indexing_status",
     "How much of a collection is indexed", NULL, ACTION_COUNT},
    {"POST", COL "/functions/attach", handle_attach_function, API_RUN_POOL, BODY_JSON_BARE, "Function",
     "attach_function", "Attach a function to a collection",
     OBJECT("\"name\",\"function_id\",\"output_collection\"",
            "\"name\":" STRING ",\"function_id\":" STRING ",\"output_collection\":" STRING ",\"params\":{}"),
     ACTION_CREATE_FUNCTION},
    {"GET", COL "/functions/{function_name}", handle_get_function, API_RUN_HERE, BODY_NONE, "Function",
     "get_attached_function", "Get an attached function", NULL, ACTION_GET_COLLECTION},
    {"POST", COL "/attached_functions/{name}/detach", handle_detach_function, API_RUN_POOL, BODY_JSON_BARE, "Function",
     "detach_function", "Detach a function", OBJECT("", "\"delete_output\":{\"type\":[\"boolean\",\"null\"]}"),
     ACTION_REMOVE_FUNCTION},
    {"POST", COL "/add", handle_add, API_RUN_POOL, BODY_JSON_BARE, "Record", "collection_add",
     "Add records; ids that exist are left alone", RECORDS("\"ids\",\"embeddings\""), ACTION_ADD},
    {"POST", COL "/update", handle_update, API_RUN_POOL, BODY_JSON_BARE, "Record", "collection_update",
     "Update records; ids that do not exist are left out", RECORDS("\"ids\""), ACTION_UPDATE},
    {"POST", COL "/upsert", handle_upsert, API_RUN_POOL, BODY_JSON_BARE, "Record", "collection_upsert",
     "Add or update records", RECORDS("\"ids\",\"embeddings\""), ACTION_UPSERT},
    {"POST", COL "/delete", handle_delete, API_RUN_POOL, BODY_JSON, "Record", "collection_delete",
     "Delete records by id or filter", OBJECT("", FILTERS ",\"limit\":" OPT_COUNT), ACTION_DELETE},
    {"POST", COL "/get", handle_get, API_RUN_POOL, BODY_JSON, "Record", "collection_get", "Get records by id or filter",
     OBJECT("", FILTERS ",\"limit\":" OPT_COUNT ",\"offset\":" OPT_COUNT INCLUDE), ACTION_GET},
    {"POST", COL "/query", handle_query, API_RUN_POOL, BODY_JSON_BARE, "Record", "collection_query",
     "The nearest records to each of some vectors",
     OBJECT("\"query_embeddings\"", "\"query_embeddings\":" VECTORS ",\"n_results\":" OPT_COUNT "," FILTERS INCLUDE),
     ACTION_QUERY},
    {"POST", COL "/search", handle_search, API_RUN_POOL, BODY_JSON_BARE, "Record", "collection_search",
     "Ranked search: vectors, sparse vectors, expressions of both",
     OBJECT("\"searches\"", "\"searches\":" OPT_LIST("{\"type\":\"object\"}")), ACTION_SEARCH},
    {"GET", COL "/count", handle_count, API_RUN_HERE, BODY_NONE, "Record", "collection_count", "Number of records",
     NULL, ACTION_COUNT},
    {"GET", "/metrics", handle_metrics, API_RUN_POOL, BODY_NONE, "System", "metrics",
     "Counters and gauges in Prometheus' text format", NULL, ACTION_METRICS},
    {"GET", "/api/v1", handle_heartbeat, API_RUN_HERE, BODY_NONE, NULL, NULL, NULL, NULL, ACTION_PUBLIC},
    V1_KEPT("/api/v1/heartbeat", handle_heartbeat),
    V1_KEPT("/api/v1/version", handle_version),
    V1_GONE("GET", "/api/v1/{*any}"),
    V1_GONE("PUT", "/api/v1/{*any}"),
    V1_GONE("PATCH", "/api/v1/{*any}"),
    V1_GONE("DELETE", "/api/v1/{*any}"),
    V1_GONE("OPTIONS", "/api/v1/{*any}"),
    {"GET", "/docs", handle_docs_redirect, API_RUN_HERE, BODY_NONE, NULL, NULL, NULL, NULL, ACTION_PUBLIC},
    {"GET", "/docs/", handle_docs, API_RUN_POOL, BODY_NONE, NULL, NULL, NULL, NULL, ACTION_PUBLIC},
    {"GET", "/docs/{*any}", handle_docs_asset, API_RUN_HERE, BODY_NONE, NULL, NULL, NULL, NULL, ACTION_PUBLIC},
    {"GET", "/openapi.json", handle_openapi, API_RUN_POOL, BODY_NONE, NULL, NULL, NULL, NULL, ACTION_PUBLIC},
};
const uint32_t api_n_routes = sizeof api_routes / sizeof api_routes[0];

static bool match(const char *pattern, struct str path, struct str params[API_PARAMS_MAX], uint32_t *n_params)
{
    const char *p = path.p, *end = path.p + path.n;
    uint32_t n = 0;
    while (*pattern != '\0') {
        if (*pattern != '{') {
            if (p == end || *p != *pattern) return false;
            p++;
            pattern++;
            continue;
        }
        bool is_rest = pattern[1] == '*';
        pattern = strchr(pattern, '}');
        CHECK(pattern != NULL && n < API_PARAMS_MAX && "a route pattern is malformed");
        pattern++;
        const char *from = p;
        if (is_rest)
            p = end;
        else
            while (p < end && *p != '/') p++;
        if (*pattern == '\0' && p == from) return false;
        params[n++] = str_of(from, (size_t)(p - from));
    }
    *n_params = n;
    return p == end;
}

/* Most patterns differ from a path in their last byte already, and share a long beginning with it. */
static bool ends_alike(const char *pattern, struct str path)
{
    char last = pattern[strlen(pattern) - 1];
    return last == '}' || (path.n > 0 && path.p[path.n - 1] == last);
}

const struct api_route *route_find(struct str path, struct str params[API_PARAMS_MAX], uint32_t *n_params)
{
    const char *tried = NULL;
    for (uint32_t i = 0; i < api_n_routes; i++) {
        if (tried != NULL && strcmp(tried, api_routes[i].pattern) == 0) continue;
        tried = api_routes[i].pattern;
        if (ends_alike(tried, path) && match(tried, path, params, n_params)) return &api_routes[i];
    }
    return NULL;
}

bool route_names_tenant(const struct api_route *route)
{
    static const char tenants[] = "/api/v2/tenants/{";
    return strncmp(route->pattern, tenants, sizeof tenants - 1) == 0;
}

static bool is_same_pattern(const struct api_route *first, const struct api_route *row)
{
    return row < api_routes + api_n_routes && strcmp(row->pattern, first->pattern) == 0;
}

const struct api_route *route_with_method(const struct api_route *first, struct str method)
{
    if (str_eq(method, STR("HEAD"))) method = STR("GET");
    for (const struct api_route *row = first; is_same_pattern(first, row); row++)
        if (str_eq(method, str_from_c(row->method))) return row;
    return NULL;
}

struct str route_allow(const struct api_route *first, struct arena *a)
{
    struct str text = STR("");
    for (const struct api_route *row = first; is_same_pattern(first, row); row++) {
        const char *name = strcmp(row->method, "GET") == 0 ? "GET,HEAD" : row->method;
        text = arena_printf(a, "%.*s%s%s", STR_ARG(text), text.n > 0 ? "," : "", name);
        if (text.p == NULL) return STR("");
    }
    return text;
}

unsigned route_n_scope(const struct api_route *route)
{
    if (strncmp(route->pattern, "/api/v2/tenants/{", 17) != 0) return 0;
    unsigned n = 0;
    for (const char *p = route->pattern; (p = strchr(p, '{')) != NULL && n < 3; p++) n++;
    return n;
}

/* By the action, so that a new route has a group without being asked for one. */
enum metrics_group route_group(const struct api_route *route)
{
    enum auth_action action = route->action;
    if (action == ACTION_QUERY || action == ACTION_SEARCH) return METRICS_SEARCH;
    if (action <= ACTION_IDENTITY || action == ACTION_RESET || action == ACTION_METRICS || action == ACTION_GET_USAGE)
        return METRICS_SYSTEM;
    bool changes_nothing = (auth_role_actions(STR("reader")) & ACTION_BIT(action)) != 0;
    return changes_nothing ? METRICS_READ : METRICS_WRITE;
}

struct str route_param_name(const struct api_route *route, uint32_t i)
{
    const char *at = route->pattern;
    for (;; i--) {
        at = strchr(at, '{');
        CHECK(at != NULL && "a route has fewer parameters");
        at += at[1] == '*' ? 2 : 1;
        if (i == 0) return str_of(at, strcspn(at, "}"));
    }
}
