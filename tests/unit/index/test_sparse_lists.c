/* test_sparse_lists.c - inverted lists against a trivial model: all rows, each dot product added up as the contract says.
 * Distances are compared bit by bit, ties included. Fragments with lists against the pass over their metadata:
 * test_sparse_search.c.
 */
#include <math.h>

#include "core/buf.h"
#include "core/mem.h"
#include "core/value.h"
#include "index/sparse_lists_internal.h"
#include "tests/unit/index/section.h"

enum { N_DIMS = 24, N_KEYS = 3, ROWS_MAX = 9000 };

static const struct str keys[N_KEYS] = {{"a", 1}, {"", 0}, {"a\0b", 3}};
static const struct str keys_sorted[N_KEYS] = {{"", 0}, {"a", 1}, {"a\0b", 3}};
/* what indices look like: both ends, neighbours, gaps */
static const uint32_t dims[N_DIMS] = {
    0,     1,     2,     3,        5,       9,       17,      100,     101,        255,        256,        257,
    65535, 65536, 70000, 1u << 24, 1 << 25, 1 << 26, 1 << 28, 1 << 30, 2147483647, 2147483648, 4294967294, 4294967295};

enum weights { POSITIVE, SIGNED, TIES, CLUSTERED, HUGE_ONES, WEIGHTS_ };

struct vector {
    bool is_there;
    bool has[N_DIMS];
    float w[N_DIMS];
};

struct fixture {
    uint32_t n;
    struct vector (*rows)[N_KEYS];
    uint64_t *dead; /* bits */
    uint64_t *ordinals;
    struct section section;
    struct sparse_lists lists;
    struct rng r;
};

static float random_weight(struct rng *r, enum weights kind, uint32_t row)
{
    switch (kind) {
    case POSITIVE:
        return fabsf(rng_gauss(r));
    case TIES:
        return (float)rng_below(r, 3) - (rng_below(r, 4) == 0 ? 1.0F : 0.0F);
    case CLUSTERED: /* rows that belong together lie together, so blocks differ */
        return rng_gauss(r) * (row / 300 % 5 == 2 ? 10.0F : 0.5F);
    case HUGE_ONES:
        return rng_gauss(r) * (rng_below(r, 4) == 0 ? 3e37F : 1e-39F);
    default:
        return rng_gauss(r);
    }
}

static struct bytes pack(const struct vector *row, struct buf *out)
{
    out->n = 0;
    for (int k = 0; k < N_KEYS; k++) { /* in the order of packed metadata */
        const struct vector *v = &row[str_eq(keys_sorted[k], keys[0]) ? 0 : str_eq(keys_sorted[k], keys[1]) ? 1 : 2];
        uint32_t indices[N_DIMS];
        float values[N_DIMS];
        struct value value = {.type = VALUE_SPARSE, .sparse = {.indices = indices, .values = values}};
        if (!v->is_there) continue;
        for (uint32_t d = 0; d < N_DIMS; d++) {
            if (!v->has[d]) continue;
            indices[value.sparse.n] = dims[d];
            values[value.sparse.n++] = v->w[d];
        }
        meta_put(out, keys_sorted[k], &value);
    }
    must_ok(out->err);
    return (struct bytes){out->p, out->n};
}

static void build(struct fixture *f, size_t run_entries)
{
    struct sparse_lists_builder *b;
    struct buf packed = {0};
    section_begin(&f->section);
    must_ok(sparse_lists_builder_new(&b, f->section.vfs, "section", NULL));
    if (run_entries > 0) sparse_lists_builder_limit(b, run_entries);
    for (uint32_t i = 0; i < f->n; i++) must_ok(sparse_lists_builder_add(b, i, pack(f->rows[i], &packed), NULL));
    must_ok(sparse_lists_builder_finish(b, f->n, &f->section.sink, NULL));
    sparse_lists_builder_free(b);
    must_ok(sparse_lists_open(&f->lists, section_end(&f->section), f->n, NULL));
    buf_free(&packed);
}

