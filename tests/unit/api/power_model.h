/* power_model.h - a store with several collections, and the trivial model of what it was told: for the tests of power cuts.
 *
 * Everything a run asks of the store is an event: it began when the disk had done so many operations, and was acknowledged
 * when it had done so many. Events are asked for in one order, writes several at a time, changes of the catalog alone; so what
 * a store may show after a cut is the state after some event, between the last that was acknowledged and the last that had
 * begun. A state is one number, made in the same way of the model and of what the store shows.
 */
#ifndef TESTS_UNIT_API_POWER_MODEL_H
#define TESTS_UNIT_API_POWER_MODEL_H

#include <pthread.h>
#include <stdio.h>

#include "api/store_internal.h"
#include "core/executor.h"
#include "core/mem.h"
#include "tests/lib/power_disk.h"
#include "tests/lib/suite.h"

enum { DIM = 40, N_IDS = 40, ROWS_MAX = 12, COLLECTIONS_MAX = 10, EVENTS_MAX = 512 }; /* a dimension that has codes */
enum {
    DOCUMENTS = 1000,
    LONG_DOCUMENT = 980,
    LONG_BYTES = 24000,
    SHORT_BYTES = 32
}; /* longer than a segment of the log */

enum event_kind { EVENT_WRITE, EVENT_CREATE, EVENT_DELETE, EVENT_RENAME, EVENT_FORK, EVENT_RESET };

struct change {
    uint32_t id, vector; /* vector 0: none */
    int document, value; /* -1: none */
};

struct event {
    enum event_kind kind;
    size_t began, acked; /* operations of the disk; acked SIZE_MAX: not yet */
    int col, fork;       /* places in the model; `fork`: of the new one */
    char name[16];       /* create, rename, fork */
    enum batch_kind batch;
    uint32_t n;
    struct change changes[ROWS_MAX];
};

struct model_record {
    bool is_live;
    uint64_t order;
    uint32_t vector;
    int document, value;
};

struct model_collection {
    bool is_live;
    char name[16];
    uint64_t next_order;
    struct model_record records[N_IDS];
};

struct model {
    struct model_collection collections[COLLECTIONS_MAX];
};

/* --- the model ----------------------------------------------------------------------------------------------------- */

static inline void model_write(struct model_collection *c, const struct event *e)
{
    for (uint32_t i = 0; i < e->n; i++) {
        const struct change *x = &e->changes[i];
        struct model_record *r = &c->records[x->id];
        if (e->batch == BATCH_DELETE) {
            r->is_live = false;
            continue;
        }
        bool inserts = !r->is_live && e->batch != BATCH_UPDATE;
        if (r->is_live ? e->batch == BATCH_ADD : !inserts) continue;
        if (inserts) *r = (struct model_record){.is_live = true, .order = c->next_order++, .document = -1, .value = -1};
        if (x->vector != 0) r->vector = x->vector;
        if (x->document >= 0) r->document = x->document;
        if (x->value >= 0) r->value = x->value;
    }
}

static inline void model_apply(struct model *m, const struct event *e)
{
    struct model_collection *c = &m->collections[e->col];
    switch (e->kind) {
    case EVENT_WRITE:
        model_write(c, e);
        break;
    case EVENT_CREATE:
        memset(c, 0, sizeof *c);
        c->is_live = true;
        memcpy(c->name, e->name, sizeof c->name);
        break;
    case EVENT_DELETE:
        c->is_live = false;
        break;
    case EVENT_RENAME:
        memcpy(c->name, e->name, sizeof c->name);
        break;
    case EVENT_FORK:
        m->collections[e->fork] = *c;
        memcpy(m->collections[e->fork].name, e->name, sizeof c->name);
        break;
    case EVENT_RESET:
        for (int i = 0; i < COLLECTIONS_MAX; i++) m->collections[i].is_live = false;
        break;
    }
}

static inline uint64_t mixed(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 31);
}

static inline uint64_t mixed_row(uint64_t h, uint32_t id, uint32_t vector, int document, int value)
{
    return mixed(mixed(mixed(mixed(h, id), vector), (uint64_t)(int64_t)document), (uint64_t)(int64_t)value);
}

