/* test_where.c - the grammar of filters: each accepted text as the tree it must become, each refused one, and what the
 * schema's switches refuse.
 */
#include "core/filter.h"

#include <inttypes.h>

#include "api/records.h"
#include "core/mem.h"
#include "tests/lib/suite.h"

/* A tree as text: kind, key, operands. */
static void show_value(struct buf *b, const struct value *v)
{
    switch (v->type) {
    case VALUE_STR:
        buf_char(b, '\'');
        buf_str(b, v->s);
        buf_char(b, '\'');
        break;
    case VALUE_INT:
        buf_printf(b, "%" PRId64, v->i);
        break;
    case VALUE_FLOAT:
        buf_printf(b, "%gf", v->f);
        break;
    default:
        buf_str(b, v->b ? STR("true") : STR("false"));
        break;
    }
}

static void show(struct buf *b, const struct filter *f)
{
    static const char *const names[] = {
        [FILTER_AND] = "and",
        [FILTER_OR] = "or",
        [FILTER_EQ] = "eq",
        [FILTER_NE] = "ne",
        [FILTER_GT] = "gt",
        [FILTER_GTE] = "gte",
        [FILTER_LT] = "lt",
        [FILTER_LTE] = "lte",
        [FILTER_IN] = "in",
        [FILTER_NIN] = "nin",
        [FILTER_CONTAINS] = "contains",
        [FILTER_NOT_CONTAINS] = "not_contains",
        [FILTER_DOC_CONTAINS] = "doc_contains",
        [FILTER_DOC_NOT_CONTAINS] = "doc_not_contains",
        [FILTER_DOC_REGEX] = "doc_regex",
        [FILTER_DOC_NOT_REGEX] = "doc_not_regex",
        [FILTER_ID_IN] = "id_in",
        [FILTER_ID_NOT_IN] = "id_not_in",
    };
    buf_printf(b, "%s(", names[f->kind]);
    const char *between = "";
    if (f->kind >= FILTER_EQ && f->kind <= FILTER_NOT_CONTAINS) {
        buf_str(b, f->key);
        between = " ";
    }
    for (uint32_t i = 0; i < f->n_values; i++, between = " ") {
        buf_str(b, str_from_c(between));
        show_value(b, &f->values[i]);
    }
    for (uint32_t i = 0; i < f->n_children; i++, between = " ") {
        buf_str(b, str_from_c(between));
        show(b, f->children[i]);
    }
    buf_str(b, f->text);
    buf_char(b, ')');
}

/* "refused", "none", the tree, or the reader's failure. */
static struct str parsed(const char *text, bool is_document, struct arena *a)
{
    struct json_reader j;
    struct filter *f = NULL;
    bool is_valid = false;
    json_reader_init(&j, str_from_c(text), a);
    bool ok = is_document ? parse_where_document(&j, &f, &is_valid) : parse_where(&j, &f, &is_valid);
    ok = ok && json_finish(&j);
    if (!ok) return j.message;
    if (!is_valid) {
        ck_assert_ptr_null(f);
        return STR("refused");
    }
    if (f == NULL) return STR("none");
    struct buf b = {0};
    show(&b, f);
    struct str s = arena_str(a, buf_view(&b));
    buf_free(&b);
    return s;
}

static void check_table(const char *const (*table)[2], size_t n, bool is_document)
{
    for (size_t i = 0; i < n; i++) {
        struct arena a = {0};
        struct str got = parsed(table[i][0], is_document, &a);
        ck_assert_msg(str_eq(got, str_from_c(table[i][1])), "%s: expected %s, got %.*s", table[i][0], table[i][1],
                      STR_ARG(got));
        arena_free(&a);
    }
}

