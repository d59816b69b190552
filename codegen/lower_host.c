// The operations of host functions: memory, launches, assertions, and arithmetic that is checked.
//
//   %b = buffer %offset : view<Nx64xf32>     an address in the arena
//   launch "kernel" %x, %b, N                slots of arguments on the stack, shared by all launches;
//                                            n = kernel__grid(slots); nothing more if n is 0;
//                                            env->parallel_for(env, n, kernel__range, slots, kernel__scratch(slots)),
//                                            or kernel__range(slots, 0, n, scratch) where one thread will do
//
// Scratch memory of launches on one thread is kept from one launch to the next and grows when one needs more. Sizes
// come from whoever calls the model, so index arithmetic that overflows ends the run with a message.
#include "codegen/lower_host.h"

#include <stddef.h>
#include <string.h>

#include <tegula/kernel.h>

#include "ir/dims.h"
#include "ir/scalar.h"
#include "runtime/loader.h"
#include "runtime/memory.h"

#define WEIGHT_ALIGNMENT 64
#define MOST_SHOWN 8            // sizes in the message of an assertion
#define MOST_DEPTH 12           // of the arithmetic that is looked through for them
#define USUAL_LEAST_INSTANCES 2 // of launches that are shared by several threads

// ---- Preparation -----------------------------------------------------------------------------------------------

struct preparation {
    struct lower *l;
    struct builder b;
    bool *wanted; // by symbol
};

static void want(struct preparation *p, const struct type *t)
{
    if (t->kind != TYPE_VIEW)
        return;
    for (int d = 0; d < t->rank; d++) {
        if (dim_is_symbol(t->dims[d]))
            p->wanted[dim_symbol_id(t->dims[d])] = true;
        if (t->strided && dim_is_symbol(t->strides[d]))
            p->wanted[dim_symbol_id(t->strides[d])] = true;
    }
}

static bool looks_into(const struct op *op, int operand)
{
    if (op->code == OP_DIM)
        return operand == 0;
    enum op_effect effect = op_info[op->code].effect;
    return (effect == EFFECT_READ || effect == EFFECT_WRITE) && operand == op_view_operand(op);
}

static void prepare_block(struct preparation *p, const struct block *b)
{
    struct lower *l = p->l;
    for (const struct op *op = b->first; op; op = op->next) {
        for (int i = 0; i < op->n_operands; i++)
            if (looks_into(op, i)) {
                struct value *root = view_root(op->operands[i]);
                l->host->accessed[root->id] = true;
                want(p, root->type);
            }
        if (op->code == OP_LAUNCH && op->n_operands > l->host->most_args)
            l->host->most_args = op->n_operands;
        if (op->code == OP_BUFFER)
            l->host->has_arena = true;
        for (int i = 0; i < op->n_results; i++)
            if (op->n_blocks && op->results[i]->type->kind == TYPE_VIEW)
                lower_error(l, op, "a view cannot be chosen; store to a buffer in both blocks");
        for (int i = 0; i < op->n_blocks; i++)
            prepare_block(p, op->blocks[i]);
    }
}

void host_prepare(struct lower *l)
{
    struct function *f = l->kernel;
    struct module *m = f->module;
    struct preparation p = {.l = l, .b = {.function = f, .loc = f->loc, .diags = l->diags}};
    p.wanted = ARENA_ARRAY(&l->arena, bool, m->n_symbols);
    l->host->accessed = ARENA_ARRAY(&l->arena, bool, f->n_values);
    for (int i = 0; i < f->n_params; i++)
        want(&p, f->params[i]->type);
    for (int i = 0; i < f->n_symbols; i++)
        p.wanted[i] |= f->symbols[i] != NULL;
    prepare_block(&p, f->body);
    // In a block of its own, which is never emitted: only what is asked for is made, where it is asked for.
    build_enter(&p.b, block_create(f, NULL));
    int n = m->n_symbols;
    l->host->sizes = ARENA_ARRAY(&l->arena, struct value *, n);
    for (int i = 0; i < n; i++)
        if (p.wanted[i])
            l->host->sizes[i] = dims_build(&p.b, dim_symbol(i));
    l->failed |= p.b.failed;
}

// ---- Faults ----------------------------------------------------------------------------------------------------

