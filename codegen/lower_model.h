// What lower_model.c (the functions that check, plan and run), lower_launch.c (its launches) and
// lower_model_interface.c (what others see of a model) share.
#ifndef TEGULA_CODEGEN_LOWER_MODEL_H
#define TEGULA_CODEGEN_LOWER_MODEL_H

#include <tegula/kernel.h>

#include "codegen/lower.h"
#include "codegen/lower_host.h"

struct port {
    const char *name;
    const char *role; // "input", "output"
    struct value *param;
    int index;
};

struct port model_port(const struct function *f, int i); // inputs, then outputs

// The free symbols of the function, and where each is learnt.
struct symbols {
    int n;
    int *id;          // of the module, by position
    int *position;    // by the module's id; -1: none
    int *first_input; // by position
};

// Makes the symbols known in the function being built.
void model_bind_symbols(struct lower *l, const struct symbols *s, LLVMValueRef *known);

LLVMValueRef model_add_function(struct lower *l, const char *suffix, LLVMTypeRef type, enum lower_reach reach);
// Begins the body behind the entry block, which is left to stack slots, and ends that.
LLVMBasicBlockRef model_begin_body(struct lower *l);
void model_end_entry(struct lower *l, LLVMBasicBlockRef body);
// Ends the function's block for faults: the environment is told, and the function returns 1.
void model_end_failed(struct lower *l);
LLVMValueRef model_read(struct lower *l, LLVMTypeRef type, LLVMValueRef base, size_t bytes);
void model_store(struct lower *l, LLVMValueRef x, LLVMValueRef base, size_t bytes);
// A member of the environment, in a new block that runs if there is an environment that has it; the builder is left
// there, and *without is where things go otherwise.
LLVMValueRef model_service(struct lower *l, LLVMValueRef env, size_t member, LLVMBasicBlockRef *without);
// All fields but the sizes: row-major elements of the type in the CPU's memory.
void model_fill_tensor(struct lower *l, LLVMValueRef tensor, const struct type *type, LLVMValueRef data);
uint32_t model_data_type(tg_data_type t); // its bits

#define ARGS(...) (sizeof((LLVMValueRef[]){__VA_ARGS__}) / sizeof(LLVMValueRef)), ((LLVMValueRef[]){__VA_ARGS__})

// Finds them; false after reporting.
bool model_learn_symbols(struct lower *l, struct symbols *s);

// ---- lower_model_interface.c ----

// NAME__entry, and the type of such functions: (env, pointers to inputs and outputs, sizes), or without env.
LLVMTypeRef model_entry_type(struct lower *l, const struct symbols *s, bool with_env);
void model_make_entry(struct lower *l, const struct symbols *s);
// NAME__model, which refers to the functions NAME__shapes, NAME__run and NAME_load.
LLVMValueRef model_make_description(struct lower *l, const struct symbols *s, int n_targets,
                                    const struct lowered_target *targets);
LLVMValueRef model_table(struct lower *l, LLVMTypeRef type, int n, LLVMValueRef *rows); // a constant array
// The constants as one of the module.
void model_define_weights(struct lower *l);

#endif
