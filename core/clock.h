/* clock.h - the clock for durations and deadlines. Any thread.
 */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

#include <stdint.h>

/* Nanoseconds since some moment before the process began; never goes back. */
uint64_t clock_monotonic_ns(void);

#endif
