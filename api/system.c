/* system.c - the routes about the server itself: time, health, version, limits, identity, reset, and the old interface.
 *
 * All but reset only read memory and run on the loop.
 */
#include "api/answer.h"
#include "api/auth_gate.h"

#include <inttypes.h>
#include <time.h>

enum { MAX_BATCH_SIZE = 250000 };

enum api_outcome handle_heartbeat(struct api_request *r)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t); /* cannot fail with this clock */
    buf_lit(&r->answer, "{\"nanosecond heartbeat\":");
    json_put_int(&r->answer, (int64_t)t.tv_sec * 1000000000 + t.tv_nsec);
    buf_char(&r->answer, '}');
    return api_ok(r, 200);
}

enum api_outcome handle_healthcheck(struct api_request *r)
{
    struct store_health health;
    store_health(r->api->store, &health);
    buf_printf(&r->answer, "{\"is_executor_ready\":true,\"is_log_client_ready\":%s}",
               health.is_read_only ? "false" : "true");
    return api_ok(r, health.is_read_only ? 503 : 200);
}

enum api_outcome handle_version(struct api_request *r)
{
    buf_lit(&r->answer, "\"1.0.0\""); /* of the interface, not of this program */
    return api_ok(r, 200);
}

enum api_outcome handle_pre_flight(struct api_request *r)
{
    buf_printf(&r->answer, "{\"max_batch_size\":%d,\"supports_base64_encoding\":true}", MAX_BATCH_SIZE);
    return api_ok(r, 200);
}

enum api_outcome handle_identity(struct api_request *r)
{
    auth_gate_put_identity(r, &r->answer);
    return api_ok(r, 200);
}

enum api_outcome handle_reset(struct api_request *r)
{
    struct errmsg em = {{0}};
    if (!r->api->options.allow_reset) return api_fail(r, ERR_FORBIDDEN, "Reset is disabled by config");
    enum err e = store_reset(r->api->store, &em);
    if (e != ERR_OK) return api_fail(r, e, "%s", em.text);
    buf_lit(&r->answer, "true");
    return api_ok(r, 200);
}

enum api_outcome handle_v1(struct api_request *r)
{
    return answer_error(r, 410, "Unimplemented", STR("The v1 API is deprecated. Please use /v2 apis"));
}
