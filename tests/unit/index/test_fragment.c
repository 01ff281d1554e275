/* test_fragment.c - fragments against a trivial model: an array of rows, filter_matches() and distances one by one.
 * What damage and faults do to them: test_fragment_damage.c.
 */
#include <pthread.h>

#include "core/hash.h"
#include "tests/unit/index/fragment_model.h"

static void check_row(const struct fixture *f, uint32_t i)
{
    struct arena a = {0};
    struct row got = {0};
    const struct row *want = &f->m.rows[i];
    must_ok(f->s->ops->row(f->s, i, ROW_ALL, &a, &got, NULL));
    must(str_eq(got.id, want->id));
    must((got.document.p == NULL) == (want->document.p == NULL) && str_eq(got.document, want->document));
    must((got.uri.p == NULL) == (want->uri.p == NULL) && str_eq(got.uri, want->uri));
    must(got.meta.n == want->meta.n);
    must(got.meta.n == 0 || memcmp(got.meta.p, want->meta.p, got.meta.n) == 0);
    must(f->m.dim == 0 || memcmp(got.vector, want->vector, f->m.dim * sizeof(float)) == 0);
    must(f->s->ops->ordinal(f->s, i) == f->m.ordinals[i]);
    must(f->s->ops->born(f->s, i) == f->m.born[i]);
    arena_free(&a);
}

START_TEST(rows_come_back)
{
    static const uint32_t sizes[] = {0, 1, 2, 31, 64, 65, 1000};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        struct fixture f;
        setup(&f, sizes[k], DIM, SPACE_L2, 100 + k);
        ck_assert_uint_eq(fragment_n_rows(f.s), sizes[k]);
        ck_assert_uint_eq(fragment_id(f.s), 42);
        must_ok(fragment_verify(f.s, NULL));
        for (uint32_t i = 0; i < sizes[k]; i++) check_row(&f, i);
        for (uint32_t i = sizes[k]; i-- > 0;) { /* backwards, and every id is found */
            check_row(&f, i);
            must(f.s->ops->find(f.s, f.m.rows[i].id, 1000) == i);
        }
        ck_assert_uint_eq(f.s->ops->find(f.s, STR("id-absent"), 1000), ROW_NONE);
        ck_assert_uint_eq(f.s->ops->find(f.s, STR(""), 1000), ROW_NONE);
        teardown(&f);
    }
}
END_TEST

START_TEST(only_wanted_parts_are_filled)
{
    struct fixture f;
    struct arena a = {0};
    setup(&f, 20, DIM, SPACE_L2, 3);
    struct row row = {.uri = STR("kept")};
    must_ok(f.s->ops->row(f.s, 3, ROW_ID, &a, &row, NULL));
    must(str_eq(row.id, f.m.rows[3].id) && str_eq(row.uri, STR("kept")) && row.vector == NULL);
    arena_free(&a);
    teardown(&f);
}
END_TEST

START_TEST(find_minds_birth_and_death)
{
    struct fixture f;
    setup(&f, 50, DIM, SPACE_L2, 9);
    struct str id = f.m.rows[7].id;
    uint64_t born = f.m.born[7];
    ck_assert_uint_eq(f.s->ops->find(f.s, id, born - 1), ROW_NONE);
    ck_assert_uint_eq(f.s->ops->find(f.s, id, born), 7);
    must_ok(deaths_mark(&f.s->deaths, 7, born + 5));
    ck_assert_uint_eq(f.s->ops->find(f.s, id, born + 4), 7);
    ck_assert_uint_eq(f.s->ops->find(f.s, id, born + 5), ROW_NONE);
    teardown(&f);
}
END_TEST

/* --- filters ------------------------------------------------------------------------------------------------------ */

static void check_filter(const struct fixture *f, const struct filter *filter, uint64_t seed)
{
    struct arena a = {0};
    struct bitset found;
    must_ok(f->s->ops->filter(f->s, f->m.n, filter, &a, &found, NULL, NULL));
    must(found.n_bits == f->m.n);
    for (uint32_t i = 0; i < f->m.n; i++) {
        bool want;
        must_ok(filter_matches(filter, &f->m.rows[i], &a, &want, NULL));
        must_msg(bitset_get(&found, i) == want, "seed %llu: row %u, kind %d: the fragment says %d",
                 (unsigned long long)seed, i, filter != NULL ? (int)filter->kind : -1, !want);
    }

    /* The same with rows left open, decided in stretches of any length. */
    struct bitset later;
    struct filter_rest rest = {0};
    struct rng r = {seed + 1};
    must_ok(f->s->ops->filter(f->s, f->m.n, filter, &a, &later, &rest, NULL));
    for (uint32_t i = 0; i < f->m.n; i++) {
        bool is_open = rest.n > 0 && bitset_get(&rest.open, i);
        must_msg(is_open ? bitset_get(&later, i) : bitset_get(&later, i) == bitset_get(&found, i),
                 "seed %llu: row %u, open %d", (unsigned long long)seed, i, is_open);
    }
    for (uint32_t from = 0; rest.n > 0 && from < f->m.n;) {
        uint32_t to = from + 1 + (uint32_t)rng_below(&r, f->m.n - from);
        must_ok(f->s->ops->settle(f->s, &rest, &later, from, to, NULL));
        must(bitset_next(&rest.open, 0) >= to);
        from = to;
    }
    must(memcmp(later.words, found.words, bitset_words(f->m.n) * sizeof *found.words) == 0);
    arena_free(&a);
}

