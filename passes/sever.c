// sever: sends tiles through scratch memory where their dimensions cannot be followed.
//
// Shaping follows the dimensions of tiles from operation to operation (axes.h). Three things stop it, and each becomes
// a store to scratch and an access of that scratch:
//   a reshape that merges or splits dimensions      store %x, %s[..]; load through a window with the other shape
//   a value that would hold one axis twice          store and load, which starts new axes (%x + transpose %x)
//   extract of an element                           store and load of a scalar
#include <string.h>

#include "passes/axes.h"
#include "passes/pass.h"
#include "passes/shape.h"

static struct builder before(struct function *k, struct op *op, struct pass_context *c)
{
    return (struct builder){.function = k, .block = op->block, .before = op, .loc = op->loc, .diags = c->diags};
}

// A flat scratch buffer seen as a row-major tensor of the type's shape.
static struct value *shaped_window(struct builder *b, struct value *flat, const struct type *shape)
{
    struct affine_map map = {.n_in = shape->rank, .n_out = 1};
    int64_t stride = 1;
    for (int d = shape->rank - 1; d >= 0; d--) {
        map.coefficient[0][d] = stride;
        stride *= shape->dims[d];
    }
    struct value *operands[2] = {flat, build_index(b, 0)};
    return build_value(b, OP_WINDOW, 2, operands, 1, &(struct attr){ATTR_MAP, {.map = &map}}, NULL);
}

static struct value *through_memory(struct builder *b, struct value *x, struct type *to)
{
    dim n = type_elements(x->type);
    struct type *t = type_view(b->function->module, x->type->dtype, 1, &n, NULL);
    struct value *flat = build_value(b, OP_SCRATCH, 0, NULL, 0, NULL, t);
    struct value *zeros[MAX_RANK];
    for (int d = 0; d < MAX_RANK; d++)
        zeros[d] = build_index(b, 0);
    build_store(b, x, shaped_window(b, flat, x->type), zeros);
    return build_load(b, shaped_window(b, flat, to), zeros, to, NULL);
}

static void replace_uses(struct block *block, struct value *from, struct value *to)
{
    for (struct op *op = block->first; op; op = op->next) {
        for (int i = 0; i < op->n_operands; i++)
            if (op->operands[i] == from)
                op->operands[i] = to;
        for (int i = 0; i < op->n_blocks; i++)
            replace_uses(op->blocks[i], from, to);
    }
}

static bool sever_block(struct function *k, struct block *block, struct pass_context *c)
{
    bool progress = false;
    for (struct op *op = block->first, *next; op; op = next) {
        next = op->next;
        for (int i = 0; i < op->n_blocks; i++)
            progress |= sever_block(k, op->blocks[i], c);
        struct builder b = before(k, op, c);
        if (op->code == OP_RESHAPE && !reshape_is_trivial(op->operands[0]->type, op->results[0]->type)) {
            replace_uses(block, op->results[0], through_memory(&b, op->operands[0], op->results[0]->type));
        } else if (op->code == OP_EXTRACT) {
            struct value *x = op->operands[0];
            struct value *s = build_value(&b, OP_SCRATCH, 0, NULL, 0, NULL,
                                          type_view(k->module, x->type->dtype, x->type->rank, x->type->dims, NULL));
            struct value *zeros[MAX_RANK];
            for (int d = 0; d < x->type->rank; d++)
                zeros[d] = build_index(&b, 0);
            build_store(&b, x, s, zeros);
            replace_uses(block, op->results[0], build_load(&b, s, op->operands + 1, op->results[0]->type, NULL));
        } else {
            continue;
        }
        op_remove(op);
        progress = true;
    }
    return progress;
}

bool pass_sever(struct module *m, struct pass_context *c)
{
    bool progress = false;
    for (struct function *k = m->first_function; k; k = k->next) {
        if (k->kind != FUNCTION_KERNEL)
            continue;
        progress |= sever_block(k, k->body, c);
        struct axes axes;
        struct axes_conflict at;
        while (!axes_find(c->scratch, k, &axes, &at)) {
            struct builder b = before(k, at.op, c);
            at.op->operands[at.operand] =
                through_memory(&b, at.op->operands[at.operand], at.op->operands[at.operand]->type);
            progress = true;
        }
    }
    return progress;
}
