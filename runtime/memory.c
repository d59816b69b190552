#include "runtime/memory.h"

#include <stdint.h>
#include <stdlib.h>

#define MOST_BYTES (SIZE_MAX >> 17) // what a 64-bit process can address

void *memory_alloc(size_t bytes)
{
    if (bytes > MOST_BYTES)
        return NULL;
    size_t rounded = (bytes + MEMORY_ALIGNMENT - 1) / MEMORY_ALIGNMENT * MEMORY_ALIGNMENT;
    return aligned_alloc(MEMORY_ALIGNMENT, rounded ? rounded : MEMORY_ALIGNMENT);
}

void memory_free(void *memory)
{
    free(memory);
}
