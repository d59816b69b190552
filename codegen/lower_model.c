// The functions of a compiled model (tg_model in include/tegula/kernel.h): what checks tensors, memory for outputs and
// the run.
//
//   internal int32_t NAME__bind(env, in, int64_t *symbols, bool with_data)   checks inputs, learns the symbols
//   internal void *NAME__alloc(env, bytes), void NAME__free(env, memory)     by the environment or by libc
//   internal void *NAME__reserve(env, struct run *, bytes)                   scratch of launches on one thread
//   int32_t NAME__shapes(...), NAME__run(...)                                hidden
//   int32_t NAME__entry(...)                                                 likewise, of files: run with pointers
//
// All of it is straight-line code, one check after the other; only libc is called.
#include <stddef.h>
#include <string.h>

#include <tegula/kernel.h>

#include "codegen/data_type.h"
#include "codegen/launches.h"
#include "codegen/lower_model.h"
#include "ir/dims.h"

struct port model_port(const struct function *f, int i)
{
    bool is_input = i < f->n_inputs;
    int index = is_input ? i : i - f->n_inputs;
    const char **names = is_input ? f->input_names : f->output_names, *name = names ? names[index] : NULL;
    struct value *param = f->params[i];
    return (struct port){name ? name : param->name ? param->name : "", is_input ? "input" : "output", param, index};
}

// ---- Small pieces ----------------------------------------------------------------------------------------------

LLVMValueRef model_read(struct lower *l, LLVMTypeRef type, LLVMValueRef base, size_t bytes)
{
    LLVMValueRef x = LLVMBuildLoad2(l->b, type, host_offset(l, base, lower_i64(l, (int64_t)bytes)), "");
    if (type == l->i32)
        LLVMSetAlignment(x, 4);
    return x;
}

void model_store(struct lower *l, LLVMValueRef x, LLVMValueRef base, size_t bytes)
{
    LLVMBuildStore(l->b, x, host_offset(l, base, lower_i64(l, (int64_t)bytes)));
}

static LLVMValueRef null_pointer(struct lower *l)
{
    return LLVMConstNull(l->ptr);
}

static LLVMValueRef equal(struct lower *l, LLVMValueRef x, LLVMValueRef y)
{
    return LLVMBuildICmp(l->b, LLVMIntEQ, x, y, "");
}

static LLVMValueRef either(struct lower *l, LLVMValueRef x, LLVMValueRef y)
{
    return LLVMBuildOr(l->b, x, y, "");
}

// Goes to a block that is made only if the condition holds; the caller ends it with a branch to the block returned.
static LLVMBasicBlockRef begin_if(struct lower *l, LLVMValueRef condition)
{
    LLVMBasicBlockRef then = lower_new_block(l, "then"), after = lower_new_block(l, "after");
    LLVMBuildCondBr(l->b, condition, then, after);
    LLVMPositionBuilderAtEnd(l->b, then);
    return after;
}

static void end_if(struct lower *l, LLVMBasicBlockRef after)
{
    LLVMBuildBr(l->b, after);
    LLVMPositionBuilderAtEnd(l->b, after);
}

LLVMValueRef model_add_function(struct lower *l, const char *suffix, LLVMTypeRef type, enum lower_reach reach)
{
    const char *name = arena_printf(&l->arena, "%s%s", l->kernel->name, suffix);
    if (lower_is_kernels(l->kernel->module, name))
        lower_error(l, NULL, "the module has a kernel whose name is taken for '%s'; rename one", name);
    return lower_add_function(l, suffix, type, reach);
}

LLVMValueRef model_service(struct lower *l, LLVMValueRef env, size_t member, LLVMBasicBlockRef *without)
{
    LLVMBasicBlockRef ask = lower_new_block(l, "env"), have = lower_new_block(l, "service");
    *without = lower_new_block(l, "without");
    LLVMBuildCondBr(l->b, LLVMBuildIsNull(l->b, env, ""), *without, ask);
    LLVMPositionBuilderAtEnd(l->b, ask);
    LLVMValueRef f = model_read(l, l->ptr, env, member);
    LLVMBuildCondBr(l->b, LLVMBuildIsNull(l->b, f, ""), *without, have);
    LLVMPositionBuilderAtEnd(l->b, have);
    return f;
}

// ---- Memory ----------------------------------------------------------------------------------------------------

static void make_alloc(struct lower *l)
{
    struct host *h = l->host;
    LLVMTypeRef params[2] = {l->ptr, l->i64}, sizes[2] = {l->i64, l->i64};
    h->alloc_type = lower_function_type(l->ptr, 2, params);
    h->alloc = model_add_function(l, "__alloc", h->alloc_type, LOWER_UNIT);
    lower_begin_function(l, h->alloc);
    LLVMValueRef env = LLVMGetParam(h->alloc, 0), bytes = LLVMGetParam(h->alloc, 1);
    LLVMBasicBlockRef without;
    LLVMValueRef f = model_service(l, env, offsetof(tg_env, alloc), &without);
    LLVMBuildRet(l->b, LLVMBuildCall2(l->b, h->alloc_type, f, (LLVMValueRef[]){env, bytes}, 2, ""));
    LLVMPositionBuilderAtEnd(l->b, without);
    // A multiple of the alignment; at least one byte, for NULL means that there is no memory.
    LLVMValueRef wanted = lower_max(l, bytes, lower_i64(l, 1));
    wanted = LLVMBuildAnd(l->b, LLVMBuildAdd(l->b, wanted, lower_i64(l, 63), ""), lower_i64(l, -64), "");
    LLVMTypeRef type = lower_function_type(l->ptr, 2, sizes);
    LLVMBuildRet(l->b, LLVMBuildCall2(l->b, type, lower_library_function(l, "aligned_alloc", type),
                                      (LLVMValueRef[]){lower_i64(l, 64), wanted}, 2, ""));
}

