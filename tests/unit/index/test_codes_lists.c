/* test_codes_lists.c - sections in lists: layout, bounds, damage, short memory. Recall: test_recall.c. */
#include "tests/lib/suite.h"

#include <math.h>

#include "core/bytes.h"
#include "core/mem.h"
#include "index/codes_internal.h"
#include "index/rotation.h"

enum { N = 1600, DIM = 200, PADDED = 256, LISTS = 10, SEED = 42 };

/* Rows around some centres. */
static float *clustered(uint64_t seed)
{
    struct rng r = {seed};
    float centres[8 * DIM], *rows = mem_array((size_t)N * DIM, sizeof *rows);
    ck_assert_ptr_nonnull(rows);
    for (size_t i = 0; i < 8 * DIM; i++) centres[i] = rng_gauss(&r);
    for (size_t i = 0; i < N; i++) {
        const float *centre = centres + (size_t)rng_below(&r, 8) * DIM;
        for (size_t d = 0; d < DIM; d++) rows[i * DIM + d] = centre[d] + rng_gauss(&r) * 0.7f + 1;
    }
    return rows;
}

struct section {
    struct buf out;
    struct codes codes;
};

static void build(struct section *s, const float *rows, enum space space, uint32_t copies)
{
    struct errmsg em;
    *s = (struct section){0};
    ck_ok(codes_build_as(rows, N, DIM, space, SEED, LISTS, copies, &s->out, &em));
    ck_ok(codes_open(&s->codes, (struct bytes){s->out.p, s->out.n}, N, DIM, space, &em));
    ck_assert_uint_eq(s->codes.n, N);
    ck_assert_uint_eq(s->codes.n_lists, LISTS);
    ck_assert_uint_eq(s->codes.copies, copies);
}

static float bfloat_of(uint32_t word)
{
    float v;
    word <<= 16;
    memcpy(&v, &word, sizeof v);
    return v;
}

