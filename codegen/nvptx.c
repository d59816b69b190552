// Kernels, values and blocks.
//
//   %a = load %A[..] : tile<1024xf32, #linear<reg=[[1],[2],[512]], lane=.., warp=..>>     8 loads' worth of registers
//   %e = exp %a                                                                           8 floats, element by element
//   %s = reduce add %e, [0]                                                               registers, shuffles, shared
//
// Operations are emitted in order, all registers of a tile at once; LLVM and ptxas schedule them. Loops carry a phi per
// register.
#include "codegen/nvptx_internal.h"

#include <string.h>

// ---- Values ------------------------------------------------------------------------------------------------------

LLVMValueRef nvptx_register(struct nvptx *n, struct value *v, int r)
{
    return v->type->kind == TYPE_TILE ? n->tiles[v->id][r] : lower_scalar(&n->l, v);
}

LLVMValueRef *nvptx_make(struct nvptx *n, struct value *v)
{
    if (!n->tiles[v->id])
        n->tiles[v->id] = ARENA_ARRAY(&n->l.arena, LLVMValueRef, nvptx_registers(v->type));
    return n->tiles[v->id];
}

void nvptx_set(struct nvptx *n, struct value *v, int r, LLVMValueRef x)
{
    if (v->type->kind == TYPE_TILE)
        nvptx_make(n, v)[r] = x;
    else
        lower_set_register(&n->l, v, 0, x);
}

LLVMValueRef *nvptx_operand(struct nvptx *n, struct value *v, const struct type *tile)
{
    struct lower *l = &n->l;
    const struct type *t = v->type;
    int registers = nvptx_registers(tile);
    if (t->kind == TYPE_TILE && t->linear == tile->linear)
        return n->tiles[v->id];
    LLVMValueRef *x = ARENA_ARRAY(&l->arena, LLVMValueRef, registers);
    if (t->kind != TYPE_TILE) {
        for (int r = 0; r < registers; r++)
            x[r] = lower_scalar(l, v);
        return x;
    }
    int *reg_at = ARENA_ARRAY(&l->arena, int, type_elements(t));
    layout_first_thread(t->linear, reg_at);
    for (int r = 0; r < registers; r++) {
        int64_t at = 0;
        for (int d = 0; d < t->rank; d++) {
            int tile_d = tile->rank - t->rank + d;
            at = at * t->dims[d] +
                 (t->dims[d] == 1 ? 0 : nvptx_register_coordinate(tile->linear, r, LAYOUT_DIM0 + tile_d));
        }
        if (reg_at[at] < 0) {
            lower_error(l, v->def, "a thread does not hold what it must meet: broken layouts");
            return x;
        }
        x[r] = n->tiles[v->id][reg_at[at]];
    }
    return x;
}

// ---- Simple operations -------------------------------------------------------------------------------------------

static void lower_map(struct nvptx *n, struct op *op)
{
    struct value *result = op->results[0];
    enum dtype t = op->operands[op->n_operands - 1]->type->dtype;
    LLVMValueRef *x[3] = {0};
    bool tile = result->type->kind == TYPE_TILE;
    for (int i = 0; tile && i < op->n_operands; i++)
        x[i] = nvptx_operand(n, op->operands[i], result->type);
    for (int r = 0; r < nvptx_registers(result->type) && !n->l.failed; r++) {
        LLVMValueRef args[3];
        for (int i = 0; i < op->n_operands; i++)
            args[i] = tile ? x[i][r] : lower_scalar(&n->l, op->operands[i]);
        LLVMValueRef y = lower_apply(&n->l, op, op->code, t, args);
        if (y)
            nvptx_set(n, result, r, y);
    }
}

static void lower_cast_op(struct nvptx *n, struct op *op)
{
    struct lower *l = &n->l;
    struct value *x = op->operands[0], *result = op->results[0];
    enum dtype to = result->type->dtype;
    for (int r = 0; r < nvptx_registers(result->type); r++) {
        LLVMValueRef y = nvptx_register(n, x, r);
        y = op->code == OP_CAST ? lower_cast(l, to, x->type->dtype, y)
                                : LLVMBuildBitCast(l->b, y, lower_type(l, to), "");
        nvptx_set(n, result, r, y);
    }
}

