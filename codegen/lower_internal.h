// What the files that lower shaped tile IR share.
//
// A value of the tile IR becomes LLVM values, its registers. Registers of pure operations are made when they are first
// asked for and remembered, so that what is made for one register of a tile is used before the next one begins.
#ifndef TEGULA_CODEGEN_LOWER_INTERNAL_H
#define TEGULA_CODEGEN_LOWER_INTERNAL_H

#include <llvm-c/Core.h>

#include "codegen/lower.h"
#include "ir/einsum.h"

// ---- Registers of a tile ---------------------------------------------------------------------------------------

// A tile's registers form a grid like the tile's elements, with the vector axis divided by the lanes, in row-major
// order.
struct registers {
    int rank, lanes, axis; // axis -1: none, lanes 1
    int64_t n[MAX_RANK];   // along each dimension
    int64_t total;
};

struct registers registers_of(const struct type *t); // a scalar has one register
// The first element of register r.
void registers_element(const struct registers *s, int64_t r, int64_t *element);
int64_t registers_index(const struct registers *s, const int64_t *element);
// How many lanes of register r hold elements.
int registers_valid(const struct type *t, int64_t r);

// ---- State -----------------------------------------------------------------------------------------------------

// An LLVM value is usable as long as the block it was made in is being emitted.
struct memo {
    LLVMValueRef value;
    int scope;
};

// What a view leads to.
struct root {
    LLVMValueRef pointer;
    LLVMValueRef size[MAX_RANK], stride[MAX_RANK]; // i64; NULL: unknown
    int align;                                     // of the pointer, bytes
};

struct lower {
    struct function *kernel;
    const struct target_desc *target;
    struct diags *diags;
    struct arena arena;
    struct arena_hold hold; // of the arena and the builder
    bool failed;
    bool launched; // a kernel that nothing but host functions calls

    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef b;
    LLVMTypeRef i1, i8, i16, i32, i64, f32, f64, ptr;

    struct host *host; // lower_host.h; NULL: a kernel
    const struct control *control;

    // Of the kernel, by value id.
    bool *written; // roots that are stored to
    int *uses;

    // Of the function being built.
    LLVMValueRef function;
    LLVMBasicBlockRef entry; // holds the stack slots
    struct memo **values;    // by value id, then register
    struct root **roots;     // by value id
    int *depth;              // by value id: of the operations it needs that have not been made
    struct access **loads;   // of contiguous loads, by the result's id; see lower_load
    int *load_scope;
    LLVMValueRef program_id[3], num_programs[3];
    LLVMValueRef dummy; // stack memory that stores out of bounds go to
    int dummy_bytes;
    LLVMValueRef once_words; // memory of `once` operations; see lower_once
    int n_once_words;        // given out
    bool streams;            // some store goes past the caches
    int scope, n_scopes;
    bool *open; // by scope
    int size_open;
    struct op **pending; // loads of written roots that have not been made
    int n_pending, size_pending;
};

__attribute__((format(printf, 3, 4))) void lower_error(struct lower *l, const struct op *op, const char *format, ...);

// Fills in what every back end needs. The caller has set `control`, and `host` of a host function.
void lower_init(struct lower *l, struct function *k, const struct target_desc *target, LLVMContextRef context,
                LLVMModuleRef out, struct diags *diags);
void lower_finish(struct lower *l);

// ---- Values (lower.c) ------------------------------------------------------------------------------------------

LLVMTypeRef lower_type(struct lower *l, enum dtype t); // of one element in a register
LLVMTypeRef lower_vector_type(struct lower *l, enum dtype t, int lanes);
LLVMTypeRef lower_memory_type(struct lower *l, enum dtype t, int lanes); // i1 is a byte

LLVMValueRef lower_register(struct lower *l, struct value *v, int64_t r);
void lower_set_register(struct lower *l, struct value *v, int64_t r, LLVMValueRef x);
static inline LLVMValueRef lower_scalar(struct lower *l, struct value *v)
{
    return lower_register(l, v, 0);
}
// One element; a scalar has the same element everywhere.
LLVMValueRef lower_element(struct lower *l, struct value *v, const int64_t *at);
// `lanes` elements from `at` on along the axis, whatever the layout; axis -1: the element in all lanes. Lanes past the
// tile's end are undefined.
LLVMValueRef lower_vector(struct lower *l, struct value *v, const int64_t *at, int axis, int lanes);
// The operand v, which broadcasts to the tile type `to`, as it meets register r of that type.
LLVMValueRef lower_broadcast(struct lower *l, struct value *v, const struct type *to, int64_t r);
// Makes all registers.
void lower_force(struct lower *l, struct value *v);

