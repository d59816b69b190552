// Compiled models as files.
#ifndef TEGULA_CODEGEN_MODEL_FILE_H
#define TEGULA_CODEGEN_MODEL_FILE_H

#include "codegen/compile.h"
#include "codegen/link.h"

// A file to be made. Nothing is taken over.
struct model_job {
    // Code for each of several targets, in the order of target_compare: the model as a module, which holds one host
    // function whose memory is planned and its kernels, and what to do with it.
    int n_targets;
    struct module *const *modules;
    const struct compile_options *options;
    enum link_kind kind;
    // Of an executable the object that has its main function, and finds the model as tegula_model; else NULL.
    const struct driver_buffer *program;
    const char *path;
    const char *weights_path; // of a file for the constants; NULL: they are part of the other one
};

// Runs the passes of kernels over the modules, and writes their code with the constants. The modules are left as the
// passes made them, their functions renamed. Returns 0, or 1 after reporting; the files are then as they were before.
int model_write(const struct model_job *job, struct diags *diags);

#endif
