/* version.h - of the program. (What GET /api/v2/version answers is the API's version, and the api's own.)
 */
#ifndef SERVER_VERSION_H
#define SERVER_VERSION_H

#define SERVER_VERSION "0.1.0"

#endif
