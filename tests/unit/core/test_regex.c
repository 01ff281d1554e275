/* test_regex.c - what core/regex.h accepts, refuses and matches.
 *
 * Both tables were recorded from upstream (chromadb 1.5.9: `get` with $regex over these texts), not worked out here.
 */
#include "core/regex.h"

#include "core/mem.h"
#include "tests/lib/suite.h"

#define TEXT(literal)                                                                                                  \
    {                                                                                                                  \
        (literal), sizeof(literal) - 1                                                                                 \
    }

static const struct str texts[] = {
    TEXT("a"),
    TEXT("aaaa"),
    TEXT("k"),
    TEXT("\342\204\252"),
    TEXT("\303\237"),
    TEXT("ab\015\012cd"),
    TEXT("\303\251"),
    TEXT("word two"),
    TEXT("\305\277"),
    TEXT("\316\243"),
    TEXT("\317\202"),
    TEXT(""),
    TEXT("Stra\303\237e in \346\235\261\344\272\254 und \303\211P\303\211E"),
    TEXT("line one\012line two\011tabbed"),
    TEXT("\360\237\231\202 emoji \360\237\231\202\360\237\231\202"),
    TEXT("foo.bar@example.com 2024-05-17"),
    TEXT("x\000y"),
    TEXT("100% sure_thing [a-z]* (x)"),
    TEXT("\314\200"),
    TEXT("a1_b2"),
};

