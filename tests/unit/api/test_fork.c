/* test_fork.c - forks against models: a family of collections that fork, write, flush, merge, are deleted and start again,
 * each compared with a model of its own; a fork amid writers, which must be one cut of the log; what it costs on disk.
 */
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/store_internal.h"
#include "tests/unit/api/store_model.h"

#define T STR("default_tenant")
#define D STR("default_database")

/* Stand in front of the C library's: nothing here loses power, and thousands of flushes would take long. */
int fdatasync(int fd)
{
    (void)fd;
    return 0;
}

int fsync(int fd)
{
    (void)fd;
    return 0;
}

/* --- a family ---------------------------------------------------------------------------------------------------- */

enum { N_MEMBERS = 6 };

struct member {
    struct fixture f; /* .col NULL: there is none in this place */
    struct record records[N_IDS];
    char name[24];
    int tree; /* index into n_forks */
};

struct family {
    struct member members[N_MEMBERS];
    uint64_t n_forks[1000];
    int n_trees, n_names;
    struct store *s;
    struct store_options o;
    struct rng rng;
};

static void open_family(struct family *y)
{
    struct errmsg em = {{0}};
    enum err e = store_open(&y->s, &y->o, &em);
    ck_assert_msg(e == ERR_OK, "open: %s", em.text);
    for (struct member *m = y->members; m < y->members + N_MEMBERS; m++) {
        m->f.s = y->s;
        if (m->name[0] == '\0') continue;
        m->f.col = catalog_collection_by_name(store_catalog(y->s), T, D, str_from_c(m->name));
        ck_assert_ptr_nonnull(m->f.col);
    }
}

static void close_family(struct family *y)
{
    for (struct member *m = y->members; m < y->members + N_MEMBERS; m++) {
        catalog_collection_unref(m->f.col);
        m->f.col = NULL;
    }
    store_close(y->s);
}

static void name_member(struct family *y, struct member *m)
{
    (void)snprintf(m->name, sizeof m->name, "docs-%d", y->n_names++);
    m->f.s = y->s;
    m->f.model = m->records;
}

static void found(struct family *y, struct member *m)
{
    memset(m->records, 0, sizeof m->records);
    m->f = (struct fixture){.rng = {rng_below(&y->rng, 1U << 30)}};
    name_member(y, m);
    m->tree = y->n_trees++;
    const struct catalog_new_collection in = {
        .tenant = T,
        .database = D,
        .name = str_from_c(m->name),
        .configuration = STR("{\"c\":1}"),
        .schema = STR("{\"s\":2}"),
        .metadata = {"\1m\2", 3},
        .space = SPACE_L2,
    };
    ck_ok(store_create_collection(y->s, &in, &m->f.col, NULL));
}

static void fork_member(struct family *y, const struct member *from, struct member *to)
{
    *to = *from;
    to->f.rng.s += 77;
    to->f.col = NULL;
    name_member(y, to);
    ck_ok(store_fork_collection(y->s, from->f.col, str_from_c(to->name), &to->f.col, NULL));
    y->n_forks[to->tree]++;
    ck_assert_int_ne(memcmp(&to->f.col->id, &from->f.col->id, sizeof to->f.col->id), 0);
    ck_assert_uint_gt(to->f.col->number, from->f.col->number);
    ck_assert(str_eq(to->f.col->configuration, STR("{\"c\":1}")) && str_eq(to->f.col->schema, STR("{\"s\":2}")));
    ck_assert_uint_eq(to->f.col->metadata.n, 3);
    ck_assert_uint_eq(collection_dim(store_collection(to->f.col)), collection_dim(store_collection(from->f.col)));
}

static void compare_family(struct family *y)
{
    for (struct member *m = y->members; m < y->members + N_MEMBERS; m++) {
        uint64_t n = 0;
        if (m->f.col == NULL) continue;
        compare(&m->f);
        ck_ok(catalog_count_forks(store_catalog(y->s), m->f.col->number, &n, NULL));
        ck_assert_uint_eq(n, y->n_forks[m->tree]);
    }
}

static struct member *pick(struct family *y, bool is_there)
{
    uint32_t at = rng_below(&y->rng, N_MEMBERS);
    for (int i = 0; i < N_MEMBERS; i++) {
        struct member *m = &y->members[(at + (uint32_t)i) % N_MEMBERS];
        if ((m->f.col != NULL) == is_there) return m;
    }
    return NULL;
}

static void drop_member(struct family *y, struct member *m)
{
    ck_ok(store_delete_collection(y->s, T, D, str_from_c(m->name), NULL));
    catalog_collection_unref(m->f.col);
    *m = (struct member){.name = ""};
}

