/* test_fragment.c - fragments against a trivial model: an array of rows, filter_matches() and distances one by one. */
#include <pthread.h>

#include "core/crc32c.h"
#include "core/hash.h"
#include "index/fragment_internal.h"
#include "tests/unit/index/random_rows.h"

enum { DIM = 8 };

struct model {
    struct arena arena;
    uint32_t n, dim;
    struct row *rows;
    uint64_t *ordinals, *born;
};

static struct str random_document(struct rng *r, struct arena *a, uint32_t i)
{
    if (rng_below(r, 8) == 0) return (struct str){NULL, 0};
    if (i % 50 == 7) return random_text(r, a, 500 + rng_below(r, 3000)); /* long enough for a block to be compressed */
    return random_text(r, a, rng_below(r, 30));
}

static struct row random_row(struct rng *r, struct arena *a, uint32_t i, uint32_t dim)
{
    float *v = arena_array(a, dim, sizeof *v);
    for (uint32_t d = 0; d < dim; d++) v[d] = rng_gauss(r);
    struct row row = {
        .id = i % 97 == 5 ? arena_printf(a, "id\n%u%c", i, 0) : arena_printf(a, "id-%u", i),
        .document = random_document(r, a, i),
        .uri = rng_below(r, 4) == 0 ? arena_printf(a, "file:///%u", i) : (struct str){NULL, 0},
        .meta = random_meta(r, a),
        .vector = v,
    };
    if (i % 13 == 4) row.uri = STR("");
    return row;
}

static void model_init(struct model *m, uint32_t n, uint32_t dim, struct rng *r)
{
    *m = (struct model){.n = n, .dim = dim};
    m->rows = arena_array(&m->arena, n, sizeof *m->rows);
    m->ordinals = arena_array(&m->arena, n, sizeof *m->ordinals);
    m->born = arena_array(&m->arena, n, sizeof *m->born);
    uint64_t ordinal = 0;
    for (uint32_t i = 0; i < n; i++) {
        m->rows[i] = random_row(r, &m->arena, i, dim);
        m->ordinals[i] = ordinal += 1 + rng_below(r, 3);
        m->born[i] = 10 + rng_below(r, 100);
    }
}

static enum err write_model(const struct model *m, const struct vfs *vfs, const char *path, enum space space)
{
    struct fragment_writer *w = NULL;
    struct fragment_options o = {.dim = m->dim, .space = space, .fragment_id = 42};
    enum err e = fragment_writer_new(&w, vfs, path, &o, NULL);
    for (uint32_t i = 0; i < m->n && e == ERR_OK; i++)
        e = fragment_writer_add(w, &m->rows[i], m->ordinals[i], m->born[i], NULL);
    if (e == ERR_OK) e = fragment_writer_finish(w, NULL);
    if (e == ERR_OK || w != NULL) fragment_writer_free(w);
    return e;
}

struct fixture {
    struct vfs *vfs;
    struct model m;
    struct segment *s;
};

static void setup(struct fixture *f, uint32_t n, uint32_t dim, enum space space, uint64_t seed)
{
    struct rng r = {seed};
    struct fragment *fragment;
    struct errmsg em = {0};
    ck_ok(vfs_mem_new(&f->vfs, NULL));
    model_init(&f->m, n, dim, &r);
    ck_ok(write_model(&f->m, f->vfs, "fragment", space));
    ck_assert_msg(fragment_open(&fragment, f->vfs, "fragment", &em) == ERR_OK, "%s", em.text);
    f->s = fragment_segment(fragment);
}

static void teardown(struct fixture *f)
{
    f->s->ops->free(f->s);
    arena_free(&f->m.arena);
    vfs_mem_free(f->vfs);
}

