/* regex_needs.c - the literals that every match of a pattern contains.
 *
 * HAPPY PATH  a node is either exact (it matches a few texts, all known: then those) or has needs of its own. Exact
 *             neighbours are multiplied: colou?r -> {color, colour}. When there would be too many texts, those so far
 *             become a need ("one of these is in the document") and a new row of exact texts starts. A repetition at
 *             least once begins and ends with its body: ab+c -> "ab" and "bc".
 * FAILURE     NULL when memory is short.
 * INVARIANTS  whatever a node matches contains what its needs ask for. Assertions take no text and need nothing.
 */
#include "core/regex_internal.h"

#include "core/utf8.h"

enum {
    TEXTS_MAX = 32,   /* exact texts side by side */
    BYTES_MAX = 1024, /* in all of them, but for one run of characters of the pattern */
    POWER_MAX = 64,   /* bytes of a text that a repetition makes */
    CLASS_MAX = 8,    /* members of a class that is written out */
};

struct texts {
    struct str *s;
    uint32_t n; /* 0: not known, never "no text" */
};

struct info {
    struct texts exact;            /* all that the node matches; or n = 0 and what follows */
    struct texts edge;             /* it begins, and ends, with one of these; or n = 0 */
    const struct regex_need *need; /* when not exact */
};

struct analysis {
    struct arena *a;
    struct regex_need any;
    bool is_short; /* of memory */
};

static void *take(struct analysis *an, size_t n, size_t size)
{
    void *p = arena_array(an->a, n, size);
    if (p == NULL) an->is_short = true;
    return p;
}

static struct texts one_text(struct analysis *an, const char *p, size_t n)
{
    struct str *s = take(an, 1, sizeof *s);
    if (s == NULL) return (struct texts){NULL, 0};
    *s = arena_str(an->a, str_of(p, n));
    if (s->p == NULL) an->is_short = true;
    return (struct texts){s, 1};
}

static size_t total_bytes(struct texts t)
{
    size_t n = 0;
    for (uint32_t i = 0; i < t.n; i++) n += t.s[i].n;
    return n;
}

/* Every text of x followed by every text of y; n = 0 when that is more than the limits. */
static struct texts product(struct analysis *an, struct texts x, struct texts y)
{
    struct texts none = {NULL, 0};
    if (x.n == 0 || y.n == 0 || x.n * y.n > TEXTS_MAX) return none;
    if (x.n == 1 && x.s[0].n == 0) return y;
    if (y.n == 1 && y.s[0].n == 0) return x;
    if (total_bytes(x) * y.n + total_bytes(y) * x.n > BYTES_MAX) return none;
    struct texts out = {take(an, (size_t)x.n * y.n, sizeof *out.s), 0};
    if (out.s == NULL) return none;
    for (uint32_t i = 0; i < x.n; i++) {
        for (uint32_t j = 0; j < y.n; j++) {
            size_t n = x.s[i].n + y.s[j].n;
            char *p = take(an, n + 1, 1);
            if (p == NULL) return none;
            if (x.s[i].n > 0) memcpy(p, x.s[i].p, x.s[i].n);
            if (y.s[j].n > 0) memcpy(p + x.s[i].n, y.s[j].p, y.s[j].n);
            out.s[out.n++] = str_of(p, n);
        }
    }
    return out;
}

/* ------------------------------------------------------------------------------------------------ needs */
struct need_list {
    const struct regex_need **p;
    uint32_t n, cap;
};

static void add_need(struct analysis *an, struct need_list *l, const struct regex_need *need)
{
    if (need == NULL) return;
    if (l->n == l->cap) {
        uint32_t cap = l->cap == 0 ? 4 : l->cap * 2;
        const struct regex_need **p = take(an, cap, sizeof *p);
        if (p == NULL) return;
        for (uint32_t i = 0; i < l->n; i++) p[i] = l->p[i];
        l->p = p;
        l->cap = cap;
    }
    l->p[l->n++] = need;
}

