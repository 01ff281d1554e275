/* memory.h - how the process uses the machine's memory. Internal to server/.
 *
 * THREADS  the one that starts the program; memory_give_back: any.
 */
#ifndef SERVER_MEMORY_H
#define SERVER_MEMORY_H

#include <stdint.h>

/* Blocks of this size and more come from the system and go back to it at once; smaller ones stay in a heap. */
enum { MEMORY_MAP_FROM_BYTES = 4 << 20 };

/* Settings of the C library's allocator. Before the first thread is started. */
void memory_init(void);

/* Half of the memory that this process may use: the machine's, or its control group's if that is less. */
uint64_t memory_default_budget(void);

/* Hands memory that was freed back to the system. Takes some milliseconds. */
void memory_give_back(void);

#endif
