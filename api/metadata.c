/* metadata.c - metadata objects from JSON into the packed form (core/value.h), for records and for collections.
 *
 * HAPPY PATH  members are gathered in the arena, put in order of their keys (of equal keys the last one counts) and
 *             appended packed.
 * VALUES      string, bool, integer of 64 bits, double; lists of one of these; sparse vectors. An integer beyond 64 bits
 *             and anything with a fraction or an exponent is a double. Integers and doubles in one list become doubles.
 * FAILURE     what fits none of these fails the reader as upstream's parser fails ("data did not match any variant"), at
 *             the place where upstream notices; rules about content (keys, order of indices) are reported aside.
 */
#include "api/metadata.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/handler.h"

struct member {
    struct str key;
    uint32_t place; /* in the text: the later of two equal keys counts */
    struct value value;
    bool is_bad; /* a sparse vector whose parts disagree */
};

struct members {
    struct member *at;
    uint32_t n, cap;
};

static void *grow(struct json_reader *j, void *old, uint32_t n, uint32_t *cap, size_t size)
{
    uint32_t more = *cap == 0 ? 8 : *cap * 2;
    void *p = *cap > UINT32_MAX / 4 ? NULL : arena_array(j->arena, more, size);
    if (p == NULL) {
        json_fail_nomem(j);
        return NULL;
    }
    if (n > 0) memcpy(p, old, n * size);
    *cap = more;
    return p;
}

/* --- values ------------------------------------------------------------------------------------------------------ */

/* Each reader below reads one value to its end. *fits turns false when it is not of the wanted kind; the result of the
 * function is false only when the text itself is broken. */

static bool read_scalar(struct json_reader *j, struct value *v, bool *fits)
{
    struct json_number n;
    *v = (struct value){.type = VALUE_NULL};
    switch (json_peek(j)) {
    case JSON_FAILED:
        return false;
    case JSON_STRING:
        v->type = VALUE_STR;
        return json_string(j, &v->s, "a string");
    case JSON_BOOL:
        v->type = VALUE_BOOL;
        return json_bool(j, &v->b, "a boolean");
    case JSON_NUMBER:
        if (!json_number(j, &n, "a number")) return false;
        if (n.is_int) {
            v->type = VALUE_INT;
            v->i = n.i;
        } else {
            v->type = VALUE_FLOAT;
            v->f = n.f == 0 ? 0 : n.f; /* -0.0 is stored as 0.0, as upstream's database does */
        }
        return true;
    default:
        *fits = false;
        return json_skip(j);
    }
}

/* True when an item of type t may stand in a list that has type *list so far; *list follows. */
static bool joins_list(enum value_type *list, enum value_type t)
{
    if (*list == VALUE_NULL || *list == t) {
        *list = t;
        return true;
    }
    if ((*list == VALUE_INT && t == VALUE_FLOAT) || (*list == VALUE_FLOAT && t == VALUE_INT)) {
        *list = VALUE_FLOAT;
        return true;
    }
    return false;
}

/* An empty list comes back as VALUE_NULL: it is stored as nothing, and in an update it removes the key. */
static bool read_list(struct json_reader *j, struct value *v, bool *fits)
{
    struct value *items = NULL, item;
    uint32_t n = 0, cap = 0;
    enum value_type type = VALUE_NULL;
    if (!json_enter_array(j, "a sequence")) return false;
    while (json_next_item(j)) {
        bool item_fits = true;
        if (!read_scalar(j, &item, &item_fits)) return false;
        if (!*fits) continue;
        if (!item_fits || !joins_list(&type, item.type)) {
            *fits = false;
            continue;
        }
        if (n == cap && (items = grow(j, items, n, &cap, sizeof *items)) == NULL) return false;
        items[n++] = item;
    }
    if (j->err != ERR_OK) return false;
    for (uint32_t i = 0; i < n && type == VALUE_FLOAT; i++)
        if (items[i].type == VALUE_INT) items[i] = (struct value){.type = VALUE_FLOAT, .f = (double)items[i].i};
    *v = (struct value){.type = VALUE_NULL};
    if (n == 0) return true;
    v->list.n = n;
    v->list.items = items;
    switch (type) {
    case VALUE_BOOL:
        v->type = VALUE_BOOLS;
        break;
    case VALUE_INT:
        v->type = VALUE_INTS;
        break;
    case VALUE_FLOAT:
        v->type = VALUE_FLOATS;
        break;
    default:
        v->type = VALUE_STRS;
        break;
    }
    return true;
}

/* Puts a number into place i of a list; false: it is none of its kind. */
typedef bool (*put_number)(void *list, uint32_t i, const struct json_number *number);

static bool put_index(void *list, uint32_t i, const struct json_number *number)
{
    if (!number->is_uint || number->u > UINT32_MAX) return false;
    ((uint32_t *)list)[i] = (uint32_t)number->u;
    return true;
}

static bool put_weight(void *list, uint32_t i, const struct json_number *number)
{
    ((float *)list)[i] = (float)number->f;
    return true;
}

