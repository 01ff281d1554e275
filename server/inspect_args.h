/* inspect_args.h - the arguments of the commands that look at a data directory: --path DIR, --json, --help. */
#ifndef SERVER_INSPECT_ARGS_H
#define SERVER_INSPECT_ARGS_H

#include <stdbool.h>

struct inspect_args {
    const char *path;
    bool is_json;
};

/* False: the command ends with *status, and what there is to say was said (`usage`, on request or with the mistake). */
bool inspect_read_args(int argc, char **argv, const char *usage, struct inspect_args *a, int *status);

#endif
