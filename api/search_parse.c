/* search_parse.c - the body of a search into payloads: filters, rank expressions, groups, pages, selections. The rank
 * expressions themselves: search_rank.c.
 *
 * HAPPY PATH  one pass of the pulling reader, everything into the arena.
 * FAILURE     wrong shapes fail the reader, filters included (unlike `where` of get and query, which is judged later). What
 *             can only be wrong in content (a sparse vector with unsorted indices) is kept for search_check.c.
 * INVARIANTS  a payload is counted before its filter is read, so search_free finds every regular expression. As upstream's
 *             parser does, a struct may be written as an array of its first members.
 */
#include "api/search_parse.h"

#include <stdlib.h>

#include "api/json_internal.h"
#include "api/records.h"
#include "core/utf8.h"

/* --- structs and operators ------------------------------------------------------------------------------------------- */

int search_next_field(struct json_reader *j, struct json_fields *f)
{
    if (f->is_array && j->err == ERR_OK) {
        json_skip_space(j);
        if (j->at < j->end && *j->at == ']') {
            (void)json_next_item(j);
            return -1;
        }
    }
    return json_next_field(j, f);
}

bool search_need_first(struct json_reader *j, const struct json_fields *f)
{
    if (f->is_array && f->next == 0 && j->err == ERR_OK)
        json_fail_shape(j, "invalid length 0, expected %s with %u elements", f->expected, f->n);
    return json_need_field(j, f, 0);
}

static bool fail_variant(struct json_reader *j, struct str name, const struct search_operators *ops)
{
    enum { SHOWN_MAX = 200 };
    if (name.n > SHOWN_MAX) name.n = SHOWN_MAX;
    while (name.n > 0 && !utf8_is_valid(name)) name.n--;
    json_fail_shape(j, "unknown variant `%.*s`, expected %s", STR_ARG(name), ops->expected);
    return false;
}

static bool find_operator(const struct search_operators *ops, struct str name, unsigned *which)
{
    for (unsigned i = 0; i < ops->n; i++) {
        if (!str_eq(name, str_from_c(ops->names[i]))) continue;
        *which = i;
        return true;
    }
    return false;
}

/* A string in the place of {operator: operand}. */
static bool bare_operator(struct json_reader *j, const struct search_operators *ops, unsigned *which)
{
    struct str name;
    if (!json_string(j, &name, "a string")) return false;
    if (!find_operator(ops, name, which)) return fail_variant(j, name, ops);
    if (ops->operand == NULL) return true;
    j->path[j->depth++] = (struct json_step){.key = name}; /* the reader fails now: nobody leaves this again */
    json_fail_shape_late(j, "invalid type: unit variant, expected %s variant", ops->operand(*which));
    return false;
}

bool search_enter_operator(struct json_reader *j, const struct search_operators *ops, unsigned *which, bool *is_bare)
{
    struct str name;
    enum json_type t = json_peek(j);
    *is_bare = t == JSON_STRING;
    if (t == JSON_FAILED) return false;
    if (t == JSON_STRING) return bare_operator(j, ops, which);
    if (t != JSON_OBJECT) {
        json_fail_at(j, ERR_INVALID, j->at + 1, "expected value"); /* upstream's parser takes it for broken text */
        return false;
    }
    if (!json_enter_object(j, "enum")) return false;
    if (!json_next_member(j, &name)) {
        if (j->err == ERR_OK) json_fail_at(j, ERR_INVALID, j->at, "expected value");
        return false;
    }
    if (find_operator(ops, name, which)) return true;
    j->at = j->key_end;
    j->has_step = false;
    return fail_variant(j, name, ops);
}

bool search_leave_operator(struct json_reader *j)
{
    struct str name;
    if (j->err != ERR_OK) return false;
    json_skip_space(j);
    j->has_step = false;
    if (j->at < j->end && *j->at != '}') {
        json_fail_at(j, ERR_INVALID, j->at, "expected value");
        return false;
    }
    if (json_next_member(j, &name)) CHECK(!"a member where a bracket closes");
    return j->err == ERR_OK;
}

/* --- lists of keys ------------------------------------------------------------------------------------------------- */

static bool read_keys(struct json_reader *j, const struct str **keys, uint32_t *n)
{
    struct buf list = {0};
    bool is_given = false;
    bool ok = body_strings(j, BODY_NO_NULL, &list, &is_given);
    if (ok) {
        struct str *copy = arena_array(j->arena, body_n_strings(&list), sizeof *copy);
        if (copy != NULL && list.n > 0) memcpy(copy, list.p, list.n);
        if (copy == NULL) json_fail_nomem(j);
        *keys = copy;
        *n = body_n_strings(&list);
        ok = copy != NULL;
    }
    buf_free(&list);
    return ok;
}

