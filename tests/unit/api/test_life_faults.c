/* test_life_faults.c - a store's life with its operations made to fail one at a time, on whatever thread they are: start, writes,
 * changes of the catalog, the background's work, the end.
 *
 * How they are made to: store_faults.h, and here reading and renaming as well. Every loop goes on until there is no
 * operation left that could fail. After each fault: the error that was made, or one that follows from it, is what the caller gets;
 * what the store shows is what the model says; and after a restart everything acknowledged is there, and of what was refused all
 * or nothing. A log whose write or sync failed takes no more writes until then, a shortage clears by itself.
 */
#include "tests/unit/api/store_faults.h"

#define T STR("default_tenant")
#define D STR("default_database")

enum { FAULT_READ = N_FAULTS, FAULT_RENAME, FAULT_ALLOCATE };

static enum err read_or_fail(struct vfs_file *f, void *p, size_t n, uint64_t offset, struct errmsg *em)
{
    return fails((enum fault)FAULT_READ) ? refuse(em) : vfs_posix()->pread(f, p, n, offset, em);
}

static enum err size_or_fail(struct vfs_file *f, uint64_t *size, struct errmsg *em)
{
    return fails((enum fault)FAULT_READ) ? refuse(em) : vfs_posix()->size(f, size, em);
}

static enum err rename_or_fail(void *ctx, const char *from, const char *to, struct errmsg *em)
{
    (void)ctx;
    return fails((enum fault)FAULT_RENAME) ? refuse(em) : vfs_posix()->rename(NULL, from, to, em);
}

static enum err allocate_or_fail(struct vfs_file *f, uint64_t size, struct errmsg *em)
{
    if (fails(FAULT_WRITE) || fails((enum fault)FAULT_ALLOCATE)) return refuse(em);
    return vfs_posix()->allocate(f, size, em);
}

static enum err truncate_or_fail(struct vfs_file *f, uint64_t size, struct errmsg *em)
{
    return fails(FAULT_WRITE) ? refuse(em) : vfs_posix()->truncate(f, size, em);
}

static enum err list_or_fail(void *ctx, const char *path, vfs_visit visit, void *visit_ctx, struct errmsg *em)
{
    (void)ctx;
    return fails(FAULT_OPEN) ? refuse(em) : vfs_posix()->list(NULL, path, visit, visit_ctx, em);
}

static const struct vfs *worse_vfs(void)
{
    static struct vfs table;
    if (table.open != NULL) return &table;
    table = *bad_vfs();
    table.pread = read_or_fail;
    table.size = size_or_fail;
    table.rename = rename_or_fail;
    table.allocate = allocate_or_fail;
    table.truncate = truncate_or_fail;
    table.list = list_or_fail;
    return &table;
}

/* Each way to fail. What is short is short for a while. */
struct way {
    const char *name;
    int kind;
    enum err e;
    bool stays;
};

static const struct way ways[] = {
    {"write", FAULT_WRITE, ERR_IO, false},      {"sync", FAULT_SYNC, ERR_IO, false},
    {"commit", FAULT_COMMIT, ERR_IO, false},    {"name", FAULT_NAME, ERR_IO, false},
    {"rename", FAULT_RENAME, ERR_IO, false},    {"open", FAULT_OPEN, ERR_IO, false},
    {"read", FAULT_READ, ERR_IO, false},        {"memory", FAULT_MEMORY, ERR_NOMEM, false},
    {"space", FAULT_WRITE, ERR_NO_SPACE, true}, {"room", FAULT_ALLOCATE, ERR_NO_SPACE, true},
    {"files", FAULT_OPEN, ERR_FILES, true},
};
enum { N_WAYS = sizeof ways / sizeof ways[0] };

static struct {
    const struct way *way;
    int n;
} now; /* for messages */

#define says(condition, e) ck_assert_msg(condition, "%s %d: %s", now.way->name, now.n, err_text(e))

/* SHARE=1000: every operation in turn, and every kind of write in every way. */
static bool is_thorough(void)
{
    return suite_share(100) >= 1000;
}

static int next_after(int n, const struct way *w)
{
    return suite_next_fault(n, w->kind == FAULT_MEMORY ? 3 : 6);
}

static void arm_way(const struct way *w, int n, bool is_everywhere)
{
    now.way = w;
    now.n = n;
    fault.is_everywhere = is_everywhere;
    arm((enum fault)w->kind, n, w->e, w->stays);
}

