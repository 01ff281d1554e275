/* regex_parse_class.c - classes in brackets: [a-z], [^\d_], [[:alpha:]--[aeiou]], nested at will.
 *
 * HAPPY PATH  items are collected into a union; an operator (&&, --, ~~) combines the union before it with the one
 *             behind it, from left to right; the end negates if asked. Flag i folds what is written as characters
 *             and ranges; properties come folded, Perl's classes are closed under folding.
 * FAILURE     ERR_INVALID, ERR_NOMEM.
 * INVARIANTS  recursion is at most RX_NEST_MAX deep. Over bytes (flag u off) every set is of ASCII, or the pattern is
 *             refused.
 */
#include "core/regex_internal.h"

#include "core/utf8.h"

enum { BYTE_MAX = 0xFF };

struct range_list {
    struct rx_range *r;
    size_t n, cap;
};

/* A union while it is read. */
struct items {
    struct range_list raw;    /* as written: still to be folded */
    struct range_list closed; /* ranges that are closed under folding already */
    const struct rx_set **sets;
    uint32_t n_sets, cap_sets;
};

static bool add_ranges(struct arena *a, struct range_list *l, const struct rx_range *r, size_t n)
{
    if (l->n + n > l->cap) {
        size_t cap = (l->n + n) * 2;
        struct rx_range *bigger = arena_array(a, cap, sizeof *bigger);
        if (bigger == NULL) return false;
        if (l->n > 0) memcpy(bigger, l->r, l->n * sizeof *bigger);
        l->r = bigger;
        l->cap = cap;
    }
    if (n > 0) memcpy(l->r + l->n, r, n * sizeof *r);
    l->n += n;
    return true;
}

static bool add_set(struct arena *a, struct items *u, const struct rx_set *s)
{
    if (s == NULL) return false;
    if (s->kind == RX_SET_RANGES) return add_ranges(a, &u->closed, s->ranges.r, s->ranges.n);
    if (u->n_sets == u->cap_sets) {
        uint32_t cap = u->cap_sets == 0 ? 4 : u->cap_sets * 2;
        const struct rx_set **bigger = arena_array(a, cap, sizeof *bigger);
        if (bigger == NULL) return false;
        for (uint32_t i = 0; i < u->n_sets; i++) bigger[i] = u->sets[i];
        u->sets = bigger;
        u->cap_sets = cap;
    }
    u->sets[u->n_sets++] = s;
    return true;
}

/* Folding over bytes stays in ASCII: without U+212A for k, for example. */
static const struct rx_set *fold(struct rx_parser *p, const struct rx_set *s)
{
    if (!(p->flags & RX_I) || s == NULL) return s;
    if (p->flags & RX_U) return rx_set_fold(p->a, s);
    const struct rx_set *ascii = rx_set_range(p->a, 0, 0x7F);
    const struct rx_set *folded =
        rx_set_op(p->a, RX_SET_AND, rx_set_fold(p->a, rx_set_op(p->a, RX_SET_AND, s, ascii)), ascii);
    /* what is above ASCII is refused anyway; keep it so that it is */
    const struct rx_set *above = rx_set_op(p->a, RX_SET_SUB, s, ascii);
    return above == NULL || above->ranges.n > 0 ? above : folded;
}

static const struct rx_set *union_of(struct rx_parser *p, struct items *u)
{
    const struct rx_set *raw = fold(p, rx_set_ranges(p->a, rx_ranges_build(u->raw.r, u->raw.n)));
    if (raw == NULL || !add_ranges(p->a, &u->closed, raw->ranges.r, raw->ranges.n)) return NULL;
    const struct rx_set *ranges = rx_set_ranges(p->a, rx_ranges_build(u->closed.r, u->closed.n));
    if (u->n_sets == 0) return ranges;
    if (ranges == NULL) return NULL;
    if (ranges->ranges.n > 0) {
        const struct rx_set **kids = arena_array(p->a, (size_t)u->n_sets + 1, sizeof *kids);
        if (kids == NULL) return NULL;
        kids[0] = ranges;
        for (uint32_t i = 0; i < u->n_sets; i++) kids[i + 1] = u->sets[i];
        return rx_set_or(p->a, kids, u->n_sets + 1);
    }
    return rx_set_or(p->a, u->sets, u->n_sets);
}

static const struct rx_set *complement(struct rx_parser *p, const struct rx_set *s)
{
    const struct rx_set *all = rx_set_not(p->a, s);
    return p->flags & RX_U ? all : rx_set_op(p->a, RX_SET_AND, all, rx_set_range(p->a, 0, BYTE_MAX));
}

