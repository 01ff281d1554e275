/* regex_parse.c - a pattern in the syntax of Rust's regex crate -> a tree.
 *
 * HAPPY PATH  rx_parse reads alternatives of concatenations of items; groups and classes recurse. Escapes are read here
 *             for both patterns and classes. Captures and greediness do not matter to "is there a match", so they are
 *             checked and dropped.
 * FAILURE     ERR_INVALID with upstream's own picture of where and why; ERR_NOMEM. As upstream has it, complaints about
 *             meaning (an unknown property, bytes) come only after the whole pattern is found to be well-formed.
 * INVARIANTS  recursion is at most RX_NEST_MAX deep, and so is the tree, so that later passes may recurse too.
 */
#include "core/regex_internal.h"

#include "core/utf8.h"

#include <stdlib.h>

struct rx_name {
    struct rx_name *next;
    struct str name;
    struct rx_span at;
};

struct node_list {
    struct rx_node **p;
    uint32_t n, cap;
};

static bool list_add(struct arena *a, struct node_list *l, struct rx_node *node)
{
    if (l->n == l->cap) {
        uint32_t cap = l->cap == 0 ? 4 : l->cap * 2;
        struct rx_node **p = arena_array(a, cap, sizeof *p);
        if (p == NULL) return false;
        if (l->n > 0) memcpy(p, l->p, l->n * sizeof *p);
        l->p = p;
        l->cap = cap;
    }
    l->p[l->n++] = node;
    return true;
}

/* ------------------------------------------------------------------------------------------------ nodes */
static uint32_t add_sat(uint32_t a, uint32_t b)
{
    return a > RX_INFINITE - b ? RX_INFINITE : a + b;
}

static uint32_t mul_sat(uint32_t a, uint32_t b)
{
    uint64_t p = (uint64_t)a * b;
    if (a == 0 || b == 0) return 0; /* no bytes, however often */
    return p > RX_INFINITE ? RX_INFINITE : (uint32_t)p;
}

struct rx_node *rx_node_new(struct rx_parser *p, enum rx_kind kind)
{
    struct rx_node *node = arena_zalloc(p->a, sizeof *node);
    if (node != NULL) node->kind = kind;
    return node;
}

struct rx_node *rx_node_char(struct rx_parser *p, uint32_t cp)
{
    char utf8[4];
    struct rx_node *node = rx_node_new(p, RX_CHAR);
    if (node == NULL) return NULL;
    node->cp = cp;
    node->min_len = node->max_len = (uint32_t)utf8_encode(cp, utf8);
    return node;
}

static struct rx_node *node_assert(struct rx_parser *p, uint32_t what)
{
    struct rx_node *node = rx_node_new(p, RX_ASSERT);
    if (node != NULL) node->cp = what;
    return node;
}

/* A list becomes its only item, or a node that sums up its items. */
static struct rx_node *node_of_list(struct rx_parser *p, enum rx_kind kind, struct node_list l)
{
    if (l.n == 0) return rx_node_new(p, RX_EMPTY);
    if (l.n == 1) return l.p[0];
    struct rx_node *node = rx_node_new(p, kind);
    if (node == NULL) return NULL;
    node->kids = l.p;
    node->n_kids = l.n;
    node->min_len = kind == RX_ALT ? RX_INFINITE : 0;
    for (uint32_t i = 0; i < l.n; i++) {
        const struct rx_node *kid = l.p[i];
        if (kid->depth > node->depth) node->depth = kid->depth;
        node->is_bytes |= kid->is_bytes;
        if (kind == RX_CONCAT) {
            node->min_len = add_sat(node->min_len, kid->min_len);
            node->max_len = add_sat(node->max_len, kid->max_len);
        } else {
            if (kid->min_len < node->min_len) node->min_len = kid->min_len;
            if (kid->max_len > node->max_len) node->max_len = kid->max_len;
        }
    }
    node->depth++;
    return node;
}

static enum err too_deep(struct rx_parser *p, struct rx_span at)
{
    return rx_fail(p, at, "exceed the maximum number of nested parentheses/brackets (250)");
}

