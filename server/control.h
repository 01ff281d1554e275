/* control.h - the control socket: how a command on the same machine asks a running server for a backup or a compaction.
 *
 * DIR/control, a Unix-domain stream socket that only the server's own user can open (mode 0600). A client sends one line, a
 * request of work.h; it gets one line, "ok TEXT" or "error TEXT", when that is done, and the connection is closed. One request
 * is worked on at a time; another gets an error at once. There is no HTTP route for these: a remote caller must not make the
 * server write files.
 *
 * OWNS     the socket's file: a stale one is removed at start (the directory's lock is held then), and it goes at the stop.
 * THREADS  control_open, control_stop: the loop's. control_free: after the loop. The work runs on a thread of its own.
 */
#ifndef SERVER_CONTROL_H
#define SERVER_CONTROL_H

#include <uv.h>

#include "api/store.h"
#include "server/work.h"

struct control;

/* ERR_IO: no socket can be made there; the server serves without. */
enum err control_open(struct control **c, uv_loop_t *loop, struct store *s, const char *dir, struct errmsg *em);

/* Removes the socket and closes all connections; clients that wait see the end. Work goes on. NULL is fine. */
void control_stop(struct control *c);

/* Waits for the work (store_stop_work shortens it). After control_stop, when the loop has closed its handles, and before
 * store_close. NULL is fine. */
void control_free(struct control *c);

/* --- the other side (control_client.c); blocks ------------------------------------------------------------------- */

/* Asks the server that uses `dir`. ERR_NOT_FOUND: nobody listens there. ERR_IO: the connection broke. Any other error: the
 * server's, with its text; the code is ERR_INTERNAL. */
enum err control_ask(const char *dir, const char *line, char answer[WORK_ANSWER_MAX], struct errmsg *em);

struct sockaddr_un;
/* The address of DIR/control, which may be longer than an address can be: then *fd is a descriptor of the directory, to be closed
 * when the address was used, else -1. */
enum err control_address(const char *dir, struct sockaddr_un *address, int *fd, struct errmsg *em);

#endif
