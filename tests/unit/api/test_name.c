/* test_name.c - names of databases and collections: every row of the contract's table, and the length in code points. */
#include "tests/lib/suite.h"

#include <stdio.h>

#include "api/name.h"

static struct arena arena;

static void check(struct str name, const char *message)
{
    struct str said = {NULL, 0};
    bool ok = name_check(name, &arena, &said);
    ck_assert_msg(ok == (message == NULL), "%.*s: %.*s", STR_ARG(name), ok ? 0 : (int)said.n, said.p);
    if (!ok) ck_assert_msg(str_eq(said, str_from_c(message)), "%.*s", STR_ARG(said));
    arena_free(&arena);
}

#define CHARACTERS                                                                                                     \
    "Expected a name containing 3-512 characters from [a-zA-Z0-9._-], starting and ending with a character in "        \
    "[a-zA-Z0-9]. Got: "

START_TEST(good_names)
{
    static const char *const good[] = {"abc",      "a.b-c_d",   "ABC",
                                       "123",      "a-b",       "topo+db1",
                                       "1.2.3",    "1.2.3.4.5", "a5ef6948-c3c8-4b82-90cf-e2faeb008ca6",
                                       "999.1.1.1"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) check(str_from_c(good[i]), NULL);
    char longest[513];
    memset(longest, 'a', sizeof longest);
    check(str_of(longest, 512), NULL);
}
END_TEST

START_TEST(bad_names_and_what_is_said)
{
    check(STR(""), CHARACTERS);
    check(STR("ab"), CHARACTERS "ab");
    check(STR("a b c"), CHARACTERS "a b c");
    check(STR("_abc"), CHARACTERS "_abc");
    check(STR("abc."), CHARACTERS "abc.");
    check(STR("abc\n"), CHARACTERS "abc\n");
    check(STR("\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e"), CHARACTERS "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e");
    check(STR("a..b"), "Expected a name that does not contains two consecutive periods (..). Got a..b");
    check(STR("1.2.3.4"), "Expected a name that is not a valid ip address. Got 1.2.3.4");
    check(STR("a+b+c"), "Expected a name to contain at most one topology:  Got two `+` characters.");
    check(STR("to+db1"), CHARACTERS "to");
    check(STR("topo+x"), CHARACTERS "x");
    check(STR("+abc"), CHARACTERS);
    check(STR("abc+"), CHARACTERS);
    check(STR("1.2.3.4+abc"), "Expected a name that is not a valid ip address. Got 1.2.3.4");
}
END_TEST

START_TEST(length_is_limited)
{
    char text[700], want[900];
    memset(text, 'a', sizeof text);
    int n = snprintf(want, sizeof want, "%s%.513s", CHARACTERS, text);
    ck_assert_int_lt(n, (int)sizeof want);
    check(str_of(text, 513), want);
    text[300] = '+';
    check(str_of(text, 513), "Expected a name containing 3-512 characters. Got: 513");
    check(str_of(text, 512), NULL);
}
END_TEST

START_TEST(length_counts_code_points)
{
    ck_assert_uint_eq(name_length(STR("")), 0);
    ck_assert_uint_eq(name_length(STR("abc")), 3);
    ck_assert_uint_eq(name_length(STR("\xc3\xa9\xc3\xa9")), 2);
    ck_assert_uint_eq(name_length(STR("\xf0\x9f\xa6\x8a\xe2\x82\xac"
                                      "a")),
                      3);
}
END_TEST

TESTS(name, good_names, bad_names_and_what_is_said, length_is_limited, length_counts_code_points)
