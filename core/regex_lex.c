/* regex_lex.c - the characters of a pattern: reading, flag x's white space, and the picture of an error.
 *
 * INVARIANTS  pos is at the start of a character or at the end; the pattern was checked to be UTF-8.
 */
#include "core/regex_internal.h"

#include "core/utf8.h"

/* ------------------------------------------------------------------------------------------------ reading */
bool rx_at_end(const struct rx_parser *p)
{
    return p->pos == p->pattern.n;
}

static size_t char_at(const struct rx_parser *p, size_t pos, uint32_t *cp)
{
    return utf8_decode(p->pattern.p + pos, p->pattern.n - pos, cp);
}

uint32_t rx_char(const struct rx_parser *p)
{
    uint32_t cp;
    CHECK(!rx_at_end(p) && "reading behind the pattern");
    (void)char_at(p, p->pos, &cp);
    return cp;
}

struct rx_span rx_here(const struct rx_parser *p)
{
    uint32_t cp;
    return (struct rx_span){p->pos, p->pos + (rx_at_end(p) ? 0 : char_at(p, p->pos, &cp))};
}

bool rx_bump(struct rx_parser *p)
{
    p->pos = rx_here(p).to;
    return !rx_at_end(p);
}

uint32_t rx_peek(const struct rx_parser *p)
{
    struct rx_parser ahead = *p;
    return rx_bump(&ahead) ? rx_char(&ahead) : UINT32_MAX;
}

uint32_t rx_peek_space(const struct rx_parser *p)
{
    struct rx_parser ahead = *p;
    return rx_bump_space(&ahead) ? rx_char(&ahead) : UINT32_MAX;
}

void rx_skip_space(struct rx_parser *p)
{
    if (!(p->flags & RX_X)) return;
    while (!rx_at_end(p)) {
        uint32_t c = rx_char(p);
        if (rx_is_space(c)) {
            (void)rx_bump(p);
        } else if (c == '#') {
            while (!rx_at_end(p) && rx_char(p) != '\n') (void)rx_bump(p);
        } else {
            return;
        }
    }
}

bool rx_bump_space(struct rx_parser *p)
{
    (void)rx_bump(p);
    rx_skip_space(p);
    return !rx_at_end(p);
}

bool rx_bump_if(struct rx_parser *p, const char *s)
{
    struct str rest = str_of(p->pattern.p + p->pos, p->pattern.n - p->pos);
    if (!str_starts(rest, str_from_c(s))) return false;
    p->pos += strlen(s); /* ASCII in all uses */
    return true;
}

bool rx_is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
           c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/* ------------------------------------------------------------------------------------------------ errors */
static size_t n_chars(const struct rx_parser *p, size_t from, size_t to)
{
    size_t n = 0;
    for (size_t i = from; i < to; i++) n += ((unsigned char)p->pattern.p[i] & 0xC0) != 0x80;
    return n;
}

/* A short pattern of one line is shown with the place marked below it; of others the place is told. */
enum err rx_fail(struct rx_parser *p, struct rx_span at, const char *reason)
{
    enum { SHOWN_MAX = 160 };
    char marks[SHOWN_MAX + 1];
    struct str s = p->pattern;
    size_t before = n_chars(p, 0, at.from), marked = n_chars(p, at.from, at.to);
    if (s.n > SHOWN_MAX - 1 || memchr(s.p, '\n', s.n) != NULL || memchr(s.p, '\0', s.n) != NULL) {
        return errmsg_set(p->em, ERR_INVALID, "regex parse error:\n    at character %zu of the pattern\nerror: %s",
                          before, reason);
    }
    if (marked == 0) marked = 1;
    memset(marks, '^', marked);
    marks[marked] = '\0';
    return errmsg_set(p->em, ERR_INVALID, "regex parse error:\n    " STR_FMT "\n    %*s%s\nerror: %s", STR_ARG(s),
                      (int)before, "", marks, reason);
}

void rx_late(struct rx_parser *p, struct rx_span at, const char *reason)
{
    if (p->late != NULL) return;
    p->late = reason;
    p->late_at = at;
}