static inline uint64_t name_state(const char *name, size_t n)
{
    uint64_t h = 1;
    for (size_t i = 0; i < n; i++) h = mixed(h, (unsigned char)name[i]);
    return h;
}

static inline uint64_t model_collection_state(const struct model_collection *c)
{
    uint64_t h = name_state(c->name, strlen(c->name));
    for (uint64_t order = 0; order < c->next_order; order++)
        for (uint32_t id = 0; id < N_IDS; id++) {
            const struct model_record *r = &c->records[id];
            if (r->is_live && r->order == order) h = mixed_row(h, id, r->vector, r->document, r->value);
        }
    return h;
}

static inline uint64_t model_state(const struct model *m)
{
    uint64_t sum = 0;
    for (int i = 0; i < COLLECTIONS_MAX; i++)
        if (m->collections[i].is_live) sum += model_collection_state(&m->collections[i]);
    return sum;
}

/* --- telling the store --------------------------------------------------------------------------------------------- */

static inline void vector_of(uint32_t vector, float *v)
{
    v[0] = (float)vector;
    for (uint32_t k = 1; k < DIM; k++) v[k] = (float)((vector * 31 + k * k * 17) % 211) - 105;
}

/* The text of a document: its number, and from LONG_DOCUMENT on a long rest. */
static inline struct str document_of(int document, char *text)
{
    int n = sprintf(text, "text number %d.", document);
    if (document < LONG_DOCUMENT) return str_of(text, (size_t)n);
    for (; n < LONG_BYTES; n++) text[n] = (char)('a' + (document + n * n) % 26);
    return str_of(text, LONG_BYTES);
}

static inline const struct catalog_collection *find_collection(struct store *s, const char *name)
{
    return catalog_collection_by_name(store_catalog(s), STR("default_tenant"), STR("default_database"),
                                      str_from_c(name));
}

static inline void build_block(const struct event *e, struct bytes *block)
{
    char texts[ROWS_MAX][16];
    char *docs = malloc((size_t)ROWS_MAX * LONG_BYTES);
    ck_assert_ptr_nonnull(docs);
    float vectors[ROWS_MAX * DIM];
    struct str ids[ROWS_MAX], documents[ROWS_MAX];
    struct bytes metas[ROWS_MAX];
    struct buf packed[ROWS_MAX] = {{0}};
    uint8_t has_vector[ROWS_MAX];
    uint32_t n_vectors = 0;
    for (uint32_t i = 0; i < e->n; i++) {
        const struct change *x = &e->changes[i];
        ids[i] = str_of(texts[i], (size_t)sprintf(texts[i], "id-%u", x->id));
        documents[i] = (struct str){NULL, 0};
        metas[i] = (struct bytes){NULL, 0};
        has_vector[i] = x->vector != 0;
        if (x->vector != 0) vector_of(x->vector, vectors + DIM * n_vectors++);
        if (x->document >= 0) documents[i] = document_of(x->document, docs + (size_t)i * LONG_BYTES);
        if (x->value >= 0) {
            struct value v = {.type = VALUE_INT, .i = x->value};
            meta_put(&packed[i], STR("k"), &v);
            metas[i] = (struct bytes){packed[i].p, packed[i].n};
        }
    }
    const struct batch_input in = {
        .kind = e->batch,
        .n_rows = e->n,
        .dim = n_vectors > 0 ? DIM : 0,
        .ids = ids,
        .vectors = n_vectors > 0 ? vectors : NULL,
        .has_vector = has_vector,
        .documents = documents,
        .metas = metas,
    };
    ck_ok(batch_build(&in, block, NULL));
    for (uint32_t i = 0; i < e->n; i++) buf_free(&packed[i]);
    free(docs);
}

/* Writes on their way. */
struct writes {
    pthread_mutex_t mu;
    pthread_cond_t cv;
    int n; /* guarded by mu */
    struct power_disk *disk;
};

