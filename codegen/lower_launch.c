// Launches of kernels by a host function NAME. Each fills the slots of its arguments, which are stack memory that all
// launches share, and calls
//
//   internal int32_t NAME__launch(env, words of the run, kernel__range, kernel__grid, kernel__scratch, name, least,
//                                 position)
//
//     n = grid(slots); nothing more if n is 0;
//     env->parallel_for(env, n, range, slots, scratch(slots)), or range(slots, 0, n, memory) where one thread will do
//
// or, as the run chooses once if there is an env->on_launch, NAME__launch_told, which does the same between
// env->on_launch(env, position, 0, slots) and the same with 1.
//
// Scratch memory of launches on one thread is kept from one launch to the next and grows when one needs more.
#include <stddef.h>

#include <tegula/kernel.h>

#include "codegen/lower_model.h"

#define USUAL_LEAST_INSTANCES 2 // of launches that are shared by several threads

// ---- The functions ---------------------------------------------------------------------------------------------

enum {
    PARAM_ENV,
    PARAM_RUN,
    PARAM_RANGE,
    PARAM_GRID,
    PARAM_SCRATCH,
    PARAM_NAME, // of the kernel
    PARAM_LEAST,
    PARAM_POSITION,
    PARAM_COUNT
};

static LLVMTypeRef launch_type(struct lower *l)
{
    LLVMTypeRef params[PARAM_COUNT];
    for (int i = 0; i < PARAM_COUNT; i++)
        params[i] = i == PARAM_LEAST ? l->i64 : i == PARAM_POSITION ? l->i32 : l->ptr;
    return lower_function_type(l->i32, PARAM_COUNT, params);
}

static LLVMTypeRef count_type(struct lower *l) // of kernel__grid and kernel__scratch
{
    return lower_function_type(l->i64, 1, &l->ptr);
}

static LLVMTypeRef range_type(struct lower *l)
{
    LLVMTypeRef params[4] = {l->ptr, l->i64, l->i64, l->ptr};
    return lower_function_type(l->i32, 4, params);
}

// What a launch does on several threads, if it has enough instances and there is a loop for them; the builder is left
// where it goes on otherwise.
static void launch_parallel(struct lower *l, LLVMValueRef f, LLVMValueRef n, LLVMValueRef args, LLVMValueRef bytes,
                            LLVMBasicBlockRef done)
{
    struct host *h = l->host;
    LLVMBasicBlockRef many = lower_new_block(l, "many"), serial = lower_new_block(l, "serial"), without;
    LLVMBuildCondBr(l->b, LLVMBuildICmp(l->b, LLVMIntSGE, n, LLVMGetParam(f, PARAM_LEAST), ""), many, serial);
    LLVMPositionBuilderAtEnd(l->b, many);
    LLVMValueRef parallel_for = model_service(l, h->env, offsetof(tg_env, parallel_for), &without);
    LLVMTypeRef params[5] = {l->ptr, l->i64, l->ptr, l->ptr, l->i64};
    LLVMValueRef status = LLVMBuildCall2(l->b, lower_function_type(l->i32, 5, params), parallel_for,
                                         (LLVMValueRef[]){h->env, n, LLVMGetParam(f, PARAM_RANGE), args, bytes}, 5, "");
    host_require(l, LLVMBuildICmp(l->b, LLVMIntEQ, status, lower_i32(l, 0), ""),
                 "kernel @%s cannot have its %lld bytes of memory on each thread",
                 ARGS(LLVMGetParam(f, PARAM_NAME), bytes));
    LLVMBuildBr(l->b, done);
    LLVMPositionBuilderAtEnd(l->b, without);
    LLVMBuildBr(l->b, serial);
    LLVMPositionBuilderAtEnd(l->b, serial);
}

