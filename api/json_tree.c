/* json_tree.c - whole values: as a cJSON tree, and as text in a canonical order.
 *
 * A tree keeps numbers as they were written (raw nodes), because cJSON's double would change big integers. What C strings
 * cannot hold, a NUL in a string or in a key, stays a raw node with its JSON text, so that printing the tree gives
 * back what was read.
 * FAILURE  the reader's; nothing is left allocated then.
 */
#include "api/json_internal.h"

#include <stdlib.h>

/* --- cJSON ------------------------------------------------------------------------------------------------------- */

static cJSON *raw_node(struct json_reader *r, const char *from)
{
    char *text = arena_cstr(r->arena, str_of(from, (size_t)(r->at - from)));
    cJSON *node = text != NULL ? cJSON_CreateRaw(text) : NULL;
    if (node == NULL) json_fail_nomem(r);
    return node;
}

static cJSON *string_node(struct json_reader *r)
{
    struct str s;
    const char *from = r->at;
    if (!json_string(r, &s, "a string")) return NULL;
    if (memchr(s.p, '\0', s.n) != NULL) return raw_node(r, from);
    char *text = arena_cstr(r->arena, s);
    cJSON *node = text != NULL ? cJSON_CreateString(text) : NULL;
    if (node == NULL) json_fail_nomem(r);
    return node;
}

static cJSON *any_node(struct json_reader *r);

static cJSON *array_node(struct json_reader *r)
{
    cJSON *node = cJSON_CreateArray();
    if (node == NULL) json_fail_nomem(r);
    if (!json_enter_array(r, "")) goto fail;
    while (json_next_item(r)) {
        cJSON *item = any_node(r);
        if (item == NULL) goto fail;
        if (!cJSON_AddItemToArray(node, item)) {
            cJSON_Delete(item);
            json_fail_nomem(r);
            goto fail;
        }
    }
    if (r->err == ERR_OK) return node;
fail:
    cJSON_Delete(node);
    return NULL;
}

static cJSON *object_node(struct json_reader *r)
{
    struct str key;
    const char *from = r->at;
    bool is_raw = false;
    cJSON *node = cJSON_CreateObject();
    if (node == NULL) json_fail_nomem(r);
    if (!json_enter_object(r, "")) goto fail;
    while (json_next_member(r, &key)) {
        if (memchr(key.p, '\0', key.n) != NULL) is_raw = true;
        if (is_raw) {
            (void)json_skip(r);
            continue;
        }
        char *name = arena_cstr(r->arena, key);
        if (name == NULL) json_fail_nomem(r);
        cJSON *member = any_node(r);
        if (member == NULL) goto fail;
        if (!cJSON_AddItemToObject(node, name, member)) {
            cJSON_Delete(member);
            json_fail_nomem(r);
            goto fail;
        }
    }
    if (r->err != ERR_OK) goto fail;
    if (is_raw) {
        cJSON_Delete(node);
        return raw_node(r, from);
    }
    return node;
fail:
    cJSON_Delete(node);
    return NULL;
}

/* NULL: the reader has failed. */
static cJSON *any_node(struct json_reader *r)
{
    struct json_number n;
    cJSON *node = NULL;
    bool b;
    enum json_type t = json_peek(r);
    const char *from = r->at;
    switch (t) {
    case JSON_FAILED:
        return NULL;
    case JSON_STRING:
        return string_node(r);
    case JSON_ARRAY:
        return array_node(r);
    case JSON_OBJECT:
        return object_node(r);
    case JSON_NUMBER:
        return json_read_number(r, &n) ? raw_node(r, from) : NULL;
    case JSON_NULL:
        if (!json_null(r)) return NULL;
        node = cJSON_CreateNull();
        break;
    case JSON_BOOL:
        if (!json_bool(r, &b, "")) return NULL;
        node = cJSON_CreateBool(b);
        break;
    }
    if (node == NULL) json_fail_nomem(r);
    return node;
}

