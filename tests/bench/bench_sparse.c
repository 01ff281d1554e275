/* bench_sparse.c - measures sparse queries over one fragment: its inverted lists against the pass over its metadata. Not a
 * test.
 *
 * From the root of the tree, after `make`:
 *   gcc -std=c11 -O2 -I. -D_GNU_SOURCE -o /tmp/bench_sparse tests/bench/bench_sparse.c build/release/libindex.a \
 *       build/release/libcore.a $(pkg-config --libs libzstd libpcre2-8) -lm -lpthread
 *   /tmp/bench_sparse [-n ROWS] [-q QUERIES] [-k K] [-z NONZEROS] [-t QUERY_INDICES] [-i INDICES] [-m MASK_PERCENT] [-cb]
 *
 * Rows have some NONZEROS of INDICES, drawn by Zipf's law, so the first index is in most rows; weights are gamma-like and
 * grow with the index's rarity, as those of learned sparse encoders do. -c: rows come in groups of 2,000 about one
 * topic, which doubles some weights. -b: queries weigh by document frequency. Query indices are drawn like those of rows. Prints medians of processor time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "core/epoch.h"
#include "core/mem.h"
#include "core/rank.h"
#include "index/index.h"

static struct {
    uint32_t n, n_queries, k, n_nonzeros, n_terms, n_indices, mask_percent;
    bool is_clustered, weighs_by_frequency;
} o = {100000, 200, 10, 60, 20, 30000, 100, false, false};

static uint64_t state = 88172645463325252u;

static double uniform(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) / 9007199254740992.0;
}

static double now(void) /* of the processor, so that neighbours count for less */
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static int by_time(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Distinct indices, ascending, by Zipf's law; returns how many. */
static uint32_t draw(uint32_t wanted, uint32_t row, uint32_t *indices, float *weights)
{
    uint32_t n = 0, kept = 0;
    while (n < wanted) indices[n++] = (uint32_t)(exp(uniform() * log(o.n_indices)) - 1);
    qsort(indices, n, sizeof *indices, by_number);
    for (uint32_t i = 0; i < n; i++)
        if (kept == 0 || indices[kept - 1] != indices[i]) indices[kept++] = indices[i];
    for (uint32_t i = 0; i < kept; i++) {
        double rarity = log(2 + indices[i]) / log(o.n_indices);
        bool is_topic = o.is_clustered && (indices[i] * 2654435761u >> 16) % 8 == row / 2000 % 8;
        weights[i] = (float)(-log(uniform() + 1e-9) * rarity * (is_topic ? 2 : 1));
    }
    return kept;
}

static struct segment *build(const struct vfs *vfs)
{
    struct fragment_options options = {.dim = 1, .fragment_id = 1};
    struct fragment_writer *w;
    struct fragment *f;
    uint32_t *indices = mem_array(o.n_nonzeros, sizeof *indices);
    float *weights = mem_array(o.n_nonzeros, sizeof *weights), v = 1;
    struct buf meta = {0};
    double t = 0;
    if (indices == NULL || weights == NULL || fragment_writer_new(&w, vfs, "x", &options, NULL) != ERR_OK) exit(1);
    for (uint32_t i = 0; i < o.n; i++) {
        char id[16];
        struct value value = {.type = VALUE_SPARSE, .sparse = {.indices = indices, .values = weights}};
        const struct value bucket = {.type = VALUE_INT, .i = (int)((i * 2654435761u >> 7) % 100)};
        value.sparse.n = draw(o.n_nonzeros, i, indices, weights);
        meta.n = 0;
        meta_put(&meta, STR("bucket"), &bucket);
        meta_put(&meta, STR("sparse"), &value);
        struct row row = {.id = str_of(id, (size_t)snprintf(id, sizeof id, "%u", i)), .vector = &v};
        row.meta = (struct bytes){meta.p, meta.n};
        t -= now();
        if (fragment_writer_add(w, &row, i, 1, NULL) != ERR_OK) exit(1);
        t += now();
    }
    t -= now();
    if (fragment_writer_finish(w, NULL) != ERR_OK || fragment_open(&f, vfs, "x", NULL) != ERR_OK) exit(1);
    fragment_writer_free(w);
    t += now();
    buf_free(&meta);
    mem_free(indices);
    mem_free(weights);
    struct segment *s = fragment_segment(f);
    printf("%u rows x %u of %u indices: written in %.2f s, %.0f bytes a row\n", o.n, o.n_nonzeros, o.n_indices, t,
           (double)fragment_file_bytes(s) / o.n);
    return s;
}

/* Median microseconds of the queries; *sum tells whether two runs agree. */
static double run(const struct collection *c, const struct rank *queries, uint32_t n, double *sum)
{
    const struct value limit = {.type = VALUE_INT, .i = o.mask_percent};
    struct value values[] = {limit};
    const struct filter filter = {.kind = FILTER_LT, .key = STR("bucket"), .values = values, .n_values = 1};
    double *times = mem_array(n, sizeof *times);
    if (times == NULL) exit(1);
    *sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct arena a = {0};
        struct snapshot s;
        struct rank_row *rows;
        uint32_t n_rows;
        struct rank_search search = {.rank = &queries[i], .limit = UINT32_MAX};
        if (o.mask_percent < 100) search.selection.filter = &filter;
        times[i] = -now();
        if (snapshot_begin(c, &a, &s) != ERR_OK || rank_search(&s, &search, &a, &rows, &n_rows, NULL) != ERR_OK)
            exit(1);
        for (uint32_t k = 0; k < n_rows; k++) *sum += (double)rows[k].score * (rows[k].ref.row + 1);
        snapshot_end(&s);
        times[i] += now();
        arena_free(&a);
    }
    qsort(times, n, sizeof *times, by_time);
    double median = times[n / 2] * 1e6;
    mem_free(times);
    return median;
}

