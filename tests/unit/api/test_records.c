/* test_records.c - the record routes through api_run: the shapes of answers, the order of checks, and that a refused
 * request changes nothing. The recorded cases of the real server are replayed elsewhere, over HTTP; here is what is
 * easier to see without it.
 */
#include "tests/unit/api/call.h"

#define INVALID  "InvalidArgumentError"
#define SHAPE    "Failed to deserialize the JSON body into the target type: "
#define NOT_JSON "Failed to parse the request body as JSON: "

static const char three[] = "{\"ids\":[\"a\",\"b\",\"c\"],\"embeddings\":[[1,0],[0,1],[1,1]],"
                            "\"documents\":[\"one\",\"two\",null],\"uris\":[null,\"u\",null],"
                            "\"metadatas\":[{\"n\":1,\"s\":\"x\"},{\"n\":2.5},null]}";

static void with_three(struct caller *c)
{
    caller_open(c, 0);
    post(c, "add", three);
    check_answer(c, 201, "{}");
}

START_TEST(get_answers_column_by_column)
{
    struct caller c;
    with_three(&c);
    post(&c, "get", "{}");
    check_answer(&c, 200,
                 "{\"ids\":[\"a\",\"b\",\"c\"],\"embeddings\":null,\"documents\":[\"one\",\"two\",null],\"uris\":null,"
                 "\"metadatas\":[{\"n\":1,\"s\":\"x\"},{\"n\":2.5},null],\"include\":[\"documents\",\"metadatas\"]}");
    post(&c, "get",
         "{\"ids\":[\"c\",\"nope\",\"a\",\"a\"],\"include\":[\"embeddings\",\"uris\",\"uris\",\"distances\"]}");
    check_answer(&c, 200,
                 "{\"ids\":[\"a\",\"c\"],\"embeddings\":[[1.0,0.0],[1.0,1.0]],\"documents\":null,\"uris\":[null,null],"
                 "\"metadatas\":null,\"include\":[\"embeddings\",\"uris\",\"uris\",\"distances\"]}");
    post(&c, "get", "{\"limit\":1,\"offset\":1,\"include\":[]}");
    check_answer(
        &c, 200,
        "{\"ids\":[\"b\"],\"embeddings\":null,\"documents\":null,\"uris\":null,\"metadatas\":null,\"include\":[]}");
    post(&c, "get", "{\"ids\":[],\"limit\":null,\"where\":null,\"include\":[\"documents\"]}");
    check_answer(&c, 200,
                 "{\"ids\":[],\"embeddings\":null,\"documents\":[],\"uris\":null,\"metadatas\":null,\"include\":["
                 "\"documents\"]}");
    post(&c, "get", "{\"where\":{\"n\":{\"$gte\":1}},\"where_document\":{\"$regex\":\"^t\"},\"include\":[]}");
    check_answer(
        &c, 200,
        "{\"ids\":[\"b\"],\"embeddings\":null,\"documents\":null,\"uris\":null,\"metadatas\":null,\"include\":[]}");
    post(&c, "get", "{\"where\":{\"#id\":{\"$nin\":[\"a\",\"c\"]}},\"include\":[]}");
    check_answer(
        &c, 200,
        "{\"ids\":[\"b\"],\"embeddings\":null,\"documents\":null,\"uris\":null,\"metadatas\":null,\"include\":[]}");
    post(&c, "update", "{\"ids\":[\"c\"],\"uris\":[\"u\"]}"); /* a row with a uri has metadata, if empty ones */
    check_answer(&c, 200, "{}");
    post(&c, "get", "{\"ids\":[\"c\"],\"include\":[\"metadatas\"]}");
    check_answer(&c, 200,
                 "{\"ids\":[\"c\"],\"embeddings\":null,\"documents\":null,\"uris\":null,\"metadatas\":[{}],"
                 "\"include\":[\"metadatas\"]}");
    post(&c, "get", "{\"include\":[null]}"); /* no name at all is taken for broken text */
    ck_assert_uint_eq(c.status, 400);
    post(&c, "get", "{\"include\":[\"x\"]}");
    ck_assert_uint_eq(c.status, 422);
    get(&c, "count?read_level=index_only&x=1");
    check_answer(&c, 200, "3");
    caller_close(&c);
}
END_TEST

