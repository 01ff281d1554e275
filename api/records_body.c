/* records_body.c - reading the members that bodies of several record routes share, and what a failure answers.
 *
 * FAILURE  a value of the wrong shape fails the reader (422, with its place). A column that outgrows memory or its
 * ceiling fails the reader too, with the column's error.
 */
#include "api/records.h"

#include "api/explain.h"

static bool fail_column(struct json_reader *j, const struct buf *column)
{
    if (j->err == ERR_OK) {
        j->err = column->err;
        j->message = column->err == ERR_NOMEM ? STR("out of memory") : STR("a column of more than 4 GiB");
    }
    return false;
}

bool records_enter_object(struct json_reader *j, struct json_fields *f, const char *const *names, uint32_t n,
                          const char *expected)
{
    if (json_peek(j) == JSON_ARRAY) return json_enter_object(j, expected); /* which fails, and says so */
    return json_enter_fields(j, f, names, n, false, expected);
}

bool body_strings(struct json_reader *j, unsigned nulls, struct buf *out, bool *is_given)
{
    if ((nulls & BODY_NULL_LIST) != 0 && json_null(j)) return true;
    if (!json_enter_array(j, "a sequence")) return false;
    out->max = BODY_COLUMN_MAX;
    out->budget = j->arena->budget;
    while (json_next_item(j)) {
        struct str s = {0};
        bool is_null = (nulls & BODY_NULL_ITEMS) != 0 && json_null(j);
        if (!is_null && !json_string(j, &s, "a string")) return false;
        buf_add(out, &s, sizeof s);
        if (out->err != ERR_OK) return fail_column(j, out);
    }
    *is_given = true;
    return j->err == ERR_OK;
}

bool body_u32_or_null(struct json_reader *j, uint32_t *v, bool *is_given)
{
    if (json_null(j)) return true;
    if (!json_u32(j, v)) return false;
    *is_given = true;
    return true;
}

enum api_outcome records_fail(struct api_request *r, enum err e, const struct errmsg *em)
{
    bool has_detail = em != NULL && em->text[0] != '\0';
    if (e == ERR_CORRUPT && has_detail) /* the text names the file */
        return api_fail(r, e, "Collection [%.*s]: %s", STR_ARG(r->params[2]), em->text);
    return api_fail(r, e, "%s", has_detail ? em->text : err_text(e));
}

enum api_outcome records_finish_read(struct api_request *r, enum err e, const struct errmsg *em)
{
    if (e == ERR_OK) e = r->answer.err;
    if (e == ERR_OK) {
        explain_answer(r);
        return api_ok(r, 200);
    }
    buf_free(&r->answer);
    if (e == ERR_TOO_LARGE) {
        return api_fail(r, ERR_INVALID,
                        "The answer is larger than 2 GiB: ask for fewer records or fewer parts of them");
    }
    return records_fail(r, e, em);
}

enum api_outcome records_fail_body(struct api_request *r, const struct json_reader *j)
{
    if (j->err == ERR_INVALID || j->err == ERR_SHAPE) return api_fail_json(r, j);
    return api_fail_str(r, j->err, j->message);
}
