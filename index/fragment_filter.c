/* fragment_filter.c - which rows of a fragment match a filter: bitmaps from the indexes, documents read only where they
 * decide.
 *
 * Each node of the tree is asked about a scope, the rows that can still change the answer, and sets the matching ones
 * among them. AND hands to each child what its earlier children left, OR what none of them has matched; children that
 * read documents come last. So a document is read only if everything cheaper left it open.
 * Documents: the trigram index narrows the scope, the text decides. A caller who may want only some of the rows gets those
 * that only the text decides as an open rest; this is done for the clauses that stand at the top or in ANDs there, where
 * a row that fails one is out whatever the others say.
 *
 * DAMAGE     an index that is damaged (fragment_health.c) is done without: metadata are read row by row, and every document
 *            is. So is one that contradicts itself although its checksum was right or not looked at.
 * FAILURE    ERR_CORRUPT, ERR_NOMEM, and what a regular expression reports.
 * INVARIANT  the answer within the scope is that of filter_matches(), row by row.
 */
#include "index/fragment_internal.h"

enum {
    DOCUMENT_COST = 16, /* looking at a document costs more than reading so many row numbers */
    SCRATCH_KEEP_BYTES = 1 << 16,
    RARE = 4, /* who wants some rows finds them soon among documents of which more than 1 in so many match */
};

struct eval {
    const struct fragment *f;
    struct arena *arena;
    struct errmsg *em;
    uint64_t n_documents; /* read */
    bool is_by_rows;      /* no index is asked */
};

static bool may_use(const struct eval *ev, enum section_type index)
{
    return !ev->is_by_rows && section_is_good(ev->f, index);
}

static enum err eval_node(struct eval *ev, const struct filter *f, const struct bitset *scope, struct bitset *out);

static void clear(struct bitset *s)
{
    memset(s->words, 0, bitset_words(s->n_bits) * sizeof *s->words);
}

static void copy(struct bitset *to, const struct bitset *from)
{
    memcpy(to->words, from->words, bitset_words(from->n_bits) * sizeof *to->words);
}

static bool is_empty(const struct bitset *s)
{
    return bitset_next(s, 0) == s->n_bits;
}

static enum err new_bitset(struct eval *ev, struct bitset *s)
{
    return bitset_init(s, ev->arena, ev->f->n_rows) ? ERR_OK : errmsg_set(ev->em, ERR_NOMEM, "filter rows");
}

/* --- groups ------------------------------------------------------------------------------------------------------- */

/* What evaluating a node may cost, roughly: the order of siblings. */
static unsigned cost(const struct filter *f)
{
    switch (f->kind) {
    case FILTER_AND:
    case FILTER_OR: {
        unsigned highest = 1;
        for (uint32_t i = 0; i < f->n_children; i++) {
            unsigned c = cost(f->children[i]);
            if (c > highest) highest = c;
        }
        return highest + 1;
    }
    case FILTER_ID_IN:
    case FILTER_ID_NOT_IN:
        return 0;
    case FILTER_DOC_CONTAINS:
        return 1000;
    case FILTER_DOC_NOT_CONTAINS:
        return 2000; /* leaves most rows */
    case FILTER_DOC_REGEX:
        return 3000;
    case FILTER_DOC_NOT_REGEX:
        return 4000;
    default:
        return 1;
    }
}

/* The children, cheap ones first; NULL without memory. */
static const struct filter **by_cost(struct eval *ev, const struct filter *f)
{
    const struct filter **list = arena_array(ev->arena, f->n_children, sizeof *list);
    unsigned *costs = arena_array(ev->arena, f->n_children, sizeof *costs);
    if (list == NULL || costs == NULL) return NULL;
    for (uint32_t i = 0; i < f->n_children; i++) {
        unsigned c = cost(f->children[i]);
        uint32_t k = i;
        for (; k > 0 && costs[k - 1] > c; k--) {
            costs[k] = costs[k - 1];
            list[k] = list[k - 1];
        }
        costs[k] = c;
        list[k] = f->children[i];
    }
    return list;
}

static enum err eval_group(struct eval *ev, const struct filter *f, const struct bitset *scope, struct bitset *out)
{
    bool is_and = f->kind == FILTER_AND;
    struct bitset rest, some;
    const struct filter **children = by_cost(ev, f);
    if (children == NULL) return errmsg_set(ev->em, ERR_NOMEM, "a filter of %u clauses", f->n_children);
    if (new_bitset(ev, &rest) != ERR_OK || new_bitset(ev, &some) != ERR_OK) return ERR_NOMEM;
    copy(&rest, scope); /* AND: rows that matched so far; OR: rows that did not */
    for (uint32_t i = 0; i < f->n_children && !is_empty(&rest); i++) {
        clear(&some);
        enum err e = eval_node(ev, children[i], &rest, &some);
        if (e != ERR_OK) return e;
        if (is_and)
            copy(&rest, &some);
        else
            bitset_andnot(&rest, &some);
    }
    copy(out, &rest);
    if (!is_and) {
        bitset_not(out);
        bitset_and(out, scope);
    }
    return ERR_OK;
}

