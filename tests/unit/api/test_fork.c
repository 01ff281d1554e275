/* test_fork.c - forks against models: a family of collections that fork, write, flush, merge, are deleted and start
 * again, each compared with a model of its own; what happens to either side while files are linked; what a fork costs
 * on disk. Amid writers: test_fork_writers.c.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "api/store_internal.h"
#include "tests/lib/no_sync.h"
#include "tests/unit/api/store_model.h"

#define T STR("default_tenant")
#define D STR("default_database")

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

/* --- what happens while files are linked ------------------------------------------------------------------------- */

/* Runs once, before the first link. */
static struct {
    void (*run)(struct family *y);
    struct family *y;
} meanwhile;

static enum err link_after(void *ctx, const char *from, const char *to, struct errmsg *em)
{
    void (*run)(struct family * y) = meanwhile.run;
    meanwhile.run = NULL;
    if (run != NULL) run(meanwhile.y);
    return vfs_posix()->link(ctx, from, to, em);
}

/* A family whose first member has two fragments and a tail. */
static struct family *family_with(void (*run)(struct family *y))
{
    static struct vfs table;
    if (table.open == NULL) table = *vfs_posix();
    table.link = link_after;
    struct family *y = young_family(tmp_dir());
    y->o.vfs = &table;
    reopen_family(y);
    for (int i = 0; i < 24; i++) {
        step(&y->members[0].f);
        if (i % 10 == 9) ck_ok(flush_collection(y->s, y->members[0].f.col, NULL));
    }
    meanwhile.run = run;
    meanwhile.y = y;
    return y;
}

static int count_files(const struct family *y, const struct member *m)
{
    int n = 0;
    char dir[STORE_PATH_MAX];
    store_collection_dir(y->s, m->f.col->number, dir);
    ck_ok(vfs_posix()->list(NULL, dir, count_entry, &n, NULL));
    return n;
}

static void merge_source(struct family *y)
{
    struct arena a = {0};
    struct segment **list;
    uint32_t n = 0;
    const struct catalog_collection *source = y->members[0].f.col;
    ck_ok(collection_fragments(store_collection(source), &a, &list, &n));
    ck_assert_uint_eq(n, 3);
    ck_ok(merge_fragments(y->s, source, list, n, NULL));
    for (uint32_t i = 0; i < n; i++) segment_unref(list[i]);
    arena_free(&a);
    ck_assert_int_eq(count_files(y, &y->members[0]), 6); /* the three and their manifest are needed still */
}

START_TEST(a_merge_leaves_what_is_being_linked)
{
    struct family *y = family_with(merge_source);
    fork_member(y, &y->members[0], &y->members[1]);
    ck_assert(meanwhile.run == NULL);
    compare_family(y);
    ck_assert_int_eq(count_files(y, &y->members[0]), 2); /* and not any more */
    ck_assert_int_eq(count_files(y, &y->members[1]), 4);
    reopen_family(y);
    close_family(y);
}
END_TEST

static void write_and_flush(struct family *y)
{
    struct member *m = &y->members[0];
    for (int i = 0; i < 20; i++) step(&m->f);
    ck_ok(flush_collection(y->s, m->f.col, NULL));
    step(&m->f);
}

START_TEST(what_is_written_meanwhile_is_not_in_it)
{
    struct family *y = family_with(write_and_flush);
    fork_member(y, &y->members[0], &y->members[1]); /* its model is of before */
    ck_assert(meanwhile.run == NULL);
    compare_family(y);
    reopen_family(y);
    fork_member(y, &y->members[0], &y->members[2]);
    compare_family(y);
    close_family(y);
}
END_TEST

static void drop_source(struct family *y)
{
    const struct member *m = &y->members[0];
    uint64_t number = m->f.col->number;
    ck_ok(store_delete_collection(y->s, T, D, str_from_c(m->name), NULL));
    store_remove_collection(y->s, number); /* as the compactor would */
}

START_TEST(a_source_may_go_meanwhile)
{
    struct family *y = family_with(drop_source);
    const struct catalog_collection *col = NULL;
    ck_assert_int_eq(store_fork_collection(y->s, y->members[0].f.col, STR("copy"), &col, NULL), ERR_NOT_FOUND);
    ck_assert_ptr_null(col);
    ck_assert_uint_eq(catalog_count_collections(store_catalog(y->s), T, D), 0);
    ck_assert_int_eq(count_dirs(y), 0);
    catalog_collection_unref(y->members[0].f.col);
    y->members[0] = (struct member){.name = ""};
    reopen_family(y);
    close_family(y);
}
END_TEST

static void take_name(struct family *y)
{
    found(y, &y->members[5]);
}

START_TEST(a_name_may_be_taken_meanwhile)
{
    struct family *y = family_with(take_name);
    const struct catalog_collection *col = NULL;
    ck_assert_int_eq(store_fork_collection(y->s, y->members[0].f.col, STR("docs-1"), &col, NULL), ERR_EXISTS);
    ck_assert_str_eq(y->members[5].name, "docs-1");
    ck_assert_int_eq(count_dirs(y), 1); /* the source's */
    compare_family(y);
    step(&y->members[5].f);
    reopen_family(y);
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

TESTS(fork, a_family_follows_its_models, an_ephemeral_family_too, without_links_files_are_copied,
      a_fork_of_nothing_is_empty, a_merge_leaves_what_is_being_linked, what_is_written_meanwhile_is_not_in_it,
      a_source_may_go_meanwhile, a_name_may_be_taken_meanwhile, tails_fragments_and_dead_rows, saying_no_leaves_nothing,
      a_fork_takes_no_space)
