/* control_group.h - the files in which the kernel tells what this process's control group may use. Internal to server/.
 *
 * THREADS  any.
 */
#ifndef SERVER_CONTROL_GROUP_H
#define SERVER_CONTROL_GROUP_H

#include <stddef.h>

/* The text of such a file, at most cap - 1 bytes of it and a NUL; its length, 0 if there is none that can be read. */
size_t control_group_read(const char *path, char *text, size_t cap);

#endif
