// The operations of host functions: memory, launches, assertions, and arithmetic that is checked.
//
//   %b = buffer %offset : view<Nx64xf32>     an address in the arena
//   launch "kernel" %x, %b, N                lower_launch.c
//
// Sizes come from whoever calls the model, so index arithmetic that overflows ends the run with a message.
#include "codegen/lower_host.h"

#include <stddef.h>
#include <string.h>

#include "ir/dims.h"
#include "ir/scalar.h"
#include "runtime/loader.h"
#include "runtime/memory.h"

#define WEIGHT_ALIGNMENT 64
#define MOST_SHOWN 8  // sizes in the message of an assertion
#define MOST_DEPTH 12 // of the arithmetic that is looked through for them

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

LLVMValueRef host_bytes(struct lower *l, const char *bytes, size_t size)
{
    LLVMValueRef constant = LLVMConstStringInContext2(l->context, bytes, size, true);
    LLVMValueRef string = LLVMAddGlobal(l->module, LLVMTypeOf(constant), "text");
    LLVMSetInitializer(string, constant);
    LLVMSetLinkage(string, LLVMPrivateLinkage);
    LLVMSetGlobalConstant(string, true);
    LLVMSetUnnamedAddress(string, LLVMGlobalUnnamedAddr);
    return string;
}

LLVMValueRef host_text(struct lower *l, const char *text)
{
    return host_bytes(l, text, strlen(text) + 1);
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

// ---- Assertions ------------------------------------------------------------------------------------------------

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
        host_launch(l, op);
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
