/* regex_escape.c - what follows a backslash, in patterns and in classes.
 *
 * HAPPY PATH  characters (\n, \., \x41, \u{1F642}), sets (\d, \pL, \p{Greek}), assertions (\A, \b, \b{start}).
 * FAILURE     ERR_INVALID where upstream refuses; ERR_NOMEM.
 */
#include "core/regex_internal.h"

#include "core/utf8.h"

static enum err unexpected_end(struct rx_parser *p, size_t from)
{
    return rx_fail(p, (struct rx_span){from, p->pos}, "incomplete escape sequence, reached end of pattern prematurely");
}

static int hex_of(uint32_t c)
{
    if (c >= '0' && c <= '9') return (int)(c - '0');
    if (c >= 'a' && c <= 'f') return (int)(c - 'a') + 10;
    if (c >= 'A' && c <= 'F') return (int)(c - 'A') + 10;
    return -1;
}

static enum err take_hex(struct rx_parser *p, uint32_t *v)
{
    int digit = hex_of(rx_char(p));
    if (digit < 0) return rx_fail(p, rx_here(p), "invalid hexadecimal digit");
    *v = *v > UTF8_CP_MAX ? *v : *v << 4 | (uint32_t)digit; /* stays too big once it is */
    return ERR_OK;
}

/* At the x, u or U: two, four or eight digits, or any number in braces. */
static enum err parse_hex(struct rx_parser *p, struct rx_escape *e)
{
    uint32_t kind = rx_char(p), v = 0;
    struct rx_span digits;
    enum err err;
    if (!rx_bump_space(p)) return unexpected_end(p, p->pos);
    if (rx_char(p) == '{') {
        size_t brace = p->pos;
        digits.from = p->pos + 1;
        while (rx_bump_space(p) && rx_char(p) != '}') {
            if ((err = take_hex(p, &v)) != ERR_OK) return err;
        }
        if (rx_at_end(p)) return unexpected_end(p, brace);
        digits.to = p->pos;
        (void)rx_bump_space(p);
        if (digits.from == digits.to) {
            return rx_fail(p, (struct rx_span){brace, digits.to + 1}, "hexadecimal literal empty");
        }
        e->kind = RX_ESC_CHAR;
    } else {
        int n = kind == 'x' ? 2 : kind == 'u' ? 4 : 8;
        digits.from = p->pos;
        for (int i = 0; i < n; i++) {
            if (i > 0 && !rx_bump_space(p)) return unexpected_end(p, p->pos);
            if ((err = take_hex(p, &v)) != ERR_OK) return err;
        }
        (void)rx_bump_space(p);
        digits.to = p->pos;
        e->kind = kind == 'x' && !(p->flags & RX_U) && v >= 0x80 ? RX_ESC_BYTE : RX_ESC_CHAR;
    }
    if (v > UTF8_CP_MAX || (v >= 0xD800 && v <= 0xDFFF)) {
        return rx_fail(p, digits, "hexadecimal literal is not a Unicode scalar value");
    }
    e->cp = v;
    return ERR_OK;
}

/* At the p or P. */
static enum err parse_property(struct rx_parser *p, struct rx_escape *e)
{
    bool is_negated = rx_char(p) == 'P';
    struct str name;
    struct buf spelled = {.max = RX_PATTERN_MAX}; /* without what flag x ignores */
    if (!rx_bump_space(p)) return unexpected_end(p, p->pos);
    if (rx_char(p) == '{') {
        while (rx_bump_space(p) && rx_char(p) != '}') {
            struct rx_span at = rx_here(p);
            buf_add(&spelled, p->pattern.p + at.from, at.to - at.from);
        }
        if (rx_at_end(p)) {
            buf_free(&spelled);
            return unexpected_end(p, p->pos);
        }
        name = buf_view(&spelled);
    } else {
        struct rx_span at = rx_here(p);
        if (rx_char(p) == '\\') return rx_fail(p, at, "invalid Unicode character class");
        name = str_of(p->pattern.p + at.from, at.to - at.from);
    }
    (void)rx_bump(p);
    e->kind = RX_ESC_SET;
    e->is_unicode = true;
    e->at.to = p->pos;
    const struct rx_set *s = NULL;
    const char *why = NULL;
    enum err err = spelled.err;
    if (err == ERR_OK) err = rx_prop_by_name(p->props, p->a, name, (p->flags & RX_I) != 0, &s, &why);
    buf_free(&spelled);
    if (err != ERR_OK) return err;
    if (!(p->flags & RX_U)) rx_late(p, e->at, "Unicode not allowed here");
    if (s == NULL) {
        rx_late(p, e->at, why);
        s = rx_set_range(p->a, 0, 0); /* stands in until the complaint is reported */
    }
    e->set = is_negated ? rx_set_not(p->a, s) : s;
    return e->set != NULL ? ERR_OK : ERR_NOMEM;
}