static void make_free(struct lower *l)
{
    struct host *h = l->host;
    LLVMTypeRef params[2] = {l->ptr, l->ptr}, nothing = LLVMVoidTypeInContext(l->context);
    h->free_type = lower_function_type(nothing, 2, params);
    h->free = model_add_function(l, "__free", h->free_type, LOWER_UNIT);
    lower_begin_function(l, h->free);
    LLVMValueRef env = LLVMGetParam(h->free, 0), memory = LLVMGetParam(h->free, 1);
    LLVMBasicBlockRef without;
    LLVMValueRef f = model_service(l, env, offsetof(tg_env, free), &without);
    LLVMBuildCall2(l->b, h->free_type, f, (LLVMValueRef[]){env, memory}, 2, "");
    LLVMBuildRetVoid(l->b);
    LLVMPositionBuilderAtEnd(l->b, without);
    LLVMTypeRef type = lower_function_type(nothing, 1, params);
    LLVMBuildCall2(l->b, type, lower_library_function(l, "free", type), &memory, 1, "");
    LLVMBuildRetVoid(l->b);
}

static void call_free(struct lower *l, LLVMValueRef memory)
{
    struct host *h = l->host;
    LLVMBuildCall2(l->b, h->free_type, h->free, (LLVMValueRef[]){h->env, memory}, 2, "");
}

static void make_reserve(struct lower *l)
{
    struct host *h = l->host;
    LLVMTypeRef params[3] = {l->ptr, l->ptr, l->i64};
    h->reserve_type = lower_function_type(l->ptr, 3, params);
    h->reserve = model_add_function(l, "__reserve", h->reserve_type, LOWER_UNIT);
    lower_begin_function(l, h->reserve);
    h->env = LLVMGetParam(h->reserve, 0);
    LLVMValueRef run = LLVMGetParam(h->reserve, 1), bytes = LLVMGetParam(h->reserve, 2);
    LLVMValueRef have = model_read(l, l->i64, run, 8 * RUN_SCRATCH_BYTES);
    LLVMBasicBlockRef after = begin_if(l, LLVMBuildICmp(l->b, LLVMIntSGT, bytes, have, ""));
    call_free(l, model_read(l, l->ptr, run, 8 * RUN_SCRATCH_OWNED));
    LLVMValueRef memory = LLVMBuildCall2(l->b, h->alloc_type, h->alloc, (LLVMValueRef[]){h->env, bytes}, 2, "");
    LLVMValueRef size = LLVMBuildSelect(l->b, LLVMBuildIsNull(l->b, memory, ""), lower_i64(l, 0), bytes, "");
    model_store(l, memory, run, 8 * RUN_SCRATCH);
    model_store(l, memory, run, 8 * RUN_SCRATCH_OWNED);
    model_store(l, size, run, 8 * RUN_SCRATCH_BYTES);
    end_if(l, after);
    LLVMBuildRet(l->b, model_read(l, l->ptr, run, 8 * RUN_SCRATCH));
}

// ---- Tensors ---------------------------------------------------------------------------------------------------

struct tensor {
    struct port port;
    LLVMValueRef p, role, name;  // the tg_tensor; texts
    LLVMValueRef size[MAX_RANK]; // i64
    LLVMValueRef empty;          // i1: a size is 0
    LLVMValueRef bytes;          // of all elements
};

static void begin_tensor(struct lower *l, struct tensor *t, int i, LLVMValueRef tensors)
{
    *t = (struct tensor){.port = model_port(l->kernel, i)};
    t->p = host_offset(l, tensors, lower_i64(l, (int64_t)sizeof(tg_tensor) * t->port.index));
    t->role = host_text(l, t->port.role);
    t->name = host_text(l, t->port.name);
}

uint32_t model_data_type(tg_data_type t)
{
    uint32_t bits;
    memcpy(&bits, &t, sizeof bits);
    return bits;
}

