/* json_read.c - the pull reader: white space, containers, literals, and what a failure says. Strings: json_string.c;
 * numbers: json_number.c.
 *
 * HAPPY PATH  the caller enters a container, asks for members or items until there are none, and reads each value
 *             by the type it expects. r->at always stands behind what was read.
 * FAILURE     the first one is kept in r->err and r->message; from then on every call returns false. Places are counted
 *             as upstream's parser counts them: columns in bytes, behind what was consumed; a byte that was only
 *             looked at counts as consumed when it is itself the fault.
 * INVARIANTS  start <= at <= end. depth <= JSON_DEPTH_MAX. path[0 .. depth) describes the place; the innermost step counts
 *             only while has_step.
 */
#include "api/json_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/mem.h"
#include "core/utf8.h"

void json_reader_init(struct json_reader *r, struct str text, struct arena *arena)
{
    /* The path is left alone: 3 KB that are written before they are read. */
    r->start = r->at = text.p != NULL ? text.p : "";
    r->end = r->start + text.n;
    r->arena = arena;
    r->err = ERR_OK;
    r->message = STR("");
    r->depth = 0;
    r->is_first = false;
    r->has_step = false;
    r->key_end = r->start;
}

/* --- failures ---------------------------------------------------------------------------------------------------- */

void json_fail_nomem(struct json_reader *r)
{
    if (r->err != ERR_OK) return;
    r->err = ERR_NOMEM;
    r->message = STR("out of memory");
}

static void put_path(const struct json_reader *r, struct buf *b)
{
    unsigned n = r->depth;
    if (n > 0 && !r->has_step) n--;
    for (unsigned i = 0; i < n; i++) {
        const struct json_step *s = &r->path[i];
        if (s->key.p == NULL) {
            buf_printf(b, "[%" PRIu32 "]", s->index);
        } else {
            if (i > 0) buf_char(b, '.');
            buf_str(b, s->key);
        }
    }
    if (n > 0) buf_lit(b, ": ");
}