static const char *const accepted[][2] = {
    {"null", "none"},
    {"{\"a\":1}", "eq(a 1)"},
    {"{\"a\":1.0}", "eq(a 1f)"},
    {"{\"a\":\"x\"}", "eq(a 'x')"},
    {"{\"a\":true}", "eq(a true)"},
    {"{\"\":1}", "eq( 1)"},
    {"{\"#foo\":1}", "eq(#foo 1)"},
    {"{\"a\":{\"$eq\":false}}", "eq(a false)"},
    {"{\"a\":{\"$ne\":2}}", "ne(a 2)"},
    {"{\"a\":{\"$gt\":2}}", "gt(a 2)"},
    {"{\"a\":{\"$gte\":2.5}}", "gte(a 2.5f)"},
    {"{\"a\":{\"$lt\":-2}}", "lt(a -2)"},
    {"{\"a\":{\"$lte\":0}}", "lte(a 0)"},
    {"{\"a\":{\"$in\":[1,2,3]}}", "in(a 1 2 3)"},
    {"{\"a\":{\"$in\":[1,2,3,4,5,6,7,8,9,10]}}", "in(a 1 2 3 4 5 6 7 8 9 10)"},
    {"{\"a\":{\"$nin\":[\"x\",\"y\"]}}", "nin(a 'x' 'y')"},
    {"{\"a\":{\"$in\":[1.5,1]}}", "in(a 1.5f 1f)"},
    {"{\"a\":{\"$in\":[1.5,9223372036854775808]}}", "in(a 1.5f 9.22337e+18f)"},
    {"{\"a\":9223372036854775807}", "eq(a 9223372036854775807)"},
    {"{\"a\":18446744073709551616}", "eq(a 1.84467e+19f)"},
    {"{\"a\":{\"$contains\":2}}", "contains(a 2)"},
    {"{\"a\":{\"$not_contains\":\"x\"}}", "not_contains(a 'x')"},
    {"{\"$and\":[]}", "and()"},
    {"{\"$or\":[]}", "or()"},
    {"{\"$and\":[{\"a\":1},{\"$or\":[{\"b\":2},{\"c\":3}]}]}", "and(eq(a 1) or(eq(b 2) eq(c 3)))"},
    {"{\"$or\":[{\"a\":1},{\"a\":2},{\"a\":3},{\"a\":4},{\"a\":5}]}", "or(eq(a 1) eq(a 2) eq(a 3) eq(a 4) eq(a 5))"},
    {"{\"#document\":{\"$contains\":\"x\"}}", "doc_contains(x)"},
    {"{\"#document\":{\"$not_contains\":\"\"}}", "doc_not_contains()"},
    {"{\"#document\":{\"$regex\":\"x.\"}}", "doc_regex(x.)"},
    {"{\"#document\":{\"$not_regex\":\"x.\"}}", "doc_not_regex(x.)"},
    {"{\"#document\":\"x\"}", "eq(#document 'x')"},
    {"{\"#id\":\"x\"}", "id_in('x')"},
    {"{\"#id\":{\"$ne\":\"x\"}}", "id_not_in('x')"},
    {"{\"#id\":{\"$in\":[\"x\",\"y\"]}}", "id_in('x' 'y')"},
    {"{\"#id\":{\"$nin\":[\"x\",\"y\"]}}", "id_not_in('x' 'y')"},
    {"{\"#id\":1}", "eq(#id 1)"},
    {"{\"#id\":{\"$contains\":\"x\"}}", "contains(#id 'x')"},
    /* of equal keys the last one counts */
    {"{\"a\":1,\"a\":2}", "eq(a 2)"},
    {"{\"a\":{\"$foo\":1},\"a\":2}", "eq(a 2)"},
    {"{\"a\":{\"$eq\":1,\"$eq\":2}}", "eq(a 2)"},
    {"{\"$and\":[{\"a\":1}],\"$and\":[]}", "and()"},
};

