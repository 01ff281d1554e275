/* crc32c.h - CRC-32C (Castagnoli, polynomial 0x1EDC6F41 reflected), the checksum of every file we write.
 * Uses the SSE4.2 instruction where the processor has it, tables of 8 bytes a step elsewhere; same results.
 */
#ifndef CORE_CRC32C_H
#define CORE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continues `crc` (0 to start) over n bytes: crc32c(crc32c(0, a), b) == crc32c(0, ab). */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);
uint32_t crc32c_portable(uint32_t crc, const void *p, size_t n); /* for tests */

#endif
