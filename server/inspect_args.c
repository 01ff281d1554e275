/* inspect_args.c - see inspect_args.h. */
#include "server/inspect_args.h"

#include <stdio.h>
#include <string.h>

#include "server/cli.h"

static bool wrong(const char *what, const char *arg, const char *usage, int *status)
{
    (void)fprintf(stderr, "error: %s '%s'\n\n%s", what, arg, usage);
    *status = EXIT_USAGE;
    return false;
}

bool inspect_read_args(int argc, char **argv, const char *usage, struct inspect_args *a, int *status)
{
    *a = (struct inspect_args){0};
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            (void)fputs(usage, stdout);
            *status = 0;
            return false;
        }
        if (strcmp(argv[i], "--json") == 0) {
            a->is_json = true;
        } else if (strncmp(argv[i], "--path=", 7) == 0) {
            a->path = argv[i] + 7;
        } else if (strcmp(argv[i], "--path") == 0) {
            if (++i >= argc) return wrong("a value is required for", "--path DIR", usage, status);
            a->path = argv[i];
        } else {
            return wrong("unexpected argument", argv[i], usage, status);
        }
    }
    return a->path != NULL && *a->path != '\0' ? true : wrong("missing", "--path DIR", usage, status);
}
