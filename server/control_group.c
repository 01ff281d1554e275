/* control_group.c - see control_group.h. */
#include "server/control_group.h"

#include <fcntl.h>
#include <unistd.h>

size_t control_group_read(const char *path, char *text, size_t cap)
{
    text[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t n = read(fd, text, cap - 1);
    (void)close(fd);
    if (n <= 0) return 0;
    text[n] = '\0';
    return (size_t)n;
}
