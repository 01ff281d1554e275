/* err.c - see err.h. */
#include "core/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/utf8.h"

struct err_row {
    const char *name, *text;
    unsigned status;
};

#define ERR_ROW_(code, status, name, text) [ERR_##code] = {name, text, status},
static const struct err_row err_rows[] = {ERR_TABLE(ERR_ROW_)};
#undef ERR_ROW_

const char *err_text(enum err e)
{
    return (unsigned)e < ERR_COUNT_ ? err_rows[e].text : "unknown error";
}

const char *err_name(enum err e)
{
    return (unsigned)e < ERR_COUNT_ ? err_rows[e].name : "InternalError";
}

unsigned err_status(enum err e)
{
    return (unsigned)e < ERR_COUNT_ ? err_rows[e].status : 500;
}

enum err(errmsg_set)(struct errmsg *em, enum err e, const char *fmt, ...)
{
    if (em != NULL) {
        va_list ap;
        va_start(ap, fmt);
        (void)vsnprintf(em->text, sizeof em->text, fmt, ap);
        va_end(ap);
    }
    return e;
}

enum err(errmsg_errno)(struct errmsg *em, int err_no, const char *fmt, ...)
{
    if (em != NULL) {
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(em->text, sizeof em->text, fmt, ap);
        va_end(ap);
        if (n < 0) n = 0;
        if ((size_t)n < sizeof em->text) {
            char reason[128];
            /* the GNU strerror_r returns the text, which may or may not be in the buffer */
            (void)snprintf(em->text + n, sizeof em->text - (size_t)n, ": %s",
                           strerror_r(err_no, reason, sizeof reason));
        }
    }
    if (err_no == ENOSPC || err_no == EDQUOT) return ERR_NO_SPACE;
    if (err_no == EMFILE || err_no == ENFILE) return ERR_FILES;
    return err_no == ENOMEM ? ERR_NOMEM : ERR_IO;
}

void errmsg_wrap(struct errmsg *em, const char *fmt, ...)
{
    if (em == NULL) return;
    char inner[sizeof em->text];
    memcpy(inner, em->text, sizeof inner);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(em->text, sizeof em->text, fmt, ap);
    va_end(ap);
    if (n < 0) n = 0;
    if ((size_t)n < sizeof em->text) (void)snprintf(em->text + n, sizeof em->text - (size_t)n, ": %.*s", 480, inner);
}

const char *errmsg_plain(struct errmsg *em)
{
    utf8_make_plain(em->text, strlen(em->text));
    return em->text;
}

_Noreturn void panic_at(const char *file, int line, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    (void)fprintf(stderr, "panic at %s:%d: %s\n", file, line, text);
    (void)fflush(stderr);
    abort();
}