static const struct {
    const char *pattern;
    uint32_t matches; /* bit i: texts[i] */
} matching[] = {
    {"", 0xFFFFF},
    {"^$", 0x00800},
    {".", 0xFF7FF},
    {".*", 0xFFFFF},
    {"^.$", 0x4075D},
    {"^.{2}$", 0x00000},
    {"a", 0xAB023},
    {"a{4}", 0x00002},
    {"a{5}", 0x00000},
    {"a{2,3}$", 0x00002},
    {"^a{2}{2}$", 0x00002},
    {"a**", 0xFFFFF},
    {"a+?", 0xAB023},
    {"(?U)^a+?$", 0x00003},
    {"(|a)", 0xFFFFF},
    {"()", 0xFFFFF},
    {"x\\z", 0x00000},
    {"\\Aword", 0x00080},
    {"\\Atwo", 0x00000},
    {"^line", 0x02000},
    {"(?m)^line two", 0x02000},
    {"(?m)e$", 0x02000},
    {"one$", 0x00000},
    {"(?m)one$", 0x02000},
    {"(?Rm)^cd$", 0x00020},
    {"(?Rm)b$", 0x00020},
    {"(?m)b$", 0x00000},
    {"(?R)b.", 0x8A000},
    {"b.", 0x8A020},
    {"(?s)b.", 0x8A020},
    {"(?s)one.line", 0x02000},
    {"one.line", 0x00000},
    {"one\\sline", 0x02000},
    {"(?i)k", 0x0000C},
    {"(?i)\\x{212a}", 0x0000C},
    {"(?i)s", 0x21100},
    {"(?i)\303\237", 0x01010},
    {"(?i)\317\203", 0x00600},
    {"(?i)\303\211P\303\211E", 0x01000},
    {"(?i)[^k]", 0xFF7F3},
    {"(?i)^[^k]$", 0x40751},
    {"(?i)[a-k]", 0xAF0AF},
    {"(?i)\\p{Lu}", 0xBF7FF},
    {"(?i)\\P{Lu}", 0xFF0A0},
    {"(?i)^\\P{Lu}$", 0x40000},
    {"\\p{Lu}", 0x01208},
    {"\\p{Ll}{3}", 0x2F082},
    {"\\pN", 0xA8000},
    {"\\p{Greek}", 0x00600},
    {"\\p{sc=Greek}", 0x00600},
    {"\\p{gc=Lu}", 0x01208},
    {"\\p{gc!=Lu}", 0xFF5F7},
    {"\\p{ L u }", 0x01208},
    {"\\p{Is_Greek}", 0x00600},
    {"\\p{Han}+", 0x01000},
    {"\\p{Emoji_Presentation}", 0x04000},
    {"\\p{Alphabetic}", 0xBF7FF},
    {"\\p{Cn}", 0x00000},
    {"\\p{Any}", 0xFF7FF},
    {"\\p{ASCII}", 0xBF0A7},
    {"\\P{ASCII}", 0x45758},
    {"\\p{Letter}", 0xBF7FF},
    {"\\p{White_Space}", 0x2F0A0},
    {"\\d", 0xA8000},
    {"\\d{4}-\\d{2}-\\d{2}", 0x08000},
    {"\\D", 0xFF7FF},
    {"^\\D$", 0x4075D},
    {"\\w+@\\w+\\.com", 0x08000},
    {"^\\w$", 0x4075D},
    {"^\\W$", 0x00000},
    {"\\s", 0x2F0A0},
    {"\\S", 0xFF7FF},
    {"\\bfox\\b", 0x00000},
    {"\\bword\\b", 0x00080},
    {"\\btwo", 0x02080},
    {"two\\B", 0x00000},
    {"\\B", 0xAF8A2},
    {"(?-u)\\B", 0xEFFFA},
    {"(?-u)\\b", 0xBF0A7},
    {"(?-u:\\b)\303\251", 0x00000},
    {"\\b{start}two", 0x02080},
    {"\\b{end}\\stwo", 0x02080},
    {"\\<two", 0x02080},
    {"word\\>", 0x00080},
    {"\\b{start-half}two", 0x02080},
    {"^\\b{end-half}$", 0x00800},
    {"[^a-z ]", 0xFF778},
    {"[]a]", 0xAB023},
    {"[^]a]", 0xFF7FC},
    {"[a-]", 0xAB023},
    {"[-a]", 0xAB023},
    {"[a-b-c]", 0xAB023},
    {"[a--]", 0xAB023},
    {"[\\w--a]", 0xFF7FC},
    {"^[\\w--a]$", 0x4075C},
    {"[a-z&&[^aeiou]]", 0xBF0A4},
    {"^[\\w&&\\P{L}]", 0x60000},
    {"[a-c~~b-d]", 0xAB0A3},
    {"[[:alpha:]]", 0xBF0A7},
    {"[[:^alpha:]]", 0xFF7F8},
    {"^[[:punct:]]", 0x00000},
    {"[:alpha:]", 0xAB023},
    {"[[:foo:]]", 0x0E080},
    {"[\\d\\-x]", 0xB8000},
    {"[\\x{41}-\\u005a]", 0x01000},
    {"[^\\x00-\\x7F]", 0x45758},
    {"(?x)[a b]", 0xAB023},
    {"(?x) w o r d \\ t w o # c", 0x00080},
    {"(?x)a {4}", 0x00002},
    {"a{ 2 , 4 }", 0x00002},
    {"\\x41B", 0x00000},
    {"\\u0041", 0x00000},
    {"\\U0001F642", 0x04000},
    {"\\x{1F642}", 0x04000},
    {"\\u{1f642}{2}", 0x04000},
    {"\360\237\231\202{2}", 0x04000},
    {"\\t", 0x02000},
    {"\\r\\n", 0x00020},
    {"\\x00", 0x10000},
    {"x\\x00y", 0x10000},
    {"\\.", 0x08000},
    {"\\[a-z\\]\\*", 0x20000},
    {"\\-\\&\\~\\#\\ ", 0x00000},
    {"\\%", 0x20000},
    {"x", 0x38000},
    {"dog", 0x00000},
    {"(?P<n>word)", 0x00080},
    {"(?<n.1[]>word)", 0x00080},
    {"(?:a|b){2}", 0x0A022},
    {"(a|b|c|d)+\\r", 0x00020},
    {"(a+)+$", 0x00003},
    {"((a*)*)*b", 0x8A020},
    {"(a*)*c", 0x08020},
    {"(?i:WORD) two", 0x00080},
    {"(?i)w(?-i)O", 0x00000},
    {"(?i)w(?-i)o", 0x02080},
    {"(?i-s:WORD).two", 0x00080},
    {"(a|(?i)b)C", 0x00000},
    {"a{100000}", 0x00000},
    {"(?:a{1000}){50}", 0x00000},
    {"(?-u)a", 0xAB023},
    {"(?-u)[a]", 0xAB023},
    {"[a&&b]{0}", 0xFFFFF},
    {"(?-u)\303\251", 0x00040},
    {"^*", 0xFFFFF},
    {"$+", 0xFFFFF},
    {"\\z*", 0xFFFFF},
    {"a{2}?\?", 0xFFFFF},
    {"(?:(?:a?){3}){4}$", 0xFFFFF},
    {"x|dog", 0x38000},
    {"|a", 0xFFFFF},
    {"a|", 0xFFFFF},
};

