/* test_model.c - random operations against a trivial model (arrays and linear scans), with the file closed and opened
 * again at random moments. Every answer and, now and then, everything that can be listed is compared. */
#include "tests/lib/suite.h"

#include <stdio.h>
#include <stdlib.h>

#include "catalog/catalog.h"

enum { N_TENANTS = 4, N_DATABASES = 3, N_NAMES = 12, STEPS = 4000 };

static const char *const tenant_names[N_TENANTS] = {"default_tenant", "a", "b", "c"};
static const char *const database_names[N_DATABASES] = {"default_database", "x", "y"};

struct model_collection {
    bool is_there;
    uint64_t number, root; /* root: number of the collection that its tree of forks started from */
    uint8_t space;
    struct uuid id;
    char configuration[24], metadata[24]; /* "" = none */
    struct catalog_version version;
    char manifest[24];
};

struct model {
    bool tenants[N_TENANTS];
    bool databases[N_TENANTS][N_DATABASES];
    struct model_collection cols[N_TENANTS][N_DATABASES][N_NAMES];
    uint64_t last_number;
    uint64_t counter;
    uint64_t n_forks[STEPS + 1]; /* by root */
};

struct world {
    struct catalog *c;
    struct model m;
    struct rng r;
    char path[256];
    int seed, step;
    int n_runtimes; /* of forks: alive */
};

static struct str tenant_at(uint32_t t)
{
    return str_from_c(tenant_names[t]);
}

static struct str database_at(uint32_t d)
{
    return str_from_c(database_names[d]);
}

/* Valid until the next call. */
static struct str name_at(uint32_t n)
{
    static char text[16];
    (void)snprintf(text, sizeof text, "col%u", n);
    return str_from_c(text);
}

static void model_reset(struct model *m)
{
    const uint64_t last = m->last_number, counter = m->counter;
    memset(m, 0, sizeof *m); /* too large for the stack */
    m->last_number = last;
    m->counter = counter;
    m->tenants[0] = true;
    m->databases[0][0] = true;
}

#define expect(condition) ck_assert_msg(condition, "seed %d, step %d: %s", w->seed, w->step, #condition)

static void expect_same(struct world *w, const struct catalog_collection *col, uint32_t t, uint32_t d, uint32_t n)
{
    const struct model_collection *mc = &w->m.cols[t][d][n];
    expect((col != NULL) == mc->is_there);
    if (col == NULL) return;
    expect(col->number == mc->number);
    expect(uuid_eq(&col->id, &mc->id));
    expect(str_eq(col->tenant, tenant_at(t)));
    expect(str_eq(col->database, database_at(d)));
    expect(str_eq(col->name, name_at(n)));
    expect(str_eq(col->configuration, str_from_c(mc->configuration)));
    expect(col->metadata.n == strlen(mc->metadata));
    expect(col->metadata.n == 0 || memcmp(col->metadata.p, mc->metadata, col->metadata.n) == 0);
    expect(col->space == mc->space);
}

static void compare_collection(struct world *w, uint32_t t, uint32_t d, uint32_t n)
{
    const struct model_collection *mc = &w->m.cols[t][d][n];
    const struct catalog_collection *col = catalog_collection_by_name(w->c, tenant_at(t), database_at(d), name_at(n));
    expect_same(w, col, t, d, n);
    catalog_collection_unref(col);
    if (!mc->is_there) return;
    col = catalog_collection_by_id(w->c, tenant_at(t), database_at(d), &mc->id);
    expect_same(w, col, t, d, n);
    catalog_collection_unref(col);
    col = catalog_collection_by_number(w->c, mc->number);
    expect_same(w, col, t, d, n);
    catalog_collection_unref(col);
    uint64_t n_forks = 0;
    ck_ok(catalog_count_forks(w->c, mc->number, &n_forks, NULL));
    expect(n_forks == w->m.n_forks[mc->root]);
    struct arena a = {0};
    struct catalog_version v;
    ck_ok(catalog_get_version(w->c, mc->number, &a, &v, NULL));
    expect(v.number == mc->number && v.version == mc->version.version);
    expect(v.log_position == mc->version.log_position && v.next_ordinal == mc->version.next_ordinal);
    expect(v.dimension == mc->version.dimension);
    expect(v.version == 0 || str_eq(v.manifest, str_from_c(mc->manifest)));
    arena_free(&a);
}