static const char *const refused[][2] = {
    {"1", "refused"},
    {"\"x\"", "refused"},
    {"[]", "refused"},
    {"true", "refused"},
    {"{}", "refused"},
    {"{\"a\":1,\"b\":2}", "refused"},
    {"{\"a\":1,\"b\":2,\"a\":3}", "refused"},
    {"{\"a\":null}", "refused"},
    {"{\"a\":[1]}", "refused"},
    {"{\"a\":{}}", "refused"},
    {"{\"a\":2,\"a\":{\"$foo\":1}}", "refused"},
    {"{\"a\":{\"$gt\":1,\"$lt\":2}}", "refused"},
    {"{\"a\":{\"$foo\":1}}", "refused"},
    {"{\"a\":{\"eq\":1}}", "refused"},
    {"{\"a\":{\"$eq\":null}}", "refused"},
    {"{\"a\":{\"$eq\":[1]}}", "refused"},
    {"{\"a\":{\"$eq\":{}}}", "refused"},
    {"{\"a\":{\"$gt\":\"x\"}}", "refused"},
    {"{\"a\":{\"$lte\":true}}", "refused"},
    {"{\"a\":{\"$in\":1}}", "refused"},
    {"{\"a\":{\"$in\":[]}}", "refused"},
    {"{\"a\":{\"$in\":[1,2.5]}}", "refused"},
    {"{\"a\":{\"$in\":[1,\"x\"]}}", "refused"},
    {"{\"a\":{\"$in\":[true,1]}}", "refused"},
    {"{\"a\":{\"$in\":[null]}}", "refused"},
    {"{\"a\":{\"$in\":[[1]]}}", "refused"},
    {"{\"a\":{\"$in\":[1.5,\"x\"]}}", "refused"},
    {"{\"a\":{\"$in\":[1.5,{}]}}", "refused"},
    {"{\"a\":{\"$nin\":[1.5,[]]}}", "refused"},
    {"{\"a\":{\"$nin\":[1.5,null]}}", "refused"},
    {"{\"a\":{\"$contains\":[1]}}", "refused"},
    {"{\"a\":{\"$regex\":\"x\"}}", "refused"},
    {"{\"a\":9223372036854775808}", "refused"},
    {"{\"a\":{\"$in\":[9223372036854775808,1.5]}}", "refused"},
    {"{\"a\":{\"$in\":[1,9223372036854775808]}}", "refused"},
    {"{\"$foo\":1}", "refused"},
    {"{\"$contains\":\"x\"}", "refused"},
    {"{\"$not\":[{\"a\":1}]}", "refused"},
    {"{\"$and\":{\"a\":1}}", "refused"},
    {"{\"$and\":null}", "refused"},
    {"{\"$and\":[1]}", "refused"},
    {"{\"$and\":[{\"a\":1},{}]}", "refused"},
    {"{\"$or\":[{\"$and\":[{\"a\":{\"$x\":1}}]},{\"a\":1}]}", "refused"},
    {"{\"#document\":{\"$contains\":1}}", "refused"},
    {"{\"#document\":{\"$regex\":null}}", "refused"},
    {"{\"a\":{\"#type\":\"sparse_vector\",\"indices\":[1],\"values\":[1]}}", "refused"},
};

static const char *const documents[][2] = {
    {"null", "none"},
    {"{\"$contains\":\"x\"}", "doc_contains(x)"},
    {"{\"$contains\":\"\"}", "doc_contains()"},
    {"{\"$not_contains\":\"x\"}", "doc_not_contains(x)"},
    {"{\"$regex\":\"x\"}", "doc_regex(x)"},
    {"{\"$not_regex\":\"x\"}", "doc_not_regex(x)"},
    {"{\"$and\":[]}", "and()"},
    {"{\"$or\":[{\"$contains\":\"x\"},{\"$and\":[{\"$regex\":\"y\"}]}]}", "or(doc_contains(x) and(doc_regex(y)))"},
    {"{\"$contains\":\"x\",\"$contains\":\"y\"}", "doc_contains(y)"},
    {"{}", "refused"},
    {"[]", "refused"},
    {"\"x\"", "refused"},
    {"1", "refused"},
    {"{\"$contains\":1}", "refused"},
    {"{\"$contains\":null}", "refused"},
    {"{\"$contains\":[\"x\"]}", "refused"},
    {"{\"contains\":\"x\"}", "refused"},
    {"{\"$eq\":\"x\"}", "refused"},
    {"{\"a\":1}", "refused"},
    {"{\"a\":{\"$contains\":\"x\"}}", "refused"},
    {"{\"#document\":{\"$contains\":\"x\"}}", "refused"},
    {"{\"$contains\":\"x\",\"$regex\":\"y\"}", "refused"},
    {"{\"$not\":{\"$contains\":\"x\"}}", "refused"},
    {"{\"$and\":{\"$contains\":\"x\"}}", "refused"},
    {"{\"$or\":[null]}", "refused"},
    {"{\"$and\":[{\"a\":1}]}", "refused"},
};

