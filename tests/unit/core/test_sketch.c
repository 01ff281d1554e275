/* test_sketch.c - bounds from sketches against the distances that are answered. */
#include "tests/lib/suite.h"

#include <float.h>
#include <math.h>

#include "core/arena.h"
#include "core/distance.h"
#include "core/mem.h"
#include "core/sketch.h"

static const enum space spaces[] = {SPACE_L2, SPACE_COSINE, SPACE_IP};

/* A vector that ends with its block, so that a sanitizer sees a read beyond it, and its sketch likewise. */
struct sketched {
    float *v;
    float norm2;
    struct sketch *s;
};

static struct sketched sketched_new(const float *v, uint32_t dim)
{
    struct sketched x = {.v = mem_dup(v, dim * sizeof *v), .s = mem_alloc(sketch_bytes(dim))};
    ck_assert(x.v != NULL && x.s != NULL);
    x.norm2 = distance_ops()->dot(x.v, x.v, dim);
    sketch_make(x.s, x.v, dim, x.norm2);
    return x;
}

static void sketched_free(struct sketched *x)
{
    mem_free(x->v);
    mem_free(x->s);
}

/* Kinds of vectors: even ones, one large component among small ones, a sum of another one and a little. */
static void draw(struct rng *r, float *v, uint32_t dim, const float *near, float length)
{
    uint32_t kind = rng_below(r, 3);
    for (uint32_t i = 0; i < dim; i++) {
        v[i] = rng_gauss(r) * length;
        if (kind == 1 && i != dim / 2) v[i] *= 0.001F;
        if (kind == 2 && near != NULL) v[i] = near[i] + 0.01F * v[i];
    }
}

START_TEST(bounds_hold)
{
    struct rng r = {2026};
    static const float lengths[] = {1, 1e-7F, 3e4F};
    float u[1100], v[1100];
    for (int round = 0; round < suite_share(3000); round++) {
        uint32_t dim = round < 100 ? (uint32_t)round + 1 : 1 + rng_below(&r, 1100);
        struct arena a = {0};
        struct query_vector q;
        struct sketch_query sq;
        draw(&r, u, dim, NULL, lengths[rng_below(&r, 3)]);
        draw(&r, v, dim, u, lengths[rng_below(&r, 3)]);
        struct sketched x = sketched_new(v, dim), same = sketched_new(u, dim);
        for (size_t i = 0; i < 3; i++) {
            query_vector_init(&q, u, dim, spaces[i], &a);
            if (!sketch_query_init(&sq, &q)) continue; /* too short, by chance */
            float bound = sketch_bound(&sq, x.s), exact = distance_exact(&q, x.v, x.norm2);
            ck_assert_msg(bound <= exact, "round %d space %zu dim %u: bound %.9g of %.9g", round, i, dim, (double)bound,
                          (double)exact);
            bound = sketch_bound(&sq, same.s);
            exact = distance_exact(&q, same.v, same.norm2);
            ck_assert_msg(bound <= exact, "round %d space %zu dim %u: bound %.9g of itself", round, i, dim,
                          (double)bound);
        }
        sketched_free(&x);
        sketched_free(&same);
        arena_free(&a);
    }
}
END_TEST

/* Otherwise they would be of no use: what is far enough must be ruled out. */
START_TEST(bounds_are_near)
{
    struct rng r = {9};
    enum { DIM = 384, ROUNDS = 200 };
    float u[DIM], v[DIM];
    for (int round = 0; round < ROUNDS; round++) {
        struct arena a = {0};
        struct query_vector q;
        struct sketch_query sq;
        for (int i = 0; i < DIM; i++) {
            u[i] = rng_gauss(&r);
            v[i] = rng_gauss(&r);
        }
        struct sketched x = sketched_new(v, DIM);
        query_vector_init(&q, u, DIM, SPACE_COSINE, &a);
        ck_assert(sketch_query_init(&sq, &q));
        float bound = sketch_bound(&sq, x.s), exact = distance_exact(&q, x.v, x.norm2);
        ck_assert_msg(exact - bound < 0.05F, "round %d: bound %.6f of %.6f", round, (double)bound, (double)exact);
        sketched_free(&x);
        arena_free(&a);
    }
}
END_TEST

START_TEST(odd_vectors_are_never_ruled_out)
{
    enum { DIM = 40 };
    static const float odd[] = {0, 1e-30F, 1e30F, FLT_MAX, INFINITY, NAN};
    float u[DIM], v[DIM];
    for (size_t k = 0; k < sizeof odd / sizeof odd[0]; k++) {
        struct arena a = {0};
        struct query_vector q;
        struct sketch_query sq;
        for (int i = 0; i < DIM; i++) {
            u[i] = (float)(i % 7) - 3;
            v[i] = odd[k];
        }
        struct sketched x = sketched_new(v, DIM);
        for (size_t i = 0; i < 3; i++) {
            query_vector_init(&q, u, DIM, spaces[i], &a);
            ck_assert(sketch_query_init(&sq, &q));
            ck_assert_float_infinite(sketch_bound(&sq, x.s));
            ck_assert_float_lt(sketch_bound(&sq, x.s), 0);
            query_vector_init(&q, x.v, DIM, spaces[i], &a);
            ck_assert(!sketch_query_init(&sq, &q)); /* nor can such a query rule out anything */
        }
        sketched_free(&x);
        arena_free(&a);
    }
}
END_TEST

START_TEST(sizes)
{
    ck_assert_uint_eq(sketch_bytes(0), 0);
    ck_assert_uint_eq(sketch_bytes(1), sizeof(struct sketch) + 32);
    ck_assert_uint_eq(sketch_bytes(384), sizeof(struct sketch) + 384);
    ck_assert_uint_eq(sketch_bytes(385), sizeof(struct sketch) + 416);
    ck_assert_uint_gt(sketch_bytes(32768), 0);
    ck_assert_uint_eq(sketch_bytes(32769), 0);
}
END_TEST

TESTS(sketch, bounds_hold, bounds_are_near, odd_vectors_are_never_ruled_out, sizes)
