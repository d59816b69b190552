// Kernels that only move elements: copies, padding, and slices that run backwards.
#include <string.h>

#include "ir/dims.h"
#include "passes/lower_graph.h"

#define MOVE_ELEMENTS 16384

// Tiles of about as many elements as the schedule says, most of them along the last axis.
static void divide(struct emit *e, const char *what, enum dtype t, int64_t elements, const struct accesses *accesses)
{
    char letters[EMIT_AXES];
    memset(letters, 'm', sizeof letters);
    emit_problem(e, what, letters, t);
    emit_divide(e, emit_choose(e, SCHEDULE_ELEMENTS, elements), accesses);
}

static void begin(struct emit *e, struct lowering *l, const struct group *g, struct loc loc, const char *what)
{
    emit_begin(e, l, g);
    emit_name(e, arena_printf(l->arena, "_%s", what));
    e->kernel->loc = e->b.loc = loc;
}

// All axes; at least one.
static int all_axes(struct emit *e, int *axes)
{
    if (!e->n_axes)
        emit_axis(e, 1, AXIS_PARALLEL, 0);
    for (int i = 0; i < e->n_axes; i++)
        axes[i] = i;
    return e->n_axes;
}

static void add(struct accesses *list, struct access *a)
{
    list->list[list->n++] = a;
}

// A space of a type's dimensions, split as two places are, and its axes; axis_of[p] is -1 for size 1.
static void make_axes(struct emit *e, const struct type *t, const struct place *a, const struct place *b,
                      struct tensor_space *s, int *dims, int *axis_of)
{
    *s = (struct tensor_space){0};
    for (int d = 0; d < t->rank; d++) {
        tensor_space_add(s, 1, &t->dims[d], false);
        dims[d] = d;
    }
    if (!tensor_space_refine(e->l->m, s, &a->view, dims) || !tensor_space_refine(e->l->m, s, &b->view, dims))
        lower_graph_error(e->l, e->kernel->loc, "a copy of more than %d dimensions", MAX_RANK);
    for (int d = 0; d < t->rank; d++)
        for (int p = s->first[d]; p < s->first[d + 1]; p++)
            axis_of[p] = s->sizes[p] == 1 ? -1 : emit_axis(e, s->sizes[p], AXIS_PARALLEL, d);
}

void emit_copy(struct lowering *l, const struct type *t, const struct place *from, const struct place *to,
               struct loc loc)
{
    struct emit e;
    struct tensor_space space;
    int dims[MAX_RANK], axis_of[SPACE_PARTS], axes[EMIT_AXES];
    begin(&e, l, &(struct group){0}, loc, "copy");
    e.copied = t;
    make_axes(&e, t, from, to, &space, dims, axis_of);
    struct access source, target;
    emit_walk(&e, &space, from, dims, axis_of, &source);
    emit_walk(&e, &space, to, dims, axis_of, &target);
    struct accesses both = {0};
    add(&both, &source);
    add(&both, &target);
    emit_merge(&e, &both);
    // The axes lie as in the target.
    int order[EMIT_AXES], n = all_axes(&e, axes);
    if (emit_order(&e, &target, n, axes, order) == n)
        memcpy(axes, order, sizeof order);
    struct emit_axis sorted[EMIT_AXES];
    dim strides[2][EMIT_AXES];
    for (int i = 0; i < n; i++) {
        sorted[i] = e.axes[axes[i]];
        strides[0][i] = source.stride[axes[i]];
        strides[1][i] = target.stride[axes[i]];
    }
    memcpy(e.axes, sorted, sizeof *sorted * (size_t)n);
    memcpy(source.stride, strides[0], sizeof(dim) * (size_t)n);
    memcpy(target.stride, strides[1], sizeof(dim) * (size_t)n);
    all_axes(&e, axes);
    divide(&e, "copy", t->dtype, MOVE_ELEMENTS, &both);
    emit_spread(&e, n, axes, 0);
    emit_grid(&e);
    emit_store(&e, emit_load(&e, &source, n, axes), &target, n, axes);
    emit_end(&e);
}

