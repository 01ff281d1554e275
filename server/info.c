/* info.c - `chroma info`: prints what api/info.c writes. */
#include <stdio.h>

#include "api/inspect.h"
#include "server/inspect_args.h"
#include "server/verify.h"

static const char usage[] =
    "Usage: chroma info --path DIR [--json]\n"
    "\n"
    "Says what is in a data directory that no server has open: tenants, databases, collections with their rows, "
    "dimension,\n"
    "space, fragments, bytes and position; the log; the versions of the formats. Writes that are in the log only are\n"
    "counted apart (log_records, log_rows). Changes nothing. While a server runs, ask it: GET /metrics has the sizes.\n"
    "\n"
    "  --path DIR  the data directory\n"
    "  --json      one JSON object instead of lines\n";

int command_info(int argc, char **argv, char *const *environment)
{
    struct inspect_args a;
    struct errmsg em = {{0}};
    struct buf out = {0};
    int status;
    (void)environment;
    if (!inspect_read_args(argc, argv, usage, &a, &status)) return status;
    enum err e = info_write(a.path, a.is_json, &out, &em);
    if (e == ERR_OK)
        (void)fwrite(buf_view(&out).p, 1, out.n, stdout);
    else
        (void)fprintf(stderr, "chroma: info %s: %s\n", a.path, em.text[0] != '\0' ? errmsg_plain(&em) : err_text(e));
    buf_free(&out);
    return e == ERR_OK ? 0 : 1;
}
