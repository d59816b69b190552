// The reference interpreter of kernels: slow, and meant to be obviously right. What it computes is what an operation
// means; tests compare every pass and every back end with it. Layouts of shaped tiles do not change their meaning, so
// kernels run alike before and after shaping.
#ifndef TEGULA_IR_INTERP_H
#define TEGULA_IR_INTERP_H

#include "ir/ir.h"

// Memory that a view parameter stands for.
struct interp_view {
    void *data;
    int64_t bytes;                              // that may be touched from data on; every access is held to it
    int64_t sizes[MAX_RANK], strides[MAX_RANK]; // strides in elements
};

struct interp_arg {
    struct interp_view view; // of a view parameter
    union scalar scalar;     // of a scalar parameter
};

// Sets sizes and strides from the type of a view: constants, the symbols' values, row-major without gaps unless the
// type is strided. Unknown ones stay as they are; data and bytes too. Nonzero: a size is negative or the view is too
// large to be addressed.
int interp_view_fill(struct interp_view *view, const struct type *type, const int64_t *symbols);

// Runs every program instance of the grid, one after another, dimension 0 fastest. The kernel must be one that
// verify_module accepts. params has an entry for each parameter; symbols holds a value for each symbol of the module,
// by id. budget bounds the work, counted in elements of the operations' results (0: 10^10). Nonzero after reporting an
// error; what was stored until then stays.
int interp_run(struct function *k, const struct interp_arg *params, const int64_t *symbols, int64_t budget,
               struct diags *diags);

#endif
