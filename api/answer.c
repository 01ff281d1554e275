/* answer.c - how handlers answer: success, the error shape, what a failed reader says; paging and common look-ups.
 *
 * INVARIANT  after any of these the answer is complete: status, body and type belong together. An answer with a
 *            status of 400 and above carries a trace id.
 * FAILURE    memory too short for the answer: 503 with an empty body.
 */
#include "api/handler.h"

#include <stdarg.h>
#include <stdio.h>

#include "api/answer.h"
#include "core/hash.h"

static void set_trace_id(struct api_request *r)
{
    static const char hex[] = "0123456789abcdef";
    uint8_t id[16];
    r->has_trace_id = true;
    if (r->trace_id[0] != '\0') return;
    random_bytes(id, sizeof id);
    for (size_t i = 0; i < sizeof id; i++) {
        r->trace_id[2 * i] = hex[id[i] >> 4];
        r->trace_id[2 * i + 1] = hex[id[i] & 15];
    }
    r->trace_id[32] = '\0';
}

enum api_outcome answer_empty(struct api_request *r, unsigned status)
{
    r->answer.n = 0;
    r->answer.err = ERR_OK;
    r->answer_type = STR("");
    r->status = status;
    if (status >= 400) set_trace_id(r);
    return API_DONE;
}

enum api_outcome answer_text(struct api_request *r, unsigned status, struct str type, struct str text)
{
    r->answer.n = 0;
    r->answer.err = ERR_OK;
    buf_str(&r->answer, text);
    r->answer_type = type;
    r->status = status;
    if (status >= 400) set_trace_id(r);
    return r->answer.err == ERR_OK ? API_DONE : answer_empty(r, err_status(ERR_NOMEM));
}

enum api_outcome answer_error(struct api_request *r, unsigned status, const char *name, struct str message)
{
    r->answer.n = 0;
    r->answer.err = ERR_OK;
    buf_lit(&r->answer, "{\"error\":");
    json_put_string(&r->answer, str_from_c(name));
    buf_lit(&r->answer, ",\"message\":");
    json_put_text(&r->answer, message); /* it may quote a query string */
    buf_char(&r->answer, '}');
    if (r->answer.err != ERR_OK) return answer_empty(r, err_status(ERR_NOMEM));
    r->answer_type = STR("application/json");
    r->status = status;
    r->error_name = name;
    set_trace_id(r);
    return API_DONE;
}

enum api_outcome api_fail_str(struct api_request *r, enum err e, struct str message)
{
    CHECK(e != ERR_OK && "a failure needs a reason");
    return answer_error(r, err_status(e), err_name(e), message);
}

enum api_outcome api_fail(struct api_request *r, enum err e, const char *fmt, ...)
{
    /* %.*s of names that hold NUL would end early; such names reach only messages, where that does no harm. */
    struct buf text = {0};
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *to = n < 0 ? NULL : buf_room(&text, (size_t)n + 1);
    if (to == NULL) {
        buf_free(&text);
        return answer_empty(r, err_status(ERR_NOMEM));
    }
    va_start(ap, fmt);
    (void)vsnprintf(to, (size_t)n + 1, fmt, ap);
    va_end(ap);
    enum api_outcome outcome = api_fail_str(r, e, str_of(to, (size_t)n));
    buf_free(&text);
    return outcome;
}

enum api_outcome answer_about(struct api_request *r, enum err e, const char *before, struct str name, const char *after)
{
    struct buf text = {0};
    buf_str(&text, str_from_c(before));
    buf_str(&text, name);
    buf_str(&text, str_from_c(after));
    enum api_outcome outcome =
        text.err == ERR_OK ? api_fail_str(r, e, buf_view(&text)) : answer_empty(r, err_status(ERR_NOMEM));
    buf_free(&text);
    return outcome;
}

enum api_outcome api_fail_json(struct api_request *r, const struct json_reader *j)
{
    const char *prefix = "";
    if (j->err == ERR_INVALID)
        prefix = "Failed to parse the request body as JSON: ";
    else if (j->err == ERR_SHAPE)
        prefix = "Failed to deserialize the JSON body into the target type: ";
    struct buf text = {0};
    buf_add(&text, prefix, strlen(prefix));
    buf_str(&text, j->message);
    enum api_outcome outcome =
        text.err == ERR_OK ? api_fail_str(r, j->err, buf_view(&text)) : answer_empty(r, err_status(ERR_NOMEM));
    buf_free(&text);
    return outcome;
}

enum api_outcome api_ok(struct api_request *r, unsigned status)
{
    if (r->answer.err != ERR_OK) return api_fail(r, r->answer.err, "The answer does not fit in memory");
    r->answer_type = STR("application/json");
    r->status = status;
    return API_DONE;
}

