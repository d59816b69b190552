// Compiled models as files.
#ifndef TEGULA_CODEGEN_MODEL_FILE_H
#define TEGULA_CODEGEN_MODEL_FILE_H

#include "codegen/compile.h"
#include "codegen/link.h"

// A file to be made. Nothing is taken over.
struct model_job {
    // Code for each of several targets, in the order of target_compare.
    int n_targets;
    const struct compile_options *options;
    // Gives the model as a module for a target, which holds one host function whose memory is planned and its kernels;
    // NULL after reporting. It is asked for when the one before is in files and has been destroyed, so that memory need
    // only hold one.
    struct module *(*module)(void *user, int target, struct diags *diags);
    void *user;
    enum link_kind kind;
    // Of an executable the object that has its main function, and finds the model as tegula_model; else NULL.
    const struct driver_buffer *program;
    const char *path;
    const char *weights_path; // of a file for the constants; NULL: they are part of the other one
};

// Runs the passes of kernels over the modules, and writes their code with the constants. Returns 0, or 1 after
// reporting; the files are then as they were before.
int model_write(const struct model_job *job, struct diags *diags);

#endif