int lower_enter(struct lower *l); // a new scope; returns the old one
void lower_leave(struct lower *l, int old);
LLVMBasicBlockRef lower_new_block(struct lower *l, const char *name);

// Makes a function the one being built, with an empty entry block, and forgets the registers.
void lower_begin_function(struct lower *l, LLVMValueRef function);
void lower_block(struct lower *l, struct block *block); // without its terminator

// ---- Control flow (lower_control.c) ----------------------------------------------------------------------------

// How a back end keeps the values that control flow carries, and lowers what is inside.
struct control {
    int64_t (*registers)(const struct type *t);
    LLVMValueRef (*get)(struct lower *l, struct value *v, int64_t r);
    void (*set)(struct lower *l, struct value *v, int64_t r, LLVMValueRef x);
    void (*enter)(struct lower *l, struct op *op);   // what op starts with has been made; its blocks come next
    void (*block)(struct lower *l, struct block *b); // without its terminator
};

void lower_control(struct lower *l, struct op *op); // for, while, if

// ---- LLVM (lower_llvm.c) ---------------------------------------------------------------------------------------

LLVMValueRef lower_i64(struct lower *l, int64_t x);
LLVMValueRef lower_i32(struct lower *l, int64_t x);
LLVMValueRef lower_number(struct lower *l, enum dtype t, struct number n); // a constant element
LLVMValueRef lower_splat(struct lower *l, LLVMValueRef x, int lanes);
LLVMValueRef lower_splat_like(struct lower *l, LLVMValueRef x, LLVMValueRef like); // a scalar to the lanes of `like`
int lower_lanes(LLVMValueRef x);                                                   // 1: not a vector
// <0, 1, ..> * scale + base in integers of the given width.
LLVMValueRef lower_iota(struct lower *l, LLVMTypeRef element, int lanes, int64_t base, int64_t scale);
LLVMValueRef lower_shuffle(struct lower *l, LLVMValueRef x, LLVMValueRef y, int n, const int *lane);
LLVMValueRef lower_intrinsic(struct lower *l, const char *name, int n_types, LLVMTypeRef *types, int n_args,
                             LLVMValueRef *args);
LLVMValueRef lower_insert(struct lower *l, LLVMValueRef vector, LLVMValueRef x, int lane);
LLVMValueRef lower_pick(struct lower *l, LLVMValueRef vector, int lane); // x itself if it is a scalar
bool lower_is_constant(LLVMValueRef x, int64_t *value);                  // an integer, or a vector of equal integers
LLVMValueRef lower_add(struct lower *l, LLVMValueRef x, LLVMValueRef y); // i64, without signed overflow
LLVMValueRef lower_mul(struct lower *l, LLVMValueRef x, LLVMValueRef y); // likewise
// A function named after the kernel, and who can call it: its own LLVM module; all that it is linked with; everybody,
// be it from the outside of a shared object.
enum lower_reach { LOWER_UNIT, LOWER_PROGRAM, LOWER_EVERYBODY };
LLVMValueRef lower_add_function(struct lower *l, const char *suffix, LLVMTypeRef type, enum lower_reach reach);
// A function that is defined elsewhere, declared once.
LLVMValueRef lower_library_function(struct lower *l, const char *name, LLVMTypeRef type);
LLVMTypeRef lower_function_type(LLVMTypeRef result, int n, LLVMTypeRef *params);
LLVMValueRef lower_stack(struct lower *l, LLVMTypeRef type, int64_t n, int align); // in the entry block
LLVMValueRef lower_min(struct lower *l, LLVMValueRef x, LLVMValueRef y);           // signed
LLVMValueRef lower_max(struct lower *l, LLVMValueRef x, LLVMValueRef y);
LLVMValueRef lower_contract(LLVMValueRef x); // may be fused with its user; returns x
// Lanes below n, an i64 in [0, lanes], as <lanes x i1>; compared in integers of `bits` bits.
LLVMValueRef lower_lanes_below(struct lower *l, LLVMValueRef n, int lanes, int bits);
LLVMValueRef lower_first_lanes(struct lower *l, int n, int lanes); // the constant mask

// ---- Scalar operations (lower_scalar.c, lower_cast.c) ----------------------------------------------------------

