/* test_codes.c - the section of vector codes: its bytes, its kernels, its estimates, what is refused. */
#include "tests/lib/suite.h"

#include <math.h>

#include "core/crc32c.h"
#include "core/mem.h"
#include "index/codes_internal.h"
#include "index/rotation.h"

static const enum simd_level levels[] = {SIMD_PORTABLE, SIMD_AVX2, SIMD_AVX512, SIMD_NEON};
enum { N_LEVELS = sizeof levels / sizeof levels[0] };

/* Whole numbers from -100 to 100: the same on every machine, unlike what passes through the C library's log. */
static float *whole_numbers(size_t n, uint64_t seed)
{
    struct rng r = {seed};
    float *v = mem_array(n + 1, sizeof *v);
    ck_assert_ptr_nonnull(v);
    for (size_t i = 0; i < n; i++) v[i] = (float)rng_below(&r, 201) - 100;
    return v;
}

struct section {
    struct buf out;
    struct codes codes;
};

static void build(struct section *s, const float *rows, uint32_t n, uint32_t dim, enum space space)
{
    struct errmsg em;
    *s = (struct section){0};
    ck_ok(codes_build(rows, n, dim, space, 42, &s->out, &em));
    ck_ok(codes_open(&s->codes, (struct bytes){s->out.p, s->out.n}, n, dim, space, &em));
}

/* --- rotation ----------------------------------------------------------------------------------------------------- */

START_TEST(rotation_keeps_products)
{
    const uint32_t dims[] = {64, 128, 192, 320, 384, 768, 960, 1536, 3072};
    struct rng r = {5};
    for (size_t t = 0; t < sizeof dims / sizeof dims[0]; t++) {
        uint32_t dim = dims[t];
        float *a = mem_array(dim, 4), *b = mem_array(dim, 4);
        ck_assert(a != NULL && b != NULL);
        for (uint32_t i = 0; i < dim; i++) {
            a[i] = rng_gauss(&r);
            b[i] = rng_gauss(&r);
        }
        double aa = codes_dot(a, a, dim), ab = codes_dot(a, b, dim), bb = codes_dot(b, b, dim);
        rotation_apply(a, dim, 7);
        rotation_apply(b, dim, 7);
        ck_assert_double_eq_tol(codes_dot(a, a, dim), aa, 1e-5 * aa);
        ck_assert_double_eq_tol(codes_dot(b, b, dim), bb, 1e-5 * bb);
        ck_assert_double_eq_tol(codes_dot(a, b, dim), ab, 1e-5 * (aa + bb));
        mem_free(a);
        mem_free(b);
    }
}
END_TEST

START_TEST(rotation_spreads_one_coordinate)
{
    for (uint32_t at = 0; at < 384; at += 7) {
        float v[384] = {0}, largest = 0;
        v[at] = 1;
        rotation_apply(v, 384, 42);
        for (int i = 0; i < 384; i++) largest = fabsf(v[i]) > largest ? fabsf(v[i]) : largest;
        ck_assert_msg(largest < 0.3f, "coordinate %u: %g", at, (double)largest);
    }
}
END_TEST

START_TEST(padding)
{
    ck_assert_uint_eq(rotation_padded(1), 64);
    ck_assert_uint_eq(rotation_padded(64), 64);
    ck_assert_uint_eq(rotation_padded(65), 128);
    ck_assert_uint_eq(rotation_padded(UINT32_MAX - 63), UINT32_MAX - 63);
    ck_assert_uint_eq(rotation_padded(UINT32_MAX - 62), 0);
}
END_TEST

/* The bytes are a file format: these checksums change only together with CODES_VERSION. */
START_TEST(format_is_fixed)
{
    const struct {
        enum space space;
        uint32_t n, dim, crc;
    } golden[] = {{SPACE_L2, 70, 100, 0xb6d6f9c}, {SPACE_COSINE, 33, 384, 0xa7b6bc9c}, {SPACE_IP, 64, 33, 0x32a9a180}};
    for (size_t i = 0; i < 3; i++) {
        float *rows = whole_numbers((size_t)golden[i].n * golden[i].dim, 99);
        struct section s;
        build(&s, rows, golden[i].n, golden[i].dim, golden[i].space);
        uint32_t crc = crc32c(0, s.out.p, s.out.n);
        ck_assert_msg(crc == golden[i].crc, "space %d: checksum %#x", (int)golden[i].space, crc);
        buf_free(&s.out);
        mem_free(rows);
    }
}
END_TEST