static void setup(struct fixture *f, uint32_t n, enum weights kind, uint64_t seed)
{
    *f = (struct fixture){.n = n, .r = {seed * 7919 + 1}};
    f->rows = mem_array(n, sizeof *f->rows);
    f->dead = mem_array(bitset_words(n), sizeof *f->dead);
    f->ordinals = mem_array(n, sizeof *f->ordinals);
    must(f->rows != NULL && f->dead != NULL && f->ordinals != NULL);
    for (uint32_t i = 0; i < n; i++) {
        f->ordinals[i] = i == 0 ? 5 : f->ordinals[i - 1] + 1 + rng_below(&f->r, 3);
        if (rng_below(&f->r, 10) == 0) f->dead[i / 64] |= UINT64_C(1) << (i % 64);
        for (int k = 0; k < N_KEYS; k++) {
            struct vector *v = &f->rows[i][k];
            v->is_there = rng_below(&f->r, k == 0 ? 20 : 3) != 1;
            for (uint32_t d = 0; d < N_DIMS && v->is_there; d++) { /* the first are frequent, the last rare */
                v->has[d] = rng_below(&f->r, 2 + d * d * (k == 2 ? 40 : 1)) == 0;
                v->w[d] = random_weight(&f->r, kind, i);
            }
        }
    }
    build(f, kind == SIGNED ? 500 : 0);
}

static void teardown(struct fixture *f)
{
    section_free(&f->section);
    mem_free(f->rows);
    mem_free(f->dead);
    mem_free(f->ordinals);
}

static bool is_visible(const void *ctx, uint32_t row)
{
    const struct fixture *f = ctx;
    return (f->dead[row / 64] >> (row % 64) & 1) == 0;
}

static uint64_t ordinal(const void *ctx, uint32_t row)
{
    const struct fixture *f = ctx;
    return f->ordinals[row];
}

/* A query with the numbers of its dims in `at`; every other index is one that no row has. */
struct question {
    struct sparse_query q;
    int key;
    uint32_t indices[N_DIMS + 2], at[N_DIMS + 2];
    float weights[N_DIMS + 2];
};

static void ask(struct question *q, struct rng *r, enum weights kind)
{
    *q = (struct question){.key = (int)rng_below(r, N_KEYS)};
    uint32_t one_in = 1 + rng_below(r, 8), n = 0;
    for (uint32_t d = 0; d < N_DIMS; d++) {
        if (rng_below(r, one_in) != 0) continue;
        if (d == 8 && rng_below(r, 2) == 0) { /* 102 is in no row */
            q->indices[n] = dims[d] + 1;
            q->at[n] = N_DIMS;
        } else {
            q->indices[n] = dims[d];
            q->at[n] = d;
        }
        q->weights[n++] = rng_below(r, 6) == 0 ? 0.0F : random_weight(r, kind, 0);
    }
    q->q = (struct sparse_query){keys[q->key], q->indices, q->weights, n};
}

static bool model_dot(const struct fixture *f, const struct question *q, uint32_t row, float *dot)
{
    const struct vector *v = &f->rows[row][q->key];
    bool shares = false;
    *dot = 0;
    for (uint32_t i = 0; i < q->q.n && v->is_there; i++) {
        if (q->at[i] == N_DIMS || !v->has[q->at[i]]) continue;
        *dot += q->weights[i] * v->w[q->at[i]];
        shares = true;
    }
    return shares;
}

static bool random_mask(struct fixture *f, struct bitset *mask, struct arena *a)
{
    static const uint32_t one_in[] = {1, 2, 30, 1000};
    uint32_t choice = rng_below(&f->r, 6);
    if (choice == 5) return false;
    must(bitset_init(mask, a, f->n));
    for (uint32_t i = 0; i < f->n && choice < 4; i++)
        if (rng_below(&f->r, one_in[choice]) == 0) bitset_add(mask, i);
    if (choice == 4 && f->n > 0) bitset_add(mask, rng_below(&f->r, f->n));
    return true;
}

