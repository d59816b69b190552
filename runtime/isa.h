// The instruction sets of this machine, as bit sets of the rows of isa.def.
#ifndef TEGULA_RUNTIME_ISA_H
#define TEGULA_RUNTIME_ISA_H

#include <stdint.h>

enum {
#define ISA(id, ...) ISA_BIT_##id,
#include "runtime/isa.def"
    ISA_COUNT
};
_Static_assert(ISA_COUNT <= 64, "a set is a uint64_t");

// What the CPU has and the operating system lets programs use: it must keep the registers of AVX and the like.
uint64_t isa_here(void);

const char *isa_name(int bit); // as LLVM calls it

#endif
