// What a launch does the work of: the operations of a graph that became its kernel. Equal kernels are compiled once, so
// this belongs to the launch: it is part of its location. It points into the module, which has to be there still.
#ifndef TEGULA_PASSES_ORIGIN_H
#define TEGULA_PASSES_ORIGIN_H

#include "ir/ir.h"

// A value of the graph that the kernel leaves in memory: at the address that the launch passes for a parameter.
struct origin_result {
    const struct value *value;
    int param;
    dim strides[MAX_RANK]; // in elements
};

struct origin {
    const struct function *graph;
    int n_ops; // 0: a copy
    const struct op *const *ops;
    const struct type *copied; // what a copy moves; NULL
    int n_results;
    const struct origin_result *results;
};

// The launch's nodes: the locations of its operations, each node once, in the order of their work; a copy has the
// location of the launch. Returns how many, in the arena.
int origin_nodes(const struct op *launch, struct arena *a, struct loc **nodes);

// What a launch computes and moves, as the graph says it: an operation on an
// element is one, be it an addition or an exponential, and a multiplication with an addition two; each tensor is read
// once, and written once. What the kernel computes again, or reads again since it does not stay in a cache, is not
// counted, nor what it computes of tiles that are not full.
struct origin_work {
    dim flops, bytes; // unknown if a size or the launch's origin is
};
struct origin_work origin_work(const struct op *launch, struct module *m);

#endif