static void check_one(struct fixture *f, enum weights kind, uint64_t seed)
{
    static const uint32_t ks[] = {0, 1, 2, 10, 100, ROWS_MAX + 1};
    struct arena a = {0};
    struct question q;
    struct bitset mask;
    struct topk top, want;
    uint32_t k = ks[rng_below(&f->r, 6)];
    ask(&q, &f->r, kind);
    const struct bitset *m = random_mask(f, &mask, &a) ? &mask : NULL;
    const struct sparse_rows rows = {rng_below(&f->r, 4) == 0 ? NULL : is_visible, ordinal, f};
    must(topk_init(&top, &a, k) && topk_init(&want, &a, k));
    for (uint32_t i = rng_below(&f->r, 3); i > 0 && k > 0; i--) { /* what other segments have offered */
        float distance = 1 - random_weight(&f->r, kind, 0);
        uint64_t order = rng_below(&f->r, 2 * f->n + 1);
        topk_offer(&top, distance, order * 1000 + i, 1000000);
        topk_offer(&want, distance, order * 1000 + i, 1000000);
    }
    must_ok(sparse_lists_nearest(&f->lists, &rows, &q.q, m, &top, &a, NULL));
    for (uint32_t i = 0; i < f->n; i++) {
        float dot;
        if (m != NULL && !bitset_get(m, i)) continue;
        if (rows.is_visible != NULL && !is_visible(f, i)) continue;
        if (model_dot(f, &q, i, &dot)) topk_offer(&want, 1 - dot, f->ordinals[i], i);
    }
    topk_sort(&top);
    topk_sort(&want);
    must_msg(top.n == want.n, "seed %llu: %u rows, not %u", (unsigned long long)seed, top.n, want.n);
    for (uint32_t i = 0; i < top.n; i++)
        must_msg(top.heap[i].row == want.heap[i].row &&
                     memcmp(&top.heap[i].distance, &want.heap[i].distance, sizeof(float)) == 0,
                 "seed %llu, k %u: at %u row %u at %a, not row %u at %a", (unsigned long long)seed, k, i,
                 top.heap[i].row, (double)top.heap[i].distance, want.heap[i].row, (double)want.heap[i].distance);

    uint32_t counts[N_DIMS + 2] = {0};
    must_ok(sparse_lists_count(&f->lists, &rows, &q.q, counts, NULL));
    for (uint32_t i = 0; i < q.q.n; i++) {
        uint32_t n = 0;
        for (uint32_t row = 0; row < f->n && q.at[i] < N_DIMS; row++)
            n += f->rows[row][q.key].is_there && f->rows[row][q.key].has[q.at[i]] &&
                 (rows.is_visible == NULL || is_visible(f, row));
        must_msg(counts[i] == n, "seed %llu: %u rows with index %u, not %u", (unsigned long long)seed, counts[i],
                 q.indices[i], n);
    }
    arena_free(&a);
}

START_TEST(answers_are_those_of_the_model)
{
    static const uint32_t sizes[] = {0, 1, 2, 100, 128, 129, 1000, 2048, 2049, 5000, ROWS_MAX};
    for (int kind = 0; kind < WEIGHTS_; kind++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            struct fixture f;
            uint64_t seed = (uint64_t)kind * 100 + i;
            setup(&f, sizes[i], (enum weights)kind, seed);
            for (int round = suite_share(60); round > 0; round--) check_one(&f, (enum weights)kind, seed);
            teardown(&f);
        }
    }
}
END_TEST

/* However runs are cut, the section is the same. */
START_TEST(runs_do_not_matter)
{
    static const size_t limits[] = {1, 7, 1000};
    struct fixture f;
    setup(&f, 700, SIGNED, 9);
    struct section first = f.section;
    struct bytes want = first.map;
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        build(&f, limits[i]);
        ck_assert_uint_eq(f.section.map.n, want.n);
        must(memcmp(f.section.map.p, want.p, want.n) == 0);
        section_free(&f.section);
    }
    f.section = first;
    teardown(&f);
}
END_TEST