/* Over bytes a set that reaches above ASCII matches parts of characters. */
static void check_bytes(struct rx_parser *p, const struct rx_set *s, struct rx_span at)
{
    if (s == NULL || (p->flags & RX_U)) return;
    bool is_ascii = s->kind == RX_SET_RANGES && (s->ranges.n == 0 || s->ranges.r[s->ranges.n - 1].hi < 0x80);
    if (!is_ascii) rx_late(p, at, "pattern can match invalid UTF-8");
}

/* ------------------------------------------------------------------------------------------------ nodes */
/* Questions to PCRE2 that one rx_set_has may take. */
static uint32_t n_props(const struct rx_set *s)
{
    uint32_t n = s->kind == RX_SET_PROP;
    for (uint32_t i = 0; i < s->n_kids; i++) {
        uint32_t kid = n_props(s->kids[i]);
        n = n > UINT32_MAX - kid ? UINT32_MAX : n + kid;
    }
    return n;
}

/* Certainly not empty, from its form alone. */
static bool has_members(const struct rx_set *s)
{
    if (s->kind == RX_SET_RANGES) return s->ranges.n > 0;
    if (s->kind == RX_SET_PROP) return true;
    if (s->kind != RX_SET_OR) return false;
    for (uint32_t i = 0; i < s->n_kids; i++) {
        if (has_members(s->kids[i])) return true;
    }
    return false;
}

/* Looks for a member above ASCII. The effort is bounded per pattern: a set that is not found empty within it counts as
 * not empty, and then simply never matches. */
static bool is_empty(struct rx_parser *p, const struct rx_set *s)
{
    if (s->kind == RX_SET_RANGES || has_members(s)) return !has_members(s);
    uint32_t cost = n_props(s);
    for (uint32_t c = 0x80; c <= UTF8_CP_MAX; c++) {
        if (c == 0xD800) c = 0xE000;
        if (rx_set_has(s, c, &p->props->probe)) return false;
        if (p->effort < cost) return false;
        p->effort -= cost;
    }
    return true;
}

static uint32_t utf8_len(uint32_t cp)
{
    char utf8[4];
    return (uint32_t)utf8_encode(cp, utf8);
}

enum err rx_node_class(struct rx_parser *p, const struct rx_set *s, struct rx_span at, struct rx_node **node)
{
    if (s == NULL) return ERR_NOMEM;
    check_bytes(p, s, at);
    bool is_ranges = s->kind == RX_SET_RANGES;
    if (is_ranges && s->ranges.n == 1 && s->ranges.r[0].lo == s->ranges.r[0].hi) {
        *node = rx_node_char(p, s->ranges.r[0].lo);
        return *node != NULL ? ERR_OK : ERR_NOMEM;
    }
    struct rx_node *fresh = rx_node_new(p, RX_CLASS);
    struct rx_class *cls = arena_zalloc(p->a, sizeof *cls);
    if (fresh == NULL || cls == NULL) return ERR_NOMEM;
    cls->set = s;
    for (uint32_t c = 0; c < 128; c++) {
        if (rx_set_has(s, c, &p->props->probe)) cls->ascii[c / 64] |= UINT64_C(1) << (c % 64);
    }
    bool has_ascii = cls->ascii[0] != 0 || cls->ascii[1] != 0;
    fresh->cls = cls;
    fresh->is_bytes = !(p->flags & RX_U) || (!has_ascii && is_empty(p, s));
    fresh->min_len = has_ascii ? 1 : 2;
    fresh->max_len = 4;
    if (is_ranges && s->ranges.n > 0) {
        fresh->min_len = utf8_len(s->ranges.r[0].lo);
        fresh->max_len = utf8_len(s->ranges.r[s->ranges.n - 1].hi);
    }
    *node = fresh;
    return ERR_OK;
}

/* ------------------------------------------------------------------------------------------------ reading */
static enum err unclosed(struct rx_parser *p, size_t from, size_t to)
{
    return rx_fail(p, (struct rx_span){from, to}, "unclosed character class");
}