// That the tensor has the element type, the rank, and is memory of the CPU.
static void check_kind(struct lower *l, const struct tensor *t)
{
    const struct type *type = t->port.param->type;
    LLVMValueRef rank = model_read(l, l->i32, t->p, offsetof(tg_tensor, ndim));
    host_require(l, equal(l, rank, lower_i32(l, type->rank)), "%s '%s' has %d dimensions and must have %d",
                 ARGS(t->role, t->name, rank, lower_i32(l, type->rank)));
    tg_data_type want = data_type_of(type->dtype);
    LLVMValueRef have = model_read(l, l->i32, t->p, offsetof(tg_tensor, dtype)), byte = lower_i32(l, 255);
    LLVMValueRef code = LLVMBuildAnd(l->b, have, byte, ""),
                 bits = LLVMBuildAnd(l->b, LLVMBuildLShr(l->b, have, lower_i32(l, 8), ""), byte, ""),
                 lanes = LLVMBuildLShr(l->b, have, lower_i32(l, 16), "");
    host_require(l, equal(l, have, lower_i32(l, model_data_type(want))),
                 "%s '%s' has elements of code %d, %d bits and %d lanes and must have %s (code %d, %d bits, 1 lane)",
                 ARGS(t->role, t->name, code, bits, lanes, host_text(l, dtype_info[type->dtype].name),
                      lower_i32(l, want.code), lower_i32(l, want.bits)));
    LLVMValueRef device = model_read(l, l->i32, t->p, offsetof(tg_tensor, device));
    LLVMValueRef fine =
        either(l, equal(l, device, lower_i32(l, TG_DEVICE_CPU)), equal(l, device, lower_i32(l, TG_DEVICE_CUDA_HOST)));
    host_require(l, fine, "%s '%s' is on a device of type %d and must be in the CPU's memory (type 1)",
                 ARGS(t->role, t->name, device));
}

static LLVMValueRef shape_of(struct lower *l, const struct tensor *t)
{
    LLVMValueRef shape = model_read(l, l->ptr, t->p, offsetof(tg_tensor, shape));
    if (t->port.param->type->rank)
        host_require(l, LLVMBuildIsNotNull(l->b, shape, ""), "%s '%s' has no sizes", ARGS(t->role, t->name));
    return shape;
}

// Whether it is empty and how many bytes it takes, from its sizes, which must be none below 0.
static void measure(struct lower *l, struct tensor *t)
{
    const struct type *type = t->port.param->type;
    LLVMValueRef zero = lower_i64(l, 0), one = lower_i64(l, 1), elements = one, overflow = LLVMConstNull(l->i1);
    t->empty = LLVMConstNull(l->i1);
    for (int d = 0; d <= type->rank; d++) {
        LLVMValueRef factor = lower_i64(l, dtype_bytes(type->dtype));
        if (d < type->rank) {
            host_require(l, LLVMBuildICmp(l->b, LLVMIntSGE, t->size[d], zero, ""), "%s '%s': size %d is %lld",
                         ARGS(t->role, t->name, lower_i32(l, d), t->size[d]));
            t->empty = either(l, t->empty, equal(l, t->size[d], zero));
            factor = lower_max(l, t->size[d], one); // strides and offsets count as if it were not empty
        }
        LLVMValueRef pair =
            lower_intrinsic(l, "llvm.smul.with.overflow", 1, &l->i64, 2, (LLVMValueRef[]){elements, factor});
        elements = LLVMBuildExtractValue(l->b, pair, 0, "");
        overflow = either(l, overflow, LLVMBuildExtractValue(l->b, pair, 1, ""));
    }
    host_require(l, LLVMBuildNot(l->b, overflow, ""), "%s '%s' is too large to be addressed", ARGS(t->role, t->name));
    t->bytes = LLVMBuildSelect(l->b, t->empty, zero, elements, "");
}

static void check_strides(struct lower *l, const struct tensor *t)
{
    LLVMValueRef strides = model_read(l, l->ptr, t->p, offsetof(tg_tensor, strides)), packed = lower_i64(l, 1);
    if (!t->port.param->type->rank)
        return;
    LLVMBasicBlockRef after = begin_if(l, LLVMBuildIsNotNull(l->b, strides, ""));
    for (int d = t->port.param->type->rank - 1; d >= 0; d--) {
        LLVMValueRef stride = model_read(l, l->i64, strides, 8 * (size_t)d);
        LLVMValueRef free = either(l, t->empty, equal(l, t->size[d], lower_i64(l, 1)));
        host_require(l, either(l, free, equal(l, stride, packed)),
                     "%s '%s': stride %d is %lld and must be %lld; tensors are taken in row-major order without gaps",
                     ARGS(t->role, t->name, lower_i32(l, d), stride, packed));
        packed = LLVMBuildMul(l->b, packed, t->size[d], "");
    }
    end_if(l, after);
}

static LLVMValueRef first_byte(struct lower *l, const struct tensor *t)
{
    LLVMValueRef data = model_read(l, l->ptr, t->p, offsetof(tg_tensor, data));
    return host_offset(l, data, model_read(l, l->i64, t->p, offsetof(tg_tensor, byte_offset)));
}

static void check_alignment(struct lower *l, const struct tensor *t)
{
    int64_t width = dtype_bytes(t->port.param->type->dtype);
    if (width == 1)
        return;
    LLVMValueRef address = LLVMBuildPtrToInt(l->b, first_byte(l, t), l->i64, "");
    LLVMValueRef rest = LLVMBuildAnd(l->b, address, lower_i64(l, width - 1), "");
    host_require(l, either(l, t->empty, equal(l, rest, lower_i64(l, 0))),
                 "%s '%s' is not aligned to its elements of %lld bytes", ARGS(t->role, t->name, lower_i64(l, width)));
}

// ---- Inputs ----------------------------------------------------------------------------------------------------

// A symbol of the module is free if it is the size that it is computed as.
static bool is_free(const struct lower *l, int id)
{
    const struct value *size = l->host->sizes[id];
    return size && size->symbol == id;
}

