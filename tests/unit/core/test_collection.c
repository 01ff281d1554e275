/* test_collection.c - tails, snapshots and the executor against a trivial model: an array of records.
 * Fragments take part in tests/unit/api/test_store.c.
 */
#include <pthread.h>
#include <stdio.h>

#include "core/epoch.h"
#include "core/executor.h"
#include "core/mem.h"
#include "tests/lib/suite.h"

enum { DIM = 4, N_IDS = 60 };

struct record { /* the model: one an id */
    bool is_live;
    uint64_t order;
    int value; /* -1: none */
    int document;
    float v[DIM];
};

struct model {
    struct record r[N_IDS];
    uint64_t next_order;
};

struct fixture {
    struct collection *c;
    struct model m;
    struct rng rng;
    uint64_t lsn;
};

static struct str id_text(char *out, uint32_t i)
{
    int n = sprintf(out, "id-%u", i);
    return str_of(out, (size_t)n);
}

static uint32_t id_number(struct str id)
{
    char text[16] = "";
    ck_assert_uint_lt(id.n, sizeof text);
    memcpy(text, id.p, id.n);
    return (uint32_t)atoi(text + 3);
}

static void setup(struct fixture *f, uint64_t seed)
{
    const struct collection_state none = {0};
    *f = (struct fixture){.rng = {seed}};
    ck_ok(collection_new(&f->c, 1, SPACE_L2, &none, NULL, 0, NULL));
}

static void teardown(struct fixture *f)
{
    collection_retire(f->c);
    epoch_drain();
}

struct op {
    uint32_t id;
    bool has_value, has_document, removes_value;
    int value, document;
    float v[DIM];
    bool has_vector;
};

static struct bytes build(enum batch_kind kind, const struct op *ops, uint32_t n, uint64_t as_of)
{
    char text[16][16], docs[16][32];
    struct str ids[16], documents[16];
    struct bytes metas[16];
    struct buf packed[16] = {{0}};
    float vectors[16 * DIM];
    uint8_t has_vector[16];
    uint32_t n_vectors = 0;
    for (uint32_t i = 0; i < n; i++) {
        ids[i] = id_text(text[i], ops[i].id);
        documents[i] = (struct str){NULL, 0};
        if (ops[i].has_document)
            documents[i] = str_of(docs[i], (size_t)sprintf(docs[i], "document %d", ops[i].document));
        struct value v = {.type = ops[i].removes_value ? VALUE_NULL : VALUE_INT, .i = ops[i].value};
        if (ops[i].has_value || ops[i].removes_value) meta_put(&packed[i], STR("k"), &v);
        metas[i] = (struct bytes){packed[i].p, packed[i].n};
        has_vector[i] = ops[i].has_vector;
        if (ops[i].has_vector) memcpy(vectors + DIM * n_vectors++, ops[i].v, sizeof ops[i].v);
    }
    const struct batch_input in = {
        .kind = kind,
        .n_rows = n,
        .dim = DIM,
        .as_of = as_of,
        .ids = ids,
        .vectors = vectors,
        .has_vector = has_vector,
        .documents = documents,
        .metas = metas,
    };
    struct bytes block;
    ck_ok(batch_build(&in, &block, NULL));
    ck_ok(batch_validate(block, NULL));
    for (uint32_t i = 0; i < n; i++) buf_free(&packed[i]);
    return block;
}

static void model_patch(struct record *r, const struct op *o)
{
    if (o->has_value) r->value = o->value;
    if (o->removes_value) r->value = -1;
    if (o->has_document) r->document = o->document;
    if (o->has_vector) memcpy(r->v, o->v, sizeof r->v);
}

static void model_apply(struct model *m, enum batch_kind kind, const struct op *ops, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct record *r = &m->r[ops[i].id];
        bool inserts = !r->is_live && (kind == BATCH_ADD || kind == BATCH_UPSERT);
        if (inserts) {
            *r = (struct record){.is_live = true, .order = m->next_order++, .value = -1, .document = -1};
            model_patch(r, &ops[i]);
        } else if (r->is_live && (kind == BATCH_UPDATE || kind == BATCH_UPSERT)) {
            model_patch(r, &ops[i]);
        } else if (kind == BATCH_DELETE) {
            r->is_live = false;
        }
    }
}

