/* metrics_page.h - the groups of rows of GET /metrics. Each function writes whole families.
 * Internal to api/. THREADS any but the loop.
 */
#ifndef API_METRICS_PAGE_H
#define API_METRICS_PAGE_H

#include "api/exposition.h"
#include "api/metrics.h"
#include "api/store.h"

/* Memory, descriptors and processor time of this process, from /proc; what cannot be read is left out.
 * (metrics_process.c) */
void metrics_put_process(struct exposition *e, const struct metrics *m);

/* The log, the compactor, sizes of the data. (metrics_store.c) */
void metrics_put_log(struct exposition *e, const struct wal_stats *s);
void metrics_put_compactor(struct exposition *e, const struct store_stats *s);
void metrics_put_data(struct exposition *e, const struct store_stats *s);
void metrics_put_damage(struct exposition *e, const struct store_stats *s);
void metrics_put_recall(struct exposition *e, const struct store_stats *s);

/* A row for each collection: only for who asks, since there may be thousands. ERR_NOMEM. (metrics_store.c) */
enum err metrics_put_collections(struct exposition *e, struct store *store);

/* What tenants have used (limits.h), likewise for who asks. (metrics_tenants.c) */
struct api;
void metrics_put_tenants(struct exposition *e, struct api *a);

#endif
