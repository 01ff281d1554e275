/* compact.c - everything put together now, whatever the compactor's policy: store_compact_now in backup.h.
 *
 * STEPS of each collection: flush (twice, if a flush had failed before, as a fork does); then, with merge_mu, so that the
 *          merger thread keeps away, its fragments are merged into one, unless it is one without dead rows already. In the end
 *          the log is trimmed, and what was deleted leaves the catalog.
 * FAILURE  of a collection: the others go on, and the first error is returned. Nothing is lost by it, as with any flush or
 *          merge (publish.c).
 */
#include "api/backup.h"
#include "api/store_internal.h"
#include "core/logger.h"

/* What one look at a collection's fragments says. */
struct look {
    struct segment **list; /* a reference on each, in the arena */
    uint32_t n;
    bool wants_merge; /* rows that a merge would drop, or a damaged index that it would make again */
};

static enum err look_at(struct store *s, struct live *live, struct arena *a, struct look *look)
{
    enum err e = collection_fragments(live->collection, a, &look->list, &look->n);
    if (e != ERR_OK) return e;
    (void)pthread_mutex_lock(&s->publish_mu);
    uint64_t position = live->state.log_position;
    (void)pthread_mutex_unlock(&s->publish_mu);
    for (uint32_t i = 0; i < look->n; i++) {
        const struct segment *f = look->list[i];
        look->wants_merge |= fragment_wants_rebuild(f) || deaths_total(&f->deaths, position) > 0;
    }
    return ERR_OK;
}

static enum err flush(struct store *s, const struct catalog_collection *col, struct errmsg *em)
{
    struct live *live = live_of(col);
    (void)pthread_mutex_lock(&live->flush_mu);
    bool is_repeated = live->sealed.tail != NULL;
    enum err e = flush_collection(s, col, em);
    if (e == ERR_OK && is_repeated) e = flush_collection(s, col, em);
    (void)pthread_mutex_unlock(&live->flush_mu);
    return e;
}

static enum err merge(struct store *s, const struct catalog_collection *col, struct compact_summary *sum,
                      struct errmsg *em)
{
    struct live *live = live_of(col);
    struct arena a = {0};
    struct look before = {0}, after = {0};
    (void)pthread_mutex_lock(&live->merge_mu);
    enum err e = look_at(s, live, &a, &before);
    if (e != ERR_OK) (void)errmsg_set(em, e, "list fragments");
    if (e == ERR_OK && (before.n > 1 || before.wants_merge)) e = merge_fragments(s, col, before.list, before.n, em);
    (void)pthread_mutex_unlock(&live->merge_mu);
    for (uint32_t i = 0; i < before.n; i++) segment_unref(before.list[i]);
    if (e == ERR_OK && collection_fragments(live->collection, &a, &after.list, &after.n) == ERR_OK)
        for (uint32_t i = 0; i < after.n; i++) segment_unref(after.list[i]);
    sum->fragments_before += before.n;
    sum->fragments_after += e == ERR_OK ? after.n : before.n;
    arena_free(&a);
    return e;
}

static enum err compact_one(struct store *s, const struct catalog_collection *col, struct compact_summary *sum,
                            struct errmsg *em)
{
    struct live *live = live_of(col);
    enum err e = live_hold(s, live, em);
    if (e != ERR_OK) return e;
    e = flush(s, col, em);
    sum->n_collections++;
    sum->bytes_before += store_file_bytes(col);
    if (e == ERR_OK) e = merge(s, col, sum, em);
    sum->bytes_after += store_file_bytes(col);
    live_release(live);
    if (!collection_is_dropped(live->collection)) return e;
    compactor_discard(s, col->number); /* it may have written where everything was removed already */
    return ERR_OK;
}

static bool is_wanted(const struct catalog_collection *col, const char *which)
{
    struct uuid id;
    if (which == NULL || str_eq(col->name, str_from_c(which))) return true;
    return uuid_parse(str_from_c(which), &id) && uuid_eq(&id, &col->id);
}

enum err store_compact_now(struct store *s, const char *which, struct compact_summary *out, struct errmsg *em)
{
    struct arena a = {0};
    struct compact_summary sum = {0};
    const struct catalog_collection **all = NULL;
    size_t n = 0, n_wanted = 0;
    enum err first = catalog_all_collections(s->catalog, &a, &all, &n);
    if (first != ERR_OK) return errmsg_set(em, first, "list collections");
    for (size_t i = 0; i < n; i++) {
        struct errmsg why = {{0}};
        enum err e = ERR_OK;
        if (is_wanted(all[i], which)) {
            n_wanted++;
            e = compactor_is_stopping(s) ? errmsg_set(&why, ERR_BUSY, "stopping") : compact_one(s, all[i], &sum, &why);
            if (e != ERR_OK) errmsg_wrap(&why, "collection '" STR_FMT "'", STR_ARG(all[i]->name));
        }
        if (e != ERR_OK && first == ERR_OK) {
            first = e;
            if (em != NULL) *em = why;
        } else if (e != ERR_OK) {
            log_error("compact: %s", why.text);
        }
        catalog_collection_unref(all[i]);
    }
    arena_free(&a);
    if (n_wanted == 0 && which != NULL)
        first = errmsg_set(em, ERR_NOT_FOUND, "no collection has the name or id '%s'", which);
    compactor_trim_log(s);
    enum err erased = catalog_erase(s->catalog, first == ERR_OK ? em : NULL); /* of deleted collections */
    if (first == ERR_OK) first = erased;
    if (first == ERR_OK) *out = sum;
    return first;
}
