/* test_target.c - which targets and versions are taken, and how a target is cut. What upstream answers to each was
 * asked of it. */
#include "tests/lib/suite.h"

#include "server/target.h"

START_TEST(versions)
{
    ck_assert(is_http_version(STR("HTTP/1.1")) && is_http_version(STR("HTTP/1.0")));
    static const char *const others[] = {"",         "HTTP/1",    "HTTP/1.2",  "HTTP/1.10", "HTTP/2.0",
                                         "http/1.1", "HTTPS/1.1", "HTTP/1.1 ", "HTTP/0.9",  "HTTP/1,1"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        ck_assert_msg(!is_http_version(str_from_c(others[i])), "%s", others[i]);
}
END_TEST

START_TEST(targets_are_cut)
{
    static const struct {
        const char *target, *path, *query;
    } good[] = {{"/", "/", ""},
                {"/a/b", "/a/b", ""},
                {"/a?x=1", "/a", "x=1"},
                {"/a?", "/a", ""},
                {"/a?b?c", "/a", "b?c"},
                {"/a#f", "/a", ""},
                {"/a?q#f?g", "/a", "q"},
                {"/#", "/", ""},
                {"//a", "//a", ""},
                {"/\xc3\xa9?\xc3\xa9", "/\xc3\xa9", "\xc3\xa9"},
                {"/a{b}|^\"\\", "/a{b}|^\"\\", ""},
                {"/a?`{|}", "/a", "`{|}"},
                {"*", "*", ""},
                {"host:80", "host:80", ""},
                {"http://h/a?q", "/a", "q"},
                {"HTTP://h:1/a", "/a", ""},
                {"https://u@h/a", "/a", ""},
                {"http://[::1]:80/a", "/a", ""},
                {"http://h", "/", ""},
                {"http://h?q", "/", "q"},
                {"http://h#f", "/", ""}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct str path, query;
        ck_assert_msg(split_target(str_from_c(good[i].target), &path, &query), "%s", good[i].target);
        ck_assert_msg(str_eq(path, str_from_c(good[i].path)), "%s: %.*s", good[i].target, STR_ARG(path));
        ck_assert_msg(str_eq(query, str_from_c(good[i].query)), "%s: %.*s", good[i].target, STR_ARG(query));
    }
}
END_TEST

START_TEST(malformed_targets)
{
    static const char *const bad[] = {"",
                                      "/a b",
                                      "/a\x01",
                                      "/a\x7f",
                                      "/\xc3",
                                      "/a<b",
                                      "/a>b",
                                      "/a`b",
                                      "/a?\"",
                                      "/a?b c",
                                      "/a?<",
                                      "a/b",
                                      "?x",
                                      "#",
                                      "*/x",
                                      "http://",
                                      "http:///x",
                                      "http:/a",
                                      "h h",
                                      "h?x",
                                      "http://h h/",
                                      "http://h%41/",
                                      "http://h/a b",
                                      "\xc3\xa9:80",
                                      "http://h\xc3\xa9/a",
                                      "/\xed\xa0\x80",
                                      "/\xc0\x80",
                                      "/a#\xff",
                                      "\xe9",
                                      "/a?\xe9"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct str path = STR("kept"), query = STR("kept too");
        bool is_good = split_target(str_from_c(bad[i]), &path, &query);
        ck_assert_msg(!is_good, "%s", bad[i]);
        ck_assert(str_eq(path, STR("kept")) && str_eq(query, STR("kept too")));
    }
}
END_TEST

/* Every byte, where upstream takes it in a path and in a query. */
START_TEST(every_byte)
{
    for (unsigned b = 0; b < 256; b++) {
        char in_path[] = {'/', 'x', (char)b, 'y'}, in_query[] = {'/', '?', (char)b, 'y'};
        struct str path, query;
        bool is_plain = b > 0x20 && b < 0x7f && b != '<' && b != '>';
        ck_assert_msg(split_target(str_of(in_path, 4), &path, &query) == (is_plain && b != '`'), "path %02x", b);
        ck_assert_msg(split_target(str_of(in_query, 4), &path, &query) == (is_plain && b != '"'), "query %02x", b);
    }
}
END_TEST

TESTS(target, versions, targets_are_cut, malformed_targets, every_byte)