/* Directories below collections/. */
static int count_dirs(const struct family *y)
{
    int n = 0;
    char dir[4096];
    (void)snprintf(dir, sizeof dir, "%s/collections", y->o.path);
    ck_ok(vfs_posix()->list(NULL, dir, count_entry, &n, NULL));
    return n;
}

static void live_a_while(struct family *y, int n_turns)
{
    open_family(y);
    found(y, &y->members[0]);
    for (int i = 0; i < n_turns; i++) {
        uint32_t dice = rng_below(&y->rng, 30);
        struct member *m = pick(y, true), *free_place = pick(y, false);
        if (m == NULL || (dice == 0 && free_place != NULL)) {
            found(y, free_place);
        } else if (dice < 6 && free_place != NULL) {
            fork_member(y, m, free_place);
        } else if (dice < 9) {
            drop_member(y, m);
        } else if (dice == 9 && i % 2 == 0) {
            ck_ok(store_compact(y->s, NULL));
        } else if (dice == 10 && y->o.path != NULL) {
            close_family(y);
            open_family(y);
        } else {
            step(&m->f);
        }
        if (i % 5 == 0 || dice < 11) compare_family(y);
    }
    compare_family(y);
}

START_TEST(a_family_follows_its_models)
{
    static struct family y;
    logger_set_level(LOG_ERROR);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        y = (struct family){.rng = {seed}, .o = {.path = tmp_dir(), .flush_rows = 100}};
        live_a_while(&y, 220);
        ck_ok(store_compact(y.s, NULL));
        compare_family(&y);
        close_family(&y);
        open_family(&y);
        compare_family(&y);
        int n_there = 0;
        for (int i = 0; i < N_MEMBERS; i++) n_there += y.members[i].f.col != NULL;
        ck_assert_int_le(count_dirs(&y), n_there);
        close_family(&y);
    }
}
END_TEST

START_TEST(an_ephemeral_family_too)
{
    static struct family y;
    logger_set_level(LOG_ERROR);
    y = (struct family){.rng = {8}, .o = {.flush_rows = 100}};
    live_a_while(&y, 150);
    close_family(&y);
}
END_TEST

static enum err no_link(void *ctx, const char *from, const char *to, struct errmsg *em)
{
    (void)ctx, (void)to;
    return errmsg_set(em, ERR_UNSUPPORTED, "%s stays alone", from);
}

START_TEST(without_links_files_are_copied)
{
    static struct family y;
    static struct vfs table;
    logger_set_level(LOG_ERROR);
    table = *vfs_posix();
    table.link = no_link;
    y = (struct family){.rng = {9}, .o = {.path = tmp_dir(), .flush_rows = 100, .vfs = &table}};
    live_a_while(&y, 150);
    close_family(&y);
}
END_TEST

/* --- one after the other ----------------------------------------------------------------------------------------- */

static struct family *young_family(const char *path)
{
    static struct family y;
    logger_set_level(LOG_ERROR);
    y = (struct family){.rng = {5}, .o = {.path = path, .no_compactor = true}};
    open_family(&y);
    found(&y, &y.members[0]);
    return &y;
}

static void reopen_family(struct family *y)
{
    close_family(y);
    open_family(y);
    compare_family(y);
}

START_TEST(a_fork_of_nothing_is_empty)
{
    struct family *y = young_family(tmp_dir());
    fork_member(y, &y->members[0], &y->members[1]);
    ck_assert_int_eq(count_dirs(y), 0); /* no version, no files */
    compare_family(y);
    reopen_family(y);
    for (int i = 0; i < 5; i++) step(&y->members[1].f);
    compare_family(y);
    fork_member(y, &y->members[1], &y->members[2]);
    for (int i = 0; i < 5; i++) step(&y->members[0].f);
    reopen_family(y);
    close_family(y);
}
END_TEST