/* A shortage inside a sync or behind a rename leaves doubt, and is told as what it is then. What fails between two writes is
 * told to the second. */
static bool is_expected(const struct way *w, enum err e)
{
    /* SQLite's check of the catalog at start calls a page that cannot be read a damaged one. */
    if (w->kind == FAULT_READ && e == ERR_CORRUPT) return true;
    return e == w->e || (e == ERR_READ_ONLY && (w->e == ERR_IO || w->kind == FAULT_WRITE)) ||
           (err_is_shortage(w->e) && e == ERR_IO);
}

static char work[512];

/* --- the model ----------------------------------------------------------------------------------------------------- */

static struct record records[N_IDS], before[N_IDS], after[N_IDS]; /* of the write that was refused */

static void begin_at(struct fixture *f, const struct fixture *model, const char *start)
{
    *f = *model;
    memcpy(records, model->model, sizeof records);
    f->model = records;
    f->o.path = work;
    f->o.vfs = worse_vfs();
    f->s = NULL;
    f->col = NULL;
    if (start != NULL) copy_tree(start, work);
}

/* Do the rows that the store shows have the vectors of these records, and no others? */
static bool shows(struct fixture *f, const struct record *model)
{
    struct arena a = {0};
    struct snapshot s;
    struct row_ref *rows;
    uint32_t n, n_live = 0;
    const struct selection all = {0};
    ck_ok(store_snapshot(f->s, f->col, &a, &s, NULL));
    ck_ok(exec_get(&s, &all, UINT32_MAX, 0, &a, &rows, &n, NULL));
    for (int i = 0; i < N_IDS; i++) n_live += model[i].is_live;
    bool is_same = n == n_live;
    for (uint32_t i = 0; i < n && is_same; i++) {
        struct row row = {0};
        ck_ok(exec_row(&s, rows[i], ROW_ALL, &a, &row, NULL));
        const struct record *r = &model[id_number(row.id)];
        struct meta_entry e;
        char text[32];
        bool has_value = meta_find(row.meta, STR("k"), &e);
        is_same = r->is_live && memcmp(row.vector, r->v, sizeof r->v) == 0 && has_value == (r->value >= 0) &&
                  (!has_value || (int)le64_get(e.payload.p) == r->value) &&
                  (row.document.p != NULL) == (r->document >= 0);
        if (is_same && row.document.p != NULL)
            is_same = str_eq(row.document, str_of(text, (size_t)sprintf(text, "text number %d.", r->document)));
    }
    snapshot_end(&s);
    arena_free(&a);
    return is_same;
}

/* After a restart: all of the write that was refused is there, or nothing of it; the model follows. */
static void settle(struct fixture *f)
{
    memcpy(records, shows(f, before) ? before : after, sizeof records);
    compare(f);
}

static void check_goes_on(struct fixture *f)
{
    compare(f);
    step(f);
    compare(f);
    ck_ok(flush_collection(f->s, f->col, NULL));
    compare(f);
}

static void restart(struct fixture *f)
{
    close_store(f);
    open_store(f);
    ck_assert_ptr_nonnull(f->col);
}

static void with_start(void (*test)(const char *start, const struct fixture *model))
{
    struct fixture f;
    char start[512];
    base = tmp_dir();
    (void)snprintf(start, sizeof start, "%s/start", base);
    (void)snprintf(work, sizeof work, "%s/work", base);
    mem_set_hook(on_alloc, NULL);
    make_start(&f, start);
    logger_set_level(LOG_NONE);
    test(start, &f);
}

/* --- start ----------------------------------------------------------------------------------------------------------- */

static enum err open_failing(struct fixture *f, const struct way *w, int n, bool *has_fired)
{
    struct errmsg em = {{0}};
    arm_way(w, n, true);
    enum err e = store_open(&f->s, &f->o, &em);
    *has_fired = disarm();
    ck_assert_msg(e == ERR_OK || (*has_fired && is_expected(w, e)), "%s %d: %s: %s", w->name, n, err_text(e), em.text);
    says(e == ERR_OK || (f->s == NULL && em.text[0] != '\0'), e);
    return e;
}

/* With two fragments and a tail in the log. What cannot be read for want of something keeps the store from opening; what
 * fails otherwise stops the collection, and nothing is lost by that. */
