/* cli.c - see cli.h. Flags of `run` come from the table of settings; --flag VALUE and --flag=VALUE mean the same.
 */
#include "server/cli.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/api.h"
#include "server/backup.h"
#include "server/check.h"
#include "server/compact.h"
#include "server/healthcheck.h"
#include "server/migrate.h"
#include "server/run.h"
#include "server/verify.h"

enum { HEALTHCHECK_TIMEOUT_MS = 5000, FLAGS_MAX = 16 };

#define HELP_INDENT "\n                         "

static const char usage_healthcheck[] =
    "Usage: chroma healthcheck [--url URL | --host HOST --port PORT]\n"
    "\n"
    "Asks GET /api/v2/healthcheck. Exit status 0: answered with 200 within five seconds; 1: not.\n"
    "\n"
    "  --url URL    for example http://localhost:8000, or https://localhost:8000 (the certificate is not verified);\n"
    "               without it: https if CHROMA_TLS__CERT_FILE is in the environment\n"
    "  --host HOST  (default localhost)\n"
    "  --port PORT  (default CHROMA_PORT of the environment, or 8000)\n";

static void print_buf(FILE *f, struct buf *b)
{
    (void)fwrite(buf_view(b).p, 1, b->n, f);
    buf_free(b);
}

static void print_run_usage(FILE *f)
{
    struct buf b = {0};
    buf_lit(&b,
            "Usage: chroma run [CONFIG] [flags]\n"
            "\n"
            "Serves a directory of data until SIGTERM or SIGINT. CONFIG is a YAML file (see `chroma help config`);\n"
            "with it --path, --host and --port are not allowed. CHROMA_<KEY> in the environment overrides the file,\n"
            "flags override both.\n"
            "\n");
    config_write_flags(&b);
    print_buf(f, &b);
}

/* ------------------------------------------------------------------------------------------------ chroma run */

struct flag {
    const struct config_key *key;
    const char *value;
};

static const struct config_key *find_flag(struct str name)
{
    for (size_t i = 0; i < config_n_keys; i++)
        if (config_keys[i].flag != NULL && str_eq(name, str_from_c(config_keys[i].flag))) return &config_keys[i];
    return NULL;
}

/* Splits --name=value; the value may also be the next argument. Moves *i over what was used. */
static enum err read_flag(int argc, char **argv, int *i, struct flag *f, struct errmsg *em)
{
    const char *arg = argv[*i], *equals = strchr(arg, '=');
    struct str name = equals != NULL ? str_of(arg, (size_t)(equals - arg)) : str_from_c(arg);
    f->key = find_flag(name);
    if (f->key == NULL) return errmsg_set(em, ERR_SHAPE, "unexpected argument '%s'", arg);
    f->value = equals != NULL ? equals + 1 : NULL;
    if (f->key->flag_value == NULL) {
        if (equals != NULL) return errmsg_set(em, ERR_SHAPE, "%s takes no value", f->key->flag);
        f->value = "true";
    } else if (f->value == NULL) {
        if (*i + 1 >= argc)
            return errmsg_set(em, ERR_SHAPE, "a value is required for '%s %s'", f->key->flag, f->key->flag_value);
        f->value = argv[++*i];
    }
    return ERR_OK;
}

static enum err check_flags(const struct flag *flags, size_t n, const char *file, struct errmsg *em)
{
    bool is_ephemeral = false, has_path = false;
    for (size_t i = 0; i < n; i++) {
        is_ephemeral = is_ephemeral || strcmp(flags[i].key->name, "ephemeral") == 0;
        has_path = has_path || strcmp(flags[i].key->name, "persist_path") == 0;
        if (file != NULL && flags[i].key->flag_value != NULL)
            return errmsg_set(em, ERR_SHAPE, "'[CONFIG]' cannot be used with '%s %s'", flags[i].key->flag,
                              flags[i].key->flag_value);
    }
    if (is_ephemeral && has_path) return errmsg_set(em, ERR_SHAPE, "'--ephemeral' cannot be used with '--path DIR'");
    return ERR_OK;
}

