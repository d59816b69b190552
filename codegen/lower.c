// Kernels, values and blocks.
//
//   %a:tile<6x1xf32, 1 lane> = load %A[..]         nothing yet
//   %b:tile<1x64xf32, 16 lanes> = load %B[..]      nothing yet
//   %d = dot "mk,kn->mn" %a, %b, %c                nothing yet
//   yield %d                                       asks for 24 registers: loads and fmas are made as they are needed
//
// Three things force registers to be made: an effect, the end of a block that yields them, and a nested block that uses
// them. A load of memory that the kernel writes is made at the latest before the next write to that memory. Values that
// loops carry are one phi per register.
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/lower_host.h"

#define MOST_DEPTH 200 // of operations made at once

void lower_error(struct lower *l, const struct op *op, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const char *text = arena_vprintf(&l->diags->arena, format, args);
    va_end(args);
    if (!l->failed) // what follows from a first fault is not worth reading
        diag_error(l->diags, op ? op->loc : l->kernel->loc, "%s %s: %s%s%s", l->host ? "host function" : "kernel",
                   l->kernel->name, op ? op_info[op->code].name : "", op ? ": " : "", text);
    l->failed = true;
}

// ---- Registers of a tile ---------------------------------------------------------------------------------------

struct registers registers_of(const struct type *t)
{
    struct registers s = {.rank = t->kind == TYPE_TILE ? t->rank : 0, .lanes = 1, .axis = -1, .total = 1};
    if (s.rank && t->lanes > 1) {
        s.lanes = t->lanes;
        s.axis = t->vector_axis;
    }
    for (int d = 0; d < s.rank; d++) {
        s.n[d] = d == s.axis ? (t->dims[d] + s.lanes - 1) / s.lanes : t->dims[d];
        s.total *= s.n[d];
    }
    return s;
}

void registers_element(const struct registers *s, int64_t r, int64_t *element)
{
    for (int d = s->rank - 1; d >= 0; d--) {
        element[d] = r % s->n[d] * (d == s->axis ? s->lanes : 1);
        r /= s->n[d];
    }
}

int64_t registers_index(const struct registers *s, const int64_t *element)
{
    int64_t r = 0;
    for (int d = 0; d < s->rank; d++)
        r = r * s->n[d] + element[d] / (d == s->axis ? s->lanes : 1);
    return r;
}

int registers_valid(const struct type *t, int64_t r)
{
    struct registers s = registers_of(t);
    if (s.axis < 0)
        return 1;
    int64_t e[MAX_RANK];
    registers_element(&s, r, e);
    int64_t left = t->dims[s.axis] - e[s.axis];
    return (int)(left < s.lanes ? left : s.lanes);
}

// ---- Values ----------------------------------------------------------------------------------------------------

int lower_enter(struct lower *l)
{
    int old = l->scope;
    l->scope = l->n_scopes++;
    if (l->scope >= l->size_open) {
        bool *grown = ARENA_ARRAY(&l->arena, bool, 2 * l->scope + 16);
        if (l->size_open)
            memcpy(grown, l->open, sizeof *grown * (size_t)l->size_open);
        l->open = grown;
        l->size_open = 2 * l->scope + 16;
    }
    l->open[l->scope] = true;
    return old;
}

void lower_leave(struct lower *l, int old)
{
    l->open[l->scope] = false;
    l->scope = old;
}

void lower_begin_function(struct lower *l, LLVMValueRef function)
{
    l->function = function;
    l->entry = LLVMAppendBasicBlockInContext(l->context, function, "entry");
    LLVMPositionBuilderAtEnd(l->b, l->entry);
    l->values = ARENA_ARRAY(&l->arena, struct memo *, l->kernel->n_values);
    l->roots = ARENA_ARRAY(&l->arena, struct root *, l->kernel->n_values);
    l->depth = ARENA_ARRAY(&l->arena, int, l->kernel->n_values);
    l->loads = ARENA_ARRAY(&l->arena, struct access *, l->kernel->n_values);
    l->load_scope = ARENA_ARRAY(&l->arena, int, l->kernel->n_values);
    l->dummy = NULL;
    l->dummy_bytes = 0;
    l->n_scopes = 0;
    l->n_pending = 0;
    lower_enter(l);
}

