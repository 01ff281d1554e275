/* test_schema.c - configuration, legacy metadata and schema: what is refused and with which words, what the documents
 * say, and that an update changes both documents and nothing else. */
#include "tests/lib/suite.h"

#include <stdio.h>

#include "api/metadata.h"
#include "api/settings.h"

static struct arena arena;
static struct json_reader reader;
static struct buf configuration, schema;

static struct json_reader *read_text(const char *text)
{
    json_reader_init(&reader, str_from_c(text), &arena);
    return &reader;
}

static void start(void)
{
    arena_free(&arena);
    buf_free(&configuration);
    buf_free(&schema);
}

/* What a create request with these three parts says: "" (documents are made), or the message. */
static const char *settle(const char *configured, const char *metadata, const char *described)
{
    struct configuration c;
    struct collection_metadata m;
    struct hnsw_settings h;
    static struct schema s;
    struct str fault;
    start();
    if (!parse_configuration(read_text(configured), false, &c)) return arena_cstr(&arena, reader.message);
    if (!parse_collection_metadata(read_text(metadata), false, &m)) return arena_cstr(&arena, reader.message);
    if (!parse_schema(read_text(described), &s)) return arena_cstr(&arena, reader.message);
    if (!configuration_resolve(&c, m.packed, &arena, &h, &fault)) return arena_cstr(&arena, fault);
    if (!schema_check(&s, &arena, &fault)) return arena_cstr(&arena, fault);
    if (!settings_reconcile(&s, &h, &c.function, &arena, &h, &configuration, &schema, &fault))
        return arena_cstr(&arena, fault);
    ck_assert_int_eq(configuration.err, ERR_OK);
    ck_assert_int_eq(schema.err, ERR_OK);
    return "";
}

#define HNSW(space, ef_search)                                                                                         \
    "{\"hnsw\":{\"space\":\"" space "\",\"ef_construction\":100,\"ef_search\":" ef_search                              \
    ",\"max_neighbors\":16,\"resize_factor\":1.2,\"sync_threshold\":1000},\"spann\":null,\"embedding_function\":"
#define KNOWN "{\"type\":\"known\",\"name\":\"default\",\"config\":{}}"
#define EMBEDDING(config)                                                                                              \
    "{\"#embedding\":{\"float_list\":{\"vector_index\":{\"enabled\":true,\"config\":" config "}}}}"
#define SCHEMA(defaults, keys) "{\"defaults\":" defaults ",\"keys\":" keys "}"

static void check_configuration(const char *want)
{
    ck_assert_msg(str_eq(buf_view(&configuration), str_from_c(want)), "%.*s", STR_ARG(buf_view(&configuration)));
}

static bool schema_says(const char *part)
{
    return str_contains(buf_view(&schema), str_from_c(part));
}

START_TEST(nothing_said_gives_the_defaults)
{
    char want[4000];
    long n = (long)hnsw_defaults().num_threads;
    char hnsw[300];
    (void)snprintf(hnsw, sizeof hnsw,
                   "\"hnsw\":{\"ef_construction\":100,\"max_neighbors\":16,\"ef_search\":100,\"num_threads\":%ld,"
                   "\"batch_size\":100,\"sync_threshold\":1000,\"resize_factor\":1.2}",
                   n);
    (void)snprintf(
        want, sizeof want,
        "{\"defaults\":{\"string\":{\"fts_index\":{\"enabled\":false,\"config\":{}},\"string_inverted_index\":{"
        "\"enabled\":true,\"config\":{}}},\"float_list\":{\"vector_index\":{\"enabled\":false,\"config\":{\"space\":"
        "\"l2\",%s}}},\"sparse_vector\":{\"sparse_vector_index\":{\"enabled\":false,\"config\":{\"embedding_function\":"
        "{\"type\":\"unknown\"},\"bm25\":false}}},\"int\":{\"int_inverted_index\":{\"enabled\":true,\"config\":{}}},"
        "\"float\":{\"float_inverted_index\":{\"enabled\":true,\"config\":{}}},\"bool\":{\"bool_inverted_index\":{"
        "\"enabled\":true,\"config\":{}}}},\"keys\":{\"#document\":{\"string\":{\"fts_index\":{\"enabled\":true,"
        "\"config\":{}},\"string_inverted_index\":{\"enabled\":false,\"config\":{}}}},\"#embedding\":{\"float_list\":{"
        "\"vector_index\":{\"enabled\":true,\"config\":{\"space\":\"l2\",\"source_key\":\"#document\",%s}}}}}}",
        hnsw, hnsw);
    static const char *const quiet[] = {"null", "{\"hnsw\":null,\"spann\":null,\"embedding_function\":null}",
                                        "{\"hnsw\":{}}", "{\"foo\":{\"x\":1}}"};
    for (size_t i = 0; i < 4; i++) {
        ck_assert_str_eq(settle(quiet[i], "null", i % 2 ? "null" : SCHEMA("{}", "{}")), "");
        check_configuration(HNSW("l2", "100") "null}");
        ck_assert_msg(str_eq(buf_view(&schema), str_from_c(want)), "%.*s", STR_ARG(buf_view(&schema)));
    }
}
END_TEST

