/* regex_compile.c - a tree -> a program for the automaton (K. Thompson, "Regular expression search algorithm", 1968).
 *
 * HAPPY PATH  each node emits its instructions behind those before it; counted repetitions are written out.
 * FAILURE     ERR_INVALID when the program would be longer than RX_PROGRAM_MAX; ERR_NOMEM.
 * INVARIANTS  every turn of a written-out repetition emits something (what takes no text repeats at most once, see
 *             regex_parse.c), so the length of the program bounds the work of writing it.
 */
#include "core/regex_internal.h"

#include "core/mem.h"

struct emitter {
    struct buf code;    /* of rx_inst */
    struct buf classes; /* of const struct rx_class * */
    uint32_t asserts;
    struct errmsg *em;
};

static uint32_t here(const struct emitter *m)
{
    return (uint32_t)(m->code.n / sizeof(struct rx_inst));
}

static struct rx_inst *at(struct emitter *m, uint32_t pc)
{
    return (struct rx_inst *)(void *)m->code.p + pc;
}

static enum err emit(struct emitter *m, enum rx_op op, uint32_t x, uint32_t y)
{
    struct rx_inst inst = {(uint32_t)op, x, y};
    if (here(m) >= RX_PROGRAM_MAX) {
        return errmsg_set(m->em, ERR_INVALID,
                          "regex parse error:\n    the pattern needs more than %d states\nerror: "
                          "compiled regex exceeds size limit",
                          (int)RX_PROGRAM_MAX);
    }
    buf_add(&m->code, &inst, sizeof inst);
    return m->code.err;
}

static enum err emit_node(struct emitter *m, const struct rx_node *node);

/* a|b|c: SPLIT a, (SPLIT b, c), each but the last jumping behind the end. Open jumps are chained through x. */
static enum err emit_alternatives(struct emitter *m, const struct rx_node *node)
{
    uint32_t open = UINT32_MAX;
    for (uint32_t i = 0; i < node->n_kids; i++) {
        bool is_last = i + 1 == node->n_kids;
        uint32_t split = here(m);
        enum err e = is_last ? ERR_OK : emit(m, RX_OP_SPLIT, split + 1, 0);
        if (e == ERR_OK) e = emit_node(m, node->kids[i]);
        if (e != ERR_OK || is_last) {
            if (e != ERR_OK) return e;
            continue;
        }
        uint32_t jump = here(m);
        if ((e = emit(m, RX_OP_JUMP, open, 0)) != ERR_OK) return e;
        open = jump;
        at(m, split)->y = here(m);
    }
    for (uint32_t next; open != UINT32_MAX; open = next) {
        next = at(m, open)->x;
        at(m, open)->x = here(m);
    }
    return ERR_OK;
}

static enum err emit_repeat(struct emitter *m, const struct rx_node *node)
{
    const struct rx_node *kid = node->kids[0];
    enum err e = ERR_OK;
    uint32_t first = here(m);
    for (uint32_t i = 0; i < node->min && e == ERR_OK; i++) {
        first = here(m);
        e = emit_node(m, kid);
    }
    if (e != ERR_OK) return e;
    if (node->max == RX_INFINITE && node->min > 0) return emit(m, RX_OP_SPLIT, first, here(m) + 1); /* the last again */
    if (node->max == RX_INFINITE) {
        uint32_t split = here(m);
        if ((e = emit(m, RX_OP_SPLIT, split + 1, 0)) != ERR_OK || (e = emit_node(m, kid)) != ERR_OK) return e;
        if ((e = emit(m, RX_OP_JUMP, split, 0)) != ERR_OK) return e;
        at(m, split)->y = here(m);
        return ERR_OK;
    }
    uint32_t open = UINT32_MAX; /* splits whose second way leads behind the end, chained through y */
    for (uint32_t i = node->min; i < node->max; i++) {
        uint32_t split = here(m);
        if ((e = emit(m, RX_OP_SPLIT, split + 1, open)) != ERR_OK || (e = emit_node(m, kid)) != ERR_OK) return e;
        open = split;
    }
    for (uint32_t next; open != UINT32_MAX; open = next) {
        next = at(m, open)->y;
        at(m, open)->y = here(m);
    }
    return ERR_OK;
}

