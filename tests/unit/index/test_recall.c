/* test_recall.c - how many of the true neighbours a search by codes finds, on kinds of data that are easy, typical and
 * the hardest known, against the exact scan. Seeds are fixed; a failure prints what it was looking at.
 */
#include "tests/lib/suite.h"

#include <math.h>

#include "core/mem.h"
#include "index/codes_internal.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { N_ROWS = 1500, N_QUERIES = 8, N_LISTS = 12 };
#else
enum { N_ROWS = 6000, N_QUERIES = 40, N_LISTS = 30 };
#endif

enum kind { LATENT, NOISE, CLUSTERS, UNEVEN, FAR_AWAY, COPIES, N_KINDS };
static const char *const kind_names[N_KINDS] = {"latent", "noise", "clusters", "uneven", "far away", "copies"};
static const uint32_t kind_dims[N_KINDS] = {192, 128, 100, 160, 96, 64};

/* Fills n vectors. Rows and queries of one world are made by one call, so that they share its topics. */
static void make_vectors(enum kind kind, float *v, size_t n, uint32_t dim, struct rng *r)
{
    enum { TOPICS = 40, HIDDEN = 24 };
    size_t n_base = (size_t)(kind == LATENT || kind == UNEVEN ? HIDDEN : TOPICS) * dim;
    float *base = mem_array(n_base, 4);
    ck_assert_ptr_nonnull(base);
    for (size_t i = 0; i < n_base; i++) base[i] = rng_gauss(r);
    for (size_t i = 0; i < n; i++, v += dim) {
        float topic[HIDDEN], length = kind == UNEVEN ? expf(rng_gauss(r)) : 1;
        for (int h = 0; h < HIDDEN; h++) topic[h] = rng_gauss(r);
        const float *centre = base + (size_t)rng_below(r, TOPICS) * dim;
        for (uint32_t d = 0; d < dim; d++) {
            float x = rng_gauss(r);
            if (kind == CLUSTERS) x = centre[d] + 0.3f * x;
            if (kind == FAR_AWAY) x += 1000;
            if (kind == LATENT || kind == UNEVEN) {
                x *= 0.5f;
                for (int h = 0; h < HIDDEN; h++) x += topic[h] * base[(size_t)h * dim + d] / 4;
                x += 0.5f;
            }
            v[d] = x * length;
        }
        if (kind == CLUSTERS && i % 7 == 3) memcpy(v, v - dim, dim * sizeof *v); /* twins */
        if (kind == COPIES) memcpy(v, centre, dim * sizeof *v);                  /* nothing else */
    }
    mem_free(base);
}

struct world {
    uint32_t n, dim;
    float *rows, *norm2;
    const float *queries; /* behind the rows */
    const uint64_t *dead; /* bits; NULL: none */
    uint32_t n_lists;
};

static bool is_visible(const void *ctx, uint32_t row)
{
    const struct world *w = ctx;
    return w->dead == NULL || (w->dead[row / 64] >> (row % 64) & 1) == 0;
}

static uint64_t ordinal(const void *ctx, uint32_t row)
{
    (void)ctx;
    return row * UINT64_C(3) + 1;
}

static void world_init(struct world *w, enum kind kind, uint64_t seed)
{
    struct rng r = {seed};
    *w = (struct world){.n = N_ROWS, .dim = kind_dims[kind]};
    w->rows = mem_array((size_t)(N_ROWS + N_QUERIES) * w->dim, 4);
    w->norm2 = mem_array(N_ROWS, 4);
    ck_assert(w->rows != NULL && w->norm2 != NULL);
    make_vectors(kind, w->rows, N_ROWS + N_QUERIES, w->dim, &r);
    w->queries = w->rows + (size_t)N_ROWS * w->dim;
    for (uint32_t i = 0; i < N_ROWS; i++) {
        const float *v = w->rows + (size_t)i * w->dim;
        w->norm2[i] = distance_ops()->dot(v, v, w->dim);
    }
}

static void world_deinit(struct world *w)
{
    mem_free(w->rows);
    mem_free(w->norm2);
}

static struct codes_rows rows_of(const struct world *w)
{
    return (struct codes_rows){w->rows, w->norm2, is_visible, ordinal, w};
}

static uint32_t copies_of(uint32_t n_lists)
{
    return n_lists >= CODES_COPIES ? CODES_COPIES : 1;
}

