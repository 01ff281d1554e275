/* records_vectors.c - the vectors of a request: from JSON numbers or base64 straight into one float32 buffer.
 *
 * HAPPY PATH  every array of numbers is appended by json_f32_array, every string by base64_decode; only lengths are
 * watched on the way. Values are looked at in one sweep afterwards.
 * FAILURE  wrong JSON fails the reader at once. A value that has the wrong shape is, for upstream, one value that fits
 * none of its alternatives: it is read to its end (finding wrong JSON in it first) and then refused as a whole. Text
 * that is no base64 is noted for its turn in the order of checks; the rest of the list is still read.
 */
#include "api/records.h"

#include <inttypes.h>

#include "api/base64.h"

static void add_vector(struct vectors *v, uint32_t dim)
{
    if (v->n_vectors == 0)
        v->dim = dim;
    else if (v->dim != dim)
        v->is_ragged = true;
    if (dim == 0) v->has_empty = true;
    v->n_vectors++;
    v->n_items++;
    buf_u8(&v->present, 1);
}

static bool buffers_are_sound(struct json_reader *j, const struct vectors *v)
{
    enum err e = v->floats.err != ERR_OK ? v->floats.err : v->present.err;
    if (e == ERR_OK || j->err == ERR_INVALID || j->err == ERR_SHAPE) return j->err == ERR_OK;
    j->err = e;
    j->message = e == ERR_NOMEM ? STR("out of memory") : STR("vectors of more than 4 GiB");
    return false;
}

static bool is_finite_bits(uint32_t bits)
{
    return (bits & UINT32_C(0x7f800000)) != UINT32_C(0x7f800000);
}

/* One vector as text. The first fault of the list is kept. */
static void add_text(struct vectors *v, struct str text)
{
    if (v->is_bad_text) return;
    struct errmsg why = {0};
    size_t from = v->floats.n;
    enum err e = base64_decode(text, &v->floats, &why);
    if (e == ERR_INVALID) {
        v->is_bad_text = true;
        (void)errmsg_set(&v->fault, e, "Invalid base64 string: %.480s", why.text);
    }
    if (e != ERR_OK) return; /* what else can fail is sticky in the buffer */
    size_t n_bytes = v->floats.n - from;
    if (n_bytes % sizeof(float) != 0) {
        v->is_bad_text = true;
        (void)errmsg_set(&v->fault, ERR_INVALID,
                         "Invalid byte length: %zu bytes cannot be converted to f32 values (must be divisible by 4)",
                         n_bytes);
        return;
    }
    uint32_t dim = (uint32_t)(n_bytes / sizeof(float)); /* the buffer's ceiling is below 4 GiB */
    for (uint32_t i = 0; i < dim; i++) {
        uint32_t bits = le32_get(v->floats.p + from + (size_t)i * sizeof(float));
        if (is_finite_bits(bits)) continue;
        bool is_nan = (bits & UINT32_C(0x007fffff)) != 0;
        const char *shown = is_nan ? "NaN" : bits >> 31 != 0 ? "-inf" : "inf";
        v->is_bad_text = true;
        (void)errmsg_set(&v->fault, ERR_INVALID, "Non-finite float value at embedding index %" PRIu32 ": %s", i, shown);
        return;
    }
    add_vector(v, dim);
}

static bool read_items(struct json_reader *j, struct vectors *v, bool null_items)
{
    enum json_type all = JSON_NULL; /* what the vectors of this list are: the first one decides */
    if (!json_enter_array(j, "a sequence")) return false;
    while (json_next_item(j)) {
        enum json_type type = json_peek(j);
        if (type == JSON_NULL && null_items) {
            if (!json_null(j)) return false;
            v->n_items++;
            buf_u8(&v->present, 0);
            continue;
        }
        bool fits = type == JSON_ARRAY || type == JSON_STRING;
        if (!fits || (all != JSON_NULL && type != all)) {
            json_fail_shape(j, "no vector");
            return false;
        }
        all = type;
        if (type == JSON_ARRAY) {
            uint32_t dim = 0;
            if (!json_f32_array(j, &v->floats, &dim)) return buffers_are_sound(j, v);
            add_vector(v, dim);
        } else {
            struct str text;
            if (!json_string(j, &text, "a string")) return false;
            add_text(v, text);
        }
        if (!buffers_are_sound(j, v)) return false;
    }
    return buffers_are_sound(j, v);
}

static void limit_columns(const struct json_reader *j, struct vectors *v)
{
    v->floats.max = v->present.max = BODY_COLUMN_MAX;
    v->floats.budget = v->present.budget = j->arena->budget;
}

bool vectors_read(struct json_reader *j, struct vectors *v, bool null_items, const char *payload)
{
    struct json_reader start = *j;
    limit_columns(j, v);
    if (read_items(j, v, null_items)) return true;
    if (j->err != ERR_SHAPE) return false;
    *j = start;
    if (json_skip(j)) json_fail_shape_late(j, "data did not match any variant of untagged enum %s", payload);
    return false;
}

bool vectors_read_numbers(struct json_reader *j, struct vectors *v)
{
    limit_columns(j, v);
    if (!json_enter_array(j, "a sequence")) return false;
    while (json_next_item(j)) {
        uint32_t dim = 0;
        if (!json_f32_array(j, &v->floats, &dim)) return buffers_are_sound(j, v);
        add_vector(v, dim);
    }
    return buffers_are_sound(j, v);
}

bool vectors_are_finite(const struct vectors *v)
{
    const float *floats = vectors_floats(v);
    size_t n = v->floats.n / sizeof(float);
    uint32_t n_wrong = 0; /* no early exit: the sweep is vectorised, and almost always complete */
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &floats[i], sizeof bits);
        n_wrong |= !is_finite_bits(bits);
    }
    return n_wrong == 0;
}

bool vectors_check_dim(struct api_request *r, const struct vectors *v, uint32_t dim)
{
    if (v->is_ragged) {
        (void)api_fail(r, ERR_INVALID, "Inconsistent dimensions in provided embeddings");
        return false;
    }
    if (v->n_vectors > 0 && dim != 0 && v->dim != dim) {
        (void)api_fail(r, ERR_INVALID, "Collection expecting embedding with dimension of %" PRIu32 ", got %" PRIu32,
                       dim, v->dim);
        return false;
    }
    return true;
}

void vectors_free(struct vectors *v)
{
    buf_free(&v->floats);
    buf_free(&v->present);
}