static enum err count_name(void *ctx, struct str name, bool is_dir)
{
    (void)is_dir;
    must_msg(str_eq(name, STR("big")), "left over: %.*s", STR_ARG(name));
    *(uint32_t *)ctx += 1;
    return ERR_OK;
}

/* Entries and dims beyond what a spill keeps in memory, on the real file system: every entry has an index of its own. */
START_TEST(many_indices_spill)
{
    enum { N = 4000, EACH = 60 };
    const struct vfs *vfs = vfs_posix();
    const char *dir = tmp_dir();
    struct sparse_lists_builder *b;
    struct sparse_lists lists;
    struct vfs_file *file;
    struct sink sink;
    struct buf meta = {0};
    struct bytes map, found;
    char path[256];
    uint32_t n_files = 0;
    must(vfs_join(path, sizeof path, dir, "big"));
    must_ok(vfs->open(vfs->ctx, path, VFS_WRITE | VFS_CREATE, &file, NULL));
    must_ok(sink_init(&sink, vfs, file, 0, NULL));
    sink_begin(&sink, 64);
    must_ok(sparse_lists_builder_new(&b, vfs, path, NULL));
    sparse_lists_builder_limit(b, 100000);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t indices[EACH];
        float values[EACH];
        const struct value v = {.type = VALUE_SPARSE, .sparse = {EACH, indices, values, NULL}};
        for (uint32_t k = 0; k < EACH; k++) {
            indices[k] = k * N + i;
            values[k] = (float)(i + k);
        }
        meta.n = 0;
        meta_put(&meta, STR("k"), &v);
        must_ok(sparse_lists_builder_add(b, i, (struct bytes){meta.p, meta.n}, NULL));
    }
    must_ok(sparse_lists_builder_finish(b, N, &sink, NULL));
    must_ok(sink_flush(&sink, NULL));
    sparse_lists_builder_free(b);
    must_ok(vfs->list(vfs->ctx, dir, count_name, &n_files, NULL));
    ck_assert_uint_eq(n_files, 1);
    must_ok(vfs->map(file, &map, NULL));
    must_ok(sparse_lists_open(&lists, map, N, NULL));
    must_ok(sparse_find_key(&lists, STR("k"), &found, NULL));
    ck_assert_uint_eq(found.n, (size_t)N * EACH * sizeof(struct sparse_dim));
    for (uint32_t index = 0; index < N * EACH; index++) {
        struct sparse_list list;
        must_ok(sparse_find_list(&lists, found, index, &list, NULL));
        must(list.n == 1 && le32_get(list.rows) == index % N);
        must(sparse_weight(list.weights, 0) == (float)(index % N + index / N));
    }
    vfs->unmap(vfs->ctx, map);
    sink_deinit(&sink);
    vfs->close(file);
    buf_free(&meta);
}
END_TEST

