/* body_spares.c - see body_spares.h. */
#include "server/body_spares.h"

#include <string.h>

#include "core/mem.h"

static char *take_out(struct body_spares *s, unsigned i)
{
    char *p = s->blocks[i].p;
    s->bytes -= s->blocks[i].size;
    s->n--;
    memmove(&s->blocks[i], &s->blocks[i + 1], (s->n - i) * sizeof s->blocks[0]);
    return p;
}

char *body_spares_take(struct body_spares *s, size_t size, size_t *got)
{
    unsigned best = s->n;
    if (size < SPARE_MIN_BYTES) return NULL;
    for (unsigned i = 0; i < s->n; i++)
        if (s->blocks[i].size >= size && (best == s->n || s->blocks[i].size < s->blocks[best].size)) best = i;
    if (best == s->n) return NULL;
    *got = s->blocks[best].size;
    return take_out(s, best);
}

void body_spares_keep(struct body_spares *s, char *p, size_t size, uint64_t room_bytes, uint64_t now_ms)
{
    bool is_kept = p != NULL && size >= SPARE_MIN_BYTES && s->n < SPARES_MAX && s->bytes <= room_bytes &&
                   size <= room_bytes - s->bytes;
    if (!is_kept) {
        mem_free(p);
        return;
    }
    s->blocks[s->n].p = p;
    s->blocks[s->n].size = size;
    s->blocks[s->n++].since_ms = now_ms;
    s->bytes += size;
}

void body_spares_shrink(struct body_spares *s, uint64_t max_bytes)
{
    while (s->bytes > max_bytes) mem_free(take_out(s, 0));
}

void body_spares_age(struct body_spares *s, uint64_t now_ms)
{
    if (s->n > 0 && now_ms - s->blocks[0].since_ms >= SPARE_IDLE_MS) mem_free(take_out(s, 0));
}