/* A list of numbers of four bytes each. What does not fit is read over to its end; *fits is false then. */
static bool read_numbers(struct json_reader *j, put_number put, void **out, uint32_t *n, bool *fits)
{
    void *list = NULL;
    uint32_t cap = 0;
    struct json_number number;
    _Static_assert(sizeof(uint32_t) == sizeof(float), "both lists grow alike");
    *n = 0;
    if (json_peek(j) != JSON_ARRAY) {
        *fits = false;
        return json_skip(j);
    }
    if (!json_enter_array(j, "a sequence")) return false;
    while (json_next_item(j)) {
        if (json_peek(j) != JSON_NUMBER) {
            *fits = false;
            if (!json_skip(j)) return false;
            continue;
        }
        if (!json_number(j, &number, "f32")) return false;
        if (!*fits) continue;
        if (*n == cap && (list = grow(j, list, *n, &cap, sizeof(float))) == NULL) return false;
        if (put(list, *n, &number))
            (*n)++;
        else
            *fits = false;
    }
    *out = list;
    return j->err == ERR_OK;
}

static bool read_tokens(struct json_reader *j, struct str **out, uint32_t *n, bool *fits)
{
    struct str *list = NULL, s;
    uint32_t cap = 0;
    *n = 0;
    if (json_peek(j) != JSON_ARRAY) {
        *fits = false;
        return json_skip(j);
    }
    if (!json_enter_array(j, "a sequence")) return false;
    while (json_next_item(j)) {
        if (json_peek(j) != JSON_STRING) {
            *fits = false;
            if (!json_skip(j)) return false;
            continue;
        }
        if (!json_string(j, &s, "a string")) return false;
        if (*n == cap && (list = grow(j, list, *n, &cap, sizeof *list)) == NULL) return false;
        list[(*n)++] = s;
    }
    *out = list;
    return j->err == ERR_OK;
}

bool parse_sparse(struct json_reader *j, struct sparse *s, bool *fits, enum sparse_fault *fault)
{
    struct str key, text;
    bool has_indices = false, has_values = false, has_tokens = false;
    uint32_t n_indices = 0, n_values = 0, n_tokens = 0;
    *s = (struct sparse){0};
    *fault = SPARSE_FINE;
    if (json_peek(j) != JSON_OBJECT) {
        *fits = false;
        return json_skip(j);
    }
    if (!json_enter_object(j, "a map")) return false;
    while (json_next_member(j, &key)) {
        void *list = NULL;
        bool ok;
        if (str_eq(key, STR("#type"))) {
            if (json_peek(j) == JSON_STRING) {
                ok = json_string(j, &text, "a string");
                if (ok && !str_eq(text, STR("sparse_vector"))) *fits = false;
            } else {
                *fits = false;
                ok = json_skip(j);
            }
        } else if (str_eq(key, STR("indices"))) {
            if (has_indices) *fits = false;
            has_indices = true;
            ok = read_numbers(j, put_index, &list, &n_indices, fits);
            s->indices = list;
        } else if (str_eq(key, STR("values"))) {
            if (has_values) *fits = false;
            has_values = true;
            ok = read_numbers(j, put_weight, &list, &n_values, fits);
            s->values = list;
        } else if (str_eq(key, STR("tokens"))) {
            if (json_peek(j) == JSON_NULL) {
                ok = json_null(j);
            } else {
                if (has_tokens) *fits = false;
                has_tokens = true;
                ok = read_tokens(j, &s->tokens, &n_tokens, fits);
            }
        } else {
            ok = json_skip(j);
        }
        if (!ok) return false;
    }
    if (j->err != ERR_OK) return false;
    if (!has_indices || !has_values) *fits = false;
    if (!*fits) return true;
    if (n_indices != n_values || (has_tokens && n_tokens != n_indices)) {
        *fault = SPARSE_LENGTHS;
        return true;
    }
    s->n = n_indices;
    if (n_indices == 0) s->tokens = NULL;
    for (uint32_t i = 0; i < n_indices; i++) {
        if (i > 0 && s->indices[i] <= s->indices[i - 1]) *fault = SPARSE_ORDER;
        if (!isfinite(s->values[i]) && *fault == SPARSE_FINE) *fault = SPARSE_NOT_FINITE;
    }
    return true;
}

/* --- objects ----------------------------------------------------------------------------------------------------- */

/* Of one value: was it null, an empty list, a sparse vector whose parts disagree? */
struct findings {
    bool is_null, is_empty_list, is_bad_sparse;
};

