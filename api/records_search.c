/* records_search.c - the answer of `search` on a single node: 501, as upstream's, after the same checks of body and
 * collection.
 */
#include "api/records.h"

static bool read_read_level(struct json_reader *j)
{
    struct str level;
    if (!json_string(j, &level, "a string")) return false;
    if (records_is_read_level(level)) return true;
    json_fail_shape(j, "unknown variant `%.*s`, expected one of " RECORDS_READ_LEVELS,
                    level.n < 200 ? (int)level.n : 200, level.p);
    return false;
}

static bool read_search(struct json_reader *j)
{
    static const char *const names[] = {"searches", "read_level"};
    const char *expected = "struct SearchRequestPayload";
    struct json_fields f;
    bool ok = json_enter_fields(j, &f, names, 2, false, expected);
    for (int i; ok && (i = json_next_field(j, &f)) >= 0;) {
        if (i == 1) {
            ok = read_read_level(j);
            continue;
        }
        ok = json_enter_array(j, "a sequence");
        while (ok && json_next_item(j)) {
            struct str key;
            ok = json_enter_object(j, "struct SearchPayload");
            while (ok && json_next_member(j, &key)) ok = json_skip(j);
        }
    }
    if (ok && f.is_array && j->err == ERR_OK && f.next < f.n) {
        json_fail_shape(j, "invalid length %u, expected %s with 2 elements", f.next, expected);
    }
    return ok && json_need_field(j, &f, 0) && json_finish(j);
}

enum api_outcome handle_search(struct api_request *r)
{
    struct json_reader j;
    json_reader_init(&j, r->body, &r->arena);
    if (!read_search(&j)) return records_fail_body(r, &j);
    const struct catalog_collection *col = api_find_collection(r);
    if (col == NULL) return API_DONE;
    catalog_collection_unref(col);
    return api_fail(r, ERR_UNSUPPORTED,
                    "Error executing plan: Not implemented: Search operation is not implemented for local executor");
}