int lower_model_sizes(const struct function *host, int *ids, int *first_input)
{
    int n = 0;
    for (int i = 0; i < host->n_inputs; i++) {
        const struct type *t = host->params[i]->type;
        for (int d = 0; d < t->rank; d++) {
            bool known = !dim_is_symbol(t->dims[d]) || dims_is_expression(host->module, t->dims[d]);
            for (int j = 0; j < n && !known; j++)
                known = ids[j] == dim_symbol_id(t->dims[d]);
            if (known)
                continue;
            first_input[n] = i;
            ids[n++] = dim_symbol_id(t->dims[d]);
        }
    }
    return n;
}

bool model_learn_symbols(struct lower *l, struct symbols *s)
{
    const struct function *f = l->kernel;
    int n = f->module->n_symbols;
    s->id = ARENA_ARRAY(&l->arena, int, n);
    s->position = ARENA_ARRAY(&l->arena, int, n);
    s->first_input = ARENA_ARRAY(&l->arena, int, n);
    for (int i = 0; i < n; i++)
        s->position[i] = -1;
    s->n = lower_model_sizes(f, s->id, s->first_input);
    for (int i = 0; i < s->n; i++)
        s->position[s->id[i]] = i;
    for (int i = 0; i < f->n_symbols; i++)
        if (f->symbols[i] && is_free(l, i) && s->position[i] < 0) {
            lower_error(l, NULL, "the size %s is not a size of an input, so nothing says what it is",
                        f->module->symbols[i]);
            return false;
        }
    return true;
}

static void check_size(struct lower *l, const struct tensor *t, int d, const struct symbols *s, LLVMValueRef *known)
{
    dim want = t->port.param->type->dims[d];
    if (want == DIM_UNKNOWN)
        return;
    LLVMValueRef place = lower_i32(l, d);
    if (!dim_is_symbol(want)) {
        host_require(l, equal(l, t->size[d], lower_i64(l, want)), "%s '%s': size %d is %lld and must be %lld",
                     ARGS(t->role, t->name, place, t->size[d], lower_i64(l, want)));
        return;
    }
    int at = s->position[dim_symbol_id(want)];
    if (at < 0)
        return; // computed: checked when all symbols are known
    if (!known[at]) {
        known[at] = t->size[d];
        return;
    }
    host_require(l, equal(l, t->size[d], known[at]), "%s '%s': size %d is %lld where input '%s' makes %s %lld",
                 ARGS(t->role, t->name, place, t->size[d], host_text(l, model_port(l->kernel, s->first_input[at]).name),
                      host_text(l, l->kernel->module->symbols[s->id[at]]), known[at]));
}

void model_bind_symbols(struct lower *l, const struct symbols *s, LLVMValueRef *known)
{
    for (int i = 0; i < s->n; i++)
        lower_set_register(l, l->host->sizes[s->id[i]], 0, known[i]);
}

// Ends the function's block for faults: the environment is told, and the function returns 1.
void model_end_failed(struct lower *l)
{
    struct host *h = l->host;
    LLVMBasicBlockRef without;
    LLVMValueRef f = model_service(l, h->env, offsetof(tg_env, error), &without);
    LLVMTypeRef params[2] = {l->ptr, l->ptr};
    LLVMBuildCall2(l->b, lower_function_type(LLVMVoidTypeInContext(l->context), 2, params), f,
                   (LLVMValueRef[]){h->env, h->message}, 2, "");
    LLVMBuildBr(l->b, without);
    LLVMPositionBuilderAtEnd(l->b, without);
    LLVMBuildRet(l->b, lower_i32(l, 1));
}

// Begins the body behind the entry block, which is left to stack slots.
LLVMBasicBlockRef model_begin_body(struct lower *l)
{
    LLVMBasicBlockRef body = lower_new_block(l, "body");
    LLVMPositionBuilderAtEnd(l->b, body);
    return body;
}

void model_end_entry(struct lower *l, LLVMBasicBlockRef body)
{
    LLVMPositionBuilderAtEnd(l->b, l->entry);
    LLVMBuildBr(l->b, body);
}

