// Puts compiled code into files. A file appears under its name complete or not at all; what was there before survives a
// failure.
//
// In all functions `error` may be NULL; on failure *error receives a message that the caller frees.
#ifndef TEGULA_CODEGEN_LINK_H
#define TEGULA_CODEGEN_LINK_H

#include <stddef.h>

#include "codegen/driver.h"

enum link_kind { LINK_SHARED, LINK_EXECUTABLE, LINK_RELOCATABLE };

// Nothing is taken over: all of it need only live as long as the call.
struct link_job {
    enum link_kind kind;
    const char *output;
    const struct driver_buffer *objects; // object files, in memory
    size_t n_objects;
    const char *const *arguments; // handed to the linker after them, one word each: files, "-lm", "-Wl,-soname,x"
    size_t n_arguments;
};

// Links by running $CC (words separated by blanks) or cc; without either by ld, but for an executable. No shell is
// involved. On failure *error holds what the linker printed.
int link_run(const struct link_job *job, char **error);

#endif