START_TEST(layout)
{
    enum { N = 70, DIM = 100 };
    float *rows = whole_numbers(N * DIM, 1);
    struct section s;
    build(&s, rows, N, DIM, SPACE_L2);
    const struct codes *c = &s.codes;
    ck_assert_uint_eq(c->n, N);
    ck_assert_uint_eq(c->padded_dim, 128);
    ck_assert_uint_eq(c->first_dims, 128); /* half of so few say too little */
    ck_assert_uint_eq(s.out.n, 64 + 128 * 4 + 3 * (128 * 4 + 3 * 32 * 4) + 64 + 64 + 3 * 3 * 32 * 2);
    ck_assert_ptr_eq(c->centroid, s.out.p + 64);
    ck_assert_ptr_eq(c->blocks, s.out.p + 64 + 512);
    ck_assert_ptr_eq(c->factors, s.out.p + 64 + 512 + 3 * 512);
    ck_assert_ptr_eq(c->look_units, c->factors + 3 * 96);
    ck_assert_ptr_eq(c->unlimited, c->look_units + 16);
    ck_assert_ptr_eq(c->looks, c->unlimited + 16);
    for (uint32_t i = 0; i < N; i++) {
        float r[128] = {0}, mean[128] = {0};
        for (uint32_t d = 0; d < DIM; d++) {
            double sum = 0;
            for (uint32_t j = 0; j < N; j++) sum += (double)rows[j * DIM + d];
            mean[d] = (float)(sum / N);
            r[d] = rows[i * DIM + d] - mean[d];
        }
        rotation_apply(r, 128, 42);
        double square = codes_dot(r, r, 128), l1 = 0;
        for (uint32_t d = 0; d < 128; d++) {
            uint8_t byte = c->blocks[i / 32 * 512 + d / 4 * 16 + i % 16];
            ck_assert_int_eq(byte >> (i % 32 / 16 * 4 + d % 4) & 1, signbit(r[d]) == 0);
            l1 += (double)fabsf(r[d]);
        }
        const float *f = c->factors + i / 32 * 96;
        double p2 = l1 * l1 / square / 128;
        ck_assert_double_eq_tol((double)f[i % 32], square, 1e-5 * square);
        ck_assert_double_eq_tol((double)f[32 + i % 32], -2 * square / l1, 1e-4 * square / l1);
        double err = sqrt(square * (1 - p2) / (p2 * 127));
        ck_assert_double_eq_tol((double)f[64 + i % 32], err, 1e-4 * err);
    }
    for (uint32_t j = N % 32; j < 32; j++) ck_assert(c->factors[2 * 96 + j] == INFINITY);
    buf_free(&s.out);
    mem_free(rows);
}
END_TEST

START_TEST(any_alignment_builds_the_same)
{
    enum { N = 50, DIM = 65 };
    float *rows = whole_numbers(N * DIM, 2);
    struct section a;
    build(&a, rows, N, DIM, SPACE_COSINE);
    char *moved = mem_alloc(N * DIM * 4 + 3);
    ck_assert_ptr_nonnull(moved);
    memcpy(moved + 3, rows, N * DIM * 4);
    const void *unaligned = moved + 3; /* only ever passed on as bytes */
    struct buf out = {0};
    struct errmsg em;
    buf_add(&out, "x", 1);
    const float *p;
    memcpy(&p, &unaligned, sizeof p);
    ck_ok(codes_build(p, N, DIM, SPACE_COSINE, 42, &out, &em));
    ck_assert_uint_eq(out.n, 64 + a.out.n);
    ck_assert_mem_eq(out.p + 64, a.out.p, a.out.n);
    buf_free(&out);
    buf_free(&a.out);
    mem_free(moved);
    mem_free(rows);
}
END_TEST

/* --- kernels ------------------------------------------------------------------------------------------------------ */

