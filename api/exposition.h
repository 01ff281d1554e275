/* exposition.h - writes metrics as text, format 0.0.4 of Prometheus.
 *
 *   # HELP name what it is
 *   # TYPE name counter
 *   name{label="value"} 17
 *
 * INVARIANTS every sample stands under the HELP and TYPE of its family, and the samples of a family stand together:
 *            the caller begins a family and adds to it before he begins the next. Each combination of labels comes
 *            once; that is the caller's to see to.
 * ERRORS     the buffer's, sticky.
 */
#ifndef API_EXPOSITION_H
#define API_EXPOSITION_H

#include "core/buf.h"
#include "core/histogram.h"

enum exposition_type { EXPOSITION_COUNTER, EXPOSITION_GAUGE, EXPOSITION_HISTOGRAM };

struct exposition {
    struct buf *out;
    const char *name; /* of the family at hand; literal */
};

struct exposition_label {
    const char *name; /* literal */
    struct str value; /* any UTF-8 */
};

#define LABEL(n, v) ((struct exposition_label){(n), (v)})

/* Names of counters end in _total, of durations in _seconds, of sizes in _bytes. */
void exposition_begin(struct exposition *e, const char *name, enum exposition_type type, const char *help);

/* One sample of the family at hand. */
void exposition_uint(struct exposition *e, const struct exposition_label *labels, unsigned n_labels, uint64_t value);
void exposition_double(struct exposition *e, const struct exposition_label *labels, unsigned n_labels, double value);
void exposition_histogram(struct exposition *e, const struct exposition_label *labels, unsigned n_labels,
                          const struct histogram_counts *c);

/* A family of one sample without labels. */
void exposition_counter(struct exposition *e, const char *name, const char *help, uint64_t value);
void exposition_gauge(struct exposition *e, const char *name, const char *help, uint64_t value);
void exposition_seconds(struct exposition *e, const char *name, const char *help, uint64_t total_ns); /* a counter */

#endif
