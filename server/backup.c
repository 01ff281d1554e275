/* backup.c - see backup.h.
 */
#include "server/backup.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "core/logger.h"
#include "server/cli.h"
#include "server/command.h"
#include "server/control.h"

static const char usage_backup[] =
    "Usage: chroma backup --path DIR --to DEST\n"
    "\n"
    "Makes a consistent copy of the data in DIR, as of one moment, in DEST. A server that uses DIR makes it, and goes "
    "on\n"
    "serving reads and writes; without one the command makes it.\n"
    "\n"
    "  --path DIR  the data directory\n"
    "  --to DEST   a directory that is absent or empty, not inside DIR; on the same file system index files take no "
    "space\n"
    "              until they are replaced in DIR\n"
    "\n"
    "Exit status 0: done, DEST/BACKUP lists what it consists of; 1: not done, and there is no DEST/BACKUP.\n";

static const char usage_restore[] =
    "Usage: chroma restore --from BACKUP --path DIR [--replace]\n"
    "\n"
    "Copies a backup beside DIR, compares every checksum, opens it as a server would, and only then lets it take the\n"
    "place of DIR. Interrupted at any moment, DIR is what it was or all of the backup.\n"
    "\n"
    "  --from BACKUP  what `chroma backup` has made; it is only read\n"
    "  --path DIR     absent or empty; no mount point\n"
    "  --replace      something may be in DIR, if no server uses it: it is renamed to DIR.before-TIME\n"
    "\n"
    "Exit status 0: done; 1: not done, DIR is as it was.\n";

static int failed(const char *what, struct errmsg *em)
{
    (void)fprintf(stderr, "chroma: %s: %s\n", what, errmsg_plain(em));
    return 1;
}

int command_backup(int argc, char **argv, char *const *environment)
{
    const char *path = NULL, *to = NULL;
    const struct command_flag flags[] = {{"--path", &path, NULL}, {"--to", &to, NULL}};
    char dir[COMMAND_PATH_MAX], dest[COMMAND_PATH_MAX], line[WORK_LINE_MAX], answer[WORK_ANSWER_MAX];
    struct errmsg em = {{0}};
    (void)environment;
    int status = command_read_flags(argc, argv, flags, sizeof flags / sizeof flags[0], usage_backup);
    if (status >= 0) return status;
    if (path == NULL || to == NULL) return command_wants(path == NULL ? "--path" : "--to", usage_backup);
    logger_set_level(LOG_WARN);
    enum err e = command_path(path, dir, &em);
    if (e == ERR_OK) e = command_path(to, dest, &em);
    if (e == ERR_OK) e = command_outside(dir, dest, "--to", &em);
    if (e == ERR_OK) {
        (void)snprintf(line, sizeof line, "backup %s", dest);
        e = control_ask(dir, line, answer, &em);
        if (e == ERR_NOT_FOUND) e = work_alone(dir, line, answer, &em); /* nobody listens there */
    }
    if (e != ERR_OK) return failed("no backup was made", &em);
    printf("%s in %s\n", answer, dest);
    return 0;
}

int command_restore(int argc, char **argv, char *const *environment)
{
    const char *path = NULL, *from = NULL;
    bool replaces = false;
    const struct command_flag flags[] = {
        {"--path", &path, NULL}, {"--from", &from, NULL}, {"--replace", NULL, &replaces}};
    char dir[COMMAND_PATH_MAX], source[COMMAND_PATH_MAX], stamp[32];
    struct errmsg em = {{0}};
    struct restored done;
    (void)environment;
    int status = command_read_flags(argc, argv, flags, sizeof flags / sizeof flags[0], usage_restore);
    if (status >= 0) return status;
    if (path == NULL || from == NULL) return command_wants(path == NULL ? "--path" : "--from", usage_restore);
    logger_set_level(LOG_WARN);
    time_t now = time(NULL);
    struct tm utc;
    (void)strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", gmtime_r(&now, &utc));
    enum err e = command_path(path, dir, &em);
    if (e == ERR_OK) e = command_path(from, source, &em);
    if (e == ERR_OK) {
        const struct restore r = {.from = source, .path = dir, .stamp = stamp, .replaces = replaces};
        e = store_restore(vfs_posix(), &r, &done, &em);
        if (e == ERR_EXISTS && !replaces) errmsg_wrap(&em, "use --replace, or another directory");
    }
    if (e != ERR_OK) return failed("nothing was restored", &em);
    printf("restored: position=%" PRIu64 " collections=%" PRIu64 " records=%" PRIu64 " files=%" PRIu64 " bytes=%" PRIu64
           " in %s\n",
           done.backup.position, done.backup.n_collections, done.n_records, done.backup.n_files, done.backup.bytes,
           dir);
    if (done.before[0] != '\0') printf("what was there is now in %s\n", done.before);
    return 0;
}
