// Strided views: how a tensor value lies in the memory of another. Layout operations become arithmetic on views instead
// of code that moves elements.
//
//   %b = transpose %a, [1, 0]      sizes and strides of %a, permuted
//   %c = reshape %a : tensor<..>   of the same memory, where the merged dimensions lie without gaps
#ifndef TEGULA_PASSES_TENSOR_VIEW_H
#define TEGULA_PASSES_TENSOR_VIEW_H

#include "ir/ir.h"

struct tensor_view {
    int rank;
    dim offset; // of the first element, in elements
    dim sizes[MAX_RANK], strides[MAX_RANK];
    // Where dimensions of the tensor are several in memory (tensor_split.h): its rank, and dimension d is dimensions
    // first[d] to first[d + 1] of those above, outermost first; none if its size is 1. Else 0.
    int tensor_rank, first[MAX_RANK + 1];
};

// A tensor whose dimensions lie in memory in this order, outermost first, without gaps; NULL: row-major.
struct tensor_view tensor_view_create(struct module *m, const struct type *t, const int *order);

// The view of a layout operation's result, given that of its operand, without split dimensions. False if it has none: a
// reshape that merges dimensions with gaps, a slice that runs backwards or lies at a place that is found out at run
// time, any other operation.
bool tensor_view_apply(struct module *m, const struct op *op, struct tensor_view *v);
// The view of the operand, given that of the result. False: not every element of the operand would have a place.
bool tensor_view_invert(struct module *m, const struct op *op, struct tensor_view *v);
bool tensor_view_is_layout(const struct op *op); // transpose, reshape, broadcast, slice, dynamic_slice

// The dimensions as they lie in memory, outermost first, where strides can be compared. Elements that are repeated
// along a dimension lie behind those of the dimension before it.
void tensor_view_order(struct module *m, const struct tensor_view *v, int *order);

#endif
