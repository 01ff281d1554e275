/* routes.h - the route table: what the server answers to, and what openapi.json and /docs/ say about it.
 * Internal to api/. Immutable; any thread.
 */
#ifndef API_ROUTES_H
#define API_ROUTES_H

#include "api/auth_action.h"
#include "api/handler.h"

enum route_body {
    BODY_NONE,      /* not read: content type and content do not matter */
    BODY_JSON,      /* too large: 413 in the usual shape */
    BODY_JSON_BARE, /* too large: 413 with a bare text, as upstream answers for these routes */
};

struct api_route {
    const char *method;  /* GET also answers HEAD */
    const char *pattern; /* "/a/{name}/b"; "{*rest}" at the end: one character or more, slashes too */
    api_handler handler;
    enum api_place place;
    enum route_body body;
    const char *tag, *id, *summary; /* for openapi.json; tag NULL: not listed */
    const char *schema;             /* JSON schema of the body, NULL: none */
    enum auth_action action;        /* what the caller must be allowed to do */
};

extern const struct api_route api_routes[];
extern const uint32_t api_n_routes;

/* The first row whose pattern matches, whatever its method, and the raw (not decoded) parameters; NULL: none. Rows of
 * one pattern stand together. */
const struct api_route *route_find(struct str path, struct str params[API_PARAMS_MAX], uint32_t *n_params);

/* The first parameter is a tenant's name. */
bool route_names_tenant(const struct api_route *route);

/* The row of the same pattern for this method (HEAD is answered by GET), or NULL. */
const struct api_route *route_with_method(const struct api_route *first, struct str method);

/* "GET,HEAD,PATCH" of all rows of the pattern. .p == NULL when memory is short. */
struct str route_allow(const struct api_route *first, struct arena *a);

/* How many of the first parameters are, in this order, tenant, database and collection (id or name): 0 to 3. */
unsigned route_n_scope(const struct api_route *route);

/* What kind of work it is: for metrics. */
enum metrics_group route_group(const struct api_route *route);

/* The name of parameter i of a pattern: `tenant_name`. */
struct str route_param_name(const struct api_route *route, uint32_t i);

#endif
