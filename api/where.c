/* where.c - the filters `where` and `where_document`, from JSON into the trees of core/filter.h.
 *
 * HAPPY PATH  one pass of the pulling reader; each clause becomes a node in the arena.
 *     where          := {key: scalar} | {key: {op: operand}} | {"$and"|"$or": [where...]}
 *     where_document := {"$contains"|"$not_contains"|"$regex"|"$not_regex": string}
 *                     | {"$and"|"$or": [where_document...]}
 * FAILURE  two kinds. Text that is no JSON fails the reader, at once. JSON that is no clause is read to its end and
 * comes out as "no node": the contract wants it said later, after the collection was found. Where memory is short
 * the reader fails with ERR_NOMEM.
 * INVARIANTS  a clause has exactly one member; of members with the same key the last one counts, as in the map that
 * upstream reads a clause into. Depth is bounded by the reader (JSON_DEPTH_MAX), so recursion here is too.
 */
#include "api/handler.h"

#include "core/filter.h"

/* Says whether a member's value is a clause and makes its node; *f NULL: it is none. False: the reader has failed. */
typedef bool (*member_parser)(struct json_reader *j, struct str key, const void *ctx, struct filter **f);

static bool out_of_memory(struct json_reader *j)
{
    if (j->err == ERR_OK) {
        j->err = ERR_NOMEM;
        j->message = STR("out of memory");
    }
    return false;
}

static bool new_node(struct json_reader *j, enum filter_kind kind, struct filter **f)
{
    struct filter *node = arena_zalloc(j->arena, sizeof *node);
    if (node == NULL) return out_of_memory(j);
    node->kind = kind;
    *f = node;
    return true;
}

/* Reads a value that can be no clause. */
static bool no_clause(struct json_reader *j, struct filter **f)
{
    *f = NULL;
    return json_skip(j);
}

/* An object with exactly one member. */
static bool parse_single(struct json_reader *j, member_parser parse, const void *ctx, struct filter **f)
{
    if (json_peek(j) != JSON_OBJECT) return no_clause(j, f);
    if (!json_enter_object(j, "a map")) return false;
    struct str first = {0}, key;
    struct filter *node = NULL;
    bool is_single = true;
    while (json_next_member(j, &key)) {
        if (first.p == NULL)
            first = key;
        else if (!str_eq(first, key))
            is_single = false;
        if (!parse(j, key, ctx, &node)) return false;
    }
    *f = is_single ? node : NULL;
    return j->err == ERR_OK;
}

/* The list of $and and $or; each item is a clause of its own. */
static bool parse_children(struct json_reader *j, enum filter_kind kind, member_parser parse, struct filter **f)
{
    if (json_peek(j) != JSON_ARRAY) return no_clause(j, f);
    if (!json_enter_array(j, "a sequence")) return false;
    struct filter *node = NULL;
    if (!new_node(j, kind, &node)) return false;
    uint32_t cap = 0;
    bool is_valid = true;
    while (json_next_item(j)) {
        struct filter *child = NULL;
        if (!parse_single(j, parse, NULL, &child)) return false;
        if (child == NULL) is_valid = false;
        if (!is_valid) continue;
        if (node->n_children == cap) {
            uint32_t grown = cap == 0 ? 4 : cap * 2; /* a child takes two bytes of the body at least: no overflow */
            struct filter **children = arena_array(j->arena, grown, sizeof *children);
            if (children == NULL) return out_of_memory(j);
            if (cap > 0) memcpy(children, node->children, cap * sizeof *children);
            node->children = children;
            cap = grown;
        }
        node->children[node->n_children++] = child;
    }
    *f = is_valid ? node : NULL;
    return j->err == ERR_OK;
}

/* --- values ------------------------------------------------------------------------------------------------------- */

/* A string, bool or number. Anything else is read, and is VALUE_NULL and no scalar. An integer that fits 64 bits only
 * without a sign is no scalar either: upstream refuses it in filters (larger ones are doubles there, and here). */
static bool parse_scalar(struct json_reader *j, struct value *v, bool *is_scalar)
{
    struct json_number number;
    *is_scalar = true;
    v->type = VALUE_NULL;
    switch (json_peek(j)) {
    case JSON_STRING:
        v->type = VALUE_STR;
        return json_string(j, &v->s, "a string");
    case JSON_BOOL:
        v->type = VALUE_BOOL;
        return json_bool(j, &v->b, "a boolean");
    case JSON_NUMBER:
        if (!json_number(j, &number, "a number")) return false;
        *is_scalar = number.is_int || !number.is_uint;
        if (number.is_int) {
            v->type = VALUE_INT;
            v->i = number.i;
        } else {
            v->type = VALUE_FLOAT;
            v->f = number.f;
        }
        return true;
    default:
        *is_scalar = false;
        return json_skip(j);
    }
}

