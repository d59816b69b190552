// The constants of a model as bytes in files.
#ifndef TEGULA_CODEGEN_WEIGHTS_H
#define TEGULA_CODEGEN_WEIGHTS_H

#include <stdio.h>

#include "codegen/file.h"
#include "codegen/lower.h"

// Writes them to a file that is new behind its position, and leaves that behind them. The pieces go straight from where
// they are: there is no second copy of them in memory. A failure is found by ferror.
void weights_put(FILE *f, const struct weights *w);

int64_t weights_file_bytes(const struct weights *w); // of the file below

// Prepares (file.h) the file of constants that runtime/loader.h describes. Returns 0 and stores a number that tells
// these constants from others in *identity; else *error receives a message that the caller frees.
int weights_prepare_file(struct file_pending *pending, const char *path, const struct weights *w, uint64_t *identity,
                         char **error);

#endif
