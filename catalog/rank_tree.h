/* rank_tree.h - an ordered set of intrusive nodes that can be read from any rank on.
 *
 * A treap with subtree sizes (Seidel & Aragon 1996): insert, remove and "the k-th in order" take O(log n) expected
 * steps. What differs from the text: nodes live inside what they order and priorities come from the caller, so that
 * inserting allocates nothing and cannot fail. Nobody outside may be able to choose the priorities.
 *
 * OWNS     nothing: nodes belong to the caller and stay where they are while in the tree.
 * THREADS  reading beside reading is safe; a change needs the tree alone.
 */
#ifndef CATALOG_RANK_TREE_H
#define CATALOG_RANK_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rank_node {
    struct rank_node *left, *right;
    size_t size;       /* of this subtree, the node included */
    uint64_t priority; /* random; never above that of the parent */
};

/* Below, zero, above. Two different nodes in one tree never compare equal. */
typedef int (*rank_compare)(const struct rank_node *a, const struct rank_node *b);

struct rank_tree {
    struct rank_node *root;
    rank_compare compare;
};

void rank_tree_init(struct rank_tree *t, rank_compare compare);
void rank_tree_insert(struct rank_tree *t, struct rank_node *node, uint64_t priority);
void rank_tree_remove(struct rank_tree *t, struct rank_node *node); /* must be in the tree */

static inline size_t rank_tree_count(const struct rank_tree *t)
{
    return t->root != NULL ? t->root->size : 0;
}

/* The node with `rank` nodes before it, or NULL. */
struct rank_node *rank_tree_at(const struct rank_tree *t, size_t rank);

/* Writes to `out` the nodes of ranks offset .. offset + n - 1, which must exist, in order: O(log(count) + n). */
void rank_tree_copy(const struct rank_tree *t, size_t offset, size_t n, struct rank_node **out);

/* How many nodes a page of `limit` from `offset` on has. */
static inline size_t rank_tree_page(const struct rank_tree *t, size_t offset, size_t limit)
{
    size_t count = rank_tree_count(t);
    if (offset >= count) return 0;
    return count - offset < limit ? count - offset : limit;
}

#endif
