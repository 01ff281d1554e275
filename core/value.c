/* value.c - see value.h: comparing values, and walking, writing and checking packed metadata. */
#include "core/value.h"

#include <math.h>

/* --- comparing ------------------------------------------------------------------------------------------------- */

/* Order of an integer and a double, exactly: a double beyond the range of int64 decides by itself; otherwise its floor
 * is an exact int64, and a fraction breaks the tie. */
static int compare_int_double(int64_t i, double f)
{
    if (f >= 9223372036854775808.0) return -1;
    if (f < -9223372036854775808.0) return 1;
    double whole = floor(f);
    int64_t w = (int64_t)whole;
    if (i != w) return i < w ? -1 : 1;
    return f > whole ? -1 : 0;
}

int value_compare_numbers(const struct value *a, const struct value *b)
{
    if (a->type == VALUE_INT && b->type == VALUE_INT) return a->i < b->i ? -1 : a->i > b->i;
    if (a->type == VALUE_INT) return compare_int_double(a->i, b->f);
    if (b->type == VALUE_INT) return -compare_int_double(b->i, a->f);
    return a->f < b->f ? -1 : a->f > b->f;
}

bool value_equal(const struct value *a, const struct value *b)
{
    if (value_is_number(a) && value_is_number(b)) return value_compare_numbers(a, b) == 0;
    if (a->type != b->type) return false;
    switch (a->type) {
    case VALUE_BOOL:
        return a->b == b->b;
    case VALUE_STR:
        return str_eq(a->s, b->s);
    default:
        return false;
    }
}

/* --- walking --------------------------------------------------------------------------------------------------- */

/* Reads a varint; false when it is cut off or longer than 64 bits. */
static inline bool get_varint(const uint8_t **at, const uint8_t *end, uint64_t *v)
{
    uint64_t value = 0;
    if (*at < end && **at < 0x80) { /* lengths are, as a rule */
        *v = *(*at)++;
        return true;
    }
    for (unsigned shift = 0; shift < 64 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *v = value;
            return true;
        }
    }
    return false;
}

/* Advances over n bytes; false when fewer are left. */
static bool skip_bytes(const uint8_t **at, const uint8_t *end, uint64_t n)
{
    if (n > (uint64_t)(end - *at)) return false;
    *at += n;
    return true;
}

static bool skip_strings(const uint8_t **at, const uint8_t *end, uint64_t n)
{
    uint64_t length;
    for (uint64_t i = 0; i < n; i++)
        if (!get_varint(at, end, &length) || !skip_bytes(at, end, length)) return false;
    return true;
}

static bool skip_items(const uint8_t **at, const uint8_t *end, uint64_t size)
{
    uint64_t n;
    return get_varint(at, end, &n) && n <= (uint64_t)(end - *at) / size && skip_bytes(at, end, n * size);
}

static bool skip_sparse(const uint8_t **at, const uint8_t *end)
{
    uint64_t n, n_tokens;
    return get_varint(at, end, &n) && n <= (uint64_t)(end - *at) / 8 && skip_bytes(at, end, n * 8) &&
           get_varint(at, end, &n_tokens) && (n_tokens == 0 || (n_tokens == n + 1 && skip_strings(at, end, n)));
}

static bool skip_payload(const uint8_t **at, const uint8_t *end, enum value_type type)
{
    uint64_t n;
    switch (type) {
    case VALUE_NULL:
        return true;
    case VALUE_BOOL:
        return skip_bytes(at, end, 1);
    case VALUE_INT:
    case VALUE_FLOAT:
        return skip_bytes(at, end, 8);
    case VALUE_STR:
        return skip_strings(at, end, 1);
    case VALUE_BOOLS:
        return skip_items(at, end, 1);
    case VALUE_INTS:
    case VALUE_FLOATS:
        return skip_items(at, end, 8);
    case VALUE_STRS:
        return get_varint(at, end, &n) && skip_strings(at, end, n);
    case VALUE_SPARSE:
        return skip_sparse(at, end);
    }
    return false;
}

struct meta_iter meta_iter(struct bytes meta)
{
    const uint8_t *p = meta.p;
    return (struct meta_iter){p, p != NULL ? p + meta.n : p};
}

