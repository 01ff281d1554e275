/* auth_gate.h - the policy at the door: from a request's headers and route to "go on" or an answer.
 * Internal to api/.
 */
#ifndef API_AUTH_GATE_H
#define API_AUTH_GATE_H

#include "api/handler.h"

/* In api_begin, when route and parameters are known; never blocks. False: answered. A password that has to be verified
 * first leaves r->is_unverified: the request must then run on the pool, and auth_gate_confirm before its handler. */
bool auth_gate_admit(struct api_request *r);

/* In api_ready, on the loop. False: answered, since too many verifications wait already. They are counted only from here
 * on: who sends a body slowly must not keep others from logging in. */
bool auth_gate_ready(struct api_request *r);

/* In api_run, on the pool. False: answered. Does nothing for requests that were admitted already. */
bool auth_gate_confirm(struct api_request *r);

/* In api_end. */
void auth_gate_leave(struct api_request *r);

/* Whether the caller's scope holds this database of the path's tenant: for names that are not in the path. */
bool auth_gate_covers_database(const struct api_request *r, struct str database);
bool auth_gate_covers_all_databases(const struct api_request *r);

/* 403, as for every refusal of an action or a scope. */
enum api_outcome auth_gate_forbid(struct api_request *r);

/* {"user_id":...,"tenant":...,"databases":[...]} of the caller. */
void auth_gate_put_identity(const struct api_request *r, struct buf *b);

#endif
