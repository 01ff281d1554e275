/* command.h - what the commands that work on a data directory have in common: flags and paths.
 */
#ifndef SERVER_COMMAND_H
#define SERVER_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "core/err.h"

enum { COMMAND_PATH_MAX = 3000 };

struct command_flag {
    const char *name;   /* "--path" */
    const char **value; /* gets the value, "--path VALUE" or "--path=VALUE"; NULL: the flag has none */
    bool *is_there;     /* NULL, or set to true */
};

/* Reads the arguments behind a command's name. -1: go on. Else the exit status: 0 after --help (`usage` was printed), 2 after a
 * mistake, which was told. */
int command_read_flags(int argc, char **argv, const struct command_flag *flags, size_t n, const char *usage);

/* 2, and says that `flag` is missing. */
int command_wants(const char *flag, const char *usage);

/* The absolute path without links and without '/' at its end. The last part need not exist. ERR_NOT_FOUND: what it would be in does
 * not. ERR_INVALID: too long. */
enum err command_path(const char *path, char out[COMMAND_PATH_MAX], struct errmsg *em);

/* Both as command_path gives them. ERR_INVALID: `to`, the value of `flag`, is the data directory `dir`, or inside it. */
enum err command_outside(const char *dir, const char *to, const char *flag, struct errmsg *em);

#endif
