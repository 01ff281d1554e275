/* test_metadata.c - metadata from JSON to the packed form and back, for records and for collections. */
#include "tests/lib/suite.h"

#include <stdio.h>

#include "api/handler.h"
#include "api/metadata.h"
#include "core/mem.h"

static struct arena arena;
static struct json_reader reader;

static struct json_reader *read_text(const char *text)
{
    arena_free(&arena);
    json_reader_init(&reader, str_from_c(text), &arena);
    return &reader;
}

/* Reads record metadata and writes them again. */
static void check_record(const char *text, bool allow_null, const char *want)
{
    struct buf packed = {0}, out = {0};
    bool bad_key = false;
    ck_assert_msg(parse_record_metadata(read_text(text), allow_null, &packed, &bad_key) && json_finish(&reader),
                  "%s: %.*s", text, STR_ARG(reader.message));
    ck_assert_msg(!bad_key, "%s", text);
    struct bytes meta = {packed.p, packed.n};
    ck_assert_msg(meta_validate(meta, allow_null), "%s", text);
    ck_assert(json_put_meta(&out, meta, STR(""), &arena));
    buf_char(&out, '\0');
    ck_assert_str_eq(out.p, want);
    buf_free(&packed);
    buf_free(&out);
}

static void check_refused(const char *text, bool allow_null, const char *message)
{
    struct buf packed = {0};
    bool bad_key = false;
    ck_assert_msg(!parse_record_metadata(read_text(text), allow_null, &packed, &bad_key), "%s", text);
    ck_assert_msg(str_eq(reader.message, str_from_c(message)), "%s said: %.*s", text, STR_ARG(reader.message));
    buf_free(&packed);
}

START_TEST(values_keep_their_types)
{
    check_record("null", false, "null");
    check_record("{}", false, "null");
    check_record("{\"s\":\"x\",\"b\":true,\"i\":1,\"f\":1.0,\"e\":1e3}", false,
                 "{\"b\":true,\"e\":1000.0,\"f\":1.0,\"i\":1,\"s\":\"x\"}");
    check_record("{\"a\":9223372036854775807,\"b\":9223372036854775808,\"c\":-9223372036854775808,\"d\":-0.0}", false,
                 "{\"a\":9223372036854775807,\"b\":9.223372036854776e+18,\"c\":-9223372036854775808,\"d\":0.0}");
    check_record("{\"z\":1,\"z\":2,\"a\":\"\\u0000\",\"z\":\"last\"}", false, "{\"a\":\"\\u0000\",\"z\":\"last\"}");
    check_record("{\"z\":{\"indices\":[1],\"values\":[]},\"z\":1}", false,
                 "{\"z\":1}"); /* nor is the earlier one judged */
    check_record("{\"k\":1,\"chroma:document\":\"x\"}", false,
                 "{\"chroma:document\":\"x\",\"k\":1}"); /* hidden later */
}
END_TEST

START_TEST(lists_hold_one_type)
{
    check_record("{\"a\":[1,2],\"b\":[\"x\",\"\"],\"c\":[true,false],\"d\":[1,2.5,3],\"e\":[0.5,1]}", false,
                 "{\"a\":[1,2],\"b\":[\"x\",\"\"],\"c\":[true,false],\"d\":[1.0,2.5,3.0],\"e\":[0.5,1.0]}");
    check_record("{\"a\":[],\"b\":1}", false, "{\"b\":1}");
    check_record("{\"a\":[],\"b\":null}", true, "{\"a\":null,\"b\":null}");
    static const char *const bad[] = {"{\"a\":[1,\"x\"]}", "{\"a\":[[1]]}", "{\"a\":[null]}", "{\"a\":[true,1]}",
                                      "{\"a\":[\"x\",{}]}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char want[200];
        (void)snprintf(want, sizeof want,
                       "a: data did not match any variant of untagged enum MetadataValue at line 1 column %zu",
                       strlen(bad[i]));
        check_refused(bad[i], false, want);
    }
}
END_TEST

