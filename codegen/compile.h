// From the text of kernels to code: read, check, shape, lower, optimise, emit. The tool and the API are built on this.
#ifndef TEGULA_CODEGEN_COMPILE_H
#define TEGULA_CODEGEN_COMPILE_H

#include "codegen/driver.h"
#include "codegen/lower.h"
#include "ir/ir.h"
#include "passes/pass.h"

// What can be had of a module, in the order in which it becomes that.
enum compile_output { COMPILE_TILE, COMPILE_SHAPED, COMPILE_LLVM, COMPILE_ASSEMBLY, COMPILE_OBJECT };

struct cache;

struct compile_options {
    struct target_desc target;
    int opt_level; // 0 to 3, as of driver_create
    enum model_form model_form;
    const char *model_name; // as in struct model_linkage
    struct cache *cache;    // for model_load, which stores the model there; NULL: nowhere
    int n_threads;          // that make the code of a model; 0: as many as there are CPUs. The code is the same
    struct pipeline_options pipeline;
};

// Fills *target as target_parse does, which also knows v2, v3 and v4. Returns 0, or 1 after reporting.
int compile_target(const char *name, struct target_desc *target, struct diags *diags);

// Reads and verifies kernels. The module belongs to the caller; NULL after reporting errors.
struct module *compile_read(const char *text, size_t length, const char *file, int n_defines,
                            const struct define *defines, struct diags *diags);

// Runs the passes over a verified module with a model: if the options name none, those of graphs, which lower them to
// kernels and a host function and plan its memory, and those of kernels. Kernels and host functions that are there
// already stay. Returns 0, or 1 after reporting.
int graph_compile(struct module *m, const struct compile_options *options, struct diags *diags);

// Who calls a kernel.
enum compile_callers { COMPILE_FOR_ALL, COMPILE_FOR_HOST }; // any program, host functions alone

// Adds the code of a function, which the passes have prepared, to an LLVM module; of host functions after the kernels
// that they launch, be those in the same module or not. weights, for a host function, as in lower.h. Returns 0, or 1
// after reporting.
int compile_function(struct function *f, const struct compile_options *options, enum compile_callers callers,
                     struct driver *d, LLVMModuleRef module, struct weights *weights, struct diags *diags);

// Turns a module that the passes have prepared into bytes, to be released with driver_buffer_finish. Returns 0, or 1
// after reporting errors; *out is then untouched.
int compile_lower(struct module *m, const struct compile_options *options, enum compile_output kind,
                  struct driver_buffer *out, struct diags *diags);

// The same for a verified module, on which the passes are run first unless the output is COMPILE_TILE. The module is
// left as the passes made it.
int compile_module(struct module *m, const struct compile_options *options, enum compile_output kind,
                   struct driver_buffer *out, struct diags *diags);

#endif
