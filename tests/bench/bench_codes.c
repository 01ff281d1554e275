/* bench_codes.c - measures the vector codes on real embeddings, or on noise when no file is given. Not a test.
 *
 * From the root of the tree:
 *   gcc -std=c11 -O2 -I. -D_GNU_SOURCE -o /tmp/bench_codes tests/bench/bench_codes.c index/codes_*.c index/rotation.c \
 *       core/distance*.c core/topk.c core/arena.c core/mem.c core/buf.c core/bitset.c core/err.c -lm -lpthread
 *   /tmp/bench_codes [-n ROWS] [-q QUERIES] [-k K] [-s l2|cosine|ip] [-m MASK_PERCENT] [-l LISTS] [-c COPIES] [FILE.f16.npy]
 *
 * FILE: a NumPy array of float16, rows x dim, C order. The first ROWS are searched, the last QUERIES are the queries
 * (noise: 384 dimensions). Prints rows built a second, bytes a row, the time of an exact scan, then for some ef_search
 * recall@k (of ties any counts), queries a second of one thread, and how the time splits: `prepare` is a search whose
 * limit lets nothing through, with the first look at all rows if there are no lists; the rest is further looks or the scan of
 * lists, and measuring rows exactly. -l 0: no lists, however many rows; -c 1: with -l, each row in one list. compare_hnswlib.py reads the lines.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "core/mem.h"
#include "index/codes_internal.h"

static double now(void) /* of the processor, so that neighbours count for less */
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float half_to_float(uint16_t h)
{
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    double v = exponent == 0 ? ldexp(mantissa, -24) : ldexp(mantissa + 1024, exponent - 25);
    return (float)((h & 0x8000) != 0 ? -v : v);
}

static float *load(const char *path, size_t *n, size_t *dim)
{
    FILE *f = fopen(path, "rb");
    char head[4096] = {0};
    unsigned char size[2];
    if (f == NULL || fread(head, 1, 8, f) != 8 || memcmp(head, "\x93NUMPY", 6) != 0 || fread(size, 1, 2, f) != 2)
        exit(1);
    size_t head_n = (size_t)size[0] | (size_t)size[1] << 8;
    if (head_n >= sizeof head || fread(head, 1, head_n, f) != head_n) exit(1);
    head[head_n] = '\0';
    const char *shape = strchr(head, '(');
    if (strstr(head, "<f2") == NULL || shape == NULL || sscanf(shape, "(%zu, %zu", n, dim) != 2) exit(1);
    uint16_t *half = mem_array(*n * *dim, 2);
    float *rows = mem_array(*n * *dim, 4);
    if (half == NULL || rows == NULL || fread(half, *dim * 2, *n, f) != *n) exit(1);
    for (size_t i = 0; i < *n * *dim; i++) rows[i] = half_to_float(half[i]);
    mem_free(half);
    (void)fclose(f);
    return rows;
}

static float *noise(size_t n, size_t dim)
{
    float *rows = mem_array(n * dim, 4);
    if (rows == NULL) exit(1);
    uint64_t s = 88172645463325252u;
    for (size_t i = 0; i < n * dim; i++) {
        double sum = 0; /* of 4 uniform numbers: normal enough */
        for (int j = 0; j < 4; j++) {
            s ^= s << 13;
            s ^= s >> 7;
            s ^= s << 17;
            sum += (double)(s >> 11) / 9007199254740992.0 - 0.5;
        }
        rows[i] = (float)sum;
    }
    return rows;
}

static bool visible(const void *ctx, uint32_t row)
{
    (void)ctx, (void)row;
    return true;
}

static uint64_t ordinal(const void *ctx, uint32_t row)
{
    (void)ctx;
    return row;
}

struct bench {
    struct codes codes;
    struct codes_rows rows;
    const struct bitset *mask;
    const float *queries;
    float *truth; /* of each query the k-th distance */
    size_t n_queries;
    uint32_t k;
};

/* All queries once, exactly if epsilon < 0. Adds to *hits; returns microseconds a query. */
static double run(struct bench *b, float epsilon, bool seal, uint64_t *hits)
{
    double start = now();
    for (size_t i = 0; i < b->n_queries; i++) {
        struct arena a = {0};
        struct query_vector q;
        struct topk top;
        struct errmsg em;
        query_vector_init(&q, b->queries + i * b->codes.dim, b->codes.dim, b->codes.space, &a);
        if (!topk_init(&top, &a, b->k)) exit(1);
        for (uint32_t j = 0; seal && j < b->k; j++) topk_offer(&top, -1e6f, 0, 0);
        if (epsilon < 0)
            exact_search(&b->rows, b->codes.n, &q, b->mask, &top);
        else if (codes_search(&b->codes, &b->rows, &q, b->mask, epsilon, &top, &a, &em) != ERR_OK)
            exit(1);
        topk_sort(&top);
        if (epsilon < 0) b->truth[i] = top.heap[top.n - 1].distance;
        for (uint32_t j = 0; j < top.n; j++) *hits += top.heap[j].distance <= b->truth[i];
        arena_free(&a);
    }
    return (now() - start) / (double)b->n_queries * 1e6;
}

