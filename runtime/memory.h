// Aligned memory.
#ifndef TEGULA_RUNTIME_MEMORY_H
#define TEGULA_RUNTIME_MEMORY_H

#include <stddef.h>

#define MEMORY_ALIGNMENT 64 // a cache line, and the widest vector register

// At least one byte, aligned; NULL without memory. Freed by memory_free, which takes NULL.
void *memory_alloc(size_t bytes);
void memory_free(void *memory);

// Bytes that are mapped from a file, and read only, will not be needed soon: their pages leave memory, and come back
// when they are read.
void memory_let_go(const void *bytes, size_t size);

#endif