LLVMValueRef host_text(struct lower *l, const char *text)
{
    LLVMValueRef constant = LLVMConstStringInContext2(l->context, text, strlen(text), false);
    LLVMValueRef string = LLVMAddGlobal(l->module, LLVMTypeOf(constant), "text");
    LLVMSetInitializer(string, constant);
    LLVMSetLinkage(string, LLVMPrivateLinkage);
    LLVMSetGlobalConstant(string, true);
    LLVMSetUnnamedAddress(string, LLVMGlobalUnnamedAddr);
    return string;
}

void host_begin(struct lower *l, LLVMValueRef function, LLVMValueRef env)
{
    lower_begin_function(l, function);
    l->host->env = env;
    l->host->message = lower_stack(l, l->i8, HOST_MESSAGE_BYTES, 1);
    l->host->failed = lower_new_block(l, "failed");
}

void host_require(struct lower *l, LLVMValueRef condition, const char *format, int n_args, const LLVMValueRef *args)
{
    if (LLVMIsAConstantInt(condition) && LLVMConstIntGetZExtValue(condition))
        return;
    LLVMBasicBlockRef fault = lower_new_block(l, "fault"), next = lower_new_block(l, "next");
    LLVMBuildCondBr(l->b, condition, next, fault);
    LLVMPositionBuilderAtEnd(l->b, fault);
    LLVMTypeRef fixed[3] = {l->ptr, l->i64, l->ptr};
    LLVMTypeRef type = LLVMFunctionType(l->i32, fixed, 3, true);
    LLVMValueRef print = LLVMGetNamedFunction(l->module, "snprintf"),
                 *x = ARENA_ARRAY(&l->arena, LLVMValueRef, n_args + 3);
    if (!print)
        print = LLVMAddFunction(l->module, "snprintf", type);
    x[0] = l->host->message;
    x[1] = lower_i64(l, HOST_MESSAGE_BYTES);
    x[2] = host_text(l, format);
    for (int i = 0; i < n_args; i++)
        x[3 + i] = args[i];
    LLVMBuildCall2(l->b, type, print, x, (unsigned)n_args + 3, "");
    LLVMBuildBr(l->b, l->host->failed);
    LLVMPositionBuilderAtEnd(l->b, next);
}

LLVMValueRef host_checked(struct lower *l, enum opcode code, LLVMValueRef x, LLVMValueRef y)
{
    const char *name = code == OP_ADD   ? "llvm.sadd.with.overflow"
                       : code == OP_SUB ? "llvm.ssub.with.overflow"
                                        : "llvm.smul.with.overflow";
    int64_t a, b, result;
    if (lower_is_constant(x, &a) && lower_is_constant(y, &b) &&
        !(code == OP_ADD   ? __builtin_add_overflow(a, b, &result)
          : code == OP_SUB ? __builtin_sub_overflow(a, b, &result)
                           : __builtin_mul_overflow(a, b, &result)))
        return lower_i64(l, result);
    LLVMValueRef pair = lower_intrinsic(l, name, 1, &l->i64, 2, (LLVMValueRef[]){x, y});
    LLVMValueRef fine = LLVMBuildNot(l->b, LLVMBuildExtractValue(l->b, pair, 1, ""), "");
    host_require(l, fine, "the inputs' sizes are too large", 0, NULL);
    return LLVMBuildExtractValue(l->b, pair, 0, "");
}

LLVMValueRef host_size(struct lower *l, dim d)
{
    if (d == DIM_UNKNOWN)
        return NULL;
    return dim_is_symbol(d) ? lower_scalar(l, l->host->sizes[dim_symbol_id(d)]) : lower_i64(l, d);
}

LLVMValueRef host_offset(struct lower *l, LLVMValueRef pointer, LLVMValueRef bytes)
{
    return LLVMBuildGEP2(l->b, l->i8, pointer, &bytes, 1, "");
}

// ---- Memory ----------------------------------------------------------------------------------------------------

static void set_root(struct lower *l, struct value *view, LLVMValueRef pointer)
{
    struct root *root = ARENA_NEW(&l->arena, struct root);
    root->pointer = pointer;
    if (l->host->accessed[view->id])
        lower_root_sizes(l, root, view->type);
    root->align = (int)dtype_bytes(view->type->dtype);
    l->roots[view->id] = root;
}