START_TEST(query_answers_a_list_a_vector)
{
    struct caller c;
    with_three(&c);
    post(&c, "query", "{\"query_embeddings\":[[1,0],[0,2]],\"n_results\":2,\"include\":[\"distances\",\"documents\"]}");
    check_answer(
        &c, 200,
        "{\"ids\":[[\"a\",\"c\"],[\"b\",\"c\"]],\"embeddings\":null,\"documents\":[[\"one\",null],[\"two\",null]],"
        "\"uris\":null,\"metadatas\":null,\"distances\":[[0.0,1.0],[1.0,2.0]],"
        "\"include\":[\"distances\",\"documents\"]}");
    post(&c, "query", "{\"query_embeddings\":[[1e39,0]],\"ids\":[\"a\",\"nope\"],\"include\":[\"distances\"]}");
    check_answer(&c, 200,
                 "{\"ids\":[[\"a\"]],\"embeddings\":null,\"documents\":null,\"uris\":null,\"metadatas\":null,"
                 "\"distances\":[[null]],\"include\":[\"distances\"]}");
    post(&c, "query", "{\"query_embeddings\":[[1,0]],\"n_results\":0,\"include\":[\"embeddings\"]}");
    check_answer(&c, 200,
                 "{\"ids\":[[]],\"embeddings\":[[]],\"documents\":null,\"uris\":null,\"metadatas\":null,"
                 "\"distances\":null,\"include\":[\"embeddings\"]}");
    post(&c, "query", "{\"query_embeddings\":[]}");
    check_answer(&c, 200,
                 "{\"ids\":[],\"embeddings\":null,\"documents\":[],\"uris\":null,\"metadatas\":[],\"distances\":[],"
                 "\"include\":[\"documents\",\"metadatas\",\"distances\"]}");
    use_new_collection(&c, "{\"name\":\"empty\"}");
    post(&c, "query", "{\"query_embeddings\":[[1,0,3],[1,2,3]],\"include\":[\"uris\"]}");
    check_answer(&c, 200,
                 "{\"ids\":[[],[]],\"embeddings\":null,\"documents\":null,\"uris\":[[],[]],\"metadatas\":null,"
                 "\"distances\":null,\"include\":[\"uris\"]}");
    caller_close(&c);
}
END_TEST

START_TEST(add_update_and_upsert_differ)
{
    struct caller c;
    const char *const rows = "{\"include\":[\"documents\",\"embeddings\",\"metadatas\"]}";
    with_three(&c);
    post(&c, "add",
         "{\"ids\":[\"a\",\"d\",\"d\"],\"embeddings\":[[9,9],[2,2],[3,3]],\"documents\":[\"no\",\"first\",\"no\"]}");
    check_answer(&c, 201, "{}");
    post(&c, "update",
         "{\"ids\":[\"a\",\"nope\",\"b\"],\"embeddings\":[null,[5,5],\"AACAPwAAAEA=\"],"
         "\"documents\":[\"uno\",\"x\",null],\"metadatas\":[{\"n\":null,\"t\":true},{},null]}");
    check_answer(&c, 422,
                 "{\"error\":\"ChromaError\",\"message\":\"" SHAPE "embeddings: data did not match any variant of "
                 "untagged enum UpdateEmbeddingsPayload at line 1 column 64\"}");
    post(&c, "update",
         "{\"ids\":[\"a\",\"nope\",\"b\"],\"embeddings\":[null,\"AACgQAAAoEA=\",\"AACAPwAAAEA=\"],"
         "\"documents\":[\"uno\",\"x\",null],\"metadatas\":[{\"n\":null,\"t\":true},{},null]}");
    check_answer(&c, 200, "{}");
    post(&c, "upsert", "{\"ids\":[\"c\",\"e\"],\"embeddings\":[[7,7],[8,8]],\"metadatas\":[{\"k\":[1,2]},{}]}");
    check_answer(&c, 200, "{}");
    post(&c, "get", rows);
    check_answer(
        &c, 200,
        "{\"ids\":[\"a\",\"b\",\"c\",\"d\",\"e\"],\"embeddings\":[[1.0,0.0],[1.0,2.0],[7.0,7.0],[2.0,2.0],[8.0,8.0]],"
        "\"documents\":[\"uno\",\"two\",null,\"first\",null],\"uris\":null,"
        "\"metadatas\":[{\"s\":\"x\",\"t\":true},{\"n\":2.5},{\"k\":[1,2]},null,null],"
        "\"include\":[\"documents\",\"embeddings\",\"metadatas\"]}");
    caller_close(&c);
}
END_TEST

