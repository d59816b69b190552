// From graphs to kernels and host functions: what the files of this lowering share.
//
//   group.c         which operations become one kernel
//   lower_graph.c   walks a graph: memory for values, kernels in order, the host function
//   lower_loop.c    loops, and parts of tensors whose place is found out at run time
//   bind.c          which values are written where they end up
//   in_place.c      which results take over the memory of an operand
//   layout.c        in which order of dimensions images lie in memory
//   walk.c          by which parts of its dimensions a group walks them
//   emit.c          one kernel: its axes, parameters, grid, loads, stores, and its launch
//   emit_members.c  its element-wise operations, with what else joins them
//   emit_map.c      kernels of these alone;  emit_einsum.c  products;
//   emit_window.c   convolutions and pools;  emit_move.c  what only moves elements
//   emit_origin.c   which operations its launch does
#ifndef TEGULA_PASSES_LOWER_GRAPH_H
#define TEGULA_PASSES_LOWER_GRAPH_H

#include "ir/table.h"
#include "passes/pass.h"
#include "passes/schedule.h"
#include "passes/tensor_split.h"

// ---- Memory ----------------------------------------------------------------------------------------------------

struct storage {
    struct value *view; // in the host function; constants get one when a kernel first reads them
    struct data data;   // of a constant; bytes NULL: not constant
    const struct type *type;
    struct storage *whole; // of which it is a part, at an offset that is found out at run time; NULL: none
    struct stored *values; // of a whole: that lie in it or have done so; layout operations' only if they are copies
};

struct stored {
    const struct value *v;
    struct stored *next;
};

static inline struct storage *storage_root(const struct storage *s)
{
    while (s && s->whole)
        s = s->whole;
    return (struct storage *)s;
}

// Where a tensor lies.
struct place {
    struct storage *storage; // NULL: it has no memory (yet)
    struct tensor_view view;
};

// ---- Groups ----------------------------------------------------------------------------------------------------

enum group_kind {
    GROUP_MAP,    // element-wise
    GROUP_REDUCE, // with reductions or scans over the axes `reduced` of its space
    GROUP_EINSUM, // these start with their root, and element-wise operations follow
    GROUP_CONV,
    GROUP_WINDOW,
    GROUP_PAD, // these are one operation
    GROUP_CONCAT,
    GROUP_UPDATE,
    GROUP_SIZES,
    GROUP_HOST, // if, for, while, assert
};

#define GROUP_TENSORS 32   // that a group of several operations reads and writes: parameters of one kernel
#define GROUP_SIZES_READ 8 // that are not constant, of those tensors: the kernel's sizes and strides come from them

// What a group reads that it does not compute.
struct group_reads {
    int n, n_params, n_sizes;
    const struct value *v[GROUP_TENSORS];
    dim sizes[GROUP_SIZES_READ];
};

struct group {
    enum group_kind kind;
    int index, n_ops, room; // index: in the grouping's list
    struct op **ops;        // in order
    struct group_reads reads;
    int n_writes; // values with a use that is not, or not yet, in the group
    int rank;     // of the space that its element-wise operations walk
    dim space[MAX_RANK];
    bool reduced[MAX_RANK];
    struct tensor_space walk; // its space, and what an einsum sums over besides; see walk.c
    struct group *merged;     // into which it has gone
    int order;                // higher than that of every group that it reads
    struct group_reader *readers;
};

struct grouping {
    int n, room;
    struct group **list; // in an order in which they can run
    struct group **of;   // by the id of a value: the group that computes it; NULL: none
    bool *escapes;       // by the id of a value: whether something outside of its group reads it
    int *last_read;      // by the id of a value: the index of the last group that reads it or a view of it; -1: none;
                         // n: the end of the block does, or the host at a time that is not known
};

struct lowering;
// layout.c: chooses for the values that the block makes.
void layout_choose(struct lowering *l, const struct block *b);
// The order of dimensions that was chosen for a value, written to order[]; NULL: row-major.
const int *layout_order(const struct lowering *l, const struct value *v, int *order);
// Groups the operations of a block.
void group_operations(struct lowering *l, struct block *b, struct grouping *out);
// The value that a layout operation's result is a view of.
struct value *group_source(struct value *v);
// What stands for itself in a kernel: a constant with equal elements, or a size.
bool group_is_immediate(const struct value *v);

