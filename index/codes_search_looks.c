/* codes_search_looks.c - a search of a section without lists, by looks (codes.h).
 *
 * HAPPY PATH  stretch by stretch of the section: 1. the first dimensions of all wanted rows are summed up, and those that these
 *             show nearest are picked; 2. the picked are measured, which brings the limit near to what it will be; 3. batch by batch, each
 *             look rules out rows, and blocks of which rows are left get more dimensions added; what is left after all becomes
 *             a candidate.
 *             The loops over blocks have no branch on what a look said: it would be guessed wrong every third time, at the
 *             cost of a whole look.
 * FAILURE     short memory is reported; `top` may have got offers then.
 * INVARIANT   a row that was picked is not wanted any more, so none is measured twice.
 */
#include "index/codes_search_internal.h"

enum {
    RUN_MIN = 4, /* blocks until picks have their first threshold */
    RUN_MAX = 32,
    BATCH = 128, /* blocks that are looked at with one limit */
};

/* Room for the sums of the longest stretch. */
static bool reserve_stretch(struct search *s, struct codes_prepared *p)
{
    uint32_t n = codes_n_blocks(s->codes->n);
    if (n > CODES_STRETCH_BLOCKS) n = CODES_STRETCH_BLOCKS;
    if (p->stretch_cap >= n) return true;
    p->stretch.sums = arena_alloc(s->q->arena, (size_t)n * CODES_BLOCK_ROWS * sizeof(uint16_t));
    p->stretch.wanted = arena_alloc(s->q->arena, n * sizeof(uint32_t));
    p->places = arena_alloc(s->q->arena, n * sizeof(uint32_t));
    p->stretch_cap = p->stretch.sums != NULL && p->stretch.wanted != NULL && p->places != NULL ? n : 0;
    return p->stretch_cap > 0;
}

/* Which rows of the blocks from `first` on are wanted at all. */
static void begin(const struct search *s, uint32_t first, uint32_t n, uint32_t *wanted)
{
    const uint32_t n_rows = s->codes->n;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = (first + i) * CODES_BLOCK_ROWS, left = n_rows - at;
        wanted[i] = left < CODES_BLOCK_ROWS ? (UINT32_C(1) << left) - 1 : UINT32_MAX;
        if (s->mask != NULL) wanted[i] &= (uint32_t)(s->mask->words[at / 64] >> (at % 64));
    }
}

/* --- picking ------------------------------------------------------------------------------------------------------ */

/* Picks are candidates; `estimate` is how many sums a row is short of the limit by its first dimensions. */
struct picks {
    struct codes_candidate *rows;
    uint32_t n, cap, wanted;
    float worst; /* rows that are not better need not be picked; INFINITY: all */
};

static void keep_best(struct picks *p)
{
    if (p->n <= p->wanted) return;
    codes_select(p->rows, p->n, p->wanted);
    p->n = p->wanted;
    p->worst = -INFINITY;
    for (uint32_t i = 0; i < p->n; i++) p->worst = fmaxf(p->worst, p->rows[i].estimate);
}

/* Of a block the rows in `hits`. */
static void pick(struct picks *p, const struct codes_stretch *t, const struct codes_look *l, uint32_t block,
                 uint32_t hits)
{
    const int16_t *looks = t->looks + (size_t)block * CODES_BLOCK_LOOKS;
    const uint16_t *sums = t->sums + (size_t)block * CODES_BLOCK_ROWS;
    for (; hits != 0; hits &= hits - 1) {
        unsigned j = (unsigned)__builtin_ctz(hits);
        int32_t least = ((int32_t)l->u * looks[j] >> 16) + ((int32_t)l->v * looks[CODES_BLOCK_ROWS + j] >> 16) + l->k;
        p->rows[p->n++] = (struct codes_candidate){(float)(least - sums[j]), -INFINITY, block * CODES_BLOCK_ROWS + j};
        if (p->n == p->cap) keep_best(p);
    }
}

static int16_t saturated(float v)
{
    return (int16_t)fmaxf(fminf(v, INT16_MAX), INT16_MIN);
}

/* Sums up the first dimensions of n blocks, and picks. */
static void sum_up(const struct search *s, const struct codes_stretch *t, uint32_t n, struct picks *p)
{
    /* Without a limit: relative to the distance of the centroid. */
    const float limit = s->limit < INFINITY ? s->limit : s->target.scan.base;
    const struct codes_look look = codes_look_at(&s->target, s->codes, 0, limit);
    uint32_t hits[RUN_MAX], longest = RUN_MIN;
    for (uint32_t at = 0, run; at < n; at += run) {
        for (run = 0; run < longest && at + run < n && t->wanted[at + run] != 0;) run++;
        if (run == 0) {
            run = 1;
            continue;
        }
        struct codes_look raised = look;
        raised.k = saturated((float)look.k - p->worst);
        s->kernels->first(t, at, run, &s->target.scan, &raised, hits);
        for (uint32_t i = 0; i < run; i++) pick(p, t, &look, at + i, t->wanted[at + i] & hits[i]);
        if (p->n > 2 * p->wanted) keep_best(p);
        longest = longest < RUN_MAX ? 2 * longest : RUN_MAX;
    }
    keep_best(p);
}