/* default < file < environment < flags */
static enum err fill(struct config *c, const char *file, char *const *environment, const struct flag *flags, size_t n,
                     struct errmsg *em)
{
    enum err e = ERR_OK;
    if (file != NULL)
        e = config_read_file(c, file, em);
    else
        e = config_set(c, config_find(STR("listen_address")), STR("localhost"), "", em);
    if (e == ERR_OK) e = config_read_environment(c, environment, em);
    for (size_t i = 0; i < n && e == ERR_OK; i++) {
        char place[64];
        (void)snprintf(place, sizeof place, "%s: ", flags[i].key->flag);
        e = config_set(c, flags[i].key, str_from_c(flags[i].value), place, em);
        if (e == ERR_INVALID) e = ERR_SHAPE; /* a wrong value of a flag is a wrong command line */
    }
    if (e == ERR_OK) e = config_check(c, em);
    return e;
}

enum err cli_read_run(int argc, char **argv, char *const *environment, struct config *c, bool *wants_help,
                      struct errmsg *em)
{
    struct flag flags[FLAGS_MAX];
    size_t n = 0;
    const char *file = NULL;
    enum err e = ERR_OK;
    *wants_help = false;
    for (int i = 0; i < argc && e == ERR_OK; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            *wants_help = true;
        else if (argv[i][0] == '-' && n == FLAGS_MAX)
            e = errmsg_set(em, ERR_SHAPE, "too many flags");
        else if (argv[i][0] == '-')
            e = read_flag(argc, argv, &i, &flags[n++], em);
        else if (file != NULL)
            e = errmsg_set(em, ERR_SHAPE, "unexpected argument '%s'", argv[i]);
        else
            file = argv[i];
    }
    if (*wants_help)
        e = ERR_OK;
    else if (e == ERR_OK)
        e = check_flags(flags, n, file, em);
    if (e == ERR_OK) e = config_init(c, em);
    if (e != ERR_OK || *wants_help) return e;
    e = fill(c, file, environment, flags, n, em);
    if (e != ERR_OK) config_free(c);
    return e;
}

static void log_warnings(const struct config *c)
{
    struct str lines = buf_view(&c->warnings);
    while (lines.n > 0) {
        const char *end = memchr(lines.p, '\n', lines.n);
        size_t n = end != NULL ? (size_t)(end - lines.p) : lines.n;
        log_warn("%.*s", (int)n, lines.p);
        n += end != NULL;
        lines = str_of(lines.p + n, lines.n - n);
    }
    if (c->unknown.n > 0) log_warn("unknown settings are ignored: %.*s", STR_ARG(buf_view(&c->unknown)));
}

static int command_run(int argc, char **argv, char *const *environment)
{
    struct config c;
    struct errmsg em = {0};
    bool wants_help;
    enum err e = cli_read_run(argc, argv, environment, &c, &wants_help, &em);
    if (e != ERR_OK) {
        (void)fprintf(stderr, "%s: %s\n", e == ERR_SHAPE ? "error" : "chroma", errmsg_plain(&em));
        if (e == ERR_SHAPE) (void)fprintf(stderr, "\nFor more information, try 'chroma run --help'.\n");
        return e == ERR_SHAPE ? EXIT_USAGE : 1;
    }
    int status = 0;
    if (wants_help) {
        print_run_usage(stdout);
    } else {
        logger_set_level(c.log_level);
        log_warnings(&c);
        status = run_server(&c);
    }
    config_free(&c);
    return status;
}

/* ------------------------------------------------------------------------------------------------ the others */

static int wrong_healthcheck(const char *text, const char *arg)
{
    (void)fprintf(stderr, "error: %s '%s'\n\n%s", text, arg, usage_healthcheck);
    return EXIT_USAGE;
}

static bool read_port(const char *text, uint16_t *port)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || v > 65535) return false;
    *port = (uint16_t)v;
    return true;
}

