/* regex_prop.c - Unicode properties: which names Rust's regex knows, and the question "has this character it?".
 *
 * HAPPY PATH  a name is normalised as UAX #44 says (LM3), found among general categories, scripts or binary properties,
 *             and compiled as a PCRE2 class of one character; rx_prop_has matches that against the one character. So
 *             PCRE2's tables (Unicode 14 in 10.42) are the only ones.
 * FAILURE     ERR_NOMEM; an unknown name gives NULL. Asking never fails: pcre2_dfa_match works in the stack space it
 *             is given.
 * Not known here, though upstream does: Age, Grapheme_Cluster_Break, Word_Break, Sentence_Break and Other_*.
 */
#include "core/regex_internal.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>

#include "core/mem.h"
#include "core/utf8.h"

enum { TEXT_MAX = 96, WORKSPACE = 64, NAME_MAX_ = 48 };

struct rx_prop {
    struct rx_prop *next;
    char text[TEXT_MAX]; /* the PCRE2 pattern */
    pcre2_code *code;
    uint64_t ascii[2];              /* members below 128, asked once */
    const struct rx_set *with_fold; /* closed under case folding; NULL until asked for */
};

static void *pcre2_mem_alloc(PCRE2_SIZE size, void *ctx)
{
    (void)ctx;
    return mem_alloc(size);
}

static void pcre2_mem_free(void *p, void *ctx)
{
    (void)ctx;
    mem_free(p);
}

bool rx_probe_init(struct rx_probe *pb)
{
    pcre2_general_context *ctx = pcre2_general_context_create(pcre2_mem_alloc, pcre2_mem_free, NULL);
    if (ctx == NULL) return false;
    pcre2_match_data *md = pcre2_match_data_create(1, ctx); /* copies what it needs of ctx */
    pcre2_general_context_free(ctx);
    if (md == NULL) return false;
    pb->match_data = md;
    return true;
}

void rx_probe_deinit(struct rx_probe *pb)
{
    pcre2_match_data_free(pb->match_data);
    pb->match_data = NULL;
}

static bool ask(const struct rx_prop *p, uint32_t cp, struct rx_probe *pb)
{
    char text[4];
    int workspace[WORKSPACE];
    if (cp >= 0xD800 && cp <= 0xDFFF) return false;
    size_t n = utf8_encode(cp, text);
    int rc = pcre2_dfa_match(p->code, (PCRE2_SPTR)text, n, 0, PCRE2_NO_UTF_CHECK, pb->match_data, NULL, workspace,
                             WORKSPACE);
    CHECK((rc >= 0 || rc == PCRE2_ERROR_NOMATCH) && "one class on one character needs no memory");
    return rc >= 0;
}

bool rx_prop_has(const struct rx_prop *p, uint32_t cp, struct rx_probe *pb)
{
    return cp < 128 ? p->ascii[cp / 64] >> (cp % 64) & 1 : ask(p, cp, pb);
}

/* ERR_NOT_FOUND when PCRE2 refuses the text. */
static enum err prop_compile(const char *text, pcre2_code **code)
{
    pcre2_general_context *general = pcre2_general_context_create(pcre2_mem_alloc, pcre2_mem_free, NULL);
    if (general == NULL) return ERR_NOMEM;
    enum err e = ERR_NOMEM;
    pcre2_compile_context *ctx = pcre2_compile_context_create(general);
    if (ctx == NULL) goto out;
    int reason;
    PCRE2_SIZE at;
    *code = pcre2_compile((PCRE2_SPTR)text, strlen(text), PCRE2_UTF | PCRE2_ANCHORED | PCRE2_NO_UTF_CHECK, &reason, &at,
                          ctx);
    /* 121: PCRE2 could not get memory for the compiled pattern */
    e = *code != NULL ? ERR_OK : reason == 121 ? ERR_NOMEM : ERR_NOT_FOUND;
    pcre2_compile_context_free(ctx);
out:
    pcre2_general_context_free(general);
    return e;
}

enum err rx_prop_get(struct rx_props *ps, struct arena *a, const char *text, const struct rx_prop **p)
{
    for (struct rx_prop *i = ps->first; i != NULL; i = i->next) {
        if (strcmp(i->text, text) == 0) {
            *p = i;
            return ERR_OK;
        }
    }
    CHECK(strlen(text) < TEXT_MAX);
    struct rx_prop *fresh = arena_zalloc(a, sizeof *fresh);
    if (fresh == NULL) return ERR_NOMEM;
    memcpy(fresh->text, text, strlen(text) + 1);
    enum err e = prop_compile(text, &fresh->code);
    if (e == ERR_NOT_FOUND) {
        *p = NULL;
        return ERR_OK;
    }
    if (e != ERR_OK) return e;
    for (uint32_t c = 0; c < 128; c++) {
        if (ask(fresh, c, &ps->probe)) fresh->ascii[c / 64] |= UINT64_C(1) << (c % 64);
    }
    fresh->next = ps->first;
    ps->first = fresh;
    *p = fresh;
    return ERR_OK;
}

