// Which values lie with their channels innermost in memory.
//
//   conv 3x3 -> relu -> conv 1x1 -> add       all of them: one conversion where the graph begins, one where it ends
//   conv 1x1 alone, depthwise conv alone      none: these run as fast on channels that are rows
//
// Values that operations pass on as they lie (element by element, through windows of single channels, through products
// over the channels, put together and cut apart) are one set. Its channels are innermost if an operation in the set
// needs that: a convolution over positions and channels, whose vectors are filters, and windows that step over elements
// of a row. So conversions stand only between sets. What a conversion costs against a slow kernel is not weighed.
#include "passes/lower_graph.h"

struct sets {
    int *parent; // by value id
    bool *wanted;
};

static int find(struct sets *s, int i)
{
    while (s->parent[i] != i)
        i = s->parent[i] = s->parent[s->parent[i]];
    return i;
}

static void join(struct sets *s, const struct value *a, const struct value *b)
{
    int x = find(s, a->id), y = find(s, b->id);
    s->wanted[x] |= s->wanted[y];
    s->parent[y] = x;
}

static bool is_image(const struct value *v)
{
    return v->type->kind == TYPE_TENSOR && v->type->rank >= 3;
}

static bool steps(const struct op *op)
{
    struct ints strides = op_ints(op, ATTR_STRIDES);
    return strides.n && strides.v[strides.n - 1] != 1;
}

// Whether the operation wants its operand's channels innermost.
static bool wants(const struct op *op)
{
    if (op->code == OP_WINDOW_REDUCE)
        return steps(op);
    const struct type *w = op->operands[1]->type;
    if (op_int(op, ATTR_GROUPS, 1) > 1 && w->dims[1] == 1)
        return w->dims[0] != op_int(op, ATTR_GROUPS, 1) || steps(op);
    for (int d = 2; d < w->rank; d++)
        if (w->dims[d] != 1)
            return true;
    return op_int(op, ATTR_GROUPS, 1) > 1 || steps(op);
}

static void visit(struct sets *s, const struct op *op)
{
    bool windows = op->code == OP_CONV || op->code == OP_WINDOW_REDUCE;
    if (op->n_results != 1 || !is_image(op->results[0]))
        return;
    const struct value *result = op->results[0];
    if (windows) {
        join(s, result, op->operands[0]);
        s->wanted[find(s, result->id)] |= wants(op);
    } else if (op->code == OP_TAKE) {
        if (is_image(op->operands[0]) && op->operands[0]->type->rank == result->type->rank)
            join(s, result, op->operands[0]);
    } else if (opcode_is_scalar(op->code) || op->code == OP_CAST || op->code == OP_CONCAT || op->code == OP_SLICE ||
               op->code == OP_PAD) {
        for (int i = 0; i < op->n_operands; i++)
            if (is_image(op->operands[i]) && op->operands[i]->type->rank == result->type->rank)
                join(s, result, op->operands[i]);
    }
}

const int *layout_order(const struct lowering *l, const struct value *v, int *order)
{
    if (!l->wants_channels_last[v->id])
        return NULL;
    lower_graph_order_channels_last(v->type->rank, order);
    return order;
}

void layout_choose(struct lowering *l, const struct block *b)
{
    int n = l->graph->n_values;
    struct sets s = {ARENA_ARRAY(l->arena, int, n + 1), ARENA_ARRAY(l->arena, bool, n + 1)};
    for (int i = 0; i < n; i++)
        s.parent[i] = i;
    for (const struct op *op = b->first; op; op = op->next)
        visit(&s, op);
    if (!l->wants_channels_last)
        l->wants_channels_last = ARENA_ARRAY(l->arena, bool, n + 1);
    for (const struct op *op = b->first; op; op = op->next)
        for (int i = 0; i < op->n_results; i++)
            l->wants_channels_last[op->results[i]->id] = s.wanted[find(&s, op->results[i]->id)];
}
