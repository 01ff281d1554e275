/* compact.c - see compact.h.
 */
#include "server/compact.h"

#include <stdio.h>

#include "core/logger.h"
#include "server/command.h"
#include "server/control.h"

static const char usage[] =
    "Usage: chroma compact --path DIR [--collection NAME|ID]\n"
    "\n"
    "Writes the records of each collection into one index file without the deleted and replaced ones, and trims the "
    "log.\n"
    "A server that uses DIR does it, and goes on serving; without one the command does it. Needs free space for the\n"
    "largest collection.\n"
    "\n"
    "  --path DIR            the data directory\n"
    "  --collection NAME|ID  only collections of that name, in whichever tenant and database, or the one with that id\n"
    "\n"
    "Exit status 0: done; 1: not done, or not for every collection.\n";

int command_compact(int argc, char **argv, char *const *environment)
{
    const char *path = NULL, *which = NULL;
    const struct command_flag flags[] = {{"--path", &path, NULL}, {"--collection", &which, NULL}};
    char dir[COMMAND_PATH_MAX], line[WORK_LINE_MAX], answer[WORK_ANSWER_MAX];
    struct errmsg em = {{0}};
    (void)environment;
    int status = command_read_flags(argc, argv, flags, sizeof flags / sizeof flags[0], usage);
    if (status >= 0) return status;
    if (path == NULL) return command_wants("--path", usage);
    logger_set_level(LOG_WARN);
    enum err e = command_path(path, dir, &em);
    if (e == ERR_OK && which != NULL && (strlen(which) > WORK_LINE_MAX / 2 || strchr(which, '\n') != NULL))
        e = errmsg_set(&em, ERR_INVALID, "that is no name of a collection");
    if (e == ERR_OK) {
        (void)snprintf(line, sizeof line, "compact%s%s", which != NULL ? " " : "", which != NULL ? which : "");
        e = control_ask(dir, line, answer, &em);
        if (e == ERR_NOT_FOUND) e = work_alone(dir, line, answer, &em); /* nobody listens there */
    }
    if (e != ERR_OK) {
        (void)fprintf(stderr, "chroma: compact: %s\n", errmsg_plain(&em));
        return 1;
    }
    printf("%s\n", answer);
    return 0;
}
