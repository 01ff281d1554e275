/* json_fields.c - reading an object of which the members are known, driven by a table of names.
 *
 * HAPPY PATH  enter, then one call a member: the index of its name. Unknown members are skipped.
 * FAILURE     a member twice, an unknown member of a strict struct, a needed one that is missing: ERR_SHAPE.
 * INVARIANT   `seen` has a bit for every index that was returned.
 */
#include "api/json_internal.h"

#include "core/utf8.h"

/* "keys|key_overrides": the first part is the name, the rest are aliases. */
static bool name_is(const char *names, struct str key)
{
    for (const char *at = names;;) {
        size_t n = strcspn(at, "|");
        if (n == key.n && memcmp(at, key.p, n) == 0) return true;
        if (at[n] == '\0') return false;
        at += n + 1;
    }
}

static struct str main_name(const char *names)
{
    return str_of(names, strcspn(names, "|"));
}

static void fail_unknown(struct json_reader *r, const struct json_fields *f, struct str key)
{
    char text[512];
    size_t used = 0;
    for (uint32_t i = 0; i < f->n; i++) {
        struct str name = main_name(f->names[i]);
        if (used + name.n + 6 > sizeof text) break;
        if (i > 0) {
            struct str between = f->n == 2 ? STR(" or ") : STR(", ");
            memcpy(text + used, between.p, between.n);
            used += between.n;
        }
        text[used++] = '`';
        memcpy(text + used, name.p, name.n);
        used += name.n;
        text[used++] = '`';
    }
    if (key.n > 200) key.n = 200;
    while (key.n > 0 && !utf8_is_valid(key)) key.n--;
    r->at = r->key_end;
    if (f->n == 0)
        json_fail_shape(r, "unknown field `%.*s`, there are no fields", STR_ARG(key));
    else if (f->n <= 2)
        json_fail_shape(r, "unknown field `%.*s`, expected %.*s", STR_ARG(key), (int)used, text);
    else
        json_fail_shape(r, "unknown field `%.*s`, expected one of %.*s", STR_ARG(key), (int)used, text);
}

bool json_enter_fields(struct json_reader *r, struct json_fields *f, const char *const *names, uint32_t n,
                       bool is_strict, const char *expected)
{
    if (n > JSON_FIELDS_MAX) n = JSON_FIELDS_MAX;
    *f = (struct json_fields){.names = names, .n = n, .is_strict = is_strict, .expected = expected};
    if (json_peek(r) == JSON_ARRAY) {
        f->is_array = true;
        return json_enter_array(r, expected);
    }
    return json_enter_object(r, expected);
}

/* All members, in order, and nothing else. */
static int next_in_array(struct json_reader *r, struct json_fields *f)
{
    if (!json_next_item(r)) {
        if (f->next < f->n)
            json_fail_shape(r, "invalid length %u, expected %s with %u element%s", f->next, f->expected, f->n,
                            f->n == 1 ? "" : "s");
        return -1;
    }
    if (f->next == f->n) {
        r->has_step = false;
        json_fail_at(r, ERR_INVALID, r->at + 1, "trailing characters");
        return -1;
    }
    f->seen |= UINT32_C(1) << f->next;
    return (int)f->next++;
}

int json_next_field(struct json_reader *r, struct json_fields *f)
{
    struct str key;
    if (f->is_array) return next_in_array(r, f);
    while (json_next_member(r, &key)) {
        uint32_t i = 0;
        while (i < f->n && !name_is(f->names[i], key)) i++;
        if (i == f->n && f->is_strict) {
            fail_unknown(r, f, key);
            return -1;
        }
        if (i == f->n) {
            (void)json_skip(r);
            continue;
        }
        if ((f->seen >> i & 1) != 0) {
            struct str name = main_name(f->names[i]);
            r->at = r->key_end;
            r->has_step = false; /* upstream blames the object, not the member */
            json_fail_shape(r, "duplicate field `%.*s`", STR_ARG(name));
            return -1;
        }
        f->seen |= UINT32_C(1) << i;
        return (int)i;
    }
    return -1;
}

bool json_need_field(struct json_reader *r, const struct json_fields *f, uint32_t i)
{
    if (r->err != ERR_OK) return false;
    if ((f->seen >> i & 1) != 0) return true;
    struct str name = main_name(f->names[i]);
    json_fail_shape(r, "missing field `%.*s`", STR_ARG(name));
    return false;
}
