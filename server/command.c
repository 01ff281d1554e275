/* command.c - see command.h.
 */
#include "server/command.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/cli.h"

static int wrong(const char *text, const char *what, const char *usage)
{
    (void)fprintf(stderr, "error: %s '%s'\n\n%s", text, what, usage);
    return EXIT_USAGE;
}

static const struct command_flag *find(const struct command_flag *flags, size_t n, const char *arg, size_t length)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(flags[i].name) == length && memcmp(flags[i].name, arg, length) == 0) return &flags[i];
    return NULL;
}

int command_read_flags(int argc, char **argv, const struct command_flag *flags, size_t n, const char *usage)
{
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i], *equals = strchr(arg, '=');
        if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            (void)fputs(usage, stdout);
            return 0;
        }
        const struct command_flag *f = find(flags, n, arg, equals != NULL ? (size_t)(equals - arg) : strlen(arg));
        if (f == NULL) return wrong("unexpected argument", arg, usage);
        if (f->value == NULL && equals != NULL) return wrong("no value belongs to", f->name, usage);
        if (f->value != NULL && equals == NULL && i + 1 >= argc) return wrong("a value is required for", arg, usage);
        if (f->value != NULL) *f->value = equals != NULL ? equals + 1 : argv[++i];
        if (f->is_there != NULL) *f->is_there = true;
    }
    return -1;
}

int command_wants(const char *flag, const char *usage)
{
    return wrong("this is required:", flag, usage);
}

enum err command_path(const char *path, char out[COMMAND_PATH_MAX], struct errmsg *em)
{
    char whole[PATH_MAX], real[PATH_MAX];
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    if (n == 0 || n >= sizeof whole) return errmsg_set(em, ERR_INVALID, "a path is empty or too long");
    memcpy(whole, path, n);
    whole[n] = '\0';
    int written = -1;
    if (realpath(whole, real) != NULL) {
        written = snprintf(out, COMMAND_PATH_MAX, "%s", real);
    } else if (errno == ENOENT) {
        char *slash = strrchr(whole, '/');
        const char *last = slash != NULL ? slash + 1 : whole, *parent = slash == whole  ? "/"
                                                                        : slash != NULL ? whole
                                                                                        : ".";
        if (slash != NULL) *slash = '\0';
        if (strcmp(last, "..") == 0 || realpath(slash == whole ? "/" : parent, real) == NULL)
            return errmsg_set(em, ERR_NOT_FOUND, "there is no directory for %s", path);
        written = snprintf(out, COMMAND_PATH_MAX, "%s/%s", strcmp(real, "/") == 0 ? "" : real, last);
    } else {
        return errmsg_errno(em, errno, "%s", path);
    }
    if (written < 0 || written >= COMMAND_PATH_MAX || strchr(out, '\n') != NULL)
        return errmsg_set(em, ERR_INVALID, "the path %.100s is too long, or has a line break in it", path);
    return ERR_OK;
}

enum err command_outside(const char *dir, const char *to, const char *flag, struct errmsg *em)
{
    size_t n = strlen(dir);
    if (strcmp(to, dir) == 0)
        return errmsg_set(em, ERR_INVALID, "%s is the data directory itself: %s must be another directory", to, flag);
    if (strncmp(to, dir, n) == 0 && to[n] == '/')
        return errmsg_set(em, ERR_INVALID, "%s is inside the data directory", to);
    return ERR_OK;
}
