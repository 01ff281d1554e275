/* test_upstream_settings.c - settings of upstream's collections in every form that they have had. */
#include "api/upstream_settings.h"

#include "api/settings.h"
#include "core/mem.h"
#include "tests/lib/suite.h"

static struct upstream_settings read_all(const char *configuration, const char *schema, struct bytes metadata,
                                         struct arena *a)
{
    struct upstream_settings s;
    const struct upstream_collection c = {.configuration = str_from_c(configuration), .schema = str_from_c(schema)};
    ck_ok(upstream_settings_read(&c, metadata, a, &s, NULL));
    return s;
}

static void done(struct upstream_settings *s, struct arena *a)
{
    buf_free(&s->configuration);
    buf_free(&s->schema);
    arena_free(a);
}

static bool has(const struct buf *b, const char *part)
{
    return str_contains(buf_view(b), str_from_c(part));
}

static const struct {
    const char *configuration;
    enum space space;
    const char *part; /* of the configuration that is kept */
    bool has_note;
} forms[] = {
    {NULL, SPACE_L2, "\"ef_search\":100", false},
    {"{}", SPACE_L2, "\"spann\":null,\"embedding_function\":null", false},
    {"{\"hnsw\":{\"space\":\"ip\",\"ef_construction\":55,\"ef_search\":44,\"max_neighbors\":12,\"resize_factor\":1.5,"
     "\"sync_threshold\":50},\"spann\":null,\"embedding_function\":{\"type\":\"known\",\"name\":\"x\",\"config\":{"
     "\"b\":1,\"a\":2}}}",
     SPACE_IP,
     "\"ef_construction\":55,\"ef_search\":44,\"max_neighbors\":12,\"resize_factor\":1.5,\"sync_threshold\":50},"
     "\"spann\":null,"
     "\"embedding_function\":{\"type\":\"known\",\"name\":\"x\",\"config\":{\"a\":2,\"b\":1}}",
     false},
    {"{\"hnsw_configuration\": {\"space\": \"cosine\", \"M\": 17, \"num_threads\": 2, \"_type\": \"H\"}, \"_type\": "
     "\"C\"}",
     SPACE_COSINE, "\"max_neighbors\":17", false},
    {"{\"vector_index\":{\"hnsw\":{\"space\":\"cosine\",\"ef_search\":7}},\"embedding_function\":null}", SPACE_COSINE,
     "\"ef_search\":7", false},
    {"{\"vector_index\":{\"spann\":{\"space\":\"ip\",\"ef_search\":7}},\"embedding_function\":{\"type\":\"legacy\"}}",
     SPACE_IP, "\"ef_search\":100", false},
    {"{\"hnsw\":{\"space\":\"l2\",\"sync_threshold\":0,\"batch_size\":0,\"ef_search\":null}}", SPACE_L2,
     "\"sync_threshold\":1000", false},
    {"{\"hnsw\":{\"space\":\"hamming\"}}", SPACE_L2, "\"ef_search\":100", true},
    {"{\"hnsw\":[1]}", SPACE_L2, "\"ef_search\":100", true},
    {"{\"hnsw\":{\"ef_search\":-1}}", SPACE_L2, "\"ef_search\":100", true},
    {"{\"hnsw\":", SPACE_L2, "\"ef_search\":100", true},
    {"[]", SPACE_L2, "\"ef_search\":100", true},
    {"", SPACE_L2, "\"ef_search\":100", true},
};

START_TEST(configurations_of_every_age)
{
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct arena a = {0};
        struct upstream_settings s = read_all(forms[i].configuration, NULL, (struct bytes){NULL, 0}, &a);
        ck_assert_msg(s.space == forms[i].space, "form %zu", i);
        ck_assert_msg(has(&s.configuration, forms[i].part), "form %zu: " STR_FMT, i,
                      STR_ARG(buf_view(&s.configuration)));
        ck_assert_msg((s.note != NULL) == forms[i].has_note, "form %zu", i);
        ck_assert(has(&s.schema, "\"keys\":{\"#document\":"));
        done(&s, &a);
    }
}
END_TEST

START_TEST(metadata_count_when_nothing_else_does)
{
    struct buf m = {0};
    struct arena a = {0};
    const struct value space = {.type = VALUE_STR, .s = STR("cosine")}, links = {.type = VALUE_INT, .i = 9};
    meta_put(&m, STR("hnsw:M"), &links);
    meta_put(&m, STR("hnsw:space"), &space);
    const struct bytes packed = {m.p, m.n};
    struct upstream_settings s = read_all("{}", NULL, packed, &a);
    ck_assert(s.space == SPACE_COSINE && s.note == NULL && has(&s.configuration, "\"max_neighbors\":9"));
    done(&s, &a);
    s = read_all("{\"hnsw\":{\"space\":\"ip\"}}", NULL, packed, &a);
    ck_assert(s.space == SPACE_IP && has(&s.configuration, "\"max_neighbors\":16"));
    done(&s, &a);
    const struct value wrong = {.type = VALUE_STR, .s = STR("far")};
    m.n = 0;
    meta_put(&m, STR("hnsw:space"), &wrong);
    s = read_all(NULL, NULL, (struct bytes){m.p, m.n}, &a);
    ck_assert(s.space == SPACE_L2 && s.note != NULL);
    done(&s, &a);
    buf_free(&m);
}
END_TEST

/* What this server writes down for a collection is what upstream does: so a schema comes back as it was. */
START_TEST(a_schema_comes_back)
{
    struct arena a = {0};
    struct upstream_settings first =
        read_all("{\"hnsw\":{\"space\":\"cosine\",\"ef_search\":7},\"embedding_function\":{\"type\":\"legacy\"}}", NULL,
                 (struct bytes){NULL, 0}, &a);
    const char *schema = arena_cstr(&a, buf_view(&first.schema));
    struct upstream_settings again = read_all("{}", schema, (struct bytes){NULL, 0}, &a);
    ck_assert(again.note == NULL && again.space == SPACE_COSINE);
    ck_assert(str_eq(buf_view(&again.schema), buf_view(&first.schema)));
    ck_assert(str_eq(buf_view(&again.configuration), buf_view(&first.configuration)));
    buf_free(&again.configuration);
    buf_free(&again.schema);
    again = read_all("{\"hnsw\":{\"space\":\"ip\"}}", "{\"defaults\":7}", (struct bytes){NULL, 0}, &a);
    ck_assert(again.note != NULL && again.space == SPACE_IP);
    done(&again, &a);
    buf_free(&first.configuration);
    buf_free(&first.schema);
}
END_TEST

TESTS(upstream_settings, configurations_of_every_age, metadata_count_when_nothing_else_does, a_schema_comes_back)