START_TEST(delete_counts_as_the_contract_says)
{
    struct caller c;
    with_three(&c);
    post(&c, "delete", "{\"ids\":[\"a\",\"a\",\"nope\"]}");
    check_answer(&c, 200, "{\"deleted\":3}");
    post(&c, "delete", "{}");
    check_answer(&c, 200, "{\"deleted\":0}");
    post(&c, "delete", "{\"ids\":[],\"where\":{\"n\":{\"$ne\":9}}}");
    check_answer(&c, 200, "{\"deleted\":0}");
    post(&c, "delete", "{\"where\":{\"n\":9}}");
    check_answer(&c, 200, "{\"deleted\":0}");
    post(&c, "delete", "{\"ids\":[\"a\",\"b\",\"c\"],\"where\":{\"n\":{\"$ne\":9}},\"limit\":1}");
    check_answer(&c, 200, "{\"deleted\":1}");
    get(&c, "count");
    check_answer(&c, 200, "1");
    post(&c, "delete", "{\"where_document\":{\"$and\":[]}}");
    check_answer(&c, 200, "{\"deleted\":1}");
    get(&c, "count");
    check_answer(&c, 200, "0");
    caller_close(&c);
}
END_TEST

/* Reserved keys: the document and the uri may come as metadata; others are kept and not shown. */
START_TEST(reserved_metadata)
{
    struct caller c;
    caller_open(&c, 0);
    post(&c, "add",
         "{\"ids\":[\"a\",\"b\",\"c\"],\"embeddings\":[[1],[1],[1]],\"documents\":[null,\"given\",null],\"metadatas\":["
         "{\"chroma:document\":\"d\",\"chroma:uri\":\"u\",\"z\":1},{\"chroma:document\":\"d\"},{\"chroma:x\":1}]}");
    check_answer(&c, 201, "{}");
    post(&c, "get", "{\"include\":[\"documents\",\"uris\",\"metadatas\"]}");
    check_answer(&c, 200,
                 "{\"ids\":[\"a\",\"b\",\"c\"],\"embeddings\":null,\"documents\":[\"d\",\"given\",null],\"uris\":["
                 "\"u\",null,null],"
                 "\"metadatas\":[{\"z\":1},null,{}],\"include\":[\"documents\",\"uris\",\"metadatas\"]}");
    post(&c, "get", "{\"where\":{\"chroma:x\":1},\"include\":[]}");
    check_answer(
        &c, 200,
        "{\"ids\":[\"c\"],\"embeddings\":null,\"documents\":null,\"uris\":null,\"metadatas\":null,\"include\":[]}");
    caller_close(&c);
}
END_TEST

/* --- refusals ----------------------------------------------------------------------------------------------------- */

