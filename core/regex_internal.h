/* regex_internal.h - what the files of core/regex*.c share; included by them and their tests only.
 *
 *   pattern --regex_parse.c, regex_parse_class.c--> tree of rx_node
 *           --regex_compile.c--> program of rx_inst --regex_match.c--> yes or no
 *           --regex_needs.c----> tree of regex_need
 * A class of characters is a tree of sets (regex_set.c) whose leaves are code-point ranges and Unicode properties. The
 * tables of properties are PCRE2's (regex_prop.c); case folding has its own table (regex_fold.c).
 * Everything that is made for a pattern lives in its arena.
 */
#ifndef CORE_REGEX_INTERNAL_H
#define CORE_REGEX_INTERNAL_H

#include "core/arena.h"
#include "core/regex.h"
#include "core/utf8.h"

enum {
    RX_INFINITE = UINT32_MAX,  /* no upper bound of a repetition, or of a length */
    RX_NEST_MAX = 250,         /* upstream's own limit */
    RX_PATTERN_MAX = 1 << 20,  /* bytes */
    RX_PROGRAM_MAX = 1 << 18,  /* instructions */
    RX_STEPS_MAX = 1 << 29,    /* instructions looked at in one text */
    RX_EFFORT_MAX = 12 << 20,  /* questions asked to find out whether sets are empty */
    RX_MEMORY_MAX = 256 << 20, /* bytes of tree, program and needs */
};

/* ------------------------------------------------------------------------------------------------ sets */
struct rx_range {
    uint32_t lo, hi; /* both included */
};

/* Sorted, neither overlapping nor touching: the canonical form of every list of ranges outside of rx_ranges_build. */
struct rx_ranges {
    const struct rx_range *r;
    uint32_t n;
};

struct rx_prop; /* a Unicode property, regex_prop.c */

/* Scratch memory of PCRE2 for asking about one character; one thread at a time. */
struct rx_probe {
    void *match_data;
};
bool rx_probe_init(struct rx_probe *pb); /* false: memory is short */
void rx_probe_deinit(struct rx_probe *pb);

enum rx_set_kind { RX_SET_RANGES, RX_SET_PROP, RX_SET_NOT, RX_SET_OR, RX_SET_AND, RX_SET_SUB, RX_SET_XOR };

struct rx_set {
    enum rx_set_kind kind;
    struct rx_ranges ranges;          /* RANGES */
    const struct rx_prop *prop;       /* PROP */
    const struct rx_set *const *kids; /* the others: one for NOT, two for AND, SUB and XOR, any number for OR */
    uint32_t n_kids;
};

/* All constructors return NULL when memory is short, and accept NULL operands for that reason. */
struct rx_ranges rx_ranges_build(struct rx_range *r, size_t n); /* sorts `r` in place, joins */
const struct rx_set *rx_set_ranges(struct arena *a, struct rx_ranges r);
const struct rx_set *rx_set_range(struct arena *a, uint32_t lo, uint32_t hi);
const struct rx_set *rx_set_prop(struct arena *a, const struct rx_prop *p);
const struct rx_set *rx_set_not(struct arena *a, const struct rx_set *s);
const struct rx_set *rx_set_or(struct arena *a, const struct rx_set *const *kids, uint32_t n);
const struct rx_set *rx_set_op(struct arena *a, enum rx_set_kind op, const struct rx_set *l, const struct rx_set *r);
const struct rx_set *rx_set_fold(struct arena *a, const struct rx_set *ranges); /* RANGES only: closed under folding */
bool rx_set_has(const struct rx_set *s, uint32_t cp, struct rx_probe *pb);

/* ------------------------------------------------------------------------------------------------ folding */
/* The next code point that simple case folding holds equal to `cp`; after some calls `cp` again. Itself if alone. */
uint32_t rx_fold_next(uint32_t cp);

/* The first code point at or after `cp` that has others equal to it; UTF8_CP_MAX + 1 when there is none. */
uint32_t rx_fold_first_from(uint32_t cp);

/* ------------------------------------------------------------------------------------------------ properties */
/* The properties that one pattern uses. */
struct rx_props {
    struct rx_prop *first;
    struct rx_probe probe; /* of the parser */
};

/* The property that PCRE2 writes as `text` (a class or an escape). *p is NULL when PCRE2 knows none. */
enum err rx_prop_get(struct rx_props *ps, struct arena *a, const char *text, const struct rx_prop **p);

/* The property that Rust calls `name` (what stands between \p{ and }). *s is NULL when there is none, and *why says
 * the reason; with `fold` the set is closed under case folding. */
enum err rx_prop_by_name(struct rx_props *ps, struct arena *a, struct str name, bool fold, const struct rx_set **s,
                         const char **why);

enum err rx_prop_word(struct rx_props *ps, struct arena *a, const struct rx_prop **p); /* \w */
bool rx_prop_has(const struct rx_prop *p, uint32_t cp, struct rx_probe *pb);
void rx_props_free(struct rx_props *ps);

/* ------------------------------------------------------------------------------------------------ tree */
struct rx_class {
    uint64_t ascii[2]; /* members below 128 as bits */
    const struct rx_set *set;
};

static inline bool rx_class_has(const struct rx_class *c, uint32_t cp, struct rx_probe *pb)
{
    return cp < 128 ? c->ascii[cp / 64] >> (cp % 64) & 1 : rx_set_has(c->set, cp, pb);
}

enum rx_assert {
    RX_TEXT_START,
    RX_TEXT_END,
    RX_LINE_START,
    RX_LINE_END,
    RX_CRLF_START, /* lines that end with \r, \n or \r\n: flag R */
    RX_CRLF_END,
    RX_WORD_BOUND, /* from here on each has a Unicode and an ASCII form */
    RX_WORD_INSIDE,
    RX_WORD_START,
    RX_WORD_END,
    RX_WORD_START_HALF,
    RX_WORD_END_HALF,
    RX_ASSERT_ASCII = 16, /* added to those */
};

