// What lower_host.c (the operations of a host function), lower_launch.c (its launches) and lower_model.c (the functions
// that others call) share.
//
// Generated code that meets a fault writes a message into stack memory and goes to the function's block `failed`, which
// releases what the run holds, hands the message to the environment and returns 1.
#ifndef TEGULA_CODEGEN_LOWER_HOST_H
#define TEGULA_CODEGEN_LOWER_HOST_H

#include "codegen/lower_internal.h"

#define HOST_MESSAGE_BYTES 512
#define HOST_FIRST_SCRATCH 16384 // bytes of the stack; kernels that need more get memory that the run keeps

// Words of what a run works with besides the arena, in stack memory.
enum {
    RUN_SCRATCH, // memory for launches on one thread
    RUN_SCRATCH_BYTES,
    RUN_SCRATCH_OWNED, // what of it must be freed
    RUN_ARGS,          // slots of the launches' arguments
    RUN_MESSAGE,       // HOST_MESSAGE_BYTES for what is wrong
    RUN_WORDS
};

struct host {
    struct value **sizes; // by the module's symbol id: what a size in a type is computed as
    bool *accessed;       // by value id: views that the host function itself looks into
    int most_args;        // of a kernel that it launches
    bool has_arena;       // some buffer lies in it

    enum model_form form;
    const char *model; // its name
    int n_launches;    // that have been lowered
    struct weights *weights;
    bool embeds_weights;         // they become a constant of the module
    LLVMValueRef weights_symbol; // then replaced by that when all pieces are known

    LLVMTypeRef bind_type, alloc_type, free_type, reserve_type;
    LLVMValueRef bind, alloc, free, reserve, launch, launch_told;

    // Of the function being built.
    LLVMValueRef env, arena, args, run, message, chosen_launch;
    LLVMBasicBlockRef failed;
};

// ---- lower_host.c ----

// Learns what the body needs, and makes the values that sizes in types are computed as. Comes before the first
// lower_begin_function.
void host_prepare(struct lower *l);
// Begins a function that can fail.
void host_begin(struct lower *l, LLVMValueRef function, LLVMValueRef env);
// Goes on where the condition (i1) holds, and fails where it does not. The format is printf's.
void host_require(struct lower *l, LLVMValueRef condition, const char *format, int n_args, const LLVMValueRef *args);
LLVMValueRef host_text(struct lower *l, const char *text); // a constant C string
LLVMValueRef host_bytes(struct lower *l, const char *bytes, size_t size);
// The sum, difference or product; fails where it overflows.
LLVMValueRef host_checked(struct lower *l, enum opcode code, LLVMValueRef x, LLVMValueRef y);
// A size in a type; NULL if it is unknown.
LLVMValueRef host_size(struct lower *l, dim d);
// The address that many bytes further.
LLVMValueRef host_offset(struct lower *l, LLVMValueRef pointer, LLVMValueRef bytes);
// Does the operation if it is one of a host function.
bool host_op(struct lower *l, struct op *op);

// ---- lower_launch.c ----

void host_make_launch(struct lower *l);   // the functions that launches call, behind `reserve`
void host_choose_launch(struct lower *l); // which of them those of the function being built call
void host_launch(struct lower *l, struct op *op);

// ---- lower_model.c ----

void lower_model(struct lower *l);

#endif
