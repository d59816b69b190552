#define _DEFAULT_SOURCE
#include "runtime/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define MOST_BYTES (SIZE_MAX >> 17) // what a 64-bit process can address
#define HUGE_PAGE ((size_t)2 << 20)

void *memory_alloc(size_t bytes)
{
    if (bytes > MOST_BYTES)
        return NULL;
    size_t alignment = bytes >= HUGE_PAGE ? HUGE_PAGE : MEMORY_ALIGNMENT;
    size_t rounded = (bytes + MEMORY_ALIGNMENT - 1) / MEMORY_ALIGNMENT * MEMORY_ALIGNMENT;
    void *memory;
    if (posix_memalign(&memory, alignment, rounded ? rounded : MEMORY_ALIGNMENT))
        return NULL;
    // Weights and activations of some megabytes have more small pages than the processor remembers the places of. Where
    // there are no huge pages this does nothing.
    if (alignment == HUGE_PAGE)
        madvise(memory, rounded / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    return memory;
}

void memory_free(void *memory)
{
    free(memory);
}

void memory_let_go(const void *bytes, size_t size)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)bytes + page - 1) / page * page, end = ((uintptr_t)bytes + size) / page * page;
    if (begin < end) // neighbours share the pages at both ends
        madvise((void *)begin, end - begin, MADV_DONTNEED);
}