enum rx_kind { RX_EMPTY, RX_FLAGS, RX_CHAR, RX_CLASS, RX_ASSERT, RX_CONCAT, RX_ALT, RX_REPEAT };

struct rx_node {
    enum rx_kind kind;
    uint32_t depth;            /* levels of nesting below, as upstream counts them */
    bool is_bytes;             /* holds what upstream cannot express in characters: an empty class or a byte class */
    uint32_t min_len, max_len; /* bytes of text that a match consumes; saturating */
    uint32_t cp;               /* CHAR; ASSERT: enum rx_assert */
    uint32_t min, max;         /* REPEAT */
    const struct rx_class *cls;
    struct rx_node **kids;
    uint32_t n_kids;
};

/* ------------------------------------------------------------------------------------------------ parser */
enum rx_flag { RX_I = 1, RX_M = 2, RX_S = 4, RX_SWAP = 8, RX_U = 16, RX_X = 32, RX_R = 64 };

struct rx_span {
    size_t from, to; /* bytes of the pattern */
};

struct rx_parser {
    struct str pattern; /* checked UTF-8 */
    size_t pos;
    uint32_t flags;
    uint32_t nest;   /* open groups and classes around pos */
    uint32_t effort; /* left for finding out whether sets are empty */
    struct arena *a;
    struct rx_props *props;
    struct errmsg *em;
    struct rx_name *names; /* of capture groups, newest first */
    const char *late;      /* first complaint about meaning: reported only if the syntax is right to the end */
    struct rx_span late_at;
};

enum err rx_parse(struct rx_parser *p, struct rx_node **tree);

/* What an escape is; classes accept fewer of them than patterns do. */
enum rx_escape_kind { RX_ESC_CHAR, RX_ESC_BYTE, RX_ESC_SET, RX_ESC_ASSERT };
struct rx_escape {
    enum rx_escape_kind kind;
    struct rx_span at;
    uint32_t cp; /* CHAR, BYTE (\xHH); ASSERT: enum rx_assert */
    const struct rx_set *set;
    bool is_unicode; /* SET: \p{..} */
};
enum err rx_parse_escape(struct rx_parser *p, struct rx_escape *e);
enum err rx_parse_class(struct rx_parser *p, struct rx_node **node); /* at '[' */
enum err rx_node_class(struct rx_parser *p, const struct rx_set *s, struct rx_span at, struct rx_node **node);
struct rx_node *rx_node_new(struct rx_parser *p, enum rx_kind kind);
struct rx_node *rx_node_char(struct rx_parser *p, uint32_t cp);

enum err rx_fail(struct rx_parser *p, struct rx_span at, const char *reason);
void rx_late(struct rx_parser *p, struct rx_span at, const char *reason);

bool rx_at_end(const struct rx_parser *p);
uint32_t rx_char(const struct rx_parser *p);       /* not at the end */
uint32_t rx_peek(const struct rx_parser *p);       /* the one after; UINT32_MAX when there is none */
uint32_t rx_peek_space(const struct rx_parser *p); /* the same behind what flag x ignores */
bool rx_bump(struct rx_parser *p);                 /* one on; false when that is the end */
void rx_skip_space(struct rx_parser *p);           /* what flag x ignores */
bool rx_bump_space(struct rx_parser *p);           /* rx_bump, rx_skip_space */
bool rx_bump_if(struct rx_parser *p, const char *s);
bool rx_is_space(uint32_t cp);                     /* Unicode's White_Space */
struct rx_span rx_here(const struct rx_parser *p); /* the character at pos */

/* ------------------------------------------------------------------------------------------------ program */
enum rx_op { RX_OP_CHAR, RX_OP_CLASS, RX_OP_ASSERT, RX_OP_SPLIT, RX_OP_JUMP, RX_OP_MATCH };

/* CHAR: x = code point. CLASS: x = index. ASSERT: x = enum rx_assert. All three go on at the next instruction.
 * SPLIT: x and y, JUMP: x = instructions. */
struct rx_inst {
    uint32_t op, x, y;
};

struct rx_program {
    const struct rx_inst *inst; /* starts at 0 */
    uint32_t n_inst;
    const struct rx_class *const *classes;
    uint32_t n_classes;
    uint32_t asserts;           /* bit set of what the program asks: 1 << enum rx_assert */
    uint32_t min_len;           /* bytes of the shortest text that can match */
    uint32_t steps_max;         /* RX_STEPS_MAX; tests lower it */
    bool is_anchored;           /* every match starts at the start of the text */
    const struct rx_prop *word; /* \w, when an assertion needs it */
};

enum err rx_compile(const struct rx_node *tree, struct arena *a, struct rx_props *props, struct rx_program *prog,
                    struct errmsg *em);

/* The states that one search at a time finds and remembers; regex_match.c. */
struct rx_matcher;
struct rx_matcher **rx_matcher_link(struct rx_matcher *m);        /* for lists of whoever owns it */
struct rx_matcher *rx_matcher_new(const struct rx_program *prog); /* NULL: memory is short */
void rx_matcher_free(struct rx_matcher *m);
enum err rx_search(struct rx_matcher *m, struct str text, bool *matches, struct errmsg *em);

/* ------------------------------------------------------------------------------------------------ needs */
/* What a match contains; NULL when memory is short. *whole: the one text that the characters of every match make up,
 * with .p == NULL when there is none or more than one (assertions are not looked at). */
const struct regex_need *rx_needs(const struct rx_node *tree, struct arena *a, struct str *whole);

#endif
