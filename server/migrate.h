/* migrate.h - `chroma migrate`. Internal to server/. */
#ifndef SERVER_MIGRATE_H
#define SERVER_MIGRATE_H

/* The arguments behind the name; the exit status: 0 everything was brought, 1 not, 2 wrong usage. */
int command_migrate(int argc, char **argv, char *const *environment);

#endif