/* \d \s \w and their opposites; over bytes only ASCII, and no opposites. */
static enum err parse_perl(struct rx_parser *p, struct rx_escape *e)
{
    static const struct rx_range ascii_digit[] = {{'0', '9'}}, ascii_space[] = {{9, 13}, {' ', ' '}},
                                 ascii_word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}},
                                 space[] = {{9, 13},          {' ', ' '},       {0x85, 0x85},     {0xA0, 0xA0},
                                            {0x1680, 0x1680}, {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F},
                                            {0x205F, 0x205F}, {0x3000, 0x3000}};
    uint32_t c = rx_char(p);
    bool is_unicode = (p->flags & RX_U) != 0;
    const struct rx_prop *prop = NULL;
    enum err err = ERR_OK;
    struct rx_ranges r = {NULL, 0};
    switch (c) {
    case 'd':
    case 'D':
        r = (struct rx_ranges){ascii_digit, 1};
        if (is_unicode) err = rx_prop_get(p->props, p->a, "\\p{Nd}", &prop);
        break;
    case 's':
    case 'S':
        r = is_unicode ? (struct rx_ranges){space, 10} : (struct rx_ranges){ascii_space, 2};
        break;
    default:
        r = (struct rx_ranges){ascii_word, 4};
        if (is_unicode) err = rx_prop_word(p->props, p->a, &prop);
        break;
    }
    if (err != ERR_OK) return err;
    (void)rx_bump(p);
    e->kind = RX_ESC_SET;
    e->at.to = p->pos;
    bool is_negated = c == 'D' || c == 'S' || c == 'W';
    if (is_negated && !is_unicode) rx_late(p, e->at, "pattern can match invalid UTF-8");
    const struct rx_set *s = prop != NULL ? rx_set_prop(p->a, prop) : rx_set_ranges(p->a, r);
    e->set = is_negated ? rx_set_not(p->a, s) : s;
    return e->set != NULL ? ERR_OK : ERR_NOMEM;
}

static bool is_bound_char(uint32_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
}

/* Behind \b, at '{': {start} and its like; anything that is no name is left to be read as a repetition. */
static enum err parse_bound(struct rx_parser *p, struct rx_escape *e)
{
    static const struct {
        const char *name;
        uint32_t what;
    } bounds[] = {{"start", RX_WORD_START},
                  {"end", RX_WORD_END},
                  {"start-half", RX_WORD_START_HALF},
                  {"end-half", RX_WORD_END_HALF}};
    size_t brace = p->pos;
    char name[12] = "";
    size_t n = 0;
    if (!rx_bump_space(p)) {
        return rx_fail(p, (struct rx_span){e->at.from, p->pos},
                       "found either the beginning of a special word boundary or a bounded repetition on a \\b with an "
                       "opening brace, but no closing brace");
    }
    struct rx_span inside = {p->pos, p->pos};
    if (!is_bound_char(rx_char(p))) {
        p->pos = brace;
        return ERR_OK;
    }
    while (!rx_at_end(p) && is_bound_char(rx_char(p))) {
        if (n < sizeof name - 1) name[n++] = (char)rx_char(p);
        (void)rx_bump_space(p);
    }
    inside.to = p->pos;
    if (rx_at_end(p) || rx_char(p) != '}') {
        return rx_fail(p, (struct rx_span){brace, p->pos},
                       "special word boundary assertion is either unclosed or contains an invalid character");
    }
    (void)rx_bump(p);
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        if (strcmp(name, bounds[i].name) != 0) continue;
        e->cp = bounds[i].what;
        return ERR_OK;
    }
    return rx_fail(
        p, inside,
        "unrecognized special word boundary assertion, valid choices are: start, end, start-half or end-half");
}

static enum err parse_assert(struct rx_parser *p, uint32_t c, struct rx_escape *e)
{
    e->kind = RX_ESC_ASSERT;
    switch (c) {
    case 'A':
        e->cp = RX_TEXT_START;
        return ERR_OK;
    case 'z':
        e->cp = RX_TEXT_END;
        return ERR_OK;
    case 'B':
        e->cp = RX_WORD_INSIDE;
        break;
    case '<':
        e->cp = RX_WORD_START;
        break;
    case '>':
        e->cp = RX_WORD_END;
        break;
    default: {
        e->cp = RX_WORD_BOUND;
        enum err err = !rx_at_end(p) && rx_char(p) == '{' ? parse_bound(p, e) : ERR_OK;
        if (err != ERR_OK) return err;
    }
    }
    if (!(p->flags & RX_U)) e->cp += RX_ASSERT_ASCII;
    return ERR_OK;
}

enum err rx_parse_escape(struct rx_parser *p, struct rx_escape *e)
{
    static const char plain[] = "aftnrv", means[] = "\a\f\t\n\r\v";
    *e = (struct rx_escape){.at = {p->pos, p->pos}};
    enum err err;
    if (!rx_bump(p)) return unexpected_end(p, e->at.from);
    uint32_t c = rx_char(p);
    if (c >= '0' && c <= '9') {
        e->at.to = p->pos + 1;
        return rx_fail(p, e->at, "backreferences are not supported");
    }
    switch (c) {
    case 'x':
    case 'u':
    case 'U':
        err = parse_hex(p, e);
        e->at.to = p->pos;
        return err;
    case 'p':
    case 'P':
        return parse_property(p, e);
    case 'd':
    case 'D':
    case 's':
    case 'S':
    case 'w':
    case 'W':
        return parse_perl(p, e);
    default:
        break;
    }
    (void)rx_bump(p);
    e->at.to = p->pos;
    const char *found = c < 128 && c != 0 ? strchr(plain, (int)c) : NULL;
    if (found != NULL) {
        e->kind = RX_ESC_CHAR;
        e->cp = (unsigned char)means[found - plain];
        return ERR_OK;
    }
    if (c < 128 && c != 0 && strchr("AzbB<>", (int)c) != NULL) {
        err = parse_assert(p, c, e);
        e->at.to = p->pos;
        return err;
    }
    bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (c >= 128 || is_letter) return rx_fail(p, e->at, "unrecognized escape sequence");
    e->kind = RX_ESC_CHAR;
    e->cp = c;
    return ERR_OK;
}