bool json_tree(struct json_reader *r, cJSON **tree)
{
    cJSON *node = any_node(r);
    if (node == NULL) return false;
    *tree = node;
    return true;
}

/* --- sorted text ------------------------------------------------------------------------------------------------- */

struct member {
    struct str key;
    size_t at, n; /* its text, key included, in the output */
    struct member *previous;
};

static int by_key_then_place(const void *a, const void *b)
{
    const struct member *const *x = a, *const *y = b;
    int c = str_cmp((*x)->key, (*y)->key);
    if (c != 0) return c;
    return (*x)->at < (*y)->at ? -1 : 1;
}

/* The text from `start` on is n members, separated by commas, as they came; puts them in order. */
static bool sort_members(struct json_reader *r, struct buf *out, size_t start, struct member *last, size_t n)
{
    struct buf sorted = {0};
    struct member **list = arena_array(r->arena, n, sizeof(struct member *));
    if (list == NULL) goto fail;
    for (size_t i = n; i > 0; i--, last = last->previous) list[i - 1] = last;
    qsort(list, n, sizeof(struct member *), by_key_then_place);
    for (size_t i = 0; i < n; i++) {
        if (i + 1 < n && str_eq(list[i]->key, list[i + 1]->key)) continue;
        if (sorted.n > 0) buf_char(&sorted, ',');
        buf_add(&sorted, out->p + list[i]->at, list[i]->n);
    }
    if (sorted.err != ERR_OK) goto fail;
    out->n = start;
    buf_str(out, buf_view(&sorted));
    buf_free(&sorted);
    return true;
fail:
    buf_free(&sorted);
    json_fail_nomem(r);
    return false;
}

static bool sorted_object(struct json_reader *r, struct buf *out)
{
    struct member *last = NULL;
    size_t n = 0, start;
    bool is_sorted = true;
    struct str key;
    if (!json_enter_object(r, "a map")) return false;
    buf_char(out, '{');
    start = out->n;
    while (json_next_member(r, &key)) {
        struct member *m = arena_alloc(r->arena, sizeof *m);
        if (m == NULL) {
            json_fail_nomem(r);
            return false;
        }
        if (n > 0) buf_char(out, ',');
        *m = (struct member){.key = key, .at = out->n, .previous = last};
        json_put_string(out, key);
        buf_char(out, ':');
        if (!json_sorted_text(r, out)) return false;
        m->n = out->n - m->at;
        if (last != NULL && str_cmp(last->key, key) >= 0) is_sorted = false;
        last = m;
        n++;
    }
    if (r->err != ERR_OK) return false;
    if (!is_sorted && out->err == ERR_OK && !sort_members(r, out, start, last, n)) return false;
    buf_char(out, '}');
    return true;
}

static bool sorted_array(struct json_reader *r, struct buf *out)
{
    bool is_first = true;
    if (!json_enter_array(r, "a sequence")) return false;
    buf_char(out, '[');
    while (json_next_item(r)) {
        if (!is_first) buf_char(out, ',');
        is_first = false;
        if (!json_sorted_text(r, out)) return false;
    }
    buf_char(out, ']');
    return r->err == ERR_OK;
}

bool json_sorted_text(struct json_reader *r, struct buf *out)
{
    struct str s;
    enum json_type t = json_peek(r);
    const char *from = r->at;
    bool ok = false;
    switch (t) {
    case JSON_FAILED:
        return false;
    case JSON_OBJECT:
        ok = sorted_object(r, out);
        break;
    case JSON_ARRAY:
        ok = sorted_array(r, out);
        break;
    case JSON_STRING:
        ok = json_string(r, &s, "a string");
        if (ok) json_put_string(out, s);
        break;
    default:
        ok = json_skip(r);
        if (ok) buf_add(out, from, (size_t)(r->at - from));
        break;
    }
    if (ok && out->err != ERR_OK) {
        json_fail_nomem(r);
        ok = false;
    }
    return ok;
}