struct write {
    struct store_write w; /* first */
    struct writes *all;
    struct event *event;
};

static inline void on_written(struct store_write *w, enum err e)
{
    struct write *write = (void *)w;
    struct writes *all = write->all;
    ck_assert_msg(e == ERR_OK, "a write: %s", err_text(e));
    (void)pthread_mutex_lock(&all->mu);
    write->event->acked = power_disk_ops(all->disk);
    all->n--;
    (void)pthread_cond_broadcast(&all->cv);
    (void)pthread_mutex_unlock(&all->mu);
    free(write);
}

static inline void writes_init(struct writes *all, struct power_disk *disk)
{
    *all = (struct writes){.disk = disk};
    (void)pthread_mutex_init(&all->mu, NULL);
    (void)pthread_cond_init(&all->cv, NULL);
}

static inline void writes_wait(struct writes *all, int at_most)
{
    (void)pthread_mutex_lock(&all->mu);
    while (all->n > at_most) (void)pthread_cond_wait(&all->cv, &all->mu);
    (void)pthread_mutex_unlock(&all->mu);
}

static inline void send_write(struct store *s, struct writes *all, const char *name, struct event *e)
{
    struct write *write = calloc(1, sizeof *write);
    ck_assert_ptr_nonnull(write);
    *write = (struct write){.w = {.collection = find_collection(s, name), .done = on_written}, .all = all, .event = e};
    ck_assert_ptr_nonnull(write->w.collection);
    build_block(e, &write->w.block);
    (void)pthread_mutex_lock(&all->mu);
    all->n++;
    e->acked = SIZE_MAX;
    e->began = power_disk_ops(all->disk);
    (void)pthread_mutex_unlock(&all->mu);
    ck_ok(store_submit(s, &write->w));
}

/* A change of the catalog; `name`: of the collection that it is about. */
static inline void send_change(struct store *s, struct writes *all, const char *name, struct event *e)
{
    const struct catalog_collection *col = NULL, *made = NULL;
    const struct catalog_new_collection in = {
        .tenant = STR("default_tenant"),
        .database = STR("default_database"),
        .name = str_from_c(e->name),
        .configuration = STR("{}"),
        .schema = STR("{}"),
        .space = SPACE_L2,
    };
    const struct catalog_update u = {.name = str_from_c(e->name)};
    writes_wait(all, 0);
    e->acked = SIZE_MAX;
    e->began = power_disk_ops(all->disk);
    if (e->kind == EVENT_RENAME || e->kind == EVENT_FORK) col = find_collection(s, name);
    switch (e->kind) {
    case EVENT_CREATE:
        ck_ok(store_create_collection(s, &in, &made, NULL));
        break;
    case EVENT_DELETE:
        ck_ok(store_delete_collection(s, STR("default_tenant"), STR("default_database"), str_from_c(name), NULL));
        break;
    case EVENT_RENAME:
        ck_ok(catalog_update_collection(store_catalog(s), col->number, &u, NULL));
        break;
    case EVENT_FORK:
        ck_ok(store_fork_collection(s, col, str_from_c(e->name), &made, NULL));
        break;
    case EVENT_RESET:
        ck_ok(store_reset(s, NULL));
        break;
    case EVENT_WRITE:
        ck_abort_msg("not a change of the catalog");
    }
    e->acked = power_disk_ops(all->disk);
    catalog_collection_unref(col);
    catalog_collection_unref(made);
}

/* --- asking the store ---------------------------------------------------------------------------------------------- */

