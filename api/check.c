/* check.c - see check.h.
 *
 * HAPPY PATH  each collection is opened and kept open; its records are sampled for recall (exec_recall) over one snapshot, then
 *             each of its fragments is read whole for its checksums and sampled for agreement (fragment_agree), or, if asked for,
 *             compared entry by entry (fragment_check).
 * FAILURE     of one collection: part of what is told about it. Memory: ends the check.
 */
#include <stdio.h>
#include <stdlib.h>

#include "api/check.h"
#include "api/settings.h"
#include "api/store_internal.h"
#include "core/executor.h"
#include "index/fragment_check.h"

/* The first thing that is wrong is kept. */
static void tell(struct check_result *r, const char *what)
{
    if (r->detail.text[0] == '\0') (void)snprintf(r->detail.text, sizeof r->detail.text, "%s", what);
}

static enum err check_recall(struct store *s, const struct check_options *o, struct check_result *r)
{
    struct arena a = {0};
    struct snapshot snapshot;
    struct errmsg em = {{0}};
    struct exec_recall recall = {0};
    enum err e = store_snapshot(s, r->col, &a, &snapshot, &em);
    if (e == ERR_OK) {
        snapshot.effort = configuration_effort(r->col->configuration);
        if (snapshot.dim != 0) e = exec_recall(&snapshot, o->n_samples, o->k, o->seed, &recall, &em);
        snapshot_end(&snapshot);
    }
    arena_free(&a);
    r->n_queries = recall.n_queries;
    if (recall.n_wanted > 0) r->recall = (double)recall.n_found / (double)recall.n_wanted;
    if (e != ERR_OK && e != ERR_NOMEM) tell(r, em.text);
    return e == ERR_NOMEM ? e : ERR_OK;
}

struct full {
    struct check_result *r;
    bool is_damaged; /* this file */
};

static void on_problem(void *ctx, const struct fragment_problem *p)
{
    struct full *full = ctx;
    char text[256];
    full->is_damaged = true;
    (void)snprintf(text, sizeof text, "%s: %s", p->section, p->what);
    tell(full->r, text);
}

/* The file read apart from where it is mapped. */
static enum err check_entries(struct store *s, const struct segment *f, struct check_result *r)
{
    char path[STORE_PATH_MAX];
    struct full full = {.r = r};
    struct fragment_summary summary;
    struct fragment *other = NULL;
    struct errmsg em = {{0}};
    store_fragment_path(s, live_of(r->col)->number, fragment_id(f), path);
    enum err e = fragment_check(s->vfs, path, on_problem, &full, &summary, &other, &em);
    if (other != NULL) fragment_segment(other)->ops->free(fragment_segment(other));
    if (e == ERR_NOMEM) return e;
    if (e != ERR_OK) tell(r, em.text);
    if (e != ERR_OK || full.is_damaged) r->n_damaged++;
    return ERR_OK;
}

static enum err check_fragment(struct store *s, const struct check_options *o, const struct segment *f,
                               struct check_result *r)
{
    struct errmsg em = {{0}};
    struct fragment_agreement agreement = {0};
    enum err e = o->is_full ? check_entries(s, f, r) : fragment_verify(f, &em);
    if (e != ERR_OK && e != ERR_NOMEM) {
        r->n_damaged++;
        tell(r, em.text);
    }
    em.text[0] = '\0';
    if (e != ERR_NOMEM) e = fragment_agree(f, o->n_probes, o->seed, &agreement, &em);
    r->n_probes += agreement.n_probes;
    r->n_wrong += agreement.n_wrong;
    if (agreement.n_wrong > 0) tell(r, agreement.first);
    if (e != ERR_OK && e != ERR_NOMEM) tell(r, em.text);
    return e == ERR_NOMEM ? e : ERR_OK;
}

static enum err check_fragments(struct store *s, const struct check_options *o, struct check_result *r)
{
    struct arena a = {0};
    struct segment **list = NULL;
    uint32_t n = 0;
    enum err e = collection_fragments(live_of(r->col)->collection, &a, &list, &n);
    for (uint32_t i = 0; i < n; i++) {
        if (e == ERR_OK) e = check_fragment(s, o, list[i], r);
        segment_unref(list[i]);
    }
    r->n_fragments = n;
    arena_free(&a);
    return e;
}

static enum err check_collection(struct store *s, const struct check_options *o, struct check_result *r)
{
    struct live *live = live_of(r->col);
    struct errmsg em = {{0}};
    r->recall = 1;
    r->n_records = collection_count(live->collection);
    enum err e = live_hold(s, live, &em);
    if (e != ERR_OK) {
        if (e == ERR_NOMEM) return e;
        r->n_damaged++;
        tell(r, em.text);
    } else {
        e = check_recall(s, o, r);
        if (e == ERR_OK) e = check_fragments(s, o, r);
        live_release(live);
    }
    if (r->detail.text[0] != '\0' && r->n_wrong == 0 && r->n_damaged == 0) r->n_damaged++; /* it could not be read */
    return e == ERR_NOMEM ? e : ERR_OK;
}

/* By tenant, database and name. */
static int by_name(const void *a, const void *b)
{
    const struct catalog_collection *x = *(const struct catalog_collection *const *)a,
                                    *y = *(const struct catalog_collection *const *)b;
    int c = str_cmp(x->tenant, y->tenant);
    if (c == 0) c = str_cmp(x->database, y->database);
    return c != 0 ? c : str_cmp(x->name, y->name);
}

enum err store_check(struct store *s, const struct check_options *o, check_visit visit, void *ctx, struct errmsg *em)
{
    struct arena a = {0};
    const struct catalog_collection **all = NULL;
    size_t n = 0;
    enum err e = catalog_all_collections(s->catalog, &a, &all, &n);
    if (n > 1) qsort((void *)(uintptr_t)all, n, sizeof *all, by_name);
    for (size_t i = 0; i < n; i++) {
        struct check_result r = {.col = all[i]};
        bool is_asked_for = o->name.p == NULL || str_eq(o->name, all[i]->name);
        if (e == ERR_OK && is_asked_for) {
            e = check_collection(s, o, &r);
            if (e == ERR_OK) visit(ctx, &r);
        }
        catalog_collection_unref(all[i]);
    }
    arena_free(&a);
    return e == ERR_OK ? e : errmsg_set(em, e, "check the collections");
}
