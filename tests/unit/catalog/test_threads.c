/* test_threads.c - readers look up while writers create, rename, delete, reset: what a reader gets is always one whole
 * state of a collection, under the name or id it asked for. Worth running under ThreadSanitizer. */
#include "core/mem.h"
#include "tests/lib/suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "catalog/catalog.h"

enum { N_READERS = 3, N_WRITERS = 2, STEPS = 4000, FOUND = 1000, NAMES = 20 };

#define T STR("default_tenant")
#define D STR("default_database")

struct shared {
    struct catalog *c;
    atomic_bool stop;
    atomic_int n_found; /* lookups that found something */
};

struct worker {
    struct shared *s;
    int index;
    int n_failed; /* Check's assertions are for the main thread only */
    pthread_t thread;
};

static void require(struct worker *w, bool condition)
{
    if (!condition) w->n_failed++;
}

struct live_object {
    struct catalog_runtime runtime; /* first */
    int answer;
};

static void free_live(struct catalog_runtime *r)
{
    mem_free(r);
}

static enum err attach_live(void *ctx, const struct catalog_collection *col, struct catalog_runtime **runtime,
                            struct errmsg *em)
{
    struct live_object *live = mem_zalloc(sizeof *live);
    (void)ctx, (void)col, (void)em;
    live->runtime.free_runtime = free_live;
    live->answer = 42;
    *runtime = &live->runtime;
    return ERR_OK;
}

/* A state is whole when the configuration tells its name. */
static bool is_whole(const struct catalog_collection *col)
{
    const struct live_object *live = (void *)atomic_load(&col->runtime);
    return str_eq(col->name, col->configuration) && str_eq(col->tenant, T) && str_eq(col->database, D) &&
           col->name.p[col->name.n] == '\0' && (live == NULL || live->answer == 42);
}

static void list_all(struct worker *w)
{
    struct arena a = {0};
    const struct catalog_collection **list = NULL;
    size_t n = 0;
    enum err e = catalog_list_collections(w->s->c, T, D, 10, 3, &a, &list, &n);
    require(w, e == ERR_OK && n <= 10);
    for (size_t i = 0; i < n; i++) {
        require(w, is_whole(list[i]));
        if (i > 0) require(w, memcmp(list[i - 1]->id.b, list[i]->id.b, 16) < 0);
    }
    for (size_t i = 0; i < n; i++) catalog_collection_unref(list[i]);
    struct catalog_database *dbs = NULL;
    size_t n_dbs = 0;
    e = catalog_list_databases(w->s->c, T, UINT32_MAX, 0, &a, &dbs, &n_dbs);
    require(w, e == ERR_OK && n_dbs >= 1); /* never a moment without the default database */
    e = catalog_all_collections(w->s->c, &a, &list, &n);
    require(w, e == ERR_OK);
    for (size_t i = 0; i < n; i++) catalog_collection_unref(list[i]);
    arena_free(&a);
}

static void *read_loop(void *arg)
{
    struct worker *w = arg;
    struct rng r = {(uint64_t)w->index + 1};
    char name[24];
    while (!atomic_load(&w->s->stop)) {
        (void)snprintf(name, sizeof name, "w%u-%u", rng_below(&r, N_WRITERS), rng_below(&r, NAMES));
        const struct catalog_collection *col = catalog_collection_by_name(w->s->c, T, D, str_from_c(name));
        if (col != NULL) {
            atomic_fetch_add(&w->s->n_found, 1);
            require(w, str_eq(col->name, str_from_c(name)) && is_whole(col));
            const struct catalog_collection *same = catalog_collection_by_id(w->s->c, T, D, &col->id);
            if (same != NULL) require(w, same->number == col->number && is_whole(same));
            catalog_collection_unref(same);
            same = catalog_collection_by_number(w->s->c, col->number);
            if (same != NULL) require(w, uuid_eq(&same->id, &col->id));
            catalog_collection_unref(same);
            catalog_collection_unref(col);
        }
        require(w, catalog_has_tenant(w->s->c, T));
        require(w, catalog_count_collections(w->s->c, T, D) <= N_WRITERS * NAMES);
        if (rng_below(&r, 8) == 0) list_all(w);
    }
    return NULL;
}