/* ------------------------------------------------------------------------------------------------ repetition */
static enum err repeat(struct rx_parser *p, struct node_list *l, uint32_t min, uint32_t max, struct rx_span at)
{
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): need_operand saw one */
    struct rx_node *kid = l->p[l->n - 1];
    if (kid->depth >= RX_NEST_MAX) return too_deep(p, at);
    struct rx_node *node = rx_node_new(p, RX_REPEAT);
    struct rx_node **kids = arena_array(p->a, 1, sizeof *kids);
    if (node == NULL || kids == NULL) return ERR_NOMEM;
    if (kid->max_len == 0) { /* what takes no text holds once or never: more turns change nothing */
        if (min > 1) min = 1;
        if (max > 1) max = 1;
    }
    kids[0] = kid;
    node->kids = kids;
    node->n_kids = 1;
    node->min = min;
    node->max = max;
    node->depth = kid->depth + 1;
    node->is_bytes = kid->is_bytes && max > 0;
    node->min_len = mul_sat(kid->min_len, min);
    node->max_len = max == RX_INFINITE && kid->max_len > 0 ? RX_INFINITE : mul_sat(kid->max_len, max);
    l->p[l->n - 1] = node;
    return ERR_OK;
}

static enum err need_operand(struct rx_parser *p, const struct node_list *l)
{
    if (l->n > 0 && l->p[l->n - 1]->kind != RX_FLAGS) return ERR_OK;
    return rx_fail(p, rx_here(p), "repetition operator missing expression");
}

static enum err parse_repeat_sign(struct rx_parser *p, struct node_list *l)
{
    struct rx_span at = rx_here(p);
    uint32_t c = rx_char(p);
    enum err e = need_operand(p, l);
    if (e != ERR_OK) return e;
    if (rx_bump(p) && rx_char(p) == '?') (void)rx_bump(p); /* lazy: finds the same texts */
    at.to = p->pos;
    return repeat(p, l, c == '+' ? 1 : 0, c == '?' ? 1 : RX_INFINITE, at);
}

/* *is_empty: there were no digits, which the caller may find right or wrong. */
static enum err parse_decimal(struct rx_parser *p, uint32_t *value, bool *is_empty)
{
    uint64_t v = 0;
    while (!rx_at_end(p) && rx_is_space(rx_char(p))) (void)rx_bump(p);
    struct rx_span at = {p->pos, p->pos};
    while (!rx_at_end(p) && rx_char(p) >= '0' && rx_char(p) <= '9') {
        if (v <= UINT32_MAX) v = v * 10 + (rx_char(p) - '0');
        (void)rx_bump_space(p);
    }
    at.to = p->pos;
    while (!rx_at_end(p) && rx_is_space(rx_char(p))) (void)rx_bump_space(p);
    if (v > UINT32_MAX) return rx_fail(p, at, "decimal literal invalid");
    *is_empty = at.from == at.to;
    *value = (uint32_t)v;
    return ERR_OK;
}

/* At '{': {n} {n,} {n,m}, with spaces around the numbers. */
static enum err parse_repeat_count(struct rx_parser *p, struct node_list *l)
{
    static const char no_number[] = "repetition quantifier expects a valid decimal";
    struct rx_span at = {p->pos, p->pos};
    uint32_t min, max;
    bool is_empty = false;
    enum err e = need_operand(p, l);
    if (e != ERR_OK) return e;
    if (!rx_bump_space(p)) goto unclosed;
    if ((e = parse_decimal(p, &min, &is_empty)) != ERR_OK) return e;
    struct rx_span number = {p->pos, p->pos};
    if (rx_at_end(p)) goto unclosed;
    bool has_comma = rx_char(p) == ',';
    if (has_comma && !rx_bump_space(p)) goto unclosed;
    if (is_empty) return rx_fail(p, number, no_number);
    /* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign): set by parse_decimal */
    max = min;
    if (has_comma && rx_char(p) == '}') {
        max = RX_INFINITE;
    } else if (has_comma) {
        if ((e = parse_decimal(p, &max, &is_empty)) != ERR_OK) return e;
        if (is_empty) return rx_fail(p, (struct rx_span){p->pos, p->pos}, no_number);
    }
    if (rx_at_end(p) || rx_char(p) != '}') goto unclosed;
    if (rx_bump_space(p) && rx_char(p) == '?') (void)rx_bump(p);
    at.to = p->pos;
    if (min > max) return rx_fail(p, at, "invalid repetition count range, the start must be <= the end");
    return repeat(p, l, min, max, at);
unclosed:
    at.to = p->pos;
    return rx_fail(p, at, "unclosed counted repetition");
}