static void lower_iota_op(struct nvptx *n, struct op *op)
{
    struct lower *l = &n->l;
    struct value *result = op->results[0];
    enum layout_dim d = LAYOUT_DIM0 + (unsigned)op_int(op, ATTR_AXIS, 0);
    struct position p = nvptx_position(n, result->type->linear, d);
    for (int r = 0; r < nvptx_registers(result->type); r++) {
        LLVMValueRef x = nvptx_coordinate(n, p, nvptx_register_coordinate(result->type->linear, r, d));
        nvptx_set(n, result, r, lower_cast(l, result->type->dtype, DTYPE_I32, x));
    }
}

// Register r of the result is register r of the operand.
static void lower_rename(struct nvptx *n, struct op *op)
{
    struct value *result = op->results[0];
    for (int r = 0; r < nvptx_registers(result->type); r++)
        nvptx_set(n, result, r, nvptx_register(n, op->operands[0], r));
}

static void lower_broadcast_op(struct nvptx *n, struct op *op)
{
    LLVMValueRef *x = nvptx_operand(n, op->operands[0], op->results[0]->type);
    for (int r = 0; r < nvptx_registers(op->results[0]->type); r++)
        nvptx_set(n, op->results[0], r, x[r]);
}

static void lower_constant_op(struct nvptx *n, struct op *op)
{
    struct value *result = op->results[0];
    LLVMValueRef x = lower_number(&n->l, result->type->dtype, op_attr(op, ATTR_VALUE)->number);
    for (int r = 0; r < nvptx_registers(result->type); r++)
        nvptx_set(n, result, r, x);
}

// ---- Control flow --------------------------------------------------------------------------------------------------

static void lower_body(struct nvptx *n, struct block *b);

static int64_t count_registers(const struct type *t)
{
    return nvptx_registers(t);
}

static LLVMValueRef get_register(struct lower *l, struct value *v, int64_t r)
{
    return nvptx_register((struct nvptx *)l, v, (int)r);
}

static void set_register(struct lower *l, struct value *v, int64_t r, LLVMValueRef x)
{
    nvptx_set((struct nvptx *)l, v, (int)r, x);
}

static void enter(struct lower *l, struct op *op)
{
    struct nvptx *n = (struct nvptx *)l;
    n->paths->before = nvptx_touches_copy(n);
    for (int i = 0; i < op->n_blocks && op->code != OP_IF; i++) // a round comes after the one before
        nvptx_touch_block(n, op->blocks[i]);
}

static void lower_nested(struct lower *l, struct block *b)
{
    struct nvptx *n = (struct nvptx *)l;
    lower_body(n, b);
    if (b->parent->n_blocks == 2 && b == b->parent->blocks[0]) {
        n->paths->first = nvptx_touches_copy(n);
        if (b->parent->code == OP_IF)
            n->touches = n->paths->before;
    }
}

static const struct control control = {
    .registers = count_registers, .get = get_register, .set = set_register, .enter = enter, .block = lower_nested};

// What comes after has to do with the accesses of every path that leads there.
static void lower_control_op(struct nvptx *n, struct op *op)
{
    struct paths paths = {0}, *outer = n->paths;
    n->paths = &paths;
    lower_control(&n->l, op);
    n->paths = outer;
    nvptx_touches_join(n, &paths.first);
    if (op->code != OP_IF) // whose arms began with them
        nvptx_touches_join(n, &paths.before);
}

static void lower_scalar_op(struct nvptx *n, struct op *op)
{
    struct lower *l = &n->l;
    LLVMValueRef x = NULL;
    if (op->code == OP_PROGRAM_ID)
        x = l->program_id[op_int(op, ATTR_DIM, 0)];
    else if (op->code == OP_NUM_PROGRAMS)
        x = l->num_programs[op_int(op, ATTR_DIM, 0)];
    else if (op->code == OP_DIM)
        x = lower_dim(l, op, 0);
    if (x)
        lower_set_register(l, op->results[0], 0, x);
}