static void make_bind(struct lower *l, const struct symbols *s)
{
    struct host *h = l->host;
    LLVMTypeRef params[4] = {l->ptr, l->ptr, l->ptr, l->i1};
    h->bind_type = lower_function_type(l->i32, 4, params);
    h->bind = model_add_function(l, "__bind", h->bind_type, LOWER_UNIT);
    host_begin(l, h->bind, LLVMGetParam(h->bind, 0));
    LLVMBasicBlockRef body = model_begin_body(l);
    LLVMValueRef *known = ARENA_ARRAY(&l->arena, LLVMValueRef, s->n);
    int n = l->kernel->n_inputs;
    struct tensor *inputs = ARENA_ARRAY(&l->arena, struct tensor, n);
    for (int i = 0; i < n; i++) {
        struct tensor *t = &inputs[i];
        begin_tensor(l, t, i, LLVMGetParam(h->bind, 1));
        check_kind(l, t);
        LLVMValueRef shape = shape_of(l, t);
        for (int d = 0; d < t->port.param->type->rank; d++)
            t->size[d] = model_read(l, l->i64, shape, 8 * (size_t)d);
        measure(l, t);
        for (int d = 0; d < t->port.param->type->rank; d++)
            check_size(l, t, d, s, known);
        check_strides(l, t);
        LLVMBasicBlockRef after = begin_if(l, LLVMGetParam(h->bind, 3));
        LLVMValueRef data = model_read(l, l->ptr, t->p, offsetof(tg_tensor, data));
        host_require(l, either(l, t->empty, LLVMBuildIsNotNull(l->b, data, "")), "%s '%s' has no memory",
                     ARGS(t->role, t->name));
        check_alignment(l, t);
        end_if(l, after);
    }
    model_bind_symbols(l, s, known);
    for (int i = 0; i < n; i++) {
        const struct type *type = inputs[i].port.param->type;
        for (int d = 0; d < type->rank; d++) {
            if (!dim_is_symbol(type->dims[d]) || s->position[dim_symbol_id(type->dims[d])] >= 0)
                continue;
            LLVMValueRef want = host_size(l, type->dims[d]);
            host_require(l, equal(l, inputs[i].size[d], want), "%s '%s': size %d is %lld and must be %s, which is %lld",
                         ARGS(inputs[i].role, inputs[i].name, lower_i32(l, d), inputs[i].size[d],
                              host_text(l, l->kernel->module->symbols[dim_symbol_id(type->dims[d])]), want));
        }
    }
    for (int i = 0; i < s->n; i++)
        model_store(l, known[i], LLVMGetParam(h->bind, 2), 8 * (size_t)i);
    LLVMBuildRet(l->b, lower_i32(l, 0));
    LLVMPositionBuilderAtEnd(l->b, h->failed);
    model_end_failed(l);
    model_end_entry(l, body);
}

// Calls `bind`, and makes the symbols known.
static void call_bind(struct lower *l, const struct symbols *s, LLVMValueRef in, bool with_data)
{
    struct host *h = l->host;
    LLVMValueRef slots = lower_stack(l, l->i64, s->n ? s->n : 1, 8);
    LLVMValueRef *known = ARENA_ARRAY(&l->arena, LLVMValueRef, s->n);
    LLVMValueRef args[4] = {h->env, in, slots, LLVMConstInt(l->i1, with_data, false)};
    LLVMValueRef status = LLVMBuildCall2(l->b, h->bind_type, h->bind, args, 4, "status");
    LLVMBasicBlockRef stop = lower_new_block(l, "stop"), bound = lower_new_block(l, "bound");
    LLVMBuildCondBr(l->b, equal(l, status, lower_i32(l, 0)), bound, stop);
    LLVMPositionBuilderAtEnd(l->b, stop);
    LLVMBuildRet(l->b, lower_i32(l, 1));
    LLVMPositionBuilderAtEnd(l->b, bound);
    for (int i = 0; i < s->n; i++)
        known[i] = model_read(l, l->i64, slots, 8 * (size_t)i);
    model_bind_symbols(l, s, known);
}

// ---- Outputs ---------------------------------------------------------------------------------------------------

// The sizes that an output must have.
static void size_output(struct lower *l, struct tensor *t)
{
    const struct type *type = t->port.param->type;
    for (int d = 0; d < type->rank; d++)
        t->size[d] = host_size(l, type->dims[d]);
    measure(l, t);
}

static LLVMValueRef arena_bytes(struct lower *l)
{
    struct op *yield = block_terminator(l->kernel->grid);
    LLVMValueRef bytes = yield && yield->n_operands ? lower_scalar(l, yield->operands[0]) : lower_i64(l, 0);
    host_require(l, LLVMBuildICmp(l->b, LLVMIntSGE, bytes, lower_i64(l, 0), ""), "the inputs' sizes are too small", 0,
                 NULL);
    return bytes;
}

static void make_shapes(struct lower *l, const struct symbols *s)
{
    struct host *h = l->host;
    LLVMTypeRef params[4] = {l->ptr, l->ptr, l->ptr, l->ptr};
    LLVMValueRef f = model_add_function(l, "__shapes", lower_function_type(l->i32, 4, params), LOWER_PROGRAM);
    host_begin(l, f, LLVMGetParam(f, 0));
    LLVMBasicBlockRef body = model_begin_body(l);
    call_bind(l, s, LLVMGetParam(f, 1), false);
    int n = l->kernel->n_outputs;
    struct tensor *outputs = ARENA_ARRAY(&l->arena, struct tensor, n);
    for (int i = 0; i < n; i++) {
        begin_tensor(l, &outputs[i], l->kernel->n_inputs + i, LLVMConstNull(l->ptr));
        size_output(l, &outputs[i]);
    }
    LLVMValueRef bytes = arena_bytes(l), shapes = LLVMGetParam(f, 2), total = LLVMGetParam(f, 3);
    LLVMBasicBlockRef after = begin_if(l, LLVMBuildIsNotNull(l->b, total, ""));
    LLVMBuildStore(l->b, bytes, total);
    end_if(l, after);
    after = begin_if(l, LLVMBuildIsNotNull(l->b, shapes, ""));
    for (int i = 0; i < n; i++) {
        LLVMValueRef shape = model_read(l, l->ptr, shapes, sizeof(void *) * (size_t)i);
        LLVMBasicBlockRef next = begin_if(l, LLVMBuildIsNotNull(l->b, shape, ""));
        for (int d = 0; d < outputs[i].port.param->type->rank; d++)
            model_store(l, outputs[i].size[d], shape, 8 * (size_t)d);
        end_if(l, next);
    }
    end_if(l, after);
    LLVMBuildRet(l->b, lower_i32(l, 0));
    LLVMPositionBuilderAtEnd(l->b, h->failed);
    model_end_failed(l);
    model_end_entry(l, body);
}

