/* test_rank.c - ranked searches against a model that follows the other formulation of the contract: every node of an
 * expression is a set of rows with scores and, maybe, a score for all other rows. Numbers are small multiples of a quarter,
 * so distances are exact and results are compared bit by bit.
 */
#include <float.h>
#include <math.h>
#include <stdio.h>

#include "core/epoch.h"
#include "core/mem.h"
#include "core/rank.h"
#include "tests/lib/suite.h"

enum { DIM = 2, N_IDS = 48, N_INDICES = 6 };

/* A metadata value: types in the order of the contract; `number` orders within the type. */
enum { MISSING, BOOL, INT, FLOAT, STRING, N_TYPES };
struct fact {
    int type;
    int number;
};

struct record {
    bool is_live, has_sparse;
    uint64_t order;
    float v[DIM];
    bool has_index[N_INDICES];
    float weights[N_INDICES];
    struct fact facts[2]; /* "a" and "b" */
};

struct fixture {
    struct collection *c;
    struct record r[N_IDS];
    uint64_t next_order, lsn;
    struct rng rng;
    struct arena arena;     /* of expressions and results */
    uint32_t sorted[N_IDS]; /* live records in the order of creation */
    uint32_t n;
};

/* --- data --------------------------------------------------------------------------------------------------------- */

static float quarter(struct rng *rng)
{
    return (float)((int)rng_below(rng, 33) - 16) / 4;
}

static void put_fact(struct buf *out, const char *key, const struct fact *f)
{
    char text[16];
    struct value v = {.type = VALUE_NULL};
    switch (f->type) {
    case BOOL:
        v = (struct value){.type = VALUE_BOOL, .b = f->number > 2};
        break;
    case INT:
        v = (struct value){.type = VALUE_INT, .i = f->number};
        break;
    case FLOAT:
        v = (struct value){.type = VALUE_FLOAT, .f = f->number};
        break;
    case STRING:
        v = (struct value){.type = VALUE_STR, .s = str_of(text, (size_t)sprintf(text, "s%d", f->number))};
        break;
    default:
        return;
    }
    meta_put(out, str_from_c(key), &v);
}

static void pack(const struct record *r, struct buf *out)
{
    uint32_t indices[N_INDICES], n = 0;
    float values[N_INDICES];
    put_fact(out, "a", &r->facts[0]);
    put_fact(out, "b", &r->facts[1]);
    if (!r->has_sparse) return;
    for (uint32_t i = 0; i < N_INDICES; i++) {
        if (!r->has_index[i]) continue;
        indices[n] = i * 1000;
        values[n++] = r->weights[i];
    }
    struct value v = {.type = VALUE_SPARSE, .sparse = {.n = n, .indices = indices, .values = values}};
    meta_put(out, STR("s"), &v);
}

static void randomize(struct fixture *f, struct record *r)
{
    for (int i = 0; i < DIM; i++) r->v[i] = quarter(&f->rng);
    r->has_sparse = rng_below(&f->rng, 4) != 0;
    for (int i = 0; i < N_INDICES; i++) {
        r->has_index[i] = rng_below(&f->rng, 3) == 0;
        r->weights[i] = quarter(&f->rng);
    }
    for (int i = 0; i < 2; i++) {
        r->facts[i].type = (int)rng_below(&f->rng, N_TYPES);
        r->facts[i].number = r->facts[i].type == BOOL ? 3 * (int)rng_below(&f->rng, 2) : (int)rng_below(&f->rng, 5);
    }
}

/* A delete or a whole new state of one record. An upsert merges metadata, so the model's old ones are removed by nulls. */
static void step(struct fixture *f)
{
    char text[16];
    uint32_t i = rng_below(&f->rng, N_IDS), changed;
    struct record *r = &f->r[i];
    struct str id = str_of(text, (size_t)sprintf(text, "id-%u", i));
    struct buf patch = {0}, packed = {0};
    uint8_t has_vector = 1;
    struct batch_input in = {.kind = BATCH_DELETE, .n_rows = 1, .dim = DIM, .ids = &id};
    struct bytes meta = {NULL, 0}, block;
    if (r->is_live && rng_below(&f->rng, 3) == 0) {
        r->is_live = false;
    } else {
        if (!r->is_live) r->order = f->next_order++;
        r->is_live = true;
        randomize(f, r);
        const struct value null = {.type = VALUE_NULL};
        meta_put(&packed, STR("a"), &null);
        meta_put(&packed, STR("b"), &null);
        meta_put(&packed, STR("s"), &null);
        struct buf facts = {0};
        pack(r, &facts);
        struct meta_iter a = meta_iter((struct bytes){packed.p, packed.n});
        struct meta_entry e, given;
        while (meta_next(&a, &e)) {
            bool is_given = meta_find((struct bytes){facts.p, facts.n}, e.key, &given);
            meta_put_raw(&patch, is_given ? &given : &e);
        }
        buf_free(&facts);
        meta = (struct bytes){patch.p, patch.n};
        in.kind = BATCH_UPSERT;
        in.vectors = r->v;
        in.has_vector = &has_vector;
        in.metas = &meta;
    }
    ck_ok(batch_build(&in, &block, NULL));
    ck_ok(collection_apply(f->c, ++f->lsn, block, &changed, NULL));
    buf_free(&packed);
    buf_free(&patch);
}