START_TEST(configuration_goes_into_both_indexes)
{
    ck_assert_str_eq(settle("{\"hnsw\":{\"space\":\"cosine\"},\"embedding_function\":" KNOWN "}", "null", "null"), "");
    check_configuration(HNSW("cosine", "100") KNOWN "}");
    ck_assert(
        schema_says("\"vector_index\":{\"enabled\":false,\"config\":{\"space\":\"cosine\",\"embedding_function\":" KNOWN
                    ",\"hnsw\""));
    ck_assert(
        schema_says("\"vector_index\":{\"enabled\":true,\"config\":{\"space\":\"cosine\",\"embedding_function\":" KNOWN
                    ",\"source_key\":\"#document\",\"hnsw\""));
    ck_assert_str_eq(settle("{\"spann\":{\"space\":\"ip\",\"ef_search\":50}}", "null", "null"), "");
    check_configuration(HNSW("ip", "100") "null}");
    ck_assert_str_eq(settle("{\"hnsw\":{\"resize_factor\":2,\"ef_search\":0}}", "null", "null"), "");
    ck_assert(
        str_contains(buf_view(&configuration), STR("\"ef_search\":0,\"max_neighbors\":16,\"resize_factor\":2.0")));
}
END_TEST

START_TEST(embedding_functions_are_kept_as_they_are)
{
    ck_assert_str_eq(
        settle("{\"embedding_function\":{\"config\":{\"z\":1.50,\"a\":[1e2,{\"d\":null,\"c\":\"\\u00e9\"}]},"
               "\"extra\":1,\"name\":\"\",\"type\":\"known\"}}",
               "null", "null"),
        "");
    check_configuration(
        HNSW("l2", "100") "{\"type\":\"known\",\"name\":\"\",\"config\":{\"a\":[1e2,{\"c\":\"\xc3\xa9\","
                          "\"d\":null}],\"z\":1.50}}}");
    ck_assert_str_eq(settle("{\"embedding_function\":{\"type\":\"legacy\",\"x\":1}}", "null", "null"), "");
    check_configuration(HNSW("l2", "100") "{\"type\":\"legacy\"}}");
    ck_assert_str_eq(
        settle("{\"embedding_function\":{\"type\":\"known\",\"name\":\"x\",\"config\":null}}", "null", "null"), "");
}
END_TEST