/* At '[' inside a class: [:name:] and [:^name:]. Anything else leaves pos as it was and *s NULL. */
static enum err parse_posix(struct rx_parser *p, const struct rx_set **s)
{
    static const struct {
        const char *name;
        struct rx_range r[5];
        uint32_t n;
    } classes[] = {
        {"alnum", {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}}, 3},
        {"alpha", {{'A', 'Z'}, {'a', 'z'}}, 2},
        {"ascii", {{0, 0x7F}}, 1},
        {"blank", {{'\t', '\t'}, {' ', ' '}}, 2},
        {"cntrl", {{0, 0x1F}, {0x7F, 0x7F}}, 2},
        {"digit", {{'0', '9'}}, 1},
        {"graph", {{'!', '~'}}, 1},
        {"lower", {{'a', 'z'}}, 1},
        {"print", {{' ', '~'}}, 1},
        {"punct", {{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}}, 4},
        {"space", {{9, 13}, {' ', ' '}}, 2},
        {"upper", {{'A', 'Z'}}, 1},
        {"word", {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}, 4},
        {"xdigit", {{'0', '9'}, {'A', 'F'}, {'a', 'f'}}, 3},
    };
    struct rx_span at = {p->pos, p->pos};
    *s = NULL;
    if (!rx_bump_if(p, "[:")) return ERR_OK;
    bool is_negated = rx_bump_if(p, "^");
    struct str rest = str_of(p->pattern.p + p->pos, p->pattern.n - p->pos);
    const char *end = rest.n > 0 ? memchr(rest.p, ':', rest.n < 8 ? rest.n : 8) : NULL; /* no name has 8 letters */
    struct str name = str_of(rest.p, end != NULL ? (size_t)(end - rest.p) : 0);
    if (end != NULL && name.n + 1 < rest.n && end[1] == ']') {
        for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
            if (!str_eq(name, str_from_c(classes[i].name))) continue;
            p->pos += name.n + 2;
            at.to = p->pos;
            const struct rx_set *found = fold(p, rx_set_ranges(p->a, (struct rx_ranges){classes[i].r, classes[i].n}));
            *s = is_negated ? complement(p, found) : found;
            check_bytes(p, *s, at);
            return *s != NULL ? ERR_OK : ERR_NOMEM;
        }
    }
    p->pos = at.from;
    return ERR_OK;
}

/* One character or one escape. */
static enum err parse_one(struct rx_parser *p, struct rx_escape *one)
{
    *one = (struct rx_escape){.kind = RX_ESC_CHAR, .at = rx_here(p)};
    if (rx_char(p) != '\\') {
        one->cp = rx_char(p);
        (void)rx_bump(p);
    } else {
        enum err e = rx_parse_escape(p, one);
        if (e != ERR_OK) return e;
    }
    if (one->kind == RX_ESC_BYTE)
        one->kind = RX_ESC_CHAR; /* refused by check_bytes */
    else if (one->kind == RX_ESC_CHAR && one->cp >= 0x80 && !(p->flags & RX_U)) {
        rx_late(p, one->at, "Unicode not allowed here");
    }
    return ERR_OK;
}

static enum err parse_range(struct rx_parser *p, struct items *u, struct rx_span open)
{
    struct rx_escape from, to;
    enum err e = parse_one(p, &from);
    if (e != ERR_OK) return e;
    rx_skip_space(p);
    if (rx_at_end(p)) return unclosed(p, open.from, open.to);
    bool is_range = rx_char(p) == '-' && rx_peek_space(p) != ']' && rx_peek_space(p) != '-';
    if (!is_range) {
        if (from.kind == RX_ESC_ASSERT) return rx_fail(p, from.at, "invalid escape sequence found in character class");
        if (from.kind == RX_ESC_SET) return add_set(p->a, u, from.set) ? ERR_OK : ERR_NOMEM;
        struct rx_range one = {from.cp, from.cp};
        return add_ranges(p->a, &u->raw, &one, 1) ? ERR_OK : ERR_NOMEM;
    }
    if (!rx_bump_space(p)) return unclosed(p, open.from, open.to);
    if ((e = parse_one(p, &to)) != ERR_OK) return e;
    if (from.kind != RX_ESC_CHAR) return rx_fail(p, from.at, "invalid range boundary, must be a literal");
    if (to.kind != RX_ESC_CHAR) return rx_fail(p, to.at, "invalid range boundary, must be a literal");
    if (from.cp > to.cp) {
        return rx_fail(p, (struct rx_span){from.at.from, to.at.to},
                       "invalid character class range, the start must be <= the end");
    }
    struct rx_range r = {from.cp, to.cp};
    return add_ranges(p->a, &u->raw, &r, 1) ? ERR_OK : ERR_NOMEM;
}

