/* fuzz_batch.c - blocks of writes as they lie in the log: any bytes, and valid ones with changes. What batch_validate
 * lets through is applied to a collection, which can then be read. Packed metadata likewise.
 *
 * INPUT  a byte: 0 any bytes; 1 packed metadata; 2 any bytes behind a right head; else a valid block with changes
 *        (image.h).
 */
#include "tests/fuzz/image.h"
/* the check above goes first: see fuzz.h */
#include "core/batch.h"
#include "core/collection.h"
#include "core/epoch.h"
#include "core/executor.h"
#include "core/mem.h"
#include "core/value.h"

enum { DIM = 3, N_ROWS = 4, BLOCK_MAX = 1 << 16 };

static struct bytes blocks[5]; /* one of each kind; made with the first input */

static void make_blocks(void)
{
    static const float vectors[N_ROWS * DIM] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 1};
    static uint32_t indices[2] = {3, 70};
    static float weights[2] = {0.5f, 2};
    const struct str ids[N_ROWS] = {STR("a"), STR("b"), STR("c"), STR("a")};
    const struct str documents[N_ROWS] = {STR("text one"), {NULL, 0}, STR(""), STR("more")};
    const struct str uris[N_ROWS] = {{NULL, 0}, STR("u"), {NULL, 0}, STR("")};
    struct value items[2] = {{.type = VALUE_STR, .s = STR("x")}, {.type = VALUE_STR, .s = STR("yy")}};
    const struct value values[] = {{.type = VALUE_INT, .i = -5},
                                   {.type = VALUE_STRS, .list = {2, items}},
                                   {.type = VALUE_SPARSE, .sparse = {2, indices, weights, NULL}},
                                   {.type = VALUE_STR, .s = STR("text")}};
    struct buf meta = {0};
    for (int i = 0; i < 4; i++) meta_put(&meta, str_of(&"klmn"[i], 1), &values[i]);
    const struct bytes metas[N_ROWS] = {{meta.p, meta.n}, {NULL, 0}, {meta.p, meta.n}, {NULL, 0}};
    for (int i = 0; i < 5; i++) {
        bool is_delete = i >= 3;
        struct batch_input in = {.kind = (enum batch_kind)(BATCH_ADD + i), .n_rows = N_ROWS, .ids = ids, .as_of = 1};
        if (!is_delete) {
            in.dim = DIM;
            in.vectors = vectors;
            in.documents = documents;
            in.uris = uris;
            in.metas = metas;
        }
        must_ok(batch_build(&in, &blocks[i], NULL));
    }
    buf_free(&meta);
}

static void read_all(const struct collection *c)
{
    struct arena a = {.max_bytes = 64 << 20};
    struct snapshot s;
    struct row_ref *rows;
    uint32_t n;
    must_ok(snapshot_begin(c, &a, &s));
    const struct selection all = {0};
    must_ok(exec_get(&s, &all, UINT32_MAX, 0, &a, &rows, &n, NULL));
    must(n == collection_count(c));
    for (uint32_t i = 0; i < n; i++) {
        struct row row = {0};
        must_ok(exec_row(&s, rows[i], ROW_ALL, &a, &row, NULL));
        must(row.meta.n == 0 || meta_validate(row.meta, false));
        const struct selection one = {.ids = &row.id, .n_ids = 1};
        struct row_ref *found;
        uint32_t n_found;
        must_ok(exec_get(&s, &one, UINT32_MAX, 0, &a, &found, &n_found, NULL));
        must(n_found == 1);
    }
    if (s.dim > 0 && s.dim < 1000) {
        struct hit **hits;
        uint32_t *n_hits;
        float *q = arena_array(&a, s.dim, sizeof *q);
        must(q != NULL);
        must_ok(exec_query(&s, &all, q, 1, 3, &a, &hits, &n_hits, NULL));
    }
    snapshot_end(&s);
    arena_free(&a);
}

static void apply(struct bytes block)
{
    struct collection *c;
    struct bytes first = {mem_aligned(8, blocks[0].n), blocks[0].n};
    uint32_t n_changed;
    must(first.p != NULL);
    memcpy((void *)(uintptr_t)first.p, blocks[0].p, first.n);
    const struct collection_state state = {0};
    must_ok(collection_new(&c, 1, SPACE_L2, &state, NULL, 0, NULL));
    must_ok(collection_apply(c, 1, first, &n_changed, NULL));
    enum err e = collection_apply(c, 2, block, &n_changed, NULL);
    must(e == ERR_OK || e == ERR_CORRUPT || e == ERR_NOMEM);
    read_all(c);
    collection_retire(c);
    epoch_drain();
}

static void check_metadata(struct bytes meta)
{
    struct arena a = {0};
    struct buf again = {0};
    struct meta_entry entry, found;
    if (!meta_validate(meta, true)) return;
    for (struct meta_iter it = meta_iter(meta); meta_next(&it, &entry);) {
        struct value v;
        must(meta_value(&entry, &a, &v));
        must(meta_find(meta, entry.key, &found) && found.payload.p == entry.payload.p);
        meta_put(&again, entry.key, &v);
    }
    must(meta_validate((struct bytes){again.p, again.n}, true));
    struct buf merged = {0};
    meta_merge((struct bytes){NULL, 0}, meta, &merged);
    must(meta_validate((struct bytes){merged.p, merged.n}, false));
    buf_free(&merged);
    buf_free(&again);
    arena_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct input in = {p, n};
    if (blocks[0].p == NULL) make_blocks();
    uint8_t how = input_u8(&in);
    if (how == 1) {
        check_metadata((struct bytes){in.p, in.n});
        return 0;
    }
    struct str any = how == 0 || how == 2 ? input_text(&in, BLOCK_MAX) : STR("");
    const struct bytes *base = &blocks[how % 5];
    struct image m = {NULL, how == 0 ? any.n : how == 2 ? 64 + any.n : base->n};
    m.p = mem_aligned(8, m.n > 0 ? m.n : 8);
    must(m.p != NULL);
    if (how == 0) {
        if (m.n > 0) memcpy(m.p, any.p, m.n);
    } else if (how == 2) { /* what the head says is up to the input, but for its magic number and the size */
        memset(m.p, 0, 64);
        memcpy(m.p, base->p, 4);
        if (any.n > 0) memcpy(m.p + 64, any.p, any.n);
        size_t n_head = any.n < 28 ? any.n : 28;
        if (n_head > 0) memcpy(m.p + 4, any.p, n_head);
        memset(m.p + 5, 0, 3);
        memset(m.p + 20, 0, 4);
        le64_put(m.p + 32, m.n);
    } else {
        memcpy(m.p, base->p, m.n);
        for (int i = 0; i < IMAGE_CHANGES_MAX && in.n > 0; i++) image_change(&m, 0, m.n, &in);
    }
    struct bytes block = {m.p, m.n};
    struct errmsg em = {{0}};
    enum err e = batch_validate(block, &em);
    must(e == ERR_OK || ((e == ERR_CORRUPT || e == ERR_NEWER) && em.text[0] != '\0'));
    if (e == ERR_OK && batch_dim(block) < 1 << 20)
        apply(block);
    else
        mem_free(m.p);
    return 0;
}