static double best_of(struct bench *b, float epsilon, bool seal, uint64_t *hits)
{
    double best = INFINITY;
    for (int i = 0; i < 3; i++) {
        *hits = 0;
        double us = run(b, epsilon, seal, hits);
        best = us < best ? us : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    size_t n = 50000, n_all, dim = 384;
    struct bench b = {.n_queries = 1000, .k = 10};
    enum space space = SPACE_COSINE;
    unsigned percent = 100;
    long lists = -1; /* as many as the server makes */
    uint32_t copies = CODES_COPIES;
    for (int o; (o = getopt(argc, argv, "n:q:k:s:m:l:c:")) != -1;) {
        if (o == 'n')
            n = strtoul(optarg, NULL, 10);
        else if (o == 'q')
            b.n_queries = strtoul(optarg, NULL, 10);
        else if (o == 'k')
            b.k = (uint32_t)strtoul(optarg, NULL, 10);
        else if (o == 's')
            space = optarg[0] == 'l' ? SPACE_L2 : optarg[0] == 'i' ? SPACE_IP : SPACE_COSINE;
        else if (o == 'l')
            lists = strtol(optarg, NULL, 10);
        else if (o == 'c')
            copies = (uint32_t)strtoul(optarg, NULL, 10);
        else if (o == 'm')
            percent = (unsigned)strtoul(optarg, NULL, 10);
        else
            return 1;
    }
    float *rows;
    if (optind < argc)
        rows = load(argv[optind], &n_all, &dim);
    else
        rows = noise(n_all = n + b.n_queries, dim);
    if (n + b.n_queries > n_all) n = n_all - b.n_queries;
    b.queries = rows + (n_all - b.n_queries) * dim;
    float *norm2 = mem_array(n, 4);
    b.truth = mem_array(b.n_queries, 4);
    if (norm2 == NULL || b.truth == NULL) return 1;
    for (size_t i = 0; i < n; i++) norm2[i] = distance_ops()->dot(rows + i * dim, rows + i * dim, dim);

    double t = now();
    struct buf out = {0};
    struct errmsg em = {0};
    enum err e = lists < 0 ? codes_build(rows, (uint32_t)n, (uint32_t)dim, space, 1, &out, &em)
                           : codes_build_as(rows, (uint32_t)n, (uint32_t)dim, space, 1, (uint32_t)lists,
                                            lists >= (long)copies ? copies : 1, &out, &em);
    if (e != ERR_OK) return 1;
    t = now() - t;
    void *aligned = aligned_alloc(4096, (out.n + 4095) / 4096 * 4096); /* as it is mapped */
    if (aligned == NULL) return 1;
    memcpy(aligned, out.p, out.n);
    struct bytes section = {aligned, out.n};
    if (codes_open(&b.codes, section, (uint32_t)n, (uint32_t)dim, space, &em) != ERR_OK || b.codes.n == 0) return 1;
    printf("level %d, space %d, %zu rows x %zu, k %u, mask %u %%, %u lists: built %.0f rows/s (%.2f us a row), "
           "%.1f bytes a row\n",
           (int)distance_ops()->level, (int)space, n, dim, b.k, percent, b.codes.n_lists, (double)n / t,
           t / (double)n * 1e6, (double)out.n / (double)n);

    struct arena a = {0};
    struct bitset mask;
    if (!bitset_init(&mask, &a, (uint32_t)n)) return 1;
    for (size_t i = 0; i < n; i++) {
        if ((i * 2654435761u >> 7) % 100 < percent) bitset_add(&mask, (uint32_t)i);
    }
    b.mask = percent < 100 ? &mask : NULL;
    b.rows = (struct codes_rows){rows, norm2, visible, ordinal, NULL};
    uint64_t hits = 0;
    double exact = run(&b, -1, false, &hits), scan = best_of(&b, 0, true, &hits);
    printf("exact %.1f us a query; prepare%s %.1f us\n", exact, b.codes.n_lists > 0 ? "" : " and scan", scan);
    static const uint32_t efforts[] = {10, 20, 30, 50, 100, 200, 500, 1000};
    for (size_t i = 0; i < sizeof efforts / sizeof efforts[0]; i++) {
        float epsilon = codes_epsilon(efforts[i], b.k);
        double us = best_of(&b, epsilon, false, &hits);
        printf(
            "ef_search %u (epsilon %.2f): recall@%u %.4f, %.0f queries/s, %.1f us a query (%.1f us after preparing), "
            "exact scan %.1f x\n",
            efforts[i], epsilon, b.k, (double)hits / (double)(b.n_queries * b.k), 1e6 / us, us, us - scan, exact / us);
    }
    arena_free(&a);
    free(aligned);
    buf_free(&out);
    mem_free(b.truth);
    mem_free(norm2);
    mem_free(rows);
    return 0;
}
