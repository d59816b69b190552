// widen: sums and products of floats narrower than f32 are kept in f32 until they are complete.
//
//     %s = reduce add %x, 1 : tile<16x1xf16>      =>     %0 = cast f32 %x
//                                                        %1 = reduce add %0, 1
//                                                        %s = cast f16 %1
//
// Shaping cuts reductions and scans into steps that hand over what they have so far. In f16 a sum of ones would end at
// 2048 steps, in bf16 at 256, where the next one is rounded away. Dots say by the type of their sum what they are kept
// in. Greatest and least elements are exact in any type and stay as they are.
#include "passes/pass.h"
#include "passes/replace.h"

struct widen {
    struct function *k;
    struct diags *diags;
    struct replace replace;
    bool progress;
};

static bool rounds(const struct op *op)
{
    if (op->code != OP_REDUCE && op->code != OP_SCAN)
        return false;
    enum opcode combine = op_attr(op, ATTR_COMBINE)->opcode;
    enum dtype t = op->results[0]->type->dtype;
    return (combine == OP_ADD || combine == OP_MUL) && dtype_is_float(t) && dtype_info[t].bits < 32;
}

static void widen_op(struct widen *w, struct op *op)
{
    struct builder b = {.function = w->k, .block = op->block, .before = op, .loc = op->loc, .diags = w->diags};
    enum dtype t = op->results[0]->type->dtype;
    struct value *operands[2] = {build_cast(&b, DTYPE_F32, op->operands[0])};
    if (op->n_operands > 1) // the count of a reduction, the carry of a scan
        operands[1] = op->code == OP_SCAN ? build_cast(&b, DTYPE_F32, op->operands[1]) : op->operands[1];
    struct value *wide = build_value(&b, op->code, op->n_operands, operands, op->n_attrs, op->attrs, NULL);
    replace_set(&w->replace, op->results[0], build_cast(&b, t, wide));
    op_remove(op);
    w->progress = true;
}

static void walk(struct widen *w, struct block *block)
{
    for (struct op *op = block->first, *next; op; op = next) {
        next = op->next;
        replace_operands(&w->replace, op);
        for (int i = 0; i < op->n_blocks; i++)
            walk(w, op->blocks[i]);
        if (rounds(op))
            widen_op(w, op);
    }
}

bool pass_widen(struct module *m, struct pass_context *c)
{
    bool progress = false;
    for (struct function *k = m->first_function; k; k = k->next) {
        if (k->kind != FUNCTION_KERNEL)
            continue;
        struct widen w = {.k = k, .diags = c->diags};
        replace_init(&w.replace, c->scratch, k);
        walk(&w, k->body);
        progress |= w.progress;
    }
    return progress;
}
