/* logger.c - see logger.h. */
#include "core/logger.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/utf8.h"

static _Atomic int logger_level = LOG_INFO; /* relaxed: a stale level costs one line too many or too few */

void logger_set_level(enum log_level level)
{
    atomic_store_explicit(&logger_level, (int)level, memory_order_relaxed);
}

void logger_write(enum log_level level, const char *fmt, ...)
{
    static const char *const names[] = {"DEBUG", "INFO", "WARN", "ERROR"};
    if ((int)level < atomic_load_explicit(&logger_level, memory_order_relaxed) || level >= LOG_NONE) return;
    char line[2048], thread[16] = "?";
    struct timespec now;
    struct tm utc;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    (void)pthread_getname_np(pthread_self(), thread, sizeof thread);
    size_t n = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &utc);
    n +=
        (size_t)snprintf(line + n, sizeof line - n, ".%03ldZ %-5s %-10s ", now.tv_nsec / 1000000, names[level], thread);
    va_list ap;
    va_start(ap, fmt);
    int body = vsnprintf(line + n, sizeof line - n - 1, fmt, ap);
    va_end(ap);
    if (body > 0) n += (size_t)body < sizeof line - n - 1 ? (size_t)body : sizeof line - n - 2;
    utf8_make_plain(line, n); /* what users sent, or a damaged file held, cannot forge a second line */
    line[n++] = '\n';
    if (write(STDERR_FILENO, line, n) < 0) return; /* nowhere left to report to */
}
