/* err.h - the one error type of the program.
 *
 * A function that can fail returns `enum err` (ERR_OK is zero) and may explain itself in a caller-provided
 * `struct errmsg`. A message is built where the failure is first seen and wrapped on its way up
 * ("open segment 12: No space left on device"), so that the outermost caller prints one full sentence.
 *
 * Four kinds of failure, four treatments: a bad request is ERR_INVALID and its neighbours (the caller's fault, nothing
 * changed); the environment (ERR_IO, ERR_NOMEM, ERR_NO_SPACE, ERR_FILES) travels up; damaged data is ERR_CORRUPT, and the object
 * that found it refuses writes; a broken invariant is a bug and ends in panic().
 */
#ifndef CORE_ERR_H
#define CORE_ERR_H

#include <stdarg.h>
#include <stdbool.h>

/* code, HTTP status, Chroma's error name (what clients map to an exception class), text for logs */
#define ERR_TABLE(X)                                                                                                   \
    X(OK, 200, "", "ok")                                                                                               \
    X(INVALID, 400, "InvalidArgumentError", "invalid argument")                                                        \
    X(NOT_FOUND, 404, "NotFoundError", "not found")                                                                    \
    X(EXISTS, 409, "ChromaError", "already exists")                                                                    \
    X(SHAPE, 422, "ChromaError", "wrong shape")                                                                        \
    X(QUOTA, 422, "ChromaError", "quota exceeded")                                                                     \
    X(RATE, 429, "ChromaError", "too many requests")                                                                   \
    X(FORBIDDEN, 403, "ChromaError", "forbidden")                                                                      \
    X(TOO_LARGE, 413, "ChromaError", "too large")                                                                      \
    X(MEDIA_TYPE, 415, "ChromaError", "unsupported media type")                                                        \
    X(BUSY, 503, "ChromaError", "too busy")                                                                            \
    X(READ_ONLY, 503, "ChromaError", "read only")                                                                      \
    X(UNSUPPORTED, 501, "ChromaError", "unsupported")                                                                  \
    X(NO_SPACE, 507, "ChromaError", "no space left")                                                                   \
    X(NOMEM, 503, "ChromaError", "out of memory")                                                                      \
    X(FILES, 503, "ChromaError", "too many open files")                                                                \
    X(IO, 500, "InternalError", "input/output error")                                                                  \
    X(CORRUPT, 500, "InternalError", "data are damaged")                                                               \
    X(NEWER, 500, "InternalError", "format is newer than this program")                                                \
    X(LOCKED, 500, "InternalError", "in use by another process")                                                       \
    X(INTERNAL, 500, "InternalError", "internal error")

#define ERR_ENUM_(code, status, name, text) ERR_##code,
enum err { ERR_TABLE(ERR_ENUM_) ERR_COUNT_ };
#undef ERR_ENUM_

_Static_assert(ERR_OK == 0, "success must be zero");

#define MUST_CHECK             __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* Detail of a failure; all-zero is empty. Always NUL-terminated; longer text is cut. */
struct errmsg {
    char text[512];
};

/* Sets the detail and returns `e`, so that `return errmsg_set(em, ERR_IO, ...)` is one line. `em` may be NULL. */
enum err errmsg_set(struct errmsg *em, enum err e, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Sets "<fmt>: <strerror(err_no)>" and returns ERR_NO_SPACE for ENOSPC/EDQUOT, ERR_NOMEM for ENOMEM, ERR_FILES for
 * EMFILE/ENFILE, else ERR_IO. */
enum err errmsg_errno(struct errmsg *em, int err_no, const char *fmt, ...) PRINTF_LIKE(3, 4);

#ifdef __clang_analyzer__ /* lets clang-tidy see that these never return ERR_OK */
#define errmsg_set(em, e, ...)        ((void)(errmsg_set)((em), (e), __VA_ARGS__), (e))
#define errmsg_errno(em, err_no, ...) ((void)(errmsg_errno)((em), (err_no), __VA_ARGS__), ERR_IO)
#endif

/* Puts "<fmt>: " in front of what is there. `em` may be NULL. */
void errmsg_wrap(struct errmsg *em, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Its text as a line for people: a damaged file, or a client, may have put anything into it (utf8_make_plain). */
const char *errmsg_plain(struct errmsg *em);

/* Something was short that others may give back: what failed left no doubt about the state of a file, and may be tried again. */
static inline bool err_is_shortage(enum err e)
{
    return e == ERR_NO_SPACE || e == ERR_NOMEM || e == ERR_FILES;
}

const char *err_text(enum err e); /* for logs */
const char *err_name(enum err e); /* Chroma's name: the "error" member of an answer */
unsigned err_status(enum err e);  /* HTTP status */

/* A broken invariant: prints where and why, then aborts. The log makes the restart lose nothing. */
_Noreturn void panic_at(const char *file, int line, const char *fmt, ...) PRINTF_LIKE(3, 4);
#define panic(...) panic_at(__FILE__, __LINE__, __VA_ARGS__)

/* An invariant, stated in words and checked in every build: CHECK(n <= cap && "segment overflow"). */
#define CHECK(condition) ((condition) ? (void)0 : panic("broken invariant: %s", #condition))

#endif
