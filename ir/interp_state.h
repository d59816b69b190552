// What the files of the interpreter share.
#ifndef TEGULA_IR_INTERP_STATE_H
#define TEGULA_IR_INTERP_STATE_H

#include "ir/einsum.h"
#include "ir/interp.h"
#include "ir/scalar.h"

#define INTERP_BUDGET 10000000000      // unless the caller gives one
#define INTERP_ROOM ((int64_t)1 << 28) // elements of all values together

// A view at run time: the memory of its root and the map from its indices to those of the root.
struct reference {
    struct interp_view root;
    int64_t offset[MAX_RANK];
    struct affine_map map;
    void *owned; // the memory of a scratch
};

// What a value holds: the elements of a tile or tensor in row-major order, one element for a scalar, or a view.
struct content {
    union scalar *elements;
    struct reference *reference;
    const struct type *type; // of a graph's value: with constant sizes, once they are known
    struct type *owned_type;
};

struct interp_watch;

struct interp {
    struct function *k;
    struct diags *diags;
    struct content *contents; // by value id
    int n_grid;
    int64_t grid[3], program[3];
    int64_t budget; // elements left to compute
    int64_t room;   // elements left to allocate
    // Graphs only.
    const int64_t *symbols;     // by the module's symbol id
    const bool *bound;          // the symbols that have a value
    const struct op **last_use; // by value id: where it ends in the block that defines it; NULL: nothing ends early
    const struct interp_watch *watch; // may be NULL
    bool quiet, undecided;            // sizes without a value, and work beyond the budget, are noted here, not reported
};

// Reports an error and returns false.
bool interp_fail(struct interp *in, const struct op *op, const char *format, ...) __attribute__((format(printf, 3, 4)));
// Takes n elements of work from the budget.
bool interp_charge(struct interp *in, const struct op *op, int64_t n);
// The elements of a tile or scalar, made when first asked for; NULL after reporting an error.
union scalar *interp_result(struct interp *in, const struct op *op, const struct value *v);

// The type of a value, with constant sizes.
static inline const struct type *interp_type(const struct interp *in, const struct value *v)
{
    const struct type *t = in->contents[v->id].type;
    return t ? t : v->type;
}

static inline const union scalar *interp_elements(const struct interp *in, const struct value *v)
{
    return in->contents[v->id].elements;
}

static inline int64_t interp_index(const struct interp *in, const struct value *v)
{
    return interp_elements(in, v)->i;
}

// ---- Walking tiles ---------------------------------------------------------------------------------------------

#define WALK_OPERANDS (MAX_RANK + 1)

// All indices of a shape in row-major order. at[] follows along: the position in each operand.
struct walk {
    int rank;
    int64_t dims[EINSUM_LABELS], index[EINSUM_LABELS];
    int64_t at[WALK_OPERANDS];
    int64_t step[WALK_OPERANDS][EINSUM_LABELS]; // of at along each dimension
};

struct walk walk_create(int rank, const dim *dims);
// Operand `which` is broadcast to the shape: aligned at the last dimension, size 1 stretched.
void walk_broadcast(struct walk *w, int which, const struct type *t);
// for (bool more = walk_first(&w); more; more = walk_next(&w))
bool walk_first(const struct walk *w); // false if there is no index
bool walk_next(struct walk *w);        // false after the last index; the walk is then at the first again
// Row-major strides of a tile or tensor; 0 for dimensions of size 1.
void tile_strides(const struct type *t, int64_t *strides);

// ---- Operations ------------------------------------------------------------------------------------------------

// interp.c
bool interp_op(struct interp *in, const struct op *op);
bool interp_block(struct interp *in, const struct block *b); // its operations, but for the terminator

// interp_tile.c: values from values.
bool interp_map(struct interp *in, const struct op *op); // scalar operations, cast, bitcast
bool interp_constant(struct interp *in, const struct op *op);
bool interp_iota(struct interp *in, const struct op *op);
bool interp_dot(struct interp *in, const struct op *op); // and einsum
bool interp_reduce(struct interp *in, const struct op *op);
bool interp_scan(struct interp *in, const struct op *op);
bool interp_rearrange(struct interp *in, const struct op *op);                  // broadcast, reshape, transpose
bool interp_rearranged(struct interp *in, const struct op *op, struct walk *w); // its result, and what it reads as 0
bool interp_extract(struct interp *in, const struct op *op);
// An element of the result of a scalar operation, cast or bitcast.
union scalar interp_element(const struct op *op, const union scalar *x);
// Sums and products of floats are taken in double and rounded at the end.
union scalar interp_combine(enum opcode combine, enum dtype t, union scalar a, union scalar b);
union scalar interp_finished(enum dtype t, union scalar x);

// interp_graph.c: sizes of graphs, and when values are made and end.
bool interp_size(struct interp *in, const struct op *op, dim d, int64_t *size);     // what a size expression comes to
bool interp_resolve(struct interp *in, const struct op *op, const struct value *v); // makes interp_type known
bool interp_prepare(struct interp *in, const struct op *op);                        // what op reads and has results in
void interp_retire(struct interp *in, const struct op *op); // frees what op was the last to read
bool interp_sizes(struct interp *in, const struct op *op);
bool interp_assert(struct interp *in, const struct op *op);
bool interp_show(struct interp *in, const struct op *op); // its results to the watch

// interp_tensor.c: operations of graphs alone.
bool interp_conv(struct interp *in, const struct op *op);
bool interp_window_reduce(struct interp *in, const struct op *op);
bool interp_slice(struct interp *in, const struct op *op);
bool interp_dynamic_slice(struct interp *in, const struct op *op);
bool interp_slice_update(struct interp *in, const struct op *op);
bool interp_pad(struct interp *in, const struct op *op);
bool interp_concat(struct interp *in, const struct op *op);
bool interp_take(struct interp *in, const struct op *op);

// interp_memory.c: views and memory.
bool interp_param(struct interp *in, struct value *param, const struct interp_view *view, const int64_t *symbols);
bool interp_window(struct interp *in, const struct op *op);
bool interp_scratch(struct interp *in, const struct op *op);
bool interp_access(struct interp *in, const struct op *op); // load, store, gather, scatter, atomic
void interp_release(struct interp *in, struct content *c);

#endif
