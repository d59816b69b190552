// An object file that holds a model's constants.
#ifndef TEGULA_CODEGEN_ELF_H
#define TEGULA_CODEGEN_ELF_H

#include "codegen/lower.h"

// Writes a relocatable object for x86-64 that defines `symbol`, visible to other objects but not outside of what they
// are linked to, as the constants, read-only and aligned to 64 bytes. The pieces go straight to the file: there is no
// second copy of them in memory. Returns 0; else *error (may be NULL) receives a message that the caller frees, and
// what is there of the file is of no use.
int elf_write_weights(const char *path, const char *symbol, const struct weights *weights, char **error);

#endif