static void check_kernels(uint32_t n_groups, uint32_t n_first, struct rng *r, bool is_full)
{
    uint8_t *block = mem_alloc((size_t)n_groups * 16), *table = mem_alloc((size_t)n_groups * 16);
    ck_assert(block != NULL && table != NULL);
    float factors[96];
    uint32_t naive[32] = {0};
    for (size_t i = 0; i < (size_t)n_groups * 16; i++) {
        block[i] = (uint8_t)rng_next(r);
        table[i] = (uint8_t)(is_full ? CODES_ENTRY_MAX : rng_below(r, CODES_ENTRY_MAX + 1));
    }
    for (int i = 0; i < 96; i++) factors[i] = rng_gauss(r);
    factors[5] = NAN;
    for (uint32_t row = 0; row < 32; row++) {
        for (uint32_t g = 0; g < n_groups; g++) {
            unsigned bits = block[g * 16 + row % 16] >> (row / 16 * 4) & 15;
            naive[row] += table[g * 16 + bits];
        }
    }
    struct codes_scan s = {.table = table,
                           .n_groups = n_groups,
                           .n_first = n_first,
                           .step = 0.37f,
                           .shift = 11.3f,
                           .base = 0.7f,
                           .margin = 1.9f,
                           .step_1 = 0.8f,
                           .shift_1 = 9,
                           .margin_1 = 4};
    float estimate[32] = {0}, lower[32] = {0}, limit = rng_gauss(r) * 10;
    uint32_t wanted = (uint32_t)rng_next(r);
    uint32_t hits =
        codes_kernels_portable.scan(block, block + (size_t)n_first * 16, factors, &s, limit, wanted, estimate, lower);
    if ((wanted >> 5 & 1) != 0) ck_assert((hits >> 5 & 1) == 1); /* NaN */
    ck_assert_uint_eq(hits & ~wanted, 0);
    for (uint32_t i = 0; i < 32 && hits != 0; i++) {
        float e = (s.base + factors[i]) + factors[32 + i] * ((float)naive[i] * s.step - s.shift);
        ck_assert(i == 5 || estimate[i] == e);
    }
    for (size_t l = 0; l < N_LEVELS; l++) {
        const struct codes_kernels *k = codes_kernels_at(levels[l]);
        ck_assert((k == NULL) == (distance_ops_at(levels[l]) == NULL));
        if (k == NULL) continue;
        uint32_t sums[32];
        k->sums(block, &s, sums);
        ck_assert_msg(memcmp(sums, naive, sizeof sums) == 0, "level %d, %u groups", (int)levels[l], n_groups);
        float estimate_l[32] = {0}, lower_l[32] = {0};
        ck_assert_uint_eq(k->scan(block, block + (size_t)n_first * 16, factors, &s, limit, wanted, estimate_l, lower_l),
                          hits);
        for (int i = 0; i < 32 && hits != 0; i++) {
            if (i == 5) continue; /* NaN */
            ck_assert_msg(estimate_l[i] == estimate[i] && lower_l[i] == lower[i], "level %d row %d", (int)levels[l], i);
        }
    }
    mem_free(block);
    mem_free(table);
}

START_TEST(levels_agree_to_the_bit)
{
    struct rng r = {31};
    for (uint32_t n_groups = 16; n_groups <= 400; n_groups += 16) {
        check_kernels(n_groups, n_groups, &r, false);
        check_kernels(n_groups, 16 * (1 + rng_below(&r, n_groups / 16)), &r, false);
    }
    const uint32_t large[] = {1024, 1040, 2048, 2064, 4112};
    for (size_t i = 0; i < 5; i++) {
        check_kernels(large[i], large[i], &r, false);
        check_kernels(large[i], large[i] / 32 * 16, &r, false);
        check_kernels(large[i], 16, &r, true);
    }
}
END_TEST

