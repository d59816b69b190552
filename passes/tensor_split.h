// Views whose dimensions are several in memory, and spaces that are walked by the parts of their dimensions.
//
//   %a = transpose %x, [1, 0]                 %x lies row by row, 2 x 3
//   %b = reshape %a : tensor<6xf32>           %b: 6 = (3 at stride 1, 2 at stride 3)
//
// What no strided view can express, because a reshape merges dimensions that do not follow each other in memory, is a
// view with split dimensions. A kernel that walks 3 and 2 instead of 6 reads %b where %x lies, and writes it so that %x
// lies as it should.
#ifndef TEGULA_PASSES_TENSOR_SPLIT_H
#define TEGULA_PASSES_TENSOR_SPLIT_H

#include "ir/einsum.h"
#include "passes/tensor_view.h"

// As tensor_view_apply and tensor_view_invert; of views with split dimensions, and making such.
bool tensor_split_apply(struct module *m, const struct op *op, struct tensor_view *v);
bool tensor_split_invert(struct module *m, const struct op *op, struct tensor_view *v);
// Elements start .. start + size of a dimension. False: they do not lie along its parts.
bool tensor_split_slice(struct module *m, int dimension, dim start, dim size, struct tensor_view *v);

#define SPACE_PARTS EINSUM_LABELS

// Dimensions that are walked together, each by its parts, outermost first.
struct tensor_space {
    int rank;
    int first[SPACE_PARTS + 1]; // dimension d is parts first[d] to first[d + 1]
    bool frozen[SPACE_PARTS];   // dimension d stays one
    dim sizes[SPACE_PARTS];     // of the parts
};

// A dimension of n parts.
void tensor_space_add(struct tensor_space *s, int n, const dim *sizes, bool frozen);
// Splits the space so that it walks a view, whose dimension i is dimension dims[i] of the space. False, with the space
// as it was: that does not go, or makes more parts than a kernel walks.
bool tensor_space_refine(struct module *m, struct tensor_space *s, const struct tensor_view *v, const int *dims);
// What the view strides by along each part of the space; 0: it does not walk it. False: the space is not as fine.
bool tensor_space_strides(struct module *m, const struct tensor_space *s, const struct tensor_view *v, const int *dims,
                          dim *strides);

#endif