static void build(const struct world *w, enum space space, struct buf *out, struct codes *c)
{
    struct errmsg em;
    *out = (struct buf){0};
    ck_ok(codes_build_as(w->rows, w->n, w->dim, space, 1, w->n_lists, copies_of(w->n_lists), out, &em));
    ck_ok(codes_open(c, (struct bytes){out->p, out->n}, w->n, w->dim, space, &em));
    ck_assert_uint_eq(c->n, w->n);
}

/* The share of true neighbours found by all queries (ties: any will do). Whatever is found must be right. Adds the rows
 * measured exactly to *n_measured, of each query at least as many as it finds. */
static double recall_measured(const struct world *w, const struct codes *c, const struct bitset *mask, uint32_t k,
                              float epsilon, uint64_t *n_measured)
{
    struct codes_rows rows = rows_of(w);
    uint32_t n_found = 0, n_true = 0;
    for (uint32_t i = 0; i < N_QUERIES; i++) {
        struct arena a = {0};
        struct query_vector q;
        struct topk got, want;
        struct errmsg em;
        query_vector_init(&q, w->queries + (size_t)i * w->dim, w->dim, c->space, &a);
        ck_assert(topk_init(&got, &a, k) && topk_init(&want, &a, k));
        ck_ok(codes_search(c, &rows, &q, mask, epsilon, &got, &a, &em));
        exact_search(&rows, w->n, &q, mask, &want);
        topk_sort(&got);
        topk_sort(&want);
        ck_assert_uint_eq(got.n, want.n);
        ck_assert_uint_ge(got.n_measured, got.n);
        *n_measured += got.n_measured;
        for (uint32_t j = 0; j < got.n; j++) {
            const struct hit *h = &got.heap[j];
            ck_assert(mask == NULL || bitset_get(mask, h->row));
            ck_assert(is_visible(w, h->row));
            ck_assert(j == 0 || h->row != got.heap[j - 1].row);
            ck_assert_uint_eq(h->ordinal, ordinal(w, h->row));
            ck_assert(h->distance == distance_exact(&q, w->rows + (size_t)h->row * w->dim, w->norm2[h->row]));
            n_found += h->distance <= want.heap[want.n - 1].distance;
        }
        n_true += want.n;
        arena_free(&a);
    }
    return n_true == 0 ? 1 : (double)n_found / n_true;
}

static double recall(const struct world *w, const struct codes *c, const struct bitset *mask, uint32_t k, float epsilon)
{
    uint64_t n_measured = 0;
    return recall_measured(w, c, mask, k, epsilon, &n_measured);
}

static const uint32_t ks[] = {1, 10, 100};
static const uint32_t per_mille[] = {1000, 500, 100, 10, 1, 0}; /* rows that a filter keeps; 0: just one row */
enum { N_FILTERS = sizeof per_mille / sizeof per_mille[0] };

static void check_floors(uint32_t n_lists)
{
    for (int kind = 0; kind < N_KINDS; kind++) {
        struct world w;
        world_init(&w, (enum kind)kind, 1000 + (uint64_t)kind);
        w.n_lists = n_lists;
        for (int space = SPACE_L2; space <= SPACE_IP; space++) {
            struct buf out;
            struct codes c;
            build(&w, (enum space)space, &out, &c);
            struct arena a = {0};
            for (size_t p = 0; p < N_FILTERS; p++) {
                struct bitset mask;
                struct rng r = {7};
                ck_assert(bitset_init(&mask, &a, w.n));
                for (uint32_t i = 0; i < w.n; i++) {
                    if (rng_below(&r, 1000) < per_mille[p]) bitset_add(&mask, i);
                }
                if (per_mille[p] == 0) bitset_add(&mask, w.n / 3);
                for (size_t t = 0; t < 3; t++) {
                    double found = recall(&w, &c, per_mille[p] == 1000 ? NULL : &mask, ks[t], 2.5f);
                    /* One miss among few answers is chance. */
                    double floor = 0.99 - 1.0 / (N_QUERIES * ks[t]);
                    ck_assert_msg(found >= floor, "%s, space %d, k %u, %u of 1000 rows, %u lists: recall %.4f",
                                  kind_names[kind], space, ks[t], per_mille[p], n_lists, found);
                }
            }
            arena_free(&a);
            buf_free(&out);
        }
        world_deinit(&w);
    }
}