START_TEST(table_holds_the_products)
{
    enum { DIM = 128 };
    struct rng r = {8};
    uint8_t table[DIM * 4];
    for (int round = 0; round < 50; round++) {
        float w[DIM];
        for (int d = 0; d < DIM; d++) w[d] = rng_gauss(&r) * (round % 2 == 0 ? 1 : 1e-12f);
        struct codes_scan s;
        codes_table(w, DIM, table, &s);
        ck_assert(s.n_groups == DIM / 4 && s.step > 0);
        for (uint32_t g = 0; g < DIM / 4; g++) {
            double l1 = 0;
            for (int i = 0; i < 4; i++) l1 += (double)fabsf(w[g * 4 + (uint32_t)i]);
            for (uint32_t v = 0; v < 16; v++) {
                double product = 0;
                for (uint32_t i = 0; i < 4; i++) product += (double)((v >> i & 1) != 0 ? w[g * 4 + i] : -w[g * 4 + i]);
                double entry = (double)table[g * 16 + v] * (double)s.step;
                ck_assert_double_le(fabs(entry - (product + l1)), 0.501 * (double)s.step);
            }
        }
    }
    float zero[DIM] = {0};
    struct codes_scan s;
    codes_table(zero, DIM, table, &s);
    ck_assert(s.step == 0 && s.shift == 0);
}
END_TEST

/* --- estimates ---------------------------------------------------------------------------------------------------- */

START_TEST(errors_are_unit_normal)
{
    enum { N = 320, DIM = 200, QUERIES = 20 };
    struct rng r = {12};
    float *rows = mem_array(N * DIM, 4);
    ck_assert_ptr_nonnull(rows);
    for (size_t i = 0; i < N * DIM; i++) rows[i] = rng_gauss(&r) + 3;
    struct section sec;
    build(&sec, rows, N, DIM, SPACE_L2);
    double sum = 0, squares = 0;
    for (int t = 0; t < QUERIES; t++) {
        float q[DIM], w[256] = {0};
        uint8_t table[256 * 4];
        for (int d = 0; d < DIM; d++) w[d] = q[d] = rng_gauss(&r) + 2.5f;
        rotation_apply(w, 256, 42);
        for (int d = 0; d < 256; d++) w[d] -= sec.codes.centroid[d];
        struct codes_scan s;
        codes_table(w, 256, table, &s);
        double base = codes_dot(w, w, 256);
        s.base = (float)base;
        s.margin = (float)(2 * sqrt(base));
        const size_t first = (size_t)sec.codes.first_dims * 4;
        for (uint32_t b = 0; b < N / 32; b++) {
            uint8_t block[256 * 4];
            float estimate[32], lower[32];
            memcpy(block, sec.codes.blocks + b * first, first);
            memcpy(block + first, sec.codes.rests + b * (sizeof block - first), sizeof block - first);
            codes_kernels_portable.scan(block, NULL, sec.codes.factors + (size_t)b * 96, &s, INFINITY, UINT32_MAX,
                                        estimate, lower);
            for (uint32_t i = 0; i < 32; i++) {
                double exact = (double)distance_ops()->l2(q, rows + (size_t)(b * 32 + i) * DIM, DIM);
                double error = ((double)estimate[i] - exact) / (double)(estimate[i] - lower[i]);
                sum += error;
                squares += error * error;
            }
        }
    }
    double n = N * QUERIES, mean = sum / n, deviation = sqrt(squares / n - mean * mean);
    ck_assert_msg(fabs(mean) < 0.1, "mean %g", mean);
    ck_assert_msg(deviation > 0.85 && deviation < 1.15, "deviation %g", deviation);
    buf_free(&sec.out);
    mem_free(rows);
}
END_TEST