/* What is found wrong goes up as ERR_CORRUPT: a test may want to find something. */
static inline enum err read_row(const struct snapshot *snapshot, struct row_ref ref, struct arena *a, uint64_t *h,
                                uint32_t *n_sevens, struct errmsg *em)
{
    struct row row = {0};
    struct meta_entry entry;
    char text[32] = "";
    float v[DIM];
    int document = -1, value = -1;
    enum err e = exec_row(snapshot, ref, ROW_ALL, a, &row, em);
    if (e != ERR_OK) return e;
    if (row.id.n <= 3 || row.id.n >= sizeof text || row.vector == NULL)
        return errmsg_set(em, ERR_CORRUPT, "a row without an id or a vector");
    memcpy(text, row.id.p, row.id.n);
    uint32_t id = (uint32_t)atoi(text + 3);
    vector_of((uint32_t)row.vector[0], v);
    if (memcmp(row.vector, v, sizeof v) != 0) return errmsg_set(em, ERR_CORRUPT, "a vector of %s", text);
    if (row.document.p != NULL) {
        static _Thread_local char expected[LONG_BYTES];
        document = row.document.n > 12 ? atoi(row.document.p + 12) : -1; /* a point follows the digits */
        if (document < 0 || document >= DOCUMENTS || !str_eq(row.document, document_of(document, expected)))
            return errmsg_set(em, ERR_CORRUPT, "the document of %s", text);
    }
    if (meta_find(row.meta, STR("k"), &entry)) value = (int)le64_get(entry.payload.p);
    *n_sevens += value == 7;
    *h = mixed_row(*h, id, (uint32_t)row.vector[0], document, value);
    return ERR_OK;
}

static inline enum err read_rows(const struct snapshot *snapshot, struct arena *a, uint64_t *h, struct errmsg *em)
{
    struct row_ref *rows;
    struct value seven = {.type = VALUE_INT, .i = 7};
    struct filter is_seven = {.kind = FILTER_EQ, .key = STR("k"), .values = &seven, .n_values = 1};
    const struct selection everything = {0}, sevens = {.filter = &is_seven};
    uint32_t n = 0, n_sevens = 0;
    enum err e = exec_get(snapshot, &everything, UINT32_MAX, 0, a, &rows, &n, em);
    for (uint32_t i = 0; i < n && e == ERR_OK; i++) e = read_row(snapshot, rows[i], a, h, &n_sevens, em);
    if (e == ERR_OK) e = exec_get(snapshot, &sevens, UINT32_MAX, 0, a, &rows, &n, em);
    if (e == ERR_OK && n != n_sevens) e = errmsg_set(em, ERR_CORRUPT, "a filter finds %u rows of %u", n, n_sevens);
    return e;
}

static inline enum err read_collection(struct store *s, const struct catalog_collection *col, uint64_t *state,
                                       struct errmsg *em)
{
    struct arena a = {0};
    struct snapshot snapshot;
    *state = name_state(col->name.p, col->name.n);
    enum err e = store_snapshot(s, col, &a, &snapshot, em);
    if (e == ERR_OK) {
        e = read_rows(&snapshot, &a, state, em);
        snapshot_end(&snapshot);
    }
    arena_free(&a);
    return e;
}

/* Every checksum of every fragment. */
static inline enum err verify_collection(struct store *s, const struct catalog_collection *col, struct errmsg *em)
{
    struct arena a = {0};
    struct segment **list = NULL;
    uint32_t n = 0;
    enum err e = live_hold(s, live_of(col), em);
    if (e != ERR_OK) return e;
    e = collection_fragments(store_collection(col), &a, &list, &n);
    for (uint32_t i = 0; i < n; i++) {
        if (e == ERR_OK) e = fragment_verify(list[i], em);
        segment_unref(list[i]);
    }
    live_release(live_of(col));
    arena_free(&a);
    return e;
}

static inline enum err read_state(struct store *s, uint64_t *state, struct errmsg *em)
{
    struct arena a = {0};
    const struct catalog_collection **all = NULL;
    size_t n = 0;
    *state = 0;
    enum err e = catalog_all_collections(store_catalog(s), &a, &all, &n);
    for (size_t i = 0; i < n; i++) {
        uint64_t one = 0;
        if (e == ERR_OK) e = read_collection(s, all[i], &one, em);
        if (e == ERR_OK) e = verify_collection(s, all[i], em);
        if (e != ERR_OK) errmsg_wrap(em, "collection '" STR_FMT "'", STR_ARG(all[i]->name));
        *state += one;
        catalog_collection_unref(all[i]);
    }
    arena_free(&a);
    return e;
}

#endif