// ---- The lowering ----------------------------------------------------------------------------------------------

struct lowering {
    struct module *m;
    struct function *graph, *host;
    struct builder b; // in the host function
    const struct target_desc *target;
    const struct schedules *schedules;
    struct diags *diags;
    struct arena *arena;         // scratch
    struct place *places;        // by value id of the graph
    bool *wants_channels_last;   // by value id; see layout.c
    struct place *channels_last; // by value id: a copy with the channels innermost
    struct place *whole;         // by value id: a copy of what lies with split dimensions
    struct value **host_scalars; // by value id of the graph: scalars
    struct place *parts;         // by value id of a slice_update: where its part is written, if that is known at once
    struct grouping grouping;    // of the block being lowered
    bool unfused;                // each operation is a group
    int n_kernels;
    struct table texts; // by the hash of a kernel's text: the kernels that have it, to launch equal ones once
    bool failed;
};

__attribute__((format(printf, 3, 4))) void lower_graph_error(struct lowering *l, struct loc loc, const char *format,
                                                             ...);
// Where a tensor lies, in a copy if its dimensions are split there.
struct place *lower_graph_place(struct lowering *l, const struct value *v);
// Says where a value lies from here on.
struct place *lower_graph_set_place(struct lowering *l, const struct value *v, struct place p);
// Where it lies without that copy.
struct place lower_graph_walked(struct lowering *l, const struct value *v);
// New memory in the arena with the tensor's dimensions in an order (NULL: row-major).
struct place lower_graph_allocate(struct lowering *l, const struct type *t, const int *order);
// A constant of the given elements, which are not copied.
struct storage *lower_graph_constant(struct lowering *l, const struct type *t, struct data data);
void lower_graph_let_go(const struct storage *s); // a constant, of which another has been made
// The storage's view in the host function; a constant's is made when first asked for.
struct value *lower_graph_memory(struct lowering *l, struct storage *s);
// A scalar of the graph in the host function.
struct value *lower_graph_scalar(struct lowering *l, struct value *v);
// The place of a value that a group computes and others read, made when first asked for. order may be NULL.
struct place *lower_graph_result(struct lowering *l, struct value *v, const int *order);
// Dimensions in the order of images whose channels (dimension 1) are innermost.
void lower_graph_order_channels_last(int rank, int *order);
bool lower_graph_is_channels_last(const struct place *p);
// The value with the channels innermost in memory: where it lies, or a copy.
struct place *lower_graph_channels_last(struct lowering *l, const struct value *v);
// Whether a value is read outside of its group, handed over by the block, or bound to a place.
bool lower_graph_escapes(const struct lowering *l, const struct value *v);
// The block's operations. What it yields is written to the places, or, if it is the body of a loop that carries values
// there, handed on to the next iteration.
void lower_graph_block(struct lowering *l, struct block *b, const struct place *results, bool carries);
// What has been made so far. What a nested block makes, also of values outside of it, is not there after the block.
struct lower_graph_made {
    struct place *places, *channels_last, *whole;
    struct value **host_scalars;
};
struct lower_graph_made lower_graph_remember(struct lowering *l);
void lower_graph_go_back(struct lowering *l, const struct lower_graph_made *to);

// ---- Where values are written (bind.c, in_place.c) ---------------------------------------------------------------

// What computes v, and in *to the place of that, given v's, if v can be written there at once; else NULL.
struct value *bind_producer(struct lowering *l, const struct block *b, struct value *v, struct place *to);
// Lets v's producer write to a place. False: it must be copied there.
bool bind_value(struct lowering *l, const struct block *b, struct value *v, struct place to);
// Binds what operations of the block put together or start from.
void bind_operands(struct lowering *l, struct block *b);
bool bind_same_place(const struct place *a, const struct place *b);
// Copies a value to where it ends up, unless it is there.
void bind_put(struct lowering *l, const struct value *v, struct place to, struct loc loc);
// Copies the operands of a concat that are not where it wants them.
void bind_concat_rest(struct lowering *l, const struct op *concat);