static const struct regex_need *need_of_list(struct analysis *an, enum regex_need_kind kind, struct need_list l)
{
    if (l.n == 0) return &an->any;
    if (l.n == 1) return l.p[0];
    struct regex_need *need = take(an, 1, sizeof *need);
    if (need != NULL) *need = (struct regex_need){.kind = kind, .children = l.p, .n_children = l.n};
    return need;
}

/* "One of these texts is there"; ANY when one of them is empty. */
static const struct regex_need *need_of_texts(struct analysis *an, struct texts t)
{
    struct need_list l = {0};
    for (uint32_t i = 0; i < t.n; i++) {
        if (t.s[i].n == 0) return &an->any;
        struct regex_need *need = take(an, 1, sizeof *need);
        if (need == NULL) return NULL;
        *need = (struct regex_need){.kind = REGEX_LITERAL, .literal = t.s[i]};
        add_need(an, &l, need);
    }
    return need_of_list(an, REGEX_ONE_OF, l);
}

static const struct regex_need *need_of(struct analysis *an, const struct info *in)
{
    return in->exact.n > 0 ? need_of_texts(an, in->exact) : in->need;
}

/* ------------------------------------------------------------------------------------------------ nodes */
static struct info analyse(struct analysis *an, const struct rx_node *node);

static struct info analyse_class(struct analysis *an, const struct rx_class *cls)
{
    struct info unknown = {.need = &an->any};
    const struct rx_set *set = cls->set;
    if (set->kind != RX_SET_RANGES) return unknown;
    uint32_t n = 0;
    for (uint32_t i = 0; i < set->ranges.n; i++) {
        n += set->ranges.r[i].hi - set->ranges.r[i].lo + 1;
        if (n > CLASS_MAX) return unknown;
    }
    struct texts t = {take(an, n, sizeof *t.s), 0};
    if (t.s == NULL) return unknown;
    for (uint32_t i = 0; i < set->ranges.n; i++) {
        for (uint32_t c = set->ranges.r[i].lo; c <= set->ranges.r[i].hi; c++) {
            char utf8[4];
            t.s[t.n] = arena_str(an->a, str_of(utf8, utf8_encode(c, utf8)));
            if (t.s[t.n++].p == NULL) an->is_short = true;
        }
    }
    return (struct info){.exact = t};
}

/* The characters that stand side by side at kid *i, as one text; *i is left at the last. */
static struct info analyse_run(struct analysis *an, const struct rx_node *node, uint32_t *i)
{
    uint32_t first = *i, end = first;
    size_t bytes = 0;
    for (; end < node->n_kids && node->kids[end]->kind == RX_CHAR; end++) bytes += node->kids[end]->min_len;
    char *p = take(an, bytes + 4, 1);
    struct str *s = take(an, 1, sizeof *s);
    if (p == NULL || s == NULL) return (struct info){.need = &an->any};
    size_t n = 0;
    for (uint32_t k = first; k < end; k++) n += utf8_encode(node->kids[k]->cp, p + n);
    *s = str_of(p, n);
    *i = end - 1;
    return (struct info){.exact = {s, 1}};
}

static struct info analyse_concat(struct analysis *an, const struct rx_node *node)
{
    struct need_list needs = {0};
    struct texts empty = one_text(an, "", 0), row = empty; /* exact texts that end here */
    bool is_exact = true;
    for (uint32_t i = 0; i < node->n_kids && !an->is_short; i++) {
        bool is_char = node->kids[i]->kind == RX_CHAR;
        struct info kid = is_char ? analyse_run(an, node, &i) : analyse(an, node->kids[i]);
        struct texts front = kid.exact.n > 0 ? kid.exact : kid.edge;
        struct texts longer = product(an, row, front);
        if (kid.exact.n > 0 && longer.n > 0) {
            row = longer;
            continue;
        }
        is_exact = false;
        if (longer.n > 0) row = longer;
        const struct regex_need *need = need_of_texts(an, row);
        if (need != &an->any) add_need(an, &needs, need);
        if (kid.exact.n == 0 && longer.n == 0 && kid.need != &an->any) add_need(an, &needs, kid.need);
        row = front.n > 0 ? front : empty;
    }
    if (is_exact) return (struct info){.exact = row};
    const struct regex_need *need = need_of_texts(an, row);
    if (need != &an->any) add_need(an, &needs, need);
    return (struct info){.need = need_of_list(an, REGEX_ALL_OF, needs)};
}