/* Every byte that docs/formats.md describes, worked out again from the rows. */
static void check_layout(uint32_t copies)
{
    float *rows = clustered(1);
    struct section s;
    build(&s, rows, SPACE_L2, copies);
    const struct codes *c = &s.codes;
    const char *p = s.out.p;
    const size_t blocks = N * copies / 32, first = c->first_dims;
    ck_assert_uint_eq(le32_get(p + 4), 1 + copies);
    ck_assert_uint_eq(le32_get(p + 40), LISTS);
    ck_assert_uint_eq(le32_get(p + 44), first);
    float stops[4]; /* stop, lean, lift, stop_few */
    memcpy(stops, p + 48, sizeof stops);
    ck_assert(stops[0] == c->stop && stops[1] == c->lean && stops[2] == c->lift && stops[3] == c->stop_few);
    ck_assert(0 <= c->stop_few && c->stop_few <= c->stop && c->stop < INFINITY);
    ck_assert(first > 0 && first < PADDED && first % 64 == 0);
    ck_assert_ptr_eq(c->centroid, p + 64);
    ck_assert_ptr_eq(c->starts, p + 64 + 4 * PADDED);
    ck_assert_ptr_eq(c->centroids, p + 64 + 4 * PADDED + 64);
    ck_assert_ptr_eq(c->list_blocks, (const char *)c->centroids + LISTS * PADDED * 4);
    ck_assert_ptr_eq(c->list_factors, c->list_blocks + PADDED * 4);
    ck_assert_ptr_eq(c->order, c->list_factors + 96);
    ck_assert_ptr_eq(c->blocks, c->order + (size_t)N * copies);
    ck_assert_ptr_eq(c->rests, c->blocks + blocks * first * 4);
    ck_assert_ptr_eq(c->factors, c->rests + blocks * (PADDED - first) * 4);
    ck_assert_ptr_eq(c->factors + blocks * 96, p + s.out.n);

    uint8_t *seen = mem_zalloc(N), *is_near = mem_zalloc(N);
    ck_assert(seen != NULL && is_near != NULL);
    uint32_t far = 0;
    for (uint32_t l = 0; l < LISTS; l++) {
        const float *centroid = c->centroids + (size_t)l * PADDED;
        for (uint32_t at = c->starts[l]; at < c->starts[l + 1]; at++) {
            uint32_t row = c->order[at], b = at / 32, j = at % 32;
            ck_assert(row < N && seen[row] < copies);
            ck_assert(at == c->starts[l] || c->order[at - 1] < row);
            seen[row]++;
            float r[PADDED] = {0};
            double all = 0, part = 0, square = 0, l1 = 0;
            memcpy(r, rows + (size_t)row * DIM, DIM * sizeof *r);
            rotation_apply(r, PADDED, SEED);
            for (uint32_t d = 0; d < PADDED; d++) r[d] -= c->centroid[d];
            bool is_nearest = true; /* but for near ties */
            for (uint32_t k = 0; k < LISTS; k++)
                is_nearest &= distance_ops()->l2(r, c->centroids + (size_t)k * PADDED, PADDED) >=
                              0.98f * distance_ops()->l2(r, centroid, PADDED);
            is_near[row] |= is_nearest;
            for (uint32_t d = 0; d < PADDED; d++) {
                r[d] -= centroid[d];
                const uint8_t *codes = d < first ? c->blocks + (size_t)b * first * 4 + d / 4 * 16
                                                 : c->rests + (size_t)b * (PADDED - first) * 4 + (d - first) / 4 * 16;
                bool bit = codes[j % 16] >> (j / 16 * 4 + d % 4) & 1;
                ck_assert(bit == (r[d] >= 0) || fabsf(r[d]) < 1e-4f);
                double product = (double)(bit ? centroid[d] : -centroid[d]);
                all += product;
                part += d < first ? product : 0;
                square += (double)r[d] * (double)r[d];
                l1 += (double)fabsf(r[d]);
            }
            const float *factors = c->factors + (size_t)b * 96;
            double f = square / l1, delta = 2 * f * (part * PADDED / (double)first - all);
            uint32_t word;
            memcpy(&word, factors + 64 + j, sizeof word);
            ck_assert_double_eq_tol((double)factors[j], square + 2 * f * all, 1e-3 * (square + fabs(2 * f * all)));
            ck_assert_double_eq_tol((double)factors[32 + j], -2 * f, 1e-4 * f);
            ck_assert_double_eq_tol((double)bfloat_of(word), delta, 0.01 * fabs(delta) + 1e-3);
            double p2 = l1 * l1 / square / PADDED, left = fmax(1 - p2, 0.25);
            double err = sqrt(square * left / (p2 * (PADDED - 1)));
            ck_assert_double_eq_tol((double)factors[64 + j], err, 0.01 * err);
        }
    }
    for (uint32_t row = 0; row < N; row++) far += is_near[row] == 0;
    ck_assert_uint_le(far, N / 20);
    ck_assert_uint_eq(c->starts[LISTS], N * copies);
    mem_free(is_near);
    mem_free(seen);
    buf_free(&s.out);
    mem_free(rows);
}

START_TEST(layout)
{
    check_layout(1); /* version 2 */
    check_layout(CODES_COPIES);
}
END_TEST

/* Of the rows that are within a limit, how many does a look at their block leave out by the first bound and by the
 * second? Both margins are given in deviations, and both losses have to be those of a normal distribution. */
