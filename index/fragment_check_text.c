/* fragment_check_text.c - does the trigram index hold exactly the trigrams of the documents? See fragment_check.h.
 *
 * Trigrams and the rows under each must ascend, counts must be right, and each trigram of a document must be there, and
 * no other (fingerprints, fragment_check_internal.h). The rows of short documents count as one more entry, where the
 * section lists them.
 */
#include "core/mem.h"
#include "index/fragment_check_internal.h"
#include "index/text_index_internal.h"

enum { TRIGRAMS = 1 << 24 };

static const uint32_t SHORT_ENTRY = TRIGRAMS; /* no trigram */

static uint64_t entry_of(uint32_t trigram)
{
    return hash_bytes(&trigram, sizeof trigram, 0);
}

static bool fail(struct check *c, uint32_t trigram, const char *what)
{
    return check_fail(c, SECTION_TEXT_INDEX, "trigram %06x: %s", trigram, what);
}

static bool take_deltas(struct check *c, const struct postings *p, uint32_t trigram)
{
    uint64_t row = 0, entry = entry_of(trigram);
    uint32_t n = 0;
    for (const uint8_t *at = p->at; at < p->end; n++) {
        uint32_t delta;
        at = postings_delta(at, p->end, &delta);
        if (at == NULL || (n > 0 && delta == 0)) return fail(c, trigram, "its rows do not ascend");
        row += delta;
        if (row >= c->f->n_rows) return fail(c, trigram, "a row is out of range");
        c->sums[row] += entry;
    }
    return n == p->n_rows || fail(c, trigram, "it has another number of rows than its entry says");
}

static bool take_bitmap(struct check *c, const struct postings *p, uint32_t trigram)
{
    uint64_t entry = entry_of(trigram);
    uint32_t n = 0;
    for (size_t i = 0; i < bitset_words(c->f->n_rows); i++) {
        for (uint64_t word = le64_get(p->at + i * 8); word != 0; word &= word - 1, n++) {
            uint64_t row = i * 64 + (uint64_t)__builtin_ctzll(word);
            if (row >= c->f->n_rows) return fail(c, trigram, "a row is out of range");
            c->sums[row] += entry;
        }
    }
    return n == p->n_rows || fail(c, trigram, "it has another number of rows than its entry says");
}

static bool take_shorts(struct check *c)
{
    const struct text_index *t = &c->f->text_index;
    uint32_t before = 0;
    for (uint32_t i = 0; i < t->n_shorts; i++) {
        uint32_t row = le32_get(t->shorts + (size_t)i * 4);
        if (row >= c->f->n_rows || (i > 0 && row <= before))
            return check_fail(c, SECTION_TEXT_INDEX, "the rows of short documents do not ascend");
        c->sums[row] += entry_of(SHORT_ENTRY);
        before = row;
    }
    return true;
}

static bool take_index(struct check *c)
{
    const struct text_index *t = &c->f->text_index;
    for (uint32_t i = 0; i < t->n_trigrams; i++) {
        struct postings p;
        uint32_t trigram = text_index_key(t, i) >> 8;
        if (i > 0 && text_index_key(t, i - 1) >> 8 >= trigram) return fail(c, trigram, "trigrams do not ascend");
        if (text_index_postings(t, i, &p, NULL) != ERR_OK) return fail(c, trigram, "its rows are out of range");
        if (p.kind == TEXT_DELTAS ? !take_deltas(c, &p, trigram) : !take_bitmap(c, &p, trigram)) return false;
    }
    return t->shorts == NULL || take_shorts(c);
}

/* `seen`: a bit a trigram, all clear before and after. */
static uint64_t sum_of(struct str document, uint64_t *seen, bool has_shorts)
{
    uint64_t sum = 0;
    const uint8_t *p = (const uint8_t *)document.p;
    if (document.n < 3) return has_shorts && document.n > 0 ? entry_of(SHORT_ENTRY) : 0;
    for (size_t i = 0; i + 3 <= document.n; i++) {
        uint32_t trigram = trigram_at(p + i);
        uint64_t bit = UINT64_C(1) << (trigram % 64);
        if ((seen[trigram / 64] & bit) != 0) continue;
        seen[trigram / 64] |= bit;
        sum += entry_of(trigram);
    }
    for (size_t i = 0; i + 3 <= document.n; i++) seen[trigram_at(p + i) / 64] = 0;
    return sum;
}

enum err check_text_index(struct check *c, struct errmsg *em)
{
    enum err e = ERR_OK;
    struct docs_reader r = {.docs = &c->f->docs};
    uint64_t *seen = mem_array(TRIGRAMS / 64, sizeof *seen);
    if (seen == NULL) return errmsg_set(em, ERR_NOMEM, "check the text index");
    bool is_good = take_index(c);
    for (uint32_t row = 0; is_good && e == ERR_OK && row < c->f->n_rows; row++) {
        struct str document = {NULL, 0};
        e = docs_get(&r, row, &document, em);
        if (e == ERR_OK && document.p != NULL) c->sums[row] -= sum_of(document, seen, c->f->text_index.shorts != NULL);
    }
    docs_end(&r);
    mem_free(seen);
    if (e == ERR_OK && is_good) (void)check_sums(c, SECTION_TEXT_INDEX);
    return e;
}
