/* test_rank_tree.c - the ordered set against a sorted array, with random and with the worst priorities. */
#include "tests/lib/suite.h"

#include "catalog/rank_tree.h"

struct item {
    uint32_t key;
    struct rank_node node;
};

static const struct item *item_of(const struct rank_node *n)
{
    return (const void *)((const char *)n - offsetof(struct item, node));
}

static int compare(const struct rank_node *a, const struct rank_node *b)
{
    uint32_t x = item_of(a)->key, y = item_of(b)->key;
    return x < y ? -1 : x > y;
}

/* Checks order, heap property and sizes; returns the height. */
static size_t check_subtree(const struct rank_node *n, int64_t low, int64_t high)
{
    if (n == NULL) return 0;
    ck_assert(item_of(n)->key > low && item_of(n)->key < high);
    size_t size = 1;
    const struct rank_node *children[] = {n->left, n->right};
    for (int i = 0; i < 2; i++) {
        if (children[i] == NULL) continue;
        ck_assert(children[i]->priority <= n->priority);
        size += children[i]->size;
    }
    ck_assert_uint_eq(n->size, size);
    size_t left = check_subtree(n->left, low, item_of(n)->key), right = check_subtree(n->right, item_of(n)->key, high);
    return 1 + (left > right ? left : right);
}

enum { KEYS = 400 };

START_TEST(like_a_sorted_array)
{
    static struct item items[KEYS];
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct rng r = {seed};
        bool in[KEYS] = {false};
        struct rank_tree t;
        rank_tree_init(&t, compare);
        for (uint32_t i = 0; i < KEYS; i++) items[i] = (struct item){.key = i};
        for (int step = 0; step < 3000; step++) {
            uint32_t k = rng_below(&r, KEYS);
            /* the last seed has few priorities, hence many equal ones */
            if (in[k])
                rank_tree_remove(&t, &items[k].node);
            else
                rank_tree_insert(&t, &items[k].node, seed == 4 ? rng_below(&r, 2) : rng_next(&r));
            in[k] = !in[k];
            if (step % 10 != 0) continue;
            uint32_t sorted[KEYS];
            size_t n = 0;
            for (uint32_t i = 0; i < KEYS; i++) {
                if (in[i]) sorted[n++] = i;
            }
            ck_assert_msg(rank_tree_count(&t) == n, "seed %d step %d", (int)seed, step);
            (void)check_subtree(t.root, -1, KEYS);
            size_t from = rng_below(&r, KEYS + 10), limit = rng_below(&r, KEYS + 10);
            size_t page = rank_tree_page(&t, from, limit);
            ck_assert_uint_eq(page, from >= n ? 0 : limit < n - from ? limit : n - from);
            struct rank_node *out[KEYS];
            rank_tree_copy(&t, page > 0 ? from : 0, page, out);
            for (size_t i = 0; i < page; i++) ck_assert_uint_eq(item_of(out[i])->key, sorted[from + i]);
            const struct rank_node *at = rank_tree_at(&t, from);
            if (from >= n)
                ck_assert_ptr_null(at);
            else
                ck_assert_uint_eq(item_of(at)->key, sorted[from]);
        }
    }
}
END_TEST

START_TEST(stays_low_when_keys_come_in_order)
{
    enum { N = 20000 };
    struct item *items = calloc(N, sizeof *items);
    ck_assert_ptr_nonnull(items);
    struct rng r = {42};
    struct rank_tree t;
    rank_tree_init(&t, compare);
    for (uint32_t i = 0; i < N; i++) {
        items[i].key = i;
        rank_tree_insert(&t, &items[i].node, rng_next(&r));
    }
    /* expected some 34; a chain would be 20000 */
    ck_assert_uint_lt(check_subtree(t.root, -1, N), 80);
    free(items);
}
END_TEST

TESTS(rank_tree, like_a_sorted_array, stays_low_when_keys_come_in_order)