START_TEST(what_a_configuration_may_not_say)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{\"hnsw\":{\"space\":\"L2\"}}",
         "hnsw.space: unknown variant `L2`, expected one of `l2`, `cosine`, `ip` at line 1 column 21"},
        {"{\"hnsw\":{\"ef_search\":-1}}",
         "hnsw.ef_search: invalid value: integer `-1`, expected usize at line 1 column 23"},
        {"{\"hnsw\":{\"ef_search\":1.5}}",
         "hnsw.ef_search: invalid type: floating point `1.5`, expected usize at line 1 column 24"},
        {"{\"hnsw\":{\"ef_search\":\"1\"}}",
         "hnsw.ef_search: invalid type: string \"1\", expected usize at line 1 column 24"},
        {"{\"hnsw\":{\"foo\":1}}",
         "hnsw.foo: unknown field `foo`, expected one of `space`, `ef_construction`, `ef_search`, `max_neighbors`, "
         "`num_threads`, `resize_factor`, `sync_threshold`, `batch_size` at line 1 column 14"},
        {"{\"hnsw\":{},\"spann\":{}}", "Multiple vector index configurations provided"},
        {"{\"embedding_function\":{}}", "embedding_function: missing field `type` at line 1 column 25"},
        {"{\"embedding_function\":{\"type\":\"known\",\"config\":{}}}",
         "embedding_function: missing field `name` at line 1 column 51"},
        {"{\"embedding_function\":{\"type\":\"legacy\",\"type\":\"legacy\"}}",
         "embedding_function.type: duplicate field `type` at line 1 column 45"},
        {"{\"embedding_function\":{\"type\":\"known\",\"name\":\"a\",\"config\":1,\"config\":2}}",
         "embedding_function: duplicate field `config` at line 1 column 72"},
        {"{\"hnsw\":{\"space\":5}}", "hnsw.space: expected value at line 1 column 18"},
        {"{\"hnsw\":[]}",
         "hnsw: invalid length 0, expected struct HnswConfiguration with 8 elements at line 1 column 10"},
        {"{\"spann\":{\"search_nprobe\":4294967296}}",
         "spann.search_nprobe: invalid value: integer `4294967296`, expected u32 at line 1 column 36"},
        {"{\"spann\":{\"search_nprobe\":-1}}",
         "spann.search_nprobe: invalid value: integer `-1`, expected u32 at line 1 column 28"},
        {"\"x\"", "invalid type: string \"x\", expected struct CollectionConfiguration at line 1 column 3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_str_eq(settle(cases[i].text, "null", "null"), cases[i].message);
}
END_TEST

START_TEST(legacy_metadata_count_when_nothing_else_does)
{
    ck_assert_str_eq(settle("null", "{\"hnsw:space\":\"ip\",\"hnsw:search_ef\":20,\"HNSW:space\":\"x\"}", "null"), "");
    check_configuration(HNSW("ip", "20") "null}");
    ck_assert_str_eq(settle("{\"hnsw\":{}}", "{\"hnsw:space\":\"cosine\"}", "null"), "");
    check_configuration(HNSW("cosine", "100") "null}");
    ck_assert_str_eq(settle("{\"hnsw\":{\"ef_search\":55}}", "{\"hnsw:space\":\"cosine\"}", "null"), "");
    check_configuration(HNSW("l2", "55") "null}");
    ck_assert_str_eq(settle("{\"spann\":{}}", "{\"hnsw:space\":\"cosine\"}", "null"), "");
    ck_assert_str_eq(settle("{\"spann\":{}}", "{\"hnsw:M\":-1}", "null"), ""); /* next to spann nobody reads them */
    check_configuration(HNSW("l2", "100") "null}");
    static const char *const bad[] = {"{\"hnsw:foo\":1}",
                                      "{\"hnsw:space\":\"manhattan\"}",
                                      "{\"hnsw:space\":1}",
                                      "{\"hnsw:M\":\"8\"}",
                                      "{\"hnsw:M\":-1}",
                                      "{\"hnsw:M\":8.0}",
                                      "{\"hnsw:sync_threshold\":1}",
                                      "{\"hnsw:batch_size\":1}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_str_eq(settle("{\"hnsw\":{\"space\":\"ip\"}}", bad[i], "null"),
                         "Failed to parse hnsw parameters from segment metadata");
}
END_TEST

