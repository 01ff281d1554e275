/* collections.c - reading collections: get, list, count; deleting; status and what a single node does not have.
 *
 * A collection is found only under its own tenant and database. Objects of the catalog are references that are given
 * back here; the live collection behind one is touched only inside an epoch entered before the look-up.
 */
#include "api/collections.h"

#include <inttypes.h>

#include "api/answer.h"
#include "api/quota.h"
#include "core/epoch.h"

void put_collection(struct buf *b, const struct catalog_collection *col, const struct collection *live, struct arena *a)
{
    char id[UUID_TEXT + 1];
    uint32_t dimension = live != NULL ? collection_dim(live) : 0;
    uuid_format(&col->id, id);
    buf_lit(b, "{\"id\":\"");
    buf_add(b, id, UUID_TEXT);
    buf_lit(b, "\",\"name\":");
    json_put_string(b, col->name);
    buf_lit(b, ",\"configuration_json\":");
    buf_str(b, col->configuration);
    buf_lit(b, ",\"schema\":");
    buf_str(b, col->schema);
    buf_lit(b, ",\"metadata\":");
    (void)json_put_meta(b, col->metadata, STR(""), a); /* damage there is SQLite's to notice */
    buf_lit(b, ",\"dimension\":");
    if (dimension > 0)
        json_put_uint(b, dimension);
    else
        buf_lit(b, "null");
    buf_lit(b, ",\"tenant\":");
    json_put_string(b, col->tenant);
    buf_lit(b, ",\"database\":");
    json_put_string(b, col->database);
    buf_lit(b, ",\"log_position\":0,\"version\":0}");
}

/* --- get --------------------------------------------------------------------------------------------------------- */

/* Gives the reference back. */
static enum api_outcome answer_collection(struct api_request *r, const struct catalog_collection *col)
{
    put_collection(&r->answer, col, store_collection(col), &r->arena);
    catalog_collection_unref(col);
    return api_ok(r, 200);
}

/* It may have been there already, with a dimension, which only its live object knows: looked up again, to hold that by an
 * epoch that began before. */
enum api_outcome answer_new_collection(struct api_request *r, const struct catalog_collection *col)
{
    epoch_enter();
    const struct catalog_collection *now =
        catalog_collection_by_id(store_catalog(r->api->store), r->params[0], r->params[1], &col->id);
    put_collection(&r->answer, col, now != NULL ? store_collection(now) : NULL, &r->arena);
    catalog_collection_unref(now);
    epoch_leave();
    catalog_collection_unref(col);
    return api_ok(r, 200);
}

enum api_outcome handle_get_collection(struct api_request *r)
{
    enum api_outcome outcome;
    if (!api_check_database_name(r, r->params[1])) return API_DONE;
    epoch_enter();
    const struct catalog_collection *col =
        catalog_collection_by_name(store_catalog(r->api->store), r->params[0], r->params[1], r->params[2]);
    if (col != NULL)
        outcome = answer_collection(r, col);
    else
        outcome = answer_about(r, ERR_NOT_FOUND, "Collection [", r->params[2], "] does not exist");
    epoch_leave();
    return outcome;
}

enum api_outcome handle_get_collection_by_id(struct api_request *r)
{
    struct uuid id;
    char text[UUID_TEXT + 1];
    enum api_outcome outcome;
    if (!api_check_database_name(r, r->params[1])) return API_DONE;
    if (!uuid_parse(r->params[2], &id))
        return api_fail(r, ERR_INVALID, "Validation error: collection_id: Invalid collection ID format, expected UUID");
    epoch_enter();
    const struct catalog_collection *col =
        catalog_collection_by_id(store_catalog(r->api->store), r->params[0], r->params[1], &id);
    if (col != NULL) {
        outcome = answer_collection(r, col);
    } else {
        uuid_format(&id, text);
        outcome = api_fail(r, ERR_NOT_FOUND, "Collection [%s] does not exist", text);
    }
    epoch_leave();
    return outcome;
}

