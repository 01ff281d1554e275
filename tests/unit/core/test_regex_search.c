/* test_regex_search.c - the automaton against a model, hostile patterns, garbage, threads.
 *
 * The model follows the parser's tree with sets of positions, one bit a character of a short text; it shares the parser
 * and the sets with the program, not the compiler, the automaton or the needs.
 */
#include "core/regex.h"

#include <pthread.h>
#include <stdio.h>

#include "core/mem.h"
#include "core/regex_internal.h"
#include "core/utf8.h"
#include "tests/lib/suite.h"

enum { TEXT_MAX = 24 };

struct model_text {
    uint32_t cp[TEXT_MAX];
    uint32_t n;
    char utf8[TEXT_MAX * 4];
    size_t bytes;
    struct rx_probe *probe;
    const struct rx_prop *word;
};

static bool model_word(const struct model_text *t, int64_t i, bool ascii)
{
    if (i < 0 || i >= t->n || (ascii && t->cp[i] >= 128)) return false;
    return rx_prop_has(t->word, t->cp[i], t->probe);
}

static bool model_holds(const struct model_text *t, uint32_t what, uint32_t i)
{
    bool ascii = what >= RX_ASSERT_ASCII;
    bool left = model_word(t, (int64_t)i - 1, ascii), right = model_word(t, i, ascii);
    uint32_t before = i > 0 ? t->cp[i - 1] : '\n', after = i < t->n ? t->cp[i] : '\n';
    switch (what % RX_ASSERT_ASCII) {
    case RX_TEXT_START:
        return i == 0;
    case RX_TEXT_END:
        return i == t->n;
    case RX_LINE_START:
        return before == '\n';
    case RX_LINE_END:
        return after == '\n';
    case RX_CRLF_START:
        return before == '\n' || (before == '\r' && (after != '\n' || i == t->n));
    case RX_CRLF_END:
        return i == t->n || after == '\r' || (after == '\n' && before != '\r') || (i == 0 && after == '\n');
    case RX_WORD_BOUND:
        return left != right;
    case RX_WORD_INSIDE:
        return left == right;
    case RX_WORD_START:
        return !left && right;
    case RX_WORD_END:
        return left && !right;
    case RX_WORD_START_HALF:
        return !left;
    default:
        return !right;
    }
}

/* Where matches of `node` that begin at one of `from` end. */
static uint32_t model_ends(const struct rx_node *node, const struct model_text *t, uint32_t from)
{
    uint32_t to = 0;
    switch (node->kind) {
    case RX_EMPTY:
    case RX_FLAGS:
        return from;
    case RX_CHAR:
    case RX_CLASS:
        for (uint32_t i = 0; i < t->n; i++) {
            bool has = node->kind == RX_CHAR ? t->cp[i] == node->cp : rx_set_has(node->cls->set, t->cp[i], t->probe);
            if ((from >> i & 1) && has) to |= UINT32_C(2) << i;
        }
        return to;
    case RX_ASSERT:
        for (uint32_t i = 0; i <= t->n; i++) {
            if ((from >> i & 1) && model_holds(t, node->cp, i)) to |= UINT32_C(1) << i;
        }
        return to;
    case RX_CONCAT:
        for (uint32_t i = 0; i < node->n_kids; i++) from = model_ends(node->kids[i], t, from);
        return from;
    case RX_ALT:
        for (uint32_t i = 0; i < node->n_kids; i++) to |= model_ends(node->kids[i], t, from);
        return to;
    case RX_REPEAT:
        for (uint32_t i = 0; i < node->min; i++) from = model_ends(node->kids[0], t, from);
        to = from;
        for (uint32_t i = node->min; i < node->max; i++) {
            from = model_ends(node->kids[0], t, from);
            if ((from & ~to) == 0) break;
            to |= from;
        }
        return to;
    }
    ck_abort_msg("unknown node");
    return 0;
}

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

/* ------------------------------------------------------------------------------------------------ random patterns */
#define PICK(rng, list) ((list)[rng_below((rng), sizeof(list) / sizeof(list)[0])])