START_TEST(every_dimension_finds_what_is_there)
{
    const uint32_t dims[] = {1, 2, 3, 31, 32, 33, 64, 100, 384, 1536, 3072, 4200};
    enum { N = 257 };
    for (size_t t = 0; t < sizeof dims / sizeof dims[0]; t++) {
        for (int space = SPACE_L2; space <= SPACE_IP; space++) {
            uint32_t dim = dims[t];
            float *rows = whole_numbers((size_t)N * dim, 3 + t);
            float *norm2 = mem_array(N, 4);
            ck_assert_ptr_nonnull(norm2);
            for (uint32_t i = 0; i < N; i++) norm2[i] = distance_ops()->dot(rows + i * dim, rows + i * dim, dim);
            struct section s;
            build(&s, rows, N, dim, (enum space)space);
            ck_assert_uint_eq(s.codes.n, dim < CODES_MIN_DIM ? 0 : N);
            struct codes_rows behind = {rows, norm2, codes_all_visible, codes_row_as_ordinal, NULL};
            for (uint32_t i = 0; i < N && s.codes.n > 0; i += 16) {
                struct arena a = {0};
                struct query_vector q;
                struct topk got, want;
                struct errmsg em;
                query_vector_init(&q, rows + i * dim, dim, (enum space)space, &a);
                ck_assert(topk_init(&got, &a, 5) && topk_init(&want, &a, 5));
                ck_ok(codes_search(&s.codes, &behind, &q, NULL, 6, &got, &a, &em));
                exact_search(&behind, N, &q, NULL, &want);
                topk_sort(&got);
                topk_sort(&want);
                ck_assert_uint_eq(got.n, 5);
                for (int j = 0; j < 5; j++)
                    ck_assert_msg(got.heap[j].row == want.heap[j].row, "space %d dim %u row %u", space, dim, i);
                if (space != SPACE_IP) ck_assert_uint_eq(got.heap[0].row, i);
                arena_free(&a);
            }
            buf_free(&s.out);
            mem_free(norm2);
            mem_free(rows);
        }
    }
}
END_TEST

/* --- what is refused ---------------------------------------------------------------------------------------------- */

START_TEST(damage_is_refused)
{
    enum { N = 40, DIM = 64 };
    float *rows = whole_numbers(N * DIM, 4);
    struct section s;
    build(&s, rows, N, DIM, SPACE_L2);
    struct bytes all = {s.out.p, s.out.n};
    struct codes c;
    struct errmsg em;
    for (size_t n = 0; n < all.n; n++) {
        char *cut = mem_dup(all.p, n + 1); /* exactly so long that a sanitizer sees a read beyond n + 1 */
        ck_assert_ptr_nonnull(cut);
        ck_assert_int_eq(codes_open(&c, (struct bytes){cut, n}, N, DIM, SPACE_L2, &em), ERR_CORRUPT);
        mem_free(cut);
    }
    struct {
        size_t at;
        uint32_t value;
        enum err expected;
    } damage[] = {{0, 1, ERR_CORRUPT},          {4, 0, ERR_CORRUPT},           {4, 5, ERR_NEWER},
                  {8, 0, ERR_CORRUPT},          {8, N + 1, ERR_CORRUPT},       {8, N - 1, ERR_CORRUPT},
                  {8, UINT32_MAX, ERR_CORRUPT}, {12, DIM + 1, ERR_CORRUPT},    {16, 128, ERR_CORRUPT},
                  {16, 0, ERR_CORRUPT},         {16, UINT32_MAX, ERR_CORRUPT}, {20, SPACE_IP, ERR_CORRUPT},
                  {32, 64, ERR_CORRUPT},        {36, 1, ERR_CORRUPT},          {4, 1, ERR_CORRUPT},
                  {4, 2, ERR_CORRUPT},          {4, 3, ERR_CORRUPT},           {44, 0, ERR_CORRUPT},
                  {44, 128, ERR_CORRUPT},       {44, UINT32_MAX, ERR_CORRUPT}};
    for (size_t i = 0; i < sizeof damage / sizeof damage[0]; i++) {
        uint32_t saved = le32_get(s.out.p + damage[i].at);
        le32_put(s.out.p + damage[i].at, damage[i].value);
        ck_assert_msg(codes_open(&c, all, N, DIM, SPACE_L2, &em) == damage[i].expected, "offset %zu", damage[i].at);
        le32_put(s.out.p + damage[i].at, saved);
    }
    ck_assert_int_eq(codes_open(&c, all, N + 1, DIM, SPACE_L2, &em), ERR_CORRUPT);
    ck_assert_int_eq(codes_open(&c, all, N, DIM + 1, SPACE_L2, &em), ERR_CORRUPT);
    ck_assert_int_eq(codes_open(&c, all, N, DIM, SPACE_COSINE, &em), ERR_CORRUPT);
    char *odd = mem_alloc(all.n + 1);
    ck_assert_ptr_nonnull(odd);
    memcpy(odd + 1, all.p, all.n);
    ck_assert_int_eq(codes_open(&c, (struct bytes){odd + 1, all.n}, N, DIM, SPACE_L2, &em), ERR_CORRUPT);
    mem_free(odd);
    ck_ok(codes_open(&c, all, N, DIM, SPACE_L2, &em));
    buf_free(&s.out);
    mem_free(rows);
}
END_TEST