static void check_epsilon_is_the_knob(uint32_t n_lists)
{
    struct world w;
    world_init(&w, NOISE, 2);
    w.n_lists = n_lists;
    struct buf out;
    struct codes c;
    build(&w, SPACE_L2, &out, &c);
    double low = recall(&w, &c, NULL, 10, 0.3f), middle = recall(&w, &c, NULL, 10, 1.5f),
           high = recall(&w, &c, NULL, 10, 4);
    ck_assert_msg(low < middle && middle <= high, "%g %g %g", low, middle, high);
    ck_assert_msg(low < 0.96 && middle > 0.9 && high >= (n_lists > 0 ? 0.97 : 1), "%g %g %g", low, middle, high);
    buf_free(&out);
    world_deinit(&w);
}

/* What ef_search does: more finds no less, but for chance, and measures no less; the least still finds nearly all. */
static void check_effort_is_the_knob(uint32_t n_lists)
{
    static const uint32_t efforts[] = {EFFORT_MIN, 30, EFFORT_DEFAULT, 1000, EFFORT_MAX};
    for (int kind = 0; kind < N_KINDS; kind++) {
        struct world w;
        world_init(&w, (enum kind)kind, 2000 + (uint64_t)kind);
        w.n_lists = n_lists;
        for (int space = SPACE_L2; space <= SPACE_IP; space++) {
            struct buf out;
            struct codes c;
            double before = 0;
            uint64_t n_before = 0;
            build(&w, (enum space)space, &out, &c);
            for (size_t i = 0; i < sizeof efforts / sizeof efforts[0]; i++) {
                uint64_t n = 0;
                double found = recall_measured(&w, &c, NULL, 10, codes_epsilon(efforts[i], 10), &n);
                double floor = efforts[i] < EFFORT_DEFAULT ? 0.93 : efforts[i] == EFFORT_DEFAULT ? 0.97 : 0.985;
                double chance = 2.0 / (N_QUERIES * 10);
                ck_assert_msg(found >= before - chance && 100 * n >= 99 * n_before && found >= floor - chance,
                              "%s, space %d, %u lists, effort %u: recall %.4f after %.4f, %llu rows after %llu",
                              kind_names[kind], space, n_lists, efforts[i], found, before, (unsigned long long)n,
                              (unsigned long long)n_before);
                before = found;
                n_before = n;
            }
            buf_free(&out);
        }
        world_deinit(&w);
    }
}

static void check_dead_rows_take_no_place(uint32_t n_lists)
{
    struct world w;
    world_init(&w, LATENT, 3);
    w.n_lists = n_lists;
    struct arena a = {0};
    struct bitset dead;
    struct rng r = {33};
    ck_assert(bitset_init(&dead, &a, w.n));
    for (uint32_t i = 0; i < w.n; i++) {
        if (rng_below(&r, 100) < 80) bitset_add(&dead, i);
    }
    struct buf out;
    struct codes c;
    build(&w, SPACE_COSINE, &out, &c);
    w.dead = dead.words;
    for (size_t t = 0; t < 3; t++)
        ck_assert_double_ge(recall(&w, &c, NULL, ks[t], 2.5f), 0.99 - 1.0 / (N_QUERIES * ks[t]));
    bitset_fill(&dead); /* nobody left */
    ck_assert_double_eq(recall(&w, &c, NULL, 10, 2.5f), 1);
    arena_free(&a);
    buf_free(&out);
    world_deinit(&w);
}