START_TEST(tails_fragments_and_dead_rows)
{
    struct family *y = young_family(tmp_dir());
    struct fixture *source = &y->members[0].f;
    for (int i = 0; i < 12; i++) step(source);
    fork_member(y, &y->members[0], &y->members[1]); /* a tail only */
    compare_family(y);
    fork_member(y, &y->members[0], &y->members[2]); /* fragments only: nothing to flush */
    compare_family(y);
    struct collection_pressure p;
    collection_pressure(store_collection(y->members[2].f.col), &p);
    ck_assert_uint_eq(p.n_fragments, 1);
    ck_assert_uint_eq(p.tail_rows, 0);
    ck_assert_uint_eq(p.first_lsn, 0);
    for (int i = 0; i < 12; i++) step(source);
    fork_member(y, &y->members[0], &y->members[3]); /* both, and rows of the first are dead */
    collection_pressure(store_collection(y->members[3].f.col), &p);
    ck_assert_uint_eq(p.n_fragments, 2);
    for (int i = 0; i < 8; i++)
        for (int k = 0; k < 4; k++) step(&y->members[k].f);
    fork_member(y, &y->members[3], &y->members[4]); /* a fork of a fork */
    compare_family(y);
    ck_assert_int_eq(count_dirs(y), 5);
    drop_member(y, &y->members[0]); /* the root of all */
    reopen_family(y);
    ck_assert_int_eq(count_dirs(y), 4);
    for (int i = 0; i < 8; i++)
        for (int k = 1; k < 5; k++) step(&y->members[k].f);
    drop_member(y, &y->members[3]);
    reopen_family(y);
    fork_member(y, &y->members[4], &y->members[0]);
    compare_family(y);
    ck_assert_uint_eq(y->n_forks[0], 5);
    close_family(y);
}
END_TEST

START_TEST(saying_no_leaves_nothing)
{
    struct family *y = young_family(tmp_dir());
    const struct catalog_collection *col = NULL;
    struct errmsg em = {{0}};
    for (int i = 0; i < 6; i++) step(&y->members[0].f);
    ck_assert_int_eq(store_fork_collection(y->s, y->members[0].f.col, STR("docs-0"), &col, &em), ERR_EXISTS);
    ck_assert_int_eq(count_dirs(y), 0); /* not even flushed */
    fork_member(y, &y->members[0], &y->members[1]);
    const struct catalog_collection *gone = catalog_collection_ref(y->members[0].f.col);
    drop_member(y, &y->members[0]);
    ck_assert_int_eq(store_fork_collection(y->s, gone, STR("other"), &col, &em), ERR_NOT_FOUND);
    ck_assert_ptr_null(col);
    catalog_collection_unref(gone);
    reopen_family(y);
    ck_assert_int_eq(count_dirs(y), 1);
    uint64_t n;
    ck_assert_int_eq(catalog_count_forks(store_catalog(y->s), 1, &n, NULL), ERR_NOT_FOUND);
    close_family(y);
}
END_TEST

/* --- on disk ----------------------------------------------------------------------------------------------------- */

struct usage {
    char dir[4096];
    ino_t seen[256];
    int n_seen;
    uint64_t bytes;
};

static enum err add_usage(void *ctx, struct str name, bool is_dir)
{
    struct usage *u = ctx, below = *u;
    struct stat st;
    (void)snprintf(below.dir, sizeof below.dir, "%.3800s/" STR_FMT, u->dir, STR_ARG(name));
    if (is_dir) {
        ck_ok(vfs_posix()->list(NULL, below.dir, add_usage, &below, NULL));
        memcpy(below.dir, u->dir, sizeof below.dir);
        *u = below;
        return ERR_OK;
    }
    ck_assert_int_eq(stat(below.dir, &st), 0);
    for (int i = 0; i < u->n_seen; i++)
        if (u->seen[i] == st.st_ino) return ERR_OK;
    ck_assert_int_lt(u->n_seen, 256);
    u->seen[u->n_seen++] = st.st_ino;
    u->bytes += (uint64_t)st.st_size;
    return ERR_OK;
}

static uint64_t bytes_of_collections(const struct family *y)
{
    static struct usage u;
    u = (struct usage){.n_seen = 0};
    (void)snprintf(u.dir, sizeof u.dir, "%s/collections", y->o.path);
    ck_ok(vfs_posix()->list(NULL, u.dir, add_usage, &u, NULL));
    return u.bytes;
}

START_TEST(a_fork_takes_no_space)
{
    struct family *y = young_family(tmp_dir());
    for (int i = 0; i < 40; i++) step(&y->members[0].f);
    ck_ok(flush_collection(y->s, y->members[0].f.col, NULL));
    uint64_t before = bytes_of_collections(y);
    ck_assert_uint_gt(before, 20000);
    for (int i = 1; i < N_MEMBERS; i++) fork_member(y, &y->members[i - 1], &y->members[i]);
    ck_assert_uint_lt(bytes_of_collections(y) - before, 5 * 1000); /* manifests */
    for (int i = 0; i < N_MEMBERS - 1; i++) drop_member(y, &y->members[i]);
    reopen_family(y);
    ck_assert_uint_le(bytes_of_collections(y), before + 1000);
    close_family(y);
}
END_TEST