void model_fill_tensor(struct lower *l, LLVMValueRef tensor, const struct type *type, LLVMValueRef data)
{
    model_store(l, data, tensor, offsetof(tg_tensor, data));
    model_store(l, lower_i32(l, TG_DEVICE_CPU), tensor, offsetof(tg_tensor, device));
    model_store(l, lower_i32(l, 0), tensor, offsetof(tg_tensor, device) + sizeof(int32_t));
    model_store(l, lower_i32(l, type->rank), tensor, offsetof(tg_tensor, ndim));
    model_store(l, lower_i32(l, model_data_type(data_type_of(type->dtype))), tensor, offsetof(tg_tensor, dtype));
    model_store(l, null_pointer(l), tensor, offsetof(tg_tensor, strides));
    model_store(l, lower_i64(l, 0), tensor, offsetof(tg_tensor, byte_offset));
}

// Memory and fields for an output that has no data. owned remembers the memory in case of a fault.
static void allocate_output(struct lower *l, const struct tensor *t, LLVMValueRef owned)
{
    const struct type *type = t->port.param->type;
    struct host *h = l->host;
    LLVMValueRef shape = shape_of(l, t);
    LLVMValueRef memory = LLVMBuildCall2(l->b, h->alloc_type, h->alloc, (LLVMValueRef[]){h->env, t->bytes}, 2, "");
    host_require(l, LLVMBuildIsNotNull(l->b, memory, ""), "there is no memory for the %lld bytes of %s '%s'",
                 ARGS(t->bytes, t->role, t->name));
    LLVMBuildStore(l->b, memory, owned);
    model_fill_tensor(l, t->p, type, memory);
    for (int d = 0; d < type->rank; d++)
        model_store(l, t->size[d], shape, 8 * (size_t)d);
}

static void check_output(struct lower *l, const struct tensor *t)
{
    check_kind(l, t);
    LLVMValueRef shape = shape_of(l, t);
    for (int d = 0; d < t->port.param->type->rank; d++) {
        LLVMValueRef have = model_read(l, l->i64, shape, 8 * (size_t)d);
        host_require(l, equal(l, have, t->size[d]), "%s '%s': size %d is %lld and must be %lld",
                     ARGS(t->role, t->name, lower_i32(l, d), have, t->size[d]));
    }
    check_strides(l, t);
    check_alignment(l, t);
}

static void bind_output(struct lower *l, struct tensor *t, LLVMValueRef owned)
{
    size_output(l, t);
    LLVMValueRef data = model_read(l, l->ptr, t->p, offsetof(tg_tensor, data));
    LLVMBasicBlockRef without = lower_new_block(l, "allocate"), with = lower_new_block(l, "given"),
                      after = lower_new_block(l, "output");
    LLVMBuildCondBr(l->b, LLVMBuildIsNull(l->b, data, ""), without, with);
    LLVMPositionBuilderAtEnd(l->b, without);
    allocate_output(l, t, owned);
    LLVMBuildBr(l->b, after);
    LLVMPositionBuilderAtEnd(l->b, with);
    check_output(l, t);
    LLVMBuildBr(l->b, after);
    LLVMPositionBuilderAtEnd(l->b, after);
}

// ---- The run ---------------------------------------------------------------------------------------------------

// Rows of { first byte, the byte behind, name } of all tensors; no output may share a byte with another tensor.
enum { ROW_BEGIN, ROW_END, ROW_NAME, ROW_WORDS };

static LLVMValueRef row_word(struct lower *l, LLVMTypeRef type, LLVMValueRef rows, LLVMValueRef i, int word)
{
    LLVMValueRef at = LLVMBuildMul(l->b, i, lower_i64(l, 8 * ROW_WORDS), "");
    return LLVMBuildLoad2(l->b, type, host_offset(l, rows, LLVMBuildAdd(l->b, at, lower_i64(l, 8 * word), "")), "");
}

static void fill_row(struct lower *l, LLVMValueRef rows, int i, const struct tensor *t, LLVMValueRef bytes)
{
    LLVMValueRef first = LLVMBuildPtrToInt(l->b, first_byte(l, t), l->i64, "");
    size_t at = 8 * ROW_WORDS * (size_t)i;
    model_store(l, first, rows, at + 8 * ROW_BEGIN);
    model_store(l, LLVMBuildAdd(l->b, first, bytes, ""), rows, at + 8 * ROW_END);
    model_store(l, t->name, rows, at + 8 * ROW_NAME);
}