static void launch_serial(struct lower *l, LLVMValueRef f, LLVMValueRef n, LLVMValueRef args, LLVMValueRef bytes)
{
    struct host *h = l->host;
    LLVMValueRef memory = LLVMBuildCall2(l->b, h->reserve_type, h->reserve,
                                         (LLVMValueRef[]){h->env, LLVMGetParam(f, PARAM_RUN), bytes}, 3, "memory");
    host_require(l, LLVMBuildIsNotNull(l->b, memory, ""), "kernel @%s cannot have its %lld bytes of memory",
                 ARGS(LLVMGetParam(f, PARAM_NAME), bytes));
    LLVMBuildCall2(l->b, range_type(l), LLVMGetParam(f, PARAM_RANGE),
                   (LLVMValueRef[]){args, lower_i64(l, 0), n, memory}, 4, "");
}

static void make_launch(struct lower *l)
{
    struct host *h = l->host;
    LLVMValueRef f = h->launch = model_add_function(l, "__launch", launch_type(l), LOWER_UNIT);
    lower_begin_function(l, f);
    LLVMValueRef run = LLVMGetParam(f, PARAM_RUN), args = model_read(l, l->ptr, run, 8 * RUN_ARGS);
    h->env = LLVMGetParam(f, PARAM_ENV);
    h->message = model_read(l, l->ptr, run, 8 * RUN_MESSAGE);
    h->failed = lower_new_block(l, "failed");
    LLVMBasicBlockRef some = lower_new_block(l, "some"), done = lower_new_block(l, "done");
    LLVMValueRef n = LLVMBuildCall2(l->b, count_type(l), LLVMGetParam(f, PARAM_GRID), &args, 1, "n");
    LLVMBuildCondBr(l->b, LLVMBuildICmp(l->b, LLVMIntSGT, n, lower_i64(l, 0), ""), some, done);

    LLVMPositionBuilderAtEnd(l->b, some);
    LLVMValueRef bytes = LLVMBuildCall2(l->b, count_type(l), LLVMGetParam(f, PARAM_SCRATCH), &args, 1, "bytes");
    launch_parallel(l, f, n, args, bytes, done);
    launch_serial(l, f, n, args, bytes);
    LLVMBuildBr(l->b, done);

    LLVMPositionBuilderAtEnd(l->b, done);
    LLVMBuildRet(l->b, lower_i32(l, 0));
    LLVMPositionBuilderAtEnd(l->b, h->failed);
    LLVMBuildRet(l->b, lower_i32(l, 1));
}

static void tell(struct lower *l, LLVMValueRef f, LLVMValueRef on_launch, LLVMValueRef args, bool ended)
{
    LLVMTypeRef params[4] = {l->ptr, l->i32, l->i32, l->ptr};
    LLVMBuildCall2(
        l->b, lower_function_type(LLVMVoidTypeInContext(l->context), 4, params), on_launch,
        (LLVMValueRef[]){LLVMGetParam(f, PARAM_ENV), LLVMGetParam(f, PARAM_POSITION), lower_i32(l, ended), args}, 4,
        "");
}

static void make_launch_told(struct lower *l)
{
    struct host *h = l->host;
    LLVMValueRef f = h->launch_told = model_add_function(l, "__launch_told", launch_type(l), LOWER_UNIT);
    lower_begin_function(l, f);
    LLVMBasicBlockRef launched = lower_new_block(l, "launched"), failed = lower_new_block(l, "failed");
    LLVMValueRef on_launch = model_read(l, l->ptr, LLVMGetParam(f, PARAM_ENV), offsetof(tg_env, on_launch)),
                 args = model_read(l, l->ptr, LLVMGetParam(f, PARAM_RUN), 8 * RUN_ARGS), same[PARAM_COUNT];
    tell(l, f, on_launch, args, false);
    LLVMGetParams(f, same);
    LLVMValueRef status = LLVMBuildCall2(l->b, launch_type(l), h->launch, same, PARAM_COUNT, "status");
    LLVMBuildCondBr(l->b, LLVMBuildICmp(l->b, LLVMIntEQ, status, lower_i32(l, 0), ""), launched, failed);
    LLVMPositionBuilderAtEnd(l->b, launched);
    tell(l, f, on_launch, args, true);
    LLVMBuildRet(l->b, status);
    LLVMPositionBuilderAtEnd(l->b, failed);
    LLVMBuildRet(l->b, status);
}