static void fail_v(struct json_reader *r, enum err e, const char *where, const char *fmt, va_list ap)
{
    struct buf b = {0};
    char text[1024];
    if (r->err != ERR_OK) return;
    if (where > r->end) where = r->end;
    size_t line = 1;
    const char *line_start = r->start;
    for (const char *p = r->start; (p = memchr(p, '\n', (size_t)(where - p))) != NULL;) {
        line_start = ++p;
        line++;
    }
    put_path(r, &b);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    if (n > 0) buf_add(&b, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
    buf_printf(&b, " at line %zu column %zu", line, (size_t)(where - line_start));
    r->err = e;
    r->message = b.err == ERR_OK ? arena_str(r->arena, buf_view(&b)) : (struct str){NULL, 0};
    buf_free(&b);
    if (r->message.p == NULL) {
        r->err = ERR_NOMEM;
        r->message = STR("out of memory");
    }
}

void json_fail_at(struct json_reader *r, enum err e, const char *where, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail_v(r, e, where, fmt, ap);
    va_end(ap);
}

void json_fail_shape(struct json_reader *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail_v(r, ERR_SHAPE, r->at, fmt, ap);
    va_end(ap);
}

void json_fail_shape_late(struct json_reader *r, const char *fmt, ...)
{
    va_list ap;
    if (r->err != ERR_OK) return;
    json_skip_space(r);
    const char *where = r->at;
    if (where < r->end && (*where == '}' || *where == ']')) where++;
    va_start(ap, fmt);
    fail_v(r, ERR_SHAPE, where, fmt, ap);
    va_end(ap);
}

bool json_fail_byte(struct json_reader *r, const char *eof, const char *wrong)
{
    if (r->at == r->end)
        json_fail_at(r, ERR_INVALID, r->end, "%s", eof);
    else
        json_fail_at(r, ERR_INVALID, r->at + 1, "%s", wrong);
    return false;
}

void json_fail_type(struct json_reader *r, const char *expected)
{
    enum { SHOWN_MAX = 200 };
    struct json_number n;
    struct str s;
    struct buf b = {0};
    bool v;
    switch (json_peek(r)) {
    case JSON_FAILED:
        break;
    case JSON_NULL:
        if (json_null(r)) json_fail_shape(r, "invalid type: null, expected %s", expected);
        break;
    case JSON_BOOL:
        if (json_bool(r, &v, ""))
            json_fail_shape(r, "invalid type: boolean `%s`, expected %s", v ? "true" : "false", expected);
        break;
    case JSON_NUMBER:
        if (!json_read_number(r, &n)) break;
        if (n.is_int) {
            json_fail_shape(r, "invalid type: integer `%" PRId64 "`, expected %s", n.i, expected);
        } else if (n.is_uint) {
            json_fail_shape(r, "invalid type: integer `%" PRIu64 "`, expected %s", n.u, expected);
        } else {
            json_put_double(&b, n.f);
            json_fail_shape(r, "invalid type: floating point `%.*s`, expected %s", STR_ARG(buf_view(&b)), expected);
        }
        break;
    case JSON_STRING:
        if (!json_string(r, &s, "")) break;
        if (s.n > SHOWN_MAX) s.n = SHOWN_MAX;
        while (s.n > 0 && !utf8_is_valid(s)) s.n--;
        json_put_string(&b, s);
        json_fail_shape(r, "invalid type: string %.*s, expected %s", STR_ARG(buf_view(&b)), expected);
        break;
    case JSON_ARRAY:
        json_fail_shape(r, "invalid type: sequence, expected %s", expected);
        break;
    case JSON_OBJECT:
        json_fail_shape(r, "invalid type: map, expected %s", expected);
        break;
    }
    buf_free(&b);
}

/* --- values ------------------------------------------------------------------------------------------------------ */

void json_skip_space(struct json_reader *r)
{
    const char *p = r->at;
    while (p < r->end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')) p++;
    r->at = p;
}

enum json_type json_peek(struct json_reader *r)
{
    if (r->err != ERR_OK) return JSON_FAILED;
    json_skip_space(r);
    if (r->at < r->end) {
        switch (*r->at) {
        case 'n':
            return JSON_NULL;
        case 't':
        case 'f':
            return JSON_BOOL;
        case '"':
            return JSON_STRING;
        case '[':
            return JSON_ARRAY;
        case '{':
            return JSON_OBJECT;
        case '-':
            return JSON_NUMBER;
        default:
            if (*r->at >= '0' && *r->at <= '9') return JSON_NUMBER;
        }
    }
    json_fail_byte(r, "EOF while parsing a value", "expected value");
    return JSON_FAILED;
}

static bool read_word(struct json_reader *r, struct str word)
{
    for (size_t i = 0; i < word.n; i++) {
        if (r->at == r->end || *r->at != word.p[i])
            return json_fail_byte(r, "EOF while parsing a value", "expected ident");
        r->at++;
    }
    return true;
}

bool json_null(struct json_reader *r)
{
    return json_peek(r) == JSON_NULL && read_word(r, STR("null"));
}

bool json_bool(struct json_reader *r, bool *b, const char *expected)
{
    enum json_type t = json_peek(r);
    if (t == JSON_FAILED) return false;
    if (t != JSON_BOOL) {
        json_fail_type(r, expected);
        return false;
    }
    bool v = *r->at == 't';
    if (!read_word(r, v ? STR("true") : STR("false"))) return false;
    *b = v;
    return true;
}

bool json_number(struct json_reader *r, struct json_number *n, const char *expected)
{
    enum json_type t = json_peek(r);
    if (t == JSON_FAILED) return false;
    if (t != JSON_NUMBER) {
        json_fail_type(r, expected);
        return false;
    }
    return json_read_number(r, n);
}

bool json_u32(struct json_reader *r, uint32_t *v)
{
    struct json_number n;
    enum json_type t = json_peek(r);
    if (t == JSON_FAILED) return false;
    const char *at = r->at;
    if (t != JSON_NUMBER) {
        json_fail_type(r, "u32");
        return false;
    }
    if (!json_read_number(r, &n)) return false;
    if (n.is_uint && n.u <= UINT32_MAX) {
        *v = (uint32_t)n.u;
        return true;
    }
    if (n.is_uint) {
        json_fail_shape(r, "invalid value: integer `%" PRIu64 "`, expected u32", n.u);
    } else if (n.is_int) {
        json_fail_shape(r, "invalid value: integer `%" PRId64 "`, expected u32", n.i);
    } else {
        r->at = at;
        json_fail_type(r, "u32");
    }
    return false;
}

bool json_string(struct json_reader *r, struct str *s, const char *expected)
{
    struct str v;
    enum json_type t = json_peek(r);
    if (t == JSON_FAILED) return false;
    if (t != JSON_STRING) {
        json_fail_type(r, expected);
        return false;
    }
    if (!json_read_string(r, &v)) return false;
    *s = v;
    return true;
}

/* --- containers -------------------------------------------------------------------------------------------------- */

static bool enter(struct json_reader *r, enum json_type wanted, const char *expected)
{
    enum json_type t = json_peek(r);
    if (t == JSON_FAILED) return false;
    if (t != wanted) {
        json_fail_type(r, expected);
        return false;
    }
    if (r->depth == JSON_DEPTH_MAX) {
        json_fail_at(r, ERR_INVALID, r->at + 1, "recursion limit exceeded");
        return false;
    }
    r->at++;
    r->path[r->depth++] = (struct json_step){{NULL, 0}, UINT32_MAX};
    r->is_first = true;
    r->has_step = false;
    return true;
}

static void leave(struct json_reader *r)
{
    r->at++;
    r->depth--;
    r->is_first = false;
    r->has_step = r->depth > 0;
}

bool json_enter_object(struct json_reader *r, const char *expected)
{
    return enter(r, JSON_OBJECT, expected);
}

bool json_enter_array(struct json_reader *r, const char *expected)
{
    return enter(r, JSON_ARRAY, expected);
}

/* Stands before the next member or item (true), or has left the container, or has failed. */
static bool next(struct json_reader *r, char close, const char *eof, const char *wrong)
{
    if (r->err != ERR_OK) return false;
    CHECK(r->depth > 0 && "next without enter");
    r->has_step = false;
    json_skip_space(r);
    if (r->at == r->end) return json_fail_byte(r, eof, "");
    if (*r->at == close) {
        leave(r);
        return false;
    }
    if (!r->is_first) {
        if (*r->at != ',') return json_fail_byte(r, eof, wrong);
        r->at++;
        json_skip_space(r);
        if (r->at == r->end) return json_fail_byte(r, "EOF while parsing a value", "");
        if (*r->at == close) return json_fail_byte(r, "", "trailing comma");
    }
    r->is_first = false;
    return true;
}

bool json_next_item(struct json_reader *r)
{
    if (!next(r, ']', "EOF while parsing a list", "expected `,` or `]`")) return false;
    r->path[r->depth - 1].index++; /* from UINT32_MAX to 0 at first */
    r->has_step = true;
    return true;
}

bool json_next_member(struct json_reader *r, struct str *key)
{
    struct str k;
    if (!next(r, '}', "EOF while parsing an object", "expected `,` or `}`")) return false;
    if (*r->at != '"') return json_fail_byte(r, "", "key must be a string");
    if (!json_read_string(r, &k)) return false;
    r->path[r->depth - 1].key = k;
    r->has_step = true;
    r->key_end = r->at;
    json_skip_space(r);
    if (r->at == r->end || *r->at != ':') return json_fail_byte(r, "EOF while parsing an object", "expected `:`");
    r->at++;
    *key = k;
    return true;
}

bool json_skip(struct json_reader *r)
{
    struct json_number n;
    struct str s;
    bool b;
    switch (json_peek(r)) {
    case JSON_FAILED:
        return false;
    case JSON_NULL:
        return json_null(r);
    case JSON_BOOL:
        return json_bool(r, &b, "");
    case JSON_NUMBER:
        return json_read_number(r, &n);
    case JSON_STRING:
        return json_read_string(r, &s);
    case JSON_ARRAY:
        if (!json_enter_array(r, "")) return false;
        while (json_next_item(r)) (void)json_skip(r);
        break;
    case JSON_OBJECT:
        if (!json_enter_object(r, "")) return false;
        while (json_next_member(r, &s)) (void)json_skip(r);
        break;
    }
    return r->err == ERR_OK;
}

bool json_finish(struct json_reader *r)
{
    if (r->err != ERR_OK) return false;
    CHECK(r->depth == 0 && "finish inside a container");
    json_skip_space(r);
    if (r->at != r->end) return json_fail_byte(r, "", "trailing characters");
    return true;
}