START_TEST(nulls_belong_to_patches)
{
    check_record("{\"a\":null,\"b\":2}", true, "{\"a\":null,\"b\":2}");
    check_refused("{\"a\":null,\"b\":2}", false,
                  "a: data did not match any variant of untagged enum MetadataValue at line 1 column 9");
    check_refused("{\"a\":{\"x\":1}}", true,
                  "a: data did not match any variant of untagged enum UpdateMetadataValue at line 1 column 13");
    check_refused("[1]", false, "invalid type: sequence, expected a map at line 1 column 0");
    check_refused("\"x\"", false, "invalid type: string \"x\", expected a map at line 1 column 3");
}
END_TEST

START_TEST(sparse_vectors)
{
    check_record(
        "{\"s\":{\"#type\":\"sparse_vector\",\"indices\":[1,4294967295],\"values\":[0.5,-2],\"tokens\":[\"a\","
        "\"b\"],\"other\":[]}}",
        false,
        "{\"s\":{\"#type\":\"sparse_vector\",\"indices\":[1,4294967295],\"values\":[0.5,-2.0],\"tokens\":[\"a\","
        "\"b\"]}}");
    check_record("{\"s\":{\"indices\":[],\"values\":[],\"tokens\":null}}", false,
                 "{\"s\":{\"#type\":\"sparse_vector\",\"indices\":[],\"values\":[],\"tokens\":null}}");
    static const char *const mismatched[] = {"{\"s\":{\"indices\":[-1],\"values\":[1]}}",
                                             "{\"s\":{\"indices\":[1.5],\"values\":[1]}}",
                                             "{\"s\":{\"indices\":[4294967296],\"values\":[1]}}",
                                             "{\"s\":{\"indices\":[1]}}",
                                             "{\"s\":{\"values\":[1]}}",
                                             "{\"s\":{\"#type\":\"foo\",\"indices\":[1],\"values\":[1]}}",
                                             "{\"s\":{\"indices\":[3],\"values\":[\"x\"]}}",
                                             "{\"s\":{\"indices\":[3],\"values\":[1],\"tokens\":[1]}}",
                                             "{\"s\":{\"indices\":3,\"values\":[1]}}",
                                             "{\"s\":{}}"};
    struct buf packed = {0};
    bool bad_key;
    for (size_t i = 0; i < sizeof mismatched / sizeof mismatched[0]; i++) {
        bad_key = false;
        ck_assert_msg(!parse_record_metadata(read_text(mismatched[i]), false, &packed, &bad_key), "%s", mismatched[i]);
        ck_assert_int_eq(reader.err, ERR_SHAPE);
    }
    static const char *const broken_rules[] = {
        "{\"s\":{\"indices\":[5,1],\"values\":[1,2]}}", "{\"s\":{\"indices\":[1,1],\"values\":[1,2]}}",
        "{\"s\":{\"indices\":[1],\"values\":[1,2]}}", "{\"s\":{\"indices\":[1],\"values\":[1e39]}}",
        "{\"s\":{\"indices\":[1,2],\"values\":[1,2],\"tokens\":[\"a\"]}}"};
    for (size_t i = 0; i < sizeof broken_rules / sizeof broken_rules[0]; i++) {
        bad_key = false;
        ck_assert_msg(parse_record_metadata(read_text(broken_rules[i]), false, &packed, &bad_key), "%s",
                      broken_rules[i]);
        ck_assert_msg(bad_key, "%s", broken_rules[i]);
    }
    buf_free(&packed);
}
END_TEST

START_TEST(keys_have_rules)
{
    static const char *const bad[] = {"{\"\":1}", "{\"#x\":1}", "{\"$x\":1}", "{\"ok\":1,\"$x\":null}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct buf packed = {0};
        bool bad_key = false;
        ck_assert(parse_record_metadata(read_text(bad[i]), true, &packed, &bad_key) && bad_key);
        buf_free(&packed);
    }
}
END_TEST