static int command_healthcheck(int argc, char **argv, char *const *environment)
{
    (void)environment;
    struct healthcheck_target t = {.host = "localhost", .port = 8000};
    struct errmsg em = {0};
    const char *from_environment = getenv("CHROMA_PORT"), *certificate = getenv("CHROMA_TLS__CERT_FILE");
    if (from_environment != NULL) (void)read_port(from_environment, &t.port);
    t.is_tls = certificate != NULL && *certificate != '\0';
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i];
        if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            (void)fputs(usage_healthcheck, stdout);
            return 0;
        }
        bool is_url = strcmp(arg, "--url") == 0, is_host = strcmp(arg, "--host") == 0;
        bool is_port = strcmp(arg, "--port") == 0;
        if (!is_url && !is_host && !is_port) return wrong_healthcheck("unexpected argument", arg);
        if (++i >= argc) return wrong_healthcheck("a value is required for", arg);
        if (is_url && healthcheck_parse_url(argv[i], &t, &em) != ERR_OK) return wrong_healthcheck(em.text, argv[i]);
        if (is_port && !read_port(argv[i], &t.port)) return wrong_healthcheck("no port from 0 to 65535:", argv[i]);
        if (is_host) (void)snprintf(t.host, sizeof t.host, "%s", argv[i]);
    }
    if (healthcheck(&t, HEALTHCHECK_TIMEOUT_MS, &em) == ERR_OK) return 0;
    (void)fprintf(stderr, "chroma: %s\n", errmsg_plain(&em));
    return 1;
}

/* ------------------------------------------------------------------------------------------------ help */

static int command_help(int argc, char **argv, char *const *environment);

/* `about` has a line break and HELP_INDENT where it goes on. */
static const struct command {
    const char *name, *arguments, *about;
    int (*run)(int argc, char **argv, char *const *environment); /* the arguments behind the name; the exit status */
} commands[] = {
    {"run", "[CONFIG] [flags]", "serve a directory of data", command_run},
    {"healthcheck", "[flags]", "ask a running server whether it is well (exit status 0 or 1)", command_healthcheck},
    {"verify", "--path DIR", "check a data directory that no server has open", command_verify},
    {"info", "--path DIR", "what is in a data directory that no server has open", command_info},
    {"backup", "[flags]", "a consistent copy of a data directory, also while a server uses it", command_backup},
    {"restore", "[flags]", "such a copy, verified, in the place of a data directory", command_restore},
    {"compact", "[flags]", "drop what is deleted from the index files and the log", command_compact},
    {"migrate", "[flags]", "bring the data of Chroma's own server over into a new directory", command_migrate},
    {"check", "[flags]", "measure how well a directory's indexes answer (exit status 0 or 1)", command_check},
    {"help", "[config|routes]",
     "this text, a documented configuration file, or every route and" HELP_INDENT
     "what a caller must be allowed to do there",
     command_help},
};

static void print_usage(FILE *f)
{
    (void)fputs("A vector database that speaks Chroma's REST API.\n\nUsage: chroma <command>\n\nCommands:\n", f);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        char head[64];
        (void)snprintf(head, sizeof head, "%s %s", commands[i].name, commands[i].arguments);
        (void)fprintf(f, "  %-22s %s\n", head, commands[i].about);
    }
    (void)fputs("\n"
                "  --version              the version of this program\n"
                "  --help                 this text; behind a command: its flags\n",
                f);
}

static int command_help(int argc, char **argv, char *const *environment)
{
    struct buf b = {0};
    (void)environment;
    if (argc > 0 && strcmp(argv[0], "config") == 0)
        config_write_example(&b);
    else if (argc > 0 && strcmp(argv[0], "routes") == 0)
        api_write_routes(&b);
    else
        print_usage(stdout);
    print_buf(stdout, &b);
    return 0;
}

int cli_main(int argc, char **argv, char *const *environment)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("chroma %s\n", SERVER_VERSION);
        return 0;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(name, commands[i].name) == 0) return commands[i].run(argc - 2, argv + 2, environment);
    if (*name != '\0') (void)fprintf(stderr, "error: unrecognized command '%s'\n\n", name);
    print_usage(stderr);
    return EXIT_USAGE;
}
