// The intermediate representation: module > function > block > operation > value, in SSA form, allocated in the
// module's arena. Control flow is structured: an operation such as `for` owns its blocks. Every value is typed and
// every operation knows where it came from.
#ifndef TEGULA_IR_IR_H
#define TEGULA_IR_IR_H

#include <stdbool.h>
#include <stdint.h>

#include "ir/arena.h"
#include "ir/diag.h"
#include "ir/dtype.h"
#include "ir/schedule.h"

#define MAX_RANK 8
#define MAX_OPERANDS 64                       // of one operation
#define MOST_TILE_ELEMENTS ((int64_t)1 << 31) // arithmetic on sizes of tiles cannot overflow

// ---- Types -----------------------------------------------------------------------------------------------------

// A size or stride: a non-negative constant, a symbol of the module (see dim_symbol), or unknown.
typedef int64_t dim;
#define DIM_UNKNOWN INT64_MIN

static inline dim dim_symbol(int id)
{
    return -1 - (int64_t)id;
}
static inline bool dim_is_symbol(dim d)
{
    return d < 0 && d != DIM_UNKNOWN;
}
static inline int dim_symbol_id(dim d)
{
    return (int)(-1 - d);
}

// A tensor is a value of a graph: a whole array whose sizes may be symbols. A tile is a value of a kernel, of constant
// size. A view is memory.
enum type_kind { TYPE_SCALAR, TYPE_TILE, TYPE_VIEW, TYPE_TENSOR };

struct layout;

// Types are interned in their module: equal types are the same pointer.
struct type {
    enum type_kind kind;
    enum dtype dtype;
    int rank;
    dim dims[MAX_RANK]; // a tile's are constants >= 1
    // Views only: strides in elements. Row-major without gaps unless `strided`.
    bool strided;
    dim strides[MAX_RANK];
    // Tiles only, set by shaping for a CPU: elements of dimension vector_axis lie in vectors of `lanes` elements;
    // lanes 0: not shaped yet; lanes 1: one scalar register per element.
    int lanes, vector_axis;
    // Tiles only, set by shaping for a GPU (lanes is then 1): which elements each thread of the block holds, one
    // register per element. Interned like the type. See ir/layout.h.
    const struct layout *linear;
    struct type *next; // in the module's table
};

static inline int64_t type_elements(const struct type *t) // of a tile or a tensor of constant size; 1 for a scalar
{
    int64_t n = 1;
    if (t->kind == TYPE_TILE || t->kind == TYPE_TENSOR)
        for (int i = 0; i < t->rank; i++)
            n *= t->dims[i];
    return n;
}

// ---- Operations ------------------------------------------------------------------------------------------------

enum opcode {
#define SCALAR(e, name, n, types, flags, identity, f, i) OP_##e,
#include "ir/scalar.def"
#undef SCALAR
    SCALAR_COUNT,
    OP_FIRST_STRUCTURAL = SCALAR_COUNT - 1,
#define OP(e, name, operands, results, blocks, check, effect, format, functions) OP_##e,
#include "ir/ops.def"
#undef OP
    OP_COUNT,
    OP_NONE = -1
};

static inline bool opcode_is_scalar(enum opcode c)
{
    return c < SCALAR_COUNT;
}

enum scalar_types {
    SCALAR_TYPES_N,
    SCALAR_TYPES_F,
    SCALAR_TYPES_I,
    SCALAR_TYPES_B,
    SCALAR_TYPES_C,
    SCALAR_TYPES_D,
    SCALAR_TYPES_S
};
enum scalar_flags { SCALAR_COMMUTES = 1, SCALAR_ASSOCIATES = 2 };
enum scalar_identity { IDENTITY_NONE, IDENTITY_ZERO, IDENTITY_ONE, IDENTITY_LOWEST, IDENTITY_HIGHEST, IDENTITY_ONES };
enum op_effect { EFFECT_PURE, EFFECT_READ, EFFECT_WRITE, EFFECT_CONTROL };

