// What somebody who mistyped a name may have meant.
#ifndef TEGULA_TOOLS_NEAREST_H
#define TEGULA_TOOLS_NEAREST_H

#include <stddef.h>

// The name that the first n characters of a word are nearest to, of those (NULLs are skipped) that differ from it in at
// most a third of its characters; NULL: none does.
const char *nearest_name(const char *word, size_t n, int n_names, const char *const *names);

#endif
