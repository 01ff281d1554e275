/* slice.c - see slice.h. */
#include "core/slice.h"

#include <sched.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SHORT_NS = 100000, LONG_NS = 10000000 };

struct
    attributes { /* struct sched_attr of linux/sched/types.h, which does not go together with sched.h; without the clamps */
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
};
_Static_assert(sizeof(struct attributes) == 48, "SCHED_ATTR_SIZE_VER0");

void slice_set(pid_t thread, enum slice slice)
{
    struct attributes a = {.size = sizeof a};
    if (syscall(SYS_sched_getattr, thread, &a, (unsigned)sizeof a, 0u) != 0) return;
    if (a.policy != SCHED_OTHER && a.policy != SCHED_BATCH) return;
    a.policy = slice == SLICE_LONG ? SCHED_BATCH : SCHED_OTHER;
    a.runtime_ns = slice == SLICE_LONG ? LONG_NS : SHORT_NS;
    (void)syscall(SYS_sched_setattr, thread, &a, 0u);
}

void slice_behind_requests(int nice)
{
    slice_set(0, SLICE_LONG);
    (void)setpriority(PRIO_PROCESS, (id_t)slice_thread(), nice);
}

pid_t slice_thread(void)
{
    return (pid_t)syscall(SYS_gettid);
}