// A bit for each enum function_kind.
enum op_functions {
    FUNCTIONS_K = 1,
    FUNCTIONS_G = 2,
    FUNCTIONS_H = 4,
    FUNCTIONS_KG = 3,
    FUNCTIONS_KH = 5,
    FUNCTIONS_GH = 6,
    FUNCTIONS_KGH = 7
};

struct op_info {
    const char *name;
    int n_operands, n_results, n_blocks;
    enum op_effect effect;
    const char *format;
    enum op_functions functions; // that it may stand in
    // Scalar operations only.
    enum scalar_types types;
    unsigned flags;
    enum scalar_identity identity;
};

extern const struct op_info op_info[OP_COUNT];

enum opcode opcode_from_name(const char *name, size_t length); // OP_NONE if there is none

enum attr_key {
#define ATTR(e, name, kind) ATTR_##e,
#include "ir/attr.def"
#undef ATTR
    ATTR_COUNT
};
enum attr_kind {
    ATTR_KIND_INT,
    ATTR_KIND_NUMBER,
    ATTR_KIND_INTS,
    ATTR_KIND_STRING,
    ATTR_KIND_OPCODE,
    ATTR_KIND_DTYPE,
    ATTR_KIND_AFFINE,
    ATTR_KIND_FLAG,
    ATTR_KIND_DIMS,
    ATTR_KIND_DATA
};
struct attr_info {
    const char *name;
    enum attr_kind kind;
};
extern const struct attr_info attr_info[ATTR_COUNT];

// A literal: integers are exact, floats are doubles. Of a number that only u64 holds, from 2^63 on, i has the bits.
struct number {
    bool is_float;
    double f;
    int64_t i;
};

struct ints {
    int n;
    const int64_t *v;
};

struct dims {
    int n;
    const dim *v; // expressions of ir/dims.h, which may be negative
};

// The elements of a constant in row-major order, little-endian, without padding between them; i1 is a byte of 0 or 1,
// other types below 8 bits start at the low end of a byte. Not aligned. The bytes are not copied: who makes the
// operation sees to it that they outlive the module.
struct data {
    const char *name; // for people; may be NULL
    const void *bytes;
    int64_t size; // in bytes
    bool mapped;  // from a file: memory_let_go is allowed
};

// root index r = offset[r] + sum over view indices d of coefficient[r][d] * index[d]; the offsets are operands.
struct affine_map {
    int n_in, n_out;
    int64_t coefficient[MAX_RANK][MAX_RANK]; // [out][in]
};

struct attr {
    enum attr_key key;
    union {
        int64_t i;
        struct number number;
        struct ints ints;
        const char *string;
        enum opcode opcode;
        enum dtype dtype;
        const struct affine_map *map;
        struct dims dims;
        struct data data;
    };
};

struct value {
    struct type *type;
    struct op *def;      // NULL: a block argument, parameter or symbol
    struct block *block; // of a block argument, else NULL
    const char *name;    // may be NULL
    int symbol;          // the module's symbol it stands for, else -1
    int id;              // dense within the function
};

struct op {
    enum opcode code;
    struct loc loc;
    int n_operands, n_results, n_blocks, n_attrs;
    struct value **operands;
    struct value **results;
    struct block **blocks;
    struct attr *attrs;
    struct op *previous, *next;
    struct block *block; // that holds it
};

struct block {
    struct op *parent; // NULL for a kernel's body and grid
    int n_args;
    struct value **args;
    struct op *first, *last;
};

// kernel  a tile program, run for every instance of its grid; parameters are views and scalars
// graph   pure computation on tensors; the body ends with a yield of the results
// host    launches kernels; parameters are views, the inputs and then the outputs; the grid block yields the bytes of
// the
//         arena that its `buffer` operations lie in
enum function_kind { FUNCTION_KERNEL, FUNCTION_GRAPH, FUNCTION_HOST };

