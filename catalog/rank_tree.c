/* rank_tree.c - see rank_tree.h.
 *
 * Insert walks down to the first node of a lower priority, splits that subtree around the new node and takes its
 * place. Remove puts the merge of a node's two subtrees in its place. Sizes on the way down are adjusted in passing.
 *
 * FAILURES   none: nothing is allocated.
 * INVARIANTS left < node < right by `compare`; priority of a child <= that of its parent; size is exact. The recursion
 *            is as deep as the tree is high: some 2.5 log2(n) with random priorities.
 */
#include "catalog/rank_tree.h"

#include "core/err.h"

static size_t size_of(const struct rank_node *n)
{
    return n != NULL ? n->size : 0;
}

static void resize(struct rank_node *n)
{
    n->size = size_of(n->left) + 1 + size_of(n->right);
}

void rank_tree_init(struct rank_tree *t, rank_compare compare)
{
    *t = (struct rank_tree){.compare = compare};
}

/* Takes the tree `n` apart: what is below `key` goes to *low, the rest to *high. */
static void split(rank_compare compare, struct rank_node *n, const struct rank_node *key, struct rank_node **low,
                  struct rank_node **high)
{
    if (n == NULL) {
        *low = *high = NULL;
        return;
    }
    if (compare(n, key) < 0) {
        split(compare, n->right, key, &n->right, high);
        *low = n;
    } else {
        split(compare, n->left, key, low, &n->left);
        *high = n;
    }
    resize(n);
}

/* Joins two trees, all of `low` before all of `high`. */
static struct rank_node *merge(struct rank_node *low, struct rank_node *high)
{
    if (low == NULL) return high;
    if (high == NULL) return low;
    if (low->priority >= high->priority) {
        low->right = merge(low->right, high);
        resize(low);
        return low;
    }
    high->left = merge(low, high->left);
    resize(high);
    return high;
}

void rank_tree_insert(struct rank_tree *t, struct rank_node *node, uint64_t priority)
{
    node->priority = priority;
    struct rank_node **link = &t->root;
    while (*link != NULL && (*link)->priority >= priority) {
        int order = t->compare(node, *link);
        CHECK(order != 0 && "no two nodes of a tree are equal");
        (*link)->size++;
        link = order < 0 ? &(*link)->left : &(*link)->right;
    }
    split(t->compare, *link, node, &node->left, &node->right);
    resize(node);
    *link = node;
}

void rank_tree_remove(struct rank_tree *t, struct rank_node *node)
{
    struct rank_node **link = &t->root;
    while (*link != node) {
        CHECK(*link != NULL && "the node is in the tree");
        (*link)->size--;
        link = t->compare(node, *link) < 0 ? &(*link)->left : &(*link)->right;
    }
    *link = merge(node->left, node->right);
    node->left = node->right = NULL;
    node->size = 0;
}

struct rank_node *rank_tree_at(const struct rank_tree *t, size_t rank)
{
    struct rank_node *n = t->root;
    while (n != NULL) {
        size_t before = size_of(n->left);
        if (rank == before) return n;
        if (rank < before) {
            n = n->left;
        } else {
            rank -= before + 1;
            n = n->right;
        }
    }
    return NULL;
}

/* Copies ranks [offset, offset + n) of the subtree; the range lies inside it. */
static void copy(struct rank_node *at, size_t offset, size_t n, struct rank_node **out)
{
    while (n > 0) {
        size_t before = size_of(at->left);
        if (offset < before) {
            size_t here = before - offset < n ? before - offset : n;
            copy(at->left, offset, here, out);
            out += here;
            n -= here;
            offset = before;
        }
        if (n > 0 && offset == before) {
            *out++ = at;
            n--;
            offset++;
        }
        offset -= before + 1;
        at = at->right;
    }
}

void rank_tree_copy(const struct rank_tree *t, size_t offset, size_t n, struct rank_node **out)
{
    CHECK(n <= rank_tree_page(t, offset, n) && "the range exists");
    copy(t->root, offset, n, out);
}