/* Behind "[" and "[^": what may stand there only. */
static enum err parse_opening(struct rx_parser *p, struct items *u, size_t open, bool *is_negated)
{
    static const struct rx_range dash = {'-', '-'}, bracket = {']', ']'};
    *is_negated = false;
    if (!rx_bump_space(p)) return unclosed(p, open, p->pos);
    if (rx_char(p) == '^') {
        *is_negated = true;
        if (!rx_bump_space(p)) return unclosed(p, open, p->pos);
    }
    while (rx_char(p) == '-') {
        if (!add_ranges(p->a, &u->raw, &dash, 1)) return ERR_NOMEM;
        if (!rx_bump_space(p)) return unclosed(p, open, open + 1);
    }
    if (u->raw.n == 0 && rx_char(p) == ']') {
        if (!add_ranges(p->a, &u->raw, &bracket, 1)) return ERR_NOMEM;
        if (!rx_bump_space(p)) return unclosed(p, open, p->pos);
    }
    return ERR_OK;
}

static bool parse_operator(struct rx_parser *p, enum rx_set_kind *op)
{
    if (rx_bump_if(p, "&&"))
        *op = RX_SET_AND;
    else if (rx_bump_if(p, "--"))
        *op = RX_SET_SUB;
    else if (rx_bump_if(p, "~~"))
        *op = RX_SET_XOR;
    else
        return false;
    return true;
}

/* At '['. *depth: levels of brackets and operators. */
static enum err parse_brackets(struct rx_parser *p, const struct rx_set **s, uint32_t *depth)
{
    struct items u = {0};
    struct rx_span at = {p->pos, p->pos + 1};
    const struct rx_set *left = NULL; /* of the operator `op`, once one was read */
    enum rx_set_kind op = RX_SET_AND, next_op = RX_SET_AND;
    uint32_t deepest = 0, left_depth = 0;
    bool is_negated;
    if (p->nest >= RX_NEST_MAX) {
        return rx_fail(p, at, "exceed the maximum number of nested parentheses/brackets (250)");
    }
    p->nest++;
    enum err e = parse_opening(p, &u, at.from, &is_negated);
    if (e != ERR_OK) return e;
    struct rx_span open = {at.from, p->pos};
    for (;;) {
        rx_skip_space(p);
        if (rx_at_end(p)) return unclosed(p, open.from, open.to);
        if (rx_char(p) == '[') {
            const struct rx_set *inner;
            uint32_t inner_depth = 0;
            if ((e = parse_posix(p, &inner)) != ERR_OK) return e;
            if (inner == NULL && (e = parse_brackets(p, &inner, &inner_depth)) != ERR_OK) return e;
            if (inner_depth > deepest) deepest = inner_depth;
            if (!add_set(p->a, &u, inner)) return ERR_NOMEM;
            continue;
        }
        bool is_end = rx_char(p) == ']';
        if (!is_end && !parse_operator(p, &next_op)) {
            if ((e = parse_range(p, &u, open)) != ERR_OK) return e;
            continue;
        }
        const struct rx_set *whole = union_of(p, &u);
        if (left != NULL) {
            whole = rx_set_op(p->a, op, left, whole);
            deepest = (left_depth > deepest ? left_depth : deepest) + 1;
            if (deepest > RX_NEST_MAX) {
                return rx_fail(p, at, "exceed the maximum number of nested parentheses/brackets (250)");
            }
        }
        if (whole == NULL) return ERR_NOMEM;
        u = (struct items){0};
        left = whole;
        left_depth = deepest;
        deepest = 0;
        if (is_end) break;
        op = next_op;
    }
    (void)rx_bump(p);
    at.to = p->pos;
    p->nest--;
    *s = is_negated ? complement(p, left) : left;
    check_bytes(p, *s, at);
    *depth = left_depth + 1;
    return *s != NULL ? ERR_OK : ERR_NOMEM;
}

enum err rx_parse_class(struct rx_parser *p, struct rx_node **node)
{
    struct rx_span at = rx_here(p);
    const struct rx_set *s = NULL;
    uint32_t depth = 0;
    enum err e = parse_brackets(p, &s, &depth);
    if (e != ERR_OK) return e;
    at.to = p->pos;
    if (depth > RX_NEST_MAX) {
        return rx_fail(p, at, "exceed the maximum number of nested parentheses/brackets (250)");
    }
    if ((e = rx_node_class(p, s, at, node)) != ERR_OK) return e;
    (*node)->depth = depth;
    return ERR_OK;
}