static void starts(const char *start, const struct fixture *model)
{
    for (int i = 0; i < N_WAYS; i++) {
        bool has_fired = true;
        for (int n = 0; has_fired; n = next_after(n, &ways[i])) {
            struct fixture f;
            begin_at(&f, model, start);
            if (open_failing(&f, &ways[i], n, &has_fired) == ERR_OK) {
                f.col = catalog_collection_by_name(store_catalog(f.s), T, D, STR("docs"));
                ck_assert_ptr_nonnull(f.col);
                if (atomic_load(&live_of(f.col)->is_stopped)) {
                    struct arena a = {0};
                    struct snapshot s;
                    says(ways[i].e == ERR_IO, ERR_OK);
                    ck_assert_int_eq(store_snapshot(f.s, f.col, &a, &s, NULL), ERR_CORRUPT);
                    arena_free(&a);
                } else {
                    compare(&f);
                }
                close_store(&f);
            }
            open_store(&f);
            check_goes_on(&f);
            restart(&f);
            compare(&f);
            close_store(&f);
            remove_tree(work);
        }
    }
}

START_TEST(the_start_fails)
{
    with_start(starts);
}
END_TEST

/* In a directory that is not there. */
static void first_starts(const char *start, const struct fixture *model)
{
    (void)start;
    for (int i = 0; i < N_WAYS; i++) {
        bool has_fired = true;
        for (int n = 0; has_fired; n = next_after(n, &ways[i])) {
            struct fixture f;
            begin_at(&f, model, NULL);
            memset(records, 0, sizeof records);
            if (open_failing(&f, &ways[i], n, &has_fired) == ERR_OK) close_store(&f);
            open_store(&f);
            ck_assert_ptr_null(f.col);
            const struct catalog_new_collection in = {.tenant = T,
                                                      .database = D,
                                                      .name = STR("docs"),
                                                      .configuration = STR("{}"),
                                                      .schema = STR("{}"),
                                                      .space = SPACE_L2};
            ck_ok(store_create_collection(f.s, &in, &f.col, NULL));
            check_goes_on(&f);
            restart(&f);
            compare(&f);
            close_store(&f);
            remove_tree(work);
        }
    }
}

START_TEST(the_first_start_fails)
{
    with_start(first_starts);
}
END_TEST

/* --- writes ---------------------------------------------------------------------------------------------------------- */

/* Several of a kind, over more than one segment of the log, until one is refused. */
static enum err write_some(struct fixture *f, enum batch_kind kind, int n)
{
    for (int i = 0; i < n; i++) {
        enum fault armed = atomic_exchange(&fault.kind, FAULT_NONE);
        memcpy(before, records, sizeof before);
        struct bytes block = build_step(f, kind);
        atomic_store(&fault.kind, armed);
        enum err e = write_block(f, block);
        if (e != ERR_OK) return e;
    }
    return ERR_OK;
}

static void fail_writes(const char *start, const struct fixture *model, enum batch_kind kind, const struct way *w)
{
    bool has_fired = true;
    for (int n = 0; has_fired; n = next_after(n, w)) {
        struct fixture f;
        struct store_health h;
        begin_at(&f, model, start);
        open_store(&f);
        arm_way(w, n, true);
        enum err e = write_some(&f, kind, 6);
        has_fired = disarm();
        says(e == ERR_OK || (has_fired && is_expected(w, e)), e);
        store_health(f.s, &h);
        if (e == ERR_OK) memcpy(before, records, sizeof before);
        memcpy(after, records, sizeof after);
        says(shows(&f, before), e); /* not what was refused */
        if (h.is_read_only) {
            says(w->e == ERR_IO || w->kind == FAULT_WRITE, e); /* into a segment that has its space already */
            ck_assert_int_eq(write_block(&f, build_step(&f, kind)), ERR_READ_ONLY);
            says(shows(&f, before), e);
        } else if (collection_is_broken(store_collection(f.col))) {
            says(w->kind == FAULT_MEMORY, e); /* durable, and not applied */
            ck_assert_int_eq(write_block(&f, build_step(&f, kind)), ERR_READ_ONLY);
        } else {
            memcpy(records, before, sizeof records);
            check_goes_on(&f);
            memcpy(before, records, sizeof before);
            memcpy(after, records, sizeof after);
        }
        close_store(&f);
        open_store(&f);
        ck_assert_ptr_nonnull(f.col);
        settle(&f);
        check_goes_on(&f);
        close_store(&f);
        remove_tree(work);
    }
}