/* --- amid writers ------------------------------------------------------------------------------------------------ */

/* Request k of a writer upserts rows "w-state" and "w-k" with value k, so a prefix of its requests shows as
 * rows 0 .. m-1 and a state of m - 1. */
enum { N_WRITERS = 2, N_FORKS = 12, N_REQUESTS_MIN = 150 };

struct writing {
    struct store *s;
    const struct catalog_collection *col;
    int number;
    _Atomic bool *stop;
    _Atomic int n_sent, n_done;
    pthread_t thread;
};

static void *write_on(void *arg)
{
    struct writing *w = arg;
    struct fixture f = {.s = w->s, .col = w->col};
    for (int k = 0; k < N_REQUESTS_MIN || !atomic_load(w->stop); k++) {
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
        ck_ok(batch_build(&in, &block, NULL));
        atomic_store(&w->n_sent, k + 1);
        ck_ok(write_block(&f, block));
        atomic_store(&w->n_done, k + 1);
        buf_free(&packed);
    }
    return NULL;
}

struct cut {
    int n[N_WRITERS], state[N_WRITERS];
};

static struct cut read_cut(const struct catalog_collection *col)
{
    struct arena a = {0};
    struct snapshot s;
    struct row_ref *rows;
    uint32_t n;
    struct cut cut = {{0}, {-1, -1}};
    const struct selection all = {0};
    int next[N_WRITERS] = {0};
    ck_ok(snapshot_begin(store_collection(col), &a, &s));
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

static void check_cut(const struct catalog_collection *col, const struct cut *expected)
{
    struct cut now = read_cut(col);
    ck_assert_int_eq(memcmp(&now, expected, sizeof now), 0);
}

START_TEST(a_fork_amid_writers_is_one_cut)
{
    struct fixture f;
    struct writing writers[N_WRITERS];
    struct cut cuts[N_FORKS];
    const struct catalog_collection *forks[N_FORKS];
    _Atomic bool stop = false;
    setup(&f, 3, tmp_dir());
    catalog_collection_unref(f.col);
    store_close(f.s);
    f.o.flush_rows = 40; /* flushes and merges come in between */
    open_store(&f);
    for (int w = 0; w < N_WRITERS; w++) {
        writers[w] = (struct writing){.s = f.s, .col = f.col, .number = w, .stop = &stop};
        ck_assert_int_eq(pthread_create(&writers[w].thread, NULL, write_on, &writers[w]), 0);
    }
    for (int i = 0; i < N_FORKS; i++) {
        char name[24];
        int done[N_WRITERS];
        while (atomic_load(&writers[0].n_done) < 10 * i) (void)sched_yield();
        for (int w = 0; w < N_WRITERS; w++) done[w] = atomic_load(&writers[w].n_done);
        ck_ok(store_fork_collection(f.s, f.col, str_of(name, (size_t)sprintf(name, "fork-%d", i)), &forks[i], NULL));
        cuts[i] = read_cut(forks[i]);
        for (int w = 0; w < N_WRITERS; w++) {
            ck_assert_int_ge(cuts[i].n[w], done[w]); /* everything that was acknowledged */
            ck_assert_int_le(cuts[i].n[w], atomic_load(&writers[w].n_sent));
            ck_assert_int_eq(cuts[i].state[w], cuts[i].n[w] - 1); /* and whole requests */
        }
    }
    atomic_store(&stop, true);
    for (int w = 0; w < N_WRITERS; w++) ck_assert_int_eq(pthread_join(writers[w].thread, NULL), 0);
    ck_ok(store_compact(f.s, NULL));
    for (int i = 0; i < N_FORKS; i++) {
        check_cut(forks[i], &cuts[i]);
        catalog_collection_unref(forks[i]);
    }
    ck_ok(store_delete_collection(f.s, T, D, STR("docs"), NULL));
    close_store(&f);
    open_store(&f);
    for (int i = 0; i < N_FORKS; i++) {
        char name[24];
        forks[i] =
            catalog_collection_by_name(store_catalog(f.s), T, D, str_of(name, (size_t)sprintf(name, "fork-%d", i)));
        ck_assert_ptr_nonnull(forks[i]);
        check_cut(forks[i], &cuts[i]);
        catalog_collection_unref(forks[i]);
    }
    close_store(&f);
}
END_TEST

TESTS(fork, a_family_follows_its_models, an_ephemeral_family_too, without_links_files_are_copied,
      a_fork_of_nothing_is_empty, tails_fragments_and_dead_rows, saying_no_leaves_nothing, a_fork_takes_no_space,
      a_fork_amid_writers_is_one_cut)