// to[i ..] = from[first + i * step ..], or the padding where that is outside. The axes lie as in the target.
static void move(struct lowering *l, const struct op *op, const char *what, const struct place *from,
                 const struct place *to, const dim *first, const int64_t *step, const struct attr *pad)
{
    const struct type *t = op->results[0]->type;
    struct emit e;
    int order[MAX_RANK], axis_of[MAX_RANK], axes[EMIT_AXES];
    struct op *ops[] = {(struct op *)op};
    begin(&e, l, &(struct group){.n_ops = 1, .ops = ops}, op->loc, what);
    tensor_view_order(l->m, &to->view, order);
    for (int i = 0; i < t->rank; i++)
        axis_of[order[i]] = emit_axis(&e, t->dims[order[i]], AXIS_PARALLEL, order[i]);
    struct access target = emit_access(&e, to, t->rank, axis_of);
    struct accesses accesses = {0};
    add(&accesses, &target);
    int n = all_axes(&e, axes);
    divide(&e, what, t->dtype, MOVE_ELEMENTS, &accesses);
    emit_spread(&e, n, axes, 0);
    emit_grid(&e);
    struct value *operands[MAX_RANK + 1], *zeros[MAX_RANK];
    struct affine_map map = {.n_in = n, .n_out = n};
    dim tile[MAX_RANK], sizes[MAX_RANK], strides[MAX_RANK];
    for (int i = 0; i < n; i++) {
        int d = order[i];
        struct value *at = e.axes[i].start;
        if (step[d] != 1)
            at = build_binary(&e.b, OP_MUL, at, build_index(&e.b, step[d]));
        int64_t constant;
        if (dims_to_int(l->m, first[d], &constant))
            at = build_binary(&e.b, OP_ADD, at, build_index(&e.b, constant));
        else
            at = build_binary(&e.b, OP_ADD, at, emit_size(&e, first[d]));
        operands[1 + i] = at;
        map.coefficient[i][i] = step[d];
        tile[i] = e.axes[i].tile;
        zeros[i] = build_index(&e.b, 0);
        sizes[i] = from->view.sizes[d];
        strides[i] = sizes[i] == 1 ? 1 : from->view.strides[d];
    }
    operands[0] = emit_param(&e, from->storage, from->view.offset, n, sizes, strides);
    struct value *window =
        build_value(&e.b, OP_WINDOW, n + 1, operands, 1, &(struct attr){ATTR_MAP, {.map = &map}}, NULL);
    struct value *x = build_load(&e.b, window, zeros, type_tile(l->m, t->dtype, n, tile), pad);
    emit_store(&e, x, &target, n, axes);
    emit_end(&e);
}

void emit_slice(struct lowering *l, const struct op *slice, const struct place *from, const struct place *to)
{
    struct dims starts = op_attr(slice, ATTR_STARTS)->dims;
    struct ints steps = op_ints(slice, ATTR_STEPS);
    int64_t step[MAX_RANK];
    for (int d = 0; d < starts.n; d++)
        step[d] = steps.n ? steps.v[d] : 1;
    move(l, slice, "slice", from, to, starts.v, step, NULL);
}

void emit_pad(struct lowering *l, struct group *g)
{
    const struct op *op = g->ops[0];
    const struct attr *value = op_attr(op, ATTR_VALUE);
    struct dims low = op_attr(op, ATTR_LOW)->dims;
    int order[MAX_RANK];
    struct place from = *lower_graph_place(l, op->operands[0]);
    struct place to = *lower_graph_result(l, op->results[0], layout_order(l, op->results[0], order));
    dim first[MAX_RANK];
    int64_t step[MAX_RANK];
    for (int d = 0; d < low.n; d++) {
        first[d] = dims_sub(l->m, 0, low.v[d]);
        step[d] = 1;
    }
    struct attr pad = {ATTR_PAD, {0}};
    if (value)
        pad.number = value->number;
    move(l, op, "pad", &from, &to, first, step, value ? &pad : NULL);
}