static const struct {
    const char *route, *body;
    unsigned status;
    const char *message; /* as it stands in the answer's JSON */
} refusals[] = {
    /* shape, in the order of the text */
    {"add", "{", 400, NOT_JSON "EOF while parsing an object at line 1 column 1"},
    {"add", "{\"embeddings\":[[1,2]],\"ids\":[\"x\"]} x", 400, NOT_JSON "trailing characters at line 1 column 36"},
    {"add", "{\"ids\":[\"x\"]}", 422, SHAPE "missing field `embeddings` at line 1 column 13"},
    {"update", "{}", 422, SHAPE "missing field `ids` at line 1 column 2"},
    {"add", "[[\"x\"]]", 422,
     SHAPE "invalid length 1, expected struct AddCollectionRecordsPayload with 5 elements at line 1 column 7"},
    {"add", "{\"ids\":[null],\"embeddings\":[[1,2]]}", 422,
     SHAPE "ids[0]: invalid type: null, expected a string at line 1 column 12"},
    {"add", "{\"ids\":[\"x\"],\"embeddings\":[null]}", 422,
     SHAPE "embeddings: data did not match any variant of untagged enum EmbeddingsPayload at line 1 column 33"},
    {"add", "{\"ids\":[\"x\"],\"embeddings\":[[1,\\\"]]}", 400,
     NOT_JSON "embeddings[0][1]: expected value at line 1 column 31"},
    {"add", "{\"ids\":[\"x\"],\"embeddings\":{\"a\":nope}}", 400,
     NOT_JSON "embeddings.a: expected ident at line 1 column 33"},
    {"get", "[]", 422, SHAPE "invalid type: sequence, expected struct GetRequestPayload at line 1 column 0"},
    {"get", "{\"include\":[\"ids\"]}", 422,
     SHAPE "include[0]: unknown variant `ids`, expected one of `distances`, `documents`, `embeddings`, `metadatas`, "
           "`uris` at line 1 column 17"},
    {"get", "{\"limit\":-1}", 422, SHAPE "limit: invalid value: integer `-1`, expected u32 at line 1 column 11"},
    {"query", "{}", 422, SHAPE "missing field `query_embeddings` at line 1 column 2"},
    {"query", "{\"query_embeddings\":[\"AACAPw==\"]}", 422,
     SHAPE "query_embeddings[0]: invalid type: string \\\"AACAPw==\\\", expected a sequence at line 1 column 31"},
    {"search", "{}", 422, SHAPE "missing field `searches` at line 1 column 2"},
    {"search", "{\"searches\":[{}],\"read_level\":\"x\"}", 422,
     SHAPE "read_level: unknown variant `x`, expected one of `index_and_wal`, `index_only`, `index_and_bounded_wal` at "
           "line 1 column 33"},
    /* values, in the contract's order */
    {"add", "{\"ids\":[\"\"],\"embeddings\":[\"#\"],\"metadatas\":[{\"$x\":1}]}", 400,
     "Invalid base64 string: Invalid symbol 35, offset 0."},
    {"add", "{\"ids\":[\"\"],\"embeddings\":[\"AAAA\",\"#\"]}", 400,
     "Invalid byte length: 3 bytes cannot be converted to f32 values (must be divisible by 4)"},
    {"add", "{\"ids\":[\"\"],\"embeddings\":[\"AACAPwAAgP8=\"]}", 400,
     "Non-finite float value at embedding index 1: -inf"},
    {"add", "{\"ids\":[\"\"],\"embeddings\":[\"AADAfw==\"]}", 400, "Non-finite float value at embedding index 0: NaN"},
    {"add", "{\"ids\":[\"\"],\"embeddings\":[[1e39],[]],\"metadatas\":[{\"a\":1},{\"#x\":1},{\"\":1}]}", 400,
     "Validation error: embeddings: Each embedding must have at least 1 dimension\\nmetadatas: Invalid metadata at "
     "index 1"},
    {"add", "{\"ids\":[\"\"],\"embeddings\":[[1e39],[1,2]]}", 400,
     "Validation error: embeddings: Embeddings must not contain NaN or Infinity values"},
    {"upsert", "{\"ids\":[\"\"],\"embeddings\":[[1],[1,2]],\"metadatas\":[{\"$x\":1}]}", 400,
     "Validation error: metadatas: Invalid metadata at index 0"},
    {"add", "{\"ids\":[\"\"],\"embeddings\":[[1],[1,2]]}", 400, "Inconsistent dimensions in provided embeddings"},
    {"add", "{\"ids\":[\"\"],\"embeddings\":[[1],[2]]}", 400,
     "Collection expecting embedding with dimension of 2, got 1"},
    {"add", "{\"ids\":[\"\"],\"embeddings\":[[1,2],[2,3]]}", 400,
     "Inconsistent number of IDs, embeddings, documents, URIs and metadatas"},
    {"add", "{\"ids\":[\"x\"],\"embeddings\":[[1,2]],\"uris\":[]}", 400,
     "Inconsistent number of IDs, embeddings, documents, URIs and metadatas"},
    {"add", "{\"ids\":[\"x\",\"\"],\"embeddings\":[[1,2],[2,3]]}", 400,
     "Empty ID, ID must have at least one character"},
    {"update", "{\"ids\":[\"a\"],\"embeddings\":[]}", 400,
     "Inconsistent number of IDs, embeddings, documents, URIs and metadatas"},
    {"update", "{\"ids\":[\"a\",\"b\"],\"embeddings\":[null,[1,2,3]]}", 400,
     "Collection expecting embedding with dimension of 2, got 3"},
    {"query", "{\"query_embeddings\":[[1],[1,2]],\"where\":{\"#document\":\"x\"}}", 400,
     "Inconsistent dimensions in provided embeddings"},
    {"query", "{\"query_embeddings\":[[]],\"where\":{\"#document\":\"x\"}}", 400,
     "Collection expecting embedding with dimension of 2, got 0"},
    {"query", "{\"query_embeddings\":[[1,2]],\"where\":{\"#document\":\"x\"}}", 400,
     "Cannot filter using metadata key '#document' with type 'Str' because indexing is disabled"},
    {"query", "{\"query_embeddings\":[[1]],\"where\":{},\"where_document\":{}}", 400, "Invalid where clause"},
    {"get", "{\"where\":{\"#document\":\"x\"},\"where_document\":{}}", 400, "Invalid where document clause"},
    {"delete", "{\"ids\":[]}", 400, "Validation error: ids, where: Either ids or where must be specified"},
    {"delete", "{\"ids\":[],\"limit\":1}", 400, "Validation error: ids, where: Either ids or where must be specified"},
    {"delete", "{\"ids\":[\"a\"],\"limit\":1}", 400,
     "Validation error: limit, where: limit can only be specified when a where clause is provided"},
    {"delete", "{\"limit\":1,\"where\":{}}", 400, "Invalid where clause"},
    {"delete", "{\"where\":{\"#document\":\"x\"}}", 400,
     "Cannot filter using metadata key '#document' with type 'Str' because indexing is disabled"},
};

