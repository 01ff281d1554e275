/* filter.h - the parsed form of `where` and `where_document`: one tree over metadata, ids and the document.
 *
 * The API builds it (in the request's arena) from validated JSON; segments evaluate it, each in its own way: the tail
 * row by row with filter_matches(), a fragment through its indexes. Both must agree with filter_matches(), which is the
 * definition of what a filter means (../contract records, section 6).
 */
#ifndef CORE_FILTER_H
#define CORE_FILTER_H

#include "core/regex.h"
#include "core/segment.h"
#include "core/value.h"

enum filter_kind {
    FILTER_AND, /* no children: every row */
    FILTER_OR,  /* no children: no row */
    FILTER_EQ,  /* metadata: key, values[0]; scalars */
    FILTER_NE,  /* not EQ: absent keys match */
    FILTER_GT,  /* values[0] is a number; only numbers match */
    FILTER_GTE,
    FILTER_LT,
    FILTER_LTE,
    FILTER_IN,               /* values[0..n_values), one type */
    FILTER_NIN,              /* not IN: absent keys match */
    FILTER_CONTAINS,         /* metadata: an array that holds values[0], type included (2.0 is not 2) */
    FILTER_NOT_CONTAINS,     /* not CONTAINS: absent keys and scalars match */
    FILTER_DOC_CONTAINS,     /* document holds `text`, byte by byte; rows without a document do not match */
    FILTER_DOC_NOT_CONTAINS, /* not the former: rows without a document match */
    FILTER_DOC_REGEX,        /* document matches `regex` somewhere */
    FILTER_DOC_NOT_REGEX,
    FILTER_ID_IN, /* the row's id is one of values (strings) */
    FILTER_ID_NOT_IN,
};

struct filter {
    enum filter_kind kind;
    struct str key; /* metadata kinds */
    struct value *values;
    uint32_t n_values;
    struct str text;           /* DOC_CONTAINS, DOC_NOT_CONTAINS */
    const struct regex *regex; /* DOC_REGEX, DOC_NOT_REGEX; owned by whoever built the filter */
    struct filter **children;  /* AND, OR */
    uint32_t n_children;
};

/* True for the six kinds that are the negation of another one; *positive gets that other kind. */
bool filter_is_negation(enum filter_kind kind, enum filter_kind *positive);

/* Does this row match? ERR_INVALID when a regular expression ran into its step limit. `f` NULL matches all.
 * `scratch` holds decoded lists; the caller frees it. */
enum err filter_matches(const struct filter *f, const struct row *row, struct arena *scratch, bool *matches,
                        struct errmsg *em);

/* The parts of a row (enum row_part bits) that evaluating `f` needs. */
unsigned filter_parts(const struct filter *f);

#endif