/* --- filter ---------------------------------------------------------------------------------------------------------- */

/* `$contains` asks what an array holds; an id is no array, and holds just itself. */
static void contain_ids(struct filter *f)
{
    for (uint32_t i = 0; i < f->n_children; i++) contain_ids(f->children[i]);
    if (f->n_values == 0 || f->values[0].type != VALUE_STR || !str_eq(f->key, STR("#id"))) return;
    if (f->kind == FILTER_CONTAINS) f->kind = FILTER_ID_IN;
    if (f->kind == FILTER_NOT_CONTAINS) f->kind = FILTER_ID_NOT_IN;
}

static bool is_empty_object(const char *from, const char *to)
{
    if (to - from < 2 || *from != '{') return false;
    for (from++; from < to - 1; from++)
        if (*from != ' ' && *from != '\n' && *from != '\t' && *from != '\r') return false;
    return true;
}

static bool read_filter(struct json_reader *j, struct search_payload *p)
{
    struct errmsg em = {0};
    bool is_valid = true;
    if (json_peek(j) == JSON_FAILED) return false;
    const char *from = j->at;
    if (!parse_where(j, &p->filter, &is_valid)) return false;
    if (!is_valid && is_empty_object(from, j->at)) {
        p->filter = NULL;
        return true;
    }
    if (!is_valid) {
        json_fail_shape_late(j, "Invalid where clause");
        return false;
    }
    enum err e = where_compile(p->filter, &em);
    if (e == ERR_NOMEM) json_fail_nomem(j);
    if (e != ERR_OK) json_fail_shape_late(j, "%s", em.text); /* after the first failure nothing changes */
    if (e == ERR_OK && p->filter != NULL) contain_ids(p->filter);
    return e == ERR_OK;
}

/* --- limit, select, group_by ------------------------------------------------------------------------------------------- */

static bool read_limit(struct json_reader *j, struct search_payload *p)
{
    static const char *const names[] = {"offset", "limit"};
    struct json_fields f;
    bool is_given, ok = json_enter_fields(j, &f, names, 2, false, "struct Limit");
    for (int i; ok && (i = search_next_field(j, &f)) >= 0;)
        ok = i == 0 ? json_u32(j, &p->offset) : body_u32_or_null(j, &p->limit, &is_given);
    return ok && j->err == ERR_OK;
}

