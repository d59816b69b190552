// Memory between pages that may not be touched, and calls that survive touching them.
#ifndef TEGULA_TOOLS_FENCE_H
#define TEGULA_TOOLS_FENCE_H

#include <stdbool.h>
#include <stddef.h>

// The data ends or starts at a forbidden page; the other side has guard bytes up to the next forbidden page.
enum fence_side { FENCE_END, FENCE_START };

struct fence {
    char *data;
    size_t bytes;
    char *map;
    size_t map_bytes, page;
};

bool fence_init(struct fence *f, size_t bytes, enum fence_side side); // false: out of memory
void fence_finish(struct fence *f);                                   // a zeroed one is fine
bool fence_intact(const struct fence *f);                             // no guard byte has changed

// Calls run(data). Returns true; or false when that got a signal for a fault, with its number and, for a memory access,
// its address. Faults of other threads end the process.
bool fence_call(void (*run)(void *data), void *data, int *signal_number, const char **address);

#endif