// for i in outputs: for j below i: they lie apart.
static void check_overlap(struct lower *l, LLVMValueRef rows, int n_inputs, int n)
{
    if (n_inputs == n)
        return;
    LLVMBasicBlockRef outer = lower_new_block(l, "tensor"), inner = lower_new_block(l, "pair"),
                      next = lower_new_block(l, "next"), done = lower_new_block(l, "apart"),
                      before = LLVMGetInsertBlock(l->b);
    LLVMValueRef first = lower_i64(l, n_inputs), zero = lower_i64(l, 0), one = lower_i64(l, 1);
    LLVMBuildBr(l->b, outer);
    LLVMPositionBuilderAtEnd(l->b, outer);
    LLVMValueRef i = LLVMBuildPhi(l->b, l->i64, "i");
    LLVMAddIncoming(i, &first, &before, 1);
    LLVMBuildCondBr(l->b, equal(l, i, zero), next, inner);
    LLVMPositionBuilderAtEnd(l->b, inner);
    LLVMValueRef j = LLVMBuildPhi(l->b, l->i64, "j");
    LLVMAddIncoming(j, &zero, &outer, 1);
    LLVMValueRef x[2][2];
    for (int k = 0; k < 2; k++)
        for (int word = 0; word < 2; word++)
            x[k][word] = row_word(l, l->i64, rows, k ? j : i, word);
    LLVMValueRef apart = either(l, LLVMBuildICmp(l->b, LLVMIntUGE, x[0][ROW_BEGIN], x[1][ROW_END], ""),
                                LLVMBuildICmp(l->b, LLVMIntUGE, x[1][ROW_BEGIN], x[0][ROW_END], ""));
    for (int k = 0; k < 2; k++)
        apart = either(l, apart, equal(l, x[k][ROW_BEGIN], x[k][ROW_END]));
    LLVMValueRef names[2] = {row_word(l, l->ptr, rows, i, ROW_NAME), row_word(l, l->ptr, rows, j, ROW_NAME)};
    host_require(l, apart, "output '%s' shares memory with '%s'", 2, names);
    LLVMValueRef j_next = LLVMBuildAdd(l->b, j, one, "");
    LLVMBasicBlockRef latch = LLVMGetInsertBlock(l->b);
    LLVMAddIncoming(j, &j_next, &latch, 1);
    LLVMBuildCondBr(l->b, equal(l, j_next, i), next, inner);
    LLVMPositionBuilderAtEnd(l->b, next);
    LLVMValueRef i_next = LLVMBuildAdd(l->b, i, one, "");
    LLVMAddIncoming(i, &i_next, &next, 1);
    LLVMBuildCondBr(l->b, equal(l, i_next, lower_i64(l, n)), done, outer);
    LLVMPositionBuilderAtEnd(l->b, done);
}

// The arena that was passed, or one of the run's own, which owned remembers.
static void bind_arena(struct lower *l, LLVMValueRef given, LLVMValueRef owned)
{
    struct host *h = l->host;
    LLVMValueRef bytes = arena_bytes(l), slot = lower_stack(l, l->ptr, 1, 8);
    LLVMValueRef low = LLVMBuildAnd(l->b, LLVMBuildPtrToInt(l->b, given, l->i64, ""), lower_i64(l, 63), "");
    host_require(l, equal(l, low, lower_i64(l, 0)), "the arena is not aligned to 64 bytes", 0, NULL);
    LLVMBuildStore(l->b, given, slot);
    LLVMBasicBlockRef after = begin_if(l, LLVMBuildIsNull(l->b, given, ""));
    LLVMValueRef memory = LLVMBuildCall2(l->b, h->alloc_type, h->alloc, (LLVMValueRef[]){h->env, bytes}, 2, "");
    host_require(l, LLVMBuildIsNotNull(l->b, memory, ""), "there is no memory for the %lld bytes of the arena", 1,
                 &bytes);
    LLVMBuildStore(l->b, memory, owned);
    LLVMBuildStore(l->b, memory, slot);
    end_if(l, after);
    h->arena = LLVMBuildLoad2(l->b, l->ptr, slot, "arena");
}

static void release(struct lower *l, LLVMValueRef owned_arena)
{
    call_free(l, LLVMBuildLoad2(l->b, l->ptr, owned_arena, ""));
    call_free(l, model_read(l, l->ptr, l->host->run, 8 * RUN_SCRATCH_OWNED));
}