static void writes(const char *start, const struct fixture *model)
{
    static const enum batch_kind kinds[] = {BATCH_ADD, BATCH_UPSERT, BATCH_UPDATE, BATCH_DELETE};
    for (int i = 0; i < N_WAYS; i++)
        for (int k = 0; k < 4; k++)
            if (k == i % 4 || is_thorough()) fail_writes(start, model, kinds[k], &ways[i]);
}

START_TEST(writes_fail)
{
    with_start(writes);
}
END_TEST

/* --- reads ----------------------------------------------------------------------------------------------------------- */

/* Of a collection that is closed: it is opened, its rows are found, told and ranked. */
static enum err read_once(struct fixture *f)
{
    struct arena a = {0};
    struct snapshot s;
    struct row_ref *rows;
    struct hit **hits;
    uint32_t n = 0, *n_hits;
    struct value seven = {.type = VALUE_INT, .i = 7};
    struct filter is_seven = {.kind = FILTER_EQ, .key = STR("k"), .values = &seven, .n_values = 1};
    const struct selection all = {0}, filtered = {.filter = &is_seven};
    float q[DIM] = {1};
    enum err e = store_snapshot(f->s, f->col, &a, &s, NULL);
    if (e == ERR_OK) {
        e = exec_get(&s, &filtered, UINT32_MAX, 0, &a, &rows, &n, NULL);
        if (e == ERR_OK) e = exec_get(&s, &all, 10, 3, &a, &rows, &n, NULL);
        for (uint32_t i = 0; i < n && e == ERR_OK; i++) {
            struct row row = {0};
            e = exec_row(&s, rows[i], ROW_ALL, &a, &row, NULL);
        }
        if (e == ERR_OK) e = exec_query(&s, &all, q, 1, 5, &a, &hits, &n_hits, NULL);
        if (e == ERR_OK) e = exec_query(&s, &filtered, q, 1, 5, &a, &hits, &n_hits, NULL);
        snapshot_end(&s);
    }
    arena_free(&a);
    return e;
}

static void reads(const char *start, const struct fixture *model)
{
    struct fixture f;
    begin_at(&f, model, start);
    open_store(&f);
    ck_ok(flush_collection(f.s, f.col, NULL));
    for (int i = 0; i < N_WAYS; i++) {
        bool has_fired = true;
        for (int n = 0; has_fired; n++) {
            ck_assert(live_close(live_of(f.col)));
            arm_way(&ways[i], n, true);
            enum err e = read_once(&f);
            has_fired = disarm();
            says(e == ERR_OK || (has_fired && is_expected(&ways[i], e)), e);
            compare(&f);
        }
    }
    close_store(&f);
}

START_TEST(reads_fail)
{
    with_start(reads);
}
END_TEST

/* --- the catalog ----------------------------------------------------------------------------------------------------- */

static enum err create_named(struct fixture *f, struct str database, struct str name)
{
    const struct catalog_collection *col = NULL;
    const struct catalog_new_collection in = {.tenant = T,
                                              .database = database,
                                              .name = name,
                                              .configuration = STR("{}"),
                                              .schema = STR("{}"),
                                              .space = SPACE_L2};
    enum err e = store_create_collection(f->s, &in, &col, NULL);
    if (e == ERR_OK) catalog_collection_unref(col);
    return e;
}

static bool has_named(const struct fixture *f, struct str database, struct str name)
{
    const struct catalog_collection *col = catalog_collection_by_name(store_catalog(f->s), T, database, name);
    if (col != NULL) catalog_collection_unref(col);
    return col != NULL;
}

static enum err change_create(struct fixture *f)
{
    return create_named(f, D, STR("new"));
}

static bool is_created(struct fixture *f)
{
    return has_named(f, D, STR("new"));
}

static enum err change_delete(struct fixture *f)
{
    return store_delete_collection(f->s, T, D, STR("other"), NULL);
}

static bool is_deleted(struct fixture *f)
{
    return !has_named(f, D, STR("other"));
}

static enum err change_rename(struct fixture *f)
{
    const struct catalog_update u = {.name = STR("renamed")};
    const struct catalog_collection *col = catalog_collection_by_name(store_catalog(f->s), T, D, STR("other"));
    uint64_t number = col->number;
    catalog_collection_unref(col);
    return catalog_update_collection(store_catalog(f->s), number, &u, NULL);
}

static bool is_renamed(struct fixture *f)
{
    return has_named(f, D, STR("renamed"));
}

static enum err change_delete_database(struct fixture *f)
{
    return store_delete_database(f->s, T, STR("database"), NULL);
}

