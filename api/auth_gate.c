/* auth_gate.c - see auth_gate.h.
 *
 * ORDER      who is it (401)  ->  may he do this, and here (403). Both come before the body is read, except when a
 *            password has to be verified: then the body is read first, since the answer takes a while anyhow.
 * INVARIANT  a route whose path names no tenant, and which is not public, needs a user without bounds; so a route that
 *            somebody adds later is closed to scoped users until it says where it belongs.
 */
#include "api/auth_gate.h"

#include "api/answer.h"
#include "api/auth_internal.h"
#include "api/routes.h"

static const struct str default_tenant = {"default_tenant", 14}, default_database = {"default_database", 16};

/* What the path's first parameters are. */
enum place { PLACE_SERVER, PLACE_TENANT, PLACE_DATABASE };

static enum place place_of(const struct api_route *route)
{
    static const char databases[] = "/databases/{";
    if (!route_names_tenant(route)) return PLACE_SERVER;
    const char *end = strchr(route->pattern, '}');
    CHECK(end != NULL && "a route pattern is malformed");
    return strncmp(end + 1, databases, sizeof databases - 1) == 0 ? PLACE_DATABASE : PLACE_TENANT;
}

/* --- refusals ---------------------------------------------------------------------------------------------------- */

static void refuse(struct api_request *r)
{
    const char *scheme = r->api->options.auth->provider == AUTH_BASIC ? "Basic" : "Bearer";
    struct str lines =
        arena_printf(&r->arena, "%.*swww-authenticate: %s realm=\"chroma\"\r\n", STR_ARG(r->extra_headers), scheme);
    if (lines.p != NULL) r->extra_headers = lines;
    (void)answer_error(r, 401, "AuthError", STR("Unauthorized"));
}

enum api_outcome auth_gate_forbid(struct api_request *r)
{
    return answer_error(r, 403, "AuthError", STR("Forbidden"));
}

/* --- scope ------------------------------------------------------------------------------------------------------- */

/* The setting of the older servers: clients that know only the defaults reach what is their own. */
static void replace_defaults(struct api_request *r, enum place place)
{
    const struct auth_user *u = r->user;
    if (place != PLACE_SERVER && u->tenant.p != NULL && str_eq(r->params[0], default_tenant)) r->params[0] = u->tenant;
    bool has_one = !u->any_database && u->n_databases == 1;
    if (place == PLACE_DATABASE && has_one && str_eq(r->params[1], default_database)) r->params[1] = u->databases[0];
}

static bool may(struct api_request *r)
{
    const struct auth_user *u = r->user;
    enum auth_action action = r->route->action;
    if (action == ACTION_IDENTITY) return true;
    if ((u->actions & ACTION_BIT(action)) == 0) return false;
    enum place place = place_of(r->route);
    if (r->api->options.auth->replaces_defaults) replace_defaults(r, place);
    if (place == PLACE_SERVER) return auth_is_unbounded(u);
    if (!auth_covers_tenant(u, r->params[0])) return false;
    return place == PLACE_TENANT || auth_covers_database(u, r->params[1]);
}

bool auth_gate_covers_database(const struct api_request *r, struct str database)
{
    return r->user == NULL || auth_covers_database(r->user, database);
}

bool auth_gate_covers_all_databases(const struct api_request *r)
{
    return r->user == NULL || r->user->any_database;
}

/* --- the door ---------------------------------------------------------------------------------------------------- */

/* False: answered. */
static bool settle(struct api_request *r, enum auth_result result)
{
    switch (result) {
    case AUTH_GOOD:
        r->user_name = r->user->id;
        if (may(r)) return true;
        (void)auth_gate_forbid(r);
        return false;
    case AUTH_BAD:
        refuse(r);
        return false;
    case AUTH_SHORT:
    case AUTH_UNVERIFIED:
        (void)api_fail(r, ERR_BUSY, "Too many passwords are being verified; try again later");
        return false;
    }
    panic("no such result of authentication");
}

static enum auth_result identify(struct api_request *r)
{
    struct auth *a = r->api->options.auth;
    const struct auth_headers h = {r->authorization, r->chroma_token};
    return a->provider == AUTH_BASIC ? auth_identify_basic(a, &h, &r->user) : auth_identify_token(a, &h, &r->user);
}

bool auth_gate_admit(struct api_request *r)
{
    if (r->api->options.auth == NULL || r->route->action == ACTION_PUBLIC) return true;
    enum auth_result result = identify(r);
    r->is_unverified = result == AUTH_UNVERIFIED;
    return r->is_unverified || settle(r, result);
}

bool auth_gate_ready(struct api_request *r)
{
    if (!r->is_unverified) return true;
    enum auth_result result = identify(r); /* another request may have been verified while the body came */
    if (result == AUTH_UNVERIFIED) {
        struct auth *a = r->api->options.auth;
        r->is_pending = atomic_fetch_add(&a->n_pending, 1) < AUTH_PENDING_MAX;
        if (r->is_pending) return true;
        (void)atomic_fetch_sub(&a->n_pending, 1);
    }
    r->is_unverified = false;
    return settle(r, result);
}

void auth_gate_leave(struct api_request *r)
{
    if (r->is_pending) (void)atomic_fetch_sub(&r->api->options.auth->n_pending, 1);
    r->is_unverified = r->is_pending = false;
}

bool auth_gate_confirm(struct api_request *r)
{
    if (!r->is_unverified) return true;
    const struct auth_headers h = {r->authorization, r->chroma_token};
    enum auth_result result = auth_verify_basic(r->api->options.auth, &h, &r->user);
    auth_gate_leave(r);
    return settle(r, result);
}

void auth_gate_put_identity(const struct api_request *r, struct buf *b)
{
    const struct auth_user *u = r->user;
    buf_lit(b, "{\"user_id\":");
    json_put_string(b, u != NULL ? u->id : STR(""));
    buf_lit(b, ",\"tenant\":");
    json_put_string(b, u == NULL ? default_tenant : u->tenant.p != NULL ? u->tenant : STR("*"));
    buf_lit(b, ",\"databases\":[");
    if (u == NULL || u->any_database) json_put_string(b, u == NULL ? default_database : STR("*"));
    for (uint32_t i = 0; u != NULL && !u->any_database && i < u->n_databases; i++) {
        if (i > 0) buf_char(b, ',');
        json_put_string(b, u->databases[i]);
    }
    buf_lit(b, "]}");
}
