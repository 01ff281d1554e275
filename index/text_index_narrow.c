/* text_index_narrow.c - which rows may hold a substring, or what a regular expression needs: see text_index.h.
 *
 * The trigrams of a needle are looked up; one that is missing rules out every row. The rarest comes first, and further
 * ones are read only while reading them costs less than looking at the documents that are left.
 * FAILURE  the directory, every posting's place and every row number are checked before use: damage is ERR_CORRUPT.
 */
#include "core/mem.h"
#include "index/text_index_internal.h"

enum {
    NEEDLE_TRIGRAMS = 24, /* of a longer needle the first so many: they rule out enough */
    ROW_COST = 64,        /* looking at a document costs about as much as reading so many row numbers */
};

static enum err damaged(struct errmsg *em, const char *what)
{
    return errmsg_set(em, ERR_CORRUPT, "text index: %s out of range", what);
}

enum err text_index_open(struct text_index *t, struct bytes section, uint32_t n_rows, struct errmsg *em)
{
    struct text_trailer trailer;
    if (section.n < sizeof trailer) return damaged(em, "the trailer is");
    memcpy(&trailer, (const uint8_t *)section.p + section.n - sizeof trailer, sizeof trailer);
    if (trailer.magic != TEXT_INDEX_MAGIC || trailer.n_rows != n_rows) return damaged(em, "the trailer is");
    if (!ck_inside(section.n, trailer.trigrams_at, (uint64_t)trailer.n_trigrams + 1, sizeof(struct text_trigram)))
        return damaged(em, "the directory is");
    struct text_index found = {
        .section = section,
        .n_rows = n_rows,
        .n_trigrams = trailer.n_trigrams,
        .trigrams = (const uint8_t *)section.p + trailer.trigrams_at,
    };
    if (trailer.has_shorts != 0) {
        if (trailer.shorts_at > section.n - sizeof(uint32_t)) return damaged(em, "the rows of short documents are");
        found.shorts = (const uint8_t *)section.p + trailer.shorts_at + sizeof(uint32_t);
        found.n_shorts = le32_get(found.shorts - sizeof(uint32_t));
        if (found.n_shorts > (section.n - sizeof(uint32_t) - trailer.shorts_at) / sizeof(uint32_t))
            return damaged(em, "the rows of short documents are");
    }
    *t = found;
    return ERR_OK;
}

