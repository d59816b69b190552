// What the files of `tegula check` share: check.c has the command and kernels, check_graph.c graphs, check_compare.c
// elements, by which `tegula diff` compares too.
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
// What is asked for, or that if it is negative.
double check_limit(enum dtype t, double tolerance);
// How two arrays of equal elements, as should be, differ.
struct check_difference {
    int64_t n_wrong; // elements that are further apart than the tolerance
    double worst;    // how far apart, in units of the tolerance; 0: equal, as NaNs are among each other
    int64_t at;      // the element of that, and what it is
    union scalar want, have;
    double absolute, relative, ulp;          // the greatest, of finite numbers
    int64_t n_lost, lost_at;                 // elements that are finite in one alone; the first
    int64_t n_nan, n_infinite, nonfinite_at; // elements that are so in both; the first
};
struct check_difference check_compare(enum dtype t, const void *want, const void *have, int64_t n, double tolerance);
const char *check_scalar_text(enum dtype t, union scalar x, struct diags *diags);

#endif
