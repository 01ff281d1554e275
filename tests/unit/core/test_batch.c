/* test_batch.c - write blocks: what is built is read back, and damaged blocks are refused or harmless. */
#include "core/batch.h"
#include "core/mem.h"
#include "core/value.h"
#include "tests/lib/suite.h"

static struct bytes sample(void)
{
    const struct str ids[3] = {STR("one"), {"zwei\0x", 6}, STR("3")};
    const struct str documents[3] = {STR("first"), {NULL, 0}, STR("")};
    static const float vectors[4] = {1, 2, 3, 4};
    static const uint8_t has_vector[3] = {1, 0, 1};
    struct buf m = {0};
    struct value v = {.type = VALUE_STR, .s = STR("value")};
    meta_put(&m, STR("key"), &v);
    const struct bytes metas[3] = {{NULL, 0}, {m.p, m.n}, {NULL, 0}};
    const struct batch_input in = {
        .kind = BATCH_UPDATE,
        .n_rows = 3,
        .dim = 2,
        .as_of = 77,
        .ids = ids,
        .vectors = vectors,
        .has_vector = has_vector,
        .documents = documents,
        .metas = metas,
    };
    struct bytes block;
    ck_ok(batch_build(&in, &block, NULL));
    buf_free(&m);
    return block;
}

START_TEST(reads_back_what_was_built)
{
    struct bytes b = sample();
    ck_ok(batch_validate(b, NULL));
    const struct batch_row *r = batch_rows(b);
    ck_assert_int_eq(batch_kind(b), BATCH_UPDATE);
    ck_assert_uint_eq(batch_n_rows(b), 3);
    ck_assert_uint_eq(batch_dim(b), 2);
    ck_assert_uint_eq(batch_as_of(b), 77);
    ck_assert(str_eq(batch_id(b, &r[1]), str_of("zwei\0x", 6)));
    ck_assert(str_eq(batch_document(b, &r[0]), STR("first")));
    ck_assert_ptr_null(batch_document(b, &r[1]).p);
    ck_assert_ptr_nonnull(batch_document(b, &r[2]).p);
    ck_assert_uint_eq(batch_document(b, &r[2]).n, 0);
    ck_assert_ptr_null(batch_uri(b, &r[0]).p);
    ck_assert_ptr_null(batch_vector(b, &r[1]));
    ck_assert(batch_vector(b, &r[2])[1] == 4);
    struct meta_entry e;
    ck_assert(meta_find(batch_meta(b, &r[1]), STR("key"), &e));
    mem_free((void *)(uintptr_t)b.p);
}
END_TEST

START_TEST(damage_is_refused_or_harmless)
{
    struct bytes whole = sample();
    struct rng rng = {5};
    for (int round = 0; round < 30000; round++) {
        size_t n = round % 3 == 0 ? rng_below(&rng, (uint32_t)whole.n + 1) : whole.n;
        uint8_t *p = mem_aligned(64, n);
        memcpy(p, whole.p, n);
        for (uint32_t k = rng_below(&rng, 4); k > 0 && n > 0; k--)
            p[rng_below(&rng, (uint32_t)n)] = rng_below(&rng, 2) != 0 ? (uint8_t)rng_next(&rng) : 0xff;
        struct bytes b = {p, n};
        if (batch_validate(b, NULL) == ERR_OK) { /* then every access is in bounds: the sanitizer is the judge */
            const struct batch_row *r = batch_rows(b);
            volatile uint8_t sink = 0;
            for (uint32_t i = 0; i < batch_n_rows(b); i++) {
                struct str parts[3] = {batch_id(b, &r[i]), batch_document(b, &r[i]), batch_uri(b, &r[i])};
                for (int k = 0; k < 3; k++)
                    if (parts[k].n > 0) sink ^= (uint8_t)parts[k].p[parts[k].n - 1];
                const float *v = batch_vector(b, &r[i]);
                if (v != NULL) sink ^= ((const uint8_t *)v)[batch_dim(b) * sizeof *v - 1];
            }
        }
        mem_free(p);
    }
    mem_free((void *)(uintptr_t)whole.p);
}
END_TEST

TESTS(batch, reads_back_what_was_built, damage_is_refused_or_harmless)