// Gives a result of the group, if it has no place yet, that of an operand that is not needed any more (in_place.c).
void in_place_choose(struct lowering *l, const struct group *g, const struct value *result, const int *order);
// Whether the group may write its result to a place that holds another value: nothing reads that later, and the group
// itself reads it element by element where it writes.
bool in_place_allows(const struct lowering *l, const struct group *g, const struct value *result,
                     const struct place *p);
// Whether the group may overwrite a part of the place of its first operand.
bool in_place_updates(const struct lowering *l, const struct group *g);

// ---- Which parts of its dimensions a group walks (walk.c) -------------------------------------------------------

void walk_begin(struct lowering *l, struct group *g);
// The dimension of a product's walk that a label names; those that are summed over follow the result's.
int walk_label(const struct group *g, const struct einsum *s, int label);
void walk_sums(struct group *g, const struct einsum *s); // adds them
// Lets the group walk what an operation of it reads where that lies. False: the operand has to be whole.
bool walk_reads(struct lowering *l, struct group *g, const struct op *op, int operand);
// Lets the group write a result to a place with split dimensions. False: it cannot.
bool walk_writes(struct lowering *l, struct group *g, const struct value *result, const struct tensor_view *v);
// The dimension of the group's walk for each of a member's, the last ones.
void walk_dims(const struct group *g, int rank, int *dims);
// The group's positions along a dimension of its space are asked for, or counted in order.
bool walk_is_counted(const struct group *g, int d);

// ---- Loops (lower_loop.c) --------------------------------------------------------------------------------------

void lower_loop(struct lowering *l, struct op *op);
// Gives what a loop's body yields the places of the carried values, where that may be written in place.
void lower_loop_bind(struct lowering *l, struct block *body, const struct place *at);
// Copies what the body yields to the places of the carried values.
void lower_loop_hand_on(struct lowering *l, struct block *body, const struct place *at);
// A part of the size t of a place, from an index along the axis of op on.
struct place lower_loop_part(struct lowering *l, const struct op *op, const struct place *whole, const struct type *t,
                             struct value *index);
void lower_loop_update(struct lowering *l, struct group *g);
// Values that loops carry on and write to a part of another tensor become two, so that one kernel writes both.
void lower_loop_prepare(struct block *b, struct builder *build);
int lower_loop_uses(const struct block *b, const struct value *v); // how often operations of the block read it

// ---- Kernels (emit.c) ------------------------------------------------------------------------------------------

#define EMIT_AXES 16

// How a tensor is walked: the distance between neighbours along each axis; 0: the axis is not one of the tensor's.
struct access {
    struct storage *storage;
    dim offset;
    dim stride[EMIT_AXES];
    dim bound[EMIT_AXES]; // how many elements it has, where that is not the axis's size; 0: it is
};

// Axes of different classes are never merged.
enum axis_class { AXIS_PARALLEL, AXIS_REDUCED };

struct emit_axis {
    dim size;
    enum axis_class class;
    int dim;    // of the group's space; of merged axes the innermost
    bool alone; // never merged
    int64_t tile;
    int grid;            // dimension of the grid that counts its tiles; -1: one tile covers it
    struct value *start; // of the instance's tile
};

struct emit_param {
    struct storage *storage;
    dim offset;
    struct value *scalar; // of the graph; NULL: memory
    struct value *value;
};

struct emit {
    struct lowering *l;
    struct function *kernel;
    int n_ops; // of the graph that it computes; none: it copies a tensor of the type `copied`
    struct op *const *ops;
    const struct type *copied;
    struct builder b;
    int n_axes;
    struct emit_axis axes[EMIT_AXES];
    struct emit_param params[MAX_OPERANDS];
    dim sizes[MAX_OPERANDS]; // that the host hands over, in the order of their symbols d0, d1 ..
    int n_sizes;
    struct table tiles; // by value of the graph: its tile
};