uint32_t text_index_bound(const struct text_index *t, uint32_t trigram)
{
    uint32_t low = 0, high = t->n_trigrams;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (text_index_key(t, mid) >> 8 < trigram)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

enum err text_index_postings(const struct text_index *t, uint32_t i, struct postings *p, struct errmsg *em)
{
    struct text_trigram entry, next;
    CHECK(i < t->n_trigrams && "an entry of the directory");
    memcpy(&entry, t->trigrams + (size_t)i * sizeof entry, sizeof entry);
    memcpy(&next, t->trigrams + ((size_t)i + 1) * sizeof next, sizeof next);
    uint8_t kind = entry.key & 0xff;
    if (entry.at > next.at || next.at > t->section.n || entry.n_rows > t->n_rows || kind > TEXT_BITMAP ||
        (kind == TEXT_BITMAP && next.at - entry.at < bitset_words(t->n_rows) * 8))
        return damaged(em, "the rows of a trigram are");
    *p = (struct postings){
        .at = (const uint8_t *)t->section.p + entry.at,
        .end = (const uint8_t *)t->section.p + next.at,
        .n_rows = entry.n_rows,
        .kind = (enum text_postings)kind,
    };
    return ERR_OK;
}

/* *found is false when no row has the trigram. */
static enum err find_trigram(const struct text_index *t, uint32_t trigram, struct postings *p, bool *found,
                             struct errmsg *em)
{
    uint32_t i = text_index_bound(t, trigram);
    *found = i < t->n_trigrams && text_index_key(t, i) >> 8 == trigram;
    return *found ? text_index_postings(t, i, p, em) : ERR_OK;
}

static void clear_words(struct bitset *rows, size_t from, size_t to)
{
    if (from < to) memset(rows->words + from, 0, (to - from) * sizeof *rows->words);
}

/* rows &= postings, a word at a time as the rows come by. */
static enum err keep_deltas(const struct postings *p, struct bitset *rows, struct errmsg *em)
{
    const uint8_t *at = p->at;
    uint64_t row = 0, word = 0;
    size_t i = 0; /* the word that is being gathered */
    while (at < p->end) {
        uint32_t delta;
        if ((at = postings_delta(at, p->end, &delta)) == NULL) return damaged(em, "the rows of a trigram are");
        row += delta;
        if (row >= rows->n_bits) return damaged(em, "a row is");
        if (row / 64 != i) {
            rows->words[i] &= word;
            clear_words(rows, i + 1, row / 64);
            i = row / 64;
            word = 0;
        }
        word |= UINT64_C(1) << (row % 64);
    }
    if (rows->n_bits > 0) rows->words[i] &= word;
    clear_words(rows, i + 1, bitset_words(rows->n_bits));
    return ERR_OK;
}

static enum err keep_postings(const struct postings *p, struct bitset *rows, struct errmsg *em)
{
    if (p->kind == TEXT_DELTAS) return keep_deltas(p, rows, em);
    for (size_t i = 0, n = bitset_words(rows->n_bits); i < n; i++) rows->words[i] &= le64_get(p->at + i * 8);
    return ERR_OK;
}

enum err text_index_narrow(const struct text_index *t, struct str needle, struct bitset *rows, struct arena *a,
                           struct errmsg *em)
{
    struct postings list[NEEDLE_TRIGRAMS];
    uint32_t n = 0, before = UINT32_MAX;
    (void)a;
    CHECK(rows->n_bits == t->n_rows && "a bitmap of this fragment");
    for (size_t i = 0; i + 3 <= needle.n && n < NEEDLE_TRIGRAMS; i++) {
        uint32_t trigram = trigram_at((const uint8_t *)needle.p + i);
        struct postings p;
        bool found;
        if (trigram == before) continue;
        before = trigram;
        enum err e = find_trigram(t, trigram, &p, &found, em);
        if (e != ERR_OK) return e;
        if (!found) {
            clear_words(rows, 0, bitset_words(rows->n_bits));
            return ERR_OK;
        }
        uint32_t k = n++;
        for (; k > 0 && list[k - 1].n_rows > p.n_rows; k--) list[k] = list[k - 1];
        list[k] = p;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0 && list[i].n_rows / ROW_COST > bitset_count(rows)) break;
        enum err e = keep_postings(&list[i], rows, em);
        if (e != ERR_OK) return e;
    }
    return ERR_OK;
}

enum err text_index_narrow_regex(const struct text_index *t, const struct regex_need *need, struct bitset *rows,
                                 struct arena *a, struct errmsg *em)
{
    enum err e = ERR_OK;
    switch (need->kind) {
    case REGEX_ANY:
        return ERR_OK;
    case REGEX_LITERAL:
        return text_index_narrow(t, need->literal, rows, a, em);
    case REGEX_ALL_OF:
        for (uint32_t i = 0; i < need->n_children && e == ERR_OK; i++)
            e = text_index_narrow_regex(t, need->children[i], rows, a, em);
        return e;
    case REGEX_ONE_OF: {
        struct bitset any, one;
        if (!bitset_init(&any, a, rows->n_bits) || !bitset_init(&one, a, rows->n_bits))
            return errmsg_set(em, ERR_NOMEM, "narrow %u rows", rows->n_bits);
        for (uint32_t i = 0; i < need->n_children; i++) {
            memcpy(one.words, rows->words, bitset_words(rows->n_bits) * sizeof *one.words);
            if ((e = text_index_narrow_regex(t, need->children[i], &one, a, em)) != ERR_OK) return e;
            bitset_or(&any, &one);
        }
        bitset_and(rows, &any);
        return ERR_OK;
    }
    }
    return ERR_OK;
}
