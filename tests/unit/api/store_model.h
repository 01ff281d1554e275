/* store_model.h - a store and the trivial model it must agree with: random writes to one collection, and a comparison of
 * everything that it shows. Shared by the tests of the store.
 */
#ifndef TESTS_UNIT_API_STORE_MODEL_H
#define TESTS_UNIT_API_STORE_MODEL_H

#include <pthread.h>
#include <stdio.h>

#include "api/store.h"
#include "core/epoch.h"
#include "core/executor.h"
#include "core/logger.h"
#include "core/mem.h"
#include "tests/lib/suite.h"

enum { DIM = 40, N_IDS = 400, BATCH_MAX = 40 }; /* a dimension that has codes */

struct record {
    bool is_live;
    uint64_t order;
    int value, document; /* -1: none */
    float v[DIM];
};

struct fixture {
    struct store *s;
    struct store_options o;
    const struct catalog_collection *col;
    struct record *model; /* N_IDS */
    uint64_t next_order;
    struct rng rng;
};

static inline void open_store(struct fixture *f)
{
    struct errmsg em = {{0}};
    enum err e = store_open(&f->s, &f->o, &em);
    ck_assert_msg(e == ERR_OK, "open: %s", em.text);
    f->col =
        catalog_collection_by_name(store_catalog(f->s), STR("default_tenant"), STR("default_database"), STR("docs"));
}

static inline void close_store(struct fixture *f)
{
    catalog_collection_unref(f->col);
    store_close(f->s);
}

/* With one collection, empty. One fixture at a time: they share the model's memory. */
static inline void setup_with(struct fixture *f, uint64_t seed, const struct store_options *o)
{
    static struct record records[N_IDS];
    memset(records, 0, sizeof records);
    *f = (struct fixture){.rng = {seed}, .o = *o, .model = records};
    open_store(f);
    const struct catalog_new_collection in = {
        .tenant = STR("default_tenant"),
        .database = STR("default_database"),
        .name = STR("docs"),
        .configuration = STR("{}"),
        .schema = STR("{}"),
        .space = SPACE_L2,
    };
    ck_ok(store_create_collection(f->s, &in, &f->col, NULL));
}

static inline void setup(struct fixture *f, uint64_t seed, const char *path)
{
    logger_set_level(LOG_ERROR);
    setup_with(f, seed, &(struct store_options){.path = path, .flush_rows = 150});
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

struct waiter {
    struct store_write w;
    pthread_mutex_t mu;
    pthread_cond_t cv;
    bool is_done;
    enum err e;
};

static inline void on_done(struct store_write *w, enum err e)
{
    struct waiter *wait = (void *)w; /* first member */
    (void)pthread_mutex_lock(&wait->mu);
    wait->is_done = true;
    wait->e = e;
    (void)pthread_cond_signal(&wait->cv);
    (void)pthread_mutex_unlock(&wait->mu);
}

/* The block is the store's, or freed. */
static inline enum err write_block(struct fixture *f, struct bytes block)
{
    struct waiter wait = {.w = {.collection = catalog_collection_ref(f->col), .block = block, .done = on_done}};
    (void)pthread_mutex_init(&wait.mu, NULL);
    (void)pthread_cond_init(&wait.cv, NULL);
    enum err e = store_submit(f->s, &wait.w);
    if (e != ERR_OK) {
        catalog_collection_unref(f->col);
        mem_free((void *)(uintptr_t)block.p);
        return e;
    }
    (void)pthread_mutex_lock(&wait.mu);
    while (!wait.is_done) (void)pthread_cond_wait(&wait.cv, &wait.mu);
    (void)pthread_mutex_unlock(&wait.mu);
    return wait.e;
}

/* A random write of the kind. The model has it already. */
static inline struct bytes build_step(struct fixture *f, enum batch_kind kind)
{
    static char texts[BATCH_MAX][16], docs[BATCH_MAX][32];
    static float vectors[BATCH_MAX * DIM];
    struct str ids[BATCH_MAX], documents[BATCH_MAX];
    struct bytes metas[BATCH_MAX];
    struct buf packed[BATCH_MAX] = {{0}};
    uint8_t has_vector[BATCH_MAX];
    uint32_t n = 1 + rng_below(&f->rng, BATCH_MAX), n_vectors = 0;
    if (kind == BATCH_DELETE) n = 1 + n / 8;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id = rng_below(&f->rng, N_IDS);
        struct record *r = &f->model[id];
        ids[i] = str_of(texts[i], (size_t)sprintf(texts[i], "id-%u", id));
        documents[i] = (struct str){NULL, 0};
        metas[i] = (struct bytes){NULL, 0};
        has_vector[i] = 0;
        bool inserts = !r->is_live && (kind == BATCH_ADD || kind == BATCH_UPSERT);
        bool changes = inserts || (r->is_live && (kind == BATCH_UPDATE || kind == BATCH_UPSERT));
        if (inserts) *r = (struct record){.is_live = true, .order = f->next_order++, .value = -1, .document = -1};
        if (kind == BATCH_DELETE) {
            r->is_live = false;
            continue;
        }
        if (kind != BATCH_UPDATE || rng_below(&f->rng, 2) != 0) {
            float *v = vectors + DIM * n_vectors++;
            has_vector[i] = 1;
            for (int k = 0; k < DIM; k++) v[k] = rng_gauss(&f->rng);
            if (changes) memcpy(r->v, v, sizeof r->v);
        }
        if (rng_below(&f->rng, 2) != 0) {
            int document = (int)rng_below(&f->rng, 1000);
            documents[i] = str_of(docs[i], (size_t)sprintf(docs[i], "text number %d.", document));
            if (changes) r->document = document;
        }
        if (rng_below(&f->rng, 2) != 0) {
            struct value v = {.type = VALUE_INT, .i = rng_below(&f->rng, 20)};
            meta_put(&packed[i], STR("k"), &v);
            metas[i] = (struct bytes){packed[i].p, packed[i].n};
            if (changes) r->value = (int)v.i;
        }
    }
    const struct batch_input in = {
        .kind = kind,
        .n_rows = n,
        .dim = n_vectors > 0 ? DIM : 0,
        .ids = ids,
        .vectors = n_vectors > 0 ? vectors : NULL,
        .has_vector = has_vector,
        .documents = documents,
        .metas = metas,
    };
    struct bytes block;
    ck_ok(batch_build(&in, &block, NULL));
    for (uint32_t i = 0; i < n; i++) buf_free(&packed[i]);
    return block;
}