// Other modules, for other targets, have copies of the same bytes. In a process there are none, and loading is to be
// fast.
static bool is_piece(const struct host *h, const struct weight *piece, struct data data)
{
    if (piece->size != data.size)
        return false;
    if (piece->bytes == data.bytes || h->form == MODEL_IN_PROCESS || !data.size)
        return piece->bytes == data.bytes;
    bool equal = !memcmp(piece->bytes, data.bytes, (size_t)data.size);
    if (piece->mapped)
        memory_let_go(piece->bytes, (size_t)piece->size);
    return equal;
}

static uint64_t key_of_piece(const struct host *h, struct data data)
{
    return h->form == MODEL_IN_PROCESS || !data.size ? table_key(data.bytes)
                                                     : table_hash(0, data.bytes, (size_t)data.size);
}

// Which piece of the weights the bytes of a constant are; the same bytes are one.
static int place_weight(struct lower *l, struct data data)
{
    struct weights *w = l->host->weights;
    struct arena *a = w->placed.arena;
    uint64_t key = key_of_piece(l->host, data);
    int *placed = table_get(&w->placed, key);
    if (placed && is_piece(l->host, &w->pieces[*placed], data))
        return *placed;
    if (w->n == w->size) {
        w->size = 2 * w->size + 16;
        struct weight *grown = ARENA_ARRAY(a, struct weight, w->size);
        if (w->n)
            memcpy(grown, w->pieces, sizeof *grown * (size_t)w->n);
        w->pieces = grown;
    }
    int64_t offset = w->bytes, end;
    if (__builtin_add_overflow(offset, data.size, &end) ||
        __builtin_add_overflow(end, WEIGHT_ALIGNMENT - 1 + (data.size == 0), &end)) {
        lower_error(l, NULL, "its constants are too large");
        return 0;
    }
    placed = ARENA_NEW(a, int);
    *placed = w->n;
    table_set(&w->placed, key, placed);
    w->pieces[w->n++] = (struct weight){data.bytes, data.size, offset, data.mapped};
    w->bytes = end / WEIGHT_ALIGNMENT * WEIGHT_ALIGNMENT;
    return *placed;
}

// Memory that whoever loads or links the code provides.
static LLVMValueRef outside_symbol(struct lower *l, const char *name)
{
    LLVMValueRef symbol = LLVMGetNamedGlobal(l->module, name);
    return symbol ? symbol : LLVMAddGlobal(l->module, l->i8, name);
}

// Where the constants are, in a file; whoever calls the code has seen to it that a file of theirs is mapped.
static LLVMValueRef weights_base(struct lower *l)
{
    struct host *h = l->host;
    if (h->form == MODEL_IN_FILE)
        return h->weights_symbol = outside_symbol(l, arena_printf(&l->arena, "%s__weights", h->model));
    LLVMValueRef loader = outside_symbol(l, arena_printf(&l->arena, "%s__loader", h->model));
    LLVMSetVisibility(loader, LLVMHiddenVisibility);
    LLVMValueRef at = host_offset(l, loader, lower_i64(l, (int64_t)offsetof(struct loader, weights)));
    return LLVMBuildLoad2(l->b, l->ptr, at, "weights");
}

static void lower_data(struct lower *l, struct op *op)
{
    struct host *h = l->host;
    int piece = place_weight(l, op_attr(op, ATTR_DATA)->data);
    if (h->form == MODEL_IN_PROCESS) {
        set_root(l, op->results[0], outside_symbol(l, arena_printf(&l->arena, "%s__weights_%d", h->model, piece)));
        return;
    }
    LLVMValueRef offset = lower_i64(l, h->weights->pieces[piece].offset);
    set_root(l, op->results[0], host_offset(l, weights_base(l), offset));
}

static void lower_buffer(struct lower *l, struct op *op)
{
    if (!op->n_operands) {
        lower_error(l, op, "has no place in memory; run the pass plan-memory");
        return;
    }
    set_root(l, op->results[0], host_offset(l, l->host->arena, lower_scalar(l, op->operands[0])));
}

static void lower_subview(struct lower *l, struct op *op)
{
    LLVMValueRef bytes = host_checked(l, OP_MUL, lower_scalar(l, op->operands[1]),
                                      lower_i64(l, dtype_bytes(op->results[0]->type->dtype)));
    set_root(l, op->results[0], host_offset(l, lower_root(l, op->operands[0])->pointer, bytes));
}

