/* compact.h - `chroma compact`. What it does: store_compact_now in api/backup.h.
 */
#ifndef SERVER_COMPACT_H
#define SERVER_COMPACT_H

/* The arguments behind the name. Exit status: 0; 1: not done, or not of every collection, stderr says why; 2: wrong usage. */
int command_compact(int argc, char **argv, char *const *environment);

#endif
