/* slice.h - how long a thread keeps its processor while others want it.
 *
 * WHY     Where more threads can run than there are processors, one that wakes up waits until a slice of another ends, some
 *         milliseconds: many times what a small request takes, and a request waits for several threads one after the other. A
 *         thread whose slice is shorter than that of the one at work goes first, and nobody gets more of the processors
 *         than before. So whoever answers small requests asks for short slices, and who is long at it for long ones.
 * HOW     sched_setattr(2) with sched_runtime, which Linux heeds for ordinary threads from 6.12 on ("EEVDF", K. Jeffay, I. Stoica and
 *         H. Abdel-Wahab, 1995; a request for a shorter slice has the earlier deadline). Older kernels ignore it. Threads with
 *         long slices are SCHED_BATCH as well, which does not take a processor from others when it wakes up. No privilege
 *         is needed, and the nice value stays.
 * THREADS any, each for itself or for another one of the process. A thread that is neither SCHED_OTHER nor SCHED_BATCH was
 *         set so by whoever started the program, and is left alone. Threads start with the slice of who started them.
 */
#ifndef CORE_SLICE_H
#define CORE_SLICE_H

#include <sys/types.h>

enum slice { SLICE_SHORT, SLICE_LONG };

/* thread: a thread's number, 0 is the caller. Never fails as far as callers are concerned: without it the threads run as before. */
void slice_set(pid_t thread, enum slice slice);

/* The caller works behind requests, which come first: long slices, and this nice value, from which there is no way back without a
 * privilege. */
void slice_behind_requests(int nice);

pid_t slice_thread(void); /* the caller's number */

#endif
