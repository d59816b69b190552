// Shaped tile IR to LLVM IR: every tile lies in vector registers that its type names.
#ifndef TEGULA_CODEGEN_LOWER_H
#define TEGULA_CODEGEN_LOWER_H

#include <tegula/kernel.h>

#include "codegen/driver.h"
#include "codegen/target.h"
#include "ir/ir.h"
#include "ir/table.h"

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
    bool mapped; // from a file, as in struct data
};

struct weights {
    int n, size;
    int64_t bytes;         // of all, with what lies between them
    struct weight *pieces; // by offset; room for `size`, in the arena
    struct table
        placed; // by a hash of the bytes, in a process by their address: the int that is their piece. Has the arena
};

// What a model's code is for: a file, in which there may be code for several targets; such a file, with the constants
// in one of their own; this process.
enum model_form { MODEL_IN_FILE, MODEL_BESIDE_WEIGHTS, MODEL_IN_PROCESS };

struct model_linkage {
    enum model_form form;
    const char *name;        // of the model, if its host function is called otherwise; else NULL
    struct weights *weights; // NULL: the constants become one of the LLVM module
};

// Adds to `out` the functions of a host function NAME, after those of the kernels that it launches, which may be in
// another module; lower_model.c lists them. In this process there is also the data symbol NAME__model, a tg_model,
// which needs a function NAME_load; where the constants become one of the LLVM module, both are there. Files get theirs
// by lower_loader. The constants are added to *weights, where the same bytes are there once. They are the memory at the
// symbol MODEL__weights, aligned to 64 bytes, which whoever links the code defines; beside the constants MODEL__loader
// (runtime/loader.h) knows where they are; in this process each piece i is at a symbol of its own, MODEL__weights_i.
// Returns 0, or 1 after reporting.
int lower_host(struct function *f, const struct target_desc *target, LLVMContextRef context, LLVMModuleRef out,
               const struct model_linkage *linkage, struct diags *diags);

// Code of a model for one target: the host function's name when that was lowered, and what it launches.
struct lowered_target {
    const char *host;
    const struct target_desc *target;
    struct data launches; // of launches_write
};

// Adds to `out` what others see of a model NAME in a file (lower_loader.c): C functions and NAME__model, by the symbol
// tegula_model too if `found`. `host` is called NAME; of several targets', whose interfaces are the same, any one.
// `target` is what these functions themselves run on.
struct loader_facts {
    int n_targets;
    const struct lowered_target *targets; // in the order of target_compare
    bool found;
    const char *weights_file; // its name, without the folder; NULL: the constants are in the file too
    int64_t weights_bytes;
    uint64_t weights_identity;
};
int lower_loader(struct function *host, const struct loader_facts *facts, const struct target_desc *target,
                 LLVMContextRef context, LLVMModuleRef out, struct diags *diags);

#endif