void host_make_launch(struct lower *l)
{
    make_launch(l);
    make_launch_told(l);
}

void host_choose_launch(struct lower *l)
{
    struct host *h = l->host;
    LLVMValueRef chosen = lower_stack(l, l->ptr, 1, 8);
    LLVMBasicBlockRef without;
    LLVMBuildStore(l->b, h->launch, chosen);
    model_service(l, h->env, offsetof(tg_env, on_launch), &without);
    LLVMBuildStore(l->b, h->launch_told, chosen);
    LLVMBuildBr(l->b, without);
    LLVMPositionBuilderAtEnd(l->b, without);
    h->chosen_launch = LLVMBuildLoad2(l->b, l->ptr, chosen, "launch");
}

// ---- The operation ---------------------------------------------------------------------------------------------

// A scalar by its bits, as tg_arg holds it.
static LLVMValueRef slot_value(struct lower *l, struct value *v)
{
    enum dtype t = v->type->dtype;
    LLVMValueRef x = lower_scalar(l, v);
    if (t == DTYPE_F32 || t == DTYPE_F64)
        return x;
    if (lower_is_narrow(t) || t == DTYPE_I1)
        return LLVMBuildZExt(l->b, x, l->i64, "");
    return lower_cast(l, DTYPE_I64, t, x);
}

static void fill_slots(struct lower *l, struct op *op)
{
    for (int i = 0; i < op->n_operands; i++) {
        struct value *v = op->operands[i];
        LLVMValueRef x = v->type->kind == TYPE_VIEW ? lower_root(l, v)->pointer : slot_value(l, v);
        LLVMValueRef index = lower_i64(l, i);
        LLVMBuildStore(l->b, x, LLVMBuildInBoundsGEP2(l->b, l->i64, l->host->args, &index, 1, ""));
    }
}

static LLVMValueRef kernel_function(struct lower *l, const char *kernel, const char *suffix, LLVMTypeRef type)
{
    return lower_library_function(l, arena_printf(&l->arena, "%s%s", kernel, suffix), type);
}

// Lowering goes in the order of the text, as launches_of does.
void host_launch(struct lower *l, struct op *op)
{
    struct host *h = l->host;
    const char *name = op_attr(op, ATTR_KERNEL)->string;
    const struct function *k = module_function(l->kernel->module, name);
    if (lower_n_args(k) != op->n_operands) {
        lower_error(l, op, "kernel @%s takes %d arguments with its symbols, not %d", name, lower_n_args(k),
                    op->n_operands);
        return;
    }
    fill_slots(l, op);
    LLVMValueRef args[PARAM_COUNT] = {
        [PARAM_ENV] = h->env,
        [PARAM_RUN] = h->run,
        [PARAM_RANGE] = kernel_function(l, name, "__range", range_type(l)),
        [PARAM_GRID] = kernel_function(l, name, "__grid", count_type(l)),
        [PARAM_SCRATCH] = kernel_function(l, name, "__scratch", count_type(l)),
        [PARAM_NAME] = host_text(l, name),
        [PARAM_LEAST] = lower_i64(l, op_int(op, ATTR_LEAST, USUAL_LEAST_INSTANCES)),
        [PARAM_POSITION] = lower_i32(l, h->n_launches++),
    };
    LLVMValueRef status = LLVMBuildCall2(l->b, launch_type(l), h->chosen_launch, args, PARAM_COUNT, "status");
    LLVMBasicBlockRef launched = lower_new_block(l, "launched"); // else the message is there
    LLVMBuildCondBr(l->b, LLVMBuildICmp(l->b, LLVMIntEQ, status, lower_i32(l, 0), ""), launched, h->failed);
    LLVMPositionBuilderAtEnd(l->b, launched);
}