START_TEST(refusals_are_worded_and_change_nothing)
{
    struct caller c;
    const char *const everything = "{\"include\":[\"documents\",\"embeddings\",\"metadatas\",\"uris\"]}";
    static char before[1 << 13];
    with_three(&c);
    post(&c, "get", everything);
    (void)snprintf(before, sizeof before, "%s", c.answer);
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        char wanted[1024];
        const char *name = refusals[i].status == 400 ? INVALID : "ChromaError";
        (void)snprintf(wanted, sizeof wanted, "{\"error\":\"%s\",\"message\":\"%s\"}", name, refusals[i].message);
        post(&c, refusals[i].route, refusals[i].body);
        ck_assert_msg(c.status == refusals[i].status && strcmp(c.answer, wanted) == 0,
                      "%s %s\n  wanted %s\n  got %u %s", refusals[i].route, refusals[i].body, wanted, c.status,
                      c.answer);
    }
    post(&c, "get", everything);
    check_answer(&c, 200, before);
    caller_close(&c);
}
END_TEST

START_TEST(the_body_comes_before_the_collection_and_its_values_after)
{
    struct caller c;
    static const char *const routes[][2] = {
        {"add", "{\"ids\":[\"\"],\"embeddings\":[\"#\"]}"},
        {"update", "{\"ids\":[\"\"]}"},
        {"upsert", "{\"ids\":[\"\"],\"embeddings\":[[]]}"},
        {"delete", "{\"where\":{}}"},
        {"get", "{\"where\":{}}"},
        {"query", "{\"query_embeddings\":[[]],\"where\":1}"},
        {"search", "{\"searches\":[]}"},
    };
    caller_open(&c, 0);
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        (void)snprintf(c.collection, sizeof c.collection, "%s/nope", CALL_COLLECTIONS);
        post(&c, routes[i][0], "{");
        ck_assert_uint_eq(c.status, 400);
        ck_assert_ptr_nonnull(strstr(c.answer, NOT_JSON));
        post(&c, routes[i][0], "5");
        ck_assert_uint_eq(c.status, 422);
        post(&c, routes[i][0], routes[i][1]);
        check_refused(&c, 400, INVALID, "Collection ID is not a valid UUIDv4");
        (void)snprintf(c.collection, sizeof c.collection, "%s/00000000-0000-0000-0000-000000000000", CALL_COLLECTIONS);
        post(&c, routes[i][0], routes[i][1]);
        check_refused(&c, 404, "NotFoundError", "Collection [00000000-0000-0000-0000-000000000000] does not exist.");
    }
    get(&c, "count");
    check_refused(&c, 404, "NotFoundError", "Collection [00000000-0000-0000-0000-000000000000] does not exist.");
    get(&c, "count?read_level=%66oo");
    check_refused(&c, 400, INVALID,
                  "Failed to deserialize query string: read_level: unknown variant `foo`, expected one of "
                  "`index_and_wal`, `index_only`, `index_and_bounded_wal`");
    get(&c, "count?read_level=index_only&read_level=index_only");
    check_refused(&c, 400, INVALID, "Failed to deserialize query string: duplicate field `read_level`");
    caller_close(&c);
}
END_TEST

