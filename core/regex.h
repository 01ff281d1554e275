/* regex.h - regular expressions of `$regex`: the syntax of Rust's regex crate, matched on documents in bounded time.
 *
 * A pattern is parsed into a tree (which refuses what upstream refuses: look-around, back-references, byte mode ...),
 * compiled for an automaton whose time is linear in the text, and asked for the literals that every match must contain,
 * which the text index uses as a prefilter. PCRE2 supplies the tables of Unicode properties. More: docs/regex.md.
 * THREADS  regex_new, regex_free: the owner. regex_matches: any number of threads at once.
 */
#ifndef CORE_REGEX_H
#define CORE_REGEX_H

#include "core/buf.h"

struct regex;

/* ERR_INVALID when the pattern is refused, with a message that starts "regex parse error:", or that is "Byte pattern is
 * not allowed" where a pattern speaks of bytes or of a class without members; ERR_NOMEM. The pattern is copied. */
enum err regex_new(struct str pattern, struct regex **r, struct errmsg *em);
void regex_free(struct regex *r); /* NULL is fine */

/* Unanchored search. ERR_INVALID when the search would take more than 2^29 steps (a text of megabytes with a pattern of
 * thousands of states can); ERR_NOMEM. */
enum err regex_matches(const struct regex *r, struct str text, bool *matches, struct errmsg *em);

/* What a match must contain, as a tree of AND/OR over literal byte strings: a document can match only if it satisfies
 * the tree. REGEX_ANY: nothing is known. Literals are case-sensitive and at least one byte long. */
enum regex_need_kind { REGEX_ANY, REGEX_LITERAL, REGEX_ALL_OF, REGEX_ONE_OF };

struct regex_need {
    enum regex_need_kind kind;
    struct str literal;
    const struct regex_need *const *children;
    uint32_t n_children;
};

const struct regex_need *regex_needs(const struct regex *r); /* lives as long as r */

#endif
