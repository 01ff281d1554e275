/* bench_wal.c - commits a second and their latency: one submitting thread that keeps W records outstanding, as the server
 * does.
 *
 *   bench_wal DIR [W [SECONDS [BYTES]]]     DIR on the disk to be measured; a log is made in DIR/bench-wal
 *
 * Prints opening time, records a second, records a flush, and p50/p99 from submit to callback. On a virtual machine keep
 * the processors awake meanwhile, or p99 measures their timer tick.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/mem.h"
#include "wal/wal.h"

enum { SAMPLES_MAX = 1 << 20, OUTSTANDING_MAX = 4096 };

struct bench {
    struct wal *w;
    pthread_mutex_t mu;
    pthread_cond_t changed;
    unsigned n_out;
    struct slot *idle;
    uint64_t *samples;
    size_t n_samples;
    uint64_t n_done;
    enum err err;
};

struct slot {
    struct wal_record r;
    struct bench *b;
    struct slot *next;
    uint64_t started;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static void slot_done(struct wal_record *r, enum err e, uint64_t lsn)
{
    struct slot *s = (struct slot *)(void *)r;
    struct bench *b = s->b;
    (void)pthread_mutex_lock(&b->mu);
    if (e != ERR_OK) b->err = e;
    if (b->n_samples < SAMPLES_MAX) b->samples[b->n_samples++] = now_ns() - s->started;
    b->n_done++;
    s->next = b->idle;
    b->idle = s;
    b->n_out--;
    (void)pthread_cond_signal(&b->changed);
    (void)pthread_mutex_unlock(&b->mu);
    if (lsn % 4096 == 0) (void)wal_trim(b->w, lsn, NULL);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fprintf(stderr, "usage: bench_wal DIR [outstanding [seconds [bytes]]]\n");
        return 2;
    }
    unsigned n_slots = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
    uint64_t seconds = argc > 3 ? (uint64_t)atoi(argv[3]) : 2;
    size_t bytes = argc > 4 ? (size_t)atol(argv[4]) : 464;
    if (n_slots < 1 || n_slots > OUTSTANDING_MAX) return 2;
    struct bench b = {0};
    struct errmsg em = {{0}};
    char dir[4096];
    (void)pthread_mutex_init(&b.mu, NULL);
    (void)pthread_cond_init(&b.changed, NULL);
    b.samples = mem_array(SAMPLES_MAX, sizeof *b.samples);
    struct slot *slots = mem_array(n_slots, sizeof *slots);
    char *payload = mem_zalloc(bytes + 1);
    if (b.samples == NULL || slots == NULL || payload == NULL || !vfs_join(dir, sizeof dir, argv[1], "bench-wal"))
        return 1;
    uint64_t start = now_ns();
    if (wal_open(&b.w, vfs_posix(), dir, NULL, 0, 0, NULL, NULL, &em) != ERR_OK) {
        (void)fprintf(stderr, "%s\n", em.text);
        return 1;
    }
    (void)printf("open %.1f ms\n", (double)(now_ns() - start) / 1e6);
    for (unsigned i = 0; i < n_slots; i++) {
        slots[i].b = &b;
        slots[i].next = b.idle;
        b.idle = &slots[i];
    }
    start = now_ns();
    uint64_t until = start + seconds * UINT64_C(1000000000);
    while (now_ns() < until && b.err == ERR_OK) {
        (void)pthread_mutex_lock(&b.mu);
        while (b.idle == NULL) (void)pthread_cond_wait(&b.changed, &b.mu);
        struct slot *list = b.idle;
        b.idle = NULL;
        for (const struct slot *s = list; s != NULL; s = s->next) b.n_out++;
        (void)pthread_mutex_unlock(&b.mu);
        for (struct slot *s = list, *next; s != NULL; s = next) {
            next = s->next;
            s->r = (struct wal_record){.type = 1, .payload = {payload, bytes}, .done = slot_done};
            s->started = now_ns();
            if (wal_submit(b.w, &s->r) != ERR_OK) return 1;
        }
    }
    (void)pthread_mutex_lock(&b.mu);
    while (b.n_out > 0) (void)pthread_cond_wait(&b.changed, &b.mu);
    (void)pthread_mutex_unlock(&b.mu);
    double took = (double)(now_ns() - start) / 1e9;
    struct wal_stats s;
    wal_stats(b.w, &s);
    qsort(b.samples, b.n_samples, sizeof *b.samples, compare);
    (void)printf(
        "W=%u %zu B: %.0f records/s, %.1f records a flush, flush %.0f us, p50 %.0f us, p99 %.0f us, %.1f MiB on disk\n",
        n_slots, bytes, (double)b.n_done / took, (double)s.n_records / (double)s.n_flushes,
        (double)s.flush_ns_total / (double)s.n_flushes / 1e3, (double)b.samples[b.n_samples / 2] / 1e3,
        (double)b.samples[b.n_samples * 99 / 100] / 1e3, (double)s.disk_bytes / 1048576);
    wal_close(b.w);
    mem_free(payload);
    mem_free(slots);
    mem_free(b.samples);
    return b.err == ERR_OK ? 0 : 1;
}