static void compare_lists(struct world *w, uint32_t t)
{
    struct arena a = {0};
    struct catalog_database *dbs = NULL;
    const struct catalog_collection **cols = NULL;
    size_t n_dbs = 0, n_cols = 0, n_expected = 0;
    ck_ok(catalog_list_databases(w->c, tenant_at(t), UINT32_MAX, 0, &a, &dbs, &n_dbs));
    for (uint32_t d = 0; d < N_DATABASES; d++) {
        n_expected += w->m.databases[t][d];
        struct uuid id;
        enum err e = catalog_get_database(w->c, tenant_at(t), database_at(d), &id);
        expect(e == (w->m.databases[t][d] ? ERR_OK : ERR_NOT_FOUND));
        size_t n_here = 0;
        for (uint32_t n = 0; n < N_NAMES; n++) n_here += w->m.cols[t][d][n].is_there;
        uint32_t offset = rng_below(&w->r, N_NAMES), limit = rng_below(&w->r, N_NAMES + 3);
        size_t page = offset >= n_here ? 0 : n_here - offset < limit ? n_here - offset : limit;
        ck_ok(catalog_list_collections(w->c, tenant_at(t), database_at(d), limit, offset, &a, &cols, &n_cols));
        expect(n_cols == page);
        expect(catalog_count_collections(w->c, tenant_at(t), database_at(d)) == n_here);
        for (size_t i = 0; i < n_cols; i++) {
            /* its rank in the model: how many ids of the database are below */
            size_t rank = 0;
            for (uint32_t n = 0; n < N_NAMES; n++) {
                const struct model_collection *mc = &w->m.cols[t][d][n];
                rank += mc->is_there && memcmp(mc->id.b, cols[i]->id.b, sizeof mc->id.b) < 0;
            }
            expect(rank == offset + i);
            catalog_collection_unref(cols[i]);
        }
    }
    expect(n_dbs == n_expected);
    for (size_t i = 1; i < n_dbs; i++) expect(str_cmp(dbs[i - 1].name, dbs[i].name) < 0);
    arena_free(&a);
}

static void compare_all(struct world *w)
{
    size_t n_all = 0, n_expected = 0;
    uint64_t counter = 1;
    for (uint32_t t = 0; t < N_TENANTS; t++) {
        expect(catalog_has_tenant(w->c, tenant_at(t)) == w->m.tenants[t]);
        compare_lists(w, t);
        for (uint32_t d = 0; d < N_DATABASES; d++) {
            for (uint32_t n = 0; n < N_NAMES; n++) {
                compare_collection(w, t, d, n);
                n_expected += w->m.cols[t][d][n].is_there;
            }
        }
    }
    struct arena a = {0};
    const struct catalog_collection **all = NULL;
    ck_ok(catalog_all_collections(w->c, &a, &all, &n_all));
    expect(n_all == n_expected);
    for (size_t i = 0; i < n_all; i++) catalog_collection_unref(all[i]);
    arena_free(&a);
    ck_ok(catalog_get_counter(w->c, "n", &counter, NULL));
    expect(counter == w->m.counter);
}

static void try_create(struct world *w, uint32_t t, uint32_t d, uint32_t n)
{
    struct model_collection *mc = &w->m.cols[t][d][n];
    char configuration[24];
    (void)snprintf(configuration, sizeof configuration, "{\"step\":%d}", w->step);
    struct catalog_new_collection in = {.tenant = tenant_at(t),
                                        .database = database_at(d),
                                        .name = name_at(n),
                                        .configuration = str_from_c(configuration),
                                        .space = (uint8_t)((w->m.last_number + 1) % 3),
                                        .get_or_create = rng_below(&w->r, 3) == 0};
    const struct catalog_collection *col = NULL;
    bool is_new = false;
    enum err e = catalog_create_collection(w->c, &in, &col, &is_new, NULL);
    if (!w->m.databases[t][d]) {
        expect(e == ERR_NOT_FOUND);
        return;
    }
    if (mc->is_there && !in.get_or_create) {
        expect(e == ERR_EXISTS);
        return;
    }
    expect(e == ERR_OK && is_new == !mc->is_there);
    if (is_new) {
        expect(col->number == w->m.last_number + 1); /* one by one, none given twice */
        *mc = (struct model_collection){
            .is_there = true, .number = col->number, .root = col->number, .space = in.space, .id = col->id};
        memcpy(mc->configuration, configuration, sizeof configuration);
        w->m.last_number = col->number;
    }
    expect_same(w, col, t, d, n);
    catalog_collection_unref(col);
}

/* The live object of a fork, as far as the catalog knows one. */
struct runtime {
    struct catalog_runtime runtime; /* first */
    struct world *w;
};