static void seal(struct fixture *f)
{
    struct sealed sealed;
    ck_ok(collection_seal(f->c, &sealed, NULL));
    if (sealed.tail != NULL) segment_unref(sealed.tail);
}

static void sort_records(struct fixture *f)
{
    f->n = 0;
    for (uint32_t i = 0; i < N_IDS; i++) {
        if (!f->r[i].is_live) continue;
        uint32_t at = f->n++;
        for (; at > 0 && f->r[f->sorted[at - 1]].order > f->r[i].order; at--) f->sorted[at] = f->sorted[at - 1];
        f->sorted[at] = i;
    }
}

static void setup(struct fixture *f, uint64_t seed, int n_steps)
{
    const struct collection_state none = {0};
    *f = (struct fixture){.rng = {seed}};
    ck_ok(collection_new(&f->c, 1, SPACE_L2, &none, NULL, 0, NULL));
    for (int i = 0; i < n_steps; i++) {
        step(f);
        if (rng_below(&f->rng, 50) == 0) seal(f);
    }
    sort_records(f);
}

static void teardown(struct fixture *f)
{
    arena_free(&f->arena);
    collection_retire(f->c);
    epoch_drain();
}

/* --- the model ------------------------------------------------------------------------------------------------------ */

struct domain { /* by place in `sorted` */
    bool in[N_IDS];
    float score[N_IDS];
    bool has_fill;
    float fill;
};

static bool passes(const struct record *r, const struct filter *filter)
{
    return filter == NULL || ((r->facts[0].type == INT || r->facts[0].type == FLOAT) && r->facts[0].number < 3);
}

/* False: not a candidate. */
static bool distance_of(const struct fixture *f, const struct rank *rank, const struct record *r, float *d)
{
    const struct sparse *q = &rank->leaf.sparse;
    bool shares = false;
    if (rank->kind == RANK_DENSE) {
        *d = 0;
        for (int i = 0; i < DIM; i++) *d += (rank->leaf.dense[i] - r->v[i]) * (rank->leaf.dense[i] - r->v[i]);
        return true;
    }
    *d = 0;
    for (uint32_t i = 0; i < q->n && r->has_sparse; i++) {
        uint32_t index = q->indices[i] / 1000;
        float weight = q->values[i];
        if (q->indices[i] % 1000 != 0 || !r->has_index[index]) continue;
        shares = true;
        if (rank->leaf.weighs_by_frequency) {
            uint32_t with = 0;
            for (uint32_t k = 0; k < f->n; k++) {
                const struct record *other = &f->r[f->sorted[k]];
                with += other->has_sparse && other->has_index[index];
            }
            weight *= log1pf((float)(((double)f->n - with + 0.5) / (with + 0.5)));
        }
        *d += weight * r->weights[index];
    }
    *d = 1 - *d;
    return shares;
}

static struct domain leaf_domain(const struct fixture *f, const struct rank *rank, const struct filter *filter)
{
    struct domain out = {.has_fill = rank->leaf.has_fallback, .fill = rank->leaf.fallback};
    float d[N_IDS];
    bool may[N_IDS];
    for (uint32_t i = 0; i < f->n; i++) {
        const struct record *r = &f->r[f->sorted[i]];
        may[i] = passes(r, filter) && distance_of(f, rank, r, &d[i]);
    }
    for (uint32_t place = 0; place < rank->leaf.limit; place++) {
        uint32_t best = N_IDS;
        for (uint32_t i = 0; i < f->n; i++)
            if (may[i] && (best == N_IDS || d[i] < d[best])) best = i;
        if (best == N_IDS) break;
        may[best] = false;
        out.in[best] = true;
        out.score[best] = rank->leaf.gives_place ? (float)place : d[best];
    }
    return out;
}

