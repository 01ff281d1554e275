/* test_codes_looks.c - looks: the same on every level, and never tighter than the bounds they stand for. */
#include "tests/lib/suite.h"

#include <math.h>

#include "core/mem.h"
#include "index/codes_internal.h"

static const enum simd_level levels[] = {SIMD_PORTABLE, SIMD_AVX2, SIMD_AVX512, SIMD_NEON};
enum { N_LEVELS = sizeof levels / sizeof levels[0] };

/* --- levels ------------------------------------------------------------------------------------------------------- */

enum { BLOCKS = 21 };

/* A stretch with everything behind it. */
struct room {
    uint8_t blocks[BLOCKS * 512 * 16], rests[BLOCKS * 512 * 16], table[512 * 16];
    int16_t looks[BLOCKS * CODES_BLOCK_LOOKS];
    uint32_t unlimited[BLOCKS], wanted[BLOCKS], places[BLOCKS], hits[BLOCKS], n;
    float factors[BLOCKS * CODES_BLOCK_FACTORS], estimate[32], lower[32];
    uint16_t sums[BLOCKS * CODES_BLOCK_ROWS];
};

static struct codes_stretch stretch_of(struct room *r)
{
    return (struct codes_stretch){r->blocks, r->rests, r->looks, r->unlimited, r->factors, r->sums, r->wanted};
}

/* A number of any size, the ends of the range more often than others. */
static int16_t any_int16(struct rng *r)
{
    switch (rng_below(r, 8)) {
    case 0:
        return INT16_MIN;
    case 1:
        return INT16_MAX;
    case 2:
        return 0;
    default:
        return (int16_t)rng_next(r);
    }
}

static void run_kernels(const struct codes_kernels *k, struct room *r, const struct codes_scan *s,
                        const struct codes_look *first, const struct codes_look *second)
{
    struct codes_stretch t = stretch_of(r);
    k->first(&t, 0, 5, s, first, r->hits);
    k->first(&t, 5, BLOCKS - 5, s, first, r->hits + 5);
    for (uint32_t i = 0; i < BLOCKS; i++) r->places[i] = i;
    r->n = k->look(&t, r->places, BLOCKS, first, r->places);
    struct codes_part rest = codes_part(&t, s, s->n_first, s->n_groups);
    if (rest.n_bytes > 0) k->add(&t, r->places, r->n, &rest);
    r->n = k->look(&t, r->places, r->n, second, r->places);
    if (r->n > 0) r->hits[0] ^= k->finish(&t, r->places[r->n - 1], s, 0.5f, r->estimate, r->lower);
}

static void check_levels(struct rng *r, uint32_t n_groups, uint32_t n_first, bool is_full)
{
    struct room *room = mem_zalloc(sizeof *room), *want = mem_alloc(sizeof *want), *got = mem_alloc(sizeof *got);
    ck_assert(room != NULL && want != NULL && got != NULL);
    for (size_t i = 0; i < sizeof room->blocks; i++) room->blocks[i] = (uint8_t)rng_next(r);
    for (size_t i = 0; i < sizeof room->rests; i++) room->rests[i] = (uint8_t)rng_next(r);
    for (size_t i = 0; i < sizeof room->table; i++)
        room->table[i] = (uint8_t)(is_full ? CODES_ENTRY_MAX : rng_below(r, CODES_ENTRY_MAX + 1));
    for (size_t i = 0; i < sizeof room->looks / 2; i++) room->looks[i] = any_int16(r);
    for (size_t i = 0; i < sizeof room->factors / 4; i++) room->factors[i] = rng_gauss(r);
    for (size_t i = 0; i < BLOCKS; i++) {
        room->wanted[i] = rng_below(r, 4) == 0 ? 0 : (uint32_t)rng_next(r);
        room->unlimited[i] = rng_below(r, 4) == 0 ? (uint32_t)rng_next(r) : 0;
    }
    struct codes_scan s = {.table = room->table,
                           .n_groups = n_groups,
                           .n_first = n_first,
                           .step = 0.37f,
                           .shift = 11.3f,
                           .base = 0.7f,
                           .margin = 1.9f};
    struct codes_look looks[2];
    for (int i = 0; i < 2; i++) {
        uint32_t upto = i == 0 ? n_first : n_groups;
        looks[i] = (struct codes_look){upto, (int16_t)(any_int16(r) & INT16_MAX), any_int16(r),
                                       (int16_t)(any_int16(r) & INT16_MAX), any_int16(r)};
        if (rng_below(r, 2) == 0) /* one that some rows pass */
            looks[i] = (struct codes_look){upto, 300, -200, 100, (int16_t)(upto * CODES_ENTRY_MAX / 2)};
    }
    *want = *room;
    run_kernels(&codes_kernels_portable, want, &s, &looks[0], &looks[1]);
    for (size_t l = 0; l < N_LEVELS; l++) {
        const struct codes_kernels *k = codes_kernels_at(levels[l]);
        if (k == NULL) continue;
        *got = *room;
        run_kernels(k, got, &s, &looks[0], &looks[1]);
        ck_assert_msg(memcmp(want, got, sizeof *got) == 0, "level %d, %u of %u groups", (int)levels[l], n_first,
                      n_groups);
    }
    mem_free(room);
    mem_free(want);
    mem_free(got);
}

