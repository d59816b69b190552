// Object files that no compiler makes.
#ifndef TEGULA_CODEGEN_ELF_H
#define TEGULA_CODEGEN_ELF_H

#include "codegen/weights.h"

// Where constants begin in the object below: behind its header, aligned.
#define ELF_WEIGHTS_START 64

// Makes the file of constants, which began at that place, a relocatable object for x86-64 that defines `symbol`,
// visible to other objects but not outside of what they are linked to, as the constants, read-only and aligned to 64
// bytes. Ends the file and returns like weights_close.
int elf_end_weights(struct weights_file *file, const char *symbol, const struct weights *w, char **error);

// Copies a relocatable object for x86-64, with `prefix` before the name of each symbol that it defines for other
// objects. Returns 0 and stores the copy, which is released with driver_buffer_finish, in *out; else *error (may be
// NULL) receives a message that the caller frees.
int elf_prefix_symbols(const struct driver_buffer *object, const char *prefix, struct driver_buffer *out, char **error);

#endif
