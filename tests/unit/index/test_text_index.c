/* test_text_index.c - what the trigram index leaves holds every row that matches, and no row that lacks a trigram. */
#include "index/text_index_internal.h"
#include "tests/unit/index/random_rows.h"
#include "tests/unit/index/section.h"

struct corpus {
    struct arena arena;
    uint32_t n;
    struct str *texts; /* p NULL: none */
};

static void corpus_init(struct corpus *c, struct rng *r, uint32_t n, uint32_t pieces)
{
    *c = (struct corpus){.n = n};
    c->texts = arena_array(&c->arena, n, sizeof *c->texts);
    for (uint32_t i = 0; i < n; i++)
        if (rng_below(r, 6) != 0) c->texts[i] = random_text(r, &c->arena, rng_below(r, pieces));
}

static struct bytes build(struct section *s, const struct corpus *c)
{
    struct text_index_builder *b;
    section_begin(s);
    must_ok(text_index_builder_new(&b, s->vfs, "section", NULL));
    for (uint32_t i = 0; i < c->n; i++)
        if (c->texts[i].p != NULL) must_ok(text_index_builder_add(b, i, c->texts[i], NULL));
    must_ok(text_index_builder_finish(b, c->n, &s->sink, NULL));
    text_index_builder_free(b);
    return section_end(s);
}

/* Some rows of interest; narrowed rows must be among them. */
static void check_needle(const struct text_index *t, const struct corpus *c, struct str needle, struct rng *r)
{
    struct arena a = {0};
    struct bitset rows, before;
    must(bitset_init(&rows, &a, c->n) && bitset_init(&before, &a, c->n));
    for (uint32_t i = 0; i < c->n; i++)
        if (c->texts[i].p != NULL && rng_below(r, 4) != 0) bitset_add(&before, i);
    memcpy(rows.words, before.words, bitset_words(c->n) * 8);
    must_ok(text_index_narrow(t, needle, &rows, &a, NULL));
    for (uint32_t i = 0; i < c->n; i++) {
        bool holds = str_contains(c->texts[i], needle), is_left = bitset_get(&rows, i);
        must(!is_left || bitset_get(&before, i));
        must_msg(is_left || !bitset_get(&before, i) || !holds, "row %u was ruled out", i);
        if (needle.n < 3) must(is_left == bitset_get(&before, i));
        if (needle.n == 3) must(is_left == (bitset_get(&before, i) && holds)); /* exact */
    }
    arena_free(&a);
}

/* One or two bytes, with any allowance. A former version's section is left alone. */
static void check_short(const struct text_index *t, const struct corpus *c, struct str needle, struct rng *r)
{
    struct arena a = {0};
    struct bitset rows, before;
    enum text_narrowed how;
    struct text_index former = *t;
    uint64_t most = rng_below(r, 2) == 0 ? UINT64_MAX : rng_below(r, 3 * c->n + 1);
    former.shorts = NULL;
    must(bitset_init(&rows, &a, c->n) && bitset_init(&before, &a, c->n));
    for (uint32_t i = 0; i < c->n; i++)
        if (c->texts[i].p != NULL && rng_below(r, 4) != 0) bitset_add(&before, i);
    memcpy(rows.words, before.words, bitset_words(c->n) * 8);
    must_ok(text_index_narrow_short(&former, needle, most, &rows, &a, &how, NULL));
    must(how == TEXT_AS_BEFORE && memcmp(rows.words, before.words, bitset_words(c->n) * 8) == 0);
    must_ok(text_index_narrow_short(t, needle, most, &rows, &a, &how, NULL));
    must(how != TEXT_AS_BEFORE || most != UINT64_MAX);
    for (uint32_t i = 0; i < c->n; i++) {
        bool holds = str_contains(c->texts[i], needle), is_left = bitset_get(&rows, i), was = bitset_get(&before, i);
        if (how == TEXT_AS_BEFORE)
            must(is_left == was);
        else if (how == TEXT_DECIDED || c->texts[i].n > 2)
            must_msg(is_left == (was && holds), "row %u: left %d, holds %d", i, is_left, holds);
        else
            must(is_left == (was && c->texts[i].n > 0));
    }
    arena_free(&a);
}

static struct str random_needle(struct rng *r, struct arena *a, const struct corpus *c)
{
    struct str text = c->texts[rng_below(r, c->n)];
    uint32_t n = rng_below(r, 40);
    if (text.p == NULL || text.n < n || rng_below(r, 5) == 0) return random_text(r, a, rng_below(r, 5));
    return str_of(text.p + rng_below(r, (uint32_t)(text.n - n) + 1), n);
}

