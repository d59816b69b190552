// The machine code is made for: its name, and the facts that shaping and code generation ask of it.
#ifndef TEGULA_CODEGEN_TARGET_H
#define TEGULA_CODEGEN_TARGET_H

#include <stdbool.h>
#include <stdint.h>

enum target_kind { TARGET_KIND_X86, TARGET_KIND_NVPTX };

// A plain value: copy it freely, nothing to release.
struct target_desc {
    char name[64]; // as asked for: "native", "x86-64-v3", "sapphirerapids+noamx", "sm_90a"
    enum target_kind kind;
    const char *triple;  // static
    char cpu[64];        // LLVM's name of it
    char features[4096]; // what LLVM is told beyond the CPU's name: "+a,-b"
    uint64_t isa;        // bit set of the rows of runtime/isa.def; 0 for NVPTX

    int vector_bytes;       // 16, 32 or 64: the widest vector register; for NVPTX 16, the widest load of a thread
    int n_vector_registers; // 16 or 32; for NVPTX 255, a thread's 32-bit registers
    bool fma, f16c;         // f32 and f64 fused multiply-add; conversions between f16 and f32
    bool avx512;            // F, CD, BW, DQ and VL: masks in registers
    bool vnni;              // u8 x s8 dot product into i32 (vpdpbusd), on vectors of vector_bytes
    bool bf16;              // bf16 dot product into f32 (vdpbf16ps) and conversion from f32
    bool fp16;              // arithmetic on f16 vectors
    bool amx;               // tile registers; int8 and bf16 products

    int sm;          // NVPTX: 80, 90 ...; 0 for x86
    bool sm_a;       // architecture-specific instructions (wgmma, setmaxnreg), as in sm_90a
    int ptx_version; // 80 is PTX 8.0; 0 for x86

    long l1d_bytes, l2_bytes; // data caches of one core: measured for native, else from the table; 0 for NVPTX
};

// Fills *t from a name: `native`, `x86-64-v2` to `-v4`, an LLVM CPU name or an `sm_` name of target.def; an x86 name
// may be followed by extensions: `+vnni`, `+noamx` (see TARGET_EXTENSION). Returns 0; else non-zero, leaves *t as it
// was, and sets *error (freed by the caller; may be NULL) to a message that lists what is accepted.
int target_parse(const char *name, struct target_desc *t, char **error);

// What every x86-64 CPU can run: for code that finds out which one it is on.
void target_any(struct target_desc *t);

// Orders targets by what they need, as qsort wants it: where a target's code can be run, that of a smaller one can, if
// one of them has all that the other has.
int target_compare(const struct target_desc *a, const struct target_desc *b);

// Whether this machine can run code made for t. Always false for NVPTX: that is for the CUDA driver to say.
bool target_runs_here(const struct target_desc *t);

#endif