START_TEST(levels_agree_to_the_bit)
{
    struct rng r = {17};
    for (uint32_t n_groups = 16; n_groups <= 512; n_groups += 16) {
        check_levels(&r, n_groups, n_groups, n_groups % 32 == 0);
        check_levels(&r, n_groups, 16 * (1 + rng_below(&r, n_groups / 16)), false);
        check_levels(&r, n_groups, 16, true);
    }
}
END_TEST

START_TEST(a_look_is_what_it_says)
{
    struct rng r = {18};
    struct room *room = mem_zalloc(sizeof *room);
    ck_assert_ptr_nonnull(room);
    for (size_t i = 0; i < sizeof room->looks / 2; i++) room->looks[i] = any_int16(&r);
    for (size_t i = 0; i < sizeof room->sums / 2; i++) room->sums[i] = (uint16_t)rng_below(&r, INT16_MAX + 1);
    struct codes_stretch t = stretch_of(room);
    for (int round = 0; round < 200; round++) {
        struct codes_look l = {16, (int16_t)(any_int16(&r) & INT16_MAX), any_int16(&r),
                               (int16_t)(any_int16(&r) & INT16_MAX), any_int16(&r)};
        for (uint32_t i = 0; i < BLOCKS; i++) {
            room->places[i] = i;
            room->wanted[i] = UINT32_MAX;
        }
        uint32_t n = codes_kernels_portable.look(&t, room->places, BLOCKS, &l, room->places), at = 0;
        for (uint32_t i = 0; i < BLOCKS; i++) {
            for (uint32_t j = 0; j < 32; j++) {
                const int16_t *of = room->looks + i * CODES_BLOCK_LOOKS + j;
                double least = fmin(floor(l.u * of[0] / 65536.0) + floor(l.v * of[32] / 65536.0), INT16_MAX);
                least = fmax(least, INT16_MIN) - floor(l.e * of[64] / 65536.0);
                least = fmin(fmax(fmin(fmax(least, INT16_MIN), INT16_MAX) + l.k, INT16_MIN), INT16_MAX);
                ck_assert_int_eq(room->wanted[i] >> j & 1, (double)room->sums[i * 32 + j] >= least);
            }
            if (room->wanted[i] == 0) continue;
            ck_assert_uint_lt(at, n);
            ck_assert_uint_eq(room->places[at++], i);
        }
        ck_assert_uint_eq(at, n);
    }
    mem_free(room);
}
END_TEST

/* --- what they rule out ------------------------------------------------------------------------------------------- */

struct world {
    float *rows;
    struct buf out;
    struct codes codes;
    uint32_t n, dim;
    enum space space;
};

/* Rows of which some lie together, some are long or short, some are zero and some equal. */
static void make(struct world *w, uint32_t n, uint32_t dim, enum space space, struct rng *r)
{
    struct errmsg em;
    *w = (struct world){.n = n, .dim = dim, .space = space};
    w->rows = mem_array((size_t)n * dim, sizeof(float));
    ck_assert_ptr_nonnull(w->rows);
    for (uint32_t i = 0; i < n; i++) {
        float *row = w->rows + (size_t)i * dim, length = 1;
        if (i % 11 == 3) length = expf(2 * rng_gauss(r));
        if (i % 50 == 7) length = 0;
        for (uint32_t d = 0; d < dim; d++) row[d] = length * (rng_gauss(r) + (float)(i % 5 * (d % 3)));
        if (i % 40 == 9 && i > 9) memcpy(row, w->rows, dim * sizeof *row);
    }
    ck_ok(codes_build(w->rows, n, dim, space, 42, &w->out, &em));
    ck_ok(codes_open(&w->codes, (struct bytes){w->out.p, w->out.n}, n, dim, space, &em));
    ck_assert_ptr_nonnull(w->codes.looks);
}

