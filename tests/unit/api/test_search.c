/* test_search.c - the search route through api_run: the shape of answers, what is refused and in which words, the same
 * answers from tails and from fragments, and memory that ends at every possible moment. What scores are right:
 * tests/unit/core/test_rank.c and the recorded cases, which are replayed over HTTP.
 */
#include "tests/unit/api/call.h"

#define INVALID  "InvalidArgumentError"
#define SHAPE    "Failed to deserialize the JSON body into the target type: "
#define NOT_JSON "Failed to parse the request body as JSON: "
#define KNN      "{\"$knn\":{\"query\":[1,0]}}"

static const char with_sparse_index[] =
    "{\"name\":\"with-sparse\",\"schema\":{\"defaults\":{},\"keys\":{\"s\":{\"sparse_vector\":{\"sparse_vector_index\":"
    "{\"enabled\":true,\"config\":{}}}},\"w\":{\"sparse_vector\":{\"sparse_vector_index\":{\"enabled\":true,\"config\":"
    "{\"bm25\":true}}}}}}}";

static const char four[] = "{\"ids\":[\"a\",\"b\",\"c\",\"d\"],\"embeddings\":[[1,0],[0,1],[1,1],[3,0]],"
                           "\"documents\":[\"one\",\"two\",null,\"four\"],\"metadatas\":["
                           "{\"n\":1,\"tags\":[\"x\",\"y\"],\"s\":{\"indices\":[1,5],\"values\":[1,2]}},"
                           "{\"n\":2,\"chroma:own\":1,\"s\":{\"#type\":\"sparse_vector\",\"indices\":[5],\"values\":[0."
                           "5],\"tokens\":[\"t\"]}},"
                           "null,{\"n\":1,\"w\":{\"indices\":[2],\"values\":[1]}}]}";

static void with_four(struct caller *c)
{
    caller_open(c, 0);
    use_new_collection(c, with_sparse_index);
    post(c, "add", four);
    check_answer(c, 201, "{}");
}

START_TEST(answers_column_by_column)
{
    struct caller c;
    with_four(&c);
    post(&c, "search", "{\"searches\":[]}");
    check_answer(&c, 200,
                 "{\"ids\":[],\"documents\":[],\"embeddings\":[],\"metadatas\":[],\"scores\":[],\"select\":[]}");
    post(&c, "search",
         "{\"searches\":[{},{\"rank\":" KNN
         ",\"limit\":{\"limit\":2,\"offset\":1},\"select\":{\"keys\":[\"tags\",\"#score\","
         "\"#document\",\"n\",\"#embedding\",\"n\"]}},{\"filter\":{\"n\":5},\"select\":{\"keys\":[\"#metadata\"]}}],"
         "\"read_level\":\"index_only\"}");
    check_answer(&c, 200,
                 "{\"ids\":[[\"a\",\"b\",\"c\",\"d\"],[\"c\",\"b\"],[]],\"documents\":[null,[null,\"two\"],null],"
                 "\"embeddings\":[null,[[1.0,1.0],[0.0,1.0]],null],\"metadatas\":[null,[null,{\"n\":2}],[]],"
                 "\"scores\":[null,[1.0,2.0],null],"
                 "\"select\":[[],[\"#document\",\"#embedding\",\"#score\",\"n\",\"tags\"],[\"#metadata\"]]}");
    post(&c, "search",
         "{\"searches\":[{\"select\":{\"keys\":[\"#metadata\",\"chroma:own\",\"#id\"]},\"limit\":{\"limit\":3}}]}");
    check_answer(
        &c, 200,
        "{\"ids\":[[\"a\",\"b\",\"c\"]],\"documents\":[null],\"embeddings\":[null],\"metadatas\":[["
        "{\"n\":1,\"s\":{\"#type\":\"sparse_vector\",\"indices\":[1,5],\"values\":[1.0,2.0],\"tokens\":null},"
        "\"tags\":[\"x\",\"y\"]},"
        "{\"n\":2,\"s\":{\"#type\":\"sparse_vector\",\"indices\":[5],\"values\":[0.5],\"tokens\":[\"t\"]}},null]],"
        "\"scores\":[null],\"select\":[[\"#metadata\",\"#id\",\"chroma:own\"]]}");
    caller_close(&c);
}
END_TEST

