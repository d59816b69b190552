// The labels of `dot`: "mk,kn->mn" names the axes of both factors and of the sum.
#ifndef TEGULA_IR_EINSUM_H
#define TEGULA_IR_EINSUM_H

#include <stdbool.h>

#include "ir/ir.h"

#define EINSUM_LABELS (3 * MAX_RANK)

struct einsum {
    int n_axes;
    char label[EINSUM_LABELS];
    int rank[3];               // left, right, sum
    int axis[3][MAX_RANK];     // the axis of each dimension
    bool in[3][EINSUM_LABELS]; // whether an operand has an axis
};

// NULL, or what is wrong. Every axis of the sum must be in a factor, and no operand may hold an axis twice.
const char *einsum_parse(const char *text, struct einsum *e);

// The axis is summed over.
static inline bool einsum_contracts(const struct einsum *e, int axis)
{
    return !e->in[2][axis];
}

#endif
