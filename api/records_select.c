/* records_select.c - which rows a get, query or delete is about: ids and the two filters, checked and joined.
 *
 * The order is the contract's: `where` is a clause, then `where_document` is one, then regular expressions compile,
 * those of `where` first; whether the schema has the needed indexes switched on comes after all other checks.
 * INVARIANT  after selection_check `filter` is the conjunction of what was given.
 */
#include "api/records.h"

bool selection_read_member(struct selection_in *in, int member, struct json_reader *j)
{
    bool is_valid = true;
    switch (member) {
    case 0:
        return body_strings(j, BODY_NULL_LIST, &in->ids, &in->has_ids);
    case 1:
        if (!parse_where(j, &in->where, &is_valid)) return false;
        in->is_bad_where = !is_valid;
        return true;
    default:
        if (!parse_where_document(j, &in->where_document, &is_valid)) return false;
        in->is_bad_where_document = !is_valid;
        return true;
    }
}

bool selection_check(struct api_request *r, struct selection_in *in)
{
    struct errmsg em = {0};
    enum err e = ERR_OK;
    if (in->is_bad_where)
        e = errmsg_set(&em, ERR_INVALID, "Invalid where clause");
    else if (in->is_bad_where_document)
        e = errmsg_set(&em, ERR_INVALID, "Invalid where document clause");
    if (e == ERR_OK) e = where_compile(in->where, &em);
    if (e == ERR_OK) e = where_compile(in->where_document, &em);
    in->filter = in->where != NULL ? in->where : in->where_document;
    if (e == ERR_OK && in->where != NULL && in->where_document != NULL) {
        struct filter *both = arena_zalloc(&r->arena, sizeof *both);
        struct filter **children = arena_array(&r->arena, 2, sizeof *children);
        if (both == NULL || children == NULL) {
            e = ERR_NOMEM;
        } else {
            children[0] = in->where;
            children[1] = in->where_document;
            *both = (struct filter){.kind = FILTER_AND, .children = children, .n_children = 2};
            in->filter = both;
        }
    }
    if (e != ERR_OK) (void)records_fail(r, e, &em);
    return e == ERR_OK;
}

bool selection_check_indexes(struct api_request *r, const struct selection_in *in, const struct catalog_collection *col)
{
    enum err e = ERR_OK;
    struct str message = where_disabled_index(in->filter, col->schema, &r->arena, &e);
    if (e != ERR_OK)
        (void)records_fail(r, e, NULL);
    else if (message.p != NULL)
        (void)api_fail_str(r, ERR_INVALID, message);
    return e == ERR_OK && message.p == NULL;
}

struct selection selection_of(const struct selection_in *in)
{
    static const struct str none; /* a list of no ids is still a list */
    struct selection s = {.filter = in->filter};
    if (in->has_ids) {
        s.n_ids = body_n_strings(&in->ids);
        s.ids = s.n_ids > 0 ? body_string_array(&in->ids) : &none;
    }
    return s;
}

void selection_free(struct selection_in *in)
{
    where_free(in->where); /* `filter` consists of these two */
    where_free(in->where_document);
    buf_free(&in->ids);
    *in = (struct selection_in){0};
}