static const struct {
    const char *pattern, *message;
} refused[] = {
    {"*", "regex parse error:\n    *\n    ^\nerror: repetition operator missing expression"},
    {"+a", "regex parse error:\n    +a\n    ^\nerror: repetition operator missing expression"},
    {"a|*", "regex parse error:\n    a|*\n      ^\nerror: repetition operator missing expression"},
    {"(?i)*a", "regex parse error:\n    (?i)*a\n        ^\nerror: repetition operator missing expression"},
    {"(", "regex parse error:\n    (\n    ^\nerror: unclosed group"},
    {"(unclosed", "regex parse error:\n    (unclosed\n    ^\nerror: unclosed group"},
    {")", "regex parse error:\n    )\n    ^\nerror: unopened group"},
    {"a)", "regex parse error:\n    a)\n     ^\nerror: unopened group"},
    {"[unclosed", "regex parse error:\n    [unclosed\n    ^\nerror: unclosed character class"},
    {"[", "regex parse error:\n    [\n    ^\nerror: unclosed character class"},
    {"[]", "regex parse error:\n    []\n    ^^\nerror: unclosed character class"},
    {"[^]", "regex parse error:\n    [^]\n    ^^^\nerror: unclosed character class"},
    {"[a", "regex parse error:\n    [a\n    ^\nerror: unclosed character class"},
    {"[a-", "regex parse error:\n    [a-\n    ^\nerror: unclosed character class"},
    {"[z-a]",
     "regex parse error:\n    [z-a]\n     ^^^\nerror: invalid character class range, the start must be <= the end"},
    {"[\\d-z]", "regex parse error:\n    [\\d-z]\n     ^^\nerror: invalid range boundary, must be a literal"},
    {"[a-\\d]", "regex parse error:\n    [a-\\d]\n       ^^\nerror: invalid range boundary, must be a literal"},
    {"[a\\b]", "regex parse error:\n    [a\\b]\n      ^^\nerror: invalid escape sequence found in character class"},
    {"[\\A]", "regex parse error:\n    [\\A]\n     ^^\nerror: invalid escape sequence found in character class"},
    {"[a-&&b]",
     "regex parse error:\n    [a-&&b]\n     ^^^\nerror: invalid character class range, the start must be <= the end"},
    {"a{", "regex parse error:\n    a{\n     ^\nerror: unclosed counted repetition"},
    {"a{2", "regex parse error:\n    a{2\n     ^^\nerror: unclosed counted repetition"},
    {"a{,5}", "regex parse error:\n    a{,5}\n      ^\nerror: repetition quantifier expects a valid decimal"},
    {"a{2,1}",
     "regex parse error:\n    a{2,1}\n     ^^^^^\nerror: invalid repetition count range, the start must be <= the end"},
    {"a{99999999999}", "regex parse error:\n    a{99999999999}\n      ^^^^^^^^^^^\nerror: decimal literal invalid"},
    {"{", "regex parse error:\n    {\n    ^\nerror: repetition operator missing expression"},
    {"\\", "regex parse error:\n    \\\n    ^\nerror: incomplete escape sequence, reached end of pattern prematurely"},
    {"\\q", "regex parse error:\n    \\q\n    ^^\nerror: unrecognized escape sequence"},
    {"\\Z", "regex parse error:\n    \\Z\n    ^^\nerror: unrecognized escape sequence"},
    {"\\h", "regex parse error:\n    \\h\n    ^^\nerror: unrecognized escape sequence"},
    {"\\R", "regex parse error:\n    \\R\n    ^^\nerror: unrecognized escape sequence"},
    {"\\K", "regex parse error:\n    \\K\n    ^^\nerror: unrecognized escape sequence"},
    {"\\G", "regex parse error:\n    \\G\n    ^^\nerror: unrecognized escape sequence"},
    {"\\X", "regex parse error:\n    \\X\n    ^^\nerror: unrecognized escape sequence"},
    {"\\C", "regex parse error:\n    \\C\n    ^^\nerror: unrecognized escape sequence"},
    {"\\N", "regex parse error:\n    \\N\n    ^^\nerror: unrecognized escape sequence"},
    {"\\e", "regex parse error:\n    \\e\n    ^^\nerror: unrecognized escape sequence"},
    {"\\c", "regex parse error:\n    \\c\n    ^^\nerror: unrecognized escape sequence"},
    {"\\Q.\\E", "regex parse error:\n    \\Q.\\E\n    ^^\nerror: unrecognized escape sequence"},
    {"\\1", "regex parse error:\n    \\1\n    ^^\nerror: backreferences are not supported"},
    {"(a)\\1", "regex parse error:\n    (a)\\1\n       ^^\nerror: backreferences are not supported"},
    {"\\0", "regex parse error:\n    \\0\n    ^^\nerror: backreferences are not supported"},
    {"\\8", "regex parse error:\n    \\8\n    ^^\nerror: backreferences are not supported"},
    {"\\\303\251", "regex parse error:\n    \\\303\251\n    ^^\nerror: unrecognized escape sequence"},
    {"(?=x)", "regex parse error:\n    (?=x)\n    ^^^\nerror: look-around, including look-ahead and look-behind, is "
              "not supported"},
    {"(?!x)", "regex parse error:\n    (?!x)\n    ^^^\nerror: look-around, including look-ahead and look-behind, is "
              "not supported"},
    {"(?<=x)y", "regex parse error:\n    (?<=x)y\n    ^^^^\nerror: look-around, including look-ahead and look-behind, "
                "is not supported"},
    {"(?<!x)y", "regex parse error:\n    (?<!x)y\n    ^^^^\nerror: look-around, including look-ahead and look-behind, "
                "is not supported"},
    {"(?>a)", "regex parse error:\n    (?>a)\n      ^\nerror: unrecognized flag"},
    {"(?#c)quick", "regex parse error:\n    (?#c)quick\n      ^\nerror: unrecognized flag"},
    {"(?P=a)", "regex parse error:\n    (?P=a)\n      ^\nerror: unrecognized flag"},
    {"(?P>a)", "regex parse error:\n    (?P>a)\n      ^\nerror: unrecognized flag"},
    {"(?z)", "regex parse error:\n    (?z)\n      ^\nerror: unrecognized flag"},
    {"(?", "regex parse error:\n    (?\n    ^\nerror: unclosed group"},
    {"(?i", "regex parse error:\n    (?i\n       ^\nerror: expected flag but got end of regex"},
    {"(?-)a", "regex parse error:\n    (?-)a\n      ^\nerror: dangling flag negation operator"},
    {"(?i-)a", "regex parse error:\n    (?i-)a\n       ^\nerror: dangling flag negation operator"},
    {"(?)", "regex parse error:\n    (?)\n     ^\nerror: repetition operator missing expression"},
    {"(?:", "regex parse error:\n    (?:\n    ^\nerror: unclosed group"},
    {"(?<1a>x)", "regex parse error:\n    (?<1a>x)\n       ^\nerror: invalid capture group character"},
    {"(?P<>x)", "regex parse error:\n    (?P<>x)\n        ^\nerror: empty capture group name"},
    {"(?<a", "regex parse error:\n    (?<a\n        ^\nerror: unclosed capture group name"},
    {"\\xZZ", "regex parse error:\n    \\xZZ\n      ^\nerror: invalid hexadecimal digit"},
    {"\\x",
     "regex parse error:\n    \\x\n      ^\nerror: incomplete escape sequence, reached end of pattern prematurely"},
    {"\\x{}", "regex parse error:\n    \\x{}\n      ^^\nerror: hexadecimal literal empty"},
    {"\\x{110000}",
     "regex parse error:\n    \\x{110000}\n       ^^^^^^\nerror: hexadecimal literal is not a Unicode scalar value"},
    {"\\u{d800}",
     "regex parse error:\n    \\u{d800}\n       ^^^^\nerror: hexadecimal literal is not a Unicode scalar value"},
    {"\\u12",
     "regex parse error:\n    \\u12\n        ^\nerror: incomplete escape sequence, reached end of pattern prematurely"},
    {"\\p{Foo}", "regex parse error:\n    \\p{Foo}\n    ^^^^^^^\nerror: Unicode property not found"},
    {"\\p{^L}", "regex parse error:\n    \\p{^L}\n    ^^^^^^\nerror: Unicode property not found"},
    {"\\pX", "regex parse error:\n    \\pX\n    ^^^\nerror: Unicode property not found"},
    {"\\p{}", "regex parse error:\n    \\p{}\n    ^^^^\nerror: Unicode property not found"},
    {"\\p{L!=Lu}", "regex parse error:\n    \\p{L!=Lu}\n    ^^^^^^^^^\nerror: Unicode property not found"},
    {"\\p{gc=Foo}", "regex parse error:\n    \\p{gc=Foo}\n    ^^^^^^^^^^\nerror: Unicode property value not found"},
    {"\\p",
     "regex parse error:\n    \\p\n      ^\nerror: incomplete escape sequence, reached end of pattern prematurely"},
    {"\\p{Lu", "regex parse error:\n    \\p{Lu\n         ^\nerror: incomplete escape sequence, reached end of pattern "
               "prematurely"},
    {"\\b{foo}", "regex parse error:\n    \\b{foo}\n       ^^^\nerror: unrecognized special word boundary assertion, "
                 "valid choices are: start, end, start-half or end-half"},
    {"\\b{start", "regex parse error:\n    \\b{start\n      ^^^^^^\nerror: special word boundary assertion is either "
                  "unclosed or contains an invalid character"},
    {"\\b{", "regex parse error:\n    \\b{\n    ^^^\nerror: found either the beginning of a special word boundary or a "
             "bounded repetition on a \\b with an opening brace, but no closing brace"},
    {"(?-u)\\xff", "regex parse error:\n    (?-u)\\xff\n         ^^^^\nerror: pattern can match invalid UTF-8"},
    {"(?-u).", "regex parse error:\n    (?-u).\n         ^\nerror: pattern can match invalid UTF-8"},
    {"(?-u)\\W", "regex parse error:\n    (?-u)\\W\n         ^^\nerror: pattern can match invalid UTF-8"},
    {"(?-u)\\pL", "regex parse error:\n    (?-u)\\pL\n         ^^^\nerror: Unicode not allowed here"},
    {"(?-u)[^a]", "regex parse error:\n    (?-u)[^a]\n         ^^^^\nerror: pattern can match invalid UTF-8"},
    {"(?-u)[\303\251]", "regex parse error:\n    (?-u)[\303\251]\n          ^\nerror: Unicode not allowed here"},
    {"(?s-u:.)", "regex parse error:\n    (?s-u:.)\n          ^\nerror: pattern can match invalid UTF-8"},
    {"\\p{Foo}(", "regex parse error:\n    \\p{Foo}(\n           ^\nerror: unclosed group"},
    {"[a&&b]", "Byte pattern is not allowed"},
    {"[^\\w\\W]", "Byte pattern is not allowed"},
    {"[\\d--\\w]", "Byte pattern is not allowed"},
    {"\\P{any}", "Byte pattern is not allowed"},
    {"a|[a&&b]", "Byte pattern is not allowed"},
    {"(?-u)\\w", "Byte pattern is not allowed"},
    {"(?-u)[ab]", "Byte pattern is not allowed"},
    {"(?-u)(?i)k", "Byte pattern is not allowed"},
    {"(?-u)[a&&b]", "Byte pattern is not allowed"},
    {"[[:alpha:]", "regex parse error:\n    [[:alpha:]\n    ^\nerror: unclosed character class"},
    {"[a[b]", "regex parse error:\n    [a[b]\n    ^\nerror: unclosed character class"},
    {"a{1}{2", "regex parse error:\n    a{1}{2\n        ^^\nerror: unclosed counted repetition"},
};