START_TEST(filters_agree_with_the_definition)
{
    static const uint32_t sizes[] = {0, 1, 40, 64, 130, 500};
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct fixture f;
        struct rng r = {seed * 7919};
        setup(&f, sizes[seed % 6], DIM, SPACE_L2, seed);
        check_filter(&f, NULL, seed);
        for (int round = 0; round < 150; round++) {
            struct arena a = {0};
            struct regexes re = {.n = 0};
            check_filter(&f, random_filter(&r, &a, &f.m, &re, 0), seed);
            for (uint32_t i = 0; i < re.n; i++) regex_free(re.list[i]);
            arena_free(&a);
        }
        teardown(&f);
    }
}
END_TEST

/* Every needle of up to 5 bytes that some document holds, and its negation. */
START_TEST(contains_of_every_length)
{
    struct fixture f;
    struct rng r = {31};
    setup(&f, 300, DIM, SPACE_L2, 31);
    for (uint32_t i = 0; i < 600; i++) {
        struct arena a = {0};
        struct filter filter = {.kind = i % 5 == 0 ? FILTER_DOC_NOT_CONTAINS : FILTER_DOC_CONTAINS,
                                .text = random_needle(&r, &a, &f.m)};
        check_filter(&f, &filter, 31);
        arena_free(&a);
    }
    teardown(&f);
}
END_TEST

/* --- nearest ------------------------------------------------------------------------------------------------------ */

static void check_nearest(const struct fixture *f, enum space space, uint32_t k, const struct bitset *mask,
                          uint64_t lsn, struct rng *r)
{
    struct arena a = {0};
    struct topk top, want;
    struct query_vector q;
    float *v = arena_array(&a, f->m.dim, sizeof *v);
    for (uint32_t d = 0; d < f->m.dim; d++) v[d] = rng_gauss(r);
    query_vector_init(&q, v, f->m.dim, space, &a);
    must(topk_init(&top, &a, k) && topk_init(&want, &a, k));
    must_ok(
        f->s->ops->nearest(f->s, f->m.n, &q, mask, mask != NULL ? bitset_count(mask) : f->m.n, lsn, &top, &a, NULL));
    for (uint32_t i = 0; i < f->m.n; i++) {
        if (mask != NULL && !bitset_get(mask, i)) continue;
        if (f->m.born[i] > lsn || deaths_is_dead(&f->s->deaths, i, lsn)) continue;
        float norm2 = distance_ops()->dot(f->m.rows[i].vector, f->m.rows[i].vector, f->m.dim);
        topk_offer(&want, distance_exact(&q, f->m.rows[i].vector, norm2), f->m.ordinals[i], i);
    }
    topk_sort(&top);
    topk_sort(&want);
    ck_assert_uint_eq(top.n, want.n);
    for (uint32_t i = 0; i < top.n; i++) ck_assert_uint_eq(top.heap[i].row, want.heap[i].row);
    arena_free(&a);
}

/* Below CODES_MIN_DIM, so every answer is exact; deaths, births and masks decide who takes part. */
START_TEST(nearest_agrees_with_brute_force)
{
    for (int space = SPACE_L2; space <= SPACE_IP; space++) {
        struct fixture f;
        struct arena a = {0};
        struct rng r = {(uint64_t)space + 50};
        struct bitset mask;
        setup(&f, 400, DIM, (enum space)space, 50);
        must(bitset_init(&mask, &a, f.m.n));
        for (uint32_t i = 0; i < f.m.n; i++) {
            if (rng_below(&r, 3) == 0) bitset_add(&mask, i);
            if (rng_below(&r, 5) == 0) must_ok(deaths_mark(&f.s->deaths, i, 90 + rng_below(&r, 40)));
        }
        for (int round = 0; round < 30; round++) {
            uint64_t lsn = 40 + rng_below(&r, 100);
            check_nearest(&f, (enum space)space, 1 + rng_below(&r, 20), round % 2 == 0 ? &mask : NULL, lsn, &r);
        }
        arena_free(&a);
        teardown(&f);
    }
}
END_TEST

