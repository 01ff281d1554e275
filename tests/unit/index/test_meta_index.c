/* test_meta_index.c - the metadata index answers every filter as filter_matches() does, row by row. */
#include "core/hash.h"
#include "index/meta_index_internal.h"
#include "tests/unit/index/random_rows.h"
#include "tests/unit/index/section.h"

static struct bytes build(struct section *s, const struct bytes *metas, uint32_t n)
{
    struct meta_index_builder *b;
    section_begin(s);
    must_ok(meta_index_builder_new(&b, NULL));
    for (uint32_t i = 0; i < n; i++) must_ok(meta_index_builder_add(b, i, metas[i], NULL));
    must_ok(meta_index_builder_finish(b, n, &s->sink, NULL));
    meta_index_builder_free(b);
    return section_end(s);
}

static void check_filter(const struct meta_index *m, const struct bytes *metas, uint32_t n, const struct filter *f,
                         uint64_t seed)
{
    struct arena a = {0};
    struct bitset found;
    must(bitset_init(&found, &a, n));
    must_ok(meta_index_eval(m, f, &found, NULL));
    for (uint32_t row = 0; row < n; row++) {
        struct row parts = {.meta = metas[row]};
        bool expected;
        must_ok(filter_matches(f, &parts, &a, &expected, NULL));
        must_msg(bitset_get(&found, row) == expected, "seed %llu: row %u, kind %d, key %.*s: index says %d",
                 (unsigned long long)seed, row, (int)f->kind, STR_ARG(f->key), !expected);
    }
    arena_free(&a);
}

START_TEST(agrees_with_the_definition)
{
    static const uint32_t sizes[] = {1, 2, 63, 64, 65, 200, 1500};
    for (uint64_t seed = 1; seed <= 21; seed++) {
        struct rng r = {seed};
        struct arena a = {0};
        uint32_t n = sizes[seed % 7];
        struct bytes *metas = arena_array(&a, n, sizeof *metas);
        for (uint32_t i = 0; i < n; i++) metas[i] = random_meta(&r, &a);
        struct section s;
        struct meta_index m;
        must_ok(meta_index_open(&m, build(&s, metas, n), n, NULL));
        for (int i = 0; i < 300; i++) check_filter(&m, metas, n, random_meta_filter(&r, &a), seed);
        section_free(&s);
        arena_free(&a);
    }
}
END_TEST

/* One key whose values are few (bitmaps), one whose values all differ, one a row of its own. */
START_TEST(many_values_and_many_keys)
{
    enum { N = 20000 };
    struct arena a = {0};
    struct rng r = {77};
    struct bytes *metas = arena_array(&a, N, sizeof *metas);
    struct str keys[] = {STR("dense"), STR("float"), STR("unique")};
    for (uint32_t i = 0; i < N; i++) {
        struct buf b = {0};
        char text[32];
        struct value dense = {.type = VALUE_INT, .i = (int64_t)rng_below(&r, 5)};
        struct value number = {.type = VALUE_FLOAT, .f = (double)rng_gauss(&r)};
        struct value unique = {.type = VALUE_STR, .s = str_of(text, (size_t)snprintf(text, sizeof text, "u%u", i))};
        meta_put(&b, keys[0], &dense);
        meta_put(&b, keys[1], &number);
        meta_put(&b, keys[2], &unique);
        if (i % 2 == 0) { /* after "unique" in byte order */
            char own[32];
            meta_put(&b, str_of(own, (size_t)snprintf(own, sizeof own, "z%05u", i)), &dense);
        }
        struct str copy = arena_str(&a, buf_view(&b));
        metas[i] = (struct bytes){copy.p, copy.n};
        buf_free(&b);
    }
    struct section s;
    struct meta_index m;
    must_ok(meta_index_open(&m, build(&s, metas, N), N, NULL));
    ck_assert_uint_eq(m.n_lists, 3 + N / 2);
    struct value values[4] = {{.type = VALUE_INT, .i = 3},
                              {.type = VALUE_FLOAT, .f = 0.25},
                              {.type = VALUE_STR, .s = STR("u777")},
                              {.type = VALUE_INT, .i = 0}};
    struct filter filters[] = {
        {.kind = FILTER_EQ, .key = keys[0], .values = &values[0], .n_values = 1},
        {.kind = FILTER_NE, .key = keys[0], .values = &values[0], .n_values = 1},
        {.kind = FILTER_GTE, .key = keys[0], .values = &values[0], .n_values = 1},
        {.kind = FILTER_LT, .key = keys[0], .values = &values[1], .n_values = 1},
        {.kind = FILTER_GT, .key = keys[1], .values = &values[1], .n_values = 1},
        {.kind = FILTER_LTE, .key = keys[1], .values = &values[3], .n_values = 1},
        {.kind = FILTER_EQ, .key = keys[2], .values = &values[2], .n_values = 1},
        {.kind = FILTER_NIN, .key = keys[2], .values = &values[2], .n_values = 1},
        {.kind = FILTER_GTE, .key = STR("z00200"), .values = &values[3], .n_values = 1},
    };
    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) check_filter(&m, metas, N, &filters[i], 77);
    /* 12 bytes a number at most for what has few values, and no more than 30 for what is unique */
    ck_assert_uint_lt(m.section.n, (size_t)N * (1 + 24 + 32) + (size_t)N / 2 * 160);
    section_free(&s);
    arena_free(&a);
}
END_TEST