/* Two rows, two keys, byte by byte as docs/formats.md has it. */
START_TEST(the_layout_is_as_documented)
{
    static const uint8_t want[] = {
        /* lists: (b, 7) rows 0 1, weights 1 -2; (b, 9) row 1, weight 0.5; (a, 4294967295) row 1, weight 2 */
        0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0, 1, 0, 0, 0, 0, 0, 0, 0x3f, 1, 0, 0, 0, 0, 0, 0, 0x40,
        /* dims */
        7, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0x80, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0,
        0, 0x3f, 0, 0, 0, 0x3f, 16, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0x40,
        24, 0, 0, 0, 0, 0, 0, 0,
        /* keys, in the order in which they were met */
        'b', 'a', 0, 0, 0, 0, 0, 0,
        /* directory, in the order of the keys */
        105, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 80, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 104, 0, 0, 0,
        0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,
        /* trailer */
        'C', 'S', 'P', '1', 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 112, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    uint32_t seven[] = {7, 9}, last[] = {UINT32_MAX};
    float one[] = {1}, two[] = {-2, 0.5F}, three[] = {2};
    const struct value b0 = {.type = VALUE_SPARSE, .sparse = {1, seven, one, NULL}};
    const struct value b1 = {.type = VALUE_SPARSE, .sparse = {2, seven, two, NULL}};
    const struct value a1 = {.type = VALUE_SPARSE, .sparse = {1, last, three, NULL}};
    const struct value number = {.type = VALUE_INT, .i = 5}, empty = {.type = VALUE_SPARSE};
    struct sparse_lists_builder *b;
    struct section s;
    struct buf meta = {0};
    section_begin(&s);
    must_ok(sparse_lists_builder_new(&b, NULL, "", NULL));
    meta_put(&meta, STR("b"), &b0);
    meta_put(&meta, STR("c"), &empty);
    must_ok(sparse_lists_builder_add(b, 0, (struct bytes){meta.p, meta.n}, NULL));
    meta.n = 0;
    meta_put(&meta, STR("a"), &a1);
    meta_put(&meta, STR("b"), &b1);
    meta_put(&meta, STR("n"), &number);
    must_ok(sparse_lists_builder_add(b, 1, (struct bytes){meta.p, meta.n}, NULL));
    must_ok(sparse_lists_builder_finish(b, 2, &s.sink, NULL));
    sparse_lists_builder_free(b);
    struct bytes got = section_end(&s);
    /* keys are numbered as they are met: b first only in row 0 */
    ck_assert_uint_eq(got.n, sizeof want);
    for (size_t i = 0; i < got.n; i++) must_msg(((const uint8_t *)got.p)[i] == want[i], "byte %zu", i);
    buf_free(&meta);
    section_free(&s);
}
END_TEST

START_TEST(indices_that_do_not_ascend_are_refused)
{
    uint32_t twice[] = {4, 4};
    float weights[] = {1, 2};
    const struct value v = {.type = VALUE_SPARSE, .sparse = {2, twice, weights, NULL}};
    struct sparse_lists_builder *b;
    struct buf meta = {0};
    must_ok(sparse_lists_builder_new(&b, NULL, "", NULL));
    meta_put(&meta, STR("a"), &v);
    ck_assert_int_eq(sparse_lists_builder_add(b, 0, (struct bytes){meta.p, meta.n}, NULL), ERR_CORRUPT);
    sparse_lists_builder_free(b);
    buf_free(&meta);
}
END_TEST

/* Bytes are overwritten, at the end (where the directories are) as often as anywhere: an answer or ERR_CORRUPT. */
START_TEST(damage_is_survived)
{
    uint32_t n_noticed = 0;
    struct fixture f;
    setup(&f, 3000, SIGNED, 4);
    size_t n = f.section.map.n;
    uint8_t *copy = mem_dup(f.section.map.p, n); /* a block of its own: asan sees every byte beyond it */
    must(copy != NULL);
    for (int round = suite_share(2000); round > 0; round--) {
        struct arena a = {0};
        struct sparse_lists damaged;
        uint8_t before[8];
        uint32_t length = 1 + rng_below(&f.r, 8), span = rng_below(&f.r, 2) == 0 ? 1500 : (uint32_t)n;
        size_t at = n - span + rng_below(&f.r, span - length + 1);
        memcpy(before, copy + at, length);
        for (uint32_t i = 0; i < length; i++) copy[at + i] = (uint8_t)(copy[at + i] + 1 + rng_below(&f.r, 255));
        enum err e = sparse_lists_open(&damaged, (struct bytes){copy, n}, f.n, NULL);
        must(e == ERR_OK || e == ERR_CORRUPT);
        n_noticed += e == ERR_CORRUPT;
        for (int i = 0; i < 3 && e == ERR_OK; i++) {
            const struct sparse_rows rows = {is_visible, ordinal, &f};
            struct question q;
            struct bitset mask;
            struct topk top;
            uint32_t counts[N_DIMS + 2] = {0};
            ask(&q, &f.r, SIGNED);
            must(topk_init(&top, &a, 5));
            const struct bitset *m = random_mask(&f, &mask, &a) ? &mask : NULL;
            enum err found = sparse_lists_nearest(&damaged, &rows, &q.q, m, &top, &a, NULL);
            must(found == ERR_OK || found == ERR_CORRUPT);
            for (uint32_t k = 0; k < top.n; k++) must(top.heap[k].row < f.n);
            enum err counted = sparse_lists_count(&damaged, &rows, &q.q, counts, NULL);
            must(counted == ERR_OK || counted == ERR_CORRUPT);
            n_noticed += found == ERR_CORRUPT || counted == ERR_CORRUPT;
        }
        memcpy(copy + at, before, length);
        arena_free(&a);
    }
    ck_assert_uint_gt(n_noticed, 0);
    mem_free(copy);
    teardown(&f);
}
END_TEST

/* --- short memory ------------------------------------------------------------------------------------------------- */

static bool fail_at(void *ctx, size_t size)
{
    uint32_t *left = ctx;
    (void)size;
    return *left == 0 || --*left > 0;
}

/* The n-th allocation of building fails, then the n-th of searching, for every n until none does. */
START_TEST(short_memory_is_reported)
{
    struct fixture f;
    struct buf packed[40] = {{0}};
    setup(&f, 40, POSITIVE, 2);
    struct section whole = f.section;
    for (uint32_t i = 0; i < f.n; i++) (void)pack(f.rows[i], &packed[i]);
    for (uint32_t fail = 1, done = 0; done == 0; fail++) {
        struct sparse_lists_builder *b = NULL;
        struct section s;
        section_begin(&s);
        uint32_t left = fail;
        mem_set_hook(fail_at, &left);
        enum err e = sparse_lists_builder_new(&b, s.vfs, "section", NULL);
        if (e == ERR_OK) sparse_lists_builder_limit(b, 50);
        for (uint32_t i = 0; i < f.n && e == ERR_OK; i++)
            e = sparse_lists_builder_add(b, i, (struct bytes){packed[i].p, packed[i].n}, NULL);
        if (e == ERR_OK) e = sparse_lists_builder_finish(b, f.n, &s.sink, NULL);
        sparse_lists_builder_free(b);
        mem_set_hook(NULL, NULL);
        must_msg(e == (left == 0 ? ERR_NOMEM : ERR_OK), "allocation %u: %s", fail, err_text(e));
        done = e == ERR_OK;
        section_free(&s);
    }
    f.section = whole;
    for (uint32_t fail = 1, done = 0; done == 0; fail++) {
        const struct sparse_rows rows = {is_visible, ordinal, &f};
        struct arena a = {0};
        struct topk top;
        struct question q;
        do ask(&q, &f.r, POSITIVE);
        while (q.q.n == 0 || q.at[0] != 0);
        must(topk_init(&top, &a, 5));
        uint32_t left = fail;
        mem_set_hook(fail_at, &left);
        enum err e = sparse_lists_nearest(&f.lists, &rows, &q.q, NULL, &top, &a, NULL);
        mem_set_hook(NULL, NULL);
        must_msg(e == (left == 0 ? ERR_NOMEM : ERR_OK), "allocation %u: %s", fail, err_text(e));
        done = e == ERR_OK;
        arena_free(&a);
    }
    for (uint32_t i = 0; i < f.n; i++) buf_free(&packed[i]);
    teardown(&f);
}
END_TEST

TESTS(sparse_lists, answers_are_those_of_the_model, runs_do_not_matter, many_indices_spill, the_layout_is_as_documented,
      indices_that_do_not_ascend_are_refused, damage_is_survived, short_memory_is_reported)
