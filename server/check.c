/* check.c - see check.h. Opens the directory as a server would (the log is replayed), with nothing running behind, and prints a
 * line a collection.
 *
 * EXIT STATUS  0: every collection is as it should be; 1: one is not, or the directory cannot be opened; 2: wrong usage.
 */
#include "server/check.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/check.h"
#include "core/logger.h"
#include "server/cli.h"

static const char usage[] =
    "Usage: chroma check [--path DIR] [flags]\n"
    "\n"
    "Measures how many of the true nearest neighbours queries find, and whether ids, metadata, documents and sparse\n"
    "vectors are found through the indexes as by reading every record. Compares every checksum of the index files.\n"
    "No server may be running on the directory. Prints a line a collection. Exit status 0: all is well; 1: not.\n"
    "\n"
    "  --path DIR         the directory of the data (default ./chroma)\n"
    "  --collection NAME  only collections of this name\n"
    "  --samples N        records of each collection that are searched for (default 100)\n"
    "  --results K        so many nearest of each (default 10)\n"
    "  --probes N         records of each index file whose values are looked up (default 16)\n"
    "  --full             compare each index with its records entry by entry, too\n"
    "  --min-recall R     the least recall that is well, from 0 to 1 (default 0.95)\n"
    "  --seed N           which records are drawn (default 1)\n";

struct arguments {
    const char *path;
    double min_recall;
    struct check_options o;
};

struct printed {
    double min_recall;
    uint32_t n, n_bad;
};

static void print_result(void *ctx, const struct check_result *r)
{
    struct printed *p = ctx;
    bool is_bad = r->n_damaged > 0 || r->n_wrong > 0 || r->recall < p->min_recall;
    p->n++;
    p->n_bad += is_bad;
    printf("%s " STR_FMT "/" STR_FMT "/" STR_FMT ": records=%llu files=%u recall=%.4f queries=%u probes=%u wrong=%u "
           "damaged=%u\n",
           is_bad ? "BAD" : "ok ", STR_ARG(r->col->tenant), STR_ARG(r->col->database), STR_ARG(r->col->name),
           (unsigned long long)r->n_records, r->n_fragments, r->recall, r->n_queries, r->n_probes, r->n_wrong,
           r->n_damaged);
    if (r->detail.text[0] != '\0') printf("    %s\n", r->detail.text);
    (void)fflush(stdout);
}

static int fail_usage(const char *text, const char *arg)
{
    (void)fprintf(stderr, "error: %s '%s'\n\n%s", text, arg, usage);
    return EXIT_USAGE;
}

static bool read_number(const char *text, unsigned long most, unsigned long *v)
{
    char *end;
    errno = 0;
    *v = strtoul(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && *v <= most;
}

static bool read_share(const char *text, double *v)
{
    char *end;
    *v = strtod(text, &end);
    return end != text && *end == '\0' && *v >= 0 && *v <= 1;
}

/* One flag with its value; false: it is no such flag, or no such value. */
static bool read_argument(struct arguments *a, const char *flag, const char *value)
{
    unsigned long v = 0;
    if (strcmp(flag, "--path") == 0) {
        a->path = value;
    } else if (strcmp(flag, "--collection") == 0) {
        a->o.name = str_from_c(value);
    } else if (strcmp(flag, "--min-recall") == 0) {
        return read_share(value, &a->min_recall);
    } else if (strcmp(flag, "--samples") == 0) {
        if (!read_number(value, UINT32_MAX, &v)) return false;
        a->o.n_samples = (uint32_t)v;
    } else if (strcmp(flag, "--results") == 0) {
        if (!read_number(value, 1 << 16, &v) || v == 0) return false;
        a->o.k = (uint32_t)v;
    } else if (strcmp(flag, "--probes") == 0) {
        if (!read_number(value, UINT32_MAX, &v)) return false;
        a->o.n_probes = (uint32_t)v;
    } else if (strcmp(flag, "--seed") == 0) {
        if (!read_number(value, ULONG_MAX, &v)) return false;
        a->o.seed = v;
    } else {
        return false;
    }
    return true;
}

/* A directory that is not there must not be made by looking at it. */
static enum err find_catalog(const char *path, struct errmsg *em)
{
    char name[4096];
    struct vfs_file *f = NULL;
    if (!vfs_join(name, sizeof name, path, "catalog.sqlite3"))
        return errmsg_set(em, ERR_INVALID, "the path is too long");
    enum err e = vfs_posix()->open(NULL, name, VFS_READ, &f, em);
    if (e == ERR_OK) vfs_posix()->close(f);
    return e;
}

static int run_check(const struct arguments *a)
{
    struct store *s = NULL;
    struct errmsg em = {{0}};
    struct printed p = {.min_recall = a->min_recall};
    const struct store_options o = {.path = a->path, .no_compactor = true};
    logger_set_level(LOG_WARN);
    enum err e = find_catalog(a->path, &em);
    if (e == ERR_OK) e = store_open(&s, &o, &em);
    if (e == ERR_OK) e = store_check(s, &a->o, print_result, &p, &em);
    store_close(s);
    if (e != ERR_OK) {
        (void)fprintf(stderr, "chroma: %s\n", errmsg_plain(&em));
        return 1;
    }
    printf("%u collections, %u of them bad\n", p.n, p.n_bad);
    return p.n_bad > 0 ? 1 : 0;
}

int command_check(int argc, char **argv, char *const *environment)
{
    struct arguments a = {
        .path = "./chroma", .min_recall = 0.95, .o = {.n_samples = 100, .k = 10, .n_probes = 16, .seed = 1}};
    (void)environment;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            (void)fputs(usage, stdout);
            return 0;
        }
        if (strcmp(argv[i], "--full") == 0) {
            a.o.is_full = true;
            continue;
        }
        if (i + 1 >= argc) return fail_usage("unexpected argument, or its value is missing:", argv[i]);
        if (!read_argument(&a, argv[i], argv[i + 1])) return fail_usage("unexpected argument or value:", argv[i]);
        i++;
    }
    return run_check(&a);
}
