// What a model launches, as it stands in its module and as tg_model.launches tells it to others.
#ifndef TEGULA_CODEGEN_LAUNCHES_H
#define TEGULA_CODEGEN_LAUNCHES_H

#include "ir/ir.h"

// The launches of a host function in the order of its text, which is what tg_env.on_launch numbers them by. Stores as
// many as there are, in the arena, and returns how many.
int launches_of(const struct function *host, struct arena *a, const struct op *const **launches);

// What tg_model.launches is for the host function, whose kernels are called after it; in the arena. Makes expressions
// in the module.
struct data launches_write(const struct function *host, struct arena *a);

// A node of the model. A copy is one of its own: "copy (Slice)".
struct launch_node {
    const char *operator; // or operations of a graph's text
    const char *name;     // ":7": line 7 of the text
};

struct launch {
    const char *kernel;        // its name in the text of the IR
    const char *flops, *bytes; // for dims_parse
    int n_nodes;
    const struct launch_node *nodes;
};

// Reads that again. Stores copies of the launches in the arena and returns how many there are.
int launches_read(const char *text, struct arena *a, const struct launch **launches);

#endif