static const char *const letters[] = {
    "a",   "a",   "b",       "b", "c", "A", "k", "\xE2\x84\xAA", "1", "_", " ", "\xC3\xA9", "\xC3\x89", "\xE6\x9D\xB1",
    "\\n", "\\r", "\xCC\x80"};
static const char *const sets[] = {
    ".",           "\\w",         "\\W",  "\\d",  "\\D",     "\\s",         "\\S",      "[ab]",
    "[^a]",        "[a-c1]",      "\\pL", "\\PL", "\\p{Lu}", "[[:alpha:]]", "[\\w--a]", "[^\\w\xC3\xA9]",
    "[a-k&&[^b]]", "[\\w~~[a-z]]"};
static const char *const asserts[] = {"^",
                                      "$",
                                      "\\A",
                                      "\\z",
                                      "\\b",
                                      "\\B",
                                      "\\b{start}",
                                      "\\b{end}",
                                      "\\b{start-half}",
                                      "\\b{end-half}",
                                      "(?-u:\\b)",
                                      "(?-u:\\B)",
                                      "(?m:^)",
                                      "(?m:$)",
                                      "(?mR:^)",
                                      "(?mR:$)"};
static const char *const repeats[] = {"*", "+", "?", "*?", "{2}", "{1,2}", "{0,3}", "{2,}", "{0}", "{3,5}"};
static const char *const groups[] = {"(", "(?:", "(?i:", "(?s:", "(?m:", "(?x:"};

static void random_pattern(struct rng *r, struct buf *b, int depth)
{
    uint32_t n = rng_below(r, 4) + (depth == 0);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t kind = rng_below(r, 20);
        if (kind < 9) {
            buf_str(b, str_from_c(PICK(r, letters)));
        } else if (kind < 13) {
            buf_str(b, str_from_c(PICK(r, sets)));
        } else if (kind < 15) {
            buf_str(b, str_from_c(PICK(r, asserts)));
        } else if (kind < 16) {
            buf_str(b, str_from_c("|"));
            continue;
        } else if (depth < 3) {
            buf_str(b, str_from_c(PICK(r, groups)));
            random_pattern(r, b, depth + 1);
            buf_char(b, ')');
        } else {
            buf_char(b, 'b');
        }
        while (rng_below(r, 4) == 0) buf_str(b, str_from_c(PICK(r, repeats)));
    }
}

static void random_text(struct rng *r, struct model_text *t)
{
    static const uint32_t from[] = {'a', 'a',  'b',  'b',    'c',  'A',  'k',   0x212A, '1',    '_',
                                    ' ', 0xE9, 0xC9, 0x6771, '\n', '\r', 0x300, 0,      0x1F642};
    t->n = rng_below(r, rng_below(r, 4) == 0 ? TEXT_MAX : 7);
    t->bytes = 0;
    uint32_t few = 1 + rng_below(r, sizeof from / sizeof from[0]);
    for (uint32_t i = 0; i < t->n; i++) {
        t->cp[i] = from[rng_below(r, few)];
        t->bytes += utf8_encode(t->cp[i], t->utf8 + t->bytes);
    }
}