START_TEST(schema_is_filled)
{
    ck_assert_str_eq(settle("null", "null", SCHEMA("{}", EMBEDDING("{\"space\":\"cosine\"}"))), "");
    check_configuration(HNSW("cosine", "100") "null}");
    ck_assert(schema_says("\"enabled\":false,\"config\":{\"space\":\"l2\",\"hnsw\""));
    ck_assert(schema_says("\"enabled\":true,\"config\":{\"space\":\"cosine\",\"source_key\":\"#document\",\"hnsw\""));
    /* a space of the defaults only is not the collection's */
    ck_assert_str_eq(
        settle("null", "null",
               SCHEMA("{\"float_list\":{\"vector_index\":{\"enabled\":false,\"config\":{\"space\":\"ip\"}}}}", "{}")),
        "");
    check_configuration(HNSW("l2", "100") "null}");
    ck_assert(schema_says("\"enabled\":false,\"config\":{\"space\":\"ip\",\"hnsw\""));
    /* aliases, and keys as they are given */
    ck_assert_str_eq(
        settle(
            "null", "null",
            "{\"defaults\":{\"#string\":{\"$string_inverted_index\":{\"enabled\":false,\"config\":{}}}},\"key_"
            "overrides\":"
            "{\"title\":{\"string\":{\"string_inverted_index\":{\"enabled\":false,\"config\":{}}},\"int\":{}},\"sp\":{"
            "\"sparse_vector\":{\"sparse_vector_index\":{\"enabled\":true,\"config\":{\"bm25\":true}}}}}}"),
        "");
    ck_assert(schema_says("\"string_inverted_index\":{\"enabled\":false,\"config\":{}}},\"float_list\""));
    ck_assert(
        schema_says("\"title\":{\"string\":{\"string_inverted_index\":{\"enabled\":false,\"config\":{}}},\"int\":{}},"
                    "\"sp\":{\"sparse_vector\":{\"sparse_vector_index\":{\"enabled\":true,\"config\":{\"bm25\":true}}}"
                    "}}}"));
    ck_assert_str_eq(settle("null", "null",
                            "{\"defaults\":{},\"keys\":{},\"cmek\":{\"gcp\":\"projects/p/locations/l/keyRings/r/"
                            "cryptoKeys/k\"},\"foo\":1}"),
                     "");
    ck_assert(schema_says(",\"cmek\":{\"gcp\":\"projects/p/locations/l/keyRings/r/cryptoKeys/k\"}}"));
}
END_TEST

START_TEST(schema_and_configuration_do_not_both_speak)
{
    const char *conflict = "Cannot set both collection config and schema simultaneously";
    const char *cosine = SCHEMA("{}", EMBEDDING("{\"space\":\"cosine\"}"));
    ck_assert_str_eq(settle("{\"hnsw\":{\"space\":\"ip\"}}", "null", cosine), conflict);
    ck_assert_str_eq(settle("null", "{\"hnsw:space\":\"ip\"}", cosine), conflict);
    ck_assert_str_eq(settle("{\"embedding_function\":{\"type\":\"legacy\"}}", "null", cosine), conflict);
    ck_assert_str_eq(settle("{\"hnsw\":{},\"embedding_function\":" KNOWN "}", "null", cosine), "");
    check_configuration(HNSW("cosine", "100") "null}");
    ck_assert_str_eq(settle("{\"hnsw\":{\"space\":\"ip\"}}", "null", SCHEMA("{}", "{}")), "");
    check_configuration(HNSW("ip", "100") "null}");
    ck_assert_str_eq(settle("null", "null", SCHEMA("{}", EMBEDDING("{\"embedding_function\":" KNOWN "}"))), "");
    check_configuration(HNSW("l2", "100") "null}");
}
END_TEST

