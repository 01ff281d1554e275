/* base64.h - strict standard base64, appended to a buffer: embeddings sent as text.
 *
 * Alphabet A-Z a-z 0-9 + /, padding where it is due, no white space, and no bits set that the padding hides. So one
 * sequence of bytes has exactly one accepted spelling.
 * THREADS  any.
 */
#ifndef API_BASE64_H
#define API_BASE64_H

#include "core/buf.h"

/* Appends the bytes that `text` stands for. ERR_INVALID with the contract's wording in `em` ("Invalid symbol 35, offset
 * 0."), ERR_NOMEM, ERR_TOO_LARGE; on failure nothing was appended. */
enum err base64_decode(struct str text, struct buf *out, struct errmsg *em);

#endif