START_TEST(agrees_with_the_model)
{
    enum { SEED = 20261124, PATTERNS = 3000, TEXTS = 25 };
    struct rng rng = {SEED};
    uint32_t n_matches = 0;
    for (int i = 0; i < PATTERNS; i++) {
        struct buf b = {0};
        random_pattern(&rng, &b, 0);
        struct arena a = {0};
        struct rx_props props = {0};
        struct rx_node *tree;
        struct errmsg em = {0};
        ck_assert(rx_probe_init(&props.probe));
        struct rx_parser parser = {.pattern = buf_view(&b), .flags = RX_U, .a = &a, .props = &props, .em = &em};
        enum err e = rx_parse(&parser, &tree);
        struct regex *r = NULL;
        ck_assert_int_eq(regex_new(buf_view(&b), &r, NULL), e); /* refused: starts with a repetition, for example */
        struct model_text t = {.probe = &props.probe};
        if (e == ERR_OK) ck_ok(rx_prop_word(&props, &a, &t.word));
        for (int k = 0; k < TEXTS && e == ERR_OK; k++) {
            random_text(&rng, &t);
            bool yes, expected = model_ends(tree, &t, (UINT32_C(2) << t.n) - 1) != 0;
            struct str text = str_of(t.utf8, t.bytes);
            ck_ok(regex_matches(r, text, &yes, NULL));
            ck_assert_msg(yes == expected, "seed %d, pattern %d: " STR_FMT ", text " STR_FMT ": %d", SEED, i,
                          STR_ARG(buf_view(&b)), STR_ARG(text), yes);
            ck_assert_msg(!yes || satisfies(regex_needs(r), text),
                          "seed %d, pattern %d: " STR_FMT ": needs of " STR_FMT, SEED, i, STR_ARG(buf_view(&b)),
                          STR_ARG(text));
            n_matches += yes;
        }
        regex_free(r);
        rx_props_free(&props);
        rx_probe_deinit(&props.probe);
        arena_free(&a);
        buf_free(&b);
    }
    ck_assert_uint_gt(n_matches, PATTERNS); /* neither always nor never */
    ck_assert_uint_lt(n_matches, PATTERNS * TEXTS - PATTERNS);
}
END_TEST

/* Patterns that make a backtracking engine take exponential or cubic time. Bounded here by RX_STEPS_MAX, which would be
 * an error: so success says that few steps were taken, on any machine. They end in classes, not in a letter, because a
 * missing letter is noticed before the search. */
START_TEST(hostile_patterns_end)
{
    static const struct {
        const char *pattern;
        bool on_a, on_a_end; /* on 20000 times a; on the same and "!b" */
    } cases[] = {
        {"(a+)+$", true, false},
        {"^(a+)+$", true, false},
        {"(a*)*[bc]", false, true},
        {"((a*)*)*[cd]", false, false},
        {"(a|a)*[cd]", false, false},
        {"(a|aa)+$", true, false},
        {"(.*){1,100}[xy]", false, false},
        {"(.*)(.*)(.*)(.*)(.*)[^a][cd]", false, false},
        {"(?:a?){500}a{500}[cd]", false, false},
        {"a*a*a*a*a*a*a*a*a*a*[^a!][cd]", false, false},
        {"(\\w*\\s*)*[@%]", false, false},
        {"a{1000}[bc]", false, false},
        {"[^b]{800}b", false, true},
        {"a{100000}", false, false},
    };
    enum { N = 20000 };
    struct buf plain = {0}, ended = {0};
    for (int i = 0; i < N; i++) buf_char(&plain, 'a');
    buf_str(&ended, buf_view(&plain));
    buf_lit(&ended, "!b");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct regex *r;
        struct errmsg em = {0};
        bool yes;
        ck_ok(regex_new(str_from_c(cases[i].pattern), &r, &em));
        ck_assert_msg(regex_matches(r, buf_view(&plain), &yes, &em) == ERR_OK, "%s: %s", cases[i].pattern, em.text);
        ck_assert_msg(yes == cases[i].on_a, "%s", cases[i].pattern);
        ck_assert_msg(regex_matches(r, buf_view(&ended), &yes, &em) == ERR_OK, "%s: %s", cases[i].pattern, em.text);
        ck_assert_msg(yes == cases[i].on_a_end, "%s and more", cases[i].pattern);
        regex_free(r);
    }
    buf_free(&plain);
    buf_free(&ended);
}
END_TEST