/* Two sections share the query and the best hits; the second has other rows and another seed. */
static void check_sections_of_one_request(uint32_t n_lists)
{
    struct world one, two;
    world_init(&one, LATENT, 4);
    one.n_lists = n_lists;
    world_init(&two, LATENT, 5);
    two.n_lists = n_lists;
    struct buf out[2] = {{0}, {0}};
    struct codes c[2];
    struct errmsg em;
    build(&one, SPACE_L2, &out[0], &c[0]);
    ck_ok(codes_build_as(two.rows, two.n, two.dim, SPACE_L2, 77, n_lists, copies_of(n_lists), &out[1], &em));
    ck_ok(codes_open(&c[1], (struct bytes){out[1].p, out[1].n}, two.n, two.dim, SPACE_L2, &em));
    struct codes_rows rows[2] = {rows_of(&one), rows_of(&two)};
    uint32_t n_right = 0;
    for (uint32_t i = 0; i < N_QUERIES; i++) {
        struct arena a = {0};
        struct query_vector q;
        struct topk got, want;
        query_vector_init(&q, one.queries + (size_t)i * one.dim, one.dim, SPACE_L2, &a);
        ck_assert(topk_init(&got, &a, 20) && topk_init(&want, &a, 20));
        for (uint32_t s = 0; s < 2; s++) {
            got.segment = want.segment = s;
            ck_ok(codes_search(&c[s], &rows[s], &q, NULL, 4, &got, &a, &em));
            exact_search(&rows[s], N_ROWS, &q, NULL, &want);
        }
        topk_sort(&got);
        topk_sort(&want);
        for (uint32_t j = 0; j < 20; j++) {
            ck_assert_uint_lt(got.heap[j].segment, 2);
            n_right += got.heap[j].distance <= want.heap[19].distance;
        }
        arena_free(&a);
    }
    ck_assert_uint_ge(n_right, n_lists > 0 ? N_QUERIES * 20 * 98 / 100 : N_QUERIES * 20);
    for (int s = 0; s < 2; s++) buf_free(&out[s]);
    world_deinit(&one);
    world_deinit(&two);
}

static void check_twins_come_in_order(uint32_t n_lists)
{
    struct world w;
    world_init(&w, NOISE, 6);
    w.n_lists = n_lists;
    for (uint32_t i = 1; i < w.n; i++) memcpy(w.rows + (size_t)i * w.dim, w.rows, w.dim * sizeof(float));
    for (uint32_t i = 0; i < w.n; i++) w.norm2[i] = w.norm2[0];
    for (int space = SPACE_L2; space <= SPACE_IP; space++) {
        struct buf out;
        struct codes c;
        build(&w, (enum space)space, &out, &c);
        struct codes_rows rows = rows_of(&w);
        struct arena a = {0};
        struct query_vector q;
        struct topk top;
        struct errmsg em;
        query_vector_init(&q, w.queries, w.dim, (enum space)space, &a);
        ck_assert(topk_init(&top, &a, 10));
        ck_ok(codes_search(&c, &rows, &q, NULL, 2.5f, &top, &a, &em));
        topk_sort(&top);
        ck_assert_uint_eq(top.n, 10);
        for (uint32_t j = 0; j < 10; j++) ck_assert_uint_eq(top.heap[j].row, j);
        arena_free(&a);
        buf_free(&out);
    }
    world_deinit(&w);
}

static void check_zero_rows_and_queries(uint32_t n_lists)
{
    struct world w;
    world_init(&w, NOISE, 7);
    w.n_lists = n_lists;
    for (uint32_t i = 0; i < w.n; i += 3) {
        memset(w.rows + (size_t)i * w.dim, 0, w.dim * sizeof(float));
        w.norm2[i] = 0;
    }
    memset(w.rows + (size_t)(N_ROWS + 1) * w.dim, 0, w.dim * sizeof(float)); /* the second query */
    for (int space = SPACE_L2; space <= SPACE_IP; space++) {
        struct buf out;
        struct codes c;
        build(&w, (enum space)space, &out, &c);
        for (size_t t = 0; t < 3; t++)
            ck_assert_double_ge(recall(&w, &c, NULL, ks[t], 2.5f), 0.99 - 1.0 / (N_QUERIES * ks[t]));
        buf_free(&out);
    }
    world_deinit(&w);
}

/* Scales at which squares leave float32: either the section is empty, or the search is as good as ever. */
static void check_extreme_scales(uint32_t n_lists)
{
    const float scales[] = {1e-38f, 1e-20f, 1e-10f, 1e10f, 1e16f, 1e30f};
    for (size_t t = 0; t < sizeof scales / sizeof scales[0]; t++) {
        for (int space = SPACE_L2; space <= SPACE_IP; space++) {
            struct world w;
            world_init(&w, CLUSTERS, 8);
            w.n_lists = n_lists;
            for (size_t i = 0; i < (size_t)(N_ROWS + N_QUERIES) * w.dim; i++) w.rows[i] *= scales[t];
            for (uint32_t i = 0; i < N_ROWS; i++)
                w.norm2[i] = distance_ops()->dot(w.rows + (size_t)i * w.dim, w.rows + (size_t)i * w.dim, w.dim);
            struct buf out = {0};
            struct codes c;
            struct errmsg em;
            ck_ok(codes_build_as(w.rows, w.n, w.dim, (enum space)space, 1, n_lists, copies_of(n_lists), &out, &em));
            ck_ok(codes_open(&c, (struct bytes){out.p, out.n}, w.n, w.dim, (enum space)space, &em));
            bool is_extreme = scales[t] < 1e-15f || scales[t] > 1e14f;
            ck_assert(space == SPACE_COSINE ? c.n > 0 : (c.n == 0) == is_extreme);
            double found = c.n > 0 ? recall(&w, &c, NULL, 10, 2.5f) : 1;
            ck_assert_msg(found >= 0.98, "scale %g, space %d: recall %g", (double)scales[t], space, found);
            buf_free(&out);
            world_deinit(&w);
        }
    }
}