START_TEST(one_byte_and_two)
{
    static const uint32_t sizes[] = {1, 64, 65, 300, 2000};
    for (uint64_t seed = 1; seed <= 15; seed++) {
        struct rng r = {seed * 101};
        struct corpus c;
        struct section s;
        struct text_index t;
        corpus_init(&c, &r, sizes[seed % 5], seed % 3 == 0 ? 60 : 4);
        for (uint32_t i = 0; seed % 2 == 0 && i < c.n; i++) /* without short documents all is decided */
            if (c.texts[i].n < 3) c.texts[i] = STR("three");
        must_ok(text_index_open(&t, build(&s, &c), c.n, NULL));
        for (int i = 0; i < 300; i++) {
            struct str text = c.texts[rng_below(&r, c.n)];
            char other[2] = {(char)rng_next(&r), (char)rng_next(&r)};
            uint32_t n = 1 + rng_below(&r, 2);
            bool is_own = text.n >= n && i % 3 > 0;
            check_short(&t, &c, str_of(is_own ? text.p + rng_below(&r, (uint32_t)(text.n - n) + 1) : other, n), &r);
        }
        section_free(&s);
        arena_free(&c.arena);
    }
}
END_TEST

START_TEST(nothing_that_matches_is_lost)
{
    static const uint32_t sizes[] = {1, 63, 64, 65, 300, 2000};
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct rng r = {seed};
        struct corpus c;
        struct section s;
        struct text_index t;
        corpus_init(&c, &r, sizes[seed % 6], seed % 2 == 0 ? 20 : 200);
        must_ok(text_index_open(&t, build(&s, &c), c.n, NULL));
        for (int i = 0; i < 300; i++) {
            struct arena a = {0};
            check_needle(&t, &c, random_needle(&r, &a, &c), &r);
            arena_free(&a);
        }
        section_free(&s);
        arena_free(&c.arena);
    }
}
END_TEST

/* Both forms of postings are there, and a needle's rarest trigram alone rules out nearly everything. */
START_TEST(rare_and_common_trigrams)
{
    enum { N = 5000 };
    struct rng r = {3};
    struct corpus c = {.n = N};
    struct section s;
    struct text_index t;
    struct arena a = {0};
    struct bitset rows;
    c.texts = arena_array(&c.arena, N, sizeof *c.texts);
    for (uint32_t i = 0; i < N; i++)
        c.texts[i] = i % 1000 == 77 ? STR("all have this, few have QQQ this") : STR("all have this");
    must_ok(text_index_open(&t, build(&s, &c), N, NULL));
    uint32_t n_bitmaps = 0;
    for (uint32_t i = 0; i < t.n_trigrams; i++) n_bitmaps += t.trigrams[i * sizeof(struct text_trigram)] == TEXT_BITMAP;
    ck_assert_uint_gt(n_bitmaps, 5);
    ck_assert_uint_gt(t.n_trigrams - n_bitmaps, 5);
    must(bitset_init(&rows, &a, N));
    bitset_fill(&rows);
    must_ok(text_index_narrow(&t, STR("have QQQ this"), &rows, &a, NULL));
    ck_assert_uint_eq(bitset_count(&rows), 5);
    for (int i = 0; i < 50; i++) check_needle(&t, &c, STR("this, few"), &r);
    arena_free(&a);
    section_free(&s);
    arena_free(&c.arena);
}
END_TEST

static struct regex_need literal(struct str s)
{
    return (struct regex_need){.kind = REGEX_LITERAL, .literal = s};
}

static bool satisfies(struct str text, const struct regex_need *need)
{
    bool is_all = need->kind == REGEX_ALL_OF;
    if (need->kind == REGEX_ANY) return true;
    if (need->kind == REGEX_LITERAL) return str_contains(text, need->literal);
    for (uint32_t i = 0; i < need->n_children; i++)
        if (satisfies(text, need->children[i]) != is_all) return !is_all;
    return is_all;
}

START_TEST(needs_of_regular_expressions)
{
    struct rng r = {99};
    struct corpus c;
    struct section s;
    struct text_index t;
    corpus_init(&c, &r, 700, 40);
    must_ok(text_index_open(&t, build(&s, &c), c.n, NULL));
    for (int round = 0; round < 200; round++) {
        struct arena a = {0};
        struct bitset rows;
        struct regex_need leaves[4], one_of, all_of, any = {.kind = REGEX_ANY};
        for (int i = 0; i < 4; i++) leaves[i] = literal(random_needle(&r, &a, &c));
        const struct regex_need *either[] = {&leaves[0], &leaves[1], &leaves[2], &any};
        one_of = (struct regex_need){.kind = REGEX_ONE_OF, .children = either, .n_children = round % 9 == 0 ? 4 : 3};
        const struct regex_need *both[] = {&one_of, &leaves[3], &any};
        all_of = (struct regex_need){.kind = REGEX_ALL_OF, .children = both, .n_children = 3};
        must(bitset_init(&rows, &a, c.n));
        bitset_fill(&rows);
        must_ok(text_index_narrow_regex(&t, &all_of, &rows, &a, NULL));
        for (uint32_t i = 0; i < c.n; i++)
            if (c.texts[i].p != NULL && satisfies(c.texts[i], &all_of)) must(bitset_get(&rows, i));
        arena_free(&a);
    }
    section_free(&s);
    arena_free(&c.arena);
}
END_TEST

