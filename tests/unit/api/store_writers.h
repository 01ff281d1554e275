/* store_writers.h - writers whose requests leave a trace that shows which of them are there, and whether whole. Shared by the tests
 * of forks and of backups.
 */
#ifndef TESTS_UNIT_API_STORE_WRITERS_H
#define TESTS_UNIT_API_STORE_WRITERS_H

#include <stdatomic.h>
#include <unistd.h>

#include "tests/unit/api/store_model.h"

/* Request k of a writer upserts rows "w-state" and "w-k" with value k, so a prefix of its requests shows as
 * rows 0 .. m-1 and a state of m - 1. */
enum { N_WRITERS = 2, N_REQUESTS_MIN = 150 };

struct writing {
    struct store *s;
    const struct catalog_collection *col;
    int number;
    _Atomic bool *stop;
    _Atomic int n_sent, n_done;
    _Atomic int n_max; /* waits there until it is raised, or stopped. 0: no limit */
    pthread_t thread;
};

static inline void *write_on(void *arg)
{
    struct writing *w = arg;
    struct fixture f = {.s = w->s, .col = w->col};
    for (int k = 0; k < N_REQUESTS_MIN || !atomic_load(w->stop); k++) {
        while (atomic_load(&w->n_max) != 0 && k >= atomic_load(&w->n_max) && !atomic_load(w->stop)) (void)usleep(200);
        char texts[2][32];
        float v[2 * DIM] = {(float)k};
        struct buf packed = {0};
        struct value value = {.type = VALUE_INT, .i = k};
        struct str ids[2];
        struct bytes block;
        ids[0] = str_of(texts[0], (size_t)snprintf(texts[0], sizeof texts[0], "%d-state", w->number));
        ids[1] = str_of(texts[1], (size_t)snprintf(texts[1], sizeof texts[1], "%d-%d", w->number, k));
        meta_put(&packed, STR("k"), &value);
        const struct bytes metas[2] = {{packed.p, packed.n}, {packed.p, packed.n}};
        const uint8_t has_vector[2] = {1, 1};
        const struct batch_input in = {.kind = BATCH_UPSERT,
                                       .n_rows = 2,
                                       .dim = DIM,
                                       .ids = ids,
                                       .vectors = v,
                                       .has_vector = has_vector,
                                       .metas = metas};
        CHECK(batch_build(&in, &block, NULL) == ERR_OK && "no ck_assert here: Check's messages are for one thread");
        atomic_store(&w->n_sent, k + 1);
        CHECK(write_block(&f, block) == ERR_OK && "it is written");
        atomic_store(&w->n_done, k + 1);
        buf_free(&packed);
    }
    return NULL;
}

struct cut {
    int n[N_WRITERS], state[N_WRITERS];
};

static inline struct cut read_cut(struct store *store, const struct catalog_collection *col)
{
    struct arena a = {0};
    struct snapshot s;
    struct row_ref *rows;
    uint32_t n;
    struct cut cut = {{0}, {-1, -1}};
    const struct selection all = {0};
    int next[N_WRITERS] = {0};
    ck_ok(store_snapshot(store, col, &a, &s, NULL));
    ck_ok(exec_get(&s, &all, UINT32_MAX, 0, &a, &rows, &n, NULL));
    for (uint32_t i = 0; i < n; i++) {
        struct row row = {0};
        struct meta_entry e;
        char text[32] = "", *rest;
        ck_ok(exec_row(&s, rows[i], ROW_ALL, &a, &row, NULL));
        ck_assert_uint_lt(row.id.n, sizeof text);
        memcpy(text, row.id.p, row.id.n);
        long w = strtol(text, &rest, 10);
        ck_assert(w >= 0 && w < N_WRITERS && meta_find(row.meta, STR("k"), &e));
        int k = (int)le64_get(e.payload.p);
        if (strcmp(rest, "-state") == 0) {
            cut.state[w] = k;
            continue;
        }
        ck_assert_int_eq(atoi(rest + 1), k);
        ck_assert_int_eq(k, next[w]++); /* in the order of creation, none missing */
    }
    ck_assert_uint_eq(collection_count(store_collection(col)), n);
    for (int w = 0; w < N_WRITERS; w++) cut.n[w] = next[w];
    snapshot_end(&s);
    arena_free(&a);
    return cut;
}

static inline void check_cut(struct store *store, const struct catalog_collection *col, const struct cut *expected)
{
    struct cut now = read_cut(store, col);
    ck_assert_int_eq(memcmp(&now, expected, sizeof now), 0);
}

#endif