/* The ids and scores of one payload. */
#define check_hits(c, payload, ids, scores)                                                                            \
    do {                                                                                                               \
        post(c, "search", "{\"searches\":[{\"select\":{\"keys\":[\"#score\"]}," payload "}]}");                        \
        check_answer(c, 200,                                                                                           \
                     "{\"ids\":[[" ids "]],\"documents\":[null],\"embeddings\":[null],\"metadatas\":[null],"           \
                     "\"scores\":[[" scores "]],\"select\":[[\"#score\"]]}");                                          \
    } while (0)

START_TEST(ranks_filters_and_groups)
{
    struct caller c;
    with_four(&c);
    check_hits(&c, "\"rank\":" KNN, "\"a\",\"c\",\"b\",\"d\"", "0.0,1.0,2.0,4.0");
    check_hits(&c, "\"rank\":{\"$knn\":{\"query\":{\"indices\":[5,7],\"values\":[2,9]},\"key\":\"s\"}}", "\"a\",\"b\"",
               "-3.0,0.0");
    check_hits(&c, "\"rank\":{\"$knn\":{\"query\":{\"indices\":[3],\"values\":[1]},\"key\":\"w\"}}", "", "");
    check_hits(&c,
               "\"rank\":{\"$sum\":[" KNN ",{\"$knn\":{\"query\":{\"indices\":[5],\"values\":[2]},\"key\":\"s\","
               "\"default\":10,\"return_rank\":true}}]}",
               "\"a\",\"b\",\"c\",\"d\"", "0.0,3.0,11.0,14.0");
    check_hits(&c, "\"rank\":{\"$div\":{\"left\":{\"$val\":1},\"right\":" KNN "}}", "\"d\",\"b\",\"c\",\"a\"",
               "0.25,0.5,1.0,null");
    check_hits(&c, "\"rank\":{\"$val\":1}", "", "");
    check_hits(&c,
               "\"rank\":" KNN
               ",\"group_by\":{\"keys\":[\"n\"],\"aggregate\":{\"$max_k\":{\"keys\":[\"#score\"],\"k\":1}}}",
               "\"c\",\"b\",\"d\"", "1.0,2.0,4.0");
    check_hits(&c, "\"rank\":" KNN ",\"filter\":{\"tags\":{\"$contains\":\"x\"}}", "\"a\"", "0.0");
    check_hits(&c, "\"rank\":" KNN ",\"filter\":{\"#document\":{\"$regex\":\"^.o\"}}", "\"d\"", "4.0");
    caller_close(&c);
}
END_TEST

START_TEST(ids_are_looked_up)
{
    struct caller c;
    with_four(&c);
    check_hits(&c, "\"filter\":{\"#id\":\"c\"}", "\"c\"", "0.0");
    check_hits(&c, "\"filter\":{\"#id\":{\"$in\":[\"d\",\"nope\",\"b\",\"d\"]}}", "\"b\",\"d\"", "0.0,1.0");
    check_hits(&c, "\"filter\":{\"$and\":[{\"n\":1},{\"#id\":{\"$in\":[\"b\",\"d\"]}}]}", "\"d\"", "0.0");
    check_hits(&c, "\"filter\":{\"$and\":[{\"#id\":{\"$in\":[\"b\",\"d\"]}},{\"#id\":{\"$in\":[\"a\",\"b\"]}}]}",
               "\"b\"", "0.0");
    check_hits(&c, "\"filter\":{\"$or\":[{\"#id\":{\"$contains\":\"a\"}},{\"#id\":\"b\"}]}", "\"a\",\"b\"", "0.0,1.0");
    check_hits(&c, "\"filter\":{\"#id\":{\"$not_contains\":\"a\"}},\"limit\":{\"limit\":1}", "\"b\"", "0.0");
    check_hits(&c, "\"filter\":{\"#id\":{\"$ne\":5}},\"limit\":{\"offset\":3}", "\"d\"", "0.0");
    caller_close(&c);
}
END_TEST