static void runtime_free(struct catalog_runtime *r)
{
    ((struct runtime *)(void *)r)->w->n_runtimes--;
    free(r);
}

static struct catalog_runtime *runtime_new(struct world *w)
{
    struct runtime *r = calloc(1, sizeof *r);
    ck_assert_ptr_nonnull(r);
    r->runtime.free_runtime = runtime_free;
    r->w = w;
    w->n_runtimes++;
    return &r->runtime;
}

static void try_fork(struct world *w, uint32_t t, uint32_t d, uint32_t n)
{
    uint32_t to = rng_below(&w->r, N_NAMES);
    struct model_collection *mc = &w->m.cols[t][d][n], *target = &w->m.cols[t][d][to];
    const struct catalog_collection *col = NULL;
    uint64_t number = 0;
    enum err e = catalog_reserve_number(w->c, &number, NULL);
    if (w->m.last_number == 0) { /* there has never been a collection to fork */
        expect(e == ERR_CORRUPT);
        return;
    }
    expect(e == ERR_OK && number == w->m.last_number + 1);
    w->m.last_number = number; /* used up, whatever comes of it */
    struct catalog_version v = mc->version;
    v.number = number;
    v.version = 1;
    v.manifest = str_from_c(mc->manifest);
    const struct catalog_fork in = {.source = mc->is_there ? mc->number : number + 1,
                                    .number = number,
                                    .name = name_at(to),
                                    .version = mc->version.version != 0 ? &v : NULL,
                                    .runtime = runtime_new(w)};
    int n_runtimes = w->n_runtimes;
    e = catalog_fork_collection(w->c, &in, &col, NULL);
    expect(e == (!mc->is_there ? ERR_NOT_FOUND : target->is_there ? ERR_EXISTS : ERR_OK));
    expect(w->n_runtimes == (e == ERR_OK ? n_runtimes : n_runtimes - 1));
    if (e != ERR_OK) return;
    *target = *mc;
    target->number = number;
    target->id = col->id;
    if (in.version != NULL) target->version = v;
    w->m.n_forks[target->root]++;
    expect_same(w, col, t, d, to);
    catalog_collection_unref(col);
    compare_collection(w, t, d, to);
}

static void try_update(struct world *w, uint32_t t, uint32_t d, uint32_t n)
{
    struct model_collection *mc = &w->m.cols[t][d][n];
    uint32_t to = rng_below(&w->r, 2) == 0 ? n : rng_below(&w->r, N_NAMES);
    char configuration[24] = "", metadata[24] = "";
    struct catalog_update u = {0};
    if (rng_below(&w->r, 2) == 0)
        u.name = name_at(to);
    else
        to = n;
    if (rng_below(&w->r, 2) == 0) {
        (void)snprintf(configuration, sizeof configuration, "{\"new\":%d}", w->step);
        u.configuration = str_from_c(configuration);
    }
    if (rng_below(&w->r, 2) == 0) {
        if (rng_below(&w->r, 3) > 0) (void)snprintf(metadata, sizeof metadata, "m%d", w->step);
        u.metadata = (struct bytes){metadata, strlen(metadata)};
        u.set_metadata = true;
    }
    enum err e = catalog_update_collection(w->c, mc->is_there ? mc->number : w->m.last_number + 1, &u, NULL);
    if (!mc->is_there) {
        expect(e == ERR_NOT_FOUND);
        return;
    }
    if (to != n && w->m.cols[t][d][to].is_there) {
        expect(e == ERR_EXISTS);
        return;
    }
    expect(e == ERR_OK);
    if (u.configuration.p != NULL) memcpy(mc->configuration, configuration, sizeof configuration);
    if (u.set_metadata) memcpy(mc->metadata, metadata, sizeof metadata);
    if (to == n) return;
    w->m.cols[t][d][to] = *mc;
    *mc = (struct model_collection){0};
}

static void try_delete(struct world *w, uint32_t t, uint32_t d, uint32_t n)
{
    struct model_collection *mc = &w->m.cols[t][d][n];
    const struct catalog_collection *col = NULL;
    enum err e = catalog_delete_collection(w->c, tenant_at(t), database_at(d), name_at(n), &col, NULL);
    expect(e == (mc->is_there ? ERR_OK : ERR_NOT_FOUND));
    if (e != ERR_OK) return;
    expect_same(w, col, t, d, n);
    catalog_collection_unref(col);
    *mc = (struct model_collection){0};
}

