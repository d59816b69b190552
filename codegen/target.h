// The machines that code is made for, by name.
#ifndef TEGULA_CODEGEN_TARGET_H
#define TEGULA_CODEGEN_TARGET_H

#include "ir/target.h"

// Fills *t from a name: `native`, `x86-64-v2` to `-v4`, an LLVM CPU name or an `sm_` name of target.def; an x86 name
// may be followed by extensions: `+vnni`, `+noamx` (see TARGET_EXTENSION). Returns 0; else non-zero, leaves *t as it
// was, and sets *error (freed by the caller; may be NULL) to a message that lists what is accepted.
int target_parse(const char *name, struct target_desc *t, char **error);

// Whether this machine can run code made for t. Always false for NVPTX: that is for the CUDA driver to say.
bool target_runs_here(const struct target_desc *t);

#endif