#define ON(index) "{\"" index "\":{\"enabled\":true,\"config\":{}}}"
START_TEST(what_a_schema_may_not_say)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{\"defaults\":{}}", "missing field `keys` at line 1 column 15"},
        {SCHEMA("{\"float_list\":" ON("vector_index") "}", "{}"),
         "Vector index cannot be enabled by default. It can only be enabled on #embedding field."},
        {SCHEMA("{\"string\":" ON("fts_index") "}", "{}"), "Full text search / regular expression index cannot be "
                                                           "enabled by default. It can only be enabled on #document "
                                                           "field."},
        {SCHEMA("{}", "{\"#foo\":{}}"),
         "key cannot begin with '#'. Keys starting with '#' are reserved for system use: #foo"},
        {SCHEMA("{}", "{\"#document\":{\"int\":{}}}"),
         "Document field cannot have any value types other than string: #document"},
        {SCHEMA("{}", "{\"#embedding\":{\"string\":{}}}"),
         "Embedding field cannot have any value types other than float_list: #embedding"},
        {SCHEMA("{}", "{\"foo\":{\"float_list\":" ON("vector_index") "}}"),
         "Vector index can only be enabled on #embedding field: foo"},
        {SCHEMA("{}", EMBEDDING("{\"source_key\":\"title\"}")), "Vector index can only source from #document"},
        {SCHEMA("{}", "{\"foo\":{\"string\":" ON("fts_index") "}}"),
         "Full text search / regular expression index can only be enabled on #document field: foo"},
        {SCHEMA("{}", "{\"#document\":{\"string\":" ON("string_inverted_index") "}}"),
         "String inverted index can not be enabled on #document key: #document"},
        {SCHEMA("{}",
                "{\"sp\":{\"sparse_vector\":{\"sparse_vector_index\":{\"enabled\":false,\"config\":{\"source_key\":"
                "\"#x\"}}}}}"),
         "source_key cannot begin with '#'. The only valid key starting with '#' is Key.DOCUMENT or '#document'."},
        {SCHEMA("{}",
                "{\"sp\":{\"sparse_vector\":{\"sparse_vector_index\":{\"enabled\":true,\"config\":{\"source_key\":"
                "\"t\"}}}}}"),
         "If source_key is provided then embedding_function must also be provided since there is no default embedding "
         "function."},
        {"{\"defaults\":{},\"keys\":{},\"cmek\":{\"gcp\":\"nope\"}}",
         "CMEK does not match expected pattern: Gcp(\"nope\")"},
        {SCHEMA("{}", EMBEDDING("{\"hnsw\":{\"sync_threshold\":1}}")),
         "Invalid HNSW configuration: sync_threshold: Validation error: range [{\"value\": Number(1), \"min\": "
         "Number(2)}]"},
        {SCHEMA("{\"int\":{\"int_inverted_index\":{\"enabled\":true,\"config\":{\"x\":1}}}}", "{}"),
         "defaults.int.int_inverted_index.config.x: unknown field `x`, there are no fields at line 1 column 70"},
        {SCHEMA("{\"int\":{\"int_inverted_index\":{\"config\":{}}}}", "{}"),
         "defaults.int.int_inverted_index: missing field `enabled` at line 1 column 54"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_str_eq(settle("null", "null", cases[i].text), cases[i].message);
}
END_TEST