static void step(struct fixture *f)
{
    struct op ops[8] = {{0}};
    enum batch_kind kind = (enum batch_kind)(BATCH_ADD + rng_below(&f->rng, 4));
    uint32_t n = 1 + rng_below(&f->rng, 8), changed;
    for (uint32_t i = 0; i < n; i++) {
        ops[i] = (struct op){.id = rng_below(&f->rng, N_IDS)};
        if (kind == BATCH_DELETE) continue;
        ops[i].has_vector = kind != BATCH_UPDATE || rng_below(&f->rng, 2) != 0;
        ops[i].has_document = rng_below(&f->rng, 2) != 0;
        ops[i].document = (int)rng_below(&f->rng, 100);
        ops[i].has_value = rng_below(&f->rng, 2) != 0;
        ops[i].removes_value = !ops[i].has_value && kind != BATCH_ADD && rng_below(&f->rng, 4) == 0;
        ops[i].value = (int)rng_below(&f->rng, 10);
        for (int k = 0; k < DIM; k++) ops[i].v[k] = rng_gauss(&f->rng);
    }
    ck_ok(collection_apply(f->c, ++f->lsn, build(kind, ops, n, 0), &changed, NULL));
    model_apply(&f->m, kind, ops, n);
}

/* Everything a snapshot shows, as the model would have it. */
static void compare(const struct snapshot *s, const struct model *m)
{
    struct arena a = {0};
    struct row_ref *rows;
    uint32_t n, expected = 0;
    const struct selection all = {0};
    ck_ok(exec_get(s, &all, UINT32_MAX, 0, &a, &rows, &n, NULL));
    uint64_t before = 0;
    for (uint32_t i = 0; i < N_IDS; i++) expected += m->r[i].is_live;
    ck_assert_uint_eq(n, expected);
    for (uint32_t i = 0; i < n; i++) {
        struct row row = {0};
        struct meta_entry e;
        char text[32];
        ck_ok(exec_row(s, rows[i], ROW_ALL, &a, &row, NULL));
        const struct record *r = &m->r[id_number(row.id)];
        ck_assert(r->is_live);
        ck_assert(i == 0 || r->order > before);
        before = r->order;
        ck_assert_mem_eq(row.vector, r->v, sizeof r->v);
        ck_assert_int_eq(row.document.p != NULL, r->document >= 0);
        if (r->document >= 0)
            ck_assert(str_eq(row.document, str_of(text, (size_t)sprintf(text, "document %d", r->document))));
        ck_assert_int_eq(meta_find(row.meta, STR("k"), &e), r->value >= 0);
        if (r->value >= 0) ck_assert_int_eq((int)le64_get(e.payload.p), r->value);
    }
    arena_free(&a);
}

START_TEST(follows_the_model)
{
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct fixture f;
        setup(&f, seed);
        for (int i = 0; i < 250; i++) {
            struct arena a = {0};
            struct snapshot s;
            step(&f);
            if (rng_below(&f.rng, 40) == 0) { /* a sealed tail stays readable */
                struct sealed sealed;
                ck_ok(collection_seal(f.c, &sealed, NULL));
                segment_unref(sealed.tail);
            }
            ck_ok(snapshot_begin(f.c, &a, &s));
            compare(&s, &f.m);
            snapshot_end(&s);
            uint32_t live = 0;
            for (uint32_t k = 0; k < N_IDS; k++) live += f.m.r[k].is_live;
            ck_assert_uint_eq(collection_count(f.c), live);
            arena_free(&a);
        }
        teardown(&f);
    }
}
END_TEST

START_TEST(a_snapshot_does_not_change)
{
    struct fixture f;
    struct arena a = {0};
    struct snapshot s;
    setup(&f, 99);
    for (int i = 0; i < 100; i++) step(&f);
    struct model then = f.m;
    ck_ok(snapshot_begin(f.c, &a, &s));
    for (int i = 0; i < 300; i++) {
        struct sealed sealed;
        step(&f);
        if (i % 100 == 50) {
            ck_ok(collection_seal(f.c, &sealed, NULL));
            segment_unref(sealed.tail);
        }
    }
    compare(&s, &then);
    snapshot_end(&s);
    arena_free(&a);
    teardown(&f);
}
END_TEST

