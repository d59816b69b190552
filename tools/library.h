// Models that come compiled, as shared objects.
#ifndef TEGULA_TOOLS_LIBRARY_H
#define TEGULA_TOOLS_LIBRARY_H

#include <tegula/kernel.h>

#include "ir/diag.h"

// Opens one and stores what dlclose takes in *library. NULL after reporting; there is nothing to close then.
const tg_model *library_open(const char *path, void **library, struct diags *diags);

#endif
