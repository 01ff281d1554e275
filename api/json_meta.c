/* json_meta.c - packed metadata (core/value.h) as JSON.
 *
 * Keys come out in the order of the packed form: ascending bytes. A sparse vector is the object that clients expect,
 * always with four members: {"#type":"sparse_vector","indices":[...],"values":[...],"tokens":null}.
 * FAILURE  memory: sticky in the buffer. Bytes that are no packed form end the walk, and are reported.
 */
#include "api/json.h"

#include "core/value.h"

static void put_scalar(struct buf *b, const struct value *v)
{
    switch (v->type) {
    case VALUE_BOOL:
        if (v->b)
            buf_lit(b, "true");
        else
            buf_lit(b, "false");
        break;
    case VALUE_INT:
        json_put_int(b, v->i);
        break;
    case VALUE_FLOAT:
        json_put_double(b, v->f);
        break;
    case VALUE_STR:
        json_put_string(b, v->s);
        break;
    default:
        buf_lit(b, "null");
        break;
    }
}

static void put_sparse(struct buf *b, const struct sparse *s)
{
    buf_lit(b, "{\"#type\":\"sparse_vector\",\"indices\":[");
    for (uint32_t i = 0; i < s->n; i++) {
        if (i > 0) buf_char(b, ',');
        json_put_uint(b, s->indices[i]);
    }
    buf_lit(b, "],\"values\":");
    json_put_floats(b, s->values, s->n);
    if (s->tokens == NULL) {
        buf_lit(b, ",\"tokens\":null}");
        return;
    }
    buf_lit(b, ",\"tokens\":[");
    for (uint32_t i = 0; i < s->n; i++) {
        if (i > 0) buf_char(b, ',');
        json_put_string(b, s->tokens[i]);
    }
    buf_lit(b, "]}");
}

static void put_list(struct buf *b, const struct value *v)
{
    buf_char(b, '[');
    for (uint32_t i = 0; i < v->list.n; i++) {
        if (i > 0) buf_char(b, ',');
        put_scalar(b, &v->list.items[i]);
    }
    buf_char(b, ']');
}

bool json_put_meta(struct buf *b, struct bytes packed_meta, struct str hidden, struct arena *a)
{
    struct meta_entry e;
    struct value v;
    bool is_first = true;
    if (packed_meta.n == 0) {
        buf_lit(b, "null");
        return true;
    }
    struct meta_iter it = meta_iter(packed_meta);
    const uint8_t *end = it.end;
    buf_char(b, '{');
    while (meta_next(&it, &e)) {
        if (hidden.n > 0 && str_starts(e.key, hidden)) continue;
        if (!meta_value(&e, a, &v)) {
            if (b->err == ERR_OK) b->err = ERR_NOMEM;
            return true;
        }
        if (!is_first) buf_char(b, ',');
        is_first = false;
        json_put_string(b, e.key);
        buf_char(b, ':');
        if (v.type == VALUE_SPARSE)
            put_sparse(b, &v.sparse);
        else if (v.type >= VALUE_BOOLS)
            put_list(b, &v);
        else
            put_scalar(b, &v);
    }
    buf_char(b, '}');
    return it.at == end;
}
