/* target.h - what the parts of a request line may be. libmicrohttpd cuts the line up and takes nearly everything.
 * Pure functions; any thread.
 */
#ifndef SERVER_TARGET_H
#define SERVER_TARGET_H

#include "core/bytes.h"

/* HTTP/1.0 or HTTP/1.1; there are no others that this server could answer in. */
bool is_http_version(struct str s);

/* Cuts a target into its path (with the slash in front) and what follows '?'; both are views of it. A fragment is left
 * out, and of an absolute target only path and query count. A target in no such form ("*", "host:80") is a path that no
 * route has. False: malformed. */
bool split_target(struct str target, struct str *path, struct str *query);

#endif
