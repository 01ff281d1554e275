/* fragment_check_internal.h - what the checks of a fragment's sections share. For index/fragment_check*.c.
 *
 * FINGERPRINTS  An index and the rows agree iff both hold the same set of entries: (key, value) of metadata, (trigram)
 *               of documents, (key, index, weight) of sparse vectors. Each entry of a row is hashed to 64 bits; what
 *               the index holds is added to the row's sum, what the row holds is taken off. A sum that is not zero is a
 *               row of which they say different things. So neither side is sorted or held in memory. A difference goes
 *               unnoticed once in 2^64.
 */
#ifndef INDEX_FRAGMENT_CHECK_INTERNAL_H
#define INDEX_FRAGMENT_CHECK_INTERNAL_H

#include "core/hash.h"
#include "index/fragment_check.h"
#include "index/fragment_internal.h"

struct check {
    const struct fragment *f;
    fragment_on_problem on_problem;
    void *ctx;
    uint64_t *sums; /* one a row */
};

/* Reports; printf-like. Returns false, so that a check is `return check_fail(...)`. */
bool check_fail(struct check *c, enum section_type type, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Are all sums zero? Reports the first row of which the section and the rows say different things. */
bool check_sums(struct check *c, enum section_type type);

/* Each reports what is wrong with its section. An error is shortage of memory, or ERR_CORRUPT when the rows cannot be
 * read, which has been reported then. */
enum err check_meta_index(struct check *c, struct errmsg *em);
enum err check_text_index(struct check *c, struct errmsg *em);
enum err check_sparse_lists(struct check *c, struct errmsg *em);
enum err check_codes(struct check *c, struct errmsg *em);

#endif
