/* metrics_store.c - rows of GET /metrics about log, compactor and data. See metrics_page.h.
 */
#include "api/metrics_page.h"
#include "core/mem.h"

/* --- the log ----------------------------------------------------------------------------------------------------- */

void metrics_put_log(struct exposition *e, const struct wal_stats *s)
{
    exposition_counter(e, "chroma_log_commits_total", "Writes made durable.", s->n_records);
    exposition_counter(e, "chroma_log_syncs_total", "Groups of writes, each made durable by one sync.", s->n_flushes);
    exposition_counter(e, "chroma_log_written_bytes_total", "Bytes of writes appended to the log.", s->bytes_written);
    exposition_begin(e, "chroma_log_sync_duration_seconds", EXPOSITION_HISTOGRAM, "How long the log's syncs took.");
    exposition_histogram(e, NULL, 0, &s->sync);
    exposition_seconds(e, "chroma_log_flush_seconds_total", "Time spent writing and syncing.", s->flush_ns_total);
    exposition_gauge(e, "chroma_log_segments", "Files that hold the log; without spare ones.", s->n_segments);
    exposition_gauge(e, "chroma_log_live_bytes", "Bytes in segments that index files do not cover.", s->live_bytes);
    exposition_gauge(e, "chroma_log_disk_bytes", "Bytes of all files of the log, spare ones too.", s->disk_bytes);
    exposition_gauge(e, "chroma_log_position", "The last durable position.", s->durable_lsn);
    exposition_gauge(e, "chroma_log_first_position", "The oldest position that is still in the files.", s->first_lsn);
    exposition_gauge(e, "chroma_log_read_only", "1: a write or sync failed, nothing is written until the next start.",
                     s->is_failed ? 1 : 0);
}

/* --- the compactor ----------------------------------------------------------------------------------------------- */

enum work_value { WORK_DONE, WORK_FAILED, WORK_BYTES, WORK_RUNNING };

static void put_work(struct exposition *e, const struct store_stats *s, enum work_value value)
{
    const struct {
        const char *name;
        const struct store_work *work;
    } kinds[] = {{"flush", &s->flushes}, {"merge", &s->merges}};
    for (unsigned i = 0; i < 2; i++) {
        const struct store_work *w = kinds[i].work;
        const struct exposition_label label = LABEL("work", str_from_c(kinds[i].name));
        const uint64_t values[] = {[WORK_DONE] = w->n_done,
                                   [WORK_FAILED] = w->n_failed,
                                   [WORK_BYTES] = w->bytes_written,
                                   [WORK_RUNNING] = w->n_running};
        exposition_uint(e, &label, 1, values[value]);
    }
}

void metrics_put_compactor(struct exposition *e, const struct store_stats *s)
{
    exposition_begin(e, "chroma_compactor_done_total", EXPOSITION_COUNTER,
                     "Flushes (rows from memory to an index file) and merges (of index files) published.");
    put_work(e, s, WORK_DONE);
    exposition_begin(e, "chroma_compactor_running", EXPOSITION_GAUGE, "Those under way.");
    put_work(e, s, WORK_RUNNING);
    exposition_begin(e, "chroma_compactor_failures_total", EXPOSITION_COUNTER, "Those that failed; they are repeated.");
    put_work(e, s, WORK_FAILED);
    exposition_begin(e, "chroma_compactor_written_bytes_total", EXPOSITION_COUNTER, "Bytes of index files published.");
    put_work(e, s, WORK_BYTES);
    exposition_seconds(e, "chroma_compactor_flush_seconds_total", "Time spent on flushes that were published.",
                       s->flushes.busy_ns);
    exposition_seconds(e, "chroma_compactor_merge_seconds_total", "Time spent on merges that were published.",
                       s->merges.busy_ns);
}

/* --- data -------------------------------------------------------------------------------------------------------- */

void metrics_put_data(struct exposition *e, const struct store_stats *s)
{
    exposition_gauge(e, "chroma_collections", "Collections.", s->n_collections);
    exposition_gauge(e, "chroma_records", "Records in all collections.", s->sizes.live_rows);
    exposition_gauge(e, "chroma_open_collections", "Collections whose index files are mapped.", s->sizes.n_open);
    exposition_gauge(e, "chroma_fragments", "Index files of open collections.", s->sizes.n_fragments);
    exposition_gauge(e, "chroma_file_bytes", "Bytes of all index files.", s->sizes.file_bytes);
    exposition_gauge(e, "chroma_mapped_bytes", "Bytes of those of open collections.", s->sizes.mapped_bytes);
    exposition_gauge(e, "chroma_memory_budget_bytes", "What tails and mapped files may use together. 0: no bound.",
                     s->memory_budget);
    exposition_gauge(e, "chroma_tail_rows", "Rows in memory that are not in an index file yet.", s->sizes.tail_rows);
    exposition_gauge(e, "chroma_tail_bytes", "Memory that they hold.", s->sizes.tail_bytes);
    exposition_gauge(e, "chroma_leftover_files", "Files that wait for the next version to be removed.",
                     s->sizes.n_leftovers);
}

/* --- damage ------------------------------------------------------------------------------------------------------ */

