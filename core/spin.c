/* spin.c - see spin.h. */
#include "core/spin.h"

#include <sched.h>

#include "core/clock.h"

enum {
    FIRST_PART = 8, /* the first window is this part of the longest */
    LEAST_NS = 2000 /* a shorter one is none */
};

void spin_begin(struct spin *s)
{
    if (s->max_ns > 0) s->begun_ns = clock_monotonic_ns();
}

bool spin_goes_on(struct spin *s)
{
    if (s->window_ns == 0) return false;
    (void)sched_yield(); /* never fails in Linux */
    return clock_monotonic_ns() - s->begun_ns < s->window_ns;
}

void spin_learn(struct spin *s, uint64_t waited_ns)
{
    if (waited_ns > s->max_ns) {
        s->window_ns /= 2;
        if (s->window_ns < LEAST_NS) s->window_ns = 0;
    } else if (waited_ns > s->window_ns) {
        s->window_ns = s->window_ns == 0 ? s->max_ns / FIRST_PART : s->window_ns * 2;
        if (s->window_ns > s->max_ns) s->window_ns = s->max_ns;
    }
}

void spin_end(struct spin *s)
{
    if (s->max_ns > 0) spin_learn(s, clock_monotonic_ns() - s->begun_ns);
}
