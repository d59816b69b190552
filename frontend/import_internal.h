// What the files of the importer share: values, nodes, and the operations that several operators need.
//
// An operator's import function reads its node (node_*), builds operations with `n->im->b`, and hands over outputs with
// node_output. When something is wrong it calls node_error and returns; the node's outputs then count as failed, and
// what depends on them is skipped without another message. Functions that return a value return NULL after node_error.
//
// A fault is told once. After node_error the builder is silent, so a function may go on to look for further faults of
// its node; once the builder has failed (im->b.failed), node_error is silent as well, since what has been built does
// not make sense.
#ifndef TEGULA_FRONTEND_IMPORT_INTERNAL_H
#define TEGULA_FRONTEND_IMPORT_INTERNAL_H

#include "frontend/import.h"
#include "ir/dims.h"

#define MOST_LISTED 64 // elements of a tensor that is kept as a list of sizes

struct node;

struct list {
    int n;
    const dim *v; // never NULL of a tensor that has a list
};

// A value of the model. Its operation is made when somebody needs it.
struct import_value {
    const char *name;
    struct loc loc;
    struct type *type;              // NULL: could not be made, which has been reported
    struct value *value;            // NULL: not made yet
    const struct tensor_data *data; // the elements of a constant, else NULL
    struct list list;               // the elements as size expressions, of integers and i1 of rank 0 and 1
    struct value *counter;          // of a loop from 0 on, as an index, or NULL
    dim end;                        // of the counter
    struct node *absent_of;         // of an input that a function is not given: its call
};

// The names of a graph, of a branch, or of the body of a function that is called.
struct scope {
    struct scope *outer; // whose names are seen; NULL for functions and the main graph
    const struct model_graph *graph;
    struct map values;       // import_value by name
    const struct node *call; // of a function: gives its attributes; NULL in the main graph
};

// Two sizes that an assert made equal, or made broadcast against each other.
struct agreed_sizes {
    dim from, to;
    bool or_one; // or one of them is 1
};

// A size that the model leaves open.
struct symbol_name {
    const char *model_name; // NULL: the model has none
    const char *name;
    int id;
    struct symbol_name *next;
};

struct import {
    struct model *model;
    const struct import_options *options;
    struct diags *diags;
    struct arena arena; // of the import
    struct module *module;
    struct function *function;
    struct builder b;
    struct op *last_constant; // constants stand together at the start of the graph
    struct scope *scope;
    struct agreed_sizes *agreed;
    int n_agreed, n_agreed_room;
    struct symbol_name *symbols;
    bool *dims_used; // of the options
    bool failed;
};

typedef void import_function(struct node *n);

struct operator_row {
    const char *name;
    int since; // the first version of ai.onnx that it holds for, up to the next row of the name
    int least_inputs, most_inputs, most_outputs; // -1: any number
    import_function *function;
    int parameter;
    const char *attributes;
};

struct node {
    struct import *im;
    const TgOnnx__NodeProto *proto;
    struct scope *scope;            // that its names are looked up in
    const struct operator_row *row; // NULL: a call
    int64_t version;                // of the operator set
    struct loc loc;
    int n_inputs, n_outputs;
    struct import_value **inputs;  // NULL: not given
    struct import_value **outputs; // NULL: not wanted, or not made yet
    bool failed;
};

// ---- Nodes (import_node.c) ----

void node_error(struct node *n, const char *format, ...) __attribute__((format(printf, 2, 3)));

bool node_has(const struct node *n, const char *attribute);
int64_t node_int(const struct node *n, const char *attribute, int64_t otherwise);
double node_float(const struct node *n, const char *attribute, double otherwise);
struct ints node_ints(const struct node *n, const char *attribute); // n = 0 if absent
const char *node_string(const struct node *n, const char *attribute, const char *otherwise);
const TgOnnx__AttributeProto *node_attribute(const struct node *n, const char *name); // references resolved
// Attributes against the row's list, "axis:i to:i!": i int, f float, s string, t tensor, g graph, I F S lists of those;
// `!` demands it. Reports what is unknown, missing or of another type.
void node_check_attributes(struct node *n);