static void check_query_out_of_all_proportion(uint32_t n_lists)
{
    struct world w;
    world_init(&w, CLUSTERS, 9);
    w.n_lists = n_lists;
    for (uint32_t d = 0; d < w.dim; d++) {
        w.rows[(size_t)N_ROWS * w.dim + d] *= 1e30f;
        w.rows[(size_t)(N_ROWS + 1) * w.dim + d] *= 1e-30f;
        w.rows[(size_t)(N_ROWS + 2) * w.dim + d] *= 1e10f;
    }
    for (int space = SPACE_L2; space <= SPACE_IP; space++) {
        struct buf out;
        struct codes c;
        build(&w, (enum space)space, &out, &c);
        ck_assert_double_ge(recall(&w, &c, NULL, 10, 2.5f), 0.98);
        buf_free(&out);
    }
    world_deinit(&w);
}

/* Everything twice: a scan in row order, and lists. */
START_TEST(floors)
{
    check_floors(0);
}
END_TEST

START_TEST(floors_in_lists)
{
    check_floors(N_LISTS);
}
END_TEST

START_TEST(epsilon_is_the_knob)
{
    check_epsilon_is_the_knob(0);
}
END_TEST

START_TEST(epsilon_is_the_knob_in_lists)
{
    check_epsilon_is_the_knob(N_LISTS);
}
END_TEST

START_TEST(effort_is_the_knob)
{
    check_effort_is_the_knob(0);
}
END_TEST

START_TEST(effort_is_the_knob_in_lists)
{
    check_effort_is_the_knob(N_LISTS);
}
END_TEST

START_TEST(dead_rows_take_no_place)
{
    check_dead_rows_take_no_place(0);
}
END_TEST

START_TEST(dead_rows_take_no_place_in_lists)
{
    check_dead_rows_take_no_place(N_LISTS);
}
END_TEST

START_TEST(sections_of_one_request)
{
    check_sections_of_one_request(0);
}
END_TEST

START_TEST(sections_of_one_request_in_lists)
{
    check_sections_of_one_request(N_LISTS);
}
END_TEST

START_TEST(twins_come_in_order)
{
    check_twins_come_in_order(0);
}
END_TEST

START_TEST(twins_come_in_order_in_lists)
{
    check_twins_come_in_order(N_LISTS);
}
END_TEST

START_TEST(zero_rows_and_queries)
{
    check_zero_rows_and_queries(0);
}
END_TEST

START_TEST(zero_rows_and_queries_in_lists)
{
    check_zero_rows_and_queries(N_LISTS);
}
END_TEST

START_TEST(extreme_scales)
{
    check_extreme_scales(0);
}
END_TEST

START_TEST(extreme_scales_in_lists)
{
    check_extreme_scales(N_LISTS);
}
END_TEST

START_TEST(query_out_of_all_proportion)
{
    check_query_out_of_all_proportion(0);
}
END_TEST

START_TEST(query_out_of_all_proportion_in_lists)
{
    check_query_out_of_all_proportion(N_LISTS);
}
END_TEST

TESTS(recall, floors, floors_in_lists, epsilon_is_the_knob, epsilon_is_the_knob_in_lists, effort_is_the_knob,
      effort_is_the_knob_in_lists, dead_rows_take_no_place, dead_rows_take_no_place_in_lists, sections_of_one_request,
      sections_of_one_request_in_lists, twins_come_in_order, twins_come_in_order_in_lists, zero_rows_and_queries,
      zero_rows_and_queries_in_lists, extreme_scales, extreme_scales_in_lists, query_out_of_all_proportion,
      query_out_of_all_proportion_in_lists)