START_TEST(clauses_become_trees)
{
    check_table(accepted, sizeof accepted / sizeof accepted[0], false);
}
END_TEST

START_TEST(what_is_no_clause_is_refused)
{
    check_table(refused, sizeof refused / sizeof refused[0], false);
}
END_TEST

START_TEST(document_clauses)
{
    check_table(documents, sizeof documents / sizeof documents[0], true);
}
END_TEST

/* A clause that is refused is still read to its end, so wrong JSON behind the fault is found. */
START_TEST(wrong_json_fails_the_reader)
{
    static const char *const table[][2] = {
        {"{\"a\":{\"$foo\":nope}}", "a.$foo: expected ident at line 1 column 15"},
        {"{\"a\":1e400}", "a: number out of range at line 1 column 10"},
        {"{\"a\":[1,{\"b\":}]}", "a[1].b: expected value at line 1 column 14"},
        {"{\"$and\":[{\"a\":1},]}", "$and: trailing comma at line 1 column 18"},
    };
    check_table(table, sizeof table / sizeof table[0], false);
}
END_TEST

START_TEST(depth_is_the_readers)
{
    for (unsigned n = 40; n <= 70; n += 30) { /* 63 clauses in lists are 126 containers */
        struct arena a = {0};
        struct buf text = {0};
        for (unsigned i = 0; i < n; i++) buf_lit(&text, "{\"$and\":[");
        buf_lit(&text, "{\"a\":1}");
        for (unsigned i = 0; i < n; i++) buf_lit(&text, "]}");
        buf_char(&text, '\0');
        struct str got = parsed(text.p, false, &a);
        if (n == 40)
            ck_assert(str_starts(got, STR("and(and(")));
        else
            ck_assert(str_contains(got, STR("recursion limit exceeded")));
        buf_free(&text);
        arena_free(&a);
    }
}
END_TEST

/* --- regular expressions ------------------------------------------------------------------------------------------ */

static struct filter *parse(const char *text, struct arena *a)
{
    struct json_reader j;
    struct filter *f = NULL;
    bool is_valid = false;
    json_reader_init(&j, str_from_c(text), a);
    ck_assert(parse_where(&j, &f, &is_valid) && is_valid);
    return f;
}

START_TEST(regular_expressions_compile_and_are_freed)
{
    struct arena a = {0};
    struct filter *f = parse("{\"$or\":[{\"a\":1},{\"#document\":{\"$regex\":\"^a+$\"}},"
                             "{\"$and\":[{\"#document\":{\"$not_regex\":\"b\"}}]}]}",
                             &a);
    ck_ok(where_compile(f, NULL));
    ck_assert_ptr_nonnull(f->children[1]->regex);
    ck_assert_ptr_nonnull(f->children[2]->children[0]->regex);
    struct row row = {.id = STR("1"), .document = STR("aab")};
    bool matches = true;
    ck_ok(filter_matches(f, &row, &a, &matches, NULL));
    ck_assert(!matches);
    row.document = STR("aaa");
    ck_ok(filter_matches(f, &row, &a, &matches, NULL));
    ck_assert(matches);
    where_free(f);
    ck_assert_ptr_null(f->children[1]->regex);
    arena_free(&a);
}
END_TEST

