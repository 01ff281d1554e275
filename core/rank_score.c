/* rank_score.c - joins the lists of an expression's leaves by record, and computes the scores.
 *
 * HAPPY PATH  the expression is flattened once into steps of a stack machine. All places of all lists are put into one
 *             array and sorted by record; each run is one record with its numbers, which replace the fallbacks while the
 *             steps run over it.
 * FAILURE     memory.
 * INVARIANTS  between records `numbers` holds the fallbacks. A stack of n_stack floats is enough for any operand order: it
 *             is counted while flattening. Float arithmetic is not contracted or widened (-std=c11, SSE or NEON).
 */
#include <float.h>
#include <stdlib.h>

#include "core/rank_internal.h"

/* --- the expression as steps ------------------------------------------------------------------------------------------ */

enum step_kind {
    STEP_VALUE,
    STEP_LEAF,
    STEP_ADD,
    STEP_SUB,
    STEP_MUL,
    STEP_DIV,
    STEP_MAX,
    STEP_MIN,
    STEP_ABS,
    STEP_EXP,
    STEP_LOG
};

struct step {
    enum step_kind kind;
    float value;   /* VALUE */
    uint32_t leaf; /* LEAF */
};

struct program {
    struct step *steps;
    size_t n;
    uint32_t n_leaves; /* met so far */
    uint32_t depth, n_stack;
};

/* Every operand of a fold costs one step of its own, and the fold one for its start. */
static size_t count_steps(const struct rank *r)
{
    size_t n = 1;
    for (uint32_t i = 0; i < r->n_operands; i++) n += count_steps(r->operands[i]) + 1;
    return n;
}

static void push(struct program *p, struct step step)
{
    p->steps[p->n++] = step;
    if (++p->depth > p->n_stack) p->n_stack = p->depth;
}

static void flatten(struct program *p, const struct rank *r);

static void flatten_fold(struct program *p, const struct rank *r, float start, enum step_kind kind)
{
    push(p, (struct step){.kind = STEP_VALUE, .value = start});
    for (uint32_t i = 0; i < r->n_operands; i++) {
        flatten(p, r->operands[i]);
        p->steps[p->n++] = (struct step){.kind = kind};
        p->depth--;
    }
}

static void flatten_pair(struct program *p, const struct rank *r, enum step_kind kind)
{
    CHECK(r->n_operands == 2 && "two operands");
    flatten(p, r->operands[0]);
    flatten(p, r->operands[1]);
    p->steps[p->n++] = (struct step){.kind = kind};
    p->depth--;
}

static void flatten_unary(struct program *p, const struct rank *r, enum step_kind kind)
{
    CHECK(r->n_operands == 1 && "one operand");
    flatten(p, r->operands[0]);
    p->steps[p->n++] = (struct step){.kind = kind};
}

static void flatten(struct program *p, const struct rank *r)
{
    switch (r->kind) {
    case RANK_VALUE:
        push(p, (struct step){.kind = STEP_VALUE, .value = r->value});
        break;
    case RANK_DENSE:
    case RANK_SPARSE:
        push(p, (struct step){.kind = STEP_LEAF, .leaf = p->n_leaves++});
        break;
    case RANK_SUM:
        flatten_fold(p, r, 0, STEP_ADD);
        break;
    case RANK_MUL:
        flatten_fold(p, r, 1, STEP_MUL);
        break;
    case RANK_MAX:
        flatten_fold(p, r, -FLT_MAX, STEP_MAX);
        break;
    case RANK_MIN:
        flatten_fold(p, r, FLT_MAX, STEP_MIN);
        break;
    case RANK_SUB:
        flatten_pair(p, r, STEP_SUB);
        break;
    case RANK_DIV:
        flatten_pair(p, r, STEP_DIV);
        break;
    case RANK_ABS:
        flatten_unary(p, r, STEP_ABS);
        break;
    case RANK_EXP:
        flatten_unary(p, r, STEP_EXP);
        break;
    case RANK_LOG:
        flatten_unary(p, r, STEP_LOG);
        break;
    }
}

/* The larger; a number where the other is NaN; the left of two zeros, which fmaxf leaves to the machine. */
static float larger(float a, float b)
{
    return isnan(b) || a >= b ? a : b;
}

static float smaller(float a, float b)
{
    return isnan(b) || a <= b ? a : b;
}

