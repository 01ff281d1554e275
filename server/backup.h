/* backup.h - `chroma backup`, `chroma restore`. What they do: api/backup.h; docs/operations.md says it for operators.
 */
#ifndef SERVER_BACKUP_H
#define SERVER_BACKUP_H

/* The arguments behind the name. Exit status: 0; 1: not done, stderr says why; 2: wrong usage. */
int command_backup(int argc, char **argv, char *const *environment);
int command_restore(int argc, char **argv, char *const *environment);

#endif