START_TEST(a_bad_expression_is_said_and_leaves_nothing)
{
    struct arena a = {0};
    struct errmsg em = {{0}};
    struct filter *f = parse("{\"$and\":[{\"#document\":{\"$regex\":\"a\"}},{\"#document\":{\"$regex\":\"(\"}}]}", &a);
    ck_assert(where_compile(f, &em) == ERR_INVALID);
    ck_assert_msg(str_starts(str_from_c(em.text), STR("Regex syntax errror: regex parse error:")), "%s", em.text);
    where_free(f); /* the leak checker sees that the first one is gone */
    arena_free(&a);
    where_free(NULL);
    ck_ok(where_compile(NULL, NULL));
}
END_TEST

/* --- switches of the schema --------------------------------------------------------------------------------------- */

/* A schema text as the catalog stores it; `own` are further keys. */
static struct str schema_text(struct arena *a, bool has_strings, bool has_fts, const char *own)
{
    return arena_printf(a,
                        "{\"defaults\":{\"string\":{\"fts_index\":{\"enabled\":false,\"config\":{}},"
                        "\"string_inverted_index\":{\"enabled\":%s,\"config\":{}}},"
                        "\"int\":{\"int_inverted_index\":{\"enabled\":true,\"config\":{}}},"
                        "\"float\":{\"float_inverted_index\":{\"enabled\":true,\"config\":{}}},"
                        "\"bool\":{\"bool_inverted_index\":{\"enabled\":true,\"config\":{}}}},"
                        "\"keys\":{\"#document\":{\"string\":{\"fts_index\":{\"enabled\":%s,\"config\":{}},"
                        "\"string_inverted_index\":{\"enabled\":false,\"config\":{}}}}%s}}",
                        has_strings ? "true" : "false", has_fts ? "true" : "false", own);
}

#define OFF(key, type) "Cannot filter using metadata key '" key "' with type '" type "' because indexing is disabled"
#define NO_FTS         "Cannot filter using full-text search because FTS indexing is disabled"

static const char k_on[] = ",\"k\":{\"string\":{\"string_inverted_index\":{\"enabled\":true,\"config\":{}}}}";
static const char ab_off[] = ",\"a\":{\"int\":{\"int_inverted_index\":{\"enabled\":false,\"config\":{}}}},"
                             "\"b\":{\"bool\":{\"bool_inverted_index\":{\"enabled\":false,\"config\":{}}},"
                             "\"float\":{\"float_inverted_index\":{\"enabled\":false,\"config\":{}}}}";

static const struct {
    bool has_strings, has_fts;
    const char *own, *where, *message; /* message NULL: allowed */
} switched[] = {
    {true, true, "", "{\"a\":\"x\"}", NULL},
    {true, true, "", "{\"#document\":{\"$contains\":\"x\"}}", NULL},
    {true, true, "", "{\"#document\":\"x\"}", OFF("#document", "Str")},
    {true, true, "", "{\"#document\":{\"$nin\":[\"x\"]}}", OFF("#document", "Str")},
    {true, true, "", "{\"#document\":{\"$gt\":1}}", NULL},
    {true, true, "", "{\"$or\":[{\"a\":1},{\"$and\":[{\"#document\":{\"$ne\":\"x\"}}]}]}", OFF("#document", "Str")},
    {false, true, k_on, "{\"a\":\"x\"}", OFF("a", "Str")},
    {false, true, k_on, "{\"a\":{\"$contains\":\"x\"}}", OFF("a", "Str")},
    {false, true, k_on, "{\"a\":1}", NULL},
    {false, true, k_on, "{\"k\":\"x\"}", NULL},
    {false, true, k_on, "{\"#id\":\"x\"}", OFF("#id", "Str")},
    {false, true, k_on, "{\"#document\":{\"$regex\":\"x\"}}", NULL},
    {true, false, ab_off, "{\"a\":\"x\"}", NULL},
    {true, false, ab_off, "{\"a\":{\"$in\":[1]}}", OFF("a", "Int")},
    {true, false, ab_off, "{\"b\":true}", OFF("b", "Bool")},
    {true, false, ab_off, "{\"b\":{\"$lt\":1.5}}", OFF("b", "Float")},
    {true, false, ab_off, "{\"b\":{\"$lt\":1}}", NULL},
    {true, false, ab_off, "{\"#document\":{\"$not_contains\":\"x\"}}", NO_FTS},
    {true, false, ab_off, "{\"$and\":[{\"#document\":{\"$contains\":\"x\"}},{\"b\":true}]}", NO_FTS},
    {true, false, ab_off, "{\"$and\":[{\"b\":true},{\"#document\":{\"$contains\":\"x\"}}]}", OFF("b", "Bool")},
    {true, false, ab_off, "{\"$or\":[]}", NULL},
};

