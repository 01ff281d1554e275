/* metrics_process.c - rows of GET /metrics about the process. See metrics_page.h.
 *
 * /proc is read with plain system calls: it is no part of the data, and its files have no size, which vfs.h relies on.
 * FAILURE  what cannot be read (no /proc, no descriptor left) is left out of the page.
 */
#include "api/metrics_page.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { STATUS_MAX = 4096 }; /* of /proc/self/status: some 1,400 bytes */

/* NUL-terminated; false: cannot be read. */
static bool read_status(char text[STATUS_MAX])
{
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    size_t n = 0;
    ssize_t got = 1;
    while (got > 0 && n < STATUS_MAX - 1) {
        got = read(fd, text + n, STATUS_MAX - 1 - n);
        if (got > 0) n += (size_t)got;
    }
    (void)close(fd);
    text[n] = '\0';
    return got >= 0 && n > 0;
}

/* "Name:   123 kB" in bytes. */
static void put_kilobytes(struct exposition *e, const char *status, const char *key, const char *name, const char *help)
{
    const char *at = strstr(status, key);
    if (at != NULL) exposition_gauge(e, name, help, strtoull(at + strlen(key), NULL, 10) * 1024);
}

static void put_memory(struct exposition *e)
{
    char status[STATUS_MAX];
    if (!read_status(status)) return;
    put_kilobytes(e, status, "\nVmSize:", "process_virtual_memory_bytes", "Address space in use.");
    put_kilobytes(e, status, "\nVmRSS:", "process_resident_memory_bytes", "Memory in RAM, mapped files included.");
    put_kilobytes(e, status, "\nRssAnon:", "process_resident_anonymous_memory_bytes",
                  "Of this, memory that no file backs: what the system cannot take back.");
}

static void put_descriptors(struct exposition *e)
{
    struct rlimit limit;
    DIR *dir = opendir("/proc/self/fd");
    if (dir != NULL) {
        uint64_t n = 0;
        for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) n += entry->d_name[0] != '.';
        (void)closedir(dir);
        exposition_gauge(e, "process_open_fds", "Open file descriptors.", n - 1); /* one was the directory itself */
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        exposition_gauge(e, "process_max_fds", "File descriptors that may be open.", limit.rlim_cur);
}

static uint64_t nanoseconds(struct timeval t)
{
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_usec * 1000u;
}

void metrics_put_process(struct exposition *e, const struct metrics *m)
{
    struct rusage usage;
    put_memory(e);
    put_descriptors(e);
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        exposition_seconds(e, "process_cpu_seconds_total", "Processor time, user and system.",
                           nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime));
    exposition_begin(e, "process_start_time_seconds", EXPOSITION_GAUGE, "When the process started, since the epoch.");
    exposition_double(e, NULL, 0, m->started_s);
}
