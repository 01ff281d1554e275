/* filter.c - what a filter means, row by row: see filter.h. Fragments' indexes must agree with this file. */
#include "core/filter.h"

bool filter_is_negation(enum filter_kind kind, enum filter_kind *positive)
{
    switch (kind) {
    case FILTER_NE:
        *positive = FILTER_EQ;
        return true;
    case FILTER_NIN:
        *positive = FILTER_IN;
        return true;
    case FILTER_NOT_CONTAINS:
        *positive = FILTER_CONTAINS;
        return true;
    case FILTER_DOC_NOT_CONTAINS:
        *positive = FILTER_DOC_CONTAINS;
        return true;
    case FILTER_DOC_NOT_REGEX:
        *positive = FILTER_DOC_REGEX;
        return true;
    case FILTER_ID_NOT_IN:
        *positive = FILTER_ID_IN;
        return true;
    default:
        return false;
    }
}

unsigned filter_parts(const struct filter *f)
{
    unsigned parts = 0;
    if (f == NULL) return 0;
    switch (f->kind) {
    case FILTER_AND:
    case FILTER_OR:
        for (uint32_t i = 0; i < f->n_children; i++) parts |= filter_parts(f->children[i]);
        return parts;
    case FILTER_DOC_CONTAINS:
    case FILTER_DOC_NOT_CONTAINS:
    case FILTER_DOC_REGEX:
    case FILTER_DOC_NOT_REGEX:
        return ROW_DOCUMENT;
    case FILTER_ID_IN:
    case FILTER_ID_NOT_IN:
        return ROW_ID;
    default:
        return ROW_META;
    }
}

static bool compares(enum filter_kind kind, int c)
{
    switch (kind) {
    case FILTER_GT:
        return c > 0;
    case FILTER_GTE:
        return c >= 0;
    case FILTER_LT:
        return c < 0;
    default:
        return c <= 0;
    }
}

/* Array elements are compared with their type: 2.0 is not in [1, 2, 3]. */
static bool is_item(const struct value *list, const struct value *v)
{
    for (uint32_t i = 0; i < list->list.n; i++)
        if (list->list.items[i].type == v->type && value_equal(&list->list.items[i], v)) return true;
    return false;
}

static enum err meta_matches(const struct filter *f, enum filter_kind kind, const struct row *row,
                             struct arena *scratch, bool *matches, struct errmsg *em)
{
    struct meta_entry e;
    struct value v;
    *matches = false;
    if (!meta_find(row->meta, f->key, &e)) return ERR_OK;
    bool is_list = e.type >= VALUE_BOOLS && e.type <= VALUE_STRS;
    if (is_list != (kind == FILTER_CONTAINS) || e.type == VALUE_SPARSE) return ERR_OK;
    if (!meta_value(&e, scratch, &v)) return errmsg_set(em, ERR_NOMEM, "decode metadata");
    switch (kind) {
    case FILTER_CONTAINS:
        *matches = is_item(&v, &f->values[0]);
        break;
    case FILTER_EQ:
        *matches = value_equal(&v, &f->values[0]);
        break;
    case FILTER_IN:
        for (uint32_t i = 0; i < f->n_values && !*matches; i++) *matches = value_equal(&v, &f->values[i]);
        break;
    default:
        *matches = value_is_number(&v) && compares(kind, value_compare_numbers(&v, &f->values[0]));
        break;
    }
    return ERR_OK;
}

static enum err group_matches(const struct filter *f, const struct row *row, struct arena *scratch, bool *matches,
                              struct errmsg *em)
{
    bool is_and = f->kind == FILTER_AND;
    *matches = is_and;
    for (uint32_t i = 0; i < f->n_children && *matches == is_and; i++) {
        enum err e = filter_matches(f->children[i], row, scratch, matches, em);
        if (e != ERR_OK) return e;
    }
    return ERR_OK;
}

enum err filter_matches(const struct filter *f, const struct row *row, struct arena *scratch, bool *matches,
                        struct errmsg *em)
{
    enum err e = ERR_OK;
    if (f == NULL) {
        *matches = true;
        return ERR_OK;
    }
    enum filter_kind kind = f->kind;
    bool is_negated = filter_is_negation(kind, &kind);
    bool found = false;
    switch (kind) {
    case FILTER_AND:
    case FILTER_OR:
        e = group_matches(f, row, scratch, &found, em);
        break;
    case FILTER_DOC_CONTAINS:
        found = str_contains(row->document, f->text);
        break;
    case FILTER_DOC_REGEX:
        if (row->document.p != NULL) e = regex_matches(f->regex, row->document, &found, em);
        break;
    case FILTER_ID_IN:
        for (uint32_t i = 0; i < f->n_values && !found; i++) found = str_eq(row->id, f->values[i].s);
        break;
    default:
        e = meta_matches(f, kind, row, scratch, &found, em);
        break;
    }
    if (e == ERR_OK) *matches = found != is_negated;
    return e;
}
