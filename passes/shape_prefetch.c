// Memory that a dot's neighbours will need.
//
// While the sum of a register tile is computed, what is read and written right after it comes closer. The processor
// does not see it coming: a register tile's rows lie apart, and begin anew at every tile.
#include "passes/shape.h"

#define LEAST_DEPTH 32     // of the sum: a shorter one does not hide the time that memory takes
#define MOST_ELEMENTS 4096 // more is not a register tile: an axis that the store has and the dot has not

static void prefetch(struct shaper *s, const struct op *access, const struct value *tile)
{
    int64_t sizes[MAX_RANK], elements = 1;
    for (int d = 0; d < tile->type->rank; d++) {
        int axis = axes_of(&s->axes, tile, d);
        sizes[d] = axis == AXIS_NONE ? 1 : s->window[axis].size;
        if (sizes[d] > MOST_ELEMENTS / elements)
            return;
        elements *= sizes[d];
    }
    struct value *operands[MAX_RANK + 1] = {shape_scalar(s, access->operands[op_view_operand(access)])};
    leaf_indices(s, access, tile, operands + 1);
    struct attr attrs[2] = {{ATTR_SIZES, {.ints = {tile->type->rank, sizes}}}, {.key = ATTR_WRITE}};
    s->b.loc = access->loc;
    build_op(&s->b, OP_PREFETCH, 1 + tile->type->rank, operands, access->code == OP_STORE ? 2 : 1, attrs, 0, NULL);
}

// Whether elements are neighbours in memory along some axis: else each would be a line of its own.
static bool has_neighbours(const struct shaper *s, const struct op *access, const struct value *tile)
{
    for (int d = 0; d < tile->type->rank; d++) {
        int axis = axes_of(&s->axes, tile, d);
        if (axis != AXIS_NONE && bounds_unit_stride(s, access, tile, axis))
            return true;
    }
    return false;
}

// Whether the elements differ along the axes of the register tile; others stay close by themselves.
static bool spans_tile(const struct shaper *s, const struct dot_axes *x, const struct op *access,
                       const struct value *tile)
{
    return tile->type->kind == TYPE_TILE && bounds_touches(s, access, tile, x->rows[x->n_rows - 1]) &&
           bounds_touches(s, access, tile, x->columns[x->n_columns - 1]) && has_neighbours(s, access, tile);
}

static void prefetch_store(struct shaper *s, const struct dot_axes *x, const struct anchor *dot, const struct anchor *a)
{
    if (a->kind != ANCHOR_OP || a->op->code != OP_STORE || !spans_tile(s, x, a->op, a->op->operands[0]))
        return;
    bool written = !op_attr(a->op, ATTR_STREAM);
    for (const struct op *op = a->op->block->first; op != a->op; op = op->next)
        if (op->code == OP_LOAD && a->cone[op->results[0]->id] && !dot->cone[op->results[0]->id] &&
            s->bind[op->results[0]->id].kind != BIND_MEMORY && spans_tile(s, x, op, op->results[0]) &&
            !(written && group_in_place(s, op, a->op)))
            prefetch(s, op, op->results[0]);
    if (written)
        prefetch(s, a->op, a->op->operands[0]);
}

static bool reads(const struct anchor *a, const struct op *op)
{
    for (int i = 0; i < op->n_results; i++)
        if (a->cone[op->results[i]->id])
            return true;
    return false;
}

void prefetch_around_dot(struct shaper *s, const struct group *g, int n_later, const struct group *later)
{
    const struct dot_axes *x = &g->dot_axes;
    const struct anchor *dot = NULL;
    int64_t depth = 1;
    for (int i = 0; i < x->n_inner; i++)
        depth *= s->axes.size[x->inner[i]];
    for (int i = 0; i < g->n_anchors && !dot; i++)
        if (g->anchors[i].kind == ANCHOR_LOOP || (g->anchors[i].kind == ANCHOR_OP && g->anchors[i].op == g->dot))
            dot = &g->anchors[i];
    if (!dot || depth < LEAST_DEPTH || !x->n_rows || !x->n_columns)
        return;
    for (int i = 0; i < g->n_anchors; i++)
        prefetch_store(s, x, dot, &g->anchors[i]);
    for (int k = 0; k < n_later; k++)
        for (int i = 0; i < later[k].n_anchors; i++)
            if (reads(&later[k].anchors[i], dot->op))
                prefetch_store(s, x, dot, &later[k].anchors[i]);
}