/* --- ids, documents ----------------------------------------------------------------------------------------------- */

static void eval_ids(struct eval *ev, const struct filter *f, const struct bitset *scope, struct bitset *out)
{
    for (uint32_t i = 0; i < f->n_values; i++) {
        uint32_t row = id_hash_find(ev->f, f->values[i].s);
        if (row != ROW_NONE && bitset_get(scope, row)) bitset_add(out, row);
    }
}

static enum err has_match(const struct filter *f, enum filter_kind kind, struct str document, bool *matches,
                          struct errmsg *em)
{
    if (kind == FILTER_DOC_REGEX) return regex_matches(f->regex, document, matches, em);
    *matches = str_contains(document, f->text);
    return ERR_OK;
}

/* Keeps in `rows` those whose document matches, by looking at each. */
static enum err verify(struct eval *ev, const struct filter *f, enum filter_kind kind, struct bitset *rows)
{
    struct docs_reader r = {.docs = &ev->f->docs};
    enum err e = ERR_OK;
    for (uint32_t row = bitset_next(rows, 0); row < rows->n_bits && e == ERR_OK; row = bitset_next(rows, row + 1)) {
        struct str document;
        bool matches = false;
        e = docs_get(&r, row, &document, ev->em);
        ev->n_documents++;
        if (e == ERR_OK) e = has_match(f, kind, document, &matches, ev->em);
        if (!matches) bitset_remove(rows, row);
    }
    docs_end(&r);
    return e;
}

/* Rows of the scope that have a document at all. */
static void with_document(const struct fragment *f, const struct bitset *scope, struct bitset *out)
{
    const struct column *c = &f->docs.column;
    if (c->offsets == NULL) return;
    copy(out, scope);
    if (c->present == NULL) return;
    for (size_t i = 0, n = bitset_words(f->n_rows); i < n; i++) out->words[i] &= le64_get(c->present + i * 8);
}

/* Clears from `rows`, which all have a document, those that the trigrams rule out; *is_exact: the others match. A short
 * needle has many trigrams: `most` row numbers of theirs may be read. */
static enum err narrow(struct eval *ev, const struct filter *f, enum filter_kind kind, uint64_t most,
                       struct bitset *rows, bool *is_exact)
{
    const struct text_index *index = &ev->f->text_index;
    if (kind == FILTER_DOC_REGEX) return text_index_narrow_regex(index, regex_needs(f->regex), rows, ev->arena, ev->em);
    *is_exact = f->text.n == 3;
    if (f->text.n > 2) return text_index_narrow(index, f->text, rows, ev->arena, ev->em);
    enum text_narrowed how = TEXT_AS_BEFORE;
    enum err e = text_index_narrow_short(index, f->text, most, rows, ev->arena, &how, ev->em);
    *is_exact = how == TEXT_DECIDED;
    return e;
}

/* Sets in `out`, which is all zero, the rows of the scope whose document may match; *is_exact: they all do. `most` row numbers
 * may be read to rule out some; 0: as many as reading those documents costs. */
static enum err candidates(struct eval *ev, const struct filter *f, enum filter_kind kind, uint64_t most,
                           const struct bitset *scope, struct bitset *out, bool *is_exact)
{
    *is_exact = false;
    enum err e = section_need(ev->f, SECTION_DOCUMENTS, ev->em);
    if (e != ERR_OK) return e;
    with_document(ev->f, scope, out);
    if (is_empty(out)) return ERR_OK;
    if (kind == FILTER_DOC_CONTAINS && f->text.n == 0) { /* every document holds the empty string */
        *is_exact = true;
        return ERR_OK;
    }
    if (!may_use(ev, SECTION_TEXT_INDEX)) return ERR_OK;
    if (most == 0) most = (uint64_t)bitset_count(out) * DOCUMENT_COST;
    e = narrow(ev, f, kind, most, out, is_exact);
    if (e != ERR_CORRUPT) return e;
    section_condemn(ev->f, SECTION_TEXT_INDEX, ev->em != NULL ? ev->em->text : "an entry is out of range");
    clear(out);
    with_document(ev->f, scope, out);
    *is_exact = false;
    return ERR_OK;
}