/* <tenant_resource_name>:<database_name>:<collection_name>. A tenant has no resource name on a single node, so a
 * well-formed name leads nowhere. */
enum api_outcome handle_get_collection_by_crn(struct api_request *r)
{
    struct str crn = r->params[0];
    size_t n_parts = 1, n_empty = 0, part = 0;
    for (size_t i = 0; i < crn.n; i++) {
        if (crn.p[i] != ':') {
            part++;
            continue;
        }
        n_empty += part == 0;
        n_parts++;
        part = 0;
    }
    n_empty += part == 0;
    if (n_parts != 3 || n_empty > 0)
        return api_fail(r, ERR_INVALID,
                        "Validation error: crn: CRN must be in the format "
                        "<tenant_resource_name>:<database_name>:<collection_name> with non-empty parts");
    return answer_about(r, ERR_NOT_FOUND, "Collection [", crn, "] does not exist");
}

/* --- list and count ---------------------------------------------------------------------------------------------- */

enum api_outcome handle_list_collections(struct api_request *r)
{
    uint32_t limit, offset;
    const struct catalog_collection **list;
    size_t n;
    if (!api_limit_offset(r, &limit, &offset)) return API_DONE;
    if (!quota_allows_limit(r, QUOTA_LIMIT, limit != UINT32_MAX, UINT32_MAX, &limit)) return API_DONE;
    if (!api_check_database_name(r, r->params[1])) return API_DONE;
    epoch_enter();
    enum err e = catalog_list_collections(store_catalog(r->api->store), r->params[0], r->params[1], limit, offset,
                                          &r->arena, &list, &n);
    if (e == ERR_OK) {
        buf_char(&r->answer, '[');
        for (size_t i = 0; i < n; i++) {
            if (i > 0) buf_char(&r->answer, ',');
            put_collection(&r->answer, list[i], store_collection(list[i]), &r->arena);
            catalog_collection_unref(list[i]);
        }
        buf_char(&r->answer, ']');
    }
    epoch_leave();
    if (e != ERR_OK) return api_fail(r, e, "The collections could not be listed: %s", err_text(e));
    return api_ok(r, 200);
}

enum api_outcome handle_count_collections(struct api_request *r)
{
    if (!api_check_database_name(r, r->params[1])) return API_DONE;
    json_put_uint(&r->answer, catalog_count_collections(store_catalog(r->api->store), r->params[0], r->params[1]));
    return api_ok(r, 200);
}

/* --- delete ------------------------------------------------------------------------------------------------------ */

enum api_outcome handle_delete_collection(struct api_request *r)
{
    struct errmsg em = {{0}};
    if (!api_check_database_name(r, r->params[1])) return API_DONE;
    enum err e = store_delete_collection(r->api->store, r->params[0], r->params[1], r->params[2], &em);
    if (e == ERR_NOT_FOUND) return answer_about(r, e, "Collection [", r->params[2], "] does not exist");
    if (e != ERR_OK) return api_fail(r, e, "%s", em.text);
    buf_lit(&r->answer, "{}");
    return api_ok(r, 200);
}

/* --- status ------------------------------------------------------------------------------------------------------ */

/* Every write is searchable when it is acknowledged: there is never anything that is not indexed yet. */
enum api_outcome handle_indexing_status(struct api_request *r)
{
    epoch_enter();
    const struct catalog_collection *col = api_find_collection(r);
    if (col == NULL) {
        epoch_leave();
        return API_DONE;
    }
    const struct collection *live = store_collection(col);
    uint64_t n = live != NULL ? collection_count(live) : 0;
    catalog_collection_unref(col);
    epoch_leave();
    buf_printf(&r->answer,
               "{\"op_indexing_progress\":1.0,\"num_unindexed_ops\":0,\"num_indexed_ops\":%" PRIu64
               ",\"total_ops\":%" PRIu64 "}",
               n, n);
    return api_ok(r, 200);
}