static bool is_database_deleted(struct fixture *f)
{
    return !has_named(f, STR("database"), STR("within"));
}

static enum err change_create_tenant(struct fixture *f)
{
    return catalog_create_tenant(store_catalog(f->s), STR("tenant"), NULL);
}

static bool is_tenant_created(struct fixture *f)
{
    return catalog_has_tenant(store_catalog(f->s), STR("tenant"));
}

static const struct change {
    enum err (*make)(struct fixture *f);
    bool (*is_made)(struct fixture *f);
} changes[] = {{change_create, is_created},
               {change_delete, is_deleted},
               {change_rename, is_renamed},
               {change_delete_database, is_database_deleted},
               {change_create_tenant, is_tenant_created}};

static void prepare_changes(const struct fixture *model, const char *start)
{
    struct fixture f = *model;
    f.o.path = start;
    open_store(&f);
    ck_ok(create_named(&f, D, STR("other")));
    ck_ok(catalog_create_database(store_catalog(f.s), T, STR("database"), NULL));
    ck_ok(create_named(&f, STR("database"), STR("within")));
    close_store(&f);
}

static void fail_change(const char *start, const struct fixture *model, const struct change *c, const struct way *w)
{
    bool has_fired = true;
    for (int n = 0; has_fired; n = next_after(n, w)) {
        struct fixture f;
        begin_at(&f, model, start);
        open_store(&f);
        ck_assert(!c->is_made(&f));
        arm_way(w, n, true);
        enum err e = c->make(&f);
        has_fired = disarm();
        says(e == ERR_OK || (has_fired && is_expected(w, e)), e);
        says(c->is_made(&f) == (e == ERR_OK), e);
        compare(&f);
        if (e != ERR_OK && n % 2 == 0) {
            restart(&f); /* made or not, the one who asked does not know */
            e = c->is_made(&f) ? ERR_OK : e;
        }
        if (e != ERR_OK) ck_ok(c->make(&f));
        ck_assert(c->is_made(&f));
        step(&f);
        restart(&f);
        ck_assert(c->is_made(&f));
        compare(&f);
        close_store(&f);
        remove_tree(work);
    }
}

static void catalog_changes(const char *start, const struct fixture *model)
{
    prepare_changes(model, start);
    for (size_t k = 0; k < sizeof changes / sizeof changes[0]; k++)
        for (int i = 0; i < N_WAYS; i++) fail_change(start, model, &changes[k], &ways[i]);
}

START_TEST(changes_of_the_catalog_fail)
{
    with_start(catalog_changes);
}
END_TEST

/* --- the background, and the end --------------------------------------------------------------------------------- */

/* Writes, the background's threads flush and merge and trim, all is put together, another collection comes and goes, the store is
 * closed; and one operation on whatever thread fails meanwhile. */
static void lives(const char *start, const struct fixture *model)
{
    for (int i = 0; i < N_WAYS; i++) {
        bool has_fired = true;
        for (int n = 0; has_fired; n = next_after(n, &ways[i])) {
            struct fixture f;
            begin_at(&f, model, start);
            f.o.no_compactor = false;
            f.o.flush_rows = 40;
            open_store(&f);
            arm_way(&ways[i], n, true);
            enum err e = write_some(&f, BATCH_UPSERT, 4);
            (void)create_named(&f, D, STR("new"));
            if (e == ERR_OK && !fault.has_fired) (void)store_compact(f.s, NULL);
            (void)store_delete_collection(f.s, T, D, STR("new"), NULL);
            if (e == ERR_OK) e = write_some(&f, BATCH_DELETE, 2);
            if (e == ERR_OK) memcpy(before, records, sizeof before);
            memcpy(after, records, sizeof after);
            says(shows(&f, before), e);
            close_store(&f);
            has_fired = disarm();
            says(e == ERR_OK || (has_fired && is_expected(&ways[i], e)), e);
            f.o.no_compactor = true;
            f.o.flush_rows = 0;
            open_store(&f);
            ck_assert_ptr_nonnull(f.col);
            settle(&f);
            check_goes_on(&f);
            close_store(&f);
            remove_tree(work);
        }
    }
}

START_TEST(the_background_fails)
{
    with_start(lives);
}
END_TEST

TESTS(life_faults, the_start_fails, the_first_start_fails, writes_fail, reads_fail, changes_of_the_catalog_fail,
      the_background_fails)
