// Shaped tile IR to LLVM IR for NVIDIA GPUs: every tile type names the elements that each thread holds (ir/layout.h).
#ifndef TEGULA_CODEGEN_NVPTX_H
#define TEGULA_CODEGEN_NVPTX_H

#include "codegen/driver.h"
#include "codegen/target.h"
#include "ir/ir.h"

// Adds to `out`, of kernel NAME:
//
//   .entry NAME(pointers to global memory and scalars in the order of the parameters, symbols by id as 64-bit integers)
//   .const .u32 NAME__launch[2]        threads of a block (1 dimension); bytes of dynamic shared memory it needs
//
// program_id is ctaid, so the grid's sizes are those of the launch (dimensions 1 and 2: at most 65535). Pointers need
// only their elements' alignment: where 16-byte accesses would need more, the kernel tests for it when it runs. More
// than 48 KiB of shared memory must be allowed by the launcher (CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES). f16
// and narrower scalars are passed as their bits. Symbols that only the parameters' types name are added to k->symbols.
//
// With `emulate`, `out` is a module of this machine, and what only a GPU has (thread ids, shuffles, barriers, ldmatrix,
// mma) become calls of functions emu_* (nvptx_hardware.c lists them): all else of the generated code is the same, and
// can be tested without a GPU.
//
// Returns 0, or 1 after reporting what cannot be lowered; `out` is then of no use.
int lower_nvptx(struct function *k, const struct target_desc *target, LLVMContextRef context, LLVMModuleRef out,
                bool emulate, struct diags *diags);

#endif