int main(int argc, char **argv)
{
    for (int c; (c = getopt(argc, argv, "n:q:k:z:t:i:m:cb")) != -1;) {
        uint32_t v = optarg != NULL ? (uint32_t)strtoul(optarg, NULL, 10) : 0;
        if (c == 'n') o.n = v;
        if (c == 'q') o.n_queries = v;
        if (c == 'k') o.k = v;
        if (c == 'z') o.n_nonzeros = v;
        if (c == 't') o.n_terms = v;
        if (c == 'i') o.n_indices = v;
        if (c == 'm') o.mask_percent = v;
        if (c == 'c') o.is_clustered = true;
        if (c == 'b') o.weighs_by_frequency = true;
        if (c == '?') return 1;
    }
    struct vfs *vfs;
    struct collection *c;
    if (vfs_mem_new(&vfs, NULL) != ERR_OK) return 1;
    struct segment *s = build(vfs);
    const struct collection_state state = {.log_position = 1, .next_ordinal = o.n, .dimension = 1};
    if (collection_new(&c, 1, SPACE_L2, &state, &s, 1, NULL) != ERR_OK) return 1;
    struct rank *queries = mem_array(o.n_queries, sizeof *queries);
    if (queries == NULL) return 1;
    for (uint32_t i = 0; i < o.n_queries; i++) {
        struct rank_leaf *leaf = &queries[i].leaf;
        queries[i].kind = RANK_SPARSE;
        leaf->key = STR("sparse");
        leaf->limit = o.k;
        leaf->weighs_by_frequency = o.weighs_by_frequency;
        leaf->sparse.indices = mem_array(o.n_terms, sizeof(uint32_t));
        leaf->sparse.values = mem_array(o.n_terms, sizeof(float));
        if (leaf->sparse.indices == NULL || leaf->sparse.values == NULL) return 1;
        leaf->sparse.n = draw(o.n_terms, i * 977, leaf->sparse.indices, leaf->sparse.values);
    }
    const struct segment_ops *ops = s->ops;
    struct segment_ops without = *ops;
    without.sparse_nearest = NULL;
    without.sparse_count = NULL;
    double with_sum, pass_sum;
    uint32_t n_passes = o.n_queries < 20 ? o.n_queries : 20;
    (void)run(c, queries, o.n_queries, &with_sum); /* warm */
    double lists = run(c, queries, o.n_queries, &with_sum);
    double some = run(c, queries, n_passes, &with_sum);
    s->ops = &without;
    double pass = run(c, queries, n_passes, &pass_sum);
    s->ops = ops;
    printf("%u indices, k %u, mask %u %%: lists %.0f us (%.0f us for the first %u queries), pass %.0f us: %.0f x; %s\n",
           o.n_terms, o.k, o.mask_percent, lists, some, n_passes, pass, pass / some,
           with_sum == pass_sum ? "same answers" : "ANSWERS DIFFER");
    for (uint32_t i = 0; i < o.n_queries; i++) {
        mem_free(queries[i].leaf.sparse.indices);
        mem_free(queries[i].leaf.sparse.values);
    }
    mem_free(queries);
    collection_retire(c);
    epoch_drain();
    vfs_mem_free(vfs);
    return with_sum == pass_sum ? 0 : 1;
}
