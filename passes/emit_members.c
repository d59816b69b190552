// The element-wise operations of a kernel, with reductions, scans and lookups among them.
#include <string.h>

#include "ir/dims.h"
#include "passes/lower_graph.h"

// ---- How tensors are walked ------------------------------------------------------------------------------------

static void list_access(struct emit *e, struct accesses *out, struct access *a)
{
    if (out->n == 2 * MAX_OPERANDS)
        lower_graph_error(e->l, e->kernel->loc, "a kernel of more than %d tensors", out->n);
    else
        out->list[out->n++] = a;
}

static void add_access(struct emit *e, const struct group *g, struct accesses *out, struct value *v,
                       const struct place *p, const int *axis_of)
{
    int dims[MAX_RANK];
    if (table_get(&out->of, table_key(v)))
        return;
    struct access *a = ARENA_NEW(e->l->arena, struct access);
    walk_dims(g, v->type->rank, dims);
    if (!emit_walk(e, &g->walk, p, dims, axis_of, a))
        emit_walk(e, &g->walk, lower_graph_place(e->l, v), dims, axis_of, a);
    table_set(&out->of, table_key(v), a);
    list_access(e, out, a);
}

// r[a.., i.., b..] = table[a.., indices[i..], b..]
static void add_lookup(struct emit *e, struct accesses *out, const struct op *take, const int *axis_of)
{
    const struct place *table = lower_graph_place(e->l, take->operands[0]);
    const struct place *indices = lower_graph_place(e->l, take->operands[1]);
    int axis = (int)op_int(take, ATTR_AXIS, 0), rank = indices->view.rank, others[MAX_RANK];
    for (int d = 0; d < table->view.rank; d++)
        others[d] = d < axis ? axis_of[d] : d == axis ? -1 : axis_of[d - 1 + rank];
    struct lookup *k = ARENA_NEW(e->l->arena, struct lookup);
    k->table = emit_access(e, table, table->view.rank, others);
    k->indices = emit_access(e, indices, rank, axis_of + axis);
    k->size = table->view.sizes[axis];
    k->stride = k->size == 1 ? 1 : table->view.strides[axis];
    table_set(&out->lookups, table_key(take->results[0]), k);
    list_access(e, out, &k->table);
    list_access(e, out, &k->indices);
}

void emit_collect(struct emit *e, const struct group *g, int first, const int *axis_of, const int *order,
                  struct accesses *out)
{
    struct lowering *l = e->l;
    out->of.arena = out->lookups.arena = l->arena;
    for (int i = first; i < g->n_ops; i++) {
        if (g->ops[i]->code == OP_TAKE) {
            add_lookup(e, out, g->ops[i], axis_of);
            continue;
        }
        for (int o = 0; o < g->ops[i]->n_operands; o++) {
            struct value *v = g->ops[i]->operands[o];
            if (v->type->kind != TYPE_TENSOR || l->grouping.of[v->id] == g || group_is_immediate(v))
                continue;
            struct place p = lower_graph_walked(l, v);
            add_access(e, g, out, v, &p, axis_of);
        }
    }
    for (int i = 0; i < g->n_ops; i++) {
        struct value *v = g->ops[i]->results[0];
        if (!lower_graph_escapes(l, v))
            continue;
        in_place_choose(l, g, v, order);
        add_access(e, g, out, v, lower_graph_result(l, v, order), axis_of);
    }
}

// ---- Tiles -----------------------------------------------------------------------------------------------------

static struct value *immediate(struct emit *e, struct value *v)
{
    struct type *t = type_scalar(e->l->m, v->type->dtype);
    if (v->def->code == OP_SIZES)
        return build_cast(&e->b, t->dtype, emit_size(e, op_attr(v->def, ATTR_DIMS)->dims.v[0]));
    return build_value(&e->b, OP_CONSTANT, 0, NULL, 1, op_attr(v->def, ATTR_VALUE), t);
}

static struct value *tile_of_value(struct emit *e, struct value *v, int n, const int *axes,
                                   const struct accesses *accesses)
{
    struct value *tile = table_get(&e->tiles, table_key(v));
    if (tile)
        return tile;
    if (group_is_immediate(v))
        return immediate(e, v);
    if (v->type->kind != TYPE_TENSOR)
        return emit_scalar(e, v);
    tile = emit_load(e, table_get(&accesses->of, table_key(v)), n, axes);
    table_set(&e->tiles, table_key(v), tile);
    return tile;
}

// Elements beyond the axis's size become the combiner's identity.
static struct value *masked(struct emit *e, struct value *x, int i, int n, const int *axes, enum opcode combine)
{
    struct emit_axis *axis = &e->axes[axes[i]];
    dim dims[MAX_RANK];
    for (int d = 0; d < n; d++)
        dims[d] = d == i ? axis->tile : 1;
    struct type *t = type_tile(e->l->m, DTYPE_I64, n, dims);
    struct value *at = build_value(&e->b, OP_IOTA, 0, NULL, 1, &(struct attr){ATTR_AXIS, {.i = i}}, t);
    struct value *inside = build_binary(&e->b, OP_LT, at, build_cast(&e->b, DTYPE_I64, emit_size(e, axis->size)));
    return build_select(&e->b, inside, x, build_identity(&e->b, combine, type_scalar(e->l->m, x->type->dtype)));
}

static struct value *broadcast_to_axes(struct emit *e, struct value *x, int n, const int *axes)
{
    dim dims[MAX_RANK];
    for (int d = 0; d < n; d++)
        dims[d] = e->axes[axes[d]].tile;
    struct type *t = type_tile(e->l->m, x->type->dtype, n, dims);
    return x->type == t ? x : build_value(&e->b, OP_BROADCAST, 1, &x, 0, NULL, t);
}

