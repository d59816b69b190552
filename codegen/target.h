// The machines that code is made for, by name.
#ifndef TEGULA_CODEGEN_TARGET_H
#define TEGULA_CODEGEN_TARGET_H

#include "ir/target.h"

// Fills *t from a name: `native`, `x86-64-v2` to `-v4`, an LLVM CPU name or an `sm_` name of target.def; an x86 name
// may be followed by extensions: `+vnni`, `+noamx` (see TARGET_EXTENSION). Returns 0; else non-zero, leaves *t as it
// was, and sets *error (freed by the caller; may be NULL) to a message that lists what is accepted.
int target_parse(const char *name, struct target_desc *t, char **error);

// What every x86-64 CPU can run: for code that finds out which one it is on.
void target_any(struct target_desc *t);

// Orders targets by what they need, as qsort wants it: where a target's code can be run, that of a smaller one can, if
// one of them has all that the other has.
int target_compare(const struct target_desc *a, const struct target_desc *b);

// Whether this machine can run code made for t. Always false for NVPTX: that is for the CUDA driver to say.
bool target_runs_here(const struct target_desc *t);

#endif
