/* test_json.c - the reader's grammar, its messages as the contract records them, structs, trees, and the writer. */
#include "tests/lib/suite.h"

#include <stdio.h>

#include "api/json_internal.h"
#include "core/mem.h"
#include "core/utf8.h"

static struct arena arena;
static struct json_reader reader;

static struct json_reader *read_text(struct str text)
{
    arena_free(&arena);
    json_reader_init(&reader, text, &arena);
    return &reader;
}

static bool is_json(struct str text)
{
    struct json_reader *r = read_text(text);
    return json_skip(r) && json_finish(r);
}

static void check_message(const struct json_reader *r, enum err e, const char *message)
{
    ck_assert_int_eq(r->err, e);
    ck_assert_msg(str_eq(r->message, str_from_c(message)), "said: %.*s\nwanted: %s", STR_ARG(r->message), message);
}

START_TEST(accepts_the_grammar)
{
    static const char *const good[] = {"null",
                                       " true ",
                                       "false",
                                       "0",
                                       "-0",
                                       "-0.0",
                                       "10",
                                       "1.5",
                                       "1e5",
                                       "1E+5",
                                       "1e-5",
                                       "0.1e1",
                                       "[]",
                                       "[ ]",
                                       "{}",
                                       "{ }",
                                       "[1,2 , 3]",
                                       "{\"a\":1,\"a\":2}",
                                       "\"\"",
                                       "\"\\u0000\\uD83D\\uDE00\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
                                       "[[[[]]]]",
                                       "{\"a\":{\"b\":[{}]}}",
                                       "\t\r\n 1 \t\r\n",
                                       "18446744073709551616",
                                       "\"\xc3\xa9\xf0\x9f\x98\x80\"",
                                       "1.7976931348623157e308",
                                       "1e-400"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        ck_assert_msg(is_json(str_from_c(good[i])), "%s: %.*s", good[i], STR_ARG(reader.message));
}
END_TEST

START_TEST(refuses_everything_else)
{
    static const char *const bad[] = {"",
                                      " ",
                                      "nul",
                                      "nulL",
                                      "tru",
                                      "True",
                                      "NaN",
                                      "Infinity",
                                      "-Infinity",
                                      "-",
                                      "+1",
                                      "01",
                                      "-01",
                                      "00",
                                      ".5",
                                      "1.",
                                      "1.e5",
                                      "1e",
                                      "1e+",
                                      "0x10",
                                      "1_0",
                                      "[",
                                      "[1",
                                      "[1,",
                                      "[1,]",
                                      "[,1]",
                                      "[1 2]",
                                      "{",
                                      "{\"a\"",
                                      "{\"a\":",
                                      "{\"a\":1",
                                      "{\"a\":1,",
                                      "{\"a\":1,}",
                                      "{,}",
                                      "{a:1}",
                                      "{'a':1}",
                                      "{\"a\" 1}",
                                      "{\"a\":1 \"b\":2}",
                                      "\"",
                                      "\"a",
                                      "\"\\",
                                      "\"\\x\"",
                                      "\"\\u12\"",
                                      "\"\\u12g4\"",
                                      "\"\\ud800\"",
                                      "\"\\ud800\\n\"",
                                      "\"\\ud800\\u0041\"",
                                      "\"\\udc00\"",
                                      "\"\n\"",
                                      "\"\t\"",
                                      "\"\x01\"",
                                      "1 2",
                                      "{} {}",
                                      "]",
                                      "}",
                                      "[}",
                                      "{]",
                                      "1e400",
                                      "-1e400",
                                      "\"\xff\"",
                                      "\"\xc0\x80\"",
                                      "\"\xed\xa0\x80\"",
                                      "\"\xf4\x90\x80\x80\"",
                                      "\"\xe2\x82\"",
                                      "\xef\xbb\xbf{}",
                                      "[1]x",
                                      "/**/1",
                                      "\"\\u00\"00\""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_msg(!is_json(str_from_c(bad[i])), "accepted: %s", bad[i]);
        ck_assert_int_eq(reader.err, ERR_INVALID);
    }
    ck_assert(!is_json(str_of("\"a\0\"", 4)));
    ck_assert(!is_json(str_of("1\0", 2)));
}
END_TEST

START_TEST(depth_is_limited)
{
    char text[2 * 130 + 2];
    for (int n = 126; n <= 129; n++) {
        memset(text, '[', (size_t)n);
        memset(text + n, ']', (size_t)n);
        bool ok = is_json(str_of(text, (size_t)n * 2));
        ck_assert_msg(ok == (n <= JSON_DEPTH_MAX), "%d levels", n);
        if (ok) continue;
        ck_assert_int_eq(reader.err, ERR_INVALID);
        ck_assert_ptr_nonnull(memmem(reader.message.p, reader.message.n, "recursion limit exceeded", 24));
    }
}
END_TEST

/* The struct of the contract's table: {"name": string, "metadata": map}. */
static void read_named(struct json_reader *r)
{
    static const char *const names[] = {"name", "metadata"};
    struct json_fields f;
    struct str s, key;
    struct json_number n;
    if (!json_enter_fields(r, &f, names, 2, false, "struct CreateTenantPayload")) return;
    for (int i; (i = json_next_field(r, &f)) >= 0;) {
        if (i == 0) {
            (void)json_string(r, &s, "a string");
        } else if (json_enter_object(r, "a map")) {
            while (json_next_member(r, &key)) {
                if (json_peek(r) == JSON_STRING)
                    (void)json_string(r, &s, "a string");
                else
                    (void)json_number(r, &n, "a number");
            }
        }
    }
    (void)(json_need_field(r, &f, 0) && json_finish(r));
}

START_TEST(messages_are_those_of_the_contract)
{
    static const struct {
        const char *text;
        enum err e;
        const char *message;
    } cases[] = {
        {"", ERR_INVALID, "EOF while parsing a value at line 1 column 0"},
        {"{\"name\":", ERR_INVALID, "name: EOF while parsing a value at line 1 column 8"},
        {"{\"name\":\"x\"} trailing", ERR_INVALID, "trailing characters at line 1 column 14"},
        {"{'name':'x'}", ERR_INVALID, "key must be a string at line 1 column 2"},
        {"{\"name\":\"x\",}", ERR_INVALID, "trailing comma at line 1 column 13"},
        {"{", ERR_INVALID, "EOF while parsing an object at line 1 column 1"},
        {"\xef\xbb\xbf{\"name\":\"bom1\"}", ERR_INVALID, "expected value at line 1 column 1"},
        {"{\"name\":\"\xff\xfe\"}", ERR_INVALID, "name: invalid unicode code point at line 1 column 12"},
        {"{\"name\":\"esc2\",\"metadata\":{\"a\":\"\\ud800\"}}", ERR_INVALID,
         "metadata.a: unexpected end of hex escape at line 1 column 39"},
        {"{\"name\":\"inf1\",\"metadata\":{\"a\":1e999}}", ERR_INVALID,
         "metadata.a: number out of range at line 1 column 36"},
        {"{}", ERR_SHAPE, "missing field `name` at line 1 column 2"},
        {"{\"name\":5}", ERR_SHAPE, "name: invalid type: integer `5`, expected a string at line 1 column 9"},
        {"{\"name\": 5}", ERR_SHAPE, "name: invalid type: integer `5`, expected a string at line 1 column 10"},
        {"{\"name\":null}", ERR_SHAPE, "name: invalid type: null, expected a string at line 1 column 12"},
        {"{\"name\": [\"x\"]}", ERR_SHAPE, "name: invalid type: sequence, expected a string at line 1 column 9"},
        {"{\"name\": true}", ERR_SHAPE, "name: invalid type: boolean `true`, expected a string at line 1 column 13"},
        {"{\"name\": 1.50}", ERR_SHAPE,
         "name: invalid type: floating point `1.5`, expected a string at line 1 column 13"},
        {"12", ERR_SHAPE, "invalid type: integer `12`, expected struct CreateTenantPayload at line 1 column 2"},
        {"\"abc\"", ERR_SHAPE, "invalid type: string \"abc\", expected struct CreateTenantPayload at line 1 column 5"},
        {"{\"name\":\"k1abc\",\"name\":\"k2abc\"}", ERR_SHAPE, "duplicate field `name` at line 1 column 22"},
        {"{\n\"name\":\n\n 7}", ERR_SHAPE, "name: invalid type: integer `7`, expected a string at line 4 column 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct json_reader *r = read_text(str_from_c(cases[i].text));
        read_named(r);
        check_message(r, cases[i].e, cases[i].message);
    }
    /* a struct as an array: all members or none */
    struct json_reader *r = read_text(STR("[\"x\",{\"a\":1}]"));
    read_named(r);
    ck_assert_int_eq(r->err, ERR_OK);
    r = read_text(STR("[\"x\"]"));
    read_named(r);
    check_message(r, ERR_SHAPE,
                  "invalid length 1, expected struct CreateTenantPayload with 2 elements at line 1 column 5");
    r = read_text(STR("[\"x\",{},3]"));
    read_named(r);
    check_message(r, ERR_INVALID, "trailing characters at line 1 column 9");
}
END_TEST

START_TEST(paths_name_items_and_members)
{
    struct json_reader *r = read_text(STR("{\"rows\":[[1],[2,{\"k\":\"no\"}]]}"));
    struct str key;
    struct json_number n;
    ck_assert(json_enter_object(r, "") && json_next_member(r, &key) && json_enter_array(r, ""));
    ck_assert(json_next_item(r) && json_skip(r) && json_next_item(r) && json_enter_array(r, ""));
    ck_assert(json_next_item(r) && json_number(r, &n, "") && json_next_item(r));
    ck_assert(json_enter_object(r, "") && json_next_member(r, &key));
    ck_assert(!json_number(r, &n, "f32"));
    check_message(r, ERR_SHAPE, "rows[1][1].k: invalid type: string \"no\", expected f32 at line 1 column 25");
    ck_assert(!json_skip(r)); /* sticky */
    struct buf out = {0};
    uint32_t n_out;
    r = read_text(STR("{\"v\":[1,2,null]}"));
    ck_assert(json_enter_object(r, "") && json_next_member(r, &key) && !json_f32_array(r, &out, &n_out));
    check_message(r, ERR_SHAPE, "v[2]: invalid type: null, expected f32 at line 1 column 14");
    buf_free(&out);
    r = read_text(STR("[1,2,]"));
    ck_assert(!json_f32_array(r, &out, &n_out));
    check_message(r, ERR_INVALID, "trailing comma at line 1 column 6");
    buf_free(&out);
}
END_TEST

START_TEST(integers_are_told_from_doubles)
{
    static const struct {
        const char *text;
        bool is_int, is_uint;
        int64_t i;
        uint64_t u;
        double f;
    } cases[] = {{"0", true, true, 0, 0, 0},
                 {"-0", false, false, 0, 0, -0.0},
                 {"1.0", false, false, 0, 0, 1},
                 {"1e3", false, false, 0, 0, 1000},
                 {"9223372036854775807", true, true, INT64_MAX, INT64_MAX, 9223372036854775807.0},
                 {"9223372036854775808", false, true, 0, UINT64_C(9223372036854775808), 9223372036854775808.0},
                 {"-9223372036854775808", true, false, INT64_MIN, 0, -9223372036854775808.0},
                 {"-9223372036854775809", false, false, 0, 0, -9223372036854775808.0},
                 {"18446744073709551615", false, true, 0, UINT64_MAX, 18446744073709551616.0},
                 {"18446744073709551616", false, false, 0, 0, 18446744073709551616.0},
                 {"10000000000000000000", false, true, 0, UINT64_C(10000000000000000000), 1e19},
                 {"100000000000000000000", false, false, 0, 0, 1e20}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct json_number n;
        ck_assert(json_number(read_text(str_from_c(cases[i].text)), &n, "") && json_finish(&reader));
        ck_assert_msg(n.is_int == cases[i].is_int && n.is_uint == cases[i].is_uint && n.i == cases[i].i &&
                          n.u == cases[i].u && memcmp(&n.f, &cases[i].f, sizeof n.f) == 0,
                      "%s", cases[i].text);
    }
    uint32_t v;
    ck_assert(json_u32(read_text(STR("4294967295")), &v) && v == UINT32_MAX);
    ck_assert(!json_u32(read_text(STR("4294967296")), &v));
    check_message(&reader, ERR_SHAPE, "invalid value: integer `4294967296`, expected u32 at line 1 column 10");
    ck_assert(!json_u32(read_text(STR("-1")), &v));
    check_message(&reader, ERR_SHAPE, "invalid value: integer `-1`, expected u32 at line 1 column 2");
    ck_assert(!json_u32(read_text(STR("1.5")), &v));
    check_message(&reader, ERR_SHAPE, "invalid type: floating point `1.5`, expected u32 at line 1 column 3");
}
END_TEST

START_TEST(strings_are_decoded)
{
    struct str s;
    ck_assert(json_string(read_text(STR("\"plain \xc3\xa9 text, longer than a word\"")), &s, ""));
    ck_assert(str_eq(s, STR("plain \xc3\xa9 text, longer than a word")));
    ck_assert(json_string(read_text(STR("\"a\\u0000b\\uD83D\\uDE00\\u00e9\\u20ac\\n\\/\"")), &s, ""));
    ck_assert(str_eq(s, STR("a\0b\xf0\x9f\x98\x80\xc3\xa9\xe2\x82\xac\n/")));
    ck_assert(json_string(read_text(STR("\"\"")), &s, "") && s.n == 0 && s.p != NULL);
    ck_assert(json_string(read_text(STR("\"\\u0041\"")), &s, "") && str_eq(s, STR("A")));
}
END_TEST

/* Random strings written and read again; every place of a special character within a word of eight is met. */
START_TEST(strings_survive_a_round_trip)
{
    struct rng rng = {4711};
    for (int i = 0, n_rounds = suite_share(20000); i < n_rounds; i++) {
        char text[80];
        size_t n = rng_below(&rng, 40), at = 0;
        while (at < n) {
            switch (rng_below(&rng, 8)) {
            case 0:
                text[at++] = '"';
                break;
            case 1:
                text[at++] = '\\';
                break;
            case 2:
                text[at++] = (char)rng_below(&rng, 0x20);
                break;
            case 3:
                memcpy(text + at, "\xe2\x82\xac", 3), at += 3;
                break;
            case 4:
                memcpy(text + at, "\xf0\x9f\x98\x80", 4), at += 4;
                break;
            default:
                text[at++] = (char)(0x20 + rng_below(&rng, 0x60));
                break;
            }
        }
        struct buf b = {0};
        struct str s;
        json_put_string(&b, str_of(text, at));
        ck_assert(json_string(read_text(buf_view(&b)), &s, "") && json_finish(&reader));
        ck_assert(str_eq(s, str_of(text, at)));
        buf_free(&b);
    }
}
END_TEST

/* Any one byte at any place of a string of any length up to two words and more. */
START_TEST(one_special_byte_anywhere)
{
    for (unsigned c = 0; c < 256; c++)
        for (size_t n = 1; n <= 18; n++)
            for (size_t at = 0; at < n; at++) {
                char text[18], want[64];
                struct buf b = {0};
                memset(text, n % 2 == 0 ? 'x' : '\xe2', n);
                text[at] = (char)c;
                size_t k = 0;
                want[k++] = '"';
                for (size_t i = 0; i < n; i++) {
                    static const char named[] = "\"\\\b\t\n\f\r", names[] = "\"\\btnfr";
                    const char *name = text[i] != '\0' ? strchr(named, text[i]) : NULL;
                    if (name != NULL)
                        want[k++] = '\\', want[k++] = names[name - named];
                    else if ((unsigned char)text[i] < 0x20)
                        k += (size_t)sprintf(want + k, "\\u%04x", (unsigned)text[i]);
                    else
                        want[k++] = text[i];
                }
                want[k++] = '"';
                json_put_string(&b, str_of(text, n));
                ck_assert_msg(str_eq(buf_view(&b), str_of(want, k)), "byte %u at %zu of %zu", c, at, n);
                buf_free(&b);
            }
}
END_TEST

START_TEST(integers_are_printed_as_by_printf)
{
    struct rng rng = {12};
    for (int i = 0; i < 20000; i++) {
        static const int64_t ends[] = {0, 9, 10, 99, 100, 101, 999, 1000, INT64_MAX, INT64_MIN, -1, -10, -100};
        enum { N_ENDS = sizeof ends / sizeof ends[0] };
        int64_t v = i < N_ENDS ? ends[i] : (int64_t)(rng_next(&rng) >> rng_below(&rng, 64));
        char want[64];
        struct buf b = {0};
        json_put_int(&b, v);
        buf_char(&b, ' ');
        json_put_uint(&b, (uint64_t)v);
        int n = sprintf(want, "%lld %llu", (long long)v, (unsigned long long)v);
        ck_assert_msg(str_eq(buf_view(&b), str_of(want, (size_t)n)), "%s", want);
        buf_free(&b);
    }
}
END_TEST

static void expect_text(struct str text, const char *want)
{
    struct buf b = {0};
    json_put_text(&b, text);
    ck_assert_int_eq(b.err, ERR_OK);
    ck_assert_msg(str_eq(buf_view(&b), str_from_c(want)), "%.*s is not %s", (int)b.n, b.p, want);
    buf_free(&b);
}

START_TEST(text_that_is_no_utf8_is_mended)
{
    expect_text(STR("a\"b \xe2\x82\xac"), "\"a\\\"b \xe2\x82\xac\"");
    expect_text(STR("no \xff \"UTF-8\" \xd5w \xe2\x82\xac"),
                "\"no \xef\xbf\xbd \\\"UTF-8\\\" \xef\xbf\xbdw \xe2\x82\xac\"");
    expect_text(STR("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""); /* half of a pair */
    expect_text(STR("cut \xc3\xa9\xc3"), "\"cut \xc3\xa9\xef\xbf\xbd\"");
    expect_text(STR(""), "\"\"");
}
END_TEST

START_TEST(utf8_is_told_exactly)
{
    /* every two-byte and three-byte sequence against the definition by code points */
    for (unsigned a = 0x80; a < 0x100; a++)
        for (unsigned b = 0; b < 0x100; b++) {
            char two[2] = {(char)a, (char)b};
            bool want = a >= 0xc2 && a <= 0xdf && b >= 0x80 && b <= 0xbf;
            ck_assert(utf8_is_valid(str_of(two, 2)) == want);
            for (unsigned c = 0x7f; c < 0xc1; c++) {
                char three[3] = {(char)a, (char)b, (char)c};
                unsigned point = (a & 15) << 12 | (b & 63) << 6 | (c & 63);
                bool is_form = a >= 0xe0 && a <= 0xef && (b & 0xc0) == 0x80 && (c & 0xc0) == 0x80;
                bool want3 = (is_form && point >= 0x800 && (point < 0xd800 || point > 0xdfff)) || (want && c == 0x7f);
                ck_assert_msg(utf8_is_valid(str_of(three, 3)) == want3, "%x %x %x", a, b, c);
            }
        }
    ck_assert(utf8_is_valid(STR("\xf0\x90\x80\x80")) && utf8_is_valid(STR("\xf4\x8f\xbf\xbf")));
    ck_assert(!utf8_is_valid(STR("\xf0\x8f\xbf\xbf")) && !utf8_is_valid(STR("\xf4\x90\x80\x80")));
    ck_assert(!utf8_is_valid(STR("12345678\xf5\x80\x80\x80")) && !utf8_is_valid(STR("\xf0\x9f\x98")));
    ck_assert(utf8_is_valid(STR("")));
}
END_TEST

START_TEST(strict_structs_refuse_unknown_members)
{
    static const char *const names[] = {"space", "keys|key_overrides"};
    struct json_fields f;
    struct json_reader *r = read_text(STR("{\"space\":1,\"foo\":2}"));
    ck_assert(json_enter_fields(r, &f, names, 2, true, "struct X"));
    ck_assert_int_eq(json_next_field(r, &f), 0);
    ck_assert(json_skip(r));
    ck_assert_int_eq(json_next_field(r, &f), -1);
    check_message(r, ERR_SHAPE, "foo: unknown field `foo`, expected `space` or `keys` at line 1 column 16");
    r = read_text(STR("{\"x\":1}"));
    ck_assert(json_enter_fields(r, &f, NULL, 0, true, "struct X"));
    ck_assert_int_eq(json_next_field(r, &f), -1);
    check_message(r, ERR_SHAPE, "x: unknown field `x`, there are no fields at line 1 column 4");
    r = read_text(STR("{\"key_overrides\":1,\"keys\":1}"));
    ck_assert(json_enter_fields(r, &f, names, 2, false, "struct X"));
    ck_assert_int_eq(json_next_field(r, &f), 1);
    ck_assert(json_skip(r));
    ck_assert_int_eq(json_next_field(r, &f), -1);
    check_message(r, ERR_SHAPE, "duplicate field `keys` at line 1 column 25");
}
END_TEST

START_TEST(trees_print_what_was_read)
{
    static const char *const texts[] = {"null",
                                        "[1,2.50,1e400]",
                                        "{\"b\":1,\"a\":{\"c\":[true,false,null,\"x\\ny\"]}}",
                                        "\"a\\u0000b\"",
                                        "{\"k\\u0000\":1,\"z\":[12345678901234567890]}",
                                        "9007199254740993"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        cJSON *tree = NULL;
        struct json_reader *r = read_text(str_from_c(texts[i]));
        if (strstr(texts[i], "1e400") != NULL) { /* beyond double: refused as anywhere */
            ck_assert(!json_tree(r, &tree) && tree == NULL && r->err == ERR_INVALID);
            continue;
        }
        ck_assert(json_tree(r, &tree) && json_finish(r));
        char *printed = cJSON_PrintUnformatted(tree);
        ck_assert_ptr_nonnull(printed);
        ck_assert_str_eq(printed, texts[i]);
        cJSON_free(printed);
        cJSON_Delete(tree);
    }
}
END_TEST

START_TEST(sorted_text_is_canonical)
{
    static const struct {
        const char *text, *sorted;
    } cases[] = {{" { \"b\" : 1 , \"a\" : [ 2.50 , { \"z\" : null , \"y\" : \"\\u00e9\" } ] } ",
                  "{\"a\":[2.50,{\"y\":\"\xc3\xa9\",\"z\":null}],\"b\":1}"},
                 {"{\"a\":1,\"a\":2,\"A\":3,\"a\":{\"q\":1,\"p\":2}}", "{\"A\":3,\"a\":{\"p\":2,\"q\":1}}"},
                 {"{}", "{}"},
                 {"{\"a\":1,\"b\":2}", "{\"a\":1,\"b\":2}"},
                 {"{\"b\\u0000\":1,\"b\":true}", "{\"b\":true,\"b\\u0000\":1}"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf out = {0};
        struct json_reader *r = read_text(str_from_c(cases[i].text));
        ck_assert(json_sorted_text(r, &out) && json_finish(r));
        buf_char(&out, '\0');
        ck_assert_str_eq(out.p, cases[i].sorted);
        buf_free(&out);
    }
}
END_TEST

/* Any text: the reader ends, stays in bounds (the sanitizers watch) and agrees with itself however it is asked. */
START_TEST(mutilated_texts_are_refused_or_read)
{
    static const char seed[] =
        "{\"ids\":[\"a\",\"b\\u00e9\\n\"],\"v\":[[1.5,-2e-3,0],[null,true,1e9]],\"m\":{\"k\":{}}}";
    static const char alphabet[] = "{}[]\",:0123456789.-+eE\\u tfn\x80\xc3";
    struct rng rng = {31337};
    for (int i = 0, n_rounds = suite_share(100000); i < n_rounds; i++) {
        char *text = mem_dup(seed, sizeof seed - 1); /* exactly as long as the text: overruns are seen */
        size_t n = rng_below(&rng, sizeof seed);
        ck_assert_ptr_nonnull(text);
        for (uint32_t m = rng_below(&rng, 4); m > 0; m--)
            text[rng_below(&rng, sizeof seed - 1)] = alphabet[rng_below(&rng, sizeof alphabet - 1)];
        char *exact = mem_dup(text, n > 0 ? n : 1);
        ck_assert_ptr_nonnull(exact);
        bool ok = is_json(str_of(exact, n));
        cJSON *tree = NULL;
        struct buf out = {0};
        bool ok_tree = json_tree(read_text(str_of(exact, n)), &tree) && json_finish(&reader);
        bool ok_sorted = json_sorted_text(read_text(str_of(exact, n)), &out) && json_finish(&reader);
        ck_assert_msg(ok == ok_tree && ok == ok_sorted, "%.*s", (int)n, exact);
        cJSON_Delete(tree);
        buf_free(&out);
        mem_free(exact);
        mem_free(text);
    }
}
END_TEST

static bool fail_after(void *ctx, size_t size)
{
    int *left = ctx;
    (void)size;
    return (*left)-- > 0;
}

START_TEST(short_memory_is_an_error)
{
    struct str text = STR("{\"b\":[1,\"\\n\",{\"d\":1,\"c\":2}],\"a\":\"x\"}");
    int n_failed = 0;
    for (int n = 0;; n++) {
        int left = n;
        struct buf out = {0};
        struct json_reader *r = read_text(text);
        mem_set_hook(fail_after, &left);
        bool ok = json_sorted_text(r, &out);
        mem_set_hook(NULL, NULL);
        buf_free(&out);
        if (ok) break;
        ck_assert_int_eq(r->err, ERR_NOMEM);
        n_failed++;
    }
    ck_assert_int_gt(n_failed, 1);
    arena_free(&arena);
}
END_TEST

TESTS(json, accepts_the_grammar, refuses_everything_else, depth_is_limited, messages_are_those_of_the_contract,
      paths_name_items_and_members, integers_are_told_from_doubles, strings_are_decoded, strings_survive_a_round_trip,
      one_special_byte_anywhere, integers_are_printed_as_by_printf, utf8_is_told_exactly,
      text_that_is_no_utf8_is_mended, strict_structs_refuse_unknown_members, trees_print_what_was_read,
      sorted_text_is_canonical, mutilated_texts_are_refused_or_read, short_memory_is_an_error)