LLVMBasicBlockRef lower_new_block(struct lower *l, const char *name)
{
    return LLVMAppendBasicBlockInContext(l->context, l->function, name);
}

static struct memo *memos(struct lower *l, struct value *v)
{
    if (!l->values[v->id]) {
        struct registers s = registers_of(v->type);
        l->values[v->id] = ARENA_ARRAY(&l->arena, struct memo, s.total);
    }
    return l->values[v->id];
}

void lower_set_register(struct lower *l, struct value *v, int64_t r, LLVMValueRef x)
{
    memos(l, v)[r] = (struct memo){x, l->scope};
}

static LLVMValueRef program_id(struct lower *l, struct op *op, int64_t r)
{
    (void)r;
    LLVMValueRef x = (op->code == OP_PROGRAM_ID ? l->program_id : l->num_programs)[op_int(op, ATTR_DIM, 0)];
    if (!x) {
        lower_error(l, op, "cannot be used here");
        return lower_i64(l, 0);
    }
    return x;
}

static LLVMValueRef assume(struct lower *l, struct op *op, int64_t r)
{
    return lower_register(l, op->operands[0], r);
}

static LLVMValueRef scalar_op(struct lower *l, struct op *op, int64_t r)
{
    LLVMValueRef x[3];
    for (int i = 0; i < op->n_operands; i++)
        x[i] = lower_broadcast(l, op->operands[i], op->results[0]->type, r);
    bool can_overflow = op->code == OP_ADD || op->code == OP_SUB || op->code == OP_MUL;
    if (l->host && can_overflow && op->results[0]->type->dtype == DTYPE_INDEX)
        return host_checked(l, op->code, x[0], x[1]);
    return lower_apply(l, op, op->code, op->operands[op->n_operands - 1]->type->dtype, x);
}

static lower_op *const makers[OP_COUNT] = {
#define SCALAR(e, name, n, types, flags, identity, f, i) [OP_##e] = scalar_op,
#include "ir/scalar.def"
#undef SCALAR
    [OP_CONSTANT] = lower_constant,
    [OP_IOTA] = lower_op_iota,
    [OP_PROGRAM_ID] = program_id,
    [OP_NUM_PROGRAMS] = program_id,
    [OP_DIM] = lower_dim,
    [OP_CAST] = lower_op_cast,
    [OP_BITCAST] = lower_bitcast,
    [OP_LOAD] = lower_load,
    [OP_GATHER] = lower_gather,
    [OP_DOT] = lower_dot,
    [OP_REDUCE] = lower_reduce,
    [OP_SCAN] = lower_scan,
    [OP_BROADCAST] = lower_op_broadcast,
    [OP_RESHAPE] = lower_reshape,
    [OP_TRANSPOSE] = lower_transpose,
    [OP_EXTRACT] = lower_extract,
    [OP_ASSUME] = assume,
};

LLVMValueRef lower_register(struct lower *l, struct value *v, int64_t r)
{
    struct memo *m = &memos(l, v)[r];
    if (m->value && l->open[m->scope])
        return m->value;
    LLVMValueRef x = NULL;
    if (v->def && makers[v->def->code])
        x = makers[v->def->code](l, v->def, r);
    else
        lower_error(l, v->def, "no value here: broken IR");
    if (!x)
        x = LLVMGetUndef(lower_vector_type(l, v->type->dtype, registers_of(v->type).lanes));
    *m = (struct memo){x, l->scope};
    return x;
}

void lower_force(struct lower *l, struct value *v)
{
    if (v->type->kind == TYPE_VIEW) {
        if (v->def && v->def->code == OP_WINDOW)
            for (int i = 0; i < v->def->n_operands; i++)
                lower_force(l, v->def->operands[i]);
        return;
    }
    int64_t n = registers_of(v->type).total;
    for (int64_t r = 0; r < n; r++)
        lower_register(l, v, r);
}

