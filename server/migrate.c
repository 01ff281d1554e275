/* migrate.c - `chroma migrate`: the command line of api/migrate.h. Progress and problems go to stderr as they come,
 * and the result to stdout at the end.
 */
#include "server/migrate.h"

#include <stdio.h>
#include <string.h>

#include "api/migrate.h"
#include "core/logger.h"
#include "server/cli.h"
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

static int wrong(const char *text, const char *arg)
{
    (void)fprintf(stderr, "error: %s '%s'\n\n%s", text, arg, usage);
    return EXIT_USAGE;
}

int command_migrate(int argc, char **argv, char *const *environment)
{
    struct migrate_options o = {.tell = tell};
    struct migrate_counts n;
    struct errmsg em = {{0}};
    (void)environment;
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i], *equals = strchr(arg, '=');
        if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            (void)fputs(usage, stdout);
            return 0;
        }
        size_t name_n = equals != NULL ? (size_t)(equals - arg) : strlen(arg);
        bool is_from = name_n == 6 && strncmp(arg, "--from", 6) == 0;
        bool is_path = name_n == 6 && strncmp(arg, "--path", 6) == 0;
        if (!is_from && !is_path) return wrong("unexpected argument", arg);
        if (equals == NULL && i + 1 >= argc) return wrong("a value is required for", arg);
        *(is_from ? &o.from : &o.path) = equals != NULL ? equals + 1 : argv[++i];
    }
    if (o.from == NULL || *o.from == '\0') return wrong("needed:", "--from DIR");
    if (o.path == NULL || *o.path == '\0') return wrong("needed:", "--path DIR");
    logger_set_level(LOG_WARN);
    memory_init();
    o.memory_budget = memory_default_budget();
    enum err e = migrate(&o, &n, &em);
    if (e != ERR_OK) {
        (void)fprintf(stderr, "chroma: %s\n", em.text);
        return 1;
    }
    printf("%llu tenants, %llu databases, %llu collections, %llu records are in %s\n", (unsigned long long)n.n_tenants,
           (unsigned long long)n.n_databases, (unsigned long long)n.n_collections, (unsigned long long)n.n_records,
           o.path);
    if (n.n_problems == 0) return 0;
    (void)fprintf(stderr, "chroma: %llu things could not be brought, or not as they were; they are named above\n",
                  (unsigned long long)n.n_problems);
    return 1;
}
