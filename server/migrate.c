/* migrate.c - `chroma migrate`: the command line of api/migrate.h. Progress and problems go to stderr as they come,
 * and the result to stdout at the end.
 */
#include "server/migrate.h"

#include <stdio.h>

#include "api/migrate.h"
#include "core/logger.h"
#include "server/command.h"
#include "server/memory.h"

static const char usage[] =
    "Usage: chroma migrate --from DIR --path DIR\n"
    "\n"
    "Brings the data of Chroma's own server (1.x) over into a new directory of this one: tenants, databases, "
    "collections\n"
    "with their ids, documents, uris, metadata and embeddings. Stop that server first. The source is only read. An\n"
    "interrupted migration is started anew by the same command. Exit status 0: everything is there; 1: something is "
    "not\n"
    "(it is named).\n"
    "\n"
    "  --from DIR   the directory with chroma.sqlite3\n"
    "  --path DIR   a directory that is empty or does not exist: what `chroma run --path DIR` serves afterwards\n";

static void tell(void *ctx, enum migrate_line kind, const char *text)
{
    static const char *const marks[] = {[MIGRATE_PROGRESS] = "  ...",
                                        [MIGRATE_RESULT] = "  ",
                                        [MIGRATE_NOTE] = "  note: ",
                                        [MIGRATE_PROBLEM] = "  problem: "};
    (void)ctx;
    (void)fprintf(stderr, "%s%s\n", marks[kind], text);
}

int command_migrate(int argc, char **argv, char *const *environment)
{
    struct migrate_options o = {.tell = tell};
    struct migrate_counts n;
    struct errmsg em = {{0}};
    char from[COMMAND_PATH_MAX], path[COMMAND_PATH_MAX];
    const struct command_flag flags[] = {{"--from", &o.from, NULL}, {"--path", &o.path, NULL}};
    (void)environment;
    int status = command_read_flags(argc, argv, flags, sizeof flags / sizeof flags[0], usage);
    if (status >= 0) return status;
    if (o.from == NULL || *o.from == '\0') return command_wants("--from", usage);
    if (o.path == NULL || *o.path == '\0') return command_wants("--path", usage);
    logger_set_level(LOG_WARN);
    memory_init();
    o.memory_budget = memory_default_budget();
    enum err e = command_path(o.from, from, &em);
    if (e == ERR_OK) e = command_path(o.path, path, &em);
    if (e == ERR_OK) e = command_outside(from, path, "--path", &em); /* nothing is written to the source */
    if (e == ERR_OK) {
        o.from = from;
        o.path = path;
        e = migrate(&o, &n, &em);
    }
    if (e != ERR_OK) {
        (void)fprintf(stderr, "chroma: migrate: %s\n", errmsg_plain(&em));
        return 1;
    }
    printf("%llu tenants, %llu databases, %llu collections, %llu records are in %s\n", (unsigned long long)n.n_tenants,
           (unsigned long long)n.n_databases, (unsigned long long)n.n_collections, (unsigned long long)n.n_records,
           o.path);
    if (n.n_problems == 0) return 0;
    (void)fprintf(stderr,
                  "chroma: migrate: %llu things could not be brought, or not as they were; they are named above\n",
                  (unsigned long long)n.n_problems);
    return 1;
}
