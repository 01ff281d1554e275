/* histogram.h - how long things took: counts in a few fixed buckets, half a decade each, from 0.1 ms to 10 s.
 *
 * COST     adding is two relaxed additions. Whoever adds on a hot path has a histogram of his own, so that threads do
 *          not share a cache line.
 * THREADS  any. A reader that comes in between may see a count without its time: both are there at the next look.
 */
#ifndef CORE_HISTOGRAM_H
#define CORE_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 12 }; /* the last one has no upper bound */

/* All-zero is a valid empty one. */
struct histogram {
    _Atomic uint64_t n[HISTOGRAM_BUCKETS];
    _Atomic uint64_t sum_ns;
};

/* What was in it at one moment. */
struct histogram_counts {
    uint64_t n[HISTOGRAM_BUCKETS];
    uint64_t total;
    uint64_t sum_ns;
};

void histogram_add(struct histogram *h, uint64_t ns);
void histogram_read(const struct histogram *h, struct histogram_counts *c);

/* The largest duration that falls into bucket i; UINT64_MAX for the last. */
uint64_t histogram_bound_ns(unsigned i);

#endif
