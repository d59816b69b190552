// The iteration space of a kernel: dimensions of tiles that always move together are one axis.
#ifndef TEGULA_PASSES_AXES_H
#define TEGULA_PASSES_AXES_H

#include "ir/ir.h"

#define AXIS_NONE (-1) // of a dimension of size 1: its index is always 0

struct axes {
    int n;
    int *parent;   // union-find forest
    int64_t *size; // by axis
    int *first;    // by value id: number of its first dimension
};

// Unites the dimensions of all tile values of a kernel: operands of element-wise operations with their results, the
// labels of a dot, carried values with what is yielded for them. Reshapes only add or drop dimensions of size 1 here
// (sever.c has seen to that). NULL, or the operand edge at which a value would hold one axis twice.
struct axes_conflict {
    struct op *op;
    int operand;
};
bool axes_find(struct arena *a, struct function *k, struct axes *axes, struct axes_conflict *conflict);

// The axis of a value's dimension, or AXIS_NONE.
int axes_of(const struct axes *axes, const struct value *v, int dimension);
// Whether one of the value's dimensions is the axis; scalars have none.
bool axes_has(const struct axes *axes, const struct value *v, int axis);

// Whether a reshape only adds or drops dimensions of size 1.
bool reshape_is_trivial(const struct type *from, const struct type *to);

#endif
