/* spin.h - looking for work a little longer before a thread sleeps.
 *
 * WHY     A processor without a thread to run halts, and a thread that is woken on it begins late: by some microseconds on a
 *         machine of its own, by tens of them on a virtual one, whose host has to be asked. A small request is
 *         computed in less time than that and meets up to four such wake-ups.
 * HOW     The thread looks again and again for as long as its window, and lets every other thread that could run go first between two
 *         looks. The window doubles, up to the longest allowed, when what was waited for came after the
 *         window but within the longest, and halves when it took longer than that: a thread whose work comes rarely
 *         soon does not look at all. (The rule of guest halt polling in Linux: Documentation/virt/guest-halt-polling.rst.)
 * THREADS a struct spin is its thread's own.
 *
 *     spin_begin(s);
 *     while (!is_there() && spin_goes_on(s)) {}
 *     if (!is_there()) sleep until it is;
 *     spin_end(s);
 */
#ifndef CORE_SPIN_H
#define CORE_SPIN_H

#include <stdbool.h>
#include <stdint.h>

struct spin {
    uint64_t max_ns;    /* the longest window; 0: it never looks, it sleeps at once */
    uint64_t window_ns; /* the present one */
    uint64_t begun_ns;
};

/* All-zero is one that sleeps at once. */
static inline struct spin spin_of(unsigned max_us)
{
    return (struct spin){.max_ns = (uint64_t)max_us * 1000};
}

void spin_begin(struct spin *s);   /* a wait begins */
bool spin_goes_on(struct spin *s); /* lets others run; true: look again. False: the window is over */
void spin_end(struct spin *s);     /* the wait, asleep or not, is over */

/* spin_end, of a wait that took so long; for tests. */
void spin_learn(struct spin *s, uint64_t waited_ns);

#endif