/* A schema's SPANN settings are checked by type and then mean nothing. */
START_TEST(what_a_spann_index_may_not_say)
{
    static const struct {
        const char *setting, *fault; /* NULL: fine */
    } cases[] = {
        {"", NULL},
        {"\"ef_search\":null,\"search_nprobe\":4294967295,\"initial_lambda\":1,\"quantize\":\"none\"", NULL},
        {"\"num_samples_kmeans\":18446744073709551615,\"center_drift_threshold\":1e300", NULL},
        {"\"ef_search\":0.0", "ef_search: invalid type: floating point `0.0`, expected usize"},
        {"\"nreplica_count\":4294967296", "nreplica_count: invalid value: integer `4294967296`, expected u32"},
        {"\"write_rng_factor\":\"x\"", "write_rng_factor: invalid type: string \"x\", expected f32"},
        {"\"quantize\":\"two\"",
         "quantize: unknown variant `two`, expected `none` or `four_bit_rabit_q_with_u_search`"},
        {"\"quantize\":null", "quantize: expected value"},
        {"\"space\":\"l2\"", "space: unknown field `space`"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[512];
        (void)snprintf(
            text, sizeof text,
            SCHEMA("{\"float_list\":{\"vector_index\":{\"enabled\":false,\"config\":{\"spann\":{%s}}}}}", "{}"),
            cases[i].setting);
        const char *got = settle("null", "null", text);
        if (cases[i].fault == NULL)
            ck_assert_str_eq(got, "");
        else
            ck_assert_msg(strstr(got, cases[i].fault) != NULL, "%s: %s", cases[i].setting, got);
    }
}
END_TEST

/* What searches find in the document that was stored. */
START_TEST(effort_is_in_the_document)
{
    static const struct {
        const char *configuration;
        uint32_t effort;
    } cases[] = {{"null", 100},
                 {"{\"hnsw\":{\"ef_construction\":7}}", 100},
                 {"{\"hnsw\":{\"ef_search\":55}}", 55},
                 {"{\"hnsw\":{\"ef_search\":0}}", EFFORT_MIN},
                 {"{\"hnsw\":{\"ef_search\":10001}}", EFFORT_MAX},
                 {"{\"hnsw\":{\"ef_search\":18446744073709551615}}", EFFORT_MAX},
                 {"{\"spann\":{\"search_nprobe\":3,\"ef_search\":50}}", 100},
                 {"{\"hnsw\":{\"ef_search\":20},\"embedding_function\":{\"type\":\"known\",\"name\":\"x\","
                  "\"config\":{\"ef_search\":30}}}",
                  20}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ck_assert_str_eq(settle(cases[i].configuration, "null", "null"), "");
        ck_assert_uint_eq(configuration_effort(buf_view(&configuration)), cases[i].effort);
    }
    ck_assert_str_eq(settle("null", "{\"hnsw:search_ef\":33}", "null"), "");
    ck_assert_uint_eq(configuration_effort(buf_view(&configuration)), 33);
    ck_assert_uint_eq(configuration_effort(STR("")), EFFORT_DEFAULT);
    ck_assert_uint_eq(configuration_effort(STR("{\"hnsw\":{\"ef_search\":")), EFFORT_MIN);
    ck_assert_uint_eq(configuration_effort(STR("{\"hnsw\":{\"ef_search\":9")), EFFORT_MIN);
    start();
}
END_TEST

START_TEST(an_update_changes_both_documents)
{
    struct configuration c;
    struct buf new_configuration = {0}, new_schema = {0};
    struct errmsg em = {{0}};
    ck_assert_str_eq(settle("{\"hnsw\":{\"space\":\"cosine\"}}", "null", "null"), "");
    ck_assert(
        parse_configuration(read_text("{\"hnsw\":{\"ef_search\":7,\"batch_size\":9,\"resize_factor\":2},\"spann\":null,"
                                      "\"embedding_function\":" KNOWN "}"),
                            true, &c));
    ck_ok(
        settings_update(buf_view(&configuration), buf_view(&schema), &c, &arena, &new_configuration, &new_schema, &em));
    ck_assert(
        str_eq(buf_view(&new_configuration),
               STR("{\"hnsw\":{\"space\":\"cosine\",\"ef_construction\":100,\"ef_search\":7,\"max_neighbors\":16,"
                   "\"resize_factor\":2.0,\"sync_threshold\":1000},\"spann\":null,\"embedding_function\":" KNOWN "}")));
    ck_assert_uint_eq(configuration_effort(buf_view(&new_configuration)), EFFORT_MIN);
    struct str s = buf_view(&new_schema);
    ck_assert(
        str_contains(s, STR("\"enabled\":true,\"config\":{\"space\":\"cosine\",\"embedding_function\":" KNOWN
                            ",\"source_key\":\"#document\",\"hnsw\":{\"ef_construction\":100,\"max_neighbors\":16,"
                            "\"ef_search\":7,")));
    ck_assert(str_contains(s, STR("\"enabled\":false,\"config\":{\"space\":\"cosine\",\"embedding_function\":" KNOWN
                                  ",\"hnsw\":{\"ef_construction\":100,\"max_neighbors\":16,\"ef_search\":7,")));
    ck_assert(str_contains(s, STR("\"batch_size\":9,\"sync_threshold\":1000,\"resize_factor\":2.0}")));
    ck_assert(str_starts(s, STR("{\"defaults\":{\"string\":{\"fts_index\":{\"enabled\":false,")));
    /* the space cannot be changed */
    ck_assert(!parse_configuration(read_text("{\"hnsw\":{\"space\":\"ip\"}}"), true, &c));
    ck_assert(str_contains(reader.message, STR("unknown field `space`, expected one of `ef_search`")));
    buf_free(&new_configuration);
    buf_free(&new_schema);
    /* documents that are not ours */
    ck_assert(parse_configuration(read_text("{\"hnsw\":{\"ef_search\":7}}"), true, &c));
    ck_assert_int_eq(settings_update(STR("{}"), STR("{}"), &c, &arena, &new_configuration, &new_schema, &em),
                     ERR_CORRUPT);
    ck_assert_int_eq(settings_update(STR("{"), STR("{}"), &c, &arena, &new_configuration, &new_schema, &em),
                     ERR_CORRUPT);
    buf_free(&new_configuration);
    buf_free(&new_schema);
    start();
}
END_TEST

TESTS(schema, nothing_said_gives_the_defaults, configuration_goes_into_both_indexes,
      embedding_functions_are_kept_as_they_are, what_a_configuration_may_not_say,
      legacy_metadata_count_when_nothing_else_does, schema_is_filled, schema_and_configuration_do_not_both_speak,
      what_a_schema_may_not_say, what_a_spann_index_may_not_say, effort_is_in_the_document,
      an_update_changes_both_documents)