static enum err eval_document(struct eval *ev, const struct filter *f, enum filter_kind kind,
                              const struct bitset *scope, struct bitset *out)
{
    bool is_exact;
    enum err e = candidates(ev, f, kind, 0, scope, out, &is_exact);
    if (e != ERR_OK || is_exact || is_empty(out)) return e;
    return verify(ev, f, kind, out);
}

/* --- metadata ----------------------------------------------------------------------------------------------------- */

/* Without the index: reads the metadata of every row of the scope. */
static enum err scan_meta(struct eval *ev, const struct filter *f, const struct bitset *scope, struct bitset *out)
{
    struct arena scratch = {0}; /* decoded lists */
    enum err e = section_need(ev->f, SECTION_META, ev->em);
    for (uint32_t i = bitset_next(scope, 0); i < scope->n_bits && e == ERR_OK; i = bitset_next(scope, i + 1)) {
        struct row row = {0};
        bool matches = false;
        e = column_get(&ev->f->meta, i, &row.meta, ev->em);
        if (e == ERR_OK && row.meta.n > 0 && !meta_validate(row.meta, false))
            e = errmsg_set(ev->em, ERR_CORRUPT, "row %u: its metadata are damaged", i);
        if (e == ERR_OK) e = filter_matches(f, &row, &scratch, &matches, ev->em);
        if (matches) bitset_add(out, i);
        if (scratch.used_bytes > SCRATCH_KEEP_BYTES) arena_free(&scratch);
    }
    arena_free(&scratch);
    return e;
}

/* The clause as it is, negations too. */
static enum err eval_meta(struct eval *ev, const struct filter *f, const struct bitset *scope, struct bitset *out)
{
    if (!may_use(ev, SECTION_META_INDEX)) return scan_meta(ev, f, scope, out);
    enum err e = meta_index_eval(&ev->f->meta_index, f, out, ev->em);
    if (e != ERR_CORRUPT) return e;
    section_condemn(ev->f, SECTION_META_INDEX, ev->em != NULL ? ev->em->text : "an entry is out of range");
    clear(out);
    return scan_meta(ev, f, scope, out);
}

/* --- the tree ----------------------------------------------------------------------------------------------------- */

/* Sets in `out`, which is all zero, the rows of the scope that match. */
static enum err eval_node(struct eval *ev, const struct filter *f, const struct bitset *scope, struct bitset *out)
{
    enum filter_kind kind = f->kind;
    bool is_negated = filter_is_negation(kind, &kind);
    enum err e = ERR_OK;
    switch (kind) {
    case FILTER_AND:
    case FILTER_OR:
        return eval_group(ev, f, scope, out);
    case FILTER_ID_IN:
        eval_ids(ev, f, scope, out);
        break;
    case FILTER_DOC_CONTAINS:
    case FILTER_DOC_REGEX:
        e = eval_document(ev, f, kind, scope, out);
        break;
    default: /* metadata: negations are done there */
        e = eval_meta(ev, f, scope, out);
        is_negated = false;
        break;
    }
    if (e != ERR_OK) return e;
    if (is_negated) bitset_not(out);
    bitset_and(out, scope);
    return ERR_OK;
}

/* --- what stays open ---------------------------------------------------------------------------------------------- */

static bool is_document(const struct filter *f)
{
    enum filter_kind kind = f->kind;
    (void)filter_is_negation(kind, &kind);
    return kind == FILTER_DOC_CONTAINS || kind == FILTER_DOC_REGEX;
}

/* How many clauses eval_open may leave open. */
static uint32_t count_documents(const struct filter *f)
{
    uint32_t n = is_document(f);
    if (f->kind == FILTER_AND)
        for (uint32_t i = 0; i < f->n_children; i++) n += count_documents(f->children[i]);
    return n;
}

/* As eval_node with out == scope, but what only the text decides stays in and is noted in `rest`. */
static enum err open_document(struct eval *ev, const struct filter *f, struct bitset *rows, struct filter_rest *rest)
{
    enum filter_kind kind = f->kind;
    bool is_negated = filter_is_negation(kind, &kind), is_exact = false;
    struct bitset some;
    enum err e = new_bitset(ev, &some);
    if (e != ERR_OK) return e;
    e = candidates(ev, f, kind, ev->f->n_rows / RARE, rows, &some, &is_exact);
    if (e != ERR_OK) return e;
    if (!is_negated) copy(rows, &some);
    if (is_exact) {
        if (is_negated) bitset_andnot(rows, &some);
    } else if (!is_empty(&some)) {
        bitset_or(&rest->open, &some);
        rest->filters[rest->n++] = f;
    }
    return ERR_OK;
}