/* More pairs than a run holds: several runs, one of which ends within a document, are merged. */
START_TEST(several_runs_are_merged)
{
    enum { N = 40, BYTES = 112000 };
    struct rng r = {12};
    struct corpus c = {.n = N};
    struct section s;
    struct text_index t;
    c.texts = arena_array(&c.arena, N, sizeof *c.texts);
    for (uint32_t i = 0; i < N; i++) { /* nearly every trigram differs: 4.5 million pairs in all */
        char *text = arena_alloc(&c.arena, BYTES);
        for (size_t k = 0; k + 8 <= BYTES; k += 8) le64_put(text + k, rng_next(&r));
        c.texts[i] = str_of(text, BYTES);
    }
    must_ok(text_index_open(&t, build(&s, &c), N, NULL));
    for (int i = 0; i < 100; i++) {
        struct str text = c.texts[rng_below(&r, N)];
        check_needle(&t, &c, str_of(text.p + rng_below(&r, BYTES - 8), 3 + rng_below(&r, 5)), &r);
    }
    section_free(&s);
    arena_free(&c.arena);
}
END_TEST

/* Any byte may be any other: nothing is read outside (asan looks on). */
START_TEST(damaged_sections_are_survived)
{
    struct rng r = {17};
    struct corpus c;
    struct section s;
    uint32_t n_refused = 0;
    corpus_init(&c, &r, 150, 30);
    struct bytes section = build(&s, &c);
    for (int round = 0; round < 3000; round++) {
        struct arena a = {0};
        struct text_index t;
        struct bitset rows;
        uint8_t *copy = mem_dup(section.p, section.n);
        for (uint32_t k = 1 + rng_below(&r, 3); k > 0; k--) {
            uint32_t at = rng_below(&r, 2) == 0 ? rng_below(&r, (uint32_t)section.n)
                                                : (uint32_t)section.n - 1 - rng_below(&r, 600);
            copy[at] = (uint8_t)rng_next(&r);
        }
        enum err e = text_index_open(&t, (struct bytes){copy, section.n}, c.n, NULL);
        for (int i = 0; e == ERR_OK && i < 10; i++) {
            must(bitset_init(&rows, &a, c.n));
            bitset_fill(&rows);
            e = text_index_narrow(&t, random_needle(&r, &a, &c), &rows, &a, NULL);
            ck_assert_uint_le(bitset_count(&rows), c.n);
            char two[2] = {(char)('a' + rng_below(&r, 26)), (char)('a' + rng_below(&r, 26))};
            enum text_narrowed how;
            bitset_fill(&rows);
            if (e == ERR_OK)
                e = text_index_narrow_short(&t, str_of(two, 1 + rng_below(&r, 2)), 1000, &rows, &a, &how, NULL);
            ck_assert_uint_le(bitset_count(&rows), c.n);
        }
        must(e == ERR_OK || e == ERR_CORRUPT);
        n_refused += e == ERR_CORRUPT;
        mem_free(copy);
        arena_free(&a);
    }
    ck_assert_uint_gt(n_refused, 50);
    for (size_t n = 0; n < section.n; n += 11) {
        struct text_index t;
        uint8_t *copy = mem_dup(section.p, n);
        ck_assert_int_eq(text_index_open(&t, (struct bytes){copy, n}, c.n, NULL), ERR_CORRUPT);
        mem_free(copy);
    }
    section_free(&s);
    arena_free(&c.arena);
}
END_TEST

START_TEST(no_rows_and_short_documents)
{
    struct rng r = {1};
    struct str texts[] = {STR(""), STR("a"), STR("ab"), {NULL, 0}};
    for (uint32_t n = 0; n <= 4; n += 4) {
        struct corpus c = {.n = n, .texts = texts};
        struct section s;
        struct text_index t;
        must_ok(text_index_open(&t, build(&s, &c), n, NULL));
        ck_assert_uint_eq(t.n_trigrams, 0);
        ck_assert_uint_eq(t.n_shorts, n / 2);
        check_needle(&t, &c, STR("ab"), &r);
        check_short(&t, &c, STR("ab"), &r);
        check_short(&t, &c, STR("b"), &r);
        check_needle(&t, &c, STR("abc"), &r);
        section_free(&s);
    }
}
END_TEST

TESTS(text_index, one_byte_and_two, nothing_that_matches_is_lost, rare_and_common_trigrams,
      needs_of_regular_expressions, several_runs_are_merged, damaged_sections_are_survived, no_rows_and_short_documents)