static float apply(enum rank_kind kind, float a, float b)
{
    switch (kind) {
    case RANK_SUM:
        return a + b;
    case RANK_MUL:
        return a * b;
    case RANK_MAX:
        return isnan(a) ? b : isnan(b) ? a : b > a ? b : a;
    case RANK_MIN:
        return isnan(a) ? b : isnan(b) ? a : b < a ? b : a;
    case RANK_SUB:
        return a - b;
    case RANK_DIV:
        return a / b;
    case RANK_ABS:
        return fabsf(a);
    case RANK_EXP:
        return expf(a);
    default:
        return logf(a);
    }
}

static struct domain merge(enum rank_kind kind, const struct domain *a, const struct domain *b)
{
    struct domain out = {.has_fill = a->has_fill && b->has_fill};
    if (out.has_fill) out.fill = apply(kind, a->fill, b->fill);
    for (uint32_t i = 0; i < N_IDS; i++) {
        if (a->has_fill && b->has_fill)
            out.in[i] = a->in[i] || b->in[i];
        else if (a->has_fill)
            out.in[i] = b->in[i];
        else if (b->has_fill)
            out.in[i] = a->in[i];
        else
            out.in[i] = a->in[i] && b->in[i];
        if (out.in[i]) out.score[i] = apply(kind, a->in[i] ? a->score[i] : a->fill, b->in[i] ? b->score[i] : b->fill);
    }
    return out;
}

static struct domain evaluate(const struct fixture *f, const struct rank *rank, const struct filter *filter)
{
    struct domain out = {.has_fill = true}, right;
    switch (rank->kind) {
    case RANK_VALUE:
        out.fill = rank->value;
        return out;
    case RANK_DENSE:
    case RANK_SPARSE:
        return leaf_domain(f, rank, filter);
    case RANK_ABS:
    case RANK_EXP:
    case RANK_LOG:
        out = evaluate(f, rank->operands[0], filter);
        for (uint32_t i = 0; i < N_IDS; i++) out.score[i] = apply(rank->kind, out.score[i], 0);
        out.fill = apply(rank->kind, out.fill, 0);
        return out;
    case RANK_SUB:
    case RANK_DIV:
        out = evaluate(f, rank->operands[0], filter);
        right = evaluate(f, rank->operands[1], filter);
        return merge(rank->kind, &out, &right);
    default:
        out.fill = rank->kind == RANK_MUL   ? 1
                   : rank->kind == RANK_MAX ? -FLT_MAX
                   : rank->kind == RANK_MIN ? FLT_MAX
                                            : 0;
        for (uint32_t i = 0; i < rank->n_operands; i++) {
            right = evaluate(f, rank->operands[i], filter);
            out = merge(rank->kind, &out, &right);
        }
        return out;
    }
}

struct model_row {
    uint32_t record; /* place in `sorted` */
    float score;
};

static bool is_before(const struct model_row *a, const struct model_row *b)
{
    if (isnan(a->score) != isnan(b->score)) return isnan(b->score);
    if (!isnan(a->score) && a->score != b->score) return a->score < b->score;
    if (!isnan(a->score) && signbit(a->score) != signbit(b->score)) return signbit(a->score);
    return a->record < b->record;
}

static int compare_facts(const struct fact *a, const struct fact *b)
{
    if (a->type != b->type) return a->type < b->type ? -1 : 1;
    if (a->type == MISSING) return 0;
    return a->number < b->number ? -1 : a->number > b->number;
}

static const struct fact *fact_of(const struct fixture *f, const struct model_row *row, struct str key)
{
    return &f->r[f->sorted[row->record]].facts[key.p[0] - 'a'];
}

/* Does `x` come before `y` in their group? Both are of one group; x is at the better rank iff is_better. */
static bool goes_first(const struct fixture *f, const struct rank_group *g, const struct model_row *x,
                       const struct model_row *y, bool is_better)
{
    for (uint32_t i = 0; i < g->n_by; i++) {
        int c = 0;
        if (g->by[i].p != NULL)
            c = compare_facts(fact_of(f, x, g->by[i]), fact_of(f, y, g->by[i]));
        else if (isnan(x->score) != isnan(y->score))
            c = isnan(y->score) ? -1 : 1;
        else if (x->score != y->score && !isnan(x->score))
            c = x->score < y->score ? -1 : 1;
        else if (!isnan(x->score))
            c = (signbit(y->score) != 0) - (signbit(x->score) != 0);
        if (c != 0) return (c < 0) != g->is_descending;
    }
    return is_better;
}