/* ------------------------------------------------------------------------------------------------ groups */
static uint32_t flag_of(uint32_t c)
{
    switch (c) {
    case 'i':
        return RX_I;
    case 'm':
        return RX_M;
    case 's':
        return RX_S;
    case 'U':
        return RX_SWAP;
    case 'u':
        return RX_U;
    case 'x':
        return RX_X;
    case 'R':
        return RX_R;
    default:
        return 0;
    }
}

/* The flags up to ':' or ')', where it stops. *n = how many letters and signs there were. */
static enum err parse_flags(struct rx_parser *p, uint32_t *flags, uint32_t *n)
{
    uint32_t seen = 0, f = *flags;
    bool is_off = false, is_dangling = false;
    struct rx_span minus_at = {0, 0};
    for (*n = 0; rx_char(p) != ':' && rx_char(p) != ')'; (*n)++) {
        uint32_t c = rx_char(p);
        if (c == '-') {
            if (is_off) return rx_fail(p, rx_here(p), "flag negation operator repeated");
            is_off = is_dangling = true;
            minus_at = rx_here(p);
        } else {
            uint32_t flag = flag_of(c);
            if (flag == 0) return rx_fail(p, rx_here(p), "unrecognized flag");
            if (seen & flag) return rx_fail(p, rx_here(p), "duplicate flag");
            seen |= flag;
            f = is_off ? f & ~flag : f | flag;
            is_dangling = false;
        }
        if (!rx_bump(p)) return rx_fail(p, rx_here(p), "expected flag but got end of regex");
    }
    if (is_dangling) return rx_fail(p, minus_at, "dangling flag negation operator");
    *flags = f;
    return ERR_OK;
}

static enum err is_name_char(struct rx_parser *p, uint32_t c, bool is_first, bool *yes)
{
    *yes = c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (*yes) return ERR_OK;
    if (c < 128) {
        *yes = !is_first && ((c >= '0' && c <= '9') || c == '.' || c == '[' || c == ']');
        return ERR_OK;
    }
    const struct rx_prop *prop;
    enum err e = rx_prop_get(p->props, p->a, is_first ? "\\p{Alphabetic}" : "[\\p{Alphabetic}\\p{N}]", &prop);
    if (e == ERR_OK) *yes = prop != NULL && rx_prop_has(prop, c, &p->props->probe);
    return e;
}

/* A capture's name and the '>' behind it. */
static enum err parse_name(struct rx_parser *p)
{
    struct rx_span at = {p->pos, p->pos};
    if (rx_at_end(p)) return rx_fail(p, at, "unclosed capture group name");
    while (rx_char(p) != '>') {
        bool is_right;
        enum err e = is_name_char(p, rx_char(p), p->pos == at.from, &is_right);
        if (e != ERR_OK) return e;
        if (!is_right) return rx_fail(p, rx_here(p), "invalid capture group character");
        if (!rx_bump(p)) return rx_fail(p, rx_here(p), "unclosed capture group name");
    }
    at.to = p->pos;
    (void)rx_bump(p);
    if (at.from == at.to) return rx_fail(p, at, "empty capture group name");
    struct rx_name *name = arena_alloc(p->a, sizeof *name);
    if (name == NULL) return ERR_NOMEM;
    *name = (struct rx_name){p->names, str_of(p->pattern.p + at.from, at.to - at.from), at};
    p->names = name;
    return ERR_OK;
}

/* By name, then by place. */
static int name_cmp(const void *a, const void *b)
{
    const struct rx_name *const *x = a, *const *y = b;
    int c = str_cmp((*x)->name, (*y)->name);
    return c != 0 ? c : (*x)->at.from < (*y)->at.from ? -1 : 1;
}

