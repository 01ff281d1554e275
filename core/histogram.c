/* histogram.c - see histogram.h. A linear search over eleven bounds is as quick as anything cleverer: most durations
 * are short, and so found at once.
 */
#include "core/histogram.h"

#include "core/err.h"

/* 1 and 3 of each decade: quantiles that are read off the buckets are right within a factor of about 3. */
static const uint64_t bounds_ns[HISTOGRAM_BUCKETS] = {
    100000,    300000,     1000000,    3000000,    10000000,    30000000,
    100000000, 300000000u, 1000000000, 3000000000, 10000000000, UINT64_MAX,
};

void histogram_add(struct histogram *h, uint64_t ns)
{
    unsigned i = 0;
    while (ns > bounds_ns[i]) i++;
    atomic_fetch_add_explicit(&h->n[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_ns, ns, memory_order_relaxed);
}

void histogram_read(const struct histogram *h, struct histogram_counts *c)
{
    c->total = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        c->n[i] = atomic_load_explicit(&h->n[i], memory_order_relaxed);
        c->total += c->n[i];
    }
    c->sum_ns = atomic_load_explicit(&h->sum_ns, memory_order_relaxed);
}

uint64_t histogram_bound_ns(unsigned i)
{
    CHECK(i < HISTOGRAM_BUCKETS && "a bucket of the histogram");
    return bounds_ns[i];
}