static uint32_t model_search(const struct fixture *f, const struct rank_search *search, struct model_row *out)
{
    struct model_row rows[N_IDS];
    uint32_t n = 0, n_out = 0;
    struct domain domain = evaluate(f, search->rank, search->selection.filter);
    for (uint32_t i = 0; i < f->n; i++) {
        if (!domain.in[i]) continue;
        struct model_row row = {i, domain.score[i]};
        uint32_t at = n++;
        for (; at > 0 && is_before(&row, &rows[at - 1]); at--) rows[at] = rows[at - 1];
        rows[at] = row;
    }
    for (uint32_t i = 0, seen = 0; i < n; i++) {
        const struct rank_group *g = search->group;
        uint32_t n_first = 0;
        for (uint32_t k = 0; k < n && g != NULL; k++) {
            bool is_same = true;
            for (uint32_t j = 0; j < g->n_keys; j++)
                is_same =
                    is_same && compare_facts(fact_of(f, &rows[i], g->keys[j]), fact_of(f, &rows[k], g->keys[j])) == 0;
            n_first += k != i && is_same && goes_first(f, g, &rows[k], &rows[i], k < i);
        }
        if (g != NULL && n_first >= g->k) continue;
        if (seen++ < search->offset || n_out >= search->limit) continue;
        out[n_out++] = rows[i];
    }
    return n_out;
}

/* --- random searches ------------------------------------------------------------------------------------------------ */

static void random_leaf(struct fixture *f, struct rank *rank)
{
    struct rank_leaf *leaf = &rank->leaf;
    struct rng *rng = &f->rng;
    leaf->limit = rng_below(rng, 8) == 0 ? UINT32_MAX - rng_below(rng, 2) : rng_below(rng, 30);
    leaf->gives_place = rng_below(rng, 3) == 0;
    leaf->has_fallback = rng_below(rng, 2) == 0;
    leaf->fallback = leaf->has_fallback ? quarter(rng) : 0;
    leaf->key = STR("s");
    if (rng_below(rng, 2) == 0) {
        float *dense = arena_array(&f->arena, DIM, sizeof *dense);
        for (int i = 0; i < DIM; i++) dense[i] = quarter(rng);
        rank->kind = RANK_DENSE;
        leaf->dense = dense;
        leaf->n_dense = DIM;
        return;
    }
    rank->kind = RANK_SPARSE;
    leaf->weighs_by_frequency = rng_below(rng, 4) == 0;
    leaf->sparse.indices = arena_array(&f->arena, N_INDICES * 2, sizeof(uint32_t));
    leaf->sparse.values = arena_array(&f->arena, N_INDICES * 2, sizeof(float));
    for (uint32_t i = 0; i < N_INDICES * 2; i++) { /* every other one is in no record */
        if (rng_below(rng, 3) == 0) continue;
        leaf->sparse.indices[leaf->sparse.n] = i / 2 * 1000 + i % 2;
        leaf->sparse.values[leaf->sparse.n++] = quarter(rng);
    }
}

static struct rank *random_rank(struct fixture *f, unsigned depth)
{
    struct rank *rank = arena_zalloc(&f->arena, sizeof *rank);
    uint32_t die = rng_below(&f->rng, depth == 0 ? 4 : 14);
    if (die == 0) {
        *rank = (struct rank){.kind = RANK_VALUE, .value = quarter(&f->rng)};
    } else if (die < 4) {
        random_leaf(f, rank);
    } else {
        rank->kind = (enum rank_kind)(RANK_SUM + die % 9);
        rank->n_operands = rank->kind >= RANK_ABS ? 1 : rank->kind >= RANK_SUB ? 2 : rng_below(&f->rng, 4);
        rank->operands = arena_array(&f->arena, 4, sizeof(struct rank *));
        for (uint32_t i = 0; i < rank->n_operands; i++) rank->operands[i] = random_rank(f, depth - 1);
    }
    return rank;
}

static uint32_t id_number(const struct snapshot *s, struct row_ref ref, struct arena *a)
{
    struct row row = {0};
    char text[16] = "";
    ck_ok(exec_row(s, ref, ROW_ID, a, &row, NULL));
    ck_assert_uint_lt(row.id.n, sizeof text);
    memcpy(text, row.id.p, row.id.n);
    return (uint32_t)atoi(text + 3);
}