static void done(struct world *w)
{
    buf_free(&w->out);
    mem_free(w->rows);
}

/* The sum of the entries of the first n_groups groups. */
static uint32_t sum_of(const struct codes *c, const struct codes_scan *s, uint32_t row, uint32_t n_groups)
{
    const uint32_t b = row / 32, j = row % 32, first = c->first_dims / 4;
    uint32_t sum = 0;
    for (uint32_t g = 0; g < n_groups; g++) {
        const uint8_t *codes = g < first ? c->blocks + ((size_t)b * first + g) * 16
                                         : c->rests + ((size_t)b * (c->padded_dim / 4 - first) + g - first) * 16;
        sum += s->table[g * 16 + (codes[j % 16] >> (j / 16 * 4) & 15)];
    }
    return sum;
}

/* Checks all looks of a query at a limit against the bounds in double; the number of rows that each rules out is added to n_out,
 * that of the bounds to n_above. */
static void check_query(const struct world *w, const float *v, uint32_t place_of_limit, uint64_t *n_out,
                        uint64_t *n_above)
{
    struct arena a = {0};
    struct query_vector q;
    struct codes_target t;
    const struct codes *c = &w->codes;
    query_vector_init(&q, v, w->dim, w->space, &a);
    struct codes_prepared *p = codes_prepare(c, &q);
    ck_assert(p != NULL && codes_target_init(&t, c, p, 2.2f));
    double *lower = arena_array(&a, w->n, sizeof *lower);
    ck_assert(lower != NULL && t.n_looks > 0);
    for (uint32_t i = 0; i < t.n_looks; i++) {
        const struct codes_prospect *prospect = &t.prospects[i];
        ck_assert_uint_eq(prospect->n_groups, i + 1 == t.n_looks ? c->padded_dim / 4 : c->first_dims / 4 << i);
        for (uint32_t row = 0; row < w->n; row++) {
            const float *f = c->factors + (size_t)(row / 32) * 96 + row % 32;
            double sum = sum_of(c, &t.scan, row, prospect->n_groups);
            lower[row] = (double)t.scan.base + (double)f[0] +
                         (double)f[32] * (prospect->unit * (sum - prospect->shift)) - prospect->margin * (double)f[64];
        }
        const float limit = (float)lower[place_of_limit];
        struct codes_look look = codes_look_at(&t, c, i, limit);
        for (uint32_t row = 0; row < w->n; row++) {
            const int16_t *of = c->looks + (size_t)(row / 32) * 96 + row % 32;
            int32_t least = (look.u * of[0] >> 16) + (look.v * of[32] >> 16) - (look.e * of[64] >> 16) + look.k;
            bool is_out = (c->unlimited[row / 32] >> row % 32 & 1) == 0 &&
                          (int32_t)sum_of(c, &t.scan, row, look.n_groups) < least;
            ck_assert_msg(!is_out || lower[row] > (double)limit - 1e-5 * fabs((double)limit),
                          "space %d dim %u look %u row %u: %g, limit %g", (int)w->space, w->dim, i, row, lower[row],
                          (double)limit);
            *n_out += is_out;
            *n_above += lower[row] > (double)limit;
        }
    }
    arena_free(&a);
}

START_TEST(bounds_hold)
{
    const uint32_t dims[] = {32, 64, 100, 384, 768, 1536, 2048};
    struct rng r = {19};
    for (size_t t = 0; t < sizeof dims / sizeof dims[0]; t++) {
        for (int space = SPACE_L2; space <= SPACE_IP; space++) {
            enum { N = 330 };
            struct world w;
            uint64_t n_out = 0, n_above = 0;
            make(&w, N, dims[t], (enum space)space, &r);
            for (int i = 0; i < 24; i++) {
                float *v = mem_array(dims[t], sizeof *v);
                ck_assert_ptr_nonnull(v);
                memcpy(v, w.rows + (size_t)rng_below(&r, N) * dims[t], dims[t] * sizeof *v);
                if (i % 3 != 0) /* as the rows are */
                    for (uint32_t d = 0; d < dims[t]; d++) v[d] = rng_gauss(&r) + (float)(i % 5 * (int)(d % 3));
                if (i % 6 == 1) /* far away */
                    for (uint32_t d = 0; d < dims[t]; d++) v[d] *= 1e4f;
                bool is_zero = true;
                for (uint32_t d = 0; d < dims[t]; d++) is_zero &= v[d] == 0;
                if (space != SPACE_COSINE || !is_zero) check_query(&w, v, rng_below(&r, N), &n_out, &n_above);
                mem_free(v);
            }
            ck_assert_msg(n_out > n_above / 4, "dim %u space %d: %llu of %llu", dims[t], space,
                          (unsigned long long)n_out, (unsigned long long)n_above);
            done(&w);
        }
    }
}
END_TEST