LLVMValueRef lower_element(struct lower *l, struct value *v, const int64_t *at)
{
    if (v->type->kind != TYPE_TILE)
        return lower_register(l, v, 0);
    struct registers s = registers_of(v->type);
    LLVMValueRef x = lower_register(l, v, registers_index(&s, at));
    return s.axis < 0 ? x : lower_pick(l, x, (int)(at[s.axis] % s.lanes));
}

LLVMValueRef lower_vector(struct lower *l, struct value *v, const int64_t *at, int axis, int lanes)
{
    if (lanes == 1)
        return lower_element(l, v, at);
    if (v->type->kind != TYPE_TILE || axis < 0)
        return lower_splat(l, lower_element(l, v, at), lanes);
    struct registers s = registers_of(v->type);
    if (s.axis == axis && s.lanes == lanes && at[axis] % lanes == 0)
        return lower_register(l, v, registers_index(&s, at));
    LLVMValueRef x = LLVMGetPoison(lower_vector_type(l, v->type->dtype, lanes));
    int64_t e[MAX_RANK];
    memcpy(e, at, sizeof e);
    for (int i = 0; i < lanes && e[axis] < v->type->dims[axis]; i++, e[axis]++)
        x = lower_insert(l, x, lower_element(l, v, e), i);
    return x;
}

LLVMValueRef lower_broadcast(struct lower *l, struct value *v, const struct type *to, int64_t r)
{
    const struct type *from = v->type;
    struct registers s = registers_of(to);
    if (from == to)
        return lower_register(l, v, r);
    if (from->kind == TYPE_SCALAR)
        return lower_splat(l, lower_register(l, v, 0), s.lanes);
    int64_t e[MAX_RANK] = {0}, at[MAX_RANK] = {0};
    registers_element(&s, r, e);
    int shift = to->rank - from->rank, axis = -1;
    for (int d = 0; d < from->rank; d++) {
        at[d] = from->dims[d] == 1 ? 0 : e[shift + d];
        if (shift + d == s.axis && (from->dims[d] != 1 || to->dims[shift + d] == 1))
            axis = d;
    }
    return lower_vector(l, v, at, axis, s.lanes);
}

// ---- Blocks ----------------------------------------------------------------------------------------------------

static bool defined_inside(const struct value *v, const struct op *op)
{
    const struct block *b = v->def ? v->def->block : v->block;
    for (; b; b = b->parent ? b->parent->block : NULL)
        if (b->parent == op)
            return true;
    return false;
}

// Makes what the nested blocks use of the values around op, so that it dominates them.
static void force_outer(struct lower *l, const struct op *op, const struct block *b)
{
    for (struct op *o = b->first; o; o = o->next) {
        for (int i = 0; i < o->n_operands; i++) {
            struct value *v = o->operands[i];
            if (v->type->kind == TYPE_VIEW) { // windows may lie on both sides
                for (; v->def && v->def->code == OP_WINDOW; v = v->def->operands[0])
                    for (int j = 1; j < v->def->n_operands; j++)
                        if (!defined_inside(v->def->operands[j], op))
                            lower_force(l, v->def->operands[j]);
            } else if (!defined_inside(v, op)) {
                lower_force(l, v);
            }
        }
        for (int i = 0; i < o->n_blocks; i++)
            force_outer(l, op, o->blocks[i]);
    }
}

static void flush(struct lower *l, const struct op *op)
{
    int kept = 0;
    for (int i = 0; i < l->n_pending; i++) {
        struct op *load = l->pending[i];
        struct value *root = view_root(load->operands[0]);
        bool now = op_info[op->code].effect == EFFECT_WRITE && view_root(op->operands[1]) == root;
        for (int b = 0; b < op->n_blocks; b++)
            now |= block_writes(op->blocks[b], root);
        if (now)
            lower_force(l, load->results[0]);
        else
            l->pending[kept++] = load;
    }
    l->n_pending = kept;
}

