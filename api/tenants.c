/* tenants.c - tenants and databases.
 *
 * A database's tenant need not exist (upstream's rule): only names are looked up. Creating checks the name first, then
 * writes; the catalog says whether it was taken.
 */
#include "api/answer.h"
#include "api/auth_gate.h"
#include "api/name.h"
#include "api/quota.h"

/* The one member of {"<name>": string}; false: answered. */
static bool read_only_string(struct api_request *r, const char *name, const char *expected, struct str *s)
{
    struct json_reader *j = arena_alloc(&r->arena, sizeof *j);
    struct json_fields f;
    if (j == NULL) {
        (void)api_fail(r, ERR_NOMEM, "out of memory");
        return false;
    }
    json_reader_init(j, r->body, &r->arena);
    if (json_enter_fields(j, &f, &name, 1, false, expected)) {
        while (json_next_field(j, &f) >= 0) (void)json_string(j, s, "a string");
        if (json_need_field(j, &f, 0)) (void)json_finish(j);
    }
    if (j->err == ERR_OK) return true;
    (void)api_fail_json(r, j);
    return false;
}

static enum api_outcome answer_done(struct api_request *r)
{
    buf_lit(&r->answer, "{}");
    return api_ok(r, 200);
}

/* --- tenants ----------------------------------------------------------------------------------------------------- */

enum api_outcome handle_create_tenant(struct api_request *r)
{
    struct str name;
    struct errmsg em = {{0}};
    if (!read_only_string(r, "name", "struct CreateTenantPayload", &name)) return API_DONE;
    if (name_length(name) < 3) {
        struct buf text = {0};
        buf_lit(&text, "Validation error: name: Validation error: length [{\"min\": Number(3), \"value\": String(");
        json_put_string(&text, name);
        buf_lit(&text, ")}]");
        enum api_outcome outcome = api_fail_str(r, ERR_INVALID, buf_view(&text));
        buf_free(&text);
        return outcome;
    }
    enum err e = catalog_create_tenant(store_catalog(r->api->store), name, &em);
    if (e == ERR_EXISTS) return answer_about(r, e, "Tenant [", name, "] already exists");
    if (e != ERR_OK) return api_fail(r, e, "%s", em.text);
    return answer_done(r);
}

enum api_outcome handle_get_tenant(struct api_request *r)
{
    struct str name = r->params[0];
    if (!catalog_has_tenant(store_catalog(r->api->store), name))
        return answer_about(r, ERR_NOT_FOUND, "Tenant [", name, "] not found");
    buf_lit(&r->answer, "{\"name\":");
    json_put_string(&r->answer, name);
    buf_lit(&r->answer, ",\"resource_name\":null}");
    return api_ok(r, 200);
}

/* Nothing of a tenant can be changed on a single node; the request is checked and that is all (upstream's rule). */
enum api_outcome handle_update_tenant(struct api_request *r)
{
    struct str resource_name;
    if (!read_only_string(r, "resource_name", "struct UpdateTenantPayload", &resource_name)) return API_DONE;
    return answer_done(r);
}

/* --- databases --------------------------------------------------------------------------------------------------- */

static void put_database(struct buf *b, const struct uuid *id, struct str name, struct str tenant)
{
    char text[UUID_TEXT + 1];
    uuid_format(id, text);
    buf_lit(b, "{\"id\":\"");
    buf_add(b, text, UUID_TEXT);
    buf_lit(b, "\",\"name\":");
    json_put_string(b, name);
    buf_lit(b, ",\"tenant\":");
    json_put_string(b, tenant);
    buf_char(b, '}');
}

/* Databases outside of the caller's scope are left out before paging: neither they nor their number shows. */
static enum err list_covered(struct api_request *r, uint32_t limit, uint32_t offset, struct catalog_database **list,
                             size_t *n)
{
    struct catalog *c = store_catalog(r->api->store);
    if (auth_gate_covers_all_databases(r))
        return catalog_list_databases(c, r->params[0], limit, offset, &r->arena, list, n);
    enum err e = catalog_list_databases(c, r->params[0], UINT32_MAX, 0, &r->arena, list, n);
    if (e != ERR_OK) return e;
    size_t n_covered = 0, n_kept = 0;
    for (size_t i = 0; i < *n; i++) {
        if (!auth_gate_covers_database(r, (*list)[i].name)) continue;
        if (n_covered++ >= offset && n_kept < limit) (*list)[n_kept++] = (*list)[i];
    }
    *n = n_kept;
    return ERR_OK;
}

enum api_outcome handle_list_databases(struct api_request *r)
{
    uint32_t limit, offset;
    struct catalog_database *list;
    size_t n;
    if (!api_limit_offset(r, &limit, &offset)) return API_DONE;
    enum err e = list_covered(r, limit, offset, &list, &n);
    if (e != ERR_OK) return api_fail(r, e, "The databases could not be listed: %s", err_text(e));
    buf_char(&r->answer, '[');
    for (size_t i = 0; i < n; i++) {
        if (i > 0) buf_char(&r->answer, ',');
        put_database(&r->answer, &list[i].id, list[i].name, list[i].tenant);
    }
    buf_char(&r->answer, ']');
    return api_ok(r, 200);
}

enum api_outcome handle_create_database(struct api_request *r)
{
    struct str name = {NULL, 0}, fault = {NULL, 0};
    struct errmsg em = {{0}};
    if (!read_only_string(r, "name", "struct CreateDatabasePayload", &name)) return API_DONE;
    if (!auth_gate_covers_database(r, name)) return auth_gate_forbid(r);
    if (!name_check(name, &r->arena, &fault))
        return fault.p != NULL ? api_fail_str(r, ERR_INVALID, fault) : api_fail(r, ERR_NOMEM, "out of memory");
    if (!quota_allows(r, QUOTA_NAME_BYTES, name.n)) return API_DONE;
    uint64_t n_used = 0;
    enum err e = catalog_create_database_within(store_catalog(r->api->store), r->params[0], name,
                                                quota_max(r, QUOTA_DATABASES), &n_used, &em);
    if (e == ERR_QUOTA) return quota_refuse(r, QUOTA_DATABASES, n_used);
    if (e == ERR_EXISTS) return answer_about(r, e, "Database [", name, "] already exists");
    if (e != ERR_OK) return api_fail(r, e, "%s", em.text);
    return answer_done(r);
}

enum api_outcome handle_get_database(struct api_request *r)
{
    struct uuid id;
    struct str tenant = r->params[0], name = r->params[1];
    if (!api_check_database_name(r, name)) return API_DONE;
    enum err e = catalog_get_database(store_catalog(r->api->store), tenant, name, &id);
    if (e == ERR_NOT_FOUND) return answer_about(r, e, "Database [", name, "] not found. Are you sure it exists?");
    if (e != ERR_OK) return api_fail(r, e, "The database could not be read: %s", err_text(e));
    put_database(&r->answer, &id, name, tenant);
    return api_ok(r, 200);
}

enum api_outcome handle_delete_database(struct api_request *r)
{
    struct errmsg em = {{0}};
    struct str name = r->params[1];
    enum err e = store_delete_database(r->api->store, r->params[0], name, &em);
    if (e == ERR_NOT_FOUND) return answer_about(r, e, "Database [", name, "] not found");
    if (e != ERR_OK) return api_fail(r, e, "%s", em.text);
    return answer_done(r);
}
