// How layouts go through the operations of tile IR: what layout a result has, and what layout an operand must have to
// meet it register by register. The checker, shaping for GPUs and the lowering to PTX agree because they all ask here.
#ifndef TEGULA_IR_LAYOUT_TILE_H
#define TEGULA_IR_LAYOUT_TILE_H

#include "ir/einsum.h"
#include "ir/ir.h"
#include "ir/layout.h"

#define LAYOUT_MOST_REGISTER_BITS 9 // log2 of the registers that code is made for, of one tile in a thread

// The layout whose tile dimension d is dimension source[d] of l's tile, or, where source[d] is -1, of size 1.
// Dimensions that no source names are projected away; registers that then hold copies are dropped.
struct layout layout_remap(const struct layout *l, unsigned rank, const int *source);
// Of an operand that broadcasts to l's tile: rank and sizes as the tile type's.
struct layout layout_operand(const struct layout *l, const struct type *operand);
// Of a reduction's result, and of anything else of l's rank with some sizes 1.
static inline struct layout layout_reduced(const struct layout *l, const struct type *result)
{
    return layout_operand(l, result);
}
// Puts every element of a tile dimension of size 1, which becomes `size` long, into registers of its own.
struct layout layout_add_registers(const struct layout *l, unsigned d, uint32_t size);
// Of factor 0 or 1 of a dot computed with multiply-adds, whose sum lies in `sum`: each thread holds the rows (columns)
// of its sums, whole. Invalid if a label summed over has a size that is no power of two.
struct layout layout_factor(const struct layout *sum, const struct einsum *e, int factor, const struct type *type);

// Whether a reduction over the axes in `mask` (bit d: dimension d) can be done by combining registers, then lanes, then
// warps that differ in single bits: no input bit moves along a reduced and another dimension at once, and no element is
// held twice by inputs that move along reduced dimensions.
bool layout_reduces(const struct layout *l, uint32_t mask);

// As layout_vector_width, but with the same registers in the same order in every lane and warp: no more than `most`.
uint32_t layout_run(const struct layout *l, enum layout_dim d, uint32_t most, uint32_t regs[LAYOUT_MAX_BITS]);

// The register, in lane 0 of warp 0, of the element with these coordinates: reg_at[row-major index]; -1 where other
// threads hold it. Room for the whole tile is the caller's.
void layout_first_thread(const struct layout *l, int *reg_at);

#endif