static void read_later(struct lower *l, struct op *op)
{
    if (!l->written[view_root(op->operands[0])->id] || !l->uses[op->results[0]->id])
        return;
    if (l->n_pending == l->size_pending) {
        struct op **grown = ARENA_ARRAY(&l->arena, struct op *, 2 * l->n_pending + 16);
        if (l->n_pending)
            memcpy(grown, l->pending, sizeof *grown * (size_t)l->n_pending);
        l->pending = grown;
        l->size_pending = 2 * l->n_pending + 16;
    }
    l->pending[l->n_pending++] = op;
}

// What is made as it is needed is made by recursion, along the data flow: a long chain of operations is made piece by
// piece on the way.
static void bound_depth(struct lower *l, struct op *op)
{
    int depth = 0;
    for (int i = 0; i < op->n_operands; i++)
        if (l->depth[op->operands[i]->id] > depth)
            depth = l->depth[op->operands[i]->id];
    for (int i = 0; i < op->n_results; i++) {
        if (depth == MOST_DEPTH)
            lower_force(l, op->results[i]);
        l->depth[op->results[i]->id] = depth == MOST_DEPTH ? 0 : depth + 1;
    }
}

// ---- Control flow ----------------------------------------------------------------------------------------------

static void enter_nested(struct lower *l, struct op *op)
{
    flush(l, op);
    for (int i = 0; i < op->n_blocks; i++)
        force_outer(l, op, op->blocks[i]);
}

// The keys that a block last ran with lie in words of the range's stack: a count of runs, then the keys.
static void lower_once(struct lower *l, struct op *op)
{
    enter_nested(l, op);
    LLVMValueRef word[1 + MAX_OPERANDS], key[MAX_OPERANDS], same = NULL;
    for (int i = 0; i <= op->n_operands; i++) {
        LLVMValueRef index = lower_i64(l, l->n_once_words++);
        word[i] = LLVMBuildInBoundsGEP2(l->b, l->i64, l->once_words, &index, 1, "");
        LLVMValueRef last = LLVMBuildLoad2(l->b, l->i64, word[i], "last");
        if (i)
            key[i - 1] = lower_scalar(l, op->operands[i - 1]);
        LLVMValueRef equal = i ? LLVMBuildICmp(l->b, LLVMIntEQ, last, key[i - 1], "")
                               : LLVMBuildICmp(l->b, LLVMIntNE, last, lower_i64(l, 0), "");
        same = same ? LLVMBuildAnd(l->b, same, equal, "") : equal;
    }
    LLVMBasicBlockRef body = lower_new_block(l, "once"), after = lower_new_block(l, "done");
    LLVMBuildCondBr(l->b, same, after, body);
    LLVMPositionBuilderAtEnd(l->b, body);
    for (int i = 0; i <= op->n_operands; i++)
        LLVMBuildStore(l->b, i ? key[i - 1] : lower_i64(l, 1), word[i]);
    int old = lower_enter(l), n_pending = l->n_pending;
    lower_block(l, op->blocks[0]);
    LLVMBuildBr(l->b, after);
    lower_leave(l, old);
    l->n_pending = n_pending;
    LLVMPositionBuilderAtEnd(l->b, after);
}

void lower_block(struct lower *l, struct block *block)
{
    for (struct op *op = block->first; op && !l->failed; op = op->next) {
        if (l->host && host_op(l, op))
            continue;
        if (makers[op->code] || op->code == OP_WINDOW)
            bound_depth(l, op);
        switch (op_info[op->code].effect) {
        case EFFECT_PURE:
            break;
        case EFFECT_READ:
            read_later(l, op);
            break;
        case EFFECT_WRITE:
            flush(l, op);
            if (op->code == OP_STORE)
                lower_store(l, op);
            else if (op->code == OP_SCATTER)
                lower_scatter(l, op);
            else
                lower_atomic(l, op);
            break;
        case EFFECT_CONTROL:
            if (op->code == OP_FOR || op->code == OP_WHILE || op->code == OP_IF)
                lower_control(l, op);
            else if (op->code == OP_ONCE)
                lower_once(l, op);
            else if (op->code == OP_PREFETCH)
                lower_prefetch(l, op);
            break;
        }
    }
}

static int64_t count_registers(const struct type *t)
{
    return registers_of(t).total;
}

static const struct control control = {.registers = count_registers,
                                       .get = lower_register,
                                       .set = lower_set_register,
                                       .enter = enter_nested,
                                       .block = lower_block};

