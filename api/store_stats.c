/* store_stats.c - what the store knows about itself, for metrics.
 *
 * The list of collections is taken under the catalog's read lock, a reference each, as the compactor takes it; what is
 * read of each afterwards are atomics. Numbers of one answer are of slightly different moments.
 */
#include "api/store_internal.h"
#include "core/epoch.h"

static uint64_t relaxed(const _Atomic uint64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

static struct store_work work_of(const struct compactor_counts *c)
{
    return (struct store_work){.n_done = relaxed(&c->n_done),
                               .n_failed = relaxed(&c->n_failed),
                               .n_running = relaxed(&c->n_running),
                               .busy_ns = relaxed(&c->busy_ns),
                               .bytes_written = relaxed(&c->bytes_written)};
}

static struct store_scrub scrub_of(const struct store *s)
{
    const struct scrub *c = &s->scrub;
    uint64_t passed_ns = relaxed(&c->passed_ns);
    return (struct store_scrub){
        .n_passes = relaxed(&c->n_passes),
        .n_files = relaxed(&c->n_files),
        .bytes_read = relaxed(&c->bytes_read),
        .n_bad_files = relaxed(&c->n_bad_files),
        .n_bad_indexes = relaxed(&s->watch.n_derived),
        .n_bad_rows = relaxed(&s->watch.n_rows),
        .n_samples = relaxed(&c->n_samples),
        .n_rebuilt = relaxed(&s->compactor.n_rebuilt),
        .n_collections_done = relaxed(&c->n_done),
        .n_collections = relaxed(&c->n_wanted),
        .age_ns = passed_ns != 0 ? clock_monotonic_ns() - passed_ns : UINT64_MAX,
    };
}

/* Without memory for the list nothing is said. */
static void count_damage(const struct live *live, struct store_sizes *out)
{
    struct arena a = {0};
    struct segment **list = NULL;
    uint32_t n = 0;
    if (collection_fragments(live->collection, &a, &list, &n) == ERR_OK) {
        for (uint32_t i = 0; i < n; i++) {
            if (fragment_has_lost_rows(list[i]))
                out->n_damaged_rows++;
            else if (fragment_wants_rebuild(list[i]))
                out->n_damaged_indexes++;
            segment_unref(list[i]);
        }
    }
    arena_free(&a);
}

static void measure(const struct live *live, struct store_sizes *out)
{
    struct collection_pressure p;
    collection_pressure(live->collection, &p); /* enters an epoch by itself */
    *out = (struct store_sizes){
        .live_rows = collection_count(live->collection),
        .tail_rows = p.tail_rows,
        .tail_bytes = p.tail_bytes,
        .n_fragments = p.n_fragments,
        .n_open = collection_is_closed(live->collection) ? 0 : 1,
        .file_bytes = relaxed(&live->file_bytes),
        .n_wanted = relaxed(&live->recall.n_wanted),
        .n_found = relaxed(&live->recall.n_found),
        .n_stopped = atomic_load_explicit(&live->is_stopped, memory_order_relaxed) ? 1 : 0,
        .n_leftovers = atomic_load_explicit(&live->n_leftovers, memory_order_relaxed),
    };
    count_damage(live, out);
    out->mapped_bytes = out->n_open != 0 ? out->file_bytes : 0;
}

static void add(struct store_sizes *sum, const struct store_sizes *s)
{
    sum->live_rows += s->live_rows;
    sum->tail_rows += s->tail_rows;
    sum->tail_bytes += s->tail_bytes;
    sum->n_fragments += s->n_fragments;
    sum->n_open += s->n_open;
    sum->file_bytes += s->file_bytes;
    sum->mapped_bytes += s->mapped_bytes;
    sum->n_leftovers += s->n_leftovers;
    sum->n_damaged_indexes += s->n_damaged_indexes;
    sum->n_damaged_rows += s->n_damaged_rows;
    sum->n_stopped += s->n_stopped;
    sum->n_wanted += s->n_wanted;
    sum->n_found += s->n_found;
}

enum err store_stats(struct store *s, store_visit visit, void *ctx, struct store_stats *out)
{
    struct arena a = {0};
    const struct catalog_collection **all = NULL;
    size_t n = 0;
    struct store_stats stats = {
        .flushes = work_of(&s->compactor.flushes), .merges = work_of(&s->compactor.merges), .scrub = scrub_of(s)};
    wal_stats(s->wal, &stats.log);
    stats.is_read_only = stats.log.is_failed;
    stats.memory_budget = s->options.memory_budget;
    enum err e = catalog_all_collections(s->catalog, &a, &all, &n);
    for (size_t i = 0; i < n && e == ERR_OK; i++) {
        struct store_sizes sizes;
        const struct live *live = live_of(all[i]);
        if (live != NULL && !collection_is_dropped(live->collection)) {
            measure(live, &sizes);
            add(&stats.sizes, &sizes);
            stats.n_collections++;
            if (visit != NULL) visit(ctx, all[i], &sizes);
        }
        catalog_collection_unref(all[i]);
    }
    arena_free(&a);
    if (e == ERR_OK) *out = stats;
    return e;
}