/* Damage behind the header passes codes_open (checksums are the fragment's); a search over it must stay in bounds. */
START_TEST(search_survives_damaged_content)
{
    enum { N = 500, DIM = 64 };
    float *rows = whole_numbers(N * DIM, 6);
    struct section s;
    build(&s, rows, N, DIM, SPACE_L2);
    struct rng r = {66};
    struct codes_rows behind = {rows, NULL, codes_all_visible, codes_row_as_ordinal, NULL};
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < 500; i++) s.out.p[64 + rng_below(&r, (uint32_t)s.out.n - 64)] = (char)rng_next(&r);
        struct arena a = {0};
        struct query_vector q;
        struct topk top;
        struct errmsg em;
        query_vector_init(&q, rows + rng_below(&r, N) * DIM, DIM, SPACE_L2, &a);
        ck_assert(topk_init(&top, &a, 5));
        ck_ok(codes_search(&s.codes, &behind, &q, NULL, 2.5f, &top, &a, &em));
        ck_assert_uint_le(top.n, 5);
        for (uint32_t i = 0; i < top.n; i++) ck_assert_uint_lt(top.heap[i].row, N);
        arena_free(&a);
    }
    buf_free(&s.out);
    mem_free(rows);
}
END_TEST

static bool fail_when_zero(void *ctx, size_t size)
{
    (void)size;
    int *left = ctx;
    return (*left)-- != 0;
}

START_TEST(short_memory_is_reported)
{
    enum { N = 2000, DIM = 64 };
    float *rows = whole_numbers(N * DIM, 7);
    struct section s;
    build(&s, rows, N, DIM, SPACE_L2);
    struct codes_rows behind = {rows, NULL, codes_all_visible, codes_row_as_ordinal, NULL};
    struct errmsg em;
    int n_failed = 0;
    for (int nth = 0;; nth++) {
        struct buf out = {0};
        int left = nth;
        mem_set_hook(fail_when_zero, &left);
        enum err e = codes_build(rows, N, DIM, SPACE_L2, 1, &out, &em);
        mem_set_hook(NULL, NULL);
        ck_assert(e == ERR_OK || (e == ERR_NOMEM && out.n == 0));
        buf_free(&out);
        if (e == ERR_OK) break;
        n_failed++;
    }
    ck_assert_int_ge(n_failed, 3);
    n_failed = 0;
    for (int nth = 0;; nth++) {
        struct arena a = {0};
        struct query_vector q;
        struct topk top;
        query_vector_init(&q, rows, DIM, SPACE_L2, &a);
        ck_assert(topk_init(&top, &a, 60));
        int left = nth;
        mem_set_hook(fail_when_zero, &left);
        enum err e = codes_search(&s.codes, &behind, &q, NULL, 50, &top, &a, &em);
        mem_set_hook(NULL, NULL);
        ck_assert(e == ERR_OK || e == ERR_NOMEM);
        arena_free(&a);
        if (e == ERR_OK) break;
        n_failed++;
    }
    ck_assert_int_ge(n_failed, 1);
    buf_free(&s.out);
    mem_free(rows);
}
END_TEST

START_TEST(ceiling_leaves_the_buffer)
{
    enum { N = 100, DIM = 64 };
    float *rows = whole_numbers(N * DIM, 9);
    struct buf out = {.max = 1024};
    struct errmsg em;
    buf_add(&out, "abc", 3);
    ck_assert_int_eq(codes_build(rows, N, DIM, SPACE_L2, 1, &out, &em), ERR_TOO_LARGE);
    ck_assert_uint_eq(out.n, 3);
    buf_free(&out);
    mem_free(rows);
}
END_TEST

TESTS(codes, rotation_keeps_products, rotation_spreads_one_coordinate, padding, format_is_fixed, layout,
      any_alignment_builds_the_same, levels_agree_to_the_bit, table_holds_the_products, errors_are_unit_normal,
      every_dimension_finds_what_is_there, damage_is_refused, search_survives_damaged_content, short_memory_is_reported,
      ceiling_leaves_the_buffer)
