/* codes_lists_build.c - a section in lists: centroids, which row goes where, the codes, and when a search may stop.
 *
 * HAPPY PATH  1. k-means (Lloyd) over a sample of the rows, rotated: a few rounds, from rows as first centroids.
 *             2. Each row goes to its nearest centroid, found through the centroids' own codes: a scan, then exact
 *                distances of the best by estimate. Of these it goes to a second one as well (see second_list).
 *             3. Rows are placed list after list, in row order within a list, and coded against their centroid.
 *             4. Some rows are searched for through the new section, every list of it. In which lists their neighbours
 *                lay says when a search may stop (measure_stop).
 * FAILURE     short memory is reported. Lengths out of range make the caller write an empty section.
 * INVARIANTS  every row is in as many lists as there are copies, in each once. A list may be empty. Which lists a row
 *             is in may depend on the processor in the case of near ties; any distribution is a valid section.
 */
#include "index/codes_internal.h"

#include <stdlib.h>

#include "core/mem.h"
#include "index/rotation.h"

enum {
    ROWS_PER_LIST = 200,
    SAMPLES_PER_LIST = 16,
    SAMPLE_BYTES_MAX = 128 << 20,
    ROUNDS = 4,
    NEAR = 16,           /* lists that are measured exactly for a row */
    NEAR_IN_ROUNDS = 8,  /* while centroids are looked for */
    PROBES = 256,        /* rows that are searched for */
    PROBES_COUNTED = 32, /* of them, those for which a rule's cost is counted */
    PROBE_K = 64,
    PROBE_KINDS = 3, /* numbers of neighbours */
    PROBE_MIDDLE = 1,
};

/* k, and the shares of neighbours that the rule may miss by leaving out lists: at the default effort, and at the least.
 * For one neighbour the probes are few: a share below some of them would be set by the single worst, for every k. */
static const uint32_t probe_ks[PROBE_KINDS] = {1, 10, PROBE_K};
static const float probe_losses[PROBE_KINDS] = {0.012f, 0.008f, 0.005f};
static const float probe_losses_few[PROBE_KINDS] = {0.08f, 0.04f, 0.03f};

#define PROBE_EPSILON 2.0f

/* What a part of the second residual along the first one costs, against a part across it. Of 1 and 2 neither was better on
 * text (a million rows grown from it); 0, the second nearest list, needs a quarter more codes for the same recall. */
#define ALONG 1.5f

struct work {
    const struct codes_source *source;
    const float *mean;
    uint32_t n_lists, copies, padded_dim;
    float *centroids;
    uint8_t *list_blocks;
    float *list_factors;
    float *x, *r;       /* padded_dim: the row at hand, its residual */
    uint8_t *table;     /* of x */
    float *sums, *more; /* n_lists: scratch */
    uint32_t *ends;     /* n_lists: likewise */
    uint32_t *lists_of; /* n * copies */
    float *norm2;       /* n: of rows as they are */
};

/* Some lists that are near a row, by estimate. */
struct near {
    uint32_t list[NEAR];
    float estimate[NEAR], distance[NEAR];
    uint32_t n, worst; /* worst: where the largest estimate is */
    float limit;       /* estimates above it do not enter */
};