bool node_has_input(const struct node *n, int i);
bool node_wants(const struct node *n, int i); // output i is used
const struct type *node_type(const struct node *n, int i);
struct value *node_input(struct node *n, int i);
// The elements of input i, which must be computed from sizes and constants.
bool node_list(struct node *n, int i, const char *what, struct list *list);
bool node_constants(struct node *n, int i, const char *what, struct ints *ints);
// The elements of a constant of any size, without a message if it is none.
bool node_number(const struct node *n, int i, int64_t element, double *x);
// An axis within -rank to rank - 1, made non-negative.
bool node_axis(struct node *n, int64_t axis, int rank, int *out);
// Which axes a list names.
bool node_axes(struct node *n, struct ints axes, int rank, bool *chosen);

void node_output(struct node *n, int i, struct value *v);
void node_output_value(struct node *n, int i, const struct import_value *v);
void node_output_list(struct node *n, int i, enum dtype t, int rank, struct list list);

// ---- Values (import_value.c) ----

struct import_value *import_data(struct import *im, const struct tensor_data *t, const char *name, struct loc loc);
// The elements of a constant list of integers as sizes; none of u64, or of a higher rank.
struct list import_list_of_data(struct import *im, const struct tensor_data *t);
struct value *import_need(struct import *im, struct import_value *v);
double import_element(const struct tensor_data *t, int64_t i); // as a number
const char *import_dims_text(struct import *im, int rank, const dim *dims);

// ---- Sizes (import_size.c) ----

// The size that both are: equal, or made so by an assert. DIM_UNKNOWN after node_error: they differ.
dim import_agree(struct node *n, dim a, dim b);
// Whether two sizes are made of the same ones and yet not equal, but by chance: N and 2 * N.
bool import_sizes_differ(struct import *im, dim a, dim b);
// The same elements with sizes that were agreed on.
struct value *import_coerce(struct import *im, struct value *v, const dim *dims);
// The value with a size at an axis that it was agreed to have; NULL after node_error.
struct value *import_match(struct node *n, struct value *v, int axis, dim size);
// The size of what the two broadcast to, which an assert makes sure of where it is open.
dim import_broadcast_size(struct node *n, dim a, dim b);
// The value with such sizes; what is known to be 1 stays so.
struct value *import_stretch(struct import *im, struct value *v, const dim *dims);
// The value, which is to broadcast to the type without making it larger; NULL after node_error.
struct value *import_stretch_onto(struct node *n, struct value *v, const struct type *t);
// Makes operands broadcast against each other; fills the shape of the result.
bool import_broadcast(struct node *n, int count, struct value **v, struct type *shape);
// Asserts what is not known: the size is not negative; a is a multiple of b.
void import_assert_size(struct node *n, dim size);
bool import_assert_index(struct node *n, dim index, dim size); // within the size
bool import_assert_divides(struct node *n, dim a, dim b);
// The value whose size at an axis is written as a product, `by` times *quotient, which an assert makes sure of where it
// is open; NULL after node_error.
struct value *import_divide(struct node *n, struct value *v, int axis, int64_t by, dim *quotient);
void import_assert(struct node *n, enum opcode compare, dim a, dim b, const char *message);
// A tensor of rank 0 that holds the size.
struct value *import_size(struct import *im, dim size, enum dtype t);

// ---- Convolutions (import_conv.c) ----

// A list attribute with an entry per dimension, all positive; 1 where it is absent.
void node_steps(struct node *n, const char *name, int count, int64_t *out);
// False after node_error: there are none.
bool import_check_weights(struct node *n, const struct type *w);
// Input 2, a number for each filter; NULL after node_error.
struct value *import_bias(struct node *n, enum dtype t, dim filters);

// ---- Building ----