/* A section longer than a stretch, with and without masks of any form. */
START_TEST(stretches_find_what_is_there)
{
    enum { N = CODES_STRETCH_BLOCKS * 32 + 4000, DIM = 64, K = 10 };
    struct rng r = {20};
    struct world w;
    make(&w, N, DIM, SPACE_L2, &r);
    struct codes_rows behind = {w.rows, NULL, codes_all_visible, codes_row_as_ordinal, NULL};
    uint32_t n_found = 0, n_wanted = 0;
    for (int round = 0; round < 24; round++) {
        struct arena a = {0};
        struct query_vector q;
        struct topk got, want;
        struct bitset mask;
        struct errmsg em;
        float v[DIM];
        for (uint32_t d = 0; d < DIM; d++) v[d] = rng_gauss(&r) + (float)(round % 5 * (int)(d % 3));
        query_vector_init(&q, v, DIM, SPACE_L2, &a);
        ck_assert(bitset_init(&mask, &a, N) && topk_init(&got, &a, K) && topk_init(&want, &a, K));
        for (uint32_t i = 0; i < N; i++) {
            bool is_in = round % 4 == 1   ? i % 3 == 0                    /* some of each block */
                         : round % 4 == 2 ? i / 100 % 7 == 0              /* runs */
                                          : i >= N - 2500 && i < N - 100; /* hardly any block */
            if (is_in) bitset_add(&mask, i);
        }
        const struct bitset *in = round % 4 == 0 ? NULL : &mask;
        ck_ok(codes_search(&w.codes, &behind, &q, in, 3, &got, &a, &em));
        exact_search(&behind, N, &q, in, &want);
        topk_sort(&got);
        topk_sort(&want);
        ck_assert_uint_eq(got.n, K);
        for (uint32_t i = 0; i < K; i++) {
            ck_assert(in == NULL || bitset_get(in, got.heap[i].row));
            for (uint32_t j = 0; j < i; j++) ck_assert_uint_ne(got.heap[j].row, got.heap[i].row);
            for (uint32_t j = 0; j < K; j++) n_found += got.heap[i].row == want.heap[j].row;
        }
        n_wanted += K;
        arena_free(&a);
    }
    ck_assert_msg(n_found + 2 >= n_wanted, "%u of %u", n_found, n_wanted);
    done(&w);
}
END_TEST

/* More neighbours than the first runs have rows, and buffers that fill up. */
START_TEST(many_neighbours)
{
    enum { N = 9000, DIM = 64 };
    struct rng r = {21};
    struct world w;
    make(&w, N, DIM, SPACE_COSINE, &r);
    struct codes_rows behind = {w.rows, NULL, codes_all_visible, codes_row_as_ordinal, NULL};
    const uint32_t ks[] = {1, 2, 3, 100, 126, 127, 250, 500};
    for (size_t t = 0; t < sizeof ks / sizeof ks[0]; t++) {
        struct arena a = {0};
        struct query_vector q;
        struct topk got, want;
        struct errmsg em;
        float v[DIM];
        uint32_t n_found = 0, k = ks[t];
        for (uint32_t d = 0; d < DIM; d++) v[d] = rng_gauss(&r);
        query_vector_init(&q, v, DIM, SPACE_COSINE, &a);
        ck_assert(topk_init(&got, &a, k) && topk_init(&want, &a, k));
        ck_ok(codes_search(&w.codes, &behind, &q, NULL, 3, &got, &a, &em));
        exact_search(&behind, N, &q, NULL, &want);
        ck_assert_uint_eq(got.n, k);
        topk_sort(&got);
        topk_sort(&want);
        for (uint32_t i = 0, j = 0; i < k && j < k;) {
            bool is_same = got.heap[i].row == want.heap[j].row;
            n_found += is_same;
            i += is_same;
            j++;
        }
        ck_assert_msg(n_found * 100 >= k * 97, "%u of %u", n_found, k);
        arena_free(&a);
    }
    done(&w);
}
END_TEST

TESTS(codes_looks, levels_agree_to_the_bit, a_look_is_what_it_says, bounds_hold, stretches_find_what_is_there,
      many_neighbours)