void rx_props_free(struct rx_props *ps)
{
    for (struct rx_prop *i = ps->first; i != NULL; i = i->next) pcre2_code_free(i->code);
    ps->first = NULL;
}

/* Upstream's definition (UTS #18, annex C), which is wider than PCRE2's own \w. */
enum err rx_prop_word(struct rx_props *ps, struct arena *a, const struct rx_prop **p)
{
    enum err e = rx_prop_get(ps, a, "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200C}\\x{200D}]", p);
    CHECK((e != ERR_OK || *p != NULL) && "libpcre2 is older than 10.40");
    return e;
}

/* ------------------------------------------------------------------------------------------------ names */
/* General categories: what PCRE2 calls it, then upstream's names, normalised. */
static const char *const categories[][4] = {
    {"C", "other"},
    {"Cc", "control", "cntrl"},
    {"Cf", "format"},
    {"Cn", "unassigned"},
    {"Co", "privateuse"},
    {"L", "letter"},
    {"L&", "casedletter", "lc"},
    {"Ll", "lowercaseletter"},
    {"Lm", "modifierletter"},
    {"Lo", "otherletter"},
    {"Lt", "titlecaseletter"},
    {"Lu", "uppercaseletter"},
    {"M", "mark", "combiningmark"},
    {"Mc", "spacingmark"},
    {"Me", "enclosingmark"},
    {"Mn", "nonspacingmark"},
    {"N", "number"},
    {"Nd", "decimalnumber", "digit"},
    {"Nl", "letternumber"},
    {"No", "othernumber"},
    {"P", "punctuation", "punct"},
    {"Pc", "connectorpunctuation"},
    {"Pd", "dashpunctuation"},
    {"Pe", "closepunctuation"},
    {"Pf", "finalpunctuation"},
    {"Pi", "initialpunctuation"},
    {"Po", "otherpunctuation"},
    {"Ps", "openpunctuation"},
    {"S", "symbol"},
    {"Sc", "currencysymbol"},
    {"Sk", "modifiersymbol"},
    {"Sm", "mathsymbol"},
    {"So", "othersymbol"},
    {"Z", "separator"},
    {"Zl", "lineseparator"},
    {"Zp", "paragraphseparator"},
    {"Zs", "spaceseparator"},
};

/* Lower case, without spaces, '_', '-' and a leading "is"; false when it is too long or holds other characters, which
 * no property's name does. `out` has room for NAME_MAX_ and a NUL. */
static bool normalise(struct str name, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (c == ' ' || c == '_' || c == '-') continue;
        if (c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) || n == NAME_MAX_) return false;
        out[n++] = c;
    }
    out[n] = '\0';
    if (n > 2 && out[0] == 'i' && out[1] == 's' && strcmp(out, "isc") != 0) memmove(out, out + 2, n - 1);
    return out[0] != '\0';
}

static bool same_but_case(const char *lower, const char *mixed)
{
    for (; *lower != '\0' && *mixed != '\0'; lower++, mixed++) {
        char c = *mixed >= 'A' && *mixed <= 'Z' ? (char)(*mixed - 'A' + 'a') : *mixed;
        if (c != *lower) return false;
    }
    return *lower == *mixed;
}

/* A class of PCRE2 for a general category, or false. */
static bool category_text(const char *name, char text[TEXT_MAX])
{
    if (strcmp(name, "assigned") == 0) {
        (void)snprintf(text, TEXT_MAX, "\\P{Cn}");
        return true;
    }
    for (size_t i = 0; i < sizeof categories / sizeof categories[0]; i++) {
        bool same = same_but_case(name, categories[i][0]);
        for (size_t j = 1; j < 4 && categories[i][j] != NULL; j++) same |= strcmp(name, categories[i][j]) == 0;
        if (!same) continue;
        (void)snprintf(text, TEXT_MAX, "\\p{%s}", categories[i][0]);
        return true;
    }
    return false;
}

static void script_text(const char *kind, const char *name, char text[TEXT_MAX])
{
    /* two second names that PCRE2 does not know */
    if (strcmp(name, "qaac") == 0) name = "copt";
    if (strcmp(name, "qaai") == 0) name = "zinh";
    (void)snprintf(text, TEXT_MAX, "\\p{%s:%s}", kind, name);
}

/* Names that PCRE2 would take though upstream has no such property: its own Xan, Xps, Xsp, Xuc, Xwd, its bidi classes,
 * and the surrogates. */
static bool only_pcre2_knows(const char *name)
{
    if (strcmp(name, "cs") == 0) return true;
    if (name[0] == 'x' && strncmp(name, "xid", 3) != 0) return true;
    return strncmp(name, "bidi", 4) == 0 && strcmp(name, "bidic") != 0 && strcmp(name, "bidicontrol") != 0 &&
           strcmp(name, "bidim") != 0 && strcmp(name, "bidimirrored") != 0;
}

static enum err by_single_name(struct rx_props *ps, struct arena *a, const char *name, const struct rx_prop **p)
{
    char text[TEXT_MAX];
    *p = NULL;
    if (category_text(name, text)) return rx_prop_get(ps, a, text, p);
    script_text("sc", name, text);
    enum err e = rx_prop_get(ps, a, text, p);
    if (e != ERR_OK || *p != NULL || only_pcre2_knows(name)) return e;
    (void)snprintf(text, TEXT_MAX, "\\p{%s}", name);
    return rx_prop_get(ps, a, text, p);
}

