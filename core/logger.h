/* logger.h - one line an event, to stderr: time, level, thread, message, then key=value pairs the caller formats.
 *
 * THREADS  any; a line is one write, so lines never mix. Never called with a lock held or on a hot path.
 * The level is the program's only mutable global.
 */
#ifndef CORE_LOGGER_H
#define CORE_LOGGER_H

#include "core/err.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_NONE };

void logger_set_level(enum log_level level);
void logger_write(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_debug(...) logger_write(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  logger_write(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  logger_write(LOG_WARN, __VA_ARGS__)
#define log_error(...) logger_write(LOG_ERROR, __VA_ARGS__)

#endif
