// Everything around the lowering to LLVM: a context and a target machine, verification, passes, emission.
//
// One driver is one compilation. It is used by one thread at a time; different drivers by different threads at once.
// No call prints, exits or aborts: what LLVM has to say, its fatal errors included, comes back as a message.
//
// In all functions `error` may be NULL; on failure *error receives a message that the caller frees, and outputs are
// untouched.
#ifndef TEGULA_CODEGEN_DRIVER_H
#define TEGULA_CODEGEN_DRIVER_H

#include <stddef.h>

#include "codegen/target.h"

// The same as in llvm-c/Types.h, which callers of this header need not have.
typedef struct LLVMOpaqueContext *LLVMContextRef;
typedef struct LLVMOpaqueModule *LLVMModuleRef;

struct driver;

// What a module can be turned into. The assembly of an NVPTX target is PTX; it has no object files.
enum driver_output { DRIVER_OBJECT, DRIVER_ASSEMBLY, DRIVER_LLVM_IR };

// Bytes the holder owns. A zero byte that is not counted follows them, so text is a C string.
struct driver_buffer {
    char *data;
    size_t size;
};

// Frees the bytes, not the structure, and empties it.
void driver_buffer_finish(struct driver_buffer *b);

// Registers LLVM's targets, and the handler of its fatal errors in place of any other the process may have. Done by the
// first driver_create; whatever else calls into LLVM's code generators calls it first. May be called again, on any
// thread.
void driver_initialize(void);

// Creates a driver for *target (copied). opt_level is 0 to 3, as of a C compiler, and steers passes and code generator:
// 0 compiles fastest and runs at half the speed; 2 is meant for kernels that come out of shaping; 3 runs LLVM's whole
// -O2. Code is position-independent at every level, so an object serves the JIT and the linker alike. Returns 0 and
// stores the driver, which the caller destroys, in *out.
int driver_create(const struct target_desc *target, int opt_level, struct driver **out, char **error);

// Destroys the context and with it every module made in it. d may be NULL.
void driver_destroy(struct driver *d);

const struct target_desc *driver_target(const struct driver *d);

// The driver's own; lives as long as it.
LLVMContextRef driver_context(struct driver *d);

// A new module with the target's triple and data layout set. It belongs to the driver, which disposes of it in the end;
// never call LLVMDisposeModule on it.
LLVMModuleRef driver_new_module(struct driver *d, const char *name, char **error);

// Checks the module against LLVM's rules. Returns 0 if it keeps them; else *error names every breach.
int driver_verify(struct driver *d, LLVMModuleRef module, char **error);

// The pipeline driver_optimize runs by default: "" at level 0. A constant string.
const char *driver_default_pipeline(int opt_level);

// Runs a pipeline in the syntax of LLVM's `opt -passes=`, or the default one when NULL, on a valid module.
int driver_optimize(struct driver *d, LLVMModuleRef module, const char *pipeline, char **error);

// Turns a valid module into bytes, to be released with driver_buffer_finish. The module does not change, and may be
// emitted again.
int driver_emit(struct driver *d, LLVMModuleRef module, enum driver_output kind, struct driver_buffer *out,
                char **error);

#endif
