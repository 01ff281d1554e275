/* fuzz_regex.c - patterns of $regex: any of them on any text ends in bounded steps; a match contains what regex_needs
 * says; and where a pattern means the same in both, PCRE2 finds the same.
 *
 * INPUT  a byte n, n bytes of pattern, the text.
 */
#include "core/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "api/json.h"
#include "core/utf8.h"
#include "tests/fuzz/fuzz.h"

/* Is what this means certain to be the same in Rust's syntax and in Perl's? Quantifiers upon quantifiers are possessive or
 * lazy in Perl; sets can be nested in Rust; classes differ outside of ASCII. */
static bool is_common(struct str p)
{
    bool is_in_set = false;
    char last = '\0';
    for (size_t i = 0; i < p.n; i++) {
        char c = p.p[i], next = i + 1 < p.n ? p.p[i + 1] : '\0';
        if ((signed char)c < ' ') return false;
        bool is_quantifier = strchr("*+?{", c) != NULL, was_quantifier = strchr("*+?}", last) != NULL && last != '\0';
        if (c == '\\') {
            if (next == '\0' || strchr(is_in_set ? "dwsDWS.[]{}()*+?^$|-" : "dwsDWSbB.[]{}()*+?^$|", next) == NULL)
                return false;
            if ((next == 'b' || next == 'B') && i + 2 < p.n && strchr("{*+?", p.p[i + 2]) != NULL) return false;
            i++;
            last = 'x';
            continue;
        }
        if (is_in_set) {
            if (c == '[' || c == '&' || c == '~' || (c == '-' && next == '-')) return false;
            is_in_set = c != ']';
        } else if (c == '[') {
            if (next == ']' || (next == '^' && i + 2 < p.n && p.p[i + 2] == ']')) return false;
            is_in_set = true;
        } else if (is_quantifier) {
            if (was_quantifier) return false;
            if (last == '(' || last == '|' || last == '\0' || last == '^' || last == '$') return false;
            if (c == '{' && (next < '0' || next > '9')) return false;
        } else if (c == '(' && next == '?') {
            if (i + 2 >= p.n || p.p[i + 2] != ':') return false;
            i += 2;
        }
        last = is_in_set ? 'x' : c;
    }
    return true;
}

static bool is_ascii(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((signed char)s.p[i] < 0) return false;
    return true;
}

static void compare(struct str pattern, struct str text, bool matches)
{
    int reason;
    PCRE2_SIZE at;
    pcre2_compile_context *cc = pcre2_compile_context_create(NULL);
    must(cc != NULL && pcre2_set_newline(cc, PCRE2_NEWLINE_LF) == 0);
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)pattern.p, pattern.n, PCRE2_DOLLAR_ENDONLY | PCRE2_UTF, &reason, &at, cc);
    pcre2_compile_context_free(cc);
    if (code == NULL) return;
    pcre2_match_data *md = pcre2_match_data_create(1, NULL);
    pcre2_match_context *mc = pcre2_match_context_create(NULL);
    must(md != NULL && mc != NULL && pcre2_set_match_limit(mc, 100000) == 0 && pcre2_set_heap_limit(mc, 4096) == 0);
    int rc = pcre2_match(code, (PCRE2_SPTR)text.p, text.n, 0, 0, md, mc);
    if (rc >= 0 || rc == PCRE2_ERROR_NOMATCH)
        must_msg((rc >= 0) == matches, "pattern %.*s, text %.*s: PCRE2 says %d, we say %d", STR_ARG(pattern),
                 STR_ARG(text), rc, matches);
    pcre2_match_context_free(mc);
    pcre2_match_data_free(md);
    pcre2_code_free(code);
}

static bool is_satisfied(const struct regex_need *need, struct str text)
{
    switch (need->kind) {
    case REGEX_LITERAL:
        must(need->literal.n > 0);
        return str_contains(text, need->literal);
    case REGEX_ALL_OF:
        for (uint32_t i = 0; i < need->n_children; i++)
            if (!is_satisfied(need->children[i], text)) return false;
        return true;
    case REGEX_ONE_OF:
        for (uint32_t i = 0; i < need->n_children; i++)
            if (is_satisfied(need->children[i], text)) return true;
        return false;
    default:
        return true;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct input in = {p, n};
    struct regex *r;
    struct errmsg em = {{0}};
    bool matches = false;
    size_t n_pattern = input_u8(&in);
    struct str pattern = input_text(&in, n_pattern), text = input_text(&in, in.n);
    if (!utf8_is_valid(pattern) || !utf8_is_valid(text)) return 0; /* the JSON reader has refused them before */
    enum err e = regex_new(pattern, &r, &em);
    if (e != ERR_OK) {
        must(e == ERR_INVALID && em.text[0] != '\0');
        return 0;
    }
    e = regex_matches(r, text, &matches, &em);
    must(e == ERR_OK || e == ERR_INVALID);
    if (e == ERR_OK && matches) must(is_satisfied(regex_needs(r), text));
    if (e == ERR_OK && is_common(pattern) && is_ascii(pattern) && is_ascii(text)) compare(pattern, text, matches);
    regex_free(r);
    return 0;
}