START_TEST(bounds_hold)
{
    float *rows = clustered(2);
    struct rng r = {22};
    for (int space = SPACE_L2; space <= SPACE_IP; space++) {
        struct section s;
        build(&s, rows, (enum space)space, CODES_COPIES);
        const struct codes *c = &s.codes;
        uint32_t n = 0, n_lost = 0, n_lost_first = 0;
        for (int round = 0; round < 20; round++) {
            struct arena a = {0};
            float v[DIM];
            struct query_vector q;
            struct codes_target t;
            for (int d = 0; d < DIM; d++) v[d] = rows[rng_below(&r, N * DIM)] + rng_gauss(&r);
            query_vector_init(&q, v, DIM, c->space, &a);
            struct codes_prepared *p = codes_prepare(c, &q);
            ck_assert(p != NULL && codes_target_init(&t, c, p, 1.5f));
            for (uint32_t l = 0; l < LISTS; l++) {
                const float *centroid = c->centroids + (size_t)l * PADDED;
                codes_target_list(&t, c, l, distance_ops()->l2(p->w, centroid, PADDED));
                for (uint32_t at = c->starts[l]; at < c->starts[l + 1]; at++) {
                    const float *x = rows + (size_t)c->order[at] * DIM;
                    float norm2 = distance_ops()->dot(x, x, DIM), estimate[32], lower[32];
                    float exact = codes_in_estimates(c->space, distance_exact(&q, x, norm2)) + t.slack;
                    struct codes_scan second = t.scan;
                    second.margin_1 = INFINITY; /* the first look lets all through */
                    n++;
                    const uint8_t *block = c->blocks + (size_t)(at / 32) * c->first_dims * 4;
                    const uint8_t *rest = c->rests + (size_t)(at / 32) * (PADDED - c->first_dims) * 4;
                    const float *factors = c->factors + (size_t)(at / 32) * 96;
                    uint32_t wanted = UINT32_C(1) << (at % 32);
                    n_lost +=
                        codes_kernels_portable.scan(block, rest, factors, &second, exact, wanted, estimate, lower) == 0;
                    struct codes_scan first = t.scan;
                    first.margin = INFINITY; /* only the first look counts */
                    n_lost_first +=
                        codes_kernels_portable.scan(block, rest, factors, &first, exact, wanted, estimate, lower) == 0;
                }
            }
            arena_free(&a);
        }
        double lost = (double)n_lost / n, lost_first = (double)n_lost_first / n;
        ck_assert_msg(lost > 0.01 && lost < 0.08, "space %d: %g of the rows beyond 1.5 deviations", space, lost);
        ck_assert_msg(lost_first < 0.02, "space %d: %g of the rows lost at the first look", space, lost_first);
        buf_free(&s.out);
    }
    mem_free(rows);
}
END_TEST

/* The distance of a list as the rule counts it, worked out from the rows. */
static double distance_of_list(const struct codes *c, const struct codes_prepared *p, const float *rows, uint32_t l)
{
    double distance = (double)distance_ops()->l2(p->w, c->centroids + (size_t)l * PADDED, PADDED), sum = 0;
    if (c->space != SPACE_IP) return distance;
    for (uint32_t at = c->starts[l]; at < c->starts[l + 1]; at++) {
        const float *x = rows + (size_t)c->order[at] * DIM;
        sum += sqrt(fmax(0, (double)c->lift - (double)distance_ops()->dot(x, x, DIM)));
    }
    double mean = sum / (c->starts[l + 1] - c->starts[l]);
    return distance + mean * mean;
}

/* Every list once with its distance; the first ones in order, and the first of all the nearest. Within a reach those below
 * it, but for a bound that fails. */
