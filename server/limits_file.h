/* limits_file.h - the limits of the configuration as the api wants them, with the file of tenants that have their own.
 * THREADS  the one that starts the program.
 */
#ifndef SERVER_LIMITS_FILE_H
#define SERVER_LIMITS_FILE_H

#include "server/config.h"

/* Owns what `options` points to, together with the configuration. All-zero is empty. */
struct limits_file {
    struct limits_options options;
    struct arena arena;
};

/* Reads config->limits_file, if there is one. ERR_NOT_FOUND, ERR_IO, ERR_INVALID with file and line, ERR_NOMEM. */
enum err limits_file_open(struct limits_file *f, const struct config *c, struct errmsg *em);
void limits_file_close(struct limits_file *f);

/* The file's text; for tests. `name` is for messages. */
enum err limits_file_read(struct limits_file *f, const struct config *c, struct str text, const char *name,
                          struct errmsg *em);

#endif
