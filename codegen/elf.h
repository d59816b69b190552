// Object files that no compiler makes.
#ifndef TEGULA_CODEGEN_ELF_H
#define TEGULA_CODEGEN_ELF_H

#include "codegen/lower.h"

// Writes a relocatable object for x86-64 that defines `symbol`, visible to other objects but not outside of what they
// are linked to, as the constants, read-only and aligned to 64 bytes. The pieces go straight to the file: there is no
// second copy of them in memory. Returns 0; else *error (may be NULL) receives a message that the caller frees, and
// what is there of the file is of no use.
int elf_write_weights(const char *path, const char *symbol, const struct weights *weights, char **error);

// Copies a relocatable object for x86-64, with `prefix` before the name of each symbol that it defines for other
// objects. Returns 0 and stores the copy, which is released with driver_buffer_finish, in *out; else *error (may be
// NULL) receives a message that the caller frees.
int elf_prefix_symbols(const struct driver_buffer *object, const char *prefix, struct driver_buffer *out, char **error);

#endif