/* More states than are remembered at once: what was forgotten is found again. Two b that are 14 apart need 2^14. */
START_TEST(forgets_and_goes_on)
{
    enum { SEED = 7, APART = 14, N = 200000 };
    struct rng rng = {SEED};
    struct buf b = {0};
    for (int i = 0; i < N; i++) buf_char(&b, "ab"[rng_below(&rng, 2)]);
    for (int round = 0; round < 2; round++) { /* the second round adds characters above ASCII */
        struct regex *r;
        bool yes;
        ck_ok(regex_new(STR("b[ab\xC3\xA9]{13}b[ab\xC3\xA9]{13}c"), &r, NULL));
        ck_ok(regex_matches(r, buf_view(&b), &yes, NULL));
        ck_assert(!yes);
        buf_lit(&b, "baaaaaaaaaaaaabaaaaaaaaaaaa\xC3\xA9"
                    "c");
        ck_ok(regex_matches(r, buf_view(&b), &yes, NULL));
        ck_assert(yes);
        b.n -= 1;
        regex_free(r);
    }
    buf_free(&b);
}
END_TEST

START_TEST(too_many_steps_are_an_error)
{
    /* every position starts a thread that lives to the end, and no two states are the same: n * n / 2 steps */
    enum { N = 5000 };
    struct arena a = {0};
    struct rx_props props = {0};
    struct rx_program prog;
    struct rx_node *tree;
    struct errmsg em = {0};
    struct buf b = {0};
    bool yes = true;
    for (int i = 0; i < N; i++) buf_char(&b, 'a');
    ck_assert(rx_probe_init(&props.probe));
    struct rx_parser parser = {.pattern = STR("a{10000}"), .flags = RX_U, .a = &a, .props = &props, .em = &em};
    ck_ok(rx_parse(&parser, &tree));
    ck_ok(rx_compile(tree, &a, &props, &prog, &em));
    ck_assert_uint_eq(prog.steps_max, RX_STEPS_MAX);
    for (int round = 0; round < 2; round++) {
        prog.steps_max = round == 0 ? N * N : N;
        struct rx_matcher *m = rx_matcher_new(&prog);
        ck_assert_ptr_nonnull(m);
        ck_assert_int_eq(rx_search(m, buf_view(&b), &yes, &em), round == 0 ? ERR_OK : ERR_INVALID);
        ck_assert(round == 0 ? !yes : strstr(em.text, "steps") != NULL);
        ck_ok(rx_search(m, STR("aaa"), &yes, &em)); /* and the matcher is still good */
        ck_assert(!yes);
        rx_matcher_free(m);
    }
    rx_props_free(&props);
    rx_probe_deinit(&props.probe);
    arena_free(&a);
    buf_free(&b);
}
END_TEST

/* Any bytes as pattern and as text: an answer or a refusal, no crash. Mostly characters that mean something. */
START_TEST(garbage_is_answered)
{
    enum { SEED = 99, ROUNDS = 20000 };
    static const char alphabet[] = "()[]{}|*+?.^$\\-&~,:<>=!#PpxuUdwsbBAzimsRL aab01_\n\xC3\xA9\xFF";
    struct rng rng = {SEED};
    uint32_t n_accepted = 0;
    for (int i = 0; i < ROUNDS; i++) {
        char pattern[40];
        size_t n = rng_below(&rng, rng_below(&rng, 2) == 0 ? 6 : sizeof pattern);
        for (size_t k = 0; k < n; k++) pattern[k] = alphabet[rng_below(&rng, sizeof alphabet - 1)];
        struct regex *r;
        struct errmsg em = {0};
        enum err e = regex_new(str_of(pattern, n), &r, &em);
        if (e != ERR_OK) {
            ck_assert_int_eq(e, ERR_INVALID);
            ck_assert_msg(strncmp(em.text, "regex parse error:", 18) == 0 ||
                              strcmp(em.text, "Byte pattern is not allowed") == 0,
                          "%s", em.text);
            continue;
        }
        n_accepted++;
        bool yes;
        ck_ok(regex_matches(r, str_of(pattern, n), &yes, NULL));
        ck_assert(!yes || satisfies(regex_needs(r), str_of(pattern, n)));
        ck_ok(regex_matches(r, STR("a\xFF\xC3\xE6\x9D"), &yes, NULL)); /* damaged text */
        ck_ok(regex_matches(r, STR(""), &yes, NULL));
        regex_free(r);
    }
    ck_assert_uint_gt(n_accepted, ROUNDS / 20);
}
END_TEST