/* One operand, kept in the node. */
static bool parse_operand(struct json_reader *j, enum filter_kind kind, struct str key, struct filter **f)
{
    struct value v;
    bool is_scalar;
    *f = NULL;
    if (!parse_scalar(j, &v, &is_scalar)) return false;
    bool is_range = kind == FILTER_GT || kind == FILTER_GTE || kind == FILTER_LT || kind == FILTER_LTE;
    if (!is_scalar || (is_range && !value_is_number(&v))) return true;
    struct filter *node = NULL;
    if (!new_node(j, kind, &node)) return false;
    node->key = key;
    node->values = arena_zalloc(j->arena, sizeof v);
    if (node->values == NULL) return out_of_memory(j);
    node->values[0] = v;
    node->n_values = 1;
    *f = node;
    return true;
}

/* Does `v` fit a list that began with `first`? A list that begins with a double takes integers as doubles; one that
 * begins with an integer takes no doubles. */
static bool fits_list(const struct value *first, struct value *v)
{
    if (first->type == VALUE_FLOAT && v->type == VALUE_INT) {
        v->f = (double)v->i;
        v->type = VALUE_FLOAT;
    }
    return first->type == v->type;
}

/* The list of $in and $nin: scalars of one type, at least one. */
static bool parse_set(struct json_reader *j, enum filter_kind kind, struct str key, struct filter **f)
{
    if (json_peek(j) != JSON_ARRAY) return no_clause(j, f);
    if (!json_enter_array(j, "a sequence")) return false;
    struct filter *node = NULL;
    if (!new_node(j, kind, &node)) return false;
    node->key = key;
    uint32_t cap = 0;
    bool is_valid = true;
    while (json_next_item(j)) {
        struct value v;
        bool is_scalar;
        if (!parse_scalar(j, &v, &is_scalar)) return false;
        /* an unsigned 64-bit number is a scalar where the list is of doubles already */
        if (!is_scalar && node->n_values > 0 && node->values[0].type == VALUE_FLOAT && v.type == VALUE_FLOAT) {
            is_scalar = true;
        }
        if (!is_scalar || (node->n_values > 0 && !fits_list(&node->values[0], &v))) is_valid = false;
        if (!is_valid) continue;
        if (node->n_values == cap) {
            uint32_t grown = cap == 0 ? 8 : cap * 2;
            struct value *values = arena_array(j->arena, grown, sizeof *values);
            if (values == NULL) return out_of_memory(j);
            if (cap > 0) memcpy(values, node->values, cap * sizeof *values);
            node->values = values;
            cap = grown;
        }
        node->values[node->n_values++] = v;
    }
    *f = is_valid && node->n_values > 0 ? node : NULL;
    return j->err == ERR_OK;
}

/* A string for the document; what is no string is no clause. */
static bool parse_text(struct json_reader *j, enum filter_kind kind, struct filter **f)
{
    if (json_peek(j) != JSON_STRING) return no_clause(j, f);
    struct str text;
    if (!json_string(j, &text, "a string")) return false;
    if (!new_node(j, kind, f)) return false;
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): set by new_node */
    (*f)->text = text; /* of a regular expression until where_compile */
    return true;
}

/* --- operators ---------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum filter_kind kind;
    bool takes_list;
} metadata_operators[] = {
    {"$eq", FILTER_EQ, false},
    {"$ne", FILTER_NE, false},
    {"$gt", FILTER_GT, false},
    {"$gte", FILTER_GTE, false},
    {"$lt", FILTER_LT, false},
    {"$lte", FILTER_LTE, false},
    {"$in", FILTER_IN, true},
    {"$nin", FILTER_NIN, true},
    {"$contains", FILTER_CONTAINS, false},
    {"$not_contains", FILTER_NOT_CONTAINS, false},
};

static const struct {
    const char *name;
    enum filter_kind kind;
} document_operators[] = {
    {"$contains", FILTER_DOC_CONTAINS},
    {"$not_contains", FILTER_DOC_NOT_CONTAINS},
    {"$regex", FILTER_DOC_REGEX},
    {"$not_regex", FILTER_DOC_NOT_REGEX},
};

enum { N_METADATA_OPERATORS = sizeof metadata_operators / sizeof metadata_operators[0] };
enum { N_DOCUMENT_OPERATORS = sizeof document_operators / sizeof document_operators[0] };

static bool is_document_operator(struct str name, enum filter_kind *kind)
{
    for (size_t i = 0; i < N_DOCUMENT_OPERATORS; i++) {
        if (!str_eq(name, str_from_c(document_operators[i].name))) continue;
        *kind = document_operators[i].kind;
        return true;
    }
    return false;
}

/* {op: operand} under the key that `ctx` points at. */
static bool operator_member(struct json_reader *j, struct str name, const void *ctx, struct filter **f)
{
    struct str key = *(const struct str *)ctx;
    enum filter_kind kind;
    if (str_eq(key, STR("#document")) && is_document_operator(name, &kind)) return parse_text(j, kind, f);
    for (size_t i = 0; i < N_METADATA_OPERATORS; i++) {
        if (!str_eq(name, str_from_c(metadata_operators[i].name))) continue;
        kind = metadata_operators[i].kind;
        return metadata_operators[i].takes_list ? parse_set(j, kind, key, f) : parse_operand(j, kind, key, f);
    }
    return no_clause(j, f);
}