START_TEST(lists_come_nearest_first)
{
    enum { MANY = 25 };
    float *rows = clustered(3);
    for (int space = SPACE_L2; space <= SPACE_IP; space++) {
        struct buf out = {0};
        struct codes c;
        struct arena a = {0};
        struct query_vector q;
        struct codes_target t;
        struct codes_lists_iter it;
        struct codes_near list;
        struct codes_ranked heap[MANY];
        struct errmsg em;
        double distances[MANY], before = 0, least = INFINITY;
        uint32_t seen = 0, n = 0, n_within = 0, n_missed = 0;
        ck_ok(codes_build_as(rows, N, DIM, (enum space)space, SEED, MANY, CODES_COPIES, &out, &em));
        ck_ok(codes_open(&c, (struct bytes){out.p, out.n}, N, DIM, (enum space)space, &em));
        query_vector_init(&q, rows, DIM, (enum space)space, &a);
        struct codes_prepared *p = codes_prepare(&c, &q);
        ck_assert(p != NULL && codes_target_init(&t, &c, p, 2));
        for (uint32_t l = 0; l < MANY; l++) {
            distances[l] = c.starts[l] == c.starts[l + 1] ? INFINITY : distance_of_list(&c, p, rows, l);
            least = fmin(least, distances[l]);
        }
        codes_lists_begin(&it, &c, &t, heap);
        ck_assert_double_eq_tol((double)it.nearest, least, 1e-3 * least);
        for (; codes_lists_next(&it, INFINITY, &list); n++) {
            ck_assert(n >= CODES_LISTS_FIRST || (double)list.distance >= before);
            ck_assert(n > 0 || list.distance == it.nearest);
            ck_assert_uint_eq(seen >> list.list & 1, 0);
            ck_assert_double_eq_tol((double)list.distance, distances[list.list], 1e-3 * distances[list.list]);
            before = (double)list.distance;
            seen |= UINT32_C(1) << list.list;
        }
        for (uint32_t l = 0; l < MANY; l++) ck_assert_uint_eq(seen >> l & 1, distances[l] < INFINITY);

        float reach = it.first[CODES_LISTS_FIRST - 1].distance * 1.05f;
        seen = 0;
        codes_lists_begin(&it, &c, &t, heap);
        while (codes_lists_next(&it, reach, &list)) {
            ck_assert(list.distance <= reach);
            seen |= UINT32_C(1) << list.list;
        }
        for (uint32_t l = 0; l < MANY; l++) {
            n_within += distances[l] < (double)reach * 0.999;
            n_missed += distances[l] < (double)reach * 0.999 && (seen >> l & 1) == 0;
        }
        ck_assert_uint_ge(n_within, CODES_LISTS_FIRST);
        ck_assert_uint_le(n_missed, 1);
        arena_free(&a);
        buf_free(&out);
    }
    mem_free(rows);
}
END_TEST

START_TEST(small_fragments_have_no_lists)
{
    ck_assert_uint_eq(codes_lists_wanted(0, 64), 0);
    ck_assert_uint_eq(codes_lists_wanted(CODES_LISTS_MIN_ROWS - 1, 384), 0);
    for (uint32_t n = CODES_LISTS_MIN_ROWS; n < UINT32_C(1) << 30; n += n / 3) {
        for (uint32_t dim = 64; dim < 100000; dim += dim / 64 * 64) {
            uint32_t lists = codes_lists_wanted(n, dim), first = codes_lists_first_dims(dim);
            ck_assert(lists > 0 && lists <= n / 64);
            ck_assert_double_le((double)lists, 4 * sqrt((double)n));
            ck_assert(first > 0 && first <= dim && first % 64 == 0);
        }
    }
}
END_TEST

/* --- damage and short memory -------------------------------------------------------------------------------------- */

START_TEST(damage_is_refused)
{
    float *rows = clustered(4);
    struct section s;
    build(&s, rows, SPACE_L2, CODES_COPIES);
    struct bytes all = {s.out.p, s.out.n};
    struct codes c;
    struct errmsg em;
    for (size_t n = 0; n < all.n; n += 1 + all.n / 300)
        ck_assert_int_eq(codes_open(&c, (struct bytes){all.p, n}, N, DIM, SPACE_L2, &em), ERR_CORRUPT);
    const size_t starts = 64 + 4 * PADDED;
    struct {
        size_t at;
        uint32_t value;
        enum err expected;
    } damage[] = {{4, 1, ERR_CORRUPT},
                  {4, 2, ERR_CORRUPT},
                  {4, 4, ERR_CORRUPT},
                  {4, 5, ERR_NEWER},
                  {40, 0, ERR_CORRUPT},
                  {40, LISTS + 40, ERR_CORRUPT},
                  {40, UINT32_MAX, ERR_CORRUPT},
                  {40, N + 1, ERR_CORRUPT},
                  {44, 0, ERR_CORRUPT},
                  {44, 32, ERR_CORRUPT},
                  {44, PADDED + 64, ERR_CORRUPT},
                  {44, UINT32_MAX - 63, ERR_CORRUPT},
                  {starts, 1, ERR_CORRUPT},
                  {starts + 4, 2 * N + 1, ERR_CORRUPT},
                  {starts + 8, 0, ERR_CORRUPT},
                  {starts + 4 * LISTS, 2 * N - 1, ERR_CORRUPT}};
    for (size_t i = 0; i < sizeof damage / sizeof damage[0]; i++) {
        uint32_t saved = le32_get(s.out.p + damage[i].at);
        le32_put(s.out.p + damage[i].at, damage[i].value);
        ck_assert_msg(codes_open(&c, all, N, DIM, SPACE_L2, &em) == damage[i].expected, "offset %zu", damage[i].at);
        le32_put(s.out.p + damage[i].at, saved);
    }
    ck_ok(codes_open(&c, all, N, DIM, SPACE_L2, &em));
    buf_free(&s.out);
    mem_free(rows);
}
END_TEST