// ---- Launches --------------------------------------------------------------------------------------------------

static LLVMValueRef kernel_function(struct lower *l, const char *kernel, const char *suffix, LLVMTypeRef type)
{
    const char *name = arena_printf(&l->arena, "%s%s", kernel, suffix);
    LLVMValueRef f = LLVMGetNamedFunction(l->module, name);
    return f ? f : LLVMAddFunction(l->module, name, type);
}

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

static LLVMValueRef fill_slots(struct lower *l, struct op *op)
{
    LLVMValueRef args = l->host->args;
    for (int i = 0; i < op->n_operands; i++) {
        struct value *v = op->operands[i];
        LLVMValueRef x = v->type->kind == TYPE_VIEW ? lower_root(l, v)->pointer : slot_value(l, v);
        LLVMValueRef index = lower_i64(l, i);
        LLVMBuildStore(l->b, x, LLVMBuildInBoundsGEP2(l->b, l->i64, args, &index, 1, ""));
    }
    return args;
}

static int count_launches(const struct block *b, int n, const struct op **launches)
{
    for (const struct op *op = b->first; op; op = op->next) {
        if (op->code == OP_LAUNCH) {
            if (launches)
                launches[n] = op;
            n++;
        }
        for (int i = 0; i < op->n_blocks; i++)
            n = count_launches(op->blocks[i], n, launches);
    }
    return n;
}

int launches_of(const struct function *host, struct arena *a, const struct op *const **launches)
{
    int n = count_launches(host->body, 0, NULL);
    const struct op **list = ARENA_ARRAY(a, const struct op *, n + 1);
    *launches = list;
    return count_launches(host->body, 0, list);
}

static void call_hook(struct lower *l, int launch, bool ended)
{
    if (!l->host->hooked)
        return;
    LLVMTypeRef params[4] = {l->ptr, l->i32, l->i32, l->ptr};
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(l->context), params, 4, false);
    LLVMValueRef args[4] = {outside_symbol(l, arena_printf(&l->arena, "%s__hook_user", l->kernel->name)),
                            lower_i32(l, launch), lower_i32(l, ended), l->host->args};
    LLVMBuildCall2(l->b, type, kernel_function(l, l->kernel->name, "__hook", type), args, 4, "");
}