START_TEST(pages_join_to_the_whole)
{
    struct fixture f;
    struct arena a = {0};
    struct snapshot s;
    const struct selection all = {0};
    struct row_ref *whole, *page;
    uint32_t n, n_page;
    setup(&f, 5);
    for (int i = 0; i < 200; i++) step(&f);
    ck_ok(snapshot_begin(f.c, &a, &s));
    ck_ok(exec_get(&s, &all, UINT32_MAX, 0, &a, &whole, &n, NULL));
    for (uint32_t offset = 0; offset <= n + 1; offset++)
        for (uint32_t limit = 0; limit < 5; limit++) {
            ck_ok(exec_get(&s, &all, limit, offset, &a, &page, &n_page, NULL));
            uint32_t want = offset >= n ? 0 : n - offset < limit ? n - offset : limit;
            ck_assert_uint_eq(n_page, want);
            for (uint32_t i = 0; i < n_page; i++) ck_assert_mem_eq(&page[i], &whole[offset + i], sizeof *page);
        }
    snapshot_end(&s);
    arena_free(&a);
    teardown(&f);
}
END_TEST

START_TEST(queries_are_exact_and_filtered)
{
    struct fixture f;
    struct arena a = {0};
    struct snapshot s;
    struct value five = {.type = VALUE_INT, .i = 5};
    struct filter filter = {.kind = FILTER_LT, .key = STR("k"), .values = &five, .n_values = 1};
    setup(&f, 17);
    for (int i = 0; i < 300; i++) step(&f);
    ck_ok(snapshot_begin(f.c, &a, &s));
    for (int round = 0; round < 50; round++) {
        float q[DIM];
        struct hit **hits;
        uint32_t *n_hits;
        for (int k = 0; k < DIM; k++) q[k] = rng_gauss(&f.rng);
        const struct selection sel = {.filter = round % 2 != 0 ? &filter : NULL};
        ck_ok(exec_query(&s, &sel, q, 1, 7, &a, &hits, &n_hits, NULL));
        uint32_t n_match = 0, n_nearer = 0;
        float worst = n_hits[0] > 0 ? hits[0][n_hits[0] - 1].distance : 0;
        for (uint32_t i = 0; i < N_IDS; i++) {
            const struct record *r = &f.m.r[i];
            if (!r->is_live || (sel.filter != NULL && (r->value < 0 || r->value >= 5))) continue;
            float d = 0;
            for (int k = 0; k < DIM; k++) d += (q[k] - r->v[k]) * (q[k] - r->v[k]);
            n_match++;
            n_nearer += d < worst * 0.9999F;
        }
        ck_assert_uint_eq(n_hits[0], n_match < 7 ? n_match : 7);
        ck_assert_uint_le(n_nearer, n_hits[0] > 0 ? n_hits[0] - 1 : 0);
        for (uint32_t i = 1; i < n_hits[0]; i++) ck_assert(hits[0][i - 1].distance <= hits[0][i].distance);
    }
    snapshot_end(&s);
    arena_free(&a);
    teardown(&f);
}
END_TEST

START_TEST(delete_matched_spares_newer_rows)
{
    struct fixture f;
    uint32_t changed;
    setup(&f, 3);
    struct op two[2] = {{.id = 1, .has_vector = true}, {.id = 2, .has_vector = true}};
    ck_ok(collection_apply(f.c, 1, build(BATCH_ADD, two, 2, 0), &changed, NULL));
    ck_assert_uint_eq(changed, 2);
    ck_ok(collection_apply(f.c, 2, build(BATCH_UPSERT, two, 1, 0), &changed, NULL)); /* id 1 is rewritten at 2 */
    ck_ok(collection_apply(f.c, 3, build(BATCH_DELETE_MATCHED, two, 2, 1), &changed, NULL));
    ck_assert_uint_eq(changed, 1);
    ck_assert_uint_eq(collection_count(f.c), 1);
    ck_ok(collection_apply(f.c, 3, build(BATCH_DELETE, two, 2, 0), &changed, NULL)); /* a position seen before */
    ck_assert_uint_eq(changed, 0);
    ck_assert_uint_eq(collection_count(f.c), 1);
    collection_drop(f.c);
    ck_assert_int_eq(collection_apply(f.c, 4, build(BATCH_DELETE, two, 2, 0), &changed, NULL), ERR_NOT_FOUND);
    teardown(&f);
}
END_TEST