/* At the end and sorted: comparing each name with all before it would take a hostile pattern's square. */
static enum err check_names(struct rx_parser *p)
{
    size_t n = 0;
    for (const struct rx_name *i = p->names; i != NULL; i = i->next) n++;
    if (n < 2) return ERR_OK;
    const struct rx_name **all = arena_array(p->a, n, sizeof *all);
    if (all == NULL) return ERR_NOMEM;
    n = 0;
    for (const struct rx_name *i = p->names; i != NULL; i = i->next) all[n++] = i;
    qsort(all, n, sizeof *all, name_cmp);
    for (size_t i = 1; i < n; i++) {
        if (str_eq(all[i - 1]->name, all[i]->name)) return rx_fail(p, all[i]->at, "duplicate capture group name");
    }
    return ERR_OK;
}

static enum err parse_alternatives(struct rx_parser *p, struct rx_node **node);

/* At '('. Either a group, or flags for the rest of the group around it. */
static enum err parse_group(struct rx_parser *p, struct rx_node **node)
{
    struct rx_span open = rx_here(p);
    uint32_t outer = p->flags;
    enum err e = ERR_OK;
    (void)rx_bump_space(p);
    size_t inner = p->pos;
    if (rx_bump_if(p, "?=") || rx_bump_if(p, "?!") || rx_bump_if(p, "?<=") || rx_bump_if(p, "?<!")) {
        open.to = p->pos;
        return rx_fail(p, open, "look-around, including look-ahead and look-behind, is not supported");
    }
    if (rx_bump_if(p, "?P<") || rx_bump_if(p, "?<")) {
        if ((e = parse_name(p)) != ERR_OK) return e;
    } else if (rx_bump_if(p, "?")) {
        uint32_t n, flags = p->flags;
        if (rx_at_end(p)) return rx_fail(p, open, "unclosed group");
        if ((e = parse_flags(p, &flags, &n)) != ERR_OK) return e;
        bool is_group = rx_char(p) == ':';
        (void)rx_bump(p);
        if (!is_group && n == 0) {
            return rx_fail(p, (struct rx_span){inner, inner + 1}, "repetition operator missing expression");
        }
        p->flags = flags;
        if (!is_group) {
            *node = rx_node_new(p, RX_FLAGS);
            return *node != NULL ? ERR_OK : ERR_NOMEM;
        }
    }
    if (p->nest >= RX_NEST_MAX) return too_deep(p, open);
    p->nest++;
    if ((e = parse_alternatives(p, node)) != ERR_OK) return e;
    p->nest--;
    if (rx_at_end(p)) return rx_fail(p, open, "unclosed group");
    (void)rx_bump(p);
    p->flags = outer;
    struct rx_node *inside = *node;
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): set by parse_alternatives */
    if (inside->kind == RX_FLAGS) inside->kind = RX_EMPTY; /* "((?i))*" repeats something, "(?i)*" nothing */
    if (++inside->depth > RX_NEST_MAX) return too_deep(p, open);
    return ERR_OK;
}

/* ------------------------------------------------------------------------------------------------ items */
static enum err parse_dot(struct rx_parser *p, struct rx_node **node)
{
    struct rx_span at = rx_here(p);
    struct rx_range r[3];
    size_t n = 0;
    (void)rx_bump(p);
    if (!(p->flags & RX_U)) rx_late(p, at, "pattern can match invalid UTF-8");
    uint32_t from = 0;
    if (!(p->flags & RX_S)) {
        r[n++] = (struct rx_range){0, '\n' - 1};
        from = '\n' + 1;
        if (p->flags & RX_R) {
            r[n++] = (struct rx_range){'\n' + 1, '\r' - 1};
            from = '\r' + 1;
        }
    }
    r[n++] = (struct rx_range){from, UTF8_CP_MAX};
    struct rx_range *kept = arena_alloc(p->a, sizeof r);
    if (kept == NULL) return ERR_NOMEM;
    memcpy(kept, r, sizeof r);
    return rx_node_class(p, rx_set_ranges(p->a, (struct rx_ranges){kept, (uint32_t)n}), at, node);
}

static enum err parse_anchor(struct rx_parser *p, struct rx_node **node)
{
    bool is_start = rx_char(p) == '^';
    uint32_t what = is_start ? RX_TEXT_START : RX_TEXT_END;
    if (p->flags & RX_M) {
        what = is_start ? RX_LINE_START : RX_LINE_END;
        if (p->flags & RX_R) what = is_start ? RX_CRLF_START : RX_CRLF_END;
    }
    (void)rx_bump(p);
    *node = node_assert(p, what);
    return *node != NULL ? ERR_OK : ERR_NOMEM;
}

