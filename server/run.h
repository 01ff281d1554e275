/* run.h - `chroma run`: from a configuration to a served store, and back.
 *
 * Exit status: 0 after SIGTERM or SIGINT; 1 when the server could not start (nothing was changed then).
 */
#ifndef SERVER_RUN_H
#define SERVER_RUN_H

#include "server/config.h"

int run_server(const struct config *c);

#endif