/* --- a request becomes visible as a whole ------------------------------------------------------------------------ */

struct race {
    struct collection *c;
    _Atomic bool stop;
    _Atomic unsigned n_reads;
};

static void *reader_main(void *arg)
{
    struct race *race = arg;
    const struct str ids[2] = {STR("id-1"), STR("id-2")};
    const struct selection sel = {.ids = ids, .n_ids = 2};
    while (!race->stop) {
        struct arena a = {0};
        struct snapshot s;
        struct row_ref *rows;
        uint32_t n;
        ck_ok(snapshot_begin(race->c, &a, &s));
        ck_ok(exec_get(&s, &sel, UINT32_MAX, 0, &a, &rows, &n, NULL));
        ck_assert_uint_eq(n, 2);
        struct row r[2] = {0};
        for (int i = 0; i < 2; i++) ck_ok(exec_row(&s, rows[i], ROW_ALL, &a, &r[i], NULL));
        ck_assert_mem_eq(r[0].vector, r[1].vector, DIM * sizeof(float));
        ck_assert(str_eq(r[0].document, r[1].document));
        snapshot_end(&s);
        arena_free(&a);
        race->n_reads++;
    }
    return NULL;
}

START_TEST(readers_see_whole_requests)
{
    struct fixture f;
    uint32_t changed;
    pthread_t readers[2];
    setup(&f, 8);
    struct race race = {.c = f.c};
    for (int i = 0; i < 3000 || race.n_reads < 200; i++) {
        struct op pair[2] = {{.id = 1, .has_vector = true, .has_document = true, .document = i},
                             {.id = 2, .has_vector = true, .has_document = true, .document = i}};
        for (int k = 0; k < DIM; k++) pair[0].v[k] = pair[1].v[k] = (float)i;
        ck_ok(collection_apply(f.c, ++f.lsn, build(BATCH_UPSERT, pair, 2, 0), &changed, NULL));
        if (i == 0)
            for (int t = 0; t < 2; t++) ck_assert_int_eq(pthread_create(&readers[t], NULL, reader_main, &race), 0);
        if (i % 500 == 499) {
            struct sealed sealed;
            ck_ok(collection_seal(f.c, &sealed, NULL));
            segment_unref(sealed.tail);
        }
    }
    race.stop = true;
    for (int t = 0; t < 2; t++) (void)pthread_join(readers[t], NULL);
    teardown(&f);
}
END_TEST

/* A block with a right checksum can still say what no writer means. */
START_TEST(a_row_needs_a_vector)
{
    struct fixture f;
    struct errmsg em = {{0}};
    uint32_t n_changed = 7;
    const struct str id = STR("a");
    static const enum batch_kind kinds[] = {BATCH_ADD, BATCH_UPSERT};
    for (int i = 0; i < 2; i++) {
        setup(&f, 1);
        const struct batch_input in = {.kind = kinds[i], .n_rows = 1, .ids = &id};
        struct bytes block;
        ck_ok(batch_build(&in, &block, NULL));
        ck_ok(batch_validate(block, NULL));
        ck_assert_int_eq(collection_apply(f.c, 1, block, &n_changed, &em), ERR_CORRUPT);
        ck_assert_ptr_nonnull(strstr(em.text, "without a vector"));
        ck_assert_uint_eq(collection_count(f.c), 0);
        ck_assert(collection_is_broken(f.c));
        teardown(&f);
    }
}
END_TEST

TESTS(collection, follows_the_model, a_snapshot_does_not_change, pages_join_to_the_whole,
      queries_are_exact_and_filtered, delete_matched_spares_newer_rows, readers_see_whole_requests,
      a_row_needs_a_vector)