static enum err parse_char(struct rx_parser *p, uint32_t cp, struct rx_span at, struct rx_node **node)
{
    if (!(p->flags & RX_I) || rx_fold_next(cp) == cp) {
        *node = rx_node_char(p, cp);
        return *node != NULL ? ERR_OK : ERR_NOMEM;
    }
    if (!(p->flags & RX_U)) { /* folding bytes gives a class of bytes */
        *node = rx_node_char(p, cp);
        if (*node == NULL) return ERR_NOMEM;
        (*node)->is_bytes |= cp < 128;
        return ERR_OK;
    }
    return rx_node_class(p, rx_set_fold(p->a, rx_set_range(p->a, cp, cp)), at, node);
}

static enum err parse_item(struct rx_parser *p, struct rx_node **node)
{
    struct rx_span at = rx_here(p);
    uint32_t c = rx_char(p);
    switch (c) {
    case '(':
        return parse_group(p, node);
    case '[':
        return rx_parse_class(p, node);
    case '.':
        return parse_dot(p, node);
    case '^':
    case '$':
        return parse_anchor(p, node);
    default:
        (void)rx_bump(p);
        return parse_char(p, c, at, node);
    case '\\':
        break;
    }
    struct rx_escape esc;
    enum err e = rx_parse_escape(p, &esc);
    if (e != ERR_OK) return e;
    if (esc.kind == RX_ESC_BYTE) rx_late(p, esc.at, "pattern can match invalid UTF-8");
    if (esc.kind == RX_ESC_BYTE || esc.kind == RX_ESC_CHAR) return parse_char(p, esc.cp, esc.at, node);
    if (esc.kind == RX_ESC_SET) return rx_node_class(p, esc.set, esc.at, node);
    *node = node_assert(p, esc.cp);
    return *node != NULL ? ERR_OK : ERR_NOMEM;
}

/* Up to ')' or the end, where it stops. */
static enum err parse_alternatives(struct rx_parser *p, struct rx_node **node)
{
    struct node_list alternatives = {0}, items = {0};
    for (;;) {
        rx_skip_space(p);
        bool is_end = rx_at_end(p) || rx_char(p) == ')';
        if (is_end || rx_char(p) == '|') {
            struct rx_span at = {p->pos, p->pos};
            struct rx_node *concat = node_of_list(p, RX_CONCAT, items);
            if (concat == NULL) return ERR_NOMEM;
            if (concat->depth > RX_NEST_MAX) return too_deep(p, at);
            if (!list_add(p->a, &alternatives, concat)) return ERR_NOMEM;
            items = (struct node_list){0};
            if (!is_end) {
                (void)rx_bump(p);
                continue;
            }
            if ((*node = node_of_list(p, RX_ALT, alternatives)) == NULL) return ERR_NOMEM;
            return (*node)->depth > RX_NEST_MAX ? too_deep(p, at) : ERR_OK;
        }
        enum err e;
        uint32_t c = rx_char(p);
        if (c == '*' || c == '+' || c == '?') {
            e = parse_repeat_sign(p, &items);
        } else if (c == '{') {
            e = parse_repeat_count(p, &items);
        } else {
            struct rx_node *item = NULL;
            e = parse_item(p, &item);
            if (e == ERR_OK && !list_add(p->a, &items, item)) e = ERR_NOMEM;
        }
        if (e != ERR_OK) return e;
    }
}

enum err rx_parse(struct rx_parser *p, struct rx_node **tree)
{
    struct rx_node *node;
    enum err e = parse_alternatives(p, &node);
    if (e != ERR_OK) return e;
    if (!rx_at_end(p)) return rx_fail(p, rx_here(p), "unopened group");
    if ((e = check_names(p)) != ERR_OK) return e;
    if (p->late != NULL) return rx_fail(p, p->late_at, p->late);
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): set by parse_alternatives */
    if (node->is_bytes) return errmsg_set(p->em, ERR_INVALID, "Byte pattern is not allowed");
    *tree = node;
    return ERR_OK;
}
