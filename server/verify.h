/* verify.h - `chroma verify` and `chroma info`: looking at a data directory that no server has open. */
#ifndef SERVER_VERIFY_H
#define SERVER_VERIFY_H

/* Commands (cli.c): the arguments behind the name; the exit status. verify: 0 fine, 1 something is wrong, 2 usage. */
int command_verify(int argc, char **argv, char *const *environment);
int command_info(int argc, char **argv, char *const *environment);

#endif