// x are registers of dtype t (select: the condition first); NULL after reporting an operation without code.
LLVMValueRef lower_apply(struct lower *l, const struct op *op, enum opcode code, enum dtype t, LLVMValueRef *x);
LLVMValueRef lower_cast(struct lower *l, enum dtype to, enum dtype from, LLVMValueRef x);
LLVMValueRef lower_fma(struct lower *l, enum dtype t, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c);
// The neutral element of a combiner; a sum of floats starts with -0 unless `output`.
LLVMValueRef lower_identity(struct lower *l, enum opcode combine, enum dtype t, bool output);
// Floats narrower than f32 are kept as their bits.
static inline bool lower_is_narrow(enum dtype t)
{
    return dtype_is_float(t) && dtype_info[t].bits < 32;
}

// ---- Memory (lower_access.c, lower_memory.c) -------------------------------------------------------------------

// The elements of a tile in memory: root index r of element e is base[r] + sum over d of step[r][d] * e[d].
struct access {
    const struct op *op;
    struct root *root;
    enum dtype dtype;
    struct number pad;
    int root_rank, rank;
    LLVMValueRef base[MAX_RANK];
    bool nonnegative[MAX_RANK]; // base[r] is known to be
    bool check[MAX_RANK];       // index r may be out of bounds
    bool stream;                // stores go past the caches
    int64_t step[MAX_RANK][MAX_RANK];
    // Addresses by the offsets along root dimensions whose strides are not constant.
    struct access_row {
        int64_t offset[MAX_RANK];
        LLVMValueRef pointer;
    } rows[64];
    int n_rows;
};

// index: one i64 per view dimension, the first element's.
void access_init(struct lower *l, struct access *a, const struct op *op, struct value *view, LLVMValueRef *index,
                 bool *nonnegative, struct ints inbounds);
void access_init_op(struct lower *l, struct access *a, const struct op *op); // where a load, store or prefetch says
// Distance in elements between neighbours along a tile dimension; false: not constant.
bool access_stride(const struct access *a, int d, int64_t *stride);
// n elements from `at` on along the axis in a register of that many lanes; lanes 1: one element.
LLVMValueRef access_load(struct lower *l, struct access *a, const int64_t *at, int axis, int lanes, int n);
void access_store(struct lower *l, struct access *a, const int64_t *at, int axis, int lanes, int n, LLVMValueRef x);
// Brings the memory line of one element, which need not exist, close.
void access_prefetch(struct lower *l, struct access *a, const int64_t *at, bool write);
// The address of one element, or of memory that can be spoilt when it is out of bounds.
LLVMValueRef access_safe_pointer(struct lower *l, struct access *a, const int64_t *at);

bool lower_is_nonnegative(const struct value *v); // an index
struct root *lower_root(struct lower *l, struct value *root);
void lower_root_sizes(struct lower *l, struct root *root, const struct type *t); // and strides, from the view's type
void lower_roots(struct lower *l, LLVMValueRef scratch); // at a function's entry; scratch may be NULL
LLVMValueRef lower_scratch_bytes(struct lower *l);       // all of them

// ---- Operations ------------------------------------------------------------------------------------------------

// Makes register r of the operation's result, and others by lower_set_register if it likes.
typedef LLVMValueRef lower_op(struct lower *l, struct op *op, int64_t r);

lower_op lower_load, lower_gather;
lower_op lower_constant, lower_op_iota, lower_op_cast, lower_bitcast, lower_dim;
lower_op lower_dot, lower_reduce, lower_scan;
lower_op lower_op_broadcast, lower_reshape, lower_transpose, lower_extract;

void lower_store(struct lower *l, struct op *op);
void lower_prefetch(struct lower *l, struct op *op);
void lower_scatter(struct lower *l, struct op *op);
// The atomic instruction that combines so, if there is one.
bool lower_atomic_instruction(enum opcode combine, enum dtype t, LLVMAtomicRMWBinOp *out);
void lower_atomic(struct lower *l, struct op *op);

// ---- Entry points (lower_abi.c) --------------------------------------------------------------------------------

void lower_abi(struct lower *l);

// The slots of a kernel's arguments: its parameters, then the symbols it uses.
int lower_n_args(const struct function *k);
struct value *lower_arg(const struct function *k, int i);
// The symbols of the module that are sizes of a host function's inputs, each with the first input that has it, in the
// order of tg_model.symbols; there is room for all of the module's. Returns how many.
int lower_model_sizes(const struct function *host, int *ids, int *first_input);
// Whether some kernel of the module has functions or data of that name.
bool lower_is_kernels(const struct module *m, const char *name);
// Whether the name means something else in C: a keyword, or a type of stdint.h.
bool lower_is_c_word(struct arena *a, const char *name);

#endif