static const struct {
    const char *body;
    unsigned status;
    const char *message;
} refusals[] = {
    {"{\"searches\":[{\"rank\":\"$knn\"}]}", 422,
     SHAPE "searches[0].rank.$knn: invalid type: unit variant, expected struct variant at line 1 column 28"},
    {"{\"searches\":[{\"rank\":\"$abs\"}]}", 422,
     SHAPE "searches[0].rank.$abs: invalid type: unit variant, expected newtype variant at line 1 column 28"},
    {"{\"searches\":[{\"rank\":[]}]}", 400, NOT_JSON "searches[0].rank: expected value at line 1 column 22"},
    {"{\"searches\":[{\"rank\":{\"$div\":[{\"$val\":1}]}}]}", 422,
     SHAPE
     "searches[0].rank.$div: invalid length 1, expected struct variant RankExpr::Division with 2 elements at line 1 "
     "column 41"},
    {"{\"searches\":[{\"rank\":{\"$sum\":[{\"$val\":1}]", 400,
     NOT_JSON "searches[0].rank: EOF while parsing an object at line 1 column 41"},
    {"{\"searches\":[{\"rank\":{\"$knn\":{\"query\":[1,\"x\"], \"limit\":3}}}]}", 422,
     SHAPE
     "searches[0].rank.$knn.query: data did not match any variant of untagged enum QueryVector at line 1 column 45"},
    {"{\"searches\":[{\"limit\":[1,2,3]}]}", 400,
     NOT_JSON "searches[0].limit: trailing characters at line 1 column 28"},
    {"{\"searches\":[{\"filter\":{\"#document\":{\"$regex\":\"(\"}}, \"limit\":{}}]}", 422,
     SHAPE
     "searches[0].filter: Regex syntax errror: regex parse error:\\n    (\\n    ^\\nerror: unclosed group at line 1 "
     "column 51"},
    {"{\"searches\":[{\"group_by\":{\"aggregate\":{\"$min_k\":{\"keys\":[],\"k\":1},\"x\":0}}}]}", 400,
     NOT_JSON "searches[0].group_by.aggregate: expected value at line 1 column 65"},
    {"{\"searches\":[],\"read_level\":{\"index_only\":1}}", 422,
     SHAPE "read_level.index_only: invalid type: integer `1`, expected unit at line 1 column 43"},
    {"[]", 422, SHAPE "invalid length 0, expected struct SearchRequestPayload with 2 elements at line 1 column 2"},
    {"{\"searches\":[{},{\"rank\":{\"$abs\":{\"$knn\":{\"query\":{\"indices\":[1,1],\"values\":[1,2]}}}},"
     "\"filter\":{\"#document\":\"x\"}},{\"group_by\":{\"keys\":[\"n\"],\"aggregate\":{\"$min_k\":{\"keys\":[\"n\"],"
     "\"k\":1}}}}]}",
     400,
     "Validation error: searches[1].rank: Invalid sparse vector in KNN query: Sparse vector indices must be sorted in "
     "strictly ascending order (no duplicates)searches[2].__all__: group_by requires rank expression to be specified"},
    {"{\"searches\":[{\"rank\":{\"$knn\":{\"query\":[1]}}},{\"filter\":{\"#document\":\"x\"}}]}", 400,
     "Cannot filter using metadata key '#document' with type 'Str' because indexing is disabled"},
    {"{\"searches\":[{\"rank\":{\"$knn\":{\"query\":[1]}}},{\"rank\":{\"$knn\":{\"query\":{\"indices\":[],\"values\":[]"
     "},"
     "\"key\":\"n\"}}}]}",
     400, "Cannot filter using metadata key 'n' with type 'SparseVector' because indexing is disabled"},
    {"{\"searches\":[{},{\"rank\":{\"$abs\":{\"$knn\":{\"query\":[1]}}}}]}", 400,
     "Collection expecting embedding with dimension of 2, got 1"},
};