struct function {
    struct module *module;
    enum function_kind kind;
    const char *name;
    struct loc loc;
    int n_params;
    struct value **params;
    struct value **symbols; // by the module's symbol id; NULL where the function does not use one
    int n_symbols;          // length of symbols
    // Graph and host functions: the names that users know inputs and outputs by; NULL where there are none.
    int n_inputs, n_outputs;
    const char **input_names, **output_names;
    struct schedule *schedule; // of a kernel; NULL: all open
    struct block *grid;        // yields 1 to 3 sizes; may read the symbols and scalar parameters; empty in a graph
    struct block *body;
    int n_values;
    struct function *next;
};

struct module {
    struct arena arena;
    struct function *first_function, *last_function;
    struct type *types[256];
    struct interned_layout *layouts;
    const char **symbols;
    int n_symbols;
    struct owned *owned;                          // memory to free with the module
    const struct symbol_expression **expressions; // by symbol: NULL for free ones; dims.h
    int n_expressions;                            // length of expressions
};

struct module *module_create(void);
void module_destroy(struct module *m); // NULL is fine
// Destroys the module when memory runs out before arena_let_go. NULL is fine.
void module_hold(struct arena_hold *h, struct module *m);
void module_own(struct module *m, void *p); // frees p, which came from malloc, when the module is destroyed
// Whether the module owned p, which is the caller's from here on.
bool module_disown(struct module *m, void *p);
// Memory for a constant, not cleared, aligned to 64 bytes; the module owns it.
void *module_bytes(struct module *m, size_t bytes);
// Frees the constants' memory that no operation's `data` begins at; or all of it, after which none may be read.
void module_free_unread(struct module *m);
void module_free_constants(struct module *m);

int module_symbol(struct module *m, const char *name, size_t length); // the id, made if new
struct function *module_function(struct module *m, const char *name); // NULL if there is none

struct type *type_scalar(struct module *m, enum dtype t);
struct type *type_tile(struct module *m, enum dtype t, int rank, const dim *dims);
// The same tile in a CPU register layout.
struct type *type_shaped(struct module *m, const struct type *tile, int lanes, int vector_axis);
// The same tile in a GPU register layout, which is copied; NULL if it is not a layout of this tile.
struct type *type_linear(struct module *m, const struct type *tile, const struct layout *l);
struct type *type_tensor(struct module *m, enum dtype t, int rank, const dim *dims);
struct type *type_view(struct module *m, enum dtype t, int rank, const dim *dims, const dim *strides /* or NULL */);
// The type with another element type.
struct type *type_with_dtype(struct module *m, const struct type *t, enum dtype d);

const struct attr *op_attr(const struct op *op, enum attr_key key); // NULL if absent
int64_t op_int(const struct op *op, enum attr_key key, int64_t otherwise);
struct ints op_ints(const struct op *op, enum attr_key key); // n = 0 if absent

// The operands of memory operations by meaning: for load, gather: 0 = view, rest = indices; for store, scatter,
// atomic: 0 = value, 1 = view, rest = indices.
static inline int op_view_operand(const struct op *op)
{
    return op_info[op->code].effect == EFFECT_WRITE ? 1 : 0;
}

bool block_contains(const struct block *b, const struct op *op); // op is in b or nested in it
struct op *block_terminator(const struct block *b);              // yield or condition, or NULL

// The kernel parameter or scratch operation a view leads back to through windows.
struct value *view_root(struct value *view);
// Whether an operation in the block, or in one inside it, writes to the memory of a root.
bool block_writes(const struct block *b, const struct value *root);

// ---- Building --------------------------------------------------------------------------------------------------

// Appends operations at a point. Operands are checked and result types inferred as operations are made; a mistake is
// reported in diags and `failed` is set, and building may go on (results then have some type). What goes wrong while
// `failed` is set is not reported: it follows from the first mistake.
struct builder {
    struct function *function;
    struct block *block;
    struct op *before; // insert before this one; NULL: at the block's end
    struct loc loc;
    struct diags *diags;
    bool failed;
};

