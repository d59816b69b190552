// Reads whole files.
#ifndef TEGULA_CODEGEN_FILE_H
#define TEGULA_CODEGEN_FILE_H

#include "codegen/driver.h"

// Reads a file, or standard input for "-", up to its end; to be released with driver_buffer_finish. Returns 0; else
// *error (may be NULL) receives a message that the caller frees, and *out is untouched.
int file_read(const char *path, struct driver_buffer *out, char **error);

#endif