START_TEST(refusals_are_worded)
{
    struct caller c;
    with_four(&c);
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        char wanted[1024];
        const char *name = refusals[i].status == 400 ? INVALID : "ChromaError";
        (void)snprintf(wanted, sizeof wanted, "{\"error\":\"%s\",\"message\":\"%s\"}", name, refusals[i].message);
        post(&c, "search", refusals[i].body);
        ck_assert_msg(c.status == refusals[i].status && strcmp(c.answer, wanted) == 0, "%s\n  wanted %s\n  got %u %s",
                      refusals[i].body, wanted, c.status, c.answer);
    }
    caller_close(&c);
}
END_TEST

/* --- tails and fragments -------------------------------------------------------------------------------------------- */

static void put_random_rows(struct buf *b, struct rng *rng, uint32_t first, uint32_t n)
{
    buf_lit(b, "{\"ids\":[");
    for (uint32_t i = 0; i < n; i++) buf_printf(b, "%s\"r%u\"", i > 0 ? "," : "", first + i);
    buf_lit(b, "],\"embeddings\":[");
    for (uint32_t i = 0; i < n; i++)
        buf_printf(b, "%s[%u,%u]", i > 0 ? "," : "", rng_below(rng, 40), rng_below(rng, 40));
    buf_lit(b, "],\"metadatas\":[");
    for (uint32_t i = 0; i < n; i++)
        buf_printf(
            b, "%s{\"n\":%u,\"s\":{\"indices\":[%u,%u],\"values\":[%u,0.5]},\"w\":{\"indices\":[%u],\"values\":[2]}}",
            i > 0 ? "," : "", rng_below(rng, 9), rng_below(rng, 5), 5 + rng_below(rng, 5), rng_below(rng, 9),
            rng_below(rng, 4));
    buf_lit(b, "]}");
}

START_TEST(fragments_answer_as_tails_do)
{
    static const char search[] =
        "{\"searches\":[{\"rank\":{\"$sum\":[{\"$knn\":{\"query\":[20,20],\"limit\":60,\"return_rank\":true,"
        "\"default\":99}},"
        "{\"$knn\":{\"query\":{\"indices\":[2,7],\"values\":[1.5,3]},\"key\":\"s\",\"limit\":50,\"default\":3}},"
        "{\"$knn\":{\"query\":{\"indices\":[1,3],\"values\":[1,2]},\"key\":\"w\",\"limit\":1000}}]},"
        "\"filter\":{\"n\":{\"$lt\":7}},\"group_by\":{\"keys\":[\"n\"],\"aggregate\":{\"$min_k\":{\"keys\":[\"#score\"]"
        ","
        "\"k\":5}}},\"select\":{\"keys\":[\"#score\",\"n\",\"s\"]}},"
        "{\"filter\":{\"n\":3},\"limit\":{\"offset\":2,\"limit\":9}}]}";
    struct caller c = {0};
    struct rng rng = {11};
    struct errmsg em = {{0}};
    char first[sizeof c.answer];
    const struct store_options so = {.path = tmp_dir()};
    const struct api_options ao = {0};
    logger_set_level(LOG_ERROR);
    ck_assert_msg(store_open(&c.store, &so, &em) == ERR_OK, "%s", em.text);
    ck_ok(api_new(&c.api, c.store, &ao, NULL));
    use_new_collection(&c, with_sparse_index);
    for (uint32_t i = 0; i < 6; i++) { /* the last two rewrite the first two */
        struct buf b = {0};
        put_random_rows(&b, &rng, i % 4 * 50, 50);
        buf_char(&b, '\0');
        ck_ok(b.err);
        post(&c, "upsert", b.p);
        check_answer(&c, 200, "{}");
        buf_free(&b);
    }
    post(&c, "delete", "{\"where\":{\"n\":4}}");
    ck_assert_uint_eq(c.status, 200);
    post(&c, "search", search);
    ck_assert_uint_eq(c.status, 200);
    memcpy(first, c.answer, sizeof first);
    ck_assert_uint_gt(strlen(first), 2000);
    ck_ok(store_compact(c.store, NULL));
    post(&c, "search", search);
    check_answer(&c, 200, first);
    post(&c, "update", "{\"ids\":[\"r3\",\"nope\"],\"metadatas\":[{\"n\":8},null]}");
    ck_assert_uint_eq(c.status, 200);
    post(&c, "search", search); /* a fragment with dead rows beside a tail */
    memcpy(first, c.answer, sizeof first);
    ck_ok(store_compact(c.store, NULL));
    post(&c, "search", search);
    check_answer(&c, 200, first);
    caller_close(&c);
}
END_TEST

