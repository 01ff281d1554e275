/* test_sparse_search.c - ranked searches with sparse leaves over fragments that have inverted lists, against the same
 * collection in fragments without them, whose metadata are passed over: rows and scores must be the same bit by bit.
 * Deaths, tails, filters of every selectivity, several keys, document frequencies.
 */
#include <pthread.h>
#include <stdio.h>

#include "core/crc32c.h"
#include "core/epoch.h"
#include "core/rank.h"
#include "index/fragment_internal.h"
#include "tests/unit/index/must.h"

enum { N_FRAGMENTS = 3, FRAGMENT_ROWS = 3000, N_CHANGES = 900, N_INDICES = 30, UNKNOWN_SECTION = 99 };

static const struct str keys[] = {{"s", 1}, {"t", 1}};

struct twins { /* the same rows twice */
    struct vfs *vfs;
    struct collection *listed, *passed;
    struct rng r;
    uint64_t lsn;
};

static uint32_t index_of(uint32_t i)
{
    return i + 1 == N_INDICES ? UINT32_MAX : i * i * 7;
}

static struct value random_vector(struct rng *r, struct arena *a, uint32_t rarity)
{
    struct value v = {.type = VALUE_SPARSE};
    v.sparse.indices = arena_array(a, N_INDICES, sizeof(uint32_t));
    v.sparse.values = arena_array(a, N_INDICES, sizeof(float));
    bool is_coarse = rng_below(r, 2) == 0; /* equal scores */
    for (uint32_t i = 0; i < N_INDICES; i++) {
        if (rng_below(r, 1 + i * rarity) != 0) continue;
        v.sparse.indices[v.sparse.n] = index_of(i);
        v.sparse.values[v.sparse.n++] = is_coarse ? (float)rng_below(r, 4) - 1 : rng_gauss(r);
    }
    return v;
}

static struct bytes random_meta(struct rng *r, struct arena *a)
{
    struct buf b = {0};
    const struct value n = {.type = VALUE_INT, .i = rng_below(r, 1000)}, five = {.type = VALUE_INT, .i = 5};
    meta_put(&b, STR("n"), &n);
    if (rng_below(r, 8) == 0) {
        meta_put(&b, STR("s"), &five); /* no vector */
    } else if (rng_below(r, 8) != 0) {
        struct value v = random_vector(r, a, 1);
        meta_put(&b, STR("s"), &v);
    }
    if (rng_below(r, 3) == 0) {
        struct value v = random_vector(r, a, 20);
        meta_put(&b, STR("t"), &v);
    }
    struct str copy = arena_str(a, buf_view(&b));
    buf_free(&b);
    return (struct bytes){copy.p, copy.n};
}

/* Makes of the section a kind that this program does not know, as if it had been written before there were lists. */
static void hide_lists(const struct vfs *vfs, const char *path)
{
    struct fragment_header h;
    struct vfs_file *file;
    uint32_t n_hidden = 0;
    must_ok(vfs->open(vfs->ctx, path, VFS_WRITE, &file, NULL));
    must_ok(vfs->pread(file, &h, sizeof h, 0, NULL));
    for (uint32_t i = 0; i < h.n_sections; i++) {
        if (h.sections[i].type != SECTION_SPARSE_LISTS) continue;
        h.sections[i].type = UNKNOWN_SECTION;
        n_hidden++;
    }
    ck_assert_uint_eq(n_hidden, 1);
    h.crc = crc32c(0, &h, offsetof(struct fragment_header, crc));
    must_ok(vfs->pwrite(file, &h, sizeof h, 0, NULL));
    vfs->close(file);
}

/* The same fragment in two files, one of them with its lists hidden. */
static void write_twice(struct twins *t, uint32_t number, struct segment *out[2])
{
    for (int twin = 0; twin < 2; twin++) {
        struct rng r = {t->r.s}; /* the same rows */
        struct arena a = {0};
        char path[32], id[32];
        struct fragment_writer *w;
        struct fragment *f;
        const struct fragment_options o = {.dim = 1, .fragment_id = number + 1};
        (void)snprintf(path, sizeof path, "%u-%d", number, twin);
        must_ok(fragment_writer_new(&w, t->vfs, path, &o, NULL));
        for (uint32_t i = 0; i < FRAGMENT_ROWS; i++) {
            uint32_t ordinal = number * FRAGMENT_ROWS + i;
            float v = 1;
            struct row row = {.meta = random_meta(&r, &a), .vector = &v};
            row.id = str_of(id, (size_t)snprintf(id, sizeof id, "%u", ordinal));
            must_ok(fragment_writer_add(w, &row, ordinal, 1, NULL));
        }
        must_ok(fragment_writer_finish(w, NULL));
        fragment_writer_free(w);
        if (twin == 1) hide_lists(t->vfs, path);
        must_ok(fragment_open(&f, t->vfs, path, NULL));
        out[twin] = fragment_segment(f);
        must_ok(fragment_verify(out[twin], NULL));
        must((out[twin]->ops->sparse_nearest != NULL) == (twin == 0));
        must((out[twin]->ops->sparse_count != NULL) == (twin == 0));
        arena_free(&a);
    }
    (void)rng_next(&t->r);
}

