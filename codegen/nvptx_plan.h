// How a tile goes from one register layout to another: a plan, free of LLVM, that the lowering carries out.
#ifndef TEGULA_CODEGEN_NVPTX_PLAN_H
#define TEGULA_CODEGEN_NVPTX_PLAN_H

#include "ir/layout.h"

enum plan_kind {
    PLAN_RENAME,  // register r is the source's register from[r] of the same thread
    PLAN_SHUFFLE, // register r comes from another lane of the warp
    PLAN_SHARED   // through shared memory
};

// Accesses to shared memory: (reg, lane, warp) -> offset in elements.
struct plan_access {
    struct layout offset;
    unsigned width;  // elements side by side in one access
    uint32_t run[5]; // element x of an access is register first XOR (XOR of run[j] over the set bits j of x)
};

struct convert_plan {
    enum plan_kind kind;
    struct layout map; // (reg, lane, warp) of the target -> of the source
    // PLAN_SHUFFLE: the registers that a target register may come from, depending on the lane: the source's register
    // map(r) XOR any combination of these.
    unsigned n_choices;
    uint32_t choice[1];
    // PLAN_SHARED
    struct plan_access store, load;
    bool ldmatrix, transposed; // load by ldmatrix; load.width is then not used
    unsigned matrix_bits;      // log2 of how many 8x8 matrices go at once: 0, 1 or 2
    uint32_t matrix[2];        // register bits that tell them apart
    int64_t bytes;
};

// element_bits is the width in memory: 8 to 64. False: the conversion is impossible.
bool convert_plan_make(const struct layout *from, const struct layout *to, unsigned element_bits,
                       struct convert_plan *plan);

// The offset whose row lane `lane` hands to ldmatrix, per bit of the lane number, for the target registers from `first`
// on (see matrix_row); XORed with what register `first` and the warp contribute.
uint32_t convert_plan_row(const struct convert_plan *plan, unsigned lane_bit);

#endif