/* Leaves in `rows` those that match or that are open. */
static enum err eval_open(struct eval *ev, const struct filter *f, struct bitset *rows, struct filter_rest *rest)
{
    if (is_document(f)) return open_document(ev, f, rows, rest);
    if (f->kind != FILTER_AND) {
        struct bitset some;
        enum err e = new_bitset(ev, &some);
        if (e == ERR_OK) e = eval_node(ev, f, rows, &some);
        if (e == ERR_OK) copy(rows, &some);
        return e;
    }
    const struct filter **children = by_cost(ev, f);
    if (children == NULL) return errmsg_set(ev->em, ERR_NOMEM, "a filter of %u clauses", f->n_children);
    for (uint32_t i = 0; i < f->n_children && !is_empty(rows); i++) {
        enum err e = eval_open(ev, children[i], rows, rest);
        if (e != ERR_OK) return e;
    }
    return ERR_OK;
}

enum err fragment_settle(const struct segment *s, struct filter_rest *rest, struct bitset *rows, uint32_t from,
                         uint32_t to, struct errmsg *em)
{
    const struct fragment *f = fragment_of(s);
    struct docs_reader r = {.docs = &f->docs};
    enum err e = section_need(f, SECTION_DOCUMENTS, em);
    CHECK(rest->n > 0 && to <= rows->n_bits && rest->open.n_bits == rows->n_bits);
    for (uint32_t i = bitset_next(&rest->open, from); i < to && e == ERR_OK; i = bitset_next(&rest->open, i + 1)) {
        struct row row = {0};
        bool matches = true;
        e = docs_get(&r, i, &row.document, em);
        rest->n_documents++;
        /* clauses about documents decode no metadata: no scratch arena is needed */
        for (uint32_t k = 0; k < rest->n && matches && e == ERR_OK; k++)
            e = filter_matches(rest->filters[k], &row, NULL, &matches, em);
        if (!matches) bitset_remove(rows, i);
        bitset_remove(&rest->open, i);
    }
    docs_end(&r);
    if (e != ERR_OK) errmsg_wrap(em, "%s", f->path);
    return e;
}

enum err fragment_filter(const struct segment *s, uint32_t n_rows, const struct filter *f, struct arena *a,
                         struct bitset *out, struct filter_rest *rest, struct errmsg *em)
{
    struct arena scratch = {.max_bytes = a->max_bytes};
    struct eval ev = {.f = fragment_of(s), .arena = &scratch, .em = em};
    struct bitset scope, found;
    struct filter_rest open = {0};
    enum err e = ERR_OK;
    if (segment_is_unreadable(s)) return segment_unreadable(s, em);
    CHECK(n_rows == ev.f->n_rows && "a fragment is seen whole");
    if (!bitset_init(&scope, &scratch, n_rows) || !bitset_init(&found, a, n_rows)) {
        e = errmsg_set(em, ERR_NOMEM, "filter %u rows", n_rows);
        goto out;
    }
    bitset_fill(&scope);
    uint32_t n_open = f != NULL && rest != NULL && !rest->decides_all ? count_documents(f) : 0;
    if (f == NULL) {
        copy(&found, &scope);
    } else if (n_open > 0) {
        open = (struct filter_rest){.filters = arena_array(a, n_open, sizeof *open.filters)};
        if (open.filters == NULL || !bitset_init(&open.open, a, n_rows)) {
            e = errmsg_set(em, ERR_NOMEM, "filter %u rows", n_rows);
            goto out;
        }
        copy(&found, &scope);
        e = eval_open(&ev, f, &found, &open);
        bitset_and(&open.open, &found);
    } else {
        e = eval_node(&ev, f, &scope, &found);
    }
    if (e == ERR_OK) *out = found;
    if (e == ERR_OK && rest != NULL) {
        open.n_documents = rest->n_documents + ev.n_documents;
        if (open.n > 0)
            *rest = open;
        else
            rest->n_documents = open.n_documents;
    }
    if (e == ERR_OK) goto out;
    errmsg_wrap(em, "%s", ev.f->path);
out:
    arena_free(&scratch);
    return e;
}

enum err fragment_filter_rows(const struct segment *s, const struct filter *f, struct arena *a, struct bitset *out,
                              struct errmsg *em)
{
    struct eval ev = {.f = fragment_of(s), .arena = a, .em = em, .is_by_rows = true};
    struct bitset scope;
    if (new_bitset(&ev, &scope) != ERR_OK || new_bitset(&ev, out) != ERR_OK) return ERR_NOMEM;
    bitset_fill(&scope);
    enum err e = eval_node(&ev, f, &scope, out);
    if (e != ERR_OK) errmsg_wrap(em, "%s", ev.f->path);
    return e;
}