static void compare(struct fixture *f, const struct snapshot *s, const struct rank_search *search, uint64_t seed)
{
    struct model_row wanted[N_IDS];
    struct rank_row *rows;
    uint32_t n, n_wanted = model_search(f, search, wanted);
    ck_ok(rank_search(s, search, &f->arena, &rows, &n, NULL));
    ck_assert_msg(n == n_wanted, "seed %llu: %u rows, not %u", (unsigned long long)seed, n, n_wanted);
    for (uint32_t i = 0; i < n; i++) {
        ck_assert_msg(id_number(s, rows[i].ref, &f->arena) == f->sorted[wanted[i].record], "seed %llu: row %u",
                      (unsigned long long)seed, i);
        ck_assert_msg(memcmp(&rows[i].score, &wanted[i].score, sizeof(float)) == 0 ||
                          (isnan(rows[i].score) && isnan(wanted[i].score)),
                      "seed %llu: score %a, not %a", (unsigned long long)seed, (double)rows[i].score,
                      (double)wanted[i].score);
    }
}

START_TEST(follows_the_model)
{
    static const struct str keys[] = {{"a", 1}, {"b", 1}};
    static const struct str by[][2] = {{{NULL, 0}, {"b", 1}}, {{"b", 1}, {NULL, 0}}, {{"a", 1}, {"b", 1}}};
    struct value three = {.type = VALUE_INT, .i = 3};
    struct filter filter = {.kind = FILTER_LT, .key = STR("a"), .values = &three, .n_values = 1};
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct fixture f;
        struct arena a = {0};
        struct snapshot s;
        setup(&f, seed, 300);
        ck_ok(snapshot_begin(f.c, &a, &s));
        ck_assert_uint_gt(s.n_segments, 1);
        for (int round = 0; round < 400; round++) {
            struct rank_group group = {
                .keys = keys + rng_below(&f.rng, 2),
                .n_keys = 1,
                .by = by[rng_below(&f.rng, 3)],
                .n_by = 1 + rng_below(&f.rng, 2),
                .is_descending = rng_below(&f.rng, 2) == 0,
                .k = 1 + rng_below(&f.rng, 3),
            };
            struct rank_search search = {.rank = random_rank(&f, 3), .limit = UINT32_MAX};
            if (rng_below(&f.rng, 3) == 0) search.selection.filter = &filter;
            if (rng_below(&f.rng, 3) == 0) search.group = &group;
            if (rng_below(&f.rng, 3) == 0) search.offset = rng_below(&f.rng, 8);
            if (rng_below(&f.rng, 3) == 0) search.limit = rng_below(&f.rng, 8);
            compare(&f, &s, &search, seed);
            arena_free(&f.arena);
        }
        snapshot_end(&s);
        arena_free(&a);
        teardown(&f);
    }
}
END_TEST

START_TEST(without_a_rank_rows_come_in_order_of_creation)
{
    struct fixture f;
    struct arena a = {0};
    struct snapshot s;
    struct rank_row *rows;
    uint32_t n;
    setup(&f, 77, 200);
    ck_ok(snapshot_begin(f.c, &a, &s));
    const struct rank_search page = {.offset = 3, .limit = 5};
    ck_ok(rank_search(&s, &page, &a, &rows, &n, NULL));
    ck_assert_uint_eq(n, 5);
    for (uint32_t i = 0; i < n; i++) {
        ck_assert_uint_eq(id_number(&s, rows[i].ref, &a), f.sorted[3 + i]);
        ck_assert(rows[i].score == (float)i);
    }
    snapshot_end(&s);
    arena_free(&a);
    teardown(&f);
}
END_TEST

START_TEST(an_empty_collection_has_no_rows)
{
    struct fixture f;
    struct arena a = {0};
    struct snapshot s;
    struct rank_row *rows;
    uint32_t n = 7;
    const float q[] = {1, 2, 3};
    struct rank rank = {.kind = RANK_DENSE, .leaf = {.dense = q, .n_dense = 3, .limit = UINT32_MAX}};
    setup(&f, 1, 0);
    ck_ok(snapshot_begin(f.c, &a, &s));
    const struct rank_search search = {.rank = &rank, .limit = UINT32_MAX};
    ck_ok(rank_search(&s, &search, &a, &rows, &n, NULL));
    ck_assert_uint_eq(n, 0);
    snapshot_end(&s);
    arena_free(&a);
    teardown(&f);
}
END_TEST

TESTS(rank, follows_the_model, without_a_rank_rows_come_in_order_of_creation, an_empty_collection_has_no_rows)
