/* cli.h - the command line: which commands there are, and `run`. */
#ifndef SERVER_CLI_H
#define SERVER_CLI_H

#include "server/config.h"

#define SERVER_VERSION "0.1.0" /* of the program; what GET /api/v2/version answers is the api's own */

enum { EXIT_USAGE = 2 };

/* What main returns. `environment` is environ. */
int cli_main(int argc, char **argv, char *const *environment);

/* The arguments behind `run` and the environment as one configuration. ERR_SHAPE: a mistake in the usage; other errors:
 * the configuration is wrong. *wants_help: --help was among the arguments. On ERR_OK the caller frees *c. */
enum err cli_read_run(int argc, char **argv, char *const *environment, struct config *c, bool *wants_help,
                      struct errmsg *em);

#endif