static int by_bytes(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static const struct {
    const char *name;
    enum search_part part;
} reserved[] = {{"#document", SEARCH_DOCUMENT},
                {"#embedding", SEARCH_EMBEDDING},
                {"#metadata", SEARCH_METADATA},
                {"#score", SEARCH_SCORE}};
enum { N_RESERVED = sizeof reserved / sizeof reserved[0] };

unsigned search_reserved_part(struct str key)
{
    for (size_t i = 0; i < N_RESERVED; i++)
        if (str_eq(key, str_from_c(reserved[i].name))) return reserved[i].part;
    return 0;
}

static bool read_select(struct json_reader *j, struct search_select *s)
{
    static const char *const names[] = {"keys"};
    const struct str *keys = NULL;
    uint32_t n = 0, n_names = 0;
    struct json_fields f;
    bool ok = json_enter_fields(j, &f, names, 1, false, "struct Select");
    while (ok && search_next_field(j, &f) >= 0) ok = read_keys(j, &keys, &n);
    if (!ok || j->err != ERR_OK) return false;
    struct str *fields = arena_array(j->arena, n, sizeof *fields);
    if (fields == NULL) {
        json_fail_nomem(j);
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        unsigned part = search_reserved_part(keys[i]);
        s->parts |= part;
        if (part == 0) fields[n_names++] = keys[i];
    }
    qsort(fields, n_names, sizeof *fields, by_bytes);
    for (uint32_t i = 0; i < n_names; i++)
        if (i == 0 || !str_eq(fields[i], fields[i - 1])) fields[s->n_names++] = fields[i];
    s->names = fields;
    return true;
}

static const char *aggregate_operand(unsigned which)
{
    (void)which;
    return "struct";
}

/* {"$min_k"|"$max_k": {"keys": [...], "k": n}} or null */
static bool read_aggregate(struct json_reader *j, struct search_payload *p)
{
    static const char *const kinds[] = {"$min_k", "$max_k"};
    static const struct search_operators ops = {kinds, 2, "`$min_k` or `$max_k`", aggregate_operand};
    static const char *const names[] = {"keys", "k"};
    struct json_fields f;
    unsigned kind;
    bool is_bare;
    if (json_peek(j) == JSON_NULL) return json_null(j);
    if (!search_enter_operator(j, &ops, &kind, &is_bare)) return false;
    p->group.is_descending = kind == 1;
    bool ok = json_enter_fields(j, &f, names, 2, false,
                                kind == 0 ? "struct variant Aggregate::MinK" : "struct variant Aggregate::MaxK");
    for (int i; ok && (i = json_next_field(j, &f)) >= 0;)
        ok = i == 0 ? read_keys(j, &p->group.by, &p->group.n_by) : json_u32(j, &p->group.k);
    p->has_aggregate = true;
    return ok && json_need_field(j, &f, 0) && json_need_field(j, &f, 1) && search_leave_operator(j);
}

static bool read_group_by(struct json_reader *j, struct search_payload *p)
{
    static const char *const names[] = {"keys", "aggregate"};
    struct json_fields f;
    bool ok = json_enter_fields(j, &f, names, 2, false, "struct GroupBy");
    for (int i; ok && (i = search_next_field(j, &f)) >= 0;)
        ok = i == 0 ? read_keys(j, &p->group.keys, &p->group.n_keys) : read_aggregate(j, p);
    return ok && j->err == ERR_OK;
}

/* --- payloads ---------------------------------------------------------------------------------------------------------- */

static bool read_payload(struct json_reader *j, struct search_payload *p)
{
    static const char *const names[] = {"filter", "rank", "group_by", "limit", "select"};
    struct json_fields f;
    bool ok = json_enter_fields(j, &f, names, 5, false, "struct SearchPayload");
    for (int i; ok && (i = search_next_field(j, &f)) >= 0;) {
        switch (i) {
        case 0:
            ok = read_filter(j, p);
            break;
        case 1:
            ok = json_peek(j) == JSON_NULL ? json_null(j) : search_read_rank(j, p, &p->rank);
            break;
        case 2:
            ok = read_group_by(j, p);
            break;
        case 3:
            ok = read_limit(j, p);
            break;
        default:
            ok = read_select(j, &p->select);
            break;
        }
    }
    return ok && j->err == ERR_OK;
}

static bool read_payloads(struct json_reader *j, struct search_request *in)
{
    uint32_t cap = 0;
    if (!json_enter_array(j, "a sequence")) return false;
    while (json_next_item(j)) {
        if (in->n == cap) {
            uint32_t grown = cap == 0 ? 4 : cap * 2; /* a payload takes two bytes of the body at least: no overflow */
            struct search_payload *payloads = arena_array(j->arena, grown, sizeof *payloads);
            if (payloads == NULL) {
                json_fail_nomem(j);
                return false;
            }
            if (cap > 0) memcpy(payloads, in->payloads, cap * sizeof *payloads);
            in->payloads = payloads;
            cap = grown;
        }
        struct search_payload *p = &in->payloads[in->n++];
        p->limit = UINT32_MAX;
        if (!read_payload(j, p)) return false;
    }
    return j->err == ERR_OK;
}

/* All levels give the same, complete answer: there is no log of rows that are not searched. */
static bool read_read_level(struct json_reader *j)
{
    static const char *const levels[] = {"index_and_wal", "index_only", "index_and_bounded_wal"};
    static const struct search_operators ops = {levels, 3, "one of " RECORDS_READ_LEVELS, NULL};
    unsigned level;
    bool is_bare;
    if (!search_enter_operator(j, &ops, &level, &is_bare)) return false;
    if (is_bare) return true;
    if (!json_null(j)) {
        if (j->err == ERR_OK) json_fail_type(j, "unit");
        return false;
    }
    return search_leave_operator(j);
}

bool search_parse(struct json_reader *j, struct search_request *in)
{
    static const char *const names[] = {"searches", "read_level"};
    struct json_fields f;
    bool ok = json_enter_fields(j, &f, names, 2, false, "struct SearchRequestPayload");
    for (int i; ok && (i = search_next_field(j, &f)) >= 0;) ok = i == 0 ? read_payloads(j, in) : read_read_level(j);
    return ok && search_need_first(j, &f) && json_finish(j);
}

void search_free(struct search_request *in)
{
    for (uint32_t i = 0; i < in->n; i++) where_free(in->payloads[i].filter);
}