static float run(const struct program *p, const float *numbers, float *stack)
{
    float *top = stack; /* behind the last operand */
    for (size_t i = 0; i < p->n; i++) {
        const struct step *step = &p->steps[i];
        switch (step->kind) {
        case STEP_VALUE:
            *top++ = step->value;
            break;
        case STEP_LEAF:
            *top++ = numbers[step->leaf];
            break;
        case STEP_ADD:
            top--, top[-1] = top[-1] + top[0];
            break;
        case STEP_SUB:
            top--, top[-1] = top[-1] - top[0];
            break;
        case STEP_MUL:
            top--, top[-1] = top[-1] * top[0];
            break;
        case STEP_DIV:
            top--, top[-1] = top[-1] / top[0];
            break;
        case STEP_MAX:
            top--, top[-1] = larger(top[-1], top[0]);
            break;
        case STEP_MIN:
            top--, top[-1] = smaller(top[-1], top[0]);
            break;
        case STEP_ABS:
            top[-1] = fabsf(top[-1]);
            break;
        case STEP_EXP:
            top[-1] = expf(top[-1]);
            break;
        case STEP_LOG:
            top[-1] = logf(top[-1]);
            break;
        }
    }
    CHECK(top == stack + 1 && "an expression has one value");
    return stack[0];
}

/* --- the join ------------------------------------------------------------------------------------------------------- */

struct place { /* of one record in one list */
    uint64_t ordinal;
    struct row_ref ref;
    uint32_t leaf;
    float number;
};

static int by_record(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->ordinal != y->ordinal) return x->ordinal < y->ordinal ? -1 : 1;
    return x->leaf < y->leaf ? -1 : x->leaf > y->leaf;
}

static enum err collect_places(const struct rank_leaves *leaves, struct arena *a, struct place **out, size_t *n_out)
{
    size_t n = 0;
    for (uint32_t i = 0; i < leaves->n; i++) n += leaves->lists[i].n;
    struct place *places = arena_array(a, n, sizeof *places);
    if (places == NULL) return ERR_NOMEM;
    n = 0;
    for (uint32_t i = 0; i < leaves->n; i++) {
        const struct topk *list = &leaves->lists[i];
        for (uint32_t k = 0; k < list->n; k++) {
            const struct hit *h = &list->heap[k];
            float number = leaves->at[i]->gives_place ? (float)k : h->distance;
            places[n++] = (struct place){h->ordinal, {h->segment, h->row}, i, number};
        }
    }
    if (leaves->n > 1 && n > 1) qsort(places, n, sizeof *places, by_record);
    *out = places;
    *n_out = n;
    return ERR_OK;
}

enum err rank_score(const struct rank *rank, const struct rank_leaves *leaves, struct arena *a, struct scored **out,
                    size_t *n_out, struct errmsg *em)
{
    struct place *places = NULL;
    size_t n_places = 0, n = 0;
    uint32_t n_required = 0;
    struct program program = {.steps = arena_array(a, count_steps(rank), sizeof *program.steps)};
    if (program.steps == NULL) return errmsg_set(em, ERR_NOMEM, "an expression");
    flatten(&program, rank);
    CHECK(program.n_leaves == leaves->n && "leaves in the order of the expression");
    float *stack = arena_array(a, program.n_stack, sizeof *stack);
    float *numbers = arena_array(a, leaves->n, sizeof *numbers);
    if (stack == NULL || numbers == NULL || collect_places(leaves, a, &places, &n_places) != ERR_OK)
        return errmsg_set(em, ERR_NOMEM, "join %u lists", leaves->n);
    for (uint32_t i = 0; i < leaves->n; i++) {
        numbers[i] = leaves->at[i]->fallback;
        n_required += !leaves->at[i]->has_fallback;
    }
    struct scored *rows = arena_array(a, n_places, sizeof *rows);
    if (rows == NULL) return errmsg_set(em, ERR_NOMEM, "score %zu rows", n_places);
    for (size_t from = 0, to; from < n_places; from = to) {
        uint32_t n_found = 0;
        for (to = from; to < n_places && places[to].ordinal == places[from].ordinal; to++) {
            numbers[places[to].leaf] = places[to].number;
            n_found += !leaves->at[places[to].leaf]->has_fallback;
        }
        if (n_found == n_required)
            rows[n++] = (struct scored){places[from].ref, places[from].ordinal, run(&program, numbers, stack)};
        for (size_t i = from; i < to; i++) numbers[places[i].leaf] = leaves->at[places[i].leaf]->fallback;
    }
    *out = rows;
    *n_out = n;
    return ERR_OK;
}