/* Rows of numbers under three keys: whole ones of which some are frequent, doubles that all differ, and both mixed. */
static struct bytes *rows_of_numbers(struct rng *r, struct arena *a, uint32_t n)
{
    struct bytes *metas = arena_array(a, n, sizeof *metas);
    for (uint32_t i = 0; i < n; i++) {
        struct buf b = {0};
        struct value few = {.type = VALUE_INT, .i = (int64_t)rng_below(r, 1 + rng_below(r, 400))};
        struct value number = {.type = VALUE_FLOAT, .f = (double)rng_gauss(r)};
        if (rng_below(r, 10) > 0) meta_put(&b, STR("few"), &few);
        meta_put(&b, STR("float"), &number);
        meta_put(&b, STR("mixed"), rng_below(r, 2) == 0 ? &few : &number);
        struct str copy = arena_str(a, buf_view(&b));
        metas[i] = (struct bytes){copy.p, copy.n};
        buf_free(&b);
    }
    return metas;
}

static struct filter random_range(struct rng *r, struct value *bound)
{
    static const struct str keys[] = {{"few", 3}, {"float", 5}, {"mixed", 5}};
    static const enum filter_kind kinds[] = {FILTER_GT, FILTER_GTE, FILTER_LT, FILTER_LTE};
    double f = (double)rng_gauss(r) * (rng_below(r, 2) == 0 ? 1.0 : 150.0);
    *bound = rng_below(r, 2) == 0 ? (struct value){.type = VALUE_FLOAT, .f = f}
                                  : (struct value){.type = VALUE_INT, .i = (int64_t)f};
    return (struct filter){
        .kind = kinds[rng_below(r, 4)], .key = keys[rng_below(r, 3)], .values = bound, .n_values = 1};
}

/* Ranges of any width, by prefixes and, as in fragments of former versions, without them. */
START_TEST(ranges_of_any_width)
{
    static const uint32_t sizes[] = {511, 512, 513, 3000, 20000};
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct rng r = {seed * 31};
        struct arena a = {0};
        uint32_t n = sizes[seed % 5], n_with_prefixes = 0;
        struct bytes *metas = rows_of_numbers(&r, &a, n);
        struct section s;
        struct meta_index m, old;
        must_ok(meta_index_open(&m, build(&s, metas, n), n, NULL));
        uint8_t *copy = mem_dup(m.section.p, m.section.n);
        must_ok(meta_index_open(&old, (struct bytes){copy, m.section.n}, n, NULL));
        for (uint32_t i = 0; i < old.n_lists; i++) {
            uint8_t *at = copy + (old.lists - copy) + i * sizeof(struct meta_list);
            struct meta_list l;
            memcpy(&l, at, sizeof l);
            n_with_prefixes += l.n_prefixes > 1;
            ck_assert_uint_le(l.n_prefixes, META_PREFIXES_MAX);
            l.n_prefixes = 0;
            memcpy(at, &l, sizeof l);
        }
        ck_assert_uint_eq(n_with_prefixes > 0, n >= 512);
        for (int i = 0; i < 40; i++) {
            struct value bound;
            struct filter f = random_range(&r, &bound);
            check_filter(&m, metas, n, &f, seed);
            check_filter(&old, metas, n, &f, seed);
        }
        mem_free(copy);
        section_free(&s);
        arena_free(&a);
    }
}
END_TEST

/* As below, where there are prefixes. */
START_TEST(damaged_prefixes_are_survived)
{
    enum { N = 1500 };
    struct rng r = {815};
    struct arena a = {0};
    struct section s;
    struct bytes section = build(&s, rows_of_numbers(&r, &a, N), N);
    uint32_t n_refused = 0;
    for (int round = 0; round < 1500; round++) {
        struct meta_index m;
        uint8_t *copy = mem_dup(section.p, section.n);
        for (uint32_t k = 1 + rng_below(&r, 6); k > 0; k--) {
            uint32_t end = rng_below(&r, 2) == 0 ? (uint32_t)section.n : 500;
            copy[section.n - 1 - rng_below(&r, end)] = (uint8_t)rng_next(&r);
        }
        enum err e = meta_index_open(&m, (struct bytes){copy, section.n}, N, NULL);
        for (int i = 0; e == ERR_OK && i < 10; i++) {
            struct arena scratch = {0};
            struct bitset found;
            struct value bound;
            struct filter f = random_range(&r, &bound);
            must(bitset_init(&found, &scratch, N));
            e = meta_index_eval(&m, &f, &found, NULL);
            if (e == ERR_OK) must(bitset_count(&found) <= N && found.words[N / 64] >> (N % 64) == 0);
            arena_free(&scratch);
        }
        must(e == ERR_OK || e == ERR_CORRUPT);
        n_refused += e == ERR_CORRUPT;
        mem_free(copy);
    }
    ck_assert_uint_gt(n_refused, 50);
    section_free(&s);
    arena_free(&a);
}
END_TEST