bool meta_next(struct meta_iter *it, struct meta_entry *e)
{
    uint64_t key_n;
    if (it->at == it->end) return false;
    const uint8_t *at = it->at;
    if (!get_varint(&at, it->end, &key_n)) goto bad;
    e->key = str_of((const char *)at, (size_t)key_n);
    if (!skip_bytes(&at, it->end, key_n) || at == it->end) goto bad;
    e->type = (enum value_type) * at++;
    e->payload.p = at;
    if (!skip_payload(&at, it->end, e->type)) goto bad;
    e->payload.n = (size_t)(at - (const uint8_t *)e->payload.p);
    it->at = at;
    return true;
bad: /* not a packed form: stop here; meta_validate tells this from the end by `at` */
    it->end = it->at;
    return false;
}

bool meta_find(struct bytes meta, struct str key, struct meta_entry *e)
{
    struct meta_iter it = meta_iter(meta);
    while (meta_next(&it, e)) {
        int c = str_cmp(e->key, key);
        if (c >= 0) return c == 0;
    }
    return false;
}

/* --- decoding -------------------------------------------------------------------------------------------------- */

static double get_double(const uint8_t *p)
{
    double f;
    memcpy(&f, p, sizeof f);
    return f;
}

static struct str get_string(const uint8_t **at, const uint8_t *end)
{
    uint64_t n = 0;
    (void)get_varint(at, end, &n);
    struct str s = {(const char *)*at, (size_t)n};
    *at += n;
    return s;
}

static bool decode_list(const uint8_t *at, const uint8_t *end, enum value_type item, struct arena *a, struct value *v)
{
    uint64_t n = 0;
    (void)get_varint(&at, end, &n);
    struct value *items = arena_array(a, (size_t)n, sizeof *items);
    if (items == NULL) return false;
    for (uint64_t i = 0; i < n; i++) {
        items[i].type = item;
        switch (item) {
        case VALUE_BOOL:
            items[i].b = *at++ != 0;
            break;
        case VALUE_INT:
            items[i].i = (int64_t)le64_get(at), at += 8;
            break;
        case VALUE_FLOAT:
            items[i].f = get_double(at), at += 8;
            break;
        default:
            items[i].s = get_string(&at, end);
            break;
        }
    }
    v->list.n = (uint32_t)n;
    v->list.items = items;
    return true;
}

static bool decode_sparse(const uint8_t *at, const uint8_t *end, struct arena *a, struct sparse *s)
{
    uint64_t n = 0, n_tokens = 0;
    (void)get_varint(&at, end, &n);
    s->n = (uint32_t)n;
    s->tokens = NULL;
    s->indices = arena_alloc(a, n * sizeof *s->indices);
    s->values = arena_alloc(a, n * sizeof *s->values);
    if (s->indices == NULL || s->values == NULL) return false;
    if (n > 0) {
        memcpy(s->indices, at, n * sizeof *s->indices);
        memcpy(s->values, at + n * sizeof *s->indices, n * sizeof *s->values);
    }
    at += n * 8;
    (void)get_varint(&at, end, &n_tokens);
    if (n_tokens == 0) return true;
    s->tokens = arena_array(a, (size_t)n, sizeof *s->tokens);
    if (s->tokens == NULL) return false;
    for (uint64_t i = 0; i < n; i++) s->tokens[i] = get_string(&at, end);
    return true;
}

bool meta_value(const struct meta_entry *e, struct arena *a, struct value *v)
{
    const uint8_t *at = e->payload.p, *end = at + e->payload.n;
    v->type = e->type;
    switch (e->type) {
    case VALUE_NULL:
        return true;
    case VALUE_BOOL:
        v->b = *at != 0;
        return true;
    case VALUE_INT:
        v->i = (int64_t)le64_get(at);
        return true;
    case VALUE_FLOAT:
        v->f = get_double(at);
        return true;
    case VALUE_STR:
        v->s = get_string(&at, end);
        return true;
    case VALUE_BOOLS:
        return decode_list(at, end, VALUE_BOOL, a, v);
    case VALUE_INTS:
        return decode_list(at, end, VALUE_INT, a, v);
    case VALUE_FLOATS:
        return decode_list(at, end, VALUE_FLOAT, a, v);
    case VALUE_STRS:
        return decode_list(at, end, VALUE_STR, a, v);
    case VALUE_SPARSE:
        return decode_sparse(at, end, a, &v->sparse);
    }
    return false;
}