static void write_step(struct worker *w, struct rng *r)
{
    struct catalog *c = w->s->c;
    char name[24], other[24];
    (void)snprintf(name, sizeof name, "w%d-%u", w->index, rng_below(r, NAMES));
    (void)snprintf(other, sizeof other, "w%d-%u", w->index, rng_below(r, NAMES));
    struct str n = str_from_c(name), o = str_from_c(other);
    const struct catalog_collection *col = NULL;
    bool is_new;
    enum err e;
    switch (rng_below(r, 4)) {
    case 0:
    case 1: {
        struct catalog_new_collection in = {
            .tenant = T, .database = D, .name = n, .configuration = n, .attach = attach_live};
        e = catalog_create_collection(c, &in, &col, &is_new, NULL);
        require(w, e == ERR_OK || e == ERR_EXISTS);
        if (e != ERR_OK) return;
        require(w, is_whole(col));
        catalog_collection_unref(col);
        return;
    }
    case 2: {
        col = catalog_collection_by_name(c, T, D, n);
        if (col == NULL) return;
        struct catalog_update u = {.name = o, .configuration = o};
        e = catalog_update_collection(c, col->number, &u, NULL);
        require(w, e == ERR_OK || e == ERR_EXISTS || e == ERR_NOT_FOUND);
        struct catalog_version v = {.number = col->number, .version = rng_next(r) >> 1, .manifest = o};
        e = catalog_publish_version(c, &v, NULL);
        require(w, e == ERR_OK || e == ERR_NOT_FOUND || e == ERR_INVALID);
        catalog_collection_unref(col);
        return;
    }
    default:
        e = catalog_delete_collection(c, T, D, n, &col, NULL);
        require(w, e == ERR_OK || e == ERR_NOT_FOUND);
        if (e == ERR_OK) catalog_collection_unref(col);
        return;
    }
}

static void *write_loop(void *arg)
{
    struct worker *w = arg;
    struct rng r = {(uint64_t)w->index + 100};
    /* also until the readers have had their turn, however the machine shares out its time */
    for (int i = 0; i < STEPS || atomic_load(&w->s->n_found) < FOUND; i++) {
        write_step(w, &r);
        if (w->index == 0 && i % 300 == 299) require(w, catalog_reset(w->s->c, NULL, NULL, NULL) == ERR_OK);
    }
    return NULL;
}

START_TEST(readers_beside_writers)
{
    struct shared s = {0};
    ck_ok(catalog_open(&s.c, vfs_posix(), NULL, NULL));
    struct worker readers[N_READERS], writers[N_WRITERS];
    for (int i = 0; i < N_READERS; i++) {
        readers[i] = (struct worker){.s = &s, .index = i};
        ck_assert_int_eq(pthread_create(&readers[i].thread, NULL, read_loop, &readers[i]), 0);
    }
    for (int i = 0; i < N_WRITERS; i++) {
        writers[i] = (struct worker){.s = &s, .index = i};
        ck_assert_int_eq(pthread_create(&writers[i].thread, NULL, write_loop, &writers[i]), 0);
    }
    for (int i = 0; i < N_WRITERS; i++) {
        ck_assert_int_eq(pthread_join(writers[i].thread, NULL), 0);
        ck_assert_int_eq(writers[i].n_failed, 0);
    }
    atomic_store(&s.stop, true);
    for (int i = 0; i < N_READERS; i++) {
        ck_assert_int_eq(pthread_join(readers[i].thread, NULL), 0);
        ck_assert_int_eq(readers[i].n_failed, 0);
    }
    catalog_close(s.c);
}
END_TEST

/* The same name created by many threads at once: one makes it, all get the same one. */
struct racer {
    struct catalog *c;
    pthread_barrier_t *start;
    uint64_t number;
    bool is_new;
    pthread_t thread;
};

static void *race(void *arg)
{
    struct racer *r = arg;
    struct catalog_new_collection in = {.tenant = T, .database = D, .name = STR("wanted"), .get_or_create = true};
    const struct catalog_collection *col = NULL;
    (void)pthread_barrier_wait(r->start);
    if (catalog_create_collection(r->c, &in, &col, &r->is_new, NULL) == ERR_OK) {
        r->number = col->number;
        catalog_collection_unref(col);
    }
    return NULL;
}

START_TEST(get_or_create_makes_one)
{
    enum { N = 4 };
    for (int round = 0; round < 20; round++) {
        struct catalog *c = NULL;
        ck_ok(catalog_open(&c, vfs_posix(), NULL, NULL));
        pthread_barrier_t start;
        ck_assert_int_eq(pthread_barrier_init(&start, NULL, N), 0);
        struct racer racers[N];
        for (int i = 0; i < N; i++) {
            racers[i] = (struct racer){.c = c, .start = &start};
            ck_assert_int_eq(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
        }
        int n_new = 0;
        for (int i = 0; i < N; i++) {
            ck_assert_int_eq(pthread_join(racers[i].thread, NULL), 0);
            n_new += racers[i].is_new;
            ck_assert_uint_eq(racers[i].number, 1);
        }
        ck_assert_int_eq(n_new, 1);
        (void)pthread_barrier_destroy(&start);
        catalog_close(c);
    }
}
END_TEST

TESTS(catalog_threads, readers_beside_writers, get_or_create_makes_one)
