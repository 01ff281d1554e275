/* sqlite_memory.h - SQLite's memory comes from core/mem.h: counted and made to fail like any other.
 *
 * THREADS  any. The setting is the process's: it holds for every connection, also for those that others open with SQLite
 *          itself, and can only be made before SQLite is first used. Later the call does nothing, and SQLite keeps the
 *          C library's allocator: correct, but not counted.
 */
#ifndef CATALOG_SQLITE_MEMORY_H
#define CATALOG_SQLITE_MEMORY_H

/* Once is enough; more do nothing. The first one comes before another thread may use SQLite. */
void sqlite_memory_use(void);

#endif