/* --- functions: not on a single node ----------------------------------------------------------------------------- */

/* A body whose needed members are strings: read, checked, and of no further use. False: answered. */
static bool check_body(struct api_request *r, const char *const *names, uint32_t n, uint32_t n_needed,
                       const char *expected)
{
    struct json_reader *j = arena_alloc(&r->arena, sizeof *j);
    struct json_fields f;
    struct str s;
    bool ok;
    if (j == NULL) {
        (void)api_fail(r, ERR_NOMEM, "out of memory");
        return false;
    }
    json_reader_init(j, r->body, &r->arena);
    if (json_enter_fields(j, &f, names, n, false, expected)) {
        for (int i; (i = json_next_field(j, &f)) >= 0;) {
            if ((uint32_t)i < n_needed)
                (void)json_string(j, &s, "a string");
            else if (strcmp(names[i], "delete_output") == 0)
                (void)json_bool(j, &ok, "a boolean");
            else
                (void)json_skip(j);
        }
        for (uint32_t i = 0; i < n_needed; i++) (void)json_need_field(j, &f, i);
        (void)json_finish(j);
    }
    if (j->err == ERR_OK) return true;
    (void)api_fail_json(r, j);
    return false;
}

/* Checks the path of a function's route; false: answered. Of a wrong identifier it says what upstream's parser says of
 * the usual mistake. */
static bool check_function_collection(struct api_request *r, const char *prefix)
{
    struct uuid id;
    struct str s = r->params[2];
    if (!api_check_database_name(r, r->params[1])) return false;
    if (memchr(r->params[1].p, '+', r->params[1].n) != NULL) {
        (void)api_fail(r, ERR_INVALID, "multi-region databases do not support attached functions");
        return false;
    }
    if (uuid_parse(s, &id)) return true;
    size_t i = 0;
    while (i < s.n && (s.p[i] == '-' || (s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f') ||
                       (s.p[i] >= 'A' && s.p[i] <= 'F')))
        i++;
    struct str why = STR("invalid length or grouping");
    if (i < s.n) {
        size_t n = i + 1;
        while (n < s.n && ((unsigned char)s.p[n] & 0xc0) == 0x80) n++;
        why = arena_printf(&r->arena,
                           "invalid character: expected an optional prefix of `urn:uuid:` followed by "
                           "[0-9a-fA-F-], found `%.*s` at %zu",
                           (int)(n - i), s.p + i, i + 1);
    }
    (void)api_fail(r, ERR_INVALID,
                   "%scode: 'Client specified an invalid argument', message: \"Client validation error: "
                   "Invalid collection_id UUID format: %.*s\"",
                   prefix, STR_ARG(why));
    return false;
}

enum api_outcome handle_attach_function(struct api_request *r)
{
    static const char *const names[] = {"name", "function_id", "output_collection", "params"};
    if (!check_body(r, names, 4, 3, "struct AttachFunctionRequest")) return API_DONE;
    if (!check_function_collection(r, "Tonic error: ")) return API_DONE;
    return api_fail(r, ERR_UNSUPPORTED,
                    "Tonic error: code: 'Operation is not implemented or not supported', message: \" Attached Function "
                    "operations not yet implemented in SqliteSysDb\"");
}

enum api_outcome handle_get_function(struct api_request *r)
{
    if (!check_function_collection(r, "Failed to get attached function: ")) return API_DONE;
    return api_fail(r, ERR_NOT_FOUND, "Attached function not found");
}

enum api_outcome handle_detach_function(struct api_request *r)
{
    static const char *const names[] = {"delete_output"};
    if (!check_body(r, names, 1, 0, "struct DetachFunctionRequest")) return API_DONE;
    if (!check_function_collection(r, "Tonic error: ")) return API_DONE;
    return api_fail(r, ERR_UNSUPPORTED,
                    "Tonic error: code: 'Operation is not implemented or not supported', message: \"Not implemented\"");
}