START_TEST(no_rows_and_no_metadata)
{
    struct value one = {.type = VALUE_INT, .i = 1};
    struct filter eq = {.kind = FILTER_EQ, .key = STR("a"), .values = &one, .n_values = 1};
    struct filter ne = {.kind = FILTER_NE, .key = STR("a"), .values = &one, .n_values = 1};
    struct bytes metas[3] = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
    for (uint32_t n = 0; n <= 3; n += 3) {
        struct section s;
        struct meta_index m;
        must_ok(meta_index_open(&m, build(&s, metas, n), n, NULL));
        check_filter(&m, metas, n, &eq, 0);
        check_filter(&m, metas, n, &ne, 0);
        section_free(&s);
    }
}
END_TEST

START_TEST(damaged_metadata_are_refused)
{
    struct meta_index_builder *b;
    must_ok(meta_index_builder_new(&b, NULL));
    ck_assert_int_eq(meta_index_builder_add(b, 0, (struct bytes){"\x05zz", 3}, NULL), ERR_CORRUPT);
    meta_index_builder_free(b);
}
END_TEST

/* Any byte may be any other: answers are right, wrong or ERR_CORRUPT, but nothing is read outside (asan looks on). */
START_TEST(damaged_sections_are_survived)
{
    enum { N = 120 };
    struct rng r = {4711};
    struct arena a = {0};
    struct bytes *metas = arena_array(&a, N, sizeof *metas);
    for (uint32_t i = 0; i < N; i++) metas[i] = random_meta(&r, &a);
    struct section s;
    struct bytes section = build(&s, metas, N);
    uint32_t n_refused = 0;
    for (int round = 0; round < 1500; round++) {
        struct arena scratch = {0};
        struct meta_index m;
        uint8_t *copy = mem_dup(section.p, section.n); /* of its own, so that asan knows its end */
        for (uint32_t k = 1 + rng_below(&r, 4); k > 0; k--) {
            uint32_t at = rng_below(&r, 2) == 0 ? rng_below(&r, (uint32_t)section.n)
                                                : (uint32_t)section.n - 1 - rng_below(&r, 400);
            copy[at] = (uint8_t)rng_next(&r);
        }
        enum err e = meta_index_open(&m, (struct bytes){copy, section.n}, N, NULL);
        for (int i = 0; e == ERR_OK && i < 10; i++) {
            struct bitset found;
            must(bitset_init(&found, &scratch, N));
            e = meta_index_eval(&m, random_meta_filter(&r, &scratch), &found, NULL);
        }
        must(e == ERR_OK || e == ERR_CORRUPT);
        n_refused += e == ERR_CORRUPT;
        mem_free(copy);
        arena_free(&scratch);
    }
    ck_assert_uint_gt(n_refused, 50);
    for (size_t n = 0; n < section.n; n += 7) { /* cut short */
        struct meta_index m;
        uint8_t *copy = mem_dup(section.p, n);
        ck_assert_int_eq(meta_index_open(&m, (struct bytes){copy, n}, N, NULL), ERR_CORRUPT);
        mem_free(copy);
    }
    section_free(&s);
    arena_free(&a);
}
END_TEST

static bool fail_at(void *ctx, size_t size)
{
    uint32_t *left = ctx;
    (void)size;
    return *left == 0 || --*left > 0;
}

/* The n-th allocation fails, for every n until none does: ERR_NOMEM, and nothing is left over (asan looks on). */
START_TEST(short_memory_is_reported)
{
    struct rng r = {5};
    struct arena a = {0};
    struct bytes metas[40];
    for (uint32_t i = 0; i < 40; i++) metas[i] = random_meta(&r, &a);
    for (uint32_t fail = 1, done = 0; done == 0; fail++) {
        struct section s;
        struct meta_index_builder *b = NULL;
        section_begin(&s);
        uint32_t left = fail;
        mem_set_hook(fail_at, &left);
        enum err e = meta_index_builder_new(&b, NULL);
        for (uint32_t i = 0; i < 40 && e == ERR_OK; i++) e = meta_index_builder_add(b, i, metas[i], NULL);
        if (e == ERR_OK) e = meta_index_builder_finish(b, 40, &s.sink, NULL);
        mem_set_hook(NULL, NULL);
        meta_index_builder_free(b);
        must(e == (left == 0 ? ERR_NOMEM : ERR_OK));
        done = e == ERR_OK;
        section_free(&s);
    }
    arena_free(&a);
}
END_TEST

TESTS(meta_index, agrees_with_the_definition, many_values_and_many_keys, ranges_of_any_width,
      damaged_prefixes_are_survived, no_rows_and_no_metadata, damaged_metadata_are_refused,
      damaged_sections_are_survived, short_memory_is_reported)