/* A delete, or an upsert of an old or a new record, of both. */
static void change(struct twins *t)
{
    struct arena a = {0};
    char text[32];
    float v = 1;
    uint8_t has_vector = 1;
    uint32_t changed;
    struct str id =
        str_of(text, (size_t)snprintf(text, sizeof text, "%u", rng_below(&t->r, N_FRAGMENTS * FRAGMENT_ROWS + 300)));
    struct batch_input in = {.kind = BATCH_DELETE, .n_rows = 1, .dim = 1, .ids = &id};
    struct bytes meta = random_meta(&t->r, &a), block;
    if (rng_below(&t->r, 3) != 0) {
        in.kind = BATCH_UPSERT;
        in.vectors = &v;
        in.has_vector = &has_vector;
        in.metas = &meta;
    }
    t->lsn++;
    must_ok(batch_build(&in, &block, NULL));
    must_ok(collection_apply(t->listed, t->lsn, block, &changed, NULL));
    must_ok(batch_build(&in, &block, NULL));
    must_ok(collection_apply(t->passed, t->lsn, block, &changed, NULL));
    arena_free(&a);
}

static void setup(struct twins *t, uint64_t seed, int n_changes)
{
    struct segment *segments[2][N_FRAGMENTS];
    const struct collection_state state = {1, N_FRAGMENTS * FRAGMENT_ROWS, 1};
    *t = (struct twins){.r = {seed}, .lsn = 1};
    must_ok(vfs_mem_new(&t->vfs, NULL));
    for (uint32_t i = 0; i < N_FRAGMENTS; i++) {
        struct segment *pair[2];
        write_twice(t, i, pair);
        segments[0][i] = pair[0];
        segments[1][i] = pair[1];
    }
    must_ok(collection_new(&t->listed, 1, SPACE_L2, &state, segments[0], N_FRAGMENTS, NULL));
    must_ok(collection_new(&t->passed, 1, SPACE_L2, &state, segments[1], N_FRAGMENTS, NULL));
    for (int i = 0; i < n_changes; i++) change(t);
}

static void teardown(struct twins *t)
{
    collection_retire(t->listed);
    collection_retire(t->passed);
    epoch_drain();
    vfs_mem_free(t->vfs);
}

static struct rank *random_leaf(struct rng *r, struct arena *a)
{
    static const uint32_t limits[] = {0, 1, 5, 16, 100, UINT32_MAX};
    struct rank *rank = arena_zalloc(a, sizeof *rank);
    struct value v = random_vector(r, a, rng_below(r, 3));
    rank->kind = RANK_SPARSE;
    rank->leaf = (struct rank_leaf){
        .sparse = v.sparse,
        .key = keys[rng_below(r, 2)],
        .weighs_by_frequency = rng_below(r, 3) == 0,
        .gives_place = rng_below(r, 4) == 0,
        .has_fallback = rng_below(r, 2) == 0,
        .fallback = 3,
        .limit = limits[rng_below(r, 6)],
    };
    if (rng_below(r, 10) == 0) rank->leaf.key = STR("absent");
    return rank;
}

/* One or two leaves; half of the searches under a filter that leaves from none to all. */
static void random_search(struct rng *r, struct arena *a, struct rank_search *search)
{
    static const int64_t bounds[] = {0, 1, 10, 100, 500, 990};
    struct rank *sum = arena_zalloc(a, sizeof *sum);
    struct filter *filter = arena_zalloc(a, sizeof *filter);
    struct value *bound = arena_zalloc(a, sizeof *bound);
    *sum = (struct rank){.kind = RANK_SUM, .n_operands = 1 + rng_below(r, 2)};
    sum->operands = arena_array(a, sum->n_operands, sizeof(struct rank *));
    for (uint32_t i = 0; i < sum->n_operands; i++) sum->operands[i] = random_leaf(r, a);
    *bound = (struct value){.type = VALUE_INT, .i = bounds[rng_below(r, 6)]};
    *filter = (struct filter){.kind = FILTER_LT, .key = STR("n"), .values = bound, .n_values = 1};
    *search = (struct rank_search){.rank = sum, .limit = UINT32_MAX};
    if (rng_below(r, 2) == 0) search->selection.filter = filter;
}

