// Structured control flow to blocks and phis, on any target.
//
//   %s = for %i = 0 to %n step 1 with (%a = %z) { .. yield %b }
//
//     before:  br 0 < n, loop, done
//     loop:    i = phi 0, next    a = phi z, b    ..    next = i + 1    br next < n, loop, done
//     done:    s = phi b, z
//
// A value is one phi per register. What is made in a block is only used there: each block is a scope.
#include "codegen/lower_internal.h"

// The registers of several values, side by side.
struct row {
    int64_t n;
    LLVMValueRef *x;
};

static struct row get_row(struct lower *l, int n, struct value *const *values)
{
    struct row row = {0};
    for (int i = 0; i < n; i++)
        row.n += l->control->registers(values[i]->type);
    row.x = ARENA_ARRAY(&l->arena, LLVMValueRef, row.n);
    for (int64_t i = 0, at = 0; i < n; i++)
        for (int64_t r = 0; r < l->control->registers(values[i]->type); r++)
            row.x[at++] = l->control->get(l, values[i], r);
    return row;
}

static void set_row(struct lower *l, int n, struct value *const *values, struct row row)
{
    for (int64_t i = 0, at = 0; i < n; i++)
        for (int64_t r = 0; r < l->control->registers(values[i]->type); r++)
            l->control->set(l, values[i], r, row.x[at++]);
}

static struct row make_phis(struct lower *l, struct row like)
{
    struct row row = {like.n, ARENA_ARRAY(&l->arena, LLVMValueRef, like.n)};
    for (int64_t i = 0; i < row.n; i++)
        row.x[i] = LLVMBuildPhi(l->b, LLVMTypeOf(like.x[i]), "");
    return row;
}

static void add_incoming(struct row phi, struct row from, LLVMBasicBlockRef block)
{
    for (int64_t i = 0; i < phi.n; i++)
        LLVMAddIncoming(phi.x[i], &from.x[i], &block, 1);
}

// Lowers a block; what it yields, or the condition it ends in, is made in it.
static struct row lower_inside(struct lower *l, struct block *b)
{
    l->control->block(l, b);
    const struct op *end = block_terminator(b);
    return l->failed || !end ? (struct row){0} : get_row(l, end->n_operands, end->operands);
}

// The loop is entered past a test of its own and tested at its end.
static void lower_for(struct lower *l, struct op *op)
{
    struct block *b = op->blocks[0];
    LLVMValueRef lo = lower_scalar(l, op->operands[0]), hi = lower_scalar(l, op->operands[1]),
                 step = lower_scalar(l, op->operands[2]);
    struct row initial = get_row(l, op->n_operands - 3, op->operands + 3);
    l->control->enter(l, op);
    LLVMBasicBlockRef before = LLVMGetInsertBlock(l->b), body = lower_new_block(l, "loop"),
                      after = lower_new_block(l, "done");
    int64_t clo, chi;
    bool runs = lower_is_constant(lo, &clo) && lower_is_constant(hi, &chi) && clo < chi;
    if (runs)
        LLVMBuildBr(l->b, body);
    else
        LLVMBuildCondBr(l->b, LLVMBuildICmp(l->b, LLVMIntSLT, lo, hi, ""), body, after);

    LLVMPositionBuilderAtEnd(l->b, body);
    LLVMValueRef iv = LLVMBuildPhi(l->b, l->i64, "i");
    struct row carried = make_phis(l, initial);
    add_incoming(carried, initial, before);
    LLVMAddIncoming(iv, &lo, &before, 1);
    int old = lower_enter(l), n_pending = l->n_pending;
    lower_set_register(l, b->args[0], 0, iv);
    set_row(l, b->n_args - 1, b->args + 1, carried);
    struct row next = lower_inside(l, b);
    if (l->failed)
        return;
    LLVMValueRef iv_next = LLVMBuildNSWAdd(l->b, iv, step, "next");
    LLVMBasicBlockRef latch = LLVMGetInsertBlock(l->b);
    LLVMBuildCondBr(l->b, LLVMBuildICmp(l->b, LLVMIntSLT, iv_next, hi, ""), body, after);
    LLVMAddIncoming(iv, &iv_next, &latch, 1);
    add_incoming(carried, next, latch);
    lower_leave(l, old);
    l->n_pending = n_pending;

    LLVMPositionBuilderAtEnd(l->b, after);
    struct row result = make_phis(l, initial);
    add_incoming(result, next, latch);
    if (!runs)
        add_incoming(result, initial, before);
    set_row(l, op->n_results, op->results, result);
}

static void lower_while(struct lower *l, struct op *op)
{
    struct row initial = get_row(l, op->n_operands, op->operands);
    l->control->enter(l, op);
    LLVMBasicBlockRef before = LLVMGetInsertBlock(l->b), head = lower_new_block(l, "while"),
                      body = lower_new_block(l, "do"), after = lower_new_block(l, "done");
    LLVMBuildBr(l->b, head);
    LLVMPositionBuilderAtEnd(l->b, head);
    struct row carried = make_phis(l, initial);
    add_incoming(carried, initial, before);
    for (int i = 0; i < 2; i++) {
        int old = lower_enter(l), n_pending = l->n_pending;
        set_row(l, op->blocks[i]->n_args, op->blocks[i]->args, carried);
        struct row end = lower_inside(l, op->blocks[i]);
        if (l->failed)
            return;
        if (i == 0) {
            LLVMBuildCondBr(l->b, end.x[0], body, after);
            LLVMPositionBuilderAtEnd(l->b, body);
        } else {
            add_incoming(carried, end, LLVMGetInsertBlock(l->b));
            LLVMBuildBr(l->b, head);
        }
        lower_leave(l, old);
        l->n_pending = n_pending;
    }
    LLVMPositionBuilderAtEnd(l->b, after);
    set_row(l, op->n_results, op->results, carried);
}

static void lower_if(struct lower *l, struct op *op)
{
    LLVMValueRef condition = lower_scalar(l, op->operands[0]);
    l->control->enter(l, op);
    LLVMBasicBlockRef arm[2] = {lower_new_block(l, "then"), lower_new_block(l, "else")}, end[2],
                      after = lower_new_block(l, "endif");
    LLVMBuildCondBr(l->b, condition, arm[0], arm[1]);
    struct row result[2];
    for (int i = 0; i < 2; i++) {
        LLVMPositionBuilderAtEnd(l->b, arm[i]);
        int old = lower_enter(l), n_pending = l->n_pending;
        result[i] = lower_inside(l, op->blocks[i]);
        if (l->failed)
            return;
        end[i] = LLVMGetInsertBlock(l->b);
        LLVMBuildBr(l->b, after);
        lower_leave(l, old);
        l->n_pending = n_pending;
    }
    LLVMPositionBuilderAtEnd(l->b, after);
    struct row phi = make_phis(l, result[0]);
    for (int i = 0; i < 2; i++)
        add_incoming(phi, result[i], end[i]);
    set_row(l, op->n_results, op->results, phi);
}

void lower_control(struct lower *l, struct op *op)
{
    if (op->code == OP_FOR)
        lower_for(l, op);
    else if (op->code == OP_WHILE)
        lower_while(l, op);
    else
        lower_if(l, op);
}
