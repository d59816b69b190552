// Operands in the layouts that operations want.
//
//   %s : tile<16x1xf32, #a>                   %s2 = load %scale[%m, 0] : tile<16x1xf32, #b>
//   %r = mul %x, %s               =>          %r = mul %x, %s2
//
//   %x : tile<128x32xf16, #blocked>           %x2 = convert_layout %x : tile<128x32xf16, #fragment>
//   %d = dot .. %x, %y, %s        =>          %d = dot .. %x2, %y2, %s
//
// What costs nothing to make is made again in the wanted layout: constants, iotas, broadcasts. So are, where the
// operand is broadcast and thus small, loads and what is computed from them: lanes that read the same address share it.
// All else is converted: next to its use if it was defined in the same block, else where it was defined, so that
// conversions stand outside of loops.
#include <string.h>

#include "passes/shape_gpu.h"

#define MOST_REMADE 16 // operations in a chain

static struct type *laid_out(struct gpu_shaper *g, const struct type *t, const struct layout *l)
{
    struct type *u = type_linear(g->m, type_tile(g->m, t->dtype, t->rank, t->dims), l);
    return u;
}

// The layout that operand i of v's definition must have for v to have layout l; false: the operation cannot be remade.
static bool operand_layout(const struct op *op, int i, const struct layout *l, struct layout *result)
{
    const struct type *t = op->operands[i]->type;
    if (op->code == OP_RESHAPE) {
        uint32_t shape[MAX_RANK];
        for (int d = 0; d < t->rank; d++)
            shape[d] = (uint32_t)t->dims[d];
        *result = layout_reshape(l, (unsigned)t->rank, shape);
    } else if (op->code == OP_TRANSPOSE) {
        unsigned inverse[MAX_RANK];
        for (int d = 0; d < t->rank; d++)
            inverse[op_ints(op, ATTR_AXES).v[d]] = (unsigned)d;
        *result = layout_transpose(l, inverse);
    } else {
        *result = layout_operand(l, t);
    }
    return layout_valid(result);
}

static bool remakes(const struct value *v, bool reload, int depth)
{
    const struct op *op = v->def;
    if (v->type->kind != TYPE_TILE)
        return true;
    if (!op || depth == MOST_REMADE)
        return false;
    switch (op->code) {
    case OP_CONSTANT:
    case OP_IOTA:
    case OP_BROADCAST: // at worst its smaller operand is converted
        return true;
    case OP_LOAD:
        return reload;
    case OP_RESHAPE:
    case OP_TRANSPOSE:
        return remakes(op->operands[0], reload, depth + 1);
    default:
        if (!opcode_is_scalar(op->code) && op->code != OP_CAST && op->code != OP_BITCAST)
            return false;
        for (int i = 0; i < op->n_operands; i++)
            if (!remakes(op->operands[i], reload, depth + 1))
                return false;
        return true;
    }
}

static struct value *relaid(struct gpu_shaper *g, struct value *v, const struct layout *l, bool reload,
                            struct op *user);

static struct value *remade(struct gpu_shaper *g, struct value *v, const struct layout *l, bool reload)
{
    struct op *op = v->def;
    struct value *operands[MAX_OPERANDS];
    for (int i = 0; i < op->n_operands; i++) {
        operands[i] = op->operands[i];
        struct layout meets;
        if (operands[i]->type->kind == TYPE_TILE && operand_layout(op, i, l, &meets))
            operands[i] = relaid(g, operands[i], &meets, reload, NULL);
    }
    struct builder b = {.function = g->k, .block = op->block, .before = op->next, .loc = op->loc, .diags = g->c->diags};
    struct type *type = laid_out(g, v->type, l);
    return build_op(&b, op->code, op->n_operands, operands, op->n_attrs, op->attrs, 1, &type)->results[0];
}

static struct value *relaid(struct gpu_shaper *g, struct value *v, const struct layout *l, bool reload, struct op *user)
{
    struct type *type = laid_out(g, v->type, l);
    if (!type) {
        gpu_fail(g, v->def ? v->def->loc : g->k->loc, "a layout on the GPU could not be found");
        return v;
    }
    if (v->type == type)
        return v;
    if (remakes(v, reload, 0))
        return remade(g, v, l, reload);
    struct block *block = v->def ? v->def->block : v->block;
    bool near = user && user->block == block;
    struct op *before = near ? user : v->def ? v->def->next : block->first;
    struct builder b = {.function = g->k,
                        .block = block,
                        .before = before,
                        .loc = v->def ? v->def->loc : g->k->loc,
                        .diags = g->c->diags};
    return build_value(&b, OP_CONVERT_LAYOUT, 1, &v, 0, NULL, type);
}

void gpu_need(struct gpu_shaper *g, struct op *op, int i, const struct layout *l, bool reload)
{
    op->operands[i] = relaid(g, op->operands[i], l, reload, op);
}