struct value *import_unary(struct node *n, enum opcode code, struct value *x);
// These broadcast. Where that fails the builder has failed, and the result is one of the operands, so that expressions
// of several operations need not ask in between.
struct value *import_binary(struct node *n, enum opcode code, struct value *x, struct value *y);
struct value *import_select(struct node *n, struct value *c, struct value *x, struct value *y);
struct value *import_number(struct node *n, enum dtype t, double x);                         // a scalar
struct value *import_reshape(struct import *im, struct value *v, int rank, const dim *dims); // of the same count
struct value *import_cast(struct import *im, struct value *v, enum dtype t);
struct value *import_transpose(struct import *im, struct value *v, const int64_t *axes);
struct value *import_slice(struct import *im, struct value *v, const dim *starts, const int64_t *steps,
                           const dim *sizes);
struct value *import_slice_axis(struct import *im, struct value *v, int axis, dim start, int64_t step, dim size);
struct value *import_dynamic_slice(struct import *im, struct value *v, struct value *index, int axis, dim size);
struct value *import_slice_update(struct import *im, struct value *v, struct value *part, struct value *index,
                                  int axis);
struct value *import_einsum(struct import *im, const char *labels, struct value *a, struct value *b);
struct value *import_concat(struct import *im, int axis, int count, struct value *const *v);
struct value *import_broadcast_to(struct import *im, struct value *v, int rank, const dim *dims);
struct value *import_reduce(struct import *im, enum opcode combine, struct value *v, const bool *axes);
// The type that an operator computes in when it goes on with a sum, which a narrow float may not hold: f32 for such.
enum dtype import_wide(enum dtype t);
struct value *import_iota(struct import *im, enum dtype t, int rank, const dim *dims, int axis);
struct value *import_constant(struct import *im, struct type *t, double x);
// Element-wise arithmetic on lists of sizes; false if the result is no size expression.
bool import_list_arithmetic(struct import *im, enum opcode code, enum dtype t, int count, const struct list *in,
                            struct list *out);

// A composite: its block is entered, and its arguments are in args.
struct op *import_composite(struct import *im, const char *name, int count, struct value *const *operands,
                            int n_results);
void import_composite_end(struct import *im, struct op *op, struct value *const *results);

// ---- Graphs (import.c) ----

// The row of a node's operator; NULL: it is not supported.
const struct operator_row *import_row(const TgOnnx__NodeProto *node, int64_t version);

struct import_value *import_lookup(struct import *im, struct scope *s, const char *name);
void import_define(struct import *im, struct scope *s, const char *name, struct import_value *v);
void import_nodes(struct import *im, struct scope *s);
// A new scope for a graph that is an attribute of the node; NULL after node_error.
struct scope *import_subgraph(struct node *n, const char *attribute);
// The one element of a value as a scalar of that type; NULL after node_error.
struct value *import_scalar(struct node *n, struct import_value *v, enum dtype want, const char *what);
struct scope *import_scope(struct import *im, struct scope *outer, const struct model_graph *g);

// The operators' functions, and the parameters that are not opcodes.
enum activation {
    ACTIVATION_AFFINE,
    ACTIVATION_CELU,
    ACTIVATION_ELU,
    ACTIVATION_HARD_SIGMOID,
    ACTIVATION_HARD_SWISH,
    ACTIVATION_LEAKY_RELU,
    ACTIVATION_MISH,
    ACTIVATION_SCALED_TANH,
    ACTIVATION_SELU,
    ACTIVATION_SHRINK,
    ACTIVATION_SOFTSIGN,
    ACTIVATION_SWISH,
    ACTIVATION_THRESHOLDED_RELU
};
// With what the operator calls alpha and beta, where it has such numbers (SELU: gamma; Shrink: lambd and bias).
struct value *import_activation(struct node *n, enum activation a, struct value *x, double alpha, double beta);
enum reduction {
    REDUCE_L1,
    REDUCE_L2,
    REDUCE_LOG_SUM,
    REDUCE_LOG_SUM_EXP,
    REDUCE_MAX,
    REDUCE_MEAN,
    REDUCE_MIN,
    REDUCE_PROD,
    REDUCE_SUM,
    REDUCE_SUM_SQUARE
};
#define OPERATOR(name, since, least, most, outputs, function, parameter, attributes)                                   \
    import_function import_op_##function;
#include "frontend/operators.def"
#undef OPERATOR

#endif
