// Shaped tile IR to LLVM IR: every tile lies in vector registers that its type names.
#ifndef TEGULA_CODEGEN_LOWER_H
#define TEGULA_CODEGEN_LOWER_H

#include <tegula/kernel.h>

#include "codegen/driver.h"
#include "codegen/target.h"
#include "ir/ir.h"

// Adds to `out` the functions of one kernel NAME (include/tegula/kernel.h has the types):
//
//   internal void NAME__instance(pointers, scalars, symbols, program ids, grid sizes, scratch)
//   int32_t NAME__range(const tg_arg *args, int64_t begin, int64_t end, void *scratch)   instances [begin, end)
//   int64_t NAME__grid(const tg_arg *args)                                               how many instances
//   int64_t NAME__scratch(const tg_arg *args)                                            bytes, for one thread
//   const tg_kernel NAME__kernel                                                         those in one structure
//   int NAME(parameters..., int64_t symbols...)                                          runs all of them in order
//   int NAME_env(const tg_env *env, parameters..., int64_t symbols...)                   runs them by the environment
//
// args holds the parameters, then the symbols in the order of their ids in the module. The flattened grid counts its
// first dimension fastest. Every tile type of the kernel must be shaped. Symbols that only the parameters' types name
// are added to k->symbols. If the kernel is `launched`, which is to say by host functions alone, the first four are all
// there is. Returns 0, or 1 after reporting what cannot be lowered; `out` is then of no use.
int lower_kernel(struct function *k, bool launched, const struct target_desc *target, LLVMContextRef context,
                 LLVMModuleRef out, struct diags *diags);

// Bytes of a constant and their place in the weights.
struct weight {
    const void *bytes;
    int64_t size, offset;
};

struct weights {
    int n;
    int64_t bytes;               // of all, with what lies between them
    const struct weight *pieces; // in the module's arena, by offset
};

// What a model's code is for, and so has besides its description (below): C functions; those and the symbol by which
// the description is found in a shared object or a program; nothing, for this process.
enum model_form { MODEL_OBJECT, MODEL_FOUND, MODEL_IN_PROCESS };

// What is told of each launch of a model in this process: `launch` is its position in launches_of, `ended` 0 before
// the kernel runs and 1 when it has. args are the slots that the kernel is given, which hold the addresses of its
// memory. A launch that fails does not end.
struct launch_hook {
    void (*call)(void *user, int32_t launch, int32_t ended, const tg_arg *args);
    void *user; // not NULL
};

// The launches of a host function in the order of its text. Stores as many as there are, in the arena, and returns how
// many.
int launches_of(const struct function *host, struct arena *a, const struct op *const **launches);

// Adds to `out` the functions of a host function NAME, after those of the kernels that it launches, which may be in
// another module (lower_model.c lists them), and the data symbol NAME__model, a tg_model; by its form
// also the C functions NAME and NAME_env and the symbol tegula_model (lower_model_interface.c). The constants are the
// memory at the symbol NAME__weights, aligned to 64 bytes, which whoever links the code defines as *weights says; if
// `weights` is NULL they are put into the module instead. In this process each piece i is at a symbol of its own,
// NAME__weights_i. If it is `hooked`, a launch_hook's members are what the symbols NAME__hook and NAME__hook_user stand
// for; otherwise there is no trace of one. Returns 0, or 1 after reporting.
int lower_host(struct function *f, const struct target_desc *target, LLVMContextRef context, LLVMModuleRef out,
               enum model_form form, bool hooked, struct weights *weights, struct diags *diags);

#endif