static void run(const struct collection *c, const struct rank_search *search, struct arena *a, struct snapshot *s,
                struct rank_row **rows, uint32_t *n)
{
    must_ok(snapshot_begin(c, a, s));
    must_ok(rank_search(s, search, a, rows, n, NULL));
}

static uint32_t compare(const struct twins *t, struct rng *r, uint64_t seed)
{
    struct arena a = {0};
    struct rank_search search;
    struct snapshot s, p;
    struct rank_row *got, *want;
    uint32_t n_got, n_want;
    random_search(r, &a, &search);
    run(t->listed, &search, &a, &s, &got, &n_got);
    run(t->passed, &search, &a, &p, &want, &n_want);
    must_msg(n_got == n_want, "seed %llu: %u rows, not %u", (unsigned long long)seed, n_got, n_want);
    for (uint32_t i = 0; i < n_got; i++)
        must_msg(got[i].ref.segment == want[i].ref.segment && got[i].ref.row == want[i].ref.row &&
                     memcmp(&got[i].score, &want[i].score, sizeof(float)) == 0,
                 "seed %llu: at %u row %u.%u with %a, not %u.%u with %a", (unsigned long long)seed, i,
                 got[i].ref.segment, got[i].ref.row, (double)got[i].score, want[i].ref.segment, want[i].ref.row,
                 (double)want[i].score);
    snapshot_end(&s);
    snapshot_end(&p);
    arena_free(&a);
    return n_got;
}

START_TEST(lists_answer_as_the_pass_does)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct twins t;
        uint32_t n_rows = 0;
        setup(&t, seed, seed == 1 ? 0 : N_CHANGES);
        for (int round = suite_share(80); round > 0; round--) {
            n_rows += compare(&t, &t.r, seed);
            if (seed > 2) change(&t);
        }
        ck_assert_uint_gt(n_rows, 0);
        teardown(&t);
    }
}
END_TEST

/* A position of the past sees what was alive then. */
START_TEST(lists_mind_deaths_at_a_position)
{
    struct twins t;
    struct segment *pair[2];
    struct arena a = {0};
    uint32_t index = 0;
    float weight = 1;
    t = (struct twins){.r = {5}};
    must_ok(vfs_mem_new(&t.vfs, NULL));
    write_twice(&t, 0, pair);
    const struct sparse_query q = {STR("s"), &index, &weight, 1};
    uint32_t before = 0, between = 0, after = 0, n_with = 0;
    for (uint32_t row = 0; row < FRAGMENT_ROWS; row++) {
        struct row parts = {0};
        struct meta_entry e;
        struct sparse_view v;
        must_ok(pair[0]->ops->row(pair[0], row, ROW_META, &a, &parts, NULL));
        n_with += meta_find(parts.meta, STR("s"), &e) && meta_sparse(&e, &v); /* index 0 is in every vector */
    }
    must_ok(pair[0]->ops->sparse_count(pair[0], &q, 5, &before, NULL));
    ck_assert_uint_eq(before, n_with);
    for (uint32_t row = 0; row < FRAGMENT_ROWS; row++) must_ok(deaths_mark(&pair[0]->deaths, row, 10 + row % 2 * 10));
    must_ok(pair[0]->ops->sparse_count(pair[0], &q, 9, &between, NULL));
    ck_assert_uint_eq(between, n_with);
    must_ok(pair[0]->ops->sparse_count(pair[0], &q, 20, &after, NULL));
    ck_assert_uint_eq(after, 0);
    struct topk top;
    must(topk_init(&top, &a, 50));
    must_ok(pair[0]->ops->sparse_nearest(pair[0], &q, NULL, 15, &top, &a, NULL));
    ck_assert_uint_eq(top.n, 50);
    for (uint32_t i = 0; i < top.n; i++) ck_assert_uint_eq(top.heap[i].row % 2, 1);
    arena_free(&a);
    pair[0]->ops->free(pair[0]);
    pair[1]->ops->free(pair[1]);
    vfs_mem_free(t.vfs);
}
END_TEST

struct reader {
    const struct twins *t;
    uint64_t seed;
};

static void *search_along(void *arg)
{
    const struct reader *reader = arg;
    struct rng r = {reader->seed};
    for (int i = 0; i < 10; i++) (void)compare(reader->t, &r, reader->seed);
    return NULL;
}

START_TEST(readers_share_the_lists)
{
    struct twins t;
    pthread_t threads[4];
    struct reader readers[4];
    setup(&t, 11, 200);
    for (uint64_t i = 0; i < 4; i++) {
        readers[i] = (struct reader){&t, i + 1};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, search_along, &readers[i]), 0);
    }
    for (int i = 0; i < 4; i++) ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    teardown(&t);
}
END_TEST

TESTS(sparse_search, lists_answer_as_the_pass_does, lists_mind_deaths_at_a_position, readers_share_the_lists)