static void make_run(struct lower *l, const struct symbols *s)
{
    struct host *h = l->host;
    const struct function *k = l->kernel;
    LLVMTypeRef params[4] = {l->ptr, l->ptr, l->ptr, l->ptr};
    LLVMValueRef f = model_add_function(l, "__run", lower_function_type(l->i32, 4, params), LOWER_PROGRAM);
    host_begin(l, f, LLVMGetParam(f, 0));
    LLVMBasicBlockRef body = model_begin_body(l);
    int n = k->n_inputs + k->n_outputs;
    h->args = lower_stack(l, l->i64, h->most_args ? h->most_args : 1, 8);
    h->run = lower_stack(l, l->i64, RUN_WORDS, 8);
    LLVMValueRef rows = lower_stack(l, l->i64, ROW_WORDS * (int64_t)n + 1, 8),
                 owned_arena = lower_stack(l, l->ptr, 1, 8), owned = lower_stack(l, l->ptr, k->n_outputs + 1, 8);
    call_bind(l, s, LLVMGetParam(f, 1), true);
    // From here on faults go to `failed`, which looks at all of this.
    model_store(l, lower_stack(l, l->i8, HOST_FIRST_SCRATCH, 64), h->run, 8 * RUN_SCRATCH);
    model_store(l, lower_i64(l, HOST_FIRST_SCRATCH), h->run, 8 * RUN_SCRATCH_BYTES);
    model_store(l, null_pointer(l), h->run, 8 * RUN_SCRATCH_OWNED);
    model_store(l, h->args, h->run, 8 * RUN_ARGS);
    model_store(l, h->message, h->run, 8 * RUN_MESSAGE);
    LLVMBuildStore(l->b, null_pointer(l), owned_arena);
    for (int i = 0; i < k->n_outputs; i++)
        model_store(l, null_pointer(l), owned, sizeof(void *) * (size_t)i);

    struct tensor *tensors = ARENA_ARRAY(&l->arena, struct tensor, n);
    for (int i = 0; i < n; i++) {
        struct tensor *t = &tensors[i];
        bool is_input = i < k->n_inputs;
        begin_tensor(l, t, i, LLVMGetParam(f, is_input ? 1 : 2));
        if (!is_input) {
            bind_output(l, t, host_offset(l, owned, lower_i64(l, (int64_t)sizeof(void *) * (i - k->n_inputs))));
        } else { // `bind` has checked them
            LLVMValueRef shape = model_read(l, l->ptr, t->p, offsetof(tg_tensor, shape));
            for (int d = 0; d < t->port.param->type->rank; d++)
                t->size[d] = model_read(l, l->i64, shape, 8 * (size_t)d);
            measure(l, t);
        }
        fill_row(l, rows, i, t, t->bytes);
    }
    check_overlap(l, rows, k->n_inputs, n);
    h->arena = null_pointer(l);
    if (h->has_arena)
        bind_arena(l, LLVMGetParam(f, 3), owned_arena);
    host_choose_launch(l);
    lower_roots(l, NULL);
    for (int i = 0; i < n; i++)
        l->roots[k->params[i]->id]->pointer = first_byte(l, &tensors[i]);
    lower_block(l, k->body);
    release(l, owned_arena);
    LLVMBuildRet(l->b, lower_i32(l, 0));

    LLVMPositionBuilderAtEnd(l->b, h->failed);
    release(l, owned_arena);
    for (int i = 0; i < k->n_outputs; i++) {
        LLVMValueRef memory = model_read(l, l->ptr, owned, sizeof(void *) * (size_t)i);
        LLVMBasicBlockRef after = begin_if(l, LLVMBuildIsNotNull(l->b, memory, ""));
        call_free(l, memory);
        model_store(l, null_pointer(l), LLVMGetParam(f, 2), sizeof(tg_tensor) * (size_t)i + offsetof(tg_tensor, data));
        end_if(l, after);
    }
    model_end_failed(l);
    model_end_entry(l, body);
}

// NAME_load of a model that is there as soon as its code is.
static void make_load(struct lower *l)
{
    LLVMTypeRef params[3] = {l->ptr, l->ptr, l->ptr};
    LLVMValueRef f = model_add_function(l, "_load", lower_function_type(l->i32, 3, params), LOWER_EVERYBODY),
                 target = LLVMGetParam(f, 2);
    lower_begin_function(l, f);
    LLVMBasicBlockRef after = begin_if(l, LLVMBuildIsNotNull(l->b, target, ""));
    LLVMBuildStore(l->b, lower_i32(l, 0), target);
    end_if(l, after);
    LLVMBuildRet(l->b, lower_i32(l, 0));
}

// ---- All of it -------------------------------------------------------------------------------------------------

static bool check_interface(struct lower *l)
{
    const struct function *f = l->kernel;
    if (f->n_params != f->n_inputs + f->n_outputs) {
        lower_error(l, NULL, "has %d parameters for %d inputs and %d outputs", f->n_params, f->n_inputs, f->n_outputs);
        return false;
    }
    for (int i = 0; i < f->n_params; i++) {
        const struct type *t = f->params[i]->type;
        bool fits = t->kind == TYPE_VIEW && !t->strided;
        for (int d = 0; fits && i >= f->n_inputs && d < t->rank; d++)
            fits = t->dims[d] != DIM_UNKNOWN;
        if (!fits) {
            lower_error(l, NULL, "%s '%s' is %s; it must be a view without strides%s", model_port(f, i).role,
                        model_port(f, i).name, type_string(&l->arena, f->module, t),
                        i < f->n_inputs ? "" : " whose sizes are known");
            return false;
        }
    }
    return true;
}

static void describe(struct lower *l, const struct symbols *s)
{
    const struct function *f = l->kernel;
    const struct lowered_target only = {f->name, l->target, launches_write(f, &l->arena)};
    model_make_description(l, s, 1, &only);
}

void lower_model(struct lower *l)
{
    struct symbols s = {0};
    if (!check_interface(l) || l->failed || !model_learn_symbols(l, &s))
        return;
    make_alloc(l);
    make_free(l);
    make_reserve(l);
    host_make_launch(l);
    if (!l->failed)
        make_bind(l, &s);
    if (!l->failed)
        make_shapes(l, &s);
    if (!l->failed)
        make_run(l, &s);
    if (l->failed)
        return;
    bool in_process = l->host->form == MODEL_IN_PROCESS, alone = l->host->embeds_weights;
    if (!in_process)
        model_make_entry(l, &s);
    if (alone)
        make_load(l);
    if (in_process || alone)
        describe(l, &s);
    if (alone && l->host->weights_symbol)
        model_define_weights(l);
}