static bool satisfies(const struct regex_need *need, struct str text)
{
    if (need->kind == REGEX_ANY) return true;
    if (need->kind == REGEX_LITERAL) return str_contains(text, need->literal);
    for (uint32_t i = 0; i < need->n_children; i++) {
        bool one = satisfies(need->children[i], text);
        if (one != (need->kind == REGEX_ALL_OF)) return one;
    }
    return need->kind == REGEX_ALL_OF;
}

/* The need tree as text: 'literal', ALL(...), ONE(...), ANY. */
static void write_need(struct buf *b, const struct regex_need *need)
{
    if (need->kind == REGEX_ANY) buf_lit(b, "ANY");
    if (need->kind == REGEX_LITERAL) buf_printf(b, "'" STR_FMT "'", STR_ARG(need->literal));
    if (need->kind == REGEX_ANY || need->kind == REGEX_LITERAL) return;
    buf_printf(b, "%s(", need->kind == REGEX_ALL_OF ? "ALL" : "ONE");
    for (uint32_t i = 0; i < need->n_children; i++) {
        if (i > 0) buf_lit(b, " ");
        write_need(b, need->children[i]);
    }
    buf_lit(b, ")");
}

START_TEST(matches_what_upstream_matches)
{
    for (size_t i = 0; i < sizeof matching / sizeof matching[0]; i++) {
        struct regex *r;
        struct errmsg em = {0};
        enum err e = regex_new(str_from_c(matching[i].pattern), &r, &em);
        ck_assert_msg(e == ERR_OK, "%s: %s", matching[i].pattern, em.text);
        for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++) {
            bool yes;
            ck_ok(regex_matches(r, texts[t], &yes, &em));
            ck_assert_msg(yes == (matching[i].matches >> t & 1), "%s on text %zu: %d", matching[i].pattern, t, yes);
            ck_assert_msg(!yes || satisfies(regex_needs(r), texts[t]), "%s: needs on text %zu", matching[i].pattern, t);
        }
        regex_free(r);
    }
}
END_TEST

