// Where values are written: at once where they end up, if their producer can.
//
//   %b = einsum .. %a, %w                       launch @k0_einsum(%a, %w, %output0 + 64)
//   %c = concat 1, %x, %b               =>      launch @k1_copy(%x, %output0)
//   yield %c
//
// What a block hands over, what is concatenated, what is reshaped in a way that no view can express, and what a loop
// starts from is bound to its place before anything in the block is lowered, by inverting the chain of layout
// operations between it and its producer.
#include <string.h>

#include "ir/dims.h"
#include "passes/lower_graph.h"

static bool slice_of(struct lowering *l, const struct op *concat, int operand, struct place *p)
{
    int64_t axis = op_int(concat, ATTR_AXIS, 0);
    dim start = 0;
    for (int i = 0; i < operand; i++)
        start = dims_add(l->m, start, concat->operands[i]->type->dims[axis]);
    return tensor_split_slice(l->m, (int)axis, start, concat->operands[operand]->type->dims[axis], &p->view);
}

// Whether the group can write where dimensions are split.
static bool writes_split(struct lowering *l, struct group *g, const struct value *v, const struct tensor_view *view)
{
    if (g->kind != GROUP_CONCAT)
        return walk_writes(l, g, v, view);
    bool fits = true;
    for (int i = 0; i < v->def->n_operands; i++) {
        struct place part = {.view = *view};
        fits &= slice_of(l, v->def, i, &part);
    }
    return fits;
}

struct value *bind_producer(struct lowering *l, const struct block *b, struct value *v, struct place *to)
{
    while (v->def && tensor_view_is_layout(v->def)) {
        if (v->def->block != b || l->places[v->id].storage || !tensor_split_invert(l->m, v->def, &to->view))
            return NULL;
        v = v->def->operands[0];
    }
    struct group *g = l->grouping.of[v->id];
    bool loop = v->def && (v->def->code == OP_FOR || v->def->code == OP_WHILE);
    if (!v->def || v->def->block != b || !g || (g->kind == GROUP_HOST && !loop) || l->places[v->id].storage)
        return NULL;
    return !to->view.tensor_rank || writes_split(l, g, v, &to->view) ? v : NULL;
}

bool bind_value(struct lowering *l, const struct block *b, struct value *v, struct place to)
{
    struct value *producer = bind_producer(l, b, v, &to);
    if (producer)
        lower_graph_set_place(l, producer, to);
    return producer != NULL;
}

// Reshapes that no view of a row-major operand can express: the operand is produced in the order of the reshaped
// tensor.
static void bind_reshape(struct lowering *l, const struct block *b, const struct op *op)
{
    struct value *result = op->results[0], *chain[64], *source = result;
    int n = 0;
    bool plain = !l->places[result->id].storage;
    while (plain && source->def && tensor_view_is_layout(source->def) && n < 64) {
        chain[n++] = source;
        plain = source->def->code == OP_TRANSPOSE || source->def->code == OP_RESHAPE;
        source = source->def->operands[0];
    }
    if (!plain || l->places[source->id].storage)
        return;
    struct tensor_view v = tensor_view_create(l->m, source->type, NULL);
    bool fits = true;
    for (int i = n - 1; i >= 0 && fits; i--)
        fits = tensor_view_apply(l->m, chain[i]->def, &v);
    if (fits)
        return;
    struct storage *s = ARENA_NEW(l->arena, struct storage);
    int order[MAX_RANK];
    struct place to = {s, tensor_view_create(l->m, result->type, layout_order(l, result, order))};
    s->type = type_view(l->m, result->type->dtype, result->type->rank, result->type->dims, NULL);
    if (bind_value(l, b, result, to))
        s->view = build_value(&l->b, OP_BUFFER, 0, NULL, 0, NULL, (struct type *)s->type);
}

static void bind_concat(struct lowering *l, const struct block *b, struct op *op)
{
    int order[MAX_RANK];
    struct place *all = lower_graph_result(l, op->results[0], layout_order(l, op->results[0], order));
    for (int i = 0; i < op->n_operands; i++) {
        struct place part = *all;
        slice_of(l, op, i, &part);
        bind_value(l, b, op->operands[i], part);
    }
}

// Whether nothing but one operation reads v, and what it is a view of.
static bool is_read_once(const struct block *b, const struct value *v)
{
    while (lower_loop_uses(b, v) == 1 && v->def && tensor_view_is_layout(v->def))
        v = v->def->operands[0];
    return lower_loop_uses(b, v) == 1;
}

// What a loop starts from lies where the loop's result will, if the loop is all that reads it.
static void bind_initial(struct lowering *l, const struct block *b, struct op *op)
{
    int first = op->n_operands - op->n_results;
    for (int i = 0; i < op->n_results; i++) {
        struct value *initial = op->operands[first + i];
        if (initial->type->kind == TYPE_TENSOR && is_read_once(b, initial))
            bind_value(l, b, initial, *lower_graph_result(l, op->results[i], NULL));
    }
}

void bind_operands(struct lowering *l, struct block *b)
{
    for (struct op *op = b->last; op; op = op->previous) // readers first: they know where things end up
        if (op->code == OP_CONCAT)
            bind_concat(l, b, op);
        else if (op->code == OP_FOR || op->code == OP_WHILE)
            bind_initial(l, b, op);
        else if (op->code == OP_RESHAPE)
            bind_reshape(l, b, op);
}

bool bind_same_place(const struct place *a, const struct place *b)
{
    bool same = a->storage == b->storage && a->view.rank == b->view.rank && a->view.offset == b->view.offset &&
                a->view.tensor_rank == b->view.tensor_rank;
    for (int d = 0; same && d <= a->view.tensor_rank; d++)
        same = a->view.first[d] == b->view.first[d];
    for (int d = 0; same && d < a->view.rank; d++)
        same = a->view.sizes[d] == 1 || a->view.strides[d] == b->view.strides[d];
    return same;
}

void bind_put(struct lowering *l, const struct value *v, struct place to, struct loc loc)
{
    struct place from = lower_graph_walked(l, v);
    if (bind_same_place(&from, &to))
        return;
    if (to.view.tensor_rank && from.view.tensor_rank)
        from = *lower_graph_place(l, v);
    emit_copy(l, v->type, &from, &to, loc);
}

void bind_concat_rest(struct lowering *l, const struct op *op)
{
    const struct place all = lower_graph_walked(l, op->results[0]);
    for (int i = 0; i < op->n_operands; i++) {
        struct place part = all;
        slice_of(l, op, i, &part);
        bind_put(l, op->operands[i], part, op->loc);
    }
}