static void put_kinds(struct exposition *e, uint64_t index, uint64_t rows)
{
    const struct exposition_label kinds[] = {LABEL("kind", STR("index")), LABEL("kind", STR("rows"))};
    exposition_uint(e, &kinds[0], 1, index);
    exposition_uint(e, &kinds[1], 1, rows);
}

void metrics_put_damage(struct exposition *e, const struct store_stats *s)
{
    const struct store_scrub *c = &s->scrub;
    exposition_begin(
        e, "chroma_damaged_sections_total", EXPOSITION_COUNTER,
        "Parts of index files found damaged. index: done without, and made again. rows: requests that need "
        "them are refused.");
    put_kinds(e, c->n_bad_indexes, c->n_bad_rows);
    exposition_begin(e, "chroma_damaged_fragments", EXPOSITION_GAUGE,
                     "Index files of open collections that have damage at present.");
    put_kinds(e, s->sizes.n_damaged_indexes, s->sizes.n_damaged_rows);
    exposition_counter(e, "chroma_damaged_files_total", "Files that the scrub found unreadable as a whole.",
                       c->n_bad_files);
    exposition_counter(e, "chroma_rebuilt_fragments_total", "Index files that were made again after damage.",
                       c->n_rebuilt);
    exposition_gauge(e, "chroma_stopped_collections", "Collections that are not served, since their files are damaged.",
                     s->sizes.n_stopped);
    exposition_counter(e, "chroma_scrub_passes_total", "Times that the scrub has read every file.", c->n_passes);
    exposition_counter(e, "chroma_scrub_files_total", "Files that it has read.", c->n_files);
    exposition_counter(e, "chroma_scrub_read_bytes_total", "Bytes that it has read.", c->bytes_read);
    exposition_begin(e, "chroma_scrub_progress", EXPOSITION_GAUGE, "Share of the collections that its pass has read.");
    exposition_double(e, NULL, 0, c->n_collections != 0 ? (double)c->n_collections_done / (double)c->n_collections : 0);
    if (c->age_ns == UINT64_MAX) return;
    exposition_begin(e, "chroma_scrub_age_seconds", EXPOSITION_GAUGE, "Time since its last complete pass.");
    exposition_double(e, NULL, 0, (double)c->age_ns / 1e9);
}

void metrics_put_recall(struct exposition *e, const struct store_stats *s)
{
    exposition_counter(e, "chroma_recall_samples_total", "Records searched for to measure the recall.",
                       s->scrub.n_samples);
    if (s->sizes.n_wanted == 0) return;
    exposition_begin(e, "chroma_recall", EXPOSITION_GAUGE,
                     "Share of the true ten nearest that queries find, by the latest samples of all collections.");
    exposition_double(e, NULL, 0, (double)s->sizes.n_found / (double)s->sizes.n_wanted);
}

/* A family's samples stand together, so each family has its own text until all collections were seen. */
enum { FAMILY_ROWS, FAMILY_TAIL_ROWS, FAMILY_TAIL_BYTES, FAMILY_FRAGMENTS, FAMILY_RECALL, FAMILIES };

struct families {
    struct exposition e[FAMILIES];
    struct buf text[FAMILIES];
};

static void put_collection(void *ctx, const struct catalog_collection *col, const struct store_sizes *sizes)
{
    struct families *f = ctx;
    char id[UUID_TEXT + 1];
    uuid_format(&col->id, id);
    const struct exposition_label labels[] = {LABEL("tenant", col->tenant), LABEL("database", col->database),
                                              LABEL("collection", col->name), LABEL("id", str_from_c(id))};
    const uint64_t values[FAMILY_RECALL] = {sizes->live_rows, sizes->tail_rows, sizes->tail_bytes, sizes->n_fragments};
    for (unsigned i = 0; i < FAMILY_RECALL; i++) exposition_uint(&f->e[i], labels, 4, values[i]);
    if (sizes->n_wanted != 0)
        exposition_double(&f->e[FAMILY_RECALL], labels, 4, (double)sizes->n_found / (double)sizes->n_wanted);
}

enum err metrics_put_collections(struct exposition *e, struct store *store)
{
    static const char *const names[FAMILIES][2] = {
        {"chroma_collection_records", "Records of a collection."},
        {"chroma_collection_tail_rows", "Its rows in memory that are not in an index file yet."},
        {"chroma_collection_tail_bytes", "Memory that they hold."},
        {"chroma_collection_fragments", "Its index files."},
        {"chroma_collection_recall", "Its recall, where it was sampled."},
    };
    struct families f = {0};
    struct store_stats stats;
    for (unsigned i = 0; i < FAMILIES; i++) {
        f.e[i].out = &f.text[i];
        exposition_begin(&f.e[i], names[i][0], EXPOSITION_GAUGE, names[i][1]);
    }
    enum err err = store_stats(store, put_collection, &f, &stats);
    for (unsigned i = 0; i < FAMILIES; i++) {
        if (err == ERR_OK) err = f.text[i].err;
        if (err == ERR_OK) buf_str(e->out, buf_view(&f.text[i]));
        buf_free(&f.text[i]);
    }
    return err;
}