static enum err by_value(struct rx_props *ps, struct arena *a, const char *name, const char *value,
                         const struct rx_prop **p)
{
    char text[TEXT_MAX];
    *p = NULL;
    if (strcmp(name, "gc") == 0 || strcmp(name, "generalcategory") == 0) {
        if (!category_text(value, text)) return ERR_OK;
    } else if (strcmp(name, "sc") == 0 || strcmp(name, "script") == 0) {
        script_text("sc", value, text);
    } else if (strcmp(name, "scx") == 0 || strcmp(name, "scriptextensions") == 0) {
        script_text("scx", value, text);
    } else {
        return ERR_OK;
    }
    return rx_prop_get(ps, a, text, p);
}

static bool has_values(const char *name)
{
    static const char *const names[] = {
        "gc",  "generalcategory",      "sc", "script",    "scx", "scriptextensions", "age",
        "gcb", "graphemeclusterbreak", "wb", "wordbreak", "sb",  "sentencebreak"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i]) == 0) return true;
    }
    return false;
}

/* What folding adds: characters outside of p with an equal inside. Asked once for each character that has equals. */
static enum err prop_fold(struct rx_props *ps, struct arena *a, const struct rx_prop *p, const struct rx_set **s)
{
    struct rx_prop *mine = ps->first;
    while (mine != p) mine = mine->next;
    if (mine->with_fold == NULL) {
        enum { MOST = 4096 }; /* there are 2878 characters with equals */
        struct rx_range *r = arena_array(a, MOST, sizeof *r);
        const struct rx_set **kids = arena_array(a, 2, sizeof *kids);
        if (r == NULL || kids == NULL) return ERR_NOMEM;
        size_t n = 0;
        for (uint32_t c = rx_fold_first_from(0); c <= UTF8_CP_MAX; c = rx_fold_first_from(c + 1)) {
            if (rx_prop_has(p, c, &ps->probe)) continue;
            uint32_t e = rx_fold_next(c);
            while (e != c && !rx_prop_has(p, e, &ps->probe)) e = rx_fold_next(e);
            CHECK(n < MOST);
            if (e != c) r[n++] = (struct rx_range){c, c};
        }
        kids[0] = rx_set_prop(a, p);
        kids[1] = rx_set_ranges(a, rx_ranges_build(r, n));
        mine->with_fold = rx_set_or(a, kids, n == 0 ? 1 : 2);
    }
    *s = mine->with_fold;
    return *s != NULL ? ERR_OK : ERR_NOMEM;
}

enum err rx_prop_by_name(struct rx_props *ps, struct arena *a, struct str name, bool fold, const struct rx_set **s,
                         const char **why)
{
    char key[NAME_MAX_ + 1], value[NAME_MAX_ + 1];
    bool is_negated = false, has_value = false;
    struct str left = name, right = {"", 0};
    for (size_t i = 0; i < name.n; i++) { /* "!=" anywhere wins over ':' and '=' */
        if (i + 1 < name.n && name.p[i] == '!' && name.p[i + 1] == '=') {
            left.n = i;
            right = str_of(name.p + i + 2, name.n - i - 2);
            is_negated = has_value = true;
            break;
        }
    }
    for (int k = 0; k < 2 && !has_value; k++) {
        const char *at = name.n > 0 ? memchr(name.p, ":="[k], name.n) : NULL;
        if (at == NULL) continue;
        left.n = (size_t)(at - name.p);
        right = str_of(at + 1, name.n - left.n - 1);
        has_value = true;
    }
    *s = NULL;
    *why = "Unicode property not found";
    if (!normalise(left, key)) return ERR_OK;
    if (has_value && has_values(key)) *why = "Unicode property value not found";
    if (has_value && !normalise(right, value)) return ERR_OK;
    bool is_category = !has_value || strcmp(key, "gc") == 0 || strcmp(key, "generalcategory") == 0;
    const char *category = has_value ? value : key;
    const struct rx_prop *p = NULL;
    const struct rx_set *found;
    if (is_category && (strcmp(category, "any") == 0 || strcmp(category, "ascii") == 0)) { /* ranges that are known */
        found = rx_set_range(a, 0, category[1] == 'n' ? UTF8_CP_MAX : 0x7F);
        if (fold) found = rx_set_fold(a, found);
        *s = is_negated ? rx_set_not(a, found) : found;
        return *s != NULL ? ERR_OK : ERR_NOMEM;
    }
    enum err e = has_value ? by_value(ps, a, key, value, &p) : by_single_name(ps, a, key, &p);
    if (e != ERR_OK || p == NULL) return e;
    if (fold) {
        if ((e = prop_fold(ps, a, p, &found)) != ERR_OK) return e;
    } else {
        found = rx_set_prop(a, p);
    }
    *s = is_negated ? rx_set_not(a, found) : found;
    return *s != NULL ? ERR_OK : ERR_NOMEM;
}