/* Lowers the limit to about what it will be. first: the stretch's first row. False when memory is short. */
static bool find_limit(struct search *s, struct codes_stretch *t, uint32_t n, uint32_t first)
{
    if (s->n > s->cap / 2 && !codes_drain(s, false)) return false;
    struct picks p = {.rows = s->candidates + s->n, .cap = s->cap - s->n, .worst = INFINITY};
    p.wanted = s->top->k + s->top->k / 2 + 5;
    CHECK(p.cap > p.wanted && "half of a buffer of at least 512 and 4 (k + 2)");
    if (s->limit < INFINITY) p.worst = 0; /* only rows that may lower it */
    sum_up(s, t, n, &p);
    for (uint32_t i = 0; i < p.n; i++) {
        uint32_t row = p.rows[i].row;
        t->wanted[row / CODES_BLOCK_ROWS] &= ~(UINT32_C(1) << row % CODES_BLOCK_ROWS);
        p.rows[i].row += first;
    }
    codes_measure_all(s, p.rows, p.n);
    return true;
}

/* --- looking ------------------------------------------------------------------------------------------------------ */

/* What is left of a block becomes candidates. */
static bool push(struct search *s, const struct codes_stretch *t, uint32_t block, uint32_t first)
{
    float estimate[CODES_BLOCK_ROWS], lower[CODES_BLOCK_ROWS];
    uint32_t hits = s->kernels->finish(t, block, &s->target.scan, s->limit, estimate, lower);
    for (; hits != 0; hits &= hits - 1) {
        unsigned j = (unsigned)__builtin_ctz(hits);
        float e = isnan(estimate[j]) ? -INFINITY : estimate[j];
        s->candidates[s->n++] = (struct codes_candidate){e, lower[j], first + block * CODES_BLOCK_ROWS + j};
    }
    return s->cap - s->n >= CODES_BLOCK_ROWS || codes_drain(s, false);
}

/* Looks at n blocks of t, which are in `blocks`. first: the stretch's first row. */
static bool look_at(struct search *s, const struct codes_stretch *t, uint32_t *blocks, uint32_t n, uint32_t first)
{
    for (uint32_t i = 0; i < s->target.n_looks; i++) {
        struct codes_look look = codes_look_at(&s->target, s->codes, i, s->limit);
        if (i > 0) {
            uint32_t n_before = s->target.prospects[i - 1].n_groups;
            struct codes_part more = codes_part(t, &s->target.scan, n_before, look.n_groups);
            s->kernels->add(t, blocks, n, &more);
        }
        n = s->kernels->look(t, blocks, n, &look, blocks);
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!push(s, t, blocks[i], first)) return false;
    }
    codes_settle(s);
    return true;
}

bool codes_scan_with_looks(struct search *s, struct codes_prepared *p)
{
    const struct codes *c = s->codes;
    const uint32_t n_blocks = codes_n_blocks(c->n);
    if (!reserve_stretch(s, p)) return false;
    for (uint32_t from = 0, n; from < n_blocks; from += n) {
        n = n_blocks - from < CODES_STRETCH_BLOCKS ? n_blocks - from : CODES_STRETCH_BLOCKS;
        struct codes_stretch t = {c->blocks + (size_t)from * c->first_dims * 4,
                                  c->rests + (size_t)from * (c->padded_dim - c->first_dims) * 4,
                                  c->looks + (size_t)from * CODES_BLOCK_LOOKS,
                                  c->unlimited + from,
                                  c->factors + (size_t)from * CODES_BLOCK_FACTORS,
                                  p->stretch.sums,
                                  p->stretch.wanted};
        uint32_t first = from * CODES_BLOCK_ROWS, n_places = 0;
        begin(s, from, n, t.wanted);
        if (!find_limit(s, &t, n, first)) return false;
        for (uint32_t i = 0; i < n; i++) {
            p->places[n_places] = i;
            n_places += t.wanted[i] != 0;
        }
        for (uint32_t i = 0; i < n_places; i += BATCH) {
            if (!look_at(s, &t, p->places + i, n_places - i < BATCH ? n_places - i : BATCH, first)) return false;
        }
    }
    return codes_drain(s, true);
}