START_TEST(refuses_what_upstream_refuses)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct regex *r = NULL;
        struct errmsg em = {0};
        ck_assert_msg(regex_new(str_from_c(refused[i].pattern), &r, &em) == ERR_INVALID, "%s", refused[i].pattern);
        ck_assert_str_eq(em.text, refused[i].message);
        ck_assert_ptr_null(r);
    }
}
END_TEST

START_TEST(nests_250_deep_and_no_deeper)
{
    static const char *const pairs[] = {"()", "[]"};
    for (int k = 0; k < 2; k++) {
        for (uint32_t depth = 249; depth <= 252; depth++) {
            struct buf b = {0};
            struct regex *r = NULL;
            struct errmsg em = {0};
            for (uint32_t i = 0; i < depth; i++) buf_char(&b, pairs[k][0]);
            buf_char(&b, 'a');
            for (uint32_t i = 0; i < depth; i++) buf_char(&b, pairs[k][1]);
            ck_assert_int_eq(regex_new(buf_view(&b), &r, &em), depth <= 250 ? ERR_OK : ERR_INVALID);
            ck_assert(depth <= 250 || strncmp(em.text, "regex parse error:", 18) == 0);
            regex_free(r);
            buf_free(&b);
        }
    }
}
END_TEST

START_TEST(refuses_what_is_too_big_or_not_text)
{
    struct regex *r = NULL;
    struct errmsg em = {0};
    ck_assert_int_eq(regex_new(STR("(?:a{1000}){1000}"), &r, &em), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(em.text, "size limit"));
    ck_assert_int_eq(regex_new(STR("a{4294967295}"), &r, &em), ERR_INVALID);
    ck_assert_int_eq(regex_new(STR("(?:(?:(?:a?){0}){4294967295}){4294967295}"), &r, &em), ERR_OK);
    regex_free(r);
    r = NULL;
    ck_assert_int_eq(regex_new(STR("a\xFF"), &r, &em), ERR_INVALID);
    ck_assert_int_eq(regex_new(STR("\xC3"), &r, &em), ERR_INVALID);
    struct buf b = {0};
    for (int i = 0; i < 200000; i++) buf_lit(&b, "word ");
    ck_assert_int_eq(regex_new(buf_view(&b), &r, &em), ERR_INVALID);
    for (int i = 0; i < 20000; i++) buf_lit(&b, "word ");
    ck_assert_int_eq(regex_new(buf_view(&b), &r, &em), ERR_INVALID);
    ck_assert_ptr_null(r);
    buf_free(&b);
}
END_TEST