static enum err emit_node(struct emitter *m, const struct rx_node *node)
{
    enum err e = ERR_OK;
    switch (node->kind) {
    case RX_EMPTY:
    case RX_FLAGS:
        return ERR_OK;
    case RX_CHAR:
        return emit(m, RX_OP_CHAR, node->cp, 0);
    case RX_ASSERT:
        m->asserts |= UINT32_C(1) << node->cp;
        return emit(m, RX_OP_ASSERT, node->cp, 0);
    case RX_ALT:
        return emit_alternatives(m, node);
    case RX_REPEAT:
        return emit_repeat(m, node);
    case RX_CLASS: {
        size_t n = m->classes.n / sizeof node->cls;
        const struct rx_class *last = NULL;
        if (n > 0) memcpy(&last, m->classes.p + m->classes.n - sizeof last, sizeof last);
        if (last == node->cls)
            n--; /* repeated: once is enough */
        else
            buf_add(&m->classes, &node->cls, sizeof node->cls);
        return m->classes.err != ERR_OK ? m->classes.err : emit(m, RX_OP_CLASS, (uint32_t)n, 0);
    }
    case RX_CONCAT:
        for (uint32_t i = 0; i < node->n_kids && e == ERR_OK; i++) e = emit_node(m, node->kids[i]);
        return e;
    }
    panic("node of unknown kind %d", (int)node->kind);
}

/* Every match begins at the start of the text. */
static bool is_anchored(const struct rx_node *node)
{
    switch (node->kind) {
    case RX_ASSERT:
        return node->cp == RX_TEXT_START;
    case RX_REPEAT:
        return node->min > 0 && is_anchored(node->kids[0]);
    case RX_ALT:
        for (uint32_t i = 0; i < node->n_kids; i++) {
            if (!is_anchored(node->kids[i])) return false;
        }
        return true;
    case RX_CONCAT:
        for (uint32_t i = 0; i < node->n_kids; i++) {
            if (is_anchored(node->kids[i])) return true;
            if (node->kids[i]->max_len > 0) return false;
        }
        return false;
    default:
        return false;
    }
}

enum err rx_compile(const struct rx_node *tree, struct arena *a, struct rx_props *props, struct rx_program *prog,
                    struct errmsg *em)
{
    struct emitter m = {.em = em};
    struct rx_program result = {.min_len = tree->min_len, .steps_max = RX_STEPS_MAX, .is_anchored = is_anchored(tree)};
    enum err e = emit_node(&m, tree);
    if (e == ERR_OK) e = emit(&m, RX_OP_MATCH, 0, 0);
    if (e != ERR_OK) goto out;
    result.n_inst = here(&m);
    result.n_classes = (uint32_t)(m.classes.n / sizeof(struct rx_class *));
    result.asserts = m.asserts;
    struct rx_inst *inst = arena_array(a, result.n_inst, sizeof *inst);
    const struct rx_class **classes = arena_array(a, result.n_classes, sizeof *classes);
    if (inst == NULL || classes == NULL) {
        e = ERR_NOMEM;
        goto out;
    }
    memcpy(inst, m.code.p, m.code.n);
    if (m.classes.n > 0) memcpy(classes, m.classes.p, m.classes.n);
    result.inst = inst;
    result.classes = classes;
    bool asks_word = (m.asserts >> RX_WORD_BOUND & ((1u << (RX_WORD_END_HALF - RX_WORD_BOUND + 1)) - 1)) != 0;
    if (asks_word) e = rx_prop_word(props, a, &result.word);
    if (e == ERR_OK) *prog = result;
out:
    buf_free(&m.code);
    buf_free(&m.classes);
    return e;
}
