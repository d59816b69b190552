// What the files of `tegula check` share: check.c has the command and kernels, check_graph.c graphs, check_compare.c
// elements.
#ifndef TEGULA_TOOLS_CHECK_H
#define TEGULA_TOOLS_CHECK_H

#include "tools/command.h"

struct check_request {
    struct words sizes, args, ranges, prints;
    const char *file, *kernel, *stages;
    double tolerance; // negative: by element type
    struct shared_options shared;
};

// Compares a graph's interpreter with the compiled model, which replaces it in its module. Other functions of the
// module are left out. Returns the exit status.
int check_graph(const struct check_request *q, struct function *g, const struct compile_options *options,
                struct diags *diags);

// ---- Elements --------------------------------------------------------------------------------------------------

// Relative, of values above 1. What a few roundings in another order amount to.
double check_tolerance(enum dtype t);
// How far apart, in units of the tolerance; 0: equal. NaNs are equal.
double check_distance(enum dtype t, union scalar x, union scalar y, double tolerance);
const char *check_scalar_text(enum dtype t, union scalar x, struct diags *diags);

#endif