static void try_publish(struct world *w, uint32_t t, uint32_t d, uint32_t n)
{
    struct model_collection *mc = &w->m.cols[t][d][n];
    char manifest[24];
    (void)snprintf(manifest, sizeof manifest, "MANIFEST-%d", w->step);
    struct catalog_version v = {.number = mc->is_there ? mc->number : w->m.last_number + 1,
                                .version = mc->version.version + rng_below(&w->r, 3),
                                .log_position = mc->version.log_position + rng_below(&w->r, 4),
                                .next_ordinal = rng_next(&w->r) >> 1,
                                .dimension = (uint32_t)rng_next(&w->r),
                                .manifest = str_from_c(manifest)};
    bool goes_back = mc->version.log_position > 0 && rng_below(&w->r, 8) == 0;
    if (goes_back) v.log_position = mc->version.log_position - 1;
    enum err e = catalog_publish_version(w->c, &v, NULL);
    bool is_valid = v.version > mc->version.version && !goes_back;
    expect(e == (v.version == 0 ? ERR_INVALID : !mc->is_there ? ERR_NOT_FOUND : is_valid ? ERR_OK : ERR_INVALID));
    if (e != ERR_OK) return;
    mc->version = v;
    memcpy(mc->manifest, manifest, sizeof manifest);
}

struct count {
    struct world *w;
    size_t n;
};

static void count_dropped(void *ctx, const struct catalog_collection *col)
{
    struct count *count = ctx;
    struct world *w = count->w;
    expect(col->number <= w->m.last_number);
    count->n++;
}

static void try_database(struct world *w, uint32_t t, uint32_t d)
{
    bool *is_there = &w->m.databases[t][d];
    if (rng_below(&w->r, 3) > 0) {
        enum err e = catalog_create_database(w->c, tenant_at(t), database_at(d), NULL);
        expect(e == (*is_there ? ERR_EXISTS : ERR_OK));
        *is_there = true;
        return;
    }
    struct count count = {w, 0};
    size_t n_here = 0;
    for (uint32_t n = 0; n < N_NAMES; n++) n_here += w->m.cols[t][d][n].is_there;
    enum err e = catalog_delete_database(w->c, tenant_at(t), database_at(d), count_dropped, &count, NULL);
    expect(e == (*is_there ? ERR_OK : ERR_NOT_FOUND));
    expect(count.n == n_here);
    *is_there = false;
    memset(w->m.cols[t][d], 0, sizeof w->m.cols[t][d]);
}

static void one_step(struct world *w)
{
    uint32_t t = rng_below(&w->r, N_TENANTS), d = rng_below(&w->r, N_DATABASES), n = rng_below(&w->r, N_NAMES);
    uint32_t what = rng_below(&w->r, 1000);
    if (what < 300) {
        try_create(w, t, d, n);
    } else if (what < 450) {
        try_fork(w, t, d, n);
    } else if (what < 600) {
        try_update(w, t, d, n);
    } else if (what < 750) {
        try_delete(w, t, d, n);
    } else if (what < 900) {
        try_publish(w, t, d, n);
    } else if (what < 950) {
        try_database(w, t, d);
    } else if (what < 965) {
        enum err e = catalog_create_tenant(w->c, tenant_at(t), NULL);
        expect(e == (w->m.tenants[t] ? ERR_EXISTS : ERR_OK));
        w->m.tenants[t] = true;
    } else if (what < 980) {
        uint64_t value = rng_next(&w->r) >> 1;
        ck_ok(catalog_set_counter(w->c, "n", value, NULL));
        if (value > w->m.counter) w->m.counter = value;
    } else if (what < 997) {
        catalog_close(w->c);
        ck_ok(catalog_open(&w->c, vfs_posix(), w->path, NULL));
        compare_all(w);
    } else {
        ck_ok(catalog_reset(w->c, NULL, NULL, NULL));
        model_reset(&w->m);
    }
    compare_collection(w, t, d, n);
    if (w->step % 50 == 0) compare_all(w);
}

START_TEST(like_the_model)
{
    static struct world world; /* too large for the stack */
    for (uint64_t seed = 1; seed <= 2; seed++) {
        struct world *w = &world;
        memset(w, 0, sizeof *w);
        w->r.s = seed * 7919;
        w->seed = (int)seed;
        model_reset(&w->m);
        (void)snprintf(w->path, sizeof w->path, "%s/catalog.sqlite3", tmp_dir());
        ck_ok(catalog_open(&w->c, vfs_posix(), w->path, NULL));
        for (w->step = 0; w->step < STEPS; w->step++) one_step(w);
        compare_all(w);
        catalog_close(w->c);
        expect(w->n_runtimes == 0);
    }
}
END_TEST

TESTS(catalog_model, like_the_model)
