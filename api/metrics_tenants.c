/* metrics_tenants.c - rows of GET /metrics about what tenants have used. See metrics_page.h and limits.h.
 *
 * A family a counter, so the tenants are visited once for each: a tenant that comes meanwhile is in the later ones only.
 */
#include "api/limits.h"
#include "api/metrics_page.h"

struct family {
    struct exposition *e;
    enum usage counter;
};

static void put_tenant(void *ctx, const struct tenant_usage *u)
{
    const struct family *f = ctx;
    const struct exposition_label label = LABEL("tenant", u->tenant);
    exposition_uint(f->e, &label, 1, u->counters[f->counter]);
}

void metrics_put_tenants(struct exposition *e, struct api *a)
{
    static const char *const families[USAGE_COUNT_][2] = {
        [USAGE_REQUESTS_READ] = {"chroma_tenant_requests_read_total", "Requests of a tenant that read records."},
        [USAGE_REQUESTS_WRITE] = {"chroma_tenant_requests_write_total", "Requests that write records."},
        [USAGE_REQUESTS_SEARCH] = {"chroma_tenant_requests_search_total", "Queries and searches, by request."},
        [USAGE_REQUESTS_OTHER] = {"chroma_tenant_requests_other_total", "Requests about what is not records."},
        [USAGE_RECORDS_WRITTEN] = {"chroma_tenant_records_written_total", "Records added, updated or replaced."},
        [USAGE_RECORDS_DELETED] = {"chroma_tenant_records_deleted_total", "Records deleted by requests."},
        [USAGE_RECORDS_READ] = {"chroma_tenant_records_read_total", "Records in answers."},
        [USAGE_QUERIES] = {"chroma_tenant_queries_total", "Query embeddings and searches."},
        [USAGE_BYTES_IN] = {"chroma_tenant_request_body_bytes_total", "Bytes of bodies of requests that were run."},
        [USAGE_BYTES_OUT] = {"chroma_tenant_response_body_bytes_total", "Bytes of bodies of answers."},
        [USAGE_REFUSED_RATE] = {"chroma_tenant_refused_rate_total", "Requests refused by a rate or the scorecard."},
        [USAGE_REFUSED_QUOTA] = {"chroma_tenant_refused_quota_total", "Requests refused by a quota."},
    };
    for (int i = 0; i < USAGE_COUNT_; i++) {
        struct family f = {e, (enum usage)i};
        exposition_begin(e, families[i][0], EXPOSITION_COUNTER, families[i][1]);
        usage_each(a, put_tenant, &f);
    }
}