// Lowers op, and perhaps those that follow; returns the last one lowered.
static struct op *lower_one(struct nvptx *n, struct op *op)
{
    switch (op->code) {
    case OP_CONSTANT:
        lower_constant_op(n, op);
        break;
    case OP_IOTA:
        lower_iota_op(n, op);
        break;
    case OP_PROGRAM_ID:
    case OP_NUM_PROGRAMS:
    case OP_DIM:
        lower_scalar_op(n, op);
        break;
    case OP_CAST:
    case OP_BITCAST:
        lower_cast_op(n, op);
        break;
    case OP_ASSUME:
    case OP_RESHAPE:
    case OP_TRANSPOSE:
        lower_rename(n, op);
        break;
    case OP_BROADCAST:
        lower_broadcast_op(n, op);
        break;
    case OP_CONVERT_LAYOUT:
        return nvptx_convert(n, op);
    case OP_LOAD:
        nvptx_load(n, op);
        break;
    case OP_STORE:
        nvptx_store(n, op);
        break;
    case OP_GATHER:
        nvptx_gather(n, op);
        break;
    case OP_SCATTER:
    case OP_ATOMIC:
        nvptx_scatter(n, op);
        break;
    case OP_REDUCE:
        nvptx_reduce(n, op);
        break;
    case OP_DOT:
        nvptx_dot(n, op);
        break;
    case OP_FOR:
    case OP_WHILE:
    case OP_IF:
        lower_control_op(n, op);
        break;
    case OP_WINDOW:
    case OP_YIELD:
    case OP_CONDITION:
    case OP_PREFETCH:
        break;
    default:
        if (opcode_is_scalar(op->code))
            lower_map(n, op);
        else
            lower_error(&n->l, op, "not supported on %s", n->l.target->name);
    }
    return op;
}

static void lower_body(struct nvptx *n, struct block *b)
{
    for (struct op *op = b->first; op && !n->l.failed; op = op->next)
        op = lower_one(n, op);
}

// ---- Kernels -----------------------------------------------------------------------------------------------------

// Notes what is written and how many warps there are.
static void examine(struct nvptx *n, const struct block *b)
{
    struct lower *l = &n->l;
    for (struct op *op = b->first; op; op = op->next) {
        if (op_info[op->code].effect == EFFECT_WRITE)
            l->written[view_root(op->operands[1])->id] = true;
        for (int i = 0; i < op->n_results; i++) {
            const struct type *t = op->results[i]->type;
            if (t->kind != TYPE_TILE)
                continue;
            if (!t->linear || t->linear->in.bits[LAYOUT_LANE] != 5 || t->linear->in.bits[LAYOUT_BLOCK]) {
                lower_error(l, op, "the tile %s has no layout on a GPU", type_string(&l->arena, l->kernel->module, t));
                return;
            }
            if (t->linear->in.bits[LAYOUT_REG] > LAYOUT_MOST_REGISTER_BITS || t->linear->in.bits[LAYOUT_WARP] > 5) {
                lower_error(l, op, "%s takes more registers or warps than a block has",
                            type_string(&l->arena, l->kernel->module, t));
                return;
            }
            int bits = t->linear->in.bits[LAYOUT_WARP];
            if (n->warp_bits >= 0 && bits != n->warp_bits) {
                lower_error(l, op, "tiles are laid out for different numbers of warps");
                return;
            }
            n->warp_bits = bits;
        }
        for (int i = 0; i < op->n_blocks; i++)
            examine(n, op->blocks[i]);
    }
}

static void annotate(struct nvptx *n, LLVMValueRef f, const char *what, int value)
{
    struct lower *l = &n->l;
    LLVMMetadataRef parts[] = {LLVMValueAsMetadata(f), LLVMMDStringInContext2(l->context, what, strlen(what)),
                               LLVMValueAsMetadata(lower_i32(l, value))};
    LLVMMetadataRef node = LLVMMDNodeInContext2(l->context, parts, 3);
    LLVMAddNamedMetadataOperand(l->module, "nvvm.annotations", LLVMMetadataAsValue(l->context, node));
}

static void set_attribute(struct lower *l, LLVMValueRef f, int at, const char *name)
{
    unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
    LLVMAddAttributeAtIndex(f, (LLVMAttributeIndex)at, LLVMCreateEnumAttribute(l->context, kind, 0));
}

