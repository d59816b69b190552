// Keeps a cache's folder from growing without bound.
#ifndef TEGULA_CODEGEN_CACHE_SWEEP_H
#define TEGULA_CODEGEN_CACHE_SWEEP_H

#include <stdint.h>

#define CACHE_ENDING ".tegula" // of entries

// Removes entries, those first that were modified longest ago, until what the folder's entries take is no more than
// limit bytes; but not `keep`, a path. Removes what writers have left that died. Other files stay. What cannot be
// removed stays too: nobody is told.
void cache_sweep(const char *folder, const char *keep, int64_t limit);

#endif