static void check_row(const struct fixture *f, uint32_t i)
{
    struct arena a = {0};
    struct row got = {0};
    const struct row *want = &f->m.rows[i];
    ck_ok(f->s->ops->row(f->s, i, ROW_ALL, &a, &got, NULL));
    ck_assert(str_eq(got.id, want->id));
    ck_assert((got.document.p == NULL) == (want->document.p == NULL) && str_eq(got.document, want->document));
    ck_assert((got.uri.p == NULL) == (want->uri.p == NULL) && str_eq(got.uri, want->uri));
    ck_assert_uint_eq(got.meta.n, want->meta.n);
    if (got.meta.n > 0) ck_assert_mem_eq(got.meta.p, want->meta.p, got.meta.n);
    if (f->m.dim > 0) ck_assert_mem_eq(got.vector, want->vector, f->m.dim * sizeof(float));
    ck_assert_uint_eq(f->s->ops->ordinal(f->s, i), f->m.ordinals[i]);
    ck_assert_uint_eq(f->s->ops->born(f->s, i), f->m.born[i]);
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
        ck_ok(fragment_verify(f.s, NULL));
        for (uint32_t i = 0; i < sizes[k]; i++) check_row(&f, i);
        for (uint32_t i = sizes[k]; i-- > 0;) { /* backwards, and every id is found */
            check_row(&f, i);
            ck_assert_uint_eq(f.s->ops->find(f.s, f.m.rows[i].id, 1000), i);
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
    ck_ok(f.s->ops->row(f.s, 3, ROW_ID, &a, &row, NULL));
    ck_assert(str_eq(row.id, f.m.rows[3].id) && str_eq(row.uri, STR("kept")) && row.vector == NULL);
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
    ck_ok(deaths_mark(&f.s->deaths, 7, born + 5));
    ck_assert_uint_eq(f.s->ops->find(f.s, id, born + 4), 7);
    ck_assert_uint_eq(f.s->ops->find(f.s, id, born + 5), ROW_NONE);
    teardown(&f);
}
END_TEST

/* --- filters ------------------------------------------------------------------------------------------------------ */

/* A needle that may occur: part of a document, or random. */
static struct str random_needle(struct rng *r, struct arena *a, const struct model *m)
{
    uint32_t length = rng_below(r, 7);
    if (m->n > 0 && rng_below(r, 4) != 0) {
        struct str document = m->rows[rng_below(r, m->n)].document;
        if (document.p != NULL && document.n >= length)
            return str_of(document.p + rng_below(r, (uint32_t)(document.n - length) + 1), length);
    }
    return random_text(r, a, rng_below(r, 4));
}

struct regexes { /* made for one test, freed with it */
    struct regex *list[64];
    uint32_t n;
};

static struct filter *random_filter(struct rng *r, struct arena *a, const struct model *m, struct regexes *re,
                                    unsigned depth)
{
    static const enum filter_kind docs[] = {FILTER_DOC_CONTAINS, FILTER_DOC_CONTAINS, FILTER_DOC_NOT_CONTAINS,
                                            FILTER_DOC_REGEX, FILTER_DOC_NOT_REGEX};
    struct filter *f = arena_zalloc(a, sizeof *f);
    uint32_t dice = rng_below(r, 10);
    if (dice < 4 && depth < 4) {
        f->kind = rng_below(r, 2) == 0 ? FILTER_AND : FILTER_OR;
        f->n_children = rng_below(r, 4);
        f->children = arena_array(a, f->n_children, sizeof(struct filter *));
        for (uint32_t i = 0; i < f->n_children; i++) f->children[i] = random_filter(r, a, m, re, depth + 1);
    } else if (dice == 9) {
        f->kind = rng_below(r, 2) == 0 ? FILTER_ID_IN : FILTER_ID_NOT_IN;
        f->n_values = rng_below(r, 5);
        f->values = arena_array(a, f->n_values, sizeof *f->values);
        for (uint32_t i = 0; i < f->n_values; i++) {
            uint32_t at = rng_below(r, m->n + 3);
            f->values[i] = (struct value){.type = VALUE_STR, .s = at < m->n ? m->rows[at].id : STR("nobody")};
        }
    } else if (dice >= 7) {
        f->kind = docs[rng_below(r, re->n < 64 ? 5 : 3)];
        f->text = random_needle(r, a, m);
        if (f->kind == FILTER_DOC_REGEX || f->kind == FILTER_DOC_NOT_REGEX) {
            static const struct str patterns[] = {{"abc", 3}, {"a", 1}, {"xyza", 4}, {"", 0}, {"b c", 3}};
            ck_ok(regex_new(patterns[rng_below(r, 5)], &re->list[re->n], NULL));
            f->regex = re->list[re->n++];
        }
    } else {
        f = random_meta_filter(r, a);
    }
    return f;
}

static void check_filter(const struct fixture *f, const struct filter *filter, uint64_t seed)
{
    struct arena a = {0};
    struct bitset found;
    ck_ok(f->s->ops->filter(f->s, f->m.n, filter, &a, &found, NULL));
    ck_assert_uint_eq(found.n_bits, f->m.n);
    for (uint32_t i = 0; i < f->m.n; i++) {
        bool want;
        ck_ok(filter_matches(filter, &f->m.rows[i], &a, &want, NULL));
        ck_assert_msg(bitset_get(&found, i) == want, "seed %llu: row %u, kind %d: the fragment says %d",
                      (unsigned long long)seed, i, filter != NULL ? (int)filter->kind : -1, !want);
    }
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
    ck_assert(topk_init(&top, &a, k) && topk_init(&want, &a, k));
    ck_ok(f->s->ops->nearest(f->s, f->m.n, &q, mask, mask != NULL ? bitset_count(mask) : f->m.n, lsn, &top, &a, NULL));
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
        ck_assert(bitset_init(&mask, &a, f.m.n));
        for (uint32_t i = 0; i < f.m.n; i++) {
            if (rng_below(&r, 3) == 0) bitset_add(&mask, i);
            if (rng_below(&r, 5) == 0) ck_ok(deaths_mark(&f.s->deaths, i, 90 + rng_below(&r, 40)));
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
        ck_assert(topk_init(&top, &a, K) && topk_init(&want, &a, K));
        ck_ok(f.s->ops->nearest(f.s, N, &q, NULL, N, 1000, &top, &a, NULL));
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

/* --- refusals ------------------------------------------------------------------------------------------------------ */

START_TEST(bad_rows_are_refused)
{
    struct vfs *vfs;
    struct fragment_writer *w;
    struct fragment_options o = {.dim = 1, .fragment_id = 1};
    float v = 1;
    struct row row = {.id = STR("a"), .vector = &v};
    ck_ok(vfs_mem_new(&vfs, NULL));
    ck_ok(fragment_writer_new(&w, vfs, "x", &o, NULL));
    ck_ok(fragment_writer_add(w, &row, 5, 1, NULL));
    ck_assert_int_eq(fragment_writer_add(w, &row, 5, 1, NULL), ERR_CORRUPT); /* the ordinal does not ascend */
    fragment_writer_free(w);
    ck_ok(fragment_writer_new(&w, vfs, "x", &o, NULL));
    ck_ok(fragment_writer_add(w, &row, 5, 1, NULL));
    ck_ok(fragment_writer_add(w, &row, 6, 1, NULL));
    struct errmsg em = {0};
    ck_assert_int_eq(fragment_writer_finish(w, &em), ERR_CORRUPT); /* the id occurs twice */
    ck_assert_ptr_nonnull(strstr(em.text, "same id"));
    fragment_writer_free(w);
    vfs_mem_free(vfs);
}
END_TEST

static void overwrite(const struct vfs *vfs, uint64_t at, const void *p, size_t n)
{
    struct vfs_file *file;
    ck_ok(vfs->open(vfs->ctx, "fragment", VFS_WRITE, &file, NULL));
    ck_ok(vfs->pwrite(file, p, n, at, NULL));
    vfs->close(file);
}

START_TEST(headers_are_checked)
{
    struct rng r = {1};
    struct vfs *vfs;
    struct model m;
    struct fragment *f;
    struct fragment_header h;
    struct vfs_file *file;
    ck_ok(vfs_mem_new(&vfs, NULL));
    model_init(&m, 30, DIM, &r);
    ck_ok(write_model(&m, vfs, "fragment", SPACE_IP));
    ck_ok(vfs->open(vfs->ctx, "fragment", VFS_WRITE, &file, NULL));
    ck_ok(vfs->pread(file, &h, sizeof h, 0, NULL));
    for (uint32_t at = 0; at < sizeof h; at += 1 + rng_below(&r, 9)) { /* every damaged byte of the header is noticed */
        uint8_t byte = (uint8_t)(((const uint8_t *)&h)[at] ^ 0x41);
        overwrite(vfs, at, &byte, 1);
        enum err e = fragment_open(&f, vfs, "fragment", NULL);
        ck_assert_msg(e == ERR_CORRUPT || (e == ERR_NEWER && at >= 8 && at < 12), "byte %u", at);
        overwrite(vfs, 0, &h, sizeof h);
    }
    struct fragment_header newer = h;
    newer.version = FRAGMENT_VERSION + 1;
    newer.crc = crc32c(0, &newer, sizeof newer - 4);
    overwrite(vfs, 0, &newer, sizeof newer);
    ck_assert_int_eq(fragment_open(&f, vfs, "fragment", NULL), ERR_NEWER);
    overwrite(vfs, 0, &h, sizeof h);
    ck_ok(fragment_open(&f, vfs, "fragment", NULL));
    fragment_segment(f)->ops->free(fragment_segment(f));
    static const uint64_t sizes[] = {0, 1, 4095, 4096, 5000};
    for (size_t i = sizeof sizes / sizeof sizes[0]; i-- > 0;) { /* a file cut short */
        ck_ok(vfs->truncate(file, sizes[i], NULL));
        ck_assert_int_eq(fragment_open(&f, vfs, "fragment", NULL), ERR_CORRUPT);
    }
    ck_assert_int_eq(fragment_open(&f, vfs, "absent", NULL), ERR_NOT_FOUND);
    vfs->close(file);
    arena_free(&m.arena);
    vfs_mem_free(vfs);
}
END_TEST

/* Uses everything of a fragment that may be damaged: answers or ERR_CORRUPT, nothing else. */
static void exercise(struct segment *s, const struct model *m, struct rng *r)
{
    struct arena a = {0};
    struct regexes re = {.n = 0};
    for (uint32_t i = 0; i < fragment_n_rows(s); i++) {
        struct row row = {0};
        enum err e = s->ops->row(s, i, ROW_ALL, &a, &row, NULL);
        ck_assert(e == ERR_OK || e == ERR_CORRUPT || e == ERR_NOMEM);
        uint32_t found = s->ops->find(s, m->rows[i].id, 1000);
        ck_assert(found == ROW_NONE || found < fragment_n_rows(s));
    }
    for (int i = 0; i < 20; i++) {
        struct bitset found;
        enum err e = s->ops->filter(s, fragment_n_rows(s), random_filter(r, &a, m, &re, 0), &a, &found, NULL);
        ck_assert(e == ERR_OK || e == ERR_CORRUPT || e == ERR_NOMEM);
    }
    for (uint32_t i = 0; i < re.n; i++) regex_free(re.list[i]);
    arena_free(&a);
}

/* Bytes behind the header are overwritten: fragment_verify always notices, and using the fragment is safe (asan). */
START_TEST(damage_is_noticed_and_survived)
{
    struct rng r = {1234};
    struct vfs *vfs;
    struct model m;
    struct fragment *f;
    struct vfs_file *file;
    uint64_t size;
    ck_ok(vfs_mem_new(&vfs, NULL));
    model_init(&m, 120, DIM, &r);
    ck_ok(write_model(&m, vfs, "fragment", SPACE_L2));
    ck_ok(vfs->open(vfs->ctx, "fragment", VFS_WRITE, &file, NULL));
    ck_ok(vfs->size(file, &size, NULL));
    for (int round = 0; round < 400; round++) {
        uint8_t before[8], after[8];
        ck_ok(fragment_open(&f, vfs, "fragment", NULL));
        const struct fragment_section *sections = f->header->sections;
        const struct fragment_section *s = &sections[rng_below(&r, f->header->n_sections)];
        uint32_t n = 1 + rng_below(&r, 8);
        /* heads and offsets matter most: every other time near the front */
        uint64_t span = rng_below(&r, 2) == 0 && s->length > 80 ? 80 : s->length;
        if (span <= n) n = 1;
        uint64_t at = s->offset + rng_below(&r, (uint32_t)(span - n + 1));
        fragment_segment(f)->ops->free(fragment_segment(f));
        ck_ok(vfs->pread(file, before, n, at, NULL));
        memcpy(after, before, n);
        for (uint32_t i = 0; i < n; i++) after[i] = (uint8_t)(before[i] + 1 + rng_below(&r, 255));
        ck_ok(vfs->pwrite(file, after, n, at, NULL));
        enum err e = fragment_open(&f, vfs, "fragment", NULL);
        ck_assert(e == ERR_OK || e == ERR_CORRUPT || e == ERR_NEWER);
        if (e == ERR_OK) {
            ck_assert_int_eq(fragment_verify(fragment_segment(f), NULL), ERR_CORRUPT);
            exercise(fragment_segment(f), &m, &r);
            fragment_segment(f)->ops->free(fragment_segment(f));
        }
        ck_ok(vfs->pwrite(file, before, n, at, NULL));
    }
    vfs->close(file);
    arena_free(&m.arena);
    vfs_mem_free(vfs);
}
END_TEST

/* --- faults ------------------------------------------------------------------------------------------------------- */

static bool fail_at(void *ctx, size_t size)
{
    uint32_t *left = ctx;
    (void)size;
    return *left == 0 || --*left > 0;
}

/* The n-th allocation fails, for every n until none does: ERR_NOMEM, nothing left over (asan looks on). */
START_TEST(short_memory_is_reported)
{
    struct rng r = {6};
    struct model m;
    model_init(&m, 60, 40, &r);
    for (uint32_t fail = 1, done = 0; done == 0; fail++) {
        struct vfs *vfs;
        struct fragment *f = NULL;
        ck_ok(vfs_mem_new(&vfs, NULL));
        uint32_t left = fail;
        mem_set_hook(fail_at, &left);
        enum err e = write_model(&m, vfs, "fragment", SPACE_L2);
        if (e == ERR_OK) e = fragment_open(&f, vfs, "fragment", NULL);
        if (e == ERR_OK) {
            struct arena a = {0};
            struct row row;
            e = f->segment.ops->row(&f->segment, 7, ROW_ALL, &a, &row, NULL);
            arena_free(&a);
        }
        mem_set_hook(NULL, NULL);
        if (f != NULL) f->segment.ops->free(&f->segment);
        ck_assert_msg(e == (left == 0 ? ERR_NOMEM : ERR_OK), "allocation %u: %s", fail, err_text(e));
        done = e == ERR_OK;
        vfs_mem_free(vfs);
    }
    arena_free(&m.arena);
}
END_TEST

/* A table of files whose n-th write or sync fails. */
struct failing {
    struct vfs table; /* first: its address is what files know */
    const struct vfs *real;
};

static uint32_t writes_left; /* of the one test that uses it */

static enum err failing_pwrite(struct vfs_file *f, const void *p, size_t n, uint64_t offset, struct errmsg *em)
{
    if (writes_left > 0 && --writes_left == 0) return errmsg_set(em, ERR_NO_SPACE, "no space");
    return vfs_posix()->pwrite(f, p, n, offset, em);
}

static enum err failing_sync(struct vfs_file *f, bool data_only, struct errmsg *em)
{
    (void)f, (void)data_only;
    if (writes_left > 0 && --writes_left == 0) return errmsg_set(em, ERR_IO, "sync");
    return ERR_OK;
}

START_TEST(failed_writes_are_reported)
{
    struct rng r = {6};
    struct model m;
    struct vfs *mem;
    uint32_t n_failed = 0;
    model_init(&m, 3000, 200, &r); /* some writes of 1 MiB */
    ck_ok(vfs_mem_new(&mem, NULL));
    struct vfs table = *mem;
    table.pwrite = failing_pwrite;
    table.sync = failing_sync;
    for (uint32_t fail = 1;; fail++) {
        writes_left = fail;
        enum err e = write_model(&m, &table, "fragment", SPACE_L2);
        if (writes_left > 0) {
            ck_ok(e);
            break;
        }
        ck_assert(e == ERR_NO_SPACE || e == ERR_IO);
        n_failed++;
    }
    ck_assert_uint_ge(n_failed, 4);
    writes_left = 0;
    arena_free(&m.arena);
    vfs_mem_free(mem);
}
END_TEST

/* --- large ones, and many readers ----------------------------------------------------------------------------------- */

static enum err count_name(void *ctx, struct str name, bool is_dir)
{
    (void)is_dir;
    ck_assert_msg(str_eq(name, STR("big")), "left over: %.*s", STR_ARG(name));
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
    ck_assert(vfs_join(path, sizeof path, dir, "big"));
    struct fragment_options o = {.dim = 2, .fragment_id = 7};
    ck_ok(fragment_writer_new(&w, vfs, path, &o, NULL));
    struct str *documents = arena_array(&a, N, sizeof *documents);
    char id[1200];
    for (uint32_t i = 0; i < N; i++) {
        float v[2] = {(float)i, 0};
        memset(id, 'x', sizeof id);
        int n = snprintf(id, sizeof id, "%u", i);
        id[n] = 'x';
        documents[i] = random_text(&r, &a, 1000);
        struct row row = {.id = str_of(id, sizeof id), .document = documents[i], .vector = v};
        ck_ok(fragment_writer_add(w, &row, i, 1, NULL));
    }
    ck_ok(fragment_writer_finish(w, NULL));
    fragment_writer_free(w);
    ck_ok(vfs->list(vfs->ctx, dir, count_name, &n_files, NULL));
    ck_assert_uint_eq(n_files, 1);
    ck_ok(fragment_open(&f, vfs, path, NULL));
    struct segment *s = fragment_segment(f);
    ck_ok(fragment_verify(s, NULL));
    for (uint32_t i = 0; i < N; i += 97) {
        struct row row;
        memset(id, 'x', sizeof id);
        int n = snprintf(id, sizeof id, "%u", i);
        id[n] = 'x';
        ck_assert_uint_eq(s->ops->find(s, str_of(id, sizeof id), 1), i);
        ck_ok(s->ops->row(s, i, ROW_DOCUMENT, &a, &row, NULL));
        ck_assert(str_eq(row.document, documents[i]));
    }
    struct filter contains = {.kind = FILTER_DOC_CONTAINS, .text = STR("abcabcabc")};
    struct bitset found;
    ck_ok(s->ops->filter(s, N, &contains, &a, &found, NULL));
    for (uint32_t i = 0; i < N; i++) ck_assert(bitset_get(&found, i) == str_contains(documents[i], contains.text));
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
      nearest_through_codes, bad_rows_are_refused, headers_are_checked, damage_is_noticed_and_survived,
      short_memory_is_reported, failed_writes_are_reported, a_large_fragment_spills, readers_share_a_fragment)
