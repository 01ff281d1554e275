/* text_index_short.c - which rows hold one or two bytes: those with a trigram that does.
 *
 * HAPPY PATH  A document of three bytes and more that holds "ab" has a trigram "ab?", or ends in "?ab"; one that holds "a"
 *             has "a??", "?a?" or "??a". Their postings are joined. Documents of one and two bytes have no trigrams:
 *             the section lists their rows, and they stay candidates.
 * COST        bounded by the caller. What is frequent is given up before its postings are read: most documents hold it, so a
 *             reader who looks at them finds his rows soon.
 * FAILURE     as in text_index_narrow.c: everything is checked before use.
 */
#include "core/mem.h"
#include "index/text_index_internal.h"

struct join {
    const struct text_index *t;
    uint64_t left; /* row numbers that may still be read */
    bool is_given_up;
    struct bitset any; /* rows seen */
};

static enum err damaged(struct errmsg *em)
{
    return errmsg_set(em, ERR_CORRUPT, "text index: the rows of a trigram are out of range");
}

static enum err add_deltas(const struct postings *p, struct bitset *rows, struct errmsg *em)
{
    uint64_t row = 0;
    for (const uint8_t *at = p->at; at < p->end;) {
        uint32_t delta;
        if ((at = postings_delta(at, p->end, &delta)) == NULL) return damaged(em);
        row += delta;
        if (row >= rows->n_bits) return damaged(em);
        bitset_add(rows, (uint32_t)row);
    }
    return ERR_OK;
}

static enum err add_entry(struct join *j, uint32_t i, struct errmsg *em)
{
    struct postings p;
    enum err e = text_index_postings(j->t, i, &p, em);
    if (e != ERR_OK) return e;
    if (p.n_rows > j->left) {
        j->is_given_up = true;
        return ERR_OK;
    }
    j->left -= p.n_rows;
    if (p.kind == TEXT_DELTAS) return add_deltas(&p, &j->any, em);
    size_t n = bitset_words(j->any.n_bits);
    for (size_t k = 0; k < n; k++) j->any.words[k] |= le64_get(p.at + k * 8);
    return ERR_OK;
}

static enum err join_two(struct join *j, uint32_t two, struct errmsg *em)
{
    enum err e = ERR_OK;
    uint32_t i = text_index_bound(j->t, two << 8);
    for (; i < j->t->n_trigrams && text_index_key(j->t, i) >> 16 == two && !j->is_given_up; i++)
        if ((e = add_entry(j, i, em)) != ERR_OK) return e;
    for (uint32_t first = 0; first < 256 && !j->is_given_up; first++) {
        uint32_t trigram = first << 16 | two;
        i = text_index_bound(j->t, trigram);
        if (i == j->t->n_trigrams || text_index_key(j->t, i) >> 8 != trigram) continue;
        if ((e = add_entry(j, i, em)) != ERR_OK) return e;
    }
    return ERR_OK;
}

static enum err join_one(struct join *j, uint32_t one, struct errmsg *em)
{
    for (uint32_t i = 0; i < j->t->n_trigrams && !j->is_given_up; i++) {
        uint32_t key = text_index_key(j->t, i);
        if (key >> 24 != one && (key >> 16 & 0xff) != one && (key >> 8 & 0xff) != one) continue;
        enum err e = add_entry(j, i, em);
        if (e != ERR_OK) return e;
    }
    return ERR_OK;
}

enum err text_index_narrow_short(const struct text_index *t, struct str needle, uint64_t most, struct bitset *rows,
                                 struct arena *a, enum text_narrowed *how, struct errmsg *em)
{
    CHECK(rows->n_bits == t->n_rows && "a bitmap of this fragment");
    CHECK((needle.n == 1 || needle.n == 2) && "a short needle");
    const uint8_t *p = (const uint8_t *)needle.p;
    struct join j = {.t = t, .left = most};
    bool has_shorts = false;
    enum text_narrowed found = TEXT_AS_BEFORE;
    if (t->shorts != NULL && t->n_shorts <= most) {
        if (!bitset_init(&j.any, a, t->n_rows)) return errmsg_set(em, ERR_NOMEM, "narrow %u rows", t->n_rows);
        enum err e = needle.n == 2 ? join_two(&j, (uint32_t)p[0] << 8 | p[1], em) : join_one(&j, p[0], em);
        if (e != ERR_OK) return e;
        for (uint32_t i = 0; i < t->n_shorts; i++) {
            uint32_t row = le32_get(t->shorts + (size_t)i * 4);
            if (row >= t->n_rows) return damaged(em);
            if (bitset_get(&j.any, row) || !bitset_get(rows, row)) continue;
            bitset_add(&j.any, row);
            has_shorts = true;
        }
        if (!j.is_given_up) {
            bitset_and(rows, &j.any);
            found = has_shorts ? TEXT_CANDIDATES : TEXT_DECIDED;
        }
    }
    *how = found;
    return ERR_OK;
}
