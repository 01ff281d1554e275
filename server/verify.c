/* verify.c - `chroma verify`: prints what api/verify.c finds, a line each or as JSON. */
#include "server/verify.h"

#include <inttypes.h>
#include <stdio.h>

#include "api/inspect.h"
#include "api/json.h"
#include "core/utf8.h"
#include "server/cli.h"
#include "server/inspect_args.h"

static const char usage[] = "Usage: chroma verify --path DIR [--json]\n"
                            "\n"
                            "Checks a data directory that no server has open: the catalog, every manifest, every "
                            "fragment with all its indexes,\n"
                            "the log, and that they agree with each other. Changes nothing. Prints a line for each "
                            "problem: the file, where in it,\n"
                            "what is wrong, what follows from it. Exit status 0: nothing is wrong; 1: something is, or "
                            "it could not be checked.\n"
                            "\n"
                            "  --path DIR  the data directory\n"
                            "  --json      one JSON object instead of lines\n";

struct output {
    bool is_json;
    bool is_first;
    struct buf b;
};

static void put_member(struct buf *b, const char *name, const char *text)
{
    buf_printf(b, ",\"%s\":", name);
    if (text != NULL)
        json_put_text(b, str_from_c(text)); /* names of files, and of what is damaged, may be anything */
    else
        buf_lit(b, "null");
}

static void put_json(struct output *o, const struct verify_finding *f)
{
    if (!o->is_first) buf_char(&o->b, ',');
    buf_printf(&o->b, "{\"problem\":%s", f->is_problem ? "true" : "false");
    put_member(&o->b, "file", f->file);
    put_member(&o->b, "section", f->section);
    buf_printf(&o->b, ",\"from\":%" PRIu64 ",\"to\":%" PRIu64, f->from, f->to);
    put_member(&o->b, "what", f->what);
    put_member(&o->b, "so", f->so);
    buf_char(&o->b, '}');
}

static void put_line(struct output *o, const struct verify_finding *f)
{
    buf_printf(&o->b, "%s %s", f->is_problem ? "PROBLEM" : "note   ", f->file);
    if (f->section != NULL) buf_printf(&o->b, ", %s", f->section);
    if (f->from < f->to)
        buf_printf(&o->b, ", bytes %" PRIu64 " to %" PRIu64, f->from, f->to - 1);
    else if (f->from > 0)
        buf_printf(&o->b, ", byte %" PRIu64, f->from);
    buf_printf(&o->b, ": %s. %s", f->what, f->so);
    utf8_make_plain(o->b.p, o->b.n);
    buf_char(&o->b, '\n');
    (void)fwrite(o->b.p, 1, o->b.n, stdout); /* as it is found: a large directory takes a while */
    (void)fflush(stdout);
    o->b.n = 0;
}

static void on_finding(void *ctx, const struct verify_finding *f)
{
    struct output *o = ctx;
    if (o->is_json)
        put_json(o, f);
    else
        put_line(o, f);
    o->is_first = false;
}

static void put_summary(struct output *o, const struct verify_summary *s)
{
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"catalog_schema", (uint64_t)s->schema},
        {"collections", s->n_collections},
        {"fragments", s->n_fragments},
        {"fragment_bytes", s->fragment_bytes},
        {"rows", s->n_rows},
        {"dead_rows", s->n_dead},
        {"log_segments", s->log.n_segments},
        {"log_bytes", s->log.bytes},
        {"log_records", s->log.n_records},
        {"log_first", s->log.first_lsn},
        {"log_last", s->log.last_lsn},
        {"problems", s->n_problems},
        {"notes", s->n_notes},
    };
    if (o->is_json) buf_char(&o->b, ']');
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *name = rows[i].name;
        if (o->is_json)
            buf_printf(&o->b, ",\"%s\":%" PRIu64, name, rows[i].value);
        else
            buf_printf(&o->b, "%s%s=%" PRIu64, i > 0 ? " " : "", name, rows[i].value);
    }
    buf_str(&o->b, o->is_json ? STR("}\n") : STR("\n"));
}

int command_verify(int argc, char **argv, char *const *environment)
{
    struct inspect_args a;
    struct verify_summary s;
    struct errmsg em = {{0}};
    struct output o = {.is_first = true};
    int status;
    (void)environment;
    if (!inspect_read_args(argc, argv, usage, &a, &status)) return status;
    o.is_json = a.is_json;
    if (o.is_json) buf_lit(&o.b, "{\"findings\":[");
    enum err e = verify_directory(a.path, on_finding, &o, &s, &em);
    if (e == ERR_OK) {
        put_summary(&o, &s);
        (void)fwrite(buf_view(&o.b).p, 1, o.b.n, stdout);
    } else {
        (void)fprintf(stderr, "chroma: verify %s: %s\n", a.path, em.text[0] != '\0' ? errmsg_plain(&em) : err_text(e));
    }
    if (o.b.err != ERR_OK) e = o.b.err;
    buf_free(&o.b);
    return e == ERR_OK && s.n_problems == 0 ? 0 : 1;
}
