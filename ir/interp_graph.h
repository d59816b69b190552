// The reference interpreter of graph functions: what it computes is what an operation on tensors means. It shares its
// operations with the interpreter of kernels (interp.h): sums of floats are taken in double, results rounded to their
// type. Also evaluates single operations whose operands are known, for the constant folder.
#ifndef TEGULA_IR_INTERP_GRAPH_H
#define TEGULA_IR_INTERP_GRAPH_H

#include "ir/ir.h"

// A tensor in memory, laid out like struct data (ir.h). A scalar is a tensor of rank 0.
struct interp_tensor {
    enum dtype dtype;
    int rank;
    int64_t dims[MAX_RANK]; // 0 is a size like others
    void *data;             // may be NULL if bytes is 0
    int64_t bytes;
};

// Runs a graph that verify_module accepts. inputs has an entry for each parameter; outputs gets one for each value that
// the body yields, with data from malloc for the caller to free. The symbols of sizes get their values from the inputs'
// dims: inputs that do not fit the parameters' types, or each other, are reported. budget bounds the work, counted in
// elements computed and multiplications (0: 10^10); values lie in memory from their operation to their last use, at
// most 2^28 elements at a time. Nonzero after reporting an error; outputs are then untouched.
int interp_graph(const struct function *g, const struct interp_tensor *inputs, struct interp_tensor *outputs,
                 int64_t budget, struct diags *diags);

// Is shown values of a graph when they have been computed, those of blocks each time.
struct interp_watch {
    bool (*wants)(void *user, const struct value *v);
    void (*call)(void *user, const struct value *v, struct interp_tensor *x); // which owns x->data from here on
    void *user;
};

// The same, watched.
int interp_graph_watched(const struct function *g, const struct interp_tensor *inputs, struct interp_tensor *outputs,
                         int64_t budget, const struct interp_watch *watch, struct diags *diags);

// Runs one operation of a graph g on operands of the sizes that their types state; operands may be NULL if all come
// from `constant` or `data`, as what its blocks read from outside must. results has an entry for each result, which the
// caller frees.
//   0   done
//   1   an error was reported
//   2   nothing was reported: the sizes of the operation have no value without inputs, it reads what is not constant,
//   or
//       the budget or memory (as above, but for scalar operations and casts, of any size) does not suffice
// results are untouched unless it is 0.
int interp_graph_op(const struct op *op, const struct function *g, const struct interp_tensor *operands,
                    struct interp_tensor *results, int64_t budget, struct diags *diags);

#endif