void emit_begin(struct emit *e, struct lowering *l, const struct group *g);
// Names the kernel kI and `what`, which starts with a '_', by the first I from the number of kernels on that is free.
void emit_name(struct emit *e, const char *what);
// Begins the kernel's schedule record. Its problem is `what`, the size of each axis after its letter (0: left out), `?`
// where it is open, and the element type.
void emit_problem(struct emit *e, const char *what, const char *letters, enum dtype t);
// What the schedule says, or `otherwise`, which goes on the record.
int64_t emit_choose(struct emit *e, enum schedule_key key, int64_t otherwise);
int emit_axis(struct emit *e, dim size, enum axis_class class, int of);
// The parameter for a scalar of the graph, which the host computes.
struct value *emit_scalar(struct emit *e, struct value *v);
// Whether one tile covers the axis.
bool emit_covers(const struct emit *e, const struct emit_axis *x);
// A size, as the kernel knows it.
dim emit_dim(struct emit *e, dim d);
struct value *emit_size(struct emit *e, dim d);
// How a tensor is walked; dims[d] is the dimension of a space for each of the tensor's, axis_of[p] the axis of each
// part of that, -1: none (it has size 1). False: the space is not as fine.
bool emit_walk(struct emit *e, const struct tensor_space *s, const struct place *p, const int *dims, const int *axis_of,
               struct access *out);
// How a tensor without split dimensions is walked; axis_of[d] is the axis of dimension d of a space of n dimensions,
// -1: none (it has size 1); the tensor's dimensions are aligned at the last.
struct access emit_access(struct emit *e, const struct place *p, int n, const int *axis_of);
// How a `take` is read: the table's other axes, and the one that the indices count along.
struct lookup {
    struct access table, indices;
    dim size, stride;
};
// The accesses of the operands of a group's element-wise operations from ops[first] on, and of what is stored.
struct accesses {
    int n;
    struct access *list[2 * MAX_OPERANDS];
    struct table of;      // by value of the graph: its access
    struct table lookups; // by a take's result
};
// axis_of[p] is the axis of part p of the group's walk.
void emit_collect(struct emit *e, const struct group *g, int first, const int *axis_of, const int *order,
                  struct accesses *out);
// Makes one axis of any two that every access walks as one.
void emit_merge(struct emit *e, struct accesses *accesses);
// Begins the body: the grid, and each axis's start.
void emit_grid(struct emit *e);
// The parameter for a tensor, with the given axes as dimensions; -1: a dimension of size 1.
struct value *emit_view(struct emit *e, const struct access *a, int n, const int *axes);
// The same with sizes and strides of its own.
struct value *emit_param(struct emit *e, struct storage *s, dim offset, int n, const dim *sizes, const dim *strides);
// The same for all of a storage, row by row.
struct value *emit_whole(struct emit *e, struct storage *s, int n, const dim *sizes);
// The positions along the i-th of the axes, as a tile that is 1 long along the others.
struct value *emit_positions(struct emit *e, enum dtype t, int i, int n, const int *axes);
// A tile of all axes (size 1 along those that the access lacks), in their order.
struct value *emit_load(struct emit *e, const struct access *a, int n, const int *axes);
void emit_store(struct emit *e, struct value *x, const struct access *a, int n, const int *axes);
// The axes that the access has, outermost in memory first.
int emit_order(struct emit *e, const struct access *a, int n, const int *axes, int *order);
// The group's element-wise operations from ops[first] on, on tiles of the axes, and stores of what others read.
void emit_members(struct emit *e, const struct group *g, int first, int n, const int *axes,
                  const struct accesses *accesses);
// Axes that tiles divide count in the grid's dimensions from `first` on, the last axis fastest.
void emit_spread(struct emit *e, int n, const int *axes, int first);
// Tile sizes of element-wise work: about `budget` elements, most of them along the last axis.
void emit_divide(struct emit *e, int64_t budget, const struct accesses *accesses);
// Checks the kernel and launches it.
void emit_end(struct emit *e);
const struct origin *emit_origin(const struct emit *e); // in the module's arena

void emit_map(struct lowering *l, struct group *g);
void emit_einsum(struct lowering *l, struct group *g);
// The group's first operation as the product of its operands that the labels say; the first lies at left (NULL: where
// it is), the result in an order of dimensions.
void emit_product(struct lowering *l, struct group *g, const char *labels, const struct place *left,
                  const int *result_order);
void emit_conv(struct lowering *l, struct group *g);
void emit_window(struct lowering *l, struct group *g);
void emit_pad(struct lowering *l, struct group *g);
// The slice of a place, backwards too.
void emit_slice(struct lowering *l, const struct op *slice, const struct place *from, const struct place *to);
// Moves the elements of one place to another of the same sizes.
void emit_copy(struct lowering *l, const struct type *t, const struct place *from, const struct place *to,
               struct loc loc);

#endif