// ---- Kernels ---------------------------------------------------------------------------------------------------

// Counts uses, finds written roots, and checks that tiles are shaped.
static void examine(struct lower *l, const struct block *b)
{
    for (struct op *o = b->first; o; o = o->next) {
        for (int i = 0; i < o->n_operands; i++)
            l->uses[o->operands[i]->id]++;
        if (op_info[o->code].effect == EFFECT_WRITE)
            l->written[view_root(o->operands[1])->id] = true;
        for (int i = 0; i < o->n_results; i++)
            if (o->results[i]->type->kind == TYPE_TILE && o->results[i]->type->lanes < 1)
                lower_error(l, o, "the tile %s has no register layout",
                            type_string(&l->arena, l->kernel->module, o->results[i]->type));
        for (int i = 0; i < o->n_blocks; i++)
            examine(l, o->blocks[i]);
    }
}

// Sizes that nothing in the kernel asks for are arguments all the same.
static void name_symbols(struct function *k)
{
    for (int i = 0; i < k->n_params; i++) {
        const struct type *t = k->params[i]->type;
        for (int d = 0; t->kind == TYPE_VIEW && d < t->rank; d++) {
            if (dim_is_symbol(t->dims[d]))
                function_symbol(k, dim_symbol_id(t->dims[d]));
            if (t->strided && dim_is_symbol(t->strides[d]))
                function_symbol(k, dim_symbol_id(t->strides[d]));
        }
    }
}

static void release(void *lower)
{
    struct lower *l = lower;
    LLVMDisposeBuilder(l->b);
    arena_finish(&l->arena);
}

void lower_init(struct lower *l, struct function *k, const struct target_desc *target, LLVMContextRef context,
                LLVMModuleRef out, struct diags *diags)
{
    l->kernel = k;
    l->target = target;
    l->diags = diags;
    l->context = context;
    l->module = out;
    arena_init(&l->arena);
    l->b = LLVMCreateBuilderInContext(context);
    arena_hold(&l->hold, release, l);
    l->i1 = LLVMInt1TypeInContext(context);
    l->i8 = LLVMInt8TypeInContext(context);
    l->i16 = LLVMInt16TypeInContext(context);
    l->i32 = LLVMInt32TypeInContext(context);
    l->i64 = LLVMInt64TypeInContext(context);
    l->f32 = LLVMFloatTypeInContext(context);
    l->f64 = LLVMDoubleTypeInContext(context);
    l->ptr = LLVMPointerTypeInContext(context, 0);
    if (l->host) // before the tables: these make values
        host_prepare(l);
    else
        name_symbols(k);
    l->written = ARENA_ARRAY(&l->arena, bool, k->n_values);
    l->uses = ARENA_ARRAY(&l->arena, int, k->n_values);
}

void lower_finish(struct lower *l)
{
    arena_let_go(&l->hold);
    release(l);
}

int lower_kernel(struct function *k, bool launched, const struct target_desc *target, LLVMContextRef context,
                 LLVMModuleRef out, struct diags *diags)
{
    struct lower l = {.control = &control, .launched = launched};
    lower_init(&l, k, target, context, out, diags);
    examine(&l, k->body);
    examine(&l, k->grid);
    if (!l.failed)
        lower_abi(&l);
    lower_finish(&l);
    return l.failed;
}

int lower_host(struct function *f, const struct target_desc *target, LLVMContextRef context, LLVMModuleRef out,
               const struct model_linkage *linkage, struct diags *diags)
{
    struct weights own = {.placed = {.arena = &f->module->arena}};
    struct host host = {.form = linkage->form,
                        .model = linkage->name ? linkage->name : f->name,
                        .weights = linkage->weights ? linkage->weights : &own,
                        .embeds_weights = !linkage->weights};
    struct lower l = {.control = &control, .host = &host};
    lower_init(&l, f, target, context, out, diags);
    examine(&l, f->body);
    examine(&l, f->grid);
    if (!l.failed)
        lower_model(&l);
    lower_finish(&l);
    return l.failed;
}