bool meta_sparse(const struct meta_entry *e, struct sparse_view *v)
{
    const uint8_t *at = e->payload.p, *end = at + e->payload.n;
    uint64_t n = 0;
    if (e->type != VALUE_SPARSE) return false;
    (void)get_varint(&at, end, &n);
    *v = (struct sparse_view){.indices = at, .values = at + n * 4, .n = (uint32_t)n};
    return true;
}

/* --- writing --------------------------------------------------------------------------------------------------- */

static void put_string(struct buf *out, struct str s)
{
    buf_varint(out, s.n);
    buf_str(out, s);
}

static void put_scalar(struct buf *out, const struct value *v)
{
    switch (v->type) {
    case VALUE_BOOL:
        buf_u8(out, v->b ? 1 : 0);
        break;
    case VALUE_INT:
        buf_u64(out, (uint64_t)v->i);
        break;
    case VALUE_FLOAT:
        buf_add(out, &v->f, sizeof v->f);
        break;
    case VALUE_STR:
        put_string(out, v->s);
        break;
    default:
        CHECK(v->type == VALUE_NULL && "a scalar");
        break;
    }
}

static void put_sparse(struct buf *out, const struct sparse *s)
{
    buf_varint(out, s->n);
    buf_add(out, s->indices, s->n * sizeof *s->indices);
    buf_add(out, s->values, s->n * sizeof *s->values);
    buf_varint(out, s->tokens != NULL ? (uint64_t)s->n + 1 : 0);
    for (uint32_t i = 0; s->tokens != NULL && i < s->n; i++) put_string(out, s->tokens[i]);
}

void meta_put(struct buf *out, struct str key, const struct value *v)
{
    put_string(out, key);
    buf_u8(out, (uint8_t)v->type);
    switch (v->type) {
    case VALUE_BOOLS:
    case VALUE_INTS:
    case VALUE_FLOATS:
    case VALUE_STRS:
        buf_varint(out, v->list.n);
        for (uint32_t i = 0; i < v->list.n; i++) put_scalar(out, &v->list.items[i]);
        break;
    case VALUE_SPARSE:
        put_sparse(out, &v->sparse);
        break;
    default:
        put_scalar(out, v);
        break;
    }
}

void meta_put_raw(struct buf *out, const struct meta_entry *e)
{
    put_string(out, e->key);
    buf_u8(out, (uint8_t)e->type);
    buf_add(out, e->payload.p, e->payload.n);
}

void meta_merge(struct bytes old, struct bytes patch, struct buf *out)
{
    struct meta_iter a = meta_iter(old), b = meta_iter(patch);
    struct meta_entry ea, eb;
    bool has_a = meta_next(&a, &ea), has_b = meta_next(&b, &eb);
    while (has_a || has_b) { /* a merge of two ascending lists; on equal keys the patch wins */
        int c = !has_b ? -1 : !has_a ? 1 : str_cmp(ea.key, eb.key);
        if (c < 0) {
            meta_put_raw(out, &ea);
        } else if (eb.type != VALUE_NULL) {
            meta_put_raw(out, &eb);
        }
        if (c <= 0) has_a = meta_next(&a, &ea);
        if (c >= 0) has_b = meta_next(&b, &eb);
    }
}

/* --- checking -------------------------------------------------------------------------------------------------- */

static bool has_nan(const struct meta_entry *e)
{
    const uint8_t *at = e->payload.p, *end = at + e->payload.n;
    uint64_t n = 1;
    if (e->type == VALUE_FLOATS) {
        if (!get_varint(&at, end, &n)) return true;
    } else if (e->type != VALUE_FLOAT) {
        return false;
    }
    for (uint64_t i = 0; i < n; i++, at += 8)
        if (isnan(get_double(at))) return true;
    return false;
}

bool meta_validate(struct bytes meta, bool allow_null)
{
    struct meta_iter it = meta_iter(meta);
    struct meta_entry e;
    struct str before = {NULL, 0};
    const uint8_t *end = it.end;
    while (meta_next(&it, &e)) {
        if (before.p != NULL && str_cmp(before, e.key) >= 0) return false;
        if ((e.type == VALUE_NULL && !allow_null) || has_nan(&e)) return false;
        before = e.key;
    }
    return it.at == end;
}
