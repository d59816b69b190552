// Compiled models as files.
#ifndef TEGULA_CODEGEN_MODEL_FILE_H
#define TEGULA_CODEGEN_MODEL_FILE_H

#include "codegen/compile.h"
#include "codegen/link.h"

// Runs the passes of kernels over the module, which holds one host function whose memory is planned and its kernels,
// and writes its code with its constants to a file: an object, a shared object or an executable, by `kind`. Of an
// executable `program` is the object that has its main function, and finds the model as tegula_model; else it is NULL.
// The module is left as the passes made it. Returns 0, or 1 after reporting; the file is then as it was before.
int model_write(struct module *m, const struct compile_options *options, enum link_kind kind,
                const struct driver_buffer *program, const char *path, struct diags *diags);

#endif