START_TEST(switches_of_the_schema)
{
    enum err e = ERR_INTERNAL;
    for (size_t i = 0; i < sizeof switched / sizeof switched[0]; i++) {
        struct arena a = {0};
        struct filter *f = parse(switched[i].where, &a);
        struct str schema = schema_text(&a, switched[i].has_strings, switched[i].has_fts, switched[i].own);
        struct str got = where_disabled_index(f, schema, &a, &e);
        ck_ok(e);
        bool is_same = switched[i].message == NULL ? got.p == NULL : str_eq(got, str_from_c(switched[i].message));
        ck_assert_msg(is_same, "%s: %.*s", switched[i].where, STR_ARG(got));
        arena_free(&a);
    }
    ck_assert_ptr_null(where_disabled_index(NULL, STR("{}"), NULL, &e).p); /* no filter needs no index */
    ck_ok(e);
    struct arena a = {0};
    ck_assert_ptr_null(where_disabled_index(parse("{\"a\":1}", &a), STR("{}"), &a, &e).p); /* nor does it say any */
    ck_ok(e);
    arena_free(&a);
}
END_TEST

/* --- memory ------------------------------------------------------------------------------------------------------- */

static bool fail_at(void *ctx, size_t size)
{
    (void)size;
    unsigned *left = ctx;
    if (*left == 0) return false;
    --*left;
    return true;
}

/* However early memory ends, the reader says so and nothing is left over. */
START_TEST(memory_that_ends_is_reported)
{
    bool got_through = false;
    for (unsigned n = 0; n < 200 && !got_through; n++) {
        struct arena a = {0};
        struct json_reader j;
        struct filter *f = NULL;
        bool is_valid = false;
        unsigned left = n;
        /* a list of a size that outgrows the arena's first chunk */
        struct buf text = {0};
        buf_lit(&text, "{\"$and\":[{\"a\":{\"$in\":[0");
        for (int i = 1; i < 4000; i++) buf_printf(&text, ",%d", i);
        buf_lit(&text, "]}},{\"#document\":{\"$regex\":\"a\"}}]}");
        json_reader_init(&j, buf_view(&text), &a);
        mem_set_hook(fail_at, &left);
        bool ok = parse_where(&j, &f, &is_valid);
        enum err e = ok ? where_compile(f, NULL) : j.err;
        mem_set_hook(NULL, NULL);
        got_through = e == ERR_OK;
        if (!got_through)
            ck_assert_msg(e == ERR_NOMEM, "%s after %u allocations", err_text(e), n);
        else
            ck_assert_uint_eq(f->children[0]->n_values, 4000);
        where_free(f);
        arena_free(&a);
        buf_free(&text);
    }
    ck_assert(got_through);
}
END_TEST

TESTS(where, clauses_become_trees, what_is_no_clause_is_refused, document_clauses, wrong_json_fails_the_reader,
      depth_is_the_readers, regular_expressions_compile_and_are_freed, a_bad_expression_is_said_and_leaves_nothing,
      switches_of_the_schema, memory_that_ends_is_reported)
