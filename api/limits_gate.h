/* limits_gate.h - rates and requests in progress at the door, and what the request's way through the api is counted as.
 * Internal to api/. See limits.h.
 */
#ifndef API_LIMITS_GATE_H
#define API_LIMITS_GATE_H

#include "api/handler.h"
#include "api/limits_internal.h"

/* When it is settled who asks (api_begin, or later when a password had to be verified): finds the tenant, counts the
 * request, and takes its place. False: answered with 429. A second call does nothing. Never blocks. */
bool limits_admit(struct api_request *r);

/* The answer is complete: its bytes are the tenant's. Once a request. */
void limits_count_answer(struct api_request *r);

/* In api_end, whatever became of the request: gives its place back. */
void limits_leave(struct api_request *r);

/* Adds to what the request's tenant has used; for requests of no tenant nothing. */
static inline void limits_count(struct api_request *r, enum usage u, uint64_t n)
{
    if (r->tenant != NULL) usage_add(r->tenant, u, n);
}

#endif
