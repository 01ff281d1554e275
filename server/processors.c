/* processors.c - see processors.h. */
#include "server/processors.h"

#include <limits.h>
#include <sched.h>

#include "server/config.h"
#include "server/control_group.h"

unsigned processors_of_quota(struct str text)
{
    uint64_t quota, period;
    while (text.n > 0 && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == ' ')) text.n--;
    const char *gap = text.n > 0 ? memchr(text.p, ' ', text.n) : NULL;
    if (gap == NULL) return UINT_MAX;
    size_t at = (size_t)(gap - text.p);
    if (!config_parse_number(str_of(text.p, at), &quota)) return UINT_MAX;
    if (!config_parse_number(str_of(gap + 1, text.n - at - 1), &period) || period == 0) return UINT_MAX;
    uint64_t n = quota / period;
    if (n > UINT_MAX) return UINT_MAX;
    return n > 0 ? (unsigned)n : 1;
}

/* As a container sees its own group. */
static unsigned read_quota(void)
{
    char text[128];
    size_t n = control_group_read("/sys/fs/cgroup/cpu.max", text, sizeof text);
    if (n == 0) { /* version 1: a file each */
        n = control_group_read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", text, sizeof text);
        if (n == 0) return UINT_MAX;
        text[n - 1] = ' '; /* the end of its line */
        n += control_group_read("/sys/fs/cgroup/cpu/cpu.cfs_period_us", text + n, sizeof text - n);
    }
    return processors_of_quota(str_of(text, n));
}

unsigned processors_usable(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    unsigned quota = read_quota(), may_run_on = n > 0 ? (unsigned)n : 1;
    return quota < may_run_on ? quota : may_run_on;
}