static uint32_t lower_of(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Rows of the sample for k-means. */
static uint32_t sample_size(uint32_t n_rows, uint32_t n_lists, uint32_t padded_dim)
{
    uint32_t fit = (uint32_t)(SAMPLE_BYTES_MAX / ((size_t)padded_dim * sizeof(float)));
    return lower_of(lower_of(n_rows, fit), n_lists * SAMPLES_PER_LIST);
}

uint32_t codes_lists_wanted(uint32_t n_rows, uint32_t padded_dim)
{
    if (n_rows < CODES_LISTS_MIN_ROWS || padded_dim == 0) return 0;
    uint32_t root = (uint32_t)sqrt((double)n_rows), n = lower_of(n_rows / ROWS_PER_LIST, 4 * root);
    return lower_of(n, sample_size(n_rows, n, padded_dim) / 4);
}

/* So many that the deviation of the first look, (pi/2 / d - 1 / D) |r|^2 |w|^2 squared, is the same whatever D is: that
 * of half of 384, which rules out more than half of the blocks that are looked at in text. */
uint32_t codes_lists_first_dims(uint32_t padded_dim)
{
    uint32_t wanted = (uint32_t)(1.57 / (0.0056 + 1.0 / padded_dim));
    wanted = (wanted + ROTATION_UNIT - 1) / ROTATION_UNIT * ROTATION_UNIT;
    return lower_of(wanted, padded_dim);
}

/* --- centroids ---------------------------------------------------------------------------------------------------- */

static void code_centroids(struct work *w)
{
    size_t block_bytes = (size_t)w->padded_dim * 4;
    memset(w->list_blocks, 0, codes_n_blocks(w->n_lists) * block_bytes);
    for (uint32_t i = 0; i < w->n_lists; i++) {
        const float *c = w->centroids + (size_t)i * w->padded_dim;
        struct codes_factors f = codes_measure(c, w->padded_dim, CODES_SPREAD);
        uint32_t b = i / CODES_BLOCK_ROWS, j = i % CODES_BLOCK_ROWS;
        codes_pack_signs(c, w->padded_dim, w->list_blocks + b * block_bytes, j);
        codes_put_factors(w->list_factors + (size_t)b * CODES_BLOCK_FACTORS, j, f.square, -2 * f.f, f.err);
    }
    codes_fill_last(w->list_factors, w->n_lists);
}

static void add_near(struct near *near, uint32_t cap, uint32_t list, float estimate)
{
    uint32_t at = near->n < cap ? near->n++ : near->worst, worst = 0;
    near->list[at] = list;
    near->estimate[at] = estimate;
    float most = near->estimate[0];
    for (uint32_t i = 1; i < near->n; i++) {
        bool is_worse = near->estimate[i] > most;
        most = is_worse ? near->estimate[i] : most;
        worst = is_worse ? i : worst;
    }
    near->worst = worst;
    near->limit = near->n < cap ? INFINITY : most;
}

/* The lists next to x, a rotated residual to the mean: at most cap, the nearest in front, measured. */
static void find_near(struct work *w, const float *x, uint32_t cap, struct near *near)
{
    const struct codes_kernels *kernels = codes_kernels_at(distance_ops()->level);
    const size_t block_bytes = (size_t)w->padded_dim * 4;
    struct codes_scan s = {0}; /* without a margin: lower bounds are estimates */
    codes_table(x, w->padded_dim, w->table, &s);
    s.base = distance_ops()->dot(x, x, w->padded_dim);
    near->n = near->worst = 0;
    near->limit = INFINITY;
    for (uint32_t at = 0; at < w->n_lists; at += CODES_BLOCK_ROWS) {
        float estimate[CODES_BLOCK_ROWS], lower[CODES_BLOCK_ROWS];
        uint32_t left = w->n_lists - at, wanted = left < CODES_BLOCK_ROWS ? (UINT32_C(1) << left) - 1 : UINT32_MAX;
        size_t b = at / CODES_BLOCK_ROWS;
        uint32_t hits = kernels->scan(w->list_blocks + b * block_bytes, NULL, w->list_factors + b * CODES_BLOCK_FACTORS,
                                      &s, near->limit, wanted, estimate, lower);
        for (; hits != 0; hits &= hits - 1) {
            uint32_t i = (uint32_t)__builtin_ctz(hits);
            if (!(estimate[i] > near->limit)) add_near(near, cap, at + i, estimate[i]);
        }
    }
    CHECK(near->n > 0 && "there are lists");
    for (uint32_t i = 0; i < near->n; i++) {
        near->distance[i] = distance_ops()->l2(x, w->centroids + (size_t)near->list[i] * w->padded_dim, w->padded_dim);
        if (!(near->distance[i] < near->distance[0])) continue;
        uint32_t list = near->list[i];
        float distance = near->distance[i];
        near->list[i] = near->list[0];
        near->distance[i] = near->distance[0];
        near->list[0] = list;
        near->distance[0] = distance;
    }
}

/* The second list of a row. A search finds a row late if its residual r points away from the query. Another list helps if its
 * residual r' does not point there too: the one where |r'|^2 + ALONG <r, r'>^2 / |r|^2 is least. */
static uint32_t second_list(const struct work *w, const struct near *near)
{
    const float *first = w->centroids + (size_t)near->list[0] * w->padded_dim;
    float d1 = near->distance[0], least = INFINITY;
    CHECK(near->n > 1 && "a row has two lists only where there are two");
    uint32_t best = near->list[1];
    for (uint32_t i = 1; i < near->n; i++) {
        const float *other = w->centroids + (size_t)near->list[i] * w->padded_dim;
        float d2 = near->distance[i], along = (d1 + d2 - distance_ops()->l2(first, other, w->padded_dim)) / 2;
        float cost = d1 > 0 ? d2 + ALONG * along * along / d1 : d2;
        if (!(cost < least)) continue;
        least = cost;
        best = near->list[i];
    }
    return best;
}

/* One round: each centroid becomes the mean of the sampled rows next to it; those next to none start over at a row. */
static void round_of_means(struct work *w, const float *sample, uint32_t n, float *sums, uint32_t *counts,
                           uint32_t round)
{
    const uint32_t dims = w->padded_dim;
    CHECK(n > 0 && "lists are made of many rows");
    memset(sums, 0, (size_t)w->n_lists * dims * sizeof *sums);
    memset(counts, 0, w->n_lists * sizeof *counts);
    code_centroids(w);
    for (uint32_t i = 0; i < n; i++) {
        const float *x = sample + (size_t)i * dims;
        struct near near;
        find_near(w, x, NEAR_IN_ROUNDS, &near);
        uint32_t l = near.list[0];
        float *sum = sums + (size_t)l * dims;
        for (uint32_t d = 0; d < dims; d++) sum[d] += x[d];
        counts[l]++;
    }
    for (uint32_t l = 0; l < w->n_lists; l++) {
        float *c = w->centroids + (size_t)l * dims;
        if (counts[l] == 0) {
            uint64_t row = ((uint64_t)l * 2654435761u + round) % n;
            memcpy(c, sample + (size_t)row * dims, dims * sizeof *c);
            continue;
        }
        for (uint32_t d = 0; d < dims; d++) c[d] = sums[(size_t)l * dims + d] / (float)counts[l];
    }
}

static enum err find_centroids(struct work *w, struct errmsg *em)
{
    const uint32_t dims = w->padded_dim, n = sample_size(w->source->n, w->n_lists, dims);
    float *sample = mem_array((size_t)n * dims, sizeof *sample);
    float *sums = mem_array((size_t)w->n_lists * dims, sizeof *sums);
    uint32_t *counts = mem_array(w->n_lists, sizeof *counts);
    enum err e = ERR_OK;
    if (sample == NULL || sums == NULL || counts == NULL) {
        e = errmsg_set(em, ERR_NOMEM, "means of %u rows", n);
        goto done;
    }
    for (uint32_t i = 0; i < n; i++)
        codes_take_residual(w->source, (uint32_t)((uint64_t)i * w->source->n / n), w->mean, sample + (size_t)i * dims);
    for (uint32_t l = 0; l < w->n_lists; l++) {
        const float *row = sample + (size_t)((uint64_t)l * n / w->n_lists) * dims;
        memcpy(w->centroids + (size_t)l * dims, row, dims * sizeof *row);
    }
    for (uint32_t round = 0; round < ROUNDS; round++) round_of_means(w, sample, n, sums, counts, round);
    code_centroids(w);
done:
    mem_free(sample);
    mem_free(sums);
    mem_free(counts);
    return e;
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

/* Fills lists_of, norm2 and starts. False when a length is out of range. */
static bool assign(struct work *w, uint32_t *starts)
{
    const struct codes_source *s = w->source;
    float longest = 0;
    bool has_residual = false;
    memset(starts, 0, ((size_t)w->n_lists + 1) * sizeof *starts);
    for (uint32_t i = 0; i < s->n; i++) {
        const float *row;
        const char *at = s->rows + (size_t)i * s->dim * sizeof *row;
        memcpy(w->x, at, s->dim * sizeof *row);
        w->norm2[i] = distance_ops()->dot(w->x, w->x, s->dim);
        codes_take_residual(s, i, w->mean, w->x);
        float square = distance_ops()->dot(w->x, w->x, w->padded_dim);
        if (!(square <= CODES_SQUARE_MAX)) return false;
        longest = square > longest ? square : longest;
        for (uint32_t d = 0; !has_residual && d < w->padded_dim; d++) has_residual = w->x[d] != 0;
        struct near near;
        find_near(w, w->x, NEAR, &near);
        uint32_t *lists = w->lists_of + (size_t)i * w->copies;
        lists[0] = near.list[0];
        if (w->copies > 1) lists[1] = second_list(w, &near);
        for (uint32_t k = 0; k < w->copies; k++) starts[lists[k] + 1]++;
    }
    for (uint32_t l = 0; l < w->n_lists; l++) starts[l + 1] += starts[l];
    return !has_residual || longest >= CODES_SQUARE_MIN;
}

/* Under ip a longer row is a better one. With sqrt(lift - |x|^2) as one more coordinate of a row, and 0 of the query, the
 * order by product is the order by distance; a list's share of that coordinate is its mean. *lift: the largest |x|^2. */
static bool lift_lists(struct work *w, float *lift)
{
    float longest = 0;
    if (w->source->space != SPACE_IP) return true;
    for (uint32_t i = 0; i < w->source->n; i++) longest = w->norm2[i] > longest ? w->norm2[i] : longest;
    if (!(longest <= CODES_SQUARE_MAX)) return false;
    memset(w->sums, 0, w->n_lists * sizeof *w->sums);
    memset(w->more, 0, w->n_lists * sizeof *w->more); /* counts */
    for (size_t i = 0; i < (size_t)w->source->n * w->copies; i++) {
        w->sums[w->lists_of[i]] += sqrtf(longest - w->norm2[i / w->copies]);
        w->more[w->lists_of[i]] += 1;
    }
    for (uint32_t l = 0; l < w->n_lists; l++) {
        if (!(w->more[l] > 0)) continue;
        float mean = w->sums[l] / w->more[l];
        w->list_factors[(size_t)(l / CODES_BLOCK_ROWS) * CODES_BLOCK_FACTORS + l % CODES_BLOCK_ROWS] += mean * mean;
    }
    *lift = longest;
    return true;
}

/* <s, c> over the first n dimensions, s being the signs of r. */
static float signed_sum(const float *r, const float *c, uint32_t n)
{
    typedef uint32_t bits4 __attribute__((vector_size(16)));
    typedef float lanes4 __attribute__((vector_size(16)));
    lanes4 sum = {0};
    for (uint32_t d = 0; d < n; d += 4) {
        bits4 sign, v;
        memcpy(&sign, r + d, sizeof sign);
        memcpy(&v, c + d, sizeof v);
        sum += (lanes4)(v ^ (sign & 0x80000000u));
    }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* err with delta, rounded to a bfloat16, in its low half. */
static float pack_err(float err, float delta)
{
    uint32_t high, low;
    memcpy(&high, &err, sizeof high);
    memcpy(&low, &delta, sizeof low);
    high = (high & 0xffff0000u) | (low + 0x8000u) >> 16;
    memcpy(&err, &high, sizeof err);
    return err;
}

/* The parts of the section that rows go to. */
struct places {
    uint8_t *blocks, *rests;
    float *factors;
};

/* Codes x, whose list is l, in place `at`. False when a factor is out of range. */
static bool encode(struct work *w, const struct codes *c, uint32_t l, uint32_t at, const struct places *to)
{
    const uint32_t dims = w->padded_dim;
    const float *centroid = w->centroids + (size_t)l * dims;
    float *r = w->r;
    for (uint32_t d = 0; d < dims; d++) r[d] = w->x[d] - centroid[d];
    struct codes_factors f = codes_measure(r, dims, CODES_LISTS_SPREAD);
    float all = signed_sum(r, centroid, dims), first = signed_sum(r, centroid, c->first_dims);
    float add = 2 * f.f * all, delta = 2 * f.f * ((float)dims / (float)c->first_dims * first - all);
    if (c->space == SPACE_IP)
        add -= (float)(2 * (codes_dot(r, centroid, dims) + codes_dot(r, c->centroid, dims)));
    else
        add += f.square;
    if (!(fabsf(add) <= CODES_SQUARE_MAX) || !(fabsf(delta) <= CODES_SQUARE_MAX)) return false;
    uint32_t b = at / CODES_BLOCK_ROWS, j = at % CODES_BLOCK_ROWS;
    codes_pack_signs(r, c->first_dims, to->blocks + (size_t)b * c->first_dims * 4, j);
    codes_pack_signs(r + c->first_dims, dims - c->first_dims, to->rests + (size_t)b * (dims - c->first_dims) * 4, j);
    codes_put_factors(to->factors + (size_t)b * CODES_BLOCK_FACTORS, j, add, -2 * f.f, pack_err(f.err, delta));
    return true;
}

/* Puts all rows where they belong. */
static bool place_rows(struct work *w, const struct codes *c, char *p, const struct codes_layout *l)
{
    uint32_t *order = (uint32_t *)(void *)(p + l->order);
    struct places to = {(uint8_t *)p + l->blocks, (uint8_t *)p + l->rests, (float *)(void *)(p + l->factors)};
    memset(to.blocks, 0, l->factors - l->blocks);
    memcpy(w->ends, c->starts, w->n_lists * sizeof *w->ends);
    for (uint32_t i = 0; i < w->source->n; i++) {
        codes_take_residual(w->source, i, w->mean, w->x);
        for (uint32_t k = 0; k < w->copies; k++) {
            uint32_t list = w->lists_of[(size_t)i * w->copies + k], at = w->ends[list]++;
            order[at] = i;
            if (!encode(w, c, list, at, &to)) return false;
        }
    }
    codes_fill_last(to.factors, w->source->n * w->copies);
    return true;
}

/* --- when to stop ------------------------------------------------------------------------------------------------- */

bool codes_all_visible(const void *ctx, uint32_t row)
{
    (void)ctx, (void)row;
    return true;
}

uint64_t codes_row_as_ordinal(const void *ctx, uint32_t row)
{
    (void)ctx;
    return row;
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* What is kept of the search for one row. */
struct probe {
    float nearest;            /* distance of the nearest list */
    float limit[PROBE_KINDS]; /* distance of the k-th neighbour */
    float neighbour[PROBE_K]; /* of each neighbour, nearest first, the distance of its nearer list; of the nearest: 0 */
};

/* The distance of the nearer of the lists that a row is in; 0 if that is `first`. */
static float nearer_list(const struct work *w, uint32_t row, uint32_t first, const float *all)
{
    const uint32_t *lists = w->lists_of + (size_t)row * w->copies;
    float distance = INFINITY;
    for (uint32_t k = 0; k < w->copies; k++) distance = fminf(distance, lists[k] == first ? 0 : all[lists[k]]);
    return distance;
}

/* Searches for row i. all: distances of the lists, n_lists places, of lists without rows +infinity. */
static enum err probe_row(struct work *w, const struct codes *c, uint32_t i, struct codes_ranked *heap, float *all,
                          struct probe *out, struct errmsg *em)
{
    struct arena a = {0};
    struct query_vector q;
    struct topk top;
    struct codes_rows rows = {(const void *)w->source->rows, w->norm2, codes_all_visible, codes_row_as_ordinal, NULL};
    struct codes_lists_iter it;
    struct codes_target t;
    enum err e = ERR_NOMEM;
    const size_t size = w->source->dim * sizeof(float);
    float *v = arena_alloc(&a, size);
    if (v == NULL || !topk_init(&top, &a, PROBE_K + 1)) goto done; /* the row itself is among them */
    memcpy(v, w->source->rows + i * size, size);
    query_vector_init(&q, v, w->source->dim, w->source->space, &a);
    e = codes_search(c, &rows, &q, NULL, PROBE_EPSILON, &top, &a, em);
    if (e != ERR_OK) goto done;
    topk_sort(&top);
    struct codes_prepared *p = codes_prepare(c, &q); /* as the search has left it */
    CHECK(p != NULL && top.n > PROBE_K);
    *out = (struct probe){0};
    for (uint32_t l = 0; l < w->n_lists; l++) all[l] = INFINITY;
    if (!codes_target_init(&t, c, p, PROBE_EPSILON)) goto done; /* it was searched for exactly: tells nothing */
    codes_lists_begin(&it, c, &t, heap);
    uint32_t first = it.n_first > 0 ? it.first[0].list : 0, n = 0;
    out->nearest = it.nearest;
    for (struct codes_near near; codes_lists_next(&it, INFINITY, &near);) all[near.list] = near.distance;
    for (uint32_t j = 0; j < top.n && n < PROBE_K; j++) {
        const struct hit *h = &top.heap[j];
        if (h->row == i) continue;
        out->neighbour[n++] = nearer_list(w, h->row, first, all);
        for (int kind = 0; kind < PROBE_KINDS; kind++) {
            if (n == probe_ks[kind])
                out->limit[kind] = codes_in_lists(c, p, codes_in_estimates(c->space, h->distance) + t.slack);
        }
    }
done:
    arena_free(&a);
    return e == ERR_NOMEM ? errmsg_set(em, e, "a probe of vector codes") : e;
}

struct stops {
    float stop, few;
};

/* Raises both to the smallest with which, for k neighbours, all but the allowed shares of them are found. reach: scratch. */
static void raise_stops(struct stops *s, const struct probe *probes, int kind, float lean, float *reach)
{
    uint32_t n = 0, k = probe_ks[kind];
    for (uint32_t i = 0; i < PROBES; i++) {
        float sum = probes[i].limit[kind] + lean * probes[i].nearest;
        for (uint32_t j = 0; j < k; j++)
            reach[n++] = probes[i].neighbour[j] > 0 && sum > 0 ? probes[i].neighbour[j] / sum : 0;
    }
    qsort(reach, n, sizeof *reach, by_value);
    s->stop = fmaxf(s->stop, reach[n - 1 - (uint32_t)(probe_losses[kind] * (float)n)]);
    s->few = fmaxf(s->few, reach[n - 1 - (uint32_t)(probe_losses_few[kind] * (float)n)]);
}

/* How many lists are looked at with a rule, for the middle k. */
static uint64_t cost_of(const struct work *w, const struct probe *probes, const float *all, float stop, float lean)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < PROBES_COUNTED; i++) {
        const struct probe *p = &probes[i * (PROBES / PROBES_COUNTED)];
        float reach = stop * (p->limit[PROBE_MIDDLE] + lean * p->nearest);
        for (uint32_t l = 0; l < w->n_lists; l++) n += all[(size_t)i * w->n_lists + l] <= reach;
    }
    return n;
}

/* A list at distance d is worth a look if d <= stop * (t + lean * d_1), t being the k-th distance and d_1 that of
 * the nearest list: relative, so that scale does not matter; growing with t, so that more neighbours, or fewer rows that
 * match a filter, reach farther; and for a query far from all rows, whose distances are all alike, without an end.
 * `stop` is chosen so that all but a small share of the neighbours of some rows are found, be k small or large; `lean`,
 * how much the rule trusts d_1 rather than t, so that it is cheapest. */
static enum err measure_stop(struct work *w, struct codes *c, struct codes_header *h, float *share, struct errmsg *em)
{
    static const float leans[] = {0.5f, 1, 1.5f, 2, 3, 4, 6};
    struct codes_ranked *heap = mem_array(w->n_lists, sizeof *heap);
    float *all = mem_array((size_t)w->n_lists * PROBES_COUNTED, sizeof *all), *one = w->sums;
    float *reach = mem_array((size_t)PROBES * PROBE_K, sizeof *reach);
    struct probe *probes = mem_array(PROBES, sizeof *probes);
    uint64_t least = UINT64_MAX;
    enum err e = ERR_OK;
    if (heap == NULL || all == NULL || reach == NULL || probes == NULL)
        e = errmsg_set(em, ERR_NOMEM, "probes of %u lists", w->n_lists);
    for (uint32_t i = 0; i < PROBES && e == ERR_OK; i++) {
        uint32_t row = (uint32_t)((2 * i + 1) * (uint64_t)w->source->n / (2 * PROBES)), step = PROBES / PROBES_COUNTED;
        float *to = i % step == 0 ? all + (size_t)(i / step) * w->n_lists : one;
        e = probe_row(w, c, row, heap, to, &probes[i], em);
    }
    for (size_t i = 0; i < sizeof leans / sizeof leans[0] && e == ERR_OK; i++) {
        struct stops stops = {0, 0};
        for (int kind = 0; kind < PROBE_KINDS; kind++) raise_stops(&stops, probes, kind, leans[i], reach);
        uint64_t cost = cost_of(w, probes, all, stops.stop, leans[i]);
        if (cost >= least) continue;
        least = cost;
        h->stop = stops.stop;
        h->stop_few = stops.few;
        h->lean = leans[i];
        *share = (float)cost * (float)w->copies / ((float)w->n_lists * PROBES_COUNTED);
    }
    mem_free(heap);
    mem_free(all);
    mem_free(reach);
    mem_free(probes);
    return e;
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static bool work_init(struct work *w)
{
    const size_t n = w->source->n;
    w->x = mem_array(w->padded_dim, sizeof *w->x);
    w->r = mem_array(w->padded_dim, sizeof *w->r);
    w->table = mem_array(w->padded_dim, 4);
    w->sums = mem_array(w->n_lists, sizeof *w->sums);
    w->more = mem_array(w->n_lists, sizeof *w->more);
    w->ends = mem_array(w->n_lists, sizeof *w->ends);
    w->lists_of = mem_array(n * w->copies, sizeof *w->lists_of);
    w->norm2 = mem_array(n, sizeof *w->norm2);
    return w->x != NULL && w->r != NULL && w->table != NULL && w->sums != NULL && w->more != NULL && w->ends != NULL &&
           w->lists_of != NULL && w->norm2 != NULL;
}

static void work_deinit(struct work *w)
{
    mem_free(w->x);
    mem_free(w->r);
    mem_free(w->table);
    mem_free(w->sums);
    mem_free(w->more);
    mem_free(w->ends);
    mem_free(w->lists_of);
    mem_free(w->norm2);
}

enum err codes_lists_write(const struct codes_source *s, const float *mean, uint32_t n_lists, uint32_t copies, char *p,
                           bool *is_in_range, float *share, struct errmsg *em)
{
    struct codes_layout l;
    uint32_t first_dims = codes_lists_first_dims(s->padded_dim);
    CHECK(codes_layout(s->n, copies, n_lists, s->padded_dim, first_dims, false, &l) && "the caller has made room");
    memset(p, 0, l.blocks);
    struct codes_header h = {CODES_MAGIC,
                             copies == 1 ? 2 : CODES_VERSION_LISTS,
                             s->n,
                             s->dim,
                             s->padded_dim,
                             s->space,
                             s->seed,
                             l.size,
                             n_lists,
                             0,
                             0,
                             0,
                             0,
                             0};
    struct work w = {.source = s,
                     .mean = mean,
                     .n_lists = n_lists,
                     .copies = copies,
                     .padded_dim = s->padded_dim,
                     .centroids = (float *)(void *)(p + l.centroids),
                     .list_blocks = (uint8_t *)p + l.list_blocks,
                     .list_factors = (float *)(void *)(p + l.list_factors)};
    struct codes c;
    float *centroid = (float *)(void *)(p + l.centroid);
    uint32_t *starts = (uint32_t *)(void *)(p + l.starts);
    enum err e = ERR_OK;
    *is_in_range = false;
    if (!work_init(&w)) {
        e = errmsg_set(em, ERR_NOMEM, "vector codes of %u rows", s->n);
        goto done;
    }
    memcpy(centroid, mean, s->padded_dim * sizeof *centroid);
    rotation_apply(centroid, s->padded_dim, s->seed);
    if ((e = find_centroids(&w, em)) != ERR_OK) goto done;
    if (!assign(&w, starts) || !lift_lists(&w, &h.lift)) goto done;
    h.first_dims = first_dims;
    h.stop = INFINITY; /* for the probes */
    memcpy(p, &h, sizeof h);
    e = codes_open(&c, (struct bytes){p, l.size}, s->n, s->dim, s->space, em);
    if (e != ERR_OK) goto done;
    if (!place_rows(&w, &c, p, &l)) goto done;
    if ((e = measure_stop(&w, &c, &h, share, em)) != ERR_OK) goto done;
    memcpy(p, &h, sizeof h);
    *is_in_range = true;
done:
    work_deinit(&w);
    return e;
}
