/* distance_internal.h - the kernel tables behind distance.h, one file a level. Included by core/distance*.c only.
 *
 * Every kernel takes any alignment and any n, reads nothing at or beyond n, and adds up in 16 or more float32 lanes. A
 * table exists only where the compiler can make it; whether the processor has the instructions is distance.c's business.
 */
#ifndef CORE_DISTANCE_INTERNAL_H
#define CORE_DISTANCE_INTERNAL_H

#include "core/distance.h"

extern const struct distance_ops distance_portable;
#if defined(__x86_64__)
extern const struct distance_ops distance_avx2;
extern const struct distance_ops distance_avx512;
#elif defined(__aarch64__)
extern const struct distance_ops distance_neon;
#endif

#endif