static void bind_arguments(struct nvptx *n, LLVMValueRef f)
{
    struct lower *l = &n->l;
    struct function *k = l->kernel;
    for (int i = 0; i < lower_n_args(k); i++) {
        struct value *v = lower_arg(k, i);
        LLVMValueRef x = LLVMGetParam(f, (unsigned)i);
        if (v->name)
            LLVMSetValueName2(x, v->name, strlen(v->name));
        if (v->type->kind == TYPE_VIEW) {
            set_attribute(l, f, i + 1, "noalias");
            set_attribute(l, f, i + 1, "nocapture");
            if (!l->written[v->id])
                set_attribute(l, f, i + 1, "readonly");
            continue;
        }
        if (v->type->dtype == DTYPE_I1)
            x = LLVMBuildTrunc(l->b, x, l->i1, "");
        lower_set_register(l, v, 0, x);
    }
    lower_roots(l, NULL);
    for (int i = 0; i < k->n_params; i++)
        if (k->params[i]->type->kind == TYPE_VIEW)
            l->roots[k->params[i]->id]->pointer = LLVMGetParam(f, (unsigned)i);
}

static LLVMValueRef add_kernel(struct nvptx *n)
{
    struct lower *l = &n->l;
    struct function *k = l->kernel;
    int n_args = lower_n_args(k);
    LLVMTypeRef *types = ARENA_ARRAY(&l->arena, LLVMTypeRef, n_args);
    for (int i = 0; i < n_args; i++) {
        const struct type *t = lower_arg(k, i)->type;
        types[i] = t->kind == TYPE_VIEW ? LLVMPointerTypeInContext(l->context, NVPTX_GLOBAL)
                                        : lower_memory_type(l, t->dtype, 1);
    }
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(l->context), types, (unsigned)n_args, false);
    LLVMValueRef f = LLVMAddFunction(l->module, k->name, type);
    set_attribute(l, f, LLVMAttributeFunctionIndex, "nounwind");
    set_attribute(l, f, LLVMAttributeFunctionIndex, "convergent");
    return f;
}

static void finish_kernel(struct nvptx *n, LLVMValueRef f)
{
    struct lower *l = &n->l;
    int threads = 32 << n->warp_bits;
    LLVMValueRef launch[] = {lower_i32(l, threads), lower_i32(l, n->shared_bytes)};
    LLVMValueRef g =
        LLVMAddGlobalInAddressSpace(l->module, LLVMArrayType2(l->i32, 2),
                                    arena_printf(&l->arena, "%s__launch", l->kernel->name), n->emulate ? 0 : 4);
    LLVMSetInitializer(g, LLVMConstArray2(l->i32, launch, 2));
    LLVMSetGlobalConstant(g, true);
    if (n->emulate)
        return;
    if (!LLVMGetFirstUse(n->shared))
        LLVMDeleteGlobal(n->shared);
    LLVMSetFunctionCallConv(f, 71); // ptx_kernel
    annotate(n, f, "kernel", 1);
    annotate(n, f, "maxntidx", threads);
}

int lower_nvptx(struct function *k, const struct target_desc *target, LLVMContextRef context, LLVMModuleRef out,
                bool emulate, struct diags *diags)
{
    struct nvptx state = {.l = {.control = &control}, .emulate = emulate, .warp_bits = -1};
    struct nvptx *n = &state;
    struct lower *l = &n->l;
    lower_init(l, k, target, context, out, diags);
    n->tiles = ARENA_ARRAY(&l->arena, LLVMValueRef *, k->n_values);
    examine(n, k->body);
    if (n->warp_bits < 0)
        n->warp_bits = 0;
    if (!l->failed) {
        LLVMValueRef f = add_kernel(n);
        lower_begin_function(l, f);
        LLVMBasicBlockRef body = lower_new_block(l, "body");
        LLVMPositionBuilderAtEnd(l->b, body);
        bind_arguments(n, f);
        nvptx_begin(n);
        lower_body(n, k->body);
        LLVMBuildRetVoid(l->b);
        LLVMPositionBuilderAtEnd(l->b, l->entry);
        LLVMBuildBr(l->b, body);
        finish_kernel(n, f);
    }
    lower_finish(l);
    return l->failed;
}
