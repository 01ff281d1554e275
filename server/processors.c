/* processors.c - see processors.h. */
#include "server/processors.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <unistd.h>

#include "server/config.h"

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

/* The file's text behind the n bytes that buf holds already; 0: it cannot be read. */
static size_t append_file(char *buf, size_t n, size_t cap, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t more = read(fd, buf + n, cap - n);
    (void)close(fd);
    return more > 0 ? n + (size_t)more : 0;
}

/* As a container sees its own group. */
static unsigned read_quota(void)
{
    char text[128];
    size_t n = append_file(text, 0, sizeof text, "/sys/fs/cgroup/cpu.max");
    if (n > 0) return processors_of_quota(str_of(text, n));
    n = append_file(text, 0, sizeof text, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"); /* version 1: a file each */
    if (n == 0) return UINT_MAX;
    text[n - 1] = ' '; /* the end of its line */
    n = append_file(text, n, sizeof text, "/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    return n > 0 ? processors_of_quota(str_of(text, n)) : UINT_MAX;
}

unsigned processors_usable(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    unsigned quota = read_quota(), may_run_on = n > 0 ? (unsigned)n : 1;
    return quota < may_run_on ? quota : may_run_on;
}