START_TEST(collections_take_scalars_only)
{
    struct collection_metadata m;
    static const struct {
        const char *text, *fault;
    } faults[] = {
        {"{\"\":1}", "Metadata key cannot be empty"},
        {"{\"#x\":1}", "Metadata key cannot start with '#' or '$': #x"},
        {"{\"$x\":1}", "Metadata key cannot start with '#' or '$': $x"},
        {"{\"a\":[1]}", "Metadata value of a collection must be a string, an integer, a float or a boolean: a"},
        {"{\"a\":[]}", "Metadata value of a collection must be a string, an integer, a float or a boolean: a"},
        {"{\"a\":{\"indices\":[1],\"values\":[1]}}",
         "Metadata value of a collection must be a string, an integer, a float or a boolean: a"}};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        ck_assert(parse_collection_metadata(read_text(faults[i].text), false, &m) && m.is_given && !m.is_empty);
        ck_assert_msg(str_eq(m.fault, str_from_c(faults[i].fault)), "%.*s", STR_ARG(m.fault));
    }
    ck_assert(parse_collection_metadata(read_text("{}"), false, &m) && m.is_given && m.is_empty && m.packed.n == 0);
    ck_assert(parse_collection_metadata(read_text("null"), false, &m) && !m.is_given);
    ck_assert(parse_collection_metadata(read_text("{\"a\":null}"), true, &m) && m.is_given && !m.is_empty);
    ck_assert(m.fault.p == NULL && m.packed.n == 0);
    ck_assert(!parse_collection_metadata(read_text("{\"a\":null}"), false, &m));
    ck_assert(parse_collection_metadata(read_text("{\"chroma:x\":1,\"b\":2}"), false, &m) && m.fault.p == NULL);
    struct buf out = {0};
    ck_assert(json_put_meta(&out, m.packed, STR(""), &arena));
    ck_assert(str_eq(buf_view(&out), STR("{\"b\":2,\"chroma:x\":1}")));
    buf_free(&out);
}
END_TEST

/* Random objects of scalars: what comes out is what went in, sorted, the last of equal keys. */
START_TEST(random_objects_survive)
{
    struct rng rng = {606};
    for (int round = 0; round < 3000; round++) {
        int64_t model[26];
        bool has[26] = {false};
        struct buf text = {0}, want = {0};
        buf_char(&text, '{');
        uint32_t n = rng_below(&rng, 40);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t k = rng_below(&rng, 26);
            model[k] = (int64_t)rng_next(&rng);
            has[k] = true;
            buf_printf(&text, "%s\"%c\":%lld", i > 0 ? "," : "", (char)('a' + k), (long long)model[k]);
        }
        buf_char(&text, '}');
        buf_char(&text, '\0');
        for (int k = 0; k < 26; k++)
            if (has[k])
                buf_printf(&want, "%s\"%c\":%lld", want.n > 0 ? "," : "{", (char)('a' + k), (long long)model[k]);
        if (want.n > 0)
            buf_lit(&want, "}\0");
        else
            buf_lit(&want, "null\0");
        check_record(text.p, false, want.p);
        buf_free(&text);
        buf_free(&want);
    }
}
END_TEST

START_TEST(hidden_keys_and_damage)
{
    static const struct {
        const char *text, *want;
    } rows[] = {{"{\"a\":1,\"own:x\":2,\"own:\":3,\"own\":4}", "{\"a\":1,\"own\":4}"},
                {"{\"own:x\":[1,2],\"z\":\"own:\"}", "{\"z\":\"own:\"}"},
                {"{\"own:x\":true}", "{}"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf packed = {0}, out = {0};
        bool bad_key = false;
        ck_assert(parse_record_metadata(read_text(rows[i].text), false, &packed, &bad_key));
        ck_assert(json_put_meta(&out, (struct bytes){packed.p, packed.n}, STR("own:"), &arena));
        ck_assert(str_eq(buf_view(&out), str_from_c(rows[i].want)));
        for (size_t n = 1; n < packed.n; n++) { /* cut short: well-formed only where an entry ends */
            struct bytes part = {mem_dup(packed.p, n), n};
            ck_assert(json_put_meta(&out, part, STR(""), &arena) == meta_validate(part, false));
            mem_free((void *)(uintptr_t)part.p);
        }
        buf_free(&packed);
        buf_free(&out);
    }
}
END_TEST

TESTS(metadata, values_keep_their_types, lists_hold_one_type, nulls_belong_to_patches, sparse_vectors, keys_have_rules,
      collections_take_scalars_only, random_objects_survive, hidden_keys_and_damage)