static bool read_value(struct json_reader *j, bool allow_null, struct value *v, struct findings *f)
{
    enum sparse_fault sparse_fault;
    bool fits = true, ok;
    *f = (struct findings){false, false, false};
    switch (json_peek(j)) {
    case JSON_FAILED:
        return false;
    case JSON_NULL:
        ok = json_null(j);
        *v = (struct value){.type = VALUE_NULL};
        f->is_null = true;
        fits = allow_null;
        break;
    case JSON_ARRAY:
        ok = read_list(j, v, &fits);
        /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): set by read_list when it fits */
        f->is_empty_list = fits && v->type == VALUE_NULL;
        break;
    case JSON_OBJECT:
        *v = (struct value){.type = VALUE_SPARSE};
        ok = parse_sparse(j, &v->sparse, &fits, &sparse_fault);
        f->is_bad_sparse = fits && sparse_fault != SPARSE_FINE;
        break;
    default:
        ok = read_scalar(j, v, &fits);
        break;
    }
    if (ok && !fits)
        json_fail_shape_late(j, "data did not match any variant of untagged enum %s",
                             allow_null ? "UpdateMetadataValue" : "MetadataValue");
    return ok && fits;
}

static int by_key_then_place(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    int c = str_cmp(x->key, y->key);
    return c != 0 ? c : x->place < y->place ? -1 : 1;
}

static bool add_member(struct json_reader *j, struct members *m, struct str key, const struct value *v, bool is_bad)
{
    if (m->n == m->cap) {
        struct member *p = grow(j, m->at, m->n, &m->cap, sizeof *p);
        if (p == NULL) return false;
        m->at = p;
    }
    m->at[m->n] = (struct member){key, m->n, *v, is_bad};
    m->n++;
    return true;
}

/* Appends the members in order. keep_nulls: of patches; otherwise a null stands for "nothing". False: one that counts is
 * bad. */
static bool pack(struct members *m, bool keep_nulls, struct buf *out)
{
    bool is_sorted = true;
    for (uint32_t i = 1; i < m->n; i++)
        if (str_cmp(m->at[i - 1].key, m->at[i].key) >= 0) is_sorted = false;
    if (!is_sorted) qsort(m->at, m->n, sizeof m->at[0], by_key_then_place);
    for (uint32_t i = 0; i < m->n; i++) {
        if (i + 1 < m->n && str_eq(m->at[i].key, m->at[i + 1].key)) continue;
        if (m->at[i].is_bad) return false;
        if (m->at[i].value.type == VALUE_NULL && !keep_nulls) continue;
        meta_put(out, m->at[i].key, &m->at[i].value);
    }
    return true;
}

bool parse_record_metadata(struct json_reader *j, bool allow_null, struct buf *out, bool *bad_key)
{
    struct members m = {0};
    struct value v;
    struct findings f;
    struct str key;
    if (j->err != ERR_OK) return false;
    if (json_peek(j) == JSON_NULL) return json_null(j);
    if (!json_enter_object(j, "a map")) return false;
    while (json_next_member(j, &key)) {
        if (key.n == 0 || key.p[0] == '#' || key.p[0] == '$') *bad_key = true;
        if (!read_value(j, allow_null, &v, &f)) return false;
        if (!add_member(j, &m, key, &v, f.is_bad_sparse)) return false;
    }
    if (j->err != ERR_OK) return false;
    if (*bad_key) return true;
    size_t before = out->n;
    if (!pack(&m, allow_null, out)) {
        out->n = before;
        *bad_key = true;
        return true;
    }
    if (out->err != ERR_OK) {
        json_fail_nomem(j);
        return false;
    }
    return true;
}

bool parse_collection_metadata(struct json_reader *j, bool allow_null, struct collection_metadata *out)
{
    struct members m = {0};
    struct buf packed = {0};
    struct value v;
    struct findings f;
    struct str key;
    struct collection_metadata found = {0};
    if (json_peek(j) == JSON_NULL) {
        *out = found;
        return json_null(j);
    }
    if (!json_enter_object(j, "a map")) return false;
    found.is_given = found.is_empty = true;
    while (json_next_member(j, &key)) {
        found.is_empty = false;
        if (!read_value(j, allow_null, &v, &f)) return false;
        if (found.fault.p == NULL) {
            if (key.n == 0)
                found.fault = STR("Metadata key cannot be empty");
            else if (key.p[0] == '#' || key.p[0] == '$')
                found.fault = arena_printf(j->arena, "Metadata key cannot start with '#' or '$': %.*s", STR_ARG(key));
            else if (f.is_empty_list || v.type >= VALUE_BOOLS)
                found.fault = arena_printf(
                    j->arena, "Metadata value of a collection must be a string, an integer, a float or a boolean: %.*s",
                    STR_ARG(key));
        }
        if (!add_member(j, &m, key, &v, false)) return false;
    }
    if (j->err != ERR_OK) return false;
    (void)pack(&m, false, &packed); /* sparse vectors are faults here anyway */
    struct str copy = packed.err == ERR_OK ? arena_str(j->arena, buf_view(&packed)) : (struct str){NULL, 0};
    buf_free(&packed);
    if (copy.p == NULL) {
        json_fail_nomem(j);
        return false;
    }
    found.packed = (struct bytes){copy.p, copy.n};
    *out = found;
    return true;
}
