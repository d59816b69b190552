// The facts of a machine that passes and code generation ask of it. codegen/target.c knows them by its name.
#ifndef TEGULA_IR_TARGET_H
#define TEGULA_IR_TARGET_H

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

    int vector_bytes; // 16, 32 or 64: the widest vector register; for NVPTX 16, the widest load of a thread
    int packed_bytes; // of the vectors that constants are stored for: vector_bytes, or more for others in the file
    int unit_bytes;   // computed at once: half of vector_bytes where a vector is two operations
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

#endif
