/* test_segment.c - who is dead at which position, chunk by chunk, and pages at any offset of rows of which some are dead,
 * against arrays. The fragments here are nothing but ordinals and deaths.
 */
#include <pthread.h>

#include "core/executor.h"
#include "core/mem.h"
#include "tests/lib/suite.h"

enum { N_LSN = 40 };

static uint64_t random_base(struct rng *r, uint64_t *words, uint32_t n_rows, uint64_t *died)
{
    uint32_t one_in = 1 + rng_below(r, 6), n = 0;
    memset(words, 0, bitset_words(n_rows) * sizeof *words);
    for (uint32_t row = 0; row < n_rows; row++) {
        if (rng_below(r, one_in) != 0) continue;
        words[row / 64] |= UINT64_C(1) << (row % 64);
        died[row] = 1;
        n++;
    }
    return n;
}

/* Some rows of d die, some of them before; died[row]: when, 0 if never. Positions come in any order, as they do when they are
 * carried over from replaced segments. */
static void let_die(struct rng *r, struct deaths *d, uint64_t *died)
{
    uint32_t n_rows = d->n_rows, density = rng_below(r, 4);
    uint64_t *words = calloc(bitset_words(n_rows), sizeof *words);
    if (rng_below(r, 2) == 0) {
        (void)random_base(r, words, n_rows, died);
        ck_ok(deaths_set_base(d, words, n_rows));
    }
    free(words);
    uint32_t from = rng_below(r, n_rows), to = from + rng_below(r, n_rows - from) + 1;
    for (uint32_t row = from; row < to; row++) { /* 0: none; 1: few; 2: most; 3: all of a stretch */
        if (density == 0 || (density == 1 && rng_below(r, 50) != 0) || (density == 2 && rng_below(r, 5) == 0)) continue;
        uint64_t lsn = 2 + rng_below(r, N_LSN);
        ck_ok(deaths_mark(d, row, lsn));
        if (died[row] == 0) died[row] = lsn;
    }
}

static bool is_dead(const uint64_t *died, uint32_t row, uint64_t lsn)
{
    return died[row] != 0 && died[row] <= lsn;
}

static void check_deaths(const struct deaths *d, const uint64_t *died, uint64_t lsn)
{
    uint32_t next = d->n_rows;
    for (uint32_t row = d->n_rows; row-- > 0;) {
        if (!is_dead(died, row, lsn)) next = row;
        if (row % 37 == 0 || row < 3) ck_assert_uint_eq(deaths_next_alive(d, row, lsn), next);
    }
    ck_assert_uint_eq(deaths_next_alive(d, d->n_rows, lsn), d->n_rows);
    for (uint32_t first = 0; first < d->n_rows; first += DEATHS_CHUNK_ROWS) {
        uint64_t words[DEATHS_CHUNK_WORDS], want[DEATHS_CHUNK_WORDS] = {0};
        uint32_t n = 0;
        for (uint32_t k = 0; k < DEATHS_CHUNK_ROWS && first + k < d->n_rows; k++) {
            if (!is_dead(died, first + k, lsn)) continue;
            want[k / 64] |= UINT64_C(1) << (k % 64);
            n++;
        }
        deaths_bits(d, first / DEATHS_CHUNK_ROWS, lsn, words);
        ck_assert_mem_eq(words, want, sizeof want);
        ck_assert_uint_eq(deaths_count(d, first / DEATHS_CHUNK_ROWS, lsn), n);
    }
}