// Lowering goes in the order of the text, as launches_of does.
static void lower_launch(struct lower *l, struct op *op)
{
    struct host *h = l->host;
    const char *name = op_attr(op, ATTR_KERNEL)->string;
    const struct function *k = module_function(l->kernel->module, name);
    if (lower_n_args(k) != op->n_operands) {
        lower_error(l, op, "kernel @%s takes %d arguments with its symbols, not %d", name, lower_n_args(k),
                    op->n_operands);
        return;
    }
    LLVMTypeRef count_type = LLVMFunctionType(l->i64, &l->ptr, 1, false);
    LLVMTypeRef range_params[4] = {l->ptr, l->i64, l->i64, l->ptr};
    LLVMTypeRef range_type = LLVMFunctionType(l->i32, range_params, 4, false);
    LLVMValueRef range = kernel_function(l, name, "__range", range_type), zero = lower_i64(l, 0);
    LLVMValueRef args = fill_slots(l, op);
    int position = h->n_launches++;
    call_hook(l, position, false);
    LLVMValueRef n = LLVMBuildCall2(l->b, count_type, kernel_function(l, name, "__grid", count_type), &args, 1, "n");
    LLVMBasicBlockRef run = lower_new_block(l, "launch"), shared = lower_new_block(l, "shared"),
                      parallel = lower_new_block(l, "parallel"), serial = lower_new_block(l, "serial"),
                      done = lower_new_block(l, "launched");
    LLVMBuildCondBr(l->b, LLVMBuildICmp(l->b, LLVMIntSGT, n, zero, ""), run, done);

    LLVMPositionBuilderAtEnd(l->b, run);
    LLVMValueRef scratch = kernel_function(l, name, "__scratch", count_type);
    LLVMValueRef bytes = LLVMBuildCall2(l->b, count_type, scratch, &args, 1, "bytes");
    LLVMValueRef least = lower_i64(l, op_int(op, ATTR_LEAST, USUAL_LEAST_INSTANCES));
    LLVMValueRef many = LLVMBuildICmp(l->b, LLVMIntSGE, n, least, "");
    LLVMValueRef with_env = LLVMBuildIsNotNull(l->b, h->env, "");
    LLVMBuildCondBr(l->b, LLVMBuildAnd(l->b, many, with_env, ""), shared, serial);

    LLVMPositionBuilderAtEnd(l->b, shared);
    LLVMValueRef member = host_offset(l, h->env, lower_i64(l, (int64_t)offsetof(tg_env, parallel_for)));
    LLVMValueRef parallel_for = LLVMBuildLoad2(l->b, l->ptr, member, "");
    LLVMBuildCondBr(l->b, LLVMBuildIsNull(l->b, parallel_for, ""), serial, parallel);

    LLVMPositionBuilderAtEnd(l->b, parallel);
    LLVMTypeRef params[5] = {l->ptr, l->i64, l->ptr, l->ptr, l->i64};
    LLVMValueRef status = LLVMBuildCall2(l->b, LLVMFunctionType(l->i32, params, 5, false), parallel_for,
                                         (LLVMValueRef[]){h->env, n, range, args, bytes}, 5, "");
    LLVMValueRef fine = LLVMBuildICmp(l->b, LLVMIntEQ, status, lower_i32(l, 0), ""), title = host_text(l, name);
    host_require(l, fine, "kernel @%s cannot have its %lld bytes of memory on each thread", 2,
                 (LLVMValueRef[]){title, bytes});
    LLVMBuildBr(l->b, done);

    LLVMPositionBuilderAtEnd(l->b, serial);
    LLVMValueRef memory =
        LLVMBuildCall2(l->b, h->reserve_type, h->reserve, (LLVMValueRef[]){h->env, h->scratch, bytes}, 3, "memory");
    host_require(l, LLVMBuildIsNotNull(l->b, memory, ""), "kernel @%s cannot have its %lld bytes of memory", 2,
                 (LLVMValueRef[]){title, bytes});
    LLVMBuildCall2(l->b, range_type, range, (LLVMValueRef[]){args, zero, n, memory}, 4, "");
    LLVMBuildBr(l->b, done);
    LLVMPositionBuilderAtEnd(l->b, done);
    call_hook(l, position, true);
}

// Symbols that a condition is made of, each once. The depth keeps hand-written conditions from taking for ever.
static int find_symbols(const struct value *v, int depth, int n, struct value **found)
{
    if (v->symbol >= 0) {
        for (int i = 0; i < n; i++)
            if (found[i]->symbol == v->symbol)
                return n;
        if (n < MOST_SHOWN)
            found[n++] = (struct value *)v;
        return n;
    }
    for (int i = 0; v->def && depth && i < v->def->n_operands; i++)
        n = find_symbols(v->def->operands[i], depth - 1, n, found);
    return n;
}

// The message says what the sizes are: "N must be a multiple of 4 (N = 6)".
static void lower_assert(struct lower *l, const struct op *op)
{
    struct value *symbols[MOST_SHOWN];
    LLVMValueRef args[1 + 2 * MOST_SHOWN] = {host_text(l, op_attr(op, ATTR_MESSAGE)->string)};
    int n = find_symbols(op->operands[0], MOST_DEPTH, 0, symbols);
    const char *format = "%s";
    for (int i = 0; i < n; i++) {
        format = arena_printf(&l->arena, "%s%s%%s = %%lld%s", format, i ? ", " : " (", i + 1 == n ? ")" : "");
        args[1 + 2 * i] = host_text(l, l->kernel->module->symbols[symbols[i]->symbol]);
        args[2 + 2 * i] = lower_scalar(l, symbols[i]);
    }
    host_require(l, lower_scalar(l, op->operands[0]), format, 1 + 2 * n, args);
}

bool host_op(struct lower *l, struct op *op)
{
    switch (op->code) {
    case OP_DATA:
        lower_data(l, op);
        return true;
    case OP_BUFFER:
        lower_buffer(l, op);
        return true;
    case OP_SUBVIEW:
        lower_subview(l, op);
        return true;
    case OP_LAUNCH:
        lower_launch(l, op);
        return true;
    case OP_ASSERT:
        lower_assert(l, op);
        return true;
    case OP_LOAD: // a launch that comes later may change the memory
    case OP_GATHER:
        lower_force(l, op->results[0]);
        return true;
    default:
        return false;
    }
}