/* --- the query string -------------------------------------------------------------------------------------------- */

/* An unsigned 32-bit number as upstream reads it, or what is wrong with it. */
static const char *parse_u32(struct str s, uint32_t *v)
{
    uint64_t sum = 0;
    if (s.n == 0) return "cannot parse integer from empty string";
    if (s.p[0] == '+' && s.n > 1) {
        s.p++;
        s.n--;
    }
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return "invalid digit found in string";
        sum = sum * 10 + (uint64_t)(s.p[i] - '0');
        if (sum > UINT32_MAX) return "number too large to fit in target type";
    }
    *v = (uint32_t)sum;
    return NULL;
}

bool api_limit_offset(struct api_request *r, uint32_t *limit, uint32_t *offset)
{
    static const char *const names[] = {"limit", "offset"};
    uint32_t values[2] = {UINT32_MAX, 0};
    bool is_given[2] = {false, false};
    struct str rest = r->query, pair, key, value;
    while (next_query_pair(&rest, &pair)) {
        const char *equals = memchr(pair.p, '=', pair.n);
        size_t n_key = equals != NULL ? (size_t)(equals - pair.p) : pair.n;
        struct str raw = equals != NULL ? str_of(equals + 1, pair.n - n_key - 1) : STR("");
        if (!percent_decode(&r->arena, str_of(pair.p, n_key), true, &key) ||
            !percent_decode(&r->arena, raw, true, &value)) {
            (void)api_fail(r, ERR_NOMEM, "out of memory");
            return false;
        }
        for (int i = 0; i < 2; i++) {
            if (!str_eq(key, str_from_c(names[i]))) continue;
            if (is_given[i]) {
                (void)api_fail(r, ERR_INVALID, "Failed to deserialize query string: duplicate field `%s`", names[i]);
                return false;
            }
            const char *fault = parse_u32(value, &values[i]);
            if (fault != NULL) {
                (void)api_fail(r, ERR_INVALID, "Failed to deserialize query string: %s: %s", names[i], fault);
                return false;
            }
            is_given[i] = true;
        }
    }
    *limit = values[0];
    *offset = values[1];
    return true;
}

bool next_query_pair(struct str *rest, struct str *pair)
{
    while (rest->n > 0) {
        const char *amp = memchr(rest->p, '&', rest->n);
        size_t n = amp != NULL ? (size_t)(amp - rest->p) : rest->n;
        *pair = str_of(rest->p, n);
        rest->p += n + (amp != NULL);
        rest->n -= n + (amp != NULL);
        if (n > 0) return true;
    }
    return false;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool percent_decode(struct arena *a, struct str s, bool plus_is_space, struct str *out)
{
    if (s.n == 0) {
        *out = STR("");
        return true;
    }
    if (memchr(s.p, '%', s.n) == NULL && (!plus_is_space || memchr(s.p, '+', s.n) == NULL)) {
        *out = s;
        return true;
    }
    char *to = arena_alloc(a, s.n);
    if (to == NULL) return false;
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        int high = -1, low = -1;
        if (s.p[i] == '%' && s.n - i > 2) {
            high = hex_digit(s.p[i + 1]);
            low = hex_digit(s.p[i + 2]);
        }
        if (high >= 0 && low >= 0) {
            to[n++] = (char)(high << 4 | low);
            i += 2;
        } else {
            to[n++] = plus_is_space && s.p[i] == '+' ? ' ' : s.p[i];
        }
    }
    *out = str_of(to, n);
    return true;
}

/* --- look-ups ---------------------------------------------------------------------------------------------------- */

bool api_check_database_name(struct api_request *r, struct str name)
{
    if (name.n >= 3) return true;
    (void)api_fail(r, ERR_INVALID, "database name must be at least 3 characters");
    return false;
}

enum api_outcome api_no_collection(struct api_request *r, const struct uuid *id)
{
    char text[UUID_TEXT + 1];
    uuid_format(id, text);
    return api_fail(r, ERR_NOT_FOUND, "Collection [%s] does not exist.", text);
}

const struct catalog_collection *api_find_collection(struct api_request *r)
{
    struct uuid id;
    if (!api_check_database_name(r, r->params[1])) return NULL;
    if (!uuid_parse(r->params[2], &id)) {
        (void)api_fail(r, ERR_INVALID, "Collection ID is not a valid UUIDv4");
        return NULL;
    }
    const struct catalog_collection *col =
        catalog_collection_by_id(store_catalog(r->api->store), r->params[0], r->params[1], &id);
    if (col == NULL) (void)api_no_collection(r, &id);
    return col;
}
