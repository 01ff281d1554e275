/* processors.h - how many processors there are for this process. Internal to server/.
 *
 * THREADS  any.
 */
#ifndef SERVER_PROCESSORS_H
#define SERVER_PROCESSORS_H

#include "core/bytes.h"

/* Whole processors that the process may use all the time, at least 1: those that it may run on, or, if that is less, what its
 * control group may use of them. */
unsigned processors_usable(void);

/* The whole processors in a quota of a control group, the text "QUOTA PERIOD" of two times, at least 1.
 * UINT_MAX: it sets no limit ("max PERIOD", "-1 PERIOD"), or cannot be read. For tests. */
unsigned processors_of_quota(struct str text);

#endif
