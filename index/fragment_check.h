/* fragment_check.h - is a fragment file whole, and do its indexes say what its rows say? For whoever checks a directory
 * offline, and for tests.
 *
 * Beyond the checksums of fragment_verify every value is looked at: order and bounds in each section, and, row by row,
 * that each index holds exactly what the row holds. So it also finds what was written wrong and has a right checksum.
 * COST     reads the whole file; 8 bytes a row of memory, 2 MiB, and one block of documents.
 * THREADS  any; nothing is shared.
 */
#ifndef INDEX_FRAGMENT_CHECK_H
#define INDEX_FRAGMENT_CHECK_H

#include "index/index.h"

/* What a problem costs. */
enum fragment_loss {
    FRAGMENT_LOSES_ROWS, /* the rows themselves: nothing else in the directory has them */
    FRAGMENT_LOSES_INDEX /* derived from the rows, and can be made again from them */
};

struct fragment_problem {
    const char *section; /* its name in docs/formats.md#fragment, or "header" */
    uint64_t from, to;   /* the section's bytes in the file */
    enum fragment_loss loss;
    const char *what; /* a sentence without a full stop; holds during the call, as all here */
};
typedef void (*fragment_on_problem)(void *ctx, const struct fragment_problem *p);

struct fragment_summary {
    uint64_t fragment_id, file_bytes, last_ordinal, last_born;
    uint32_t n_rows, dim;
    enum space space;
};

/* Calls `on_problem` for each thing that is wrong, at most one a section and kind, and fills *s as far as the header
 * could be read (else it is all-zero). *f: the fragment, open, for further questions; NULL when it cannot be opened.
 * ERR_OK also when there are problems; otherwise nothing is known: ERR_NOT_FOUND, ERR_NEWER, ERR_IO, ERR_NOMEM. */
enum err fragment_check(const struct vfs *vfs, const char *path, fragment_on_problem on_problem, void *ctx,
                        struct fragment_summary *s, struct fragment **f, struct errmsg *em);

#endif