/* Any bytes anywhere: the section is refused, or a search over it stays in bounds and offers rows that exist. */
START_TEST(search_survives_damage)
{
    float *rows = clustered(5);
    struct rng r = {55};
    struct section s;
    build(&s, rows, SPACE_L2, CODES_COPIES);
    char *good = mem_dup(s.out.p, s.out.n);
    float *norm2 = mem_array(N, sizeof *norm2);
    ck_assert(good != NULL && norm2 != NULL);
    struct codes_rows behind = {rows, norm2, codes_all_visible, codes_row_as_ordinal, NULL};
    uint32_t n_opened = 0;
    for (int round = 0; round < 300; round++) {
        memcpy(s.out.p, good, s.out.n);
        uint32_t span = round % 3 == 0 ? 64 + 4 * PADDED + 64 : (uint32_t)s.out.n, n = round % 3 == 0 ? 1 : 400;
        for (uint32_t i = 0; i < n; i++) s.out.p[rng_below(&r, span)] = (char)rng_next(&r);
        if (round % 3 == 1) memcpy(s.out.p, good, 64 + 4 * PADDED + 64); /* only what is not checked */
        struct codes c;
        struct errmsg em;
        if (codes_open(&c, (struct bytes){s.out.p, s.out.n}, N, DIM, SPACE_L2, &em) != ERR_OK) continue;
        if (c.n == 0) continue;
        n_opened++;
        struct arena a = {0};
        struct query_vector q;
        struct topk top;
        struct bitset mask;
        query_vector_init(&q, rows + (size_t)rng_below(&r, N) * DIM, DIM, SPACE_L2, &a);
        ck_assert(topk_init(&top, &a, 5) && bitset_init(&mask, &a, N));
        for (uint32_t i = 0; i < N; i++) {
            if (rng_below(&r, round % 2 == 0 ? 2 : 12) == 0) bitset_add(&mask, i);
        }
        ck_ok(codes_search(&c, &behind, &q, round % 4 < 2 ? &mask : NULL, 2.2f, &top, &a, &em));
        ck_assert_uint_le(top.n, 5);
        for (uint32_t i = 0; i < top.n; i++) ck_assert_uint_lt(top.heap[i].row, N);
        arena_free(&a);
    }
    ck_assert_uint_ge(n_opened, 100);
    mem_free(norm2);
    mem_free(good);
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
    float *rows = clustered(6);
    struct errmsg em;
    int n_failed = 0;
    for (int nth = 0;; nth += 1 + nth / 20) { /* the probes allocate alike, many times */
        struct buf out = {0};
        int left = nth;
        mem_set_hook(fail_when_zero, &left);
        enum err e = codes_build_as(rows, N, DIM, SPACE_COSINE, SEED, LISTS, CODES_COPIES, &out, &em);
        mem_set_hook(NULL, NULL);
        ck_assert(e == ERR_OK || (e == ERR_NOMEM && out.n == 0));
        buf_free(&out);
        if (e == ERR_OK) break;
        n_failed++;
    }
    ck_assert_int_ge(n_failed, 15);
    struct section s;
    build(&s, rows, SPACE_L2, CODES_COPIES);
    struct codes_rows behind = {rows, NULL, codes_all_visible, codes_row_as_ordinal, NULL};
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

TESTS(codes_lists, layout, bounds_hold, lists_come_nearest_first, small_fragments_have_no_lists, damage_is_refused,
      search_survives_damage, short_memory_is_reported)
