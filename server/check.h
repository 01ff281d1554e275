/* check.h - `chroma check`: the recall and the agreement of the indexes in a data directory. THREADS the main thread. */
#ifndef SERVER_CHECK_H
#define SERVER_CHECK_H

/* The arguments behind the name; the exit status. */
int command_check(int argc, char **argv, char *const *environment);

#endif
