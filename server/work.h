/* work.h - what `chroma backup` and `chroma compact` ask for, done on a store: by a running server, for whom the request came
 * through its control socket (control.h), or by the command itself when no server runs.
 *
 * A request is one line without its end:
 *   backup DIRECTORY      a backup into the directory, an absolute path (api/backup.h)
 *   compact               every collection
 *   compact NAME          those of that name, or the one with that id
 * THREADS  one that may take long, not the loop.
 */
#ifndef SERVER_WORK_H
#define SERVER_WORK_H

#include "api/backup.h"

enum { WORK_LINE_MAX = 4352, WORK_ANSWER_MAX = 512 };

/* *answer: one line for people, without its end. ERR_SHAPE: not such a request; other errors as in api/backup.h. */
enum err work_run(struct store *s, const char *line, char answer[WORK_ANSWER_MAX], struct errmsg *em);

/* The same on the data in `dir`, without a server: nothing else happens to them meanwhile. ERR_NOT_FOUND: there are none, and none
 * were made. ERR_LOCKED: a server uses them. */
enum err work_alone(const char *dir, const char *line, char answer[WORK_ANSWER_MAX], struct errmsg *em);

#endif