/* Ids are no metadata: equality and sets of strings on `#id` become a selection by id. What else is asked of `#id`
 * stays a filter on metadata that no row can have. */
static void select_by_id(struct filter *f)
{
    if (!str_eq(f->key, STR("#id")) || f->n_values == 0 || f->values[0].type != VALUE_STR) return;
    if (f->kind == FILTER_EQ || f->kind == FILTER_IN)
        f->kind = FILTER_ID_IN;
    else if (f->kind == FILTER_NE || f->kind == FILTER_NIN)
        f->kind = FILTER_ID_NOT_IN;
}

static bool where_member(struct json_reader *j, struct str key, const void *ctx, struct filter **f)
{
    (void)ctx;
    if (str_eq(key, STR("$and"))) return parse_children(j, FILTER_AND, where_member, f);
    if (str_eq(key, STR("$or"))) return parse_children(j, FILTER_OR, where_member, f);
    if (str_starts(key, STR("$"))) return no_clause(j, f);
    bool is_object = json_peek(j) == JSON_OBJECT;
    bool ok = is_object ? parse_single(j, operator_member, &key, f) : parse_operand(j, FILTER_EQ, key, f);
    if (ok && *f != NULL) select_by_id(*f);
    return ok;
}

static bool where_document_member(struct json_reader *j, struct str name, const void *ctx, struct filter **f)
{
    (void)ctx;
    enum filter_kind kind;
    if (str_eq(name, STR("$and"))) return parse_children(j, FILTER_AND, where_document_member, f);
    if (str_eq(name, STR("$or"))) return parse_children(j, FILTER_OR, where_document_member, f);
    return is_document_operator(name, &kind) ? parse_text(j, kind, f) : no_clause(j, f);
}

static bool parse_clause(struct json_reader *j, member_parser parse, struct filter **f, bool *is_valid)
{
    if (json_null(j)) {
        *f = NULL;
        *is_valid = true;
        return true;
    }
    struct filter *node = NULL;
    if (!parse_single(j, parse, NULL, &node)) return false;
    *f = node;
    *is_valid = node != NULL;
    return true;
}

bool parse_where(struct json_reader *j, struct filter **f, bool *is_valid)
{
    return parse_clause(j, where_member, f, is_valid);
}

bool parse_where_document(struct json_reader *j, struct filter **f, bool *is_valid)
{
    return parse_clause(j, where_document_member, f, is_valid);
}

/* --- regular expressions ------------------------------------------------------------------------------------------ */

enum err where_compile(struct filter *f, struct errmsg *em)
{
    if (f == NULL) return ERR_OK;
    if (f->kind == FILTER_DOC_REGEX || f->kind == FILTER_DOC_NOT_REGEX) {
        struct regex *regex = NULL;
        struct errmsg why = {0};
        enum err e = regex_new(f->text, &regex, &why);
        if (e == ERR_OK)
            f->regex = regex;
        else if (e == ERR_INVALID && str_starts(str_from_c(why.text), STR("regex parse error:"))) {
            return errmsg_set(em, e, "Regex syntax errror: %.480s", why.text); /* upstream's spelling: clients see it */
        } else if (em != NULL)
            *em = why;
        return e;
    }
    for (uint32_t i = 0; i < f->n_children; i++) {
        enum err e = where_compile(f->children[i], em);
        if (e != ERR_OK) return e;
    }
    return ERR_OK;
}

void where_free(struct filter *f)
{
    if (f == NULL) return;
    /* The filter shows its reader a const expression; here is the owner, who may free it. */
    regex_free((struct regex *)(uintptr_t)f->regex);
    f->regex = NULL;
    for (uint32_t i = 0; i < f->n_children; i++) where_free(f->children[i]);
}
