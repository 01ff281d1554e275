/* fuzz_filter.c - where and where_document: text, parsed, evaluated on a fragment through its indexes, row by row by
 * filter_matches(), and by a model here that decodes every value and compares it.
 *
 * INPUT  the text of `where` up to a newline, then that of `where_document`.
 */
#include <math.h>

#include "tests/fuzz/fuzz.h"
/* the check above goes first: see fuzz.h */
#include "api/handler.h"
#include "core/logger.h"
#include "tests/unit/index/fragment_model.h"

enum { N_ROWS = 150, ROWS_SEED = 11 };

/* --- the model ---------------------------------------------------------------------------------------------------- */

static int order_of(const struct value *a, const struct value *b) /* numbers: exact in 80-bit floats */
{
    long double x = a->type == VALUE_INT ? (long double)a->i : (long double)a->f;
    long double y = b->type == VALUE_INT ? (long double)b->i : (long double)b->f;
    return x < y ? -1 : x > y;
}

static bool is_equal(const struct value *a, const struct value *b)
{
    if (value_is_number(a) && value_is_number(b)) return order_of(a, b) == 0;
    if (a->type != b->type) return false;
    return a->type == VALUE_BOOL ? a->b == b->b : a->type == VALUE_STR && str_eq(a->s, b->s);
}

static bool is_any_of(const struct value *v, const struct filter *f)
{
    for (uint32_t i = 0; i < f->n_values; i++)
        if (is_equal(v, &f->values[i])) return true;
    return false;
}

static bool holds(const struct value *list, const struct value *v)
{
    if (list->type < VALUE_BOOLS || list->type > VALUE_STRS) return false;
    for (uint32_t i = 0; i < list->list.n; i++)
        if (list->list.items[i].type == v->type && is_equal(&list->list.items[i], v)) return true;
    return false;
}

static bool compares(enum filter_kind kind, const struct value *v, const struct value *with)
{
    if (!value_is_number(v)) return false;
    int order = order_of(v, with);
    return kind == FILTER_GT ? order > 0 : kind == FILTER_GTE ? order >= 0 : kind == FILTER_LT ? order < 0 : order <= 0;
}

static bool has_text(const struct filter *f, const struct row *row)
{
    bool matches = false;
    if (row->document.p == NULL) return false;
    if (f->kind == FILTER_DOC_CONTAINS || f->kind == FILTER_DOC_NOT_CONTAINS)
        return str_contains(row->document, f->text);
    must_ok(regex_matches(f->regex, row->document, &matches, NULL));
    return matches;
}

static bool model_matches(const struct filter *f, const struct row *row, struct arena *a)
{
    struct meta_entry entry;
    struct value v = {.type = VALUE_NULL};
    const struct value id = {.type = VALUE_STR, .s = row->id};
    if (f->kind >= FILTER_EQ && f->kind <= FILTER_NOT_CONTAINS && meta_find(row->meta, f->key, &entry))
        must(meta_value(&entry, a, &v));
    switch (f->kind) {
    case FILTER_AND:
        for (uint32_t i = 0; i < f->n_children; i++)
            if (!model_matches(f->children[i], row, a)) return false;
        return true;
    case FILTER_OR:
        for (uint32_t i = 0; i < f->n_children; i++)
            if (model_matches(f->children[i], row, a)) return true;
        return false;
    case FILTER_EQ:
    case FILTER_IN:
        return is_any_of(&v, f);
    case FILTER_NE:
    case FILTER_NIN:
        return !is_any_of(&v, f);
    case FILTER_CONTAINS:
        return holds(&v, &f->values[0]);
    case FILTER_NOT_CONTAINS:
        return !holds(&v, &f->values[0]);
    case FILTER_DOC_CONTAINS:
    case FILTER_DOC_REGEX:
        return has_text(f, row);
    case FILTER_DOC_NOT_CONTAINS:
    case FILTER_DOC_NOT_REGEX:
        return !has_text(f, row);
    case FILTER_ID_IN:
        return is_any_of(&id, f);
    case FILTER_ID_NOT_IN:
        return !is_any_of(&id, f);
    default:
        return compares(f->kind, &v, &f->values[0]);
    }
}

/* ------------------------------------------------------------------------------------------------------------------ */

static struct fixture fixture; /* made with the first input */

static bool read_filter(struct str text, bool is_document, struct arena *a, struct filter **f)
{
    struct json_reader j;
    bool is_valid = false;
    *f = NULL;
    if (text.n == 0) return true;
    json_reader_init(&j, text, a);
    bool is_read = is_document ? parse_where_document(&j, f, &is_valid) : parse_where(&j, f, &is_valid);
    is_read = is_read && json_finish(&j);
    if (!is_read) must(j.err != ERR_OK && j.message.n > 0);
    return is_read && is_valid;
}

static void evaluate(const struct filter *f, struct arena *a)
{
    struct bitset found, left;
    struct filter_rest rest = {0};
    const struct model *m = &fixture.m;
    enum err e = fixture.s->ops->filter(fixture.s, m->n, f, a, &found, NULL, NULL);
    must(e == ERR_OK || e == ERR_INVALID);
    enum err e2 = fixture.s->ops->filter(fixture.s, m->n, f, a, &left, &rest, NULL);
    if (e2 == ERR_OK && rest.n > 0) e2 = fixture.s->ops->settle(fixture.s, &rest, &left, 0, m->n, NULL);
    must(e2 == ERR_OK || e2 == ERR_INVALID);
    for (uint32_t i = 0; i < m->n && e == ERR_OK; i++) {
        bool matches = false;
        enum err e3 = filter_matches(f, &m->rows[i], a, &matches, NULL);
        if (e3 == ERR_INVALID) continue; /* a regular expression at its limit */
        must(e3 == ERR_OK);
        must_msg(matches == model_matches(f, &m->rows[i], a), "row %u: filter_matches says %d", i, matches);
        must_msg(matches == bitset_get(&found, i), "row %u: the fragment says %d", i, !matches);
        if (e2 == ERR_OK)
            must_msg(matches == bitset_get(&left, i), "row %u: settled, the fragment says %d", i, !matches);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct input in = {p, n};
    struct arena a = {0};
    struct filter *parts[2], *children[2], both = {.kind = FILTER_AND, .children = children};
    if (fixture.s == NULL) setup(&fixture, N_ROWS, DIM, SPACE_L2, ROWS_SEED);
    struct str where = input_until(&in, '\n'), document = input_text(&in, in.n);
    bool is_good = read_filter(where, false, &a, &parts[0]);
    is_good = read_filter(document, true, &a, &parts[1]) && is_good;
    for (int i = 0; i < 2 && is_good; i++) {
        if (parts[i] == NULL) continue;
        is_good = where_compile(parts[i], NULL) == ERR_OK;
        children[both.n_children++] = parts[i];
    }
    if (is_good) evaluate(&both, &a);
    for (uint32_t i = 0; i < both.n_children; i++) where_free(both.children[i]);
    arena_free(&a);
    return 0;
}