struct function *function_create(struct module *m, const char *name, struct loc loc); // a kernel; set kind for others
struct value *function_add_param(struct function *k, const char *name, struct type *type);
struct value *function_symbol(struct function *k, int symbol);
struct block *block_create(struct function *k, struct op *parent);
struct value *block_add_arg(struct function *k, struct block *b, const char *name, struct type *type);

// Makes an operation with the attributes; result_types may be NULL where they can be inferred, and single entries may
// be. blocks are made empty, for the caller to fill; an operation with blocks is checked by build_finish.
struct op *build_op(struct builder *b, enum opcode code, int n_operands, struct value *const *operands, int n_attrs,
                    const struct attr *attrs, int n_results, struct type *const *result_types);
void build_finish(struct builder *b, struct op *op);
struct value *build_value(struct builder *b, enum opcode code, int n_operands, struct value *const *operands,
                          int n_attrs, const struct attr *attrs, struct type *result_type /* or NULL */);

struct value *build_unary(struct builder *b, enum opcode code, struct value *x);
struct value *build_binary(struct builder *b, enum opcode code, struct value *x, struct value *y);
struct value *build_select(struct builder *b, struct value *c, struct value *x, struct value *y);
struct value *build_int(struct builder *b, struct type *type, int64_t x);  // a constant; type may be a tile
struct value *build_float(struct builder *b, struct type *type, double x); // likewise
// What the combiner leaves everything as it is with; type may be a tile.
struct value *build_identity(struct builder *b, enum opcode combine, struct type *type);
struct value *build_index(struct builder *b, int64_t x);
struct value *build_cast(struct builder *b, enum dtype to, struct value *x);
struct value *build_load(struct builder *b, struct value *view, struct value *const *indices, struct type *tile,
                         const struct attr *pad /* or NULL */);
void build_store(struct builder *b, struct value *x, struct value *view, struct value *const *indices);
// A `for` with its block (arguments: induction variable, then the carried values); ends with build_yield and
// build_end.
struct op *build_for(struct builder *b, struct value *lo, struct value *hi, struct value *step, int n_carried,
                     struct value *const *initial);
struct op *build_if(struct builder *b, struct value *condition, int n_results, struct type *const *types);
void build_enter(struct builder *b, struct block *block);
void build_yield(struct builder *b, int n, struct value *const *values);
void build_end(struct builder *b, struct op *op); // back to after op, checks it

struct attr *attr_copy(struct arena *a, int n, const struct attr *attrs); // deep

void op_remove(struct op *op);

// ---- Checking, printing, parsing -------------------------------------------------------------------------------

// Checks one operation's operands and attributes and infers its result types into types[] (entries of op->results that
// have a type are stated types, which are compared). NULL, or what is wrong (in the module's arena).
const char *check_op(struct module *m, const struct op *op, struct type **types);

// The whole module: operations, dominance, terminators, memory rules. Reports every error.
bool verify_module(struct module *m, struct diags *diags);
void verify_function(struct function *k, struct diags *diags); // one of them

// Text. type_string's, dim_string's and number_string's results live in the arena.
void print_module(struct arena *a, const struct module *m, char **text);
struct print_options {
    bool elide_data; // leave out constants of more than 16 elements, for people; such text cannot be read back
};
void print_module_with(struct arena *a, const struct module *m, const struct print_options *options, char **text);
const char *type_string(struct arena *a, const struct module *m, const struct type *t);
const char *dim_string(struct arena *a, const struct module *m, dim d);
const char *number_string(struct arena *a, struct number n, enum dtype of);

// -D NAME=VALUE: the value of a kernel's compile-time parameter.
struct define {
    const char *name, *value;
};
// Reads a module of kernels from text. file is used in locations and kept. NULL after reporting errors,
// with those that the verifier finds in the kernels and graphs that could be read.
struct module *parse_module(const char *text, size_t length, const char *file, int n_defines,
                            const struct define *defines, struct diags *diags);

#endif