static inline void step(struct fixture *f)
{
    enum batch_kind kind = (enum batch_kind)(BATCH_ADD + rng_below(&f->rng, 4));
    ck_ok(write_block(f, build_step(f, kind)));
}

/* --- comparing --------------------------------------------------------------------------------------------------- */

static inline uint32_t id_number(struct str id)
{
    char text[16] = "";
    ck_assert_uint_lt(id.n, sizeof text);
    memcpy(text, id.p, id.n);
    return (uint32_t)atoi(text + 3);
}

static inline uint32_t count_live(const struct fixture *f)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < N_IDS; i++) n += f->model[i].is_live;
    return n;
}

static inline void compare(struct fixture *f)
{
    struct arena a = {0};
    struct snapshot s;
    struct row_ref *rows;
    uint32_t n, n_live = count_live(f), n_filtered = 0;
    const struct selection all = {0};
    struct value seven = {.type = VALUE_INT, .i = 7};
    struct filter is_seven = {.kind = FILTER_EQ, .key = STR("k"), .values = &seven, .n_values = 1};
    struct filter has_9 = {.kind = FILTER_DOC_CONTAINS, .text = STR("r 9")};
    struct filter *both[2] = {&is_seven, &has_9};
    struct filter either = {.kind = FILTER_OR, .children = both, .n_children = 2};
    const struct selection filtered = {.filter = &either};
    ck_ok(store_snapshot(f->s, f->col, &a, &s, NULL));
    ck_ok(exec_get(&s, &all, UINT32_MAX, 0, &a, &rows, &n, NULL));
    uint64_t before = 0;
    ck_assert_uint_eq(n, n_live);
    ck_assert_uint_eq(collection_count(store_collection(f->col)), n_live);
    for (uint32_t i = 0; i < n; i++) {
        struct row row = {0};
        struct meta_entry e;
        char text[32];
        ck_ok(exec_row(&s, rows[i], ROW_ALL, &a, &row, NULL));
        const struct record *r = &f->model[id_number(row.id)];
        ck_assert(r->is_live && (i == 0 || r->order > before));
        before = r->order;
        ck_assert_mem_eq(row.vector, r->v, sizeof r->v);
        ck_assert_int_eq(row.document.p != NULL, r->document >= 0);
        if (row.document.p != NULL)
            ck_assert(str_eq(row.document, str_of(text, (size_t)sprintf(text, "text number %d.", r->document))));
        ck_assert_int_eq(meta_find(row.meta, STR("k"), &e), r->value >= 0);
        if (r->value >= 0) ck_assert_int_eq((int)le64_get(e.payload.p), r->value);
        bool hundreds = r->document == 9 || (r->document >= 90 && r->document < 100) || r->document >= 900;
        n_filtered += r->value == 7 || hundreds;
    }
    ck_ok(exec_get(&s, &filtered, UINT32_MAX, 0, &a, &rows, &n, NULL));
    ck_assert_uint_eq(n, n_filtered);
    for (int k = 0; k < 8; k++) { /* pages are slices of the whole, with a filter and without */
        const struct selection *sel = k % 2 == 0 ? &filtered : &all;
        struct row_ref *page;
        uint32_t n_page, limit = rng_below(&f->rng, 40);
        ck_ok(exec_get(&s, sel, UINT32_MAX, 0, &a, &rows, &n, NULL));
        uint32_t offset = rng_below(&f->rng, n + 3), left = offset < n ? n - offset : 0;
        ck_ok(exec_get(&s, sel, limit, offset, &a, &page, &n_page, NULL));
        ck_assert_uint_eq(n_page, left < limit ? left : limit);
        for (uint32_t i = 0; i < n_page; i++) {
            ck_assert_uint_eq(page[i].segment, rows[offset + i].segment);
            ck_assert_uint_eq(page[i].row, rows[offset + i].row);
        }
    }
    float q[DIM];
    struct hit **hits;
    uint32_t *n_hits;
    for (int k = 0; k < DIM; k++) q[k] = rng_gauss(&f->rng);
    if (s.dim != 0) {
        ck_ok(exec_query(&s, &all, q, 1, 5, &a, &hits, &n_hits, NULL));
        ck_assert_uint_eq(n_hits[0], n_live < 5 ? n_live : 5);
        uint32_t nearer = 0;
        for (uint32_t i = 0; i < N_IDS && n_hits[0] > 0; i++) {
            float d = 0;
            for (int k = 0; k < DIM; k++) d += (q[k] - f->model[i].v[k]) * (q[k] - f->model[i].v[k]);
            nearer += f->model[i].is_live && d < hits[0][0].distance * 0.9999F;
        }
        ck_assert_uint_eq(nearer, 0);
    }
    snapshot_end(&s);
    arena_free(&a);
}

/* A visitor that counts. */
static inline enum err count_entry(void *ctx, struct str name, bool is_dir)
{
    (void)name, (void)is_dir;
    ++*(int *)ctx;
    return ERR_OK;
}

#endif