/* Nothing is written for nothing, and what is refused does not fix the dimension; an update of nobody does. */
START_TEST(the_dimension_is_fixed_by_the_first_accepted_vector)
{
    struct caller c;
    caller_open(&c, 0);
    post(&c, "add", "{\"ids\":[],\"embeddings\":[]}");
    check_answer(&c, 201, "{}");
    post(&c, "update", "{\"ids\":[]}");
    check_answer(&c, 200, "{}");
    post(&c, "add", "{\"ids\":[\"\"],\"embeddings\":[[1]]}");
    ck_assert_uint_eq(c.status, 400);
    post(&c, "update", "{\"ids\":[\"x\"],\"embeddings\":[null],\"documents\":[\"d\"]}");
    check_answer(&c, 200, "{}");
    post(&c, "update", "{\"ids\":[\"x\"],\"embeddings\":[[1,2,3]]}");
    check_answer(&c, 200, "{}");
    post(&c, "add", "{\"ids\":[\"y\"],\"embeddings\":[[1,2]]}");
    check_refused(&c, 400, INVALID, "Collection expecting embedding with dimension of 3, got 2");
    caller_close(&c);
}
END_TEST

TESTS(records, get_answers_column_by_column, query_answers_a_list_a_vector, add_update_and_upsert_differ,
      delete_counts_as_the_contract_says, reserved_metadata, refusals_are_worded_and_change_nothing,
      the_body_comes_before_the_collection_and_its_values_after, the_dimension_is_fixed_by_the_first_accepted_vector)
