/* answer.h - complete answers beyond the usual shapes, and the decoding of paths and query strings.
 * Internal to api/; handler.h has what every handler needs. THREADS the one that runs the request.
 */
#ifndef API_ANSWER_H
#define API_ANSWER_H

#include "api/handler.h"

/* Each completes the answer and returns API_DONE. A status of 400 and above gets a trace id. */
enum api_outcome answer_empty(struct api_request *r, unsigned status);
enum api_outcome answer_text(struct api_request *r, unsigned status, struct str type, struct str text);
enum api_outcome answer_error(struct api_request *r, unsigned status, const char *name, struct str message);

/* "<before><name><after>" as the message of a failure, whatever bytes the name holds. */
enum api_outcome answer_about(struct api_request *r, enum err e, const char *before, struct str name,
                              const char *after);

/* %XX to bytes (and '+' to a space in query strings); a broken escape stays as it is. The result is a view into `s` when
 * nothing was escaped, else a copy in the arena. False when memory is short. */
bool percent_decode(struct arena *a, struct str s, bool plus_is_space, struct str *out);

/* The next non-empty part between '&'; false at the end. */
bool next_query_pair(struct str *rest, struct str *pair);

#endif