/* With codes: what is found is exact in its distances, and nearly always the true neighbours. */
START_TEST(nearest_through_codes)
{
    enum { N = 3000, WIDE = 64, QUERIES = 20, K = 10 };
    struct fixture f;
    struct rng r = {8};
    uint32_t n_common = 0;
    setup(&f, N, WIDE, SPACE_COSINE, 8);
    ck_assert_uint_eq(fragment_of(f.s)->codes.n, N);
    for (int i = 0; i < QUERIES; i++) {
        struct arena a = {0};
        struct topk top, want;
        struct query_vector q;
        float v[WIDE];
        for (uint32_t d = 0; d < WIDE; d++) v[d] = rng_gauss(&r);
        query_vector_init(&q, v, WIDE, SPACE_COSINE, &a);
        must(topk_init(&top, &a, K) && topk_init(&want, &a, K));
        must_ok(f.s->ops->nearest(f.s, N, &q, NULL, N, 1000, &top, &a, NULL));
        for (uint32_t row = 0; row < N; row++) {
            float norm2 = distance_ops()->dot(f.m.rows[row].vector, f.m.rows[row].vector, WIDE);
            topk_offer(&want, distance_exact(&q, f.m.rows[row].vector, norm2), f.m.ordinals[row], row);
        }
        topk_sort(&top);
        topk_sort(&want);
        ck_assert_uint_eq(top.n, K);
        for (uint32_t x = 0; x < K; x++)
            for (uint32_t y = 0; y < K; y++) n_common += top.heap[x].row == want.heap[y].row;
        arena_free(&a);
    }
    ck_assert_uint_ge(n_common, QUERIES * K * 95 / 100);
    teardown(&f);
}
END_TEST

/* --- large ones, and many readers ----------------------------------------------------------------------------- */

static enum err count_name(void *ctx, struct str name, bool is_dir)
{
    (void)is_dir;
    must_msg(str_eq(name, STR("big")), "left over: %.*s", STR_ARG(name));
    *(uint32_t *)ctx += 1;
    return ERR_OK;
}

/* Documents beyond what a spill keeps in memory, on the real file system: temporary files come and go. */
START_TEST(a_large_fragment_spills)
{
    enum { N = 9000 };
    struct rng r = {66};
    struct arena a = {0};
    const struct vfs *vfs = vfs_posix();
    struct fragment_writer *w;
    struct fragment *f;
    char path[256];
    uint32_t n_files = 0;
    const char *dir = tmp_dir();
    must(vfs_join(path, sizeof path, dir, "big"));
    struct fragment_options o = {.dim = 2, .fragment_id = 7};
    must_ok(fragment_writer_new(&w, vfs, path, &o, NULL));
    struct str *documents = arena_array(&a, N, sizeof *documents);
    char id[1200];
    for (uint32_t i = 0; i < N; i++) {
        float v[2] = {(float)i, 0};
        memset(id, 'x', sizeof id);
        int n = snprintf(id, sizeof id, "%u", i);
        id[n] = 'x';
        documents[i] = random_text(&r, &a, 1000);
        struct row row = {.id = str_of(id, sizeof id), .document = documents[i], .vector = v};
        must_ok(fragment_writer_add(w, &row, i, 1, NULL));
    }
    must_ok(fragment_writer_finish(w, NULL));
    fragment_writer_free(w);
    must_ok(vfs->list(vfs->ctx, dir, count_name, &n_files, NULL));
    ck_assert_uint_eq(n_files, 1);
    must_ok(fragment_open(&f, vfs, path, NULL));
    struct segment *s = fragment_segment(f);
    must_ok(fragment_verify(s, NULL));
    for (uint32_t i = 0; i < N; i += 97) {
        struct row row;
        memset(id, 'x', sizeof id);
        int n = snprintf(id, sizeof id, "%u", i);
        id[n] = 'x';
        ck_assert_uint_eq(s->ops->find(s, str_of(id, sizeof id), 1), i);
        must_ok(s->ops->row(s, i, ROW_DOCUMENT, &a, &row, NULL));
        must(str_eq(row.document, documents[i]));
    }
    struct filter contains = {.kind = FILTER_DOC_CONTAINS, .text = STR("abcabcabc")};
    struct bitset found;
    must_ok(s->ops->filter(s, N, &contains, &a, &found, NULL, NULL));
    for (uint32_t i = 0; i < N; i++) must(bitset_get(&found, i) == str_contains(documents[i], contains.text));
    s->ops->free(s);
    arena_free(&a);
}
END_TEST

struct reader {
    const struct fixture *f;
    uint64_t seed;
};

static void *read_along(void *arg)
{
    const struct reader *reader = arg;
    struct rng r = {reader->seed};
    for (int i = 0; i < 300; i++) check_row(reader->f, rng_below(&r, reader->f->m.n));
    struct filter contains = {.kind = FILTER_DOC_CONTAINS, .text = STR("ab")};
    check_filter(reader->f, &contains, reader->seed);
    return NULL;
}

START_TEST(readers_share_a_fragment)
{
    struct fixture f;
    pthread_t threads[6];
    struct reader readers[6];
    setup(&f, 500, DIM, SPACE_L2, 21);
    for (uint64_t i = 0; i < 6; i++) {
        readers[i] = (struct reader){&f, i + 1};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_along, &readers[i]), 0);
    }
    for (int i = 0; i < 6; i++) ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    teardown(&f);
}
END_TEST

TESTS(fragment, rows_come_back, only_wanted_parts_are_filled, find_minds_birth_and_death,
      filters_agree_with_the_definition, contains_of_every_length, nearest_agrees_with_brute_force,
      nearest_through_codes, a_large_fragment_spills, readers_share_a_fragment)