/* ------------------------------------------------------------------------------------------------ threads */
struct shared {
    const struct regex *r;
    uint64_t seed;
    bool failed;
};

static void *search_many(void *arg)
{
    struct shared *s = arg;
    struct rng rng = {s->seed};
    for (int i = 0; i < 2000 && !s->failed; i++) {
        char text[64];
        uint32_t n = rng_below(&rng, 20);
        bool yes, expected = rng_below(&rng, 2) == 0;
        for (uint32_t k = 0; k < n; k++) text[k] = "ab 1"[rng_below(&rng, 4)];
        memcpy(text + n, expected ? "x\xC3\xA9\xC3\xA9y" : "x\xC3\xA9 yy", 6);
        s->failed = regex_matches(s->r, str_of(text, n + 6), &yes, NULL) != ERR_OK || yes != expected;
    }
    return NULL;
}

START_TEST(threads_share_a_regex)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    struct shared shared[THREADS];
    struct regex *r;
    ck_ok(regex_new(STR("\\bx|x\\w\\w?\\p{L}y"), &r, NULL));
    regex_free(r);
    ck_ok(regex_new(STR("x\\w{1,2}\\p{Ll}"), &r, NULL));
    for (int i = 0; i < THREADS; i++) {
        shared[i] = (struct shared){.r = r, .seed = (uint64_t)i + 1};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, search_many, &shared[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert_msg(!shared[i].failed, "thread %d", i);
    }
    regex_free(r);
}
END_TEST

/* ------------------------------------------------------------------------------------------------ tables */
START_TEST(folding_goes_in_circles)
{
    uint32_t n = 0;
    for (uint32_t c = rx_fold_first_from(0); c <= UTF8_CP_MAX; c = rx_fold_first_from(c + 1), n++) {
        uint32_t e = rx_fold_next(c), turns = 1;
        ck_assert_uint_ne(e, c);
        for (; e != c; e = rx_fold_next(e)) ck_assert_uint_lt(turns++, 5);
    }
    ck_assert_uint_eq(n, 2878); /* members of orbits in CaseFolding-15.0.0.txt */
    ck_assert_uint_eq(rx_fold_next('k'), 0x212A);
    ck_assert_uint_eq(rx_fold_next(0x212A), 'K');
    ck_assert_uint_eq(rx_fold_next('1'), '1');
    ck_assert_uint_eq(rx_fold_next(0x1E9E), 0xDF);
}
END_TEST

START_TEST(utf8_goes_both_ways)
{
    for (uint32_t c = 0; c <= UTF8_CP_MAX; c += c < 0x800 ? 1 : 37) {
        char utf8[4];
        uint32_t back;
        if (c >= 0xD800 && c <= 0xDFFF) continue;
        size_t n = utf8_encode(c, utf8);
        ck_assert_uint_eq(utf8_decode(utf8, n, &back), n);
        ck_assert_uint_eq(back, c);
        ck_assert(utf8_is_valid(str_of(utf8, n)));
        ck_assert(n == 1 || !utf8_is_valid(str_of(utf8, n - 1)));
    }
    ck_assert(!utf8_is_valid(STR("\xC0\x80")) && !utf8_is_valid(STR("\xED\xA0\x80")) &&
              !utf8_is_valid(STR("\xF4\x90\x80\x80")));
    ck_assert(!utf8_is_valid(STR("\xE0\x80\x80")) && !utf8_is_valid(STR("\xF0\x80\x80\x80")) && utf8_is_valid(STR("")));
}
END_TEST

TESTS(regex_search, agrees_with_the_model, hostile_patterns_end, forgets_and_goes_on, too_many_steps_are_an_error,
      garbage_is_answered, threads_share_a_regex, folding_goes_in_circles, utf8_goes_both_ways)