START_TEST(chunks_agree_with_rows_at_every_position)
{
    struct rng r = {20261125};
    for (int round = 0, n_rounds = suite_share(120); round < n_rounds; round++) {
        struct deaths d;
        uint32_t n_rows = 1 + rng_below(&r, 3 * DEATHS_CHUNK_ROWS);
        if (round % 8 == 0) n_rows = DEATHS_CHUNK_ROWS * (1 + rng_below(&r, 2));
        uint64_t *died = calloc(n_rows, sizeof *died), n_dead = 0;
        ck_ok(deaths_init(&d, n_rows));
        let_die(&r, &d, died);
        for (uint64_t lsn = 1; lsn <= N_LSN + 2; lsn += 1 + rng_below(&r, 12)) check_deaths(&d, died, lsn);
        for (uint32_t row = 0; row < n_rows; row++) n_dead += died[row] != 0;
        ck_assert_uint_eq(d.n_dead, n_dead);
        deaths_deinit(&d);
        free(died);
    }
}
END_TEST

/* --- pages -------------------------------------------------------------------------------------------------------- */

enum { SEGMENTS_MAX = 4 };

struct fake { /* a fragment without rows */
    struct segment segment;
    uint64_t *ordinals, *died;
    struct bitset chosen; /* what the filter leaves */
};

static uint64_t fake_ordinal(const struct segment *s, uint32_t row)
{
    return ((const struct fake *)s)->ordinals[row];
}

static enum err fake_filter(const struct segment *s, uint32_t n_rows, const struct filter *f, struct arena *a,
                            struct bitset *out, struct filter_rest *rest, struct errmsg *em)
{
    (void)f, (void)rest, (void)em;
    ck_assert(bitset_init(out, a, n_rows));
    bitset_or(out, &((const struct fake *)s)->chosen);
    return ERR_OK;
}

static const struct segment_ops fake_ops = {.ordinal = fake_ordinal, .filter = fake_filter};

/* Rows of `n` segments: their ordinals lie in stretches, one after the other, or mixed. */
static void make_segments(struct rng *r, struct fake *fakes, struct snapshot_segment *list, uint32_t n, struct arena *a)
{
    uint64_t ordinal = 0;
    uint32_t change = rng_below(r, 3) == 0 ? 2 : 1 + rng_below(r, 3000), n_rows[SEGMENTS_MAX] = {0};
    for (uint32_t i = 0; i < n; i++) {
        fakes[i] = (struct fake){.segment.ops = &fake_ops};
        n_rows[i] = 1 + rng_below(r, 3 * DEATHS_CHUNK_ROWS);
        fakes[i].ordinals = arena_array(a, n_rows[i], sizeof(uint64_t));
        fakes[i].died = arena_array(a, n_rows[i], sizeof(uint64_t));
        ck_assert(bitset_init(&fakes[i].chosen, a, n_rows[i]));
        ck_ok(deaths_init(&fakes[i].segment.deaths, n_rows[i]));
        if (rng_below(r, 4) != 0) let_die(r, &fakes[i].segment.deaths, fakes[i].died);
        uint32_t one_in = 1 + rng_below(r, 5);
        for (uint32_t row = 0; row < n_rows[i]; row++)
            if (rng_below(r, one_in) == 0) bitset_add(&fakes[i].chosen, row);
        list[i] = (struct snapshot_segment){&fakes[i].segment, n_rows[i]};
    }
    uint32_t at[SEGMENTS_MAX] = {0}, left = 0, i = 0;
    for (uint32_t k = 0; k < n; k++) left += n_rows[k];
    for (; left > 0; left--) { /* deal the ordinals out */
        if (rng_below(r, change) == 0) i = rng_below(r, n);
        while (at[i] == n_rows[i]) i = (i + 1) % n;
        fakes[i].ordinals[at[i]++] = ordinal += 1 + rng_below(r, 2);
    }
}

/* All visible rows in order, by merging the slow way. */
static uint32_t expect(const struct fake *fakes, const struct snapshot *s, bool is_filtered, struct row_ref *out)
{
    uint32_t at[SEGMENTS_MAX] = {0}, n = 0;
    for (;;) {
        uint32_t best = UINT32_MAX;
        for (uint32_t i = 0; i < s->n_segments; i++) {
            if (at[i] == s->segments[i].n_rows) continue;
            if (best == UINT32_MAX || fakes[i].ordinals[at[i]] < fakes[best].ordinals[at[best]]) best = i;
        }
        if (best == UINT32_MAX) return n;
        uint32_t row = at[best]++;
        if (is_dead(fakes[best].died, row, s->lsn)) continue;
        if (is_filtered && !bitset_get(&fakes[best].chosen, row)) continue;
        out[n++] = (struct row_ref){best, row};
    }
}