// Whether the tile has positions beyond the axis: a tile is never empty.
static bool beyond(struct emit *e, const struct emit_axis *x)
{
    return !emit_covers(e, x) || x->size == 0;
}

static struct value *reduce_axes(struct emit *e, const struct op *op, struct value *x, int n, const int64_t *axes,
                                 struct value *count)
{
    struct value *operands[2] = {x, count};
    struct attr attrs[2] = {{ATTR_COMBINE, {.opcode = op_attr(op, ATTR_COMBINE)->opcode}},
                            {ATTR_AXES, {.ints = {n, axes}}}};
    return build_value(&e->b, OP_REDUCE, count ? 2 : 1, operands, 2, attrs, NULL);
}

static struct value *reduce(struct emit *e, const struct op *op, struct value *x, int n, const int *axes)
{
    int64_t whole[MAX_RANK], partial[MAX_RANK];
    int n_whole = 0, n_partial = 0;
    for (int i = 0; i < n; i++) {
        if (e->axes[axes[i]].class != AXIS_REDUCED)
            continue;
        if (beyond(e, &e->axes[axes[i]]))
            partial[n_partial++] = i;
        else
            whole[n_whole++] = i;
    }
    if (!n_whole && !n_partial)
        return x;
    x = broadcast_to_axes(e, x, n, axes);
    if (n_whole)
        x = reduce_axes(e, op, x, n_whole, whole, NULL);
    for (int i = n_partial - 1; i >= 0; i--)
        x = reduce_axes(e, op, x, 1, &partial[i], emit_size(e, e->axes[axes[partial[i]]].size));
    return x;
}

static struct value *scan(struct emit *e, const struct op *op, struct value *x, int n, const int *axes)
{
    struct attr attrs[ATTR_COUNT];
    int axis = -1;
    for (int i = 0; i < n; i++)
        if (e->axes[axes[i]].alone && e->axes[axes[i]].dim == op_int(op, ATTR_AXIS, 0))
            axis = i;
    if (axis < 0) // of one element
        return op_attr(op, ATTR_EXCLUSIVE)
                   ? build_identity(&e->b, op_attr(op, ATTR_COMBINE)->opcode, type_scalar(e->l->m, x->type->dtype))
                   : x;
    x = broadcast_to_axes(e, x, n, axes);
    if (!emit_covers(e, &e->axes[axes[axis]]))
        x = masked(e, x, axis, n, axes, op_attr(op, ATTR_COMBINE)->opcode);
    for (int i = 0; i < op->n_attrs; i++) {
        attrs[i] = op->attrs[i];
        if (attrs[i].key == ATTR_AXIS)
            attrs[i].i = axis;
    }
    return build_value(&e->b, OP_SCAN, 1, &x, op->n_attrs, attrs, NULL);
}

static struct value *iota(struct emit *e, const struct op *op, int n, const int *axes)
{
    struct type *element = type_scalar(e->l->m, op->results[0]->type->dtype);
    for (int i = 0; i < n; i++) {
        struct emit_axis *x = &e->axes[axes[i]];
        if (!x->alone || x->dim != op_int(op, ATTR_AXIS, 0))
            continue;
        return emit_positions(e, element->dtype, i, n, axes);
    }
    return build_int(&e->b, element, 0);
}

static struct value *look_up(struct emit *e, const struct lookup *k, int n, const int *axes)
{
    struct value *operands[MAX_RANK + 2];
    dim sizes[MAX_RANK + 1] = {k->size}, strides[MAX_RANK + 1] = {k->stride};
    int rank = 1;
    operands[1] = build_cast(&e->b, DTYPE_I64, emit_load(e, &k->indices, n, axes));
    for (int i = 0; i < n; i++) {
        if (!k->table.stride[axes[i]])
            continue;
        sizes[rank] = e->axes[axes[i]].size;
        strides[rank] = k->table.stride[axes[i]];
        operands[1 + rank++] = emit_positions(e, DTYPE_I64, i, n, axes);
    }
    if (rank > MAX_RANK) {
        lower_graph_error(e->l, e->b.loc, "take: more than %d dimensions", MAX_RANK);
        return operands[1];
    }
    operands[0] = emit_param(e, k->table.storage, k->table.offset, rank, sizes, strides);
    return build_value(&e->b, OP_GATHER, rank + 1, operands, 0, NULL, NULL);
}

void emit_members(struct emit *e, const struct group *g, int first, int n, const int *axes,
                  const struct accesses *accesses)
{
    for (int i = first; i < g->n_ops && !e->l->failed; i++) {
        const struct op *op = g->ops[i];
        struct value *x[MAX_OPERANDS], *result;
        e->b.loc = op->loc;
        for (int o = 0; o < op->n_operands && op->code != OP_TAKE; o++)
            x[o] = tile_of_value(e, op->operands[o], n, axes, accesses);
        if (op->code == OP_TAKE)
            result = look_up(e, table_get(&accesses->lookups, table_key(op->results[0])), n, axes);
        else if (op->code == OP_REDUCE)
            result = reduce(e, op, x[0], n, axes);
        else if (op->code == OP_SCAN)
            result = scan(e, op, x[0], n, axes);
        else if (op->code == OP_IOTA)
            result = iota(e, op, n, axes);
        else
            result = build_value(&e->b, op->code, op->n_operands, x, op->n_attrs, op->attrs, NULL);
        table_set(&e->tiles, table_key(op->results[0]), result);
    }
    for (int i = 0; i < g->n_ops && !e->l->failed; i++) {
        struct value *v = g->ops[i]->results[0];
        if (lower_graph_escapes(e->l, v))
            emit_store(e, table_get(&e->tiles, table_key(v)), table_get(&accesses->of, table_key(v)), n, axes);
    }
}
