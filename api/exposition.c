/* exposition.c - see exposition.h. Escapes are those of the format: \\ and \n in help texts, and \" besides in values
 * of labels. Numbers: integers as they are, so that counters stay exact; others with 17 digits, so that they read back.
 */
#include "api/exposition.h"

#include <math.h>
#include <stdio.h>

static void put_escaped(struct buf *b, struct str s, bool is_quoted)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '\\')
            buf_lit(b, "\\\\");
        else if (c == '\n')
            buf_lit(b, "\\n");
        else if (c == '"' && is_quoted)
            buf_lit(b, "\\\"");
        else
            buf_char(b, c);
    }
}

void exposition_begin(struct exposition *e, const char *name, enum exposition_type type, const char *help)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    e->name = name;
    buf_printf(e->out, "# HELP %s ", name);
    put_escaped(e->out, str_from_c(help), false);
    buf_printf(e->out, "\n# TYPE %s %s\n", name, types[type]);
}

/* name, suffix, labels, and `more` as the last label; up to where the value goes. */
static void put_series(struct exposition *e, const char *suffix, const struct exposition_label *labels, unsigned n,
                       const struct exposition_label *more)
{
    struct buf *b = e->out;
    buf_printf(b, "%s%s", e->name, suffix);
    unsigned n_all = n + (more != NULL ? 1 : 0);
    for (unsigned i = 0; i < n_all; i++) {
        const struct exposition_label *l = i < n ? &labels[i] : more;
        buf_printf(b, "%s%s=\"", i == 0 ? "{" : ",", l->name);
        put_escaped(b, l->value, true);
        buf_char(b, '"');
    }
    if (n_all > 0) buf_char(b, '}');
    buf_char(b, ' ');
}

static void put_double(struct buf *b, double v)
{
    if (isnan(v))
        buf_lit(b, "NaN");
    else if (isinf(v))
        buf_str(b, v > 0 ? STR("+Inf") : STR("-Inf"));
    else
        buf_printf(b, "%.17g", v);
}

/* Nanoseconds as seconds, exact: a double would begin to round after some days. */
static void put_seconds(struct buf *b, uint64_t ns)
{
    buf_printf(b, "%llu.%09llu", (unsigned long long)(ns / 1000000000), (unsigned long long)(ns % 1000000000));
}

void exposition_uint(struct exposition *e, const struct exposition_label *labels, unsigned n_labels, uint64_t value)
{
    put_series(e, "", labels, n_labels, NULL);
    buf_printf(e->out, "%llu\n", (unsigned long long)value);
}

void exposition_double(struct exposition *e, const struct exposition_label *labels, unsigned n_labels, double value)
{
    put_series(e, "", labels, n_labels, NULL);
    put_double(e->out, value);
    buf_char(e->out, '\n');
}

void exposition_histogram(struct exposition *e, const struct exposition_label *labels, unsigned n_labels,
                          const struct histogram_counts *c)
{
    char bound[32];
    uint64_t sum = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) { /* buckets of the format are cumulative */
        struct exposition_label le = LABEL("le", STR("+Inf"));
        if (i < HISTOGRAM_BUCKETS - 1) {
            (void)snprintf(bound, sizeof bound, "%.9g", (double)histogram_bound_ns(i) / 1e9);
            le.value = str_from_c(bound);
        }
        sum += c->n[i];
        put_series(e, "_bucket", labels, n_labels, &le);
        buf_printf(e->out, "%llu\n", (unsigned long long)sum);
    }
    put_series(e, "_sum", labels, n_labels, NULL);
    put_seconds(e->out, c->sum_ns);
    buf_char(e->out, '\n');
    put_series(e, "_count", labels, n_labels, NULL);
    buf_printf(e->out, "%llu\n", (unsigned long long)sum);
}

void exposition_counter(struct exposition *e, const char *name, const char *help, uint64_t value)
{
    exposition_begin(e, name, EXPOSITION_COUNTER, help);
    exposition_uint(e, NULL, 0, value);
}

void exposition_gauge(struct exposition *e, const char *name, const char *help, uint64_t value)
{
    exposition_begin(e, name, EXPOSITION_GAUGE, help);
    exposition_uint(e, NULL, 0, value);
}

void exposition_seconds(struct exposition *e, const char *name, const char *help, uint64_t total_ns)
{
    exposition_begin(e, name, EXPOSITION_COUNTER, help);
    put_series(e, "", NULL, 0, NULL);
    put_seconds(e->out, total_ns);
    buf_char(e->out, '\n');
}