static struct info analyse_alternatives(struct analysis *an, const struct rx_node *node)
{
    struct need_list needs = {0};
    struct texts all = {take(an, TEXTS_MAX, sizeof *all.s), 0};
    bool is_exact = all.s != NULL, is_any = false;
    for (uint32_t i = 0; i < node->n_kids && !an->is_short; i++) {
        struct info kid = analyse(an, node->kids[i]);
        is_exact &= kid.exact.n > 0 && all.n + kid.exact.n <= TEXTS_MAX;
        if (is_exact) {
            memcpy(all.s + all.n, kid.exact.s, kid.exact.n * sizeof *all.s);
            all.n += kid.exact.n;
        }
        const struct regex_need *need = need_of(an, &kid);
        is_any |= need == &an->any;
        add_need(an, &needs, need);
    }
    if (is_exact && total_bytes(all) <= BYTES_MAX) return (struct info){.exact = all};
    return (struct info){.need = is_any ? &an->any : need_of_list(an, REGEX_ONE_OF, needs)};
}

static struct info analyse_repeat(struct analysis *an, const struct rx_node *node)
{
    struct info unknown = {.need = &an->any};
    if (node->max == 0) return (struct info){.exact = one_text(an, "", 0)};
    struct info kid = analyse(an, node->kids[0]);
    if (node->min == 1 && node->max == 1) return kid;
    if (node->min == 0) {
        if (node->max != 1 || kid.exact.n == 0 || kid.exact.n == TEXTS_MAX) return unknown;
        struct texts t = {take(an, (size_t)kid.exact.n + 1, sizeof *t.s), kid.exact.n + 1};
        if (t.s == NULL) return unknown;
        memcpy(t.s, kid.exact.s, kid.exact.n * sizeof *t.s);
        t.s[kid.exact.n] = str_of("", 0);
        return (struct info){.exact = t};
    }
    if (kid.exact.n == 0) return (struct info){.need = kid.need};
    struct texts power = kid.exact;
    uint32_t k = 1;
    for (; k < node->min && total_bytes(power) < (size_t)POWER_MAX * power.n; k++) {
        struct texts next = product(an, power, kid.exact);
        if (next.n == 0) break;
        power = next;
    }
    if (k == node->min && node->min == node->max) return (struct info){.exact = power};
    return (struct info){.edge = power, .need = need_of_texts(an, power)};
}

static struct info analyse(struct analysis *an, const struct rx_node *node)
{
    char utf8[4];
    switch (node->kind) {
    case RX_EMPTY:
    case RX_FLAGS:
    case RX_ASSERT:
        return (struct info){.exact = one_text(an, "", 0)};
    case RX_CHAR:
        return (struct info){.exact = one_text(an, utf8, utf8_encode(node->cp, utf8))};
    case RX_CLASS:
        return analyse_class(an, node->cls);
    case RX_CONCAT:
        return analyse_concat(an, node);
    case RX_ALT:
        return analyse_alternatives(an, node);
    case RX_REPEAT:
        return analyse_repeat(an, node);
    }
    panic("node of unknown kind %d", (int)node->kind);
}

const struct regex_need *rx_needs(const struct rx_node *tree, struct arena *a, struct str *whole)
{
    struct analysis *an = arena_zalloc(a, sizeof *an); /* holds `any`, to which needs point */
    if (an == NULL) return NULL;
    an->a = a;
    struct info info = analyse(an, tree);
    const struct regex_need *need = an->is_short ? NULL : need_of(an, &info);
    if (an->is_short || need == NULL) return NULL;
    *whole = info.exact.n == 1 ? info.exact.s[0] : (struct str){NULL, 0};
    return need;
}