static void check_pages(struct rng *r, const struct fake *fakes, struct snapshot *s, struct arena *a)
{
    static const struct filter any = {.kind = FILTER_AND};
    static struct row_ref want[SEGMENTS_MAX * 3 * DEATHS_CHUNK_ROWS];
    for (int is_filtered = 0; is_filtered < 2; is_filtered++) {
        const struct selection sel = {.filter = is_filtered ? &any : NULL};
        uint32_t n_want = expect(fakes, s, is_filtered, want);
        for (int i = 0; i < 12; i++) {
            struct row_ref *page;
            uint32_t n, limit = i == 0 ? UINT32_MAX : rng_below(r, 150), offset = i == 0 ? 0 : rng_below(r, n_want + 5);
            ck_ok(exec_get(s, &sel, limit, offset, a, &page, &n, NULL));
            uint32_t left = offset < n_want ? n_want - offset : 0;
            ck_assert_uint_eq(n, left < limit ? left : limit);
            if (n > 0) ck_assert_mem_eq(page, want + offset, n * sizeof *page);
        }
    }
}

START_TEST(pages_skip_the_dead)
{
    struct rng r = {25112026};
    for (int round = 0, n_rounds = suite_share(100); round < n_rounds; round++) {
        struct arena a = {0};
        struct fake fakes[SEGMENTS_MAX];
        struct snapshot_segment list[SEGMENTS_MAX];
        uint32_t n = 1 + rng_below(&r, SEGMENTS_MAX);
        make_segments(&r, fakes, list, n, &a);
        for (int i = 0; i < 3; i++) {
            struct snapshot s = {.lsn = 1 + rng_below(&r, N_LSN + 2), .n_segments = n, .segments = list};
            check_pages(&r, fakes, &s, &a);
        }
        for (uint32_t i = 0; i < n; i++) deaths_deinit(&fakes[i].segment.deaths);
        arena_free(&a);
    }
}
END_TEST

/* --- while rows die ----------------------------------------------------------------------------------------------- */

enum { RACE_ROWS = 2 * DEATHS_CHUNK_ROWS };

struct race {
    struct deaths d;
    _Atomic uint64_t lsn; /* row i dies at 2 + i; published as a collection does it */
};

static void *read_main(void *arg)
{
    const struct race *race = arg;
    for (uint64_t lsn = 1; lsn < RACE_ROWS + 1;) {
        lsn = atomic_load(&race->lsn);
        uint32_t n = deaths_count(&race->d, 0, lsn) + deaths_count(&race->d, 1, lsn);
        ck_assert_uint_eq(n, lsn - 1);
        ck_assert_uint_eq(deaths_next_alive(&race->d, 0, lsn), lsn - 1);
    }
    return NULL;
}

START_TEST(readers_count_at_their_position)
{
    static struct race race;
    pthread_t readers[2];
    race.lsn = 1;
    ck_ok(deaths_init(&race.d, RACE_ROWS));
    for (int i = 0; i < 2; i++) ck_assert_int_eq(pthread_create(&readers[i], NULL, read_main, &race), 0);
    for (uint32_t row = 0; row < RACE_ROWS; row++) {
        ck_ok(deaths_mark(&race.d, row, 2 + row));
        atomic_store(&race.lsn, 2 + row);
    }
    for (int i = 0; i < 2; i++) ck_assert_int_eq(pthread_join(readers[i], NULL), 0);
    deaths_deinit(&race.d);
}
END_TEST

TESTS(segment, chunks_agree_with_rows_at_every_position, pages_skip_the_dead, readers_count_at_their_position)
