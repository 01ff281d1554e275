/* records_count.c - how many rows a collection has. Runs on the loop: the number is kept, nothing is counted.
 *
 * `read_level` says how fresh the number must be. Ours is always that of every acknowledged write, so each level
 * gets it; only what it may be called is checked.
 */
#include "api/answer.h"
#include "api/records.h"
#include "core/epoch.h"

/* False: answered. */
static bool check_read_level(struct api_request *r)
{
    struct str rest = r->query, pair, key, value;
    bool is_given = false;
    while (next_query_pair(&rest, &pair)) {
        const char *equals = memchr(pair.p, '=', pair.n);
        size_t n_key = equals != NULL ? (size_t)(equals - pair.p) : pair.n;
        struct str raw = equals != NULL ? str_of(equals + 1, pair.n - n_key - 1) : STR("");
        if (!percent_decode(&r->arena, str_of(pair.p, n_key), true, &key) ||
            !percent_decode(&r->arena, raw, true, &value)) {
            (void)records_fail(r, ERR_NOMEM, NULL);
            return false;
        }
        if (!str_eq(key, STR("read_level"))) continue;
        if (is_given) {
            (void)api_fail(r, ERR_INVALID, "Failed to deserialize query string: duplicate field `read_level`");
            return false;
        }
        is_given = true;
        if (records_is_read_level(value)) continue;
        (void)api_fail(r, ERR_INVALID,
                       "Failed to deserialize query string: read_level: unknown variant `%.*s`, expected one "
                       "of " RECORDS_READ_LEVELS,
                       STR_ARG(value));
        return false;
    }
    return true;
}

enum api_outcome handle_count(struct api_request *r)
{
    enum api_outcome outcome = API_DONE;
    if (!check_read_level(r)) return API_DONE;
    epoch_enter();
    const struct catalog_collection *col = api_find_collection(r);
    if (col != NULL) {
        json_put_uint(&r->answer, collection_count(store_collection(col)));
        outcome = api_ok(r, 200);
        catalog_collection_unref(col);
    }
    epoch_leave();
    return outcome;
}