START_TEST(needs_are_as_written)
{
    static const char *const cases[][2] = {
        {"quick", "'quick'"},
        {"ab+c", "ALL('ab' 'bc')"},
        {"colou?r|grey", "ONE('colour' 'color' 'grey')"},
        {"foo.*bar", "ALL('foo' 'bar')"},
        {"(abc|def)xyz", "ONE('abcxyz' 'defxyz')"},
        {"a{3,}b", "ALL('aaa' 'aaab')"},
        {"\\w+@\\w+\\.com", "ALL('@' '.com')"},
        {"(?i)ab", "ONE('AB' 'Ab' 'aB' 'ab')"},
        {"(?i)k", "ONE('K' 'k' '\xE2\x84\xAA')"},
        {"foo|.*", "ANY"},
        {"x*", "ANY"},
        {"(foo)?", "ANY"},
        {"(foo)+", "'foo'"},
        {"^foo$", "'foo'"},
        {"(foo.|bar)(baz)*", "ONE('foo' 'bar')"},
        {"[0-9]{4}-", "'-'"},
        {"[ab]c", "ONE('ac' 'bc')"},
        {"", "ANY"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct regex *r;
        struct buf b = {0};
        ck_ok(regex_new(str_from_c(cases[i][0]), &r, NULL));
        write_need(&b, regex_needs(r));
        buf_char(&b, '\0');
        ck_assert_msg(strcmp(b.p, cases[i][1]) == 0, "%s: %s", cases[i][0], b.p);
        buf_free(&b);
        regex_free(r);
    }
}
END_TEST

struct countdown {
    long left;
};

static bool fail_at_zero(void *ctx, size_t size)
{
    struct countdown *c = ctx;
    (void)size;
    return c->left-- != 0;
}

/* Each allocation fails once; the answer is then ERR_NOMEM, and the next try is right. */
START_TEST(survives_every_failed_allocation)
{
    static const char pattern[] =
        "(?i)^(\\w+@[\\p{Greek}--\\p{Lu}]+|f\xC3\xA9)\\b{2}(?<name>x{3,9}|[^\\W\\d])[a-f&&b-z]$";
    struct countdown c;
    mem_set_hook(fail_at_zero, &c);
    long at = 0;
    for (enum err e = ERR_NOMEM; e != ERR_OK; at++) {
        struct regex *r = NULL;
        c.left = at;
        e = regex_new(str_of(pattern, sizeof pattern - 1), &r, NULL);
        ck_assert(e == ERR_OK ? r != NULL : e == ERR_NOMEM && r == NULL);
        regex_free(r);
    }
    ck_assert_int_gt(at, 10);
    c.left = -1;
    struct regex *r;
    bool yes;
    ck_ok(regex_new(str_of(pattern, sizeof pattern - 1), &r, NULL));
    at = 0;
    for (enum err e = ERR_NOMEM; e != ERR_OK; at++) {
        c.left = at;
        e = regex_matches(r, STR("F\xC3\x89xxxxb"), &yes, NULL);
        ck_assert(e == ERR_OK || e == ERR_NOMEM);
    }
    ck_assert_int_gt(at, 3);
    mem_set_hook(NULL, NULL);
    regex_free(r);
}
END_TEST

TESTS(regex, matches_what_upstream_matches, refuses_what_upstream_refuses, nests_250_deep_and_no_deeper,
      refuses_what_is_too_big_or_not_text, needs_are_as_written, survives_every_failed_allocation)
