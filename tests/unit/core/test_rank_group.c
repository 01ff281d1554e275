/* test_rank_group.c - groups of ranked rows: the order of values of all types, as keys of the order and of the groups.
 * Random searches with groups: test_rank.c.
 */
#include <stdio.h>

#include "core/epoch.h"
#include "core/rank.h"
#include "tests/lib/suite.h"

enum { DIM = 2 };

static uint32_t id_number(const struct snapshot *s, struct row_ref ref, struct arena *a)
{
    struct row row = {0};
    char text[16] = "";
    ck_ok(exec_row(s, ref, ROW_ID, a, &row, NULL));
    ck_assert_uint_lt(row.id.n, sizeof text);
    memcpy(text, row.id.p, row.id.n);
    return (uint32_t)atoi(text + 3);
}

/* Values in the order that the contract gives them; equal ones do not occur. */
static struct value ordered_value(uint32_t i)
{
    static uint32_t one[] = {1, 2}, two[] = {1, 3};
    static float low[] = {-1, 0}, high[] = {1, 0};
    static struct value no = {.type = VALUE_BOOL}, ints[] = {{.type = VALUE_INT, .i = 1}, {.type = VALUE_INT, .i = 2}};
    static struct value real = {.type = VALUE_FLOAT, .f = -1}, text = {.type = VALUE_STR, .s = {"", 0}};
    const struct value values[] = {
        {.type = VALUE_NULL},
        {.type = VALUE_BOOL, .b = false},
        {.type = VALUE_BOOL, .b = true},
        {.type = VALUE_INT, .i = INT64_MIN},
        {.type = VALUE_INT, .i = 5},
        {.type = VALUE_FLOAT, .f = -1e300},
        {.type = VALUE_FLOAT, .f = 5},
        {.type = VALUE_STR, .s = {"a", 1}},
        {.type = VALUE_STR, .s = {"ab", 2}},
        {.type = VALUE_STR, .s = {"b", 1}},
        {.type = VALUE_SPARSE, .sparse = {.n = 1, .indices = one, .values = high}},
        {.type = VALUE_SPARSE, .sparse = {.n = 2, .indices = one, .values = low}},
        {.type = VALUE_SPARSE, .sparse = {.n = 2, .indices = one, .values = high}},
        {.type = VALUE_SPARSE, .sparse = {.n = 2, .indices = two, .values = low}},
        {.type = VALUE_BOOLS, .list = {1, &no}},
        {.type = VALUE_INTS, .list = {1, ints}},
        {.type = VALUE_INTS, .list = {2, ints}},
        {.type = VALUE_INTS, .list = {1, ints + 1}},
        {.type = VALUE_FLOATS, .list = {1, &real}},
        {.type = VALUE_STRS, .list = {1, &text}},
    };
    enum { N = sizeof values / sizeof values[0] };
    ck_assert_uint_lt(i, N);
    return values[i];
}
enum { N_ORDERED = 20 };

static void add_ordered(struct collection *c, uint64_t lsn, uint32_t i, const char *id_prefix)
{
    char text[16];
    struct str id = str_of(text, (size_t)sprintf(text, "%s-%u", id_prefix, i));
    struct buf packed = {0};
    struct value v = ordered_value(i);
    const float vector[DIM] = {0, 0};
    uint32_t changed;
    struct bytes block;
    if (v.type != VALUE_NULL) meta_put(&packed, STR("k"), &v);
    struct bytes meta = {packed.p, packed.n};
    const struct batch_input in = {
        .kind = BATCH_ADD, .n_rows = 1, .dim = DIM, .ids = &id, .vectors = vector, .metas = &meta};
    ck_ok(batch_build(&in, &block, NULL));
    ck_ok(collection_apply(c, lsn, block, &changed, NULL));
    ck_assert_uint_eq(changed, 1);
    buf_free(&packed);
}

START_TEST(values_of_all_types_have_an_order)
{
    static const struct str key = {"k", 1}, none = {"none", 4};
    const float q[DIM] = {0, 0};
    struct rank rank = {.kind = RANK_DENSE, .leaf = {.dense = q, .n_dense = DIM, .limit = UINT32_MAX}};
    const struct collection_state nothing = {0};
    struct collection *c;
    struct arena a = {0};
    struct snapshot s;
    struct rank_row *rows;
    uint32_t n;
    ck_ok(collection_new(&c, 1, SPACE_L2, &nothing, NULL, 0, NULL));
    for (uint32_t i = 0; i < N_ORDERED; i++)
        add_ordered(c, i + 1, (i * 7) % N_ORDERED, "id"); /* 7 and 20 share no factor */
    ck_ok(snapshot_begin(c, &a, &s));
    /* one group of all; the k first are the k lowest, or the k highest */
    for (uint32_t k = 1; k <= N_ORDERED; k++) {
        for (unsigned is_descending = 0; is_descending < 2; is_descending++) {
            const struct rank_group group = {&none, 1, &key, 1, is_descending != 0, k};
            const struct rank_search search = {.rank = &rank, .group = &group, .limit = UINT32_MAX};
            ck_ok(rank_search(&s, &search, &a, &rows, &n, NULL));
            ck_assert_uint_eq(n, k);
            for (uint32_t i = 0; i < n; i++) {
                uint32_t id = id_number(&s, rows[i].ref, &a);
                ck_assert_msg(is_descending != 0 ? id >= N_ORDERED - k : id < k, "value %u among the %u %s", id, k,
                              is_descending != 0 ? "highest" : "lowest");
            }
        }
    }
    snapshot_end(&s);
    /* as keys of groups: twenty groups, of which the first member stays although a second one comes */
    for (uint32_t i = 0; i < N_ORDERED; i++) add_ordered(c, N_ORDERED + i + 1, i, "zz");
    ck_ok(snapshot_begin(c, &a, &s));
    const struct rank_group group = {&key, 1, &(const struct str){NULL, 0}, 1, false, 1};
    const struct rank_search search = {.rank = &rank, .group = &group, .limit = UINT32_MAX};
    ck_ok(rank_search(&s, &search, &a, &rows, &n, NULL));
    ck_assert_uint_eq(n, N_ORDERED);
    for (uint32_t i = 0; i < n; i++) ck_assert_uint_eq(id_number(&s, rows[i].ref, &a), (i * 7) % N_ORDERED);
    snapshot_end(&s);
    arena_free(&a);
    collection_retire(c);
    epoch_drain();
}
END_TEST

TESTS(rank_group, values_of_all_types_have_an_order)
