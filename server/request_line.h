/* request_line.h - a request as one line of JSON, for the request log. Members: docs/operations.md#request-log.
 *
 * SECRETS  no header is part of it. Of the query string only what this server reads is shown, and only as the numbers
 *          and words that are expected there; everything else is left out.
 * SIZE     bounded: long texts are cut.
 */
#ifndef SERVER_REQUEST_LINE_H
#define SERVER_REQUEST_LINE_H

#include <time.h>

#include "api/api.h"

struct request_line {
    struct timespec received; /* CLOCK_REALTIME, at the headers */
    const char *remote;       /* address, or "" */
    unsigned status;          /* 0: not answered */
    const char *error;        /* name of the error, or NULL */
    bool was_queued;          /* with the pool; then the two that follow count */
    uint64_t queued_ns, run_ns;
    uint64_t bytes_in, bytes_out;
};

/* Appends all that is known when the answer is ready; texts of `r` are looked at now and never again. */
void request_line_begin(struct buf *b, const struct api_request *r, const struct request_line *l);

/* And what is known when it was sent, or was not. */
void request_line_end(struct buf *b, uint64_t duration_ns, bool is_sent);

#endif