/* --- memory ------------------------------------------------------------------------------------------------------------ */

/* The n-th allocation of this thread fails, and all that follow. */
static _Thread_local bool is_armed;
static _Thread_local unsigned n_allowed;

static bool allow(void *ctx, size_t size)
{
    (void)ctx, (void)size;
    if (!is_armed) return true;
    return n_allowed > 0 && n_allowed-- > 0;
}

static void arm(void *ctx)
{
    n_allowed = *(const unsigned *)ctx;
    is_armed = true;
}

static void disarm(void *ctx)
{
    (void)ctx;
    is_armed = false;
}

START_TEST(memory_may_end_at_any_moment)
{
    static const char *const bodies[] = {
        "{\"searches\":[{},{\"filter\":{\"$and\":[{\"#id\":{\"$in\":[\"a\",\"d\"]}},{\"#document\":{\"$regex\":\"o+\"}}"
        "]},"
        "\"rank\":{\"$sum\":[" KNN
        ",{\"$knn\":{\"query\":{\"indices\":[5],\"values\":[2]},\"key\":\"s\",\"default\":1}},"
        "{\"$knn\":{\"query\":{\"indices\":[2],\"values\":[2]},\"key\":\"w\",\"default\":1}}]},"
        "\"group_by\":{\"keys\":[\"n\",\"tags\"],\"aggregate\":{\"$min_k\":{\"keys\":[\"#score\"],\"k\":1}}},"
        "\"select\":{\"keys\":[\"#metadata\",\"#score\",\"#document\",\"#embedding\",\"q\"]}}]}",
        "{\"searches\":[{\"rank\":{\"$knn\":{\"query\":{\"indices\":[2,1],\"values\":[2,3]}}}}]}",
        "{\"searches\":[{\"rank\":{\"$knn\":{\"query\":{\"indices\":[1],\"values\":[2]},\"key\":\"zz\"}}}]}",
        "{\"searches\":[{\"filter\":{\"#document\":{\"$regex\":\"(\"}}}]}",
    };
    struct caller c;
    char path[192];
    mem_set_hook(allow, NULL);
    with_four(&c);
    (void)snprintf(path, sizeof path, "%s/search", c.collection);
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        unsigned n_short = 0, status = 503;
        for (unsigned n = 0; status == 503 && n < 1000; n++) {
            status = call_with(&c, "POST", path, str_from_c(bodies[i]), arm, disarm, &n);
            n_short += status == 503;
        }
        unsigned wanted = i == 0 ? 200 : i == 3 ? 422 : 400;
        ck_assert_msg(status == wanted && n_short > 0, "%s: %u after %u: %s", bodies[i], status, n_short, c.answer);
    }
    caller_close(&c);
    mem_set_hook(NULL, NULL);
}
END_TEST

TESTS(search, answers_column_by_column, ranks_filters_and_groups, ids_are_looked_up, refusals_are_worded,
      fragments_answer_as_tails_do, memory_may_end_at_any_moment)
